// The rows of the journal's tables, byte for byte. Owned by broker/core; docs/journal.md shows them
// as a table.
//
// Little-endian packed structs; a row with a tail says below its struct what follows. All carry no
// checksum of their own: the journal adds one to each. To change a row: add a new `version`, read
// both, write the new one.
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include "schemas/errors.h"
#include "schemas/ids.h"
#include "schemas/limits.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

using wire::Durability;
using wire::TaskState;
inline constexpr size_t kTaskStates = 8;

inline bool IsFinished(TaskState state) {
  return state == TaskState::kSucceeded || state == TaskState::kDead ||
         state == TaskState::kCancelled;
}

inline constexpr uint8_t kRowVersion = 1;
inline constexpr uint32_t kNoWorker = 0;  // worker numbers start at 1

// kTasks: where a task stands, with all that the in-memory index needs after a restart.
struct [[gnu::packed]] TaskRow {
  // ready: place in line · scheduled, retry_wait: when due, Unix ms · dead: the letter, key of kDead
  int64_t order = 0;
  uint64_t lease = 0;       // the current lease, or the last one
  int64_t leased_ms = 0;    // when that lease was given · ready: when it became so, to a second
  int64_t finished_ms = 0;  // when it ended for good
  uint32_t lane = 0;        // succeeded, cancelled: Lane::base of it
  uint32_t timeout_ms = 0;
  uint32_t bytes = 0;  // payload, and what its parent left it
  uint32_t retry_base_ms = 0;
  uint32_t retry_cap_ms = 0;
  uint32_t worker = kNoWorker;  // of the lease
  uint32_t run_us = 0;          // of the last attempt that was reported
  uint16_t attempt = 0;         // of the last lease, from 1
  uint16_t max_attempts = 0;
  uint16_t failures = 0;  // attempts that a handler ended with an error, since submit or RETRY
  uint16_t lost = 0;      // attempts lost with their worker or by timeout, likewise
  TaskState state{};
  uint8_t priority = 0;
  Durability durability : 2 = {};
  uint8_t cancelling : 1 = 0;  // leased only: the task ends as cancelled with its attempt
  uint8_t at_most_once : 1 = 0;
  uint8_t chained : 1 = 0;  // has a row of kFollows
  uint8_t expires : 1 = 0;  // has a row of kExpiries
  uint8_t reserved : 2 = 0;
  uint8_t version = kRowVersion;
};
static_assert(sizeof(TaskRow) == 72);

// kSpecs: what was submitted. Followed by payload, content type, key, labels (LabelHead, key, value)*,
// and, if it has `extras`, by ExtrasHead, concurrency key, fairness key, correlation id, traceparent, and
// the parent: ParentHead and the outcome row that was passed.
struct [[gnu::packed]] SpecRow {
  int64_t submitted_ms = 0;
  uint32_t payload_bytes = 0;
  uint8_t content_type_bytes = 0;
  uint8_t key_bytes = 0;  // of the idempotency key
  uint8_t labels : 7 = 0;
  uint8_t extras : 1 = 0;
  uint8_t version = kRowVersion;
};
static_assert(sizeof(SpecRow) == 16);
static_assert(kMaxContentTypeBytes <= UINT8_MAX && kMaxKeyBytes <= UINT8_MAX && kMaxLabels < 128);
// What most tasks do without.
struct ExtrasHead {
  uint8_t concurrency_bytes = 0;
  uint8_t fairness_bytes = 0;
  uint8_t correlation_bytes = 0;
  uint8_t traceparent_bytes = 0;
  uint32_t parent_bytes = 0;  // 0: it follows no task
};
static_assert(sizeof(ExtrasHead) == 8);
// The task that this one follows.
struct ParentHead {
  uint64_t task = 0;
  uint32_t outcome_bytes = 0;  // 0: it left nothing, or that was not passed
  TaskState state{};           // in which it ended
  uint8_t passed = 0;          // what it left was asked for
  uint16_t reserved = 0;
};
static_assert(sizeof(ParentHead) == 16);
static_assert(kMaxCorrelationIdBytes <= UINT8_MAX && kTraceparentBytes <= UINT8_MAX);
struct LabelHead {
  uint16_t key_bytes = 0;
  uint16_t value_bytes = 0;
};

// kOutcomes: what the last reported attempt left. Followed by body (result, or error message) and
// content type. A task that succeeded with an empty result has no row, or still the error row of an
// earlier attempt.
struct OutcomeRow {
  uint32_t body_bytes = 0;
  uint16_t error_code = 0;  // 0: body is a result
  uint8_t content_type_bytes = 0;
  uint8_t version = kRowVersion;
};
static_assert(sizeof(OutcomeRow) == 8);

