// What the core decides, one promise a test.
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

std::vector<TaskId> Ids(const std::vector<Assign>& tasks) {
  std::vector<TaskId> ids;
  for (const Assign& a : tasks) ids.push_back(a.task);
  return ids;
}

TEST(Submit, GivesConsecutiveIdsAndWaitsForTheDisk) {
  CoreHarness h;
  SessionId client = h.Client(1);
  Lsn before = h.core->appended();
  SubmitAckEffect ack = h.Submit(client, 1, {{}, {}, {}});
  EXPECT_EQ(ack.accepted, 3u);
  EXPECT_EQ(ack.wait, Next(before));
  EXPECT_EQ(ack.reached, Durability::kDisk);
  EXPECT_EQ(EpochOf(TaskId(ack.first_id)), h.core->state().epoch());
  EXPECT_EQ(h.Submit(client, 2, {{}}).first_id, ack.first_id + 3);
}

TEST(Submit, MemoryTasksAreAcknowledgedAtOnceAndSaySo) {
  CoreHarness h;
  SubmitAckEffect ack = h.Submit(h.Client(1), 1, {{.durability = Durability::kMemory}});
  EXPECT_EQ(ack.wait, Lsn(0));
  EXPECT_EQ(ack.reached, Durability::kMemory);
  EXPECT_EQ(h.Submit(h.Client(1), 2, {{.durability = Durability::kMemory}, {}}).reached,
            Durability::kDisk);
}

TEST(Submit, ResendIsAnsweredAsTheFirstTimeAlsoAfterARestart) {
  CoreHarness h;
  SubmitAckEffect first = h.Submit(h.Client(1), 1, {{}, {.priority = 12}, {}});
  ASSERT_EQ(first.rejected.size(), 1u);
  for (int restart = 0; restart < 2; ++restart) {
    SubmitAckEffect again = h.Submit(h.Client(1), 1, {{}, {.priority = 12}, {}});
    EXPECT_TRUE(again.duplicate);
    EXPECT_EQ(again.first_id, first.first_id);
    EXPECT_EQ(again.accepted, 2u);
    ASSERT_EQ(again.rejected.size(), 1u);
    EXPECT_EQ(again.rejected[0].index, 1u);
    EXPECT_EQ(h.core->state().tasks().size(), 2u);
    h.Restart();
  }
}

TEST(Submit, ForgetsWhatTheClientAcknowledged) {
  CoreHarness h;
  SessionId client = h.Client(1);
  h.Submit(client, 1, {{}});
  h.Submit(client, 2, {{}}, /*acked_below=*/2);
  h.Submit(client, 1, {{}}, 1);
  ASSERT_EQ(h.errors.size(), 1u);
  EXPECT_EQ(h.errors[0].code, ErrorCode::kStale);
  EXPECT_EQ(h.core->state().tasks().size(), 2u);
}

