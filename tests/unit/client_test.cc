// The client library against a fake broker on a real socket.
#include "zsched/client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <set>

#include "schemas/verify.h"
#include "tests/unit/fake_broker.h"

namespace zsched {
namespace {

using testing::Builder;
using testing::FakeBroker;
using testing::FinishBody;

constexpr int64_t kPatienceMs = 20'000;

const wire::Submit& SubmitOf(const FakeBroker::Received& frame) {
  return *flatbuffers::GetRoot<wire::Submit>(frame.body.data());
}

class ClientTest : public ::testing::Test {
 protected:
  std::unique_ptr<Client> Connect(ClientOptions options = {}) {
    options.brokers = broker_.address();
    absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(std::move(options));
    EXPECT_TRUE(client.ok()) << client.status();
    EXPECT_TRUE((*client)->WaitForBroker(kPatienceMs).ok());
    return *std::move(client);
  }
  // SUBMITs get no answer until Release; peers and bodies are kept.
  void HoldSubmits() {
    broker_.SetHandler([this](const FakeBroker::Peer& peer, const FrameView& frame) {
      if (frame.header.type != MessageType::kSubmit || !hold_) return false;
      held_.push_back({peer, std::string(frame.body)});
      return true;
    });
  }
  void ReleaseHeld(bool and_later) {
    broker_.Post([&] {
      hold_ = !and_later;
      for (auto& [peer, body] : held_)
        broker_.Acknowledge(peer, *flatbuffers::GetRoot<wire::Submit>(body.data()));
      held_.clear();
    });
  }
  static TaskSpec Noop(std::string payload = "") {
    return {.type = "noop", .payload = std::move(payload)};
  }

