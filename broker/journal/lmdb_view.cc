#include "broker/journal/lmdb_view.h"

#include <string>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

std::string Reading(size_t database) { return "cannot read " + DatabaseName(database); }

absl::StatusOr<LogSegment> LoadSegmentAt(const MDB_val& key, const MDB_val& value) {
  if (key.mv_size != kKeyBytes)
    return Error(ErrorCode::kDataLoss, "the log has a key of a wrong size");
  return LoadSegment(Lsn(LoadKey(key.mv_data)), ToView(value));
}

class LmdbView final : public JournalView {
 public:
  LmdbView(LmdbViewPool& pool, std::unique_ptr<LmdbReader> reader)
      : pool_(pool), reader_(std::move(reader)) {}
  ~LmdbView() override { pool_.GiveBack(std::move(reader_)); }

  absl::StatusOr<std::optional<std::string_view>> Get(Table table, uint64_t key) override {
    size_t database = static_cast<size_t>(table);
    ZS_ASSIGN_OR_RETURN(MDB_cursor * cursor, reader_->Cursor(database));
    LmdbKey lmdb_key(key);
    MDB_val value;
    // A cursor looks on the page where it stands first: keys that rise are found there.
    int rc = mdb_cursor_get(cursor, lmdb_key.val(), &value, MDB_SET);
    if (rc == MDB_NOTFOUND) return std::optional<std::string_view>();
    if (rc != 0) return LmdbError(rc, Reading(database));
    ZS_ASSIGN_OR_RETURN(std::string_view row, LoadRow(table, key, ToView(value)));
    return std::optional<std::string_view>(row);
  }

  absl::Status Scan(Table table, uint64_t from,
                    absl::FunctionRef<bool(uint64_t, std::string_view)> visit) override {
    size_t database = static_cast<size_t>(table);
    // Its own cursor, so that `visit` may Get and Scan the same table.
    MDB_cursor* raw;
    if (int rc = mdb_cursor_open(reader_->txn(), Dbi(database), &raw); rc != 0)
      return LmdbError(rc, Reading(database));
    std::unique_ptr<MDB_cursor, void (*)(MDB_cursor*)> cursor(raw, &mdb_cursor_close);
    LmdbKey start(from);
    MDB_val key = *start.val(), value;
    int rc = mdb_cursor_get(raw, &key, &value, MDB_SET_RANGE);
    for (; rc == 0; rc = mdb_cursor_get(raw, &key, &value, MDB_NEXT)) {
      if (key.mv_size != kKeyBytes)
        return Error(ErrorCode::kDataLoss, Reading(database) + ": a key has a wrong size");
      uint64_t number = LoadKey(key.mv_data);
      ZS_ASSIGN_OR_RETURN(std::string_view row, LoadRow(table, number, ToView(value)));
      if (!visit(number, row)) return absl::OkStatus();
    }
    return rc == MDB_NOTFOUND ? absl::OkStatus() : LmdbError(rc, Reading(database));
  }

  absl::Status ScanLog(Lsn from, absl::FunctionRef<bool(const LogSegment&)> visit) override {
    MDB_cursor* raw;
    if (int rc = mdb_cursor_open(reader_->txn(), Dbi(kLogDb), &raw); rc != 0)
      return LmdbError(rc, Reading(kLogDb));
    std::unique_ptr<MDB_cursor, void (*)(MDB_cursor*)> cursor(raw, &mdb_cursor_close);
    MDB_val key, value;
    Lsn expected;  // 0: the first one read
    for (int rc = SeekLog(raw, from, &key, &value); rc != MDB_NOTFOUND;
         rc = mdb_cursor_get(raw, &key, &value, MDB_NEXT)) {
      if (rc != 0) return LmdbError(rc, Reading(kLogDb));
      ZS_ASSIGN_OR_RETURN(LogSegment segment, LoadSegmentAt(key, value));
      if (expected && segment.first_lsn != expected)
        return Error(ErrorCode::kDataLoss,
                     "the log has no segment at LSN " + std::to_string(expected.value()));
      expected = Next(LastLsn(segment));
      // The segment before `from` was only needed to see whether it reaches that far.
      if (LastLsn(segment) < from) continue;
      if (!visit(segment)) break;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<LogBounds> Bounds() override {
    ZS_ASSIGN_OR_RETURN(MDB_cursor * cursor, reader_->Cursor(kLogDb));
    MDB_val key, value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == MDB_NOTFOUND) return LogBounds{};
    if (rc != 0) return LmdbError(rc, Reading(kLogDb));
    ZS_ASSIGN_OR_RETURN(LogSegment first, LoadSegmentAt(key, value));
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc != 0) return LmdbError(rc, Reading(kLogDb));
    ZS_ASSIGN_OR_RETURN(LogSegment last, LoadSegmentAt(key, value));
    return LogBounds{.first = first.first_lsn, .last = LastLsn(last)};
  }

