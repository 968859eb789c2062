// The history of attempts: which rows there are after what, and when they go.
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

// "ATTEMPT ENDING CODE WORKER MESSAGE", by rising attempt.
std::vector<std::string> History(const CoreHarness& h, TaskId id) {
  std::vector<std::string> lines;
  auto view = h.journal->View();
  auto bytes = (*view)->Get(Table::kTrails, id.value());
  if (!bytes.ok() || !bytes->has_value()) return lines;
  const auto trail = ReadTrail(**bytes);
  EXPECT_TRUE(trail);
  const TaskRow task = h.Row(id);
  const uint32_t recorded = RecordedAttempts(task.state, task.attempt);
  for (uint32_t attempt = trail->first; attempt <= recorded; ++attempt) {
    if (!IsKept(attempt, recorded)) continue;
    auto row = (*view)->Get(Table::kHistory, HistoryKey(trail->number, attempt));
    const auto ended = row->has_value() ? ReadAttempt(**row) : std::nullopt;
    if (!ended) {
      lines.push_back(std::to_string(attempt) + " is missing");
      continue;
    }
    EXPECT_LE(ended->head.leased_ms, ended->head.ended_ms);
    lines.push_back(std::to_string(ended->head.attempt) + " " + std::to_string(ended->head.ending) +
                    " " + std::string(TextOf(ErrorFromNumber(ended->head.error_code))) + " " +
                    std::string(ended->worker) + " " + std::string(ended->message));
  }
  return lines;
}

std::string Ended(int attempt, Ending ending, const std::string& rest) {
  return std::to_string(attempt) + " " + std::to_string(static_cast<int>(ending)) + " " + rest;
}

struct Fixture {
  explicit Fixture(CoreConfig config = {})
      : h(config), client(h.Client(1)), worker(h.Worker(1, 5)) {}
  TaskId Submit(const TestTask& task = {.retry_base_ms = 1}) {
    return h.SubmitOne(client, ++seq, task);
  }
  // The next attempt, once its wait is over.
  Assign Next() {
    h.Pass(5);
    std::vector<Assign> taken = h.Take(worker);
    EXPECT_EQ(taken.size(), 1u);
    return taken.at(0);
  }
  void Same() {
    EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
    EXPECT_EQ(h.Fingerprint(), h.ReplayedFingerprint());
  }

  CoreHarness h;
  SessionId client, worker;
  uint64_t seq = 0;
};

TEST(History, AnAttemptThatSucceedsLeavesNoRow) {
  Fixture f;
  const TaskId id = f.Submit();
  f.h.Succeed(f.worker, f.Next(), "result");
  EXPECT_EQ(f.h.Row(id).state, TaskState::kSucceeded);
  EXPECT_EQ(f.h.RowCount(Table::kTrails), 0u);
  EXPECT_EQ(f.h.RowCount(Table::kHistory), 0u);
  EXPECT_EQ(f.h.core->state().trails().size(), 0u);
}

TEST(History, EveryOtherAttemptLeavesOne) {
  Fixture f;
  const TaskId id = f.Submit();
  f.h.Fail(f.worker, f.Next(), ErrorCode::kHandlerFailed, wire::RetryAdvice::kDefault, 0, "first");
  f.h.Fail(f.worker, f.Next(), ErrorCode::kAttemptTimedOut, wire::RetryAdvice::kDefault, 0, "late");
  f.Next();
  f.h.Pass(CoreConfig{}.visibility_timeout_ms + 1);
  f.worker = f.h.Worker(2, 5);
  f.h.Succeed(f.worker, f.Next(), "");
  EXPECT_EQ(History(f.h, id),
            (std::vector<std::string>{
                Ended(1, Ending::kRetry, "HANDLER_FAILED worker-1 first"),
                Ended(2, Ending::kRetry, "ATTEMPT_TIMED_OUT worker-1 late"),
                Ended(3, Ending::kReturned,
                      "WORKER_LOST worker-1 worker 'worker-1' was lost while it held the task")}));
  EXPECT_EQ(f.h.RowCount(Table::kHistory), 3u);
  f.Same();
}

TEST(History, WhatIsGivenBackWasNoAttempt) {
  Fixture f;
  const TaskId id = f.Submit();
  f.h.Release(f.worker, {f.Next()});
  EXPECT_EQ(f.h.RowCount(Table::kTrails), 0u);
  f.h.Fail(f.worker, f.Next());
  f.h.Release(f.worker, {f.Next()});
  EXPECT_EQ(History(f.h, id),
            (std::vector<std::string>{Ended(1, Ending::kRetry, "HANDLER_FAILED worker-1 no")}));
  f.Same();
}