  // What handlers use. Declared first: the broker may call a handler until its own end.
  std::atomic<int> handled_ = 0;
  bool hold_ = true;  // on the broker's thread
  std::vector<std::pair<FakeBroker::Peer, std::string>> held_;
  FakeBroker broker_;
};

// --- Options and life ---

TEST(ClientOptionsTest, BadOptionsAreRefusedByName) {
  EXPECT_EQ(CodeOf(Client::Create({.brokers = "nonsense"}).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(Client::Create({.name = "a\nb"}).status()), ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(Client::Create({.max_queued_tasks = 0}).status()), ErrorCode::kInvalidArgument);
}

TEST_F(ClientTest, SaysWhoItIsAndSaysGoodbye) {
  auto client = Connect({.name = "me"});
  EXPECT_TRUE(client->Close(kPatienceMs).ok());
  ASSERT_TRUE(broker_.AwaitFrames(MessageType::kGoodbye, 1));
  const auto hellos = broker_.received(MessageType::kHello);
  ASSERT_EQ(hellos.size(), 1u);
  const auto* hello = flatbuffers::GetRoot<wire::Hello>(hellos[0].body.data());
  EXPECT_EQ(hello->name()->str(), "me");
  EXPECT_EQ(hello->id()->hi(), client->id().hi);
  EXPECT_EQ(CodeOf(client->Submit(Noop(), nullptr)), ErrorCode::kUnavailable);
  EXPECT_EQ(CodeOf(client->Status().status()), ErrorCode::kUnavailable);
  EXPECT_EQ(CodeOf(client->Wait(TaskId(1), kForever).status()), ErrorCode::kUnavailable);
}

TEST(ClientWithoutBrokerTest, TimesOutWithTheReason) {
  int port;
  {
    FakeBroker gone;
    port = gone.port();
  }
  auto client =
      Client::Create({.brokers = "127.0.0.1:" + std::to_string(port), .request_timeout_ms = 50});
  ASSERT_TRUE(client.ok());
  EXPECT_EQ(CodeOf((*client)->WaitForBroker(1)), ErrorCode::kTimedOut);
  EXPECT_EQ(CodeOf((*client)->Status().status()), ErrorCode::kUnavailable);
  auto id = (*client)->Submit({.type = "noop"});
  EXPECT_EQ(CodeOf((*client)->Flush(1)), ErrorCode::kTimedOut);
  EXPECT_EQ(CodeOf((*client)->Close(1)), ErrorCode::kTimedOut);
  EXPECT_EQ(CodeOf(id.get().status()), ErrorCode::kUnavailable);
}

TEST_F(ClientTest, AStandbyIsNoBroker) {
  broker_.Post([&] { broker_.active = false; });
  auto client = Client::Create({.brokers = broker_.address()});
  ASSERT_TRUE(client.ok());
  ASSERT_TRUE(broker_.AwaitFrames(MessageType::kDiscover, 2));
  absl::Status waited = (*client)->WaitForBroker(1);
  EXPECT_EQ(CodeOf(waited), ErrorCode::kTimedOut);
  EXPECT_NE(MessageOf(waited).find("no active broker"), std::string::npos) << waited;
  broker_.Post([&] { broker_.active = true; });
  EXPECT_TRUE((*client)->WaitForBroker(kPatienceMs).ok());
}

// --- Submitting ---

TEST_F(ClientTest, ASingleTaskTravelsWithAllItsFields) {
  auto client = Connect();
  TaskSpec task{.type = "mail",
                .queue = "outbox",
                .payload = std::string("\0\x01", 2),
                .content_type = "application/json",
                .priority = 9,
                .durability = Durability::kMemory,
                .max_attempts = 3,
                .timeout_ms = 4,
                .delay_ms = 5,
                .retry_base_ms = 7,
                .retry_cap_ms = 8,
                .labels = {{"a", "1"}, {"b", "2"}}};
  absl::StatusOr<TaskId> id = client->Submit(task).get();
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(*id, TaskId(1));
  const auto frames = broker_.received(MessageType::kSubmit);
  ASSERT_EQ(frames.size(), 1u);
  const wire::Submit& submit = SubmitOf(frames[0]);
  EXPECT_EQ(submit.seq(), 1u);
  EXPECT_EQ(submit.acked_below(), 1u);
  EXPECT_FALSE(submit.notify());
  ASSERT_EQ(submit.tasks()->size(), 1u);
  const wire::TaskSpec& sent = *submit.tasks()->Get(0);
  EXPECT_EQ(sent.type()->str(), "mail");
  EXPECT_EQ(sent.queue()->str(), "outbox");
  EXPECT_EQ(BytesOf(sent.payload()), std::string_view("\0\x01", 2));
  EXPECT_EQ(sent.content_type()->str(), "application/json");
  EXPECT_EQ(sent.priority(), 9);
  EXPECT_EQ(sent.durability(), wire::Durability::kMemory);
  EXPECT_EQ(sent.max_attempts(), 3);
  EXPECT_EQ(sent.timeout_ms(), 4u);
  EXPECT_EQ(sent.delay_ms(), 5u);
  EXPECT_EQ(sent.run_at_ms(), 0);
  EXPECT_EQ(sent.retry_base_ms(), 7u);
  EXPECT_EQ(sent.retry_cap_ms(), 8u);
  ASSERT_EQ(sent.labels()->size(), 2u);
  EXPECT_EQ(sent.labels()->Get(1)->value()->str(), "2");
}

TEST_F(ClientTest, SinglesSubmittedWhileFramesAreUnderWayShareAFrame) {
  HoldSubmits();
  auto client = Connect();
  std::atomic<int> acked = 0;
  auto submit = [&] {
    ASSERT_TRUE(client->Submit(Noop(), [&](absl::StatusOr<TaskId> id) { acked += id.ok(); }).ok());
  };
  for (size_t i = 1; i <= 2; ++i) {  // an idle line: at once, each in its own frame
    submit();
    ASSERT_TRUE(broker_.AwaitFrames(MessageType::kSubmit, i));
  }
  for (int i = 0; i < 100; ++i) submit();
  ReleaseHeld(/*and_later=*/true);
  ASSERT_TRUE(client->Flush(kPatienceMs).ok());
  EXPECT_EQ(acked, 102);
  const auto frames = broker_.received(MessageType::kSubmit);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(SubmitOf(frames[2]).tasks()->size(), 100u);
  EXPECT_EQ(SubmitOf(frames[2]).seq(), 3u);
  EXPECT_GT(SubmitOf(frames[2]).acked_below(), 1u);
}

TEST_F(ClientTest, ABatchKeepsItsOrderAcrossFrames) {
  auto client = Connect();
  constexpr size_t kTasks = 3 * kMaxSubmitTasks + 7;
  std::vector<TaskSpec> tasks;
  for (size_t i = 0; i < kTasks; ++i) tasks.push_back(Noop(std::to_string(i)));
  BatchAck ack = client->SubmitBatch(tasks).get();
  EXPECT_TRUE(ack.rejected.empty());
  EXPECT_EQ(ack.durability, Durability::kDisk);
  ASSERT_EQ(ack.ids.size(), kTasks);
  size_t next = 0;
  for (const auto& frame : broker_.received(MessageType::kSubmit)) {
    EXPECT_LE(SubmitOf(frame).tasks()->size(), kMaxSubmitTasks);
    for (const wire::TaskSpec* task : *SubmitOf(frame).tasks()) {
      EXPECT_EQ(BytesOf(task->payload()), std::to_string(next));
      EXPECT_EQ(ack.ids[next], TaskId(next + 1));
      ++next;
    }
  }
  EXPECT_EQ(next, kTasks);
}

TEST_F(ClientTest, LargeTasksTravelAlone) {
  auto client = Connect();
  client->SubmitBatch(std::vector<TaskSpec>(10, Noop(std::string(kMaxPayloadBytes, 'x')))).get();
  for (const auto& frame : broker_.received(MessageType::kSubmit))
    EXPECT_EQ(SubmitOf(frame).tasks()->size(), 1u);
}

TEST_F(ClientTest, FramesOfSeveralTasksAreAsLargeAsTheyMayBe) {
  constexpr size_t kTasks = 100, kPayload = 10'000;
  auto client = Connect();
  BatchAck ack =
      client->SubmitBatch(std::vector<TaskSpec>(kTasks, Noop(std::string(kPayload, 'x')))).get();
  EXPECT_EQ(ack.ids.size(), kTasks);
  const auto frames = broker_.received(MessageType::kSubmit);
  for (const auto& frame : frames) EXPECT_LE(frame.body.size(), kMaxSubmitBytes);
  EXPECT_LE(frames.size(), kTasks * kPayload / kMaxSubmitBytes + 3)
      << "first and last may be small";
}

TEST_F(ClientTest, ManyThreadsGetEachItsOwnAnswers) {
  auto client = Connect();
  constexpr int kThreads = 4, kEach = 2000;
  std::mutex mutex;
  std::set<uint64_t> ids;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i)
        ASSERT_TRUE(client
                        ->Submit(Noop(),
                                 [&](absl::StatusOr<TaskId> id) {
                                   std::lock_guard lock(mutex);
                                   ids.insert(id->value());
                                 })
                        .ok());
    });
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(client->Flush(kPatienceMs).ok());
  EXPECT_EQ(ids.size(), size_t{kThreads} * kEach);
  EXPECT_EQ(client->stats().acknowledged, uint64_t{kThreads} * kEach);
}

