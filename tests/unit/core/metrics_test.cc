// What a broker counts about itself: buckets of times, how long tasks waited, why they were refused, ages of queues.
#include <map>
#include <random>

#include "broker/core/histogram.h"
#include "broker/core/ready_times.h"
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

TEST(Histogram, ABoundIsInclusiveAndTheLastBucketIsAboveAll) {
  for (std::span<const uint64_t> bounds :
       {std::span<const uint64_t>(kTaskBoundsUs), std::span<const uint64_t>(kCommitBoundsUs)}) {
    Histogram histogram(bounds);
    ASSERT_EQ(histogram.counts().size(), bounds.size() + 1);
    EXPECT_TRUE(std::is_sorted(bounds.begin(), bounds.end()));
    uint64_t sum = 0;
    for (size_t i = 0; i < bounds.size(); ++i) {
      histogram.Observe(bounds[i]);
      EXPECT_EQ(histogram.counts()[i], i == 0 ? 1u : 2u) << i;
      histogram.Observe(bounds[i] + 1);
      EXPECT_EQ(histogram.counts()[i + 1], 1u) << i;
      sum += 2 * bounds[i] + 1;
    }
    histogram.Observe(0);
    EXPECT_EQ(histogram.counts()[0], 2u);
    EXPECT_EQ(histogram.sum_us(), sum);
  }
}

TEST(ReadyTimes, KnowsTheMillisecondOfTheLatestRecords) {
  std::mt19937_64 random(3);
  ReadyTimes times;
  EXPECT_EQ(times.TimeOf(1), std::nullopt);
  std::vector<int64_t> truth;  // by LSN - 1
  int64_t now_ms = 50;
  for (uint64_t lsn = 1; lsn <= 3 * ReadyTimes::kMarks; ++lsn) {
    times.Note(lsn, now_ms);
    truth.push_back(now_ms);
    if (random() % 3 != 0) now_ms += static_cast<int64_t>(random() % 4);
    const uint64_t asked = 1 + random() % lsn;
    if (const auto at_ms = times.TimeOf(asked)) {
      ASSERT_EQ(*at_ms, truth[asked - 1]) << asked << " of " << lsn;
    } else {
      ASSERT_LT(asked + ReadyTimes::kMarks, lsn) << "the latest are known";
    }
    ASSERT_EQ(times.TimeOf(lsn), truth.back());
  }
}

uint64_t Observed(const Core& core, Timing timing) {
  uint64_t count = 0;
  for (uint64_t bucket : core.metrics().timings()[static_cast<size_t>(timing)].counts())
    count += bucket;
  return count;
}
uint64_t SumUs(const Core& core, Timing timing) {
  return core.metrics().timings()[static_cast<size_t>(timing)].sum_us();
}

