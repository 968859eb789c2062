// Dead letters: what stands in their table after deaths, retries, deletes and restarts, and when they
// age out.
#include <gtest/gtest.h>

#include "broker/core/fingerprint.h"
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class DeadTest : public testing::Test {
 protected:
  void Start(CoreConfig config) {
    h_ = std::make_unique<CoreHarness>(config);
    Connect();
  }
  void Connect() {
    client_ = h_->Client(1);
    worker_ = h_->Worker(1, 100);
  }
  void SetUp() override { Start({}); }

  // A task that dies of `message`.
  uint64_t Dead(const std::string& message = "no", const TestTask& task = {}) {
    const TaskId id = h_->SubmitOne(client_, ++seq_, task);
    Die(message);
    return id.value();
  }
  void Die(const std::string& message = "no") {
    for (const Assign& assign : h_->Take(worker_))
      h_->Fail(worker_, assign, ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever, 0, message);
  }
  std::vector<ErrorCode> Retry(std::vector<Core::RowItem> items) {
    h_->core->OnRetry(client_, 1, items, h_->now);
    return Answer();
  }
  std::vector<ErrorCode> Delete(std::vector<Core::RowItem> items) {
    h_->core->OnDeadDelete(client_, 1, items, h_->now);
    return Answer();
  }
  std::vector<ErrorCode> Answer() {
    h_->Commit();
    std::vector<ErrorCode> codes;
    for (const ItemCode& item : h_->replies.back().items) codes.push_back(item.code);
    return codes;
  }
  // Of this task, as it is on disk, meaning that death.
  Core::RowItem Item(uint64_t id, uint64_t letter = 0) {
    Core::RowItem item = h_->Rows({id}).at(0);
    item.letter = letter;
    return item;
  }
  // By letter; each has been compared with the row of its task.
  std::vector<uint64_t> Letters() {
    std::vector<uint64_t> letters;
    for (const DeadEntry& entry : h_->DeadLetters()) {
      const TaskRow task = h_->Row(TaskId(entry.row.task));
      EXPECT_EQ(task.state, TaskState::kDead);
      EXPECT_EQ(static_cast<uint64_t>(task.order), entry.letter);
      EXPECT_EQ(task.finished_ms, entry.row.died_ms);
      EXPECT_EQ(task.lane, entry.row.lane);
      letters.push_back(entry.letter);
    }
    EXPECT_EQ(letters.size(), h_->core->state().dead());
    EXPECT_EQ(h_->Fingerprint(), h_->RebuiltFingerprint());
    EXPECT_EQ(h_->Fingerprint(), h_->ReplayedFingerprint());
    return letters;
  }
  void Expire() {
    for (int round = 0; h_->core->HasOldDead(h_->now) && round < 100; ++round) {
      h_->core->OnDeadRead(h_->DeadLetters(), h_->now);
      h_->Commit();
    }
  }

  std::unique_ptr<CoreHarness> h_;
  SessionId client_, worker_;
  uint64_t seq_ = 0;
};

TEST_F(DeadTest, ADeathIsALetterWithTheFingerprintOfItsError) {
  const uint64_t first = Dead("user 17 is gone", {.type = "mail"});
  const uint64_t second = Dead("user 18 is gone", {.type = "mail"});
  ASSERT_EQ(Letters(), (std::vector<uint64_t>{1, 2}));
  const std::vector<DeadEntry> letters = h_->DeadLetters();
  EXPECT_EQ(letters[0].row.task, first);
  EXPECT_EQ(letters[1].row.task, second);
  EXPECT_EQ(letters[0].row.fingerprint, letters[1].row.fingerprint);
  EXPECT_EQ(letters[0].row.fingerprint,
            FingerprintOf("mail", ErrorCode::kHandlerFailed, "user 4711 is gone"));
  EXPECT_EQ(letters[0].row.error_code, static_cast<uint16_t>(ErrorCode::kHandlerFailed));
}

