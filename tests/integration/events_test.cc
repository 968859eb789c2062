// Events with real processes: what a follower sees of tasks, through a broker that is killed and one that takes over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "tests/harness/cluster.h"

namespace zsched {
namespace {

using harness::Cluster;
using harness::CtlResult;
using testing::HasSubstr;

// Follows the log from its begin on until it is told to stop and has seen the end.
class Follower {
 public:
  explicit Follower(Cluster& cluster)
      : client_(cluster.NewClient()), thread_([this] { Follow(); }) {}
  ~Follower() { Stop(); }
  const std::vector<Event>& Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return events_;
  }
  uint64_t seen() const { return seen_; }

 private:
  void Follow() {
    EventQuery query{.limit = 50};
    while (true) {
      const bool last_round = stop_;
      absl::StatusOr<EventPage> page = client_->Events(query);
      if (!page.ok()) {  // nobody serves for a moment
        EXPECT_TRUE(IsRetryable(CodeOf(page.status()))) << page.status();
        if (last_round) return;
        continue;
      }
      EXPECT_FALSE(page->trimmed);
      for (Event& event : page->events) {
        if (!events_.empty()) {
          EXPECT_LT(std::pair(events_.back().lsn, events_.back().index),
                    std::pair(event.lsn, event.index));
        }
        events_.push_back(std::move(event));
      }
      seen_ = events_.size();
      query.from = page->next;
      if (page->complete() && last_round) return;
      if (page->complete()) std::this_thread::yield();
    }
  }