TEST_F(ClientTest, WhatCannotBeEncodedIsRefusedBeforeItIsTaken) {
  auto client = Connect();
  EXPECT_EQ(CodeOf(client->Submit({.type = "t", .priority = 10}, nullptr)),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(client->Submit({.type = "t", .max_attempts = 70'000}, nullptr)),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(CodeOf(client->Submit(Noop(std::string(3 << 20, 'x')), nullptr)), ErrorCode::kTooLarge);
  EXPECT_EQ(CodeOf(client->Submit({.type = "t", .labels = std::vector<Label>(17)}).get().status()),
            ErrorCode::kInvalidArgument);
  EXPECT_TRUE(client->SubmitBatch({}).get().ids.empty());
}

// --- Window and local queue ---

TEST_F(ClientTest, TheWindowOfTasksIsNeverExceeded) {
  broker_.Post([&] { broker_.window_tasks = 10; });
  HoldSubmits();
  auto client = Connect();
  std::vector<TaskSpec> tasks(25, Noop());
  std::future<BatchAck> ack = client->SubmitBatch(tasks);
  ASSERT_TRUE(broker_.AwaitFrames(MessageType::kSubmit, 1));
  EXPECT_EQ(SubmitOf(broker_.received(MessageType::kSubmit)[0]).tasks()->size(), 10u);
  ReleaseHeld(/*and_later=*/true);
  EXPECT_TRUE(ack.get().rejected.empty());
  for (const auto& frame : broker_.received(MessageType::kSubmit))
    EXPECT_LE(SubmitOf(frame).tasks()->size(), 10u);
}

TEST_F(ClientTest, TheWindowOfBytesIsNeverExceeded) {
  broker_.Post([&] { broker_.window_bytes = 5000; });
  HoldSubmits();
  auto client = Connect();
  std::vector<TaskSpec> tasks(20, Noop(std::string(1000, 'x')));
  std::future<BatchAck> ack = client->SubmitBatch(tasks);
  ASSERT_TRUE(broker_.AwaitFrames(MessageType::kSubmit, 1));
  ReleaseHeld(/*and_later=*/true);
  EXPECT_TRUE(ack.get().rejected.empty());
  for (const auto& frame : broker_.received(MessageType::kSubmit))
    EXPECT_LE(frame.body.size(), 5000u);
}

TEST_F(ClientTest, AWindowOfNothingIsProbedOneTaskAtATime) {
  broker_.Post([&] { broker_.window_tasks = 0; });
  auto client = Connect();
  std::vector<TaskSpec> tasks(3, Noop());
  EXPECT_TRUE(client->SubmitBatch(tasks).get().rejected.empty());
  EXPECT_EQ(broker_.received(MessageType::kSubmit).size(), 3u);
}

TEST_F(ClientTest, AFullLocalQueueRefusesOrBlocks) {
  HoldSubmits();
  auto client = Connect({.max_queued_tasks = 3, .submit_block_ms = 0});
  // Two frames leave at once, then three tasks wait.
  for (size_t i = 1; i <= 2; ++i) {
    ASSERT_TRUE(client->Submit(Noop(), nullptr).ok());
    ASSERT_TRUE(broker_.AwaitFrames(MessageType::kSubmit, i));
  }
  // The last frame's place in the queue is given back just after it was sent: wait for room.
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(client->Submit(Noop(), nullptr, nullptr, {.block_ms = kPatienceMs}).ok());
  EXPECT_EQ(CodeOf(client->Submit(Noop(), nullptr)), ErrorCode::kResourceExhausted);
  EXPECT_EQ(CodeOf(client->Submit(Noop(), nullptr, nullptr, {.block_ms = 1})),
            ErrorCode::kResourceExhausted);
  std::thread blocked(
      [&] { EXPECT_TRUE(client->Submit(Noop(), nullptr, nullptr, {.block_ms = kForever}).ok()); });
  ReleaseHeld(/*and_later=*/true);
  blocked.join();
  EXPECT_TRUE(client->Flush(kPatienceMs).ok());
}

// --- Refusals ---

TEST_F(ClientTest, RefusedTasksAreNamedAndTheOthersAccepted) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kSubmit) return false;
    Builder builder;
    std::vector<flatbuffers::Offset<wire::Rejected>> rejected{
        wire::CreateRejectedDirect(builder, 1, 2, "type is empty"),
        wire::CreateRejectedDirect(builder, 3, 22, "payload")};
    builder.Finish(wire::CreateSubmitAckDirect(
        builder, flatbuffers::GetRoot<wire::Submit>(frame.body.data())->seq(), 50, 2,
        wire::Durability::kDisk, false, &rejected, 100, 1 << 20));
    broker_.Send(peer, MessageType::kSubmitAck, testing::BodyOf(builder));
    return true;
  });
  auto client = Connect();
  std::vector<TaskSpec> tasks(4, Noop());
  BatchAck ack = client->SubmitBatch(tasks).get();
  EXPECT_EQ(ack.ids, (std::vector{TaskId(50), TaskId(0), TaskId(51), TaskId(0)}));
  ASSERT_EQ(ack.rejected.size(), 2u);
  EXPECT_EQ(ack.rejected[0].index, 1u);
  EXPECT_EQ(CodeOf(ack.rejected[0].status), ErrorCode::kInvalidArgument);
  EXPECT_EQ(MessageOf(ack.rejected[0].status), "type is empty");
  EXPECT_EQ(CodeOf(ack.rejected[1].status), ErrorCode::kTooLarge);
}

