// zsched-bench latency: single tasks on an idle broker, one after another. Owned by bench.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "bench/stats.h"

namespace zsched::bench {

struct LatencyOptions {
  int tasks = 2000;
  bool standby = false;  // a pair of own processes
  uint32_t payload_bytes = 100;
  std::string data_root = "/var/tmp";
};
struct LatencyResult {
  Percentiles commit_ms;         // one LMDB commit on the same disk, measured in the same run
  Percentiles submit_ack_ms;     // Submit until the ack
  Percentiles submit_result_ms;  // Submit until the outcome
  // The bare pipeline (limits.h), one task after another: what the libraries allow.
  Percentiles limit_commit_ms, limit_ack_ms, limit_result_ms;
};
absl::StatusOr<LatencyResult> RunLatency(const LatencyOptions& options);

}  // namespace zsched::bench
