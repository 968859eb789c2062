#include "broker/journal/lmdb_view.h"

#include <string>
#include <thread>
#include <utility>

#include "base/check.h"
#include "broker/journal/block.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

std::string Reading(size_t database) { return "cannot read " + DatabaseName(database); }

// The changes of one table that lie over it, walked beside its rows.
class LayeredScan {
 public:
  using Visit = absl::FunctionRef<bool(uint64_t key, std::string_view row)>;

  LayeredScan(const RedoLayers& layers, Table table, uint64_t from)
      : changes_(NewestFrom(layers, table, from)) {}

  // Those with a key up to `key`: they come before a row behind it, or in place of the one under it.
  // False: `visit` has seen enough.
  bool VisitUpTo(uint64_t key, Visit visit) {
    for (; next_ < changes_.size() && changes_[next_].change->key <= key; ++next_) {
      const auto& [layer, change] = changes_[next_];
      if (!change->erased() && !visit(change->key, layer->row(*change))) return false;
    }
    return true;
  }
  // Whether VisitUpTo(key) dealt with the row under `key` itself.
  bool Covers(uint64_t key) const { return next_ > 0 && changes_[next_ - 1].change->key == key; }

 private:
  std::vector<NewestChange> changes_;
  size_t next_ = 0;
};

// The same from the other end: those with a key up to `to`.
class LayeredScanBack {
 public:
  LayeredScanBack(const RedoLayers& layers, Table table, uint64_t to)
      : changes_(NewestFrom(layers, table, 0)), left_(changes_.size()) {
    while (left_ > 0 && changes_[left_ - 1].change->key > to) --left_;
    begin_ = left_;
  }

  // Those with a key from `key` on.
  bool VisitDownTo(uint64_t key, LayeredScan::Visit visit) {
    for (; left_ > 0 && changes_[left_ - 1].change->key >= key; --left_) {
      const auto& [layer, change] = changes_[left_ - 1];
      if (!change->erased() && !visit(change->key, layer->row(*change))) return false;
    }
    return true;
  }
  bool Covers(uint64_t key) const { return left_ < begin_ && changes_[left_].change->key == key; }

 private:
  std::vector<NewestChange> changes_;
  size_t left_;
  size_t begin_ = 0;
};

class LmdbView final : public JournalView {
 public:
  LmdbView(LmdbViewPool& pool, std::unique_ptr<LmdbReader> reader,
           std::shared_ptr<const RedoLayers> layers)
      : pool_(pool), reader_(std::move(reader)), layers_(std::move(layers)) {}
  ~LmdbView() override { pool_.GiveBack(std::move(reader_)); }

  absl::StatusOr<std::optional<std::string_view>> Get(Table table, uint64_t key) override {
    if (auto [layer, change] = FindNewest(*layers_, table, key); change != nullptr) {
      if (change->erased()) return std::optional<std::string_view>();
      return std::optional<std::string_view>(layer->row(*change));
    }
    Block& block = blocks_[static_cast<size_t>(table)];
    if (block.rows() == 0 || key < block.first_key() || key > block.last_key()) {
      size_t database = static_cast<size_t>(table);
      ZS_ASSIGN_OR_RETURN(MDB_cursor * cursor, reader_->Cursor(database));
      MDB_val at, value;
      int rc = SeekFloor(cursor, key, &at, &value);
      if (rc == MDB_NOTFOUND) return std::optional<std::string_view>();
      if (rc != 0) return LmdbError(rc, Reading(database));
      ZS_ASSIGN_OR_RETURN(block, LoadBlock(table, at, value));
    }
    return block.Find(key);
  }

