#include "worker/executors/shell.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "base/check.h"
#include "base/text.h"
#include "schemas/errors.h"
#include "schemas/limits.h"
#include "worker/core/ledger.h"
#include "worker/executors/process.h"

extern char** environ;

namespace zsched::worker {
namespace {

constexpr char kDefaultPath[] = "/usr/local/bin:/usr/bin:/bin";

// What a program may rely on finding; everything else of the worker's environment, secrets that it
// was given among it, stays with the worker.
bool IsInherited(std::string_view key) {
  constexpr std::string_view kKeys[] = {"PATH",  "HOME", "USER", "LOGNAME",
                                        "SHELL", "LANG", "TZ",   "TMPDIR"};
  return key.substr(0, 3) == "LC_" ||
         std::find(std::begin(kKeys), std::end(kKeys), key) != std::end(kKeys);
}

using Environment = std::map<std::string, std::string>;

// Read once, when the executor is made: environ is not safe against a setenv elsewhere.
Environment InheritedEnvironment() {
  Environment inherited;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    size_t equals = text.find('=');
    if (equals == std::string_view::npos || !IsInherited(text.substr(0, equals))) continue;
    inherited[std::string(text.substr(0, equals))] = text.substr(equals + 1);
  }
  inherited.try_emplace("PATH", kDefaultPath);
  return inherited;
}

bool IsExecutable(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

absl::StatusOr<std::string> FindProgram(const std::string& name, std::string_view path) {
  if (name.find('/') != std::string::npos) return name;
  std::string_view rest = path;
  while (!rest.empty()) {
    size_t colon = rest.find(':');
    std::string directory(rest.substr(0, colon));
    rest = colon == std::string_view::npos ? std::string_view() : rest.substr(colon + 1);
    // An empty or relative entry would mean whatever directory this happens to run in.
    if (directory.empty() || directory[0] != '/') continue;
    std::string candidate = directory + "/" + name;
    if (IsExecutable(candidate)) return candidate;
  }
  return Error(ErrorCode::kProcessFailed, "there is no program '" + name + "' in PATH (" +
                                              std::string(path) + ") on this worker");
}

std::vector<std::string> Flatten(const Environment& environment) {
  std::vector<std::string> entries;
  entries.reserve(environment.size());
  for (const auto& [key, value] : environment) entries.push_back(key + "=" + value);
  return entries;
}

// The longest start of `text` that has at most `max_bytes`; text that is UTF-8 stays so.
std::string_view Cut(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  for (int i = 0; i < 3 && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80; ++i)
    --end;
  return text.substr(0, end);
}

// Where the capture stopped in the middle of a character, the character goes.
std::string_view WithoutPartialCharacter(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    size_t need = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return need > back ? text.substr(0, text.size() - back) : text;
  }
  return text;
}

void AddOutput(const char* name, const CapturedOutput& output, size_t max_bytes,
               nlohmann::ordered_json* json) {
  std::string_view text = Cut(output.head, max_bytes);
  bool truncated = output.truncated || text.size() < output.head.size();
  if (truncated) text = WithoutPartialCharacter(text);
  if (IsUtf8(text)) {
    (*json)[name] = text;
  } else {
    (*json)[name]["base64"] = absl::Base64Escape(absl::string_view(text.data(), text.size()));
  }
  if (truncated) (*json)[std::string(name) + "_truncated"] = true;
}

// Escapes can make a JSON string six times as long as what it holds: cut until it fits.
std::string ResultJson(const ProcessEnd& end) {
  for (size_t max_bytes = std::max(end.output.head.size(), end.error.head.size());;
       max_bytes /= 2) {
    nlohmann::ordered_json json;
    json["exit_code"] = end.exit_code;
    AddOutput("stdout", end.output, max_bytes, &json);
    AddOutput("stderr", end.error, max_bytes, &json);
    std::string text = json.dump();
    if (text.size() <= kMaxResultBytes) return text;
  }
}

std::string SignalName(int signal) {
  const char* name = sigabbrev_np(signal);
  return name != nullptr ? std::string("SIG") + name : std::to_string(signal);
}

TaskResult Judge(const ProcessEnd& end, const ShellCommand& command, int64_t grace_ms) {
  if (end.cancelled)
    return Error(ErrorCode::kCancelled,
                 "the attempt was ended: SIGTERM to its process group, SIGKILL after " +
                     FormatDurationMs(grace_ms));
  if (end.exit_code == 0) return TaskResult::Ok(ResultJson(end), "application/json");
  std::string message = end.exit_code > 0 ? "exit code " + std::to_string(end.exit_code)
                        : end.signal != 0 ? "killed by " + SignalName(end.signal)
                                          : "its exit code was taken by other code in the worker";
  if (!end.error.tail.empty()) message += "; stderr ends: " + end.error.tail;
  TaskResult failed = Error(ErrorCode::kProcessFailed, std::move(message));
  const bool is_final =
      end.exit_code > 0 && command.no_retry_exit_codes.test(static_cast<size_t>(end.exit_code));
  return is_final ? std::move(failed).DoNotRetry() : std::move(failed);
}

class ShellExecutor final : public Executor {
 public:
  explicit ShellExecutor(const ExecutorOptions& options)
      : options_(options), inherited_(InheritedEnvironment()) {
    ZS_CHECK(options_.grace_ms >= 0 && options_.grace_ms < kAbandonAfterMs);
  }

