// What a task is said to wait for.
#include <gtest/gtest.h>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

using wire::WaitReason;

class ExplainTest : public testing::Test {
 protected:
  ExplainTest() : client_(h_.Client(1)) {}

  TaskId Submit(const TestTask& task = {}) { return h_.SubmitOne(client_, ++seq_, task); }
  Explanation Explain(TaskId id) { return h_.core->Explain(id, h_.now); }
  std::vector<WaitReason> Reasons(TaskId id) {
    std::vector<WaitReason> reasons;
    for (const WaitCause& cause : Explain(id).causes) reasons.push_back(cause.reason);
    return reasons;
  }
  using Is = std::vector<WaitReason>;

  CoreHarness h_;
  SessionId client_;
  uint64_t seq_ = 0;
};

TEST_F(ExplainTest, DelayAndRetry) {
  const TaskId later = Submit({.delay_ms = 5'000});
  const Explanation delayed = Explain(later);
  ASSERT_EQ(delayed.causes.size(), 1u);
  EXPECT_EQ(delayed.causes[0].reason, WaitReason::kDelay);
  EXPECT_EQ(delayed.causes[0].until_ms, h_.now.wall_ms + 5'000);
  const TaskId id = Submit({.retry_base_ms = 60'000});
  const SessionId worker = h_.Worker(1, 1);
  h_.Fail(worker, h_.Take(worker).at(0), ErrorCode::kHandlerFailed);
  const Explanation waiting = Explain(id);
  ASSERT_EQ(waiting.causes.size(), 1u);
  EXPECT_EQ(waiting.causes[0].reason, WaitReason::kRetryWait);
  EXPECT_EQ(waiting.causes[0].count, 1u);
  EXPECT_GE(waiting.causes[0].until_ms, h_.now.wall_ms + 30'000);
}

TEST_F(ExplainTest, WorkersThatLackOrHaveNoRoom) {
  const TaskId id = Submit();
  EXPECT_EQ(Reasons(id), Is{WaitReason::kNoWorker});
  h_.Worker(1, 1, {"another"});
  EXPECT_EQ(Reasons(id), Is{WaitReason::kNoWorker});
  EXPECT_EQ(Explain(id).causes[0].count, 1u);
  const SessionId worker = h_.Worker(2, 1);
  h_.Take(worker);
  EXPECT_EQ(Reasons(id), Is{WaitReason::kRunning});
  EXPECT_EQ(Explain(id).causes[0].name, "worker-2");
  const TaskId next = Submit();
  EXPECT_EQ(Reasons(next), Is{WaitReason::kNoCredit});
  EXPECT_EQ(Explain(next).causes[0].count, 1u);
}

TEST_F(ExplainTest, AtItsWorkerItHasBegunOnceThatWasSaid) {
  Submit();
  Submit();
  const SessionId worker = h_.Worker(1, 2);
  const std::vector<Assign> taken = h_.Take(worker);
  ASSERT_EQ(taken.size(), 2u);
  h_.Started(worker, taken[0]);
  EXPECT_EQ(Reasons(taken[0].task), Is{WaitReason::kRunning});
  EXPECT_EQ(Reasons(taken[1].task), Is{WaitReason::kAtWorker});
  h_.Cancel(client_, {taken[0].task.value()});
  EXPECT_EQ(Reasons(taken[0].task), Is{WaitReason::kCancelling});
}

TEST_F(ExplainTest, EveryRuleThatIsInTheWay) {
  h_.SetQueue(client_, "q", {.max_running = 1, .key_max_running = 1});
  h_.SetType(client_, "t", {.rate_micro = 1'000'000, .burst = 1});
  const SessionId worker = h_.Worker(1, 10);
  Submit({.concurrency_key = "k"});
  ASSERT_EQ(h_.Take(worker).size(), 1u);
  const TaskId id = Submit({.concurrency_key = "k"});
  EXPECT_EQ(Reasons(id), (Is{WaitReason::kQueueFull, WaitReason::kTypeRate, WaitReason::kKeyFull}));
  const std::vector<WaitCause> causes = Explain(id).causes;
  EXPECT_EQ(causes[0].name, "q");
  EXPECT_EQ(causes[0].count, 1u);
  EXPECT_EQ(causes[0].limit, 1u);
  EXPECT_EQ(causes[1].name, "t");
  EXPECT_EQ(causes[1].until_ms, h_.now.wall_ms + 1'000);
  EXPECT_EQ(causes[2].name, "k");
  h_.SetQueue(client_, "q", {.paused = true});
  EXPECT_EQ(Reasons(id)[0], WaitReason::kQueuePaused);
}

TEST_F(ExplainTest, PlaceInLineIsThatOfItsTurn) {
  const TaskId low = Submit({.priority = 2}), first = Submit(), other_type = Submit({.type = "u"});
  Submit({.fairness_key = "another"});
  const TaskId high = Submit({.priority = 9}), last = Submit();
  EXPECT_EQ(Explain(high).ahead, 0u);
  EXPECT_EQ(Explain(first).ahead, 1u);
  EXPECT_EQ(Explain(other_type).ahead, 2u);
  EXPECT_EQ(Explain(last).ahead, 3u);
  EXPECT_EQ(Explain(low).ahead, 4u);
  EXPECT_EQ(Explain(low).ready, 6u);
  EXPECT_TRUE(Explain(low).ahead_exact);
}

TEST_F(ExplainTest, ALongLineIsCountedUpToABound) {
  std::vector<TestTask> tasks(1'000);
  for (int i = 0; i < 21; ++i) h_.Submit(client_, ++seq_, tasks);
  const Explanation last = Explain(Submit());
  EXPECT_FALSE(last.ahead_exact);
  EXPECT_EQ(last.ahead, 20'000u);
  EXPECT_EQ(last.ready, 21'001u);
}

TEST_F(ExplainTest, WhatIsOverIsNotFound) {
  const TaskId id = Submit();
  const SessionId worker = h_.Worker(1, 1);
  h_.Done(worker, h_.Take(worker));
  EXPECT_FALSE(Explain(id).found);
  EXPECT_FALSE(Explain(TaskId(12345)).found);
}

}  // namespace
}  // namespace zsched::broker
