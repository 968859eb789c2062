// The broker's decisions: what happens when a frame or a moment arrives. Owned by broker/core;
// pure.
//
//   event ──On…()──▶ records, applied to State, + Effects
//   EndRound ──▶ dispatch          TakeBatch ──▶ what the journal must make durable
//
// Every decision is a record in the open batch and applied to State in the same breath. What others
// are to be told is an Effect, which names the LSN it must wait for: an ack must not leave before
// its record is on disk. The families of events have a file each: on_client.cc, on_submit.cc,
// on_worker.cc, recall.cc, on_report.cc, on_results.cc, on_cancel.cc, on_dead.cc, on_queue.cc, on_schedule.cc,
// on_tick.cc, dispatch.cc.
//
// Example (one round of the loop):
//   core.OnSubmit(session, *submit, body, now);  core.OnResults(…);
//   core.EndRound(now);
//   for (Effect& e : core.effects()) gate.Hold(std::move(e));
//   if (journal_idle && core.HasRecords()) core.TakeBatch(batch);
//
// Threads: one owner, the loop. Sessions and effects are volatile; State is what the log says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/core/dispatcher.h"
#include "broker/core/gates.h"
#include "broker/core/merge.h"
#include "broker/core/metrics.h"
#include "broker/core/ready_times.h"
#include "broker/core/schedules.h"
#include "broker/core/state.h"
#include "broker/core/timer_wheel.h"
#include "broker/core/validate.h"
#include "schemas/errors.h"
#include "schemas/ids.h"
#include "schemas/limits.h"

namespace zsched::broker {

struct CoreConfig {
  uint64_t max_tasks = 20'000'000;          // unfinished, all queues
  uint64_t max_bytes = uint64_t{32} << 30;  // their payloads
  uint64_t max_queue_tasks = 10'000'000;    // one queue
  uint64_t max_queue_bytes = uint64_t{16} << 30;
  uint64_t max_payload_bytes = kMaxPayloadBytes;
  uint64_t keep_finished = 1'000'000;  // finished tasks kept for queries, by count (at least) …
  int64_t keep_finished_ms = 24 * 3600 * 1000;  // … and by age
  uint64_t max_dead = 0;                        // dead tasks kept, the latest; 0: all
  int64_t keep_dead_ms = 0;                     // age to which they are kept; 0: for ever
  int64_t visibility_timeout_ms = kVisibilityTimeoutMs;
  int64_t heartbeat_ms = kHeartbeatMs;
  int64_t client_timeout_ms = kClientTimeoutMs;
  uint64_t max_clients = 20'000;  // live sessions
  uint64_t max_workers = 20'000;
  uint64_t max_queues = 100'000;
  uint64_t max_lanes = 200'000;
  uint64_t max_schedules = 200'000;         // some 600 bytes each, and
  uint64_t max_schedule_bytes = 256 << 20;  // their definitions, which are in memory
  uint64_t max_follow_bytes = uint64_t{1}
                              << 30;  // templates of unfinished and dead tasks, in memory
  uint64_t max_producers = 100'000;   // clients whose submits are remembered
  // Those that have left too, while they are less than half of these: what another broker took of them alone may be merged.
  bool keep_departed = false;
  int64_t keep_keys_ms = 24 * 3600 * 1000;  // an idempotency key, after its task is over
  uint64_t max_keys = 5'000'000;            // some 150 bytes each
  int64_t keep_producer_ms = 24 * 3600 * 1000;
  int64_t keep_worker_ms = 24 * 3600 * 1000;  // a worker that left, for the names in finished tasks
};

// A worker sizes its credit for half of this: what it has not begun by then waits behind something long.
inline constexpr int64_t kRecallAfterMs = 100;

// --- Effects: what is to be told, once `wait` is durable (Lsn 0: at once) ------------------------
struct Reject {
  uint32_t index;
  ErrorCode code;  // kOk: its key is held by a task of the same body
  std::string message;
  uint32_t retry_after_ms;
  uint64_t existing = 0;                     // the task that holds its key
  Metric reason = Metric::kRejectedInvalid;  // of one that is refused: what it is counted as

