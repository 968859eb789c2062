#include "bench/backlog.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "bench/proc.h"
#include "bench/processes.h"
#include "bench/progress.h"
#include "schemas/errors.h"
#include "zsched/client.h"

namespace zsched::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kBatch = 1000;
constexpr int64_t kConnectMs = 60'000;
constexpr std::chrono::minutes kGiveUp(20);

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

absl::Status SubmitAll(const std::string& brokers, const BacklogOptions& options) {
  ZS_ASSIGN_OR_RETURN(auto client, Client::Create({.brokers = brokers, .name = "zsched-bench"}));
  TaskSpec spec{
      .type = "noop", .queue = "bench", .payload = std::string(options.payload_bytes, 'x')};
  std::vector<TaskSpec> batch(kBatch, spec);
  std::atomic<uint64_t> rejected{0};
  ProgressLine progress;
  for (uint64_t sent = 0; sent < options.tasks; sent += kBatch) {
    uint64_t count = std::min(kBatch, options.tasks - sent);
    ZS_RETURN_IF_ERROR(client->SubmitBatch(std::span(batch).first(count), [&](const BatchAck& ack) {
      rejected += ack.rejected.size();
    }));
    progress.Show([&] { return absl::StrFormat("%d of %d tasks submitted", sent, options.tasks); });
  }
  ZS_RETURN_IF_ERROR(client->Flush(std::chrono::milliseconds(kGiveUp).count()));
  if (rejected > 0)
    return Error(ErrorCode::kInternal, std::to_string(rejected) + " tasks were refused");
  return client->Close(5000);
}

absl::StatusOr<uint64_t> Waiting(Client& client) {
  ZS_ASSIGN_OR_RETURN(StatusInfo status, client.Status());
  uint64_t waiting = 0;
  for (const QueueSummary& queue : status.queues)
    for (TaskState state : {TaskState::kReady, TaskState::kLeased, TaskState::kRetryWait})
      waiting += queue.counts[static_cast<size_t>(state)];
  return waiting;
}

}  // namespace

absl::StatusOr<BacklogResult> RunBacklog(const BacklogOptions& options) {
  BacklogResult result;
  auto tasks = static_cast<double>(options.tasks);
  ZS_ASSIGN_OR_RETURN(auto cluster, Cluster::Start({.workers = 0, .data_root = options.data_root}));
  ZS_RETURN_IF_ERROR(cluster->WaitForWorkers(0));
  ZS_ASSIGN_OR_RETURN(double empty, AnonymousBytes(cluster->broker_pid()));
  auto begin = Clock::now();
  ZS_RETURN_IF_ERROR(SubmitAll(cluster->brokers(), options));
  result.submits_per_second = tasks / SecondsSince(begin);
  ZS_ASSIGN_OR_RETURN(double full, AnonymousBytes(cluster->broker_pid()));
  result.rss_bytes_per_task = (full - empty) / tasks;
  result.disk_bytes_per_task = DirectoryBytes(cluster->journal()) / tasks;
  ZS_ASSIGN_OR_RETURN(result.tables, TableSizes(cluster->journal()));

  cluster->KillBroker();
  begin = Clock::now();
  ZS_RETURN_IF_ERROR(cluster->StartBroker());
  ZS_ASSIGN_OR_RETURN(auto client,
                      Client::Create({.brokers = cluster->brokers(), .name = "zsched-bench"}));
  ZS_RETURN_IF_ERROR(client->WaitForBroker(kConnectMs));
  result.restart_seconds = SecondsSince(begin);
  ZS_ASSIGN_OR_RETURN(uint64_t waiting, Waiting(*client));
  if (waiting != options.tasks)
    return Error(ErrorCode::kDataLoss, std::to_string(waiting) +
                                           " tasks wait after the restart, not " +
                                           std::to_string(options.tasks));
  ZS_RETURN_IF_ERROR(cluster->StartWorkers(options.workers));
  ZS_RETURN_IF_ERROR(cluster->WaitForWorkers(options.workers));
  ProgressLine progress;
  begin = Clock::now();
  while (waiting > 0) {
    progress.Show([&] { return absl::StrFormat("%d of %d tasks wait", waiting, options.tasks); });
    if (Clock::now() - begin > kGiveUp)
      return Error(ErrorCode::kTimedOut, std::to_string(waiting) + " tasks are still waiting");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ZS_ASSIGN_OR_RETURN(waiting, Waiting(*client));
  }
  result.drain_per_second = tasks / SecondsSince(begin);
  ZS_RETURN_IF_ERROR(client->Close(5000));
  cluster->Stop();
  return result;
}

}  // namespace zsched::bench
