// `zsched-ctl submit`: its flags and what they mean together.
#include "base/check.h"
#include "client/ctl/context.h"
#include "client/ctl/submit_job.h"
#include "client/ctl/task_flags.h"

namespace zsched::ctl {
namespace {

constexpr int64_t kMaxCount = 1'000'000'000;

struct SubmitFlags {
  TaskFlags task;
  std::optional<std::string> each_line;
  std::optional<uint64_t> count;
  std::optional<int64_t> delay_ms;
  std::optional<std::string> at;
  std::optional<std::string> start_by;
  std::string key;
  bool wait = false;
};

absl::Status Usage(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

// Rules between flags that no single flag can check.
absl::Status CheckTogether(const SubmitFlags& flags) {
  if (flags.each_line && flags.task.payload)
    return Usage("with --each-line each line is the payload; leave --payload out");
  if (flags.each_line && flags.count) return Usage("give --count or --each-line, not both");
  const bool many = flags.each_line || flags.count.value_or(1) > 1;
  if (!flags.key.empty() && many && (flags.key.find("{}") == std::string::npos || !flags.each_line))
    return Usage(
        "a key names one task: with --each-line put {} into --key, which stands for the line");
  if (flags.delay_ms && flags.at) return Usage("give --delay or --at, not both");
  if (flags.task.start_within_ms != 0 && flags.start_by)
    return Usage("give --start-within or --start-by, not both");
  return absl::OkStatus();
}

absl::StatusOr<SubmitPlan> MakePlan(const SubmitFlags& flags,
                                    const std::optional<std::vector<std::string>>& argv) {
  ZS_RETURN_IF_ERROR(CheckTogether(flags));
  ZS_ASSIGN_OR_RETURN(TaskSpec task, MakeTask(flags.task, argv));
  task.delay_ms = static_cast<uint64_t>(flags.delay_ms.value_or(0));
  task.key = flags.key;
  if (flags.at) {
    ZS_ASSIGN_OR_RETURN(task.run_at_ms, ParseTimeMs(*flags.at));
  }
  if (flags.start_by) {
    ZS_ASSIGN_OR_RETURN(task.start_by_ms, ParseTimeMs(*flags.start_by));
  }
  return SubmitPlan{.task = std::move(task),
                    .count = flags.count.value_or(1),
                    .each_line = flags.each_line,
                    .argv = argv,
                    .wait = flags.wait};
}

void AddOptions(Flags& command, SubmitFlags* flags) {
  AddTaskOptions(command, &flags->task);
  command.Number("--count", &flags->count, "Submit the task so many times", 1, kMaxCount);
  command.Text("--each-line", &flags->each_line,
               "Make a task of each line that is not empty: the line is the payload, or takes the "
               "place of {} in the command",
               "FILE|-");
  command.Duration("--delay", &flags->delay_ms, "Run it so much later", 0,
                   static_cast<int64_t>(kMaxDelayMs));
  command.Text("--at", &flags->at, "Run it at this time, such as 2026-11-21T08:00:00Z", "RFC3339");
  command.Text("--start-by", &flags->start_by,
               "It is dead with EXPIRED unless an attempt begins before this time", "RFC3339");
  command.Text("--key", &flags->key,
               "Idempotency key: while a task with it is known, submitting it again gives its id",
               "KEY");
  command.Switch("--wait", &flags->wait, "Wait until all are finished and print them");
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
