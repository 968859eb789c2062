// Timer wheel, task index and dispatcher against naive models.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "broker/core/dispatcher.h"
#include "broker/core/timer_wheel.h"

namespace zsched::broker {
namespace {

struct Nodes {
  struct Node {
    uint32_t next = kNil, prev = kNil;
    int64_t due = 0;
  };
  std::vector<Node>* nodes;
  uint32_t& next(uint32_t i) const { return (*nodes)[i].next; }
  uint32_t& prev(uint32_t i) const { return (*nodes)[i].prev; }
  int64_t due(uint32_t i) const { return (*nodes)[i].due; }
};

TEST(TimerWheel, FiresExactlyWhatIsDueLikeASortedMap) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<Nodes::Node> nodes(500);
    int64_t now = static_cast<int64_t>(random() % (int64_t{1} << 41));
    TimerWheel<Nodes> wheel(Nodes{&nodes}, now);
    std::set<std::pair<int64_t, uint32_t>> model;
    std::set<uint32_t> linked;
    for (int step = 0; step < 3000; ++step) {
      auto node = static_cast<uint32_t>(random() % nodes.size());
      if (linked.contains(node)) {
        if (random() % 2 == 0) {
          wheel.Remove(node);
          model.erase({nodes[node].due, node});
          linked.erase(node);
        }
      } else {
        int64_t range = int64_t{1} << (random() % 38);
        nodes[node].due =
            now + static_cast<int64_t>(random() % static_cast<uint64_t>(range)) - range / 8;
        wheel.Add(node);
        model.insert({nodes[node].due, node});
        linked.insert(node);
      }
      if (!model.empty()) {
        ASSERT_LE(wheel.next_ms(), std::max(now, model.begin()->first));
      }
      if (random() % 4 == 0)
        now += static_cast<int64_t>(random() % (uint64_t{1} << (random() % 36)));
      if (random() % 50 == 0) wheel.Advance(now - 1000);  // a clock that goes back changes nothing
      wheel.Advance(now);
      std::set<uint32_t> fired, expected;
      while (wheel.due_head() != kNil) {
        fired.insert(wheel.due_head());
        wheel.Remove(wheel.due_head());
      }
      while (!model.empty() && model.begin()->first <= now) {
        expected.insert(model.begin()->second);
        linked.erase(model.begin()->second);
        model.erase(model.begin());
      }
      ASSERT_EQ(fired, expected) << "seed " << seed << " step " << step;
      ASSERT_EQ(wheel.size(), model.size());
    }
  }
}

TEST(TaskIndex, FindsWhatWasInsertedAndNothingElse) {
  std::mt19937_64 random(1);
  TaskIndex index;
  std::map<uint64_t, uint32_t> model;
  for (int step = 0; step < 50'000; ++step) {
    uint64_t id = 1 + random() % 20'000;
    if (model.contains(id)) {
      ASSERT_EQ(index.Find(TaskId(id)), model[id]);
      index.Erase(model[id]);
      model.erase(id);
    } else {
      ASSERT_EQ(index.Find(TaskId(id)), kNil);
      model[id] = index.Insert(TaskId(id));
    }
    ASSERT_EQ(index.size(), model.size());
  }
  for (auto [id, slot] : model) ASSERT_EQ(index[slot].id, id);
}

