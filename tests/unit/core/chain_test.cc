// Chains: which tasks follow at each end of a task, once in its life and together with that end; what
// they inherit and are given; what of a chain is refused; that restart and replay know the same.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class ChainTest : public testing::Test {
 protected:
  void Start(CoreConfig config) {
    h_ = std::make_unique<CoreHarness>(config);
    Connect();
  }
  void Connect() {
    client_ = h_->Client(1);
    worker_ = h_->Worker(1, 100, {"q"});
  }
  void SetUp() override { Start({}); }
  void TearDown() override { ExpectSame(); }

  void ExpectSame() {
    h_->Commit();
    EXPECT_EQ(h_->Fingerprint(), h_->RebuiltFingerprint());
    EXPECT_EQ(h_->Fingerprint(), h_->ReplayedFingerprint());
  }
  // Sessions are lost too.
  void Restart() {
    ExpectSame();
    h_->Restart();
    Connect();
    h_->Commit();
  }

  // A task in queue "q" with one template a branch, each in a queue that no worker serves and named by
  // its branch.
  static TestTask Parent(TestTask task = {}) {
    task.on_success = {{.type = "S", .queue = "next", .pass_result = true}};
    task.on_failure = {{.type = "F", .queue = "next", .pass_result = true}};
    task.on_complete = {{.type = "C", .queue = "next"}};
    return task;
  }
  Assign SubmitAndTake(const TestTask& task) {
    last_ = h_->SubmitOne(client_, ++seq_, task);
    return TakeOne();
  }
  Assign TakeOne() {
    std::vector<Assign> taken = h_->Take(worker_);
    EXPECT_EQ(taken.size(), 1u);
    return taken.empty() ? Assign{} : taken[0];
  }
  void Kill(const Assign& task) {
    h_->Fail(worker_, task, ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever);
  }
  void RetryLast() {
    h_->core->OnRetry(client_, 1, h_->Rows({last_.value()}), h_->now);
    h_->Commit();
  }

  // The types of all tasks of queue "next", which is all that followed, as sorted letters.
  std::string Followed() {
    std::string types;
    h_->core->state().tasks().ForEach([&](uint32_t, const Task& task) {
      if (h_->core->state().lanes().queue_of(task.lane).name == "next")
        types += h_->core->state().lanes().type_of(task.lane).name;
    });
    std::sort(types.begin(), types.end());
    return types;
  }
  uint64_t IdOf(const std::string& type) {
    uint64_t id = 0;
    h_->core->state().tasks().ForEach([&](uint32_t, const Task& task) {
      if (h_->core->state().lanes().type_of(task.lane).name == type) id = task.id;
    });
    return id;
  }
  struct Given {
    ParentView parent;
    std::string correlation_id, outcome;
  };
  Given GivenTo(const std::string& type) {
    auto view = h_->journal->View();
    auto bytes = (*view)->Get(Table::kSpecs, IdOf(type));
    EXPECT_TRUE(bytes.ok() && bytes->has_value());
    const SpecView spec = ReadSpec(**bytes).value();
    const ExtrasView extras = ReadExtras(spec).value();
    Given given{extras.parent, std::string(extras.correlation_id), {}};
    if (!extras.parent.outcome.empty())
      given.outcome = std::string(ReadOutcome(extras.parent.outcome)->body);
    given.parent.outcome = {};
    return given;
  }
  size_t FollowRows() { return h_->RowCount(Table::kFollows); }
  // What the broker says of a task that it must refuse.
  std::string Refused(const TestTask& task) {
    const SubmitAckEffect ack = h_->Submit(client_, ++seq_, {task});
    EXPECT_EQ(ack.accepted, 0u);
    return ack.rejected.empty() ? "" : ack.rejected[0].message;
  }

  std::unique_ptr<CoreHarness> h_;
  SessionId client_, worker_;
  TaskId last_;
  uint64_t seq_ = 0;
};

// --- Which branches

TEST_F(ChainTest, NothingFollowsBeforeTheEnd) {
  const Assign task = SubmitAndTake(Parent({.max_attempts = 3, .retry_base_ms = 10}));
  h_->Fail(worker_, task);
  h_->Pass(20);
  EXPECT_EQ(Followed(), "");
  h_->Release(worker_, {TakeOne()});
  EXPECT_EQ(Followed(), "");
  EXPECT_EQ(FollowRows(), 1u);
}

