// /queues and /types: what they hold, and their rules.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/json/json.h"
#include "client/json/read.h"

namespace zsched::gateway {
namespace {

Reply QueueReply(const absl::StatusOr<QueueInfo>& queue, const Request& request) {
  return queue.ok() ? JsonReply(200, QueueJson(*queue)) : ProblemReply(queue.status(), request);
}

Reply TypeReply(const absl::StatusOr<TypeInfo>& type, const Request& request) {
  return type.ok() ? JsonReply(200, TypeJson(*type)) : ProblemReply(type.status(), request);
}

Reply ListQueues(const Backend& backend, const Request& request) {
  const absl::StatusOr<std::vector<QueueInfo>> queues = backend.client.Queues();
  if (!queues.ok()) return ProblemReply(queues.status(), request);
  std::vector<std::string> documents;
  for (const QueueInfo& queue : *queues) documents.push_back(QueueJson(queue));
  return JsonReply(200, absl::StrCat("{\"queues\":", JsonList(documents), "}"));
}

Reply GetQueue(const Backend& backend, const Request& request) {
  return QueueReply(backend.client.GetQueue(request.Arg("name")), request);
}

Reply PatchQueue(const Backend& backend, const Request& request) {
  const absl::StatusOr<nlohmann::json> body = JsonBody(request);
  if (!body.ok()) return ProblemReply(body.status(), request);
  const absl::StatusOr<QueueChange> change = ReadQueueChange(*body);
  if (!change.ok()) return ProblemReply(change.status(), request);
  return QueueReply(backend.client.SetQueue(request.Arg("name"), *change), request);
}

// A queue that is not there is made by a rule, but a slip in the name should not pause a new one.
template <bool kPaused>
Reply PauseQueue(const Backend& backend, const Request& request) {
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  const std::string& name = request.Arg("name");
  const absl::StatusOr<QueueInfo> there = backend.client.GetQueue(name);
  if (!there.ok()) return ProblemReply(there.status(), request);
  return QueueReply(backend.client.SetQueue(name, {.paused = kPaused}), request);
}

Reply PurgeQueue(const Backend& backend, const Request& request) {
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  const absl::StatusOr<uint64_t> cancelled = backend.client.PurgeQueue(request.Arg("name"));
  return cancelled.ok() ? JsonReply(200, absl::StrCat("{\"cancelled\":", *cancelled, "}"))
                        : ProblemReply(cancelled.status(), request);
}

Reply ListTypes(const Backend& backend, const Request& request) {
  const absl::StatusOr<std::vector<TypeInfo>> types = backend.client.Types();
  if (!types.ok()) return ProblemReply(types.status(), request);
  std::vector<std::string> documents;
  for (const TypeInfo& type : *types) documents.push_back(TypeJson(type));
  return JsonReply(200, absl::StrCat("{\"types\":", JsonList(documents), "}"));
}

Reply GetType(const Backend& backend, const Request& request) {
  return TypeReply(backend.client.GetType(request.Arg("name")), request);
}

Reply PatchType(const Backend& backend, const Request& request) {
  const absl::StatusOr<nlohmann::json> body = JsonBody(request);
  if (!body.ok()) return ProblemReply(body.status(), request);
  const absl::StatusOr<TypeChange> change = ReadTypeChange(*body);
  if (!change.ok()) return ProblemReply(change.status(), request);
  return TypeReply(backend.client.SetType(request.Arg("name"), *change), request);
}

const std::vector<ReplyDoc> kQueue = {{200, "The queue as it is now", "Queue"}};
const std::vector<ReplyDoc> kType = {{200, "The type as it is now", "Type"}};

}  // namespace

void AddQueueRoutes(std::vector<Route>& routes) {
  routes.insert(routes.end(), {{Method::kGet,
                                "/api/v1/queues",
                                ListQueues,
                                "listQueues",
                                "queues",
                                "All queues by name",
                                {},
                                {},
                                {{200, "The queues", "QueueList"}}},
                               {Method::kGet,
                                "/api/v1/queues/{name}",
                                GetQueue,
                                "getQueue",
                                "queues",
                                "One queue",
                                {},
                                {},
                                kQueue},
                               {Method::kPatch,
                                "/api/v1/queues/{name}",
                                PatchQueue,
                                "setQueue",
                                "queues",
                                "Change rules of a queue, which is made if there is none",
                                {},
                                "QueueRules",
                                kQueue},
                               {Method::kPost,
                                "/api/v1/queues/{name}/pause",
                                PauseQueue<true>,
                                "pauseQueue",
                                "queues",
                                "Hand out no more tasks of it; what runs goes on",
                                {},
                                {},
                                kQueue},
                               {Method::kPost,
                                "/api/v1/queues/{name}/resume",
                                PauseQueue<false>,
                                "resumeQueue",
                                "queues",
                                "Hand out its tasks again",
                                {},
                                {},
                                kQueue},
                               {Method::kPost,
                                "/api/v1/queues/{name}/purge",
                                PurgeQueue,
                                "purgeQueue",
                                "queues",
                                "Cancel all of its tasks that wait",
                                {},
                                {},
                                {{200, "How many were cancelled", "Cancelled"}}},
                               {Method::kGet,
                                "/api/v1/types",
                                ListTypes,
                                "listTypes",
                                "queues",
                                "All types of tasks by name",
                                {},
                                {},
                                {{200, "The types", "TypeList"}}},
                               {Method::kGet,
                                "/api/v1/types/{name}",
                                GetType,
                                "getType",
                                "queues",
                                "One type of tasks",
                                {},
                                {},
                                kType},
                               {Method::kPatch,
                                "/api/v1/types/{name}",
                                PatchType,
                                "setType",
                                "queues",
                                "Change rules of a type, over all queues",
                                {},
                                "TypeRules",
                                kType}});
}

}  // namespace zsched::gateway
