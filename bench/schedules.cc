#include "bench/schedules.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/text.h"
#include "bench/proc.h"
#include "bench/processes.h"
#include "bench/progress.h"
#include "bench/resting.h"
#include "schemas/errors.h"
#include "zsched/client.h"

namespace zsched::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t kConnectMs = 60'000;
constexpr milliseconds kSettle(
    2000);  // after a restart, until the files are written and the broker rests
constexpr milliseconds kLook(200);
constexpr std::chrono::minutes kGiveUp(20);
constexpr char kQueue[] = "bench";

double SecondsSince(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double BrokerCpu(const Cluster& cluster) {
  double seconds = 0;
  for (const auto& [thread, used] : CpuOf(cluster.broker_pid(), "loop")) seconds += used;
  return seconds;
}

absl::StatusOr<std::unique_ptr<Client>> Connect(const Cluster& cluster) {
  ZS_ASSIGN_OR_RETURN(auto client,
                      Client::Create({.brokers = cluster.brokers(), .name = "zsched-bench"}));
  ZS_RETURN_IF_ERROR(client->WaitForBroker(kConnectMs));
  return client;
}

// Of every schedule.
std::string Expression(const SchedulesOptions& options) {
  if (!options.together) return absl::StrFormat("@every %dms", options.period_ms);
  const absl::CivilSecond at =
      absl::ToCivilSecond(absl::Now() + absl::Milliseconds(options.period_ms), absl::UTCTimeZone());
  return absl::StrFormat("%d %d %d * * *", at.second(), at.minute(), at.hour());
}

absl::StatusOr<uint64_t> Fired(Client& client) {
  ZS_ASSIGN_OR_RETURN(StatusInfo status, client.Status());
  for (const QueueSummary& queue : status.queues)
    if (queue.name == kQueue) return queue.counts[static_cast<size_t>(TaskState::kReady)];
  return 0;
}

// How late each tick's task was submitted. Ticks beyond the first of each schedule may be there too.
absl::StatusOr<std::vector<double>> Lateness(Client& client, uint64_t schedules) {
  std::vector<double> late_ms;
  std::set<std::string> fired;
  TaskLister tasks = client.ListTasks({.queue = kQueue});
  for (TaskInfo task; tasks.Next(&task);) {
    std::string tick;
    for (const Label& label : task.labels) {
      if (label.key == kScheduleLabel) fired.insert(label.value);
      if (label.key == kTickLabel) tick = label.value;
    }
    ZS_ASSIGN_OR_RETURN(int64_t tick_ms, ParseTimeMs(tick));
    late_ms.push_back(static_cast<double>(task.submitted_at_ms - tick_ms));
  }
  ZS_RETURN_IF_ERROR(tasks.status());
  if (fired.size() != schedules)
    return Error(ErrorCode::kDataLoss,
                 absl::StrFormat("%d of %d schedules have a task", fired.size(), schedules));
  return late_ms;
}

absl::Status MeasureTicks(const Cluster& cluster, Client& client, const SchedulesOptions& options,
                          SchedulesResult& result) {
  ProgressLine progress;
  uint64_t fired = 0, fired_before = 0;
  std::optional<Clock::time_point> begin;
  double cpu = 0;
  const auto give_up = Clock::now() + milliseconds(options.period_ms) + kGiveUp;
  while (fired < options.schedules) {
    if (Clock::now() > give_up)
      return Error(ErrorCode::kTimedOut, absl::StrFormat("%d ticks have fired", fired));
    std::this_thread::sleep_for(kLook);
    ZS_ASSIGN_OR_RETURN(fired, Fired(client));
    progress.Show([&] { return absl::StrFormat("%d of %d ticks", fired, options.schedules); });
    if (begin || fired == 0) continue;
    begin = Clock::now();
    cpu = BrokerCpu(cluster);
    fired_before = fired;
  }
  // None are left when all came between two looks.
  if (const auto ticks = static_cast<double>(fired - fired_before); ticks > 0) {
    result.ticks_per_second = ticks / SecondsSince(*begin);
    result.cpu_us_per_tick = (BrokerCpu(cluster) - cpu) * 1e6 / ticks;
  }
  ZS_ASSIGN_OR_RETURN(std::vector<double> late_ms, Lateness(client, options.schedules));
  result.late_ms = PercentilesOf(late_ms);
  result.late_ms_max = *std::max_element(late_ms.begin(), late_ms.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SchedulesResult> RunSchedules(const SchedulesOptions& options) {
  SchedulesResult result;
  const auto schedules = static_cast<double>(options.schedules);
  ZS_ASSIGN_OR_RETURN(auto cluster, Cluster::Start({.workers = 0, .data_root = options.data_root}));
  ZS_ASSIGN_OR_RETURN(auto client, Connect(*cluster));
  ZS_ASSIGN_OR_RETURN(double empty, AnonymousBytes(cluster->broker_pid()));
  const auto begin = Clock::now();
  ZS_RETURN_IF_ERROR(
      SetSchedules(*client, options.schedules, Expression(options), kQueue, options.spread_ms));
  result.sets_per_second = schedules / SecondsSince(begin);
  ZS_ASSIGN_OR_RETURN(double full, AnonymousBytes(cluster->broker_pid()));
  result.rss_bytes_per_schedule = (full - empty) / schedules;
  result.disk_bytes_per_schedule = DirectoryBytes(cluster->journal()) / schedules;
  ZS_RETURN_IF_ERROR(client->Close(5000));

  cluster->KillBroker();
  const auto restart = Clock::now();
  ZS_RETURN_IF_ERROR(cluster->StartBroker());
  ZS_ASSIGN_OR_RETURN(client, Connect(*cluster));
  result.restart_seconds = SecondsSince(restart);

  std::this_thread::sleep_for(kSettle);
  const double cpu = BrokerCpu(*cluster);
  const auto idle = Clock::now();
  std::this_thread::sleep_for(milliseconds(options.idle_ms));
  result.idle_cpu_percent = (BrokerCpu(*cluster) - cpu) / SecondsSince(idle) * 100;
  if (Clock::now() - begin >= milliseconds(options.period_ms))
    return Error(ErrorCode::kInvalidArgument, "--period: the first schedule was due too early");
  ZS_RETURN_IF_ERROR(MeasureTicks(*cluster, *client, options, result));
  ZS_RETURN_IF_ERROR(client->Close(5000));
  cluster->Stop();
  return result;
}

}  // namespace zsched::bench
