// /events: what has happened, read from the log of the brokers: a page, or a stream that goes on.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/clock.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/gateway/sse.h"
#include "client/json/json.h"

namespace zsched::gateway {
namespace {

// How soon a stream tells what has happened. An answer without events costs the broker next to nothing.
constexpr int64_t kFollowMs = 200;
// While there is no broker to ask.
constexpr int64_t kUnavailableMs = 1000;
constexpr int64_t kMinStatsMs = 500, kMaxStatsMs = 60'000;
constexpr uint64_t kMaxRate = 1'000'000;
constexpr int64_t kSecondMs = 1000;
// How old the place may be from which a reader of few events comes again.
constexpr int64_t kPlaceMs = 10'000;

struct StreamQuery {
  EventQuery events;
  int64_t stats_ms = 0;  // 0: no figures
  uint64_t rate = 0;     // events a second at most; 0: all
};

void ReadKinds(const std::string& text, Query& query, std::vector<EventKind>* kinds) {
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(text, ',', absl::SkipEmpty()))) {
    int kind = 0;
    while (kind < kEventKinds && NameOf(static_cast<EventKind>(kind)) != name) ++kind;
    if (kind == kEventKinds)
      return query.Refuse("kind", absl::StrCat("has '", name, "', which is no kind of event"));
    kinds->push_back(static_cast<EventKind>(kind));
  }
}

// Where it begins: behind the event that this reader saw last, at `after`, or at `otherwise`.
EventPosition ReadPosition(const Request& request, Query& query, EventPosition otherwise) {
  const std::string after = query.Text("after");
  const std::string last(request.Header("last-event-id"));
  const std::string& text = last.empty() ? after : last;
  if (text.empty()) return otherwise;
  if (text == "now") return kEventsFromNow;
  const std::optional<EventPosition> position = ParsePosition(text);
  if (!position) query.Refuse("after", "is neither 'now' nor the position of an event");
  return position.value_or(otherwise);
}

absl::StatusOr<StreamQuery> ReadStreamQuery(const Request& request, bool stream) {
  Query query(request);
  StreamQuery read;
  EventQuery& events = read.events;
  events.from = ReadPosition(request, query, stream ? kEventsFromNow : EventPosition{});
  ReadKinds(query.Text("kind"), query, &events.kinds);
  events.queue = query.Text("queue");
  events.type = query.Text("type");
  if (const std::string task = query.Text("task"); !task.empty()) {
    const std::optional<TaskId> id = ParseId<TaskId>(task);
    if (!id) query.Refuse("task", "is not an id such as 4-17");
    events.task = id.value_or(TaskId());
  }
  if (stream) {
    read.stats_ms = query.DurationMs("stats", 0, kMaxStatsMs);
    if (read.stats_ms != 0) read.stats_ms = std::max(read.stats_ms, kMinStatsMs);
    read.rate = query.Number("rate", 0, 1, kMaxRate);
  } else {
    events.limit = query.Number("limit", kDefaultEventLimit, 1, kMaxEventLimit);
  }
  ZS_RETURN_IF_ERROR(query.Finish());
  return read;
}

// One reader's stream. Keeps its place, its share of a second, and when figures are due.
class EventStream {
 public:
  EventStream(const Backend& backend, StreamQuery query, Sink& sink)
      : backend_(backend), query_(std::move(query)), out_(sink) {
    query_.events.limit = kMaxEventLimit;
  }

  // Figures come behind a look at the log: who has seen the first ones hears of all that is done from then on.
  void Run() {
    while (SendEvents() && SendStats()) {
    }
  }

 private:
  static int64_t MonoMs() { return SystemNow().mono_ms; }

  bool SendStats() {
    if (query_.stats_ms == 0 || MonoMs() < stats_due_ms_) return true;
    stats_due_ms_ = MonoMs() + query_.stats_ms;
    const absl::StatusOr<StatusInfo> status = ClusterStatus(backend_);
    return !status.ok() || out_.Event("stats", StatusJson(*status));
  }

  bool SendEvents() {
    const absl::StatusOr<EventPage> page = backend_.client.Events(query_.events);
    if (!page.ok())
      return out_.Event("unavailable", ErrorJson(page.status())) && out_.Beat(kUnavailableMs);
    if (page->trimmed && !out_.Event("trimmed", NextJson(page->next), PositionText(page->next)))
      return false;
    for (const Event& event : page->events) {
      if (!HasShare()) return JumpAhead();
      const EventPosition behind{Lsn(event.lsn.value() - 1), event.index + 1};
      if (!out_.Event(NameOf(event.kind), EventJson(event), PositionText(behind))) return false;
      query_.events.from = told_ = behind;
    }
    query_.events.from = page->next;
    return KeepPlace() && (!page->complete() || out_.Beat(Pause()));
  }

