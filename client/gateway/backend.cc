#include "client/gateway/backend.h"

namespace zsched::gateway {

namespace {

// A broker that was told to listen everywhere says so with an empty host: its readers know by which name
// they reach it.
void NameHosts(const std::vector<HostPort>& brokers, StatusInfo* status) {
  for (BrokerSummary& broker : status->brokers)
    for (std::string* address : {&broker.address, &broker.worker_address}) {
      const absl::StatusOr<HostPort> said = ParseHostPort(*address, /*allow_empty_host=*/true);
      const absl::StatusOr<HostPort> base = ParseHostPort(broker.address, true);
      if (!said.ok() || !base.ok() || !said->host.empty()) continue;
      for (const HostPort& known : brokers)
        if (known.port == base->port || (brokers.size() == 1 && broker.self)) {
          *address = ToString(HostPort{known.host, said->port});
          break;
        }
    }
}

}  // namespace

absl::StatusOr<StatusInfo> ClusterStatus(const Backend& backend) {
  absl::StatusOr<StatusInfo> status = Error(ErrorCode::kUnavailable, "there is no active broker");
  if (!backend.embedded && backend.connected.load(std::memory_order_relaxed))
    status = backend.client.Status();
  if (!status.ok()) status = backend.observer.Status();
  if (status.ok()) NameHosts(backend.brokers, &*status);
  return status;
}

}  // namespace zsched::gateway
