#include "client/gateway/backend.h"

namespace zsched::gateway {

absl::StatusOr<StatusInfo> ClusterStatus(const Backend& backend) {
  if (!backend.embedded && backend.connected.load(std::memory_order_relaxed)) {
    absl::StatusOr<StatusInfo> active = backend.client.Status();
    if (active.ok()) return active;
  }
  return backend.observer.Status();
}

}  // namespace zsched::gateway
