// Figures for Prometheus: of the brokers, from their status; of this process and its requests. Owned by
// client/gateway.
//
// Names are zsched_… in base units, counters end in _total. What the broker counts without being listed in
// metrics.cc is shown all the same, under its own name.
//
// Example:
//   metrics.Count("listTasks", 200, 0.0004);
//   std::string text = metrics.Text(status);   // the exposition format
//
// Threads: any.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "zsched/types.h"

namespace zsched::gateway {

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // A request to the operation of this id was answered with `status` after so long.
  void Count(std::string_view operation, int status, double seconds);
  // All figures. Without a broker zsched_up is 0, and there are those of this process.
  std::string Text(const absl::StatusOr<StatusInfo>& status) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zsched::gateway