  std::string_view type() const override { return "shell"; }

  TaskResult Run(TaskContext& task) override {
    absl::StatusOr<ShellCommand> command = ParseShellCommand(task.payload());
    if (!command.ok()) return TaskResult(command.status()).DoNotRetry();
    if (command->stdin_from_parent)
      if (absl::Status status = TakeFromParent(task, &*command); !status.ok())
        return TaskResult(std::move(status)).DoNotRetry();
    Environment environment = EnvironmentOf(*command, task);
    absl::StatusOr<std::string> program = FindProgram(command->argv[0], environment["PATH"]);
    if (!program.ok()) return TaskResult(program.status()).DoNotRetry();
    ProcessSpec spec{*std::move(program),      std::move(command->argv), Flatten(environment),
                     std::move(command->cwd),  command->stdin_text,      options_.grace_ms,
                     options_.max_output_bytes};
    bool try_again = true;
    absl::StatusOr<ProcessEnd> end = RunProcess(spec, task, &try_again);
    if (end.ok()) return Judge(*end, *command, options_.grace_ms);
    return try_again ? TaskResult(end.status()) : TaskResult(end.status()).DoNotRetry();
  }

 private:
  static absl::Status TakeFromParent(const TaskContext& task, ShellCommand* command) {
    const std::optional<ParentTask> parent = task.parent();
    if (!parent || !parent->passed)
      return Error(ErrorCode::kInvalidArgument,
                   "stdin_from: this task was not passed what another one left (pass_result)");
    command->stdin_text = parent->error == ErrorCode::kOk ? parent->result : parent->error_message;
    return absl::OkStatus();
  }

  Environment EnvironmentOf(const ShellCommand& command, const TaskContext& task) const {
    Environment environment = inherited_;
    for (const auto& [key, value] : command.env) environment[key] = value;
    environment["ZSCHED_TASK_ID"] = ToString(task.task_id());
    environment["ZSCHED_ATTEMPT"] = std::to_string(task.attempt());
    environment["ZSCHED_LEASE_ID"] = ToString(task.lease_id());
    if (const std::optional<ParentTask> parent = task.parent()) {
      environment["ZSCHED_PARENT_ID"] = ToString(parent->id);
      environment["ZSCHED_PARENT_STATE"] = parent->state;
    }
    return environment;
  }

  const ExecutorOptions options_;
  const Environment inherited_;
};

}  // namespace

std::unique_ptr<Executor> MakeShellExecutor(const ExecutorOptions& options) {
  return std::make_unique<ShellExecutor>(options);
}

}  // namespace zsched::worker
