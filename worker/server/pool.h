// The handler threads of a worker and the queue in front of them. Owned by worker/server.
//
// Tasks come in batches, one a TASKS frame, and stay in them: a thread claims the next task with
// one atomic step, so nothing is taken out in advance that would then have to wait behind a slow
// handler, and a task that nobody claimed can be taken back. Outcomes go to a list of the thread's
// own. The session thread is woken for the first outcome after a pause, and otherwise once for
// many: a lone short task is reported at once, a flood costs a fraction of a system call each.
//
//   session thread: Push ─▶ queue ─▶ slot threads: claim, run, list ─▶ TakeEnded :session thread
//                   Withdraw, Cancel ─▶              ObserveRunning ◀─ slots
//
// Example:
//   Pool pool(4, handlers, [dealer] { dealer->Wake(); });
//   pool.Push(batch);                      // later, when woken:
//   pool.TakeEnded(&ended);
//
// Threads: all methods from one thread, the session's. Handler threads are the pool's own. A
// handler that never returns keeps its thread, and what that thread needs of the pool, beyond the
// pool's life.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "schemas/ids.h"
#include "schemas/wire_generated.h"
#include "worker/core/ledger.h"
#include "worker/server/attempt.h"
#include "zsched/task.h"

namespace zsched::worker {

using HandlerMap = absl::flat_hash_map<std::string, TaskHandler>;

// The tasks of one TASKS frame and the bytes that they point into.
class Batch {
 public:
  struct Item {
    const wire::Assignment* task = nullptr;
    std::atomic<bool> taken{false};  // by a thread that runs it, or by Withdraw or Cancel
  };

  // Copies `body`, a verified wire::Tasks that was received at `received_ms`, mono. Items are added with
  // Add, then the batch is pushed.
  Batch(std::string_view body, int64_t received_ms);
  const wire::Tasks& tasks() const { return *tasks_; }
  void Add(const wire::Assignment* task) { items_[size_++].task = task; }
  size_t size() const { return size_; }
  Item& item(size_t index) { return items_[index]; }

  // The next item that nobody has taken, now taken; nullptr when there is none left.
  Item* Claim();
  // Too late for a task of this batch to start.
  bool IsLate(const wire::Assignment& task, int64_t now_ms) const {
    return task.start_within_ms() != 0 &&
           now_ms - received_ms_ >= static_cast<int64_t>(task.start_within_ms());
  }
  bool exhausted() const { return next_.load(std::memory_order_relaxed) >= size_; }

 private:
  std::unique_ptr<uint64_t[]> bytes_;
  const wire::Tasks* tasks_;
  std::unique_ptr<Item[]> items_;
  size_t size_ = 0;
  const int64_t received_ms_;
  std::atomic<size_t> next_{0};
};

class Pool {
 public:
  // `wake` is called from handler threads when outcomes wait.
  Pool(int concurrency, HandlerMap handlers, std::function<void()> wake);
  // As Shutdown(0).
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // RESOURCE_EXHAUSTED when the system gives no thread.
  absl::Status Start();

  void Push(std::shared_ptr<Batch> batch);
  // Attempts start only until this mono time; a later one lets them go on.
  void SetStartsUntil(int64_t mono_ms);

  // Appends what ended since the last call.
  void TakeEnded(std::vector<Ended>* out);
  // What attempts have said and written since the last call, also those that have ended. Called after
  // TakeEnded it has all that those said which that returned.
  bool has_notes() const;
  std::vector<Note> TakeNotes();
  // Attempts that run now, with their start.
  struct RunningAttempt {
    LeaseId lease;
    int64_t started_ms;
  };
  void ObserveRunning(std::vector<RunningAttempt>* out);

  // Tasks that were to start since the last call when it was too late for them: they did not.
  std::vector<LeaseId> TakeLate();

  // Takes back at most `count` unstarted tasks, the last pushed first.
  std::vector<LeaseId> Withdraw(size_t count);
  // Takes back those of `leases` that have not started.
  std::vector<LeaseId> TakeBack(std::span<const LeaseId> leases);
  // Takes back those that have not started and returns them; tells the others to end.
  // One that is just about to start is told by a later ObserveRunning.
  std::vector<LeaseId> Cancel(std::span<const CancelOrder> orders);

  // Waits until all handlers have returned, at most `wait_ms`; leaves the others to themselves.
  // Nothing starts any more. Returns how many were left.
  int Shutdown(int64_t wait_ms);

 private:
  struct State;
  struct Slot;
  static void Run(const std::shared_ptr<State>& state, Slot* slot);

  const std::shared_ptr<State> state_;
  std::vector<std::thread> threads_;
  absl::flat_hash_map<LeaseId, ErrorCode> cancel_later_;  // why
};

}  // namespace zsched::worker
