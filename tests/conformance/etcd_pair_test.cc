// A pair of real brokers with a real etcd as their arbiter.
#include <gtest/gtest.h>

#include "tests/conformance/etcd_process.h"
#include "tests/harness/cluster.h"

namespace zsched::broker {
namespace {

using harness::Cluster;

class EtcdPair : public testing::Test {
 protected:
  void SetUp() override {
    if (!EtcdProcess::IsInstalled()) GTEST_SKIP() << EtcdProcess::kNotInstalled;
    etcd_ = std::make_unique<EtcdProcess>();
    cluster_.StartPair({"--arbiter", "etcd=" + etcd_->Options("/key").urls.at(0)});
    client_ = cluster_.NewClient();
  }

  std::unique_ptr<EtcdProcess> etcd_;
  Cluster cluster_;
  std::unique_ptr<Client> client_;
};

TEST_F(EtcdPair, TheStandbyTakesOverThoughNobodyAsksForIt) {
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

// It could be that the other one was promoted: only etcd knows.
TEST_F(EtcdPair, WithoutEtcdTheActiveDoesNotGoOnAlone) {
  harness::SubmitOne(*client_, {.type = "noop"});
  const std::string active = cluster_.Active(), standby = Cluster::Other(active);
  etcd_->Kill();
  // Both there: etcd is not needed.
  harness::SubmitOne(*client_, {.type = "noop"});
  cluster_.KillNode(standby);
  std::future<absl::StatusOr<TaskId>> waits = client_->Submit({.type = "noop"});
  EXPECT_EQ(waits.wait_for(std::chrono::seconds(3)), std::future_status::timeout);
  EXPECT_EQ(cluster_.RoleOf(active), "kActiveSync");
  etcd_->Start();
  cluster_.AwaitRole(active, "kActiveSolo");
  EXPECT_TRUE(waits.get().ok());
  cluster_.StartNode(standby);
  cluster_.AwaitRole(standby, "kStandby");
}

}  // namespace
}  // namespace zsched::broker
