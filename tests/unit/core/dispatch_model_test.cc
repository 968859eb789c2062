// The dispatcher and its gates against a model that looks at every task each time: who may have which task,
// in which order, by which rules, and that nothing is left behind.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "broker/core/dispatcher.h"
#include "broker/core/queue_settings.h"

namespace zsched::broker {
namespace {

constexpr int64_t kToken = 1'000'000'000;

// A token bucket that counts afresh, millisecond by millisecond.
class NaiveBucket {
 public:
  void Reset() { tokens_ = INT64_MAX; }
  int64_t Tokens(uint64_t rate, uint64_t burst) {
    tokens_ = std::min(tokens_, static_cast<int64_t>(BurstOf(burst, rate)) * kToken);
    return tokens_;
  }
  void Pass(int64_t ms, uint64_t rate, uint64_t burst) {
    for (Tokens(rate, burst); ms > 0; --ms)
      tokens_ += static_cast<int64_t>(rate), Tokens(rate, burst);
  }
  void Spend(uint64_t rate, uint64_t burst) { tokens_ = Tokens(rate, burst) - kToken; }

 private:
  int64_t tokens_ = INT64_MAX;
};

// What varies between runs of the model.
struct Shape {
  bool local_gates =
      false;  // each type in one queue only, and no fairness keys: then the order is exact
  bool keys = true;
  bool ageing = false;
};

class DispatchModel {
 public:
  DispatchModel(uint64_t seed, Shape shape) : random_(seed), shape_(shape) {
    for (int queue = 0; queue < 3; ++queue) lanes_.FindOrCreateQueue(QueueName(queue));
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      Step();
      if (Chance(50)) Dispatch();
    }
  }

 private:
  struct Session {
    std::vector<std::string> queues, types;
    uint32_t free = 0;
  };
  struct Rules {
    bool paused;
    uint64_t max_running, rate, burst;
  };
  using BucketName = std::pair<char, std::string>;

  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }
  static std::string QueueName(int queue) { return "q" + std::to_string(queue); }
  static bool Has(const std::vector<std::string>& names, const std::string& name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  }

  void Step() {
    switch (Below(9)) {
      case 0:
        return Join();
      case 1:
        return Leave();
      case 2:
        return Grant();
      case 3:
        return GiveBack();
      case 4:
        return SetQueue();
      case 5:
        return SetType();
      case 6:
        return End();
      case 7:
        return Pass(static_cast<int64_t>(Below(300)));
      default:
        return AddTasks();
    }
  }