  bool created() const { return code == ErrorCode::kOk && existing == 0; }
};
struct SubmitAckEffect {
  SessionId to;
  Lsn wait;
  uint64_t seq = 0, first_id = 0;
  uint32_t accepted = 0;
  bool duplicate = false;
  Durability reached{};
  std::vector<Reject> rejected;  // not created: refused, or there already
  uint32_t tasks = 0;            // of the frame, to give back to the client's window
  uint64_t bytes = 0;
};
struct Assign {
  TaskId task;
  LeaseId lease;
  uint32_t lane;  // the base of the task's
  uint32_t timeout_ms;
  uint16_t attempt, max_attempts;
  uint8_t priority;
  bool at_most_once;
  int64_t start_by_ms;      // 0: at any time
  int64_t order;            // Task::order when it was taken off its line
  uint64_t checkpoint = 0;  // the trail in which there is one; 0: none
};
struct TasksEffect {
  SessionId to;
  Lsn wait;
  std::vector<Assign> tasks;
};
struct ResultAckEffect {
  SessionId to;
  Lsn wait;
  uint64_t seq = 0;
  std::vector<uint64_t> stale;
};
struct OutcomeItem {
  TaskId task;
  TaskState state;
  uint16_t attempt;
  uint32_t offset, size;  // outcome row in the batch that `wait` belongs to; size 0: none
};
struct OutcomesEffect {
  SessionId to;
  Lsn wait;
  std::vector<uint64_t> succeeded;
  std::vector<OutcomeItem> items;
};
struct WelcomeEffect {
  SessionId to;
  Lsn wait;
};
struct WorkerWelcomeEffect {
  SessionId to;
  Lsn wait;
  std::vector<uint64_t> stale;
};
struct CancelEffect {
  SessionId to;
  Lsn wait;
  std::vector<uint64_t> leases;
  ErrorCode code;
};
// The worker may keep those that have begun.
struct RecallEffect {
  SessionId to;
  Lsn wait;
  std::vector<uint64_t> leases;
};
struct DrainEffect {
  SessionId to;
  Lsn wait;
};
struct HeartbeatAckEffect {
  SessionId to;
  Lsn wait;
  bool resync = false;
};
struct ErrorEffect {
  SessionId to;
  Lsn wait;
  ErrorCode code;
  std::string message;
  uint64_t request = 0;
};
// The queue's settings are in force.
struct QueueSetEffect {
  SessionId to;
  Lsn wait;
  uint64_t request = 0;
  std::string queue;
};
// The schedule is as it was asked to be.
struct ScheduleEffect {
  SessionId to;
  Lsn wait;
  uint64_t request = 0;
  std::string name;
};
// The type's rules are in force.
struct TypeSetEffect {
  SessionId to;
  Lsn wait;
  uint64_t request = 0;
  std::string type;
};
struct ItemCode {
  uint64_t id;
  ErrorCode code;
  std::string message;
};
struct ItemReplyEffect {
  SessionId to;
  Lsn wait;
  uint64_t request = 0;
  std::vector<ItemCode> items;
};
// The session is over. `echo`: answer its GOODBYE first.
struct ClosedEffect {
  SessionId to;
  Lsn wait;
  bool echo = false;
};
using Effect = std::variant<SubmitAckEffect, TasksEffect, ResultAckEffect, OutcomesEffect,
                            WelcomeEffect, WorkerWelcomeEffect, CancelEffect, RecallEffect,
                            DrainEffect, HeartbeatAckEffect, ErrorEffect, ItemReplyEffect,
                            QueueSetEffect, ScheduleEffect, TypeSetEffect, ClosedEffect>;

// --- Live sessions -------------------------------------------------------------------------------
struct ClientSession {
  SessionId id;  // 0: free slot
  Uuid client;
  std::string name;
  int64_t seen_ms = 0;          // monotonic
  uint64_t unacked_frames = 0;  // submitted, ack not sent yet
  uint64_t unacked_tasks = 0;
  uint64_t unacked_bytes = 0;
  bool resync = false;
  bool listed = false;  // in told_clients_
  std::vector<uint64_t> succeeded;
  std::vector<OutcomeItem> items;
};
struct WorkerSession {
  SessionId id;  // 0: free slot
  uint32_t worker = kNoWorker;
  std::vector<std::string> queues, types;
  std::vector<std::pair<std::string, std::string>> labels;
  uint32_t concurrency = 0;
  int64_t seen_ms = 0;
  uint32_t grant_tasks = 0;
  uint64_t grant_bytes = 0;
  bool draining = false;
  uint32_t running = 0;
  uint64_t finished = 0;
  int64_t report_bytes = 0;  // what it may still report now; on_report.cc
  int64_t reported_ms = 0;   // when that was
  Lsn taken_away;       // TASKS go behind the CANCEL that waits for it, which makes room for them
  bool listed = false;  // in served_workers_
  std::vector<Assign> assigned;
};

// Why a task is not running now. What the fields mean is said at wire::WaitCause.
struct WaitCause {
  wire::WaitReason reason{};
  std::string name{};
  int64_t since_ms = 0;
  int64_t until_ms = 0;
  uint64_t count = 0;
  uint64_t limit = 0;
};
struct Explanation {
  bool found = false;  // it is not over
  TaskState state{};
  std::vector<WaitCause> causes;
  uint64_t ahead = 0;
  bool ahead_exact = true;
  uint64_t ready = 0;
};

// What the server read from the tables for the core: the core itself never reads the journal.
struct FinishedEntry {
  uint64_t key = 0;  // of kFinished
  int64_t finished_ms = 0;
  uint64_t tasks = 0;
  std::string runs;  // FinishedRun*
};

struct DeadEntry {
  uint64_t letter = 0;  // key of kDead
  DeadRow row;
};

class Core {
 public:
  explicit Core(CoreConfig config);
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // --- Life of a broker. Rebuild state() first, then say so. A standby follows, as long as it is one. Then start once: opens `epoch`, which
  // must be above all before, and leases without a session get the visibility timeout from now on. `cluster` is used when
  // the journal is new. INTERNAL: epochs are used up.
  void OnRebuilt();
  absl::Status Start(const Uuid& cluster, Epoch epoch, Now now);
  // The epoch that this node may open next by itself.
  Epoch NextEpoch(uint64_t node) const { return MakeEpoch(PromotionsOf(state_.epoch()) + 1, node); }
  // Records of one epoch that the active has decided, from the LSN that follows appended() on: `records` holds whole ones. They are in
  // the open batch then. Requires that the open batch is empty, or has records of the same epoch only. DATA_LOSS: a record
  // cannot be applied here; nothing of this state may be used any more.
  absl::Status Follow(Epoch epoch, std::string_view records);