 private:
  MDB_dbi Dbi(size_t database) const { return pool_.env().dbi(database); }

  // The last segment that begins at or before `from`, or else the first one.
  static int SeekLog(MDB_cursor* cursor, Lsn from, MDB_val* key, MDB_val* value) {
    LmdbKey start(from.value());
    *key = *start.val();
    int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) return mdb_cursor_get(cursor, key, value, MDB_LAST);
    if (rc != 0 || (key->mv_size == kKeyBytes && LoadKey(key->mv_data) == from.value())) return rc;
    rc = mdb_cursor_get(cursor, key, value, MDB_PREV);
    return rc == MDB_NOTFOUND ? mdb_cursor_get(cursor, key, value, MDB_FIRST) : rc;
  }

  LmdbViewPool& pool_;
  std::unique_ptr<LmdbReader> reader_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<LmdbReader>> LmdbReader::Begin(const LmdbEnv& env) {
  std::unique_ptr<LmdbReader> reader(new LmdbReader(env));
  int rc = mdb_txn_begin(env.get(), nullptr, MDB_RDONLY, &reader->txn_);
  if (rc != 0) {
    reader->txn_ = nullptr;
    return LmdbError(rc, "cannot begin a view");
  }
  return reader;
}

LmdbReader::~LmdbReader() {
  for (Slot& slot : slots_)
    if (slot.cursor != nullptr) mdb_cursor_close(slot.cursor);
  if (txn_ != nullptr) mdb_txn_abort(txn_);
}

void LmdbReader::Reset() {
  mdb_txn_reset(txn_);
  for (Slot& slot : slots_) slot.current = false;
}

absl::Status LmdbReader::Renew() {
  int rc = mdb_txn_renew(txn_);
  return rc == 0 ? absl::OkStatus() : LmdbError(rc, "cannot begin a view");
}

absl::StatusOr<MDB_cursor*> LmdbReader::Cursor(size_t database) {
  Slot& slot = slots_[database];
  if (slot.current) return slot.cursor;
  int rc = slot.cursor == nullptr ? mdb_cursor_open(txn_, env_.dbi(database), &slot.cursor)
                                  : mdb_cursor_renew(txn_, slot.cursor);
  if (rc != 0) return LmdbError(rc, Reading(database));
  slot.current = true;
  return slot.cursor;
}

LmdbViewPool::~LmdbViewPool() { ZS_CHECK(taken_ == 0); }

absl::StatusOr<std::unique_ptr<JournalView>> LmdbViewPool::View() {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<LmdbReader> reader, Take());
  return std::unique_ptr<JournalView>(new LmdbView(*this, std::move(reader)));
}

absl::StatusOr<std::unique_ptr<LmdbReader>> LmdbViewPool::Take() {
  std::unique_ptr<LmdbReader> reader;
  {
    std::lock_guard lock(mutex_);
    if (taken_ >= kMaxViews)
      return Error(ErrorCode::kResourceExhausted,
                   "no view is left of " + std::to_string(kMaxViews) + "; end one first");
    ++taken_;
    if (!idle_.empty()) {
      reader = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  absl::Status status;
  if (reader != nullptr) {
    status = reader->Renew();
  } else if (auto begun = LmdbReader::Begin(env_); begun.ok()) {
    reader = *std::move(begun);
  } else {
    status = begun.status();
  }
  if (status.ok()) return reader;
  std::lock_guard lock(mutex_);
  --taken_;
  return status;
}

void LmdbViewPool::GiveBack(std::unique_ptr<LmdbReader> reader) {
  reader->Reset();
  std::lock_guard lock(mutex_);
  idle_.push_back(std::move(reader));
  --taken_;
}

}  // namespace zsched::broker
