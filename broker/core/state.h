// What the log says: every fact that survives a restart, as the in-memory index of it. Owned by
// broker/core; pure.
//
// Changed by its Apply methods only. On the active they run right after the decision is recorded,
// on a standby when the record arrives, so both hold the same state; each change also writes the
// table rows it means into the open batch, so a restart rebuilds the same state from the tables
// (Rebuild). The methods take what a record holds and nothing else: no clock, no randomness, no
// session.
//
//   Step (on_*.cc) ──record──▶ log          Apply(record) ──▶ memory + table rows
//
// Threads: one owner, the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "broker/core/batch.h"
#include "broker/core/chains.h"
#include "broker/core/expiries.h"
#include "broker/core/keys.h"
#include "broker/core/lanes.h"
#include "broker/core/merge.h"
#include "broker/core/ready_clock.h"
#include "broker/core/record.h"
#include "broker/core/rows.h"
#include "broker/core/seq_ranges.h"
#include "broker/core/task_index.h"
#include "broker/core/timer_wheel.h"
#include "broker/core/trails.h"
#include "schemas/ids.h"

namespace zsched::broker {

struct Lease {
  uint64_t id = 0;
  uint32_t task = kNil;  // kNil: free slot
  uint32_t worker = kNoWorker;
  int64_t leased_ms = 0;
  // Not durable: when the broker ends the attempt itself, on the monotonic clock; set once its
  // start was reported.
  int64_t deadline_ms = 0;
  uint32_t timer_next = kNil, timer_prev = kNil;
  bool timed = false;
  // Not durable: its worker was asked to give it back, unless it has begun.
  bool recalled = false;
};

struct Worker {
  uint32_t number = kNoWorker;
  Uuid id;
  std::string name, host, version;
  uint32_t pid = 0;
  int64_t seen_ms = 0;
  uint32_t leases_head = kNil;  // tasks leased to it, linked by Task::next/prev
  uint32_t leases = 0;
  uint64_t leased_bytes = 0;
  // Not durable.
  uint32_t session = kNil;   // slot of its live session
  int64_t silent_since = 0;  // without a session: since when, monotonic
  uint32_t last_hello = 0;   // number of its last WORKER_HELLO
};

// Tasks that have ended in the open batch, to become FinishedRuns. Words, as one is looked at right after it was
// written, and that is slow in other pieces than it was written in (ExtendStruct in rows.h).
struct OpenRun {
  uint64_t first = 0;
  uint64_t end = 0;   // behind the last
  uint64_t like = 0;  // what they have in common
  static uint64_t Like(uint32_t lane, TaskState state, bool outcomes, bool trails) {
    return uint64_t{lane} << 16 | uint64_t{static_cast<uint8_t>(state)} << 8 |
           uint64_t{outcomes} << 1 | uint64_t{trails};
  }
  // From `from` on, as many as one run may have.
  FinishedRun Part(uint64_t from) const {
    FinishedRun run;
    run.first = from;
    run.lane = static_cast<uint32_t>(like >> 16);
    run.tasks = static_cast<uint16_t>(std::min<uint64_t>(end - from, UINT16_MAX));
    run.state = static_cast<TaskState>(like >> 8 & 0xFF);
    run.outcomes = like >> 1 & 1;
    run.trails = like & 1;
    return run;
  }
};

struct SubmitMemory {
  uint64_t seq = 0;
  uint64_t first_id = 0;
  uint32_t accepted = 0;
  std::vector<ProducerReject> rejected;
};

// DATA_LOSS: what stands in a table there is not what is written there.
absl::Status BadRow(const char* table, uint64_t key);

// Of an entry of kSubmit.
SubmitMemory MemoryOf(const MergeView& entry);

// A client as the broker remembers it for its resends.
struct Producer {
  uint64_t number = 0;
  Uuid client;
  uint64_t acked_below = 1;
  int64_t used_ms = 0;
  std::deque<SubmitMemory> submits;  // by rising seq
  SeqRanges taken;                   // frames of it, also of those that are forgotten
  bool dirty = false;
};

// nullptr: it is not remembered, or there is no producer.
const SubmitMemory* FindSubmit(const Producer* producer, uint64_t seq);

// A time schedule: its definition, as it was set, and how far it has come.
struct Schedule {
  uint32_t number = 0;
  TicksRow row;
  std::string body;  // a verified SCHEDULE_SET; long enough to lie aligned on the heap

