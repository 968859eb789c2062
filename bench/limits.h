// What the libraries allow on this machine, without a scheduler: the yardstick for everything else
// that is measured. Owned by bench; uses ZeroMQ, LMDB and FlatBuffers directly, and nothing of the
// broker.
//
// The bare pipeline does the same work for a task as zsched must, as fast as is known to be right:
//
//   client DEALER ──tasks──▶ ROUTER, verified ──▶ log, two rows a task ──synced──▶ ack
//                                    worker DEALER ◀──tasks──┘
//                                          └──results──▶ ROUTER, verified
//                  log, one of them rewritten ◀──┘ ──synced──▶ ids to the client
//
// All messages are FlatBuffers of zsched's own schema. One thread moves them, another commits what
// came meanwhile in one LMDB transaction, as in a broker. What it leaves out is what a scheduler is
// for: queues, priorities, credit, leases, retries, timers, sessions, checksums, retention; and that
// broker, worker and client are processes of their own.
//
// Threads: each function runs its own and joins them before it returns.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace zsched::bench {

// Tasks in one SUBMIT message. How the caller hands tasks in does not matter here: under load
// zsched's client combines single submits into messages as full as the protocol allows. From some
// 500 tasks on the pipeline's rate does not depend on it.
inline constexpr uint32_t kPipelineFrameTasks = 1024;

struct PipelineOptions {
  uint64_t tasks = 200'000;
  uint32_t payload_bytes = 100;
  uint32_t frame_tasks = kPipelineFrameTasks;
  std::string data_root = "/var/tmp";
  // Each task is sent when the one before has ended and this was called; empty: as fast as they are
  // taken.
  std::function<void()> after_each = nullptr;
};
struct PipelineResult {
  double seconds = 0;
  double tasks_per_second = 0;
  double cpu_seconds_per_100k = 0;        // all of its threads
  std::vector<double> ack_ms, result_ms;  // of every task, with after_each
};
// From the first submit to the last durable completion that the client was told of.
absl::StatusOr<PipelineResult> RunPipeline(const PipelineOptions& options);

struct CommitResult {
  double p50_ms = 0, p99_ms = 0;
};
// LMDB commits of one record each.
absl::StatusOr<CommitResult> MeasureCommit(const std::string& data_root, int commits);
class LmdbStore;
// One durable commit of one record, timed.
double CommitOnceMs(LmdbStore& store);

// DEALER to ROUTER and back over tcp loopback, many in flight; messages a second.
absl::StatusOr<double> MeasureEcho(uint64_t messages, uint32_t bytes);

}  // namespace zsched::bench