TEST(Submit, JudgesEachTaskAloneAndNamesTheField) {
  CoreHarness h;
  SubmitAckEffect ack = h.Submit(h.Client(1), 1,
                                 {{.type = ""},
                                  {.queue = "a\nb"},
                                  {},
                                  {.priority = 10},
                                  {.max_attempts = 10'001},
                                  {.timeout_ms = kMaxTimeoutMs + 1},
                                  {.delay_ms = kMaxDelayMs + 1},
                                  {.retry_base_ms = kMaxRetryCapMs + 1}});
  EXPECT_EQ(ack.accepted, 1u);
  std::vector<std::string> fields = {"type",       "queue",    "priority",     "max_attempts",
                                     "timeout_ms", "delay_ms", "retry_base_ms"};
  ASSERT_EQ(ack.rejected.size(), fields.size());
  for (size_t i = 0; i < fields.size(); ++i) {
    EXPECT_EQ(ack.rejected[i].code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(ack.rejected[i].message.rfind(fields[i], 0), 0u) << ack.rejected[i].message;
  }
}

TEST(Submit, RefusesWhatDoesNotFitAndTakesItWhenThereIsRoom) {
  CoreHarness h({.max_queue_tasks = 2, .max_queue_bytes = 100});
  SessionId client = h.Client(1);
  SubmitAckEffect ack = h.Submit(client, 1, {{}, {}, {}, {.queue = "other"}});
  EXPECT_EQ(ack.accepted, 3u);
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(ack.rejected[0].index, 2u);
  EXPECT_EQ(ack.rejected[0].code, ErrorCode::kResourceExhausted);
  EXPECT_GT(ack.rejected[0].retry_after_ms, 0u);
  ack = h.Submit(client, 2, {{.queue = "bytes", .payload = std::string(101, 'x')}});
  EXPECT_EQ(ack.accepted, 0u);
  SessionId worker = h.Worker(1, 10, {"q"});
  h.Done(worker, h.Take(worker));
  EXPECT_EQ(h.Submit(client, 3, {{}}).accepted, 1u);
}

TEST(Submit, BoundsUnacknowledgedFramesOfAClient) {
  CoreHarness h;
  SessionId client = h.Client(1);
  for (uint64_t seq = 1; seq <= kMaxOutstandingSubmits; ++seq)
    ASSERT_EQ(h.Submit(client, seq, {{}}).accepted, 1u);
  SubmitAckEffect over = h.Submit(client, kMaxOutstandingSubmits + 1, {{}});
  EXPECT_EQ(over.accepted, 0u);
  EXPECT_EQ(over.rejected[0].code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(h.Submit(client, kMaxOutstandingSubmits + 2, {{}}, 2).accepted, 1u);
}

TEST(Submit, IsRefusedWhileTheDiskIsLowButResultsAreTaken) {
  CoreHarness h;
  SessionId client = h.Client(1), worker = h.Worker(1, 1);
  h.Submit(client, 1, {{}});
  h.core->SetDiskLow("disk low");
  EXPECT_EQ(h.Submit(client, 2, {{}}).accepted, 0u);
  h.Done(worker, h.Take(worker));
  EXPECT_EQ(h.core->state().finished(), 1u);
}

TEST(Dispatch, HighestPriorityFirstThenFirstIn) {
  CoreHarness h;
  SubmitAckEffect ack = h.Submit(
      h.Client(1), 1,
      {{.priority = 1}, {.priority = 9}, {.type = "u", .priority = 9}, {}, {.priority = 9}});
  SessionId worker = h.Worker(1, 100);
  uint64_t f = ack.first_id;
  EXPECT_EQ(Ids(h.Take(worker)), (std::vector<TaskId>{TaskId(f + 1), TaskId(f + 2), TaskId(f + 4),
                                                      TaskId(f + 3), TaskId(f)}));
}

TEST(Dispatch, QueuesTakeTurns) {
  CoreHarness h;
  SessionId client = h.Client(1);
  std::vector<TestTask> tasks(6, TestTask{.queue = "busy", .priority = 9});
  tasks.push_back({.queue = "quiet", .priority = 0});
  SubmitAckEffect ack = h.Submit(client, 1, tasks);
  SessionId worker = h.Worker(1, 2);
  EXPECT_EQ(Ids(h.Take(worker)),
            (std::vector<TaskId>{TaskId(ack.first_id), TaskId(ack.first_id + 6)}));
}

TEST(Dispatch, OnlyToWorkersOfTheQueueAndType) {
  CoreHarness h;
  h.Submit(h.Client(1), 1,
           {{.type = "a", .queue = "x"}, {.type = "b", .queue = "x"}, {.type = "a", .queue = "y"}});
  SessionId w1 = h.Worker(1, 10, {"x"}, {"a"}), w2 = h.Worker(2, 10, {"y"}),
            w3 = h.Worker(3, 10, {"z"});
  EXPECT_EQ(h.Take(w1).size(), 1u);
  EXPECT_EQ(h.Take(w2).size(), 1u);
  EXPECT_EQ(h.Take(w3).size(), 0u);
  SessionId w4 = h.Worker(4, 10, {}, {"b"});
  EXPECT_EQ(h.Take(w4).size(), 1u);
}

TEST(Credit, IsNeverExceededInTasks) {
  CoreHarness h;
  h.Submit(h.Client(1), 1, std::vector<TestTask>(10));
  SessionId worker = h.Worker(1, 3);
  std::vector<Assign> first = h.Take(worker);
  EXPECT_EQ(first.size(), 3u);
  EXPECT_EQ(h.Take(worker).size(), 0u);
  h.Done(worker, {first[0]});
  EXPECT_EQ(h.Take(worker).size(), 1u);
  h.Credit(worker, 1);
  h.Done(worker, {first[1]});
  EXPECT_EQ(h.Take(worker).size(), 0u) << "two are outstanding, one is granted";
}

TEST(Credit, IsNeverExceededInBytesExceptByATaskAlone) {
  CoreHarness h;
  TestTask big{.payload = std::string(60, 'x')}, huge{.payload = std::string(500, 'x')};
  h.Submit(h.Client(1), 1, {big, big, huge});
  SessionId worker = h.Worker(1, 10, {}, {}, {}, /*credit_bytes=*/100);
  std::vector<Assign> got = h.Take(worker);
  ASSERT_EQ(got.size(), 1u);
  h.Done(worker, got);
  got = h.Take(worker);
  ASSERT_EQ(got.size(), 1u);
  h.Done(worker, got);
  EXPECT_EQ(h.Take(worker).size(), 1u) << "the huge one goes when nothing else is outstanding";
}

TEST(Credit, LoadIsSpreadOverWorkersOfSmallCredit) {
  CoreHarness h;
  SessionId a = h.Worker(1, 4), b = h.Worker(2, 4);
  h.Submit(h.Client(1), 1, std::vector<TestTask>(4));
  EXPECT_EQ(h.Take(a).size(), 2u);
  EXPECT_EQ(h.Take(b).size(), 2u);
}

TEST(Result, EndsTheTaskOnceAndTellsTheSubmitter) {
  CoreHarness h;
  SessionId client = h.Client(1), worker = h.Worker(1, 1);
  SubmitAckEffect ack = h.Submit(client, 1, {{}}, 1, /*notify=*/true);
  std::vector<Assign> got = h.Take(worker);
  h.Done(worker, got);
  ASSERT_EQ(h.outcomes.size(), 1u);
  EXPECT_EQ(h.outcomes[0].succeeded, std::vector<uint64_t>{ack.first_id});
  EXPECT_TRUE(h.result_acks.back().stale.empty());
  h.Done(worker, got);
  EXPECT_EQ(h.result_acks.back().stale, std::vector<uint64_t>{got[0].lease.value()});
  EXPECT_EQ(h.outcomes.size(), 1u);
  EXPECT_EQ(h.Row(TaskId(ack.first_id)).state, TaskState::kSucceeded);
}

TEST(Result, OfAnotherWorkersLeaseIsStale) {
  CoreHarness h;
  SessionId mine = h.Worker(1, 1), other = h.Worker(2, 0);
  h.Submit(h.Client(1), 1, {{}});
  std::vector<Assign> got = h.Take(mine);
  h.Done(other, got);
  EXPECT_EQ(h.result_acks.back().stale.size(), 1u);
  h.Done(mine, got);
  EXPECT_TRUE(h.result_acks.back().stale.empty());
}

TEST(Failure, WaitsWithBackoffThenRunsAgain) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 1);
  TaskId id = h.SubmitOne(h.Client(1), 1, {.retry_base_ms = 1000});
  for (int attempt = 1; attempt <= 4; ++attempt) {
    std::vector<Assign> got = h.Take(worker);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].attempt, attempt);
    h.Fail(worker, got[0]);
    int64_t delay = 1000 << (attempt - 1), wait = h.Find(id)->order - h.now.wall_ms;
    EXPECT_EQ(h.Find(id)->state, TaskState::kRetryWait);
    EXPECT_GE(wait, delay / 2);
    EXPECT_LE(wait, delay);
    h.Pass(wait - 1);
    EXPECT_EQ(h.Take(worker).size(), 0u);
    h.Pass(1);
  }
}

