// The broker as a program: how it starts, refuses to start, and stops.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CountOf;
using harness::CtlResult;
using harness::GetAll;
using harness::IsIn;
using harness::ProgramPath;
using harness::ReadFile;
using harness::SubmitOne;
using harness::WaitAll;
using harness::WriteFile;

// A start that fails says why in one line on stderr and nothing on stdout.
void ExpectOneLine(const CtlResult& result, int exit_code, const std::string& reason) {
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_NE(result.err.find(reason), std::string::npos) << result.err;
}

CtlResult StartAnother(Cluster& cluster, const std::string& data,
                       const std::string& listen = "127.0.0.1:0") {
  return cluster.Run(
      {ProgramPath("zsched-broker"), "--data", data, "--listen", listen, "--log-level", "warn"});
}

TEST(BrokerStart, RefusesADataDirectoryThatIsInUse) {
  Cluster cluster;
  cluster.StartBroker();
  ExpectOneLine(StartAnother(cluster, cluster.data()), 1,
                "in use by another broker (pid " + std::to_string(cluster.broker().pid()) + ")");
  // The one that runs does not mind; and a killed one leaves nothing that is in the way.
  auto client = cluster.NewClient();
  SubmitOne(*client, {.type = "noop"});
  cluster.KillBroker();
  cluster.StartBroker();
}

TEST(BrokerStart, WarnsWhenTheSystemAllowsFewerFilesThanSessions) {
  Cluster cluster;
  cluster.StartBroker({"--max-clients", "10", "--max-workers", "10"});
  EXPECT_EQ(cluster.Log("broker").find("file descriptors"), std::string::npos);
  EXPECT_EQ(cluster.StopBroker(), 0);
  // More than Linux lets a process have unless it is told otherwise.
  cluster.StartBroker({"--max-clients", "1000000", "--max-workers", "1000000"});
  EXPECT_NE(cluster.Log("broker").find("too few file descriptors"), std::string::npos);
}

TEST(BrokerStart, RefusesAPortThatIsTaken) {
  Cluster cluster;
  cluster.StartBroker();
  std::string clients = cluster.brokers();
  ExpectOneLine(StartAnother(cluster, cluster.dir() + "/other", clients), 1,
                "cannot listen on " + clients);
  std::string workers = "127.0.0.1:" + std::to_string(cluster.client_port() + 1);
  ExpectOneLine(StartAnother(cluster, cluster.dir() + "/third", workers), 1,
                "cannot listen on " + workers);
}

TEST(BrokerStart, RefusesDataOfANewerVersion) {
  Cluster cluster;
  cluster.StartBroker();
  ASSERT_EQ(cluster.StopBroker(), 0);
  WriteFile(cluster.data() + "/FORMAT", "zsched-journal 999\n");
  ExpectOneLine(StartAnother(cluster, cluster.data()), 1, "newer zsched (format 999");
}

TEST(BrokerStart, RefusesADirectoryThatItCannotWrite) {
  Cluster cluster;
  WriteFile(cluster.dir() + "/file", "");
  ExpectOneLine(StartAnother(cluster, cluster.dir() + "/file"), 1, "is not a directory");
  ExpectOneLine(StartAnother(cluster, cluster.dir() + "/file/below"), 1, "cannot be created");
  // A file system that takes no files from anybody, root included.
  ExpectOneLine(StartAnother(cluster, "/proc/zsched"), 1, "cannot be created");
  ExpectOneLine(StartAnother(cluster, "/proc/self/task"), 1, "/proc/self/task");
  if (geteuid() != 0) {
    std::string locked = cluster.dir() + "/locked";
    ASSERT_EQ(mkdir(locked.c_str(), 0500), 0);
    ExpectOneLine(StartAnother(cluster, locked), 1, "cannot open its lock");
  }
}

TEST(BrokerStart, RefusesSomebodyElsesDirectory) {
  Cluster cluster;
  std::string data = cluster.dir() + "/home";
  ASSERT_EQ(mkdir(data.c_str(), 0700), 0);
  WriteFile(data + "/thesis.txt", "mine");
  ExpectOneLine(StartAnother(cluster, data), 1, "is not a zsched directory");
  EXPECT_EQ(ReadFile(data + "/thesis.txt"), "mine");
}

