// Whether tasks may be handed to workers now, by the rules of their queue, their type and their
// concurrency key: pause, bound on attempts under lease, rate. Owned by broker/core, asked by Dispatcher;
// pure. Volatile: what it needs after a restart are the rules and the counts.
//
//   open ──bound on attempts reached──▶ full ──an attempt ends──▶ open
//     ├───last token spent──▶ dry ──the next token's moment──▶ open
//     └───pause──▶ paused ──resume──▶ open
//
// Nobody has to look at closed gates again and again. A queue that was found closed is named by
// TakeReopened() once what closed it is over. A lane whose type or key was found closed is *parked* there,
// by the place in line of its first task; when the gate opens, Wake names as many parked lanes as it has
// room for, the first in line first, and more in the next round if these did not take it. So a task costs
// the logarithm of the number of lanes, however many of them wait at one gate. What has no rules costs one
// look at them.
//
// A rate is a token bucket of BurstOf(rules) tokens that fills by rate_micro in a million seconds, on the
// monotonic clock. It is full when a broker starts or the rules are changed. That of a key goes on filling
// when the key has no tasks any more.
//
// Example:
//   gates.Advance(now.mono_ms);
//   gates.Wake([&](uint32_t lane) { …look at it again… });
//   if (gates.QueueMayGive(queue) && gates.LaneMayGive(lane)) { …lease a task…; gates.OnGiven(lane); }
//
// Threads: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "broker/core/lanes.h"

namespace zsched::broker {

using wire::QueueGate;

// Whose gate it is.
enum class Scope : uint8_t { kQueue, kType, kKey };
struct GateRef {
  Scope scope{};
  uint32_t number = 0;  // index into Lanes::queues(), types() or keys()

  friend auto operator<=>(const GateRef&, const GateRef&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const GateRef& ref) {
    return H::combine(std::move(h), ref.scope, ref.number);
  }
};

// The numbers of the gates that a lane's tasks have to pass.
struct LaneGates {
  uint32_t queue = 0, type = 0, key = 0;
};
inline LaneGates GatesOf(const Lane& lane) { return {lane.queue, lane.type, lane.key}; }

class Gates {
 public:
  // Lanes that Wake names in a call; more wait for the next.
  static constexpr size_t kMaxWoken = 1024;
  // Buckets of keys without tasks that are remembered until they are full: some 100 MB. Beyond, a key that
  // comes back finds its bucket full.
  static constexpr size_t kMaxResting = 1'000'000;

  Gates(const Lanes& lanes, const TaskIndex& tasks) : lanes_(lanes), tasks_(tasks) {}

  // The rules are new: at the start, and after each change. Those of a queue are those of its keys too.
  void OnQueueSettings(uint32_t queue);
  void OnTypeRules(uint32_t type);
  // Time goes on: tokens come, dry gates open.
  void Advance(int64_t mono_ms);

  // False: the queue is closed, and will be among the reopened ones when it is not any more.
  bool QueueMayGive(uint32_t queue) {
    const QueueRow& rules = lanes_.queues()[queue].settings;
    const bool ruled = rules.paused != 0 || rules.max_running != 0 || rules.rate_micro != 0;
    return !ruled || RuledQueueMayGive(queue);
  }
  // The same for the lane's type and key. False: the lane is parked until Wake names it.
  bool LaneMayGive(uint32_t lane) {
    const Lane& asked = lanes_[lane];
    const TypeRow& rules = lanes_.types()[asked.type].rules;
    const bool ruled =
        asked.key != 0 || rules.paused != 0 || rules.max_running != 0 || rules.rate_micro != 0;
    return !ruled || RuledLaneMayGive(lane);
  }
  bool IsParked(uint32_t lane) const { return !parked_.empty() && parked_.contains(lane); }
  // The lane's first task is another, further in front.
  void OnHeadMoved(uint32_t lane);
  // A task of the lane was leased.
  void OnGiven(uint32_t lane);
  // A lease of a lane ended. The lane may be gone.
  void OnLeaseEnded(const LaneGates& lane);
  void OnLaneGone(const LaneChange& change);
  void OnLaneCreated(const LaneChange& change);

