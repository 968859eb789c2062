// /tasks/{id}/logs: what attempts wrote, as a page or as a stream that follows them.
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/gateway/sse.h"
#include "client/json/json.h"

namespace zsched::gateway {
namespace {

// How soon a stream sees what was written, and that a task has ended.
constexpr int64_t kFollowMs = 300;

struct LogQuery {
  TaskId id;
  uint32_t attempt = 0;  // 0: the last
  uint64_t from = 0;
};

absl::StatusOr<LogQuery> ReadLogQuery(const Request& request) {
  LogQuery log;
  ZS_ASSIGN_OR_RETURN(log.id, IdOf(request));
  Query query(request);
  log.attempt = static_cast<uint32_t>(query.Number("attempt", 0, 0, UINT16_MAX));
  log.from = query.Number("from", 0, 0, UINT64_MAX);
  ZS_RETURN_IF_ERROR(query.Finish());
  return log;
}

std::string PageJson(TaskId id, const TaskOutput& page) {
  std::vector<std::string> pieces;
  for (const OutputPiece& piece : page.pieces)
    pieces.push_back(OutputPieceJson(page.attempt, piece));
  return absl::StrCat("{\"id\":\"", ToString(id), "\",\"attempt\":", page.attempt,
                      ",\"last_attempt\":", page.last_attempt,
                      ",\"running\":", page.running ? "true" : "false",
                      ",\"finished\":", page.finished ? "true" : "false",
                      ",\"end_offset\":", page.end_offset, ",\"output\":", JsonList(pieces), "}");
}

// Attempt after attempt, until the task is over; or one attempt, until it is.
void Follow(Client& client, LogQuery log, Sink& sink) {
  const bool one = log.attempt != 0;
  SseWriter out(sink);
  for (;;) {
    const absl::StatusOr<TaskOutput> page = client.Logs(log.id, log.attempt, log.from);
    if (!page.ok()) {
      out.Event("error", ErrorJson(page.status()));
      return;
    }
    for (const OutputPiece& piece : page->pieces)
      if (!out.Event("output", OutputPieceJson(page->attempt, piece))) return;
    log.from = page->end_offset;
    log.attempt = page->attempt;
    if (!page->running && page->attempt != 0 && page->last_attempt > page->attempt && !one) {
      log.attempt = page->attempt + 1;
      log.from = 0;
      continue;
    }
    if (page->finished || (one && !page->running && page->attempt != 0)) {
      out.Event("end", absl::StrCat("{\"attempt\":", page->attempt, "}"));
      return;
    }
    if (!out.Beat(kFollowMs)) return;
  }
}

Reply Logs(const Backend& backend, const Request& request) {
  const absl::StatusOr<LogQuery> log = ReadLogQuery(request);
  if (!log.ok()) return ProblemReply(log.status(), request);
  if (!request.Accepts(kEventStream)) {
    const absl::StatusOr<TaskOutput> page = backend.client.Logs(log->id, log->attempt, log->from);
    return page.ok() ? JsonReply(200, PageJson(log->id, *page))
                     : ProblemReply(page.status(), request);
  }
  // A task that is not there is told as every error is, not as a stream.
  const absl::StatusOr<TaskOutput> there = backend.client.Logs(log->id, log->attempt, log->from);
  if (!there.ok()) return ProblemReply(there.status(), request);
  return StreamReply(backend, request, [client = &backend.client, log = *log](Sink& sink) {
    Follow(*client, log, sink);
  });
}

}  // namespace

void AddLogRoutes(std::vector<Route>& routes) {
  routes.push_back({Method::kGet,
                    "/api/v1/tasks/{id}/logs",
                    Logs,
                    "taskLogs",
                    "tasks",
                    "What an attempt wrote; as text/event-stream, followed to the end of the task",
                    {{"attempt", "Which attempt; default: the last",
                      R"({"type":"integer","minimum":0,"maximum":65535})"},
                     {"from", "Offset to begin at", R"({"type":"integer","minimum":0})"}},
                    {},
                    {{200, "What is kept of it", "Logs"}}});
}

}  // namespace zsched::gateway