// kFinished: tasks that one record ended as succeeded or cancelled. Followed by `runs` of
// FinishedRun, by rising id.
struct FinishedRow {
  int64_t finished_ms = 0;
  uint32_t runs = 0;
  uint32_t version = kRowVersion;
};
static_assert(sizeof(FinishedRow) == 16);

// Tasks with consecutive ids that ended alike: all that retention has to know of them, so that it
// never reads their rows.
struct FinishedRun {
  uint64_t first = 0;
  uint32_t lane = 0;
  uint16_t tasks = 0;
  TaskState state{};
  uint8_t outcomes : 1 = 0;  // 0: they have no rows in kOutcomes; 1: they may
  uint8_t trails : 1 = 0;    // 0: they have no rows in kTrails; 1: each has
  uint8_t reserved : 6 = 0;

  // Dead tasks are not among them: retention keeps those.
  bool IsSane() const {
    return tasks > 0 && first <= UINT64_MAX - tasks && lane != 0 && reserved == 0 &&
           (state == TaskState::kSucceeded || state == TaskState::kCancelled);
  }
};
static_assert(sizeof(FinishedRun) == 16);

// kDead: a task that is dead, under the number of its death. What lists, groups and filters read, so
// that they look at no other task.
struct DeadRow {
  uint64_t task = 0;
  uint64_t fingerprint = 0;  // FingerprintOf its error
  int64_t died_ms = 0;
  uint32_t lane = 0;
  uint16_t error_code = 0;
  uint16_t version = kRowVersion;
};
static_assert(sizeof(DeadRow) == 32);

// kLanes: followed by queue, type, concurrency key, fairness key.
struct LaneRow {
  uint16_t queue_bytes = 0;
  uint16_t type_bytes = 0;
  uint16_t concurrency_bytes = 0;
  uint16_t fairness_bytes = 0;
  uint32_t version = kRowVersion;
};
static_assert(sizeof(LaneRow) == 12);

// kKeys: a task that was submitted with an idempotency key, until the key is free again.
struct KeyRow {
  uint64_t hash_low = 0, hash_high = 0;  // of the key
  uint64_t body_hash = 0;
  int64_t finished_ms = 0;  // when the task ended; 0: it has not
  uint64_t version = kRowVersion;
};
static_assert(sizeof(KeyRow) == 40);

// kQueues: what an operator set for a queue; 0 means what QueueSettings says of it. Followed by the
// queue's name.
struct QueueRow {
  uint64_t max_tasks = 0;
  uint64_t max_bytes = 0;
  uint64_t rate_micro = 0;  // attempts in a million seconds
  uint32_t burst = 0;
  uint32_t max_running = 0;
  uint32_t timeout_ms = 0;
  uint32_t retry_base_ms = 0;
  uint32_t retry_cap_ms = 0;
  uint16_t max_attempts = 0;
  uint8_t weight = 0;
  uint8_t paused = 0;
  uint64_t key_rate_micro = 0;  // these three: of the tasks with the same concurrency key
  uint32_t key_burst = 0;
  uint32_t key_max_running = 0;
  uint32_t ageing_ms = 0;
  uint32_t draining = 0;
  uint32_t name_bytes = 0;
  uint32_t version = kRowVersion;
  bool operator==(const QueueRow&) const = default;
};
static_assert(sizeof(QueueRow) == 80);

// kTypes: what an operator set for a type of task. Followed by its name.
struct TypeRow {
  uint64_t rate_micro = 0;
  uint64_t no_retry = 0;  // a set of error codes
  uint32_t burst = 0;
  uint32_t max_running = 0;
  uint32_t paused = 0;
  uint32_t reserved = 0;
  uint32_t name_bytes = 0;
  uint32_t version = kRowVersion;
  bool operator==(const TypeRow&) const = default;
};
static_assert(sizeof(TypeRow) == 40);

// kSchedules: followed by a SCHEDULE_SET body.
struct ScheduleRow {
  uint32_t body_bytes = 0;
  uint32_t version = kRowVersion;
};
static_assert(sizeof(ScheduleRow) == 8);

