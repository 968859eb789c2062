#include "bench/latency.h"

#include <chrono>
#include <future>

#include "base/check.h"
#include "bench/limits.h"
#include "bench/lmdb_store.h"
#include "bench/processes.h"
#include "zsched/client.h"

namespace zsched::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmup = 100;  // tasks before the clock counts: connections, credit, caches

double Ms(Clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

struct Sample {
  double ack_ms = 0, result_ms = 0;
};

absl::StatusOr<Sample> OneTask(Client& client, const TaskSpec& spec) {
  std::promise<Clock::time_point> ended;
  Clock::time_point acked;
  absl::Status failure;
  auto begin = Clock::now();
  absl::Status taken = client.Submit(
      spec,
      [&](absl::StatusOr<TaskId> id) {
        acked = Clock::now();
        if (id.ok()) return;
        failure = id.status();
        ended.set_value(acked);
      },
      [&](Outcome& outcome) {
        failure = outcome.status();
        ended.set_value(Clock::now());
      });
  if (!taken.ok()) return taken;
  auto end = ended.get_future().get();
  if (!failure.ok()) return failure;
  return Sample{Ms(acked - begin), Ms(end - begin)};
}

// With a commit between the tasks here as well, so that both are as idle in between.
absl::Status MeasureLimit(const LatencyOptions& options, LmdbStore& store, LatencyResult& result) {
  std::vector<double> commits;
  PipelineOptions pipeline{.tasks = static_cast<uint64_t>(options.tasks),
                           .payload_bytes = options.payload_bytes,
                           .frame_tasks = 1,
                           .data_root = options.data_root,
                           .after_each = [&] { commits.push_back(CommitOnceMs(store)); }};
  ZS_ASSIGN_OR_RETURN(PipelineResult bare, RunPipeline(pipeline));
  result.limit_commit_ms = PercentilesOf(commits);
  result.limit_ack_ms = PercentilesOf(bare.ack_ms);
  result.limit_result_ms = PercentilesOf(bare.result_ms);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LatencyResult> RunLatency(const LatencyOptions& options) {
  ZS_ASSIGN_OR_RETURN(auto store, LmdbStore::Make(options.data_root));
  ZS_ASSIGN_OR_RETURN(
      auto cluster,
      Cluster::Start({.workers = 1, .data_root = options.data_root, .standby = options.standby}));
  ZS_RETURN_IF_ERROR(cluster->WaitForWorkers(1));
  ZS_ASSIGN_OR_RETURN(auto client,
                      Client::Create({.brokers = cluster->brokers(), .name = "zsched-bench"}));
  TaskSpec spec{
      .type = "noop", .queue = "bench", .payload = std::string(options.payload_bytes, 'x')};
  for (int i = 0; i < kWarmup; ++i) ZS_RETURN_IF_ERROR(OneTask(*client, spec).status());
  std::vector<double> commits, acks, results;
  for (int i = 0; i < options.tasks; ++i) {
    ZS_ASSIGN_OR_RETURN(Sample sample, OneTask(*client, spec));
    commits.push_back(CommitOnceMs(*store));
    acks.push_back(sample.ack_ms);
    results.push_back(sample.result_ms);
  }
  ZS_RETURN_IF_ERROR(client->Close(5000));
  cluster->Stop();
  LatencyResult result{
      PercentilesOf(commits), PercentilesOf(acks), PercentilesOf(results), {}, {}, {}};
  ZS_RETURN_IF_ERROR(MeasureLimit(options, *store, result));
  return result;
}

}  // namespace zsched::bench
