// The end of a round: ready tasks are leased to workers with credit, and clients are told what
// ended.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"

namespace zsched::broker {
namespace {

// Leases of one round. More wait for the next round, so that frames are not kept from being read.
constexpr size_t kMaxLeasesPerRound = 16'384;
// Of one worker in a round, so that the list need not grow: an eighth of what a fast one holds.
constexpr size_t kUsualAssigns = 128;

}  // namespace

// The trail in which the task has one; 0: none.
uint64_t Core::CheckpointOf(const Task& task) const {
  if (!task.trailed || ZS_PLANTED("checkpoint-unsaid")) return 0;
  const Trail& trail = *state_.trails().Find(task.id);
  return trail.notes & NoteBit(NoteKind::kCheckpoint) ? trail.number : 0;
}

void Core::EndRound(Now now) {
  Dispatch(now);
  RecallUnstarted(now);
  FlushTasks();
  FlushOutcomes();
}

void Core::Dispatch(Now now) {
  uint64_t first = state_.meta().next_lease;
  ZS_CHECK(first + kMaxLeasesPerRound < kMaxIdCounter);
  gates_.Advance(now.mono_ms);
  LeasedRecord record{MakeId<LeaseId>(state_.epoch(), first).value(), 0};
  OpenedRecord opened = OpenRecord(RecordKind::kLeased, record);
  dispatcher_.Run(kMaxLeasesPerRound, [&](uint32_t slot, uint32_t task_slot) -> Room {
    WorkerSession& session = workers_[slot];
    Task& task = state_.tasks()[task_slot];
    const Worker& worker = state_.workers().at(session.worker);
    // Over its bytes: the worker gets nothing more until something ends. Alone, a task of any size
    // may go.
    if (worker.leases > 0 && worker.leased_bytes + task.bytes > session.grant_bytes &&
        !ZS_PLANTED("bytes-over-grant"))
      return Room();
    LeaseId lease(record.first_lease + record.count++);
    LeasedEntry& entry = ExtendStruct<LeasedEntry>(batch_.OpenRecord());
    entry.task = task.id;
    entry.worker = session.worker;
    entry.attempt = uint32_t{task.attempt} + 1;
    ObserveWait(task.order, now);
    // The base: the lane itself may be another by the time that the effect is carried out.
    const uint32_t lane = state_.lanes()[task.lane].base;
    if (session.assigned.empty()) session.assigned.reserve(kUsualAssigns);
    session.assigned.emplace_back(
        TaskId(task.id), lease, lane, task.timeout_ms, static_cast<uint16_t>(task.attempt + 1),
        task.max_attempts, uint8_t{task.priority}, task.at_most_once != 0,
        task.expires ? state_.expiries().StartBy(task.id) : 0, task.order, CheckpointOf(task));
    state_.Leased(task_slot, lease, session.worker, static_cast<uint16_t>(task.attempt + 1),
                  now.wall_ms);
    gates_.OnGiven(task.lane);
    if (!session.listed) served_workers_.push_back(slot);
    session.listed = true;
    return RoomOf(session, worker);
  });
  if (record.count == 0) {
    DropRecord(opened);
    return;
  }
  CloseRecord(opened, record, now);
  metrics_.Add(Metric::kTasksDispatched, record.count);
  next_recall_ms_ = std::min(next_recall_ms_, now.mono_ms + kRecallAfterMs);
}

// Since it became ready, for the last time.
void Core::ObserveWait(int64_t order, Now now) {
  const auto lsn = static_cast<uint64_t>(std::abs(order));
  int64_t wait_ms = 0;
  if (const std::optional<int64_t> ready_ms = ready_times_.TimeOf(lsn)) {
    wait_ms = now.mono_ms - *ready_ms;
  } else {
    const int64_t since_ms = state_.ready_clock().TimeOf(lsn);
    if (since_ms == 0) return;
    wait_ms = std::max<int64_t>(0, now.wall_ms - since_ms);
  }
  metrics_.Observe(Timing::kTaskWait, static_cast<uint64_t>(wait_ms) * 1000);
}

// A task may leave once it is certain that it exists: when the record that made it ready is
// durable, also for a task whose ack did not wait for that, and for one that was given back before
// its own record was durable. Its lease need not be durable (a worker presents leases that were
// lost), unless it runs at most once: then nobody may forget that it was handed out.
void Core::FlushTasks() {
  for (uint32_t slot : served_workers_) {
    WorkerSession& session = workers_[slot];
    session.listed = false;
    TasksEffect effect{session.id, session.taken_away, std::move(session.assigned)};
    session.assigned.clear();
    bool once = false;
    for (const Assign& assign : effect.tasks) {
      effect.wait = std::max(effect.wait, Lsn(static_cast<uint64_t>(std::abs(assign.order))));
      once |= assign.at_most_once;
    }
    if (once && !ZS_PLANTED("once-lease-not-awaited")) HoldOnce(effect);
    if (ZS_PLANTED("tasks-early")) effect.wait = Lsn(0);
    if (!effect.tasks.empty()) effects_.push_back(std::move(effect));
  }
  served_workers_.clear();
}

// Those that run at most once wait for their leases, and keep no others waiting.
void Core::HoldOnce(TasksEffect& effect) {
  TasksEffect held{effect.to, appended(), {}};
  std::erase_if(effect.tasks, [&held](const Assign& assign) {
    if (assign.at_most_once) held.tasks.push_back(assign);
    return assign.at_most_once;
  });
  effects_.push_back(std::move(held));
}

}  // namespace zsched::broker
