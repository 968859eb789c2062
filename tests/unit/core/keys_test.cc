// Idempotency keys: who holds one, how long, and what a second submit is told.
#include "broker/core/keys.h"

#include <gtest/gtest.h>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class KeyTest : public testing::Test {
 protected:
  SubmitAckEffect Submit(const std::vector<TestTask>& tasks) {
    return h_.Submit(client_, ++seq_, tasks);
  }
  // What the core says of a single task.
  Reject Again(const TestTask& task) {
    SubmitAckEffect ack = Submit({task});
    EXPECT_EQ(ack.accepted, 0u);
    return ack.rejected.empty() ? Reject{} : ack.rejected.front();
  }
  void ExpectRepeats(const TestTask& task, uint64_t id) {
    Reject reject = Again(task);
    EXPECT_EQ(reject.code, ErrorCode::kOk) << reject.message;
    EXPECT_EQ(reject.existing, id);
  }
  void Restart() {
    h_.Restart();
    client_ = h_.Client(1);
  }
  void ExpectOneTruth() {
    EXPECT_EQ(h_.Fingerprint(), h_.RebuiltFingerprint());
    EXPECT_EQ(h_.Fingerprint(), h_.ReplayedFingerprint());
  }

  CoreHarness h_{{.keep_keys_ms = 60'000}};
  SessionId client_ = h_.Client(1);
  uint64_t seq_ = 0;
};

TEST_F(KeyTest, TheSameKeyAndBodyIsTheSameTask) {
  const uint64_t id = Submit({{.payload = "p", .key = "k"}}).first_id;
  ExpectRepeats({.payload = "p", .key = "k"}, id);
  ExpectRepeats({.payload = "p", .priority = 9, .delay_ms = 5'000, .key = "k"}, id);
  EXPECT_EQ(h_.core->state().tasks().size(), 1u);
  ExpectOneTruth();
}

TEST_F(KeyTest, AnotherBodyIsAConflictThatNamesTheTask) {
  const uint64_t id = Submit({{.payload = "p", .key = "k"}}).first_id;
  for (const TestTask& other :
       {TestTask{.payload = "q", .key = "k"}, TestTask{.type = "u", .payload = "p", .key = "k"},
        TestTask{.queue = "r", .payload = "p", .key = "k"}}) {
    Reject reject = Again(other);
    EXPECT_EQ(reject.code, ErrorCode::kConflict);
    EXPECT_EQ(reject.existing, id);
    EXPECT_NE(reject.message.find(ToString(TaskId(id))), std::string::npos) << reject.message;
  }
}

TEST_F(KeyTest, TasksOfOneFrameShareKeysToo) {
  SubmitAckEffect ack =
      Submit({{.payload = "a", .key = "k"}, {}, {.payload = "a", .key = "k"}, {.key = "l"}});
  EXPECT_EQ(ack.accepted, 3u);
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(ack.rejected[0].index, 2u);
  EXPECT_EQ(ack.rejected[0].existing, ack.first_id);
  ExpectOneTruth();
}

TEST_F(KeyTest, AResentFrameIsAnsweredAlike) {
  const std::vector<TestTask> first = {{.payload = "p", .key = "k"}};
  const uint64_t id = Submit(first).first_id;
  const std::vector<TestTask> mixed = {
      {.payload = "p", .key = "k"}, {}, {.payload = "other", .key = "k"}};
  SubmitAckEffect ack = Submit(mixed);
  SubmitAckEffect again = h_.Submit(client_, seq_, mixed);
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.first_id, ack.first_id);
  ASSERT_EQ(again.rejected.size(), 2u);
  EXPECT_EQ(again.rejected[0].code, ErrorCode::kOk);
  EXPECT_EQ(again.rejected[0].existing, id);
  EXPECT_EQ(again.rejected[1].code, ErrorCode::kConflict);
  EXPECT_EQ(again.rejected[1].existing, id);
}

TEST_F(KeyTest, AnAckOfNothingNewWaitsForTheHolder) {
  h_.hold_commits = true;
  SubmitAckEffect first = Submit({{.payload = "p", .key = "k"}});
  SubmitAckEffect second = Submit({{.payload = "p", .key = "k"}});
  EXPECT_GE(second.wait, first.wait);
  EXPECT_EQ(second.reached, Durability::kDisk);
  EXPECT_GE(Submit({{.payload = "q", .key = "k"}}).wait, first.wait) << "a conflict names it too";
}

TEST_F(KeyTest, AKeyIsFreeSomeTimeAfterItsTaskIsOver) {
  SessionId worker = h_.Worker(1, 10);
  const uint64_t id = Submit({{.payload = "p", .key = "k"}}).first_id;
  h_.Done(worker, h_.Take(worker));
  ExpectRepeats({.payload = "p", .key = "k"}, id);
  for (int i = 0; i < 12; ++i) {
    ExpectRepeats({.payload = "p", .key = "k"}, id);
    h_.Pass(5'000);
    client_ = h_.Client(1);
  }
  ExpectRepeats({.payload = "p", .key = "k"}, id);
  h_.Pass(100);
  EXPECT_EQ(Submit({{.payload = "p", .key = "k"}}).accepted, 1u);
  ExpectOneTruth();
}

TEST_F(KeyTest, AKeyIsHeldWhileItsTaskWaitsForEver) {
  const uint64_t id = Submit({{.payload = "p", .key = "k"}}).first_id;
  h_.Pass(1'000'000);
  client_ = h_.Client(1);
  ExpectRepeats({.payload = "p", .key = "k"}, id);
}

TEST_F(KeyTest, RetryHoldsItAgain) {
  SessionId worker = h_.Worker(1, 10);
  const uint64_t id = Submit({{.payload = "p", .max_attempts = 1, .key = "k"}}).first_id;
  h_.Fail(worker, h_.Take(worker).at(0));
  EXPECT_NE(h_.core->state().keys().OfTask(id)->finished_ms, 0);
  h_.core->OnRetry(client_, 1, {{id, h_.Row(TaskId(id))}}, h_.now);
  h_.Commit();
  EXPECT_EQ(h_.core->state().keys().OfTask(id)->finished_ms, 0);
  h_.Pass(100'000);
  client_ = h_.Client(1);
  ExpectRepeats({.payload = "p", .max_attempts = 1, .key = "k"}, id);
  ExpectOneTruth();
}

TEST_F(KeyTest, KeysSurviveARestart) {
  const uint64_t waiting = Submit({{.payload = "p", .key = "k"}}).first_id;
  SessionId worker = h_.Worker(1, 10, {"done"});
  const uint64_t over = Submit({{.queue = "done", .key = "over"}}).first_id;
  h_.Done(worker, h_.Take(worker));
  Restart();
  ExpectRepeats({.payload = "p", .key = "k"}, waiting);
  ExpectRepeats({.queue = "done", .key = "over"}, over);
  EXPECT_EQ(Again({.payload = "q", .key = "k"}).code, ErrorCode::kConflict);
  h_.Pass(60'001);
  h_.Pass(100);
  client_ = h_.Client(1);
  EXPECT_EQ(Submit({{.queue = "done", .key = "over"}}).accepted, 1u);
  ExpectOneTruth();
}

TEST_F(KeyTest, AFullBrokerStillKnowsWhatItHas) {
  CoreHarness h({.max_tasks = 1});
  SessionId client = h.Client(1);
  const uint64_t id = h.Submit(client, 1, {{.key = "k"}}).first_id;
  SubmitAckEffect ack = h.Submit(client, 2, {{.key = "k"}, {.key = "l"}});
  ASSERT_EQ(ack.rejected.size(), 2u);
  EXPECT_EQ(ack.rejected[0].existing, id);
  EXPECT_EQ(ack.rejected[1].code, ErrorCode::kResourceExhausted);
}

TEST_F(KeyTest, MoreKeysThanMayBeRememberedAreRefused) {
  CoreHarness h({.max_keys = 1});
  SessionId client = h.Client(1);
  SubmitAckEffect ack = h.Submit(client, 1, {{.key = "k"}, {.key = "l"}, {}});
  EXPECT_EQ(ack.accepted, 2u);
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(ack.rejected[0].code, ErrorCode::kResourceExhausted);
}

TEST_F(KeyTest, AKeyIsAName) {
  EXPECT_EQ(Again({.key = std::string(kMaxKeyBytes + 1, 'k')}).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Again({.key = "a\nb"}).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Submit({{.key = std::string(kMaxKeyBytes, 'k')}}).accepted, 1u);
}

TEST(HashBody, TellsPartsApart) {
  auto hash = [](const char* type, const char* queue, const char* content_type) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateTaskSpecDirect(b, type, queue, nullptr, content_type));
    return HashBody(*flatbuffers::GetRoot<wire::TaskSpec>(b.GetBufferPointer()));
  };
  EXPECT_NE(hash("ab", "c", ""), hash("a", "bc", ""));
  EXPECT_NE(hash("a", "b", "c"), hash("a", "bc", ""));
  EXPECT_EQ(hash("a", nullptr, nullptr), hash("a", kDefaultQueue, ""));
}

}  // namespace
}  // namespace zsched::broker
