// What must be true, judged from outside of the broker: from the frames that pass its sockets, the rows that reach its
// disk, and what handlers really did. Owned by tests/sim. Knows the protocol, not the core.
//
//   promise                                   | seen by
//   ------------------------------------------+-----------------------------------------------------------------
//   an ack means durable                      | SUBMIT_ACK, RESULT_ACK, OUTCOMES leave only after their rows
//   no acknowledged task is lost              | rows on disk at every commit; GET of every id at the end
//   (client, seq) creates its tasks once      | the marker in each payload stands in one spec row only; answers agree
//   a key names one task, whoever submits it  | spec rows; the task that SUBMIT_ACK names instead of a new one
//   one terminal state                        | a terminal row changes only after a RETRY of a dead task
//   results under the live lease only         | terminal rows name a lease whose handler ended so; STALE when superseded
//   lease ids are never reused                | TASKS
//   credit is never exceeded                  | TASKS against the grants that had arrived
//   attempts are charged rightly              | attempt = failures + lost (+ 1) in every row; none goes on when they are spent
//   retention keeps what it is told to        | rows erased against those left
//   a worker that returns in time keeps what  | WORKER_WELCOME against WORKER_HELLO, the frames of the session before,
//     it holds, also over a restart           |   and after a restart the rows
//   a task starts when it is due              | TASKS against SUBMIT and RESULTS; rows that wait beside an idle worker
//   an attempt that is overdue is ended       | CANCEL against the HEARTBEAT that named it
//   a cancel holds from its acknowledgement   | ITEM_REPLY against the rows of then and of later; no TASKS after it
//   an attempt that is cancelled is told so   | CANCEL against the marked rows, and WORKER_WELCOME of workers that were away
//   an ack to a draining worker is the end    | no TASKS after the HEARTBEAT_ACK to a grant of 0
//   a paused queue hands nothing out,         | TASKS against the rows of queues and the QUEUE_SETs that came after
//     a bounded one no more than it may       |   them; leased rows
//   an error that a type does not retry is   | RESULTS and lost leases against the rows of types and the TYPE_SETs
//     the end of its task                     |   that came after; nothing else but spent attempts is
//   a tick has one task, or a reason for none, | rows of schedules against the calendar, the labels of tasks and
//     and none before its time or late        |   the latest that the broker's clock has shown
//   a dead task is there until it is retried | rows of letters against those of tasks; RETRY and DEAD_DELETE that
//     or deleted, that death and no other    |   came before; lists against the letters that were on disk
//   no task waits behind another at its       | TASKS, RELEASE and starts of handlers, beside an idle worker
//     worker for long                         |
//   a task's history has all of its attempts, | rows of the history against those of tasks; HISTORY_INFO against both
//     once, and goes with the task            |
//   the next attempt gets the last checkpoint | TASKS against the rows; rows at the RESULT_ACK against what the attempt said
//   of what an attempt wrote the end is on disk | rows against the bytes that only it writes, and at the RESULT_ACK against
//     once its result is, and nobody else's     |   what had been sent; LOG_PAGES
//   each branch of a chain fires once, with   | spec rows against the ends of tasks in the same batch, the
//     the end of the task that it follows     |   templates in SUBMIT; TASKS against the rows
//   no attempt begins after its start-by time, | rows of expiries against SUBMIT; TASKS and what workers begin
//     what waits until then is dead           |   against them
//   clients hear the truth                    | OUTCOMES and TASK_INFOS against terminal rows and handlers
//   a session is a numbered stream            | every frame that leaves; of those that enter, only what follows counts
//
// Promises about time are judged while their premises hold:
// no wall clock jumped, the broker was not paused, the session is one that the broker must know.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/batch.h"
#include "broker/core/rows.h"
#include "broker/server/engine.h"
#include "cron/cron.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/ids.h"
#include "schemas/output_stream.h"
#include "tests/sim/judge.h"

namespace zsched::sim {

// What handlers write: lines that say whose they are and how many came before, each to one of the streams.
constexpr size_t kOutputLineBytes = 32;
std::string OutputLine(uint64_t lease, uint64_t number);
OutputStream StreamOfLine(uint64_t lease, uint64_t number);

class Oracle final : public Judge {
 public:
  using Judge::Judge;

