// A real broker whose disk fails under load: it ends, says why in one line, and what it acknowledged
// is there after the next start.
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <random>
#include <set>

#include "tests/harness/cluster.h"

namespace zsched::crash {
namespace {

using harness::Cluster;
using harness::Process;

constexpr size_t kTasks = 200;

class BrokerErrors : public testing::TestWithParam<int> {
 protected:
  // Spread over the start, the making of the directory and the load. A commit of this load is two
  // writes and a sync; acks make batches, so the last numbers fall well before its end.
  static std::string FaultOf(int number) {
    constexpr const char* kWays[] = {"write EIO", "sync EIO", "write ENOSPC always", "write short",
                                     "sync ENOSPC always"};
    std::string way = kWays[number % std::size(kWays)];
    const size_t space = way.find(' ');
    return way.substr(0, space) + " " + std::to_string(number * 2) + way.substr(space);
  }

  // Runs the broker with a failing disk; the exit code.
  int RunBroker(const std::string& fault, std::vector<std::future<absl::StatusOr<TaskId>>>& acks) {
    std::vector<std::string> argv = {harness::ProgramPath("zsched-broker"), "--data",
                                     cluster_.data(), "--listen", cluster_.brokers()};
    std::string below = std::filesystem::canonical(cluster_.dir()).string() + "/broker";
    Process broker(argv, {.stdout_path = cluster_.dir() + "/failing.log",
                          .environment = {{"LD_PRELOAD", ZSCHED_FAILING_FILES},
                                          {"FAILING_FILES", fault},
                                          {"FAILING_FILES_BELOW", below}}});
    if (client_ == nullptr) {
      ClientOptions options;
      options.brokers = cluster_.brokers();
      client_ = *Client::Create(options);
    }
    for (size_t i = 0; i < kTasks; ++i) {
      acks.push_back(client_->Submit({.type = "echo", .payload = PayloadOf(i)}));
      // One after the other, so that many commits are made and not one.
      (void)acks.back().wait_for(kBetweenSubmits);
      if (!broker.running()) break;
    }
    return broker.WaitExit().value_or(-1);
  }

  static std::string PayloadOf(size_t i) { return "task " + std::to_string(i); }

  static constexpr std::chrono::milliseconds kBetweenSubmits{20};
  Cluster cluster_;
  std::unique_ptr<Client> client_;
};

TEST_P(BrokerErrors, EndTheBrokerAndLoseNothingAcknowledged) {
  const std::string fault = FaultOf(GetParam());
  SCOPED_TRACE(fault);
  std::vector<std::future<absl::StatusOr<TaskId>>> acks;
  EXPECT_EQ(RunBroker(fault, acks), 1);

  // One line says what happened, and where.
  const std::string log = cluster_.Log("failing");
  std::vector<std::string> lines;
  for (size_t at = 0; at < log.size(); at = log.find('\n', at) + 1) {
    std::string line = log.substr(at, log.find('\n', at) - at);
    if (line.find("data directory") != std::string::npos) lines.push_back(line);
  }
  ASSERT_EQ(lines.size(), 1u) << log;
  const bool started = log.find(" ready ") != std::string::npos;
  EXPECT_NE(lines[0].find(started ? "durability lost, ending" : "zsched-broker: "),
            std::string::npos)
      << lines[0];

  // Submits without an ack are sent again; those with one are not. So whatever was acknowledged too
  // early is missing, or its id is another task's.
  cluster_.StartBroker();
  std::vector<TaskId> ids;
  for (auto& ack : acks) {
    absl::StatusOr<TaskId> id = ack.get();
    ASSERT_TRUE(id.ok()) << id.status();
    ids.push_back(*id);
  }
  std::vector<TaskInfo> tasks = harness::GetAll(*client_, ids);
  std::set<TaskId> different(ids.begin(), ids.end());
  EXPECT_EQ(different.size(), ids.size());
  for (size_t i = 0; i < tasks.size(); ++i) EXPECT_EQ(tasks[i].payload, PayloadOf(i));
  EXPECT_EQ(harness::CountOf(*client_, TaskState::kReady), ids.size());
  EXPECT_EQ(cluster_.StopBroker(), 0);
}

INSTANTIATE_TEST_SUITE_P(Numbers, BrokerErrors, testing::Range(0, 30));

}  // namespace
}  // namespace zsched::crash