TEST(TaskWait, IsFromTheLastTimeThatATaskBecameReady) {
  CoreHarness h;
  SessionId client = h.Client(1);
  h.Submit(client, 1, {{.delay_ms = 4'000}});
  h.Pass(5'000);  // ready now
  h.Pass(250);
  SessionId worker = h.Worker(1, 1);
  h.Commit();
  auto held = h.Take(worker);
  ASSERT_EQ(held.size(), 1u);
  EXPECT_EQ(Observed(*h.core, Timing::kTaskWait), 1u);
  EXPECT_EQ(SumUs(*h.core, Timing::kTaskWait), 250'000u);
  h.Credit(worker, 0);
  h.Release(worker, held);
  h.Pass(40);
  h.Credit(worker, 1);
  h.Commit();
  EXPECT_EQ(Observed(*h.core, Timing::kTaskWait), 2u);
  EXPECT_EQ(SumUs(*h.core, Timing::kTaskWait), 290'000u) << "since it was given back";
}

TEST(TaskWait, OfWhatARestartFoundIsToASecond) {
  CoreHarness h;
  h.Submit(h.Client(1), 1, {{}});
  h.Restart();
  h.Pass(10'000);
  h.Worker(1, 1);
  h.Commit();
  EXPECT_EQ(Observed(*h.core, Timing::kTaskWait), 1u);
  EXPECT_GE(SumUs(*h.core, Timing::kTaskWait), 10'000'000u);
  EXPECT_LT(SumUs(*h.core, Timing::kTaskWait), 11'000'000u);
}

TEST(TaskRun, IsWhatWorkersReported) {
  CoreHarness h;
  SessionId client = h.Client(1);
  SessionId worker = h.Worker(1, 3);
  h.Submit(client, 1, {{}, {}, {}});
  auto held = h.Take(worker);
  ASSERT_EQ(held.size(), 3u);
  h.Done(worker, {held[0]});  // 7 µs, as the harness reports
  EXPECT_EQ(SumUs(*h.core, Timing::kTaskRun), 7u);
  h.Succeed(worker, held[1], "result");
  h.Fail(worker, held[2]);
  EXPECT_EQ(Observed(*h.core, Timing::kTaskRun), 3u);
}

TEST(Rejects, AreCountedByTheirReasonAndAddUp) {
  CoreConfig config;
  config.max_queue_tasks = 2;
  config.max_queue_bytes = 1000;
  config.max_tasks = 5;
  config.max_keys = 1;
  CoreHarness h(config);
  SessionId client = h.Client(1);
  uint64_t seq = 0;
  auto submit = [&](const std::vector<TestTask>& tasks) { h.Submit(client, ++seq, tasks); };
  std::map<Metric, uint64_t> expected;
  auto check = [&](Metric reason, uint64_t times = 1) {
    expected[reason] += times;
    uint64_t sum = 0;
    for (const auto& [metric, count] : expected) {
      EXPECT_EQ(h.core->metrics()[metric], count) << kMetricNames[static_cast<size_t>(metric)];
      sum += count;
    }
    EXPECT_EQ(h.core->metrics()[Metric::kTasksRejected], sum);
  };
  submit({{.queue = "a"}, {.queue = "a"}, {.queue = "a"}});
  check(Metric::kRejectedQueueFullTasks);
  submit({{.queue = "b", .payload = std::string(1001, 'x')}});
  check(Metric::kRejectedQueueFullBytes);
  submit({{.priority = 10}});
  check(Metric::kRejectedInvalid);
  submit({{.queue = "b", .key = "k"}, {.queue = "c", .payload = "other", .key = "k"}});
  check(Metric::kRejectedConflict);
  submit({{.queue = "c", .key = "k2"}});
  check(Metric::kRejectedKeysFull);
  h.SetQueue(client, "d", {.draining = true});
  submit({{.queue = "d"}});
  check(Metric::kRejectedDraining);
  h.core->SetDiskLow("the disk is nearly full");
  submit({{.queue = "c"}, {.queue = "e"}});
  check(Metric::kRejectedDiskLow, 2);
  h.core->SetDiskLow("");
  submit({{.queue = "c"}, {.queue = "c"}, {.queue = "e"}});
  check(Metric::kRejectedBrokerFull);
}

TEST(QueueAges, AreOfTheOldestReadyTaskWhateverItsLane) {
  CoreHarness h;
  SessionId client = h.Client(1);
  h.Submit(client, 1, {{.queue = "a", .priority = 1}, {.queue = "empty", .delay_ms = 1'000'000}});
  h.Pass(20'000);
  h.Submit(h.Client(2), 1,
           {{.queue = "a", .priority = 9}, {.type = "u", .queue = "b", .fairness_key = "f"}});
  h.Pass(3'000);
  auto age = [&](const std::string& name) {
    const auto& queues = h.core->state().lanes().queues();
    const std::vector<uint64_t>& ages = h.core->QueueAges(h.now);
    for (size_t i = 0; i < queues.size(); ++i)
      if (queues[i].name == name) return ages[i];
    return uint64_t{12345};
  };
  EXPECT_GE(age("a"), 23'000u);
  EXPECT_LT(age("a"), 24'000u);
  EXPECT_GE(age("b"), 3'000u);
  EXPECT_LT(age("b"), 4'000u);
  EXPECT_EQ(age("empty"), 0u);
  // A task that is given back stands in front, and became ready last.
  SessionId worker = h.Worker(1, 1, {"a"});
  h.Commit();
  auto held = h.Take(worker);
  h.Credit(worker, 0);
  h.Release(worker, held);
  h.Pass(2'000);
  EXPECT_GE(age("a"), 25'000u) << "of the one that was never handed out";
}

}  // namespace
}  // namespace zsched::broker