  // --- Events
  void AddTasks() {
    for (uint64_t i = Below(6); i > 0; --i) {
      const std::string queue = QueueName(static_cast<int>(Below(3)));
      const std::string type =
          "t" + std::to_string(Below(3)) + (shape_.local_gates ? "of" + queue : "");
      std::string key, tenant;
      if (shape_.keys && Chance(50)) key = "k" + std::to_string(Below(3));
      if (!shape_.local_gates && Chance(50)) tenant = "f" + std::to_string(Below(3));
      const LaneNames names{queue, type, key, tenant};
      if (lanes_.Find({queue, type, {}, {}}) == 0)
        lanes_.Create(lanes_.free_number(), {queue, type, {}, {}});
      if (lanes_.Find(names) == 0) lanes_.Create(lanes_.free_number(), names);
      uint32_t slot = tasks_.Insert(TaskId(++last_id_));
      tasks_[slot].lane = lanes_.Find(names);
      tasks_[slot].priority = Below(3);
      MakeReady(slot, static_cast<int64_t>(++lsn_));
      ++lanes_[tasks_[slot].lane].tasks;
      lanes_.PushBack(slot);
    }
  }
  void MakeReady(uint32_t slot, int64_t order) {
    tasks_[slot].order = order;
    clock_.Note(lsn_, now_ms_);
    ready_.insert(slot);
  }
  void GiveBack() {
    if (taken_.empty()) return;
    const uint32_t slot = EndLease();
    MakeReady(slot, -static_cast<int64_t>(++lsn_));
    lanes_.PushFront(slot);
  }
  void End() {
    for (uint64_t i = Below(4); i > 0 && !taken_.empty(); --i) {
      const uint32_t slot = EndLease(), lane = tasks_[slot].lane;
      tasks_.Erase(slot);
      if (--lanes_[lane].tasks == 0 && !lanes_.IsPlain(lane)) lanes_.Drop(lane);
    }
  }
  uint32_t EndLease() {
    std::swap(taken_[Below(taken_.size())], taken_.back());
    const uint32_t slot = taken_.back();
    taken_.pop_back();
    const LaneGates gates = GatesOf(lanes_[tasks_[slot].lane]);
    --lanes_.queue_of(tasks_[slot].lane).counts[static_cast<size_t>(TaskState::kLeased)];
    lanes_.CountRunning(tasks_[slot].lane, -1);
    gates_.OnLeaseEnded(gates);
    return slot;
  }
  void Join() {
    auto slot = static_cast<uint32_t>(Below(5));
    if (sessions_.contains(slot)) return;
    Session s;
    for (uint64_t i = Below(3); i > 0; --i)
      s.queues.push_back(QueueName(static_cast<int>(Below(3))));
    for (uint64_t i = Below(3); i > 0 && !shape_.local_gates; --i)
      s.types.push_back("t" + std::to_string(Below(3)));
    ASSERT_TRUE(dispatcher_.Join(slot, s.queues, s.types));
    sessions_[slot] = s;
  }
  void Leave() {
    if (sessions_.empty() || Chance(70)) return;
    dispatcher_.Leave(sessions_.begin()->first);
    sessions_.erase(sessions_.begin());
  }
  void Grant() {
    for (auto& [slot, session] : sessions_) {
      session.free = static_cast<uint32_t>(Below(6));
      dispatcher_.SetFree(slot, session.free);
    }
  }
  void SetQueue() {
    if (Chance(60)) return;
    const auto number = static_cast<uint32_t>(Below(3));
    QueueRow& rules = lanes_.queues()[number].settings;
    const uint32_t ageing = shape_.ageing ? static_cast<uint32_t>(Below(3)) * 700 : 0;
    const bool aged = std::exchange(rules, QueueRow{}).ageing_ms != ageing;
    rules.ageing_ms = ageing;
    rules.paused = Chance(10);
    rules.weight = static_cast<uint8_t>(Below(4));
    if (Chance(30)) rules.max_running = 1 + static_cast<uint32_t>(Below(4));
    if (Chance(30)) rules.rate_micro = 1 + Below(40'000'000);
    if (Chance(30)) rules.burst = 1 + static_cast<uint32_t>(Below(4));
    if (Chance(60)) rules.key_max_running = 1 + static_cast<uint32_t>(Below(2));
    if (Chance(40)) rules.key_rate_micro = 1 + Below(20'000'000);
    if (Chance(40)) rules.key_burst = 1 + static_cast<uint32_t>(Below(3));
    gates_.OnQueueSettings(number);
    if (aged) dispatcher_.OnAgeing(number);
    for (auto& [name, bucket] : buckets_)
      if ((name.first == 'q' && name.second == QueueName(static_cast<int>(number))) ||
          (name.first == 'k' && name.second.starts_with(QueueName(static_cast<int>(number)))))
        bucket.Reset();
  }
  void SetType() {
    if (lanes_.types().empty() || Chance(60)) return;
    const auto number = static_cast<uint32_t>(Below(lanes_.types().size()));
    TypeRow& rules = lanes_.types()[number].rules;
    rules = TypeRow{};
    rules.paused = Chance(10);
    if (Chance(50)) rules.max_running = 1 + static_cast<uint32_t>(Below(3));
    if (Chance(30)) rules.rate_micro = 1 + Below(40'000'000);
    if (Chance(30)) rules.burst = 1 + static_cast<uint32_t>(Below(4));
    gates_.OnTypeRules(number);
    buckets_[{'t', lanes_.types()[number].name}].Reset();
  }
  void Pass(int64_t ms) {
    for (auto& [name, bucket] : buckets_) {
      const Rules rules = RulesOf(name);
      bucket.Pass(ms, rules.rate, rules.burst);
    }
    now_ms_ += ms;
    gates_.Advance(now_ms_);
  }

