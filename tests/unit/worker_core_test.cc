// The worker's ledger and its credit, event by event.
#include <gtest/gtest.h>

#include <vector>

#include "schemas/frame.h"
#include "schemas/verify.h"
#include "worker/core/credit.h"
#include "worker/core/frames.h"
#include "worker/core/ledger.h"

namespace zsched::worker {
namespace {

constexpr uint32_t kVisibilityMs = 6'000;
constexpr uint32_t kTimeoutMs = 1'000;

class LedgerTest : public ::testing::Test {
 protected:
  explicit LedgerTest(int concurrency = 2) : ledger(OptionsFor(concurrency)) {}

  static LedgerOptions OptionsFor(int concurrency) {
    LedgerOptions options;
    options.concurrency = concurrency;
    return options;
  }
  void Up(std::vector<LeaseId> stale = {}) { ledger.OnSessionUp(kVisibilityMs, stale, now); }
  bool Assign(uint64_t lease, uint32_t timeout_ms = kTimeoutMs) {
    return ledger.OnAssigned({TaskId(1000 + lease), LeaseId(lease), 1, timeout_ms}, now);
  }
  void AssignUntil(uint64_t lease, uint64_t start_within_ms) {
    ASSERT_TRUE(ledger.OnAssigned(
        {TaskId(1000 + lease), LeaseId(lease), 1, kTimeoutMs, 0, start_within_ms}, now));
  }
  void End(uint64_t lease, uint32_t run_us = 10) {
    std::vector<Ended> ended(1);
    ended[0].lease = LeaseId(lease);
    ended[0].run_us = run_us;
    ledger.OnEnded(ended, now);
  }
  void EndWith(uint64_t lease, Outcome outcome) {
    std::vector<Ended> ended(1);
    ended[0].lease = LeaseId(lease);
    ended[0].outcome = std::make_unique<Outcome>(std::move(outcome));
    ledger.OnEnded(ended, now);
  }
  // The only result of the next RESULTS frame.
  ResultsFrame::Entry OnlyResult() {
    Frames frames = ledger.TakeFrames(now);
    EXPECT_EQ(frames.results.size(), 1u);
    EXPECT_EQ(frames.results[0]->done.size(), 0u);
    EXPECT_EQ(frames.results[0]->results.size(), 1u);
    return frames.results[0]->results[0];
  }
  std::vector<uint64_t> HeldLeases() const {
    std::vector<uint64_t> held;
    for (const wire::LeaseRef& ref : ledger.Held()) held.push_back(ref.lease_id());
    return held;
  }

  Ledger ledger;
  int64_t now = 1'000'000;
};

using Leases = std::vector<uint64_t>;

TEST_F(LedgerTest, AsksForOneTaskASlotBeforeItKnowsRunTimes) {
  Up();
  EXPECT_EQ(ledger.TakeFrames(now).credit, (Grant{2, kMaxCreditBytes}));
  EXPECT_EQ(ledger.TakeFrames(now).credit, std::nullopt);
}

TEST_F(LedgerTest, SendsNothingWithoutASession) {
  EXPECT_EQ(ledger.TakeFrames(now).credit, std::nullopt);
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnSessionDown(now);
  End(1);
  Frames frames = ledger.TakeFrames(now);
  EXPECT_TRUE(frames.results.empty());
  EXPECT_EQ(frames.credit, std::nullopt);
}

TEST_F(LedgerTest, ReportsSuccessWithoutResultAsDoneAndKeepsItUntilAcknowledged) {
  Up();
  ASSERT_TRUE(Assign(7));
  End(7, 42);
  Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.results.size(), 1u);
  EXPECT_EQ(frames.results[0]->seq, 1u);
  ASSERT_EQ(frames.results[0]->done.size(), 1u);
  EXPECT_EQ(frames.results[0]->done[0].task_id(), 1007u);
  EXPECT_EQ(frames.results[0]->done[0].lease_id(), 7u);
  EXPECT_EQ(frames.results[0]->done[0].run_us(), 42u);
  EXPECT_EQ(HeldLeases(), Leases{7});
  EXPECT_EQ(ledger.outstanding(), 0u);
  ledger.OnResultAck(1, 0);
  EXPECT_EQ(HeldLeases(), Leases{});
  EXPECT_EQ(ledger.unacked(), 0u);
}

TEST_F(LedgerTest, IgnoresAnAssignmentItHasAlready) {
  Up();
  EXPECT_TRUE(Assign(1));
  EXPECT_FALSE(Assign(1));
  End(1);
  EXPECT_FALSE(Assign(1)) << "its result is not acknowledged yet";
  EXPECT_EQ(ledger.counters().duplicates, 2u);
  Frames frames = ledger.TakeFrames(now);
  EXPECT_EQ(frames.results[0]->size(), 1u);
  EXPECT_TRUE(frames.release.empty());
}

TEST_F(LedgerTest, SendsUnacknowledgedResultsAgainUnderNewSeqs) {
  Up();
  for (uint64_t lease : {1, 2, 3}) {
    ASSERT_TRUE(Assign(lease));
    End(lease);
    EXPECT_EQ(ledger.TakeFrames(now).results.size(), 1u);
  }
  ledger.OnResultAck(1, 0);
  ledger.OnSessionDown(now);
  EXPECT_EQ(HeldLeases(), (Leases{2, 3}));
  Up();
  Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.results.size(), 2u);
  EXPECT_EQ(frames.results[0]->seq, 1u);
  EXPECT_EQ(frames.results[0]->done[0].lease_id(), 2u);
  EXPECT_EQ(frames.results[1]->seq, 2u);
  EXPECT_EQ(frames.results[1]->done[0].lease_id(), 3u);
  ledger.OnResultAck(2, 1);
  EXPECT_EQ(HeldLeases(), Leases{});
  EXPECT_EQ(ledger.counters().refused, 1u);
}

