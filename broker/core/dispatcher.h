// Which ready task goes to which worker next. Owned by broker/core; pure. Knows only live workers,
// so it is not durable: after a restart it is empty and fills as workers say hello.
//
// Workers that accept the same queues and types form a class. A class merges the heads of all lines
// it may take:
//
//   Class ──turns──▶ Queue ──turns──▶ Stream ──heap by (rank, order, id)──▶ lines of its lanes
//
// The heaps are lazy. An entry may stand for a head that is already gone, but never behind the true
// head: heads only move back in line when they are taken, and when one moves forward (a line was
// empty, a task was given back) Lanes reports the line as touched and an entry is added. So the top
// is right after it was compared with its line, and taking a task costs O(log lanes) in the class
// that takes it, nothing in the others.
//
// Queues take turns, and give as many tasks a turn as their weight says; within a queue its streams (the
// fairness keys) take turns, a task each. A queue whose gate is closed (gates.h) leaves the rings when its
// turn comes, and returns when the gate reports that it opened. A lane whose type or concurrency key is
// closed leaves the heaps when it comes to the top, and returns when Gates wakes it.
//
// A line's rank is its priority; in a queue with ageing it is the moment since when the first task waits, less
// ageing_ms for each step of priority, so that waiting that long is worth a step. Both are fixed while a task
// waits: nothing has to be sorted anew as time goes by.
//
// Workers with idle hands are served first, in all classes, the one with the most of them before others:
// what is queued behind a running task at one worker could have begun at another. Then come those that
// have credit for more, the one with the most of it first; a fraction of it at a time, so that load evens out.
//
// Example:
//   dispatcher.Join(session_slot, queues, types);  dispatcher.SetFree(session_slot, 8);
//   dispatcher.Run([&](uint32_t session, uint32_t task) { …lease it…; return Room(7, 3); });
//
// Threads: one owner.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/functional/function_ref.h"
#include "broker/core/gates.h"
#include "broker/core/lanes.h"
#include "broker/core/ready_clock.h"
#include "broker/core/task_index.h"

namespace zsched::broker {

// What a session may take.
struct Room {
  Room(uint32_t free_tasks = 0, uint32_t idle_hands = 0)  // NOLINT: implicit on purpose
      : free(free_tasks), idle(idle_hands) {}
  uint32_t free;  // tasks
  uint32_t idle;  // of these, how many would begin at once

  friend bool operator==(const Room&, const Room&) = default;
};

class Dispatcher {
 public:
  // Classes of workers that differ in queues or types; each costs a heap entry per line it matches.
  static constexpr size_t kMaxClasses = 256;

  Dispatcher(TaskIndex& tasks, Lanes& lanes, Gates& gates, const ReadyClock& ready_clock)
      : tasks_(tasks), lanes_(lanes), gates_(gates), ready_clock_(ready_clock) {}

  // Empty lists mean all. False when there are kMaxClasses others already.
  bool Join(uint32_t session, std::vector<std::string> queues, std::vector<std::string> types);
  void Leave(uint32_t session);
  // What the session may take now: nothing when its byte grant is used up or it drains.
  void SetFree(uint32_t session, Room room);

  // The queue's ageing is another.
  void OnAgeing(uint32_t queue);

  // Gives out ready tasks while there are both tasks and free workers, at most `max_tasks`.
  // `assign` leases the task (which takes it off its line) and returns what the session may still
  // take. Returns how many were given out.
  using Assign = absl::FunctionRef<Room(uint32_t session, uint32_t task)>;
  size_t Run(size_t max_tasks, Assign assign);

  size_t classes() const { return classes_.size(); }
  // Of two ready tasks of the same queue and fairness key.
  bool ComesBefore(uint32_t task, uint32_t other) const;
  // Idle hands of each class that has any, by its number.
  using Hands = absl::flat_hash_map<uint32_t, uint64_t>;
  Hands IdleHands() const;
  // Takes one of `hands` that serves the lane; false: there is none. As of the last Run.
  bool TakeHand(uint32_t lane, Hands& hands) const;
  // Sessions that serve the lane, and those of them that may take a task now.
  struct Servers {
    size_t all = 0, free = 0;
  };
  Servers ServersOf(uint32_t lane) const;
  // A lane with ready tasks and open gates that a class with free workers does not look at; 0: none, or
  // something came since Run. For the invariants.
  uint32_t FindForgotten() const;