TEST_F(DeadTest, ALostAttemptTooManyIsALetter) {
  h_->core->OnWorkerGoodbye(worker_, h_->now);
  const TaskId id = h_->SubmitOne(client_, ++seq_, {});
  for (uint64_t lost = 0; lost < kCrashLimit; ++lost) {
    const SessionId worker = h_->Worker(100 + lost, 1);
    ASSERT_EQ(h_->Take(worker).size(), 1u);
    h_->core->OnWorkerGoodbye(worker, h_->now);
    h_->Commit();
  }
  ASSERT_EQ(Letters().size(), 1u);
  const DeadEntry letter = h_->DeadLetters()[0];
  EXPECT_EQ(letter.row.task, id.value());
  EXPECT_EQ(letter.row.error_code, static_cast<uint16_t>(ErrorCode::kWorkerLost));
  EXPECT_NE(letter.row.fingerprint, 0u);
}

TEST_F(DeadTest, ARetriedTaskIsNoLetterAndItsNextDeathAnother) {
  const uint64_t id = Dead();
  EXPECT_EQ(Retry({Item(id)}), (std::vector{ErrorCode::kOk}));
  EXPECT_EQ(Letters(), std::vector<uint64_t>{});
  Die("again");
  EXPECT_EQ(Letters(), std::vector<uint64_t>{2});
}

// A replay that is answered late, or twice, must not take the next death for the one that it means.
TEST_F(DeadTest, ARetryOrDeleteOfAnEarlierDeathIsAConflict) {
  const uint64_t id = Dead();
  EXPECT_EQ(Retry({Item(id, 1)}), (std::vector{ErrorCode::kOk}));
  Die();
  EXPECT_EQ(Retry({Item(id, 1)}), (std::vector{ErrorCode::kConflict}));
  EXPECT_EQ(Delete({Item(id, 1)}), (std::vector{ErrorCode::kConflict}));
  EXPECT_EQ(Letters(), std::vector<uint64_t>{2});
  EXPECT_EQ(Delete({Item(id, 2)}), (std::vector{ErrorCode::kOk}));
  EXPECT_EQ(Letters(), std::vector<uint64_t>{});
}

TEST_F(DeadTest, DeleteTakesAllRowsOfDeadTasksOnly) {
  const uint64_t dead = Dead(), other = Dead();
  const uint64_t waits = h_->SubmitOne(client_, ++seq_, {.delay_ms = 1'000'000}).value();
  const TaskId done = h_->SubmitOne(client_, ++seq_, {});
  h_->Done(worker_, h_->Take(worker_));
  EXPECT_EQ(Delete({Item(dead), Item(dead), Item(waits), Item(done.value()), Item(99)}),
            (std::vector{ErrorCode::kOk, ErrorCode::kOk, ErrorCode::kConflict, ErrorCode::kConflict,
                         ErrorCode::kNotFound}));
  EXPECT_EQ(Letters(), std::vector<uint64_t>{2});
  EXPECT_FALSE(Item(dead).row.has_value());
  EXPECT_TRUE(Item(other).row.has_value());
  EXPECT_EQ(h_->RowCount(Table::kSpecs), 3u);
  EXPECT_EQ(h_->RowCount(Table::kOutcomes), 1u);
  EXPECT_EQ(Delete({Item(dead)}), (std::vector{ErrorCode::kNotFound}));
  EXPECT_EQ(Retry({Item(dead)}), (std::vector{ErrorCode::kNotFound}));
  EXPECT_EQ(h_->core->metrics()[Metric::kDeadDeleted], 1u);
}

TEST_F(DeadTest, ADeletedTaskHoldsItsKeyForAsLongAsAnyOther) {
  const int64_t keep_ms = CoreConfig().keep_keys_ms;
  const uint64_t id = Dead("no", {.payload = "p", .key = "k"});
  EXPECT_EQ(Delete({Item(id)}), (std::vector{ErrorCode::kOk}));
  SubmitAckEffect ack = h_->Submit(client_, ++seq_, {{.payload = "p", .key = "k"}});
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(ack.rejected[0].existing, id);
  h_->Restart();
  Connect();
  ack = h_->Submit(client_, ++seq_, {{.payload = "p", .key = "k"}});
  EXPECT_EQ(ack.accepted, 0u);
  h_->Pass(keep_ms + 1);
  client_ = h_->Client(2);
  EXPECT_EQ(h_->Submit(client_, 1, {{.payload = "p", .key = "k"}}).accepted, 1u);
}

