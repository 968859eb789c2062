// Output of attempts: whose is taken, which pages stay, when they go.
#include <map>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

constexpr uint64_t kPage = kOutputPageBytes;

class Output : public testing::Test {
 protected:
  Output() : client(h.Client(1)), worker(h.Worker(1, 5)) {}
  Assign Submit(uint16_t max_attempts = 40) {
    h.SubmitOne(client, ++seq,
                {.max_attempts = max_attempts, .retry_base_ms = 1, .retry_cap_ms = 1});
    return Next();
  }
  Assign Next() {
    h.Pass(5);
    std::vector<Assign> taken = h.Take(worker);
    EXPECT_EQ(taken.size(), 1u);
    return taken.at(0);
  }
  // Offset → "ATTEMPT BYTES", of the pages in the place of an attempt.
  std::map<uint64_t, std::string> Pages(const Assign& a, uint32_t attempt) {
    std::map<uint64_t, std::string> pages;
    auto view = h.journal->View();
    const uint64_t first = OutputKey(TrailOf(a).number, attempt, 0);
    auto visit = [&](uint64_t key, std::string_view bytes) {
      if (key >= first + kOutputPages) return false;
      const auto page = ReadOutput(bytes);
      EXPECT_TRUE(page && IsOutputPage(page->head.offset, page->runs, page->bytes));
      pages[page->head.offset] =
          std::to_string(page->head.attempt) + " " + std::string(page->bytes);
      return true;
    };
    EXPECT_TRUE((*view)->Scan(Table::kOutput, first, visit).ok());
    return pages;
  }
  const Trail& TrailOf(const Assign& a) { return *h.core->state().trails().Find(a.task.value()); }
  uint64_t Count(Metric metric) { return h.core->metrics()[metric]; }
  void Same() {
    EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
    EXPECT_EQ(h.Fingerprint(), h.ReplayedFingerprint());
  }
  using PageMap = std::map<uint64_t, std::string>;

  CoreHarness h;
  SessionId client, worker;
  uint64_t seq = 0;
};

TEST_F(Output, APageGrowsAndTheNewestTakeThePlaceOfTheOldest) {
  const Assign a = Submit();
  h.Output(worker, a, 0, "one");
  h.Output(worker, a, 0, "one two");
  EXPECT_EQ(Pages(a, 1), (PageMap{{0, "1 one two"}}));
  const std::string full(kPage, 'x');
  for (uint64_t page = 0; page <= kOutputPages; ++page) h.Output(worker, a, page * kPage, full);
  const PageMap pages = Pages(a, 1);
  EXPECT_EQ(pages.size(), kOutputPages);
  EXPECT_EQ(pages.begin()->first, kPage) << "the first is overwritten";
  EXPECT_EQ(pages.rbegin()->first, kOutputPages * kPage);
  EXPECT_EQ(h.RowCount(Table::kTrails), 1u);
  Same();
}

TEST_F(Output, ATaskWithoutOutputHasNoTrace) {
  const Assign a = Submit();
  h.Done(worker, {a});
  EXPECT_EQ(h.RowCount(Table::kTrails), 0u);
  EXPECT_EQ(h.RowCount(Table::kOutput), 0u);
}

TEST_F(Output, EachAttemptHasAPlaceUntilALaterOneTakesIt) {
  Assign a = Submit();
  // Attempt 17 stands where attempt 2 stood; so does 18 with 3, but it writes nothing.
  for (uint16_t attempt = 1; attempt <= 18; ++attempt) {
    EXPECT_EQ(a.attempt, attempt);
    if (attempt < 17) {
      h.Output(worker, a, 0, "start");
      h.Output(worker, a, kPage, "rest");
    }
    if (attempt == 17) h.Output(worker, a, 3 * kPage, "other");
    h.Fail(worker, a);
    a = Next();
  }
  EXPECT_EQ(Pages(a, 1), (PageMap{{0, "1 start"}, {kPage, "1 rest"}}));
  EXPECT_EQ(Pages(a, 17), (PageMap{{3 * kPage, "17 other"}}));
  EXPECT_EQ(Pages(a, 18), (PageMap{{0, "3 start"}, {kPage, "3 rest"}}));
  EXPECT_EQ(TrailOf(a).wrote, 17);
  Same();
}

