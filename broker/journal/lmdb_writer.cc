#include "broker/journal/lmdb_writer.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "broker/journal/codec.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

// Segments trimmed by one commit: more than were added since the last trim, so that a log over its
// bound shrinks, and bounded, so that a lowered bound does not stall the broker.
constexpr size_t kTrimPerAddedSegment = 2;
constexpr size_t kTrimPerCommit = 16;

std::string Writing(size_t database) { return "cannot write " + DatabaseName(database); }

struct AbortTxn {
  void operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }
};

}  // namespace

// A cursor of the write transaction on one database; closed before the transaction ends.
class LmdbWriter::Cursor {
 public:
  Cursor() = default;
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;
  ~Cursor() {
    if (cursor_ != nullptr) mdb_cursor_close(cursor_);
  }

  absl::Status Open(const LmdbEnv& env, MDB_txn* txn, size_t database) {
    database_ = database;
    int rc = mdb_cursor_open(txn, env.dbi(database), &cursor_);
    return rc == 0 ? absl::OkStatus() : LmdbError(rc, Writing(database));
  }

  MDB_cursor* get() const { return cursor_; }

  // Room for `bytes` under `key`, to be filled before the next call; null when LMDB refuses, and
  // then Failed() says why. `flags`: MDB_APPEND or 0.
  char* Reserve(uint64_t key, size_t bytes, unsigned flags) {
    LmdbKey lmdb_key(key);
    MDB_val value{bytes, nullptr};
    rc_ = mdb_cursor_put(cursor_, lmdb_key.val(), &value, flags | MDB_RESERVE);
    return rc_ == 0 ? static_cast<char*>(value.mv_data) : nullptr;
  }

  // False when LMDB refuses. A key that is not there is fine.
  bool Erase(uint64_t key) {
    LmdbKey lmdb_key(key);
    MDB_val value;
    rc_ = mdb_cursor_get(cursor_, lmdb_key.val(), &value, MDB_SET);
    if (rc_ == 0) rc_ = mdb_cursor_del(cursor_, 0);
    if (rc_ == MDB_NOTFOUND) rc_ = 0;
    return rc_ == 0;
  }

  absl::Status Failed() const { return LmdbError(rc_, Writing(database_)); }

 private:
  MDB_cursor* cursor_ = nullptr;
  size_t database_ = 0;
  int rc_ = 0;
};

// Rows of one table, walked by one cursor.
class LmdbWriter::TableWriter {
 public:
  TableWriter(Table table, std::optional<uint64_t>& highest) : table_(table), highest_(highest) {}

  absl::Status Open(const LmdbEnv& env, MDB_txn* txn) {
    return cursor_.Open(env, txn, static_cast<size_t>(table_));
  }
  absl::Status Put(uint64_t key, std::string_view row) {
    bool append = !highest_ || key > *highest_;
    char* room = cursor_.Reserve(key, StoredRowBytes(row.size()), append ? MDB_APPEND : 0);
    if (room == nullptr) return cursor_.Failed();
    StoreRow(table_, key, row, room);
    if (append) highest_ = key;
    return absl::OkStatus();
  }
  absl::Status Erase(uint64_t key) {
    return cursor_.Erase(key) ? absl::OkStatus() : cursor_.Failed();
  }

 private:
  const Table table_;
  std::optional<uint64_t>& highest_;
  Cursor cursor_;
};

absl::StatusOr<std::unique_ptr<LmdbWriter>> LmdbWriter::Open(const LmdbEnv& env,
                                                             uint64_t keep_log_bytes) {
  std::unique_ptr<LmdbWriter> writer(new LmdbWriter(env, keep_log_bytes));
  MDB_txn* txn;
  if (int rc = mdb_txn_begin(env.get(), nullptr, MDB_RDONLY, &txn); rc != 0)
    return LmdbError(rc, "cannot read where the log ends");
  writer->txn_id_ = mdb_txn_id(txn);
  absl::Status status = writer->ReadEnds(txn);
  if (status.ok()) status = writer->ReadLayers(txn);
  mdb_txn_abort(txn);
  if (status.ok()) status = writer->FlushLayers();
  if (!status.ok()) return status;
  return writer;
}