 private:
  struct Entry {
    int64_t rank;
    int64_t order;
    uint64_t id;
    uint32_t lane;
    int8_t priority;
    // std::push_heap keeps the greatest on top: "less" means later in line.
    friend bool operator<(const Entry& a, const Entry& b) {
      if (a.rank != b.rank) return a.rank > b.rank;
      if (a.order != b.order) return a.order > b.order;
      return a.id > b.id;
    }
  };
  // The entry that stands for each line in the heap; a second one for the line is garbage.
  struct LineEntry {
    int64_t order = 0;
    uint64_t id = 0;  // 0: none
  };
  struct StreamHeap {
    uint64_t number = 0;  // Lane::stream
    std::vector<Entry> heap;
    size_t garbage = 0;
    StreamHeap* next = nullptr;  // in the turns of its queue; nullptr: it has none
    bool gone = false;           // its last lane went; it goes when its turn comes
  };
  // A circle of streams with a non-empty heap, or more.
  struct QueueTurns {
    StreamHeap* last = nullptr;  // the front is behind it; nullptr: empty
    bool in_ring = false;
  };
  struct LaneState {
    StreamHeap* stream = nullptr;
    std::array<LineEntry, kPriorities> lines;
  };
  struct Class {
    std::vector<std::string> queues, types;  // sorted; empty: all
    size_t sessions = 0;
    absl::node_hash_map<uint64_t, StreamHeap> heaps;  // by stream; they stay where they are
    std::vector<QueueTurns> turns;                    // by queue
    std::vector<std::unique_ptr<LaneState>> lanes;    // by lane; nullptr: not one that it accepts
    std::deque<uint32_t> ring;  // queues with streams and an open gate, or more
    uint32_t given = 0;         // by the queue in front, in this turn
    struct Hungry {
      uint32_t idle, free, session;
      friend auto operator<=>(const Hungry&, const Hungry&) = default;
    };
    absl::btree_set<Hungry> hungry;  // free > 0
  };
  struct Seat {
    uint32_t klass = 0;
    Room room;
    bool used = false;
  };

  bool Accepts(const Class& klass, uint32_t lane) const;
  void Match(uint32_t class_number, uint32_t lane);
  void OnLaneCreated(const LaneChange& change);
  void OnLaneGone(const LaneChange& change);
  int64_t RankOf(uint32_t lane, int priority, int64_t order) const;
  void AddEntry(Class& klass, uint32_t lane, int priority);
  void AddEntries(Class& klass, uint32_t lane);
  static void JoinTurns(QueueTurns& turns, StreamHeap& heap);
  static void PopFront(Class& klass, QueueTurns& turns);
  void JoinRing(Class& klass, uint32_t queue);
  void TakeChanges();
  void TakeReopened();
  void WakeLanes();
  uint32_t Peek(Class& klass, StreamHeap& heap);
  uint32_t PeekQueue(Class& klass, QueueTurns& turns);
  uint32_t NextTask(Class& klass);
  void Compact(Class& klass, StreamHeap& heap);
  size_t RunClass(Class& klass, size_t max_tasks, bool idle_only, Assign& assign);

  TaskIndex& tasks_;
  Lanes& lanes_;
  Gates& gates_;
  const ReadyClock& ready_clock_;
  absl::flat_hash_map<uint32_t, Class> classes_;
  uint32_t next_class_ = 0;
  std::vector<std::vector<uint32_t>> classes_of_lane_{1};  // by lane number
  std::vector<Seat> seats_;                                // by session slot
  std::vector<uint32_t> order_;                            // class numbers, for the rotation of Run
  size_t turn_ = 0;
  bool woke_ = false;  // lanes, in this Run
};

}  // namespace zsched::broker
