// Cancel with real processes: what waits, what runs in C++, what runs as a program with children, and a broker that dies
// between the answer and the end of the attempt.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CtlResult;
using harness::IsIn;
using harness::SubmitOne;
using harness::WaitAll;
using nlohmann::json;

constexpr int kPatienceMs = static_cast<int>(harness::kPatience.count());
// Nothing here runs for so long by itself.
constexpr char kForEverSeconds[] = "3600";
constexpr char kSleepForEver[] = R"({"ms":3600000})";

// A program and its children, seen from outside: they hold the writing end of a FIFO, and its end comes when the last of
// them is gone.
class Processes {
 public:
  explicit Processes(const std::string& path) : path_(path) {
    EXPECT_EQ(mkfifo(path_.c_str(), 0600), 0);
    fd_ = open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    EXPECT_GE(fd_, 0);
  }
  ~Processes() { close(fd_); }
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  // The payload of a task that starts a child, says so and sleeps; `prelude` comes first.
  std::string Payload(const std::string& prelude = "") const {
    const std::string script = prelude + "exec 3>'" + path_ + "'; sleep " + kForEverSeconds +
                               " & echo up >&3; sleep " + kForEverSeconds + "; wait";
    return json{{"argv", {"sh", "-c", script}}}.dump();
  }
  bool AwaitStart() {
    pollfd fd{fd_, POLLIN, 0};
    char bytes[8];
    return poll(&fd, 1, kPatienceMs) == 1 && read(fd_, bytes, sizeof bytes) > 0;
  }
  // Not one of them is left.
  bool AwaitGone() {
    pollfd fd{fd_, POLLIN, 0};
    char byte;
    return poll(&fd, 1, kPatienceMs) == 1 && read(fd_, &byte, 1) == 0;
  }

 private:
  const std::string path_;
  int fd_ = -1;
};

class CancelProcesses : public testing::Test {
 protected:
  CancelProcesses() {
    cluster.StartBroker();
    client = cluster.NewClient();
  }
  ErrorCode Cancel(TaskId id) {
    auto items = client->Cancel(std::span(&id, 1));
    if (!items.ok()) return CodeOf(items.status());
    return CodeOf(items->at(0).status);
  }
  void ExpectCancelled(TaskId id) {
    const Outcome outcome = WaitAll(*client, {id}).at(0);
    EXPECT_EQ(outcome.state, TaskState::kCancelled);
    EXPECT_EQ(outcome.error, ErrorCode::kCancelled) << outcome.error_message;
    EXPECT_FALSE(outcome.error_message.empty());
    EXPECT_EQ(Cancel(id), ErrorCode::kOk) << "again is no error";
  }
  // With one slot: it is free.
  void ExpectWorkerGoesOn() {
    EXPECT_TRUE(WaitAll(*client, {SubmitOne(*client, {.type = "noop"})}).at(0).succeeded());
  }

  Cluster cluster;
  std::unique_ptr<Client> client;
};

TEST_F(CancelProcesses, WaitingAndScheduledTasksAreOverAtOnce) {
  TaskId waiting = SubmitOne(*client, {.type = "noop"}),
         scheduled = SubmitOne(*client, {.type = "noop", .delay_ms = 3'600'000});
  EXPECT_EQ(Cancel(waiting), ErrorCode::kOk);
  EXPECT_EQ(Cancel(scheduled), ErrorCode::kOk);
  ExpectCancelled(waiting);
  ExpectCancelled(scheduled);
  cluster.StartWorker("w", {"--concurrency", "1"});
  ExpectWorkerGoesOn();
  EXPECT_EQ(client->Get(waiting)->attempt, 0u);
  EXPECT_EQ(harness::CounterOf(*client, "tasks_cancelled_total"), 2u);
}