// Refuses every second task of the first frame with RESOURCE_EXHAUSTED.
FakeBroker::FrameHandler RefuseHalfOnce(FakeBroker* broker) {
  return [broker](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kSubmit) return false;
    const auto& submit = *flatbuffers::GetRoot<wire::Submit>(frame.body.data());
    if (submit.seq() != 1) return false;
    Builder builder;
    std::vector<flatbuffers::Offset<wire::Rejected>> rejected;
    for (uint32_t i = 1; i < submit.tasks()->size(); i += 2)
      rejected.push_back(wire::CreateRejectedDirect(builder, i, 7, "queue is full", 30));
    const auto accepted = static_cast<uint32_t>(submit.tasks()->size() - rejected.size());
    builder.Finish(wire::CreateSubmitAckDirect(builder, 1, broker->next_id, accepted,
                                               wire::Durability::kDisk, false, &rejected, 100,
                                               1 << 20));
    broker->next_id += accepted;
    broker->Send(peer, MessageType::kSubmitAck, testing::BodyOf(builder));
    return true;
  };
}

TEST_F(ClientTest, TasksRefusedForLackOfRoomAreSubmittedAgain) {
  broker_.SetHandler(RefuseHalfOnce(&broker_));
  auto client = Connect();
  std::vector<TaskSpec> tasks;
  for (int i = 0; i < 6; ++i)
    tasks.push_back({.type = "t", .payload = std::to_string(i), .labels = {{"i", "x"}}});
  BatchAck ack = client->SubmitBatch(tasks).get();
  EXPECT_TRUE(ack.rejected.empty());
  EXPECT_EQ(ack.ids,
            (std::vector{TaskId(1), TaskId(4), TaskId(2), TaskId(5), TaskId(3), TaskId(6)}));
  const auto frames = broker_.received(MessageType::kSubmit);
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(SubmitOf(frames[1]).seq(), 2u);
  const wire::TaskSpec& again = *SubmitOf(frames[1]).tasks()->Get(1);
  EXPECT_EQ(BytesOf(again.payload()), "3");
  EXPECT_EQ(again.labels()->Get(0)->value()->str(), "x");
  EXPECT_EQ(client->stats().retried, 3u);
}

TEST_F(ClientTest, OrTheCallerIsToldIfItWantsTo) {
  broker_.SetHandler(RefuseHalfOnce(&broker_));
  auto client = Connect({.retry_exhausted = false});
  std::vector<TaskSpec> tasks(2, Noop());
  BatchAck ack = client->SubmitBatch(tasks).get();
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(CodeOf(ack.rejected[0].status), ErrorCode::kResourceExhausted);
}

