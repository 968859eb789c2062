// What a lost answer must not do: an ack that never arrives creates no second task, and a result whose ack never arrives is
// neither forgotten nor taken twice.
#include <gtest/gtest.h>

#include <set>

#include "tests/chaos/load.h"
#include "tests/harness/proxy.h"
#include "zsched/worker.h"

namespace zsched::chaos {
namespace {

using harness::Await;
using harness::Cluster;
using harness::CounterOf;
using harness::Proxy;

// The acks of a client's frames are lost, with the connection or with the broker, and the client sends again.
TEST(LostAcks, AreAskedForAgainAndCreateNothingTwice) {
  constexpr size_t kTasks = 500;
  Cluster cluster;
  cluster.StartBroker({"--heartbeat", "300ms"});
  auto observer = cluster.NewClient();
  Proxy proxy(cluster.client_port());
  auto client = Client::Create({.brokers = proxy.address()});
  ASSERT_TRUE(client.ok()) << client.status();
  std::vector<TaskId> ids;
  for (bool broker_dies : {false, true}) {
    SCOPED_TRACE(broker_dies ? "with the broker" : "with the connection");
    ASSERT_TRUE((*client)->WaitForBroker(harness::kPatience.count()).ok());
    std::vector<TaskSpec> batch;
    for (size_t i = 0; i < kTasks; ++i)
      batch.push_back({.type = "noop", .payload = std::to_string(ids.size() + i)});
    proxy.SwallowAnswers(true);
    auto submitted = (*client)->SubmitBatch(batch);
    // The broker has them, durably: nobody but the client is missing the answer.
    ASSERT_TRUE(Await(
        [&] { return harness::CountOf(*observer, TaskState::kReady) == ids.size() + kTasks; }));
    ASSERT_TRUE(Await([&] {
      auto status = observer->Status();
      return status.ok() && status->durable_lsn == status->lsn;
    }));
    EXPECT_EQ(submitted.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
    if (broker_dies) {
      cluster.KillBroker();
      cluster.StartBroker();
    }
    proxy.Cut();
    proxy.SwallowAnswers(false);
    BatchAck ack = submitted.get();
    EXPECT_TRUE(ack.rejected.empty());
    EXPECT_GE(CounterOf(*observer, "submit_duplicates_total"), 1u);
    ids.insert(ids.end(), ack.ids.begin(), ack.ids.end());
  }
  EXPECT_EQ(std::set<TaskId>(ids.begin(), ids.end()).size(), 2 * kTasks);
  std::vector<TaskInfo> tasks = harness::GetAll(*observer, ids);
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(tasks[i].payload, std::to_string(i));
  size_t listed = 0;
  TaskLister lister = observer->ListTasks({});
  for (TaskInfo task; lister.Next(&task);) ++listed;
  EXPECT_EQ(listed, 2 * kTasks);
}

// A worker in this process that knows how often it ran each task.
class CountingWorker {
 public:
  explicit CountingWorker(const std::string& brokers) {
    WorkerOptions options;
    options.brokers = brokers;
    options.concurrency = 8;
    options.name = "counting";
    auto worker = Worker::Create(std::move(options));
    if (!worker.ok()) throw harness::Failure(MessageOf(worker.status()));
    worker_ = *std::move(worker);
    auto handler = [this](TaskContext& task) { return Handle(task); };
    for (const char* type : {"echo", "fail"})
      if (absl::Status status = worker_->Register(type, handler); !status.ok())
        throw harness::Failure(MessageOf(status));
    thread_ = std::thread([this] { ended_ = worker_->Run(); });
  }
  ~CountingWorker() {
    worker_->Stop();
    thread_.join();
  }

  std::map<TaskId, uint32_t> runs() {
    std::lock_guard lock(mutex_);
    return runs_;
  }

 private:
  // The doomed fail always, the flaky until their third attempt.
  TaskResult Handle(TaskContext& task) {
    {
      std::lock_guard lock(mutex_);
      ++runs_[task.task_id()];
    }
    if (task.type() == "echo") return TaskResult::Ok(std::string(task.payload()));
    if (task.max_attempts() > 2 && task.attempt() > 2) return TaskResult::Ok();
    return Error(ErrorCode::kHandlerFailed, "on purpose");
  }

  std::mutex mutex_;
  std::map<TaskId, uint32_t> runs_;
  std::unique_ptr<Worker> worker_;
  absl::Status ended_;
  std::thread thread_;
};

// A worker that lives through all of it has no reason to run anything twice: what it holds is its own after a restart, and
// what it finished is asked for, not done again.
TEST(LostResults, ALivingWorkerRunsEachAttemptOnce) {
  constexpr int kRounds = 12;
  constexpr size_t kTasksEach = 1000;
  Cluster cluster;
  cluster.StartBroker({"--visibility-timeout", "20s", "--heartbeat", "300ms"});
  auto client = cluster.NewClient();
  CountingWorker worker(cluster.brokers());
  Load load(cluster, {.producers = 2, .seed = 5});
  std::mt19937_64 random(5);
  for (int round = 0; round < kRounds; ++round) {
    // Some way into the work: results are on their way at every moment.
    size_t before = worker.runs().size();
    load.Allow(kTasksEach);
    ASSERT_TRUE(
        Await([&, more = random() % kTasksEach] { return worker.runs().size() > before + more; }));
    cluster.KillBroker();
    cluster.StartBroker();
  }
  std::vector<Promise> promises = load.Finish();
  std::vector<TaskId> ids;
  for (const Promise& promise : promises) ids.push_back(promise.id);
  harness::WaitAll(*client, ids);
  std::map<TaskId, uint32_t> runs = worker.runs();
  std::vector<TaskInfo> tasks = harness::GetAll(*client, ids);
  for (size_t i = 0; i < ids.size(); ++i) {
    uint32_t expected = promises[i].kind == Kind::kFlaky    ? 3
                        : promises[i].kind == Kind::kDoomed ? 2
                                                            : 1;
    ASSERT_EQ(tasks[i].attempt, expected) << ToString(ids[i]);
    ASSERT_EQ(runs[ids[i]], expected) << ToString(ids[i]) << " " << tasks[i].type;
  }
}

}  // namespace
}  // namespace zsched::chaos
