#include "client/gateway/gateway.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/line_budget.h"
#include "base/log.h"
#include "client/gateway/backend.h"
#include "client/gateway/body.h"
#include "client/gateway/metrics.h"

namespace zsched::gateway {
namespace {

// For the answer of a broker, with the time that a failover takes in it.
constexpr int64_t kRequestMs = 10'000;
// Probes and figures should say soon that nobody answers.
constexpr int64_t kObserverMs = 2'000;

std::vector<Route> AllRoutes() {
  std::vector<Route> routes;
  AddTaskRoutes(routes);
  AddLogRoutes(routes);
  AddQueueRoutes(routes);
  AddDeadRoutes(routes);
  AddScheduleRoutes(routes);
  AddClusterRoutes(routes);
  AddEventRoutes(routes);
  AddWatchRoutes(routes);
  AddOpenApiRoute(routes);
  AddDashboardRoutes(routes);
  return routes;
}

// A page of another origin can have a browser send requests here, but not hide where they come from.
bool IsForeign(const Request& request) {
  const std::string_view origin = request.Header("origin");
  if (request.method == Method::kGet || origin.empty()) return false;
  const size_t host = origin.find("://");
  return host == std::string_view::npos || origin.substr(host + 3) != request.Header("host");
}

// Names that stand for this machine by themselves.
bool IsLocalName(std::string_view name) {
  return name == "localhost" || name == "[::1]" ||
         (name.starts_with("127.") &&
          name.find_first_not_of("0123456789.") == std::string_view::npos);
}

// A page can have its own name lead to this machine, and is then of the same origin as what answers here. So
// what listens for this machine alone is not asked under any other name than its own.
bool IsKnownHost(const GatewayOptions& options, const Request& request) {
  const std::string& listening = options.http.listen.host;
  if (!IsLocalName(listening) && listening != "::1") return true;
  std::string_view name = request.Header("host");
  if (const size_t colon = name.rfind(':'); colon != std::string_view::npos && !name.ends_with(']'))
    name = name.substr(0, colon);
  return name.empty() || IsLocalName(name) || name == listening ||
         std::find(options.hosts.begin(), options.hosts.end(), name) != options.hosts.end();
}

Reply WrongMethod(const std::vector<Method>& allowed, const Request& request) {
  const std::string names = absl::StrJoin(
      allowed, ", ", [](std::string* out, Method method) { out->append(NameOf(method)); });
  Reply reply = ProblemReply(
      405, Error(ErrorCode::kMalformed, absl::StrCat("this path takes ", names)), request);
  reply.headers.emplace_back("Allow", names);
  return reply;
}

}  // namespace

class Gateway::Impl {
 public:
  explicit Impl(const GatewayOptions& options)
      : options_(options),
        waiting_(options.http.max_connections / 2),
        router_(
            AllRoutes(),
            {{"/tasks", "/api/v1/tasks"}, {"/jobs", "/api/v1/tasks"}, {"/stats", "/api/v1/stats"}}),
        http_(options.http, [this](Request& request) { return Serve(request); }) {}

  absl::Status Start(const GatewayOptions& options) {
    ZS_RETURN_IF_ERROR(http_.Bind());
    ClientOptions client{.brokers = options.brokers, .name = options.name};
    client.retry_exhausted = false;  // the caller is told, and knows better what to do
    client.submit_block_ms = 0;
    client.request_timeout_ms = kRequestMs;
    client.on_connection = [this](const absl::Status& status) { OnConnection(status); };
    ZS_ASSIGN_OR_RETURN(client_, Client::Create(client));
    client.on_connection = nullptr;
    client.request_timeout_ms = kObserverMs;
    ZS_ASSIGN_OR_RETURN(watcher_, Client::Create(client));
    ClientOptions observer{.brokers = options.local.empty() ? options.brokers : options.local,
                           .name = options.name,
                           .observe = true};
    observer.request_timeout_ms = kObserverMs;
    ZS_ASSIGN_OR_RETURN(observer_, Client::Create(observer));
    ZS_ASSIGN_OR_RETURN(brokers_, ParseBrokerList(options.brokers));
    backend_ = std::make_unique<Backend>(Backend{.client = *client_,
                                                 .watcher = *watcher_,
                                                 .observer = *observer_,
                                                 .brokers = brokers_,
                                                 .embedded = !options.local.empty(),
                                                 .connected = connected_,
                                                 .waiting = waiting_,
                                                 .router = router_,
                                                 .metrics = metrics_});
    http_.Start();
    return absl::OkStatus();
  }

