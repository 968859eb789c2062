// /workers, /cluster, /stats: who is there, and how it goes.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/json/json.h"

namespace zsched::gateway {
namespace {

Reply ListWorkers(const Backend& backend, const Request& request) {
  const absl::StatusOr<std::vector<WorkerSummary>> workers = backend.client.Workers();
  if (!workers.ok()) return ProblemReply(workers.status(), request);
  std::vector<std::string> documents;
  for (const WorkerSummary& worker : *workers) documents.push_back(WorkerJson(worker));
  return JsonReply(200, absl::StrCat("{\"workers\":", JsonList(documents), "}"));
}

// By id or name; of several with a name the first.
Reply GetWorker(const Backend& backend, const Request& request) {
  const absl::StatusOr<std::vector<WorkerSummary>> workers = backend.client.Workers();
  if (!workers.ok()) return ProblemReply(workers.status(), request);
  const std::string& id = request.Arg("id");
  const auto found =
      std::find_if(workers->begin(), workers->end(), [&id](const WorkerSummary& worker) {
        return ToString(worker.id) == id || worker.name == id;
      });
  if (found == workers->end())
    return ProblemReply(Error(ErrorCode::kNotFound, "no worker has this id or name"), request);
  return JsonReply(200, WorkerJson(*found));
}

Reply Accepted(const absl::Status& begun, const Request& request) {
  return begun.ok() ? JsonReply(202, "{}") : ProblemReply(begun, request);
}

Reply DrainWorker(const Backend& backend, const Request& request) {
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  return Accepted(backend.client.DrainWorker(request.Arg("id")), request);
}

Reply Cluster(const Backend& backend, const Request& request) {
  const absl::StatusOr<StatusInfo> status = ClusterStatus(backend);
  return status.ok() ? JsonReply(200, ClusterJson(*status))
                     : ProblemReply(status.status(), request);
}

Reply Switchover(const Backend& backend, const Request& request) {
  if (const absl::Status bad = NoBody(request); !bad.ok()) return ProblemReply(bad, request);
  return Accepted(backend.client.Switchover(), request);
}

Reply Stats(const Backend& backend, const Request& request) {
  const absl::StatusOr<StatusInfo> status = ClusterStatus(backend);
  return status.ok() ? JsonReply(200, StatusJson(*status)) : ProblemReply(status.status(), request);
}

const std::vector<ReplyDoc> kBegun = {{202, "It has begun", "Empty"}};

}  // namespace

void AddClusterRoutes(std::vector<Route>& routes) {
  routes.insert(routes.end(), {{Method::kGet,
                                "/api/v1/workers",
                                ListWorkers,
                                "listWorkers",
                                "workers",
                                "Connected workers",
                                {},
                                {},
                                {{200, "The workers", "WorkerList"}}},
                               {Method::kGet,
                                "/api/v1/workers/{id}",
                                GetWorker,
                                "getWorker",
                                "workers",
                                "One worker, by id or name",
                                {},
                                {},
                                {{200, "The worker", "Worker"}}},
                               {Method::kPost,
                                "/api/v1/workers/{id}/drain",
                                DrainWorker,
                                "drainWorker",
                                "workers",
                                "Have a worker finish what runs, give back the rest and leave",
                                {},
                                {},
                                kBegun},
                               {Method::kGet,
                                "/api/v1/cluster",
                                Cluster,
                                "getCluster",
                                "cluster",
                                "The brokers, their roles, and merges after partitions",
                                {},
                                {},
                                {{200, "The cluster", "Cluster"}}},
                               {Method::kPost,
                                "/api/v1/cluster/switchover",
                                Switchover,
                                "switchover",
                                "cluster",
                                "Have the active broker and its standby change places",
                                {},
                                {},
                                kBegun},
                               {Method::kGet,
                                "/api/v1/stats",
                                Stats,
                                "getStats",
                                "cluster",
                                "All figures of the brokers",
                                {},
                                {},
                                {{200, "The figures", "Stats"}}}});
}

}  // namespace zsched::gateway