  // Queues that were found closed, and may be open now; each once.
  std::vector<uint32_t> TakeReopened() { return std::exchange(reopened_, {}); }
  bool has_reopened() const { return !reopened_.empty(); }
  // Parked lanes whose gate is open; they are not parked any more.
  void Wake(absl::FunctionRef<void(uint32_t lane)> visit);
  // Wake has more to name than it did.
  bool has_waking() const { return !waking_.empty(); }
  // When a dry gate opens, on the monotonic clock; INT64_MAX: none does by time alone.
  int64_t next_ms() const { return dry_.empty() ? INT64_MAX : dry_.top().first; }

  // What a gate is now, for people.
  QueueGate Look(GateRef ref) const;
  QueueGate LookAtQueue(uint32_t queue) const { return Look({Scope::kQueue, queue}); }
  // When a dry gate has its next token, on the monotonic clock.
  int64_t OpensAt(GateRef ref) const;

 private:
  struct Rules {
    bool paused = false;
    uint64_t max_running = 0;
    uint64_t rate_micro = 0;
    uint64_t burst = 0;
    uint64_t running = 0;

    bool any() const { return paused || max_running != 0 || rate_micro != 0; }
  };
  struct Gate {
    QueueGate closed = QueueGate::kOpen;  // as it was found last
    bool waking = false;                  // in waking_
    int64_t missing = 0;  // nanotokens to a full bucket, at since_ms; a task costs a billion
    int64_t since_ms = 0;
    int64_t opens_ms = 0;  // while dry
  };
  struct Place {  // of a parked lane: that of its first task
    int8_t minus_priority;
    int64_t order;
    uint64_t id;
    uint32_t lane;
    friend auto operator<=>(const Place&, const Place&) = default;
  };
  struct Parked {
    GateRef at;
    Place place;
  };
  struct Resting {
    int64_t missing, since_ms, full_ms;
  };
  using KeyName = std::pair<uint32_t, std::string>;  // queue, key

  Rules RulesOf(GateRef ref) const;
  Gate& At(GateRef ref);
  const Gate* Find(GateRef ref) const;
  int64_t Missing(const Gate& gate, const Rules& rules) const;
  uint64_t RoomOf(GateRef ref) const;
  bool MayGive(GateRef ref);
  bool RuledQueueMayGive(uint32_t queue);
  bool RuledLaneMayGive(uint32_t lane);
  void Spend(GateRef ref);
  void Close(GateRef ref, QueueGate why);
  void Reopen(GateRef ref);
  void Refill(GateRef ref);
  Place PlaceOf(uint32_t lane) const;
  void Park(uint32_t lane, GateRef ref);
  void Unpark(uint32_t lane);
  void ForgetFull();

  const Lanes& lanes_;
  const TaskIndex& tasks_;
  std::array<std::vector<Gate>, 3>
      gates_;  // by scope and number; what is behind the end was never closed
  int64_t now_ms_ = 0;
  using Opening = std::pair<int64_t, GateRef>;  // void when the gate says another moment
  std::priority_queue<Opening, std::vector<Opening>, std::greater<>> dry_;
  std::vector<uint32_t> reopened_;
  absl::flat_hash_map<uint32_t, Parked> parked_;  // by lane
  absl::flat_hash_map<GateRef, absl::btree_set<Place>> parked_at_;
  std::deque<GateRef> waking_;
  absl::flat_hash_map<KeyName, Resting> resting_;
  using Filling = std::pair<int64_t, KeyName>;
  std::priority_queue<Filling, std::vector<Filling>, std::greater<>> filling_;
};

}  // namespace zsched::broker
