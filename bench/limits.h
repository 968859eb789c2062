// What the libraries allow on this machine, without a scheduler: the yardstick for everything else
// that is measured. Owned by bench; uses ZeroMQ, LMDB and FlatBuffers directly, and nothing of the
// broker.
//
// The bare pipeline does the same work for a task as zsched must: a batch of tasks as one
// FlatBuffer from a DEALER to a ROUTER, verified; log record and one table row a task in LMDB,
// synced; a batch of assignments to a DEALER worker; its results back in one FlatBuffer; a log
// record and every row rewritten, synced; the ids back to the client. What it leaves out is what a
// scheduler is for: queues, priorities, credit, leases, retries, timers, sessions, checksums,
// retention.
//
// Threads: each function runs its own and joins them before it returns.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace zsched::bench {

struct PipelineOptions {
  uint64_t tasks = 200'000;
  uint32_t payload_bytes = 100;
  uint32_t batch = 100;
  std::string data_root = "/var/tmp";
};
struct PipelineResult {
  double seconds = 0;
  double tasks_per_second = 0;
};
// From the first submit to the last durable completion that the client was told of.
absl::StatusOr<PipelineResult> RunPipeline(const PipelineOptions& options);

struct CommitResult {
  double p50_ms = 0, p99_ms = 0;
};
// LMDB commits of one record each.
absl::StatusOr<CommitResult> MeasureCommit(const std::string& data_root, int commits);

// DEALER to ROUTER and back over tcp loopback, many in flight; messages a second.
absl::StatusOr<double> MeasureEcho(uint64_t messages, uint32_t bytes);

}  // namespace zsched::bench
