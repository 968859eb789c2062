// The bounds of a broker, at work: full queues, large payloads, little disk, finished tasks that are forgotten.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/harness/cluster.h"
#include "tests/harness/raw_peer.h"

namespace zsched::integration {
namespace {

using harness::Await;
using harness::BodyOf;
using harness::Cluster;
using harness::CounterOf;
using harness::CountOf;
using harness::CtlResult;
using harness::RawPeer;
using harness::SubmitOne;
using harness::WaitAll;

std::vector<TaskSpec> Tasks(const std::string& type, size_t count,
                            const std::string& payload = "") {
  return std::vector<TaskSpec>(count, TaskSpec{.type = type, .payload = payload});
}

TEST(QueueLimit, AFullQueueRefusesAndSaysWhenToComeBack) {
  Cluster cluster;
  cluster.StartBroker({"--max-queue-tasks", "10"});
  CtlResult result = cluster.Ctl({"submit", "--type", "noop", "--count", "12"});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_NE(result.err.find("task 11: queue 'default' is full: it holds 10 tasks"),
            std::string::npos)
      << result.err;
  EXPECT_NE(result.err.find("10 tasks submitted, 2 refused"), std::string::npos) << result.err;
  result = cluster.Ctl({"-o", "json", "submit", "--type", "noop"});
  EXPECT_EQ(result.exit_code, 7);
  nlohmann::json error = nlohmann::json::parse(result.err)["error"];
  EXPECT_EQ(error["code"], "RESOURCE_EXHAUSTED");
  EXPECT_EQ(error["retryable"], true);

  RawPeer peer(cluster.client_endpoint());
  peer.HelloAsClient();
  std::string body = BodyOf([&](auto& b) {
    std::vector tasks = {wire::CreateTaskSpecDirect(b, "noop"),
                         wire::CreateTaskSpecDirect(b, "noop", "elsewhere")};
    return wire::CreateSubmitDirect(b, 1, 0, false, &tasks);
  });
  peer.Say(MessageType::kSubmit, body);
  auto frame = peer.Await(MessageType::kSubmitAck);
  const auto& ack = frame->As<wire::SubmitAck>();
  EXPECT_EQ(ack.accepted(), 1u) << "another queue has room";
  ASSERT_EQ(ack.rejected()->size(), 1u);
  EXPECT_EQ(ErrorFromNumber(ack.rejected()->Get(0)->code()), ErrorCode::kResourceExhausted);
  EXPECT_GT(ack.rejected()->Get(0)->retry_after_ms(), 0u);
}

// With the client's own retries a full queue is a brake, not an error.
TEST(QueueLimit, AFullQueueSlowsProducersDownAndLosesNothing) {
  constexpr size_t kTasks = 300;
  Cluster cluster;
  cluster.StartBroker({"--max-queue-tasks", "10"});
  auto client = cluster.NewClient();
  auto batch = client->SubmitBatch(Tasks("noop", kTasks));
  ASSERT_TRUE(Await([&] { return client->stats().retried > 0; }));
  EXPECT_EQ(CountOf(*client, TaskState::kReady), 10u);
  cluster.StartWorker("w");
  BatchAck ack = batch.get();
  EXPECT_TRUE(ack.rejected.empty());
  WaitAll(*client, ack.ids);
  EXPECT_EQ(CounterOf(*client, "tasks_succeeded_total"), kTasks);
  EXPECT_EQ(CounterOf(*client, "tasks_submitted_total"), kTasks);

  auto impatient = cluster.NewClient({.retry_exhausted = false});
  cluster.worker("w").Signal(SIGTERM);
  ASSERT_EQ(cluster.worker("w").WaitExit(), 0);
  ack = impatient->SubmitBatch(Tasks("noop", 11)).get();
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(CodeOf(ack.rejected[0].status), ErrorCode::kResourceExhausted);
}

TEST(PayloadLimit, ALargePayloadIsRefusedByWhoeverSeesItFirst) {
  Cluster cluster;
  cluster.StartBroker({"--max-payload", "1000"});
  auto client = cluster.NewClient();
  EXPECT_TRUE(client->Submit({.type = "noop", .payload = std::string(1000, 'x')}).get().ok());
  EXPECT_EQ(
      CodeOf(client->Submit({.type = "noop", .payload = std::string(1001, 'x')}).get().status()),
      ErrorCode::kTooLarge);
  CtlResult result = cluster.Ctl({"submit", "--type", "noop", "--payload", std::string(1001, 'x')});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_NE(result.err.find("payload"), std::string::npos) << result.err;
  // Over every limit: never sent.
  result = cluster.Ctl({"-o", "json", "submit", "--type", "noop", "--payload", "-"},
                       {.standard_input = std::string(kMaxPayloadBytes + 1, 'x')});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(nlohmann::json::parse(result.err)["error"]["code"], "TOO_LARGE");
  EXPECT_EQ(CountOf(*client, TaskState::kReady), 1u);
}

// Little disk: nothing new is taken in, what is there is finished.
TEST(DiskLimit, SubmitsAreRefusedAndCompletionsTaken) {
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient({.retry_exhausted = false});
  TaskSpec flaky{.type = "fail", .payload = R"({"times":1})"};
  flaky.retry_base_ms = flaky.retry_cap_ms = 10;
  std::vector<TaskId> ids = {SubmitOne(*client, {.type = "echo", .payload = "kept"}),
                             SubmitOne(*client, flaky)};
  ASSERT_EQ(cluster.StopBroker(), 0);

  cluster.StartBroker({"--disk-reserve", "100TiB"});
  absl::StatusOr<TaskId> refused = TaskId(0);
  // The first look at the disk comes within moments of the start.
  ASSERT_TRUE(Await([&] {
    refused = client->Submit({.type = "noop", .queue = "new"}).get();
    return !refused.ok();
  }));
  EXPECT_EQ(CodeOf(refused.status()), ErrorCode::kResourceExhausted);
  EXPECT_NE(MessageOf(refused.status()).find("disk is nearly full"), std::string::npos)
      << refused.status();
  CtlResult result = cluster.Ctl({"submit", "--type", "noop"});
  EXPECT_EQ(result.exit_code, 7);
  EXPECT_NE(result.err.find("disk is nearly full"), std::string::npos) << result.err;
  cluster.StartWorker("w");
  for (const Outcome& outcome : WaitAll(*client, ids))
    EXPECT_TRUE(outcome.succeeded()) << outcome.status();
  EXPECT_EQ(client->Get(ids[0])->result, "kept");
}

// Each frame is made when the one before it has left, whatever all of them together would take.
TEST(QueryLimit, AWaitForLargeResultsIsAnsweredFrameByFrame) {
  constexpr size_t kTasks = 40, kResult = 500'000, kUnknown = 7;
  Cluster cluster;
  cluster.StartBroker();
  cluster.StartWorker("w");
  auto client = cluster.NewClient();
  BatchAck ack = client->SubmitBatch(Tasks("echo", kTasks, std::string(kResult, 'r'))).get();
  WaitAll(*client, ack.ids);
  std::vector<uint64_t> ids = {kUnknown};
  for (TaskId id : ack.ids) ids.push_back(id.value());

  RawPeer peer(cluster.client_endpoint());
  peer.HelloAsClient();
  peer.Say(MessageType::kWait, BodyOf([&](auto& b) { return wire::CreateWaitDirect(b, 3, &ids); }));
  std::vector<uint64_t> told;
  size_t frames = 0;
  while (told.size() < ids.size()) {
    auto frame = peer.Await(MessageType::kOutcomes);
    const auto& outcomes = frame->As<wire::Outcomes>();
    EXPECT_EQ(outcomes.request(), 3u);
    EXPECT_LT(frame->header().body_bytes, kBatchTargetBytes + kMaxResultBytes);
    for (const wire::Outcome* outcome : *outcomes.outcomes()) {
      told.push_back(outcome->id());
      EXPECT_EQ(outcome->result() == nullptr ? 0 : outcome->result()->size(),
                outcome->id() == kUnknown ? 0 : kResult);
    }
    ++frames;
  }
  EXPECT_EQ(told, ids);
  EXPECT_GE(frames, kTasks * kResult / (kBatchTargetBytes + kMaxResultBytes));
}

size_t DataBytes(const Cluster& cluster) {
  struct stat info {};
  stat((cluster.data() + "/data.mdb").c_str(), &info);
  return static_cast<size_t>(info.st_size);
}

uint64_t CountListed(Client& client) {
  uint64_t count = 0;
  TaskLister lister = client.ListTasks({});
  for (TaskInfo task; lister.Next(&task);) ++count;
  return count;
}

// Finished tasks go by count, those of one RESULTS frame together; the log goes by size, and their pages are used again.
TEST(Retention, FinishedTasksArePrunedAndTheDataStopsGrowing) {
  constexpr size_t kKept = 1000, kRounds = 6, kTasks = 4000, kPayload = 1000;
  Cluster cluster;
  cluster.StartBroker({"--keep-finished", std::to_string(kKept), "--keep-log", "1MiB"});
  cluster.StartWorker("w", {"--concurrency", "8"});
  auto client = cluster.NewClient();
  std::vector<size_t> sizes;
  TaskId first;
  for (size_t round = 1; round <= kRounds; ++round) {
    BatchAck ack = client->SubmitBatch(Tasks("echo", kTasks, std::string(kPayload, 'r'))).get();
    ASSERT_TRUE(ack.rejected.empty());
    if (round == 1) first = ack.ids.front();
    uint64_t total = round * kTasks;
    ASSERT_TRUE(Await([&] {
      return CounterOf(*client, "tasks_succeeded_total") == total &&
             CountOf(*client, TaskState::kSucceeded) < kKept + kMaxResultTasks;
    })) << CountOf(*client, TaskState::kSucceeded)
        << " finished tasks are kept";
    // Every task is either there or pruned, and the counts agree with the tables (once no more is pruned meanwhile).
    uint64_t kept = 0, listed = 0;
    EXPECT_TRUE(Await([&] {
      kept = CountOf(*client, TaskState::kSucceeded);
      listed = CountListed(*client);
      return listed == kept && kept + CounterOf(*client, "tasks_pruned_total") == total;
    })) << kept
        << " are counted, " << listed << " listed";
    EXPECT_GE(kept, kKept) << "finished tasks were forgotten too early";
    sizes.push_back(DataBytes(cluster));
  }
  EXPECT_EQ(CodeOf(client->Get(first).status()), ErrorCode::kNotFound);
  EXPECT_EQ(client->Wait(first, 10'000)->error, ErrorCode::kNotFound);
  // What one round needs at its height is free for the next.
  EXPECT_LE(sizes.back(), 2 * sizes[1]) << "data.mdb grows with what was done before";
  // A restart finds what was there, and counts it as it was.
  ASSERT_EQ(cluster.StopBroker(), 0);
  cluster.StartBroker();
  EXPECT_TRUE(
      Await([&] { return CountOf(*client, TaskState::kSucceeded) == CountListed(*client); }));
  EXPECT_GE(CountListed(*client), kKept);
}

}  // namespace
}  // namespace zsched::integration
