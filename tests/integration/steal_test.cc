// With real processes: idle workers get what waits elsewhere, and tasks say why they wait.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Await;
using harness::Cluster;
using harness::CtlResult;
using harness::SubmitOne;
using harness::WaitAll;
using nlohmann::json;

class StealProcesses : public testing::Test {
 protected:
  StealProcesses() {
    cluster.StartBroker();
    client = cluster.NewClient();
  }

  std::string WorkerOf(TaskId id) {
    auto task = client->Get(id);
    return task.ok() ? task->worker : "";
  }

  Cluster cluster;
  std::unique_ptr<Client> client;
};

// A worker that has run thousands of short tasks takes many at once; then comes one that is long.
TEST_F(StealProcesses, WhatWaitsBehindALongTaskGoesToAnIdleWorker) {
  cluster.StartWorker("a", {"--name", "a", "--concurrency", "1"});
  const BatchAck warm_up =
      client->SubmitBatch(std::vector<TaskSpec>(5'000, {.type = "noop"})).get();
  ASSERT_TRUE(warm_up.rejected.empty());
  WaitAll(*client, warm_up.ids);
  const TaskId slow = SubmitOne(*client, {.type = "sleep", .payload = R"({"ms":120000})"});
  const TaskId behind = SubmitOne(*client, {.type = "echo", .payload = "soon"});
  ASSERT_TRUE(Await([&] { return WorkerOf(behind) == "a"; })) << "it took more than it can run";
  cluster.StartWorker("b", {"--name", "b"});
  const Outcome outcome = WaitAll(*client, {behind}).at(0);
  EXPECT_EQ(outcome.result, "soon");
  EXPECT_EQ(outcome.attempt, 1u) << "what had not begun was no attempt";
  EXPECT_EQ(WorkerOf(behind), "b");
  EXPECT_EQ(client->Get(slow)->state, TaskState::kLeased) << "and that goes on";
  EXPECT_EQ(cluster.Ctl({"task", "cancel", ToString(slow)}).exit_code, 0);
}

TEST_F(StealProcesses, ATaskSaysWhyItWaits) {
  auto explain = [&](TaskId id) {
    const CtlResult result = cluster.Ctl({"-o", "json", "task", "explain", ToString(id)});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out);
  };
  ASSERT_EQ(cluster.Ctl({"queue", "pause", "mail"}).exit_code, 0);
  const TaskId first = SubmitOne(*client, {.type = "noop", .queue = "mail"});
  const TaskId second = SubmitOne(*client, {.type = "noop", .queue = "mail"});
  const json waits = explain(second);
  EXPECT_EQ(waits["state"], "ready");
  EXPECT_EQ(waits["ahead"], 1);
  EXPECT_EQ(waits["ready_in_queue"], 2);
  ASSERT_EQ(waits["reasons"].size(), 2u);
  EXPECT_EQ(waits["reasons"][0]["reason"], "queue_paused");
  EXPECT_EQ(waits["reasons"][0]["name"], "mail");
  EXPECT_EQ(waits["reasons"][1]["reason"], "no_worker");
  const CtlResult text = cluster.Ctl({"task", "explain", ToString(second)});
  EXPECT_NE(text.out.find("queue 'mail' is paused: zsched-ctl queue resume mail"),
            std::string::npos)
      << text.out;
  EXPECT_NE(text.out.find("1 task comes before it"), std::string::npos) << text.out;
  cluster.StartWorker("w");
  ASSERT_EQ(cluster.Ctl({"queue", "resume", "mail"}).exit_code, 0);
  WaitAll(*client, {first, second});
  EXPECT_EQ(explain(second)["state"], "succeeded");
  EXPECT_TRUE(explain(second)["reasons"].empty());
  EXPECT_EQ(cluster.Ctl({"task", "explain", "4-99999"}).exit_code, 3);
}

}  // namespace
}  // namespace zsched::integration
