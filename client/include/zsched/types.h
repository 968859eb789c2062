// What a client sends and gets, as plain values: tasks, acknowledgements, outcomes, views of the
// broker. Owned by the client library; includes neither ZeroMQ nor FlatBuffers.
//
// Strings and bytes are std::string and owned by the value they stand in. Times are Unix
// milliseconds, 0 meaning "not set" unless a field says otherwise; durations carry their unit in
// the name. Limits of every field: schemas/limits.h; the broker checks them and names the field.
//
// Threads: values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "schemas/errors.h"
#include "schemas/ids.h"
#include "schemas/limits.h"
#include "schemas/output_stream.h"

namespace zsched {

// Numbers as on the wire.
enum class TaskState : uint8_t {
  kScheduled = 0,
  kReady = 1,
  kLeased = 2,
  kRetryWait = 3,
  kBlocked = 4,
  kSucceeded = 5,
  kDead = 6,
  kCancelled = 7
};
inline constexpr int kTaskStates = 8;
// "scheduled", "ready", "leased", "retry_wait", "blocked", "succeeded", "dead", "cancelled".
std::string_view NameOf(TaskState state);
inline constexpr bool IsFinal(TaskState state) { return state >= TaskState::kSucceeded; }

enum class Durability : uint8_t { kMemory = 0, kDisk = 1, kReplicated = 2 };
std::string_view NameOf(Durability durability);

enum class Delivery : uint8_t { kAtLeastOnce = 0, kAtMostOnce = 1 };
std::string_view NameOf(Delivery delivery);

enum class BrokerRole : uint8_t {
  kRecovering = 0,
  kCatchup = 1,
  kStandby = 2,
  kPromoting = 3,
  kActiveSync = 4,
  kActiveSolo = 5,
  kFenced = 6
};
// "recovering", "catchup", "standby", "promoting", "active_sync", "active_solo", "fenced".
std::string_view NameOf(BrokerRole role);

struct Label {
  std::string key{};
  std::string value{};
  bool operator==(const Label&) const = default;
};

// A task to be submitted. Only `type` is required.
struct TaskSpec {
  std::string type{};
  std::string queue = kDefaultQueue;
  std::string payload{};
  std::string content_type{};
  int priority = kDefaultPriority;  // 0..9, 9 first
  Durability durability = Durability::kReplicated;
  uint32_t max_attempts = 0;   // 0: the broker's default
  uint32_t timeout_ms = 0;     // of one attempt; 0: the broker's default
  uint64_t delay_ms = 0;       // from the broker's receipt; not with run_at_ms
  int64_t run_at_ms = 0;       // 0: at once
  uint32_t retry_base_ms = 0;  // 0: default
  uint32_t retry_cap_ms = 0;   // 0: default
  std::vector<Label> labels{};
  // Idempotency key. While a task with this key is known (until it is over and a day has passed, as the
  // broker is set), another submit with the same type, queue, content type and payload is answered with
  // that task's id and creates nothing; one that differs is refused with CONFLICT, which names the id.
  std::string key{};
  // Of the tasks of a queue with the same key, as many run at once, and as fast after one another, as the
  // queue's key_max_running and key_rate say.
  std::string concurrency_key{};
  // A queue's tasks take turns between these, such as the customer that a task is for.
  std::string fairness_key{};
  // Both go with the task to its worker and into queries.
  std::string correlation_id{};
  std::string traceparent{};  // W3C trace context, version 00
  // At most once: no attempt begins when an earlier one has, or may have; what was lost with its worker,
  // timed out or failed is dead. Its lease is durable before it leaves the broker.
  Delivery delivery = Delivery::kAtLeastOnce;
  // Templates of tasks that follow this one: when it has succeeded, when it is dead, when it is over at
  // all, cancelled too. Each of the three comes about at most once in the life of the task, together with
  // that end. At most kMaxTemplates in all depths, kMaxChainDepth deep. A template has no `key` and no
  // run_at_ms; its delay_ms counts from the end of the task that it follows.
  std::vector<TaskSpec> on_success{};
  std::vector<TaskSpec> on_failure{};
  std::vector<TaskSpec> on_complete{};
  // Of a template only: its task is given what the one before left, the result or the error.
  bool pass_result = false;
  // The first attempt begins before then, or the task is dead with EXPIRED: so long after the broker's
  // receipt (of a template: after the end of its parent), or at a Unix time; give one of the two. An
  // attempt that counts, and a retry of the dead task, lift it.
  uint64_t start_within_ms = 0;
  int64_t start_by_ms = 0;
};

// One task of a batch that was not accepted.
struct Rejection {
  uint32_t index = 0;  // into the batch as it was submitted
  absl::Status status{};
};

// What became of a batch, once every task of it was judged.
struct BatchAck {
  // One id per task, in the order of the batch; TaskId(0) where the task was rejected.
  std::vector<TaskId> ids{};
  // Of the batch, by rising index: tasks that were there already under the same key.
  std::vector<uint32_t> repeated{};
  std::vector<Rejection> rejected{};  // by rising index
  // The weakest that all accepted tasks have reached.
  Durability durability = Durability::kReplicated;
};

// How a task ended.
struct Outcome {
  TaskId id{};
  TaskState state = TaskState::kSucceeded;  // kSucceeded, kDead or kCancelled
  uint32_t attempt = 0;                     // 0 when the broker did not say (a bare success)
  std::string result{};
  std::string content_type{};  // of the result
  // kOk for a success. kNotFound: there is no such task (pruned, or it never was); `state` then
  // means nothing.
  ErrorCode error = ErrorCode::kOk;
  std::string error_message{};