  // A reader that was told of nothing for a while, or of nothing yet, comes again from here all the same.
  bool KeepPlace() {
    const bool first = told_ == kEventsFromNow;
    if (!first && (MonoMs() < place_due_ms_ || told_ == query_.events.from)) return true;
    told_ = query_.events.from;
    place_due_ms_ = MonoMs() + kPlaceMs;
    return out_.Place(PositionText(told_));
  }

  static std::string NextJson(const EventPosition& next) {
    return absl::StrCat("{\"next\":\"", PositionText(next), "\"}");
  }

  int64_t Pause() const {
    if (query_.stats_ms == 0) return kFollowMs;
    return std::clamp<int64_t>(stats_due_ms_ - MonoMs(), 1, kFollowMs);
  }

  bool HasShare() {
    if (query_.rate == 0) return true;
    if (MonoMs() - second_ms_ >= kSecondMs) {
      second_ms_ = MonoMs();
      sent_ = 0;
    }
    return sent_++ < query_.rate;
  }

  // More has happened than this reader wants to hear of: on to what comes next, after a while.
  bool JumpAhead() {
    EventQuery now = query_.events;
    now.from = kEventsFromNow;
    if (!out_.Beat(std::max<int64_t>(1, second_ms_ + kSecondMs - MonoMs()))) return false;
    const absl::StatusOr<EventPage> end = backend_.client.Events(now);
    if (!end.ok()) return true;
    query_.events.from = end->next;
    return out_.Event("skipped", NextJson(end->next), PositionText(end->next));
  }

  const Backend backend_;
  StreamQuery query_;
  SseWriter out_;
  EventPosition told_ = kEventsFromNow;  // what the reader would come again with
  int64_t place_due_ms_ = 0;
  int64_t stats_due_ms_ = 0;
  int64_t second_ms_ = 0;
  uint64_t sent_ = 0;
};

Reply EventPageReply(const Backend& backend, const Request& request, const EventQuery& query) {
  const absl::StatusOr<EventPage> page = backend.client.Events(query);
  if (!page.ok()) return ProblemReply(page.status(), request);
  std::vector<std::string> events;
  for (const Event& event : page->events) events.push_back(EventJson(event));
  return JsonReply(200, absl::StrCat("{\"events\":", JsonList(events), ",\"next\":\"",
                                     PositionText(page->next), "\",\"last\":", page->last.value(),
                                     ",\"complete\":", page->complete() ? "true" : "false",
                                     ",\"trimmed\":", page->trimmed ? "true" : "false", "}"));
}

Reply Events(const Backend& backend, const Request& request) {
  const bool stream = request.Accepts(kEventStream);
  const absl::StatusOr<StreamQuery> query = ReadStreamQuery(request, stream);
  if (!query.ok()) return ProblemReply(query.status(), request);
  if (!stream) return EventPageReply(backend, request, query->events);
  return StreamReply(backend, request, [backend, query = *query](Sink& sink) {
    EventStream(backend, query, sink).Run();
  });
}

}  // namespace

void AddEventRoutes(std::vector<Route>& routes) {
  routes.push_back(
      {Method::kGet,
       "/api/v1/events",
       Events,
       "getEvents",
       "cluster",
       "What has happened, from any position of the kept log on; as text/event-stream, followed",
       {{"after", "Position to go on from, or 'now'; a page begins at the oldest, a stream now"},
        {"kind", "Of these kinds, separated by commas"},
        {"queue", "Of tasks of this queue"},
        {"type", "Of tasks of this type"},
        {"task", "Of this task"},
        {"limit", "Events in one page", R"({"type":"integer","minimum":1})"},
        {"stats", "Of a stream: figures as an event 'stats', so often",
         R"({"$ref":"#/components/schemas/Duration"})"},
        {"rate",
         "Of a stream: at most so many events a second; 'skipped' says that some were left out",
         R"({"type":"integer","minimum":1})"}},
       {},
       {{200, "A page of events", "EventPage"}}});
}

}  // namespace zsched::gateway
