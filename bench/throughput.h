// zsched-bench throughput: no-op tasks through real processes, from first submit to last durable
// completion. Owned by bench.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/proc.h"
#include "bench/resting.h"
#include "bench/sampler.h"
#include "bench/tables.h"

namespace zsched::bench {

struct ThroughputOptions {
  uint64_t tasks = 1'000'000;
  uint32_t payload_bytes = 100;
  int clients = 1;
  int workers = 2;
  uint32_t batch = 100;       // tasks given to the client library in one call; 1: single submits
  uint64_t in_flight = 0;     // submitted and not ended; 0: as many as the clients get rid of
  uint32_t queues = 1;        // that tasks go to in turn
  uint32_t keys = 0;          // concurrency keys likewise; 0: none
  RestingLoad resting = {};   // there before the tasks, and untouched by them
  int samples = 10;           // at equal shares of the tasks
  std::string brokers = {};   // empty: start own processes
  bool standby = false;       // a pair of own processes
  bool measure_limit = true;  // the bare pipeline in the same run; only with own processes
  std::string data_root = "/var/tmp";
};

// What is known only of processes of our own.
struct OwnClusterFigures {
  double cpu_seconds_per_100k = 0;  // all processes, their whole lives: start and end included
  // CPU seconds per 100,000 tasks from first submit to last outcome: "broker", "workers" (all
  // together) and "client", each by thread.
  std::map<std::string, CpuByThread> cpu_by_thread = {};
  std::vector<TableSize> tables = {};                 // the journal when the last task had finished
  std::optional<double> limit_tasks_per_second = {};  // bench/limits.h
  std::optional<double> limit_cpu_seconds_per_100k = {};  // of the same
};

struct ThroughputResult {
  uint64_t tasks = 0;
  double seconds = 0;
  double tasks_per_second = 0;
  double submit_seconds = 0;   // until the last submit was acknowledged
  double tasks_per_frame = 0;  // as the client library combined them
  std::vector<ThroughputSample> samples = {};
  std::optional<OwnClusterFigures> own = {};  // nothing for brokers of somebody else
};

// UNAVAILABLE, TIMED_OUT: the run could not be finished; a task that does not succeed is an
// INTERNAL error.
absl::StatusOr<ThroughputResult> RunThroughput(const ThroughputOptions& options);

}  // namespace zsched::bench