TEST_F(LedgerTest, DropsWhatWelcomeCallsStale) {
  Up();
  for (uint64_t lease : {1, 2, 3, 4}) ASSERT_TRUE(Assign(lease));
  End(1);
  EndWith(2, {.succeeded = true, .result = "two", .content_type = {}, .message = {}});
  ledger.OnStarted(LeaseId(3), now);
  ledger.TakeFrames(now);
  ledger.OnSessionDown(now);
  Up({LeaseId(1), LeaseId(3), LeaseId(4), LeaseId(99)});
  Orders orders = ledger.TakeOrders(now);
  EXPECT_EQ(orders.cancel, (std::vector<CancelOrder>{{LeaseId(3), ErrorCode::kStale},
                                                     {LeaseId(4), ErrorCode::kStale}}));
  ledger.OnWithdrawn(std::vector{LeaseId(4)});
  EXPECT_EQ(HeldLeases(), Leases{2});
  Frames frames = ledger.TakeFrames(now);
  EXPECT_TRUE(frames.release.empty()) << "the broker does not count them as ours";
  ASSERT_EQ(frames.results.size(), 1u);
  EXPECT_EQ(frames.results[0]->size(), 1u);
  EXPECT_EQ(frames.results[0]->results[0].outcome.result, "two");
  EXPECT_EQ(ledger.stuck(), 1u) << "the handler of 3 has not returned";
  End(3);
  EXPECT_EQ(ledger.stuck(), 0u);
  EXPECT_TRUE(ledger.TakeFrames(now).results.empty());
  EXPECT_EQ(ledger.counters().dropped, 1u);
}

TEST_F(LedgerTest, CancelTakesTheLeaseAndItsSlotUntilTheHandlerReturns) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnStarted(LeaseId(1), now);
  EXPECT_EQ(ledger.TakeFrames(now).credit->tasks, 2u);
  ledger.OnCancel(std::vector{LeaseId(1), LeaseId(55)}, ErrorCode::kAttemptTimedOut, 0);
  EXPECT_EQ(ledger.TakeOrders(now).cancel,
            (std::vector<CancelOrder>{{LeaseId(1), ErrorCode::kAttemptTimedOut}}));
  EXPECT_EQ(ledger.TakeFrames(now).credit->tasks, 1u);
  EXPECT_EQ(HeldLeases(), Leases{});
  EXPECT_FALSE(Assign(1)) << "the broker never uses a lease twice";
  End(1);
  Frames frames = ledger.TakeFrames(now);
  EXPECT_TRUE(frames.results.empty());
  EXPECT_EQ(frames.credit->tasks, 2u);
}

// --- Cancelled tasks ---

