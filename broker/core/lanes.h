// Queues, types, lanes and the lines of ready tasks. Owned by broker/core; pure.
//
// A lane is what decides whether and when a task may be handed out: its queue, its type, and where it has
// them its concurrency key and its fairness key. Each lane has one first-in first-out line a priority. The
// order between ready tasks of a stream is (rank, Task::order, id), over all its lanes; Dispatcher merges
// the lines' heads by it. Tasks that are given back go to the front of their line.
//
//   Queue ──has──▶ Stream (fairness key) ──has──▶ Lane ──has──▶ 10 lines ──of──▶ Task
//                                          Type, Key ──have──▶ Lane
//
// The lane of a queue and a type without keys is there for good, and is the base of the others. A lane with
// a key goes with its last task that is not over or is dead (a RETRY may bring that back), and its number is
// given again: always the smallest that is free, so that a standby and a restart choose the same.
//
// A stream is named by a number that is never given again; keys are numbered for the memory only, and their
// numbers are given again after ClearChanges().
//
// Threads: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_set.h"
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

struct Type {
  std::string name;
  TypeRow rules;
  uint32_t rules_number = 0;  // key of the row in kTypes; 0: it has none
  uint64_t running = 0;       // leased tasks
};

// A concurrency key in a queue.
struct Key {
  uint32_t queue = 0;
  uint32_t lanes = 0;  // 0: free
  std::string name;
  uint64_t running = 0;
};

struct LaneNames {
  std::string_view queue, type, concurrency_key, fairness_key;

  bool plain() const { return concurrency_key.empty() && fairness_key.empty(); }
};

struct Lane {
  uint32_t queue = 0;   // index into queues()
  uint32_t type = 0;    // index into types()
  uint32_t key = 0;     // index into keys(); 0: none
  uint32_t base = 0;    // the lane without keys, perhaps itself
  uint64_t stream = 0;  // what shares its queue and fairness key
  uint64_t serial = 0;  // tells it from others that had its number
  uint64_t tasks = 0;   // not over, or dead
  std::string fairness_key;
  std::array<Line, kPriorities> lines;
};

// A line's head got smaller: it was empty, or something was put in front.
struct Touched {
  uint32_t lane;
  int priority;
};

// A lane came or went.
struct LaneChange {
  uint32_t lane;
  uint32_t key;  // 0: none
  uint64_t stream;
  uint64_t serial;
  bool created;
  bool last_in_stream;  // went, and its stream with it
  bool edge_of_key;     // came as the first of its key, or went as the last
};

class Lanes {
 public:
  explicit Lanes(TaskIndex& tasks) : tasks_(tasks) { lanes_.emplace_back(); }

  // 0 when there is none yet. Lane numbers start at 1.
  uint32_t Find(const LaneNames& names) const;
  // `number` is the smallest free one on the active, or the recorded one at a restart. A lane with keys
  // needs its base.
  void Create(uint32_t number, const LaneNames& names);
  // A lane with a key that has no tasks.
  void Drop(uint32_t number);
  uint32_t free_number() const { return free_.empty() ? end() : *free_.begin(); }
  bool Has(uint32_t lane) const { return lane < lanes_.size() && lanes_[lane] != nullptr; }
  // All lane numbers are below; some of these may be free.
  uint32_t end() const { return static_cast<uint32_t>(lanes_.size()); }
  size_t size() const { return lanes_.size() - 1 - free_.size(); }

  Lane& operator[](uint32_t lane) { return *lanes_[lane]; }
  const Lane& operator[](uint32_t lane) const { return *lanes_[lane]; }
  Queue& queue_of(uint32_t lane) { return queues_[lanes_[lane]->queue]; }
  const Queue& queue_of(uint32_t lane) const { return queues_[lanes_[lane]->queue]; }
  Type& type_of(uint32_t lane) { return types_[lanes_[lane]->type]; }
  const Type& type_of(uint32_t lane) const { return types_[lanes_[lane]->type]; }
  bool IsPlain(uint32_t lane) const { return lanes_[lane]->base == lane; }
  LaneNames NamesOf(uint32_t lane) const;

  const std::vector<Queue>& queues() const { return queues_; }
  std::vector<Queue>& queues() { return queues_; }
  // Its index; made when there is none yet.
  uint32_t FindOrCreateQueue(std::string_view name);
  // nullptr when there is no such queue.
  const Queue* FindQueue(std::string_view name) const;
  const std::vector<Type>& types() const { return types_; }
  std::vector<Type>& types() { return types_; }
  uint32_t FindOrCreateType(std::string_view name);
  const Type* FindType(std::string_view name) const;
  const std::vector<Key>& keys() const { return keys_; }

  // A task of the lane is leased, or not any more.
  void CountRunning(uint32_t lane, int64_t change) {
    const Lane& counted = *lanes_[lane];
    types_[counted.type].running += static_cast<uint64_t>(change);
    if (counted.key != 0) keys_[counted.key].running += static_cast<uint64_t>(change);
  }

  // --- Lines. The task's lane, priority and order must be set; its state is the caller's business.
  void PushBack(uint32_t slot);
  void PushFront(uint32_t slot);
  void Remove(uint32_t slot);
  // The first task of the highest line that has any; kNil: none is ready.
  uint32_t HeadOf(uint32_t lane) const;

  // --- What happened since the last ClearChanges(): lanes that came and went, in order, and lines whose
  // head got smaller, which may repeat and may be of a lane that went.
  const std::vector<LaneChange>& changes() const { return changes_; }
  const std::vector<Touched>& touched() const { return touched_; }
  void ClearChanges();
  // As if every lane had just come: for who begins to look at a state that was made elsewhere.
  void ReportAll();
  bool HasChanges() const { return !changes_.empty() || !touched_.empty(); }

 private:
  struct Stream {
    uint64_t number = 0;
    uint32_t lanes = 0;
  };
  using InQueue = std::pair<uint32_t, std::string>;  // queue, key

  static void AppendKey(const LaneNames& names, std::string& key);
  uint32_t TakeKey(uint32_t queue, std::string_view name);

  TaskIndex& tasks_;
  std::vector<Queue> queues_;
  std::vector<Type> types_;
  std::vector<Key> keys_{1};  // [0] is unused
  absl::flat_hash_map<std::string, uint32_t> queue_by_name_, type_by_name_;
  absl::flat_hash_map<InQueue, Stream> streams_;
  absl::flat_hash_map<InQueue, uint32_t> key_by_name_;
  std::vector<uint32_t> free_keys_;
  uint64_t last_stream_ = 0, last_serial_ = 0;
  std::vector<std::unique_ptr<Lane>> lanes_;  // [0] is unused
  absl::btree_set<uint32_t> free_;
  absl::flat_hash_map<std::string, uint32_t> by_name_;
  std::vector<LaneChange> changes_;
  std::vector<Touched> touched_;
};

}  // namespace zsched::broker
