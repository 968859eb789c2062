#include "client/ctl/task_flags.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "base/check.h"
#include "base/text.h"
#include "client/ctl/context.h"
#include "client/json/json.h"
#include "client/json/read.h"

namespace zsched::ctl {
namespace {

constexpr char kShellType[] = "shell";

absl::Status Usage(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

// Reads to the end, but no further than a payload may be long.
absl::StatusOr<std::string> ReadPayload(const std::string& path) {
  std::string text(kMaxPayloadBytes + 1, '\0');
  std::FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (file != nullptr) text.resize(std::fread(text.data(), 1, text.size(), file));
  bool failed = file == nullptr || std::ferror(file) != 0;
  int error = errno;
  if (file != nullptr && file != stdin) std::fclose(file);
  if (failed) return Usage("the payload '" + path + "' cannot be read: " + std::strerror(error));
  if (text.size() > kMaxPayloadBytes)
    return Error(ErrorCode::kTooLarge, "the payload '" + path + "' is longer than " +
                                           std::to_string(kMaxPayloadBytes) + " bytes");
  return text;
}

// TEXT, @FILE or -.
absl::StatusOr<std::string> PayloadOf(const std::string& argument) {
  if (argument == "-") return ReadPayload("-");
  if (argument.starts_with("@")) return ReadPayload(argument.substr(1));
  return argument;
}

// Of a flag that may be given several times.
absl::Status AddTemplates(const char* name, const std::vector<std::string>& arguments,
                          std::vector<TaskSpec>* to) {
  for (const std::string& argument : arguments) {
    ZS_ASSIGN_OR_RETURN(const std::string text, PayloadOf(argument));
    ZS_ASSIGN_OR_RETURN(std::vector<TaskSpec> templates, ParseTemplates(name, text));
    std::move(templates.begin(), templates.end(), std::back_inserter(*to));
  }
  return absl::OkStatus();
}

// Rules between flags that no single flag can check.
absl::Status CheckTogether(const TaskFlags& flags,
                           const std::optional<std::vector<std::string>>& argv) {
  if (argv && argv->empty()) return Usage("a command must follow '--'");
  if (argv && flags.payload) return Usage("give --payload or a command after '--', not both");
  if (argv && flags.type && *flags.type != kShellType)
    return Usage("a command after '--' makes a task of type shell, not '" + *flags.type + "'");
  if (!argv && !flags.type) return Usage("--type is required, unless a command follows '--'");
  return absl::OkStatus();
}

}  // namespace

void AddTaskOptions(Flags& command, TaskFlags* flags) {
  command.Text("--queue", &flags->queue, "Queue to put the task into", "QUEUE");
  command.Text("--type", &flags->type, "Type of the task, which decides who runs it", "TYPE");
  command.Text("--payload", &flags->payload, "The payload, @FILE to read it, or - for stdin",
               "TEXT|@FILE|-");
  command.Number("--priority", &flags->priority, "0..9, 9 first", 0, kPriorities - 1);
  command
      .Number("--max-attempts", &flags->max_attempts, "Attempts before the task is dead", 1,
              kMaxMaxAttempts)
      .default_text = std::to_string(kDefaultMaxAttempts);
  command
      .Duration("--timeout", &flags->timeout_ms, "Time that one attempt may take", 1, kMaxTimeoutMs)
      .default_text = FormatDurationMs(kDefaultTimeoutMs);
  command
      .Duration("--start-within", &flags->start_within_ms,
                "It is dead with EXPIRED unless an attempt begins before so much has passed", 1,
                static_cast<int64_t>(kMaxDelayMs))
      .default_text = "none";
  command.Switch("--at-most-once", &flags->at_most_once,
                 "Never begin a second attempt; what is lost or fails is dead");
  command.Texts("--label", &flags->labels, "Label of the task", "KEY=VALUE");
  command.Text("--concurrency-key", &flags->concurrency_key,
               "Tasks of the queue with it share its key-max-running and key-rate", "KEY");
  command.Text("--fairness-key", &flags->fairness_key,
               "The queue's tasks take turns between these, such as customers", "KEY");
  command.Text("--correlation-id", &flags->correlation_id,
               "Goes with the task to its worker and into queries", "ID");
  command.Text("--traceparent", &flags->traceparent, "W3C trace context, likewise", "TRACEPARENT");
  command.Texts("--on-success", &flags->on_success,
                "Template, or list of them, of tasks that follow when it has succeeded",
                "JSON|@FILE");
  command.Texts("--on-failure", &flags->on_failure, "Likewise, when it is dead", "JSON|@FILE");
  command.Texts("--on-complete", &flags->on_complete,
                "Likewise, when it is over at all, cancelled too", "JSON|@FILE");
  command.AcceptRest("PROGRAM ARG...");
}

absl::StatusOr<TaskSpec> MakeTask(const TaskFlags& flags,
                                  const std::optional<std::vector<std::string>>& argv) {
  ZS_RETURN_IF_ERROR(CheckTogether(flags, argv));
  TaskSpec task;
  task.queue = flags.queue;
  task.type = argv ? kShellType : *flags.type;
  task.priority = flags.priority;
  task.max_attempts = flags.max_attempts;
  task.timeout_ms = flags.timeout_ms;
  task.start_within_ms = flags.start_within_ms;
  if (flags.at_most_once) task.delivery = Delivery::kAtMostOnce;
  task.concurrency_key = flags.concurrency_key;
  task.fairness_key = flags.fairness_key;
  task.correlation_id = flags.correlation_id;
  task.traceparent = flags.traceparent;
  for (const std::string& text : flags.labels) {
    ZS_ASSIGN_OR_RETURN(Label label, ParseLabel(text));
    task.labels.push_back(std::move(label));
  }
  ZS_RETURN_IF_ERROR(AddTemplates("on_success", flags.on_success, &task.on_success));
  ZS_RETURN_IF_ERROR(AddTemplates("on_failure", flags.on_failure, &task.on_failure));
  ZS_RETURN_IF_ERROR(AddTemplates("on_complete", flags.on_complete, &task.on_complete));
  if (argv) {
    task.content_type = "application/json";
    task.payload = ShellPayload(*argv);
  } else if (flags.payload) {
    ZS_ASSIGN_OR_RETURN(task.payload, PayloadOf(*flags.payload));
  }
  return task;
}

}  // namespace zsched::ctl
