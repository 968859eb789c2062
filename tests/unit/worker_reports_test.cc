// What a worker tells of what its attempts say: the latest of each, in turns, before their ends, again in a new session.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "worker/core/reports.h"

namespace zsched::worker {
namespace {

Report Note(uint64_t lease, std::optional<uint8_t> percent, std::optional<std::string> checkpoint) {
  return {.task = TaskId(lease),
          .lease = LeaseId(lease),
          .percent = percent,
          .message = {},
          .checkpoint = std::move(checkpoint)};
}

std::vector<std::string> Text(const std::vector<const Report*>& reports) {
  std::vector<std::string> texts;
  for (const Report* report : reports)
    texts.push_back(std::to_string(report->lease.value()) + ":" +
                    (report->percent ? std::to_string(*report->percent) : "-") + ":" +
                    report->checkpoint.value_or("-"));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(Reports, TheLatestOfEachLeavesAndNotTooOften) {
  Reports reports;
  EXPECT_EQ(reports.NextDeadlineMs(), Reports::kNever);
  reports.OnNote(Note(1, 10, {}));
  reports.OnNote(Note(1, {}, "a"));
  reports.OnNote(Note(1, 20, {}));
  EXPECT_EQ(Text(reports.Take(1000)), Texts{"1:20:a"});
  EXPECT_TRUE(reports.Take(1000).empty());
  reports.OnNote(Note(1, 30, {}));
  EXPECT_TRUE(reports.Take(1000 + kReportEveryMs - 1).empty());
  EXPECT_EQ(reports.NextDeadlineMs(), 1000 + kReportEveryMs);
  EXPECT_EQ(Text(reports.Take(1000 + kReportEveryMs)), Texts{"1:30:a"});
  EXPECT_EQ(reports.NextDeadlineMs(), Reports::kNever);
}

TEST(Reports, WhatHasEndedDoesNotWait) {
  Reports reports;
  reports.OnNote(Note(1, 10, {}));
  reports.OnNote(Note(2, 10, {}));
  EXPECT_EQ(reports.Take(1000).size(), 2u);
  reports.OnNote(Note(1, 20, "end"));
  reports.OnNote(Note(2, 20, {}));
  reports.OnEnded(LeaseId(1));
  EXPECT_EQ(reports.NextDeadlineMs(), 0);
  EXPECT_EQ(Text(reports.Take(1001)), Texts{"1:20:end"});
}

TEST(Reports, AllIsDueAgainInANewSessionButWhatIsNotHeld) {
  Reports reports;
  for (uint64_t lease : {1, 2, 3}) reports.OnNote(Note(lease, 1, "c"));
  EXPECT_EQ(reports.Take(1000).size(), 3u);
  reports.OnSessionUp();
  reports.Forget([](LeaseId lease) { return lease != LeaseId(2); });
  EXPECT_EQ(reports.Take(1001).size(), 2u);
  reports.Forget([](LeaseId) { return false; });
  EXPECT_TRUE(reports.empty());
}

TEST(Reports, AFrameIsBoundedByItsBytesAndEntries) {
  std::vector<Report> all(3000, Note(1, 1, {}));
  std::vector<const Report*> list;
  for (const Report& report : all) list.push_back(&report);
  EXPECT_EQ(ReportsOfOneFrame(list), kMaxProgressReports);
  for (Report& report : all) report.checkpoint = std::string(kMaxCheckpointBytes, 'x');
  EXPECT_EQ(ReportsOfOneFrame(list), kBatchTargetBytes / kMaxCheckpointBytes);
  EXPECT_EQ(ReportsOfOneFrame(std::span(list).first(1)), 1u);
  EXPECT_EQ(ReportsOfOneFrame({}), 0u);
}

// Against a model: what the broker knows of each lease is what was said last, once there is nothing due, and each has its
// turn although more is said all the time than may leave.
TEST(Reports, WhateverIsSaidTheLatestArrives) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    std::mt19937_64 random(seed);
    Reports reports;
    std::map<uint64_t, std::string> said, known;
    std::set<uint64_t> ended;
    int64_t now_ms = 0;
    auto take = [&] {
      size_t bytes = 0;
      for (const Report* report : reports.Take(now_ms)) {
        known[report->lease.value()] = *report->checkpoint;
        if (!ended.contains(report->lease.value())) bytes += report->bytes();
      }
      EXPECT_LE(bytes, kMaxReportBytes + kMaxCheckpointBytes);
      for (uint64_t lease : ended) EXPECT_EQ(known[lease], said[lease]) << "its result goes next";
    };
    for (int step = 0; step < 2000; ++step) {
      const uint64_t lease = 1 + random() % 40;
      switch (random() % 6) {
        case 0:
          if (said.contains(lease) && ended.insert(lease).second) reports.OnEnded(LeaseId(lease));
          break;
        case 1:
          if (random() % 20 == 0) {
            known.clear();  // the broker lost what was not durable
            reports.OnSessionUp();
          }
          break;
        case 2:
          now_ms += static_cast<int64_t>(random() % 300);
          take();
          break;
        default:
          if (ended.contains(lease)) break;
          said[lease] = std::to_string(step) + std::string(random() % kMaxCheckpointBytes, 'x');
          reports.OnNote(Note(lease, {}, said[lease]));
      }
    }
    for (int i = 0; i < 10; ++i, now_ms += kReportEveryMs) take();
    EXPECT_EQ(known, said) << "seed " << seed;
    EXPECT_EQ(reports.NextDeadlineMs(), Reports::kNever);
  }
}

}  // namespace
}  // namespace zsched::worker