TEST_F(ClientTest, AnErrorForTheWholeFrameFailsItsTasks) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kSubmit) return false;
    Builder builder;
    broker_.Send(peer, MessageType::kError,
                 FinishBody(builder, wire::CreateErrorDirect(builder, 20, "not readable", 0, 1)));
    return true;
  });
  auto client = Connect();
  absl::StatusOr<TaskId> id = client->Submit(Noop()).get();
  EXPECT_EQ(CodeOf(id.status()), ErrorCode::kMalformed);
  EXPECT_TRUE(client->Flush(kPatienceMs).ok());
}

TEST_F(ClientTest, ARetryableErrorSendsTheSameFrameAgain) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kSubmit || handled_ == 2) return false;
    ++handled_;
    Builder builder;
    broker_.Send(peer, MessageType::kError,
                 FinishBody(builder, wire::CreateErrorDirect(builder, 5, "busy", 1, 1)));
    return true;
  });
  auto client = Connect();
  EXPECT_TRUE(client->Submit(Noop()).get().ok());
  const auto frames = broker_.received(MessageType::kSubmit);
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].body, frames[2].body);
}

// --- Reconnecting ---

TEST_F(ClientTest, UnacknowledgedFramesAreSentAgainByteForByteAndInOrder) {
  HoldSubmits();
  auto client = Connect();
  std::vector<std::future<absl::StatusOr<TaskId>>> ids;
  for (size_t i = 0; i < 2; ++i) {
    ids.push_back(client->Submit(Noop("task " + std::to_string(i))));
    ASSERT_TRUE(broker_.AwaitFrames(MessageType::kSubmit, i + 1));
  }
  const auto before = broker_.received(MessageType::kSubmit);
  broker_.Stop();
  broker_.Forget();
  hold_ = false;
  broker_.Start();
  for (auto& id : ids) EXPECT_TRUE(id.get().ok());
  const auto after = broker_.received(MessageType::kSubmit);
  // The old connection may bring frames of the old session first: those were refused.
  std::vector<FakeBroker::Received> resent;
  for (const auto& frame : after)
    if (frame.session != before[0].session) resent.push_back(frame);
  ASSERT_EQ(resent.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(SubmitOf(resent[i]).seq(), i + 1);
    EXPECT_EQ(resent[i].body, before[i].body);
    EXPECT_EQ(resent[i].epoch, 5u);
  }
  EXPECT_EQ(client->stats().connects, 2u);
}

TEST_F(ClientTest, AnAckThatWasLostIsAskedForByTheSameFrame) {
  broker_.SetHandler([&](const FakeBroker::Peer&, const FrameView& frame) {
    return frame.header.type == MessageType::kSubmit && handled_++ == 0;
  });
  auto client = Connect({.resend_ms = 20});
  EXPECT_TRUE(client->Submit(Noop()).get().ok());
  const auto frames = broker_.received(MessageType::kSubmit);
  ASSERT_GE(frames.size(), 2u);
  EXPECT_EQ(frames[0].body, frames[1].body);
}

TEST_F(ClientTest, RequestsUnderWayAreSentAgain) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kStatus || handled_ == 0) return false;
    Builder builder;
    wire::StatusReplyBuilder reply(builder);
    reply.add_request(flatbuffers::GetRoot<wire::Status>(frame.body.data())->request());
    reply.add_lsn(42);
    broker_.Send(peer, MessageType::kStatusReply, FinishBody(builder, reply.Finish()));
    return true;
  });
  auto client = Connect();
  auto status = std::async(std::launch::async, [&] { return client->Status(); });
  ASSERT_TRUE(broker_.AwaitFrames(MessageType::kStatus, 1));
  broker_.Stop();
  handled_ = 1;
  broker_.Start();
  absl::StatusOr<StatusInfo> got = status.get();
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->lsn, Lsn(42));
}

// --- Outcomes ---

void PushOutcomes(FakeBroker* broker, const FakeBroker::Peer& peer, std::vector<uint64_t> succeeded,
                  uint64_t failed = 0, uint64_t request = 0) {
  Builder builder;
  std::vector<flatbuffers::Offset<wire::Outcome>> outcomes;
  if (failed != 0)
    outcomes.push_back(wire::CreateOutcomeDirect(builder, failed, wire::TaskState::kDead, 3,
                                                 nullptr, nullptr, 32, "it broke"));
  broker->Send(
      peer, MessageType::kOutcomes,
      FinishBody(builder, wire::CreateOutcomesDirect(builder, request, &succeeded, &outcomes)));
}