  const wire::ScheduleSet& set() const {
    return *flatbuffers::GetRoot<wire::ScheduleSet>(body.data());
  }
  std::string_view name() const { return {set().name()->c_str(), set().name()->size()}; }
};

class State {
 public:
  State() : lanes_(tasks_), timers_(TaskLinks{&tasks_}, 0) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // --- Reading
  TaskIndex& tasks() { return tasks_; }
  const TaskIndex& tasks() const { return tasks_; }
  Lanes& lanes() { return lanes_; }
  const Lanes& lanes() const { return lanes_; }
  struct TaskLinks {
    TaskIndex* tasks;
    uint32_t& next(uint32_t slot) const { return (*tasks)[slot].next; }
    uint32_t& prev(uint32_t slot) const { return (*tasks)[slot].prev; }
    int64_t due(uint32_t slot) const { return (*tasks)[slot].order; }
  };
  TimerWheel<TaskLinks>& timers() { return timers_; }
  const TimerWheel<TaskLinks>& timers() const { return timers_; }
  std::deque<Lease>& leases() { return leases_; }
  const std::deque<Lease>& leases() const { return leases_; }
  Lease& LeaseOf(const Task& task) { return leases_[task.lease]; }
  // What the end of the task's attempt will touch.
  void PrefetchEnd(uint32_t slot) const;
  absl::flat_hash_map<uint32_t, Worker>& workers() { return workers_; }
  const absl::flat_hash_map<uint32_t, Worker>& workers() const { return workers_; }
  Worker* FindWorker(const Uuid& id);
  Producer* FindProducer(const Uuid& client);
  absl::flat_hash_map<uint64_t, Producer>& producers() { return producers_; }
  const absl::flat_hash_map<uint64_t, Producer>& producers() const { return producers_; }
  const Keys& keys() const { return keys_; }
  // Of what was done since the last record was closed, by whom it is to be written into that record.
  std::vector<ToldTask>& told() { return told_; }
  // Since when the ready tasks wait.
  const ReadyClock& ready_clock() const { return ready_clock_; }
  const Trails& trails() const { return trails_; }
  // Those whose tasks were over before then; the caller records that they go.
  std::vector<uint64_t> OldKeys(int64_t before_ms, size_t limit) {
    return keys_.Old(before_ms, limit);
  }
  const std::map<uint32_t, Schedule>& schedules() const { return schedules_; }
  uint64_t schedule_bytes() const { return schedule_bytes_; }  // of definitions
  // Numbers in the order of names.
  const absl::btree_map<std::string, uint32_t>& schedule_names() const { return schedule_by_name_; }
  const Schedule* FindSchedule(std::string_view name) const;
  uint32_t next_schedule() const;  // the number that a new one gets
  const Chains& chains() const { return chains_; }
  const Expiries& expiries() const { return expiries_; }
  // False for 0.
  bool IsUnfinished(uint64_t task) const;
  // Something in memory is the task's: itself, templates or attempts that a RETRY would need, or a key. False: there is none such, or
  // it is over.
  bool HasAnyOf(uint64_t task) const;
  // By number, the latest last.
  const std::map<uint64_t, MergeRow>& merges() const { return merges_; }
  // Whether the task is of a frame that its client has sent to this side too.
  bool IsResent(uint64_t log_hash, uint64_t task) const;
  // nullptr: nothing of it has been decided. The number: that it has, or gets.
  const MergeRow* FindMerge(uint64_t log_hash) const;
  uint64_t MergeNumber(uint64_t log_hash) const;
  const MetaRow& meta() const { return meta_; }
  Epoch epoch() const { return Epoch(meta_.epoch); }
  Lsn lsn() const { return Lsn(meta_.lsn); }
  uint64_t finished() const {
    return finished_;
  }  // succeeded and cancelled tasks that still have rows
  // Dead tasks, each with a row of kDead.
  uint64_t dead() const { return dead_; }
  uint64_t unfinished_bytes() const { return unfinished_bytes_; }

