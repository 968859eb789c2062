// What a task handler is given and what it returns. Part of the worker SDK (zsched/worker.h); also
// what the built-in executors are written against.
//
// Example:
//   zsched::TaskResult Resize(zsched::TaskContext& task) {
//     auto image = Decode(task.payload());
//     if (!image) return zsched::TaskResult(zsched::Error(zsched::ErrorCode::kInvalidArgument, "not a JPEG")).DoNotRetry();
//     if (task.cancelled()) return zsched::Error(zsched::ErrorCode::kCancelled, "stopped half-way");
//     return zsched::TaskResult::Ok(Encode(*image), "image/jpeg");
//   }
//
// Threads: a context belongs to the thread that runs the handler. cancelled(), cancel_reason(),
// cancelled_fd(), WaitCancelled(), Progress(), Checkpoint(), Log() and Write() may also be used by
// threads that the handler starts and joins.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "schemas/errors.h"
#include "schemas/ids.h"
#include "schemas/limits.h"
#include "schemas/output_stream.h"

namespace zsched {

// The task that this one follows in a chain.
struct ParentTask {
  TaskId id{};
  std::string_view state{};  // "succeeded", "dead", "cancelled"
  // The rest is there only when this task was to be passed it (pass_result).
  bool passed = false;
  std::string_view result{};  // of a success
  std::string_view content_type{};
  ErrorCode error = ErrorCode::kOk;  // of any other end
  std::string_view error_message{};
};

// One attempt at one task. Every view lives until the handler returns.
class TaskContext {
 public:
  virtual ~TaskContext() = default;

  virtual TaskId task_id() const = 0;
  // The fencing token: larger for every later attempt, never used twice. Hand it to systems that
  // take effects, so that they can refuse those of an attempt that has been replaced.
  virtual LeaseId lease_id() const = 0;
  virtual std::string_view type() const = 0;
  virtual std::string_view queue() const = 0;
  virtual std::string_view payload() const = 0;
  virtual std::string_view content_type() const = 0;  // as submitted; often empty
  virtual int attempt() const = 0;                    // from 1
  virtual int max_attempts() const = 0;
  virtual int64_t submitted_at_ms() const = 0;  // Unix time
  // As submitted; empty when the task has none.
  virtual std::string_view correlation_id() const = 0;
  virtual std::string_view traceparent() const = 0;  // W3C trace context
  // nullopt when it follows none.
  virtual std::optional<ParentTask> parent() const = 0;
  // The value of a label; nullopt when the task has none of that key.
  virtual std::optional<std::string_view> label(std::string_view key) const = 0;
  virtual std::vector<std::pair<std::string_view, std::string_view>> labels() const = 0;

  // What an earlier attempt left by Checkpoint(), on whichever worker; empty: nothing.
  virtual std::string_view checkpoint() const = 0;
  // Leaves `bytes` for the next attempt, instead of what there was: it is recorded before this
  // attempt's end is, also when the broker is away for a while, but not when this process dies within
  // a fraction of a second. TOO_LARGE over kMaxCheckpointBytes: what there was stays.
  virtual absl::Status Checkpoint(std::string_view bytes) = 0;
  // Says how far this attempt is: 0 to 100 (beyond is cut), and a message of which
  // kMaxProgressMessageBytes are kept. Cheap enough for an inner loop; people see the latest, some
  // five times a second.
  virtual void Progress(int percent, std::string_view message = {}) = 0;

  // Adds a line to the attempt's log, which `zsched-ctl task logs` shows while it runs and for as
  // long as the task is kept. A line feed is added where there is none.
  void Log(std::string_view line) {
    std::string text(line);
    if (text.empty() || text.back() != '\n') text += '\n';
    Write(OutputStream::kLog, text);
  }
  // Adds bytes as they are, to any stream. Of all that an attempt writes the last kOutputPages pages
  // of kOutputPageBytes are kept (64 KiB); of what is written faster than some MiB/s parts are
  // missing. Recorded before the attempt's end, as a checkpoint is.
  virtual void Write(OutputStream stream, std::string_view bytes) = 0;

  // When this attempt times out. It is then cancelled, counts as failed with ATTEMPT_TIMED_OUT
  // whatever the handler returns, and is tried again under the task's rules.
  virtual std::chrono::steady_clock::time_point deadline() const = 0;

  // The attempt is to end as soon as possible: it timed out, its task was cancelled, the broker took
  // it away, or the worker is being stopped. Cheap enough for an inner loop. Never becomes false
  // again.
  virtual bool cancelled() const = 0;
  // Why, for a handler that has more to do when nobody will try again: CANCELLED, the task is
  // cancelled for good, and ends as that whatever the handler returns; ATTEMPT_TIMED_OUT; STALE, the
  // lease was taken away; UNAVAILABLE, the worker is being stopped. OK: not cancelled().
  virtual ErrorCode cancel_reason() const = 0;
  // A descriptor that becomes readable when cancelled() becomes true, for poll(). Owned by the
  // worker: do not read, write or close it. -1 when the process has no descriptor left.
  virtual int cancelled_fd() = 0;
  // Sleeps until `duration` has passed or cancelled(); returns cancelled().
  virtual bool WaitCancelled(std::chrono::milliseconds duration) = 0;
};

// How an attempt ended.
class [[nodiscard]] TaskResult {
 public:
  enum class Retry : uint8_t { kDefault, kAfter, kNever };

  // Success. `result` of at most kMaxResultBytes (1 MiB; a larger one becomes the failure
  // TOO_LARGE), `content_type` of at most kMaxContentTypeBytes.
  static TaskResult Ok(std::string result = {}, std::string content_type = {}) {
    TaskResult ok;
    ok.result_ = std::move(result);
    ok.content_type_ = std::move(content_type);
    return ok;
  }
  // Failure, or success without a result for an OK status. The code of zsched::Error() is kept, the
  // message is cut at kMaxErrorMessageBytes (4096). Tried again under the task's rules.
  TaskResult(absl::Status status) : status_(std::move(status)) {}  // NOLINT: implicit on purpose

  // Advice for a failure; ignored for a success. The next attempt starts no earlier than `delay`
  // after this one, instead of the task's back-off.
  TaskResult RetryAfter(std::chrono::milliseconds delay) && {
    retry_ = Retry::kAfter;
    retry_after_ = delay < delay.zero() ? delay.zero() : delay;
    return std::move(*this);
  }
  // The task is dead at once: trying again cannot help.
  TaskResult DoNotRetry() && {
    retry_ = Retry::kNever;
    return std::move(*this);
  }

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  const std::string& result() const { return result_; }
  const std::string& content_type() const { return content_type_; }
  Retry retry() const { return retry_; }
  std::chrono::milliseconds retry_after() const { return retry_after_; }

  // The strings, moved out.
  std::string TakeResult() { return std::move(result_); }
  std::string TakeContentType() { return std::move(content_type_); }

 private:
  TaskResult() = default;

  absl::Status status_;
  std::string result_;
  std::string content_type_;
  Retry retry_ = Retry::kDefault;
  std::chrono::milliseconds retry_after_{0};
};

// Called from several threads at once. An exception that leaves it is a failed attempt
// (HANDLER_FAILED with what()).
using TaskHandler = std::function<TaskResult(TaskContext&)>;

}  // namespace zsched
