// The broker goes, again and again, under load: what it acknowledged is kept, and done once.
//
// ZSCHED_CHAOS_ROUNDS=N kills it N times, ZSCHED_CHAOS_SEED=N draws other tasks and moments.
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/text.h"
#include "tests/chaos/load.h"

namespace zsched::chaos {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CounterOf;
using harness::CountOf;
using harness::Failure;
using harness::WallMs;

constexpr int kProducers = 4;
constexpr size_t kTasksEach = 400;        // of one producer in one round
constexpr size_t kMostAcksToKill = 1200;  // of the round's 1600: the producers are still at it
// Longer than a restart of the broker takes, so that the attempt is there before and after.
constexpr int kSleepMs = 3000;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoull(text);
}

// An attempt that runs while its broker goes and comes back.
struct Sleeper {
  TaskId id;
  int64_t gone_ms = 0;
  int64_t back_ms = 0;
};

class BrokerChaos : public testing::Test {
 protected:
  BrokerChaos() : seed_(FromEnvironment("ZSCHED_CHAOS_SEED", 1)), random_(seed_) {}

  void Start(const std::string& visibility_timeout) {
    cluster_.StartBroker({"--visibility-timeout", visibility_timeout, "--heartbeat", "300ms"});
    StartWorkers();
    client_ = cluster_.NewClient();
    load_ = std::make_unique<Load>(cluster_, LoadOptions{kProducers, seed_});
  }
  void StartPair(const std::string& visibility_timeout) {
    cluster_.StartPair({"--visibility-timeout", visibility_timeout, "--heartbeat", "300ms"});
    StartWorkers();
    client_ = cluster_.NewClient();
    const auto schedule = client_->SetSchedule({.name = "each second",
                                                .expression = "@every 1s",
                                                .task = {.type = "noop"},
                                                .overlap = Overlap::kAllow});
    if (!schedule.ok()) throw Failure(MessageOf(schedule.status()));
    load_ = std::make_unique<Load>(cluster_, LoadOptions{kProducers, seed_});
  }
  // The other one serves, and the one that ended comes back as its standby.
  void Rejoin(const std::string& ended) {
    cluster_.AwaitRole(Cluster::Other(ended), "kActive");
    sleepers_.back().back_ms = WallMs();
    cluster_.StartNode(ended);
    cluster_.AwaitRole(ended, "kStandby");
    cluster_.AwaitRole(Cluster::Other(ended), "kActiveSync");
  }
  void StartWorkers() {
    for (const char* name : {"w1", "w2"}) cluster_.StartWorker(name, {"--concurrency", "16"});
  }

  // Lets the producers go, and calls `down_and_up` when some of what they submit is acknowledged, and not all.
  template <class Action>
  void Rounds(uint64_t rounds, Action down_and_up) {
    for (uint64_t round = 0; round < rounds; ++round) {
      size_t before = load_->acks();
      load_->Allow(kTasksEach);
      if (!load_->AwaitAcks(before + 1 + random_() % kMostAcksToKill))
        throw Failure("round " + std::to_string(round) + ": submits are not acknowledged");
      down_and_up();
    }
    promises_ = load_->Finish();
    EXPECT_EQ(promises_.size(), rounds * kProducers * kTasksEach);
    for (const Promise& promise : promises_) ids_.push_back(promise.id);
  }

  // Every promise is kept: one terminal state, the right one, the right result; nothing else exists. Once as the broker is,
  // once as it reads itself back after a last kill, or as the standby has it.
  void CheckPromises() {
    harness::WaitAll(*client_, ids_);
    ASSERT_NO_FATAL_FAILURE(CheckOutcomes());
    ASSERT_NO_FATAL_FAILURE(CheckTables());
    if (cluster_.is_pair()) {
      const std::string active = cluster_.Active();
      cluster_.KillNode(active);
      cluster_.AwaitRole(Cluster::Other(active), "kActive");
    } else {
      cluster_.KillBroker();
      cluster_.StartBroker();
    }
    ASSERT_NO_FATAL_FAILURE(CheckTables());
  }
  // How many attempts ran while their broker went and another, or the same again, was there.
  int CheckSleepers();

  TaskId StartSleeper() {
    TaskId id =
        harness::SubmitOne(*client_, {.type = "sleep",
                                      .payload = "{\"ms\":" + std::to_string(kSleepMs) + "}",
                                      .priority = kPriorities - 1});
    if (!Await([&] { return harness::IsIn(*client_, id, TaskState::kLeased); }))
      throw Failure("the sleeper was not given to a worker");
    sleepers_.push_back({id});
    return id;
  }

  std::vector<TaskId> Sleeping() const {
    std::vector<TaskId> ids;
    for (const Sleeper& sleeper : sleepers_) ids.push_back(sleeper.id);
    return ids;
  }
  void CheckTask(const Promise& promise, const TaskInfo& task) const;
  void CheckTables();
  void CheckTicks(const std::set<std::string>& ticks);
  void CheckOutcomes();

