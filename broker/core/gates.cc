#include "broker/core/gates.h"

#include <algorithm>

#include "base/planted.h"
#include "broker/core/queue_settings.h"

namespace zsched::broker {
namespace {

// What a task costs. A rate of one task in a million seconds makes one nanotoken a millisecond.
constexpr int64_t kNanotokens = 1'000'000'000;

int64_t CapacityOf(uint64_t burst, uint64_t rate_micro) {
  return static_cast<int64_t>(BurstOf(burst, rate_micro)) * kNanotokens;
}

// What is missing after the bucket has filled from `since_ms` to `now_ms`.
int64_t Filled(int64_t missing, int64_t since_ms, int64_t now_ms, uint64_t rate_micro) {
  if (missing <= 0) return 0;
  if (rate_micro == 0) return missing;
  const auto rate = static_cast<int64_t>(rate_micro);
  // Only so long does it fill: beyond, the product could overflow.
  const int64_t filling_ms = std::min(now_ms - since_ms, missing / rate + 1);
  return std::max<int64_t>(0, missing - filling_ms * rate);
}

}  // namespace

Gates::Rules Gates::RulesOf(GateRef ref) const {
  if (ref.scope == Scope::kType) {
    const Type& type = lanes_.types()[ref.number];
    return {type.rules.paused != 0, type.rules.max_running, type.rules.rate_micro, type.rules.burst,
            type.running};
  }
  if (ref.scope == Scope::kKey) {
    const Key& key = lanes_.keys()[ref.number];
    const QueueRow& rules = lanes_.queues()[key.queue].settings;
    return {false, rules.key_max_running, rules.key_rate_micro, rules.key_burst, key.running};
  }
  const Queue& queue = lanes_.queues()[ref.number];
  return {queue.settings.paused != 0, queue.settings.max_running, queue.settings.rate_micro,
          queue.settings.burst, queue.counts[static_cast<size_t>(TaskState::kLeased)]};
}

Gates::Gate& Gates::At(GateRef ref) {
  auto& gates = gates_[static_cast<size_t>(ref.scope)];
  if (gates.size() <= ref.number) gates.resize(ref.number + 1);
  return gates[ref.number];
}

const Gates::Gate* Gates::Find(GateRef ref) const {
  const auto& gates = gates_[static_cast<size_t>(ref.scope)];
  return ref.number < gates.size() ? &gates[ref.number] : nullptr;
}

void Gates::Refill(GateRef ref) {
  Gate& gate = At(ref);
  gate.missing = 0;
  gate.since_ms = now_ms_;
  Reopen(ref);  // to be looked at again
}

void Gates::OnQueueSettings(uint32_t queue) {
  Refill({Scope::kQueue, queue});
  const auto& keys = gates_[static_cast<size_t>(Scope::kKey)];
  for (uint32_t key = 1; key < keys.size(); ++key)
    if (key < lanes_.keys().size() && lanes_.keys()[key].queue == queue) Refill({Scope::kKey, key});
  absl::erase_if(resting_, [&](const auto& entry) { return entry.first.first == queue; });
}

void Gates::OnTypeRules(uint32_t type) { Refill({Scope::kType, type}); }

void Gates::Advance(int64_t mono_ms) {
  now_ms_ = std::max(now_ms_, mono_ms);
  for (; !dry_.empty() && dry_.top().first <= now_ms_; dry_.pop()) {
    auto [moment, ref] = dry_.top();
    const Gate& gate = At(ref);
    if (gate.closed == QueueGate::kDry && gate.opens_ms == moment) Reopen(ref);
  }
  ForgetFull();
}

int64_t Gates::Missing(const Gate& gate, const Rules& rules) const {
  return Filled(gate.missing, gate.since_ms, now_ms_, rules.rate_micro);
}

QueueGate Gates::Look(GateRef ref) const {
  const Rules rules = RulesOf(ref);
  if (!rules.any()) return QueueGate::kOpen;
  if (rules.paused) return QueueGate::kPaused;
  if (rules.max_running != 0 && rules.running >= rules.max_running) return QueueGate::kFull;
  if (rules.rate_micro == 0) return QueueGate::kOpen;
  const Gate* gate = Find(ref);
  if (gate == nullptr) return QueueGate::kOpen;
  const int64_t left = CapacityOf(rules.burst, rules.rate_micro) - Missing(*gate, rules);
  return left < kNanotokens ? QueueGate::kDry : QueueGate::kOpen;
}

int64_t Gates::OpensAt(GateRef ref) const {
  const Rules rules = RulesOf(ref);
  const Gate* gate = Find(ref);
  if (gate == nullptr || rules.rate_micro == 0) return now_ms_;
  const int64_t over =
      Missing(*gate, rules) - CapacityOf(rules.burst, rules.rate_micro) + kNanotokens;
  const auto rate = static_cast<int64_t>(rules.rate_micro);
  return now_ms_ + std::max<int64_t>(0, (over + rate - 1) / rate);
}

// How many more tasks it would let through now.
uint64_t Gates::RoomOf(GateRef ref) const {
  if (Look(ref) != QueueGate::kOpen) return 0;
  const Rules rules = RulesOf(ref);
  uint64_t room = rules.max_running != 0 ? rules.max_running - rules.running : kMaxWoken;
  const Gate* gate = Find(ref);
  if (rules.rate_micro != 0 && gate != nullptr) {
    const int64_t left = CapacityOf(rules.burst, rules.rate_micro) - Missing(*gate, rules);
    room = std::min<uint64_t>(room, static_cast<uint64_t>(left / kNanotokens));
  }
  return room;
}

bool Gates::MayGive(GateRef ref) {
  const QueueGate gate = Look(ref);
  if (gate == QueueGate::kOpen) return true;
  Close(ref, gate);
  return false;
}

bool Gates::RuledQueueMayGive(uint32_t queue) {
  const GateRef ref{Scope::kQueue, queue};
  const QueueGate gate = Look(ref);
  if (gate == QueueGate::kPaused && ZS_PLANTED("pause-ignored")) return true;
  if (gate == QueueGate::kFull && ZS_PLANTED("max-running-ignored")) return true;
  if (gate == QueueGate::kDry && ZS_PLANTED("rate-ignored")) return true;
  return MayGive(ref);
}

bool Gates::RuledLaneMayGive(uint32_t lane) {
  const Lane& asked = lanes_[lane];
  const GateRef type{Scope::kType, asked.type}, key{Scope::kKey, asked.key};
  if (RulesOf(type).any() && !MayGive(type) && !ZS_PLANTED("type-ignored")) {
    Park(lane, type);
    return false;
  }
  if (asked.key != 0 && RulesOf(key).any() && !MayGive(key) && !ZS_PLANTED("key-ignored")) {
    Park(lane, key);
    return false;
  }
  return true;
}

void Gates::Close(GateRef ref, QueueGate why) {
  Gate& gate = At(ref);
  const bool known = gate.closed == why;
  gate.closed = why;
  if (why != QueueGate::kDry) return;
  const int64_t opens_ms = OpensAt(ref);
  if (known && gate.opens_ms == opens_ms) return;
  gate.opens_ms = opens_ms;
  dry_.emplace(opens_ms, ref);
}

void Gates::Reopen(GateRef ref) {
  Gate& gate = At(ref);
  if (std::exchange(gate.closed, QueueGate::kOpen) == QueueGate::kOpen) return;
  if (ref.scope == Scope::kQueue) return reopened_.push_back(ref.number);
  if (gate.waking || !parked_at_.contains(ref)) return;
  gate.waking = true;
  waking_.push_back(ref);
}

void Gates::Spend(GateRef ref) {
  const Rules rules = RulesOf(ref);
  Gate& gate = At(ref);
  gate.missing = Missing(gate, rules) + kNanotokens;
  gate.since_ms = now_ms_;
}

void Gates::OnGiven(uint32_t lane) {
  // Once for each task that is handed out, and mostly there is no rate.
  const Lane& given = lanes_[lane];
  const QueueRow& queue = lanes_.queues()[given.queue].settings;
  if (queue.rate_micro != 0) Spend({Scope::kQueue, given.queue});
  if (lanes_.types()[given.type].rules.rate_micro != 0) Spend({Scope::kType, given.type});
  if (given.key != 0 && queue.key_rate_micro != 0) Spend({Scope::kKey, given.key});
}

void Gates::OnLeaseEnded(const LaneGates& lane) {
  auto ended = [&](GateRef ref) {
    const Gate* gate = Find(ref);
    if (gate != nullptr && gate->closed == QueueGate::kFull) Reopen(ref);
  };
  if (!ZS_PLANTED("full-queue-forgotten")) ended({Scope::kQueue, lane.queue});
  if (!ZS_PLANTED("full-type-forgotten")) ended({Scope::kType, lane.type});
  if (lane.key != 0 && !ZS_PLANTED("full-key-forgotten")) ended({Scope::kKey, lane.key});
}

// --- Parked lanes --------------------------------------------------------------------------------

Gates::Place Gates::PlaceOf(uint32_t lane) const {
  const uint32_t head = lanes_.HeadOf(lane);
  if (head == kNil) return {0, INT64_MAX, UINT64_MAX, lane};
  const Task& task = tasks_[head];
  return {static_cast<int8_t>(-static_cast<int>(task.priority)), task.order, task.id, lane};
}

void Gates::Park(uint32_t lane, GateRef ref) {
  const Parked parked{ref, PlaceOf(lane)};
  if (!parked_.emplace(lane, parked).second) return;
  parked_at_[ref].insert(parked.place);
}

void Gates::Unpark(uint32_t lane) {
  auto it = parked_.find(lane);
  if (it == parked_.end()) return;
  auto at = parked_at_.find(it->second.at);
  at->second.erase(it->second.place);
  if (at->second.empty()) parked_at_.erase(at);
  parked_.erase(it);
}

void Gates::OnHeadMoved(uint32_t lane) {
  auto it = parked_.find(lane);
  if (it == parked_.end()) return;
  const GateRef ref = it->second.at;
  Unpark(lane);
  Park(lane, ref);
}

void Gates::Wake(absl::FunctionRef<void(uint32_t lane)> visit) {
  size_t budget = kMaxWoken;
  for (size_t gates = waking_.size(); gates > 0 && budget > 0; --gates) {
    const GateRef ref = waking_.front();
    waking_.pop_front();
    uint64_t room = std::min<uint64_t>(RoomOf(ref), budget);
    auto at = parked_at_.find(ref);
    if (room == 0 || at == parked_at_.end()) {
      At(ref).waking = false;
      if (at != parked_at_.end()) Close(ref, Look(ref));  // closed again: it says when it opens
      continue;
    }
    budget -= room = std::min<uint64_t>(room, at->second.size());
    waking_.push_back(ref);
    std::vector<uint32_t> woken;
    for (auto place = at->second.begin(); woken.size() < room; ++place)
      woken.push_back(place->lane);
    for (uint32_t lane : woken) {
      Unpark(lane);
      visit(lane);
    }
  }
}

void Gates::OnLaneGone(const LaneChange& change) {
  Unpark(change.lane);
  if (!change.edge_of_key) return;
  const GateRef ref{Scope::kKey, change.key};
  const Gate* gate = Find(ref);
  if (gate == nullptr) return;
  const Key& key = lanes_.keys()[change.key];
  const QueueRow& rules = lanes_.queues()[key.queue].settings;
  const int64_t missing = Filled(gate->missing, gate->since_ms, now_ms_, rules.key_rate_micro);
  if (missing > 0 && rules.key_rate_micro != 0 && resting_.size() < kMaxResting) {
    const auto rate = static_cast<int64_t>(rules.key_rate_micro);
    const int64_t full_ms = now_ms_ + (missing + rate - 1) / rate;
    resting_[{key.queue, key.name}] = {missing, now_ms_, full_ms};
    filling_.push({full_ms, {key.queue, key.name}});
  }
  const bool waking = gate->waking;
  At(ref) = Gate{.waking = waking};
}

void Gates::OnLaneCreated(const LaneChange& change) {
  if (!change.edge_of_key || resting_.empty()) return;
  const Key& key = lanes_.keys()[change.key];
  auto it = resting_.find(KeyName{key.queue, key.name});
  if (it == resting_.end()) return;
  Gate& gate = At({Scope::kKey, change.key});
  gate.missing = it->second.missing;
  gate.since_ms = it->second.since_ms;
  resting_.erase(it);
}

void Gates::ForgetFull() {
  for (; !filling_.empty() && filling_.top().first <= now_ms_; filling_.pop()) {
    auto it = resting_.find(filling_.top().second);
    if (it != resting_.end() && it->second.full_ms <= now_ms_) resting_.erase(it);
  }
}

}  // namespace zsched::broker
