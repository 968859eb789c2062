// zsched-bench throughput: no-op tasks through real processes, from first submit to last durable
// completion. Owned by bench.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

namespace zsched::bench {

struct ThroughputOptions {
  uint64_t tasks = 200'000;
  uint32_t payload_bytes = 100;
  int clients = 1;
  int workers = 2;
  uint32_t batch = 100;       // tasks given to the client library in one call; 1: single submits
  std::string brokers = {};   // empty: start own processes
  bool measure_limit = true;  // the bare pipeline in the same run; only with own processes
  std::string data_root = "/var/tmp";
};

struct ThroughputResult {
  uint64_t tasks = 0;
  double seconds = 0;
  double tasks_per_second = 0;
  double submit_seconds = 0;  // until the last submit was acknowledged
  std::optional<double> cpu_seconds_per_100k =
      {};  // all processes; unknown for brokers of somebody else
  std::optional<double> limit_tasks_per_second = {};  // bench/limits.h
};

// UNAVAILABLE, TIMED_OUT: the run could not be finished; a task that does not succeed is an
// INTERNAL error.
absl::StatusOr<ThroughputResult> RunThroughput(const ThroughputOptions& options);

}  // namespace zsched::bench
