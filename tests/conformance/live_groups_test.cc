// What worker/executors/live_groups.h promises: a program that ends at once leaves nothing of any
// process group behind, at whatever moment the end comes.
#include "worker/executors/live_groups.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "tests/conformance/fake_task.h"
#include "worker/executors/process.h"

namespace zsched::worker {
namespace {

using ::zsched::testing::FakeTask;

// Far more than anything here needs, far less than a hang.
constexpr int kPatienceMs = 20'000;

ProcessSpec Spec(std::string program, std::vector<std::string> argv) {
  ProcessSpec spec;
  spec.program = std::move(program);
  spec.argv = std::move(argv);
  return spec;
}

// Two fifos and a process that starts groups without end. Each group leaves a grandchild behind
// that holds `alive` for writing and waits for something to be read from `leash`: `alive` ends once
// all of them are gone, and closing `leash` ends those that should not have been left.
class GroupStarter {
 public:
  GroupStarter() {
    char name[] = "/tmp/zsched-groups-XXXXXX";
    directory_ = mkdtemp(name);
    EXPECT_EQ(mkfifo(Alive().c_str(), 0600), 0);
    EXPECT_EQ(mkfifo(Leash().c_str(), 0600), 0);
    alive_ = open(Alive().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    leash_ = open(Leash().c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_GE(std::min(alive_, leash_), 0);
  }
  ~GroupStarter() {
    close(alive_);
    close(leash_);
    std::filesystem::remove_all(directory_);
  }

  // Starts groups on several threads, ends after `run_us` as a worker does that is told so twice,
  // and has been off the processor for `pause_us` between the two steps of that.
  void RunAndEndAtOnce(int run_us, int pause_us) {
    pid_t starter = fork();
    if (starter == 0) {
      // So that `alive` cannot end before this process has.
      open(Alive().c_str(), O_WRONLY | O_CLOEXEC);
      for (int i = 0; i < kThreads; ++i) std::thread([this] { StartGroups(); }).detach();
      usleep(static_cast<useconds_t>(run_us));
      KillAllProcessGroups();
      usleep(static_cast<useconds_t>(pause_us));
      _exit(0);
    }
    ASSERT_EQ(waitpid(starter, nullptr, 0), starter);
  }

  // Whether all are gone.
  bool AwaitEnd() const {
    pollfd fd{alive_, POLLIN, 0};
    return poll(&fd, 1, kPatienceMs) == 1 && (fd.revents & POLLHUP) != 0;
  }

 private:
  static constexpr int kThreads = 8;

  std::string Alive() const { return directory_ + "/alive"; }
  std::string Leash() const { return directory_ + "/leash"; }

  void StartGroups() const {
    // dash opens no more than one digit of descriptors.
    std::string script = "exec 9>";
    script.append(Alive()).append(" 8<").append(Leash()).append("; read -r word <&8 &");
    const ProcessSpec spec = Spec("/bin/sh", {"sh", "-c", script});
    FakeTask task("shell", "");
    for (bool try_again = true; try_again;)
      static_cast<void>(RunProcess(spec, task, &try_again).ok());
  }

  std::string directory_;
  int alive_ = -1;
  int leash_ = -1;
};

TEST(LiveGroups, EndingAtOnceMissesNoGroupThatStarts) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "its vfork is a fork: the child cannot write into the list of its parent";
#endif
  constexpr int kRounds = 150;
  std::mt19937 random(17);
  for (int round = 0; round < kRounds; ++round) {
    GroupStarter groups;
    std::uniform_int_distribution run_us(0, 10'000), pause_us(0, 3'000);
    groups.RunAndEndAtOnce(run_us(random), pause_us(random));
    ASSERT_TRUE(groups.AwaitEnd()) << "round " << round;
  }
}

TEST(LiveGroups, AreNoMoreThanThereArePlaces) {
  std::vector<LiveGroup> taken;
  for (LiveGroup group = LiveGroup::Reserve(); group.reserved(); group = LiveGroup::Reserve())
    taken.push_back(std::move(group));
  ASSERT_FALSE(taken.empty());
  // What cannot be listed is not started, and may be tried again.
  FakeTask task("shell", "");
  bool try_again = false;
  EXPECT_FALSE(RunProcess(Spec("/bin/true", {"true"}), task, &try_again).ok());
  EXPECT_TRUE(try_again);
  // A place given back is a place.
  taken.pop_back();
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(RunProcess(Spec("/bin/true", {"true"}), task, &try_again).ok());
  // So is that of a program that could not be started.
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(RunProcess(Spec("/no/such", {"such"}), task, &try_again)
                  .status()
                  .message()
                  .find("cannot run '/no/such'"),
              0);
}

}  // namespace
}  // namespace zsched::worker
