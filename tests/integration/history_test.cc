// What attempts leave behind, with real processes: history over workers and brokers that are killed.
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>

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

class TrailProcesses : public testing::Test {
 protected:
  TrailProcesses() {
    cluster.StartBroker();
    client = cluster.NewClient();
  }
  std::vector<AttemptInfo> History(TaskId id) {
    auto history = client->History(id);
    EXPECT_TRUE(history.ok()) << history.status();
    return history.ok() ? history->attempts : std::vector<AttemptInfo>();
  }

  Cluster cluster;
  std::unique_ptr<Client> client;
};

// Attempt 1 fails, attempt 2 is lost with its worker, the broker is killed too, attempt 3 succeeds.
TEST_F(TrailProcesses, HistoryOutlivesWorkersAndBrokers) {
  const std::string marker = cluster.dir() + "/second";
  const json script = {{"argv",
                        {"sh", "-c",
                         "case $ZSCHED_ATTEMPT in 1) echo broken >&2; exit 7;; 2) sleep "
                         "3600;; esac"}}};
  cluster.StartWorker("first", {"--name", "first", "--enable", "shell"});
  TaskId id = SubmitOne(*client, {.type = "shell", .payload = script.dump(), .retry_base_ms = 1});
  ASSERT_TRUE(Await([&] {
    const std::vector<AttemptInfo> attempts = History(id);
    return attempts.size() == 2 && attempts[1].end == AttemptEnd::kRunning;
  }));
  EXPECT_EQ(History(id)[1].ended_at_ms, 0);
  cluster.worker("first").Kill();
  cluster.KillBroker();
  cluster.StartBroker();
  cluster.StartWorker("second", {"--name", "second", "--enable", "shell"});
  EXPECT_TRUE(WaitAll(*client, {id}).at(0).succeeded());

  const std::vector<AttemptInfo> attempts = History(id);
  ASSERT_EQ(attempts.size(), 3u);
  EXPECT_EQ(attempts[0].worker, "first");
  EXPECT_EQ(attempts[0].end, AttemptEnd::kRetried);
  EXPECT_EQ(attempts[0].error, ErrorCode::kProcessFailed);
  EXPECT_NE(attempts[0].error_message.find("exit code 7"), std::string::npos);
  EXPECT_GT(attempts[0].run_us, 0u);
  EXPECT_EQ(attempts[1].worker, "first");
  EXPECT_EQ(attempts[1].end, AttemptEnd::kReturned);
  EXPECT_EQ(attempts[1].error, ErrorCode::kWorkerLost);
  EXPECT_EQ(attempts[2].worker, "second");
  EXPECT_EQ(attempts[2].end, AttemptEnd::kSucceeded);
  for (size_t i = 0; i < attempts.size(); ++i) {
    EXPECT_EQ(attempts[i].attempt, i + 1);
    EXPECT_LE(attempts[i].leased_at_ms, attempts[i].ended_at_ms);
    if (i > 0) {
      EXPECT_GT(attempts[i].lease, attempts[i - 1].lease);
    }
  }
}

TEST_F(TrailProcesses, HistoryFromTheCommandLine) {
  const std::string id = ToString(SubmitOne(
      *client,
      {.type = "fail", .payload = R"({"times":2,"message":"not yet"})", .retry_base_ms = 1}));
  EXPECT_EQ(json::parse(cluster.Ctl({"-o", "json", "task", "history", id}).out)["attempts"].size(),
            0u);
  EXPECT_EQ(cluster.Ctl({"task", "history", "1-999999"}).exit_code, 3);
  EXPECT_EQ(cluster.Ctl({"task", "history", "nonsense"}).exit_code, 2);
  cluster.StartWorker("w");
  EXPECT_EQ(cluster.Ctl({"task", "wait", id}).exit_code, 0);
  const json history = json::parse(cluster.Ctl({"-o", "json", "task", "history", id}).out);
  EXPECT_EQ(history["id"], id);
  EXPECT_EQ(history["missing"], 0);
  ASSERT_EQ(history["attempts"].size(), 3u);
  EXPECT_EQ(history["attempts"][0]["end"], "retried");
  EXPECT_EQ(history["attempts"][0]["error"]["message"], "not yet");
  EXPECT_EQ(history["attempts"][2]["end"], "succeeded");
  EXPECT_TRUE(history["attempts"][2]["error"].is_null());
  const CtlResult table = cluster.Ctl({"task", "history", id});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.out.find("HANDLER_FAILED: not yet"), std::string::npos) << table.out;
}

// Killed with its worker, and the broker with it: the next attempt goes on where the last checkpoint was.
TEST_F(TrailProcesses, TheNextAttemptGoesOnFromTheCheckpoint) {
  cluster.StartWorker("first", {"--name", "first"});
  TaskId id = SubmitOne(*client, {.type = "count", .payload = R"({"to":60,"ms":50})"});
  auto percent = [&]() -> uint32_t {
    auto task = client->Get(id);
    return task.ok() && task->progress ? task->progress->percent : 0;
  };
  ASSERT_TRUE(Await([&] { return percent() >= 20; }));
  cluster.worker("first").Kill();
  cluster.KillBroker();
  cluster.StartBroker();
  EXPECT_GE(percent(), 20u) << "a restart loses no progress";
  cluster.StartWorker("second", {"--name", "second"});
  const Outcome outcome = WaitAll(*client, {id}).at(0);
  ASSERT_TRUE(outcome.succeeded()) << outcome.error_message;
  EXPECT_GE(json::parse(outcome.result)["from"], 60 * 20 / 100);
  const json task = json::parse(cluster.Ctl({"-o", "json", "task", "get", ToString(id)}).out);
  EXPECT_EQ(task["progress"]["percent"], 100);
  EXPECT_EQ(task["progress"]["message"], "counted to 60");
  EXPECT_EQ(task["progress"]["attempt"], 2);
}

// What an attempt said last is recorded before its end, however soon that comes.
TEST_F(TrailProcesses, AFailedAttemptLeavesItsLastCheckpoint) {
  cluster.StartWorker("w");
  TaskId id = SubmitOne(
      *client,
      {.type = "count", .payload = R"({"to":1000,"ms":0,"fail_at":777})", .retry_base_ms = 1});
  const Outcome outcome = WaitAll(*client, {id}).at(0);
  ASSERT_TRUE(outcome.succeeded()) << outcome.error_message;
  EXPECT_EQ(json::parse(outcome.result)["from"], 777);
  EXPECT_EQ(client->Get(id)->attempt, 2u);
}

}  // namespace
}  // namespace zsched::integration
