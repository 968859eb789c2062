// `zsched-ctl submit`: its flags and what they mean together.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "client/ctl/context.h"
#include "client/ctl/json.h"
#include "client/ctl/submit_job.h"

namespace zsched::ctl {
namespace {

constexpr char kShellType[] = "shell";
constexpr int64_t kMaxCount = 1'000'000'000;

struct SubmitFlags {
  std::string queue = kDefaultQueue;
  std::optional<std::string> type, payload, each_line;
  std::optional<uint64_t> count;
  int priority = kDefaultPriority;
  std::optional<int64_t> delay_ms;
  std::optional<std::string> at;
  uint32_t max_attempts = 0;  // 0: what the broker has for it
  uint32_t timeout_ms = 0;
  std::string key;
  std::vector<std::string> labels;
  bool wait = false;
};

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

// Rules between flags that no single flag can check.
absl::Status CheckTogether(const SubmitFlags& flags,
                           const std::optional<std::vector<std::string>>& argv) {
  if (argv && argv->empty()) return Usage("a command must follow '--'");
  if (argv && flags.payload) return Usage("give --payload or a command after '--', not both");
  if (argv && flags.type && *flags.type != kShellType)
    return Usage("a command after '--' makes a task of type shell, not '" + *flags.type + "'");
  if (!argv && !flags.type) return Usage("--type is required, unless a command follows '--'");
  if (flags.each_line && flags.payload)
    return Usage("with --each-line each line is the payload; leave --payload out");
  if (flags.each_line && flags.count) return Usage("give --count or --each-line, not both");
  const bool many = flags.each_line || flags.count.value_or(1) > 1;
  if (!flags.key.empty() && many && (flags.key.find("{}") == std::string::npos || !flags.each_line))
    return Usage(
        "a key names one task: with --each-line put {} into --key, which stands for the line");
  if (flags.delay_ms && flags.at) return Usage("give --delay or --at, not both");
  return absl::OkStatus();
}

absl::StatusOr<SubmitPlan> MakePlan(const SubmitFlags& flags,
                                    const std::optional<std::vector<std::string>>& argv) {
  ZS_RETURN_IF_ERROR(CheckTogether(flags, argv));
  SubmitPlan plan{.count = flags.count.value_or(1),
                  .each_line = flags.each_line,
                  .argv = argv,
                  .wait = flags.wait};
  TaskSpec& task = plan.task;
  task.queue = flags.queue;
  task.type = argv ? kShellType : *flags.type;
  task.priority = flags.priority;
  task.delay_ms = static_cast<uint64_t>(flags.delay_ms.value_or(0));
  task.max_attempts = flags.max_attempts;
  task.timeout_ms = flags.timeout_ms;
  task.key = flags.key;
  if (flags.at) {
    ZS_ASSIGN_OR_RETURN(task.run_at_ms, ParseTimeMs(*flags.at));
  }
  for (const std::string& text : flags.labels) {
    ZS_ASSIGN_OR_RETURN(Label label, ParseLabel(text));
    task.labels.push_back(std::move(label));
  }
  if (argv) {
    task.content_type = "application/json";
    task.payload = ShellPayload(*argv);
  } else if (flags.payload) {
    ZS_ASSIGN_OR_RETURN(task.payload, PayloadOf(*flags.payload));
  }
  return plan;
}

void AddOptions(Flags& command, SubmitFlags* flags) {
  command.Text("--queue", &flags->queue, "Queue to put the task into", "QUEUE");
  command.Text("--type", &flags->type, "Type of the task, which decides who runs it", "TYPE");
  command.Text("--payload", &flags->payload, "The payload, @FILE to read it, or - for stdin",
               "TEXT|@FILE|-");
  command.Number("--count", &flags->count, "Submit the task so many times", 1, kMaxCount);
  command.Text("--each-line", &flags->each_line,
               "Make a task of each line that is not empty: the line is the payload, or takes the "
               "place of {} in the command",
               "FILE|-");
  command.Number("--priority", &flags->priority, "0..9, 9 first", 0, kPriorities - 1);
  command.Duration("--delay", &flags->delay_ms, "Run it so much later", 0,
                   static_cast<int64_t>(kMaxDelayMs));
  command.Text("--at", &flags->at, "Run it at this time, such as 2026-11-21T08:00:00Z", "RFC3339");
  command
      .Number("--max-attempts", &flags->max_attempts, "Attempts before the task is dead", 1,
              kMaxMaxAttempts)
      .default_text = std::to_string(kDefaultMaxAttempts);
  command
      .Duration("--timeout", &flags->timeout_ms, "Time that one attempt may take", 1, kMaxTimeoutMs)
      .default_text = FormatDurationMs(kDefaultTimeoutMs);
  command.Text("--key", &flags->key,
               "Idempotency key: while a task with it is known, submitting it again gives its id",
               "KEY");
  command.Texts("--label", &flags->labels, "Label of the task", "KEY=VALUE");
  command.Switch("--wait", &flags->wait, "Wait until all are finished and print them");
  command.AcceptRest("PROGRAM ARG...");
}

}  // namespace

void AddSubmit(Context& context, Actions& actions) {
  Flags& command = context.flags().Command("submit", "Submit one task or many");
  auto flags = std::make_shared<SubmitFlags>();
  AddOptions(command, flags.get());
  command.Notes(
      "A program after `--` makes tasks of type shell, which workers started with\n"
      "`--enable shell` run without a shell in between. With --each-line every {} in it is\n"
      "replaced by the line (without any {} the line is added at the end), as xargs and GNU\n"
      "parallel do it. With --wait, -o jsonl prints each task as soon as it is finished.");
  command.Example("zsched-ctl submit --type echo --payload hello --wait");
  command.Example("zsched-ctl submit --type resize --payload @job.json --priority 9 --delay 5m");
  command.Example("find . -type f | zsched-ctl submit --each-line - --wait -- sha256sum {}");
  command.Example("zsched-ctl submit --type noop --count 1000 -o id");
  actions["submit"] = [&context, &command, flags] {
    absl::StatusOr<SubmitPlan> plan = MakePlan(*flags, command.rest());
    if (!plan.ok() && CodeOf(plan.status()) == ErrorCode::kInvalidArgument)
      return context.Usage(MessageOf(plan.status()));
    if (!plan.ok()) return context.Fail(plan.status());
    return SubmitJob(context, *std::move(plan)).Run();
  };
}

}  // namespace zsched::ctl
