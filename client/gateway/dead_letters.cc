// /dlq: tasks whose attempts are spent.
#include <charconv>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/json/json.h"
#include "client/json/read.h"

namespace zsched::gateway {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxIds = 10'000;
// A request retries or deletes for so long; what is left is told, and the same request goes on with it.
constexpr int64_t kJobMs = 20'000;
constexpr int64_t kMaxAgeMs = int64_t{10} * 366 * 24 * 3600 * 1000;
constexpr double kMicro = 1e6;

// 16 hexadecimal digits. 0 is no fingerprint: it would stand for all of them.
bool ParseFingerprint(std::string_view text, uint64_t* to) {
  if (text.size() != 16) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *to, 16);
  return error == std::errc() && end == text.data() + text.size() && *to != 0;
}

DeadFilter ReadFilter(Query& query) {
  DeadFilter filter;
  filter.queue = query.Text("queue");
  filter.type = query.Text("type");
  filter.error = query.Text("error");
  filter.older_than_ms = query.DurationMs("older_than", 0, kMaxAgeMs);
  const std::string fingerprint = query.Text("fingerprint");
  if (!fingerprint.empty() && !ParseFingerprint(fingerprint, &filter.fingerprint))
    query.Refuse("fingerprint", "is not what a group or a dead task has as its fingerprint");
  return filter;
}

