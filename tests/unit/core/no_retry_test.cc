// The rule of a type that some errors end a task at once: broker/core/type_rules.h.
#include <gtest/gtest.h>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class NoRetryTest : public testing::Test {
 protected:
  NoRetryTest() : client_(h_.Client(1)) {}

  // Of the type of tasks that say nothing else.
  void Forbid(uint64_t errors) { h_.SetType(client_, TestTask{}.type, {.no_retry = errors}); }
  TaskId Submit(TestTask task = {}) { return h_.SubmitOne(client_, ++seq_, task); }
  // What becomes of a task whose attempt ends so at `worker`.
  TaskState After(SessionId worker, ErrorCode code,
                  wire::RetryAdvice advice = wire::RetryAdvice::kDefault) {
    const TaskId id = Submit();
    h_.Fail(worker, h_.Take(worker).at(0), code, advice);
    return h_.Row(id).state;
  }

  CoreHarness h_;
  SessionId client_;
  uint64_t seq_ = 0;
};

TEST_F(NoRetryTest, ForbiddenErrorsEndATaskAtOnceAndOthersDoNot) {
  SessionId worker = h_.Worker(1, 10);
  Forbid(ErrorBit(ErrorCode::kInvalidArgument) | ErrorBit(ErrorCode::kDataLoss));
  EXPECT_EQ(After(worker, ErrorCode::kInvalidArgument), TaskState::kDead);
  EXPECT_EQ(After(worker, ErrorCode::kDataLoss, wire::RetryAdvice::kAfter), TaskState::kDead)
      << "whatever the handler asks for";
  EXPECT_EQ(After(worker, ErrorCode::kHandlerFailed), TaskState::kRetryWait);
  h_.Restart();
  client_ = h_.Client(1);
  worker = h_.Worker(2, 10);
  EXPECT_EQ(After(worker, ErrorCode::kInvalidArgument), TaskState::kDead) << "also after a restart";
  Forbid(0);
  EXPECT_EQ(After(worker, ErrorCode::kInvalidArgument), TaskState::kRetryWait);
}

TEST_F(NoRetryTest, OfItsTypeOnly) {
  SessionId worker = h_.Worker(1, 10);
  h_.SetType(client_, "another", {.no_retry = ErrorBit(ErrorCode::kHandlerFailed)});
  EXPECT_EQ(After(worker, ErrorCode::kHandlerFailed), TaskState::kRetryWait);
}

TEST_F(NoRetryTest, ALostWorkerAndATimeoutAreErrorsToo) {
  Forbid(ErrorBit(ErrorCode::kWorkerLost));
  const TaskId lost = Submit();
  SessionId worker = h_.Worker(1, 1);
  ASSERT_EQ(h_.Take(worker).size(), 1u);
  h_.core->OnWorkerGoodbye(worker, h_.now);
  h_.Commit();
  EXPECT_EQ(h_.Row(lost).state, TaskState::kDead);

  worker = h_.Worker(2, 1);
  const TaskId late = Submit({.timeout_ms = 100});
  std::vector<Assign> got = h_.Take(worker);
  h_.Started(worker, got.at(0));
  Forbid(ErrorBit(ErrorCode::kAttemptTimedOut));  // while it runs: the rules of its end count
  const int64_t ms = 100 + kTimeoutGraceMs;
  h_.core->Touch(worker, {h_.now.wall_ms + ms, h_.now.mono_ms + ms});
  h_.Pass(ms);
  EXPECT_EQ(h_.Row(late).state, TaskState::kDead);
  EXPECT_EQ(h_.Fingerprint(), h_.RebuiltFingerprint());
}

TEST_F(NoRetryTest, ATaskGivenBackHasNotEnded) {
  Forbid(kAttemptErrors);
  const TaskId id = Submit();
  SessionId worker = h_.Worker(1, 1);
  h_.Release(worker, h_.Take(worker));
  EXPECT_FALSE(IsFinished(h_.Row(id).state)) << "it may be at the worker again";
}

TEST_F(NoRetryTest, ADeadTaskThatIsRetriedIsJudgedAnew) {
  Forbid(ErrorBit(ErrorCode::kHandlerFailed));
  SessionId worker = h_.Worker(1, 1);
  const TaskId id = Submit();
  for (int i = 0; i < 2; ++i) {
    h_.Fail(worker, h_.Take(worker).at(0));
    ASSERT_EQ(h_.Row(id).state, TaskState::kDead);
    h_.core->OnRetry(client_, 9, {{id.value(), h_.Row(id)}}, h_.now);
    h_.Commit();
    EXPECT_EQ(h_.replies.back().items.at(0).code, ErrorCode::kOk);
  }
}

TEST_F(NoRetryTest, WhatNoAttemptEndsWithIsRefusedByName) {
  Forbid(ErrorBit(ErrorCode::kHandlerFailed));
  for (ErrorCode code : {ErrorCode::kOk, ErrorCode::kBadMagic, ErrorCode::kStale,
                         ErrorCode::kNoSession, ErrorCode::kCancelled}) {
    Forbid(ErrorBit(code) | ErrorBit(ErrorCode::kDataLoss));
    EXPECT_EQ(h_.errors.back().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(h_.errors.back().message,
              "no_retry: no attempt ends with " + std::string(TextOf(code)));
  }
  Forbid(uint64_t{1} << 50);
  EXPECT_EQ(h_.errors.back().message, "no_retry: no attempt ends with 50");
  EXPECT_EQ(h_.core->state().lanes().FindType(TestTask{}.type)->rules.no_retry,
            ErrorBit(ErrorCode::kHandlerFailed))
      << "a refused change changes nothing";
}

}  // namespace
}  // namespace zsched::broker
