// Commands that do one thing to each of the tasks that are named. Owned by zsched-ctl.
//
// Example:
//   constexpr ItemCommand kRetry{&Client::Retry, " task is ready again", " tasks are ready again"};
//   return RunItems(context, kRetry, {"4-17", "4-18"});
//
// Threads: the main thread.
#pragma once

#include <string>
#include <vector>

#include "client/ctl/context.h"

namespace zsched::ctl {

struct ItemCommand {
  absl::StatusOr<std::vector<ItemResult>> (Client::*run)(std::span<const TaskId> ids);
  const char *one_done, *many_done;  // behind the number of tasks for which it worked
};

// The exit code: of the first task for which it did not work, 0 when it did for all.
int RunItems(const Context& context, const ItemCommand& command,
             const std::vector<std::string>& texts);

}  // namespace zsched::ctl