  void SetRetention(uint64_t tasks, int64_t ms) override {
    keep_finished_ = tasks;
    keep_finished_ms_ = ms;
  }
  void SetMaxDead(uint64_t tasks) override { max_dead_ = tasks; }
  void FrameIn(broker::Endpoint endpoint, std::string_view routing_id,
               std::string_view frame) override;
  void FrameOut(broker::Endpoint endpoint, std::string_view routing_id, const FrameHeader& header,
                std::string_view body) override;
  void StaleFrameOut(std::string_view routing_id, const FrameHeader& header,
                     std::string_view body) override;
  void NotDelivered(uint64_t session) override;
  void BrokerStarted() override;
  void RoundOver(int64_t wall_ms) override;
  void WallShown(int64_t wall_ms) override { latest_wall_ms_ = std::max(latest_wall_ms_, wall_ms); }
  void DiskLow(bool low) override;
  void BatchTaken() override;
  void Committed(const broker::Batch& batch) override;
  void CommitReported() override;
  void ClockJumped() override { clocks_agree_ = false; }
  void ClocksDrift(double share) override {
    clocks_agree_ = false;
    drift_ = share;
  }
  void AttemptStarted(uint64_t lease, int64_t mono_ms) override;
  void StartWithin(uint64_t lease, int64_t until_ms) override;
  void AttemptEnded(uint64_t lease, AttemptTruth truth) override {
    truths_[lease] = std::move(truth);
  }
  void OutcomeSeen(const std::string& marker, uint64_t id, bool not_found) override;
  std::vector<TaskId> MustBeThere() override;
  void LastSeen(const wire::TaskInfo& info) override;
  size_t tasks_seen() const override { return tasks_.size(); }

  // --- What is to be checked by others
  struct TaskFacts {
    std::string marker;
    uint32_t bytes = 0;  // of the payload, and of what was passed to it
    // Of one that follows another: which, and what the row says of that one's end.
    uint64_t parent = 0;
    broker::TaskState parent_state{};
    bool parent_passed = false;
    uint32_t passed_bytes = 0;
    std::string parent_outcome;  // its row
    int64_t made_ms = 0;         // by the broker's clock
    uint8_t fired = 0;           // branches of its own
    bool durable = false;        // its spec is on disk
    bool has_row = false;
    int64_t row_us = 0;  // since when its row is as it is
    bool pruned = false;
    bool acked = false;        // as durable
    bool retry_asked = false;  // by anybody, ever
    uint64_t started = 0;      // the last lease of it whose handler began
    bool cancel_asked = false;
    bool cancel_acked = false;
    // Of the deaths that were to be retried or deleted; 0: whichever.
    std::set<uint64_t> retry_letters, delete_letters;
    std::set<uint64_t> fingerprints;  // of its deaths
    broker::TaskRow row;
    std::vector<std::pair<broker::TaskState, uint64_t>> ends;  // terminal states and their leases
    int64_t not_before_us = 0;                                 // after the last failure
    int64_t retry_after_ms = 0;    // the longest that a handler asked for
    int64_t due_us = kNotWaiting;  // the row waits, and may from then on not wait for time
  };
  const std::map<uint64_t, TaskFacts>& tasks() const { return tasks_; }
  // Tasks that have a row and have not ended.
  size_t unfinished() const { return unfinished_; }

  // Every schedule is paused, so that no new tasks come.
  bool schedules_rest() const;

 private:
  static constexpr int64_t kNotWaiting = -1;