TEST_F(ClientTest, OutcomesComeToTheirCallbacksOnce) {
  auto client = Connect();
  std::promise<Outcome> good, bad;
  ASSERT_TRUE(
      client->Submit(Noop(), nullptr, [&](Outcome& outcome) { good.set_value(std::move(outcome)); })
          .ok());
  ASSERT_TRUE(client->Flush(kPatienceMs).ok());
  ASSERT_TRUE(
      client->Submit(Noop(), nullptr, [&](Outcome& outcome) { bad.set_value(std::move(outcome)); })
          .ok());
  ASSERT_TRUE(client->Flush(kPatienceMs).ok());
  EXPECT_TRUE(SubmitOf(broker_.received(MessageType::kSubmit)[0]).notify());
  broker_.Post([&] {
    // Twice, which is allowed: a second set_value would throw.
    PushOutcomes(&broker_, broker_.last_peer(), {1}, 2);
    PushOutcomes(&broker_, broker_.last_peer(), {1, 999}, 2);
  });
  EXPECT_TRUE(good.get_future().get().succeeded());
  Outcome failed = bad.get_future().get();
  EXPECT_EQ(failed.id, TaskId(2));
  EXPECT_EQ(failed.state, TaskState::kDead);
  EXPECT_EQ(failed.attempt, 3u);
  EXPECT_EQ(CodeOf(failed.status()), ErrorCode::kHandlerFailed);
  EXPECT_EQ(failed.error_message, "it broke");
  ASSERT_TRUE(client->Submit(Noop()).get().ok());  // behind the second push
  EXPECT_EQ(client->stats().malformed, 0u);
}

TEST_F(ClientTest, BulkOutcomesComeManyAtATime) {
  std::promise<std::vector<Outcome>> told;
  auto client = Connect({.on_outcomes = [&](std::span<Outcome> outcomes) {
    told.set_value({outcomes.begin(), outcomes.end()});
  }});
  std::vector<TaskSpec> tasks(3, Noop());
  client->SubmitBatch(tasks, {.notify = true}).get();
  broker_.Post([&] { PushOutcomes(&broker_, broker_.last_peer(), {1, 3}, 2); });
  std::vector<Outcome> outcomes = told.get_future().get();
  ASSERT_EQ(outcomes.size(), 3u);
  EXPECT_EQ(outcomes[1].id, TaskId(3));
  EXPECT_EQ(outcomes[2].error, ErrorCode::kHandlerFailed);
}

TEST_F(ClientTest, RunIsASubmitAndItsOutcome) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kSubmit) return false;
    broker_.Acknowledge(peer, *flatbuffers::GetRoot<wire::Submit>(frame.body.data()));
    PushOutcomes(&broker_, peer, {1});
    return true;
  });
  auto client = Connect();
  absl::StatusOr<Outcome> outcome = client->Run(Noop()).get();
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->id, TaskId(1));
}

TEST_F(ClientTest, AwaitedOutcomesAreAskedForAfterAReconnect) {
  std::promise<void> done;
  std::atomic<int> left = 4;
  auto client = Connect({.on_outcomes = [&](std::span<Outcome> outcomes) {
    if ((left -= static_cast<int>(outcomes.size())) == 0) done.set_value();
  }});
  std::vector<TaskSpec> tasks(4, Noop());
  client->SubmitBatch(tasks, {.notify = true}).get();
  broker_.Post([&] { PushOutcomes(&broker_, broker_.last_peer(), {2}); });
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kWait) return false;
    const auto& wait = *flatbuffers::GetRoot<wire::Wait>(frame.body.data());
    std::vector<uint64_t> ids(wait.ids()->begin(), wait.ids()->end());
    PushOutcomes(&broker_, peer, ids, 0, wait.request());
    return true;
  });
  ASSERT_TRUE(client->Submit(Noop()).get().ok());  // behind the push
  broker_.Stop();
  broker_.Start();
  done.get_future().get();
  const auto waits = broker_.received(MessageType::kWait);
  ASSERT_EQ(waits.size(), 1u);
  const auto& ids = *flatbuffers::GetRoot<wire::Wait>(waits[0].body.data())->ids();
  EXPECT_EQ(std::vector<uint64_t>(ids.begin(), ids.end()), (std::vector<uint64_t>{1, 3, 4}));
}

TEST_F(ClientTest, AResyncAsksForWhatIsAwaited) {
  broker_.Post([&] { broker_.heartbeat_ms = 50; });
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kHeartbeat) return false;
    Builder builder;
    broker_.Send(peer, MessageType::kHeartbeatAck,
                 FinishBody(builder, wire::CreateHeartbeatAck(builder, true)));
    return true;
  });
  auto client = Connect();
  client->WaitEach(std::vector{TaskId(7)}, kForever, nullptr, nullptr);
  EXPECT_TRUE(broker_.AwaitFrames(MessageType::kWait, 3));
}

