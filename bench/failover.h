// zsched-bench failover: the active of a pair ends under load, again and again: what is lost, what comes twice, and for how long
// nothing is acknowledged. Owned by bench.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "bench/resting.h"
#include "bench/stats.h"

namespace zsched::bench {

struct FailoverOptions {
  int rounds = 10;
  int workers = 2;
  RestingLoad resting;
  bool term = false;  // SIGTERM, by which the active hands over, and not kill -9
  std::string data_root = "/var/tmp";
};
struct FailoverResult {
  uint64_t tasks = 0;               // acknowledged, in all rounds
  uint64_t lost = 0;                // of them; those that never ended
  uint64_t duplicated_results = 0;  // outcomes that were pushed once more
  // The longest time without an acknowledgement, in each round.
  Percentiles unavailable_ms;
  double unavailable_ms_max = 0;
  // From the start of a broker to its being the other one's standby: of the one that was active, the median; of the standby, killed once
  // at the end.
  double active_back_seconds = 0, standby_back_seconds = 0;
  double active_bytes = 0, standby_bytes = 0;  // anonymous memory, at the end
};

// TIMED_OUT: the pair did not come together again.
absl::StatusOr<FailoverResult> RunFailover(const FailoverOptions& options);

}  // namespace zsched::bench
