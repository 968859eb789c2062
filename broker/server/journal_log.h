// The log in the journal, as a leader reads it for a follower that is behind. Owned by broker/server, which composes the two.
//
// Example:
//   JournalLog log(journal);
//   Leader leader(log, sink);
//
// Threads: one owner. Each call looks at the journal as it is then; a part is copied, so nothing is pinned between calls.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "broker/journal/journal.h"
#include "broker/replication/leader.h"
#include "broker/replication/snapshot.h"

namespace zsched::broker {

class JournalLog final : public LogReader {
 public:
  explicit JournalLog(Journal& journal) : journal_(journal) {}

  // Both cost the segment that has the record, not the log. DATA_LOSS: the log on disk is damaged.
  absl::StatusOr<std::optional<uint64_t>> HashAt(Lsn lsn) override;
  absl::StatusOr<std::optional<LogPart>> Read(Lsn from, size_t max_bytes) override;

 private:
  Journal& journal_;
  std::string records_;  // of the last part
};

// The journal as it is when it is made.
class JournalSnapshot final : public SnapshotReader {
 public:
  static absl::StatusOr<std::unique_ptr<SnapshotReader>> Take(Journal& journal);
  absl::Status Scan(Table table, uint64_t from,
                    absl::FunctionRef<bool(uint64_t key, std::string_view row)> visit) override {
    return view_->Scan(table, from, visit);
  }
  absl::StatusOr<LogPart> Tail() override;

 private:
  explicit JournalSnapshot(std::unique_ptr<JournalView> view) : view_(std::move(view)) {}
  const std::unique_ptr<JournalView> view_;
  std::string records_;
};

// A journal of its own, in which a snapshot is put together.
class JournalTarget final : public SnapshotTarget {
 public:
  explicit JournalTarget(std::unique_ptr<Journal> journal) : journal_(std::move(journal)) {}
  absl::Status Write(Batch& batch) override { return journal_->Commit(batch); }

 private:
  const std::unique_ptr<Journal> journal_;
};

}  // namespace zsched::broker
