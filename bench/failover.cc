#include "bench/failover.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"
#include "bench/proc.h"
#include "bench/processes.h"
#include "schemas/errors.h"
#include "zsched/client.h"

namespace zsched::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Between two submits: enough to see a gap of a millisecond, little enough to leave the machine idle.
constexpr auto kPace = std::chrono::milliseconds(1);
// Before and after each kill.
constexpr auto kCalm = std::chrono::milliseconds(500);
// Submitted and not acknowledged: what a gap of ten seconds makes.
constexpr uint64_t kMostWaiting = 10'000;
constexpr auto kPatience = std::chrono::seconds(60);

// Submits one task after another, and remembers when each was acknowledged and how often it ended.
class Load {
 public:
  explicit Load(Client& client) : client_(client), thread_([this] { Run(); }) {}
  ~Load() { Stop(); }

  void Stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  // From here on LongestGap looks.
  void Watch() {
    std::lock_guard lock(mutex_);
    longest_gap_ = {};
  }
  // False: nothing is acknowledged for too long.
  bool AwaitNextAck() {
    std::unique_lock lock(mutex_);
    const size_t acks = acks_;
    return changed_.wait_for(lock, kPatience, [&] { return acks_ > acks; });
  }
  // Between two acknowledgements, of which the second came since Watch.
  Clock::duration LongestGap() {
    std::lock_guard lock(mutex_);
    return longest_gap_;
  }
  // After Stop: all that was acknowledged has ended, or the patience is over.
  void Finish(FailoverResult* result) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [&] { return waiting_ == 0 && ended_ >= ends_.size(); });
    result->tasks = ends_.size();
    for (const auto& [task, ends] : ends_) {
      result->lost += ends == 0;
      result->duplicated_results += ends > 1 ? ends - 1 : 0;
    }
  }

 private:
  void Run() {
    while (!stop_.load()) {
      std::this_thread::sleep_for(kPace);
      {
        std::lock_guard lock(mutex_);
        if (waiting_ >= kMostWaiting) continue;
        ++waiting_;
      }
      const absl::Status taken = client_.Submit(
          {.type = "noop"}, [this](absl::StatusOr<TaskId> id) { OnAck(id); },
          [this](Outcome& outcome) { OnOutcome(outcome); });
      ZS_CHECK_OK(taken);
    }
  }
  void OnAck(const absl::StatusOr<TaskId>& id) {
    std::lock_guard lock(mutex_);
    --waiting_;
    if (!id.ok()) return;
    ends_.try_emplace(id->value());
    ++acks_;
    const Clock::time_point now = Clock::now();
    longest_gap_ = std::max(longest_gap_, now - last_ack_);
    last_ack_ = now;
    changed_.notify_all();
  }
  void OnOutcome(const Outcome& outcome) {
    std::lock_guard lock(mutex_);
    ended_ += ++ends_[outcome.id.value()] == 1;
    changed_.notify_all();
  }

  Client& client_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t waiting_ = 0;
  size_t acks_ = 0, ended_ = 0;
  Clock::time_point last_ack_;
  Clock::duration longest_gap_{};
  std::map<uint64_t, uint64_t> ends_;  // of each task that was acknowledged, how often
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace

namespace {

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Until the other one goes on alone: before that it does not know that its standby has ended.
absl::Status AwaitSolo(Client& client) {
  const Clock::time_point deadline = Clock::now() + kPatience;
  while (Clock::now() < deadline) {
    const absl::StatusOr<StatusInfo> status = client.Status();
    if (status.ok() && status->role == BrokerRole::kActiveSolo) return absl::OkStatus();
    std::this_thread::sleep_for(10 * kPace);
  }
  return Error(ErrorCode::kTimedOut, "the active does not notice that its standby has ended");
}

// Until it is the other one's standby again.
absl::StatusOr<double> ComeBack(Cluster& cluster, size_t node) {
  const auto begin = Clock::now();
  ZS_RETURN_IF_ERROR(cluster.StartNode(node));
  ZS_RETURN_IF_ERROR(cluster.WaitForStandby().status());
  return SecondsSince(begin);
}

}  // namespace

absl::StatusOr<FailoverResult> RunFailover(const FailoverOptions& options) {
  ZS_ASSIGN_OR_RETURN(auto cluster, Cluster::Start({.workers = options.workers,
                                                    .data_root = options.data_root,
                                                    .standby = true}));
  ZS_RETURN_IF_ERROR(cluster->WaitForWorkers(options.workers));
  ZS_ASSIGN_OR_RETURN(auto client,
                      Client::Create({.brokers = cluster->brokers(), .name = "zsched-bench"}));
  ZS_RETURN_IF_ERROR(AddRestingLoad(options.resting, cluster->brokers()));
  FailoverResult result;
  std::vector<double> gaps_ms, back_seconds;
  {
    Load load(*client);
    for (int round = 0; round < options.rounds; ++round) {
      std::this_thread::sleep_for(kCalm);
      ZS_ASSIGN_OR_RETURN(const size_t active, cluster->WaitForStandby());
      load.Watch();
      cluster->EndNode(active, options.term ? SIGTERM : SIGKILL);
      // What was acknowledged before has been told by now, or never will be.
      std::this_thread::sleep_for(10 * kPace);
      if (!load.AwaitNextAck())
        return Error(ErrorCode::kTimedOut, "the other broker acknowledges nothing");
      gaps_ms.push_back(std::chrono::duration<double, std::milli>(load.LongestGap()).count());
      ZS_ASSIGN_OR_RETURN(back_seconds.emplace_back(), ComeBack(*cluster, active));
    }
    ZS_ASSIGN_OR_RETURN(const size_t active, cluster->WaitForStandby());
    cluster->EndNode(1 - active, SIGKILL);
    ZS_RETURN_IF_ERROR(AwaitSolo(*client));
    ZS_ASSIGN_OR_RETURN(result.standby_back_seconds, ComeBack(*cluster, 1 - active));
    ZS_ASSIGN_OR_RETURN(result.active_bytes, AnonymousBytes(cluster->pid(active)));
    ZS_ASSIGN_OR_RETURN(result.standby_bytes, AnonymousBytes(cluster->pid(1 - active)));
    load.Stop();
    load.Finish(&result);
  }
  ZS_RETURN_IF_ERROR(CheckRestingLoad(options.resting, *client));
  result.active_back_seconds = PercentilesOf(back_seconds).p50;
  result.unavailable_ms = PercentilesOf(gaps_ms);
  result.unavailable_ms_max = *std::max_element(gaps_ms.begin(), gaps_ms.end());
  return result;
}

}  // namespace zsched::bench
