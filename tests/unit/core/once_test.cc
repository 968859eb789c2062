// Tasks that run at most once: when they leave, and that no second attempt begins.
#include <gtest/gtest.h>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class OnceTest : public testing::Test {
 protected:
  OnceTest() : client_(h_.Client(1)) {}

  TaskId Submit(TestTask task = {}) {
    task.delivery = wire::Delivery::kAtMostOnce;
    return h_.SubmitOne(client_, ++seq_, task);
  }
  TaskState StateOf(TaskId id) { return h_.Row(id).state; }

  CoreHarness h_;
  SessionId client_;
  uint64_t seq_ = 0;
};

TEST_F(OnceTest, LeavesWhenItsLeaseIsDurableAndKeepsNoOthersWaiting) {
  Submit();
  h_.SubmitOne(client_, ++seq_, {});
  h_.Worker(1, 10);
  h_.core->EndRound(h_.now);
  std::vector<TasksEffect> sent;
  for (Effect& effect : h_.core->effects())
    if (auto* tasks = std::get_if<TasksEffect>(&effect)) sent.push_back(*tasks);
  ASSERT_EQ(sent.size(), 2u);
  for (const TasksEffect& effect : sent) {
    ASSERT_EQ(effect.tasks.size(), 1u);
    if (effect.tasks[0].at_most_once)
      EXPECT_EQ(effect.wait, h_.core->appended()) << "the record of its lease is the last";
    else
      EXPECT_LT(effect.wait, h_.core->appended());
  }
}

TEST_F(OnceTest, LostWithItsWorkerIsDeadAndSaysThatItMayHaveRun) {
  TaskId id = Submit();
  SessionId worker = h_.Worker(1, 1);
  ASSERT_EQ(h_.Take(worker).size(), 1u);
  h_.core->OnWorkerGoodbye(worker, h_.now);
  h_.Commit();
  EXPECT_EQ(StateOf(id), TaskState::kDead);
  auto view = h_.journal->View();
  auto outcome = (*view)->Get(Table::kOutcomes, id.value());
  ASSERT_TRUE(outcome.ok() && outcome->has_value());
  EXPECT_NE(ReadOutcome(**outcome)->body.find("it may have run"), std::string::npos);
}

TEST_F(OnceTest, FailedOrTimedOutIsDeadWhateverTheHandlerAsksFor) {
  SessionId worker = h_.Worker(1, 2);
  TaskId failed = Submit(), late = Submit();
  std::vector<Assign> taken = h_.Take(worker);
  ASSERT_EQ(taken.size(), 2u);
  const size_t first = taken[0].task == failed ? 0 : 1;
  h_.Fail(worker, taken[first], ErrorCode::kHandlerFailed, wire::RetryAdvice::kAfter, 10);
  h_.Fail(worker, taken[1 - first], ErrorCode::kAttemptTimedOut);
  h_.Commit();
  EXPECT_EQ(StateOf(failed), TaskState::kDead);
  EXPECT_EQ(StateOf(late), TaskState::kDead);
}

TEST_F(OnceTest, GivenBackItRunsLater) {
  TaskId id = Submit();
  SessionId worker = h_.Worker(1, 1);
  std::vector<Assign> taken = h_.Take(worker);
  h_.Credit(worker, 0);
  h_.Release(worker, taken);
  EXPECT_EQ(StateOf(id), TaskState::kReady);
  h_.Credit(worker, 1);
  std::vector<Assign> again = h_.Take(worker);
  ASSERT_EQ(again.size(), 1u);
  h_.Done(worker, again);
  EXPECT_EQ(StateOf(id), TaskState::kSucceeded);
}

// Or an attempt that runs would be taken for one that never came.
TEST_F(OnceTest, AHelloThatComesLateTakesNoLeases) {
  TaskId id = Submit();
  auto hello = [&](uint32_t number) {
    flatbuffers::FlatBufferBuilder b;
    wire::Uuid uuid(7, 7);
    auto name = b.CreateString("w");
    wire::WorkerHelloBuilder fields(b);
    fields.add_id(&uuid);
    fields.add_name(name);
    fields.add_number(number);
    b.Finish(fields.Finish());
    const auto& frame = *flatbuffers::GetRoot<wire::WorkerHello>(b.GetBufferPointer());
    return h_.core->IsPast(frame) ? SessionId(0) : *h_.core->OnWorkerHello(frame, h_.now);
  };
  SessionId worker = hello(2);
  h_.Credit(worker, 1);
  ASSERT_EQ(h_.Take(worker).size(), 1u);
  EXPECT_FALSE(hello(2));
  EXPECT_FALSE(hello(1));
  h_.Commit();
  EXPECT_EQ(StateOf(id), TaskState::kLeased);
  EXPECT_TRUE(hello(3));
  h_.Commit();
  EXPECT_EQ(StateOf(id), TaskState::kReady) << "it came back without the task";
}

TEST_F(OnceTest, ARestartAndARetryKeepItSo) {
  TaskId id = Submit();
  h_.Restart();
  SessionId worker = h_.Worker(1, 1);
  std::vector<Assign> taken = h_.Take(worker);
  ASSERT_EQ(taken.size(), 1u);
  h_.Fail(worker, taken[0]);
  h_.Commit();
  ASSERT_EQ(StateOf(id), TaskState::kDead);
  h_.core->OnRetry(SessionId(1), 1, h_.Rows({id.value()}), h_.now);
  taken = h_.Take(worker);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_TRUE(taken[0].at_most_once);
  h_.Fail(worker, taken[0]);
  h_.Commit();
  EXPECT_EQ(StateOf(id), TaskState::kDead);
}

// The worker forgets a stale lease and does not name it any more: if the end of its attempt were lost with the broker
// then, the next one would take it for one that never ran.
TEST_F(OnceTest, WhatIsStaleIsToldWhenThatIsDurable) {
  Submit();
  const SessionId worker = h_.Worker(1, 1);
  const std::vector<Assign> taken = h_.Take(worker);
  ASSERT_EQ(taken.size(), 1u);
  h_.hold_commits = true;
  h_.Done(worker, taken);
  const Lsn end = h_.core->appended();
  h_.welcomes.clear();
  h_.Worker(1, 1, {}, {}, {{taken[0].task.value(), taken[0].lease.value(), 1}});
  h_.Round();
  ASSERT_EQ(h_.welcomes.size(), 1u);
  EXPECT_EQ(h_.welcomes[0].stale, std::vector{taken[0].lease.value()});
  EXPECT_GE(h_.welcomes[0].wait, end);
}

TEST_F(OnceTest, AnOverdueLeaseIsTakenAwayWhenThatIsDurable) {
  Submit({.timeout_ms = 1'000});
  const SessionId worker = h_.Worker(1, 1);
  const std::vector<Assign> taken = h_.Take(worker);
  ASSERT_EQ(taken.size(), 1u);
  h_.Started(worker, taken[0]);
  h_.hold_commits = true;
  for (int i = 0; i < 12; ++i) {
    h_.core->Touch(worker, h_.now);
    h_.Pass(1'000);
  }
  ASSERT_EQ(h_.cancels.size(), 1u);
  EXPECT_GT(h_.cancels[0].wait, Lsn(0));
  EXPECT_LE(h_.cancels[0].wait, h_.core->appended());
}

}  // namespace
}  // namespace zsched::broker
