// What one broker of a pair did alone, as the other one's core takes it: docs/ha.md, "The merge". Owned by broker/core; pure.
//
//   MergeEntry | struct of the kind | bytes … | MergeEntry | …
//
// A part comes from the other broker, and a record of the kind kMerged has the same entries as they were decided: so both are
// checked by CheckMergeEntries, which nothing that is malformed passes.
//
// Example:
//   ZS_RETURN_IF_ERROR(CheckMergeEntries(part.entries));
//   ForEachMergeEntry(part.entries, [&](const MergeView& entry) { … });
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "broker/core/lanes.h"
#include "broker/core/rows.h"

namespace zsched::broker {

// Entries of a part are cut off at so many bytes: some milliseconds to decide. A larger entry is a part by itself.
inline constexpr size_t kMergePartBytes = 1 << 20;
// Rows of kEpochs and kMerges that are kept. A broker that was away for longer than so many promotions has nothing merged.
inline constexpr size_t kKeptEpochs = 1024;
inline constexpr size_t kKeptMerges = 64;

// Why a task is dead that may run at most once.
inline constexpr char kMayHaveRunThere[] =
    "it was running at the other broker of the pair, which was replaced; it may have run, and is "
    "not run again";

struct MergePart {
  uint64_t log_hash = 0;  // MergeRow::log_hash
  uint64_t epoch = 0;     // likewise
  // Where the two logs parted: tasks with an id from there on were taken alone.
  uint64_t first_unknown = 0;
  uint32_t number = 0;  // from 0
  bool last = false;
  std::string_view entries;
};

enum class MergeKind : uint8_t {
  kTask =
      1,  // MergeTask, lane row, spec row, outcome row, body of a wire::Chain: a task that was taken there
  kEnd = 2,  // MergeEnd, outcome row: a task that is known here has ended there
  // MergeSubmit, ProducerReject*: a frame that its client may send again. In parts in front of all tasks.
  kSubmit = 3,
  // MergeSchedule, SCHEDULE_SET body. Of parts only, behind those with tasks: what becomes of it is a record of kScheduleSet.
  kSchedule = 4,
  // MergeResent. Of records only: the tasks of a frame that its client has sent to this side too.
  kResent = 5,
  // MergeTicks. Of records only: how far a schedule has come with the tasks of the same record.
  kTicks = 6,
};

struct MergeEntry {
  uint32_t bytes = 0;  // of the whole entry, this head included
  MergeKind kind{};
  uint8_t reserved[3] = {};
};
static_assert(sizeof(MergeEntry) == 8);

struct MergeTask {
  uint64_t task = 0;
  TaskRow
      row;  // ready, waiting or over; of a part also leased. Its lane and worker are the other side's numbers
  KeyRow key{0, 0, 0, 0, 0};  // of version 0: it holds none
  int64_t start_by_ms = 0;    // 0: none
  uint64_t fingerprint = 0;   // of a dead one
  uint32_t lane_bytes = 0;
  uint32_t spec_bytes = 0;
  uint32_t outcome_bytes = 0;
  uint32_t chain_bytes = 0;
  uint64_t fired = 0;  // branches of the chain
};
static_assert(sizeof(MergeTask) == 160);

struct MergeEnd {
  uint64_t task = 0;
  uint64_t fingerprint = 0;  // of a dead one
  int64_t finished_ms = 0;
  uint32_t run_us = 0;
  uint32_t outcome_bytes = 0;
  uint16_t attempt = 0;
  TaskState state{};
  uint8_t fires = 0;  // 1: nobody has made the tasks that follow
  uint8_t reserved[4] = {};
};
static_assert(sizeof(MergeEnd) == 40);

struct MergeSubmit {
  Uuid client;
  uint64_t acked_below = 0;
  ProducerSubmit submit;
};
static_assert(sizeof(MergeSubmit) == 48);

struct MergeSchedule {
  TicksRow row;
  uint64_t known = 0;  // 1: to both, when they parted
};
static_assert(sizeof(MergeSchedule) == 72);

struct MergeResent {
  uint64_t first_id = 0;
  uint64_t tasks = 0;
};

struct MergeTicks {
  uint64_t schedule = 0;  // its number here
  TicksRow row;
};
static_assert(sizeof(MergeTicks) == 72);

// One entry, read.
struct MergeView {
  MergeKind kind{};
  MergeTask task;
  LaneNames lane;
  std::string_view lane_row, spec, outcome, chain;
  MergeEnd end;
  MergeSubmit submit;
  std::string_view rejects;
  MergeResent resent;
  MergeTicks moved;
  TicksRow ticks;
  bool schedule_known = false;  // to both, when they parted
  std::string_view schedule;
};

// Whether the bytes are entries that anybody could have written: lengths, states, ranges, nested bodies. MALFORMED says what is wrong.
absl::Status CheckMergeEntries(std::string_view entries);
// Requires that they pass that.
void ForEachMergeEntry(std::string_view entries, absl::FunctionRef<void(const MergeView&)> visit);
// Puts it behind the others; its lengths are filled in.
void AppendMergeEntry(std::string& entries, MergeView entry);

}  // namespace zsched::broker
