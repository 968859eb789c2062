// The flags that say what a task is, for commands that make one: `submit`, `cron add`. Owned by
// zsched-ctl.
//
// Example:
//   auto flags = std::make_shared<TaskFlags>();
//   AddTaskOptions(command, flags.get());
//   absl::StatusOr<TaskSpec> task = MakeTask(*flags, command.rest());
//
// Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "zsched/types.h"

namespace zsched::ctl {

struct TaskFlags {
  std::string queue = kDefaultQueue;
  std::optional<std::string> type, payload;
  int priority = kDefaultPriority;
  uint32_t max_attempts = 0;  // 0: what the broker has for it
  uint32_t timeout_ms = 0;
  bool at_most_once = false;
  uint64_t start_within_ms = 0;  // 0: it may begin at any time
  std::vector<std::string> labels;
  std::string concurrency_key, fairness_key, correlation_id, traceparent;
  std::vector<std::string> on_success, on_failure, on_complete;  // JSON or @FILE
};

// And a program after "--".
void AddTaskOptions(Flags& command, TaskFlags* flags);

// `argv`: what stood after "--". INVALID_ARGUMENT: flags that do not go together, a payload that
// cannot be read; TOO_LARGE.
absl::StatusOr<TaskSpec> MakeTask(const TaskFlags& flags,
                                  const std::optional<std::vector<std::string>>& argv);

}  // namespace zsched::ctl
