// Start-by times: which tasks die of them and when, what lifts them, and that restart and replay know the
// same.
#include <gtest/gtest.h>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class ExpiryTest : public testing::Test {
 protected:
  void SetUp() override { client_ = h_.Client(1); }
  void TearDown() override { ExpectSame(); }
  void ExpectSame() {
    h_.Commit();
    EXPECT_EQ(h_.Fingerprint(), h_.RebuiltFingerprint());
    EXPECT_EQ(h_.Fingerprint(), h_.ReplayedFingerprint());
  }
  TaskId Submit(const TestTask& task) { return h_.SubmitOne(client_, ++seq_, task); }
  bool Lives(TaskId id) { return h_.Find(id) != nullptr; }
  bool HasExpired(TaskId id) {
    if (Lives(id) || h_.Row(id).state != TaskState::kDead) return false;
    auto view = h_.journal->View();
    auto bytes = (*view)->Get(Table::kOutcomes, id.value());
    EXPECT_TRUE(bytes.ok() && bytes->has_value());
    return ReadOutcome(**bytes)->head.error_code == static_cast<uint16_t>(ErrorCode::kExpired);
  }
  ErrorCode Refused(const TestTask& task, const std::string& words) {
    const SubmitAckEffect ack = h_.Submit(client_, ++seq_, {task});
    EXPECT_EQ(ack.accepted, 0u);
    EXPECT_NE(ack.rejected.at(0).message.find(words), std::string::npos)
        << ack.rejected.at(0).message;
    return ack.rejected.at(0).code;
  }

  CoreHarness h_;
  SessionId client_;
  uint64_t seq_ = 0;
};

TEST_F(ExpiryTest, ATaskThatWaitsDiesAtItsTimeAndNotBefore) {
  const TaskId ready = Submit({.start_within_ms = 1000});
  const TaskId delayed = Submit({.delay_ms = 500, .start_within_ms = 1000});
  const TaskId by = Submit({.start_by_ms = h_.now.wall_ms + 1000});
  const TaskId free = Submit({});
  h_.Pass(999);
  for (TaskId id : {ready, delayed, by}) EXPECT_TRUE(Lives(id));
  h_.Pass(1);
  for (TaskId id : {ready, delayed, by}) EXPECT_TRUE(HasExpired(id)) << ToString(id);
  EXPECT_TRUE(Lives(free));
  EXPECT_EQ(h_.DeadLetters().size(), 3u);
  EXPECT_EQ(h_.RowCount(Table::kExpiries), 0u);
  EXPECT_EQ(h_.core->metrics()[Metric::kTasksExpired], 3u);
}

