// Workers die, leave and freeze while they hold tasks: the work is done elsewhere, and counts once.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/harness/cluster.h"
#include "tests/harness/raw_peer.h"

namespace zsched::chaos {
namespace {

using harness::Args;
using harness::Await;
using harness::BodyOf;
using harness::Cluster;
using harness::CounterOf;
using harness::GetAll;
using harness::IsIn;
using harness::Ms;
using harness::Process;
using harness::RawPeer;
using harness::ReadFile;
using harness::SubmitOne;
using harness::WaitAll;
using harness::WallMs;
using harness::WriteFile;

constexpr Ms kVisibility{1500};
const Args kFastLeases = {"--visibility-timeout", "1500ms", "--heartbeat", "300ms"};
// From the end of the visibility timeout to the next start: the broker's look at its sessions, a dispatch, a process, on a
// machine that does something else as well.
constexpr Ms kMargin{8000};

std::string ShellPayload(const std::string& script) {
  return nlohmann::json{{"argv", {"sh", "-c", script}}}.dump();
}

Args ShellWorker(int concurrency) {
  return {"--enable", "shell", "--concurrency", std::to_string(concurrency)};
}

// Lines of a file and how often each stands in it.
std::map<std::string, int> CountLines(const std::string& path) {
  std::istringstream text(ReadFile(path));
  std::map<std::string, int> lines;
  for (std::string line; std::getline(text, line);) ++lines[line];
  return lines;
}

size_t LinesOf(const std::string& path) {
  std::string text = ReadFile(path);
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST(WorkerKill, TasksRunElsewhereWithinTheVisibilityTimeout) {
  constexpr int kTasks = 4;
  Cluster cluster;
  cluster.StartBroker(kFastLeases);
  auto client = cluster.NewClient();
  std::string began = cluster.dir() + "/began", release = cluster.dir() + "/release";
  Process& first = cluster.StartWorker("first", ShellWorker(kTasks));
  std::vector<TaskId> ids;
  for (int i = 0; i < kTasks; ++i) {
    std::string script = "echo " + std::to_string(i) + " >>'" + began + "'; while ! [ -e '" +
                         release + "' ]; do sleep 0.05; done; echo done";
    ids.push_back(SubmitOne(*client, {.type = "shell", .payload = ShellPayload(script)}));
  }
  ASSERT_TRUE(Await([&] { return LinesOf(began) == kTasks; }));
  cluster.StartWorker("second", ShellWorker(kTasks));

  int64_t killed_ms = WallMs();
  first.Kill();
  ASSERT_TRUE(Await([&] { return LinesOf(began) == 2 * kTasks; })) << "they did not run again";
  WriteFile(release, "");
  for (const Outcome& outcome : WaitAll(*client, ids))
    EXPECT_TRUE(outcome.succeeded()) << outcome.status();
  for (const TaskInfo& task : GetAll(*client, ids)) {
    EXPECT_EQ(task.attempt, 2u);
    EXPECT_EQ(task.worker, "second");
    EXPECT_EQ(NameOf(task.state), "succeeded");
    EXPECT_LE(task.started_at_ms - killed_ms, (kVisibility + kMargin).count());
  }
  for (const auto& [line, count] : CountLines(began)) EXPECT_EQ(count, 2) << "task " << line;
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), uint64_t{kTasks});
  EXPECT_EQ(CounterOf(*client, "sessions_expired_total"), 1u);
}

TEST(WorkerKill, UnderLoadLosesNothing) {
  constexpr int kTasks = 1000, kRounds = 3;
  Cluster cluster;
  cluster.StartBroker(kFastLeases);
  auto client = cluster.NewClient();
  cluster.StartWorker("steady", {"--concurrency", "4"});
  std::vector<TaskId> ids;
  for (int round = 0; round < kRounds; ++round) {
    Process& victim = cluster.StartWorker("victim", {"--concurrency", "4"});
    std::vector<TaskSpec> batch;
    // Half of them take their time, so that the victim is in the middle of something.
    for (int i = 0; i < kTasks; ++i)
      batch.push_back(
          i % 2 == 0 ? TaskSpec{.type = "sleep", .payload = R"({"ms":4})"}
                     : TaskSpec{.type = "echo", .payload = std::to_string(round * kTasks + i)});
    uint64_t before = CounterOf(*client, "tasks_succeeded_total");
    BatchAck ack = client->SubmitBatch(batch).get();
    ASSERT_TRUE(ack.rejected.empty()) << ack.rejected[0].status;
    ids.insert(ids.end(), ack.ids.begin(), ack.ids.end());
    ASSERT_TRUE(Await([&] { return CounterOf(*client, "tasks_succeeded_total") > before; }));
    victim.Kill();
  }
  WaitAll(*client, ids);
  std::vector<TaskInfo> tasks = GetAll(*client, ids);
  for (const TaskInfo& task : tasks) {
    ASSERT_EQ(NameOf(task.state), "succeeded") << ToString(task.id) << " " << task.error_message;
    ASSERT_EQ(task.result, task.type == "echo" ? task.payload : "");
  }
  EXPECT_GT(CounterOf(*client, "attempts_lost_total"), 0u) << "the victims held nothing";
  EXPECT_EQ(harness::CountOf(*client, TaskState::kSucceeded), ids.size());
}

TEST(WorkerDrain, UnderLoadLosesNothingAndRepeatsNothing) {
  constexpr int kTasks = 500, kConcurrency = 4;
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient();
  std::string done = cluster.dir() + "/done";
  std::vector<Process*> workers = {&cluster.StartWorker("w0", ShellWorker(kConcurrency))};
  std::vector<TaskSpec> batch;
  for (int i = 0; i < kTasks; ++i)
    // One write of one line: O_APPEND keeps lines of many processes whole.
    batch.push_back(
        {.type = "shell",
         .payload = ShellPayload("echo line-" + std::to_string(i) + " >>'" + done + "'")});
  BatchAck ack = client->SubmitBatch(batch).get();
  ASSERT_TRUE(ack.rejected.empty());
  // Every worker in turn is asked to leave in the middle of its work; the next one has come before.
  for (int next = 1; next <= 3; ++next) {
    size_t before = LinesOf(done);
    ASSERT_TRUE(Await([&] { return LinesOf(done) >= std::min<size_t>(before + 60, kTasks); }));
    workers.push_back(&cluster.StartWorker("w" + std::to_string(next), ShellWorker(kConcurrency)));
    Process* leaving = workers[workers.size() - 2];
    leaving->Signal(SIGTERM);
    EXPECT_EQ(leaving->WaitExit(), 0) << "worker w" << next - 1;
  }
  WaitAll(*client, ack.ids);
  for (const TaskInfo& task : GetAll(*client, ack.ids)) {
    ASSERT_EQ(NameOf(task.state), "succeeded") << task.error_message;
    ASSERT_EQ(task.attempt, 1u) << ToString(task.id) << " was given out twice";
  }
  std::map<std::string, int> lines = CountLines(done);
  EXPECT_EQ(lines.size(), size_t{kTasks});
  for (const auto& [line, count] : lines) EXPECT_EQ(count, 1) << line;
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), 0u);
  EXPECT_EQ(CounterOf(*client, "results_stale_total"), 0u);
}