TEST_F(LedgerTest, CancelledTaskThatRunsKeepsItsLeaseAndIsReportedAsCancelled) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnStarted(LeaseId(1), now);
  ledger.TakeFrames(now);
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  EXPECT_EQ(ledger.TakeOrders(now).cancel,
            (std::vector<CancelOrder>{{LeaseId(1), ErrorCode::kCancelled}}));
  EXPECT_EQ(HeldLeases(), Leases{1});
  EXPECT_EQ(ledger.stuck(), 0u) << "the slot is its own until it ends, and free then";
  EndWith(1, {.succeeded = true, .result = "too late", .content_type = {}, .message = {}});
  ResultsFrame::Entry entry = OnlyResult();
  EXPECT_FALSE(entry.outcome.succeeded);
  EXPECT_EQ(entry.outcome.code, ErrorCode::kCancelled);
  EXPECT_EQ(entry.outcome.message, "the task was cancelled; its attempt succeeded all the same");
  EXPECT_TRUE(entry.outcome.result.empty());
  EXPECT_EQ(ledger.counters().cancelled, 1u);
  EXPECT_EQ(ledger.stuck(), 0u);
}

TEST_F(LedgerTest, CancelledTaskKeepsTheMessageOfItsHandler) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  EndWith(1, {.result = {}, .content_type = {}, .message = "stopped half-way"});
  ResultsFrame::Entry entry = OnlyResult();
  EXPECT_EQ(entry.outcome.code, ErrorCode::kCancelled);
  EXPECT_EQ(entry.outcome.message, "stopped half-way");
}

TEST_F(LedgerTest, CancelledTaskThatWaitsIsReportedAndNotGivenBack) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  EXPECT_EQ(ledger.TakeOrders(now).cancel.size(), 1u);
  ledger.OnWithdrawn(std::vector{LeaseId(1)});
  EXPECT_EQ(ledger.waiting(), 0u);
  Frames frames = ledger.TakeFrames(now);
  EXPECT_TRUE(frames.release.empty());
  ASSERT_EQ(frames.results.size(), 1u);
  EXPECT_EQ(frames.results[0]->results.at(0).outcome.code, ErrorCode::kCancelled);
  EXPECT_EQ(frames.results[0]->results[0].outcome.message, "the task was cancelled before it ran");
}

TEST_F(LedgerTest, CancelledJustBeforeItsStartIsStillAbandonedInTime) {
  Up();
  ASSERT_TRUE(Assign(1));
  const int64_t started_ms = now;
  now += 20;
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  ledger.OnStarted(LeaseId(1), started_ms);
  EXPECT_EQ(ledger.NextDeadlineMs(), now + kAbandonAfterMs);
  End(1);
  EXPECT_EQ(OnlyResult().outcome.code, ErrorCode::kCancelled);
}

TEST_F(LedgerTest, CancelThatIsRepeatedGivesNoMoreTime) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  ledger.TakeOrders(now);
  now += kAbandonAfterMs - 1;
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  EXPECT_TRUE(ledger.TakeOrders(now).cancel.empty());
  now += 1;
  ledger.OnTick(now);
  EXPECT_EQ(OnlyResult().outcome.code, ErrorCode::kCancelled);
  EXPECT_EQ(ledger.stuck(), 1u);
  EXPECT_EQ(ledger.counters().abandoned, 1u);
  EXPECT_EQ(ledger.counters().timed_out, 0u);
}

TEST_F(LedgerTest, CancelOfWhatHasEndedChangesNothing) {
  Up();
  ASSERT_TRUE(Assign(1));
  End(1);
  ledger.OnCancel(std::vector{LeaseId(1), LeaseId(55)}, ErrorCode::kCancelled, now);
  EXPECT_TRUE(ledger.TakeOrders(now).cancel.empty());
  Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.results.size(), 1u);
  EXPECT_EQ(frames.results[0]->done.size(), 1u);
}

TEST_F(LedgerTest, CancelThatTakesTheLeaseAwayStillDoesAfterOneOfTheTask) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kCancelled, now);
  ledger.OnCancel(std::vector{LeaseId(1)}, ErrorCode::kAttemptTimedOut, now);
  EXPECT_EQ(HeldLeases(), Leases{});
  EXPECT_EQ(ledger.stuck(), 1u);
}

