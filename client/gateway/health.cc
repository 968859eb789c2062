// What is asked by machines that watch: /metrics, /health, /livez, /readyz, /leader.
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/config.h"
#include "client/gateway/backend.h"
#include "client/gateway/metrics.h"

namespace zsched::gateway {
namespace {

using Json = nlohmann::ordered_json;

bool IsActive(BrokerRole role) {
  return role == BrokerRole::kActiveSync || role == BrokerRole::kActiveSolo;
}

Reply TextReply(int status, std::string text) {
  Reply reply;
  reply.status = status;
  reply.content_type = "text/plain; charset=utf-8";
  reply.body = std::move(text);
  return reply;
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const BrokerSummary* PeerOf(const StatusInfo& status) {
  for (const BrokerSummary& broker : status.brokers)
    if (!broker.self) return &broker;
  return nullptr;
}

// degraded: it serves, and something that should be there is not.
std::string_view VerdictOn(const StatusInfo& status) {
  const bool serves = IsActive(status.role) || status.role == BrokerRole::kStandby;
  if (!serves) return status.role == BrokerRole::kCatchup ? "degraded" : "down";
  const BrokerSummary* peer = PeerOf(status);
  if (peer == nullptr) return "ok";
  const bool whole = status.role == BrokerRole::kActiveSync ||
                     (status.role == BrokerRole::kStandby && IsActive(peer->role));
  return whole ? "ok" : "degraded";
}

Json JournalJson(const StatusInfo& status) {
  Json journal = {{"lsn", status.lsn.value()}, {"durable_lsn", status.durable_lsn.value()}};
  for (const CounterValue& gauge : status.gauges)
    if (gauge.name.starts_with("journal_") || gauge.name.starts_with("log_") ||
        gauge.name.starts_with("map_") || gauge.name.starts_with("disk_"))
      journal[gauge.name] = gauge.value;
  return journal;
}

Reply Health(const Backend& backend, const Request&) {
  const absl::StatusOr<StatusInfo> status = ClusterStatus(backend);
  if (!status.ok())
    return JsonReply(503, Dump({{"status", "down"},
                                {"role", nullptr},
                                {"epoch", nullptr},
                                {"journal", nullptr},
                                {"peer", nullptr},
                                {"version", std::string(Version())},
                                {"detail", MessageOf(status.status())}}));
  const std::string_view verdict = VerdictOn(*status);
  const BrokerSummary* peer = PeerOf(*status);
  Json json = {{"status", std::string(verdict)},
               {"node", status->node},
               {"role", std::string(NameOf(status->role))},
               {"epoch", status->epoch.value()},
               {"journal", JournalJson(*status)},
               {"peer", nullptr},
               {"version", status->version}};
  if (peer != nullptr)
    json["peer"] = {{"node", peer->node},
                    {"role", std::string(NameOf(peer->role))},
                    {"address", peer->address}};
  return JsonReply(verdict == "down" ? 503 : 200, Dump(json));
}

Reply Alive(const Backend&, const Request&) { return TextReply(200, "alive\n"); }

Reply Ready(const Backend& backend, const Request& request) {
  if (backend.connected.load(std::memory_order_relaxed)) return TextReply(200, "ready\n");
  return ProblemReply(Error(ErrorCode::kUnavailable, "there is no active broker"), request);
}

Reply Leader(const Backend& backend, const Request& request) {
  const absl::StatusOr<StatusInfo> status = ClusterStatus(backend);
  if (!status.ok()) return ProblemReply(status.status(), request);
  for (const BrokerSummary& broker : status->brokers)
    if (IsActive(broker.role))
      return JsonReply(200, Dump({{"node", broker.node},
                                  {"address", broker.address},
                                  {"epoch", status->epoch.value()}}));
  return ProblemReply(Error(ErrorCode::kUnavailable, "there is no active broker"), request);
}

Reply Scrape(const Backend& backend, const Request&) {
  Reply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = backend.metrics.Text(ClusterStatus(backend));
  return reply;
}

}  // namespace

void AddWatchRoutes(std::vector<Route>& routes) {
  const ReplyDoc none = {503, "There is no active broker", "Problem", "application/problem+json"};
  routes.insert(
      routes.end(),
      {{Method::kGet,
        "/metrics",
        Scrape,
        "getMetrics",
        "watch",
        "Figures in the text format of Prometheus",
        {},
        {},
        {{200, "The figures", {}, "text/plain"}}},
       {Method::kGet,
        "/health",
        Health,
        "getHealth",
        "watch",
        "Role, epoch, journal and peer of the broker",
        {},
        {},
        {{200, "It serves, as it should or degraded", "Health"}, {503, "It does not", "Health"}}},
       {Method::kGet,
        "/livez",
        Alive,
        "getLive",
        "watch",
        "Whether the process answers",
        {},
        {},
        {{200, "It does", {}, "text/plain"}}},
       {Method::kGet,
        "/readyz",
        Ready,
        "getReady",
        "watch",
        "Whether submits are taken",
        {},
        {},
        {{200, "They are", {}, "text/plain"}, none}},
       {Method::kGet,
        "/leader",
        Leader,
        "getLeader",
        "watch",
        "The active broker",
        {},
        {},
        {{200, "It is this one", "Leader"}, none}}});
}

}  // namespace zsched::gateway