// The second signal ends a worker at once; what it ran is lost with it and runs elsewhere.
TEST(WorkerDrain, SecondSignalEndsAtOnce) {
  Cluster cluster;
  cluster.StartBroker(kFastLeases);
  auto client = cluster.NewClient();
  Process& worker = cluster.StartWorker("w");
  TaskId id = SubmitOne(*client, {.type = "sleep", .payload = R"({"ms":600000})"});
  ASSERT_TRUE(Await([&] {
    auto workers = client->Workers();
    return workers.ok() && workers->size() == 1 && workers->front().running == 1;
  }));
  worker.Signal(SIGTERM);
  ASSERT_TRUE(cluster.AwaitLog("w", "draining"));
  EXPECT_TRUE(worker.running()) << "it did not wait for what runs";
  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.WaitExit(), 128 + SIGTERM);
  EXPECT_TRUE(Await([&] {
    return IsIn(*client, id, TaskState::kReady) || IsIn(*client, id, TaskState::kRetryWait);
  }));
}

// Both attempts run to their end; only the one that holds the lease counts. Whether the late worker has read its process's
// result by the time that the broker disowns the lease is up to the kernel: StaleLease below pins down the words.
TEST(WorkerFreeze, LateResultIsRefusedAndTheWorkerGoesOn) {
  Cluster cluster;
  cluster.StartBroker(kFastLeases);
  auto client = cluster.NewClient();
  std::string began = cluster.dir() + "/began", ended = cluster.dir() + "/ended";
  // The parent of the shell is the worker: the result says whose it is.
  std::string script =
      "echo $PPID >>'" + began + "'; sleep 0.5; echo $PPID >>'" + ended + "'; echo $PPID";
  Process& frozen = cluster.StartWorker("frozen", ShellWorker(2));
  TaskId id = SubmitOne(*client, {.type = "shell", .payload = ShellPayload(script)});
  ASSERT_TRUE(Await([&] { return LinesOf(began) == 1; }));
  frozen.Signal(SIGSTOP);
  Process& other = cluster.StartWorker("other", ShellWorker(2));
  ASSERT_TRUE(WaitAll(*client, {id}).front().succeeded());
  // Its child was not stopped: a result for the lease that is gone lies ready.
  ASSERT_TRUE(Await([&] { return LinesOf(ended) == 2; }));
  TaskInfo before = GetAll(*client, {id}).front();
  EXPECT_EQ(before.worker, "other");

  size_t log = cluster.Log("frozen").size();
  frozen.Signal(SIGCONT);
  ASSERT_TRUE(cluster.AwaitLog("frozen", "connected to the active broker", log));
  // It goes on: alone now, it does what comes.
  other.Signal(SIGTERM);
  ASSERT_EQ(other.WaitExit(), 0);
  TaskId next = SubmitOne(*client, {.type = "shell", .payload = ShellPayload(script)});
  ASSERT_TRUE(WaitAll(*client, {next}).front().succeeded());
  TaskInfo served = GetAll(*client, {next}).front();
  EXPECT_EQ(served.worker, "frozen");
  EXPECT_EQ(served.attempt, 1u);

  TaskInfo after = GetAll(*client, {id}).front();
  EXPECT_EQ(NameOf(after.state), "succeeded");
  EXPECT_EQ(after.attempt, 2u);
  EXPECT_EQ(after.worker, "other");
  EXPECT_EQ(nlohmann::json::parse(after.result)["stdout"], std::to_string(other.pid()) + "\n");
  EXPECT_EQ(after.finished_at_ms, before.finished_at_ms);
  EXPECT_EQ(CounterOf(*client, "tasks_succeeded_total"), 2u);
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), 1u);
}