TEST_F(ChainTest, SuccessWithAnEmptyResult) {
  h_->Done(worker_, {SubmitAndTake(Parent())});
  EXPECT_EQ(Followed(), "CS");
  const Given given = GivenTo("S");
  EXPECT_EQ(given.parent.task, last_.value());
  EXPECT_EQ(given.parent.state, TaskState::kSucceeded);
  EXPECT_TRUE(given.parent.passed);
  EXPECT_EQ(given.outcome, "");
  EXPECT_EQ(FollowRows(), 0u);
}

TEST_F(ChainTest, SuccessWithAResult) {
  h_->Succeed(worker_, SubmitAndTake(Parent()), "forty-two");
  EXPECT_EQ(Followed(), "CS");
  EXPECT_EQ(GivenTo("S").outcome, "forty-two");
  EXPECT_EQ(h_->Row(TaskId(IdOf("S"))).bytes, sizeof(OutcomeRow) + 9);
  // It did not ask for it.
  EXPECT_EQ(GivenTo("C").outcome, "");
  EXPECT_FALSE(GivenTo("C").parent.passed);
  EXPECT_EQ(GivenTo("C").parent.task, last_.value());
}

TEST_F(ChainTest, DeathByItsHandler) {
  Kill(SubmitAndTake(Parent()));
  EXPECT_EQ(Followed(), "CF");
  EXPECT_EQ(GivenTo("F").parent.state, TaskState::kDead);
  EXPECT_EQ(GivenTo("F").outcome, "no");
}

TEST_F(ChainTest, DeathOfATaskThatRunsAtMostOnceWithItsWorker) {
  SubmitAndTake(Parent({.delivery = wire::Delivery::kAtMostOnce}));
  h_->core->OnWorkerGoodbye(worker_, h_->now);
  h_->Commit();
  EXPECT_EQ(Followed(), "CF");
}

TEST_F(ChainTest, DeathBySilentWorkers) {
  h_->SubmitOne(client_, ++seq_, Parent());
  for (int i = 0; i < kCrashLimit; ++i) {
    EXPECT_EQ(Followed(), "");
    worker_ = h_->Worker(10 + static_cast<uint64_t>(i), 1, {"q"});
    h_->Commit();
    h_->Pass(kVisibilityTimeoutMs + 1);
    h_->Pass(kVisibilityTimeoutMs + 1);
  }
  EXPECT_EQ(Followed(), "CF");
}

TEST_F(ChainTest, DeathByTimeoutThatNobodyReported) {
  const Assign task =
      SubmitAndTake(Parent({.timeout_ms = 1000, .delivery = wire::Delivery::kAtMostOnce}));
  h_->Started(worker_, task);
  for (int64_t ms = 0; ms < 1000 + kTimeoutGraceMs + 2000; ms += 1000) {
    h_->core->Touch(worker_, h_->now);
    h_->Pass(1000);
  }
  EXPECT_EQ(Followed(), "CF");
}

TEST_F(ChainTest, CancelWhileItWaits) {
  for (const TestTask& task :
       {TestTask{.queue = "unserved"}, TestTask{.queue = "unserved", .delay_ms = 5000}}) {
    last_ = h_->SubmitOne(client_, ++seq_, Parent(task));
    h_->CancelOne(client_, last_);
  }
  EXPECT_EQ(Followed(), "CC");
}

