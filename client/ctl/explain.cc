// `zsched-ctl task explain`: why a task is not running now, and its place in line.
#include <algorithm>

#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

std::string Until(int64_t until_ms, int64_t now_ms) {
  return " for " + ShortDuration(std::max<int64_t>(0, until_ms - now_ms)) + " more";
}

std::string Since(int64_t since_ms, int64_t now_ms) {
  return " since " + ShortDuration(std::max<int64_t>(0, now_ms - since_ms));
}

std::string Full(const char* what, const WaitCause& cause) {
  std::string text = what;
  text.append(" '").append(cause.name).append("' has ").append(std::to_string(cause.count));
  return text.append(" running, and may have ").append(std::to_string(cause.limit));
}

std::string Named(const char* before, const WaitCause& cause, const char* after) {
  std::string text = before;
  return text.append(" '").append(cause.name).append("' ").append(after);
}

// A line for a person; the next step where there is one.
std::string Tell(const WaitCause& cause, int64_t now_ms) {
  switch (cause.reason) {
    case WaitReason::kDelay:
      return "it was submitted to start later, and waits" + Until(cause.until_ms, now_ms);
    case WaitReason::kRetryWait:
      return "attempt " + std::to_string(cause.count) + " failed; the next one waits" +
             Until(cause.until_ms, now_ms);
    case WaitReason::kRunning:
      return Named("worker", cause, "has it") + Since(cause.since_ms, now_ms);
    case WaitReason::kAtWorker:
      return Named("worker", cause, "has it") + Since(cause.since_ms, now_ms) + ", among " +
             std::to_string(cause.count) + " tasks, and has not said that it began";
    case WaitReason::kCancelling:
      return Named("it is cancelled; worker", cause, "is to end its attempt");
    case WaitReason::kQueuePaused:
      return Named("queue", cause, "is paused: zsched-ctl queue resume ") + cause.name;
    case WaitReason::kTypePaused:
      return Named("type", cause, "is paused: zsched-ctl type set ") + cause.name + " paused=false";
    case WaitReason::kQueueFull:
      return Full("queue", cause);
    case WaitReason::kTypeFull:
      return Full("type", cause);
    case WaitReason::kKeyFull:
      return Full("concurrency key", cause);
    case WaitReason::kQueueRate:
      return Named("queue", cause, "is at its rate") + Until(cause.until_ms, now_ms);
    case WaitReason::kTypeRate:
      return Named("type", cause, "is at its rate") + Until(cause.until_ms, now_ms);
    case WaitReason::kKeyRate:
      return Named("concurrency key", cause, "is at its rate") + Until(cause.until_ms, now_ms);
    case WaitReason::kNoWorker:
      return cause.count == 0 ? "no worker is connected"
                              : "none of the " + std::to_string(cause.count) +
                                    " workers serves its queue and type: zsched-ctl worker list";
    case WaitReason::kNoCredit:
      return "every worker that serves it is busy (" + std::to_string(cause.count) + ")";
    case WaitReason::kUnknown:
      break;
  }
  return "something that this zsched-ctl does not know; it is older than the broker";
}

std::string PlaceInLine(const TaskExplanation& explanation) {
  if (explanation.state != TaskState::kReady) return {};
  std::string text = explanation.ahead_exact ? "" : "at least ";
  text += explanation.ahead == 0 && explanation.ahead_exact ? "nothing"
                                                            : std::to_string(explanation.ahead);
  text += explanation.ahead == 1 ? " task comes before it; " : " comes before it; ";
  return text.append(std::to_string(explanation.ready)).append(" ready in its queue");
}

void PrintExplanation(const Context& context, TaskId id, const TaskExplanation& explanation) {
  const int64_t now_ms = WallMs();
  std::string text = ToString(id) + ": ";
  text += Colored(NameOf(explanation.state), ColorOf(explanation.state), context.colors());
  text += '\n';
  for (const WaitCause& cause : explanation.causes)
    text.append("  ").append(Printable(Tell(cause, now_ms))).append("\n");
  if (const std::string place = PlaceInLine(explanation); !place.empty())
    text.append("  ").append(place).append("\n");
  Print(text);
}

int Explain(const Context& context, const std::string& text) {
  absl::StatusOr<std::vector<TaskId>> ids = ParseIds({text});
  if (!ids.ok()) return context.Usage(MessageOf(ids.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const TaskId id = ids->front();
  absl::StatusOr<TaskExplanation> explanation = (*client)->Explain(id);
  if (!explanation.ok()) return context.Fail(explanation.status());
  if (context.form() == Form::kTable)
    PrintExplanation(context, id, *explanation);
  else
    Print(context.form() == Form::kId ? ToString(id) + "\n"
                                      : ExplanationJson(id, *explanation) + "\n");
  return FinishOutput();
}

}  // namespace

void AddExplain(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("explain", "Say why a task is not running now");
  auto id = std::make_shared<std::string>();
  command.Positional("ID", id.get(), "A task id, such as 4-17");
  command.Notes(
      "Names everything that is in its way now: a delay, a pause, a rate, a bound on what runs,\n"
      "a concurrency key, the lack of a worker or of room at one; and how many tasks of its\n"
      "queue (and its fairness key there) come before it.");
  command.Example("zsched-ctl task explain 4-17");
  command.Example("zsched-ctl task explain 4-17 -o json | jq -r '.reasons[].reason'");
  actions["task explain"] = [&context, id] { return Explain(context, *id); };
}

}  // namespace zsched::ctl