  // --- Events from clients
  SessionId OnHello(const wire::Hello& hello, Now now);  // 0: refused, no session left
  void OnSubmit(SessionId from, const wire::Submit& submit, std::string_view body, Now now);
  // As a frame that does not fit into what the client may have unacknowledged.
  void OnSubmitBeyondWindow(SessionId from, const wire::Submit& submit);
  // Registers for the ids that are not over; gives back the others, which the server looks up in
  // the tables.
  std::vector<uint64_t> OnWait(SessionId from, const wire::Wait& wait);
  // The same for ids of that WAIT that were over when it came and, by a RETRY, are not any more.
  std::vector<uint64_t> OnWaitAgain(SessionId from, uint64_t request,
                                    const std::vector<uint64_t>& ids);
  // Tasks with the rows the server read for them, or without a row when there is none.
  struct RowItem {
    uint64_t id;
    std::optional<TaskRow> row;
    uint64_t letter = 0;  // the death that is meant; 0: whichever
  };
  void OnRetry(SessionId from, uint64_t request, const std::vector<RowItem>& items, Now now);
  // Cancels those of the tasks that are not over. True when that was all of them, and it is
  // answered. Otherwise the server reads their rows, all of them, and goes on with OnCancelRows.
  bool OnCancel(SessionId from, uint64_t request, const std::vector<uint64_t>& ids, Now now);
  // False: one went on when its row was read (by a RETRY) and has ended since. To be read again.
  bool OnCancelRows(SessionId from, uint64_t request, const std::vector<RowItem>& items, Now now);
  void OnDeadDelete(SessionId from, uint64_t request, const std::vector<RowItem>& items, Now now);
  void OnQueueSet(SessionId from, const wire::QueueSet& set, Now now);
  // `body`: the frame's, which `set` is the root of.
  void OnScheduleSet(SessionId from, const wire::ScheduleSet& set, std::string_view body, Now now);
  void OnSchedulePause(SessionId from, const wire::SchedulePause& pause, Now now);
  void OnScheduleRun(SessionId from, const wire::ScheduleRun& run, Now now);
  void OnScheduleRemove(SessionId from, const wire::ScheduleRemove& remove, Now now);
  void OnTypeSet(SessionId from, const wire::TypeSet& set, Now now);
  void OnWorkerDrain(SessionId from, uint64_t request, std::string_view worker);
  void OnClientGoodbye(SessionId from, Now now);