TEST_F(ExpiryTest, TheTickIsDueWhenTheFirstExpires) {
  Submit({.start_within_ms = 60'000});
  Submit({.start_within_ms = 50});
  EXPECT_LE(h_.core->next_tick_ms(h_.now), h_.now.mono_ms + 50);
}

TEST_F(ExpiryTest, ATimeThatHasPassedExpiresAtOnce) {
  const TaskId id = Submit({.start_by_ms = h_.now.wall_ms - 5});
  h_.Pass(0);
  EXPECT_TRUE(HasExpired(id));
}

TEST_F(ExpiryTest, WhileItIsLeasedItDoesNotExpireAndGivenBackItDoes) {
  const TaskId id = Submit({.start_within_ms = 1000});
  const SessionId worker = h_.Worker(1, 1);
  const Assign assign = h_.Take(worker).at(0);
  EXPECT_EQ(assign.start_by_ms, h_.now.wall_ms + 1000);
  h_.Credit(worker, 0);
  h_.Pass(2000);
  EXPECT_TRUE(Lives(id));
  h_.Release(worker, {assign});
  h_.Pass(0);
  EXPECT_TRUE(HasExpired(id));
}

TEST_F(ExpiryTest, GivenBackInTimeItWaitsAsBefore) {
  const TaskId id = Submit({.start_within_ms = 1000});
  const SessionId worker = h_.Worker(1, 1);
  const Assign assign = h_.Take(worker).at(0);
  h_.Credit(worker, 0);
  h_.Release(worker, {assign});
  h_.Pass(999);
  EXPECT_TRUE(Lives(id));
  h_.Pass(1);
  EXPECT_TRUE(HasExpired(id));
}

TEST_F(ExpiryTest, AnAttemptThatCountsLiftsIt) {
  const TaskId failed = Submit({.max_attempts = 3, .retry_base_ms = 5000, .start_within_ms = 1000});
  const SessionId worker = h_.Worker(1, 1);
  h_.Fail(worker, h_.Take(worker).at(0));
  EXPECT_EQ(h_.RowCount(Table::kExpiries), 0u);
  h_.Credit(worker, 0);
  const TaskId lost = Submit({.start_within_ms = 1000});
  h_.Credit(worker, 1);
  ASSERT_EQ(h_.Take(worker).at(0).task, lost);
  h_.core->OnWorkerGoodbye(worker, h_.now);
  h_.Commit();
  h_.Pass(2000);
  EXPECT_TRUE(Lives(failed));
  EXPECT_TRUE(Lives(lost));
}

TEST_F(ExpiryTest, EveryOtherEndTakesItAway) {
  const TaskId cancelled = Submit({.start_within_ms = 1000});
  h_.CancelOne(client_, cancelled);
  Submit({.start_within_ms = 1000});
  const SessionId worker = h_.Worker(1, 1);
  h_.Done(worker, h_.Take(worker));
  EXPECT_EQ(h_.RowCount(Table::kExpiries), 0u);
  h_.Pass(2000);
  EXPECT_EQ(h_.DeadLetters().size(), 0u);
}

TEST_F(ExpiryTest, ARetryHasNone) {
  const TaskId id = Submit({.start_within_ms = 1000});
  h_.Pass(1000);
  ASSERT_TRUE(HasExpired(id));
  h_.core->OnRetry(client_, 1, h_.Rows({id.value()}), h_.now);
  h_.Commit();
  h_.Pass(60'000);
  EXPECT_TRUE(Lives(id));
}

TEST_F(ExpiryTest, FiresFailureAndTellsTheSubmitter) {
  h_.Submit(client_, ++seq_,
            {{.on_success = {{.type = "S"}},
              .on_failure = {{.type = "F", .pass_result = true}},
              .start_within_ms = 1000}},
            1, /*notify=*/true);
  h_.Pass(1000);
  ASSERT_EQ(h_.core->state().tasks().size(), 1u);
  EXPECT_NE(h_.core->state().lanes().Find({"q", "F", {}, {}}), 0u);
  EXPECT_EQ(h_.outcomes.size(), 1u);
}

TEST_F(ExpiryTest, OfAFollowerItCountsFromTheEndOfItsParent) {
  Submit({.on_success = {{.start_within_ms = 1000}}});
  const SessionId worker = h_.Worker(1, 1);
  const std::vector<Assign> parent = h_.Take(worker);
  h_.Pass(3000);
  h_.Credit(worker, 0);
  h_.Done(worker, parent);
  ASSERT_EQ(h_.core->state().tasks().size(), 1u);
  h_.Pass(999);
  EXPECT_EQ(h_.core->state().tasks().size(), 1u);
  h_.Pass(1);
  EXPECT_EQ(h_.core->state().tasks().size(), 0u);
}

TEST_F(ExpiryTest, AfterARestartItIsKnownAndWorkersMayComeBackFirst) {
  const TaskId waits = Submit({.start_within_ms = 1000});
  ExpectSame();
  h_.Restart();
  client_ = h_.Client(1);
  h_.Pass(kVisibilityTimeoutMs - 1);
  EXPECT_TRUE(Lives(waits));
  h_.Pass(1);
  EXPECT_TRUE(HasExpired(waits));
}

TEST_F(ExpiryTest, AClockThatJumpsBackUndoesNothing) {
  const TaskId id = Submit({.start_within_ms = 1000});
  h_.Pass(1000);
  h_.now.wall_ms -= 3'600'000;
  h_.Pass(1);
  EXPECT_TRUE(HasExpired(id));
}

TEST_F(ExpiryTest, ManyAtOnceGoInSlices) {
  std::vector<TestTask> tasks(kMaxSubmitTasks, TestTask{.start_within_ms = 10});
  for (int i = 0; i < 3; ++i) h_.Submit(client_, ++seq_, tasks);
  h_.Pass(20);
  EXPECT_EQ(h_.core->state().tasks().size(), 3 * kMaxSubmitTasks - 8192);
  EXPECT_LE(h_.core->next_tick_ms(h_.now), h_.now.mono_ms);
  h_.Pass(0);
  EXPECT_EQ(h_.core->state().tasks().size(), 0u);
}

TEST_F(ExpiryTest, WhatCannotBeginInTimeIsRefused) {
  EXPECT_EQ(Refused({.start_within_ms = 5, .start_by_ms = h_.now.wall_ms + 5}, "one of the two"),
            ErrorCode::kInvalidArgument);
  Refused({.delay_ms = 1000, .start_within_ms = 1000}, "must be after delay_ms");
  Refused({.run_at_ms = h_.now.wall_ms + 50, .start_by_ms = h_.now.wall_ms + 50},
          "must be after delay_ms");
  Refused({.start_by_ms = -1}, "within 10 years");
  Refused({.start_within_ms = kMaxDelayMs + 1}, "within 10 years");
  Refused({.on_success = {{.start_by_ms = h_.now.wall_ms + 50}}}, "on_success[0].start_by_ms: ");
}

}  // namespace
}  // namespace zsched::broker
