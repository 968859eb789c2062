// /schedules: time schedules, and previews of when expressions fire.
#include <cstring>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/json/json.h"
#include "client/json/read.h"
#include "cron/cron.h"
#include "cron/warnings.h"

namespace zsched::gateway {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kDefaultTimes = 5, kMaxTimes = 1000;
// The rarest surprises that are worth a warning come once a year.
constexpr int64_t kWarnedMs = int64_t{365} * 24 * 3600 * 1000;

// The broker calls two fields by the names that they have on the wire.
absl::Status InJsonsWords(const absl::Status& status) {
  const std::string message = MessageOf(status);
  for (const auto& [wire, json] :
       {std::pair("expression: ", "cron: "), std::pair("zone: ", "tz: ")})
    if (message.starts_with(wire))
      return Error(CodeOf(status), json + message.substr(std::strlen(wire)));
  return status;
}

Reply ScheduleReply(const absl::StatusOr<ScheduleInfo>& schedule, const Request& request,
                    int status = 200) {
  return schedule.ok() ? JsonReply(status, ScheduleJson(*schedule))
                       : ProblemReply(InJsonsWords(schedule.status()), request);
}

Reply List(const Backend& backend, const Request& request) {
  const absl::StatusOr<std::vector<ScheduleInfo>> schedules = backend.client.Schedules();
  if (!schedules.ok()) return ProblemReply(schedules.status(), request);
  std::vector<std::string> documents;
  for (const ScheduleInfo& schedule : *schedules) documents.push_back(ScheduleJson(schedule));
  return JsonReply(200, absl::StrCat("{\"schedules\":", JsonList(documents), "}"));
}

Reply Get(const Backend& backend, const Request& request) {
  return ScheduleReply(backend.client.GetSchedule(request.Arg("name")), request);
}

Reply Create(const Backend& backend, const Request& request) {
  const absl::StatusOr<Json> body = JsonBody(request);
  if (!body.ok()) return ProblemReply(body.status(), request);
  const absl::StatusOr<ScheduleSpec> spec = ReadSchedule(*body);
  if (!spec.ok()) return ProblemReply(spec.status(), request);
  return ScheduleReply(backend.client.SetSchedule(*spec, /*replace=*/false), request, 201);
}

Reply Replace(const Backend& backend, const Request& request) {
  const absl::StatusOr<Json> body = JsonBody(request);
  if (!body.ok()) return ProblemReply(body.status(), request);
  const absl::StatusOr<ScheduleSpec> spec = ReadSchedule(*body, request.Arg("name"));
  if (!spec.ok()) return ProblemReply(spec.status(), request);
  return ScheduleReply(backend.client.SetSchedule(*spec, /*replace=*/true), request);
}

Reply Remove(const Backend& backend, const Request& request) {
  const absl::Status removed = backend.client.RemoveSchedule(request.Arg("name"));
  if (!removed.ok()) return ProblemReply(removed, request);
  Reply reply;
  reply.status = 204;
  return reply;
}

template <bool kPaused>
Reply Pause(const Backend& backend, const Request& request) {
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  return ScheduleReply(backend.client.PauseSchedule(request.Arg("name"), kPaused), request);
}

Reply Trigger(const Backend& backend, const Request& request) {
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<TaskId> task = backend.client.TriggerSchedule(request.Arg("name"));
  if (!task.ok()) return ProblemReply(task.status(), request);
  Reply reply = JsonReply(201, absl::StrCat("{\"id\":\"", ToString(*task), "\"}"));
  reply.headers.emplace_back("Location", absl::StrCat("/api/v1/tasks/", ToString(*task)));
  reply.task = ToString(*task);
  return reply;
}

Reply Backfill(const Backend& backend, const Request& request) {
  const absl::StatusOr<Json> body = JsonBody(request);
  if (!body.ok()) return ProblemReply(body.status(), request);
  if (!body->is_object() || body->size() != 2 || !body->contains("from") || !body->contains("to"))
    return ProblemReply(BadField("", "give an object with from and to"), request);
  int64_t from_ms = 0, to_ms = 0;
  for (const auto& [name, time_ms] : {std::pair("from", &from_ms), std::pair("to", &to_ms)})
    if (const absl::Status bad = ReadTime(name, (*body)[name], time_ms); !bad.ok())
      return ProblemReply(bad, request);
  const absl::StatusOr<std::vector<ItemResult>> items =
      backend.client.BackfillSchedule(request.Arg("name"), from_ms, to_ms);
  return items.ok() ? JsonReply(200, ItemsJson(*items)) : ProblemReply(items.status(), request);
}

Reply Coming(const Request& request, const std::string& expression, const std::string& zone_name,
             int64_t anchor_ms, int64_t from_ms, uint64_t count) {
  const absl::StatusOr<cron::Schedule> schedule = cron::Parse(expression);
  if (!schedule.ok()) return ProblemReply(schedule.status(), request);
  const absl::StatusOr<absl::TimeZone> zone = cron::LoadZone(zone_name);
  if (!zone.ok()) return ProblemReply(zone.status(), request);
  return JsonReply(200, CronNextJson(cron::NextTimes(*schedule, *zone, from_ms, anchor_ms, count),
                                     cron::Warnings(*schedule, *zone, from_ms, kWarnedMs)));
}

// Of an expression that is no schedule yet: @every begins now.
Reply Preview(const Backend&, const Request& request) {
  Query query(request);
  const std::string expression = query.Text("cron");
  const std::string zone = query.TextIfThere("tz").value_or("UTC");
  const uint64_t count = query.Number("count", kDefaultTimes, 1, kMaxTimes);
  const int64_t from_ms = query.TimeMs("from").value_or(SystemNow().wall_ms);
  if (expression.empty()) query.Refuse("cron", "is required");
  if (const absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
  return Coming(request, expression, zone, from_ms, from_ms, count);
}

Reply Next(const Backend& backend, const Request& request) {
  Query query(request);
  const uint64_t count = query.Number("count", kDefaultTimes, 1, kMaxTimes);
  const int64_t from_ms = query.TimeMs("from").value_or(SystemNow().wall_ms);
  if (const absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<ScheduleInfo> schedule = backend.client.GetSchedule(request.Arg("name"));
  if (!schedule.ok()) return ProblemReply(schedule.status(), request);
  return Coming(request, schedule->spec.expression, schedule->spec.zone, schedule->created_at_ms,
                from_ms, count);
}

}  // namespace

void AddScheduleRoutes(std::vector<Route>& routes) {
  const std::vector<ReplyDoc> one = {{200, "The schedule as it is now", "Schedule"}};
  const std::vector<ReplyDoc> next = {{200, "Firings and warnings", "CronNext"}};
  const ParameterDoc count = {"count", "How many",
                              R"({"type":"integer","minimum":1,"maximum":1000,"default":5})"};
  const ParameterDoc from = {"from", "Those after this time; default: now",
                             R"({"type":"string","format":"date-time"})"};
  routes.insert(routes.end(),
                {{Method::kGet,
                  "/api/v1/schedules",
                  List,
                  "listSchedules",
                  "schedules",
                  "All schedules by name",
                  {},
                  {},
                  {{200, "The schedules", "ScheduleList"}}},
                 {Method::kPost,
                  "/api/v1/schedules",
                  Create,
                  "createSchedule",
                  "schedules",
                  "Make a schedule",
                  {},
                  "NewSchedule",
                  {{201, "It is durable", "Schedule"}}},
                 {Method::kGet,
                  "/api/v1/schedules/{name}",
                  Get,
                  "getSchedule",
                  "schedules",
                  "One schedule",
                  {},
                  {},
                  one},
                 {Method::kPut,
                  "/api/v1/schedules/{name}",
                  Replace,
                  "putSchedule",
                  "schedules",
                  "Make a schedule, or take the place of the one of that name",
                  {},
                  "ScheduleBody",
                  one},
                 {Method::kDelete,
                  "/api/v1/schedules/{name}",
                  Remove,
                  "removeSchedule",
                  "schedules",
                  "Remove a schedule; its tasks stay",
                  {},
                  {},
                  {{204, "It is gone"}}},
                 {Method::kPost,
                  "/api/v1/schedules/{name}/pause",
                  Pause<true>,
                  "pauseSchedule",
                  "schedules",
                  "What would fire meanwhile does not fire later",
                  {},
                  {},
                  one},
                 {Method::kPost,
                  "/api/v1/schedules/{name}/resume",
                  Pause<false>,
                  "resumeSchedule",
                  "schedules",
                  "Let it fire again",
                  {},
                  {},
                  one},
                 {Method::kPost,
                  "/api/v1/schedules/{name}/trigger",
                  Trigger,
                  "triggerSchedule",
                  "schedules",
                  "Submit its task now",
                  {},
                  {},
                  {{201, "The task is durable", "Id"}}},
                 {Method::kPost,
                  "/api/v1/schedules/{name}/backfill",
                  Backfill,
                  "backfillSchedule",
                  "schedules",
                  "Submit its task for each tick of a time that has passed",
                  {},
                  "Backfill",
                  {{200, "The task of each tick", "Items"}}},
                 {Method::kGet,
                  "/api/v1/schedules/{name}/next",
                  Next,
                  "nextFirings",
                  "schedules",
                  "When a schedule fires next",
                  {count, from},
                  {},
                  next},
                 {Method::kGet,
                  "/api/v1/cron/next",
                  Preview,
                  "previewCron",
                  "schedules",
                  "When an expression would fire",
                  {{"cron", "The expression", R"({"type":"string"})", true},
                   {"tz", "Time zone by its IANA name", R"({"type":"string","default":"UTC"})"},
                   count,
                   from},
                  {},
                  next}});
}

}  // namespace zsched::gateway
