// A pair of brokers as an operator sees it: reads from the standby, changing places, promoting by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/harness/cluster.h"

namespace zsched {
namespace {

using harness::Args;
using harness::Cluster;
using harness::CtlResult;
using testing::HasSubstr;

class PairTest : public testing::Test {
 protected:
  void SetUp() override { cluster_.StartPair(); }

  Cluster cluster_;
};

TEST_F(PairTest, TheStandbyShowsWhatItHasAndSaysWhoItIs) {
  auto client = cluster_.NewClient();
  const TaskId task = harness::SubmitOne(*client, {.type = "noop"});
  const std::string standby = Cluster::Other(cluster_.Active());
  const CtlResult list = cluster_.CtlAt(standby, {"--stale", "task", "list", "-o", "id"});
  EXPECT_EQ(list.exit_code, 0) << list.err;
  EXPECT_EQ(list.out, ToString(task) + "\n");
  const CtlResult show = cluster_.CtlAt(standby, {"--stale", "task", "get", ToString(task)});
  EXPECT_EQ(show.exit_code, 0) << show.err;
  EXPECT_THAT(show.err, HasSubstr("answered by the " + standby + ", which is standby"));
  for (const Args& question :
       {Args{"status"}, Args{"queue", "list"}, Args{"dlq", "list"}, Args{"cron", "list"},
        Args{"type", "list"}, Args{"task", "history", ToString(task)},
        Args{"task", "logs", ToString(task)}}) {
    Args args = {"--stale"};
    args.insert(args.end(), question.begin(), question.end());
    const CtlResult answer = cluster_.CtlAt(standby, args);
    EXPECT_EQ(answer.exit_code, 0) << question.back() << ": " << answer.err;
  }
  const CtlResult submit = cluster_.CtlAt(standby, {"--stale", "submit", "--type", "noop"});
  EXPECT_EQ(submit.exit_code, 6) << submit.err;
  EXPECT_THAT(submit.err, HasSubstr("only observes"));
  // Without it the active one answers, whichever is named.
  const CtlResult found = cluster_.CtlAt(standby, {"task", "list", "-o", "id"});
  EXPECT_EQ(found.out, ToString(task) + "\n");
  EXPECT_EQ(found.err, "");
}

TEST_F(PairTest, TheyChangePlacesAndRunningTasksRunOn) {
  cluster_.StartWorker("w");
  auto client = cluster_.NewClient();
  std::vector<TaskId> tasks;
  for (int round = 0; round < 4; ++round) {
    tasks.push_back(harness::SubmitOne(*client, {.type = "sleep", .payload = "{\"ms\":700}"}));
    ASSERT_TRUE(
        harness::Await([&] { return harness::IsIn(*client, tasks.back(), TaskState::kLeased); }));
    const std::string active = cluster_.Active();
    const CtlResult result = cluster_.Ctl({"cluster", "switchover"});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    cluster_.AwaitRole(Cluster::Other(active), "kActiveSync");
    cluster_.AwaitRole(active, "kStandby");
  }
  harness::WaitAll(*client, tasks);
  for (const TaskInfo& task : harness::GetAll(*client, tasks)) {
    EXPECT_EQ(task.state, TaskState::kSucceeded);
    EXPECT_EQ(task.attempt, 1u) << "it was not begun again";
  }
}

TEST_F(PairTest, WithoutAStandbyNobodyChangesPlaces) {
  const std::string active = cluster_.Active();
  cluster_.KillNode(Cluster::Other(active));
  cluster_.AwaitRole(active, "kActiveSolo");
  const CtlResult result = cluster_.Ctl({"cluster", "switchover"});
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("there is no standby that has everything"));
  EXPECT_EQ(cluster_.RoleOf(active), "kActiveSolo");
}

TEST_F(PairTest, PromotionByHandIsRefusedWhileTheActiveIsThere) {
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  const CtlResult refused = cluster_.CtlAt(standby, {"cluster", "promote"});
  EXPECT_EQ(refused.exit_code, 4) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("cluster switchover"));
  const CtlResult already = cluster_.CtlAt(active, {"cluster", "promote"});
  EXPECT_EQ(already.exit_code, 4);
  EXPECT_THAT(already.err, HasSubstr("active already"));
}

TEST_F(PairTest, AStandbyWithoutAVoteIsPromotedByHand) {
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  cluster_.KillNode(active);
  const CtlResult promoted = cluster_.Ctl({"cluster", "promote"});
  EXPECT_EQ(promoted.exit_code, 0) << promoted.err;
  cluster_.AwaitRole(standby, "kActiveSolo");
}