TEST_F(ClientTest, WaitAllAsksInBoundedPartsAndKeepsTheOrder) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kWait) return false;
    const auto& wait = *flatbuffers::GetRoot<wire::Wait>(frame.body.data());
    std::vector<uint64_t> ids(wait.ids()->begin(), wait.ids()->end());
    PushOutcomes(&broker_, peer, {}, 0, wait.request());  // known, not finished
    PushOutcomes(&broker_, peer, ids);
    return true;
  });
  auto client = Connect();
  std::vector<TaskId> ids;
  for (uint64_t i = 10'000; i > 0; --i) ids.emplace_back(i);
  ids.emplace_back(10'000);  // again
  absl::StatusOr<std::vector<Outcome>> outcomes = client->WaitAll(ids, kPatienceMs);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  ASSERT_EQ(outcomes->size(), ids.size());
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ((*outcomes)[i].id, ids[i]);
  for (const auto& frame : broker_.received(MessageType::kWait))
    EXPECT_LE(flatbuffers::GetRoot<wire::Wait>(frame.body.data())->ids()->size(), kMaxQueryIds);
}

TEST_F(ClientTest, WaitTimesOut) {
  auto client = Connect();
  EXPECT_EQ(CodeOf(client->Wait(TaskId(5), 1).status()), ErrorCode::kTimedOut);
  EXPECT_TRUE(client->WaitAll({}, 0).ok());
}

TEST_F(ClientTest, AMissingTaskIsAnOutcome) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kWait) return false;
    Builder builder;
    std::vector<flatbuffers::Offset<wire::Outcome>> outcomes{wire::CreateOutcomeDirect(
        builder, 5, wire::TaskState::kScheduled, 0, nullptr, nullptr, 3, "no such task")};
    broker_.Send(
        peer, MessageType::kOutcomes,
        FinishBody(builder,
                   wire::CreateOutcomesDirect(
                       builder, flatbuffers::GetRoot<wire::Wait>(frame.body.data())->request(),
                       nullptr, &outcomes)));
    return true;
  });
  auto client = Connect();
  absl::StatusOr<Outcome> outcome = client->Wait(TaskId(5), kPatienceMs);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->error, ErrorCode::kNotFound);
}

// --- Queries ---

flatbuffers::Offset<wire::TaskInfo> Info(Builder& builder, uint64_t id) {
  return wire::CreateTaskInfoDirect(builder, id, "q", "t", wire::TaskState::kDead);
}

TEST_F(ClientTest, GetAsksUntilEveryIdIsAnswered) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kGet) return false;
    const auto& get = *flatbuffers::GetRoot<wire::Get>(frame.body.data());
    Builder builder;  // two ids an answer; odd ones are missing
    std::vector<flatbuffers::Offset<wire::TaskInfo>> tasks;
    std::vector<uint64_t> missing;
    const uint32_t answered = std::min<uint32_t>(2, get.ids()->size());
    for (uint32_t i = 0; i < answered; ++i) {
      if (get.ids()->Get(i) % 2 == 0)
        tasks.push_back(Info(builder, get.ids()->Get(i)));
      else
        missing.push_back(get.ids()->Get(i));
    }
    broker_.Send(peer, MessageType::kTaskInfos,
                 FinishBody(builder, wire::CreateTaskInfosDirect(builder, get.request(), &tasks,
                                                                 &missing, answered)));
    return true;
  });
  auto client = Connect();
  const std::vector<TaskId> ids{TaskId(1), TaskId(2), TaskId(3), TaskId(4), TaskId(6)};
  absl::StatusOr<GetResult> result = client->Get(ids);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->tasks.size(), 3u);
  EXPECT_EQ(result->tasks[2].id, TaskId(6));
  EXPECT_EQ(result->tasks[0].state, TaskState::kDead);
  EXPECT_EQ(result->missing, (std::vector{TaskId(1), TaskId(3)}));
  EXPECT_EQ(CodeOf(client->Get(TaskId(9)).status()), ErrorCode::kNotFound);
}

TEST_F(ClientTest, ListHidesShortAndEmptyPages) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    if (frame.header.type != MessageType::kList) return false;
    const auto& list = *flatbuffers::GetRoot<wire::List>(frame.body.data());
    Builder builder;  // ids 10, 20, 30; the page after 10 is empty
    std::vector<flatbuffers::Offset<wire::TaskInfo>> tasks;
    uint64_t next = 0;
    if (list.cursor() == 0) {
      tasks.push_back(Info(builder, 10));
      next = 10;
    } else if (list.cursor() == 10) {
      next = 15;
    } else {
      tasks.push_back(Info(builder, 20));
      if (list.limit() > 1) tasks.push_back(Info(builder, 30));
    }
    EXPECT_EQ(list.states(), 1u << 6);
    broker_.Send(peer, MessageType::kTaskInfos,
                 FinishBody(builder, wire::CreateTaskInfosDirect(builder, list.request(), &tasks,
                                                                 nullptr, 0, next)));
    return true;
  });
  auto client = Connect();
  auto ids = [&](size_t limit) {
    TaskLister lister = client->ListTasks({.states = {TaskState::kDead}, .limit = limit});
    std::vector<uint64_t> seen;
    TaskInfo task;
    while (lister.Next(&task)) seen.push_back(task.id.value());
    EXPECT_TRUE(lister.status().ok()) << lister.status();
    return seen;
  };
  EXPECT_EQ(ids(0), (std::vector<uint64_t>{10, 20, 30}));
  EXPECT_EQ(ids(2), (std::vector<uint64_t>{10, 20}));
  EXPECT_EQ(ids(1), (std::vector<uint64_t>{10}));
}

