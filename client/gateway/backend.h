// What the handlers of the gateway work with: clients of the cluster, and a bound on those who wait. Owned
// by client/gateway.
//
// Threads: any; a handler has it by const reference.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/text.h"
#include "client/gateway/http.h"
#include "zsched/client.h"

namespace zsched::gateway {

// Places for requests that wait: for a task to end, for events. Each holds a connection and its thread, so
// they may have half of all connections, and never keep out those who do not wait.
class WaitingRoom {
 public:
  explicit WaitingRoom(size_t places) : free_(static_cast<int64_t>(places)) {}

  class Place {
   public:
    explicit Place(WaitingRoom* room) : room_(room) {}
    Place(Place&& other) noexcept : room_(std::exchange(other.room_, nullptr)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (room_ != nullptr) room_->free_.fetch_add(1);
    }
    explicit operator bool() const { return room_ != nullptr; }

   private:
    WaitingRoom* room_;
  };
  // Converts to false when there is none.
  Place Enter() {
    if (free_.fetch_sub(1) > 0) return Place(this);
    free_.fetch_add(1);
    return Place(nullptr);
  }

 private:
  std::atomic<int64_t> free_;
};

class Metrics;

struct Backend {
  Client& client;    // of the active broker
  Client& observer;  // of the local broker, or of any that answers: also when none is active
  const std::vector<HostPort>& brokers;  // as they were given
  bool embedded;                         // the observer is the local broker's
  const std::atomic<bool>& connected;    // the client has a session with an active broker
  WaitingRoom& waiting;
  const Router& router;
  const Metrics& metrics;
};

// RESOURCE_EXHAUSTED, for those who find no place.
absl::Status NoPlace();

// What the brokers say of themselves: the local one, or the active one while there is one, otherwise any.
absl::StatusOr<StatusInfo> ClusterStatus(const Backend& backend);

// --- Reading a request
// The route's own argument {id}. MALFORMED.
absl::StatusOr<TaskId> IdOf(const Request& request);

// The routes of each file.
void AddTaskRoutes(std::vector<Route>& routes);
void AddQueueRoutes(std::vector<Route>& routes);
void AddDeadRoutes(std::vector<Route>& routes);
void AddScheduleRoutes(std::vector<Route>& routes);
void AddClusterRoutes(std::vector<Route>& routes);
void AddLogRoutes(std::vector<Route>& routes);
void AddEventRoutes(std::vector<Route>& routes);
void AddWatchRoutes(std::vector<Route>& routes);  // /metrics, /health, …
void AddOpenApiRoute(std::vector<Route>& routes);
void AddDashboardRoutes(std::vector<Route>& routes);  // /, /ui/…

// Of `routes`, as OpenAPI 3.1.
std::string OpenApi(const std::vector<Route>& routes);

}  // namespace zsched::gateway
