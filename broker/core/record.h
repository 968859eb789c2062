// The records of the log, byte for byte: each is one decision of the active broker, complete enough
// that a standby or a restart applies it without clock, randomness or any other knowledge. Owned by
// broker/core; docs/journal.md lists them.
//
//   RecordHead | struct of the kind | entries | bytes | what is told
//
// What is told are facts that Apply has from the state, for those who read the log without it (events):
// nothing is applied from them, and a record of an older version has none.
//
// Records are written by Step (on_*.cc) and read by Apply (apply.cc). A record is trusted only
// after its segment's checksum held; its lengths are checked all the same, because the peer's link
// is an input from outside.
//
// To add a kind: a new number, a struct, a case in Apply, a line in docs/journal.md. Old kinds are
// read for ever.
#pragma once

#include <cstdint>
#include <optional>

#include "broker/core/rows.h"
#include "schemas/ids.h"

namespace zsched::broker {

enum class RecordKind : uint8_t {
  kEpochStarted = 1,    // EpochStartedRecord
  kSubmitted = 2,       // SubmittedRecord, SUBMIT body, ProducerReject*
  kWorkerSeen = 3,      // WorkerSeenRecord, name, host, version
  kLeased = 4,          // LeasedRecord, LeasedEntry*
  kAdopted = 5,         // LeasedRecord (first_lease unused), AdoptedEntry*
  kSucceeded = 6,       // EndedRecord, SucceededEntry*: empty results only; ToldTask*
  kEnded = 7,           // EndedRecord, (EndedEntry, outcome row bytes)*; ToldTask*
  kFired = 8,           // IdsRecord, task ids by rising id: waiting is over
  kRetried = 9,         // IdsRecord, RetriedEntry*: dead tasks made ready again
  kPruned = 10,         // PrunedRecord, keys of kFinished, FinishedRun*
  kProducersGone = 11,  // IdsRecord, producer numbers
  kWorkersGone = 12,    // IdsRecord, worker numbers; (ToldName, name)*
  kCancelled =
      13,  // IdsRecord, task ids by rising id: over, or over when their attempt is; ToldTask*
  kKeysGone = 15,       // IdsRecord, tasks whose keys are free again
  kQueueSet = 14,       // QueueRow, name: all of the queue's settings
  kDeadGone = 16,       // IdsRecord, DeadGoneEntry*: deleted, or too old
  kScheduleSet = 17,    // ScheduleSetRecord, SCHEDULE_SET body: none when the definition stays
  kTicked = 18,         // TickedRecord, TickedEntry*; ToldTask*
  kSchedulesGone = 20,  // IdsRecord, schedule numbers; (ToldName, name)*
  kReported = 21,       // IdsRecord, (ReportedEntry, message, checkpoint)*: of running attempts
  kOutput = 22,         // IdsRecord, (OutputEntry, runs, bytes)*: pages of running attempts
  kTypeSet = 24,        // TypeRow, name: all rules of the type
  kExpired = 26,        // IdsRecord, ExpiredEntry*: dead, as no attempt began in time; ToldTask*
  kMerged = 27,         // MergedRecord, entries of merge.h as they were decided
};

struct RecordHead {
  uint32_t bytes = 0;  // of the whole record, this head included
  RecordKind kind{};
  uint8_t reserved[3] = {};
  int64_t time_ms = 0;  // wall clock of the decision
};
static_assert(sizeof(RecordHead) == 16);

struct EpochStartedRecord {
  uint64_t epoch = 0;
  Uuid cluster;
};
static_assert(sizeof(EpochStartedRecord) == 24);

struct SubmittedRecord {
  Uuid client;
  uint64_t seq = 0;
  uint64_t acked_below = 0;
  uint64_t first_id = 0;
  uint32_t accepted = 0;
  uint32_t rejected = 0;
  uint64_t body_bytes = 0;
};
static_assert(sizeof(SubmittedRecord) == 56);

struct WorkerSeenRecord {
  uint32_t worker = 0;
  uint32_t pid = 0;
  Uuid id;
  uint16_t name_bytes = 0;
  uint16_t host_bytes = 0;
  uint16_t version_bytes = 0;
  uint16_t reserved = 0;
};
static_assert(sizeof(WorkerSeenRecord) == 32);

struct LeasedRecord {
  uint64_t first_lease = 0;  // entry i gets lease first_lease + i
  uint64_t count = 0;
};
struct [[gnu::packed]] LeasedEntry {
  uint64_t task = 0;
  uint32_t worker = 0;
  uint32_t attempt = 0;  // told
};
struct AdoptedEntry {
  uint64_t task = 0;
  uint64_t lease = 0;
  uint32_t worker = 0;
  uint32_t attempt = 0;
};
static_assert(sizeof(LeasedRecord) == 16 && sizeof(LeasedEntry) == 16 &&
              sizeof(AdoptedEntry) == 24);

struct EndedRecord {
  uint64_t count = 0;
};
struct [[gnu::packed]] SucceededEntry {
  uint64_t task = 0;
  uint32_t run_us = 0;
  uint32_t attempt = 0;  // told
};
// What an attempt's end means for its task.
enum class Ending : uint8_t {
  kSucceeded = 0,
  kRetry = 1,  // waits until due_ms
  kDead = 2,
  kReturned = 3,   // ready again at the front of its line
  kCancelled = 4,  // whatever the attempt did: the task was marked as cancelled
};
// How the task is over after it; nullopt: it goes on.
inline std::optional<TaskState> StateAfter(Ending ending) {
  if (ending == Ending::kSucceeded) return TaskState::kSucceeded;
  if (ending == Ending::kDead) return TaskState::kDead;
  if (ending == Ending::kCancelled) return TaskState::kCancelled;
  return std::nullopt;
}
// What is counted against the task.
enum class Charge : uint8_t { kNothing = 0, kFailure = 1, kLost = 2, kRelease = 3 };
struct EndedEntry {
  uint64_t task = 0;
  int64_t due_ms = 0;
  uint64_t fingerprint = 0;  // of a task that dies
  uint32_t run_us = 0;
  uint32_t outcome_bytes = 0;  // of the outcome row that follows; 0: none, the old row stays
  Ending ending{};
  Charge charge{};
  uint16_t attempt = 0;  // told, as the next one
  uint32_t worker = 0;
};
static_assert(sizeof(EndedRecord) == 8 && sizeof(SucceededEntry) == 16 && sizeof(EndedEntry) == 40);

// Whether the attempt gets a row in kHistory. A success is told by the row of its task, and one that
// is given back has not run.
inline bool LeavesHistory(const EndedEntry& entry) {
  return entry.ending != Ending::kSucceeded && entry.charge != Charge::kRelease;
}

struct IdsRecord {
  uint64_t count = 0;
};
struct RetriedEntry {
  uint64_t task = 0;
  TaskRow row;  // as it was while dead
};
static_assert(sizeof(RetriedEntry) == 80);
struct DeadGoneEntry {
  uint64_t letter = 0;
  uint64_t task = 0;
  uint32_t lane = 0;
  uint32_t base = 0;  // told: the lane without keys, which stays
};
static_assert(sizeof(DeadGoneEntry) == 24);

struct ExpiredEntry {
  uint64_t task = 0;
  uint64_t fingerprint = 0;
};
static_assert(sizeof(ExpiredEntry) == 16);

// A task that the record made though no entry names it: of a chain, or of a tick. Or, in a kCancelled, one
// that runs (kLeased), so that it is over when its attempt is.
struct ToldTask {
  uint64_t task = 0;
  uint64_t parent = 0;  // that it follows; 0: none
  uint32_t lane = 0;    // without keys: its queue and its type
  TaskState state{};
  uint8_t reserved[3] = {};
};
static_assert(sizeof(ToldTask) == 24);
// Of the entry in the same place.
struct ToldName {
  uint64_t bytes = 0;
};

struct ScheduleSetRecord {
  uint32_t schedule = 0;  // its number
  uint32_t body_bytes = 0;
  TicksRow row;  // as it is from now on
};
static_assert(sizeof(ScheduleSetRecord) == 72);

struct TickedRecord {
  uint64_t count = 0;
};
// What became of ticks, always all those between the schedule's cursor and tick_ms.
enum class TickFate : uint8_t {
  kFired = 0,     // one tick, a task
  kSkipped = 1,   // the earlier task was not over
  kMissed = 2,    // the broker was down for longer than the catch-up window
  kHeld = 3,      // they wait until the earlier task is over
  kReleased = 4,  // the first of those that waited: a task; the cursor stays
  kExtra = 5,     // asked for, whatever the schedule says: a task; the cursor stays
};
struct TickedEntry {
  int64_t tick_ms = 0;  // the last of them
  int64_t held_ms = 0;  // kHeld, kReleased: the first tick that waits from now on; 0: none
  uint64_t task = 0;    // 0: none
  uint32_t schedule = 0;
  uint32_t ticks = 0;
  TickFate fate{};
  uint8_t reserved[7] = {};

  bool MakesTask() const {
    return fate == TickFate::kFired || fate == TickFate::kReleased || fate == TickFate::kExtra;
  }
  bool MovesCursor() const { return fate <= TickFate::kHeld; }
};
static_assert(sizeof(TickedRecord) == 8 && sizeof(TickedEntry) == 40);

struct ReportedEntry {
  uint64_t task = 0;
  uint32_t checkpoint_bytes = 0;
  uint16_t message_bytes = 0;
  uint8_t percent = 0;
  uint8_t kinds = 0;  // 1 << NoteKind of each that is reported
};
static_assert(sizeof(ReportedEntry) == 16);

struct OutputEntry {
  uint64_t task = 0;
  uint64_t offset = 0;
  uint16_t bytes = 0;
  uint16_t runs = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(OutputEntry) == 24);

struct MergedRecord {
  uint64_t number = 0;  // key of kMerges
  MergeRow row;         // as it is from now on
};
static_assert(sizeof(MergedRecord) == 104);

struct PrunedRecord {
  uint64_t keys = 0;  // of kFinished, spent
  uint64_t runs = 0;
};
static_assert(sizeof(PrunedRecord) == 16);

}  // namespace zsched::broker