  // --- Changing, one method a fact. `batch` is where the record stands as its last, still open record, so
  // batch.next_lsn() is its LSN.
  void EpochStarted(Batch& batch, Epoch epoch, const Uuid& cluster, int64_t now_ms);
  // A new task of a SUBMIT. Writes its spec row; returns its slot.
  // With `more_labels` behind its own.
  uint32_t Submitted(Batch& batch, TaskId id, uint32_t lane, const wire::TaskSpec& spec,
                     int64_t now_ms, std::span<const LabelView> more_labels = {},
                     const ParentView& parent = {});
  // And its base, when that is not there.
  uint32_t CreateLane(Batch& batch, const LaneNames& names);
  // All of the queue's settings, as the record says them. Returns the queue's index.
  uint32_t QueueSet(Batch& batch, std::string_view name, const QueueRow& settings);
  // The same for a type.
  uint32_t TypeSet(Batch& batch, std::string_view name, const TypeRow& rules);
  // A new schedule or a changed one. `body`: empty when the definition stays.
  void ScheduleSet(Batch& batch, uint32_t number, const TicksRow& row, std::string_view body);
  // `lane`: of the task, when it makes one.
  void Ticked(Batch& batch, const TickedEntry& entry, uint32_t lane, int64_t now_ms);
  void ScheduleGone(Batch& batch, uint32_t number);
  void SubmitRemembered(const Uuid& client, SubmitMemory submit, uint64_t acked_below,
                        int64_t now_ms);
  void WorkerSeen(Batch& batch, Worker worker);
  void Leased(uint32_t slot, LeaseId lease, uint32_t worker, uint16_t attempt, int64_t now_ms);
  // The attempt is over. `outcome` is an outcome row or empty. kSucceeded, kDead and kCancelled free
  // the slot, and make the tasks that follow; returns true then.
  bool Ended(Batch& batch, uint32_t slot, const EndedEntry& entry, std::string_view outcome,
             int64_t now_ms);
  // A leased task's attempt says something. `message` and `checkpoint` count when `entry` says so.
  void Reported(Batch& batch, uint32_t slot, const ReportedEntry& entry, std::string_view message,
                std::string_view checkpoint, int64_t now_ms);
  // A leased task's attempt has written a page: IsOutputPage(). Replaces the page as it was before.
  void Wrote(Batch& batch, uint32_t slot, uint64_t offset, std::string_view runs,
             std::string_view bytes);
  // A leased task is marked, and is over when its attempt is. Any other is over now: its slot is
  // free, and its outcome row CancelledWaiting(); returns true then.
  bool Cancelled(Batch& batch, uint32_t slot, int64_t now_ms);
  // The outcome row of a task that was cancelled while no attempt ran.
  static const std::string& CancelledWaiting();
  // A task that waits is dead of its start-by time; its slot is free.
  void Expired(Batch& batch, uint32_t slot, uint64_t fingerprint, int64_t now_ms);
  // The outcome row of such a task.
  static const std::string& ExpiredOutcome();
  void Fired(Batch& batch, uint32_t slot, int64_t now_ms);
  void Retried(Batch& batch, const RetriedEntry& entry, int64_t now_ms);
  // A dead task goes with all its rows, but for its key. Checked by the caller.
  void DeadGone(Batch& batch, const DeadGoneEntry& entry);
  void KeyGone(Batch& batch, uint64_t task);
  // `keys`: uint64_t of kFinished; `runs`: FinishedRun. Checked by the caller.
  void Pruned(Batch& batch, std::string_view keys, std::string_view runs);
  // A task that another broker took alone: one of kTask, ready, waiting or over.
  void Merged(Batch& batch, const MergeView& entry, uint32_t lane, int64_t now_ms);
  // One that ended there and not here. The caller has taken the timer off its attempt.
  void MergedEnd(Batch& batch, uint32_t slot, const MergeEnd& end, std::string_view outcome,
                 int64_t now_ms);
  void MergeResent(uint64_t number, const MergeResent& frame);
  void MergeDecided(Batch& batch, uint64_t number, const MergeRow& row);
  void ProducerGone(Batch& batch, uint64_t number);
  void WorkerGone(Batch& batch, uint32_t number);

