#include "bench/throughput.h"

#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "base/check.h"
#include "bench/limits.h"
#include "bench/processes.h"
#include "schemas/errors.h"
#include "zsched/client.h"

namespace zsched::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kLimitTasks = 1'000'000;
constexpr int64_t kConnectMs = 10'000;
constexpr std::chrono::minutes kGiveUp(10);  // a run that takes longer is stuck

double Seconds(Clock::duration d) { return std::chrono::duration<double>(d).count(); }

double OwnCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

// One client that submits its share and counts what comes back.
class Producer {
 public:
  Producer(const ThroughputOptions& options, uint64_t share) : options_(options), share_(share) {}

  absl::Status Connect(const std::string& brokers) {
    ClientOptions client;
    client.brokers = brokers;
    client.name = "zsched-bench";
    client.on_outcomes = [this](std::span<Outcome> outcomes) { Count(outcomes); };
    auto made = Client::Create(client);
    if (!made.ok()) return made.status();
    client_ = *std::move(made);
    return client_->WaitForBroker(kConnectMs);
  }

  absl::Status Submit() {
    TaskSpec spec{
        .type = "noop", .queue = "bench", .payload = std::string(options_.payload_bytes, 'x')};
    std::vector<TaskSpec> batch(std::max<uint32_t>(1, options_.batch), spec);
    for (uint64_t sent = 0; sent < share_;) {
      uint64_t count = std::min<uint64_t>(batch.size(), share_ - sent);
      absl::Status status =
          options_.batch <= 1
              ? client_->Submit(spec, [this](absl::StatusOr<TaskId> id) { rejected_ += !id.ok(); },
                                nullptr, {.notify = true})
              : client_->SubmitBatch(
                    std::span(batch).first(count),
                    [this](const BatchAck& ack) { rejected_ += ack.rejected.size(); },
                    {.notify = true});
      if (!status.ok()) return status;
      sent += options_.batch <= 1 ? 1 : count;
    }
    return client_->Flush(std::chrono::milliseconds(kGiveUp).count());
  }

  absl::Status WaitForOutcomes() const {
    auto deadline = Clock::now() + kGiveUp;
    uint64_t seen;
    while ((seen = finished_.load()) + rejected_ < share_) {
      if (Clock::now() > deadline)
        return Error(ErrorCode::kTimedOut, std::to_string(share_ - seen) + " tasks did not finish");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (rejected_ + failed_ > 0)
      return Error(ErrorCode::kInternal, std::to_string(rejected_) + " tasks were refused and " +
                                             std::to_string(failed_) + " failed");
    return absl::OkStatus();
  }

  absl::Status Close() { return client_->Close(5000); }

 private:
  void Count(std::span<Outcome> outcomes) {
    for (const Outcome& outcome : outcomes) failed_ += !outcome.succeeded();
    finished_ += outcomes.size();
  }

  const ThroughputOptions& options_;
  const uint64_t share_;
  std::atomic<uint64_t> finished_{0}, rejected_{0}, failed_{0};
  std::unique_ptr<Client> client_;  // last: its thread uses the counters
};

// Runs `step` of every producer on a thread of its own; the first error.
template <class Step>
absl::Status OnAll(std::vector<std::unique_ptr<Producer>>& producers, Step step) {
  std::vector<absl::Status> statuses(producers.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < producers.size(); ++i)
    threads.emplace_back([&, i] { statuses[i] = step(*producers[i]); });
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses)
    if (!status.ok()) return status;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ThroughputResult> RunThroughput(const ThroughputOptions& options) {
  std::unique_ptr<Cluster> cluster;
  std::string brokers = options.brokers;
  if (brokers.empty()) {
    ZS_ASSIGN_OR_RETURN(
        cluster, Cluster::Start({.workers = options.workers, .data_root = options.data_root}));
    brokers = cluster->brokers();
    ZS_RETURN_IF_ERROR(cluster->WaitForWorkers(options.workers));
  }
  std::vector<std::unique_ptr<Producer>> producers;
  uint64_t clients = static_cast<uint64_t>(options.clients);
  for (uint64_t i = 0; i < clients; ++i)
    producers.push_back(std::make_unique<Producer>(
        options, options.tasks / clients + (i < options.tasks % clients ? 1 : 0)));
  for (auto& producer : producers) ZS_RETURN_IF_ERROR(producer->Connect(brokers));

  double own_before = OwnCpuSeconds();
  auto begin = Clock::now();
  ZS_RETURN_IF_ERROR(OnAll(producers, [](Producer& p) { return p.Submit(); }));
  auto submitted = Clock::now();
  for (auto& producer : producers) ZS_RETURN_IF_ERROR(producer->WaitForOutcomes());
  auto end = Clock::now();
  double own = OwnCpuSeconds() - own_before;

  ThroughputResult result;
  result.tasks = options.tasks;
  result.seconds = Seconds(end - begin);
  result.submit_seconds = Seconds(submitted - begin);
  result.tasks_per_second = static_cast<double>(options.tasks) / result.seconds;
  for (auto& producer : producers) ZS_RETURN_IF_ERROR(producer->Close());
  if (cluster == nullptr) return result;
  result.cpu_seconds_per_100k = (own + cluster->Stop()) * 1e5 / static_cast<double>(options.tasks);
  cluster.reset();
  if (!options.measure_limit) return result;
  // As many tasks as take the bare pipeline about a second: its rate does not depend on more.
  ZS_ASSIGN_OR_RETURN(PipelineResult limit,
                      RunPipeline({.tasks = std::min<uint64_t>(options.tasks, kLimitTasks),
                                   .payload_bytes = options.payload_bytes,
                                   .batch = std::max<uint32_t>(1, options.batch),
                                   .data_root = options.data_root}));
  result.limit_tasks_per_second = limit.tasks_per_second;
  return result;
}

}  // namespace zsched::bench