TEST(Failure, AdviceOfTheHandlerDecides) {
  CoreHarness h;
  SessionId client = h.Client(1), worker = h.Worker(1, 1);
  TaskId after = h.SubmitOne(client, 1, {});
  h.Fail(worker, h.Take(worker)[0], ErrorCode::kHandlerFailed, wire::RetryAdvice::kAfter, 12'345);
  EXPECT_EQ(h.Find(after)->order, h.now.wall_ms + 12'345);
  TaskId never = h.SubmitOne(client, 2, {});
  h.Fail(worker, h.Take(worker)[0], ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever);
  EXPECT_EQ(h.Find(never), nullptr);
  EXPECT_EQ(h.Row(never).state, TaskState::kDead);
}

TEST(Failure, SpentAttemptsMakeTheTaskDeadAndRetryRevivesIt) {
  CoreHarness h;
  SessionId client = h.Client(1), worker = h.Worker(1, 1);
  TaskId id(h.Submit(client, 1, {{.max_attempts = 2, .retry_base_ms = 1}}, 1, true).first_id);
  h.Fail(worker, h.Take(worker)[0]);
  h.Pass(1);
  h.Fail(worker, h.Take(worker)[0]);
  EXPECT_EQ(h.Row(id).state, TaskState::kDead);
  ASSERT_EQ(h.outcomes.size(), 1u);
  ASSERT_EQ(h.outcomes[0].items.size(), 1u);
  EXPECT_EQ(h.outcomes[0].items[0].state, TaskState::kDead);
  EXPECT_EQ(h.core->state().lanes().FindQueue("q")->counts[static_cast<size_t>(TaskState::kDead)],
            1u);

  h.core->OnRetry(client, 9, {{id.value(), h.Row(id)}, {id.value(), h.Row(id)}, {77, std::nullopt}},
                  h.now);
  h.Commit();
  ASSERT_EQ(h.replies.size(), 1u);
  EXPECT_EQ(h.replies[0].items[0].code, ErrorCode::kOk);
  EXPECT_EQ(h.replies[0].items[1].code, ErrorCode::kConflict);
  EXPECT_EQ(h.replies[0].items[2].code, ErrorCode::kNotFound);
  std::vector<Assign> got = h.Take(worker);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].attempt, 3);
  h.Done(worker, got);
  EXPECT_EQ(h.Row(id).state, TaskState::kSucceeded);
  EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
}