// kTicks: how far a schedule has come.
struct TicksRow {
  int64_t created_ms = 0;  // the anchor of @every
  int64_t cursor_ms = 0;   // ticks up to here have been decided
  int64_t held_ms = 0;     // the first tick that waits for `task`; 0: none does
  uint64_t task = 0;       // of the last tick that got one; 0: none
  uint64_t fired = 0;
  uint64_t skipped = 0;
  uint64_t missed = 0;
  uint32_t held = 0;  // ticks that wait
  uint8_t paused = 0;
  uint8_t gap = 0;  // a tick after those that wait does not: no more may join them
  uint8_t reserved = 0;
  uint8_t version = kRowVersion;
  bool operator==(const TicksRow&) const = default;
};
static_assert(sizeof(TicksRow) == 64);
// --- Trails: what attempts leave behind (docs/scheduling.md)
// kTrails: a task of which at least one attempt left something.
struct TrailRow {
  uint64_t number = 0;  // of the trail: what its rows in other tables are found by
  uint16_t first = 0;   // the attempt that began it: none before that was recorded
  uint8_t notes = 0;    // 1 << NoteKind: there is a row of that kind
  uint8_t reserved = 0;
  uint16_t wrote = 0;  // the last attempt with rows in kOutput; 0: none has any
  uint8_t reserved2 = 0;
  uint8_t version = kRowVersion;
};
static_assert(sizeof(TrailRow) == 16);

// Attempts (from 1) that ended and are recorded: all but the one that runs or succeeded.
inline uint32_t RecordedAttempts(TaskState state, uint16_t attempt) {
  const bool told_by_task = state == TaskState::kLeased || state == TaskState::kSucceeded;
  return told_by_task && attempt > 0 ? attempt - 1u : attempt;
}
// Whether attempt `attempt` of `recorded` ones is kept, and where: the first has a place of its own,
// the others take turns.
inline bool IsKept(uint32_t attempt, uint32_t recorded) {
  return attempt == 1 || attempt + (kKeptAttempts - 1) > recorded;
}
inline uint64_t HistoryKey(uint64_t trail, uint32_t attempt) {
  const uint32_t place = attempt <= 1 ? 0 : 1 + (attempt - 2) % (kKeptAttempts - 1);
  return trail * kKeptAttempts + place;
}
inline uint64_t FirstHistoryKey(uint64_t trail) { return trail * kKeptAttempts; }
inline uint64_t LastHistoryKey(uint64_t trail) { return trail * kKeptAttempts + kKeptAttempts - 1; }

// kNotes: what the last attempt that said something left.
enum class NoteKind : uint8_t { kProgress = 0, kCheckpoint = 1 };
inline constexpr uint64_t kNoteKinds = 2;
inline uint64_t NoteKey(uint64_t trail, NoteKind kind) {
  return trail * kNoteKinds + static_cast<uint64_t>(kind);
}
inline uint8_t NoteBit(NoteKind kind) { return static_cast<uint8_t>(1 << static_cast<int>(kind)); }
// Followed by the message, or by the checkpoint.
struct NoteRow {
  int64_t time_ms = 0;
  uint32_t bytes = 0;
  uint16_t attempt = 0;
  uint8_t percent = 0;  // of a progress
  uint8_t version = kRowVersion;
};
static_assert(sizeof(NoteRow) == 16);

// kHistory: an attempt that ended otherwise than as a success. Followed by the worker's name and the
// error message.
struct AttemptRow {
  uint64_t lease = 0;
  int64_t leased_ms = 0;
  int64_t ended_ms = 0;
  uint32_t run_us = 0;  // as reported; 0: nobody did
  uint16_t attempt = 0;
  uint16_t error_code = 0;
  uint16_t message_bytes = 0;
  uint8_t worker_bytes = 0;
  uint8_t ending = 0;  // Ending
  uint8_t reserved[3] = {};
  uint8_t version = kRowVersion;
};
static_assert(sizeof(AttemptRow) == 40);
static_assert(kMaxHistoryMessageBytes <= UINT16_MAX && kMaxNameBytes <= UINT8_MAX);

