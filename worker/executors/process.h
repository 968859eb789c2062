// Runs one program as a process group of its own and brings all of it to an end. Owned by
// worker/executors. Linux only.
//
//   spawn ──▶ running ──leader exits──▶ SIGKILL to the rest of the group, read what is left ──▶ done
//                │ cancelled                     ▲
//                └─▶ SIGTERM to the group ─grace─▶ SIGKILL to the group
//
// What it promises: no shell; no descriptor of this process but the three pipes; signal mask and
// dispositions reset; the environment given and nothing else; stdin fed and both outputs read at
// the same time, so neither side can block the other for ever; the leader dies with the thread that
// runs it, hence with this process. What it does not: a descendant that leaves the group (setsid,
// daemon) is not found again. It outlives the attempt, and its hold on an output pipe is waited for
// only kDrainMs. When this process is killed with SIGKILL, only the leader is sure to go with it.
// Contain more with a container or a cgroup around the worker.
//
// Example:
//   ProcessSpec spec{.program = "/bin/echo", .argv = {"echo", "hi"}, .environment = {"PATH=/bin"}};
//   absl::StatusOr<ProcessEnd> end = RunProcess(spec, context);
//
// Threads: any number at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "zsched/task.h"

namespace zsched::worker {

// How long output is still read after the leader has exited and its group was killed.
inline constexpr int64_t kDrainMs = 500;
// The end of an output stream that is kept beside its beginning, for messages.
inline constexpr size_t kTailBytes = 2048;

struct ProcessSpec {
  std::string program;                   // path; a relative one is relative to `directory`
  std::vector<std::string> argv;         // argv[0] is what the program is told it is called
  std::vector<std::string> environment;  // "KEY=VALUE"
  std::string directory;                 // empty: that of this process
  std::string_view input;                // what it reads from stdin
  int64_t grace_ms = 0;
  size_t max_output_bytes = 0;  // of each stream
};

struct CapturedOutput {
  std::string head;        // the first max_output_bytes
  std::string tail;        // the last kTailBytes
  bool truncated = false;  // there was more than `head`
};

struct ProcessEnd {
  int exit_code = -1;  // -1: ended by `signal`
  int signal = 0;
  bool cancelled = false;  // it was told to end before it did
  CapturedOutput output;
  CapturedOutput error;
};

// PROCESS_FAILED when the program cannot be started, with the reason; `*try_again` says whether the
// reason may pass (no memory, no descriptor) or not (no such program). Does not throw.
absl::StatusOr<ProcessEnd> RunProcess(const ProcessSpec& spec, TaskContext& context,
                                      bool* try_again);

}  // namespace zsched::worker