TEST(Lost, SilentWorkerLosesItsTasksWhichGoFirst) {
  CoreHarness h;
  SessionId client = h.Client(1), silent = h.Worker(1, 2);
  SubmitAckEffect ack = h.Submit(client, 1, std::vector<TestTask>(3));
  std::vector<Assign> got = h.Take(silent);
  ASSERT_EQ(got.size(), 2u);
  h.Pass(kVisibilityTimeoutMs + 1);
  SessionId worker = h.Worker(2, 10);
  EXPECT_EQ(Ids(h.Take(worker)),
            (std::vector<TaskId>{TaskId(ack.first_id), TaskId(ack.first_id + 1),
                                 TaskId(ack.first_id + 2)}));
  EXPECT_EQ(h.Find(got[0].task)->lost, 1);
  EXPECT_EQ(h.core->FindWorkerSession(silent), nullptr);
}

TEST(Lost, CrashLimitEndsATaskThatKillsItsWorkers) {
  CoreHarness h;
  TaskId id = h.SubmitOne(h.Client(1), 1, {});
  for (int i = 1; i <= kCrashLimit; ++i) {
    SessionId worker = h.Worker(static_cast<uint64_t>(i), 1);
    ASSERT_EQ(h.Take(worker).size(), 1u) << i;
    h.core->OnWorkerGoodbye(worker, h.now);
    h.Commit();
  }
  EXPECT_EQ(h.Row(id).state, TaskState::kDead);
}