  // --- Events from workers
  // INVALID_ARGUMENT: a field of the hello. RESOURCE_EXHAUSTED: too many workers, or too many kinds
  // of them.
  // A hello that is late, or was here before: what it says of leases is not so any more.
  bool IsPast(const wire::WorkerHello& hello);
  absl::StatusOr<SessionId> OnWorkerHello(const wire::WorkerHello& hello, Now now);
  void OnCredit(SessionId from, const wire::Credit& credit);
  void OnResults(SessionId from, const wire::Results& results, Now now);
  void OnRelease(SessionId from, const wire::Release& release, Now now);
  // Progress and checkpoints of what it runs.
  void OnProgress(SessionId from, const wire::Progress& progress, Now now);
  // What it writes.
  void OnOutput(SessionId from, const wire::Output& output, Now now);
  void OnWorkerGoodbye(SessionId from, Now now);

  // --- Events from both
  void OnHeartbeat(SessionId from, const wire::Heartbeat* heartbeat, Now now);
  // Any frame of the session arrived. False: no such session.
  bool Touch(SessionId session, Now now);
  // The session cannot go on: the peer's socket is gone or takes no more, or its frames do not follow
  // one another. The peer itself may be well, so a worker keeps its leases until it says hello again
  // or has been silent for the visibility timeout.
  void OnSessionBroken(SessionId session);
  // A push to this client was dropped: tell it to ask again.
  void OnPushDropped(SessionId client);
  // The SUBMIT_ACK of a frame left: its room in the client's window is free.
  void OnSubmitAckSent(const SubmitAckEffect& ack);

  // --- What another broker did alone (docs/ha.md, "The merge"). A part that is not the next one of its merge changes nothing.
  // MALFORMED: its entries are not what they should be; nothing happened.
  absl::Status OnMerge(const MergePart& part, Now now);

  // --- Time. Fires timers, ends silent sessions and overdue attempts, forgets what is old; bounded work a call.
  void OnTick(Now now);
  // Monotonic time at which OnTick has something to do (wall-clock timers translated).
  int64_t next_tick_ms(Now now) const;

  // --- Retention. The key of kFinished to read from when finished tasks are over the limits; 0: nothing to do.
  uint64_t PruneFrom(Now now) const;
  void OnPrune(const std::vector<FinishedEntry>& entries, Now now);

  // Whether dead tasks may be over the limits: the server reads the oldest of kDead, as a command is read.
  bool HasOldDead(Now now) const;
  void OnDeadRead(const std::vector<DeadEntry>& oldest, Now now);

  // --- Rounds
  void EndRound(Now now);
  std::vector<Effect>& effects() { return effects_; }
  bool HasRecords() const { return !batch_.record_ends().empty(); }
  size_t OpenBytes() const { return batch_.bytes(); }
  // Seals the open batch into `out` and goes on in what `out` was (emptied, its capacity kept).
  void TakeBatch(Batch& out);
  Lsn appended() const { return Lsn(batch_.next_lsn().value() - 1); }
  // Of the open batch.
  Epoch open_epoch() const { return batch_.epoch(); }
  // The log's, behind what is appended.
  uint64_t appended_hash() const { return batch_.hash(); }

