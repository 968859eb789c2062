#include "broker/journal/lmdb_writer.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

// Segments trimmed by one commit: more than it adds, so that a log over its bound shrinks, and
// bounded, so that a lowered bound does not stall the broker.
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

absl::StatusOr<std::unique_ptr<LmdbWriter>> LmdbWriter::Open(const LmdbEnv& env,
                                                             uint64_t keep_log_bytes) {
  std::unique_ptr<LmdbWriter> writer(new LmdbWriter(env, keep_log_bytes));
  MDB_txn* txn;
  if (int rc = mdb_txn_begin(env.get(), nullptr, MDB_RDONLY, &txn); rc != 0)
    return LmdbError(rc, "cannot read where the log ends");
  absl::Status status = writer->ReadEnds(txn);
  mdb_txn_abort(txn);
  if (!status.ok()) return status;
  return writer;
}

absl::Status LmdbWriter::ReadEnds(MDB_txn* txn) {
  for (size_t database = 0; database < kDatabases; ++database) {
    MDB_cursor* cursor;
    MDB_val key, value;
    if (int rc = mdb_cursor_open(txn, env_.dbi(database), &cursor); rc != 0)
      return LmdbError(rc, "cannot read where the tables end");
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND) continue;
    if (rc != 0) return LmdbError(rc, "cannot read where the tables end");
    if (key.mv_size != kKeyBytes)
      return Error(ErrorCode::kDataLoss, "the last key of a table has a wrong size");
    if (database != kLogDb) {
      highest_keys_[database] = LoadKey(key.mv_data);
      continue;
    }
    ZS_ASSIGN_OR_RETURN(LogSegment last, LoadSegment(Lsn(LoadKey(key.mv_data)), ToView(value)));
    last_lsn_ = LastLsn(last);
  }
  return absl::OkStatus();
}

absl::Status LmdbWriter::Commit(Batch& batch) {
  ZS_RETURN_IF_ERROR(CheckFollows(batch, last_lsn_));
  if (batch.empty()) return absl::OkStatus();
  MDB_txn* raw;
  if (int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw); rc != 0)
    return LmdbError(rc, "cannot begin a commit");
  std::unique_ptr<MDB_txn, AbortTxn> txn(raw);
  ZS_RETURN_IF_ERROR(Write(raw, batch));
  if (int rc = mdb_txn_commit(txn.release()); rc != 0)
    return LmdbError(rc, "cannot make a commit durable");
  if (!batch.record_ends().empty()) last_lsn_ = batch.last_lsn();
  return absl::OkStatus();
}

absl::Status LmdbWriter::Write(MDB_txn* txn, Batch& batch) {
  if (!batch.record_ends().empty()) ZS_RETURN_IF_ERROR(WriteLog(txn, batch));
  for (size_t table = 0; table < kTables; ++table)
    ZS_RETURN_IF_ERROR(WriteTable(txn, static_cast<Table>(table), batch));
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteLog(MDB_txn* txn, const Batch& batch) {
  Cursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  size_t added = 0;
  ZS_RETURN_IF_ERROR(ForEachSegment(batch, [&](const LogSegment& segment) {
    char* room = cursor.Reserve(segment.first_lsn.value(), StoredSegmentBytes(segment), MDB_APPEND);
    if (room == nullptr) return cursor.Failed();
    StoreSegment(segment, room);
    ++added;
    return absl::OkStatus();
  }));
  return TrimLog(txn, cursor, added * kTrimPerAddedSegment + kTrimPerCommit);
}

// Never deletes the last segment: it tells the next LSN.
absl::Status LmdbWriter::TrimLog(MDB_txn* txn, const Cursor& cursor, size_t budget) {
  MDB_dbi log = env_.dbi(kLogDb);
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

absl::Status LmdbWriter::WriteTable(MDB_txn* txn, Table table, Batch& batch) {
  std::vector<Mutation>& mutations = batch.mutations(table);
  if (mutations.empty()) return absl::OkStatus();
  SortMutations(mutations);
  Cursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, static_cast<size_t>(table)));
  std::optional<uint64_t>& highest = highest_keys_[static_cast<size_t>(table)];
  for (const Mutation& mutation : mutations) {
    if (mutation.size == Mutation::kErase) {
      if (!cursor.Erase(mutation.key)) return cursor.Failed();
      continue;
    }
    bool append = !highest || mutation.key > *highest;
    char* room =
        cursor.Reserve(mutation.key, StoredRowBytes(mutation.size), append ? MDB_APPEND : 0);
    if (room == nullptr) return cursor.Failed();
    StoreRow(table, mutation.key, batch.row(mutation), room);
    if (append) highest = mutation.key;
  }
  return absl::OkStatus();
}

}  // namespace zsched::broker