  absl::Status Scan(Table table, uint64_t from,
                    absl::FunctionRef<bool(uint64_t, std::string_view)> visit) override {
    size_t database = static_cast<size_t>(table);
    ZS_ASSIGN_OR_RETURN(const OwnCursor cursor, OpenCursor(database));
    MDB_cursor* const raw = cursor.get();
    LayeredScan over(*layers_, table, from);
    MDB_val key, value;
    int rc = SeekFloor(raw, from, &key, &value);
    if (rc == MDB_NOTFOUND) rc = mdb_cursor_get(raw, &key, &value, MDB_FIRST);
    for (; rc == 0; rc = mdb_cursor_get(raw, &key, &value, MDB_NEXT)) {
      ZS_ASSIGN_OR_RETURN(Block block, LoadBlock(table, key, value));
      for (uint32_t i = block.LowerBound(from); i < block.rows(); ++i) {
        uint64_t number = block.key(i);
        if (!over.VisitUpTo(number, visit)) return absl::OkStatus();
        if (!over.Covers(number) && !visit(number, block.row(i))) return absl::OkStatus();
      }
    }
    if (rc != MDB_NOTFOUND) return LmdbError(rc, Reading(database));
    over.VisitUpTo(UINT64_MAX, visit);
    return absl::OkStatus();
  }

  absl::Status ScanBack(Table table, uint64_t to,
                        absl::FunctionRef<bool(uint64_t, std::string_view)> visit) override {
    size_t database = static_cast<size_t>(table);
    ZS_ASSIGN_OR_RETURN(const OwnCursor cursor, OpenCursor(database));
    MDB_cursor* const raw = cursor.get();
    LayeredScanBack over(*layers_, table, to);
    MDB_val key, value;
    for (int rc = SeekFloor(raw, to, &key, &value); rc != MDB_NOTFOUND;
         rc = mdb_cursor_get(raw, &key, &value, MDB_PREV)) {
      if (rc != 0) return LmdbError(rc, Reading(database));
      ZS_ASSIGN_OR_RETURN(Block block, LoadBlock(table, key, value));
      for (uint32_t i = to == UINT64_MAX ? block.rows() : block.LowerBound(to + 1); i-- > 0;) {
        uint64_t number = block.key(i);
        if (!over.VisitDownTo(number, visit)) return absl::OkStatus();
        if (!over.Covers(number) && !visit(number, block.row(i))) return absl::OkStatus();
      }
    }
    over.VisitDownTo(0, visit);
    return absl::OkStatus();
  }

  absl::Status ScanLog(Lsn from, absl::FunctionRef<bool(const LogSegment&)> visit) override {
    ZS_ASSIGN_OR_RETURN(const OwnCursor cursor, OpenCursor(kLogDb));
    MDB_cursor* const raw = cursor.get();
    MDB_val key, value;
    Lsn expected;  // 0: the first one read
    for (int rc = SeekLog(raw, from, &key, &value); rc != MDB_NOTFOUND;
         rc = mdb_cursor_get(raw, &key, &value, MDB_NEXT)) {
      if (rc != 0) return LmdbError(rc, Reading(kLogDb));
      ZS_ASSIGN_OR_RETURN(LogSegment segment, LoadLogSegment(key, value));
      if (expected && segment.first_lsn != expected)
        return Error(ErrorCode::kDataLoss,
                     "the log has no segment at LSN " + std::to_string(expected.value()));
      expected = Next(LastLsn(segment));
      // The segment before `from` was only needed to see whether it reaches that far.
      if (LastLsn(segment) < from) continue;
      if (!visit(segment)) return absl::OkStatus();
    }
    for (const auto& layer : *layers_)
      if (LastLsn(layer->segment()) >= from && !visit(layer->segment())) break;
    return absl::OkStatus();
  }