  // Submits are refused with RESOURCE_EXHAUSTED while set (disk or map nearly full); everything
  // else goes on.
  void SetDiskLow(std::string reason) { disk_low_ = std::move(reason); }

  // --- Reading
  State& state() { return state_; }
  const State& state() const { return state_; }
  const Gates& gates() const { return gates_; }
  const Schedules& schedules() const { return schedules_; }
  const CoreConfig& config() const { return config_; }
  // New limits and times; they hold from the next event on.
  void Reconfigure(const CoreConfig& config) { config_ = config; }
  Metrics& metrics() { return metrics_; }
  const Metrics& metrics() const { return metrics_; }
  const std::vector<ClientSession>& clients() const { return clients_; }
  const std::vector<WorkerSession>& workers() const { return workers_; }
  size_t client_count() const { return client_count_; }
  size_t worker_count() const { return worker_count_; }
  ClientSession* FindClient(SessionId id);
  WorkerSession* FindWorkerSession(SessionId id);

  // Volatile knowledge beside the rows: nothing of it is promised for longer than the moment. Bounded work.
  Explanation Explain(TaskId id, Now now) const;

  // How long ago the record was decided; one that is not among the latest at least so long as is known.
  uint64_t MsSince(Lsn lsn, Now now) const;
  // How long the first ready task of each queue has been ready, to a second: by index into lanes().queues(). Counted anew
  // at most once in kQueueAgesMs, as it costs a look at every line. queue_ages.cc
  const std::vector<uint64_t>& QueueAges(Now now);

  // Checks every promise that state and sessions must keep; the first broken one is named. For
  // simulation and tests: O(tasks). invariants.cc.
  absl::Status CheckInvariants() const;

 private:
  struct SlotRef {
    uint32_t slot;
    bool worker;
  };
  struct LeaseLinks {
    std::deque<Lease>* leases;
    uint32_t& next(uint32_t i) const { return (*leases)[i].timer_next; }
    uint32_t& prev(uint32_t i) const { return (*leases)[i].timer_prev; }
    int64_t due(uint32_t i) const { return (*leases)[i].deadline_ms; }
  };
  // An open record at the end of the batch; its head and struct are written again when it is
  // closed.
  struct OpenedRecord {
    size_t start;
    RecordKind kind;
  };
  template <class Record>
  OpenedRecord OpenRecord(RecordKind kind, const Record& placeholder);
  template <class Record>
  Lsn CloseRecord(const OpenedRecord& opened, const Record& record, Now now);
  void DropRecord(const OpenedRecord& opened);

  // Whether `more` new tasks, with whatever may follow them and the others, have ids. Each template
  // becomes a task at most once.
  bool HasTaskIds(uint64_t more) const {
    const uint64_t wanted = more * (1 + kMaxTemplates) + state_.chains().templates();
    return state_.meta().next_task + wanted <= kMaxIdCounter;
  }
  static constexpr char kNoTaskIds[] = "this epoch has no task ids left; restart the broker";

  // on_client.cc
  SessionId NewSessionId();
  void CloseClient(uint32_t slot, bool echo);
  void Watch(Task& task, uint32_t watcher);
  template <class Ids>
  std::vector<uint64_t> WatchAll(SessionId from, uint64_t request, const Ids& ids);
  void Notify(const Task& task, TaskState state, uint32_t offset, uint32_t size);
  void Tell(uint32_t watcher, const OutcomeItem& item);

  // on_cancel.cc
  std::vector<uint64_t> CancelAll(const std::vector<uint64_t>& ids, Now now);
  const Lease* Cancel(uint32_t slot, Now now);
  void TellCancelled(const Worker& worker);

