// The HTTP gateway: REST API, metrics, health and dashboard for a cluster of brokers. Owned by
// client/gateway. It is an ordinary client, whether it runs as zsched-gateway or inside a broker.
//
//   HTTP ──▶ HttpServer ──▶ Router ──▶ a handler (tasks.cc, queues.cc, …) ──▶ Client ──▶ brokers
//
// Example:
//   auto gateway = Gateway::Start({.http = {.listen = {"127.0.0.1", 8080}}, .brokers = "127.0.0.1:5570"});
//   if (!gateway.ok()) return gateway.status();
//   …
//   (*gateway)->Stop();
//
// Threads: Start and Stop from one thread. docs/rest.md says what is served.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/gateway/http_server.h"

namespace zsched::gateway {

struct GatewayOptions {
  HttpOptions http{};
  std::string brokers = "127.0.0.1:5570";  // base addresses
  // Of the broker that it runs in: /metrics and /health are of this one. Empty: of the one that serves.
  std::string local{};
  std::string name = "zsched-gateway";  // what people see in status
};

class Gateway {
 public:
  // Serves from the return on, whether there is a broker or not. UNAVAILABLE: the address cannot be used.
  // INVALID_ARGUMENT: the list of brokers is wrong.
  static absl::StatusOr<std::unique_ptr<Gateway>> Start(const GatewayOptions& options);
  // Stop().
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // Ends streams and waits, answers what it has taken, closes. The second call does nothing.
  void Stop();
  const HostPort& address() const;

 private:
  class Impl;
  explicit Gateway(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zsched::gateway
