#include "broker/journal/memory_journal.h"

#include <string_view>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/planted.h"
#include "broker/journal/codec.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

// The object for changing: a copy when a view shares it. Called with the disk's mutex held, under
// which views take and drop their references, so the count cannot change meanwhile.
template <class T>
T& Mutable(std::shared_ptr<T>& shared) {
  if (shared.use_count() > 1) shared = std::make_shared<T>(*shared);
  return *shared;
}

}  // namespace

class MemoryView final : public JournalView {
 public:
  MemoryView(std::shared_ptr<MemoryDisk> disk, std::shared_ptr<size_t> views)
      : disk_(std::move(disk)), views_(std::move(views)) {
    std::lock_guard lock(disk_->mutex_);
    state_ = disk_->state_;
    ++*views_;
  }
  ~MemoryView() override {
    std::lock_guard lock(disk_->mutex_);
    state_ = {};
    --*views_;
  }

  absl::StatusOr<std::optional<std::string_view>> Get(Table table, uint64_t key) override {
    const MemoryDisk::Rows& rows = *state_.tables[static_cast<size_t>(table)];
    auto row = rows.find(key);
    if (row == rows.end()) return std::optional<std::string_view>();
    return std::optional<std::string_view>(row->second);
  }

  absl::Status Scan(Table table, uint64_t from,
                    absl::FunctionRef<bool(uint64_t, std::string_view)> visit) override {
    const MemoryDisk::Rows& rows = *state_.tables[static_cast<size_t>(table)];
    for (auto row = rows.lower_bound(from); row != rows.end(); ++row)
      if (!visit(row->first, row->second)) break;
    return absl::OkStatus();
  }

  absl::Status ScanBack(Table table, uint64_t to,
                        absl::FunctionRef<bool(uint64_t, std::string_view)> visit) override {
    const MemoryDisk::Rows& rows = *state_.tables[static_cast<size_t>(table)];
    for (auto row = rows.upper_bound(to); row != rows.begin();) {
      --row;
      if (!visit(row->first, row->second)) break;
    }
    return absl::OkStatus();
  }