  // on_merge.cc
  struct Decided;
  void MergeTaken(MergeView entry, Decided& decided, Now now);
  void MergeEnded(const MergeView& entry, Decided& decided, Now now);
  void MergeSubmitted(const MergeView& entry, const Decided& decided, uint64_t number, Now now);
  void MoveSchedules(const Decided& decided);
  void MergeSchedule(const MergeView& entry, Decided& decided, Now now);
  void RecordMerged(const MergeView& entry, Now now);
  void LoseAttempt(MergeView& entry);
  const Schedule* FindTick(const MergeView& entry, int64_t* tick_ms) const;
  void ReleaseTick(const MergeView& entry, Now now);
  static bool MayHaveRun(const TaskRow& row);
  bool FollowsHereToo(const MergeView& entry, const MergePart& part) const;
  absl::Status CheckMergeIds(std::string_view entries) const;

  // on_dead.cc
  ItemCode JudgeDead(const RowItem& item) const;
  Lsn EndDead(const std::vector<DeadGoneEntry>& entries, Now now);

  // on_submit.cc
  bool RefuseSubmit(ClientSession& client, const wire::Submit& submit, const Producer* producer,
                    size_t bytes);
  void AckAgain(const ClientSession& client, const SubmitMemory& memory,
                const wire::Submit& submit);
  void RefuseAll(ClientSession& client, const wire::Submit& submit, Metric reason,
                 const std::string& why);
  Reject Judge(const wire::TaskSpec& spec, uint32_t lane, Now now) const;
  Reject JudgeKey(const wire::TaskSpec& spec) const;
  Reject JudgeRoom(const wire::TaskSpec& spec, uint32_t lane) const;
  SubmitMemory AcceptTasks(const wire::Submit& submit, uint32_t watcher, Now now,
                           SubmitAckEffect& ack);

  // on_schedule.cc
  void RefuseSchedule(SessionId from, uint64_t request, ErrorCode code, std::string message);
  const Schedule* ScheduleOrRefuse(SessionId from, uint64_t request, std::string_view name);
  Verdict JudgeSchedule(const wire::ScheduleSet& set, size_t bytes, const Schedule* old,
                        Now now) const;
  void SetPaused(TicksRow& row, bool paused, Now now) const;
  Lsn RecordSchedule(uint32_t number, const TicksRow& row, std::string_view body, Now now);
  Reject Tick(TickedEntry& entry, Now now);
  void FireSchedules(Now now);
  void CountTicks(const TickedEntry& entry);

  // on_worker.cc
  void RegisterWorker(const wire::WorkerHello& hello, Now now);
  std::vector<uint64_t> TakeOver(Worker& worker, const wire::WorkerHello& hello, Now now);
  void LeaveWorker(uint32_t slot);
  void CloseWorker(uint32_t slot, bool echo, Now now);
  void OrphanWorker(uint32_t slot);
  void UpdateFree(uint32_t slot);

  // on_results.cc
  uint32_t FindLeased(uint64_t task, uint64_t lease, uint32_t worker);
  uint32_t IfLeased(uint32_t slot, uint64_t task, uint64_t lease, uint32_t worker);
  template <class Entries, class Visit>
  void ForEachLeased(const Entries& entries, uint32_t worker, Visit visit);
  void EndDone(const wire::Results& results, WorkerSession& session, std::vector<uint64_t>& stale,
               Now now);
  void EndCancelled(const std::vector<wire::Done>& done, WorkerSession& session,
                    std::vector<uint64_t>& stale, Now now);
  void EndReported(const wire::Results& results, WorkerSession& session,
                   std::vector<uint64_t>& stale, Now now);
  EndedEntry JudgeResult(const Task& task, const wire::Result& result, Now now);
  EndedEntry JudgeCancelled(const Task& task, std::string_view message);
  EndedEntry JudgeFailure(const Task& task, Charge charge, ErrorCode code, Now now) const;
  int64_t BackoffMs(const Task& task, int failures) const;
  uint64_t FingerprintOfOutcome(const Task& task) const;
  void BuildOutcome(std::string_view body, std::string_view content_type, ErrorCode code);
  // Puts the entry, and the outcome row, into the open record.
  void AppendEnded(uint32_t slot, EndedEntry& entry);
  void ApplyEnded(uint32_t slot, const EndedEntry& entry, Now now);
  // Ends leases that no worker reported on: one record, the given order of line kept. `charge` as
  // for each.
  void EndUnreported(std::vector<uint32_t> slots, Charge charge, ErrorCode code,
                     const std::string& message, Now now);
  // Ends a record of endings; one without entries is dropped.
  void CloseEnded(const OpenedRecord& opened, const EndedRecord& record, Now now);
  void StopTimer(Task& task);

