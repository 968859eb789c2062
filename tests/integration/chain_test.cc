// Chains with real processes: what zsched-ctl takes and shows, what programs are given, and followers that are there once
// after the broker is killed between a task and what follows it.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CounterOf;
using harness::CtlResult;
using harness::WaitAll;
using nlohmann::json;

constexpr int kParents = 300, kKills = 4;

class Chains : public testing::Test {
 protected:
  Chains() { cluster_.StartBroker(); }

  CtlResult Run(int exit_code, const Args& args) {
    CtlResult result = cluster_.Ctl(args);
    EXPECT_EQ(result.exit_code, exit_code) << result.out << result.err;
    return result;
  }
  json RunJson(Args args) {
    args.insert(args.begin(), {"-o", "json"});
    return json::parse(Run(0, args).out);
  }
  // All tasks of a queue, once as many as wanted are over.
  json Ended(const std::string& queue, size_t count) {
    auto list = [&] {
      return RunJson({"task", "list", "--queue", queue, "--state", "succeeded,dead,cancelled",
                      "--limit", "0"})["tasks"];
    };
    EXPECT_TRUE(Await([&] { return list().size() >= count; })) << queue;
    return list();
  }

  Cluster cluster_;
};

TEST_F(Chains, ProgramsAreGivenWhatTheirParentsLeft) {
  cluster_.StartWorker("w", {"--enable", "shell"});
  const json good = {{"queue", "good"},
                     {"argv", {"sh", "-c", "echo $ZSCHED_PARENT_STATE $ZSCHED_PARENT_ID; cat"}},
                     {"stdin_from", "parent"},
                     {"pass_result", true},
                     {"on_complete", {{"type", "noop"}, {"queue", "last"}, {"delay", "10ms"}}}};
  const std::string file = cluster_.dir() + "/good.json";
  std::ofstream(file) << good;
  const std::string id =
      Run(0, {"-o", "id", "submit", "--type", "echo", "--payload", "forty-two", "--on-success",
              "@" + file, "--on-failure", R"([{"type":"noop","queue":"bad"}])", "--correlation-id",
              "order-7"})
          .out.substr(0, 32);
  const std::string parent = id.substr(0, id.find('\n'));

  const json follower = Ended("good", 1).at(0);
  EXPECT_EQ(follower["parent"], parent);
  EXPECT_EQ(follower["correlation_id"], "order-7");
  const json result = json::parse(follower["result"].get<std::string>());
  EXPECT_EQ(result["stdout"], "succeeded " + parent + "\nforty-two");
  EXPECT_EQ(Ended("last", 1).at(0)["parent"], follower["id"]);
  EXPECT_EQ(RunJson({"task", "list", "--queue", "bad"})["tasks"].size(), 0u);
  EXPECT_NE(Run(0, {"task", "get", follower["id"].get<std::string>()}).out.find(parent),
            std::string::npos);
}

TEST_F(Chains, FailureAndRetry) {
  cluster_.StartWorker("w");
  const std::string id =
      Run(1, {"-o", "id", "submit", "--wait", "--type", "fail", "--payload", R"({"times":1})",
              "--max-attempts", "1", "--on-failure", R"({"type":"echo","queue":"bad"})",
              "--on-success", R"({"type":"noop","queue":"good"})", "--on-complete",
              R"({"type":"noop","queue":"end"})"})
          .out;
  Ended("bad", 1);
  Ended("end", 1);
  Run(0, {"task", "retry", id.substr(0, id.find('\n'))});
  Ended("good", 1);
  EXPECT_EQ(Ended("bad", 1).size(), 1u);
  EXPECT_EQ(Ended("end", 1).size(), 1u);
}

