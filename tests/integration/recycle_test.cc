// Workers that begin anew in their own process, as a supervisor and the tasks see it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CounterOf;
using harness::Process;
using harness::ReadFile;
using harness::SubmitOne;
using harness::WaitAll;
using nlohmann::json;

constexpr char kBegunAnew[] = "beginning anew in the same process";
constexpr char kRecycling[] = "to be recycled";

std::string Shell(const std::string& script) { return json{{"argv", {"sh", "-c", script}}}.dump(); }

constexpr char kEventfd[] = "anon_inode:[eventfd]";

// What a process is to those who watch it: the signals that it blocks, ignores and catches, its name,
// and its descriptors by kind, of sockets and such without their numbers.
std::multiset<std::string> SeenFromOutside(pid_t pid) {
  const std::string proc = "/proc/" + std::to_string(pid);
  std::multiset<std::string> seen;
  std::istringstream status(ReadFile(proc + "/status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("Sig") || line.starts_with("Shd") || line.starts_with("Name") ||
        line.starts_with("PPid"))
      if (!line.starts_with("SigQ")) seen.insert(line);
  seen.insert(ReadFile(proc + "/cmdline"));
  // Not for anybody's eyes.
  seen.insert(std::to_string(std::hash<std::string>()(ReadFile(proc + "/environ"))));
  for (const auto& fd : std::filesystem::directory_iterator(proc + "/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(fd, gone);
    seen.insert(target == kEventfd ? target : target.substr(0, target.find('[')));
  }
  return seen;
}

class Recycle : public testing::Test {
 protected:
  Recycle() {
    cluster.StartBroker();
    client = cluster.NewClient();
  }
  // A task that runs until LetGo.
  TaskId SubmitHeld() {
    const std::string path = cluster.dir() + "/hold";
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    hold_ = open(path.c_str(), O_RDWR | O_CLOEXEC);
    return SubmitOne(*client, {.type = "shell",
                               .payload = Shell(": > " + begun() + "; read -r word < " + path)});
  }
  std::string begun() const { return cluster.dir() + "/begun"; }
  void LetGo() { EXPECT_EQ(write(hold_, "go\n", 3), 3); }
  ~Recycle() override {
    if (hold_ >= 0) close(hold_);
  }
  // A worker that runs the held task, and has ended another, so it drains.
  void DrainForRecycling() {
    cluster.StartWorker("w",
                        {"--concurrency", "2", "--enable", "shell", "--recycle-after-tasks", "1"});
    held = SubmitHeld();
    ASSERT_TRUE(Await([&] { return std::filesystem::exists(begun()); }));
    ASSERT_TRUE(WaitAll(*client, {SubmitOne(*client, {.type = "noop"})}).at(0).succeeded());
    ASSERT_TRUE(cluster.AwaitLog("w", kRecycling));
  }
  size_t TimesBegunAnew() {
    const std::string log = cluster.Log("w");
    size_t times = 0;
    for (size_t at = 0; (at = log.find(kBegunAnew, at)) != std::string::npos; ++at) ++times;
    return times;
  }

  Cluster cluster;
  std::unique_ptr<Client> client;
  TaskId held{};

 private:
  int hold_ = -1;
};

TEST_F(Recycle, AThousandTasksRunOnceEachInOneProcessThatBeginsAnewAgainAndAgain) {
  constexpr int kTasks = 1000, kSlots = 4;
  Process& worker = cluster.StartWorker("w", {"--concurrency", std::to_string(kSlots), "--enable",
                                              "shell", "--recycle-after-tasks", "100"});
  const auto before = SeenFromOutside(worker.pid());
  const std::string ran = cluster.dir() + "/ran";
  std::vector<TaskId> ids;
  for (int i = 0; i < kTasks; ++i)
    ids.push_back(SubmitOne(
        *client, {.type = "shell", .payload = Shell("echo " + std::to_string(i) + " >> " + ran)}));
  for (const Outcome& outcome : WaitAll(*client, ids))
    EXPECT_TRUE(outcome.succeeded()) << outcome.error_message;

  for (const TaskInfo& task : harness::GetAll(*client, ids)) EXPECT_EQ(task.attempt, 1u);
  std::istringstream lines(ReadFile(ran));
  std::multiset<std::string> runs;
  for (std::string line; std::getline(lines, line);) runs.insert(line);
  EXPECT_EQ(runs.size(), size_t{kTasks});
  EXPECT_EQ(std::set<std::string>(runs.begin(), runs.end()).size(), size_t{kTasks});
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), 0u);
  // At most 110 and the few that end while the word of it gets about.
  EXPECT_GE(TimesBegunAnew(), 5u);
  EXPECT_TRUE(worker.running());
  std::vector<std::string> changed;
  EXPECT_TRUE(Await([&] {
    changed.clear();
    const auto now = SeenFromOutside(worker.pid());
    // What was there before may be missing: the socket that looked for the broker closes when it has time.
    std::set_difference(now.begin(), now.end(), before.begin(), before.end(),
                        std::back_inserter(changed));
    // One of a slot, made for the first program that it runs.
    std::erase(changed, kEventfd);
    return changed.empty() && now.count(kEventfd) <= before.count(kEventfd) + kSlots;
  })) << testing::PrintToString(changed);
  EXPECT_EQ(client->Workers()->at(0).name, "w");

  worker.Signal(SIGTERM);
  EXPECT_EQ(worker.WaitExit(), 0);
}