TEST(ProgramUsage, AnUnknownOptionIsOneLineAndExitCode2) {
  Cluster cluster;
  for (const char* program : {"zsched-broker", "zsched-worker", "zsched-ctl", "zsched-bench"}) {
    SCOPED_TRACE(program);
    ExpectOneLine(cluster.Run({ProgramPath(program), "--no-such-option"}), 2, "--no-such-option");
  }
  ExpectOneLine(cluster.Run({ProgramPath("zsched-broker")}), 2, "--data");
  ExpectOneLine(cluster.Run({ProgramPath("zsched-broker"), "--data", cluster.data(),
                             "--visibility-timeout", "1s", "--heartbeat", "800ms"}),
                2, "--visibility-timeout");
  ExpectOneLine(cluster.Run({ProgramPath("zsched-worker"), "--enable", "telepathy"}), 2,
                "telepathy");
  ExpectOneLine(
      cluster.Run({ProgramPath("zsched-broker"), "--data", cluster.data(), "--listen", "here"}), 2,
      "--listen");
}

TEST(BrokerStop, OnSigtermLosesNothingAndGoesOnAfterwards) {
  constexpr size_t kTasks = 1200;
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient();
  std::vector<TaskSpec> batch;
  // Every other one takes its time, so that there is work left at each stop.
  for (size_t i = 0; i < kTasks; ++i)
    batch.push_back(i % 2 == 0 ? TaskSpec{.type = "sleep", .payload = R"({"ms":4})"}
                               : TaskSpec{.type = "echo", .payload = std::to_string(i)});
  BatchAck ack = client->SubmitBatch(batch).get();
  ASSERT_TRUE(ack.rejected.empty());
  cluster.StartWorker("w", {"--concurrency", "1"});
  for (int i = 0; i < 3; ++i) {
    uint64_t before = CountOf(*client, TaskState::kSucceeded);
    ASSERT_TRUE(Await([&] { return CountOf(*client, TaskState::kSucceeded) > before; }));
    size_t log = cluster.Log("broker").size();
    EXPECT_EQ(cluster.StopBroker(), 0);
    EXPECT_NE(cluster.Log("broker").find("stopped", log), std::string::npos);
    cluster.StartBroker();
  }
  EXPECT_LT(CountOf(*client, TaskState::kSucceeded), kTasks) << "it was never stopped at work";
  WaitAll(*client, ack.ids);
  std::vector<TaskInfo> tasks = GetAll(*client, ack.ids);
  for (size_t i = 0; i < kTasks; ++i) {
    ASSERT_EQ(NameOf(tasks[i].state), "succeeded");
    ASSERT_EQ(tasks[i].result, tasks[i].type == "echo" ? std::to_string(i) : "");
    ASSERT_EQ(tasks[i].attempt, 1u);
  }
}

TEST(BrokerStop, UnfinishedTasksOfEveryStateGoOnAfterARestart) {
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient();
  TaskId ready = SubmitOne(*client, {.type = "echo", .payload = "ready"});
  TaskId delayed = SubmitOne(*client, {.type = "echo", .payload = "later", .delay_ms = 1500});
  TaskSpec flaky{.type = "fail", .queue = "flaky", .payload = R"({"times":2})"};
  flaky.retry_base_ms = flaky.retry_cap_ms = 2000;
  TaskId retried = SubmitOne(*client, flaky);
  cluster.StartWorker("w", {"--queues", "flaky"});
  ASSERT_TRUE(Await([&] { return IsIn(*client, retried, TaskState::kRetryWait); }));
  cluster.worker("w").Kill();
  EXPECT_EQ(cluster.StopBroker(), 0);
  cluster.StartBroker();
  std::vector<TaskInfo> tasks = GetAll(*client, {ready, retried});
  EXPECT_EQ(NameOf(tasks[0].state), "ready");
  EXPECT_EQ(tasks[1].attempt, 1u);
  EXPECT_EQ(tasks[1].error, ErrorCode::kHandlerFailed);
  cluster.StartWorker("all");
  for (const Outcome& outcome : WaitAll(*client, {ready, delayed, retried}))
    EXPECT_TRUE(outcome.succeeded()) << outcome.status();
  EXPECT_EQ(client->Get(retried)->attempt, 3u);
}

// Both signals stand before the broker when it wakes: the first begins an orderly end, the second cuts it short.
TEST(BrokerStop, TheSecondSignalEndsAtOnce) {
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient();
  TaskId id = SubmitOne(*client, {.type = "noop"});
  cluster.broker().Signal(SIGSTOP);
  cluster.broker().Signal(SIGTERM);
  cluster.broker().Signal(SIGINT);
  cluster.broker().Signal(SIGCONT);
  EXPECT_EQ(cluster.broker().WaitExit(), 130);
  cluster.StartBroker();
  EXPECT_EQ(NameOf(GetAll(*client, {id}).front().state), "ready");
}

TEST(BrokerStop, SigintIsAsSigterm) {
  Cluster cluster;
  cluster.StartBroker();
  cluster.broker().Signal(SIGINT);
  EXPECT_EQ(cluster.broker().WaitExit(), 0);
}

}  // namespace
}  // namespace zsched::integration
