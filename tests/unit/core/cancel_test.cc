// What a cancel means in every state of a task, and for all that may end its attempt afterwards.
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

// One task, one client that waits for it, one worker that has taken it or not.
class CancelTest : public testing::Test {
 protected:
  TaskId Submit(TestTask task = {}) {
    ++seq;
    return TaskId(h.Submit(client, seq, {std::move(task)}, seq, /*notify=*/true).first_id);
  }
  // Leased to `worker`, and marked as cancelled.
  TaskId Running() {
    TaskId id = Submit({.max_attempts = 1});
    assigned = h.Take(worker).at(0);
    EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
    EXPECT_TRUE(h.Find(id)->cancelling);
    EXPECT_TRUE(h.Row(id).cancelling);
    return id;
  }
  OutcomeView Outcome(TaskId id) {
    auto view = h.journal->View();
    outcome_row = std::string(**(*view)->Get(Table::kOutcomes, id.value()));
    return *ReadOutcome(outcome_row);
  }
  // Over as cancelled, for good, for everybody, after a restart too; with `message`.
  void ExpectCancelled(TaskId id, std::string_view message) {
    EXPECT_EQ(h.Find(id), nullptr);
    const TaskRow row = h.Row(id);
    EXPECT_EQ(row.state, TaskState::kCancelled);
    EXPECT_EQ(row.cancelling, 0);
    EXPECT_EQ(row.finished_ms, h.now.wall_ms);
    EXPECT_EQ(Outcome(id).head.error_code, static_cast<uint16_t>(ErrorCode::kCancelled));
    EXPECT_EQ(Outcome(id).body, message);
    ASSERT_EQ(h.outcomes.size(), 1u) << "its client is told, once";
    ASSERT_EQ(h.outcomes[0].items.size(), 1u);
    EXPECT_EQ(h.outcomes[0].items[0].task, id);
    EXPECT_EQ(h.outcomes[0].items[0].state, TaskState::kCancelled);
    EXPECT_EQ(h.outcomes[0].wait, h.core->appended());
    EXPECT_EQ(h.core->metrics()[Metric::kTasksCancelled], 1u);
    EXPECT_EQ(h.core->state().finished(), 1u);
    EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
    EXPECT_EQ(h.Fingerprint(), h.ReplayedFingerprint());
    EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk) << "again changes nothing";
  }

  CoreHarness h;
  SessionId client = h.Client(1), worker = h.Worker(1, 1);
  uint64_t seq = 0;
  Assign assigned{};
  std::string outcome_row;
};

// --- Waiting tasks end at once ---

TEST_F(CancelTest, ScheduledTaskNeverBecomesDue) {
  TaskId id = Submit({.delay_ms = 5'000});
  EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
  ExpectCancelled(id, "the task was cancelled while it waited");
  h.Pass(10'000);
  EXPECT_TRUE(h.Take(worker).empty());
}

TEST_F(CancelTest, ReadyTaskIsHandedToNobody) {
  h.Credit(worker, 0);
  TaskId first = Submit(), id = Submit(), last = Submit();
  EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
  ExpectCancelled(id, "the task was cancelled while it waited");
  h.Credit(worker, 10);
  std::vector<Assign> got = h.Take(worker);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].task, first);
  EXPECT_EQ(got[1].task, last);
}

TEST_F(CancelTest, TheOnlyReadyTaskOfALineLeavesItUsable) {
  h.Credit(worker, 0);
  EXPECT_EQ(h.CancelOne(client, Submit()).code, ErrorCode::kOk);
  TaskId next = Submit();
  h.Credit(worker, 10);
  std::vector<Assign> got = h.Take(worker);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].task, next);
}