  const uint64_t seed_;
  std::mt19937_64 random_;
  Cluster cluster_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Load> load_;
  std::vector<Promise> promises_;
  std::vector<TaskId> ids_;  // of promises_
  std::vector<Sleeper> sleepers_;
  bool workers_die_ = false;  // then an attempt may have been lost, and lost ones count too
};

void BrokerChaos::CheckTask(const Promise& promise, const TaskInfo& task) const {
  ASSERT_EQ(task.id, promise.id);
  ASSERT_EQ(task.payload, promise.payload);
  bool doomed = promise.kind == Kind::kDoomed;
  ASSERT_EQ(NameOf(task.state), NameOf(doomed ? TaskState::kDead : TaskState::kSucceeded))
      << ToString(task.id) << " " << task.error_message;
  if (promise.kind == Kind::kEcho || promise.kind == Kind::kDelayed) {
    ASSERT_EQ(task.result, promise.payload);
  }
  // No attempt is charged that did not run: the broker's end costs nothing.
  uint32_t attempts = promise.kind == Kind::kFlaky ? 3 : doomed ? 2 : 1;
  if (!workers_die_) {
    ASSERT_EQ(task.attempt, attempts) << ToString(task.id) << " " << task.type;
    if (doomed) {
      ASSERT_EQ(task.error, ErrorCode::kHandlerFailed) << task.error_message;
    }
  }
}

void BrokerChaos::CheckTables() {
  std::vector<TaskInfo> tasks = harness::GetAll(*client_, ids_);
  for (size_t i = 0; i < ids_.size(); ++i)
    ASSERT_NO_FATAL_FAILURE(CheckTask(promises_[i], tasks[i]));
  // Nothing exists that was not promised, and nothing twice: every payload is a task's own.
  std::set<std::string> seen, ticks;
  size_t sleepers = 0;
  TaskLister lister = client_->ListTasks({});
  for (TaskInfo task; lister.Next(&task);) {
    if (task.type == "sleep") {
      ++sleepers;
      continue;
    }
    if (task.type == "noop") {
      // One that two brokers have decided is cancelled on one side.
      for (const Label& label : task.labels)
        if (label.key == kTickLabel && task.state != TaskState::kCancelled) {
          ASSERT_TRUE(ticks.insert(label.value).second) << "tick " << label.value << " fired twice";
        }
      continue;
    }
    ASSERT_TRUE(seen.insert(task.payload).second) << task.payload << " exists twice";
  }
  ASSERT_TRUE(lister.status().ok()) << lister.status();
  EXPECT_EQ(seen.size(), promises_.size());
  EXPECT_EQ(sleepers, sleepers_.size());
  if (cluster_.is_pair()) {
    CheckTicks(ticks);
  } else {
    EXPECT_EQ(CountOf(*client_, TaskState::kSucceeded) + CountOf(*client_, TaskState::kDead),
              ids_.size() + sleepers_.size());
  }
}

// Each of them once, and none between the first and the last is missing.
void BrokerChaos::CheckTicks(const std::set<std::string>& ticks) {
  ASSERT_GE(ticks.size(), 2u);
  int64_t expected_ms = *ParseTimeMs(*ticks.begin());
  for (const std::string& tick : ticks) {
    EXPECT_EQ(*ParseTimeMs(tick), expected_ms) << "a tick before " << tick << " is missing";
    expected_ms = *ParseTimeMs(tick) + 1'000;
  }
}

// What was pushed to the producers is what the broker says in the end, and was pushed once.
void BrokerChaos::CheckOutcomes() {
  EXPECT_TRUE(Await([&] { return load_->outcome_count() >= promises_.size(); }))
      << "of " << promises_.size() << " outcomes only " << load_->outcome_count() << " were pushed";
  EXPECT_EQ(load_->twice(), std::vector<TaskId>());
  std::map<TaskId, Outcome> outcomes = load_->outcomes();
  for (const Promise& promise : promises_) {
    const Outcome& outcome = outcomes[promise.id];
    ASSERT_EQ(outcome.succeeded(), promise.kind != Kind::kDoomed)
        << ToString(promise.id) << " " << outcome.error_message;
    if (promise.kind == Kind::kEcho) {
      ASSERT_EQ(outcome.result, promise.payload);
    }
  }
}