absl::Status LmdbWriter::ReadEnds(MDB_txn* txn) {
  for (size_t database = 0; database < kTables; ++database) {
    Cursor cursor;
    ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, database));
    MDB_val key, value;
    int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_LAST);
    if (rc == MDB_NOTFOUND) continue;
    if (rc != 0) return LmdbError(rc, "cannot read where the tables end");
    if (key.mv_size != kKeyBytes)
      return Error(ErrorCode::kDataLoss, "the last key of a table has a wrong size");
    highest_keys_[database] = LoadKey(key.mv_data);
  }
  return absl::OkStatus();
}

// From the end of the log back to the last commit that wrote the tables.
absl::Status LmdbWriter::ReadLayers(MDB_txn* txn) {
  Cursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  MDB_val key, value;
  RedoLayers layers;  // newest first
  int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_LAST);
  for (; rc == 0; rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_PREV)) {
    if (key.mv_size != kKeyBytes)
      return Error(ErrorCode::kDataLoss, "the log has a key of a wrong size");
    ZS_ASSIGN_OR_RETURN(StoredSegment stored,
                        LoadSegment(Lsn(LoadKey(key.mv_data)), ToView(value)));
    if (!last_lsn_) last_lsn_ = LastLsn(stored.segment);
    if (stored.redo.empty()) break;
    ZS_ASSIGN_OR_RETURN(auto layer, RedoLayer::Decode(stored.redo));
    layers.push_back(std::move(layer));
  }
  if (rc != 0 && rc != MDB_NOTFOUND) return LmdbError(rc, "cannot read where the log ends");
  layers_ = std::make_shared<const RedoLayers>(layers.rbegin(), layers.rend());
  return absl::OkStatus();
}

template <class Write>
absl::Status LmdbWriter::InTransaction(Write write) {
  MDB_txn* raw;
  if (int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw); rc != 0)
    return LmdbError(rc, "cannot begin a commit");
  std::unique_ptr<MDB_txn, AbortTxn> txn(raw);
  ZS_RETURN_IF_ERROR(write(raw));
  if (int rc = mdb_txn_commit(txn.release()); rc != 0)
    return LmdbError(rc, "cannot make a commit durable");
  // Asked for now: a transaction that changed nothing leaves no trace and its id is taken again.
  MDB_envinfo info;
  if (int rc = mdb_env_info(env_.get(), &info); rc != 0) return LmdbError(rc, "cannot commit");
  txn_id_ = info.me_last_txnid;
  return absl::OkStatus();
}

absl::Status LmdbWriter::FlushLayers() {
  if (layers_->empty()) return absl::OkStatus();
  auto write = [&](MDB_txn* txn) {
    absl::Status status = WriteLayers(txn);
    return status.ok() ? DropLastRedo(txn) : status;
  };
  ZS_RETURN_IF_ERROR(InTransaction(write));
  layers_ = std::make_shared<const RedoLayers>();
  return absl::OkStatus();
}

absl::Status LmdbWriter::Commit(Batch& batch) {
  ZS_RETURN_IF_ERROR(CheckFollows(batch, last_lsn_));
  if (batch.empty()) return absl::OkStatus();
  auto layers = std::make_shared<RedoLayers>();  // over the tables after this commit
  if (IsSmall(batch)) {
    *layers = *layers_;
    layers->push_back(RedoLayer::Of(batch));
    ZS_RETURN_IF_ERROR(
        InTransaction([&](MDB_txn* txn) { return WriteLogOnly(txn, batch, layers->back()); }));
  } else {
    ZS_RETURN_IF_ERROR(InTransaction([&](MDB_txn* txn) { return WriteAll(txn, batch); }));
  }
  layers_ = std::move(layers);
  if (!batch.record_ends().empty()) last_lsn_ = batch.last_lsn();
  return absl::OkStatus();
}

// Whether all of it fits into one segment of the log, and there may be one more layer.
bool LmdbWriter::IsSmall(const Batch& batch) const {
  return !batch.record_ends().empty() && layers_->size() < kMaxLayers &&
         kSegmentHeaderBytes + batch.records().size() + RedoLayer::BytesFor(batch) <=
             kMaxSegmentBytes;
}

absl::Status LmdbWriter::WriteLogOnly(MDB_txn* txn, Batch& batch,
                                      std::shared_ptr<const RedoLayer> layer) {
  Cursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  return ForEachSegment(batch, [&](const LogSegment& segment) {  // one
    char* room = cursor.Reserve(segment.first_lsn.value(),
                                StoredSegmentBytes(segment, layer->bytes()), MDB_APPEND);
    if (room == nullptr) return cursor.Failed();
    StoreSegment(segment, layer->bytes(), room);
    ++added_segments_;
    return absl::OkStatus();
  });
}

