// `zsched-ctl events`: what has happened, as the broker's log tells it, and what happens.
#include <poll.h>

#include <charconv>
#include <cstdio>

#include "base/text.h"
#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

constexpr int kFollowEveryMs = 250;
constexpr size_t kKindWidth = 16;  // the longest is "schedule_removed"

struct EventFlags {
  std::string after, kinds, queue, type, task;
  std::optional<uint64_t> limit;
  bool follow = false;
};

std::vector<std::string> KindNames() {
  std::vector<std::string> names;
  for (int kind = 0; kind < kEventKinds; ++kind)
    names.emplace_back(NameOf(static_cast<EventKind>(kind)));
  return names;
}

absl::StatusOr<std::vector<EventKind>> ParseKinds(const std::string& text) {
  std::vector<EventKind> kinds;
  const std::vector<std::string> names = KindNames();
  for (std::string_view rest = text; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view name = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      return Error(ErrorCode::kInvalidArgument, "--kind: there is no event '" + std::string(name) +
                                                    "'; see zsched-ctl events --help");
    kinds.push_back(static_cast<EventKind>(found - names.begin()));
  }
  return kinds;
}

absl::StatusOr<EventPosition> ReadPosition(const std::string& text) {
  const std::optional<EventPosition> position = ParsePosition(text);
  if (!position)
    return Error(ErrorCode::kInvalidArgument,
                 "--after: '" + text +
                     "' is no position; give one that `events` printed, such as 812 or 812.3");
  return *position;
}

std::string Details(const Event& event) {
  std::string text;
  auto add = [&text](const std::string& words) { text += (text.empty() ? "" : ", ") + words; };
  if (!event.name.empty()) add(event.name);
  if (event.parent) add("after " + ToString(event.parent));
  if (event.kind == EventKind::kProgress) add(std::to_string(event.percent) + "%");
  if (!event.message.empty()) add(event.message);
  if (event.count != 0) {
    const std::string count = std::to_string(event.count);
    if (event.kind == EventKind::kEpoch) add("epoch " + count);
    if (event.kind == EventKind::kOutput) add(count + " bytes");
    if (event.kind == EventKind::kTicked) add(count + (event.count == 1 ? " tick" : " ticks"));
    if (event.kind == EventKind::kPruned || event.kind == EventKind::kMerged)
      add(count + (event.count == 1 ? " task" : " tasks"));
  }
  if (event.attempt != 0) add("attempt " + std::to_string(event.attempt));
  if (!event.worker.empty()) add("at " + event.worker);
  if (event.error != ErrorCode::kOk)
    add(std::string(TextOf(event.error)) + ": " + event.error_message);
  return text;
}

Color ColorOf(EventKind kind) {
  switch (kind) {
    case EventKind::kSucceeded:
      return Color::kGreen;
    case EventKind::kFailed:
    case EventKind::kReturned:
    case EventKind::kWorkerGone:
      return Color::kYellow;
    case EventKind::kDead:
      return Color::kRed;
    case EventKind::kStarted:
    case EventKind::kProgress:
      return Color::kBlue;
    default:
      return Color::kNone;
  }
}

class EventsJob {
 public:
  EventsJob(const Context& context, EventQuery query, bool follow, std::optional<uint64_t> limit)
      : context_(context),
        query_(std::move(query)),
        follow_(follow),
        left_(limit.value_or(UINT64_MAX)),
        stream_(context.form(), "events") {}

  int Run() {
    absl::StatusOr<std::unique_ptr<Client>> client = context_.Connect();
    if (!client.ok()) return context_.Fail(client.status());
    if (absl::Status status = context_.NoteStale(**client); !status.ok())
      return context_.Fail(status);
    CatchInterrupts();
    while (left_ > 0) {
      query_.limit = static_cast<size_t>(std::min<uint64_t>(left_, kMaxEventLimit));
      absl::StatusOr<EventPage> page = (*client)->Events(query_);
      if (Interrupted()) return Leave();
      // The broker may be away for longer than a request waits: the place in its log stays good.
      const bool later = follow_ && !page.ok() && IsRetryable(CodeOf(page.status()));
      if (later) context_.Note(std::string(MessageOf(page.status())) + "; asks again");
      if (!page.ok() && !later) return context_.Fail(page.status());
      if (page.ok()) Show(*page);
      if (std::fflush(stdout) != 0) break;
      const bool end = later || page->complete();
      if (end && !follow_) break;
      if (end && left_ > 0) poll(nullptr, 0, kFollowEveryMs);
      if (Interrupted()) return Leave();
    }
    Finish();
    return FinishOutput();
  }

