// What zsched-worker can run besides handlers compiled into a program: one Executor per kind of
// work, each serving the task type of its name, each off until somebody enables it. Owned by
// worker/executors.
//
// Every executor keeps these promises (tests/conformance/executor_test.cc):
//   - a payload that it does not understand fails at once, INVALID_ARGUMENT, without retry, and the message names the field;
//   - when the context is cancelled it ends all that the attempt began and returns, within its grace and a little;
//   - what it keeps of an attempt's output is bounded, and what was cut is marked as cut;
//   - Run is called from many threads at once, and one attempt sees nothing of another or of the worker's own descriptors.
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto executor, MakeExecutor("shell", {}));
//   TaskResult result = executor->Run(context);
//
// Threads: Run from any; an executor outlives its calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "zsched/task.h"

namespace zsched::worker {

struct ExecutorOptions {
  // From asking an attempt's processes to end (SIGTERM) until they are killed. Below
  // kAbandonAfterMs, or the worker gives the attempt up before it has ended.
  int64_t grace_ms = 5'000;
  // Kept of each output stream.
  size_t max_output_bytes = 256 << 10;
};

class Executor {
 public:
  virtual ~Executor() = default;
  // The task type it serves, and its name in --enable.
  virtual std::string_view type() const = 0;
  virtual TaskResult Run(TaskContext& task) = 0;
};

// The executors of this version, in alphabetical order.
std::vector<std::string> ExecutorNames();
// INVALID_ARGUMENT for a name that this version does not have.
absl::StatusOr<std::unique_ptr<Executor>> MakeExecutor(std::string_view name,
                                                       const ExecutorOptions& options);

}  // namespace zsched::worker
