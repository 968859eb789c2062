// A pair of real brokers with a real arbiter: a witness, and etcd. The same suite for both.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/conformance/etcd_process.h"
#include "tests/harness/cluster.h"

namespace zsched::broker {
namespace {

using harness::Cluster;
using harness::CtlResult;
using testing::HasSubstr;

class ArbiterPair : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (HasEtcd() && !EtcdProcess::IsInstalled()) GTEST_SKIP() << EtcdProcess::kNotInstalled;
    if (HasEtcd()) etcd_ = std::make_unique<EtcdProcess>();
    cluster_.StartPair({"--arbiter", HasEtcd() ? "etcd=" + etcd_->Options("/key").urls.at(0)
                                               : "witness=" + cluster_.StartWitness()});
    client_ = cluster_.NewClient();
  }
  bool HasEtcd() const { return GetParam() == std::string_view("Etcd"); }
  void KillArbiter() { HasEtcd() ? etcd_->Kill() : cluster_.KillNode("witness"); }
  void StartArbiterAgain() {
    if (HasEtcd())
      etcd_->Start();
    else
      cluster_.StartWitness();
  }

  std::unique_ptr<EtcdProcess> etcd_;
  Cluster cluster_;
  std::unique_ptr<Client> client_;
};

TEST_P(ArbiterPair, TheStandbyTakesOverThoughNobodyAsksForIt) {
  const TaskId task = harness::SubmitOne(*client_, {.type = "noop"});
  client_.reset();
  const std::string active = cluster_.Active();
  cluster_.KillNode(active);
  cluster_.AwaitRole(Cluster::Other(active), "kActive");
  cluster_.StartNode(active);
  cluster_.AwaitRole(active, "kStandby");
  client_ = cluster_.NewClient();
  EXPECT_EQ(harness::GetAll(*client_, {task}).size(), 1u);
}

// It could be that the other one was promoted: only the arbiter knows. It does after it was killed, too.
TEST_P(ArbiterPair, WithoutTheArbiterTheActiveDoesNotGoOnAlone) {
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  KillArbiter();
  // Both there: it is not needed.
  harness::SubmitOne(*client_, {.type = "noop"});
  cluster_.KillNode(standby);
  std::future<absl::StatusOr<TaskId>> waits = client_->Submit({.type = "noop"});
  EXPECT_EQ(waits.wait_for(std::chrono::seconds(3)), std::future_status::timeout);
  EXPECT_EQ(cluster_.RoleOf(active), "kActiveSync");
  StartArbiterAgain();
  cluster_.AwaitRole(active, "kActiveSolo");
  EXPECT_TRUE(waits.get().ok());
  cluster_.StartNode(standby);
  cluster_.AwaitRole(standby, "kStandby");
}

TEST_P(ArbiterPair, TheOneThatWasAheadAloneIsWaitedFor) {
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  cluster_.KillNode(standby);
  cluster_.AwaitRole(active, "kActiveSolo");
  const TaskId task = harness::SubmitOne(*client_, {.type = "noop"});
  cluster_.KillNode(active);
  cluster_.StartNode(standby);
  // It has not what was acknowledged alone.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  EXPECT_EQ(cluster_.RoleOf(standby), "kRecovering");
  cluster_.StartNode(active);
  cluster_.AwaitRole(standby, "kStandby");
  client_ = cluster_.NewClient();
  EXPECT_EQ(harness::GetAll(*client_, {task}).size(), 1u);
}

// By a person, who knows that the other disk is gone. What only that one has is lost to the service, and kept aside if it comes back.
TEST_P(ArbiterPair, ForcePromotesWhoMissesSomething) {
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  cluster_.KillNode(standby);
  cluster_.AwaitRole(active, "kActiveSolo");
  const TaskId alone = harness::SubmitOne(*client_, {.type = "noop"});
  client_.reset();
  cluster_.KillNode(active);
  cluster_.StartNode(standby);
  const CtlResult forced = cluster_.CtlAt(standby, {"cluster", "promote", "--force"});
  EXPECT_EQ(forced.exit_code, 0) << forced.err;
  cluster_.AwaitRole(standby, "kActiveSolo");
  cluster_.StartNode(active);
  cluster_.AwaitRole(active, "kStandby");
  EXPECT_THAT(cluster_.Log(active), HasSubstr("was set aside"));
  client_ = cluster_.NewClient();
  EXPECT_FALSE(client_->Get(alone).ok());
}

INSTANTIATE_TEST_SUITE_P(Arbiters, ArbiterPair, testing::Values("Witness", "Etcd"),
                         [](const auto& arbiter) { return std::string(arbiter.param); });

}  // namespace
}  // namespace zsched::broker