// A worker's side of the protocol, by hand: it takes a task, falls silent, and comes back with the result.
class ByHand {
 public:
  explicit ByHand(Cluster& cluster) : peer_(cluster.worker_endpoint()) {
    peer_.HelloAsWorker(id_, "by-hand", {});
    peer_.Say(MessageType::kCredit,
              BodyOf([](auto& b) { return wire::CreateCredit(b, 1, 1 << 20); }));
  }

  wire::LeaseRef TakeTask() {
    auto frame = peer_.Await(MessageType::kTasks);
    const wire::Assignment& task = *frame->As<wire::Tasks>().tasks()->Get(0);
    return {task.task_id(), task.lease_id(), task.attempt()};
  }

  void SendResult(const wire::LeaseRef& lease, uint64_t seq, const std::string& result) {
    peer_.Say(MessageType::kResults, BodyOf([&](auto& b) {
                auto bytes =
                    b.CreateVector(reinterpret_cast<const uint8_t*>(result.data()), result.size());
                std::vector entries = {
                    wire::CreateResult(b, lease.task_id(), lease.lease_id(), 1, true, bytes)};
                return wire::CreateResultsDirect(b, seq, nullptr, &entries);
              }));
  }

  // The leases that the broker's next RESULT_ACK refuses.
  std::vector<uint64_t> AwaitStale() {
    auto frame = peer_.Await(MessageType::kResultAck);
    auto stale = frame->As<wire::ResultAck>().stale();
    return stale == nullptr ? std::vector<uint64_t>()
                            : std::vector<uint64_t>(stale->begin(), stale->end());
  }

