// Queues, lanes and the lines of ready tasks. Owned by broker/core; pure.
//
// A lane is a (queue, type) pair: what decides which workers may take a task. Each lane has one
// first-in first-out line a priority. The order between ready tasks of a queue is (priority
// falling, Task::order rising, id rising), over all its lanes; Dispatcher merges the lines' heads
// by it. Tasks that are given back go to the front of their line.
//
//   Queue ──has──▶ Lane (queue, type) ──has──▶ 10 lines ──of──▶ Task
//
// Threads: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/rows.h"
#include "broker/core/task_index.h"
#include "schemas/limits.h"

namespace zsched::broker {

struct Line {
  uint32_t head = kNil;
  uint32_t tail = kNil;
};

struct Queue {
  std::string name;
  QueueRow settings;
  uint32_t settings_number = 0;  // key of the row in kQueues; 0: it has none
  std::array<uint64_t, kTaskStates>
      counts{};  // tasks by state; finished ones until they are pruned
  uint64_t unfinished = 0;
  uint64_t bytes = 0;  // payload of unfinished tasks
};

struct Lane {
  uint32_t queue = 0;  // index into queues()
  std::string type;
  std::array<Line, kPriorities> lines;
};

// A line's head got smaller: it was empty, or something was put in front.
struct Touched {
  uint32_t lane;
  int priority;
};

class Lanes {
 public:
  explicit Lanes(TaskIndex& tasks) : tasks_(tasks) {}

  // 0 when there is none yet. Lane numbers start at 1.
  uint32_t Find(std::string_view queue, std::string_view type) const;
  // `number` is the next free one on the active, or the recorded one on replay and restart.
  void Create(uint32_t number, std::string_view queue, std::string_view type);

  Lane& operator[](uint32_t lane) { return *lanes_[lane]; }
  const Lane& operator[](uint32_t lane) const { return *lanes_[lane]; }
  Queue& queue_of(uint32_t lane) { return queues_[lanes_[lane]->queue]; }
  const Queue& queue_of(uint32_t lane) const { return queues_[lanes_[lane]->queue]; }
  const std::vector<Queue>& queues() const { return queues_; }
  std::vector<Queue>& queues() { return queues_; }
  // Its index; made when there is none yet.
  uint32_t FindOrCreateQueue(std::string_view name);
  // nullptr when there is no such queue.
  const Queue* FindQueue(std::string_view name) const;
  uint32_t next_number() const { return static_cast<uint32_t>(lanes_.size()); }
  size_t size() const { return lanes_.size() - 1; }

  // --- Lines. The task's lane, priority and order must be set; its state is the caller's business.
  void PushBack(uint32_t slot);
  void PushFront(uint32_t slot);
  void Remove(uint32_t slot);

  // Lines whose head got smaller since the last ClearTouched; may repeat a line.
  const std::vector<Touched>& touched() const { return touched_; }
  void ClearTouched() { touched_.clear(); }

 private:
  static std::string Key(std::string_view queue, std::string_view type);

  TaskIndex& tasks_;
  std::vector<Queue> queues_;
  absl::flat_hash_map<std::string, uint32_t> queue_by_name_;
  std::vector<std::unique_ptr<Lane>> lanes_{1};  // [0] is unused
  absl::flat_hash_map<std::string, uint32_t> by_name_;
  std::vector<Touched> touched_;
};

}  // namespace zsched::broker