TEST_F(CancelProcesses, FromTheCommandLine) {
  const std::string waiting = ToString(SubmitOne(*client, {.type = "nobody-runs-this"}));
  CtlResult first = cluster.Ctl({"task", "cancel", waiting});
  EXPECT_EQ(first.exit_code, 0);
  EXPECT_EQ(first.out.substr(first.out.size() - 20), "1 task is cancelled\n") << first.out;
  EXPECT_EQ(cluster.Ctl({"task", "cancel", waiting}).exit_code, 0);
  EXPECT_EQ(cluster.Ctl({"task", "wait", waiting}).exit_code, 1);
  EXPECT_EQ(cluster.Ctl({"task", "cancel", "1-999999"}).exit_code, 3);
  json task = json::parse(cluster.Ctl({"-o", "json", "task", "get", waiting}).out);
  EXPECT_EQ(task["state"], "cancelled");
  EXPECT_EQ(task["error"]["code"], "CANCELLED");
  EXPECT_FALSE(task.contains("cancelling"));

  cluster.StartWorker("w", {"--concurrency", "1"});
  TaskId done = SubmitOne(*client, {.type = "noop"});
  WaitAll(*client, {done});
  CtlResult conflict = cluster.Ctl({"-o", "json", "task", "cancel", ToString(done), waiting});
  EXPECT_EQ(conflict.exit_code, 4);
  EXPECT_EQ(json::parse(conflict.err)["error"]["code"], "CONFLICT");
  EXPECT_EQ(json::parse(conflict.out)["items"].size(), 2u);

  // A submit that waits, in one process, and the cancel from another.
  std::thread canceller([&] {
    EXPECT_TRUE(Await([&] {
      auto page = client->ListPage({.type = "sleep", .states = {TaskState::kLeased}});
      return page.ok() && !page->tasks.empty() && Cancel(page->tasks[0].id) == ErrorCode::kOk;
    }));
  });
  EXPECT_EQ(
      cluster.Ctl({"submit", "--type", "sleep", "--payload", kSleepForEver, "--wait"}).exit_code,
      1);
  canceller.join();
}

TEST_F(CancelProcesses, RunningHandlerIsWokenAndItsSlotIsFree) {
  cluster.StartWorker("w", {"--concurrency", "1"});
  TaskId id = SubmitOne(*client, {.type = "sleep", .payload = kSleepForEver});
  ASSERT_TRUE(Await([&] { return IsIn(*client, id, TaskState::kLeased); }));
  EXPECT_EQ(Cancel(id), ErrorCode::kOk);
  ExpectCancelled(id);
  ExpectWorkerGoesOn();
}

TEST_F(CancelProcesses, RunningProgramEndsWithAllItsChildren) {
  cluster.StartWorker("w", {"--concurrency", "1", "--enable", "shell"});
  Processes processes(cluster.dir() + "/up");
  TaskId id = SubmitOne(*client, {.type = "shell", .payload = processes.Payload()});
  ASSERT_TRUE(processes.AwaitStart());
  EXPECT_EQ(Cancel(id), ErrorCode::kOk);
  EXPECT_TRUE(processes.AwaitGone());
  ExpectCancelled(id);
  ExpectWorkerGoesOn();
}

TEST_F(CancelProcesses, ProgramThatIgnoresSigtermIsKilled) {
  cluster.StartWorker("w", {"--concurrency", "1", "--enable", "shell", "--grace", "200ms"});
  Processes processes(cluster.dir() + "/up");
  TaskId id = SubmitOne(*client, {.type = "shell", .payload = processes.Payload("trap '' TERM; ")});
  ASSERT_TRUE(processes.AwaitStart());
  EXPECT_EQ(Cancel(id), ErrorCode::kOk);
  EXPECT_TRUE(processes.AwaitGone());
  ExpectCancelled(id);
  ExpectWorkerGoesOn();
}

// The worker is frozen, so it cannot have ended the attempt when the broker dies.
TEST_F(CancelProcesses, HoldsWhenTheBrokerDiesAfterItsAnswer) {
  harness::Process& worker = cluster.StartWorker("w", {"--concurrency", "1", "--enable", "shell"});
  Processes processes(cluster.dir() + "/up");
  TaskId id = SubmitOne(*client, {.type = "shell", .payload = processes.Payload()});
  ASSERT_TRUE(processes.AwaitStart());
  worker.Signal(SIGSTOP);
  EXPECT_EQ(Cancel(id), ErrorCode::kOk);
  cluster.KillBroker();
  cluster.StartBroker();
  ASSERT_TRUE(Await([&] {
    auto task = client->Get(id);
    return task.ok() && (task->cancelling || task->state == TaskState::kCancelled);
  }));
  worker.Signal(SIGCONT);
  EXPECT_TRUE(processes.AwaitGone());
  ExpectCancelled(id);
  ExpectWorkerGoesOn();
}

}  // namespace
}  // namespace zsched::integration