  // Says hello again; the leases that are no longer its own.
  std::vector<uint64_t> Return(const std::vector<wire::LeaseRef>& held) {
    std::vector<uint64_t> stale;
    peer_.HelloAsWorker(id_, "by-hand", held, &stale);
    return stale;
  }

  RawPeer& peer() { return peer_; }

 private:
  const wire::Uuid id_{0x1234, 0x5678};
  RawPeer peer_;
};

TEST(WorkerFreeze, StaleLeaseIsRefusedOnTheWire) {
  Cluster cluster;
  cluster.StartBroker(kFastLeases);
  auto client = cluster.NewClient();
  ByHand late(cluster);
  TaskId id = SubmitOne(*client, {.type = "echo", .payload = "right"});
  wire::LeaseRef lease = late.TakeTask();
  ASSERT_EQ(lease.task_id(), id.value());
  cluster.StartWorker("other");
  ASSERT_TRUE(WaitAll(*client, {id}).front().succeeded());

  late.SendResult(lease, 1, "wrong");
  EXPECT_EQ(late.peer().ReceiveError().code, ErrorCode::kNoSession);
  EXPECT_EQ(late.Return({lease}), std::vector<uint64_t>{lease.lease_id()});
  late.SendResult(lease, 1, "wrong");
  EXPECT_EQ(late.AwaitStale(), std::vector<uint64_t>{lease.lease_id()});
  EXPECT_EQ(CounterOf(*client, "results_stale_total"), 1u);
  TaskInfo task = GetAll(*client, {id}).front();
  EXPECT_EQ(task.result, "right");
  EXPECT_EQ(task.worker, "other");
  EXPECT_EQ(task.attempt, 2u);
  EXPECT_EQ(CounterOf(*client, "tasks_succeeded_total"), 1u);
}

// While it holds the lease: another's lease id is refused, its own counts once, and again is stale.
TEST(WorkerFreeze, OnlyTheLeaseOfTheAttemptCounts) {
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient();
  ByHand worker(cluster);
  TaskId id = SubmitOne(*client, {.type = "anything"});
  wire::LeaseRef lease = worker.TakeTask();
  wire::LeaseRef other(lease.task_id(), lease.lease_id() + 1, lease.attempt());
  worker.SendResult(other, 1, "wrong");
  EXPECT_EQ(worker.AwaitStale(), std::vector<uint64_t>{other.lease_id()});
  EXPECT_EQ(NameOf(GetAll(*client, {id}).front().state), "leased");
  worker.SendResult(lease, 2, "right");
  EXPECT_EQ(worker.AwaitStale(), std::vector<uint64_t>());
  worker.SendResult(lease, 3, "again");
  EXPECT_EQ(worker.AwaitStale(), std::vector<uint64_t>{lease.lease_id()});
  EXPECT_EQ(GetAll(*client, {id}).front().result, "right");
  EXPECT_EQ(CounterOf(*client, "results_stale_total"), 2u);
}

}  // namespace
}  // namespace zsched::chaos