TEST_F(ChainTest, CancelBetweenAttempts) {
  h_->Fail(worker_, SubmitAndTake(Parent({.retry_base_ms = 60'000})));
  h_->CancelOne(client_, last_);
  EXPECT_EQ(Followed(), "C");
  EXPECT_EQ(GivenTo("C").parent.state, TaskState::kCancelled);
}

TEST_F(ChainTest, CancelWhileItRunsFiresWithTheEndOfTheAttempt) {
  for (const bool success : {true, false}) {
    const Assign task = SubmitAndTake(Parent());
    h_->CancelOne(client_, last_);
    EXPECT_EQ(Followed(), success ? "" : "C");
    success ? h_->Done(worker_, {task}) : h_->Fail(worker_, task);
  }
  EXPECT_EQ(Followed(), "CC");
}

TEST_F(ChainTest, CancelledAndGivenBack) {
  const Assign task = SubmitAndTake(Parent());
  h_->CancelOne(client_, last_);
  h_->Release(worker_, {task});
  EXPECT_EQ(Followed(), "C");
}

// --- Once in the life of the task

TEST_F(ChainTest, AResultThatComesAgainFiresNothing) {
  const Assign task = SubmitAndTake(Parent());
  h_->Done(worker_, {task});
  h_->Done(worker_, {task});
  h_->Succeed(worker_, task, "late");
  EXPECT_EQ(Followed(), "CS");
}

TEST_F(ChainTest, SuccessAfterARetryFiresSuccessAlone) {
  Kill(SubmitAndTake(Parent()));
  EXPECT_EQ(Followed(), "CF");
  EXPECT_EQ(FollowRows(), 1u);
  RetryLast();
  EXPECT_EQ(Followed(), "CF");
  h_->Done(worker_, {TakeOne()});
  EXPECT_EQ(Followed(), "CFS");
  EXPECT_EQ(FollowRows(), 0u);
}

TEST_F(ChainTest, ASecondDeathAndACancelAfterARetryFireNothing) {
  Kill(SubmitAndTake(Parent()));
  RetryLast();
  Kill(TakeOne());
  EXPECT_EQ(Followed(), "CF");
  RetryLast();
  h_->core->OnWorkerGoodbye(worker_, h_->now);
  h_->Commit();
  h_->CancelOne(client_, last_);
  EXPECT_EQ(Followed(), "CF");
  EXPECT_EQ(FollowRows(), 0u);
}

TEST_F(ChainTest, WhatHasFiredIsKnownAfterARestart) {
  Kill(SubmitAndTake(Parent()));
  Restart();
  RetryLast();
  Restart();
  Kill(TakeOne());
  EXPECT_EQ(Followed(), "CF");
  Restart();
  RetryLast();
  h_->Done(worker_, {TakeOne()});
  EXPECT_EQ(Followed(), "CFS");
}

TEST_F(ChainTest, ChainsOfDeadTasksGoWithThem) {
  Kill(SubmitAndTake(Parent()));
  EXPECT_EQ(FollowRows(), 1u);
  h_->core->OnDeadDelete(client_, 1, h_->Rows({last_.value()}), h_->now);
  h_->Commit();
  EXPECT_EQ(FollowRows(), 0u);
  EXPECT_EQ(h_->core->state().chains().bytes(), 0u);
  EXPECT_EQ(Followed(), "CF");
}

TEST_F(ChainTest, ADeadTaskWithNothingLeftKeepsNoChain) {
  Kill(SubmitAndTake({.on_failure = {{.type = "F", .queue = "next"}}}));
  EXPECT_EQ(Followed(), "F");
  EXPECT_EQ(FollowRows(), 0u);
  RetryLast();
  Kill(TakeOne());
  EXPECT_EQ(Followed(), "F");
}

// --- Together with the end, or not at all

TEST_F(ChainTest, AnEndThatIsLostTakesItsFollowersAlong) {
  const Assign task = SubmitAndTake(Parent());
  h_->hold_commits = true;
  h_->Done(worker_, {task});
  EXPECT_EQ(Followed(), "CS");
  h_->hold_commits = false;
  h_->Restart();  // the open batch is lost
  client_ = h_->Client(1);
  worker_ = h_->Worker(1, 100, {"q"}, {}, {{task.task.value(), task.lease.value(), task.attempt}});
  h_->Commit();
  EXPECT_EQ(Followed(), "");
  h_->Done(worker_, {task});  // as a worker does without an ack
  EXPECT_EQ(Followed(), "CS");
}

TEST_F(ChainTest, FollowersFollowAfterARestartInTheMiddle) {
  const Assign task = SubmitAndTake(Parent());
  Restart();  // the lease is taken back from the worker, which does not have it
  const Assign again = TakeOne();
  EXPECT_EQ(again.task, task.task);
  h_->Done(worker_, {again});
  Restart();
  EXPECT_EQ(Followed(), "CS");
}

// --- What they have

TEST_F(ChainTest, AChainOfThreeRuns) {
  TestTask task{.type = "1", .correlation_id = "order-7"};
  task.on_success = {{.type = "2", .pass_result = true}};
  task.on_success[0].on_success = {{.type = "3"}};
  task.on_success[0].on_success[0].on_complete = {{.type = "4", .correlation_id = "own"}};
  Assign next = SubmitAndTake(task);
  for (const char* type : {"2", "3", "4"}) {
    const TaskId parent = next.task;
    h_->Succeed(worker_, next, "a result");
    EXPECT_EQ(GivenTo(type).parent.task, parent.value());
    EXPECT_EQ(GivenTo(type).correlation_id, type == std::string("4") ? "own" : "order-7");
    next = TakeOne();
  }
  h_->Done(worker_, {next});
  EXPECT_EQ(h_->core->state().tasks().size(), 0u);
}

TEST_F(ChainTest, DelayCountsFromTheEndOfTheParent) {
  const Assign task =
      SubmitAndTake({.on_success = {{.type = "S", .queue = "next", .delay_ms = 5000}}});
  h_->Pass(60'000);
  worker_ = h_->Worker(1, 100, {"q"}, {}, {{task.task.value(), task.lease.value(), task.attempt}});
  h_->Commit();
  std::vector<Assign> taken = h_->Take(worker_);
  h_->Done(worker_, taken.empty() ? std::vector<Assign>{task} : taken);
  ASSERT_EQ(Followed(), "S");
  const Task& follower = *h_->Find(TaskId(IdOf("S")));
  EXPECT_EQ(follower.state, TaskState::kScheduled);
  EXPECT_EQ(follower.order, h_->now.wall_ms + 5000);
}

TEST_F(ChainTest, FollowersComeAlsoWhenThereIsNoRoom) {
  Start({.max_queue_tasks = 2, .max_lanes = 2});
  const Assign task = SubmitAndTake(Parent());
  h_->Submit(client_, ++seq_, {{.queue = "q"}});
  h_->Done(worker_, {task});
  EXPECT_EQ(Followed(), "CS");
  EXPECT_GT(h_->core->state().lanes().size(), 2u);
}

TEST_F(ChainTest, ManyEndInOneFrame) {
  std::vector<TestTask> tasks(50, Parent());
  h_->Submit(client_, ++seq_, tasks);
  std::vector<Assign> taken = h_->Take(worker_);
  ASSERT_EQ(taken.size(), 50u);
  h_->Done(worker_, taken);
  EXPECT_EQ(Followed(), std::string(50, 'C') + std::string(50, 'S'));
  EXPECT_EQ(h_->core->metrics()[Metric::kTasksFollowed], 100u);
}

TEST_F(ChainTest, TicksOfASchedulesFireTheirChains) {
  // SCHEDULE_SET carries a TaskSpec like any other: TestSchedule has no chain, so the task is made here.
  flatbuffers::FlatBufferBuilder b;
  auto task = CoreHarness::BuildSpec(b, Parent());
  auto name = b.CreateString("s"), expression = b.CreateString("@every 10s");
  wire::ScheduleSetBuilder set(b);
  set.add_name(name);
  set.add_expression(expression);
  set.add_task(task);
  b.Finish(set.Finish());
  std::string_view body(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
  h_->core->OnScheduleSet(client_, *flatbuffers::GetRoot<wire::ScheduleSet>(body.data()), body,
                          h_->now);
  h_->Commit();
  h_->Pass(10'000);
  h_->core->Touch(worker_, h_->now);
  worker_ = h_->Worker(2, 100, {"q"});
  h_->Done(worker_, {TakeOne()});
  EXPECT_EQ(Followed(), "CS");
}

TEST_F(ChainTest, OutcomesOfFollowersAreNotPushedToTheSubmitter) {
  h_->Submit(client_, ++seq_, {{.on_success = {{.type = "S"}}}}, 1, /*notify=*/true);
  h_->Done(worker_, {TakeOne()});
  EXPECT_EQ(h_->outcomes.size(), 1u);
  h_->Done(worker_, {TakeOne()});
  EXPECT_EQ(h_->outcomes.size(), 1u);
}

TEST_F(ChainTest, AKeyNamesATaskWithItsChain) {
  TestTask task = Parent({.key = "k"});
  const TaskId id = h_->SubmitOne(client_, ++seq_, task);
  EXPECT_EQ(h_->Submit(client_, ++seq_, {task}).rejected.at(0).existing, id.value());
  EXPECT_EQ(h_->Submit(client_, ++seq_, {task}).rejected.at(0).code, ErrorCode::kOk);
  task.on_success[0].payload = "other";
  EXPECT_EQ(h_->Submit(client_, ++seq_, {task}).rejected.at(0).code, ErrorCode::kConflict);
  task = Parent({.key = "k"});
  std::swap(task.on_success, task.on_failure);
  EXPECT_EQ(h_->Submit(client_, ++seq_, {task}).rejected.at(0).code, ErrorCode::kConflict);
  EXPECT_EQ(h_->Submit(client_, ++seq_, {{.key = "k"}}).rejected.at(0).code, ErrorCode::kConflict);
}

// --- What is refused

TEST_F(ChainTest, RefusalsNameTheTemplate) {
  EXPECT_EQ(Refused({.on_success = {{}, {}, {.queue = "\n"}}}).substr(0, 21),
            "on_success[2].queue: ");
  TestTask deep;
  deep.on_success = {{.on_failure = {{.priority = 10}}}};
  EXPECT_EQ(Refused(deep), "on_success[0].on_failure[0].priority: 10 is not in 0..9");
  EXPECT_EQ(Refused({.on_complete = {{.key = "k"}}}).substr(0, 20), "on_complete[0].key: ");
  EXPECT_EQ(Refused({.on_complete = {{.run_at_ms = 5}}}).substr(0, 26),
            "on_complete[0].run_at_ms: ");
  EXPECT_EQ(Refused({.pass_result = true}).substr(0, 13), "pass_result: ");
}

TEST_F(ChainTest, LimitsAreInclusive) {
  auto chain = [](int depth) {
    TestTask task;
    for (int i = 0; i < depth; ++i) {
      TestTask above;
      above.on_success.push_back(std::move(task));
      task = std::move(above);
    }
    return task;
  };
  EXPECT_EQ(h_->Submit(client_, ++seq_, {chain(kMaxChainDepth)}).accepted, 1u);
  EXPECT_EQ(Refused(chain(kMaxChainDepth + 1)),
            "on_success[0].on_success[0].on_success[0].on_success[0]: a chain is at most 3 deep");

  TestTask many{.on_failure = std::vector<TestTask>(kMaxTemplates - 1),
                .on_complete = std::vector<TestTask>(1)};
  EXPECT_EQ(h_->Submit(client_, ++seq_, {many}).accepted, 1u);
  many.on_complete[0].on_complete = std::vector<TestTask>(1);
  EXPECT_NE(Refused(many).find("at most 16 templates"), std::string::npos);

  TestTask large{.on_failure = std::vector<TestTask>(2)};
  large.on_failure[0].payload = std::string(kMaxTemplateBytes / 2, 'x');
  large.on_failure[1].payload = std::string(kMaxTemplateBytes / 2, 'x');
  EXPECT_EQ(h_->Submit(client_, ++seq_, {large}).accepted, 1u);
  large.on_failure[1].payload += 'x';
  const SubmitAckEffect ack = h_->Submit(client_, ++seq_, {large});
  EXPECT_EQ(ack.rejected.at(0).code, ErrorCode::kTooLarge);
}

TEST_F(ChainTest, ASmallBufferThatNamesOneTemplateManyTimesIsRefused) {
  flatbuffers::FlatBufferBuilder b;
  auto type = b.CreateString("t");
  auto leaf = wire::CreateTaskSpec(b, type);
  for (int depth = 0; depth < 3; ++depth) {
    auto list = b.CreateVector(std::vector<flatbuffers::Offset<wire::TaskSpec>>(1000, leaf));
    wire::TaskSpecBuilder spec(b);
    spec.add_type(type);
    spec.add_on_complete(list);
    leaf = spec.Finish();
  }
  auto tasks = b.CreateVector(std::vector<flatbuffers::Offset<wire::TaskSpec>>{leaf});
  b.Finish(wire::CreateSubmit(b, ++seq_, 1, false, tasks));
  std::string_view body(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
  h_->core->OnSubmit(client_, *flatbuffers::GetRoot<wire::Submit>(body.data()), body, h_->now);
  h_->Commit();
  EXPECT_EQ(h_->acks.back().accepted, 0u);
  EXPECT_EQ(h_->acks.back().rejected.at(0).code, ErrorCode::kInvalidArgument);
}

TEST_F(ChainTest, TemplatesTogetherAreBounded) {
  Start({.max_follow_bytes = 2000});
  TestTask task;
  task.queue = "unserved";
  task.on_success = {{.payload = std::string(1500, 'x')}};
  ASSERT_EQ(h_->Submit(client_, ++seq_, {task, task}).accepted, 2u);
  const SubmitAckEffect full = h_->Submit(client_, ++seq_, {task, {.queue = "unserved"}});
  EXPECT_EQ(full.accepted, 1u);
  EXPECT_EQ(full.rejected.at(0).code, ErrorCode::kResourceExhausted);
  h_->Cancel(client_, {MakeId<TaskId>(h_->core->state().epoch(), 1).value()});
  EXPECT_EQ(h_->Submit(client_, ++seq_, {task}).accepted, 1u);
}

}  // namespace
}  // namespace zsched::broker
