// The task types of zsched-worker for trials and tests. Owned by worker/server.
//
//   noop    succeeds at once, no result
//   echo    its result is its payload, with the content type
//   sleep   {"ms":N}: succeeds after N ms; ends early when cancelled
//   count   {"to":N,"ms":M}: counts to N, one every M ms, with progress, a line in the log and a checkpoint each time; its result says from
//           where it went on. With "fail_at":K an attempt that comes to K fails there
//   fail    {"times":N,"message":"…"}: attempts 1..N fail with the message, the next one succeeds
// Another payload fails with INVALID_ARGUMENT, without retry.
//
// Threads: the handlers are stateless.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "zsched/task.h"

namespace zsched::worker {

std::vector<std::pair<std::string, TaskHandler>> BuiltinTypes();

}  // namespace zsched::worker
