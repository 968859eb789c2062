#include "worker/server/attempt_log.h"

#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace zsched::worker {
namespace {

constexpr int64_t kSecondMs = 1000;

}  // namespace

TaskHandler AttemptLog::Wrap(TaskHandler handler) {
  return [this, handler = std::move(handler)](TaskContext& task) { return Run(handler, task); };
}

TaskResult AttemptLog::Run(const TaskHandler& handler, TaskContext& task) {
  const bool all = LogEnabled(Level::kDebug);
  const SessionId session(session_.load(std::memory_order_relaxed));
  if (all)
    Log(Level::kDebug, "attempt begins",
        {{"task", ToString(task.task_id())},
         {"attempt", task.attempt()},
         {"lease", ToString(task.lease_id())},
         {"session", ToString(session)},
         {"type", task.type()},
         {"queue", task.queue()},
         {"correlation_id", task.correlation_id()}});
  const int64_t begun_ms = all ? SystemNow().mono_ms : 0;
  TaskResult result = handler(task);
  if (!result.ok() && LogEnabled(Level::kWarn)) Failed(task, result);
  if (all && result.ok())
    Log(Level::kDebug, "attempt succeeded",
        {{"task", ToString(task.task_id())},
         {"attempt", task.attempt()},
         {"session", ToString(session)},
         {"correlation_id", task.correlation_id()},
         {"ms", SystemNow().mono_ms - begun_ms}});
  return result;
}

void AttemptLog::Failed(TaskContext& task, const TaskResult& result) {
  const std::optional<uint64_t> left_out = TakeLine(SystemNow().mono_ms);
  if (!left_out) return;
  if (*left_out > 0)
    Log(Level::kWarn, "more attempts failed than there are lines for", {{"attempts", *left_out}});
  Log(Level::kWarn, "attempt failed",
      {{"task", ToString(task.task_id())},
       {"attempt", task.attempt()},
       {"lease", ToString(task.lease_id())},
       {"session", ToString(SessionId(session_.load(std::memory_order_relaxed)))},
       {"type", task.type()},
       {"queue", task.queue()},
       {"correlation_id", task.correlation_id()},
       {"code", TextOf(CodeOf(result.status()))},
       {"error", MessageOf(result.status())}});
}

// Two threads may both begin a second; then it has a few lines more.
std::optional<uint64_t> AttemptLog::TakeLine(int64_t mono_ms) {
  const int64_t second = mono_ms / kSecondMs;
  if (second_.exchange(second, std::memory_order_relaxed) != second)
    lines_.store(0, std::memory_order_relaxed);
  if (lines_.fetch_add(1, std::memory_order_relaxed) < kFailureLines)
    return left_out_.exchange(0, std::memory_order_relaxed);
  left_out_.fetch_add(1, std::memory_order_relaxed);
  return std::nullopt;
}

}  // namespace zsched::worker