Reply List(const Backend& backend, const Request& request) {
  Query query(request);
  DeadQuery dead;
  dead.filter = ReadFilter(query);
  dead.limit = query.Number("limit", kDefaultListLimit, 1, kMaxListLimit);
  dead.cursor = query.Number("cursor", 0, 0, UINT64_MAX);
  dead.omit_bodies = query.Switch("omit_bodies");
  if (const absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<DeadPage> page = backend.client.DeadLetters(dead);
  if (!page.ok()) return ProblemReply(page.status(), request);
  std::vector<std::string> tasks;
  const Bodies bodies = dead.omit_bodies ? Bodies::kOmitted : Bodies::kThere;
  for (const TaskInfo& task : page->tasks) tasks.push_back(TaskJson(task, bodies));
  const std::string next =
      page->next_cursor == 0 ? "null" : absl::StrCat("\"", page->next_cursor, "\"");
  return JsonReply(200,
                   absl::StrCat("{\"tasks\":", JsonList(tasks), ",\"next_cursor\":", next, "}"));
}

std::string GroupsJson(const std::vector<DeadGroup>& groups) {
  std::vector<std::string> documents;
  for (const DeadGroup& group : groups) documents.push_back(DeadGroupJson(group));
  return JsonList(documents);
}

Reply Groups(const Backend& backend, const Request& request) {
  Query query(request);
  const DeadFilter filter = ReadFilter(query);
  if (const absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<std::vector<DeadGroup>> groups = backend.client.DeadGroups(filter);
  return groups.ok() ? JsonReply(200, absl::StrCat("{\"groups\":", GroupsJson(*groups), "}"))
                     : ProblemReply(groups.status(), request);
}

// What a body asks to be done: to some ids, or to all that a filter takes.
struct Job {
  std::vector<TaskId> ids;
  bool all = false, dry_run = false;
  DeadFilter filter;
  uint64_t rate_micro = 0;
};

// An empty text would match everything, which nobody means by a variable that is not set.
absl::Status ReadFilterText(const std::string& name, const Json& value, std::string* to) {
  ZS_RETURN_IF_ERROR(ReadText(name, value, to));
  return to->empty() ? BadField(name, "is empty; leave it out to take all") : absl::OkStatus();
}

absl::Status ReadJobField(const std::string& name, const Json& value, Job* job) {
  if (name == "ids") return ReadIds(name, value, kMaxIds, &job->ids);
  if (name == "all") return ReadBool(name, value, &job->all);
  if (name == "dry_run") return ReadBool(name, value, &job->dry_run);
  if (name == "queue") return ReadFilterText(name, value, &job->filter.queue);
  if (name == "type") return ReadFilterText(name, value, &job->filter.type);
  if (name == "error") return ReadFilterText(name, value, &job->filter.error);
  if (name == "fingerprint") {
    std::string text;
    ZS_RETURN_IF_ERROR(ReadText(name, value, &text));
    if (!ParseFingerprint(text, &job->filter.fingerprint))
      return BadField(name, "is not what a group or a dead task has as its fingerprint");
    return absl::OkStatus();
  }
  if (name == "older_than") {
    uint64_t ms = 0;
    ZS_RETURN_IF_ERROR(ReadDurationMs(name, value, static_cast<uint64_t>(kMaxAgeMs), &ms));
    job->filter.older_than_ms = static_cast<int64_t>(ms);
    return absl::OkStatus();
  }
  if (name == "rate") {
    const double rate = value.is_number() ? value.get<double>() : 0;
    if (!(rate >= 1 / kMicro && rate <= kMicro))
      return BadField(name, "is not a number of tasks a second from 0.000001 to 1000000");
    job->rate_micro = static_cast<uint64_t>(rate * kMicro);
    return absl::OkStatus();
  }
  return BadField(name,
                  "unknown field; there are ids, or all with queue, type, error, fingerprint, "
                  "older_than, dry_run and rate");
}

absl::StatusOr<Job> ReadJob(const Request& request) {
  ZS_ASSIGN_OR_RETURN(const Json body, JsonBody(request));
  if (!body.is_object()) return BadField("", "give an object with ids, or with all");
  Job job;
  for (const auto& [name, value] : body.items())
    ZS_RETURN_IF_ERROR(ReadJobField(name, value, &job));
  if (job.ids.empty() == !job.all) return BadField("", "give ids, or \"all\":true, and not both");
  if (!job.ids.empty() && body.size() > 1) return BadField("ids", "nothing else goes with it");
  return job;
}

Reply Preview(const Backend& backend, const Request& request, const Job& job) {
  const absl::StatusOr<std::vector<DeadGroup>> groups = backend.client.DeadGroups(job.filter);
  if (!groups.ok()) return ProblemReply(groups.status(), request);
  uint64_t matched = 0;
  for (const DeadGroup& group : *groups) matched += group.tasks;
  return JsonReply(200, absl::StrCat("{\"dry_run\":true,\"matched\":", matched,
                                     ",\"groups\":", GroupsJson(*groups), "}"));
}

using ItemCall = absl::StatusOr<std::vector<ItemResult>> (Client::*)(std::span<const TaskId>);
using WalkCall = absl::StatusOr<DeadProgress> (Client::*)(const DeadFilter&, const DeadJob&);

template <ItemCall kItems, WalkCall kWalk>
Reply Run(const Backend& backend, const Request& request, std::string_view done) {
  const absl::StatusOr<Job> job = ReadJob(request);
  if (!job.ok()) return ProblemReply(job.status(), request);
  if (!job->all) {
    const absl::StatusOr<std::vector<ItemResult>> items = (backend.client.*kItems)(job->ids);
    return items.ok() ? JsonReply(200, ItemsJson(*items)) : ProblemReply(items.status(), request);
  }
  if (job->dry_run) return Preview(backend, request, *job);
  const WaitingRoom::Place place = backend.waiting.Enter();
  if (!place) return ProblemReply(NoPlace(), request);
  const int64_t end_ms = SystemNow().mono_ms + kJobMs;
  bool complete = true;
  const absl::StatusOr<DeadProgress> progress = (backend.client.*kWalk)(
      job->filter, {.rate_micro = job->rate_micro, .go_on = [&](const DeadProgress&) {
                      complete = SystemNow().mono_ms < end_ms;
                      return complete;
                    }});
  if (!progress.ok()) return ProblemReply(progress.status(), request);
  return JsonReply(200, absl::StrCat("{\"", std::string(done), "\":", progress->done,
                                     ",\"passed\":", progress->passed,
                                     ",\"complete\":", complete ? "true" : "false", "}"));
}

Reply Retry(const Backend& backend, const Request& request) {
  return Run<&Client::Retry, &Client::RetryDead>(backend, request, "retried");
}

Reply Delete(const Backend& backend, const Request& request) {
  return Run<&Client::DeleteDead, &Client::PurgeDead>(backend, request, "deleted");
}

template <ItemCall kCall>
Reply One(const Backend& backend, const Request& request) {
  const absl::StatusOr<TaskId> id = IdOf(request);
  if (!id.ok()) return ProblemReply(id.status(), request);
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<std::vector<ItemResult>> items = (backend.client.*kCall)(std::span(&*id, 1));
  const absl::Status status = items.ok() ? items->at(0).status : items.status();
  return status.ok() ? JsonReply(200, ItemJson(items->at(0))) : ProblemReply(status, request);
}

}  // namespace

void AddDeadRoutes(std::vector<Route>& routes) {
  const std::vector<ParameterDoc> filter = {
      {"queue", "Of this queue"},
      {"type", "Of this type"},
      {"error", "With this text somewhere in CODE: message"},
      {"fingerprint", "Of this group"},
      {"older_than", "Dead for longer", R"({"$ref":"#/components/schemas/Duration"})"}};
  std::vector<ParameterDoc> paged = filter;
  paged.push_back({"limit", "Tasks in one page",
                   R"({"type":"integer","minimum":1,"maximum":1000,"default":100})"});
  paged.push_back({"cursor", "next_cursor of the page before"});
  paged.push_back(kOmitBodies);
  const std::vector<ReplyDoc> item = {{200, "It was done", "Item"}};
  routes.insert(routes.end(),
                {{Method::kGet,
                  "/api/v1/dlq",
                  List,
                  "listDeadLetters",
                  "dead letters",
                  "Dead tasks, the oldest death first",
                  paged,
                  {},
                  {{200, "A page; it may be short, or empty, before the end", "TaskPage"}}},
                 {Method::kGet,
                  "/api/v1/dlq/groups",
                  Groups,
                  "groupDeadLetters",
                  "dead letters",
                  "Dead tasks by the error they died of, the largest group first",
                  filter,
                  {},
                  {{200, "The groups", "GroupList"}}},
                 {Method::kPost,
                  "/api/v1/dlq/retry",
                  Retry,
                  "retryDeadLetters",
                  "dead letters",
                  "Retry dead tasks by id, or all that a filter takes",
                  {},
                  "DeadJob",
                  {{200, "What was done, or with dry_run would be", "DeadResult"}}},
                 {Method::kPost,
                  "/api/v1/dlq/delete",
                  Delete,
                  "deleteDeadLetters",
                  "dead letters",
                  "Delete dead tasks by id, or all that a filter takes",
                  {},
                  "DeadJob",
                  {{200, "What was done, or with dry_run would be", "DeadResult"}}},
                 {Method::kPost,
                  "/api/v1/dlq/{id}/retry",
                  One<&Client::Retry>,
                  "retryDeadLetter",
                  "dead letters",
                  "Retry a dead task",
                  {},
                  {},
                  item},
                 {Method::kDelete,
                  "/api/v1/dlq/{id}",
                  One<&Client::DeleteDead>,
                  "deleteDeadLetter",
                  "dead letters",
                  "Delete a dead task",
                  {},
                  {},
                  item}});
}

}  // namespace zsched::gateway