  // Clients first: what waits for a broker ends then, and with it the requests that wait.
  void Stop() {
    for (const auto& client : {&client_, &watcher_, &observer_})
      if (*client != nullptr) (void)(*client)->Close(0);
    http_.Stop();
  }

  const HostPort& address() const { return http_.address(); }

 private:
  void OnConnection(const absl::Status& status) {
    const bool connected = status.ok();
    if (connected_.exchange(connected) == connected) return;
    if (connected)
      Log(Level::kInfo, "connected to the active broker");
    else
      Log(Level::kWarn, "no active broker", {{"reason", MessageOf(status)}});
  }

  Reply Serve(Request& request) {
    const auto begun = std::chrono::steady_clock::now();
    std::string_view operation = "none";
    Reply reply = Answer(request, operation);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    metrics_.Count(operation, reply.status, seconds);
    LogRequest(request, reply, operation, seconds);
    return reply;
  }

  // What went wrong here is a warning; what somebody changed by hand is worth a line; the rest is for those
  // who look for something.
  void LogRequest(const Request& request, const Reply& reply, std::string_view operation,
                  double seconds) {
    const bool changes = request.method != Method::kGet && operation != "submitTasks";
    const Level level = reply.status >= 500 ? Level::kWarn : changes ? Level::kInfo : Level::kDebug;
    if (!LogEnabled(level)) return;
    const std::optional<uint64_t> left_out =
        level == Level::kDebug ? 0 : lines_.Take(SystemNow().mono_ms);
    if (!left_out) return;
    if (*left_out > 0)
      Log(Level::kWarn, "more requests than there are lines for", {{"requests", *left_out}});
    const std::string_view correlation_id =
        reply.correlation_id.empty() ? request.Header("x-correlation-id") : reply.correlation_id;
    Log(level, "request",
        {{"method", NameOf(request.method)},
         {"path", request.path},
         {"operation", operation},
         {"status", reply.status},
         {"ms", seconds * 1000},
         {"remote", request.remote},
         {"session", ToString(client_->stats().session)},
         {"task", reply.task},
         {"correlation_id", correlation_id}});
  }

  // `operation` becomes the id of the route, if there is one.
  Reply Answer(Request& request, std::string_view& operation) {
    absl::StatusOr<Router::Match> match = router_.Find(request.method, request.path);
    if (!match.ok()) return ProblemReply(match.status(), request);
    if (match->route == nullptr && !match->allowed.empty())
      return WrongMethod(match->allowed, request);
    if (match->route == nullptr)
      return ProblemReply(
          Error(ErrorCode::kNotFound, "there is nothing here; /openapi.json lists what there is"),
          request);
    if (!IsKnownHost(options_, request))
      return ProblemReply(
          Error(ErrorCode::kPermissionDenied,
                "this gateway is for its own machine; allow other names by --http-host"),
          request);
    if (IsForeign(request))
      return ProblemReply(
          Error(ErrorCode::kPermissionDenied, "this request comes from a page of another origin"),
          request);
    if (!HasJsonType(request))
      return ProblemReply(415,
                          Error(ErrorCode::kMalformed,
                                "the body is not JSON by its Content-Type; send application/json"),
                          request);
    operation = match->route->id;
    request.args = std::move(match->args);
    return match->route->handler(*backend_, request);
  }

  const GatewayOptions options_;
  LineBudget lines_;
  std::atomic<bool> connected_{false};
  WaitingRoom waiting_;
  Router router_;
  std::unique_ptr<Client> client_, watcher_, observer_;
  std::vector<HostPort> brokers_;
  std::unique_ptr<Backend> backend_;
  Metrics metrics_;
  HttpServer http_;  // last: it ends first
};

absl::StatusOr<std::unique_ptr<Gateway>> Gateway::Start(const GatewayOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  ZS_RETURN_IF_ERROR(impl->Start(options));
  return std::unique_ptr<Gateway>(new Gateway(std::move(impl)));
}

Gateway::Gateway(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Gateway::~Gateway() { Stop(); }
void Gateway::Stop() { impl_->Stop(); }
const HostPort& Gateway::address() const { return impl_->address(); }

}  // namespace zsched::gateway
