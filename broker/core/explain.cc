// Why a task is not running, and what comes before it.
#include <algorithm>

#include "broker/core/core.h"

namespace zsched::broker {
namespace {

using wire::WaitReason;

// Tasks and lanes that one answer looks at: a few milliseconds of the loop at most. Beyond, the place in
// line is said to be at least what was counted.
constexpr size_t kMaxLooked = 20'000;

// As QueueGate counts, from paused on.
WaitReason ReasonOf(Scope scope, QueueGate gate) {
  static constexpr WaitReason kReasons[3][3] = {
      {WaitReason::kQueuePaused, WaitReason::kQueueFull, WaitReason::kQueueRate},
      {WaitReason::kTypePaused, WaitReason::kTypeFull, WaitReason::kTypeRate},
      {WaitReason::kKeyFull, WaitReason::kKeyFull, WaitReason::kKeyRate}};
  return kReasons[static_cast<size_t>(scope)][static_cast<size_t>(gate) - 1];
}

}  // namespace

Explanation Core::Explain(TaskId id, Now now) const {
  Explanation answer;
  const uint32_t slot = state_.tasks().Find(id);
  if (slot == kNil) return answer;
  const Task& task = state_.tasks()[slot];
  answer.found = true;
  answer.state = task.state;
  switch (task.state) {
    case TaskState::kScheduled:
      answer.causes.push_back({.reason = WaitReason::kDelay, .until_ms = task.order});
      break;
    case TaskState::kRetryWait:
      answer.causes.push_back(
          {.reason = WaitReason::kRetryWait, .until_ms = task.order, .count = task.attempt});
      break;
    case TaskState::kLeased:
      answer.causes.push_back(ExplainLease(task));
      break;
    default:
      ExplainGates(task, now, answer);
      ExplainWorkers(task, answer);
      CountAhead(slot, answer);
      break;
  }
  return answer;
}

WaitCause Core::ExplainLease(const Task& task) const {
  const Lease& lease = state_.leases()[task.lease];
  const Worker& worker = state_.workers().at(lease.worker);
  const bool begun = lease.timed || worker.leases == 1;
  return {.reason = task.cancelling ? WaitReason::kCancelling
                    : begun         ? WaitReason::kRunning
                                    : WaitReason::kAtWorker,
          .name = worker.name,
          .since_ms = lease.leased_ms,
          .count = worker.leases};
}

// Each rule that is in the way now, not only the first.
void Core::ExplainGates(const Task& task, Now now, Explanation& answer) const {
  const Lanes& lanes = state_.lanes();
  const Lane& lane = lanes[task.lane];
  auto look = [&](GateRef ref, const std::string& name, uint64_t running, uint64_t limit) {
    const QueueGate gate = gates_.Look(ref);
    if (gate == QueueGate::kOpen) return;
    WaitCause cause{.reason = ReasonOf(ref.scope, gate), .name = name};
    if (gate == QueueGate::kFull) {
      cause.count = running;
      cause.limit = limit;
    } else if (gate == QueueGate::kDry) {
      cause.until_ms = now.wall_ms + std::max<int64_t>(0, gates_.OpensAt(ref) - now.mono_ms);
    }
    answer.causes.push_back(std::move(cause));
  };
  const Queue& queue = lanes.queues()[lane.queue];
  const Type& type = lanes.types()[lane.type];
  look({Scope::kQueue, lane.queue}, queue.name,
       queue.counts[static_cast<size_t>(TaskState::kLeased)], queue.settings.max_running);
  look({Scope::kType, lane.type}, type.name, type.running, type.rules.max_running);
  if (lane.key == 0) return;
  const Key& key = lanes.keys()[lane.key];
  look({Scope::kKey, lane.key}, key.name, key.running, queue.settings.key_max_running);
}

void Core::ExplainWorkers(const Task& task, Explanation& answer) const {
  const Dispatcher::Servers servers = dispatcher_.ServersOf(task.lane);
  if (servers.all == 0)
    answer.causes.push_back({.reason = WaitReason::kNoWorker, .count = worker_count_});
  else if (servers.free == 0)
    answer.causes.push_back({.reason = WaitReason::kNoCredit, .count = servers.all});
}

// Those of its queue, and of its fairness key there, that come before it; also those that may not run now.
void Core::CountAhead(uint32_t slot, Explanation& answer) const {
  const Lanes& lanes = state_.lanes();
  const Task& task = state_.tasks()[slot];
  const Lane& own = lanes[task.lane];
  answer.ready = lanes.queues()[own.queue].counts[static_cast<size_t>(TaskState::kReady)];
  size_t budget = kMaxLooked;
  auto count_line = [&](uint32_t head) {
    for (uint32_t i = head; i != kNil && i != slot; i = state_.tasks()[i].next) {
      if (!dispatcher_.ComesBefore(i, slot)) return;
      if (budget == 0) return;
      --budget;
      ++answer.ahead;
    }
  };
  for (const Line& line : own.lines) count_line(line.head);
  for (uint32_t number = 1; number < lanes.end() && budget > 0; ++number) {
    if (!lanes.Has(number) || number == task.lane) continue;
    --budget;
    if (lanes[number].stream != own.stream) continue;
    for (const Line& line : lanes[number].lines) count_line(line.head);
  }
  answer.ahead_exact = budget > 0;
}

}  // namespace zsched::broker