  // --- The model's view of the rules
  Rules RulesOf(const BucketName& name) {
    if (name.first == 't') {
      const TypeRow& rules = lanes_.FindType(name.second)->rules;
      return {rules.paused != 0, rules.max_running, rules.rate_micro, rules.burst};
    }
    const QueueRow& rules = lanes_.FindQueue(name.second.substr(0, 2))->settings;
    if (name.first == 'k')
      return {false, rules.key_max_running, rules.key_rate_micro, rules.key_burst};
    return {rules.paused != 0, rules.max_running, rules.rate_micro, rules.burst};
  }
  std::vector<BucketName> GateNames(uint32_t slot) const {
    const LaneNames names = lanes_.NamesOf(tasks_[slot].lane);
    const std::string queue(names.queue);
    std::vector<BucketName> gates = {{'q', queue}, {'t', std::string(names.type)}};
    if (!names.concurrency_key.empty())
      gates.push_back({'k', queue + "/" + std::string(names.concurrency_key)});
    return gates;
  }
  bool Allowed(uint32_t slot) {
    for (const BucketName& name : GateNames(slot)) {
      const Rules rules = RulesOf(name);
      if (rules.paused) return false;
      if (rules.max_running != 0 &&
          static_cast<uint64_t>(std::count_if(taken_.begin(), taken_.end(), [&](uint32_t other) {
            const auto names = GateNames(other);
            return std::find(names.begin(), names.end(), name) != names.end();
          })) >= rules.max_running)
        return false;
      if (rules.rate != 0 && buckets_[name].Tokens(rules.rate, rules.burst) < kToken) return false;
    }
    return true;
  }
  bool Accepts(const Session& s, uint32_t slot) const {
    const LaneNames names = lanes_.NamesOf(tasks_[slot].lane);
    return Has(s.queues, std::string(names.queue)) && Has(s.types, std::string(names.type));
  }
  auto PlaceOf(uint32_t slot) const {
    const Task& t = tasks_[slot];
    const auto ageing = static_cast<int64_t>(lanes_.queue_of(t.lane).settings.ageing_ms);
    int64_t rank = -static_cast<int64_t>(t.priority);
    if (ageing != 0)
      rank = t.order < 0 ? INT64_MIN / 2 - t.priority
                         : clock_.TimeOf(static_cast<uint64_t>(t.order)) - t.priority * ageing;
    return std::tuple(rank, t.order, t.id);
  }

  // --- Dispatch
  void CheckFirst(const Session& session, uint32_t task) {
    const bool exact = shape_.local_gates && !shape_.ageing;
    const Lane& lane = lanes_[tasks_[task].lane];
    for (uint32_t other : ready_) {
      const Lane& others = lanes_[tasks_[other].lane];
      if (others.stream != lane.stream || !Accepts(session, other) || !Allowed(other)) continue;
      // A lane that waits for others at a gate they share may be passed by what does not need it.
      if (!exact && gates_.IsParked(tasks_[other].lane)) continue;
      ASSERT_LE(PlaceOf(task), PlaceOf(other));
    }
  }
  void Dispatch() {
    while (RunOnce() > 0 || gates_.has_waking())
      if (testing::Test::HasFatalFailure()) return;
    for (uint32_t task : ready_)
      for (const auto& [slot, session] : sessions_)
        ASSERT_FALSE(session.free > 0 && Accepts(session, task) && Allowed(task))
            << "a ready task waits beside a worker with credit";
    ASSERT_EQ(dispatcher_.FindForgotten(), 0u);
  }
  size_t RunOnce() {
    return dispatcher_.Run(1 + Below(20), [&](uint32_t slot, uint32_t task) -> uint32_t {
      Session& session = sessions_.at(slot);
      EXPECT_GT(session.free, 0u);
      EXPECT_TRUE(Accepts(session, task));
      EXPECT_TRUE(Allowed(task)) << "against the rules";
      CheckFirst(session, task);
      for (const BucketName& name : GateNames(task)) {
        const Rules rules = RulesOf(name);
        if (rules.rate != 0) buckets_[name].Spend(rules.rate, rules.burst);
      }
      lanes_.Remove(task);
      ++lanes_.queue_of(tasks_[task].lane).counts[static_cast<size_t>(TaskState::kLeased)];
      lanes_.CountRunning(tasks_[task].lane, +1);
      gates_.OnGiven(tasks_[task].lane);
      ready_.erase(task);
      taken_.push_back(task);
      return --session.free;
    });
  }

