// Progress and checkpoints: whose are taken, what stays, who gets them.
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

using TestReport = CoreHarness::TestReport;

class Reports : public testing::Test {
 protected:
  Reports() : client(h.Client(1)), worker(h.Worker(1, 5)) {}
  Assign Submit() {
    h.SubmitOne(client, ++seq, {.retry_base_ms = 1});
    return Next();
  }
  Assign Next() {
    h.Pass(5);
    std::vector<Assign> taken = h.Take(worker);
    EXPECT_EQ(taken.size(), 1u);
    return taken.at(0);
  }
  std::optional<std::string> Note(uint64_t trail, NoteKind kind) {
    auto view = h.journal->View();
    auto bytes = (*view)->Get(Table::kNotes, NoteKey(trail, kind));
    EXPECT_TRUE(bytes.ok());
    if (!bytes->has_value()) return std::nullopt;
    const auto note = ReadNote(**bytes);
    EXPECT_TRUE(note);
    return std::to_string(note->head.attempt) + " " + std::to_string(note->head.percent) + " " +
           std::string(note->body);
  }
  const Trail& TrailOf(const Assign& a) { return *h.core->state().trails().Find(a.task.value()); }
  uint64_t Count(Metric metric) { return h.core->metrics()[metric]; }
  void Same() {
    EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
    EXPECT_EQ(h.Fingerprint(), h.ReplayedFingerprint());
  }

  CoreHarness h;
  SessionId client, worker;
  uint64_t seq = 0;
};

TEST_F(Reports, TheLatestStands) {
  const Assign a = Submit();
  h.Report(worker, a, {.percent = 10, .message = "begun"});
  h.Report(worker, a, {.checkpoint = "one"});
  h.Report(worker, a, {.percent = 90, .message = "nearly", .checkpoint = "two"});
  const uint64_t trail = TrailOf(a).number;
  EXPECT_EQ(Note(trail, NoteKind::kProgress), "1 90 nearly");
  EXPECT_EQ(Note(trail, NoteKind::kCheckpoint), "1 0 two");
  EXPECT_EQ(h.RowCount(Table::kNotes), 2u);
  EXPECT_EQ(h.RowCount(Table::kTrails), 1u);
  EXPECT_EQ(h.RowCount(Table::kHistory), 0u);
  Same();
}

TEST_F(Reports, TheNextAttemptGetsTheCheckpointWhateverEndedTheLast) {
  const Assign first = Submit();
  EXPECT_EQ(first.checkpoint, 0u);
  h.Report(worker, first, {.percent = 1});
  h.Fail(worker, first);
  const Assign second = Next();
  EXPECT_EQ(second.checkpoint, 0u) << "a progress is none";
  h.Report(worker, second, {.checkpoint = ""});
  h.Pass(CoreConfig{}.visibility_timeout_ms + 1);
  worker = h.Worker(2, 5);
  const Assign third = Next();
  EXPECT_EQ(third.checkpoint, TrailOf(third).number) << "also an empty one, after a loss";
  h.Fail(worker, third, ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever);
  h.Restart();
  worker = h.Worker(3, 5);
  h.core->OnRetry(SessionId(1), 1, h.Rows({third.task.value()}), h.now);
  const Assign fourth = Next();
  EXPECT_EQ(fourth.checkpoint, TrailOf(fourth).number) << "over RETRY and a restart";
  h.Release(worker, {fourth});
  EXPECT_EQ(Next().checkpoint, fourth.checkpoint);
  Same();
}

TEST_F(Reports, OnlyTheOneWhoHoldsTheLeaseIsHeard) {
  const Assign a = Submit();
  const SessionId other = h.Worker(2, 0);
  h.Report(other, a, {.percent = 1});
  Assign wrong = a;
  wrong.lease = LeaseId(a.lease.value() + 1);
  h.Report(worker, wrong, {.percent = 2});
  h.Fail(worker, a);
  h.Report(worker, a, {.checkpoint = "late"});
  h.Report(SessionId(999), a, {.percent = 3});
  EXPECT_EQ(h.RowCount(Table::kNotes), 0u);
  EXPECT_EQ(Count(Metric::kReportsStale), 3u);
  EXPECT_EQ(Count(Metric::kReportsTaken), 0u);
}

TEST_F(Reports, WhatIsOutOfRangeIsCutOrDropped) {
  const Assign a = Submit();
  h.Report(worker, a, {.percent = 255, .message = std::string(1000, 'm')});
  const uint64_t trail = TrailOf(a).number;
  EXPECT_EQ(Note(trail, NoteKind::kProgress),
            "1 100 " + std::string(kMaxProgressMessageBytes, 'm'));
  h.Report(worker, a, {.checkpoint = std::string(kMaxCheckpointBytes, 'c')});
  h.Report(worker, a, {.percent = 7, .checkpoint = std::string(kMaxCheckpointBytes + 1, 'd')});
  EXPECT_EQ(Note(trail, NoteKind::kCheckpoint), "1 0 " + std::string(kMaxCheckpointBytes, 'c'));
  EXPECT_EQ(Note(trail, NoteKind::kProgress)->substr(0, 6), "1 100 ");
  EXPECT_EQ(Count(Metric::kReportsDropped), 1u);
  Same();
}

TEST_F(Reports, AFloodIsDroppedAndPasses) {
  const Assign a = Submit();
  const std::string large(kMaxCheckpointBytes, 'x');
  for (int i = 0; i < 3000; ++i) {
    h.hold_commits = i % 100 != 0;
    h.Report(worker, a, {.checkpoint = large});
  }
  h.hold_commits = false;
  h.Commit();
  const uint64_t dropped = Count(Metric::kReportsDropped);
  EXPECT_GT(dropped, 1000u);
  EXPECT_GT(Count(Metric::kReportsTaken), 500u) << "more than a worker sends in a burst";
  h.Pass(1000);
  h.Report(worker, a, {.checkpoint = "after a rest"});
  EXPECT_EQ(Note(TrailOf(a).number, NoteKind::kCheckpoint), "1 0 after a rest");
  EXPECT_EQ(Count(Metric::kReportsDropped), dropped);
}

TEST_F(Reports, GoWithTheTask) {
  CoreHarness pruned({.keep_finished = 0});
  const SessionId by = pruned.Client(1), at = pruned.Worker(1, 5);
  pruned.SubmitOne(by, 1, {});
  const Assign a = pruned.Take(at).at(0);
  pruned.Report(at, a, {.percent = 1, .checkpoint = "c"});
  pruned.Done(at, {a});
  EXPECT_EQ(pruned.RowCount(Table::kNotes), 2u);
  pruned.Restart();
  pruned.Prune();
  EXPECT_EQ(pruned.RowCount(Table::kNotes), 0u);
  EXPECT_EQ(pruned.RowCount(Table::kTrails), 0u);
}

}  // namespace
}  // namespace zsched::broker