TEST_F(LedgerTest, EndsAnAttemptAtItsDeadlineAndReportsTheTimeout) {
  Up();
  ASSERT_TRUE(Assign(1, 250));
  ledger.OnStarted(LeaseId(1), now);
  EXPECT_EQ(ledger.NextDeadlineMs(), now + 250);
  now += 249;
  ledger.OnTick(now);
  EXPECT_TRUE(ledger.TakeOrders(now).cancel.empty());
  now += 1;
  ledger.OnTick(now);
  EXPECT_EQ(ledger.TakeOrders(now).cancel,
            (std::vector<CancelOrder>{{LeaseId(1), ErrorCode::kAttemptTimedOut}}));
  EXPECT_EQ(HeldLeases(), Leases{1});
  EndWith(1, {.succeeded = true, .result = "too late", .content_type = {}, .message = {}});
  ResultsFrame::Entry entry = OnlyResult();
  EXPECT_FALSE(entry.outcome.succeeded);
  EXPECT_EQ(entry.outcome.code, ErrorCode::kAttemptTimedOut);
  EXPECT_EQ(entry.outcome.message, "the attempt ran longer than its timeout of 250ms");
  EXPECT_EQ(ledger.counters().abandoned, 0u);
}

TEST_F(LedgerTest, AbandonsAHandlerThatDoesNotReturnAndCountsItsSlot) {
  Up();
  ASSERT_TRUE(Assign(1));
  ledger.OnStarted(LeaseId(1), now);
  ledger.TakeFrames(now);
  now += kTimeoutMs;
  ledger.OnTick(now);
  EXPECT_EQ(ledger.NextDeadlineMs(), now + kAbandonAfterMs);
  now += kAbandonAfterMs;
  ledger.OnTick(now);
  EXPECT_EQ(ledger.stuck(), 1u);
  Frames frames = ledger.TakeFrames(now);
  EXPECT_EQ(frames.credit->tasks, 1u);
  ASSERT_EQ(frames.results.size(), 1u);
  EXPECT_EQ(frames.results[0]->results[0].outcome.code, ErrorCode::kAttemptTimedOut);
  ledger.OnResultAck(1, 0);
  now += 60'000;
  End(1);
  frames = ledger.TakeFrames(now);
  EXPECT_TRUE(frames.results.empty()) << "the late result is nobody's";
  EXPECT_EQ(frames.credit->tasks, 2u);
}

TEST_F(LedgerTest, GrantsNothingWhileEverySlotIsStuck) {
  Up();
  for (uint64_t lease : {1, 2}) {
    ASSERT_TRUE(Assign(lease));
    ledger.OnStarted(LeaseId(lease), now);
  }
  ledger.TakeFrames(now);
  ledger.OnCancel(std::vector{LeaseId(1), LeaseId(2)}, ErrorCode::kAttemptTimedOut, 0);
  EXPECT_EQ(ledger.TakeFrames(now).credit, (Grant{0, 0}));
}

TEST_F(LedgerTest, DrainGivesBackWhatHasNotStartedAndFinishesTheRest) {
  Up();
  for (uint64_t lease : {1, 2, 3, 4}) ASSERT_TRUE(Assign(lease));
  ledger.OnStarted(LeaseId(1), now);
  ledger.TakeFrames(now);
  ledger.OnDrain(now);
  EXPECT_EQ(ledger.TakeOrders(now).withdraw, 3u);
  ledger.OnWithdrawn(std::vector{LeaseId(4), LeaseId(3)});  // 2 has begun meanwhile
  EXPECT_EQ(HeldLeases(), (Leases{1, 2, 3, 4})) << "given back only when the frame is sent";
  Frames frames = ledger.TakeFrames(now);
  EXPECT_EQ(frames.credit, (Grant{0, 0}));
  ASSERT_EQ(frames.release.size(), 2u);
  EXPECT_EQ(frames.release[0].lease_id(), 4u);
  EXPECT_EQ(frames.release[1].lease_id(), 3u);
  EXPECT_EQ(HeldLeases(), (Leases{1, 2}));

  EXPECT_FALSE(Assign(5)) << "crossed with the grant of 0";
  frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.release.size(), 1u);
  EXPECT_EQ(frames.release[0].lease_id(), 5u);

  End(1);
  End(2);
  ledger.TakeFrames(now);
  EXPECT_FALSE(ledger.drained(now)) << "results are not acknowledged";
  ledger.OnResultAck(1, 0);
  EXPECT_TRUE(ledger.drained(now));
}