  struct SubmittedTask {
    std::string marker, key;
    bool memory = false;
  };
  // What a client asked for, by marker.
  struct Wish {
    std::string queue, type, concurrency_key;
    bool at_most_once = false;
    int64_t start_within_ms = 0, start_by_ms = 0;
    int64_t delay_ms = 0;
    int64_t not_before_us = 0;
    uint64_t retry_base_ms = 0, retry_cap_ms = 0;
  };
  struct SubmittedFrame {
    uint64_t body_hash = 0;
    std::vector<SubmittedTask> tasks;
    uint64_t first_id = 0;  // of the first durable answer
    uint32_t accepted = 0;
  };
  struct ReportedResult {
    uint64_t task = 0, lease = 0;
    bool done = false;  // as succeeded
    bool must_be_stale = false;
    bool never = false;               // to be tried again
    ErrorCode code = ErrorCode::kOk;  // of a failure; that of a timeout counts apart
    int64_t retry_after_ms = -1;      // asked for; -1: the back-off of the task
    int64_t arrived_us = 0;
  };
  struct Grant {
    uint64_t until_batch = 0;  // batches_taken_ when the next one came
    uint32_t tasks = 0;
    uint64_t bytes = 0;
  };
  using Names = std::set<std::string, std::less<>>;
  struct HeldLease {
    uint64_t task = 0, lease = 0;
    uint32_t attempt = 0;
  };
  struct Greeting {
    Uuid worker;
    int64_t arrived_us = 0;
    Names queues, types;  // empty: all
    uint32_t concurrency = 0;
    std::vector<HeldLease> held;
    std::set<uint64_t> must_keep;  // leases
  };
  struct WorkerSession {
    Greeting greeting;
    bool certain = true;  // the broker has no reason to have closed it, but for silence from now on
    bool broken = false;  // the broker has: frames were lost. The leases stay with the worker
    int64_t heard_us = 0;
    int64_t steady_us = 0;   // since when it is heard without a break
    int64_t stirred_us = 0;  // the last frame of either side that was not a heartbeat
    // The ack of this heartbeat, counted from 1, ends what may be on its way; 0: the worker grants something.
    uint64_t last_call = 0;
    uint64_t beats = 0, beats_acked = 0;
    std::set<uint64_t> told;                   // leases, by CANCEL, that their tasks are cancelled
    std::deque<Grant> grants;                  // the last is in force
    std::map<uint64_t, uint32_t> outstanding;  // lease → payload bytes
    std::map<uint64_t, std::vector<ReportedResult>> results;  // by seq, without an ack
  };
  struct LeaseFacts {
    uint64_t task = 0;
    uint16_t attempt = 0;
    uint32_t timeout_ms = 0;
    int64_t given_us = 0;
    bool begun = false;
  };
  struct Stream {
    std::string routing_id;  // frames of the session from elsewhere are refused
    uint32_t in = 0, out = 0;
    bool broken = false;  // a gap has ended it
  };

  // A queue whose rules somebody changed.
  struct GateRules {
    bool paused = false;
    uint64_t max_running = 0, rate_micro = 0, burst = 0;
    uint64_t no_retry = 0;  // of a type: errors

    bool Hold() const { return paused || max_running != 0 || rate_micro != 0; }
  };
  struct GateFacts {
    GateRules rules;           // on disk
    GateRules key_rules;       // of a queue: what its keys have
    bool settled = false;      // it holds, and nothing that was decided before it is under way
    uint64_t asked_batch = 0;  // batches_taken_ when the last change came
    int64_t asked_us = 0;      // when that was, or when the broker found the row
    uint64_t handed_out = 0;   // since it is settled
    uint64_t leased = 0;       // in this epoch, by the rows
  };
  std::vector<std::string> GatesOf(const Wish& wish);
  template <class Visit>
  void ForGatesOfQueue(const std::string& queue, Visit visit);
  void QueueStored(std::string_view row);
  void TypeStored(std::string_view row);
  void RuleAsked(GateFacts& gate);
  void QueueRuleAsked(const std::string& queue);
  void TypeRuleAsked(const std::string& type);
  void RulesReread();
  void SettleRules();
  void CheckHandOut(const Wish& wish);
  void CheckRunning(Epoch epoch);
  bool MayWait(const Wish& wish, int64_t since_us);
  bool ForbidsRetry(const Wish& wish, uint64_t errors, int64_t since_us);
  bool MayForbidRetry(const Wish& wish, uint64_t errors);

