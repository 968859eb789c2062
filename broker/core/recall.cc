// Work stealing: what one worker holds and has not begun is given back when another has nothing to do.
#include <algorithm>

#include "base/planted.h"
#include "broker/core/core.h"

namespace zsched::broker {
namespace {

// Leases that one look goes through, and that it asks for: a fraction of a millisecond. More wait for
// the next, kRecallAfterMs later.
constexpr size_t kMaxLooked = 4096;

}  // namespace

// After Dispatch, so a hand that is idle now finds nothing that is ready and may run.
void Core::RecallUnstarted(Now now) {
  if (now.mono_ms < next_recall_ms_) return;
  next_recall_ms_ = INT64_MAX;                       // until something is handed out
  std::vector<std::pair<uint32_t, uint32_t>> laden;  // leases beyond its hands, session
  for (uint32_t slot = 0; slot < workers_.size(); ++slot) {
    const WorkerSession& session = workers_[slot];
    // One that drains gives back by itself; one without hands (0) does not say how many it has.
    if (!session.id || session.draining || session.concurrency == 0) continue;
    const uint32_t leases = state_.workers().at(session.worker).leases;
    if (leases > session.concurrency) laden.emplace_back(leases - session.concurrency, slot);
  }
  if (laden.empty()) return;
  next_recall_ms_ = now.mono_ms + kRecallAfterMs;
  Dispatcher::Hands hands = dispatcher_.IdleHands();
  if (hands.empty() || ZS_PLANTED("never-recalled")) return;
  std::sort(laden.rbegin(), laden.rend());
  size_t budget = kMaxLooked;
  for (const auto& [surplus, slot] : laden) {
    if (budget == 0) return;
    RecallEffect recall = RecallFrom(slot, hands, budget, now);
    if (recall.leases.empty()) continue;
    metrics_.Add(Metric::kTasksRecalled, recall.leases.size());
    effects_.push_back(std::move(recall));
  }
}

// The last that it was given are the last to begin. Each is asked for once: what it does not give back then
// has begun.
RecallEffect Core::RecallFrom(uint32_t slot, Dispatcher::Hands& hands, size_t& budget, Now now) {
  const WorkerSession& session = workers_[slot];
  const Worker& worker = state_.workers().at(session.worker);
  // Behind the TASKS that may still wait for the disk.
  RecallEffect recall{session.id, appended(), {}};
  uint32_t surplus = worker.leases - session.concurrency;
  for (uint32_t i = worker.leases_head; i != kNil && surplus > 0 && budget > 0; --budget) {
    const Task& task = state_.tasks()[i];
    Lease& lease = state_.LeaseOf(task);
    i = task.next;
    if (lease.timed) continue;
    --surplus;  // not known to have begun; of these, so many cannot have
    if (lease.recalled || task.cancelling || now.wall_ms - lease.leased_ms < kRecallAfterMs ||
        !dispatcher_.TakeHand(task.lane, hands))
      continue;
    lease.recalled = true;
    recall.leases.push_back(lease.id);
  }
  return recall;
}

}  // namespace zsched::broker