TEST_F(LedgerTest, DrainWithoutABrokerGivesUpInTheEndButNotWhileWorkRuns) {
  Up();
  ASSERT_TRUE(Assign(1, 3'600'000));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnSessionDown(now);
  ledger.OnDrain(now);
  now += 2 * kDrainOfflineMs;
  EXPECT_FALSE(ledger.drained(now));
  End(1);
  ledger.OnSessionDown(now);
  EXPECT_TRUE(ledger.drained(now));
  EXPECT_EQ(ledger.unacked(), 1u);
}

TEST_F(LedgerTest, WithNothingInHandDrainIsOverAtOnce) {
  ledger.OnDrain(now);
  EXPECT_TRUE(ledger.drained(now));
}

TEST_F(LedgerTest, HeartbeatNamesStartedAttemptsOnceAndAgainInANewSession) {
  Up();
  ASSERT_TRUE(Assign(1));
  ASSERT_TRUE(Assign(2));
  ASSERT_TRUE(Assign(3));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnStarted(LeaseId(2), now);
  End(2);
  HeartbeatInfo info = ledger.TakeHeartbeat();
  ASSERT_EQ(info.started.size(), 1u);
  EXPECT_EQ(info.started[0].lease_id(), 1u);
  EXPECT_EQ(info.running, 1u);
  EXPECT_EQ(info.queued, 1u);
  EXPECT_TRUE(ledger.TakeHeartbeat().started.empty());
  ledger.OnSessionDown(now);
  Up();
  EXPECT_EQ(ledger.TakeHeartbeat().started.size(), 1u);
}

TEST(LedgerHeartbeatTest, NamesNoMoreThanOneFrameMayCarry) {
  LedgerOptions options;
  options.concurrency = kMaxStartedReports + 10;
  Ledger ledger(options);
  ledger.OnSessionUp(kVisibilityMs, {}, 0);
  for (uint64_t lease = 1; lease <= kMaxStartedReports + 10; ++lease) {
    ASSERT_TRUE(ledger.OnAssigned({TaskId(lease), LeaseId(lease), 1, kTimeoutMs}, 0));
    ledger.OnStarted(LeaseId(lease), 0);
  }
  EXPECT_EQ(ledger.TakeHeartbeat().started.size(), kMaxStartedReports);
  EXPECT_EQ(ledger.TakeHeartbeat().started.size(), 10u);
}

TEST_F(LedgerTest, AResultOverTheLimitBecomesAFailure) {
  Up();
  ASSERT_TRUE(Assign(1));
  EndWith(1, {.succeeded = true,
              .result = std::string(kMaxResultBytes + 1, 'x'),
              .content_type = {},
              .message = {}});
  ResultsFrame::Entry entry = OnlyResult();
  EXPECT_FALSE(entry.outcome.succeeded);
  EXPECT_EQ(entry.outcome.code, ErrorCode::kTooLarge);
  EXPECT_EQ(entry.outcome.advice, wire::RetryAdvice::kNever);
  EXPECT_TRUE(entry.outcome.result.empty());
}

TEST_F(LedgerTest, AResultAtTheLimitIsKept) {
  Up();
  ASSERT_TRUE(Assign(1));
  EndWith(1, {.succeeded = true,
              .result = std::string(kMaxResultBytes, 'x'),
              .content_type = {},
              .message = {}});
  EXPECT_TRUE(OnlyResult().outcome.succeeded);
}

TEST_F(LedgerTest, ErrorMessagesAreCutBetweenCharactersAndMadeText) {
  Up();
  ASSERT_TRUE(Assign(1));
  std::string message(kMaxErrorMessageBytes - 1, 'x');
  EndWith(1, {.result = {}, .content_type = {}, .message = message + "é and more"});
  EXPECT_EQ(OnlyResult().outcome.message, message);
  ASSERT_TRUE(Assign(2));
  EndWith(2, {.result = {}, .content_type = {}, .message = "bad \xFF byte"});
  EXPECT_EQ(OnlyResult().outcome.message, "bad ? byte");
}