 private:
  void Show(const EventPage& page) {
    if (page.trimmed && query_.from != EventPosition{})
      context_.Note("the log is not kept from " + PositionText(query_.from) +
                    " on; goes on behind " + PositionText(page.next));
    for (const Event& event : page.events) {
      stream_.Add(EventJson(event), "");
      if (context_.form() == Form::kTable) Print(Line(event));
    }
    left_ -= std::min<uint64_t>(left_, page.events.size());
    query_.from = page.next;
  }

  std::string Line(const Event& event) const {
    std::string kind(NameOf(event.kind));
    kind.resize(kKindWidth, ' ');
    std::string text =
        FormatTimeMs(event.at_ms) + "  " + Colored(kind, ColorOf(event.kind), context_.colors());
    if (event.task) text += " " + ToString(event.task);
    if (!event.queue.empty()) text += " " + Printable(event.queue) + "/" + Printable(event.type);
    if (const std::string details = Details(event); !details.empty())
      text += " " + Printable(details);
    return text + "  [" + std::to_string(event.lsn.value()) + "." + std::to_string(event.index) +
           "]\n";
  }

  void Finish() { stream_.Finish("\"next\":" + Quote(PositionText(query_.from))); }
  int Leave() {
    Finish();
    std::fflush(stdout);
    return kExitInterrupted;
  }

  const Context& context_;
  EventQuery query_;
  const bool follow_;
  uint64_t left_;
  ItemStream stream_;
};

int Events(const Context& context, const EventFlags& flags) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  EventQuery query{.queue = flags.queue, .type = flags.type};
  absl::StatusOr<std::vector<EventKind>> kinds = ParseKinds(flags.kinds);
  if (!kinds.ok()) return context.Usage(MessageOf(kinds.status()));
  query.kinds = *std::move(kinds);
  if (!flags.task.empty()) {
    absl::StatusOr<std::vector<TaskId>> ids = ParseIds({flags.task});
    if (!ids.ok()) return context.Usage(MessageOf(ids.status()));
    query.task = ids->front();
  }
  if (flags.follow) query.from = kEventsFromNow;
  if (!flags.after.empty()) {
    absl::StatusOr<EventPosition> from = ReadPosition(flags.after);
    if (!from.ok()) return context.Usage(MessageOf(from.status()));
    query.from = *from;
  }
  return EventsJob(context, std::move(query), flags.follow, flags.limit).Run();
}

}  // namespace

void AddEvents(Context& context, Actions& actions) {
  Flags& command = context.flags().Command("events", "Show what has happened, or follow it");
  auto flags = std::make_shared<EventFlags>();
  command.Switch("--follow", &flags->follow,
                 "Go on with what happens; without --after from now on");
  command.Text("--after", &flags->after, "Only what came behind that position", "POSITION");
  command.Text("--kind", &flags->kinds, "Only events of these kinds", "KIND,...");
  command.Text("--queue", &flags->queue, "Only events of tasks of this queue", "QUEUE");
  command.Text("--type", &flags->type, "Only events of tasks of this type", "TYPE");
  command.Text("--task", &flags->task, "Only events of this task", "ID");
  command.Number("--limit", &flags->limit, "End after so many", 1, UINT32_MAX);
  std::string kinds, line = "Kinds:";
  for (const std::string& name : KindNames()) {
    if (line.size() + name.size() > 90) kinds += line + "\n", line.clear();
    line += (line.empty() ? "" : " ") + name;
  }
  command.Notes(kinds + line +
                ".\nThe broker keeps the latest part of its log (--keep-log): older events are "
                "gone. The position of\n"
                "an event is in brackets; it is the same at both brokers of a pair, and good after "
                "a failover.");
  command.Example("zsched-ctl events --follow --kind dead,failed");
  command.Example("zsched-ctl events --task 4-17");
  command.Example("zsched-ctl events --after 812.3 -o jsonl");
  actions["events"] = [&context, flags] { return Events(context, *flags); };
}

}  // namespace zsched::ctl
