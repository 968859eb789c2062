// Which ready task goes to which worker next. Owned by broker/core; pure. Knows only live workers,
// so it is not durable: after a restart it is empty and fills as workers say hello.
//
// Workers that accept the same queues and types form a class. A class merges the heads of all lines
// it may take:
//
//   Class ──round robin──▶ Queue ──heap by (priority, order, id)──▶ lines of its lanes
//
// The heaps are lazy. An entry may stand for a head that is already gone, but never behind the true
// head: heads only move back in line when they are taken, and when one moves forward (a line was
// empty, a task was given back) Lanes reports the line as touched and an entry is added. So the top
// is right after it was compared with its line, and taking a task costs O(log lanes) in the class
// that takes it, nothing in the others.
//
// Queues take turns, and give as many tasks a turn as their weight says. A queue whose gate is closed
// (gates.h) leaves the rings when its turn comes, and returns when the gate reports that it opened.
//
// Among the workers of a class the one with the most free credit is served first, a fraction of its
// credit at a time, so that load evens out.
//
// Example:
//   dispatcher.Join(session_slot, queues, types);  dispatcher.SetFree(session_slot, 8);
//   dispatcher.Run([&](uint32_t session, uint32_t task) { …lease it…; return free_credit_left; });
//
// Threads: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "broker/core/gates.h"
#include "broker/core/lanes.h"
#include "broker/core/task_index.h"

namespace zsched::broker {

class Dispatcher {
 public:
  // Classes of workers that differ in queues or types; each costs a heap entry per line it matches.
  static constexpr size_t kMaxClasses = 256;

  Dispatcher(TaskIndex& tasks, Lanes& lanes, Gates& gates)
      : tasks_(tasks), lanes_(lanes), gates_(gates) {}

  // Empty lists mean all. False when there are kMaxClasses others already.
  bool Join(uint32_t session, std::vector<std::string> queues, std::vector<std::string> types);
  void Leave(uint32_t session);
  // Tasks that the session may take now; 0 when its byte grant is used up or it drains.
  void SetFree(uint32_t session, uint32_t free);

  // A lane was created; once each, by rising number.
  void LaneCreated(uint32_t lane);

  // Gives out ready tasks while there are both tasks and free workers, at most `max_tasks`.
  // `assign` leases the task (which takes it off its line) and returns what the session may still
  // take. Returns how many were given out.
  size_t Run(size_t max_tasks, absl::FunctionRef<uint32_t(uint32_t session, uint32_t task)> assign);

  size_t classes() const { return classes_.size(); }
  // A queue with ready tasks and an open gate that a class with free workers does not look at; nullptr:
  // none, or something came since Run. For the invariants.
  const Queue* FindForgotten() const;

 private:
  struct Entry {
    int64_t order;
    uint64_t id;
    uint32_t lane;
    int8_t priority;
    // std::push_heap keeps the greatest on top: "less" means later in line.
    friend bool operator<(const Entry& a, const Entry& b) {
      if (a.priority != b.priority) return a.priority < b.priority;
      if (a.order != b.order) return a.order > b.order;
      return a.id > b.id;
    }
  };
  // The entry that stands for each line in the heap; a second one for the line is garbage.
  struct LineEntry {
    int64_t order = 0;
    uint64_t id = 0;  // 0: none
  };
  struct QueueHeap {
    std::vector<Entry> heap;
    size_t garbage = 0;
    bool in_ring = false;
  };
  struct Class {
    std::vector<std::string> queues, types;  // sorted; empty: all
    size_t sessions = 0;
    absl::flat_hash_map<uint32_t, QueueHeap> heaps;                             // by queue
    absl::flat_hash_map<uint32_t, std::array<LineEntry, kPriorities>> entries;  // by lane
    std::deque<uint32_t> ring;  // queues with a non-empty heap and an open gate, or more
    uint32_t given = 0;         // by the queue in front, in this turn
    absl::btree_set<std::pair<uint32_t, uint32_t>> hungry;  // (free, session), free > 0
  };
  struct Seat {
    uint32_t klass = 0;
    uint32_t free = 0;
    bool used = false;
  };

  static bool Accepts(const Class& klass, std::string_view queue, std::string_view type);
  void Match(uint32_t class_number, uint32_t lane);
  void AddEntry(Class& klass, uint32_t lane, int priority);
  void JoinRing(Class& klass, uint32_t queue, QueueHeap& heap);
  void TakeTouched();
  void TakeReopened();
  uint32_t Peek(Class& klass, QueueHeap& heap);
  uint32_t NextTask(Class& klass);
  void Compact(Class& klass, QueueHeap& heap);
  size_t RunClass(Class& klass, size_t max_tasks,
                  absl::FunctionRef<uint32_t(uint32_t, uint32_t)>& assign);

  TaskIndex& tasks_;
  Lanes& lanes_;
  Gates& gates_;
  absl::flat_hash_map<uint32_t, Class> classes_;
  uint32_t next_class_ = 0;
  std::vector<std::vector<uint32_t>> classes_of_lane_{1};  // by lane number
  std::vector<Seat> seats_;                                // by session slot
  std::vector<uint32_t> order_;                            // class numbers, for the rotation of Run
  size_t turn_ = 0;
};

}  // namespace zsched::broker
