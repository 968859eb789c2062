// The in-memory index of unfinished tasks: 64 bytes a task and 5 bytes of hash set, payloads not
// included. Owned by broker/core; pure.
//
// Tasks live in chunks that never move, named by slot numbers (31 bits). A set of slots, hashed by
// the task id behind each, finds a task by id without storing the id again. Finished tasks leave
// the index; their rows stay in the journal.
//
// Example:
//   uint32_t slot = index.Insert(id);        // a Task with that id, otherwise zero
//   index.Find(id) == slot;   index[slot].priority = 7;
//   index.Erase(slot);
//
// With a long backlog hardly any of it is in the CPU's caches. Who knows what it will touch next says so
// with Prefetch and PrefetchFind, a few tasks ahead: misses then overlap instead of adding up.
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <new>
#include <type_traits>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "base/huge_pages.h"
#include "broker/core/rows.h"
#include "broker/core/timer_wheel.h"
#include "schemas/ids.h"

namespace zsched::broker {

struct Task {
  uint64_t id = 0;
  // ready: place in line, smaller first: the LSN that made it ready, or minus that LSN when it was
  // given back to the front. scheduled, retry_wait: when due, Unix ms.
  int64_t order = 0;
  // Links of the one list the task is in: ready line, timer slot, or its worker's leases. Free
  // slots: next.
  uint32_t next = kNil;
  uint32_t prev = kNil;
  uint32_t lane = 0;
  uint32_t lease = kNil;  // slot in Leases while leased
  uint32_t timeout_ms = 0;
  uint32_t bytes = 0;
  uint32_t retry_base_ms = 0;
  uint32_t retry_cap_ms = 0;
  uint32_t watcher = 0;  // counter of the client session to tell; 0: none; not durable
  uint16_t attempt = 0;
  uint16_t max_attempts = 0;
  uint16_t failures = 0;
  uint16_t lost = 0;
  TaskState state{};
  uint8_t priority : 4 = 0;
  uint8_t durability : 2 = 0;
  uint8_t dirty : 1 = 0;          // its row is to be written with the open batch
  uint8_t more_watchers : 1 = 0;  // Core::watchers_ has others
  uint8_t cancelling : 1 = 0;     // leased, and ends as cancelled with its attempt
  uint8_t keyed : 1 = 0;          // holds an idempotency key
  uint8_t at_most_once : 1 = 0;
  uint8_t trailed : 1 = 0;  // has a trail in State::trails()
  uint8_t chained : 1 = 0;  // State::chains has templates of it
  uint8_t expires : 1 = 0;  // State::expiries has its start-by time
};
static_assert(sizeof(Task) == 64, "one cache line; the memory of a million waiting tasks is 64 MB");
static_assert(std::is_trivially_destructible_v<Task>);

class TaskIndex {
 public:
  TaskIndex() : by_id_(0, Hash{this}, Equal{this}) {}
  TaskIndex(const TaskIndex&) = delete;
  TaskIndex& operator=(const TaskIndex&) = delete;
  ~TaskIndex() {
    for (Task* chunk : chunks_) HugePageAllocator<Task>().deallocate(chunk, kChunk);
  }

  Task& operator[](uint32_t slot) { return chunks_[slot >> kChunkBits][slot & (kChunk - 1)]; }
  const Task& operator[](uint32_t slot) const {
    return chunks_[slot >> kChunkBits][slot & (kChunk - 1)];
  }

  // Requires: no task with that id.
  uint32_t Insert(TaskId id) {
    uint32_t slot = free_;
    if (slot != kNil) {
      free_ = (*this)[slot].next;
      Prefetch(free_);
    } else {
      slot = used_++;
      ZS_CHECK(slot < kNil);
      if ((slot & (kChunk - 1)) == 0) chunks_.push_back(HugePageAllocator<Task>().allocate(kChunk));
    }
    Task* task = new (&(*this)[slot]) Task{};
    task->id = id.value();
    bool inserted = by_id_.insert(slot).second;
    ZS_CHECK(inserted);
    return slot;
  }

  // kNil when there is none.
  uint32_t Find(TaskId id) const {
    auto it = by_id_.find(id);
    return it == by_id_.end() ? kNil : *it;
  }

  // Of a slot or kNil.
  void Prefetch(uint32_t slot) const {
    if (slot != kNil) __builtin_prefetch(&(*this)[slot], /*write=*/1);
  }
  void PrefetchFind(TaskId id) const { by_id_.prefetch(id); }

  void Erase(uint32_t slot) {
    by_id_.erase(slot);
    Task& task = (*this)[slot];
    task.id = 0;
    task.next = free_;
    free_ = slot;
  }

  size_t size() const { return by_id_.size(); }
  void Reserve(size_t tasks) { by_id_.reserve(tasks); }

  template <class Visit>
  void ForEach(Visit visit) const {
    for (uint32_t slot : by_id_) visit(slot, (*this)[slot]);
  }

 private:
  static constexpr int kChunkBits = 15;  // 32,768 tasks: one huge page
  static constexpr uint32_t kChunk = 1 << kChunkBits;
  static_assert(sizeof(Task) * kChunk == kHugePageBytes);

  struct Hash {
    using is_transparent = void;
    const TaskIndex* index;
    // Tasks come and go in the order of their ids, so 16 consecutive ones share a group of the set
    // (16 places, one or two cache lines) and a run of tasks misses the cache once a group. The
    // groups are spread by Fibonacci hashing, or long runs of ids would fill long runs of places.
    // flat_hash_set takes the 7 low bits for its tags and the rest for the place.
    static size_t Mix(uint64_t id) {
      constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;
      uint64_t group = (id >> 4) * kGolden;
      group ^= group >> 32;
      uint64_t tag = (id * kGolden) >> 57;
      return (group << 4 | (id & 15)) << 7 | tag;
    }
    size_t operator()(uint32_t slot) const { return Mix((*index)[slot].id); }
    size_t operator()(TaskId id) const { return Mix(id.value()); }
  };
  struct Equal {
    using is_transparent = void;
    const TaskIndex* index;
    bool operator()(uint32_t a, uint32_t b) const { return a == b; }
    bool operator()(uint32_t a, TaskId b) const { return (*index)[a].id == b.value(); }
    bool operator()(TaskId a, uint32_t b) const { return (*index)[b].id == a.value(); }
  };

  std::vector<Task*> chunks_;  // owned
  uint32_t used_ = 0;
  uint32_t free_ = kNil;
  absl::flat_hash_set<uint32_t, Hash, Equal, HugePageAllocator<uint32_t>> by_id_;
};

}  // namespace zsched::broker