TEST_F(BrokerChaos, Kill9UnderLoadLosesNothingAndAttemptsRunOn) {
  // A worker's silence must outlast a restart on the slowest machine.
  Start("20s");
  const uint64_t rounds = FromEnvironment("ZSCHED_CHAOS_ROUNDS", 20);
  Rounds(rounds, [&] {
    StartSleeper();
    cluster_.KillBroker();
    sleepers_.back().gone_ms = WallMs();
    cluster_.StartBroker();
    sleepers_.back().back_ms = WallMs();
  });
  harness::WaitAll(*client_, Sleeping());
  ASSERT_NO_FATAL_FAILURE(CheckPromises());
  EXPECT_GE(CheckSleepers(), 1) << "no attempt ran across a restart: sleepers must sleep longer";
  EXPECT_EQ(cluster_.StopBroker(), 0);
}

// Their first attempt is the one that counted.
int BrokerChaos::CheckSleepers() {
  int survived = 0;
  std::vector<TaskInfo> slept = harness::GetAll(*client_, Sleeping());
  for (size_t i = 0; i < slept.size(); ++i) {
    EXPECT_EQ(NameOf(slept[i].state), "succeeded") << slept[i].error_message;
    EXPECT_EQ(slept[i].attempt, 1u) << "round " << i << ": the lease was lost with the broker";
    survived += slept[i].attempt == 1 && slept[i].started_at_ms <= sleepers_[i].gone_ms &&
                slept[i].finished_at_ms >= sleepers_[i].back_ms;
  }
  RecordProperty("survived", survived);
  return survived;
}

// The standby has all that was acknowledged, and the workers bring their attempts along.
TEST_F(BrokerChaos, Kill9OfTheActiveOfAPairLosesNothingAndAttemptsRunOn) {
  StartPair("20s");
  const uint64_t rounds = FromEnvironment("ZSCHED_CHAOS_ROUNDS", 30);
  Rounds(rounds, [&] {
    StartSleeper();
    const std::string active = cluster_.Active();
    cluster_.KillNode(active);
    sleepers_.back().gone_ms = WallMs();
    Rejoin(active);
  });
  harness::WaitAll(*client_, Sleeping());
  ASSERT_NO_FATAL_FAILURE(CheckPromises());
  EXPECT_GE(CheckSleepers(), 1) << "no attempt ran across a failover: sleepers must sleep longer";
}

TEST_F(BrokerChaos, SigtermOfTheActiveOfAPairHandsOver) {
  StartPair("20s");
  Rounds(4, [&] {
    StartSleeper();
    const std::string active = cluster_.Active();
    EXPECT_EQ(cluster_.StopNode(active), 0);
    sleepers_.back().gone_ms = WallMs();
    Rejoin(active);
  });
  harness::WaitAll(*client_, Sleeping());
  CheckPromises();
}

// Longer than every timeout: it goes on where it was, and has to find out that it is not the active any more.
TEST_F(BrokerChaos, AnActiveThatStoodStillLosesNothing) {
  StartPair("20s");
  Rounds(FromEnvironment("ZSCHED_CHAOS_ROUNDS", 10), [&] {
    StartSleeper();
    const std::string active = cluster_.Active();
    cluster_.node(active).Signal(SIGSTOP);
    sleepers_.back().gone_ms = WallMs();
    cluster_.AwaitRole(Cluster::Other(active), "kActive");
    sleepers_.back().back_ms = WallMs();
    std::this_thread::sleep_for(std::chrono::seconds(4));  // five in all
    cluster_.node(active).Signal(SIGCONT);
    cluster_.AwaitRole(active, "kStandby");
    cluster_.AwaitRole(Cluster::Other(active), "kActiveSync");
  });
  harness::WaitAll(*client_, Sleeping());
  CheckPromises();
}

// The pair goes on alone, and takes the other in again.
TEST_F(BrokerChaos, Kill9OfTheStandbyLosesNothing) {
  StartPair("20s");
  Rounds(FromEnvironment("ZSCHED_CHAOS_ROUNDS", 30), [&] {
    const std::string standby = Cluster::Other(cluster_.Active());
    cluster_.KillNode(standby);
    cluster_.AwaitRole(Cluster::Other(standby), "kActiveSolo");
    cluster_.StartNode(standby);
    cluster_.AwaitRole(standby, "kStandby");
  });
  CheckPromises();
}

TEST_F(BrokerChaos, SigtermUnderLoadLosesNothing) {
  Start("20s");
  Rounds(4, [&] {
    EXPECT_EQ(cluster_.StopBroker(), 0);
    cluster_.StartBroker();
  });
  CheckPromises();
}

// As when the power fails: nobody is left to remember anything but the disk.
TEST_F(BrokerChaos, EverythingKilledAtOnceLosesNothing) {
  workers_die_ = true;
  Start("1500ms");
  Rounds(4, [&] {
    cluster_.KillBroker();
    for (const char* name : {"w1", "w2"}) cluster_.worker(name).Kill();
    cluster_.StartBroker();
    StartWorkers();
  });
  CheckPromises();
}

}  // namespace
}  // namespace zsched::chaos
