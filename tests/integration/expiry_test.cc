// With real processes: a task that has not begun by its start-by time is dead, wherever it waits, and never runs.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Await;
using harness::Cluster;
using harness::CtlResult;
using harness::IsIn;
using harness::SubmitOne;
using harness::WaitAll;
using nlohmann::json;

class ExpiryProcesses : public testing::Test {
 protected:
  ExpiryProcesses() {
    cluster.StartBroker();
    client = cluster.NewClient();
  }
  void ExpectExpired(TaskId id) {
    const Outcome outcome = WaitAll(*client, {id}).at(0);
    EXPECT_EQ(outcome.state, TaskState::kDead);
    EXPECT_EQ(outcome.error, ErrorCode::kExpired);
    EXPECT_EQ(outcome.attempt, 0u) << "no attempt has begun";
  }

  Cluster cluster;
  std::unique_ptr<Client> client;
};

TEST_F(ExpiryProcesses, WithoutAWorkerItIsADeadLetterThatARetryRuns) {
  const CtlResult submitted = cluster.Ctl({"submit", "--type", "echo", "--payload", "late",
                                           "--start-within", "200ms", "--wait", "-o", "json"});
  EXPECT_EQ(submitted.exit_code, 1) << submitted.out << submitted.err;
  const json letter = json::parse(cluster.Ctl({"-o", "json", "dlq", "list"}).out)["tasks"].at(0);
  EXPECT_EQ(letter["error"]["code"], "EXPIRED") << letter;
  cluster.StartWorker("w");
  const auto id = ParseId<TaskId>(letter["id"].get<std::string>());
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(cluster.Ctl({"dlq", "retry", ToString(*id)}).exit_code, 0);
  EXPECT_EQ(WaitAll(*client, {*id}).at(0).result, "late");
}

// A worker that has run thousands of short tasks takes many at once; then comes one that is long.
TEST_F(ExpiryProcesses, BehindALongTaskOfItsWorkerItIsGivenBack) {
  cluster.StartWorker("w", {"--concurrency", "1"});
  const BatchAck warm_up =
      client->SubmitBatch(std::vector<TaskSpec>(5'000, {.type = "noop"})).get();
  WaitAll(*client, warm_up.ids);
  const TaskId slow = SubmitOne(*client, {.type = "sleep", .payload = R"({"ms":120000})"});
  const TaskId behind = SubmitOne(*client, {.type = "echo", .start_within_ms = 1'000});
  ASSERT_TRUE(Await([&] { return IsIn(*client, behind, TaskState::kLeased); }))
      << "it took more than it can run";
  ExpectExpired(behind);
  EXPECT_TRUE(IsIn(*client, slow, TaskState::kLeased)) << "and that goes on";
  EXPECT_EQ(cluster.Ctl({"task", "cancel", ToString(slow)}).exit_code, 0);
}

TEST_F(ExpiryProcesses, ABrokerThatWasKilledKnowsTheTimes) {
  const TaskId soon = SubmitOne(*client, {.type = "noop", .start_within_ms = 1'000});
  const TaskId later = SubmitOne(*client, {.type = "noop", .start_within_ms = 3'600'000});
  const int64_t start_by_ms = client->Get(later)->start_by_ms;
  EXPECT_EQ(start_by_ms, client->Get(later)->submitted_at_ms + 3'600'000);
  cluster.KillBroker();
  cluster.StartBroker();
  ExpectExpired(soon);
  EXPECT_EQ(client->Get(later)->start_by_ms, start_by_ms);
  cluster.StartWorker("w");
  EXPECT_TRUE(WaitAll(*client, {later}).at(0).succeeded());
}

}  // namespace
}  // namespace zsched::integration