TEST_F(ClientTest, RetryCancelAndDrainTellPerItem) {
  broker_.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) {
    const MessageType type = frame.header.type;
    if (type != MessageType::kRetry && type != MessageType::kCancelTasks &&
        type != MessageType::kWorkerDrain)
      return false;
    auto request = flatbuffers::GetRoot<wire::Retry>(frame.body.data())->request();  // as in all
    Builder builder;
    std::vector<flatbuffers::Offset<wire::ItemResult>> items{
        wire::CreateItemResultDirect(builder, 1, 4, "not dead")};
    broker_.Send(peer, MessageType::kItemReply,
                 FinishBody(builder, wire::CreateItemReplyDirect(builder, request, &items)));
    return true;
  });
  auto client = Connect();
  for (auto ask : {&Client::Retry, &Client::Cancel}) {
    auto results = ((*client).*ask)(std::vector{TaskId(1)});
    ASSERT_TRUE(results.ok());
    EXPECT_EQ(CodeOf(results->at(0).status), ErrorCode::kConflict);
  }
  EXPECT_EQ(CodeOf(client->DrainWorker("w")), ErrorCode::kConflict);
}

TEST_F(ClientTest, AnUnansweredRequestTimesOut) {
  auto client = Connect({.request_timeout_ms = 30});
  EXPECT_EQ(CodeOf(client->Workers().status()), ErrorCode::kTimedOut);
}

// --- Misuse and malice ---

TEST_F(ClientTest, ACallbackThatWouldWaitForItselfIsTold) {
  auto client = Connect();
  std::promise<absl::Status> status, closed;
  ASSERT_TRUE(client
                  ->Submit(Noop(),
                           [&](absl::StatusOr<TaskId>) {
                             status.set_value(client->Status().status());
                             closed.set_value(client->Close(kForever));
                             EXPECT_TRUE(client->Submit(Noop(), nullptr).ok());
                           })
                  .ok());
  EXPECT_EQ(CodeOf(status.get_future().get()), ErrorCode::kConflict);
  EXPECT_EQ(CodeOf(closed.get_future().get()), ErrorCode::kConflict);
  EXPECT_TRUE(client->Flush(kPatienceMs).ok());
}

TEST_F(ClientTest, MalformedFramesAreCountedAndHarmless) {
  auto client = Connect();
  ASSERT_TRUE(client->Submit(Noop()).get().ok());
  broker_.Post([&] {
    const FakeBroker::Peer peer = broker_.last_peer();
    broker_.SendRaw(peer, "");
    broker_.SendRaw(peer, "garbage");
    broker_.SendRaw(peer, std::string(1000, '\0'));
    // Every type with bodies that are no FlatBuffer, and one that is of another table.
    Builder builder;
    builder.Finish(wire::CreateViewDirect(builder, nullptr, 9));
    for (int type = 0; type < 80; ++type) {
      const auto message = static_cast<MessageType>(type);
      if (message == MessageType::kGoodbye) continue;
      for (const std::string& body :
           {std::string(), std::string(64, '\xff'), std::string(3, 'x'), testing::BodyOf(builder)})
        broker_.Send(peer, message, body);
    }
    // Acks that contradict their frame.
    for (uint64_t seq : {0, 1, 2, 9999}) {
      Builder ack;
      std::vector<flatbuffers::Offset<wire::Rejected>> rejected{
          wire::CreateRejectedDirect(ack, 7, 2, ""), wire::CreateRejectedDirect(ack, 3, 2, "")};
      broker_.Send(
          peer, MessageType::kSubmitAck,
          FinishBody(ack, wire::CreateSubmitAckDirect(ack, seq, 0, 5, wire::Durability::kDisk,
                                                      false, &rejected, 100, 1 << 20)));
    }
  });
  EXPECT_TRUE(client->Submit(Noop()).get().ok());
  EXPECT_GT(client->stats().malformed, 20u);
}

TEST_F(ClientTest, ClosingWithWorkUnderWayAnswersAllOfIt) {
  HoldSubmits();
  auto client = Connect();
  std::vector<TaskSpec> tasks(kMaxSubmitTasks * 2, Noop());
  std::future<BatchAck> batch = client->SubmitBatch(tasks);
  auto run = client->Run(Noop());
  ASSERT_TRUE(broker_.AwaitFrames(MessageType::kSubmit, 1));
  EXPECT_EQ(CodeOf(client->Close(1)), ErrorCode::kTimedOut);
  BatchAck ack = batch.get();
  EXPECT_EQ(ack.rejected.size(), tasks.size());
  EXPECT_EQ(CodeOf(ack.rejected.back().status), ErrorCode::kUnavailable);
  EXPECT_EQ(CodeOf(run.get().status()), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace zsched
