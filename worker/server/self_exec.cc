#include "worker/server/self_exec.h"

#include <limits.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "schemas/errors.h"

namespace zsched::worker {
namespace {

constexpr char kOwnProgram[] = "/proc/self/exe";

std::string OwnPath() {
  char path[PATH_MAX];
  ssize_t bytes = readlink(kOwnProgram, path, sizeof path);
  return bytes <= 0 ? kOwnProgram : std::string(path, static_cast<size_t>(bytes));
}

sigset_t Termination() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

SelfExec::SelfExec(char** argv) : argv_(argv), program_(OwnPath()) {
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_);
  for (int signal = 1; signal < NSIG; ++signal)
    sigaction(signal, nullptr, &dispositions_[static_cast<size_t>(signal)]);
}

void SelfExec::AcceptTermination() {
  const sigset_t termination = Termination();
  pthread_sigmask(SIG_UNBLOCK, &termination, nullptr);
}

absl::Status SelfExec::Exec(const std::function<bool()>& terminated) const {
  sigset_t waiting = Termination();
  sigaddset(&waiting, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &waiting, nullptr);
  if (terminated()) return absl::OkStatus();
  // Exec itself leaves ignored signals ignored.
  for (int signal = 1; signal < NSIG; ++signal)
    sigaction(signal, &dispositions_[static_cast<size_t>(signal)], nullptr);
  sigset_t mask;
  sigorset(&mask, &mask_, &waiting);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  // By its path, which is what `ps` shows and where an upgrade has put a newer one; what runs now is
  // still there when that file is gone.
  execv(program_.c_str(), argv_);
  const int error = errno;
  execv(kOwnProgram, argv_);
  return Error(ErrorCode::kInternal, std::string(std::strerror(error)));
}

}  // namespace zsched::worker