absl::Status LmdbWriter::WriteAll(MDB_txn* txn, Batch& batch) {
  ZS_RETURN_IF_ERROR(WriteLayers(txn));
  // The end of the log says what is left to be written into the tables: nothing.
  if (batch.record_ends().empty())
    ZS_RETURN_IF_ERROR(DropLastRedo(txn));
  else
    ZS_RETURN_IF_ERROR(WriteLog(txn, batch));
  for (size_t table = 0; table < kTables; ++table)
    ZS_RETURN_IF_ERROR(WriteTable(txn, static_cast<Table>(table), batch));
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteLog(MDB_txn* txn, const Batch& batch) {
  Cursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  ZS_RETURN_IF_ERROR(ForEachSegment(batch, [&](const LogSegment& segment) {
    char* room = cursor.Reserve(segment.first_lsn.value(), StoredSegmentBytes(segment), MDB_APPEND);
    if (room == nullptr) return cursor.Failed();
    StoreSegment(segment, {}, room);
    ++added_segments_;
    return absl::OkStatus();
  }));
  return TrimLog(txn, cursor);
}

// Never deletes the last segment: it tells the next LSN. Those before it have no redo that is not in
// the tables: this commit wrote the layers.
absl::Status LmdbWriter::TrimLog(MDB_txn* txn, const Cursor& cursor) {
  MDB_dbi log = env_.dbi(kLogDb);
  size_t budget = std::exchange(added_segments_, 0) * kTrimPerAddedSegment + kTrimPerCommit;
  for (; budget > 0 && env_.DatabaseBytes(txn, log) > keep_log_bytes_; --budget) {
    MDB_stat stat;
    MDB_val key, value;
    int rc = mdb_stat(txn, log, &stat);
    if (rc == 0 && stat.ms_entries <= 1) break;
    if (rc == 0) rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
    if (rc == 0) rc = mdb_cursor_del(cursor.get(), 0);
    if (rc != 0) return LmdbError(rc, "cannot trim the log");
  }
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteLayers(MDB_txn* txn) {
  if (layers_->empty()) return absl::OkStatus();
  for (size_t number = 0; number < kTables; ++number) {
    auto table = static_cast<Table>(number);
    std::vector<NewestChange> changes = NewestFrom(*layers_, table, 0);
    if (changes.empty()) continue;
    TableWriter rows(table, highest_keys_[number]);
    ZS_RETURN_IF_ERROR(rows.Open(env_, txn));
    for (const auto& [layer, change] : changes)
      ZS_RETURN_IF_ERROR(change->erased() ? rows.Erase(change->key)
                                          : rows.Put(change->key, layer->row(*change)));
  }
  return absl::OkStatus();
}

// Writes the last segment again without the rows behind it: those of all layers are in the tables.
absl::Status LmdbWriter::DropLastRedo(MDB_txn* txn) {
  if (layers_->empty()) return absl::OkStatus();
  Cursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  MDB_val key, value;
  if (int rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_LAST); rc != 0)
    return LmdbError(rc, "cannot read where the log ends");
  const Lsn lsn(LoadKey(key.mv_data));
  const std::string stored(ToView(value));
  ZS_ASSIGN_OR_RETURN(StoredSegment last, LoadSegment(lsn, stored));
  char* room = cursor.Reserve(lsn.value(), StoredSegmentBytes(last.segment), 0);
  if (room == nullptr) return cursor.Failed();
  StoreSegment(last.segment, {}, room);
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteTable(MDB_txn* txn, Table table, Batch& batch) {
  std::vector<Mutation>& mutations = batch.mutations(table);
  if (mutations.empty()) return absl::OkStatus();
  SortMutations(mutations);
  TableWriter rows(table, highest_keys_[static_cast<size_t>(table)]);
  ZS_RETURN_IF_ERROR(rows.Open(env_, txn));
  for (const Mutation& mutation : mutations)
    ZS_RETURN_IF_ERROR(mutation.size == Mutation::kErase
                           ? rows.Erase(mutation.key)
                           : rows.Put(mutation.key, batch.row(mutation)));
  return absl::OkStatus();
}

}  // namespace zsched::broker
