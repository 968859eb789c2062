// What a broker did alone, read from the data that was set aside when it took a copy: docs/ha.md, "The merge". Owned by
// broker/server, which composes journal and core.
//
//   archive ──┬── clients' last frames ──▶ kSubmit
//             ├── tasks, from the first id that only it knows ──▶ kTask
//             ├── what ended from the first LSN that only it knows ──▶ kEnd       … in parts, always the same ones
//             ├── what ran there and must not run again ──▶ kEnd
//             └── schedules ──▶ kSchedule
//
// Example:
//   ZS_ASSIGN_OR_RETURN(std::unique_ptr<MergeSource> source, MergeSource::Open(std::move(archive), *own_journal.View()));
//   if (source != nullptr) { ZS_ASSIGN_OR_RETURN(MergePart part, source->Read(0)); … }
//
// Threads: one owner, the loop. A part costs some milliseconds. Errors are those of the archive: DATA_LOSS, UNAVAILABLE.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/merge.h"
#include "broker/core/rows.h"
#include "broker/journal/journal.h"

namespace zsched::broker {

class MergeSource {
 public:
  // `own`: the tables as they are now, which go on from another log than the archive's. nullptr: the archive has nothing that they
  // have not.
  static absl::StatusOr<std::unique_ptr<MergeSource>> Open(std::unique_ptr<Journal> archive,
                                                           JournalView& own,
                                                           size_t part_bytes = kMergePartBytes);

  uint64_t log_hash() const { return meta_.hash; }
  // Tasks with an id from here on were taken alone.
  uint64_t first_unknown() const { return first_unknown_; }
  // Part `number`, from 0; one behind the last is the last, and empty. Bytes live until the next call. nullopt: ask again, it is
  // further on its way. The part read last and the one behind it come at once.
  absl::StatusOr<std::optional<MergePart>> Read(uint32_t number);

 private:
  // Rows that a part looks at, and parts that a call goes through to the one that is asked for: some milliseconds each.
  static constexpr size_t kMostLooks = 10'000;
  static constexpr int kMostSkipped = 4;

  enum class Phase : uint8_t { kSubmits, kTasks, kFinished, kDead, kLeased, kSchedules, kOver };
  // Where a part begins.
  struct Place {
    Phase phase = Phase::kSubmits;
    uint64_t key = 0;   // of the phase's table, the next one
    uint64_t skip = 0;  // tasks of the row of kFinished that are in an earlier part
  };

  MergeSource(std::unique_ptr<Journal> archive, std::unique_ptr<JournalView> view,
              const MetaRow& meta, const EpochRow& branch, size_t part_bytes);
  absl::Status Load();
  // Also of rows that were looked at in vain.
  bool full() const { return entries_.size() >= part_bytes_ || looked_at_ >= kMostLooks; }
  absl::Status Fill(Place* place);
  absl::Status FillTasks(Place* place);
  absl::Status FillFinished(Place* place);
  absl::Status FillDead(Place* place);
  absl::Status FillLeased(Place* place);
  absl::Status FillSubmits(Place* place);
  absl::Status FillSchedules(Place* place);
  absl::Status PutTask(uint64_t id, const TaskRow& row);
  absl::Status PutEnd(uint64_t id);
  void PutLeased(uint64_t id, const TaskRow& row);
  // Of a row that must be there; empty: it need not be, and is not.
  absl::StatusOr<std::string> Get(Table table, uint64_t key, bool required);

  const std::unique_ptr<Journal> archive_;
  const std::unique_ptr<JournalView> view_;
  const MetaRow meta_;            // of the archive
  const EpochRow branch_;         // of the first epoch that only one of the two logs has
  const uint64_t first_unknown_;  // task id
  const size_t part_bytes_;
  const uint64_t first_lease_;  // likewise
  absl::flat_hash_map<uint32_t, std::string> lanes_;

  uint32_t next_number_ = 0;
  Place last_, next_;     // the part read last, and the one behind it
  size_t looked_at_ = 0;  // rows, for the part that is made
  std::string entries_;   // of the part that is made
};

}  // namespace zsched::broker