  // on_report.cc
  bool MayReport(WorkerSession& session, size_t bytes, int64_t reserve_bytes, Now now);
  bool TakePage(WorkerSession& session, const wire::OutputPage& page, Now now);

  // on_tick.cc
  void FireTimers(Now now);
  void EndOverdue(Now now);
  void ExpireSessions(Now now);
  void ExpireTasks(Now now);
  void ForgetOld(Now now);
  void ForgetKeys(Now now);

  // explain.cc
  WaitCause ExplainLease(const Task& task) const;
  void ExplainGates(const Task& task, Now now, Explanation& answer) const;
  void ExplainWorkers(const Task& task, Explanation& answer) const;
  void CountAhead(uint32_t slot, Explanation& answer) const;

  // on_worker.cc
  Room RoomOf(const WorkerSession& session, const Worker& worker) const;

  // recall.cc
  void RecallUnstarted(Now now);
  RecallEffect RecallFrom(uint32_t slot, Dispatcher::Hands& hands, size_t& budget, Now now);

  // core.cc
  void Tell(RecordKind kind);
  void TellName(std::string_view name);

  // dispatch.cc
  void Dispatch(Now now);
  void ObserveWait(int64_t order, Now now);
  uint64_t CheckpointOf(const Task& task) const;
  void FlushTasks();
  void HoldOnce(TasksEffect& effect);
  void FlushOutcomes();

  CoreConfig config_;
  State state_;
  Batch batch_;
  Gates gates_;
  Schedules schedules_;
  Dispatcher dispatcher_;
  TimerWheel<LeaseLinks> deadlines_;
  Metrics metrics_;
  ReadyTimes ready_times_;
  std::vector<Effect> effects_;
  std::string disk_low_;

  uint64_t next_session_ = 1;
  std::vector<ClientSession> clients_;
  std::vector<uint32_t> free_clients_;
  size_t client_count_ = 0;
  std::vector<WorkerSession> workers_;
  std::vector<uint32_t> free_workers_;
  size_t worker_count_ = 0;
  absl::flat_hash_map<uint64_t, SlotRef> sessions_;   // by SessionId
  absl::flat_hash_map<Uuid, uint32_t> client_by_id_;  // slots
  absl::flat_hash_set<uint32_t> orphans_;             // workers with leases and no session

  absl::flat_hash_map<uint64_t, std::vector<uint32_t>> more_watchers_;  // by task id
  size_t more_watchers_count_ = 0;
  std::vector<uint32_t> told_clients_;    // slots with something to push
  std::vector<uint32_t> served_workers_;  // slots with something assigned

  int64_t next_expiry_ms_ = 0;  // housekeeping, monotonic
  // Until then workers may come back with tasks that the log does not know to have begun.
  int64_t expire_tasks_from_ms_ = 0;
  int64_t next_forget_ms_ = 0;
  int64_t next_recall_ms_ = INT64_MAX;
  int64_t next_age_check_ms_ = 0;
  int64_t next_dead_check_ms_ = 0;
  uint64_t prune_from_ = 1;
  uint64_t oldest_finished_ = 1;  // tasks under the oldest key that was not pruned; 1 while unknown

  std::vector<uint64_t> queue_ages_;  // as of queue_ages_ms_
  int64_t queue_ages_ms_ = 0;
  bool has_queue_ages_ = false;

  // Scratch, kept for its capacity.
  std::string outcome_;
  std::vector<uint64_t> ids_;
};

}  // namespace zsched::broker
