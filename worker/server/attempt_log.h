// A line in the worker's log for each attempt, with what others know it by: task, attempt, lease, session,
// correlation id. Owned by worker/server; part of zsched-worker, not of the SDK.
//
//   WARN  attempt failed  task=4-17 attempt=1 lease=4-99 session=4-3 type=mail queue=default
//                         correlation_id=order-17 code=HANDLER_FAILED error="no route to host"
//
// Attempts that fail are told at level warn, at most kFailureLines a second and a count of the others; those
// that begin and succeed at level debug. Payloads and results are never told.
//
// Example:
//   AttemptLog log;
//   worker->Register("mail", log.Wrap(handler));
//
// Threads: any. It must outlive the handlers.
#pragma once

#include <atomic>
#include <cstdint>

#include "schemas/ids.h"
#include "zsched/task.h"

namespace zsched::worker {

// What a person can make use of; a fleet that fails at full speed writes no more than that.
inline constexpr uint64_t kFailureLines = 100;

class AttemptLog {
 public:
  // The session in which tasks come from now on.
  void SetSession(SessionId session) { session_.store(session.value(), std::memory_order_relaxed); }
  // Runs `handler` and tells of it.
  TaskHandler Wrap(TaskHandler handler);

 private:
  TaskResult Run(const TaskHandler& handler, TaskContext& task);
  void Failed(TaskContext& task, const TaskResult& result);
  // How many lines were left out since the last one; nullopt: leave this one out too.
  std::optional<uint64_t> TakeLine(int64_t mono_ms);

  std::atomic<uint64_t> session_{0};
  std::atomic<int64_t> second_{0};  // of the lines in lines_
  std::atomic<uint64_t> lines_{0};
  std::atomic<uint64_t> left_out_{0};
};

}  // namespace zsched::worker