  // Writes the row of kFinished for the tasks that succeeded or were cancelled since the last call.
  // Once a record.
  void FlushFinished(Batch& batch, int64_t now_ms);
  // Writes the rows of everything that changed since the last call. Once a batch, before it goes to
  // the journal.
  void FlushRows(Batch& batch);

  // Applies one record of the log: what a standby and the property tests do. The record is checked
  // in all its lengths and references; DATA_LOSS says what does not fit and leaves the state in
  // between (the caller must give it up).
  absl::Status Apply(Batch& batch, std::string_view record);

  // Fills an empty state from the tables. `scan(table, visit)` calls visit(key, row) for each row
  // by rising key.
  using ScanTable = std::function<absl::Status(
      Table, const std::function<absl::Status(uint64_t key, std::string_view row)>&)>;
  absl::Status Rebuild(const ScanTable& scan);

  // A text that is equal for equal states: for the tests that compare replay with rebuild.
  std::string Fingerprint() const;

 private:
  friend class Applier;
  struct ReadyRow {
    uint32_t slot;
    int64_t since_ms;
  };
  void MarkDirty(uint32_t slot);
  void SetState(Task& task, TaskState state);
  void MakeReady(uint32_t slot, Lsn lsn, int64_t now_ms, bool front);
  void WaitUntil(uint32_t slot, TaskState state, int64_t due_ms);
  void ReleaseLease(Task& task);
  void Finish(Batch& batch, uint32_t slot, int64_t now_ms);
  // How a task is over that no attempt ends. The views live until then.
  struct Close {
    TaskState state{};
    uint64_t fingerprint = 0;  // of a dead one
    int64_t finished_ms = 0;
    uint32_t run_us = 0;
    std::string_view outcome;
    bool trail_behind = false;  // begin a trail behind its attempts, if it has none
  };
  void End(Batch& batch, uint32_t slot, const Close& close, int64_t now_ms);
  void RemoveWaiting(uint32_t slot);
  // Its queue counts it among those that are not over.
  void CountUnfinished(const Task& task) {
    Queue& queue = lanes_.queue_of(task.lane);
    ++queue.unfinished;
    queue.bytes += task.bytes;
    unfinished_bytes_ += task.bytes;
  }
  // A new one, in its lane and by its state too.
  void CountNew(const Task& task) {
    ++lanes_[task.lane].tasks;
    ++lanes_.queue_of(task.lane).counts[static_cast<size_t>(task.state)];
    CountUnfinished(task);
  }
  static void FillTask(Task& task, const TaskRow& row);
  void BeginTrailBehind(Batch& batch, Task& task);
  void BranchFired(Batch& batch, const ParentView& parent);
  absl::Status RebuildEpochs(const ScanTable& scan);
  void AddLane(Batch& batch, const LaneNames& names);
  void LeaveLane(Batch& batch, uint32_t lane);
  void PutDead(Batch& batch, Task& task, uint64_t fingerprint, std::string_view outcome,
               int64_t now_ms);
  void PutKey(Batch& batch, uint64_t task, const KeyRow& row);
  void AddFinished(const Task& task, bool outcomes);
  // trail_state.cc
  Trail& TrailOf(Batch& batch, Task& task);
  void WriteTrail(Batch& batch, uint64_t task, const Trail& trail);
  void WriteNote(Batch& batch, Task& task, NoteKind kind, uint8_t percent, std::string_view body,
                 int64_t now_ms);
  void RecordAttempt(Batch& batch, Task& task, const EndedEntry& entry, std::string_view outcome,
                     int64_t now_ms);
  void DropOutput(Batch& batch, const Task& task);
  void DropTrails(Batch& batch, uint64_t first, uint64_t last);
  absl::Status RebuildTrails(const ScanTable& scan);
  void LinkToWorker(uint32_t slot, Worker& worker);
  void UnlinkFromWorker(uint32_t slot, Worker& worker);
  uint32_t NewLease();
  void FillRow(const Task& task, TaskRow& row) const;
  TaskRow RowOf(const Task& task) const;
  void WriteTaskRow(Batch& batch, const Task& task, int64_t finished_ms, uint32_t run_us);
  void WriteTicks(Batch& batch, const Schedule& schedule);
  absl::Status RebuildSchedules(const ScanTable& scan);
  void WriteProducer(Batch& batch, const Producer& producer);
  void PutChain(Batch& batch, uint64_t task, Chain chain);
  void DropChain(Batch& batch, uint64_t task);
  void Follow(Batch& batch, uint64_t task, TaskState end, std::string_view outcome, int64_t now_ms);
  void Tell(uint32_t slot, uint64_t parent);
  absl::Status RebuildChains(const ScanTable& scan);
  void PutExpiry(Batch& batch, Task& task, int64_t start_by_ms);
  void DropExpiry(Batch& batch, Task& task);
  absl::Status RebuildExpiries(const ScanTable& scan);
  absl::Status CheckDead(const ScanTable& scan);
  absl::Status RebuildLanes(const ScanTable& scan);
  absl::Status RebuildTask(TaskId id, const TaskRow& row, std::vector<ReadyRow>& ready);
  void LinkReady(std::vector<ReadyRow>& ready);

