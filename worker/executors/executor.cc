#include "worker/executors/executor.h"

#include "schemas/errors.h"
#include "worker/executors/shell.h"

namespace zsched::worker {

std::vector<std::string> ExecutorNames() { return {"shell"}; }

absl::StatusOr<std::unique_ptr<Executor>> MakeExecutor(std::string_view name,
                                                       const ExecutorOptions& options) {
  if (name == "shell") return MakeShellExecutor(options);
  std::string known;
  for (const std::string& one : ExecutorNames()) known += (known.empty() ? "" : ", ") + one;
  return Error(ErrorCode::kInvalidArgument,
               "unknown executor '" + std::string(name) + "'; this version has: " + known);
}

}  // namespace zsched::worker