// What only the other one has is out of reach until it comes back; then it is merged, and everybody is told.
TEST_F(PairTest, OnlyForcePromotesABrokerThatMissesSomething) {
  auto client = cluster_.NewClient();
  const TaskId both = harness::SubmitOne(*client, {.type = "noop"});
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  cluster_.KillNode(standby);
  cluster_.AwaitRole(active, "kActiveSolo");
  const TaskId alone = harness::SubmitOne(*client, {.type = "noop"});
  client.reset();
  // The standby hears of it, and is told that it is not in sync, before the active is gone for good.
  cluster_.KillNode(active);
  cluster_.StartNode(standby);
  const CtlResult forced = cluster_.CtlAt(standby, {"cluster", "promote", "--force"});
  EXPECT_EQ(forced.exit_code, 0) << forced.err;
  EXPECT_THAT(forced.err, HasSubstr("by force"));
  client = cluster_.NewClient();
  EXPECT_EQ(harness::GetAll(*client, {both}).size(), 1u);
  cluster_.StartNode(active);
  cluster_.AwaitRole(active, "kStandby");
  EXPECT_THAT(cluster_.Log(active), HasSubstr("was set aside"));
  EXPECT_TRUE(harness::Await([&] { return client->Get(alone).ok(); }));
  EXPECT_TRUE(cluster_.AwaitLog(active, "was handed over"));
  for (const std::string& node : {active, standby}) {
    const CtlResult status = cluster_.CtlAt(node, {"cluster", "status", "-o", "json"});
    EXPECT_THAT(status.out, HasSubstr("\"done\":true"));
    EXPECT_THAT(status.out, HasSubstr("\"taken\":1"));
  }
  EXPECT_THAT(cluster_.Ctl({"cluster", "status"}).out, HasSubstr("TAKEN"));
}

// Its log ends where the active's does not begin any more.
TEST(PairWithAShortLog, AStandbyThatWasAwayForLongGetsACopy) {
  Cluster cluster;
  cluster.StartPair({"--keep-log", "1MiB"});
  auto client = cluster.NewClient();
  std::vector<TaskId> tasks = {harness::SubmitOne(*client, {.type = "noop"})};
  const std::string active = cluster.Active(), standby = Cluster::Other(active);
  cluster.KillNode(standby);
  cluster.AwaitRole(active, "kActiveSolo");
  std::vector<std::future<absl::StatusOr<TaskId>>> submitted;
  for (int i = 0; i < 10'000; ++i)
    submitted.push_back(client->Submit({.type = "noop", .payload = std::string(1'000, 'p')}));
  for (auto& task : submitted) tasks.push_back(*task.get());
  cluster.StartNode(standby);
  cluster.AwaitRole(standby, "kStandby");
  EXPECT_THAT(cluster.Log(standby), HasSubstr("takes a copy of the active's state"));
  const TaskId later = harness::SubmitOne(*client, {.type = "noop"});
  tasks.push_back(later);
  cluster.KillNode(active);
  cluster.AwaitRole(standby, "kActive");
  EXPECT_EQ(harness::GetAll(*client, tasks).size(), tasks.size());
  EXPECT_GT(harness::SubmitOne(*client, {.type = "noop"}), later);
  // And the one that has been replaced needs no copy: its log goes on.
  cluster.StartNode(active);
  cluster.AwaitRole(active, "kStandby");
}

// The largest payload and the largest result, on both disks.
TEST_F(PairTest, AMegabyteSurvivesAFailover) {
  cluster_.StartWorker("w");
  auto client = cluster_.NewClient();
  const std::string payload(kMaxPayloadBytes, 'm');
  std::vector<TaskId> tasks = {
      harness::SubmitOne(*client, {.type = "echo", .payload = payload}),
      harness::SubmitOne(*client, {.type = "echo", .payload = payload, .delay_ms = 3'000})};
  harness::WaitAll(*client, {tasks[0]});
  const std::string active = cluster_.Active();
  cluster_.KillNode(active);
  cluster_.AwaitRole(Cluster::Other(active), "kActive");
  harness::WaitAll(*client, tasks);
  for (const TaskInfo& task : harness::GetAll(*client, tasks)) {
    EXPECT_EQ(task.state, TaskState::kSucceeded) << task.error_message;
    EXPECT_TRUE(task.payload == payload && task.result == payload);
  }
  cluster_.StartNode(active);
  cluster_.AwaitRole(active, "kStandby");
}

TEST(OneBroker, HasNobodyToChangePlacesWith) {
  Cluster cluster;
  cluster.StartBroker();
  const CtlResult result = cluster.Ctl({"cluster", "switchover"});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_THAT(result.err, HasSubstr("serves alone"));
}

}  // namespace
}  // namespace zsched