// kOutput: a page of what an attempt wrote. Each attempt that is kept has kOutputPages places, which
// its pages take in turns. Followed by `runs` of wire::OutputRun, which say of which stream the
// bytes are, and by the bytes.
struct OutputRow {
  uint64_t offset = 0;  // of the first byte, in all that the attempt wrote
  uint16_t attempt =
      0;  // another one than is asked for: what an earlier attempt left in this place
  uint16_t bytes = 0;
  uint16_t runs = 0;
  uint8_t reserved = 0;
  uint8_t version = kRowVersion;
};
static_assert(sizeof(OutputRow) == 16 && sizeof(wire::OutputRun) == 4);
static_assert(kOutputPageBytes <= UINT16_MAX);
inline uint64_t OutputKey(uint64_t trail, uint32_t attempt, uint64_t offset) {
  return HistoryKey(trail, attempt) * kOutputPages + offset / kOutputPageBytes % kOutputPages;
}
inline uint64_t FirstOutputKey(uint64_t trail) { return FirstHistoryKey(trail) * kOutputPages; }
inline uint64_t LastOutputKey(uint64_t trail) {
  return LastHistoryKey(trail) * kOutputPages + kOutputPages - 1;
}
// Whether runs and bytes make a page that begins at `offset`.
inline bool IsOutputPage(uint64_t offset, std::string_view runs, std::string_view bytes) {
  if (offset % kOutputPageBytes != 0 || bytes.empty() || bytes.size() > kOutputPageBytes ||
      runs.size() % sizeof(wire::OutputRun) != 0)
    return false;
  size_t sum = 0;
  for (size_t at = 0; at < runs.size(); at += sizeof(wire::OutputRun)) {
    wire::OutputRun run;
    std::memcpy(&run, runs.data() + at, sizeof run);
    if (run.bytes() == 0 || run.stream() > wire::OutputStream::MAX) return false;
    sum += run.bytes();
  }
  return sum == bytes.size();
}

// kFollows: followed by the body of a wire::Chain.
struct FollowRow {
  uint32_t body_bytes = 0;
  uint8_t fired = 0;  // branches, bits of Branch (chains.h)
  uint8_t reserved[2] = {};
  uint8_t version = kRowVersion;
};
static_assert(sizeof(FollowRow) == 8);

// kExpiries: of a task of which no attempt has counted yet.
struct ExpiryRow {
  int64_t start_by_ms = 0;  // Unix ms
  uint64_t version = kRowVersion;
};
static_assert(sizeof(ExpiryRow) == 16);

// kWorkers: followed by name, host, version.
struct WorkerRow {
  Uuid id;
  int64_t seen_ms = 0;  // when it registered
  uint32_t pid = 0;
  uint16_t name_bytes = 0;
  uint16_t host_bytes = 0;
  uint16_t version_bytes = 0;
  uint16_t reserved = 0;
  uint32_t version = kRowVersion;
};
static_assert(sizeof(WorkerRow) == 40);

// kProducers: followed by `submits` of ProducerSubmit, each followed by its `rejected` of
// ProducerReject; then the number of ranges of frames that were taken (8 bytes), and those: first, last, epoch.
struct ProducerRow {
  Uuid client;
  uint64_t acked_below = 0;
  int64_t used_ms = 0;
  uint32_t submits = 0;
  uint32_t version = kRowVersion;
};
static_assert(sizeof(ProducerRow) == 40);
struct ProducerSubmit {
  uint64_t seq = 0;
  uint64_t first_id = 0;
  uint32_t accepted = 0;
  uint32_t rejected = 0;
};
static_assert(sizeof(ProducerSubmit) == 24);
// A task of the frame that was not created: refused, or, with code 0, there under another id.
struct ProducerReject {
  uint32_t index = 0;
  uint16_t code = 0;
  uint16_t reserved = 0;
  uint64_t existing = 0;  // what holds its key; 0: it was not about a key
};
static_assert(sizeof(ProducerReject) == 16);

// kMeta, key kMetaState: one row, rewritten with every batch.
inline constexpr uint64_t kMetaState = 1;
struct MetaRow {
  Uuid cluster;
  uint64_t lsn = 0;         // of the batch this row was written with
  uint64_t epoch = 0;       // the running epoch
  uint64_t next_task = 1;   // counter of the next task id in that epoch
  uint64_t next_lease = 1;  // likewise
  uint32_t next_lane = 1;   // numbers of tables, over all epochs
  uint32_t next_worker = 1;
  uint64_t next_producer = 1;
  uint64_t next_letter = 1;  // of dead tasks
  uint64_t next_trail = 1;
  uint32_t next_queue = 1;  // of those with settings
  uint32_t next_type = 1;   // likewise
  int64_t ready_ms = 0;     // ReadyClock::last_ms
  uint64_t hash = 0;        // of the log at `lsn`: Batch::hash
  uint32_t reserved = 0;
  uint32_t version = kRowVersion;
};
static_assert(sizeof(MetaRow) == 112);