// Every task that is given out must be the first of its queue that the worker accepts, and none may
// stay behind while a worker that accepts it has credit.
class DispatchModel {
 public:
  explicit DispatchModel(uint64_t seed) : random_(seed) {}

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      switch (random_() % 7) {
        case 0:
          AddLane();
          break;
        case 1:
          Join();
          break;
        case 2:
          Leave();
          break;
        case 3:
          Grant();
          break;
        case 4:
          GiveBack();
          break;
        default:
          AddTasks();
          break;
      }
      if (random_() % 2 == 0) Dispatch();
    }
  }

 private:
  struct Session {
    std::vector<std::string> queues, types;
    uint32_t free = 0;
  };
  static bool Has(const std::vector<std::string>& names, const std::string& name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  }
  bool Accepts(const Session& s, uint32_t lane) const {
    return Has(s.queues, lanes_.queue_of(lane).name) && Has(s.types, lanes_[lane].type);
  }
  auto Key(uint32_t slot) const {
    const Task& t = tasks_[slot];
    return std::tuple(-static_cast<int>(t.priority), t.order, t.id);
  }

  void AddLane() {
    std::string queue = "q" + std::to_string(random_() % 4),
                type = "t" + std::to_string(random_() % 4);
    if (lanes_.Find(queue, type) != 0) return;
    uint32_t number = lanes_.next_number();
    lanes_.Create(number, queue, type);
    dispatcher_.LaneCreated(number);
  }
  void AddTasks() {
    if (lanes_.size() == 0) return;
    for (uint64_t i = random_() % 4; i > 0; --i) {
      uint32_t slot = tasks_.Insert(TaskId(++last_id_));
      tasks_[slot].lane = 1 + static_cast<uint32_t>(random_() % lanes_.size());
      tasks_[slot].priority = random_() % 3;
      tasks_[slot].order = static_cast<int64_t>(++clock_);
      lanes_.PushBack(slot);
      ready_.insert(slot);
    }
  }
  void GiveBack() {
    if (taken_.empty()) return;
    uint32_t slot = taken_.back();
    taken_.pop_back();
    tasks_[slot].order = -static_cast<int64_t>(++clock_);
    lanes_.PushFront(slot);
    ready_.insert(slot);
  }
  void Join() {
    auto slot = static_cast<uint32_t>(random_() % 8);
    if (sessions_.contains(slot)) return;
    Session s;
    for (uint64_t i = random_() % 3; i > 0; --i)
      s.queues.push_back("q" + std::to_string(random_() % 4));
    for (uint64_t i = random_() % 3; i > 0; --i)
      s.types.push_back("t" + std::to_string(random_() % 4));
    ASSERT_TRUE(dispatcher_.Join(slot, s.queues, s.types));
    sessions_[slot] = s;
  }
  void Leave() {
    if (sessions_.empty()) return;
    dispatcher_.Leave(sessions_.begin()->first);
    sessions_.erase(sessions_.begin());
  }
  void Grant() {
    for (auto& [slot, session] : sessions_) {
      session.free = static_cast<uint32_t>(random_() % 5);
      dispatcher_.SetFree(slot, session.free);
    }
  }
  void Dispatch() {
    dispatcher_.Run(1000, [&](uint32_t slot, uint32_t task) -> uint32_t {
      Session& session = sessions_.at(slot);
      EXPECT_GT(session.free, 0u);
      EXPECT_TRUE(Accepts(session, tasks_[task].lane));
      uint32_t queue = lanes_[tasks_[task].lane].queue;
      for (uint32_t other : ready_)
        if (lanes_[tasks_[other].lane].queue == queue && Accepts(session, tasks_[other].lane)) {
          EXPECT_LE(Key(task), Key(other));
        }
      lanes_.Remove(task);
      ready_.erase(task);
      taken_.push_back(task);
      return --session.free;
    });
    for (uint32_t task : ready_)
      for (const auto& [slot, session] : sessions_)
        ASSERT_FALSE(session.free > 0 && Accepts(session, tasks_[task].lane))
            << "a ready task waits beside a worker with credit";
  }

  std::mt19937_64 random_;
  TaskIndex tasks_;
  Lanes lanes_{tasks_};
  Gates gates_{lanes_};
  Dispatcher dispatcher_{tasks_, lanes_, gates_};
  std::map<uint32_t, Session> sessions_;
  std::set<uint32_t> ready_;
  std::vector<uint32_t> taken_;
  uint64_t last_id_ = 0, clock_ = 0;
};

TEST(Dispatcher, GivesOutInOrderAndLeavesNothingBehind) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    DispatchModel(seed).Run(600);
  }
}

}  // namespace
}  // namespace zsched::broker