TEST(Lost, AHeartbeatKeepsAllLeases) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 2);
  h.Submit(h.Client(1), 1, std::vector<TestTask>(2));
  std::vector<Assign> got = h.Take(worker);
  for (int i = 0; i < 10; ++i) {
    h.Pass(kVisibilityTimeoutMs - 1);
    ASSERT_TRUE(h.core->Touch(worker, h.now));
  }
  h.Done(worker, got);
  EXPECT_TRUE(h.result_acks.back().stale.empty());
}

TEST(Timeout, OverdueAttemptIsTakenAwayAndCounted) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 1);
  TaskId id = h.SubmitOne(h.Client(1), 1, {.timeout_ms = 100});
  std::vector<Assign> got = h.Take(worker);
  h.Started(worker, got[0]);
  for (int64_t ms : {int64_t{100 + kTimeoutGraceMs - 1}, int64_t{1}}) {
    EXPECT_EQ(h.Find(id)->state, TaskState::kLeased);
    h.core->Touch(worker, {h.now.wall_ms + ms, h.now.mono_ms + ms});
    h.Pass(ms);
  }
  EXPECT_EQ(h.Find(id)->state, TaskState::kRetryWait);
  EXPECT_EQ(h.Find(id)->lost, 1);
  ASSERT_EQ(h.cancels.size(), 1u);
  EXPECT_EQ(h.cancels[0].leases, std::vector<uint64_t>{got[0].lease.value()});
  h.Done(worker, got);
  EXPECT_EQ(h.result_acks.back().stale.size(), 1u);
}

TEST(Release, GivesTheAttemptBackUncountedAndInItsPlace) {
  CoreHarness h;
  SessionId leaving = h.Worker(1, 2);
  SubmitAckEffect ack = h.Submit(h.Client(1), 1, std::vector<TestTask>(4));
  std::vector<Assign> held = h.Take(leaving);
  h.Credit(leaving, 0);
  h.Release(leaving, held);
  h.core->OnWorkerGoodbye(leaving, h.now);
  SessionId worker = h.Worker(2, 10);
  std::vector<Assign> got = h.Take(worker);
  ASSERT_EQ(got.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(got[i].task.value(), ack.first_id + i);
    EXPECT_EQ(got[i].attempt, 1);
  }
}

TEST(Restart, WorkerKeepsItsAttemptAndTheResultIsTaken) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 1);
  TaskId id = h.SubmitOne(h.Client(1), 1, {});
  std::vector<Assign> got = h.Take(worker);
  h.Commit();
  h.Restart();
  SessionId again = h.Worker(1, 1, {}, {}, {{id.value(), got[0].lease.value(), 1}});
  h.Commit();
  EXPECT_TRUE(h.welcomes.back().stale.empty());
  h.Succeed(again, got[0], "done");
  EXPECT_TRUE(h.result_acks.back().stale.empty());
  EXPECT_EQ(h.Row(id).state, TaskState::kSucceeded);
  EXPECT_EQ(h.Row(id).attempt, 1);
}

TEST(Restart, AttemptWhoseLeaseWasNotYetDurableIsAdopted) {
  CoreHarness h;
  TaskId id = h.SubmitOne(h.Client(1), 1, {});
  SessionId worker = h.Worker(1, 1);
  h.Round();  // leased and sent, as grants do not wait for the disk; then the broker dies
  std::vector<Assign> got = h.assigned[worker.value()];
  ASSERT_EQ(got.size(), 1u);
  h.Restart();
  ASSERT_EQ(h.Find(id)->state, TaskState::kReady);
  SessionId again = h.Worker(1, 1, {}, {}, {{id.value(), got[0].lease.value(), 1}});
  h.Commit();
  EXPECT_TRUE(h.welcomes.back().stale.empty());
  EXPECT_EQ(h.Find(id)->state, TaskState::kLeased);
  h.Done(again, got);
  EXPECT_EQ(h.Row(id).state, TaskState::kSucceeded);
}

