// Templates of tasks that follow a task, as JSON on the command line: an object, or a list of them.
// Owned by zsched-ctl.
//
//   {"type":"notify", "queue":"mail", "payload":"done", "delay":"5m", "pass_result":true}
//   {"argv":["mail","-s","failed","root"], "stdin_from":"parent", "pass_result":true}
//
// The names are those of a task's JSON (docs/cli.md lists them); `argv` makes a task of type shell. A
// name that is none of them is refused, so that nothing is left out by a slip.
//
// Example:
//   absl::StatusOr<std::vector<TaskSpec>> next = ParseTemplates("on_success", text);
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "zsched/types.h"

namespace zsched::ctl {

// INVALID_ARGUMENT names the field, as "on_success[0].queue: …"; `where` begins it.
absl::StatusOr<std::vector<TaskSpec>> ParseTemplates(const std::string& where,
                                                     std::string_view text);

}  // namespace zsched::ctl
