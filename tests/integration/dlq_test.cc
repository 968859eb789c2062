// Dead letters with real processes: what people see of them, a replay whose broker or client is killed in the middle, and
// what ages out.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CounterOf;
using harness::CountOf;
using harness::CtlResult;
using harness::GetAll;
using harness::Process;
using harness::WaitAll;
using nlohmann::json;

// A replay of these takes seconds at its rate, so that a kill after the first few comes in the middle of it.
constexpr size_t kReplayed = 120, kBystanders = 10;
constexpr char kRate[] = "40";
constexpr uint64_t kBegun = 10;

class Dlq : public testing::Test {
 protected:
  void Start(const Args& flags = {}) {
    cluster_.StartBroker(flags);
    client_ = cluster_.NewClient();
    cluster_.StartWorker("w", {"--concurrency", "8"});
  }
  // Tasks that fail in their first `times` attempts, the first of which makes them dead.
  std::vector<TaskId> Die(size_t count, const std::string& queue, int times,
                          const std::string& message = "no luck") {
    const std::string payload = json{{"times", times}, {"message", message}}.dump();
    std::vector<TaskSpec> tasks(
        count, {.type = "fail", .queue = queue, .payload = payload, .max_attempts = 1});
    std::vector<TaskId> ids = client_->SubmitBatch(tasks).get().ids;
    for (const Outcome& outcome : WaitAll(*client_, ids))
      EXPECT_EQ(outcome.state, TaskState::kDead);
    return ids;
  }
  json Ctl(const Args& args, int exit_code = 0) {
    Args all = {"-o", "json"};
    all.insert(all.end(), args.begin(), args.end());
    const CtlResult result = cluster_.Ctl(all);
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    return result.out.empty() ? json() : json::parse(result.out);
  }
  // In the background; what it writes is in ReplayOutput.
  std::unique_ptr<Process> StartReplay() {
    return std::make_unique<Process>(
        Args{harness::ProgramPath("zsched-ctl"), "--brokers", cluster_.brokers(), "-o", "json",
             "dlq", "retry", "--all", "--queue", "mail", "--rate", kRate},
        harness::ProcessOptions{.stdout_path = OutputPath(), .stderr_path = OutputPath() + ".err"});
  }
  std::string OutputPath() const { return cluster_.dir() + "/replay.out"; }
  void AwaitBegun() {
    ASSERT_TRUE(Await([&] { return CounterOf(*client_, "tasks_retried_total") >= kBegun; }));
  }
  void ExpectUntouched(const std::vector<TaskId>& ids) {
    for (const TaskInfo& task : GetAll(*client_, ids)) {
      EXPECT_EQ(task.state, TaskState::kDead) << ToString(task.id);
      EXPECT_EQ(task.attempt, 1u) << ToString(task.id);
    }
  }
  // All of them have ended so, in their second attempt: each was retried exactly once.
  void ExpectReplayedOnce(const std::vector<TaskId>& ids, TaskState state) {
    ASSERT_TRUE(Await([&] {
      for (const TaskInfo& task : GetAll(*client_, ids))
        if (task.attempt < 2 || task.state != state) return false;
      return true;
    }));
    for (const TaskInfo& task : GetAll(*client_, ids))
      EXPECT_EQ(task.attempt, 2u) << ToString(task.id);
  }

  Cluster cluster_;
  std::unique_ptr<Client> client_;
};

TEST_F(Dlq, GroupsListsAndFiltersShowWhatDied) {
  Start();
  const std::vector<TaskId> first = Die(2, "mail", 9, "user 17 is gone"),
                            second = Die(1, "mail", 9, "user 'x' is gone"),
                            third = Die(1, "web", 9, "bad gateway");
  const json groups = Ctl({"dlq", "groups"})["groups"];
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0]["tasks"], 3);
  EXPECT_EQ(groups[0]["type"], "fail");
  EXPECT_EQ(groups[0]["error"]["message"], "user 'x' is gone");
  EXPECT_EQ(groups[0]["last_task"], ToString(second[0]));
  EXPECT_EQ(groups[1]["tasks"], 1);

  const json tasks = Ctl({"dlq", "list"})["tasks"];
  ASSERT_EQ(tasks.size(), 4u);
  EXPECT_EQ(tasks[3]["id"], ToString(third[0]));
  EXPECT_EQ(tasks[3]["fingerprint"], groups[1]["fingerprint"]);
  EXPECT_EQ(tasks[3]["died_at"], tasks[3]["finished_at"]);
  EXPECT_EQ(Ctl({"task", "get", ToString(third[0])})["fingerprint"], groups[1]["fingerprint"]);

  auto listed = [&](Args filter) {
    filter.insert(filter.begin(), {"dlq", "list"});
    return Ctl(filter)["tasks"].size();
  };
  EXPECT_EQ(listed({"--queue", "mail"}), 3u);
  EXPECT_EQ(listed({"--type", "nothing"}), 0u);
  EXPECT_EQ(listed({"--error", "gateway"}), 1u);
  EXPECT_EQ(listed({"--error", "HANDLER_FAILED: user"}), 3u);
  EXPECT_EQ(listed({"--fingerprint", groups[0]["fingerprint"]}), 3u);
  EXPECT_EQ(listed({"--older-than", "1h"}), 0u);
  EXPECT_EQ(listed({"--older-than", "1ms"}), 4u);
  EXPECT_EQ(listed({"--queue", "mail", "--error", "gateway"}), 0u);

  const json page = Ctl({"dlq", "list", "--limit", "3"});
  ASSERT_EQ(page["tasks"].size(), 3u);
  const json rest = Ctl({"dlq", "list", "--cursor", page["cursor"].dump()});
  ASSERT_EQ(rest["tasks"].size(), 1u);
  EXPECT_EQ(rest["tasks"][0]["id"], ToString(third[0]));
  EXPECT_TRUE(rest["cursor"].is_null());
}