// A lane with a key is there for its tasks, the dead ones included, and not longer.
TEST_F(DeadTest, ADeadTaskKeepsItsLaneUntilItIsDeleted) {
  const size_t plain = h_->core->state().lanes().size() + 1;  // that of the queue and the type
  const uint64_t first = Dead("no", {.concurrency_key = "k"}),
                 second = Dead("no", {.concurrency_key = "k"});
  EXPECT_EQ(h_->core->state().lanes().size(), plain + 1);
  ASSERT_EQ(Delete({Item(first)}), (std::vector{ErrorCode::kOk}));
  EXPECT_EQ(h_->core->state().lanes().size(), plain + 1);
  ASSERT_EQ(Retry({Item(second)}), (std::vector{ErrorCode::kOk}));
  Die();
  ASSERT_EQ(Delete({Item(second)}), (std::vector{ErrorCode::kOk}));
  EXPECT_EQ(h_->core->state().lanes().size(), plain);
  EXPECT_EQ(Letters(), std::vector<uint64_t>{});
}

TEST_F(DeadTest, ARestartKnowsTheLettersAndGivesNoneTwice) {
  const uint64_t id = Dead();
  Dead();
  ASSERT_EQ(Delete({Item(id)}), (std::vector{ErrorCode::kOk}));
  h_->Restart();
  Connect();
  EXPECT_EQ(Letters(), std::vector<uint64_t>{2});
  h_->Restart();
  Connect();
  Dead();
  EXPECT_EQ(Letters(), (std::vector<uint64_t>{2, 3}));
}

TEST_F(DeadTest, ATableThatLacksALetterIsDataLoss) {
  Dead();
  State state;
  auto view = h_->journal->View();
  absl::Status status = state.Rebuild([&](Table table, const auto& visit) -> absl::Status {
    if (table == Table::kDead) return absl::OkStatus();
    absl::Status inner;
    return (*view)->Scan(table, 0, [&](uint64_t key, std::string_view row) {
      inner = visit(key, row);
      return inner.ok();
    });
  });
  EXPECT_EQ(CodeOf(status), ErrorCode::kDataLoss);
  EXPECT_NE(MessageOf(status).find("1 tasks are dead"), std::string::npos) << status;
}

TEST_F(DeadTest, NothingAgesOutUnlessToldTo) {
  Start({.keep_finished = 0, .keep_finished_ms = 1});
  Dead();
  h_->Pass(int64_t{400} * 24 * 3600 * 1000);
  Expire();
  EXPECT_EQ(Letters(), std::vector<uint64_t>{1});
}

TEST_F(DeadTest, TheOldestGoWhenThereAreTooMany) {
  Start({.max_dead = 2});
  for (int i = 0; i < 5; ++i) Dead();
  Expire();
  EXPECT_EQ(Letters(), (std::vector<uint64_t>{4, 5}));
  EXPECT_EQ(h_->core->metrics()[Metric::kDeadExpired], 3u);
  EXPECT_EQ(h_->core->metrics()[Metric::kDeadDeleted], 0u);
}

TEST_F(DeadTest, TheOldGoWhenTheyAreTooOldAndNotAMomentBefore) {
  Start({.keep_dead_ms = 60'000});
  Dead();
  h_->Pass(30'000);
  Connect();
  Dead();
  h_->Pass(30'000);
  Expire();
  EXPECT_EQ(Letters(), (std::vector<uint64_t>{1, 2}));
  h_->Pass(6'000);
  Expire();
  EXPECT_EQ(Letters(), std::vector<uint64_t>{2});
}

// A record is a commit's worth, so many expire in several.
TEST_F(DeadTest, ManyThatAreTooOldGoInSeveralRecords) {
  Start({.max_dead = 1});
  constexpr size_t kTasks = 2 * kMaxQueryIds;
  h_->Submit(client_, ++seq_, std::vector<TestTask>(kTasks));
  h_->Credit(worker_, kTasks);
  Die();
  ASSERT_EQ(h_->core->state().dead(), kTasks);
  h_->core->OnDeadRead(h_->DeadLetters(), h_->now);
  h_->Commit();
  EXPECT_EQ(h_->core->state().dead(), kTasks - kMaxQueryIds);
  Expire();
  EXPECT_EQ(h_->core->state().dead(), 1u);
}

}  // namespace
}  // namespace zsched::broker