TEST(Restart, LeasesOfWorkersThatDoNotComeBackExpire) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 1);
  TaskId id = h.SubmitOne(h.Client(1), 1, {});
  h.Take(worker);
  h.Commit();
  h.Restart();
  EXPECT_EQ(h.Find(id)->state, TaskState::kLeased);
  h.Pass(kVisibilityTimeoutMs + 1);
  EXPECT_EQ(h.Find(id)->state, TaskState::kReady);
}

TEST(Restart, WorkerThatDoesNotHoldALeaseAnyMoreGivesItBack) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 2);
  h.Submit(h.Client(1), 1, std::vector<TestTask>(2));
  std::vector<Assign> got = h.Take(worker);
  h.Commit();
  h.Restart();
  h.Worker(1, 0, {}, {}, {{got[0].task.value(), got[0].lease.value(), 1}});
  h.Commit();
  EXPECT_EQ(h.Find(got[0].task)->state, TaskState::kLeased);
  EXPECT_EQ(h.Find(got[1].task)->state, TaskState::kReady);
  EXPECT_EQ(h.Find(got[1].task)->attempt, 0) << "it never began";
}

TEST(Restart, DelaysAndRetriesGoOn) {
  CoreHarness h;
  TaskId id = h.SubmitOne(h.Client(1), 1, {.delay_ms = 60'000});
  h.Pass(30'000);
  h.Restart();
  SessionId worker = h.Worker(1, 1);
  h.Pass(29'999);
  h.core->Touch(worker, h.now);
  EXPECT_EQ(h.Take(worker).size(), 0u);
  worker = h.Worker(2, 1);
  h.Pass(1);
  EXPECT_EQ(Ids(h.Take(worker)), std::vector<TaskId>{id});
}

TEST(Session, NewHelloOfAWorkerTakesOver) {
  CoreHarness h;
  SessionId old = h.Worker(1, 1);
  h.Submit(h.Client(1), 1, {{}});
  std::vector<Assign> got = h.Take(old);
  SessionId fresh = h.Worker(1, 1, {}, {}, {{got[0].task.value(), got[0].lease.value(), 1}});
  h.Commit();
  h.Done(old, got);
  EXPECT_EQ(h.core->state().finished(), 0u) << "the old session is over";
  h.Done(fresh, got);
  EXPECT_EQ(h.core->state().finished(), 1u);
}

// A RESULTS frame may end more tasks than are to be kept: pruning by count never goes below what was promised.
// What retention reads of tasks that ended with the last record.
TEST(Workers, TooManyKindsAreRefusedAndTheWorkerKeepsNothing) {
  CoreHarness h;
  for (uint64_t i = 0; i < Dispatcher::kMaxClasses; ++i)
    h.Worker(i + 1, 1, {"q" + std::to_string(i)});
  flatbuffers::FlatBufferBuilder b;
  wire::Uuid id(9999, 1);
  auto name = b.CreateString("one-too-many");
  auto queues = b.CreateVectorOfStrings({"another"});
  wire::WorkerHelloBuilder hello(b);
  hello.add_id(&id);
  hello.add_name(name);
  hello.add_queues(queues);
  b.Finish(hello.Finish());
  auto session =
      h.core->OnWorkerHello(*flatbuffers::GetRoot<wire::WorkerHello>(b.GetBufferPointer()), h.now);
  EXPECT_EQ(CodeOf(session.status()), ErrorCode::kResourceExhausted);
  h.Commit();
}

}  // namespace
}  // namespace zsched::broker
