// What attempts write, with real processes: read while it runs, over a broker that is killed, and after the end.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Await;
using harness::Cluster;
using harness::CtlResult;
using harness::IsIn;
using harness::ReadFile;
using harness::SubmitOne;
using harness::WaitAll;
using harness::WriteFile;
using nlohmann::json;

class OutputOfTasks : public testing::Test {
 protected:
  OutputOfTasks() {
    cluster.StartBroker();
    client = cluster.NewClient();
    cluster.StartWorker("w", {"--enable", "shell"});
  }
  TaskId Shell(const std::string& script, uint32_t max_attempts = 1) {
    return SubmitOne(*client, {.type = "shell",
                               .payload = json({{"argv", {"sh", "-c", script}}}).dump(),
                               .max_attempts = max_attempts,
                               .retry_base_ms = 1});
  }
  // All that is kept of an attempt.
  std::string Text(TaskId id, uint32_t attempt = 0) {
    auto output = client->Logs(id, attempt);
    EXPECT_TRUE(output.ok()) << output.status();
    std::string text;
    if (output.ok())
      for (const OutputPiece& piece : output->pieces) text += piece.bytes;
    return text;
  }

  Cluster cluster;
  std::unique_ptr<Client> client;
};

// A program prints a line each time it is told to, and between the lines the broker is killed: each line comes while
// the program runs, once.
TEST_F(OutputOfTasks, FollowShowsLinesWhileTheyComeAndEndsWithTheTask) {
  const std::string go = cluster.dir() + "/go", shown = cluster.dir() + "/shown";
  constexpr int kLines = 6;
  const TaskId id = Shell("i=0; while [ $i -lt " + std::to_string(kLines) + " ]; do until [ -e " +
                          go + ".$i ]; do sleep 0.02; done; echo line $i; i=$((i+1)); done");
  harness::Process follow({harness::ProgramPath("zsched-ctl"), "--brokers", cluster.brokers(),
                           "task", "logs", ToString(id), "--follow"},
                          {.stdout_path = shown, .stderr_path = shown + ".notes"});
  std::string expected;
  for (int line = 0; line < kLines; ++line) {
    EXPECT_TRUE(IsIn(*client, id, TaskState::kLeased) || line == 0);
    if (line == 2) cluster.KillBroker();
    WriteFile(go + "." + std::to_string(line), "");
    if (line == 3) cluster.KillBroker();
    if (line == 2 || line == 3) cluster.StartBroker();
    expected += "line " + std::to_string(line) + "\n";
    ASSERT_TRUE(Await([&] { return ReadFile(shown) == expected; }))
        << ReadFile(shown) << ReadFile(shown + ".notes");
  }
  EXPECT_EQ(follow.WaitExit(), 0) << ReadFile(shown + ".notes");
  EXPECT_EQ(ReadFile(shown), expected);
  EXPECT_EQ(ReadFile(shown + ".notes"), "");
  EXPECT_EQ(Text(id), expected);
  EXPECT_FALSE(client->Logs(id)->running);
}

// Whoever follows goes on with the next attempt; each has its own output, also over a restart.
TEST_F(OutputOfTasks, EveryAttemptHasItsOwn) {
  const TaskId id =
      Shell("echo attempt $ZSCHED_ATTEMPT; echo problem >&2; [ $ZSCHED_ATTEMPT = 3 ] || exit 1", 5);
  const CtlResult follow =
      cluster.Ctl({"task", "logs", ToString(id), "--follow", "--attempt", "1"});
  EXPECT_EQ(follow.exit_code, 0) << follow.err;
  EXPECT_TRUE(WaitAll(*client, {id}).at(0).succeeded());
  cluster.KillBroker();
  cluster.StartBroker();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const CtlResult text = cluster.Ctl(
        {"task", "logs", ToString(id), "--attempt", std::to_string(attempt), "--stream", "stdout"});
    EXPECT_EQ(text.out, "attempt " + std::to_string(attempt) + "\n") << text.err;
  }
  const CtlResult prefixed = cluster.Ctl({"task", "logs", ToString(id), "--prefix"});
  EXPECT_NE(prefixed.out.find("[stdout] attempt 3\n"), std::string::npos) << prefixed.out;
  EXPECT_NE(prefixed.out.find("[stderr] problem\n"), std::string::npos) << prefixed.out;
  const json list = json::parse(
      cluster.Ctl({"-o", "json", "task", "logs", ToString(id), "--stream", "stderr"}).out);
  EXPECT_EQ(list["id"], ToString(id));
  ASSERT_EQ(list["output"].size(), 1u);
  EXPECT_EQ(list["output"][0]["attempt"], 3);
  EXPECT_EQ(list["output"][0]["stream"], "stderr");
  EXPECT_EQ(list["output"][0]["text"], "problem\n");
}

// The end of a flood is kept, byte for byte, and what is not is said.
TEST_F(OutputOfTasks, OfAFloodTheEndIsKept) {
  const TaskId id = Shell("seq 1 1000000");
  EXPECT_TRUE(WaitAll(*client, {id}).at(0).succeeded());
  const CtlResult all = cluster.Ctl({"task", "logs", ToString(id)});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_NE(all.err.find("bytes are not kept"), std::string::npos) << all.err;
  std::string end;
  for (int i = 1'000'000; end.size() < 60 << 10; --i) end = std::to_string(i) + "\n" + end;
  ASSERT_GE(all.out.size(), end.size());
  EXPECT_EQ(all.out.substr(all.out.size() - end.size()), end);
}

TEST_F(OutputOfTasks, LogsOfHandlersAndOfTasksThatWroteNothing) {
  const TaskId counted = SubmitOne(*client, {.type = "count", .payload = R"({"to":3,"ms":1})"}),
               silent = SubmitOne(*client, {.type = "noop"});
  WaitAll(*client, {counted, silent});
  const CtlResult log = cluster.Ctl({"task", "logs", ToString(counted), "--stream", "log"});
  EXPECT_EQ(log.out, "counted to 1\ncounted to 2\ncounted to 3\n");
  const CtlResult none = cluster.Ctl({"task", "logs", ToString(silent), "--follow"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(none.out, "");
  EXPECT_NE(none.err.find("nothing that attempt 1 wrote is kept"), std::string::npos) << none.err;
  EXPECT_EQ(cluster.Ctl({"task", "logs", "1-999999"}).exit_code, 3);
  EXPECT_EQ(cluster.Ctl({"task", "logs", "nonsense"}).exit_code, 2);
  EXPECT_EQ(cluster.Ctl({"task", "logs", ToString(counted), "--stream", "stdin"}).exit_code, 2);
}

}  // namespace
}  // namespace zsched::integration