TEST_F(LedgerTest, OneResultsFrameIsBounded) {
  Up();
  for (uint64_t lease = 1; lease <= 6; ++lease) {
    ASSERT_TRUE(Assign(lease));
    EndWith(lease, {.succeeded = true,
                    .result = std::string(kBatchTargetBytes / 2, 'x'),
                    .content_type = {},
                    .message = {}});
  }
  Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.results.size(), 3u);
  flatbuffers::FlatBufferBuilder builder;
  for (const ResultsFrame* frame : frames.results)
    EXPECT_LT(EncodeResults(*frame, &builder).size(), kMaxFrameBytes);
}

TEST_F(LedgerTest, UnacknowledgedResultBytesStopGrantsAndStarts) {
  Up();
  uint64_t lease = 0;
  while (ledger.unacked_bytes() < kMaxUnackedResultBytes) {
    EXPECT_GT(ledger.StartsUntilMs(), now);
    ASSERT_TRUE(Assign(++lease));
    EndWith(lease, {.succeeded = true,
                    .result = std::string(kMaxResultBytes, 'x'),
                    .content_type = {},
                    .message = {}});
    ledger.TakeFrames(now);
  }
  EXPECT_EQ(ledger.granted(), 0u);
  EXPECT_EQ(ledger.StartsUntilMs(), 0);
  ledger.OnResultAck(UINT64_MAX, 0);
  EXPECT_GT(ledger.TakeFrames(now).credit->tasks, 0u);
  EXPECT_GT(ledger.StartsUntilMs(), now);
}

TEST_F(LedgerTest, NothingMayStartOnceTheBrokerMayHaveGivenItAway) {
  EXPECT_EQ(ledger.StartsUntilMs(), 0);
  Up();
  EXPECT_EQ(ledger.StartsUntilMs(), now + kVisibilityMs);
  now += 500;
  ledger.OnHeard(now);
  ledger.OnSessionDown(now + 100);
  EXPECT_EQ(ledger.StartsUntilMs(), now + kVisibilityMs);
}

TEST_F(LedgerTest, WhatHelloCouldNotNameIsReleasedUnstarted) {
  Up();
  for (uint64_t lease = 1; lease <= kMaxCreditTasks; ++lease) ASSERT_TRUE(Assign(lease));
  EXPECT_FALSE(Assign(kMaxCreditTasks + 1));
  Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.release.size(), 1u);
  EXPECT_EQ(frames.release[0].lease_id(), kMaxCreditTasks + 1);
  EXPECT_EQ(ledger.Held().size(), kMaxCreditTasks);
}

TEST_F(LedgerTest, AStallGivesTheSurplusBack) {
  Up();
  for (uint64_t lease = 1; lease <= 10; ++lease) ASSERT_TRUE(Assign(lease));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnStarted(LeaseId(2), now);
  EXPECT_EQ(ledger.TakeOrders(now).withdraw, 0u);
  EXPECT_EQ(ledger.NextDeadlineMs(), now + kCreditTargetUs / 1000);
  now += kCreditTargetUs / 1000;
  EXPECT_EQ(ledger.TakeOrders(now).withdraw, 6u);
  ledger.OnWithdrawn(
      std::vector{LeaseId(10), LeaseId(9), LeaseId(8), LeaseId(7), LeaseId(6), LeaseId(5)});
  EXPECT_EQ(ledger.TakeFrames(now).release.size(), 6u);
  EXPECT_EQ(ledger.TakeOrders(now).withdraw, 0u);
}

TEST_F(LedgerTest, ARecallGivesBackWhatHasNotStarted) {
  Up();
  for (uint64_t lease : {1, 2, 3}) ASSERT_TRUE(Assign(lease));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnRecall(std::vector{LeaseId(1), LeaseId(3), LeaseId(9)});
  const Orders orders = ledger.TakeOrders(now);
  EXPECT_EQ(orders.recall, std::vector{LeaseId(3)});
  EXPECT_TRUE(orders.cancel.empty());
  ledger.OnWithdrawn(orders.recall);
  const Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.release.size(), 1u);
  EXPECT_EQ(frames.release[0].lease_id(), 3u);
  EXPECT_EQ(ledger.outstanding(), 2u);
  EXPECT_TRUE(ledger.TakeOrders(now).recall.empty()) << "said once";
}