// kEpochs: the log and its counters as they were when the epoch began. So of two logs with a common beginning it can be said what
// both of them know (docs/ha.md, "The merge").
struct EpochRow {
  uint64_t lsn = 0;          // of the epoch's first record
  uint64_t hash_before = 0;  // the log's, before that
  uint64_t epoch_before = 0;
  uint64_t next_task = 1;  // in the epoch before
  uint64_t next_lease = 1;
  uint64_t next_letter = 1;
  uint64_t next_schedule = 1;
  int64_t started_ms = 0;
  uint64_t version = kRowVersion;
};
static_assert(sizeof(EpochRow) == 72);

// kMerges: what became of what another broker did alone. Counts are of tasks, but for `schedules`. Until it is done followed by the
// frames that their clients have sent here too: first task id, number of tasks (8 bytes each).
struct MergeRow {
  uint64_t log_hash = 0;  // of that broker's log, at its end: which it is
  uint64_t epoch = 0;     // in which that log ends
  int64_t begun_ms = 0;
  int64_t decided_ms = 0;  // the last part
  uint64_t taken = 0;      // not over, or running there: they go on here
  uint64_t finished = 0;   // taken and ended there
  uint64_t ended = 0;      // known here, and ended there alone
  uint64_t resent = 0;     // left out: their client has sent them here again
  uint64_t voided = 0;     // cancelled, or left out for another reason
  uint64_t schedules = 0;
  uint32_t parts = 0;  // decided
  uint32_t done = 0;   // that was all
  uint64_t version = kRowVersion;
};
static_assert(sizeof(MergeRow) == 96);

// --- Reading and writing rows with tails ---------------------------------------------------------
template <class Row>
void AppendStruct(std::string& out, const Row& row) {
  static_assert(std::has_unique_object_representations_v<Row>, "a row must have no padding");
  out.append(reinterpret_cast<const char*>(&row), sizeof row);
}

// A new row at the end of `out`, to be filled in there. For what every task has: a row that is built field by field
// and then copied is read in wider pieces than it was written, so the processor waits until all stores before it have
// left for the cache, 50 ns where the rows are written to cold memory.
template <class Row>
Row& ExtendStruct(std::string& out) {
  static_assert(std::has_unique_object_representations_v<Row>, "a row must have no padding");
  static_assert(alignof(Row) == 1, "it may stand anywhere");
  const size_t at = out.size();
  out.append(sizeof(Row), '\0');
  return *new (out.data() + at) Row;
}

// A row of kOutcomes for what ended without a worker's result.
inline std::string ErrorOutcome(ErrorCode code, std::string_view message) {
  OutcomeRow head;
  head.body_bytes = static_cast<uint32_t>(message.size());
  head.error_code = static_cast<uint16_t>(code);
  std::string row;
  AppendStruct(row, head);
  return row.append(message);
}

// Takes structs and byte runs off the front of a row; every method fails (and goes on failing) once
// the row is too short.
class RowReader {
 public:
  explicit RowReader(std::string_view row) : rest_(row) {}