TEST_F(Recycle, MemoryIsLookedAtWithTheHeartbeat) {
  cluster.StartWorker("w", {"--recycle-after-memory", "1KiB"});
  EXPECT_TRUE(WaitAll(*client, {SubmitOne(*client, {.type = "noop"})}).at(0).succeeded());
  EXPECT_TRUE(cluster.AwaitLog("w", "to be recycled: resident memory"));
  EXPECT_TRUE(cluster.AwaitLog("w", kBegunAnew));
  EXPECT_TRUE(WaitAll(*client, {SubmitOne(*client, {.type = "noop"})}).at(0).succeeded());
}

TEST_F(Recycle, ASignalDuringTheDrainEndsTheWorkerForGood) {
  DrainForRecycling();
  cluster.worker("w").Signal(SIGTERM);
  ASSERT_TRUE(cluster.AwaitLog("w", "this process was asked to end"));
  LetGo();
  EXPECT_EQ(cluster.worker("w").WaitExit(), 0);
  EXPECT_EQ(TimesBegunAnew(), 0u);
  EXPECT_TRUE(WaitAll(*client, {held}).at(0).succeeded());
}

TEST_F(Recycle, TwoSignalsDuringTheDrainEndItAtOnce) {
  DrainForRecycling();
  cluster.worker("w").Signal(SIGTERM);
  ASSERT_TRUE(cluster.AwaitLog("w", "this process was asked to end"));
  cluster.worker("w").Signal(SIGTERM);
  EXPECT_EQ(cluster.worker("w").WaitExit(), 128 + SIGTERM);
  EXPECT_EQ(TimesBegunAnew(), 0u);
}

TEST_F(Recycle, ADrainThatTheBrokerAsksForEndsItForGood) {
  DrainForRecycling();
  EXPECT_EQ(cluster.Ctl({"worker", "drain", "w"}).exit_code, 0);
  ASSERT_TRUE(cluster.AwaitLog("w", "the broker asked for it"));
  LetGo();
  EXPECT_EQ(cluster.worker("w").WaitExit(), 0);
  EXPECT_EQ(TimesBegunAnew(), 0u);
}

TEST_F(Recycle, WithoutABrokerItWaitsUntilItsResultsAreTaken) {
  DrainForRecycling();
  cluster.KillBroker();
  LetGo();
  ASSERT_TRUE(cluster.AwaitLog("w", "lost the broker"));
  EXPECT_EQ(TimesBegunAnew(), 0u);
  cluster.StartBroker();
  EXPECT_TRUE(WaitAll(*client, {held}).at(0).succeeded());
  EXPECT_TRUE(cluster.AwaitLog("w", kBegunAnew));
  EXPECT_EQ(client->Get(held)->attempt, 1u);
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), 0u);
}

TEST_F(Recycle, NoSignalIsLostBetweenTheTwoPrograms) {
  constexpr int kRounds = 20;
  std::mt19937 random(17);
  std::uniform_int_distribution wait_us(0, 150'000);
  for (int round = 0; round < kRounds; ++round) {
    Process& worker =
        cluster.StartWorker("w", {"--concurrency", "1", "--recycle-after-tasks", "1"});
    // More than it does by then: it is always about to begin anew, or has just.
    const std::vector<TaskSpec> tasks(200, TaskSpec{.type = "noop"});
    ASSERT_TRUE(client->SubmitBatch(tasks).get().rejected.empty());
    usleep(static_cast<useconds_t>(wait_us(random)));
    worker.Signal(SIGTERM);
    ASSERT_EQ(worker.WaitExit(), 0) << "round " << round;
  }
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), 0u);
  EXPECT_GE(TimesBegunAnew(), 1u);
}

}  // namespace
}  // namespace zsched::integration