  absl::StatusOr<LogBounds> Bounds() override {
    ZS_ASSIGN_OR_RETURN(MDB_cursor * cursor, reader_->Cursor(kLogDb));
    MDB_val key, value;
    LogBounds bounds;
    if (!layers_->empty())
      bounds = {layers_->front()->segment().first_lsn, LastLsn(layers_->back()->segment())};
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    if (rc == MDB_NOTFOUND) return bounds;
    if (rc != 0) return LmdbError(rc, Reading(kLogDb));
    ZS_ASSIGN_OR_RETURN(LogSegment first, LoadLogSegment(key, value));
    bounds.first = first.first_lsn;
    if (!layers_->empty()) return bounds;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    if (rc != 0) return LmdbError(rc, Reading(kLogDb));
    ZS_ASSIGN_OR_RETURN(LogSegment last, LoadLogSegment(key, value));
    bounds.last = LastLsn(last);
    return bounds;
  }

 private:
  // A scan has one of its own, so that what it calls may Get and Scan the same table.
  struct CloseCursor {
    void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
  };
  using OwnCursor = std::unique_ptr<MDB_cursor, CloseCursor>;
  absl::StatusOr<OwnCursor> OpenCursor(size_t database) const {
    MDB_cursor* raw = nullptr;
    if (int rc = mdb_cursor_open(reader_->txn(), pool_.env().dbi(database), &raw); rc != 0)
      return LmdbError(rc, Reading(database));
    return OwnCursor(raw);
  }

  static absl::StatusOr<Block> LoadBlock(Table table, const MDB_val& key, const MDB_val& value) {
    ZS_ASSIGN_OR_RETURN(uint64_t first_key, KeyOf(table, key));
    return Block::Load(table, first_key, ToView(value));
  }

  // The greatest key up to `wanted`.
  static int SeekFloor(MDB_cursor* cursor, uint64_t wanted, MDB_val* key, MDB_val* value) {
    LmdbKey start(wanted);
    *key = *start.val();
    int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (rc == MDB_NOTFOUND) return mdb_cursor_get(cursor, key, value, MDB_LAST);
    if (rc != 0 || (key->mv_size == kKeyBytes && LoadKey(key->mv_data) == wanted)) return rc;
    return mdb_cursor_get(cursor, key, value, MDB_PREV);
  }

  // The last segment that begins at or before `from`, or else the first one.
  static int SeekLog(MDB_cursor* cursor, Lsn from, MDB_val* key, MDB_val* value) {
    int rc = SeekFloor(cursor, from.value(), key, value);
    return rc == MDB_NOTFOUND ? mdb_cursor_get(cursor, key, value, MDB_FIRST) : rc;
  }

  LmdbViewPool& pool_;
  std::unique_ptr<LmdbReader> reader_;
  std::shared_ptr<const RedoLayers> layers_;
  // Of each table the block that was read last: who reads neighbours looks once.
  std::array<Block, kTables> blocks_;
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

void LmdbViewPool::Publish(size_t txn_id, std::shared_ptr<const RedoLayers> layers) {
  std::lock_guard lock(mutex_);
  published_.txn_id = txn_id;
  published_.layers = std::move(layers);
}

void LmdbViewPool::Poison() {
  std::lock_guard lock(mutex_);
  published_.poisoned = true;
}

LmdbViewPool::Published LmdbViewPool::Newest() {
  std::lock_guard lock(mutex_);
  return published_;
}

absl::StatusOr<std::unique_ptr<JournalView>> LmdbViewPool::View() {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<LmdbReader> reader, Take());
  absl::Status status;
  while (status.ok()) {
    Published newest = Newest();
    size_t seen = mdb_txn_id(reader->txn());
    if (seen == newest.txn_id)
      return std::unique_ptr<JournalView>(
          new LmdbView(*this, std::move(reader), std::move(newest.layers)));
    if (seen < newest.txn_id) {
      reader->Reset();
      status = reader->Renew();
    } else if (newest.poisoned) {
      status = Error(ErrorCode::kInternal, "an earlier commit failed, restart to recover");
    } else {
      std::this_thread::yield();  // the commit has returned from LMDB and is about to be published
    }
  }
  GiveBack(std::move(reader));
  return status;
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