  MetaRow meta_;
  TaskIndex tasks_;
  Lanes lanes_;
  TimerWheel<TaskLinks> timers_;
  Keys keys_;
  Chains chains_;
  Expiries expiries_;
  ReadyClock ready_clock_;
  Trails trails_;
  std::deque<Lease> leases_;
  std::vector<uint32_t> free_leases_;
  absl::flat_hash_map<uint32_t, Worker> workers_;
  absl::flat_hash_map<Uuid, uint32_t> worker_by_id_;
  absl::flat_hash_map<uint64_t, Producer> producers_;
  absl::flat_hash_map<Uuid, uint64_t> producer_by_client_;
  std::map<uint32_t, Schedule> schedules_;
  std::deque<uint64_t> epochs_;  // with rows, the oldest first
  std::map<uint64_t, MergeRow> merges_;
  // By merge: first ids and numbers of tasks of the frames that were sent again; dropped when it is done.
  std::map<uint64_t, std::map<uint64_t, uint64_t>> resent_;
  uint64_t schedule_bytes_ = 0;
  absl::btree_map<std::string, uint32_t> schedule_by_name_;
  uint64_t finished_ = 0;
  uint64_t dead_ = 0;
  uint64_t unfinished_bytes_ = 0;

  uint64_t chained_ = 0;  // rows of tasks that say so; of a Rebuild only

  // Since the last flush.
  struct DirtyTask {
    uint32_t slot;
    uint64_t id;  // the slot may have been freed, and taken by another
  };
  std::vector<DirtyTask> dirty_tasks_;
  std::vector<uint64_t> dirty_producers_;
  std::vector<ToldTask> told_;
  std::vector<OpenRun> finished_runs_;  // since the last FlushFinished
};

}  // namespace zsched::broker
