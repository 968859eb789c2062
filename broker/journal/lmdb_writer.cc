#include "broker/journal/lmdb_writer.h"

#include <chrono>
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

uint64_t MicrosSince(std::chrono::steady_clock::time_point begin) {
  const auto passed = std::chrono::steady_clock::now() - begin;
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(passed).count());
}

struct AbortTxn {
  void operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }
};

}  // namespace

absl::StatusOr<std::unique_ptr<LmdbWriter>> LmdbWriter::Open(const LmdbEnv& env, RedoFile& redo,
                                                             uint64_t keep_log_bytes) {
  std::unique_ptr<LmdbWriter> writer(new LmdbWriter(env, redo, keep_log_bytes));
  MDB_txn* txn;
  if (int rc = mdb_txn_begin(env.get(), nullptr, MDB_RDONLY, &txn); rc != 0)
    return LmdbError(rc, "cannot read where the log ends");
  writer->txn_id_ = mdb_txn_id(txn);
  absl::Status status = writer->ReadEnd(txn);
  mdb_txn_abort(txn);
  if (status.ok()) status = writer->ReadLayers();
  if (status.ok()) status = writer->FlushLayers();
  if (!status.ok()) return status;
  return writer;
}

absl::Status LmdbWriter::ReadEnd(MDB_txn* txn) {
  WriteCursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  MDB_val key, value;
  if (!cursor.Seek(MDB_LAST, key, value))
    return cursor.failed() ? cursor.Failed() : absl::OkStatus();
  ZS_ASSIGN_OR_RETURN(LogSegment last, LoadLogSegment(key, value));
  last_lsn_ = LastLsn(last);
  return absl::OkStatus();
}

absl::Status LmdbWriter::ReadLayers() {
  ZS_ASSIGN_OR_RETURN(RedoLayers layers, redo_.Read(last_lsn_));
  if (!layers.empty()) last_lsn_ = LastLsn(layers.back()->segment());
  layers_ = std::make_shared<const RedoLayers>(std::move(layers));
  return absl::OkStatus();
}

template <class Write>
absl::Status LmdbWriter::InTransaction(Write write) {
  MDB_txn* raw;
  if (int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw); rc != 0)
    return LmdbError(rc, "cannot begin a commit");
  std::unique_ptr<MDB_txn, AbortTxn> txn(raw);
  ZS_RETURN_IF_ERROR(write(raw));
  const auto begin = std::chrono::steady_clock::now();
  if (int rc = mdb_txn_commit(txn.release()); rc != 0)
    return LmdbError(rc, "cannot make a commit durable");
  flush_us_ = MicrosSince(begin);
  // Asked for now: a transaction that changed nothing leaves no trace and its id is taken again.
  MDB_envinfo info;
  if (int rc = mdb_env_info(env_.get(), &info); rc != 0) return LmdbError(rc, "cannot commit");
  txn_id_ = info.me_last_txnid;
  return absl::OkStatus();
}

absl::Status LmdbWriter::FlushLayers() {
  Batch nothing;
  return layers_->empty() ? absl::OkStatus() : CommitLarge(nothing);
}

absl::Status LmdbWriter::Commit(Batch& batch) {
  flush_us_ = 0;
  ZS_RETURN_IF_ERROR(CheckFollows(batch, last_lsn_));
  if (batch.empty()) return absl::OkStatus();
  ZS_RETURN_IF_ERROR(IsSmall(batch) ? CommitSmall(batch) : CommitLarge(batch));
  if (!batch.record_ends().empty()) last_lsn_ = batch.last_lsn();
  return absl::OkStatus();
}

// Whether all of it fits into one slot of the redo file, and there is one. A process begins with a
// commit of LMDB: what it read at start may be in the page cache only, when the one before it ended in
// the middle of a commit, and a slot counts from LMDB's end.
bool LmdbWriter::IsSmall(const Batch& batch) const {
  return lmdb_is_durable_ && !batch.record_ends().empty() && layers_->size() < kMaxLayers &&
         kSegmentHeaderBytes + batch.records().size() + RedoLayer::BytesFor(batch) <=
             kMaxSegmentBytes;
}

absl::Status LmdbWriter::CommitSmall(Batch& batch) {
  auto layers = std::make_shared<RedoLayers>(*layers_);
  layers->push_back(RedoLayer::Of(batch));
  const auto begin = std::chrono::steady_clock::now();
  ZS_RETURN_IF_ERROR(redo_.Write(layers_->size(), *layers->back()));
  flush_us_ = MicrosSince(begin);
  layers_ = std::move(layers);
  return absl::OkStatus();
}