  // A schedule as it stands on disk.
  struct ScheduleFacts {
    std::string name;
    cron::Schedule rule;
    wire::Overlap overlap{};
    int64_t catch_up_ms = 0, jitter_ms = 0;
    broker::TicksRow row;
    bool has_row = false;
    bool was_busy = false;        // its task was not over at the end of the batch before
    std::set<int64_t> ticks;      // that have a task
    int64_t waits_since_us = -1;  // ticks wait for a task that is over; -1: none do
  };
  // False: the task is no tick's.
  bool TickStored(uint64_t id, const broker::SpecView& spec);
  void ScheduleStored(uint64_t number, std::string_view row);
  void TicksStored(uint64_t number, std::string_view row);
  using Failing = std::function<void(const std::string&)>;
  void CheckFates(const ScheduleFacts& schedule, const broker::TicksRow& old, const Failing& fail);
  void CheckOverlap(const ScheduleFacts& schedule, const broker::TicksRow& old,
                    const Failing& fail);
  void ClaimTicks(ScheduleFacts& schedule, const broker::TicksRow& old);
  void SchedulesStored();
  void CheckTicksLate(int64_t as_of_us);
  void OnScheduleFrame(uint64_t session, const FrameView& frame);
  void CheckScheduleInfos(uint64_t session, const wire::ScheduleInfos& infos);

  int64_t StartByOf(const TaskFacts& task);
  void ExpiriesStored(const broker::Batch& batch);
  bool HasExpired(uint64_t id, const TaskFacts& task, const broker::TaskRow& row);
  void CheckExpiries(int64_t as_of_us);
  void CheckStartWithin(uint64_t id, const wire::Assignment& assignment);
  void CheckStartsInTime(uint64_t lease, int64_t mono_ms);

  // A template of a task, by the marker that the task of it will have.
  struct Link {
    uint8_t branch = 0;
    bool passes = false;
    std::string marker;
  };
  void NoteChain(const wire::TaskSpec& spec, const std::string& marker);
  void FollowerStored(uint64_t id, const broker::SpecView& spec);
  void CheckPassed(uint64_t id, const Link& link, const broker::Batch& batch);
  void ChainsStored(const broker::Batch& batch);
  void CheckParent(const wire::Assignment& assignment, const TaskFacts& task);

  void DeadStored(const broker::Batch& batch);
  void DeadRevived(uint64_t id, const TaskFacts& task);
  void DeadErased(uint64_t id, TaskFacts& task);
  void OnDeadFrame(uint64_t session, const FrameView& frame);
  void CheckDeadReply(uint64_t session, const wire::ItemReply& reply);
  void CheckDeadLetters(uint64_t session, const wire::DeadLetters& answer);
  // oracle_trails.cc
  void TrailsCommitted(const broker::Batch& batch);
  void AttemptStored(uint64_t key, std::string_view row);
  void CheckTrail(uint64_t id);
  void NoteStored(uint64_t key, std::string_view row);
  void OnProgress(const WorkerSession& session, const wire::Progress& progress);
  void CheckCheckpoint(uint64_t id, const wire::Assignment& task);
  void CheckLastWords(const ReportedResult& result);
  void CheckProgress(uint64_t id, const wire::ProgressInfo& progress);
  struct OutputFacts {
    uint64_t lease = 0, offset = 0, end = 0;
  };
  std::optional<OutputFacts> ReadLines(uint64_t task, uint16_t attempt, uint64_t offset,
                                       std::string_view bytes);
  void OutputStored(uint64_t key, std::string_view row);
  void OnOutput(const WorkerSession& session, const wire::Output& output);
  void CheckLastOutput(const ReportedResult& result);
  void CheckLogs(const wire::LogPages& pages);
  void CheckHistory(const wire::HistoryInfo& info);

  void CheckRow(uint64_t id, const broker::TaskRow& row);
  void CheckCancel(uint64_t id, const TaskFacts& task, const broker::TaskRow& row);
  void CheckCharges(uint64_t id, const TaskFacts& task, const broker::TaskRow& row);
  void CheckEnd(uint64_t id, const TaskFacts& task, const broker::TaskRow& row);
  void SpecStored(uint64_t id, std::string_view row);
  void RowErased(uint64_t id);

  void OnSubmit(const Uuid& client, const wire::Submit& submit, std::string_view body);
  void OnResults(WorkerSession& session, const wire::Results& results);
  void OnWorkerFrame(const FrameView& frame);
  void OnClientFrame(uint64_t session, const FrameView& frame);