TEST_F(Chains, SlipsAreNamed) {
  for (const auto& [text, words] : std::map<std::string, std::string>{
           {"{", "on_success: is not JSON"},
           {R"({"typ":"x"})", "on_success[0].typ: unknown field"},
           {R"([{"type":"x"},{"queue":"q"}])", "on_success[1]: type is required"},
           {R"({"type":"x","priority":-1})", "on_success[0].priority: is not a whole number"},
           {R"({"type":"x","delay":"soon"})", "on_success[0].delay: "},
           {R"({"type":"x","labels":{"a":1}})", "on_success[0].labels.a: is not a string"},
           {R"({"type":"x","stdin_from":"parent"})", "stdin_from: only beside argv"},
           {R"({"type":"x","on_failure":{"type":"y","queue":""}})",
            "on_success[0].on_failure[0].queue: "},
       }) {
    const std::string error = Run(2, {"submit", "--type", "noop", "--on-success", text}).err;
    EXPECT_NE(error.find(words), std::string::npos) << text << "\n" << error;
  }
}

TEST_F(Chains, SchedulesFireChainsAndShowThem) {
  cluster_.StartWorker("w");
  const json made = RunJson({"cron", "add", "nightly", "--cron", "@yearly", "--type", "noop",
                             "--on-success", R"({"type":"noop","queue":"after","delay":1500})"});
  EXPECT_EQ(made["task"]["on_success"][0],
            json({{"type", "noop"}, {"queue", "after"}, {"delay", 1500}}));
  Run(0, {"cron", "trigger", "nightly"});
  Ended("after", 1);
}

// Wherever the kills come, between a task and what follows it or not: each has each of its followers once.
TEST_F(Chains, EachFollowerIsThereOnceOverKills) {
  cluster_.StartWorker("w", {"--concurrency", "4"});
  std::unique_ptr<Client> client = cluster_.NewClient();
  std::vector<TaskSpec> tasks;
  for (int i = 0; i < kParents; ++i) {
    TaskSpec task{.type = i % 3 == 0 ? "fail" : "echo",
                  .queue = "first",
                  .payload = i % 3 == 0 ? R"({"times":9})" : "result " + std::to_string(i),
                  .max_attempts = 1};
    task.on_success = {{.type = "echo", .queue = "good", .pass_result = true}};
    task.on_success[0].on_success = {{.type = "noop", .queue = "second"}};
    task.on_failure = {{.type = "echo", .queue = "bad", .pass_result = true}};
    task.on_complete = {{.type = "noop", .queue = "end"}};
    tasks.push_back(std::move(task));
  }
  const std::vector<TaskId> ids = client->SubmitBatch(tasks).get().ids;
  for (uint64_t kill = 1; kill <= kKills; ++kill) {
    // Of this life of the broker: in the middle of the work, as far as there is some left.
    ASSERT_TRUE(Await([&] {
      return CounterOf(*client, "tasks_followed_total") >= kill * 10 ||
             harness::CountOf(*client, TaskState::kReady) == 0;
    }));
    cluster_.KillBroker();
    cluster_.StartBroker();
  }
  WaitAll(*client, ids);
  std::map<std::string, std::map<std::string, int>> followers;  // queue → parent → how many
  for (const auto& [queue, count] : std::map<std::string, size_t>{{"good", kParents / 3 * 2},
                                                                  {"second", kParents / 3 * 2},
                                                                  {"bad", kParents / 3},
                                                                  {"end", kParents}})
    for (const json& task : Ended(queue, count)) ++followers[queue][task["parent"]];
  for (int i = 0; i < kParents; ++i) {
    const std::string parent = ToString(ids[static_cast<size_t>(i)]);
    EXPECT_EQ(followers["good"][parent], i % 3 == 0 ? 0 : 1) << parent;
    EXPECT_EQ(followers["bad"][parent], i % 3 == 0 ? 1 : 0) << parent;
    EXPECT_EQ(followers["end"][parent], 1) << parent;
  }
  EXPECT_EQ(RunJson({"task", "list", "--limit", "0"})["tasks"].size(),
            size_t{kParents} * 2 + kParents / 3 * 2 + kParents);
  for (const auto& [parent, count] : followers["second"]) EXPECT_EQ(count, 1) << parent;
}

}  // namespace
}  // namespace zsched::integration