absl::Status LmdbWriter::CommitLarge(Batch& batch) {
  const size_t before = txn_id_;
  ZS_RETURN_IF_ERROR(InTransaction([&](MDB_txn* txn) { return WriteAll(txn, batch); }));
  layers_ = std::make_shared<const RedoLayers>();  // the next small commit takes slot 0
  if (txn_id_ != before) lmdb_is_durable_ = true;  // one that changes nothing syncs nothing
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteAll(MDB_txn* txn, Batch& batch) {
  ZS_RETURN_IF_ERROR(WriteLayers(txn));
  ZS_RETURN_IF_ERROR(WriteLog(txn, batch));
  for (size_t table = 0; table < kTables; ++table)
    ZS_RETURN_IF_ERROR(WriteTable(txn, static_cast<Table>(table), batch));
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteLog(MDB_txn* txn, const Batch& batch) {
  WriteCursor cursor;
  ZS_RETURN_IF_ERROR(cursor.Open(env_, txn, kLogDb));
  for (const auto& layer : *layers_) ZS_RETURN_IF_ERROR(AppendSegment(cursor, layer->segment()));
  ZS_RETURN_IF_ERROR(ForEachSegment(
      batch, [&](const LogSegment& segment) { return AppendSegment(cursor, segment); }));
  return batch.empty() ? absl::OkStatus() : TrimLog(txn, cursor);  // a start deletes nothing
}

absl::Status LmdbWriter::AppendSegment(WriteCursor& cursor, const LogSegment& segment) {
  char* room = cursor.Reserve(segment.first_lsn.value(), StoredSegmentBytes(segment), MDB_APPEND);
  if (room == nullptr) return cursor.Failed();
  StoreSegment(segment, {}, room);
  ++added_segments_;
  return absl::OkStatus();
}

// Never deletes the last segment: it tells the next LSN.
absl::Status LmdbWriter::TrimLog(MDB_txn* txn, const WriteCursor& cursor) {
  MDB_dbi log = env_.dbi(kLogDb);
  size_t budget = std::exchange(added_segments_, 0) * kTrimPerAddedSegment + kTrimPerCommit;
  for (; budget > 0 && env_.DatabaseBytes(txn, log) > keep_log_bytes_; --budget) {
    MDB_stat stat;
    MDB_val key, value;
    int rc = mdb_stat(txn, log, &stat);
    if (rc == 0 && stat.ms_entries <= 1) break;
    if (rc == 0) rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST);
    if (rc == 0 && IsHeld(key, value) &&
        env_.DatabaseBytes(txn, log) <= HeldLogBytes(keep_log_bytes_))
      break;
    if (rc == 0) rc = mdb_cursor_del(cursor.get(), 0);
    if (rc != 0) return LmdbError(rc, "cannot trim the log");
  }
  return absl::OkStatus();
}

bool LmdbWriter::IsHeld(const MDB_val& key, const MDB_val& value) const {
  const uint64_t from = held_from_.load(std::memory_order_relaxed);
  if (from == 0) return false;
  const absl::StatusOr<LogSegment> first = LoadLogSegment(key, value);
  return first.ok() && LastLsn(*first).value() >= from;
}

absl::Status LmdbWriter::WriteLayers(MDB_txn* txn) {
  if (layers_->empty()) return absl::OkStatus();
  for (size_t number = 0; number < kTables; ++number) {
    auto table = static_cast<Table>(number);
    changes_.clear();
    for (const auto& [layer, change] : NewestFrom(*layers_, table, 0))
      changes_.push_back({change->key, change->erased(),
                          change->erased() ? std::string_view() : layer->row(*change)});
    if (!changes_.empty()) ZS_RETURN_IF_ERROR(table_writer_.Write(env_, txn, table, {}, changes_));
  }
  return absl::OkStatus();
}

absl::Status LmdbWriter::WriteTable(MDB_txn* txn, Table table, Batch& batch) {
  if (batch.mutations(table).empty() && batch.erased_ranges(table).empty()) return absl::OkStatus();
  SortChanges(batch, table);
  changes_.clear();
  for (const Mutation& mutation : batch.mutations(table)) {
    bool erased = mutation.size == Mutation::kErase;
    changes_.push_back({mutation.key, erased, erased ? std::string_view() : batch.row(mutation)});
  }
  return table_writer_.Write(env_, txn, table, batch.erased_ranges(table), changes_);
}

}  // namespace zsched::broker