TEST_F(CancelTest, TaskThatWaitsToBeTriedAgainEndsAndItsLastErrorIsReplaced) {
  TaskId id = Submit({.retry_base_ms = 1'000});
  h.Fail(worker, h.Take(worker).at(0));
  ASSERT_EQ(h.Find(id)->state, TaskState::kRetryWait);
  EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
  ExpectCancelled(id, "the task was cancelled while it waited");
  h.Pass(10'000);
  EXPECT_TRUE(h.Take(worker).empty());
}

TEST_F(CancelTest, TheAnswerAndTheOutcomeWaitForTheRecord) {
  h.hold_commits = true;
  h.Credit(worker, 0);
  TaskId id(h.Submit(client, 1, {{}}, 1, true).first_id);
  ASSERT_TRUE(h.core->OnCancel(client, 7, {id.value()}, h.now));
  h.Round();
  EXPECT_EQ(h.replies.back().wait, h.core->appended());
  EXPECT_EQ(h.outcomes.back().wait, h.core->appended());
}

// --- A running task is marked, and every end of its attempt is its end ---

TEST_F(CancelTest, RunningTaskIsMarkedAndItsWorkerTold) {
  Running();
  ASSERT_EQ(h.cancels.size(), 1u);
  EXPECT_EQ(h.cancels[0].to, worker);
  EXPECT_EQ(h.cancels[0].leases, std::vector<uint64_t>{assigned.lease.value()});
  EXPECT_EQ(h.cancels[0].code, ErrorCode::kCancelled);
  EXPECT_EQ(h.cancels[0].wait, h.core->appended()) << "only when it is durable";
  EXPECT_TRUE(h.outcomes.empty()) << "it is not over yet";
}

TEST_F(CancelTest, AgainWhileItRunsChangesNothing) {
  TaskId id = Running();
  const Lsn before = h.core->appended();
  EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
  EXPECT_EQ(h.core->appended(), before);
  EXPECT_EQ(h.cancels.size(), 1u);
}

TEST_F(CancelTest, SuccessIsTooLateAndNotStale) {
  TaskId id = Running();
  h.Done(worker, {assigned});
  EXPECT_TRUE(h.result_acks.back().stale.empty());
  EXPECT_EQ(h.core->metrics()[Metric::kTasksSucceeded], 0u);
  ExpectCancelled(id, "the task was cancelled; its attempt succeeded all the same, too late");
}

TEST_F(CancelTest, SuccessThatIsNamedTwiceCountsOnce) {
  TaskId id = Running();
  h.Done(worker, {assigned, assigned});
  EXPECT_EQ(h.result_acks.back().stale, std::vector<uint64_t>{assigned.lease.value()});
  ExpectCancelled(id, "the task was cancelled; its attempt succeeded all the same, too late");
}

TEST_F(CancelTest, SuccessWithAResultIsTooLateAndTheResultDropped) {
  TaskId id = Running();
  h.Succeed(worker, assigned, "a result");
  ExpectCancelled(id, "the task was cancelled; its attempt succeeded all the same, too late");
}

TEST_F(CancelTest, WhatTheWorkerSaysOfTheCancelIsKept) {
  TaskId id = Running();
  h.Fail(worker, assigned, ErrorCode::kCancelled, wire::RetryAdvice::kDefault, 0, "SIGTERM");
  EXPECT_EQ(h.core->metrics()[Metric::kAttemptsFailed], 0u) << "the handler did not fail";
  ExpectCancelled(id, "SIGTERM");
}

TEST_F(CancelTest, FailureThatCrossedItDoesNotMakeTheTaskDead) {
  TaskId id = Running();
  h.Fail(worker, assigned, ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever);
  ExpectCancelled(id, "the task was cancelled; its attempt ended with HANDLER_FAILED: no");
}

TEST_F(CancelTest, TimeoutThatCrossedItIsNotTriedAgain) {
  TaskId id = Running();
  h.Fail(worker, assigned, ErrorCode::kAttemptTimedOut);
  ExpectCancelled(id, "the task was cancelled; its attempt ended with ATTEMPT_TIMED_OUT: no");
}

TEST_F(CancelTest, LossOfTheWorkerEndsTheTask) {
  TaskId id = Running();
  h.core->OnWorkerGoodbye(worker, h.now);
  h.Commit();
  ExpectCancelled(id, "the task was cancelled; worker 'worker-1' was lost while it held the task");
}

TEST_F(CancelTest, TaskThatIsGivenBackIsNotReadyAgain) {
  TaskId id = Running();
  h.Release(worker, {assigned});
  EXPECT_EQ(h.Row(id).attempt, 0);
  ExpectCancelled(id, "the task was cancelled before it ran");
}

TEST_F(CancelTest, AttemptThatDoesNotEndIsTakenAwayAfterItsTimeout) {
  TaskId id = Submit({.timeout_ms = 1'000});
  assigned = h.Take(worker).at(0);
  h.Started(worker, assigned);
  EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
  for (int i = 0; i < 12; ++i) {
    h.Pass(1'000);
    h.core->Touch(worker, h.now);
  }
  ASSERT_EQ(h.cancels.size(), 2u);
  EXPECT_EQ(h.cancels[1].code, ErrorCode::kAttemptTimedOut);
  h.now.wall_ms = h.Row(id).finished_ms;
  ExpectCancelled(id,
                  "the task was cancelled; the attempt was not over 10 s past its timeout, and its "
                  "worker did not say so");
}

// --- A worker that is away ---

TEST_F(CancelTest, WorkerThatComesBackWithTheLeaseIsToldAgain) {
  TaskId id = Running();
  h.core->OnSessionBroken(worker);
  h.Commit();
  worker = h.Worker(1, 1, {}, {}, {{id.value(), assigned.lease.value(), assigned.attempt}});
  h.Commit();
  EXPECT_TRUE(h.welcomes.back().stale.empty()) << "it has to report what became of the attempt";
  ASSERT_EQ(h.cancels.size(), 2u);
  EXPECT_EQ(h.cancels[1].to, worker);
  EXPECT_EQ(h.cancels[1].leases, std::vector<uint64_t>{assigned.lease.value()});
  h.Done(worker, {assigned});
  ExpectCancelled(id, "the task was cancelled; its attempt succeeded all the same, too late");
}

TEST_F(CancelTest, CancelledWhileTheWorkerIsAway) {
  TaskId id = Submit();
  assigned = h.Take(worker).at(0);
  h.core->OnSessionBroken(worker);
  EXPECT_EQ(h.CancelOne(client, id).code, ErrorCode::kOk);
  EXPECT_TRUE(h.cancels.empty());
  worker = h.Worker(1, 1, {}, {}, {{id.value(), assigned.lease.value(), assigned.attempt}});
  h.Commit();
  ASSERT_EQ(h.cancels.size(), 1u);
  EXPECT_EQ(h.cancels[0].leases, std::vector<uint64_t>{assigned.lease.value()});
}

TEST_F(CancelTest, HoldsOverARestartOfTheBroker) {
  TaskId id = Running();
  h.Restart();
  h.cancels.clear();
  ASSERT_TRUE(h.Find(id)->cancelling);
  worker = h.Worker(1, 1, {}, {}, {{id.value(), assigned.lease.value(), assigned.attempt}});
  h.Commit();
  ASSERT_EQ(h.cancels.size(), 1u);
  EXPECT_EQ(h.cancels[0].to, worker);
  h.Done(worker, {assigned});
  EXPECT_EQ(h.Row(id).state, TaskState::kCancelled);
}

TEST_F(CancelTest, LeaseThatWasNotDurableIsNotAdoptedByACancelledTask) {
  h.Credit(worker, 0);
  TaskId id = Submit();
  h.Credit(worker, 1);
  h.Round();  // leased, in a batch that is lost
  assigned = h.assigned[worker.value()].at(0);
  h.Restart();
  ASSERT_EQ(h.Find(id)->state, TaskState::kReady);
  EXPECT_EQ(h.CancelOne(h.Client(2), id).code, ErrorCode::kOk);
  EXPECT_EQ(h.Row(id).state, TaskState::kCancelled);
  h.Worker(1, 1, {}, {}, {{id.value(), assigned.lease.value(), assigned.attempt}});
  h.Commit();
  EXPECT_EQ(h.welcomes.back().stale, std::vector<uint64_t>{assigned.lease.value()});
}

TEST_F(CancelTest, WorkerThatDoesNotComeBackEndsTheTask) {
  TaskId id = Running();
  h.Restart();
  h.Pass(kVisibilityTimeoutMs + 200);
  EXPECT_EQ(h.Row(id).state, TaskState::kCancelled);
  EXPECT_EQ(h.Row(id).lost, 1);
}

// --- What is over, and what never was ---

TEST_F(CancelTest, FinishedTasksAndUnknownOnes) {
  TaskId succeeded = Submit();
  h.Done(worker, h.Take(worker));
  TaskId dead = Submit({.max_attempts = 1});
  h.Fail(worker, h.Take(worker).at(0));
  TaskId running = Submit();
  h.Take(worker);
  ItemReplyEffect reply =
      h.Cancel(client, {succeeded.value(), dead.value(), 4711, running.value(), dead.value()});
  ASSERT_EQ(reply.items.size(), 5u);
  EXPECT_EQ(reply.items[0].code, ErrorCode::kConflict);
  EXPECT_EQ(reply.items[0].message,
            "task " + ToString(succeeded) + " cannot be cancelled: it has succeeded");
  EXPECT_EQ(reply.items[1].code, ErrorCode::kConflict);
  EXPECT_EQ(reply.items[1].message, "task " + ToString(dead) + " cannot be cancelled: it is dead");
  EXPECT_EQ(reply.items[2].code, ErrorCode::kNotFound);
  EXPECT_EQ(reply.items[3].code, ErrorCode::kOk);
  EXPECT_EQ(reply.items[4].code, ErrorCode::kConflict);
  EXPECT_EQ(h.Row(succeeded).state, TaskState::kSucceeded);
  EXPECT_EQ(h.Row(dead).state, TaskState::kDead);
}

TEST_F(CancelTest, TheSameTaskTwiceInOneRequest) {
  h.Credit(worker, 0);
  TaskId id = Submit();
  ItemReplyEffect reply = h.Cancel(client, {id.value(), 4711, id.value()});
  EXPECT_EQ(reply.items[0].code, ErrorCode::kOk);
  EXPECT_EQ(reply.items[1].code, ErrorCode::kNotFound);
  EXPECT_EQ(reply.items[2].code, ErrorCode::kOk);
  EXPECT_EQ(h.core->metrics()[Metric::kTasksCancelled], 1u);
}

TEST_F(CancelTest, RetryOfADeadTaskBetweenLookUpAndStepIsCancelledToo) {
  TaskId id = Submit({.max_attempts = 1});
  h.Fail(worker, h.Take(worker).at(0));
  h.Credit(worker, 0);
  ASSERT_FALSE(h.core->OnCancel(client, 9, {id.value()}, h.now));
  const std::vector<Core::RowItem> rows = h.Rows({id.value()});
  h.core->OnRetry(client, 10, rows, h.now);
  ASSERT_EQ(h.Find(id)->state, TaskState::kReady);
  ASSERT_TRUE(h.core->OnCancelRows(client, 9, rows, h.now));
  h.Commit();
  EXPECT_EQ(h.replies.back().items[0].code, ErrorCode::kOk);
  EXPECT_EQ(h.Row(id).state, TaskState::kCancelled);
}

TEST_F(CancelTest, TaskThatEndedAfterItsRowWasReadIsLookedAtAgain) {
  TaskId id = Submit();
  assigned = h.Take(worker).at(0);
  const std::vector<Core::RowItem> rows = h.Rows({id.value()});
  h.Done(worker, {assigned});
  const size_t replies = h.replies.size();
  EXPECT_FALSE(h.core->OnCancelRows(client, 9, rows, h.now));
  h.Commit();
  EXPECT_EQ(h.replies.size(), replies);
  EXPECT_TRUE(h.core->OnCancelRows(client, 9, h.Rows({id.value()}), h.now));
  h.Commit();
  EXPECT_EQ(h.replies.back().items[0].code, ErrorCode::kConflict);
}

TEST_F(CancelTest, CancelledTaskCannotBeRetried) {
  h.Credit(worker, 0);
  TaskId id = Submit();
  h.CancelOne(client, id);
  h.core->OnRetry(client, 9, h.Rows({id.value()}), h.now);
  h.Commit();
  EXPECT_EQ(h.replies.back().items[0].code, ErrorCode::kConflict);
  EXPECT_EQ(h.Row(id).state, TaskState::kCancelled);
}

// --- What is kept of it ---

TEST_F(CancelTest, RetentionPrunesCancelledTasksWithAllTheirRows) {
  CoreHarness small({.keep_finished = 1, .keep_finished_ms = 1'000'000});
  SessionId from = small.Client(1);
  const uint64_t first = small.Submit(from, 1, std::vector<TestTask>(3)).first_id;
  small.Cancel(from, {first, first + 1});
  EXPECT_EQ(small.RowCount(Table::kOutcomes), 2u);
  small.Cancel(from, {first + 2});
  small.Prune();
  EXPECT_EQ(small.core->state().finished(), 1u);
  EXPECT_EQ(small.RowCount(Table::kOutcomes), 1u);
  EXPECT_EQ(small.RowCount(Table::kTasks), 1u);
  EXPECT_EQ(small.RowCount(Table::kSpecs), 1u);
  EXPECT_EQ(small.Fingerprint(), small.RebuiltFingerprint());
  EXPECT_EQ(small.Fingerprint(), small.ReplayedFingerprint());
  EXPECT_EQ(small.CancelOne(from, TaskId(first)).code, ErrorCode::kNotFound);
}

TEST_F(CancelTest, RoomOfAFullQueueIsFreeAgain) {
  CoreHarness full({.max_queue_tasks = 1});
  SessionId from = full.Client(1);
  TaskId id = full.SubmitOne(from, 1, {});
  ASSERT_EQ(full.Submit(from, 2, {{}}).accepted, 0u);
  full.CancelOne(from, id);
  EXPECT_EQ(full.Submit(from, 3, {{}}).accepted, 1u);
}

// --- The record ---

TEST_F(CancelTest, RecordsThatDoNotFitAreRefused) {
  TaskId id = Running();
  h.Done(worker, {assigned});
  std::vector<std::string> records;
  auto view = h.journal->View();
  ASSERT_TRUE((*view)
                  ->ScanLog(Lsn(1),
                            [&](const LogSegment& segment) {
                              for (std::string_view rest = segment.records; !rest.empty();) {
                                RecordHead head;
                                std::memcpy(&head, rest.data(), sizeof head);
                                records.emplace_back(rest.substr(0, head.bytes));
                                rest.remove_prefix(head.bytes);
                              }
                              return true;
                            })
                  .ok());
  auto is = [](RecordKind kind) {
    return [kind](const std::string& record) {
      return static_cast<RecordKind>(record[offsetof(RecordHead, kind)]) == kind;
    };
  };
  auto cancelled = std::find_if(records.begin(), records.end(), is(RecordKind::kCancelled));
  auto ended = std::find_if(records.begin(), records.end(), is(RecordKind::kEnded));
  ASSERT_TRUE(cancelled < ended && ended != records.end());
  auto apply = [&](const std::vector<std::string>& log) {
    State state;
    Batch batch;
    batch.Begin(Epoch(0), Lsn(1));
    absl::Status status;
    for (const std::string& record : log)
      if (status.ok()) status = state.Apply(batch, record);
    return status;
  };
  ASSERT_TRUE(apply(records).ok());
  std::vector<std::string> twice = records, unmarked = records, unknown = records;
  twice.insert(twice.begin() + (ended - records.begin()), *cancelled);
  EXPECT_EQ(CodeOf(apply(twice)), ErrorCode::kDataLoss);
  unmarked.erase(unmarked.begin() + (cancelled - records.begin()));
  EXPECT_EQ(CodeOf(apply(unmarked)), ErrorCode::kDataLoss) << "ends as cancelled, but was not";
  std::string& record = unknown[static_cast<size_t>(cancelled - records.begin())];
  char& of_id = record[sizeof(RecordHead) + sizeof(IdsRecord) + sizeof(uint64_t) - 1];
  of_id = static_cast<char>(of_id ^ 1);
  EXPECT_EQ(CodeOf(apply(unknown)), ErrorCode::kDataLoss) << id.value();
}

}  // namespace
}  // namespace zsched::broker