TEST_F(Dlq, NothingIsDoneThatWasNotAskedFor) {
  Start();
  const std::vector<TaskId> ids = Die(3, "mail", 9);
  const json dry = Ctl({"dlq", "retry", "--all", "--dry-run"});
  EXPECT_EQ(dry["matched"], 3);
  EXPECT_EQ(dry["groups"].size(), 1u);
  EXPECT_EQ(Ctl({"dlq", "purge", "--dry-run"})["matched"], 3);
  const CtlResult refused = cluster_.Ctl({"dlq", "purge", "--queue", "mail"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.err.find("3 dead tasks"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("--yes"), std::string::npos) << refused.err;
  for (const Args& usage : std::vector<Args>{{"dlq", "retry"},
                                             {"dlq", "retry", "--queue", "mail"},
                                             {"dlq", "retry", ToString(ids[0]), "--all"},
                                             {"dlq", "retry", ToString(ids[0]), "--dry-run"},
                                             {"dlq", "retry", "--all", "--rate", "0"},
                                             {"dlq", "retry", "--all", "--rate", "fast"},
                                             {"dlq", "list", "--fingerprint", "no-hex"},
                                             {"dlq", "delete"}})
    EXPECT_EQ(cluster_.Ctl(usage).exit_code, 2) << usage.back();
  ExpectUntouched(ids);
}

TEST_F(Dlq, RetryDeleteAndPurgeDoWhatTheyAreToldTo) {
  Start();
  const std::vector<TaskId> mail = Die(4, "mail", 1), web = Die(2, "web", 1);
  Ctl({"dlq", "retry", ToString(mail[0])});
  EXPECT_EQ(WaitAll(*client_, {mail[0]}).at(0).state, TaskState::kSucceeded);
  Ctl({"dlq", "retry", ToString(mail[0])}, 4);
  Ctl({"dlq", "delete", ToString(mail[0])}, 4);
  Ctl({"dlq", "delete", ToString(mail[1])});
  Ctl({"dlq", "delete", ToString(mail[1])}, 3);
  Ctl({"task", "get", ToString(mail[1])}, 3);
  EXPECT_EQ(WaitAll(*client_, {mail[1]}).at(0).error, ErrorCode::kNotFound);
  EXPECT_EQ(Ctl({"dlq", "purge", "--queue", "mail", "--yes"}),
            (json{{"deleted", 2}, {"passed", 0}}));
  ExpectUntouched(web);
  EXPECT_EQ(Ctl({"dlq", "retry", "--all"}), (json{{"retried", 2}, {"passed", 0}}));
  ExpectReplayedOnce(web, TaskState::kSucceeded);
  EXPECT_EQ(Ctl({"dlq", "groups"})["groups"].size(), 0u);
}

// Those that are replayed die again, so one that ran in circles, or a RETRY that was carried out twice, would show.
TEST_F(Dlq, AReplayGoesOnAfterItsBrokerWasKilled) {
  Start();
  const std::vector<TaskId> mail = Die(kReplayed, "mail", 99), web = Die(kBystanders, "web", 99);
  auto replay = StartReplay();
  AwaitBegun();
  cluster_.KillBroker();
  cluster_.StartBroker();
  ASSERT_EQ(replay->WaitExit(), 0) << harness::ReadFile(OutputPath() + ".err");
  const json done = json::parse(harness::ReadFile(OutputPath()));
  EXPECT_EQ(done["retried"].get<size_t>() + done["passed"].get<size_t>(), kReplayed);
  ExpectReplayedOnce(mail, TaskState::kDead);
  ExpectUntouched(web);
}

TEST_F(Dlq, AReplayWhoseClientWasKilledIsFinishedByTheNext) {
  Start();
  const std::vector<TaskId> mail = Die(kReplayed, "mail", 1), web = Die(kBystanders, "web", 1);
  auto replay = StartReplay();
  AwaitBegun();
  replay->Kill();
  EXPECT_EQ(harness::ReadFile(OutputPath()), "") << "it had ended by itself: nothing was cut off";
  const uint64_t rest = Ctl({"dlq", "retry", "--all", "--queue", "mail"})["retried"];
  EXPECT_GT(rest, 0u);
  EXPECT_LT(rest, kReplayed);
  ExpectReplayedOnce(mail, TaskState::kSucceeded);
  ExpectUntouched(web);
}

TEST_F(Dlq, TheDeadOutliveRetentionUnlessToldOtherwiseAndAreCountedThen) {
  Start({"--keep-finished", "0", "--max-dead", "5"});
  const std::vector<TaskId> ids = Die(8, "mail", 9);
  ASSERT_TRUE(Await([&] { return CountOf(*client_, TaskState::kDead) == 5; }));
  EXPECT_EQ(CounterOf(*client_, "tasks_dead_expired_total"), 3u);
  EXPECT_EQ(Ctl({"dlq", "list"})["tasks"].size(), 5u);
  cluster_.KillBroker();
  cluster_.StartBroker();
  EXPECT_EQ(CountOf(*client_, TaskState::kDead), 5u);
  EXPECT_EQ(Ctl({"dlq", "groups"})["groups"][0]["tasks"], 5);
}

}  // namespace
}  // namespace zsched::integration