  bool succeeded() const { return error == ErrorCode::kOk && state == TaskState::kSucceeded; }
  // OK, or the error with its code.
  absl::Status status() const {
    return succeeded()
               ? absl::OkStatus()
               : Error(error == ErrorCode::kOk ? ErrorCode::kInternal : error, error_message);
  }
};

// How far an attempt said it was.
struct TaskProgress {
  uint32_t percent = 0;
  std::string message{};
  uint32_t attempt = 0;  // that said so
  int64_t at_ms = 0;
};

// A task as the broker has it.
struct TaskInfo {
  TaskId id{};
  std::string queue{};
  std::string type{};
  TaskState state = TaskState::kReady;
  int priority = kDefaultPriority;
  uint32_t attempt = 0;
  uint32_t max_attempts = 0;
  uint32_t timeout_ms = 0;
  int64_t submitted_at_ms = 0;
  int64_t run_at_ms = 0;
  int64_t started_at_ms = 0;
  int64_t finished_at_ms = 0;
  std::string worker{};
  std::string payload{};
  std::string content_type{};
  std::string result{};
  std::string result_content_type{};
  ErrorCode error = ErrorCode::kOk;  // of the last failed attempt
  std::string error_message{};
  std::vector<Label> labels{};
  std::string key{};
  std::string concurrency_key{};
  std::string fairness_key{};
  std::string correlation_id{};
  std::string traceparent{};
  Delivery delivery = Delivery::kAtLeastOnce;
  Durability durability = Durability::kReplicated;
  bool cancelling = false;  // leased, and cancelled: it ends as cancelled with its attempt
  // Dead: the same for errors that differ in their details only (docs/scheduling.md). Otherwise 0.
  uint64_t fingerprint = 0;
  std::optional<TaskProgress> progress{};
  TaskId parent{};          // the task that it follows; 0: none
  int64_t start_by_ms = 0;  // while it holds
};

// What keeps a task that is not over from running, or that it runs. Numbers as on the wire.
enum class WaitReason : uint8_t {
  kUnknown = 0,
  kDelay = 1,        // until_ms
  kRetryWait = 2,    // until_ms, after attempt number `count`
  kRunning = 3,      // at worker `name`, since_ms
  kAtWorker = 4,     // handed to it, since_ms, and not known to have begun; it holds `count` tasks
  kCancelling = 5,   // it runs there until it has heard of its cancel
  kQueuePaused = 6,  // `name`
  kQueueFull = 7,    // `count` run of `limit`
  kQueueRate = 8,    // until_ms
  kTypePaused = 9,
  kTypeFull = 10,
  kTypeRate = 11,
  kKeyFull = 12,  // concurrency key `name`
  kKeyRate = 13,
  kNoWorker = 14,  // none of the `count` that are there serves its queue and type
  kNoCredit = 15   // none of the `count` that serve it has room
};
// "queue_paused", and so on.
std::string_view NameOf(WaitReason reason);

struct WaitCause {
  WaitReason reason = WaitReason::kUnknown;
  std::string name{};
  int64_t since_ms = 0;  // Unix time, as all of these
  int64_t until_ms = 0;
  uint64_t count = 0;
  uint64_t limit = 0;
};
struct TaskExplanation {
  TaskState state = TaskState::kReady;
  std::vector<WaitCause> causes{};  // all that hold; a ready task without any comes in its turn
  uint64_t ahead = 0;       // ready: tasks of its queue and fairness key that come before it
  bool ahead_exact = true;  // otherwise there are more
  uint64_t ready = 0;       // tasks that are ready in its queue
};

// How a task stood after one attempt at it. Numbers as on the wire.
enum class AttemptEnd : uint8_t {
  kRunning = 0,
  kSucceeded = 1,
  kRetried = 2,   // it failed, and the task waited for its next attempt
  kDead = 3,      // it was the last one
  kReturned = 4,  // its worker was lost; the task was ready again at once
  kCancelled = 5
};
// "running", "succeeded", "retried", "dead", "returned", "cancelled".
std::string_view NameOf(AttemptEnd end);

struct AttemptInfo {
  uint32_t attempt = 0;
  LeaseId lease{};  // its fencing token
  std::string worker{};
  int64_t leased_at_ms = 0;  // handed to the worker
  int64_t ended_at_ms = 0;   // 0: it runs
  uint32_t run_us = 0;       // as its worker reported; 0: it did not
  AttemptEnd end = AttemptEnd::kRunning;
  ErrorCode error = ErrorCode::kOk;
  std::string error_message{};  // at most kMaxHistoryMessageBytes of it
};

// Attempts that were given back without having run are not among them.
struct TaskHistory {
  std::vector<AttemptInfo> attempts{};  // in the order in which they began
  uint32_t missing = 0;  // not kept: of many attempts, the first and the last ones are
};

// "log", "stdout", "stderr".
std::string_view NameOf(OutputStream stream);

// Bytes that an attempt wrote to one stream, one after the other.
struct OutputPiece {
  OutputStream stream = OutputStream::kLog;
  uint64_t offset = 0;  // of the first, in all that the attempt wrote
  std::string bytes{};
};

// What one attempt wrote, from some offset on.
struct TaskOutput {
  uint32_t attempt = 0;               // 0: the task has had none
  uint32_t last_attempt = 0;          // of the task
  bool running = false;               // there may be more
  bool finished = false;              // the task is over: there will be no other attempt
  uint64_t end_offset = 0;            // ask from here for what comes next
  std::vector<OutputPiece> pieces{};  // by rising offset; what is missing between them is not kept
};

struct GetResult {
  std::vector<TaskInfo> tasks{};  // in the order asked for, without the missing ones
  std::vector<TaskId> missing{};
};

// Which tasks List answers; empty fields match everything.
struct ListQuery {
  std::string queue{};
  std::string type{};
  std::vector<TaskState> states{};
  std::vector<Label> label{};  // none or one
  // Tasks in all (ListTasks) or in one page (ListPage, at most kMaxListLimit); 0 means all, and for
  // ListPage kDefaultListLimit.
  size_t limit = 0;
  TaskId cursor{};  // continue after this id
  // Nothing of the tasks but id, queue, type, state and priority: for those who want many.
  bool brief = false;
  // The newest first. A cursor is good for the order in which it was made.
  bool descending = false;
  // Without payloads and results, which may be a megabyte each; both are empty then.
  bool omit_bodies = false;
};

struct ListPageResult {
  std::vector<TaskInfo>
      tasks{};           // by rising id, or falling; may be short, even empty, before the end
  TaskId next_cursor{};  // TaskId(0): complete
};

// Which dead tasks; empty fields match everything.
struct DeadFilter {
  std::string queue{};
  std::string type{};
  std::string error{};        // somewhere in "CODE: message"
  uint64_t fingerprint = 0;   // TaskInfo::fingerprint
  int64_t older_than_ms = 0;  // dead for longer, by the broker's clock
};

struct DeadQuery {
  DeadFilter filter{};
  size_t limit = 0;          // at most kMaxListLimit; 0: kDefaultListLimit
  uint64_t cursor = 0;       // as the last page said; 0: from the oldest
  bool omit_bodies = false;  // as ListQuery's
};

struct DeadPage {
  std::vector<TaskInfo>
      tasks{};               // the oldest death first; may be short, even empty, before the end
  uint64_t next_cursor = 0;  // 0: complete
};

// Dead tasks of one fingerprint.
struct DeadGroup {
  uint64_t fingerprint = 0;
  std::string type{};
  ErrorCode error = ErrorCode::kOk;
  std::string error_message{};  // of the last one, cut
  uint64_t tasks = 0;
  int64_t first_died_at_ms = 0;
  int64_t last_died_at_ms = 0;
  TaskId last_task{};
};

// Of a RetryDead or PurgeDead.
struct DeadProgress {
  uint64_t done = 0;
  uint64_t passed = 0;  // retried or deleted by somebody else before their turn came
};

// What became of one id of a Retry.
struct ItemResult {
  TaskId id{};
  absl::Status status{};
};

struct BrokerSummary {
  std::string node{};
  BrokerRole role = BrokerRole::kRecovering;
  std::string address{};         // for clients; as the broker says it, the host may be empty
  std::string worker_address{};  // for workers
  bool self = false;             // the broker that answered
};

struct QueueSummary {
  std::string name{};
  std::array<uint64_t, kTaskStates> counts{};  // by TaskState
  uint64_t bytes = 0;                          // payload bytes of unfinished tasks
  // How long the first of its ready tasks has been ready, to a second; 0: none is, or since less.
  uint64_t oldest_ready_ms = 0;
};

// What an operator set for a queue; 0 means that there is no such rule. Each is explained in
// docs/scheduling.md.
struct QueueSettings {
  bool paused = false;
  uint64_t max_tasks = 0;     // unfinished ones
  uint64_t max_bytes = 0;     // their payloads
  uint32_t max_running = 0;   // attempts under lease
  uint64_t rate_micro = 0;    // attempts in a million seconds: 2'000'000 is two a second
  uint32_t burst = 0;         // attempts at once after a rest
  uint8_t weight = 0;         // 1..100: tasks in each turn among the queues
  uint16_t max_attempts = 0;  // this and the others: for tasks that do not say
  uint32_t timeout_ms = 0;
  uint32_t retry_base_ms = 0;
  uint32_t retry_cap_ms = 0;
  uint32_t key_max_running = 0;  // these three: for each concurrency key
  uint64_t key_rate_micro = 0;
  uint32_t key_burst = 0;
  uint32_t ageing_ms = 0;  // waiting so long is worth a step of priority
  bool draining = false;   // submits are refused as to a full queue
};

// The settings to change; what is not given stays.
struct QueueChange {
  std::optional<bool> paused{};
  std::optional<uint64_t> max_tasks{};
  std::optional<uint64_t> max_bytes{};
  std::optional<uint32_t> max_running{};
  std::optional<uint64_t> rate_micro{};
  std::optional<uint32_t> burst{};
  std::optional<uint8_t> weight{};
  std::optional<uint16_t> max_attempts{};
  std::optional<uint32_t> timeout_ms{};
  std::optional<uint32_t> retry_base_ms{};
  std::optional<uint32_t> retry_cap_ms{};
  std::optional<uint32_t> key_max_running{};
  std::optional<uint64_t> key_rate_micro{};
  std::optional<uint32_t> key_burst{};
  std::optional<uint32_t> ageing_ms{};
  std::optional<bool> draining{};
};

// What an operator set for a type of task, over all queues; 0 means that there is no such rule.
struct TypeRules {
  bool paused = false;
  uint32_t max_running = 0;
  uint64_t rate_micro = 0;
  uint32_t burst = 0;
  // A set of error codes, ErrorBit(code) | …: an attempt that ends with one of them is the last of its
  // task, which is dead then. Of kAttemptErrors only.
  uint64_t no_retry = 0;
};

// The rules to change; what is not given stays.
struct TypeChange {
  std::optional<bool> paused{};
  std::optional<uint32_t> max_running{};
  std::optional<uint64_t> rate_micro{};
  std::optional<uint32_t> burst{};
  std::optional<uint64_t> no_retry{};
};

// Why a queue or a type hands nothing out although it has ready tasks.
enum class QueueGate : uint8_t {
  kOpen = 0,
  kPaused = 1,
  kFull = 2,  // max_running attempts are under lease
  kDry = 3,   // the rate has no token now
};
std::string_view NameOf(QueueGate gate);

struct QueueInfo {
  std::string name{};
  std::array<uint64_t, kTaskStates> counts{};  // by TaskState
  uint64_t bytes = 0;                          // payload bytes of unfinished tasks
  QueueGate gate = QueueGate::kOpen;
  QueueSettings settings{};
  uint64_t oldest_ready_ms = 0;  // as in QueueSummary
};

struct TypeInfo {
  std::string name{};
  uint64_t running = 0;  // tasks that workers hold
  QueueGate gate = QueueGate::kOpen;
  TypeRules rules{};
};

// What becomes of a tick of a schedule while the task of an earlier tick is not over.
enum class Overlap : uint8_t {
  kSkip = 0,
  kQueueOne = 1,   // the first waits until the task is over, others are skipped
  kQueueAll = 2,   // all wait, up to kMaxHeldTicks
  kCancelOld = 3,  // the task is cancelled; the tick waits until it is over
  kAllow = 4,      // several tasks at a time
};
// "skip", "queue_one", "queue_all", "cancel_old", "allow".
std::string_view NameOf(Overlap overlap);

// A time schedule: when, and which task. docs/scheduling.md explains each.
struct ScheduleSpec {
  std::string name{};
  std::string expression{};  // "30 2 * * MON-FRI", "@daily", "@every 90s"
  std::string zone = "UTC";  // IANA name
  TaskSpec task{};           // without delay_ms, run_at_ms and key
  Overlap overlap = Overlap::kSkip;
  uint64_t catch_up_ms = kDefaultCatchUpMs;  // how late a tick may fire
  uint32_t jitter_ms = 0;                    // its task comes by up to so much later
  std::optional<bool> paused{};              // not given: as it is; a new schedule runs
};

struct ScheduleInfo {
  ScheduleSpec spec{};  // `paused` is given
  int64_t created_at_ms = 0;
  int64_t cursor_ms = 0;  // ticks up to here have been decided
  int64_t next_ms = 0;    // the tick that is next, without jitter; 0: none
  TaskId last_task{};     // of the last tick that got one; 0: none
  bool running = false;   // that task is not over
  uint32_t held = 0;      // ticks that wait for it
  uint64_t fired = 0, skipped = 0, missed = 0;
  std::string error{};  // why it cannot fire; empty: it can
};

struct CounterValue {
  std::string name{};
  uint64_t value = 0;
};

// Times that were taken since the broker started. docs/protocol.md ("STATUS") says which.
struct HistogramValue {
  std::string name{};
  std::vector<uint64_t> bounds_us{};  // inclusive upper bounds, rising, in microseconds
  std::vector<uint64_t> counts{};     // one more than bounds: the last is of those above all
  uint64_t sum_us = 0;
};

// What became of what one broker of a pair without an arbiter did alone, in a partition (docs/ha.md, "The merge"). Counts of
// tasks, but for `schedules`.
struct MergeSummary {
  Epoch epoch{};           // the last one of that broker's log
  int64_t begun_ms = 0;    // Unix ms
  int64_t decided_ms = 0;  // so far
  bool done = false;
  uint64_t taken = 0;     // they go on
  uint64_t finished = 0;  // taken and ended there
  uint64_t ended = 0;     // known to both, ended there
  uint64_t resent = 0;    // left out: their client has sent them to the other side again
  uint64_t voided = 0;    // cancelled, or left out for another reason
  uint64_t schedules = 0;
};

struct StatusInfo {
  std::string node{};
  BrokerRole role = BrokerRole::kRecovering;
  Epoch epoch{};
  Lsn lsn{};          // last appended
  Lsn durable_lsn{};  // last on disk
  uint64_t uptime_ms = 0;
  std::string version{};
  Uuid cluster{};
  std::vector<BrokerSummary> brokers{};
  std::vector<QueueSummary> queues{};
  uint32_t workers = 0;
  uint32_t clients = 0;
  std::vector<CounterValue> counters{};
  std::vector<MergeSummary> merges{};  // the latest last
  std::vector<CounterValue> gauges{};  // as they are now; what the broker does not know is left out
  std::vector<HistogramValue> histograms{};
};

// What has happened to tasks, queues, schedules and brokers, as the log tells it. Numbers as on the wire.
enum class EventKind : uint8_t {
  kSubmitted = 0,  // by a client, by a schedule (`name`), or after the task `parent`
  kReady = 1,      // what it waited for is over
  kStarted = 2,    // handed to `worker`
  kSucceeded = 3,
  kFailed = 4,  // an attempt; the task waits for its next one
  kDead = 5,
  kCancelled = 6,   // it is over
  kCancelling = 7,  // it runs, and ends as cancelled with its attempt
  kReturned = 8,    // given back by its worker, or lost with it: ready again
  kRetried = 9,     // a dead task, by hand
  kDeleted = 10,    // a dead task, by hand or by age
  kPruned = 11,     // `count` tasks that were over, from `task` on with ids one after the other
  kProgress = 12,
  kOutput = 13,    // there are `count` bytes of it by now: Logs has them
  kQueueSet = 14,  // `name`
  kTypeSet = 15,
  kScheduleSet = 16,
  kScheduleRemoved = 17,
  kTicked = 18,      // `count` ticks of schedule `name`: `message` says what became of them
  kWorkerSeen = 19,  // `name`
  kWorkerGone = 20,
  kEpoch = 21,  // a broker became active, in epoch `count`
  kMerged =
      22  // a part of what the other broker of a pair did alone was decided; `count` tasks in it
};
inline constexpr int kEventKinds = 23;
// "submitted", "ready", "started", …, "schedule_removed", …, "merged".
std::string_view NameOf(EventKind kind);

// A place between two events. Of an event: {Lsn(lsn - 1), index} is before it, {Lsn(lsn - 1), index + 1}
// behind it. It stays good for as long as the log is kept, also at another broker of the pair.
struct EventPosition {
  Lsn after{};        // behind all events of this record
  uint32_t skip = 0;  // and behind so many of the next one
  bool operator==(const EventPosition&) const = default;
};
// Where the log ends now: to be told of what comes from here on.
inline constexpr EventPosition kEventsFromNow{Lsn(UINT64_MAX)};

// Which events; empty fields match everything.
struct EventQuery {
  EventPosition from{};            // {}: from where the kept log begins
  std::vector<EventKind> kinds{};  // empty: all
  std::string queue{};             // these three: of such tasks only
  std::string type{};
  TaskId task{};
  size_t limit = 0;  // at most kMaxEventLimit; 0: kDefaultEventLimit
};

struct Event {
  Lsn lsn{};
  uint32_t index = 0;  // in the record
  int64_t at_ms = 0;   // by the clock of the broker that decided it
  EventKind kind = EventKind::kSubmitted;
  TaskId task{};        // 0: it is about no task
  std::string queue{};  // of the task; empty when it is not known any more
  std::string type{};
  TaskState state = TaskState::kReady;  // of the task after it
  uint32_t attempt = 0;                 // 0: none, or not known
  std::string worker{};
  std::string name{};  // what it is about when that is no task
  ErrorCode error = ErrorCode::kOk;
  std::string error_message{};  // at most kMaxEventMessageBytes of it
  uint32_t percent = 0;
  std::string message{};  // of a progress report; what became of a tick
  uint64_t count = 0;     // EventKind says of what
  TaskId parent{};        // submitted: the task that it follows; 0: none
};

struct EventPage {
  std::vector<Event> events{};  // in order; may be few, even none, before the end
  EventPosition next{};         // ask from here for what comes next
  Lsn last{};                   // the last record that is known to be committed
  // The log does not reach from where it was asked for: it was trimmed, or it is another log. Events may be
  // missing before `next`.
  bool trimmed = false;

  bool complete() const { return next.after >= last; }  // nothing more has happened yet
};

struct WorkerSummary {
  Uuid id{};
  std::string name{};
  std::string host{};
  std::string version{};
  uint32_t pid = 0;
  std::vector<std::string> queues{};  // empty: every queue
  std::vector<std::string> types{};   // empty: every type
  std::vector<Label> labels{};
  uint32_t concurrency = 0;
  uint32_t credit_tasks = 0;
  uint32_t outstanding = 0;
  uint32_t running = 0;
  bool draining = false;
  uint32_t silent_ms = 0;  // since its last frame
  uint64_t finished = 0;   // attempts that ended there since the broker started
};

}  // namespace zsched