  std::unique_ptr<Client> client_;
  std::vector<Event> events_;
  std::atomic<uint64_t> seen_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

std::map<TaskId, std::vector<EventKind>> ByTask(const std::vector<Event>& events) {
  std::map<TaskId, std::vector<EventKind>> kinds;
  for (const Event& event : events)
    if (event.task) kinds[event.task].push_back(event.kind);
  return kinds;
}

// Each task: submitted once, and over once, whatever happened in between.
void ExpectWholeLives(const std::vector<Event>& events, const std::vector<TaskId>& tasks) {
  const auto kinds = ByTask(events);
  for (TaskId task : tasks) {
    const auto life = kinds.find(task);
    ASSERT_NE(life, kinds.end()) << "nothing was told of task " << ToString(task);
    EXPECT_EQ(life->second.front(), EventKind::kSubmitted) << ToString(task);
    EXPECT_EQ(life->second.back(), EventKind::kSucceeded) << ToString(task);
    for (const EventKind kind : {EventKind::kSubmitted, EventKind::kSucceeded})
      EXPECT_EQ(std::count(life->second.begin(), life->second.end(), kind), 1) << ToString(task);
  }
}

TEST(EventsPair, AFollowerMissesNothingWhenTheActiveIsKilled) {
  Cluster cluster;
  cluster.StartPair();
  cluster.StartWorker("w");
  auto client = cluster.NewClient();
  Follower follower(cluster);
  std::vector<TaskId> tasks;
  auto submit = [&](int count) {
    for (int i = 0; i < count; ++i)
      tasks.push_back(harness::SubmitOne(*client, {.type = "echo", .payload = "x"}));
  };
  submit(100);
  ASSERT_TRUE(harness::Await([&] { return follower.seen() > 0; }));
  const std::string active = cluster.Active();
  cluster.KillNode(active);
  submit(100);  // the first of them waits until the other one serves
  cluster.AwaitRole(Cluster::Other(active), "kActive");
  cluster.StartNode(active);
  cluster.AwaitRole(active, "kStandby");
  submit(100);
  harness::WaitAll(*client, tasks);
  const std::vector<Event>& events = follower.Stop();
  ExpectWholeLives(events, tasks);
  EXPECT_EQ(std::count_if(events.begin(), events.end(),
                          [](const Event& event) { return event.kind == EventKind::kEpoch; }),
            2);

  // The standby tells the same, with the same places, when a heartbeat has told it what is committed.
  const harness::Args succeeded = {"--stale", "events", "--kind", "succeeded", "-o", "jsonl"};
  const CtlResult at_active = cluster.CtlAt(Cluster::Other(active), succeeded);
  EXPECT_EQ(static_cast<size_t>(std::count(at_active.out.begin(), at_active.out.end(), '\n')),
            tasks.size());
  EXPECT_TRUE(
      harness::Await([&] { return cluster.CtlAt(active, succeeded).out == at_active.out; }));
}

TEST(EventsPair, LagIsZeroInSyncAndAbsentWithoutAStandby) {
  Cluster cluster;
  cluster.StartPair();
  auto client = cluster.NewClient();
  harness::SubmitOne(*client, {.type = "noop"});
  auto lag = [&]() -> std::optional<uint64_t> {
    absl::StatusOr<StatusInfo> status = client->Status();
    if (!status.ok()) return std::nullopt;
    for (const CounterValue& gauge : status->gauges)
      if (gauge.name == "replication_lag_records") return gauge.value;
    return std::nullopt;
  };
  EXPECT_TRUE(harness::Await([&] { return lag() == 0u; }));
  cluster.KillNode(Cluster::Other(cluster.Active()));
  cluster.AwaitRole(cluster.Active(), "kActiveSolo");
  harness::SubmitOne(*client, {.type = "noop"});
  EXPECT_TRUE(harness::Await([&] { return lag() == std::nullopt; }));
}

TEST(EventsCtl, ShowsFiltersAndGoesOnWhereItWas) {
  Cluster cluster;
  cluster.StartBroker();
  cluster.StartWorker("w");
  auto client = cluster.NewClient();
  const TaskId one = harness::SubmitOne(*client, {.type = "echo", .queue = "a", .payload = "x"});
  const TaskId two = harness::SubmitOne(*client, {.type = "echo", .queue = "b", .payload = "x"});
  harness::WaitAll(*client, {one, two});
  const CtlResult all = cluster.Ctl({"events"});
  EXPECT_EQ(all.exit_code, 0) << all.err;
  EXPECT_THAT(all.out, HasSubstr("epoch"));
  EXPECT_THAT(all.out, HasSubstr("worker_seen"));
  const CtlResult mine = cluster.Ctl({"events", "--task", ToString(one), "-o", "jsonl"});
  EXPECT_EQ(std::count(mine.out.begin(), mine.out.end(), '\n'), 3) << mine.out;
  EXPECT_THAT(mine.out, HasSubstr("\"kind\":\"started\""));
  EXPECT_THAT(mine.out, HasSubstr("\"worker\":"));
  const CtlResult queue = cluster.Ctl({"events", "--queue", "b", "--kind", "succeeded"});
  EXPECT_EQ(std::count(queue.out.begin(), queue.out.end(), '\n'), 1) << queue.out;
  EXPECT_THAT(queue.out, HasSubstr(ToString(two)));

  const CtlResult first = cluster.Ctl({"events", "--limit", "1", "-o", "jsonl"});
  const std::string begin = "{\"position\":\"";
  ASSERT_TRUE(first.out.starts_with(begin)) << first.out;
  const std::string position =
      first.out.substr(begin.size(), first.out.find('"', begin.size()) - begin.size());
  const CtlResult rest = cluster.Ctl({"events", "--after", position, "-o", "jsonl"});
  EXPECT_EQ(first.out + rest.out, cluster.Ctl({"events", "-o", "jsonl"}).out);
  // A whole record behind, and so nothing twice.
  for (const char* bad : {"x", "1.", ".1", "0.1", "-1", "18446744073709551615"})
    EXPECT_EQ(cluster.Ctl({"events", "--after", bad}).exit_code, 2) << bad;
  EXPECT_EQ(cluster.Ctl({"events", "--kind", "nothing"}).exit_code, 2);
}

TEST(EventsCtl, StatusHasWhatMetricsAreMadeOf) {
  Cluster cluster;
  cluster.StartBroker();
  cluster.StartWorker("w");
  auto client = cluster.NewClient();
  harness::WaitAll(*client,
                   {harness::SubmitOne(*client, {.type = "sleep", .payload = "{\"ms\":20}"})});
  std::map<std::string, uint64_t> gauges;
  ASSERT_TRUE(harness::Await([&] {
    absl::StatusOr<StatusInfo> status = client->Status();
    if (!status.ok()) return false;
    for (const CounterValue& gauge : status->gauges) gauges[gauge.name] = gauge.value;
    return gauges.contains("process_threads");
  }));
  for (const char* name : {"journal_map_bytes", "journal_map_free_bytes", "disk_free_bytes",
                           "process_resident_memory_bytes", "process_cpu_microseconds",
                           "process_open_fds", "credit_tasks"})
    EXPECT_GT(gauges[name], 0u) << name;
  EXPECT_TRUE(gauges.contains("journal_log_bytes")) << "0 while all of it is in the redo file";
  EXPECT_GE(gauges["process_threads"], 3u);
  EXPECT_EQ(gauges["workers"], 1u);
  absl::StatusOr<StatusInfo> status = client->Status();
  ASSERT_TRUE(status.ok());
  std::map<std::string, const HistogramValue*> times;
  for (const HistogramValue& histogram : status->histograms) times[histogram.name] = &histogram;
  ASSERT_EQ(times.size(), 4u);
  EXPECT_GE(times["task_run"]->sum_us, 20'000u);
  EXPECT_GT(times["commit"]->sum_us, times["fsync"]->sum_us) << "a flush is a part of a commit";
  EXPECT_GT(times["fsync"]->sum_us, 0u);
  const CtlResult json = cluster.Ctl({"status", "-o", "json"});
  for (const char* name : {"gauges", "histograms", "oldest_ready_ms", "rejected_invalid_total"})
    EXPECT_THAT(json.out, HasSubstr(name));
}

}  // namespace
}  // namespace zsched
