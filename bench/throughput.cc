#include "bench/throughput.h"

#include <unistd.h>

#include <chrono>
#include <thread>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "bench/limits.h"
#include "bench/processes.h"
#include "bench/producers.h"
#include "bench/progress.h"
#include "schemas/errors.h"

namespace zsched::bench {
namespace {

using Clock = std::chrono::steady_clock;

// As many tasks as keep the bare pipeline busy for some seconds: its rate does not depend on more.
constexpr uint64_t kLimitTasks = 1'000'000;
// How often the count is looked at: little against the shortest run that says anything.
constexpr std::chrono::milliseconds kLook(2);
// Longer than any pause that is not a fault: a task without progress for so long will never end.
constexpr std::chrono::minutes kStuck(2);

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

using CpuByProcess = std::map<std::string, CpuByThread>;

CpuByProcess CpuNow(const Cluster& cluster) {
  CpuByProcess cpu = {{"broker", CpuOf(cluster.broker_pid(), "loop")},
                      {"workers", {}},
                      {"client", CpuOf(getpid(), "main")}};
  for (pid_t pid : cluster.worker_pids())
    for (const auto& [thread, seconds] : CpuOf(pid, "session")) cpu["workers"][thread] += seconds;
  return cpu;
}

CpuByProcess Per100k(const CpuByProcess& before, const CpuByProcess& after, uint64_t tasks) {
  CpuByProcess result;
  for (const auto& [process, threads] : after) {
    result[process] = CpuBetween(before.at(process), threads);
    for (auto& [thread, seconds] : result[process]) seconds *= 1e5 / static_cast<double>(tasks);
  }
  return result;
}

// Watches the run until every task has ended. TIMED_OUT: no progress for kStuck.
absl::Status Follow(const Producers& producers, uint64_t total, Clock::time_point begin,
                    Sampler& sampler) {
  ProgressLine progress;
  uint64_t seen = 0;
  Clock::time_point seen_at = begin;
  while (producers.running()) {
    uint64_t ended = producers.ended();
    Clock::time_point now = Clock::now();
    if (ended > seen) {
      seen = ended;
      seen_at = now;
      sampler.Note(ended, Seconds(now - begin));
    } else if (now - seen_at > kStuck && seen < total) {
      return Error(ErrorCode::kTimedOut, std::to_string(total - seen) + " tasks do not finish");
    }
    progress.Show([&] {
      return absl::StrFormat("%d of %d tasks, %.0f/s", ended, total,
                             static_cast<double>(ended) / Seconds(now - begin));
    });
    std::this_thread::sleep_for(kLook);
  }
  sampler.Note(producers.ended(), Seconds(Clock::now() - begin));
  return absl::OkStatus();
}

absl::Status MeasureLimit(const ThroughputOptions& options, OwnClusterFigures& own) {
  ZS_ASSIGN_OR_RETURN(PipelineResult limit,
                      RunPipeline({.tasks = std::min<uint64_t>(options.tasks, kLimitTasks),
                                   .payload_bytes = options.payload_bytes,
                                   .data_root = options.data_root}));
  own.limit_tasks_per_second = limit.tasks_per_second;
  own.limit_cpu_seconds_per_100k = limit.cpu_seconds_per_100k;
  return absl::OkStatus();
}

absl::StatusOr<ThroughputResult> Run(const ThroughputOptions& options, const std::string& brokers,
                                     Cluster* cluster) {
  ZS_RETURN_IF_ERROR(AddRestingLoad(options.resting, brokers));
  ZS_ASSIGN_OR_RETURN(auto producers, Producers::Connect({.tasks = options.tasks,
                                                          .payload_bytes = options.payload_bytes,
                                                          .batch = options.batch,
                                                          .clients = options.clients,
                                                          .in_flight = options.in_flight,
                                                          .queues = options.queues,
                                                          .keys = options.keys},
                                                         brokers));
  ThroughputResult result{.tasks = options.tasks};
  Sampler sampler(options.tasks, options.samples, [&]() -> std::optional<double> {
    if (cluster == nullptr) return std::nullopt;
    return DirectoryBytes(cluster->journal());
  });
  double own_before = OwnCpuSeconds();
  CpuByProcess cpu_before;
  if (cluster != nullptr) cpu_before = CpuNow(*cluster);
  auto begin = Clock::now();
  producers->Start();
  ZS_RETURN_IF_ERROR(Follow(*producers, options.tasks, begin, sampler));
  if (cluster != nullptr)
    result.own = {.cpu_by_thread = Per100k(cpu_before, CpuNow(*cluster), options.tasks)};
  double own_cpu = OwnCpuSeconds() - own_before;
  ZS_RETURN_IF_ERROR(producers->Finish());

  result.samples = sampler.samples();
  result.seconds = result.samples.back().seconds;
  result.submit_seconds = Seconds(producers->submitted_at() - begin);
  result.tasks_per_second = static_cast<double>(options.tasks) / result.seconds;
  result.tasks_per_frame = producers->tasks_per_frame();
  if (cluster == nullptr) return result;
  ZS_ASSIGN_OR_RETURN(result.own->tables, TableSizes(cluster->journal()));
  result.own->cpu_seconds_per_100k =
      (own_cpu + cluster->Stop()) * 1e5 / static_cast<double>(options.tasks);
  return result;
}

}  // namespace

absl::StatusOr<ThroughputResult> RunThroughput(const ThroughputOptions& options) {
  if (!options.brokers.empty()) return Run(options, options.brokers, nullptr);
  ThroughputResult result;
  {
    ZS_ASSIGN_OR_RETURN(auto cluster, Cluster::Start({.workers = options.workers,
                                                      .data_root = options.data_root,
                                                      .standby = options.standby}));
    ZS_RETURN_IF_ERROR(cluster->WaitForWorkers(options.workers));
    ZS_ASSIGN_OR_RETURN(result, Run(options, cluster->brokers(), cluster.get()));
  }
  if (options.measure_limit) ZS_RETURN_IF_ERROR(MeasureLimit(options, *result.own));
  return result;
}

}  // namespace zsched::bench
