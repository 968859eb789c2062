// `zsched-ctl task history`: what attempts at a task left behind.
#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

Color ColorOf(AttemptEnd end) {
  switch (end) {
    case AttemptEnd::kRunning:
      return Color::kBlue;
    case AttemptEnd::kSucceeded:
      return Color::kGreen;
    case AttemptEnd::kRetried:
    case AttemptEnd::kReturned:
      return Color::kYellow;
    case AttemptEnd::kDead:
    case AttemptEnd::kCancelled:
      return Color::kRed;
  }
  return Color::kNone;
}

// What its worker measured; else the time between lease and end.
std::string TookText(const AttemptInfo& attempt, int64_t now_ms) {
  if (attempt.run_us != 0) return ShortDuration(attempt.run_us / 1000);
  const int64_t until_ms = attempt.ended_at_ms != 0 ? attempt.ended_at_ms : now_ms;
  return ShortDuration(std::max<int64_t>(0, until_ms - attempt.leased_at_ms));
}

void PrintHistory(const Context& context, const TaskHistory& history) {
  const int64_t now_ms = WallMs();
  Table table({{.title = "ATTEMPT", .right = true},
               {.title = "WORKER", .elastic = true},
               {.title = "LEASED"},
               {.title = "TOOK", .right = true},
               {.title = "END"},
               {.title = "ERROR", .elastic = true}});
  for (const AttemptInfo& attempt : history.attempts) {
    const bool failed = attempt.error != ErrorCode::kOk;
    table.Row({{std::to_string(attempt.attempt)},
               {attempt.worker},
               {RelativeTime(attempt.leased_at_ms, now_ms)},
               {TookText(attempt, now_ms)},
               {std::string(NameOf(attempt.end)), ColorOf(attempt.end)},
               {failed ? std::string(TextOf(attempt.error)) + ": " + attempt.error_message : "-"}});
  }
  if (!table.empty()) Print(table.Render(context.width(), context.colors()));
}

int History(const Context& context, const std::string& text) {
  absl::StatusOr<std::vector<TaskId>> ids = ParseIds({text});
  if (!ids.ok()) return context.Usage(MessageOf(ids.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::StatusOr<TaskHistory> history = (*client)->History(ids->front());
  if (!history.ok()) return context.Fail(history.status());
  ItemStream stream(context.form(), "attempts");
  for (const AttemptInfo& attempt : history->attempts)
    stream.Add(AttemptJson(attempt), ToString(attempt.lease));
  stream.Finish("\"id\":" + Quote(ToString(ids->front())) +
                ",\"missing\":" + std::to_string(history->missing));
  if (context.form() == Form::kTable) PrintHistory(context, *history);
  if (history->attempts.empty()) context.Note("no attempt yet");
  if (history->missing > 0)
    context.Note(std::to_string(history->missing) + " attempts after the first are not kept");
  return FinishOutput();
}

}  // namespace

void AddTaskTrails(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("history", "Show every attempt at a task");
  auto id = std::make_shared<std::string>();
  command.Positional("ID", id.get(), "A task id, such as 4-17");
  command.Notes(
      "END: what became of the task then. An attempt that was given back without having run is\n"
      "not shown. Of many attempts the first and the last " +
      std::to_string(kKeptAttempts - 1) + " are kept.");
  command.Example("zsched-ctl task history 4-17");
  command.Example("zsched-ctl task history 4-17 -o jsonl | jq -r .error.code");
  actions["task history"] = [&context, id] { return History(context, *id); };
}

}  // namespace zsched::ctl
