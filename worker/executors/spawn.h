// The moment between vfork and exec. Owned by worker/executors; used by process.cc only.
//
// Threads: any number at once.
#pragma once

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "worker/executors/live_groups.h"
#include "worker/executors/process.h"

namespace zsched::worker {

// A descriptor that is closed with its owner.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() { Reset(); }
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Reset(int fd = -1);
  int Release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_ = -1;
};

struct Child {
  pid_t pid = 0;     // also the id of its process group
  LiveGroup listed;  // freed by whoever reaps the child, just before
  OwnedFd pidfd;
  OwnedFd input;  // our ends of the pipes, non-blocking
  OwnedFd output;
  OwnedFd error;
};

// As RunProcess says. The child is this thread's: it is killed when the thread ends.
absl::StatusOr<Child> Spawn(const ProcessSpec& spec, bool* try_again);

}  // namespace zsched::worker