TEST_F(LedgerTest, WhatHasNotStartedByItsTimeIsTakenBack) {
  Up();
  AssignUntil(1, 100);
  AssignUntil(2, 30);
  AssignUntil(3, 40);
  AssignUntil(4, 20);
  ledger.OnStarted(LeaseId(3), now);
  End(4);
  EXPECT_EQ(ledger.NextDeadlineMs(), now + 30);
  now += 29;
  EXPECT_TRUE(ledger.TakeOrders(now).recall.empty());
  now += 1;
  EXPECT_EQ(ledger.TakeOrders(now).recall, std::vector{LeaseId(2)});
  ledger.OnWithdrawn(std::vector{LeaseId(2)});
  const Frames frames = ledger.TakeFrames(now);
  ASSERT_EQ(frames.release.size(), 1u);
  EXPECT_EQ(frames.release[0].lease_id(), 2u);
  now += 10;
  EXPECT_TRUE(ledger.TakeOrders(now).recall.empty()) << "3 has started in time";
  now += 60;
  EXPECT_EQ(ledger.TakeOrders(now).recall, std::vector{LeaseId(1)});
  ledger.OnStarted(LeaseId(1), now - 1);  // it had, just before
  EXPECT_TRUE(ledger.TakeOrders(now).recall.empty());
  EXPECT_EQ(HeldLeases(), (Leases{1, 3, 4}));
}

TEST_F(LedgerTest, StopCancelsWhatItHolds) {
  Up();
  ASSERT_TRUE(Assign(1));
  ASSERT_TRUE(Assign(2));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnDrain(now);
  ledger.OnStop();
  std::vector<LeaseId> cancel;
  for (const auto& [lease, why] : ledger.TakeOrders(now).cancel) {
    EXPECT_EQ(why, ErrorCode::kUnavailable);
    cancel.push_back(lease);
  }
  std::sort(cancel.begin(), cancel.end());
  EXPECT_EQ(cancel, (std::vector{LeaseId(1), LeaseId(2)}));
  ledger.OnWithdrawn(std::vector{LeaseId(2)});
  EXPECT_EQ(ledger.TakeFrames(now).release.size(), 1u);
}

// --- Credit ----------------------------------------------------------------------------------------

constexpr uint32_t kNoCeiling = kMaxCreditTasks;

// Grants while attempts of `run_us` end, until it no longer changes.
uint32_t Settle(CreditSizer* sizer, uint32_t slots, uint32_t run_us, int64_t now) {
  uint32_t granted = 0;
  for (int i = 0; i < 100'000; ++i) {
    sizer->OnRun(run_us);
    sizer->OnProgress(now);
    if (auto next = sizer->Next(slots, kNoCeiling, 0, now)) granted = *next;
  }
  return granted;
}

TEST(CreditSizerTest, ShortTasksGetEnoughForTheTarget) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  // 2 slots, 1 ms each: 50 ms of work is 100 tasks; a quarter is close enough.
  uint32_t granted = Settle(&sizer, 2, 1'000, 0);
  EXPECT_GE(granted, 75u);
  EXPECT_LE(granted, 125u);
}

TEST(CreditSizerTest, VeryShortTasksGetTheMost) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  EXPECT_EQ(Settle(&sizer, 2, 1, 0), kMaxSelfSizedCredit);
}

TEST(CreditSizerTest, LongTasksGetExactlyOneASlot) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  EXPECT_EQ(Settle(&sizer, 3, kCreditTargetUs, 0), 3u);
}

TEST(CreditSizerTest, GrowsNoFasterThanWhatItHasSeen) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  EXPECT_EQ(sizer.Next(4, kNoCeiling, 0, 0), 4u);
  for (int i = 0; i < 3; ++i) sizer.OnRun(1);
  EXPECT_EQ(sizer.Next(4, kNoCeiling, 0, 0), std::nullopt);
  sizer.OnRun(1);
  EXPECT_EQ(sizer.Next(4, kNoCeiling, 0, 0), 8u);
  EXPECT_EQ(sizer.Next(4, kNoCeiling, 0, 0), std::nullopt);
}

TEST(CreditSizerTest, BeginsSmallAgainInANewSession) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  Settle(&sizer, 2, 1, 0);
  sizer.Reset();
  EXPECT_EQ(sizer.Next(2, kNoCeiling, 0, 0), 2u);
}

TEST(CreditSizerTest, FallsAtOnceWhenTasksGetLong) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  Settle(&sizer, 2, 1, 0);
  for (int i = 0; i < 2; ++i) sizer.OnRun(2'000'000);
  EXPECT_EQ(sizer.Next(2, kNoCeiling, 0, 0), 2u);
}

