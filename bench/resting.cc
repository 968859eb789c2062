#include "bench/resting.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/check.h"
#include "bench/progress.h"
#include "schemas/errors.h"

namespace zsched::bench {
namespace {

// Sets that wait for their answer at the same time: they share commits.
constexpr int kSetters = 64;
constexpr std::chrono::milliseconds kLook(200);
constexpr int64_t kConnectMs = 60'000;
// Longer than any run, so that nothing of the load becomes work.
constexpr uint64_t kRestMs = 24 * 3600 * 1000;
constexpr uint64_t kBatch = 1'000;
constexpr size_t kBatchesInFlight = 16;
constexpr char kQueue[] = "resting";

absl::Status SubmitDelayed(Client& client, uint64_t count) {
  const std::vector<TaskSpec> batch(
      kBatch,
      {.type = "noop", .queue = kQueue, .payload = std::string(100, 'x'), .delay_ms = kRestMs});
  std::deque<std::future<BatchAck>> acks;
  ProgressLine progress;
  for (uint64_t sent = 0; sent < count || !acks.empty();) {
    if (sent < count && acks.size() < kBatchesInFlight) {
      const uint64_t part = std::min(kBatch, count - sent);
      acks.push_back(client.SubmitBatch(std::span(batch).first(part)));
      sent += part;
      continue;
    }
    const BatchAck ack = acks.front().get();
    acks.pop_front();
    if (!ack.rejected.empty()) return ack.rejected.front().status;
    progress.Show([&] { return absl::StrFormat("%d of %d delayed tasks", sent, count); });
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SetSchedules(Client& client, uint64_t count, const std::string& expression,
                          const std::string& queue, int64_t spread_ms) {
  const auto begin = std::chrono::steady_clock::now();
  const auto pace = std::chrono::duration<double, std::milli>(
      static_cast<double>(spread_ms) / static_cast<double>(std::max<uint64_t>(1, count)));
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  absl::Status failed;
  auto set_some = [&] {
    ScheduleSpec spec;
    spec.expression = expression;
    spec.task.type = "noop";
    spec.task.queue = queue;
    spec.overlap = Overlap::kAllow;
    for (uint64_t i; (i = next++) < count;) {
      spec.name = absl::StrFormat("schedule-%d", i);
      if (spread_ms > 0)
        std::this_thread::sleep_until(
            begin + std::chrono::duration_cast<std::chrono::nanoseconds>(pace * i));
      if (absl::Status status = client.SetSchedule(spec).status(); !status.ok()) {
        std::lock_guard lock(mutex);
        failed = status;
        return;
      }
    }
  };
  std::vector<std::thread> setters;
  for (int i = 0; i < kSetters; ++i) setters.emplace_back(set_some);
  ProgressLine progress;
  while (next < count) {
    progress.Show([&] { return absl::StrFormat("%d of %d schedules", next.load(), count); });
    std::this_thread::sleep_for(kLook);
    std::lock_guard lock(mutex);
    if (!failed.ok()) break;
  }
  for (std::thread& setter : setters) setter.join();
  return failed;
}

absl::Status AddRestingLoad(const RestingLoad& load, const std::string& brokers) {
  if (load.delayed == 0 && load.schedules == 0) return absl::OkStatus();
  ZS_ASSIGN_OR_RETURN(auto client, Client::Create({.brokers = brokers, .name = "zsched-bench"}));
  ZS_RETURN_IF_ERROR(client->WaitForBroker(kConnectMs));
  ZS_RETURN_IF_ERROR(SubmitDelayed(*client, load.delayed));
  return SetSchedules(*client, load.schedules, "@every 24h", kQueue);
}

absl::Status CheckRestingLoad(const RestingLoad& load, Client& client) {
  ZS_ASSIGN_OR_RETURN(const StatusInfo status, client.Status());
  uint64_t delayed = 0;
  for (const QueueSummary& queue : status.queues)
    if (queue.name == kQueue) delayed = queue.counts[static_cast<size_t>(TaskState::kScheduled)];
  if (delayed != load.delayed)
    return Error(ErrorCode::kDataLoss,
                 absl::StrFormat("%d of %d delayed tasks are there", delayed, load.delayed));
  if (load.schedules == 0) return absl::OkStatus();
  ZS_ASSIGN_OR_RETURN(const std::vector<ScheduleInfo> schedules, client.Schedules());
  return schedules.size() == load.schedules
             ? absl::OkStatus()
             : Error(ErrorCode::kDataLoss, absl::StrFormat("%d of %d schedules are there",
                                                           schedules.size(), load.schedules));
}

}  // namespace zsched::bench
