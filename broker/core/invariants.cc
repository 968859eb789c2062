// What must hold between any two events. Simulation and tests call this after every step; the first
// broken promise is named.
#include <array>

#include "broker/core/core.h"

namespace zsched::broker {
namespace {

absl::Status Broken(std::string what) {
  return Error(ErrorCode::kInternal, "invariant: " + std::move(what));
}

struct Recount {
  std::array<uint64_t, kTaskStates> counts{};
  uint64_t unfinished = 0;
  uint64_t bytes = 0;
};

absl::Status CheckTasks(const State& state, std::vector<Recount>& queues) {
  absl::flat_hash_map<uint32_t, std::pair<uint32_t, uint64_t>> held;  // worker → leases, bytes
  size_t waiting = 0, leased = 0;
  absl::Status status;
  state.tasks().ForEach([&](uint32_t slot, const Task& task) {
    std::string name = "task " + ToString(TaskId(task.id));
    Recount& queue = queues[state.lanes()[task.lane].queue];
    ++queue.counts[static_cast<size_t>(task.state)];
    ++queue.unfinished;
    queue.bytes += task.bytes;
    if (IsFinished(task.state)) status = Broken(name + " is finished and still in the index");
    if ((task.state == TaskState::kLeased) != (task.lease != kNil))
      status = Broken(name + " has a lease exactly when it is leased");
    if (task.cancelling && task.lease == kNil)
      status = Broken(name + " is being cancelled, and no attempt runs");
    if (task.trailed != (state.trails().Find(task.id) != nullptr))
      status = Broken(name + " has a trail exactly when it is marked so");
    if (RecordedAttempts(task.state, task.attempt) > 0 && !task.trailed)
      status = Broken(name + " has had attempts, and no trail");
    if (task.state == TaskState::kScheduled || task.state == TaskState::kRetryWait) ++waiting;
    if (task.lost >= kCrashLimit || task.failures >= task.max_attempts)
      status = Broken(name + " has spent its attempts and is not dead");
    if (task.lease == kNil) return;
    ++leased;
    const Lease& lease = state.leases()[task.lease];
    if (lease.task != slot || lease.id == 0) status = Broken(name + ": its lease is another's");
    if (!state.workers().contains(lease.worker)) status = Broken(name + ": its worker is unknown");
    ++held[lease.worker].first;
    held[lease.worker].second += task.bytes;
  });
  if (!status.ok()) return status;
  for (const auto& [number, worker] : state.workers()) {
    auto it = held.find(number);
    auto [leases, bytes] = it == held.end() ? std::pair<uint32_t, uint64_t>{0, 0} : it->second;
    if (worker.leases != leases || worker.leased_bytes != bytes)
      return Broken("worker " + worker.name + ": its ledger is not the sum of its leases");
    uint32_t listed = 0;
    for (uint32_t slot = worker.leases_head; slot != kNil; slot = state.tasks()[slot].next)
      ++listed;
    if (listed != leases) return Broken("worker " + worker.name + ": its list of leases is torn");
  }
  size_t live = 0;
  absl::flat_hash_set<uint64_t> ids;
  for (const Lease& lease : state.leases()) {
    if (lease.task == kNil) continue;
    ++live;
    if (!ids.insert(lease.id).second) return Broken("two attempts have one lease id");
  }
  return live == leased ? absl::OkStatus() : Broken("a lease without a task");
}

// Each task that says so has a chain, and each chain a task that says so or is dead.
absl::Status CheckChains(const State& state) {
  uint64_t chained = 0, unfinished = 0, bytes = 0, templates = 0;
  absl::Status status;
  state.tasks().ForEach([&](uint32_t, const Task& task) {
    chained += task.chained;
    if (task.chained && !state.chains().Has(task.id))
      status = Broken("task " + ToString(TaskId(task.id)) + " has lost its chain");
  });
  state.chains().ForEach([&](uint64_t task, const Chain& chain) {
    unfinished += state.IsUnfinished(task);
    bytes += chain.body.size();
    templates += chain.templates();
    if (!chain.MayFireAfter(0))
      status = Broken("the chain of task " + ToString(TaskId(task)) + " has nothing to fire");
  });
  if (!status.ok()) return status;
  if (chained != unfinished || state.chains().size() - unfinished > state.dead())
    return Broken("a chain belongs to no task");
  return bytes == state.chains().bytes() && templates == state.chains().templates()
             ? absl::OkStatus()
             : Broken("the totals of chains are not their sums");
}

absl::Status CheckExpiries(const State& state) {
  size_t expiring = 0, waiting = 0;
  absl::Status status;
  state.tasks().ForEach([&](uint32_t, const Task& task) {
    if (task.expires != state.expiries().Has(task.id))
      status =
          Broken("task " + ToString(TaskId(task.id)) + " has a start-by time that nobody knows");
    if (!task.expires) return;
    ++expiring;
    const bool waits = task.state != TaskState::kLeased;
    waiting += waits;
    if (waits != state.expiries().Waits(task.id))
      status = Broken("task " + ToString(TaskId(task.id)) + " may expire exactly when it waits");
    if (task.failures + task.lost > 0)
      status = Broken("task " + ToString(TaskId(task.id)) + " may expire after an attempt");
  });
  if (!status.ok()) return status;
  return expiring == state.expiries().size() && waiting == state.expiries().waiting()
             ? absl::OkStatus()
             : Broken("a start-by time belongs to no task");
}

// What lanes, types and keys count of their tasks. Lanes count dead ones too, which the index has not.
absl::Status CheckCounts(const State& state) {
  const Lanes& lanes = state.lanes();
  std::vector<uint64_t> tasks(lanes.end()), types(lanes.types().size()), keys(lanes.keys().size());
  state.tasks().ForEach([&](uint32_t, const Task& task) {
    ++tasks[task.lane];
    if (task.state != TaskState::kLeased) return;
    ++types[lanes[task.lane].type];
    if (lanes[task.lane].key != 0) ++keys[lanes[task.lane].key];
  });
  uint64_t dead = 0, dead_in_lanes = 0;
  for (const Queue& queue : lanes.queues())
    dead += queue.counts[static_cast<size_t>(TaskState::kDead)];
  for (uint32_t lane = 1; lane < lanes.end(); ++lane) {
    if (!lanes.Has(lane)) continue;
    if (lanes[lane].tasks < tasks[lane] || (lanes[lane].tasks == 0 && !lanes.IsPlain(lane)))
      return Broken("lane " + std::to_string(lane) + " does not count its tasks");
    dead_in_lanes += lanes[lane].tasks - tasks[lane];
  }
  if (dead != dead_in_lanes) return Broken("the lanes do not count the dead tasks");
  for (size_t i = 0; i < types.size(); ++i)
    if (lanes.types()[i].running != types[i])
      return Broken("type " + lanes.types()[i].name + " does not count what runs");
  for (size_t i = 1; i < keys.size(); ++i)
    if (lanes.keys()[i].running != keys[i])
      return Broken("key " + lanes.keys()[i].name + " does not count what runs");
  return absl::OkStatus();
}

absl::Status CheckLines(const State& state) {
  size_t in_lines = 0, ready = 0;
  state.tasks().ForEach(
      [&](uint32_t, const Task& task) { ready += task.state == TaskState::kReady; });
  for (uint32_t lane = 1; lane < state.lanes().end(); ++lane) {
    if (!state.lanes().Has(lane)) continue;
    for (const Line& line : state.lanes()[lane].lines) {
      uint32_t before = kNil;
      for (uint32_t slot = line.head; slot != kNil;
           before = slot, slot = state.tasks()[slot].next) {
        const Task& task = state.tasks()[slot];
        ++in_lines;
        if (task.state != TaskState::kReady || task.prev != before)
          return Broken("a line of ready tasks is torn");
        if (before != kNil && std::pair(state.tasks()[before].order, state.tasks()[before].id) >=
                                  std::pair(task.order, task.id))
          return Broken("a line of ready tasks is out of order at " + ToString(TaskId(task.id)));
      }
      if (line.tail != before) return Broken("a line of ready tasks has a wrong end");
    }
  }
  return in_lines == ready ? absl::OkStatus() : Broken("a ready task stands in no line");
}

}  // namespace

absl::Status Core::CheckInvariants() const {
  std::vector<Recount> recount(state_.lanes().queues().size());
  ZS_RETURN_IF_ERROR(CheckTasks(state_, recount));
  ZS_RETURN_IF_ERROR(CheckChains(state_));
  ZS_RETURN_IF_ERROR(CheckExpiries(state_));
  ZS_RETURN_IF_ERROR(CheckLines(state_));
  ZS_RETURN_IF_ERROR(CheckCounts(state_));
  uint64_t bytes = 0, finished = 0, dead = 0;
  for (size_t i = 0; i < recount.size(); ++i) {
    const Queue& queue = state_.lanes().queues()[i];
    bytes += queue.bytes;
    if (queue.unfinished != recount[i].unfinished || queue.bytes != recount[i].bytes)
      return Broken("queue " + queue.name + ": its totals are not the sum of its tasks");
    for (size_t s = 0; s < kTaskStates; ++s) {
      if (IsFinished(static_cast<TaskState>(s))) {
        (static_cast<TaskState>(s) == TaskState::kDead ? dead : finished) += queue.counts[s];
      } else if (queue.counts[s] != recount[i].counts[s]) {
        return Broken("queue " + queue.name + ": its counts by state are wrong");
      }
    }
  }
  if (bytes != state_.unfinished_bytes() || finished != state_.finished() || dead != state_.dead())
    return Broken("the totals are not the sum of the queues");
  if (const uint32_t lane = dispatcher_.FindForgotten())
    return Broken("lane " + std::to_string(lane) + " of queue " +
                  state_.lanes().queue_of(lane).name + " has ready tasks, open gates, and no turn");
  ZS_RETURN_IF_ERROR(schedules_.Check());
  for (const WorkerSession& session : workers_) {
    if (!session.id) continue;
    const Worker& worker = state_.workers().at(session.worker);
    if (worker.session == kNil || &workers_[worker.session] != &session)
      return Broken("worker " + worker.name + " and its session do not name each other");
  }
  for (const auto& [number, worker] : state_.workers())
    if (worker.leases > 0 && worker.session == kNil && !orphans_.contains(number))
      return Broken("worker " + worker.name + " is gone and keeps leases that nobody watches");
  return absl::OkStatus();
}

}  // namespace zsched::broker