TEST(CreditSizerTest, AStallSpeaksLouderThanTheAverage) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  Settle(&sizer, 2, 1, 0);
  EXPECT_EQ(sizer.Next(2, kNoCeiling, 500, 49), std::nullopt);
  EXPECT_EQ(sizer.Next(2, kNoCeiling, 500, 50), 2u);
}

TEST(CreditSizerTest, SmallChangesAreNotTold) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  EXPECT_EQ(sizer.Next(100, kNoCeiling, 0, 0), 100u);
  EXPECT_EQ(sizer.Next(80, kNoCeiling, 0, 0), 80u) << "one a slot is told exactly";
  EXPECT_EQ(sizer.Next(100, kNoCeiling, 0, 0), std::nullopt) << "a quarter up";
  EXPECT_EQ(sizer.Next(101, kNoCeiling, 0, 0), 101u);
}

TEST(CreditSizerTest, NeverPassesTheCeiling) {
  CreditSizer sizer(kMaxSelfSizedCredit);
  Settle(&sizer, 2, 1, 0);
  EXPECT_EQ(sizer.Next(2, 8'000, 0, 0), 8'000u) << "less than a quarter, but it must be told";
  EXPECT_EQ(sizer.Next(2, 0, 0, 0), 0u);
}

// --- Frames ----------------------------------------------------------------------------------------

template <class T>
const T* Read(std::string_view body, AlignedCopy* copy) {
  return VerifyBody<T>(copy->Align(body));
}

TEST(WorkerFramesTest, HelloCarriesWhoAndWhat) {
  Identity identity{Uuid{1, 2}, "w1", "host", "0.1", 77, {"q"}, {"echo", "noop"}, {{"k", "v"}}, 4};
  flatbuffers::FlatBufferBuilder builder;
  AlignedCopy copy;
  std::string_view body = EncodeHello(identity, true, {wire::LeaseRef(10, 11, 3)}, 7, &builder);
  const auto* hello = Read<wire::WorkerHello>(body, &copy);
  ASSERT_NE(hello, nullptr);
  EXPECT_EQ(hello->id()->hi(), 1u);
  EXPECT_EQ(hello->id()->lo(), 2u);
  EXPECT_EQ(hello->number(), 7u);
  EXPECT_EQ(hello->name()->str(), "w1");
  EXPECT_EQ(hello->pid(), 77u);
  EXPECT_EQ(hello->queues()->Get(0)->str(), "q");
  EXPECT_EQ(hello->types()->size(), 2u);
  EXPECT_EQ(hello->labels()->Get(0)->value()->str(), "v");
  EXPECT_EQ(hello->concurrency(), 4u);
  EXPECT_TRUE(hello->draining());
  EXPECT_EQ(hello->held()->Get(0)->lease_id(), 11u);
}

TEST(WorkerFramesTest, ResultsCarryDoneAndDetail) {
  ResultsFrame frame;
  frame.seq = 9;
  frame.done.emplace_back(1, 2, 3);
  ResultsFrame::Entry entry;
  entry.task = TaskId(4);
  entry.lease = LeaseId(5);
  entry.run_us = 6;
  entry.outcome.code = ErrorCode::kProcessFailed;
  entry.outcome.message = "exit code 1";
  entry.outcome.advice = wire::RetryAdvice::kAfter;
  entry.outcome.retry_after_ms = 700;
  frame.results.push_back(entry);
  flatbuffers::FlatBufferBuilder builder;
  AlignedCopy copy;
  const auto* results = Read<wire::Results>(EncodeResults(frame, &builder), &copy);
  ASSERT_NE(results, nullptr);
  EXPECT_EQ(results->seq(), 9u);
  EXPECT_EQ(results->done()->Get(0)->run_us(), 3u);
  const wire::Result* result = results->results()->Get(0);
  EXPECT_EQ(result->lease_id(), 5u);
  EXPECT_FALSE(result->succeeded());
  EXPECT_EQ(result->error_code(), 36);
  EXPECT_EQ(result->error_message()->str(), "exit code 1");
  EXPECT_EQ(result->advice(), wire::RetryAdvice::kAfter);
  EXPECT_EQ(result->retry_after_ms(), 700u);
}

}  // namespace
}  // namespace zsched::worker