  // Whether the session has to take this frame.
  bool Follows(std::string_view routing_id, const FrameHeader& header);
  void CheckNumber(std::string_view routing_id, const FrameHeader& header);
  void CheckSubmitAck(uint64_t session, const wire::SubmitAck& ack);
  void CheckRepeated(const SubmittedTask& task, const wire::Rejected& answer);
  void CheckOutcomes(const wire::Outcomes& outcomes);
  void CheckOutcome(uint64_t id, broker::TaskState state, std::string_view result);
  void CheckInfos(const wire::TaskInfos& infos);
  bool CheckInfo(const wire::TaskInfo& info);
  void CheckTasks(uint64_t session, const wire::Tasks& tasks);
  void CheckCredit(uint64_t session, const WorkerSession& worker);
  void CheckResultAck(uint64_t session, const wire::ResultAck& ack);
  void HeartbeatAcked(uint64_t session);
  void Cancelled(uint64_t session, const wire::Cancel& cancel);
  void CheckCancelAck(uint64_t session, const wire::ItemReply& reply);
  void CheckAccepted(const ReportedResult& result);
  void WorkerWelcomed(std::string_view routing_id, const wire::WorkerWelcome& welcome);

  void OweCancel(uint64_t session, uint64_t lease);
  void CheckOwedCancels();

  void OnWorkerHello(std::string_view routing_id, const wire::WorkerHello& hello);
  std::set<uint64_t> MustKeep(const Greeting& greeting);
  bool WasFound(const Greeting& greeting, const HeldLease& held);
  void NoteWish(const wire::TaskSpec& spec, const std::string& marker);
  void NoteFailure(const ReportedResult& result, TaskFacts& task);
  void NoteWaiting(uint64_t id, TaskFacts& task);
  void NoteStarted(const WorkerSession& session, const wire::Heartbeat& heartbeat);
  void Heard(WorkerSession& session);
  bool IsKnown(const WorkerSession& session) const;
  bool IsIdleSince(const WorkerSession& session, int64_t since_us) const;
  void CheckEarly(uint64_t id, const TaskFacts& task);
  void CheckLate(int64_t as_of_us);
  void CheckBehind(int64_t as_of_us);
  void CheckRecall(uint64_t session, const wire::Recall& recall);
  void CheckOverdue();

  std::map<uint64_t, TaskFacts> tasks_;
  size_t unfinished_ = 0;
  uint64_t kept_ = 0;          // succeeded or cancelled, and not pruned
  bool pruned_young_ = false;  // with this batch, and not for its age
  uint64_t keep_finished_ = 0;
  int64_t keep_finished_ms_ = 0;
  uint64_t batches_taken_ = 0;     // by the journal
  uint64_t batches_reported_ = 0;  // the last one of which the loop knows that it is durable