  template <class Row>
  bool Read(Row& out) {
    static_assert(std::is_trivially_copyable_v<Row>);
    if (!ok_ || rest_.size() < sizeof out) return ok_ = false;
    std::memcpy(&out, rest_.data(), sizeof out);
    rest_.remove_prefix(sizeof out);
    return true;
  }
  bool Take(size_t size, std::string_view& out) {
    if (!ok_ || rest_.size() < size) return ok_ = false;
    out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  bool ok() const { return ok_; }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

struct LabelView {
  std::string_view key, value;
};

inline std::optional<TrailRow> ReadTrail(std::string_view row) {
  TrailRow trail;
  if (!RowReader(row).Read(trail) || trail.version != kRowVersion || trail.number == 0 ||
      trail.first == 0)
    return std::nullopt;
  return trail;
}

struct NoteView {
  NoteRow head;
  std::string_view body;
};
inline std::optional<NoteView> ReadNote(std::string_view row) {
  NoteView view;
  RowReader in(row);
  if (!in.Read(view.head) || view.head.version != kRowVersion ||
      !in.Take(view.head.bytes, view.body))
    return std::nullopt;
  return view;
}

struct OutputView {
  OutputRow head;
  std::string_view runs, bytes;
};
inline std::optional<OutputView> ReadOutput(std::string_view row) {
  OutputView view;
  RowReader in(row);
  if (!in.Read(view.head) || view.head.version != kRowVersion ||
      !in.Take(view.head.runs * sizeof(wire::OutputRun), view.runs) ||
      !in.Take(view.head.bytes, view.bytes))
    return std::nullopt;
  return view;
}

struct AttemptView {
  AttemptRow head;
  std::string_view worker, message;
};
inline std::optional<AttemptView> ReadAttempt(std::string_view row) {
  AttemptView view;
  RowReader in(row);
  if (!in.Read(view.head) || view.head.version != kRowVersion ||
      !in.Take(view.head.worker_bytes, view.worker) ||
      !in.Take(view.head.message_bytes, view.message))
    return std::nullopt;
  return view;
}

struct SpecView {
  SpecRow head;
  std::string_view payload, content_type, key, rest;
};
inline std::optional<SpecView> ReadSpec(std::string_view row) {
  SpecView view;
  RowReader in(row);
  if (!in.Read(view.head) || view.head.version != kRowVersion ||
      !in.Take(view.head.payload_bytes, view.payload) ||
      !in.Take(view.head.content_type_bytes, view.content_type) ||
      !in.Take(view.head.key_bytes, view.key))
    return std::nullopt;
  view.rest = in.rest();
  return view;
}
// Calls visit(LabelView) for each of the labels in front of `in`; false when there are fewer.
template <class Visit>
bool ReadLabels(RowReader& in, int labels, Visit visit) {
  for (int i = 0; i < labels; ++i) {
    LabelHead head;
    LabelView label;
    if (!in.Read(head) || !in.Take(head.key_bytes, label.key) ||
        !in.Take(head.value_bytes, label.value))
      return false;
    visit(label);
  }
  return in.ok();
}
template <class Visit>
bool ReadLabels(const SpecView& spec, Visit visit) {
  RowReader in(spec.rest);
  return ReadLabels(in, spec.head.labels, visit);
}

struct ParentView {
  uint64_t task = 0;  // 0: none
  TaskState state{};
  bool passed = false;
  std::string_view outcome;  // its outcome row
};

struct ExtrasView {
  std::string_view concurrency_key, fairness_key, correlation_id, traceparent;
  ParentView parent;

  bool any() const {
    return !concurrency_key.empty() || !fairness_key.empty() || !correlation_id.empty() ||
           !traceparent.empty() || parent.task != 0;
  }
};
inline bool ReadParent(RowReader& in, ParentView& parent) {
  ParentHead head;
  if (!in.Read(head) || !in.Take(head.outcome_bytes, parent.outcome)) return false;
  parent.task = head.task;
  parent.state = head.state;
  parent.passed = head.passed != 0;
  return true;
}
// Empty ones when the task has none; nullopt: the bytes are too few.
inline std::optional<ExtrasView> ReadExtras(const SpecView& spec) {
  ExtrasView view;
  if (!spec.head.extras) return view;
  RowReader in(spec.rest);
  ExtrasHead head;
  if (!ReadLabels(in, spec.head.labels, [](LabelView) {}) || !in.Read(head) ||
      !in.Take(head.concurrency_bytes, view.concurrency_key) ||
      !in.Take(head.fairness_bytes, view.fairness_key) ||
      !in.Take(head.correlation_bytes, view.correlation_id) ||
      !in.Take(head.traceparent_bytes, view.traceparent) ||
      (head.parent_bytes != 0 && !ReadParent(in, view.parent)))
    return std::nullopt;
  return view;
}

struct FinishedView {
  FinishedRow head;
  std::string_view runs;  // FinishedRun*, each sane
  uint64_t tasks = 0;     // in them
};
inline std::optional<FinishedView> ReadFinished(std::string_view row) {
  FinishedView view;
  RowReader in(row);
  if (!in.Read(view.head) || view.head.version != kRowVersion ||
      !in.Take(view.head.runs * sizeof(FinishedRun), view.runs))
    return std::nullopt;
  RowReader runs(view.runs);
  for (FinishedRun run; !runs.rest().empty() && runs.Read(run); view.tasks += run.tasks)
    if (!run.IsSane()) return std::nullopt;
  return view;
}

struct OutcomeView {
  OutcomeRow head;
  std::string_view body, content_type;
};
inline std::optional<OutcomeView> ReadOutcome(std::string_view row) {
  OutcomeView view;
  RowReader in(row);
  if (!in.Read(view.head) || view.head.version != kRowVersion ||
      !in.Take(view.head.body_bytes, view.body) ||
      !in.Take(view.head.content_type_bytes, view.content_type))
    return std::nullopt;
  return view;
}

}  // namespace zsched::broker
