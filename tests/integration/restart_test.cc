// One kill -9 in the middle of everything that a task, a queue and a clock may be told: a restart forgets none of it.
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

class RestartInTheMiddle : public testing::Test {
 protected:
  RestartInTheMiddle() {
    cluster.StartBroker();
    client = cluster.NewClient();
  }
  void Ctl(const harness::Args& args) {
    const CtlResult result = cluster.Ctl(args);
    ASSERT_EQ(result.exit_code, 0) << result.err;
  }
  json CtlJson(harness::Args args) {
    args.insert(args.begin(), {"-o", "json"});
    return json::parse(cluster.Ctl(args).out);
  }
  std::vector<std::string> Reasons(TaskId id) {
    std::vector<std::string> reasons;
    const json explanation = CtlJson({"task", "explain", ToString(id)});
    for (const json& cause : explanation["reasons"]) reasons.push_back(cause["reason"]);
    return reasons;
  }
  TaskState StateOf(TaskId id) { return client->Get(id)->state; }

  Cluster cluster;
  std::unique_ptr<Client> client;
};

using Texts = std::vector<std::string>;

TEST_F(RestartInTheMiddle, NothingThatWasAskedForIsForgotten) {
  cluster.StartWorker("w", {"--concurrency", "8"});
  Ctl({"queue", "pause", "paused"});
  Ctl({"queue", "set", "bounded", "max-running=1", "key-max-running=1", "weight=7"});
  Ctl({"type", "set", "echo", "max-running=1"});
  Ctl({"cron", "add", "yearly", "--cron", "@yearly", "--type", "noop", "--tz", "Europe/Berlin"});
  Ctl({"cron", "add", "held", "--cron", "@every 1s", "--type", "noop"});
  Ctl({"cron", "pause", "held"});

  const TaskId running = SubmitOne(
      *client, {.type = "sleep", .queue = "bounded", .payload = R"({"ms":4000})", .key = "once"});
  ASSERT_TRUE(Await([&] { return IsIn(*client, running, TaskState::kLeased); }));
  const TaskId bounded = SubmitOne(*client, {.type = "noop", .queue = "bounded"});
  const TaskId paused = SubmitOne(*client, {.type = "noop", .queue = "paused"});
  const TaskId delayed = SubmitOne(*client, {.type = "noop", .delay_ms = 3'600'000});
  const TaskId soon = SubmitOne(*client, {.type = "echo", .payload = "soon", .delay_ms = 1'500});
  const TaskId retried = SubmitOne(*client, {.type = "fail",
                                             .payload = R"({"times":1})",
                                             .retry_base_ms = 3'600'000,
                                             .retry_cap_ms = 3'600'000});
  ASSERT_TRUE(Await([&] { return IsIn(*client, retried, TaskState::kRetryWait); }));
  const TaskId dead =
      SubmitOne(*client, {.type = "fail", .payload = R"({"times":9})", .max_attempts = 1});
  ASSERT_TRUE(Await([&] { return IsIn(*client, dead, TaskState::kDead); }));
  const TaskId cancelled = SubmitOne(*client, {.type = "noop", .delay_ms = 3'600'000});
  Ctl({"task", "cancel", ToString(cancelled)});
  const json schedule = CtlJson({"cron", "show", "yearly"}),
             queue = CtlJson({"queue", "show", "bounded"}), letters = CtlJson({"dlq", "list"});

  cluster.KillBroker();
  cluster.StartBroker();

  EXPECT_EQ(CtlJson({"cron", "show", "yearly"}), schedule);
  EXPECT_EQ(CtlJson({"dlq", "list"}), letters);
  for (const char* rule : {"max_running", "key_max_running", "weight"})
    EXPECT_EQ(CtlJson({"queue", "show", "bounded"})[rule], queue[rule]) << rule;
  EXPECT_EQ(CtlJson({"type", "show", "echo"})["max_running"], 1);
  EXPECT_EQ(CtlJson({"cron", "show", "held"})["paused"], true);
  EXPECT_EQ(StateOf(cancelled), TaskState::kCancelled);
  EXPECT_EQ(Reasons(delayed), Texts{"delay"});
  EXPECT_EQ(Reasons(retried), Texts{"retry_wait"});
  EXPECT_EQ(Reasons(paused).at(0), "queue_paused");
  const json again = CtlJson({"submit", "--queue", "bounded", "--type", "sleep", "--payload",
                              R"({"ms":4000})", "--key", "once"});
  EXPECT_EQ(again["ids"][0], ToString(running)) << "the key is still taken";

  // The attempt that ran through it all is the first and only one; then comes the one that it kept out.
  for (const Outcome& outcome : WaitAll(*client, {running, bounded, soon})) {
    EXPECT_TRUE(outcome.succeeded()) << outcome.status();
    EXPECT_EQ(client->Get(outcome.id)->attempt, 1u);
  }
  EXPECT_GE(client->Get(bounded)->started_at_ms, client->Get(running)->finished_at_ms);
  EXPECT_EQ(StateOf(paused), TaskState::kReady);
  Ctl({"queue", "resume", "paused"});
  EXPECT_TRUE(WaitAll(*client, {paused}).at(0).succeeded());
  Ctl({"dlq", "retry", ToString(dead)});
  EXPECT_EQ(WaitAll(*client, {dead}).at(0).state, TaskState::kDead) << "it fails again";
}

}  // namespace
}  // namespace zsched::integration