  absl::flat_hash_map<std::string, uint64_t> id_of_marker_;
  absl::flat_hash_map<std::string, uint64_t> id_of_key_;
  absl::flat_hash_map<uint64_t, AttemptTruth> truths_;  // by lease
  absl::flat_hash_map<uint64_t, LeaseFacts> leases_;    // every one that TASKS named
  absl::flat_hash_map<uint64_t, uint64_t> live_lease_;  // task → lease as the broker last said
  absl::flat_hash_map<uint32_t, Uuid> worker_of_number_;
  absl::flat_hash_map<std::string, Uuid> client_greeting_;  // by routing id
  absl::flat_hash_map<std::string, Greeting> worker_greeting_;
  absl::flat_hash_map<uint64_t, Stream> streams_;  // by session
  absl::flat_hash_map<uint64_t, Uuid> client_of_session_;
  std::map<uint64_t, WorkerSession> worker_sessions_;
  std::map<std::pair<Uuid, uint64_t>, SubmittedFrame> submits_;  // by (client, seq)
  // --- The dead
  struct DeadAsked {
    bool to_delete = false;                            // otherwise to retry
    std::vector<std::pair<uint64_t, uint64_t>> named;  // task, letter or 0
  };
  std::map<uint64_t, uint64_t> letters_;               // on disk: letter → task
  absl::flat_hash_map<uint64_t, uint64_t> died_;       // every one that ever was
  absl::flat_hash_map<uint64_t, uint64_t> deaths_of_;  // fingerprint → deaths
  uint64_t last_letter_ = 0;
  uint64_t dead_ = 0;  // rows of tasks
  uint64_t max_dead_ = 0;
  // With this batch:
  uint64_t last_expired_ = 0;  // letter
  uint64_t taken_ = 0;         // letters, by clients
  // (session, request) → what was asked; → the letters of then
  std::map<std::pair<uint64_t, uint64_t>, DeadAsked> dead_asked_;
  std::map<std::pair<uint64_t, uint64_t>, std::map<uint64_t, uint64_t>> must_list_;
  // --- Trails
  std::map<uint64_t, broker::TrailRow> trails_;     // on disk, by task
  std::map<uint64_t, broker::AttemptRow> history_;  // on disk
  absl::flat_hash_map<uint64_t, uint64_t> task_of_trail_,
      trail_numbers_;  // also those that are gone
  absl::flat_hash_map<uint64_t, broker::AttemptRow>
      recorded_;                         // by lease, also those that are gone
  std::vector<uint64_t> changed_tasks_;  // by the batch
  struct Note {
    uint16_t attempt = 0;
    std::string body;
  };
  std::map<uint64_t, Note> notes_;                              // on disk
  absl::flat_hash_map<uint64_t, std::string> last_checkpoint_;  // by lease, as its worker said
  std::set<std::tuple<uint64_t, uint16_t, std::string>>
      shown_;                               // task, attempt, progress: ever on disk
  std::map<uint64_t, OutputFacts> output_;  // on disk
  // By lease: the end of each page that its worker sent, by number.
  absl::flat_hash_map<uint64_t, std::map<uint64_t, uint64_t>> last_output_;
  // --- Cancels
  std::map<std::pair<uint64_t, uint64_t>, std::vector<uint64_t>>
      cancels_;  // (session, request) → ids
  struct OwedCancel {
    uint64_t until_batch = 0;  // the CANCEL has left once this one is reported
    uint64_t session = 0, lease = 0;
  };
  std::deque<OwedCancel> owed_cancels_;
  // --- Schedules
  std::map<uint64_t, ScheduleFacts> schedules_;                    // by number
  std::map<std::string, uint64_t, std::less<>> runs_asked_;        // tasks by hand, by schedule
  std::map<std::string, uint64_t, std::less<>> runs_made_;         // the same, on disk
  std::map<std::pair<uint64_t, uint64_t>, std::string> settings_;  // (session, request) → schedule
  std::set<std::pair<std::string, uint64_t>> pauses_;              // (schedule, batch)
  struct Tick {
    std::string schedule;
    int64_t tick_ms = 0;
  };
  std::vector<Tick> new_ticks_;  // of this batch
  // --- Chains
  std::map<std::string, std::vector<Link>> links_;  // by marker
  std::set<std::string> following_;                 // markers of all templates
  std::vector<uint64_t> ended_, new_followers_;     // with this batch
  // --- Start-by times
  std::set<uint64_t> may_expire_;
  absl::flat_hash_map<uint64_t, int64_t> start_until_ms_;  // by lease, on its worker's clock
  AlignedCopy aligned_;

  // --- Time
  bool clocks_agree_ = true;  // in this run, until one jumps
  double drift_ = 0;          // of the clocks, at most
  int64_t broker_started_us_ = 0;
  int64_t steady_since_us_ = 0;  // since then the broker is up, not paused, and its disk is quick
  int64_t round_us_ = 0;
  int64_t round_wall_ms_ = 0;         // the broker's clock in its last round
  int64_t latest_wall_ms_ = 0;        // the most it ever showed
  int64_t wall_steady_since_us_ = 0;  // it has not jumped since
  bool disk_low_ = false;
  int64_t disk_roomy_since_us_ = 0;
  int64_t batch_taken_us_ = 0;
  bool batch_at_journal_ = false;
  int64_t next_late_check_us_ = 0;
  std::map<std::string, GateFacts> gates_;  // by kind and name
  absl::flat_hash_map<std::string, Wish> wishes_;
  std::set<std::pair<int64_t, uint64_t>> waiting_;  // (due, task)
  // Of this life of the broker:
  absl::flat_hash_map<uint64_t, broker::TaskRow> found_;  // on the disk when it started
  std::set<Uuid> greeted_;
  std::map<Uuid, uint32_t> last_hello_;             // numbers, in this life of the broker
  std::set<uint64_t> named_;                        // tasks that a WORKER_HELLO named
  bool credit_given_ = false;                       // so a task may have been leased to anybody
  std::set<uint64_t> started_;                      // leases that a heartbeat named
  std::set<std::pair<int64_t, uint64_t>> overdue_;  // (when, lease) of those
};

}  // namespace zsched::sim
