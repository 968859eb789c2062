// /tasks: submitting, looking, waiting, cancelling.
#include <algorithm>
#include <future>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/text.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/json/json.h"
#include "client/json/read.h"

namespace zsched::gateway {
namespace {

using Json = nlohmann::json;

// In one request: about what a body has room for, and ten frames to a broker.
constexpr size_t kMaxRequestTasks = 10'000;
constexpr int64_t kMaxWaitMs = 60'000;
// For a session with a broker, and then for the answer to a submit: a failover is over by then.
constexpr int64_t kBrokerMs = 10'000;

struct Submission {
  std::vector<TaskSpec> tasks;
  bool many = false;
};

// What the headers say of all tasks of a request.
absl::Status TakeHeaders(const Request& request, Submission& submission) {
  const std::string key(request.Header("idempotency-key"));
  const std::string correlation_id(request.Header("x-correlation-id"));
  const std::string traceparent(request.Header("traceparent"));
  for (size_t i = 0; i < submission.tasks.size(); ++i) {
    TaskSpec& task = submission.tasks[i];
    if (!key.empty() && !submission.many && !task.key.empty() && task.key != key)
      return BadField("key", "differs from the Idempotency-Key of the request");
    if (!key.empty() && task.key.empty())
      task.key = submission.many ? absl::StrCat(key, ".", i) : key;
    if (task.correlation_id.empty()) task.correlation_id = correlation_id;
    if (task.traceparent.empty()) task.traceparent = traceparent;
  }
  return absl::OkStatus();
}

absl::StatusOr<Submission> ReadSubmission(const Request& request) {
  ZS_ASSIGN_OR_RETURN(const Json body, JsonBody(request));
  Submission submission;
  submission.many = body.is_array();
  if (!submission.many) {
    ZS_ASSIGN_OR_RETURN(submission.tasks.emplace_back(), ReadTask(body, ""));
  } else if (body.empty() || body.size() > kMaxRequestTasks) {
    return BadField("", absl::StrCat("a list of tasks has 1 to ", kMaxRequestTasks, " of them"));
  }
  for (size_t i = 0; submission.many && i < body.size(); ++i) {
    ZS_ASSIGN_OR_RETURN(submission.tasks.emplace_back(),
                        ReadTask(body[i], absl::StrCat("[", i, "]")));
  }
  ZS_RETURN_IF_ERROR(TakeHeaders(request, submission));
  return submission;
}

// Nothing is handed to the client before there is a broker: what is refused here was not submitted.
absl::StatusOr<BatchAck> SubmitAll(const Backend& backend, const std::vector<TaskSpec>& tasks) {
  if (!backend.connected.load(std::memory_order_relaxed)) {
    const WaitingRoom::Place place = backend.waiting.Enter();
    if (!place) return NoPlace();
    const absl::Status found = backend.client.WaitForBroker(kBrokerMs);
    if (!found.ok())
      return Error(ErrorCode::kUnavailable, absl::StrCat("no active broker: ", MessageOf(found)));
  }
  // The client may answer after this request has given up: it has a share in the promise.
  auto promise = std::make_shared<std::promise<BatchAck>>();
  std::future<BatchAck> answer = promise->get_future();
  ZS_RETURN_IF_ERROR(backend.client.SubmitBatch(
      tasks, [promise](BatchAck ack) { promise->set_value(std::move(ack)); }));
  if (answer.wait_for(std::chrono::milliseconds(kBrokerMs)) != std::future_status::ready)
    return Error(
        ErrorCode::kTimedOut,
        "no broker acknowledged the submit in time; it may still happen. Send it again with "
        "the same Idempotency-Key");
  BatchAck ack = answer.get();
  // The client was closed, or lost its broker for good: what it had handed over may be there.
  for (Rejection& rejection : ack.rejected)
    if (CodeOf(rejection.status) == ErrorCode::kUnavailable)
      rejection.status =
          Error(ErrorCode::kTimedOut,
                absl::StrCat(MessageOf(rejection.status),
                             "; the submit may have happened. Send it again with the "
                             "same Idempotency-Key"));
  return ack;
}

Json AckJson(const BatchAck& ack) {
  Json json = {{"ids", Json::array()},
               {"repeated", ack.repeated},
               {"rejected", Json::array()},
               {"durability", std::string(NameOf(ack.durability))}};
  for (TaskId id : ack.ids) json["ids"].push_back(id ? Json(ToString(id)) : Json(nullptr));
  for (const Rejection& rejection : ack.rejected)
    json["rejected"].push_back({{"index", rejection.index},
                                {"code", std::string(TextOf(CodeOf(rejection.status)))},
                                {"message", MessageOf(rejection.status)}});
  return json;
}

// CONFLICT of a submit is a key that holds another body: the draft of Idempotency-Key has 422 for it.
Reply RefusedSubmit(const absl::Status& status, const Request& request) {
  return CodeOf(status) == ErrorCode::kConflict ? ProblemReply(422, status, request)
                                                : ProblemReply(status, request);
}

// A task in full, as it is now.
Reply TaskReply(const Backend& backend, const Request& request, TaskId id, int status = 200) {
  const absl::StatusOr<TaskInfo> task = backend.client.Get(id);
  if (!task.ok()) return ProblemReply(task.status(), request);
  Reply reply = JsonReply(status, TaskJson(*task));
  reply.task = ToString(id);
  return reply;
}

Reply SubmittedOne(const Backend& backend, const Request& request, const TaskSpec& task,
                   const BatchAck& ack, int64_t wait_ms) {
  if (!ack.rejected.empty()) return RefusedSubmit(ack.rejected[0].status, request);
  const TaskId id = ack.ids[0];
  const bool repeated = !ack.repeated.empty();
  Reply reply;
  const bool over = wait_ms > 0 && AwaitEnd(backend, request, id, wait_ms);
  if (over) reply = TaskReply(backend, request, id, repeated ? 200 : 201);
  // The task is durable, whatever became of the question how it ended.
  if (!over || reply.status >= 400) {
    reply = JsonReply(
        wait_ms > 0 ? 202
        : repeated  ? 200
                    : 201,
        absl::StrCat("{\"id\":\"", ToString(id), "\",\"repeated\":", repeated ? "true" : "false",
                     ",\"durability\":\"", std::string(NameOf(ack.durability)), "\"}"));
  }
  reply.headers.emplace_back("Location", absl::StrCat("/api/v1/tasks/", ToString(id)));
  reply.task = ToString(id);
  reply.correlation_id = task.correlation_id;
  return reply;
}

Reply Submit(const Backend& backend, const Request& request) {
  Query query(request);
  const int64_t wait_ms = query.DurationMs("wait", 0, kMaxWaitMs);
  if (const absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
  const WaitingRoom::Place place = EnterIf(wait_ms > 0, backend);
  if (wait_ms > 0 && !place) return ProblemReply(NoPlace(), request);
  const absl::StatusOr<Submission> submission = ReadSubmission(request);
  if (!submission.ok()) return ProblemReply(submission.status(), request);
  if (submission->many && wait_ms > 0)
    return ProblemReply(Error(ErrorCode::kMalformed, "wait is for a single task"), request);
  const absl::StatusOr<BatchAck> ack = SubmitAll(backend, submission->tasks);
  if (!ack.ok()) return ProblemReply(ack.status(), request);
  if (!submission->many) return SubmittedOne(backend, request, submission->tasks[0], *ack, wait_ms);
  if (ack->rejected.size() == ack->ids.size())
    return RefusedSubmit(ack->rejected[0].status, request);
  return JsonReply(200, AckJson(*ack).dump(-1, ' ', false, Json::error_handler_t::replace));
}

// "ready,leased". Says which one is none.
absl::StatusOr<std::vector<TaskState>> ReadStates(const std::string& text) {
  std::vector<TaskState> states;
  for (const std::string& name :
       std::vector<std::string>(absl::StrSplit(text, ',', absl::SkipEmpty()))) {
    int state = 0;
    while (state < kTaskStates && NameOf(static_cast<TaskState>(state)) != name) ++state;
    if (state == kTaskStates)
      return Error(ErrorCode::kMalformed,
                   absl::StrCat("state: '", name,
                                "' is none of scheduled, ready, leased, retry_wait, blocked, "
                                "succeeded, dead, cancelled"));
    states.push_back(static_cast<TaskState>(state));
  }
  return states;
}

absl::StatusOr<ListQuery> ReadListQuery(const Request& request) {
  Query query(request);
  ListQuery list;
  list.queue = query.Text("queue");
  list.type = query.Text("type");
  const std::string states = query.Text("state"), label = query.Text("label"),
                    cursor = query.Text("cursor");
  const std::string order = query.Text("order");
  list.descending = order == "desc";
  if (!order.empty() && order != "asc" && order != "desc")
    query.Refuse("order", "is neither asc nor desc");
  list.limit = query.Number("limit", kDefaultListLimit, 1, kMaxListLimit);
  list.omit_bodies = query.Switch("omit_bodies");
  const size_t equals = label.find('=');
  if (!label.empty() && (equals == 0 || equals == std::string::npos))
    query.Refuse("label", "is not KEY=VALUE");
  if (!label.empty())
    list.label.push_back(
        {label.substr(0, equals), label.substr(std::min(equals, label.size() - 1) + 1)});
  if (!cursor.empty()) {
    const std::optional<TaskId> id = ParseId<TaskId>(cursor);
    if (!id) query.Refuse("cursor", "is not a next_cursor of a page before");
    list.cursor = id.value_or(TaskId());
  }
  ZS_RETURN_IF_ERROR(query.Finish());
  ZS_ASSIGN_OR_RETURN(list.states, ReadStates(states));
  return list;
}

Reply List(const Backend& backend, const Request& request) {
  const absl::StatusOr<ListQuery> list = ReadListQuery(request);
  if (!list.ok()) return ProblemReply(list.status(), request);
  const absl::StatusOr<ListPageResult> page = backend.client.ListPage(*list);
  if (!page.ok()) return ProblemReply(page.status(), request);
  const Bodies bodies = list->omit_bodies ? Bodies::kOmitted : Bodies::kThere;
  std::vector<std::string> tasks;
  for (const TaskInfo& task : page->tasks) tasks.push_back(TaskJson(task, bodies));
  return JsonReply(
      200, absl::StrCat("{\"tasks\":", JsonList(tasks), ",\"next_cursor\":",
                        page->next_cursor ? Quote(ToString(page->next_cursor)) : "null", "}"));
}

Reply Get(const Backend& backend, const Request& request) {
  Query query(request);
  const int64_t wait_ms = query.DurationMs("wait", 0, kMaxWaitMs);
  if (const absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<TaskId> id = IdOf(request);
  if (!id.ok()) return ProblemReply(id.status(), request);
  const WaitingRoom::Place place = EnterIf(wait_ms > 0, backend);
  if (wait_ms > 0 && !place) return ProblemReply(NoPlace(), request);
  // Whatever the wait comes to, the answer is the task as it is then.
  if (wait_ms > 0) (void)AwaitEnd(backend, request, *id, wait_ms);
  return TaskReply(backend, request, *id);
}

using ItemCall = absl::StatusOr<std::vector<ItemResult>> (Client::*)(std::span<const TaskId>);

// One task by its path: the task as it is then.
template <ItemCall kCall>
Reply ChangeOne(const Backend& backend, const Request& request) {
  const absl::StatusOr<TaskId> id = IdOf(request);
  if (!id.ok()) return ProblemReply(id.status(), request);
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<std::vector<ItemResult>> items = (backend.client.*kCall)(std::span(&*id, 1));
  if (!items.ok()) return ProblemReply(items.status(), request);
  if (!items->at(0).status.ok()) return ProblemReply(items->at(0).status, request);
  return TaskReply(backend, request, *id);
}

// Many by {"ids":[…]}: what became of each.
template <ItemCall kCall>
Reply ChangeMany(const Backend& backend, const Request& request) {
  const absl::StatusOr<Json> body = JsonBody(request);
  if (!body.ok()) return ProblemReply(body.status(), request);
  std::vector<TaskId> ids;
  const absl::Status read = ReadIdsBody(*body, kMaxRequestTasks, &ids);
  if (!read.ok()) return ProblemReply(read, request);
  const absl::StatusOr<std::vector<ItemResult>> items = (backend.client.*kCall)(ids);
  return items.ok() ? JsonReply(200, ItemsJson(*items)) : ProblemReply(items.status(), request);
}

Reply Explain(const Backend& backend, const Request& request) {
  const absl::StatusOr<TaskId> id = IdOf(request);
  if (!id.ok()) return ProblemReply(id.status(), request);
  const absl::StatusOr<TaskExplanation> explanation = backend.client.Explain(*id);
  return explanation.ok() ? JsonReply(200, ExplanationJson(*id, *explanation))
                          : ProblemReply(explanation.status(), request);
}

Reply History(const Backend& backend, const Request& request) {
  const absl::StatusOr<TaskId> id = IdOf(request);
  if (!id.ok()) return ProblemReply(id.status(), request);
  const absl::StatusOr<TaskHistory> history = backend.client.History(*id);
  if (!history.ok()) return ProblemReply(history.status(), request);
  std::vector<std::string> attempts;
  for (const AttemptInfo& attempt : history->attempts) attempts.push_back(AttemptJson(attempt));
  return JsonReply(200, absl::StrCat("{\"id\":\"", ToString(*id), "\",\"attempts\":",
                                     JsonList(attempts), ",\"missing\":", history->missing, "}"));
}

const ParameterDoc kWait = {"wait", "How long to wait for the end of the task, such as 10s",
                            R"({"$ref":"#/components/schemas/Duration"})"};
const ReplyDoc kTask = {200, "The task as it is now", "Task"};

}  // namespace

void AddTaskRoutes(std::vector<Route>& routes) {
  const std::vector<ParameterDoc> filters = {
      {"queue", "Of this queue"},
      {"type", "Of this type"},
      {"state", "In one of these states, separated by commas"},
      {"label", "With this label, as KEY=VALUE"},
      {"limit", "Tasks in one page",
       R"({"type":"integer","minimum":1,"maximum":1000,"default":100})"},
      {"cursor", "next_cursor of the page before, of the same order"},
      {"order", "By rising id, or the newest first", R"({"enum":["asc","desc"],"default":"asc"})"},
      kOmitBodies};
  routes.insert(
      routes.end(),
      {{Method::kPost,
        "/api/v1/tasks",
        Submit,
        "submitTasks",
        "tasks",
        "Submit one task, or a list of them",
        {kWait},
        "Submit",
        {{200, "A list was judged; or a single task was there already under its key", "Submitted"},
         {201, "The task is durable", "Submitted"},
         {202, "The task is durable, and was not over in the time given by wait", "SubmittedOne"}}},
       {Method::kGet,
        "/api/v1/tasks",
        List,
        "listTasks",
        "tasks",
        "Tasks by rising id",
        filters,
        {},
        {{200, "A page; it may be short, or empty, before the end", "TaskPage"}}},
       {Method::kPost,
        "/api/v1/tasks/retry",
        ChangeMany<&Client::Retry>,
        "retryTasks",
        "tasks",
        "Give dead tasks a new budget of attempts",
        {},
        "Ids",
        {{200, "What became of each", "Items"}}},
       {Method::kPost,
        "/api/v1/tasks/cancel",
        ChangeMany<&Client::Cancel>,
        "cancelTasks",
        "tasks",
        "Cancel tasks in any state",
        {},
        "Ids",
        {{200, "What became of each", "Items"}}},
       {Method::kGet,
        "/api/v1/tasks/{id}",
        Get,
        "getTask",
        "tasks",
        "One task in full",
        {kWait},
        {},
        {kTask}},
       {Method::kPost,
        "/api/v1/tasks/{id}/retry",
        ChangeOne<&Client::Retry>,
        "retryTask",
        "tasks",
        "Give a dead task a new budget of attempts",
        {},
        {},
        {kTask}},
       {Method::kPost,
        "/api/v1/tasks/{id}/cancel",
        ChangeOne<&Client::Cancel>,
        "cancelTask",
        "tasks",
        "Cancel a task in any state",
        {},
        {},
        {kTask}},
       {Method::kDelete,
        "/api/v1/tasks/{id}",
        ChangeOne<&Client::Cancel>,
        "deleteTask",
        "tasks",
        "The same as cancel",
        {},
        {},
        {kTask}},
       {Method::kGet,
        "/api/v1/tasks/{id}/explain",
        Explain,
        "explainTask",
        "tasks",
        "Why a task is not running, and its place in line",
        {},
        {},
        {{200, "The reasons", "Explanation"}}},
       {Method::kGet,
        "/api/v1/tasks/{id}/history",
        History,
        "taskHistory",
        "tasks",
        "Every attempt at a task",
        {},
        {},
        {{200, "The attempts", "History"}}}});
}

}  // namespace zsched::gateway
