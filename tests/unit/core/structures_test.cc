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

}  // namespace
}  // namespace zsched::broker