TEST(History, OfManyAttemptsTheFirstAndTheLastAreKept) {
  Fixture f;
  const TaskId id = f.Submit({.max_attempts = 100, .retry_base_ms = 1});
  for (int attempt = 1; attempt <= 40; ++attempt) {
    f.h.Fail(f.worker, f.Next(), ErrorCode::kHandlerFailed, wire::RetryAdvice::kAfter, 0);
    const std::vector<std::string> history = History(f.h, id);
    ASSERT_EQ(history.size(), std::min<size_t>(static_cast<size_t>(attempt), kKeptAttempts));
    EXPECT_TRUE(history[0].starts_with("1 "));
    for (size_t i = 1; i < history.size(); ++i) {
      const size_t number = static_cast<size_t>(attempt) - (history.size() - 1 - i);
      EXPECT_TRUE(history[i].starts_with(std::to_string(number) + " ")) << history[i];
    }
  }
  EXPECT_EQ(f.h.RowCount(Table::kHistory), kKeptAttempts);
  f.Same();
}

TEST(History, ALongMessageIsCutAtACharactersEdge) {
  Fixture f;
  const TaskId id = f.Submit();
  std::string message(kMaxHistoryMessageBytes - 1, 'x');
  f.h.Fail(f.worker, f.Next(), ErrorCode::kHandlerFailed, wire::RetryAdvice::kDefault, 0,
           message + "ü and more");
  EXPECT_EQ(
      History(f.h, id),
      (std::vector<std::string>{Ended(1, Ending::kRetry, "HANDLER_FAILED worker-1 " + message)}));
}

TEST(History, GoesOnAfterRetry) {
  Fixture f;
  const TaskId id = f.Submit();
  f.h.Fail(f.worker, f.Next(), ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever, 0, "dead");
  f.h.Restart();
  f.worker = f.h.Worker(1, 5);
  f.h.core->OnRetry(SessionId(1), 1, {{id.value(), f.h.Row(id)}}, f.h.now);
  f.h.Fail(f.worker, f.Next());
  EXPECT_EQ(History(f.h, id),
            (std::vector<std::string>{Ended(1, Ending::kDead, "HANDLER_FAILED worker-1 dead"),
                                      Ended(2, Ending::kRetry, "HANDLER_FAILED worker-1 no")}));
  f.Same();
}

TEST(History, ACancelledAttemptIsPartOfItIfItRan) {
  Fixture f;
  const TaskId ran = f.Submit();
  const Assign attempt = f.Next();
  f.h.CancelOne(f.client, ran);
  f.h.Done(f.worker, {attempt});
  const TaskId returned = f.Submit();
  const Assign unstarted = f.Next();
  f.h.CancelOne(f.client, returned);
  f.h.Release(f.worker, {unstarted});
  const TaskId waited = f.Submit({.delay_ms = 1000});
  f.h.CancelOne(f.client, waited);
  EXPECT_EQ(History(f.h, ran),
            (std::vector<std::string>{Ended(
                1, Ending::kCancelled,
                "CANCELLED worker-1 the task was cancelled; its attempt succeeded all the same, "
                "too late")}));
  EXPECT_TRUE(History(f.h, returned).empty());
  EXPECT_TRUE(History(f.h, waited).empty());
  EXPECT_EQ(f.h.RowCount(Table::kTrails), 1u);
  f.Same();
}

TEST(History, GoesWithItsTaskAndNoOther) {
  Fixture f({.keep_finished = 0});
  const TaskId plain = f.Submit(), failed = f.Submit();
  for (const Assign& a : f.h.Take(f.worker))
    a.task == failed ? f.h.Fail(f.worker, a) : f.h.Done(f.worker, {a});
  EXPECT_EQ(f.h.Row(plain).state, TaskState::kSucceeded);
  f.h.Prune();
  EXPECT_EQ(History(f.h, failed).size(), 1u) << "its neighbour is pruned";
  f.h.Done(f.worker, {f.Next()});
  EXPECT_EQ(History(f.h, failed).size(), 1u) << "it has ended, and is not pruned";
  f.h.Restart();
  f.h.Prune();
  EXPECT_EQ(f.h.RowCount(Table::kTasks), 0u);
  EXPECT_EQ(f.h.RowCount(Table::kHistory), 0u);
  EXPECT_EQ(f.h.RowCount(Table::kTrails), 0u);
  EXPECT_EQ(f.h.core->state().trails().size(), 0u);
  f.Same();
}

// The next one must not share rows with what is still there.
TEST(History, NumbersOfTrailsAreNotUsedAgain) {
  Fixture f({.keep_finished = 0});
  const TaskId first = f.Submit();
  f.h.Fail(f.worker, f.Next());
  const uint64_t number = f.h.core->state().trails().Find(first.value())->number;
  f.h.Done(f.worker, {f.Next()});
  f.h.Prune();
  f.h.Restart();
  f.worker = f.h.Worker(1, 5);
  f.client = f.h.Client(2);
  f.seq = 0;
  const TaskId second = f.Submit();
  f.h.Fail(f.worker, f.Next());
  EXPECT_GT(f.h.core->state().trails().Find(second.value())->number, number);
}

}  // namespace
}  // namespace zsched::broker
