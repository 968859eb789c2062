// One child process: started, signalled, awaited, and gone when its owner is. Owned by tests.
//
// Example:
//   Process broker({"/usr/bin/prog", "--flag"}, {.stdout_path = dir + "/prog.log"});
//   broker.Signal(SIGTERM);
//   EXPECT_EQ(broker.WaitExit(), 0);
//
// The destructor kills and reaps it. Should the test itself die, the kernel kills the child (PR_SET_PDEATHSIG); the
// kernel ties that to the thread that made it, so processes are started on the test's main thread.
//
// Threads: one at a time.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/harness/await.h"

namespace zsched::harness {

// What the harness itself could not do. GoogleTest reports it as the test's failure; stack unwinding ends the processes.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ProcessOptions {
  std::string stdin_path = "/dev/null";
  std::string stdout_path = "/dev/null";  // appended to
  std::string stderr_path{};              // empty: where stdout goes
  // Besides what the test has itself, of which ZSCHED_… is left out: no setting of the user's reaches a test.
  std::map<std::string, std::string> environment{};
};

class Process {
 public:
  Process(const std::vector<std::string>& argv, const ProcessOptions& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool running();
  void Signal(int number);
  // SIGKILL, and waits until it is gone.
  void Kill();
  // Its exit code, or 128 + N when signal N ended it; nullopt when it still runs at the deadline.
  std::optional<int> WaitExit(Ms patience = kPatience);

 private:
  std::string name_;
  pid_t pid_ = -1;
  int pid_fd_ = -1;  // readable once the process has ended
  std::optional<int> exit_;
};

// Bytes of anonymous memory that a process has in RAM; files it has mapped, such as a journal, are not counted.
size_t AnonymousRssBytes(pid_t pid);

// The whole file; empty when there is none.
std::string ReadFile(const std::string& path);
void WriteFile(const std::string& path, const std::string& text);

}  // namespace zsched::harness
