// A standby whose disk is slow, or full: it slows the pair down, or is left out of it, and nothing that was acknowledged is lost.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>

#include "tests/harness/cluster.h"

namespace zsched {
namespace {

using harness::Cluster;
using harness::SubmitOne;

class PairDisks : public testing::Test {
 protected:
  // Who is active first is not open: of a fresh pair it is the primary.
  void StartPair(const harness::Args& flags = {}) {
    cluster_.StartPair(flags);
    ASSERT_EQ(cluster_.Active(), "primary");
    client_ = cluster_.NewClient();
  }
  void Submit(int tasks, const TaskSpec& task) {
    for (int i = 0; i < tasks; ++i) tasks_.push_back(SubmitOne(*client_, task));
  }
  // With the standby alone.
  void CheckAllAreAtTheBackup() {
    cluster_.AwaitRole("backup", "kStandby");
    cluster_.AwaitRole("primary", "kActiveSync");
    cluster_.KillNode("primary");
    cluster_.AwaitRole("backup", "kActive");
    EXPECT_EQ(harness::GetAll(*client_, tasks_).size(), tasks_.size());
  }

  Cluster cluster_;
  std::unique_ptr<Client> client_;
  std::vector<TaskId> tasks_;
};

class SlowStandby : public PairDisks {
 protected:
  void SetDelay(int ms) const {
    // At once, as it is read at any time.
    std::ofstream(delay_path() + ".new") << ms;
    ASSERT_EQ(rename((delay_path() + ".new").c_str(), delay_path().c_str()), 0);
  }
  std::string delay_path() const { return cluster_.dir() + "/delay"; }
};

TEST_F(SlowStandby, SlowsThePairDownOrIsLeftOut) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "what is preloaded must not come before AddressSanitizer";
#endif
  cluster_.SetEnvironment("backup",
                          {{"LD_PRELOAD", ZSCHED_SLOW_SYNC}, {"SLOW_SYNC_FILE", delay_path()}});
  StartPair();
  Submit(20, {.type = "noop"});
  // Slower than any commit, and quicker than `stall`: everybody waits for it.
  SetDelay(400);
  Submit(5, {.type = "noop"});
  EXPECT_EQ(cluster_.RoleOf("primary"), "kActiveSync");
  // Its heart beats on.
  SetDelay(8'000);
  Submit(5, {.type = "noop"});
  EXPECT_EQ(cluster_.RoleOf("primary"), "kActiveSolo") << "acknowledged without the standby";
  SetDelay(0);
  CheckAllAreAtTheBackup();
}

class FullStandby : public PairDisks {
 protected:
  std::string disk() const { return cluster_.dir() + "/backup"; }
  bool MountDisk(const char* size, unsigned long flags = 0) const {
    const std::string options = std::string("size=") + size;
    return mount("zsched-test", disk().c_str(), "tmpfs", flags, options.c_str()) == 0;
  }
  void TearDown() override {
    if (mounted_) umount2(disk().c_str(), MNT_DETACH);
  }
  bool mounted_ = false;
};

TEST_F(FullStandby, IsLeftOutAndComesBackWhenThereIsRoom) {
  ASSERT_EQ(mkdir(disk().c_str(), 0700), 0);
  mounted_ = MountDisk("24m");
  if (!mounted_) GTEST_SKIP() << "cannot mount a small disk: " << std::strerror(errno);
  StartPair();
  const TaskSpec large{.type = "noop", .payload = std::string(256 << 10, 'x')};
  constexpr int kMostTasks = 400;  // four times what the disk holds
  while (cluster_.node("backup").running() && tasks_.size() < kMostTasks) Submit(1, large);
  ASSERT_FALSE(cluster_.node("backup").running()) << "its disk cannot hold them";
  EXPECT_EQ(cluster_.node("backup").WaitExit(), 1);
  EXPECT_TRUE(cluster_.AwaitLog("backup", "the disk is full"));
  cluster_.AwaitRole("primary", "kActiveSolo");
  Submit(20, large);
  ASSERT_TRUE(MountDisk("512m", MS_REMOUNT)) << std::strerror(errno);
  cluster_.StartNode("backup");
  CheckAllAreAtTheBackup();
  cluster_.KillNode("backup");
}

}  // namespace
}  // namespace zsched
