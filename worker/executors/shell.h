// The executor of task type `shell`: runs one program. Despite its name it starts no shell unless
// the argv says so. Owned by worker/executors.
//
//   payload  {"argv":["prog","arg"…], "env":{"K":"V"}, "cwd":"/dir", "stdin":"text", "no_retry_exit_codes":[2,64]}
//            all but argv may be absent (a string that is not UTF-8 is {"base64":"…"})
//            "stdin_from":"parent" in place of stdin: the result, or error message, of the task that this one
//            follows, if it was passed (pass_result); otherwise the attempt fails without retry
//   result   {"exit_code":0, "stdout":"…", "stderr":"…"}                                  application/json
//            output that is not UTF-8 is {"base64":"…"}; what was cut adds "stdout_truncated":true, "stderr_truncated":true
//   failure  PROCESS_FAILED with exit code or signal and the end of stderr, without retry for the exit codes named;
//            INVALID_ARGUMENT, without retry, for a payload that is not the above
//
// argv[0] is looked up in PATH (the payload's, else the worker's) when it has no slash. The
// environment is the worker's PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_*, TZ and TMPDIR, then the
// payload's, then ZSCHED_TASK_ID, ZSCHED_ATTEMPT and ZSCHED_LEASE_ID, and for a task that follows another
// ZSCHED_PARENT_ID and ZSCHED_PARENT_STATE (succeeded, dead, cancelled). process.h says how the processes
// are ended.
//
// Threads: as Executor.
#pragma once

#include <bitset>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/executors/executor.h"

namespace zsched::worker {

inline constexpr size_t kMaxArguments = 4096;
inline constexpr size_t kMaxEnvironment = 1024;
// Linux refuses a longer single argument or variable (MAX_ARG_STRLEN, 32 pages).
inline constexpr size_t kMaxArgumentBytes = (128 << 10) - 1;

inline constexpr int kMaxExitCode = 255;  // what a process can exit with

std::unique_ptr<Executor> MakeShellExecutor(const ExecutorOptions& options);

struct ShellCommand {
  std::vector<std::string> argv;  // at least one, the first not empty
  std::vector<std::pair<std::string, std::string>> env;
  std::string cwd;  // empty, or absolute
  std::string stdin_text;
  std::bitset<kMaxExitCode + 1> no_retry_exit_codes;  // a program that exits so is not run again
  bool stdin_from_parent = false;
};
// INVALID_ARGUMENT names the field.
absl::StatusOr<ShellCommand> ParseShellCommand(std::string_view payload);

}  // namespace zsched::worker
