// Tasks that ended while a command waits for them: taken from the client's callbacks, printed by
// the main thread with everything the broker knows about them. Owned by zsched-ctl.
//
// Results are not kept between the two, they are fetched again in batches: a reader of stdout that
// is slower than the workers then costs a few dozen bytes a task, not its results.
//
// Example:
//   EndedTasks ended([&] { wake the main thread });
//   options.on_outcomes = [&](std::span<Outcome> all) { ended.Push(all); };
//   while (...) ended.PrintSome(*client, writer);
//
// Threads: Push from the client's thread, the rest from the main thread.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <string>

#include "client/ctl/output.h"
#include "zsched/client.h"

namespace zsched::ctl {

class EndedTasks {
 public:
  struct Counts {
    uint64_t ended = 0;
    uint64_t failed = 0;   // of these, did not succeed
    uint64_t missing = 0;  // of these, do not exist
    uint64_t queued = 0;   // of these, not printed yet
  };

  // `wake` is called after each Push, on its thread.
  explicit EndedTasks(std::function<void()> wake) : wake_(std::move(wake)) {}

  void Push(std::span<Outcome> outcomes);
  Counts counts() const;
  // Prints up to one query's worth; returns false when there was nothing to print. While the broker
  // is away it goes on asking; CANCELLED after Ctrl-C, other errors are the broker's.
  absl::StatusOr<bool> PrintSome(Client& client, TaskWriter& writer);

 private:
  struct Ended {
    TaskId id;
    TaskState state;
    uint32_t attempt;
    ErrorCode error;
    std::string error_message;
  };

  static TaskInfo InfoOf(const Ended& task);
  std::deque<Ended> Take(size_t most);

  std::function<void()> wake_;
  mutable std::mutex mutex_;
  Counts counts_;            // guarded by mutex_
  std::deque<Ended> queue_;  // guarded by mutex_
};

}  // namespace zsched::ctl