TEST_F(Output, OnlyTheOneWhoHoldsTheLeaseIsHeard) {
  const Assign a = Submit();
  const SessionId other = h.Worker(2, 0);
  h.Output(other, a, 0, "another worker");
  Assign wrong = a;
  wrong.lease = LeaseId(a.lease.value() + 1);
  h.Output(worker, wrong, 0, "another lease");
  h.Fail(worker, a);
  h.Output(worker, a, 0, "late");
  h.Output(SessionId(999), a, 0, "nobody");
  EXPECT_EQ(h.RowCount(Table::kOutput), 0u);
  EXPECT_EQ(Count(Metric::kOutputStale), 3u);
  EXPECT_EQ(Count(Metric::kOutputTaken), 0u);
}

TEST_F(Output, WhatIsNoPageIsDropped) {
  const Assign a = Submit();
  h.Output(worker, a, 1, "not from the start of a page");
  h.Output(worker, a, 0, std::string(kPage + 1, 'x'));
  h.Output(worker, a, 0, "");
  h.Output(worker, a, 0, "three", wire::OutputStream::kLog, 6);
  h.Output(worker, a, 0, "four", wire::OutputStream::kLog, 3);
  h.Output(worker, a, 0, "five", static_cast<wire::OutputStream>(3));
  EXPECT_EQ(Count(Metric::kOutputDropped), 6u);
  EXPECT_EQ(h.RowCount(Table::kTrails), 0u);
  h.core->SetDiskLow("the disk is full");
  h.Output(worker, a, 0, "a full disk");
  EXPECT_EQ(Count(Metric::kOutputDropped), 7u);
  h.core->SetDiskLow("");
  h.Output(worker, a, uint64_t{1} << 50, "far away");
  EXPECT_EQ(Pages(a, 1), (PageMap{{uint64_t{1} << 50, "1 far away"}}));
  Same();
}

// One that floods loses output, passes after a rest, and never loses a checkpoint by it.
TEST_F(Output, AFloodIsDroppedAndPasses) {
  const Assign a = Submit();
  const std::string full(kPage, 'x');
  for (uint64_t i = 0; i < 60'000; ++i) {
    h.hold_commits = i % 1000 != 0;
    h.Output(worker, a, i * kPage, full);
  }
  h.hold_commits = false;
  h.Commit();
  const uint64_t dropped = Count(Metric::kOutputDropped);
  EXPECT_GT(dropped, 10'000u);
  EXPECT_GT(Count(Metric::kOutputTaken), 5'000u) << "more than a worker sends in a second";
  h.Report(worker, a, {.checkpoint = std::string(kMaxCheckpointBytes, 'c')});
  EXPECT_EQ(Count(Metric::kReportsTaken), 1u);
  h.Pass(1000);
  h.Output(worker, a, 60'000 * kPage, "after a rest");
  EXPECT_EQ(Count(Metric::kOutputDropped), dropped);
  EXPECT_EQ(Pages(a, 1).rbegin()->second, "1 after a rest");
}

// The next attempt has the number of one that was given back.
TEST_F(Output, WhatIsGivenBackLeavesNoOutput) {
  const Assign a = Submit();
  h.Output(worker, a, 0, "early");
  h.Output(worker, a, kPage, "more");
  h.Release(worker, {a});
  EXPECT_EQ(h.RowCount(Table::kOutput), 0u);
  const Assign again = Next();
  EXPECT_EQ(again.attempt, 1);
  h.Output(worker, again, 0, "again");
  EXPECT_EQ(Pages(again, 1), (PageMap{{0, "1 again"}}));
  Same();
}

TEST_F(Output, GoesWithTheTask) {
  CoreHarness pruned({.keep_finished = 0});
  const SessionId by = pruned.Client(1), at = pruned.Worker(1, 5);
  pruned.SubmitOne(by, 1, {});
  const Assign a = pruned.Take(at).at(0);
  pruned.Output(at, a, 0, "one");
  pruned.Output(at, a, 63 * kPage, "last");
  pruned.Done(at, {a});
  EXPECT_EQ(pruned.RowCount(Table::kOutput), 2u);
  pruned.Restart();
  pruned.Prune();
  EXPECT_EQ(pruned.RowCount(Table::kOutput), 0u);
  EXPECT_EQ(pruned.RowCount(Table::kTrails), 0u);
}

}  // namespace
}  // namespace zsched::broker