  absl::Status ScanLog(Lsn from, absl::FunctionRef<bool(const LogSegment&)> visit) override {
    const MemoryDisk::Log& log = *state_.log;
    auto next = log.upper_bound(from);
    if (next != log.begin()) --next;
    for (; next != log.end(); ++next) {
      const MemoryDisk::Segment& stored = next->second;
      LogSegment segment{next->first, stored.count, stored.epoch, stored.hash_before,
                         stored.records};
      if (LastLsn(segment) < from) continue;
      if (!visit(segment)) break;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<LogBounds> Bounds() override {
    const MemoryDisk::Log& log = *state_.log;
    if (log.empty()) return LogBounds{};
    const auto& [first_lsn, segment] = *log.rbegin();
    return LogBounds{log.begin()->first, Lsn(first_lsn.value() + segment.count - 1)};
  }

 private:
  std::shared_ptr<MemoryDisk> disk_;
  std::shared_ptr<size_t> views_;  // alive ones of this journal; guarded by the disk's mutex
  MemoryDisk::State state_;
};

class MemoryJournal final : public Journal {
 public:
  explicit MemoryJournal(std::shared_ptr<MemoryDisk> disk) : disk_(std::move(disk)) {
    std::lock_guard lock(disk_->mutex_);
    ZS_CHECK(!disk_->in_use_);  // end the other MemoryJournal first
    disk_->in_use_ = true;
  }
  ~MemoryJournal() override {
    std::lock_guard lock(disk_->mutex_);
    ZS_CHECK(*views_ == 0);
    disk_->in_use_ = false;
    disk_->held_from_ = Lsn();
  }

  absl::Status Commit(Batch& batch) override {
    if (!failure_.ok()) return PoisonedBy(failure_);
    std::lock_guard lock(disk_->mutex_);
    failure_ = disk_->CommitLocked(batch);
    return failure_;
  }

  absl::StatusOr<std::unique_ptr<JournalView>> View() override {
    return std::unique_ptr<JournalView>(new MemoryView(disk_, views_));
  }

  void HoldLog(Lsn from) override {
    std::lock_guard lock(disk_->mutex_);
    disk_->held_from_ = from;
  }

  absl::StatusOr<JournalUsage> Usage() override {
    std::lock_guard lock(disk_->mutex_);
    uint64_t used_bytes = disk_->row_bytes_ + disk_->log_bytes_;
    return JournalUsage{.map_bytes = disk_->capacity_bytes_,
                        .used_bytes = used_bytes,
                        .free_bytes = 0,
                        .log_bytes = disk_->log_bytes_,
                        .disk_free_bytes = disk_->capacity_bytes_ > used_bytes
                                               ? disk_->capacity_bytes_ - used_bytes
                                               : 0};
  }

 private:
  std::shared_ptr<MemoryDisk> disk_;
  std::shared_ptr<size_t> views_ = std::make_shared<size_t>(0);
  absl::Status failure_;
};

MemoryDisk::MemoryDisk() {
  for (auto& table : state_.tables) table = std::make_shared<Rows>();
  state_.log = std::make_shared<Log>();
}

void MemoryDisk::FailNextCommit(absl::Status error, bool applied) {
  ZS_CHECK(!error.ok());
  std::lock_guard lock(mutex_);
  fault_ = Fault{std::move(error), applied};
}

void MemoryDisk::SetCapacityBytes(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  capacity_bytes_ = bytes;
}

void MemoryDisk::KeepLog(uint64_t bytes) {
  std::lock_guard lock(mutex_);
  keep_log_bytes_ = bytes;
}

// Never the last segment: it tells the next LSN.
void MemoryDisk::TrimLogLocked() {
  while (log_bytes_ > keep_log_bytes_ && state_.log->size() > 1) {
    const auto first = state_.log->begin();
    const uint64_t last = first->first.value() + first->second.count - 1;
    const bool held = held_from_ && last >= held_from_.value();
    if (held && log_bytes_ <= HeldLogBytes(keep_log_bytes_)) return;
    log_bytes_ -= kSegmentHeaderBytes + first->second.records.size();
    Mutable(state_.log).erase(first->first);
  }
}

Lsn MemoryDisk::LastLsnLocked() const {
  if (state_.log->empty()) return Lsn();
  const auto& [first_lsn, segment] = *state_.log->rbegin();
  return Lsn(first_lsn.value() + segment.count - 1);
}

absl::Status MemoryDisk::CommitLocked(Batch& batch) {
  ZS_RETURN_IF_ERROR(CheckFollows(batch, LastLsnLocked()));
  if (batch.empty()) return absl::OkStatus();
  std::optional<Fault> fault = std::exchange(fault_, std::nullopt);
  if (fault && !fault->applied && ZS_PLANTED("failed-commit-passes")) return absl::OkStatus();
  if (fault && !fault->applied) return fault->error;
  if (row_bytes_ + log_bytes_ + batch.bytes() > capacity_bytes_)
    return Error(ErrorCode::kResourceExhausted, "the memory disk is full");
  ApplyLocked(batch);
  return fault ? fault->error : absl::OkStatus();
}

void MemoryDisk::ApplyLocked(Batch& batch) {
  if (!batch.record_ends().empty()) {
    Log& log = Mutable(state_.log);
    ZS_CHECK_OK(ForEachSegment(batch, [&](const LogSegment& segment) {
      std::string_view records = segment.records;
      if (ZS_PLANTED("log-cut-short")) records.remove_suffix(records.size() / 2);
      log_bytes_ += StoredSegmentBytes(segment);
      log.emplace_hint(
          log.end(), segment.first_lsn,
          Segment{segment.count, segment.epoch, segment.hash_before, std::string(records)});
      return absl::OkStatus();
    }));
    TrimLogLocked();
  }
  for (size_t table = 0; table < kTables; ++table)
    ApplyTableLocked(static_cast<Table>(table), batch);
}

void MemoryDisk::ApplyTableLocked(Table table, Batch& batch) {
  std::vector<Mutation>& mutations = batch.mutations(table);
  if (mutations.empty() && batch.erased_ranges(table).empty()) return;
  SortChanges(batch, table);
  if (ZS_PLANTED("last-row-lost") && !mutations.empty()) mutations.pop_back();
  Rows& rows = Mutable(state_.tables[static_cast<size_t>(table)]);
  for (const KeyRange& range : batch.erased_ranges(table)) {
    auto begin = rows.lower_bound(range.first), end = rows.upper_bound(range.last);
    for (auto row = begin; row != end; ++row) row_bytes_ -= row->second.size();
    rows.erase(begin, end);
  }
  for (const Mutation& mutation : mutations) {
    auto row = rows.lower_bound(mutation.key);
    bool exists = row != rows.end() && row->first == mutation.key;
    if (exists) row_bytes_ -= row->second.size();
    if (mutation.size == Mutation::kErase) {
      if (exists) rows.erase(row);
      continue;
    }
    row_bytes_ += mutation.size;
    if (exists) {
      row->second = batch.row(mutation);
    } else {
      rows.emplace_hint(row, mutation.key, batch.row(mutation));
    }
  }
}

std::shared_ptr<MemoryDisk> MakeMemoryDisk() {
  return std::shared_ptr<MemoryDisk>(new MemoryDisk());
}

std::unique_ptr<Journal> OpenMemoryJournal(std::shared_ptr<MemoryDisk> disk) {
  return std::make_unique<MemoryJournal>(std::move(disk));
}

}  // namespace zsched::broker