  std::mt19937_64 random_;
  const Shape shape_;
  TaskIndex tasks_;
  Lanes lanes_{tasks_};
  Gates gates_{lanes_, tasks_};
  ReadyClock clock_;
  Dispatcher dispatcher_{tasks_, lanes_, gates_, clock_};
  std::map<uint32_t, Session> sessions_;
  std::map<BucketName, NaiveBucket> buckets_;
  std::set<uint32_t> ready_;
  std::vector<uint32_t> taken_;
  uint64_t last_id_ = 0, lsn_ = 0;
  int64_t now_ms_ = 0;
};

void RunAll(Shape shape, uint64_t seeds) {
  for (uint64_t seed = 1; seed <= seeds && !testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE(seed);
    DispatchModel(seed, shape).Run(600);
  }
}

TEST(Dispatcher, KeepsToTheRulesAndLeavesNothingBehind) { RunAll({}, 150); }
TEST(Dispatcher, KeepsTheExactOrderWhereGatesAreNotShared) { RunAll({.local_gates = true}, 150); }
TEST(Dispatcher, KeepsTheOrderOfAgeing) { RunAll({.keys = false, .ageing = true}, 100); }

// Streams of a queue against the definition of turns: no stream is served twice while another, ready all
// the time, is not served once.
TEST(Dispatcher, StreamsOfAQueueTakeTurns) {
  std::mt19937_64 random(1);
  TaskIndex tasks;
  Lanes lanes(tasks);
  Gates gates(lanes, tasks);
  ReadyClock clock;
  Dispatcher dispatcher(tasks, lanes, gates, clock);
  lanes.Create(1, {"q", "t", {}, {}});
  constexpr int kTenants = 7;
  for (int i = 0; i < kTenants; ++i)
    lanes.Create(lanes.free_number(), {"q", "t", {}, "tenant" + std::to_string(i)});
  ASSERT_TRUE(dispatcher.Join(0, {}, {}));
  uint64_t last_id = 0, events = 0;
  std::array<uint64_t, kTenants + 2> served{}, ready_since{}, ready{};
  for (int step = 0; step < 20'000; ++step) {
    const auto lane = static_cast<uint32_t>(2 + random() % kTenants);
    for (uint64_t i = random() % 3; i > 0; --i) {
      const uint32_t slot = tasks.Insert(TaskId(++last_id));
      tasks[slot].lane = lane;
      tasks[slot].priority = random() % 10;
      tasks[slot].order = static_cast<int64_t>(last_id);
      lanes.PushBack(slot);
      if (ready[lane]++ == 0) ready_since[lane] = ++events;
    }
    dispatcher.SetFree(0, 1);
    dispatcher.Run(1, [&](uint32_t, uint32_t slot) -> uint32_t {
      const uint32_t given = tasks[slot].lane;
      for (uint32_t other = 2; other < kTenants + 2; ++other)
        if (other != given && ready[other] > 0 && ready_since[other] < served[given]) {
          EXPECT_GT(served[other], served[given]) << "step " << step;
        }
      served[given] = ++events;
      --ready[given];
      lanes.Remove(slot);
      tasks.Erase(slot);
      return 0;
    });
  }
}

// Keys that have gone come back with the bucket that they left.
TEST(Gates, ABucketOutlivesItsKey) {
  TaskIndex tasks;
  Lanes lanes(tasks);
  Gates gates(lanes, tasks);
  ReadyClock clock;
  Dispatcher dispatcher(tasks, lanes, gates, clock);
  lanes.Create(1, {"q", "t", {}, {}});
  lanes.queues()[0].settings.key_rate_micro = 1'000'000;  // one a second
  const LaneNames names{"q", "t", "k", {}};
  auto nothing = [](uint32_t, uint32_t) -> uint32_t { return 0; };
  auto may_give = [&] {
    const uint32_t number = lanes.free_number();
    lanes.Create(number, names);
    dispatcher.Run(1, nothing);
    const bool may = gates.LaneMayGive(number);
    if (may) gates.OnGiven(number);
    lanes.Drop(number);
    dispatcher.Run(1, nothing);
    return may;
  };
  EXPECT_TRUE(may_give());
  EXPECT_FALSE(may_give());
  gates.Advance(999);
  EXPECT_FALSE(may_give());
  gates.Advance(1000);
  EXPECT_TRUE(may_give());
  EXPECT_FALSE(may_give());
  gates.Advance(60'000);
  EXPECT_TRUE(may_give());
}

}  // namespace
}  // namespace zsched::broker
