// The structures inside the core, filled as a broker with a million waiting tasks has them.
#include <benchmark/benchmark.h>

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "broker/core/dispatcher.h"
#include "broker/core/lanes.h"
#include "broker/core/task_index.h"
#include "broker/core/timer_wheel.h"

namespace zsched::broker {
namespace {

constexpr uint64_t kWaiting = 1'000'000;

// ids 1..kWaiting.
std::unique_ptr<TaskIndex> FullIndex() {
  auto index = std::make_unique<TaskIndex>();
  for (uint64_t id = 1; id <= kWaiting; ++id) index->Insert(TaskId(id));
  return index;
}

void BM_TaskIndexFind(benchmark::State& state) {
  static const std::unique_ptr<TaskIndex> index = FullIndex();
  std::mt19937_64 random(1);
  for (auto _ : state)
    benchmark::DoNotOptimize((*index)[index->Find(TaskId(1 + random() % kWaiting))].order);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TaskIndexFind);

// A task comes, the oldest one goes.
void BM_TaskIndexInsertErase(benchmark::State& state) {
  static const std::unique_ptr<TaskIndex> index = FullIndex();
  static uint64_t newest = kWaiting;
  for (auto _ : state) {
    ++newest;
    index->Insert(TaskId(newest));
    index->Erase(index->Find(TaskId(newest - kWaiting)));
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TaskIndexInsertErase);

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

// A million timers spread over an hour.
class FullWheel {
 public:
  static constexpr int64_t kSpreadMs = 3'600'000;

  FullWheel() {
    for (uint32_t i = 0; i < nodes_.size(); ++i) Add(i);
  }
  void Add(uint32_t node) {
    nodes_[node].due = now_ + 1 + static_cast<int64_t>(random_() % kSpreadMs);
    wheel_.Add(node);
  }
  void Cancel(uint32_t node) { wheel_.Remove(node); }
  uint32_t Any() { return static_cast<uint32_t>(random_() % nodes_.size()); }
  // Fires what is due `ms` later, each of it to be set anew; how many.
  int64_t Pass(int64_t ms) {
    now_ += ms;
    wheel_.Advance(now_);
    int64_t fired = 0;
    for (; wheel_.due_head() != kNil; ++fired) {
      uint32_t node = wheel_.due_head();
      wheel_.Remove(node);
      Add(node);
    }
    return fired;
  }

 private:
  std::mt19937_64 random_{1};
  std::vector<Nodes::Node> nodes_ = std::vector<Nodes::Node>(kWaiting);
  int64_t now_ = 1'700'000'000'000;
  TimerWheel<Nodes> wheel_{Nodes{&nodes_}, now_};
};

void BM_TimerCancelAdd(benchmark::State& state) {
  static FullWheel wheel;
  for (auto _ : state) {
    uint32_t node = wheel.Any();
    wheel.Cancel(node);
    wheel.Add(node);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_TimerCancelAdd);

// Items are timers that fired and were set anew.
void BM_TimerFireAdd(benchmark::State& state) {
  static FullWheel wheel;
  int64_t fired = 0;
  for (auto _ : state) fired += wheel.Pass(/*ms=*/10);
  state.SetItemsProcessed(fired);
}
BENCHMARK(BM_TimerFireAdd);

// Lanes with ready tasks and workers with credit; what is given out goes to the end of its line.
class DispatchBench {
 public:
  // `ruled`: queues have a bound and a rate, which hold nothing back here.
  DispatchBench(uint32_t lanes, uint32_t queues, uint32_t workers, bool ruled) {
    constexpr uint32_t kTasksPerLane = 4;
    for (uint32_t lane = 1; lane <= lanes; ++lane) {
      lanes_.Create(
          lane, {"queue" + std::to_string(lane % queues), "type" + std::to_string(lane), {}, {}});
      for (uint32_t i = 0; i < kTasksPerLane; ++i) {
        uint32_t slot = tasks_.Insert(TaskId(++last_));
        tasks_[slot].lane = lane;
        PushBack(slot);
      }
    }
    for (uint32_t queue = 0; ruled && queue < queues; ++queue) {
      lanes_.queues()[queue].settings.max_running = kMaxQueueRunning;
      lanes_.queues()[queue].settings.rate_micro = kMaxQueueRateMicro;
      gates_.OnQueueSettings(queue);
    }
    for (uint32_t worker = 0; worker < workers; ++worker) {
      bool joined = dispatcher_.Join(worker, {}, {});
      ZS_CHECK(joined);
      dispatcher_.SetFree(worker, kFree + worker % kFree);
    }
  }

  // One task to the worker with the most credit, which gets its credit back.
  void One() {
    uint32_t served = 0, task = kNil;
    size_t given = dispatcher_.Run(1, [&](uint32_t worker, uint32_t slot) -> uint32_t {
      lanes_.Remove(slot);
      gates_.OnGiven(tasks_[slot].lane);
      served = worker;
      task = slot;
      return kFree - 1;
    });
    ZS_CHECK(given == 1);
    PushBack(task);
    gates_.Advance(static_cast<int64_t>(last_));
    dispatcher_.SetFree(served, kFree + static_cast<uint32_t>(last_ % kFree));
  }

 private:
  static constexpr uint32_t kFree = 100;

  void PushBack(uint32_t slot) {
    tasks_[slot].order = static_cast<int64_t>(++last_);
    lanes_.PushBack(slot);
  }

  TaskIndex tasks_;
  Lanes lanes_{tasks_};
  Gates gates_{lanes_, tasks_};
  ReadyClock ready_clock_;
  Dispatcher dispatcher_{tasks_, lanes_, gates_, ready_clock_};
  uint64_t last_ = 0;
};

void BM_Dispatch(benchmark::State& state) {
  DispatchBench bench(static_cast<uint32_t>(state.range(0)), static_cast<uint32_t>(state.range(1)),
                      static_cast<uint32_t>(state.range(2)), state.range(3) != 0);
  for (auto _ : state) bench.One();
  state.SetItemsProcessed(state.iterations());
}
// Keys of one queue with a bound that most of them are at: each task that goes out closes its key, and
// the one before it opens another.
class KeyedBench {
 public:
  // `tenants`: as many fairness keys as concurrency keys.
  KeyedBench(uint32_t keys, bool tenants) {
    lanes_.Create(lanes_.free_number(), {"queue", "type", {}, {}});
    lanes_.queues()[0].settings.key_max_running = 1;
    for (uint32_t key = 0; key < keys; ++key) {
      const std::string name = "key" + std::to_string(key);
      const uint32_t lane = lanes_.free_number();
      lanes_.Create(lane, {"queue", "type", name, tenants ? name : std::string_view()});
      for (int i = 0; i < 3; ++i) {
        uint32_t slot = tasks_.Insert(TaskId(++last_));
        tasks_[slot].lane = lane;
        tasks_[slot].order = static_cast<int64_t>(last_);
        lanes_.PushBack(slot);
      }
    }
    bool joined = dispatcher_.Join(0, {}, {});
    ZS_CHECK(joined);
    while (Dispatch(1000) > 0) {
    }
    ZS_CHECK(leased_.size() == keys);  // each key has one, and two that wait
  }

  // One attempt ends, and the next of its key goes out. The ended task goes to the end of its line.
  void One() {
    const uint32_t slot = leased_.front();
    leased_.pop_front();
    const LaneGates gates = GatesOf(lanes_[tasks_[slot].lane]);
    lanes_.CountRunning(tasks_[slot].lane, -1);
    gates_.OnLeaseEnded(gates);
    tasks_[slot].order = static_cast<int64_t>(++last_);
    lanes_.PushBack(slot);
    const size_t given = Dispatch(1);
    ZS_CHECK(given == 1);
  }

 private:
  size_t Dispatch(uint32_t most) {
    dispatcher_.SetFree(0, most);
    return dispatcher_.Run(most, [&](uint32_t, uint32_t slot) -> uint32_t {
      lanes_.Remove(slot);
      lanes_.CountRunning(tasks_[slot].lane, +1);
      gates_.OnGiven(tasks_[slot].lane);
      leased_.push_back(slot);
      return --most;
    });
  }

  TaskIndex tasks_;
  Lanes lanes_{tasks_};
  Gates gates_{lanes_, tasks_};
  ReadyClock ready_clock_;
  Dispatcher dispatcher_{tasks_, lanes_, gates_, ready_clock_};
  std::deque<uint32_t> leased_;
  uint64_t last_ = 0;
};

void BM_DispatchKeyed(benchmark::State& state) {
  KeyedBench bench(static_cast<uint32_t>(state.range(0)), state.range(1) != 0);
  for (auto _ : state) bench.One();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_DispatchKeyed)
    ->ArgNames({"keys", "tenants"})
    ->Args({100, 0})
    ->Args({10'000, 0})
    ->Args({100'000, 0})
    ->Args({100'000, 1});

BENCHMARK(BM_Dispatch)
    ->ArgNames({"lanes", "queues", "workers", "ruled"})
    ->Args({1, 1, 2, 0})
    ->Args({1, 1, 2, 1})
    ->Args({10'000, 10, 2, 0})
    ->Args({10'000, 10'000, 2, 0})
    ->Args({10'000, 10'000, 2, 1})
    ->Args({10'000, 10, 1'000, 0});

}  // namespace
}  // namespace zsched::broker
