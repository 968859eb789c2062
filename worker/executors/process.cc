#include "worker/executors/process.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <limits>

#include "schemas/errors.h"
#include "worker/executors/spawn.h"

namespace zsched::worker {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr size_t kReadBytes = 64 << 10;
// Reads of one stream in a row, so that a flood on one does not keep us from the other.
constexpr int kReadsInARow = 4;
// P_PIDFD of waitid, which glibc 2.36 declares only as an enumerator of newer kernels' headers.
constexpr auto kByPidfd = static_cast<idtype_t>(3);

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Writing to a process that has closed its stdin must not kill this one.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~NoSigpipe() {
    const timespec at_once{0, 0};
    if (!was_pending_)
      while (sigtimedwait(&sigpipe_, nullptr, &at_once) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t sigpipe_, before_;
  bool was_pending_;
};

void Keep(std::string_view bytes, size_t max_bytes, CapturedOutput* output) {
  size_t room = max_bytes - std::min(max_bytes, output->head.size());
  output->head.append(bytes.substr(0, room));
  output->truncated |= bytes.size() > room;
  if (bytes.size() >= kTailBytes) {
    output->tail = bytes.substr(bytes.size() - kTailBytes);
    return;
  }
  output->tail.append(bytes);
  // Trimmed now and then, not with every read.
  if (output->tail.size() > 2 * kTailBytes) output->tail.erase(0, output->tail.size() - kTailBytes);
}

void TrimTail(CapturedOutput* output) {
  if (output->tail.size() > kTailBytes) output->tail.erase(0, output->tail.size() - kTailBytes);
}

class Supervisor {
 public:
  Supervisor(const ProcessSpec& spec, TaskContext& context, Child child)
      : spec_(spec), context_(context), child_(std::move(child)), buffer_(kReadBytes, '\0') {}

  ProcessEnd Run() {
    if (spec_.input.empty()) child_.input.Reset();
    while (!exited_) Step();
    // The group's id is the leader's pid, which is ours until it is reaped.
    kill(-child_.pid, SIGKILL);
    deadline_ms_ = NowMs() + kDrainMs;
    while ((child_.output.open() || child_.error.open()) && NowMs() < deadline_ms_) Step();
    Reap();
    TrimTail(&end_.output);
    TrimTail(&end_.error);
    return std::move(end_);
  }

 private:
  enum Index { kPid, kInput, kOutput, kError, kCancel, kCount };

  void Step() {
    pollfd fds[kCount] = {{exited_ ? -1 : child_.pidfd.get(), POLLIN, 0},
                          {child_.input.get(), POLLOUT, 0},
                          {child_.output.get(), POLLIN, 0},
                          {child_.error.get(), POLLIN, 0},
                          {end_.cancelled || exited_ ? -1 : context_.cancelled_fd(), POLLIN, 0}};
    int ready = poll(fds, kCount, TimeoutMs(fds[kCancel].fd));
    if (!exited_) CheckCancelled();
    if (ready <= 0) return;
    if (fds[kInput].revents != 0) Feed();
    if (fds[kOutput].revents != 0) Read(&child_.output, OutputStream::kStdout, &end_.output);
    if (fds[kError].revents != 0) Read(&child_.error, OutputStream::kStderr, &end_.error);
    if (fds[kPid].revents != 0) exited_ = true;
  }

  int TimeoutMs(int cancel_fd) const {
    // Without a descriptor for it, cancellation is looked for now and then.
    constexpr int64_t kLookMs = 100;
    int64_t timeout = deadline_ms_ == kNever ? -1 : std::max<int64_t>(deadline_ms_ - NowMs(), 0);
    if (cancel_fd < 0 && !exited_ && !end_.cancelled)
      timeout = timeout < 0 ? kLookMs : std::min(timeout, kLookMs);
    return static_cast<int>(std::min<int64_t>(timeout, INT_MAX));
  }

  void CheckCancelled() {
    if (!end_.cancelled && context_.cancelled()) {
      end_.cancelled = true;
      kill(-child_.pid, SIGTERM);
      // A stopped process takes SIGTERM only when it goes on.
      kill(-child_.pid, SIGCONT);
      deadline_ms_ = NowMs() + spec_.grace_ms;
    } else if (end_.cancelled && NowMs() >= deadline_ms_) {
      kill(-child_.pid, SIGKILL);
      deadline_ms_ = kNever;
    }
  }

  void Feed() {
    while (fed_ < spec_.input.size()) {
      ssize_t bytes =
          write(child_.input.get(), spec_.input.data() + fed_, spec_.input.size() - fed_);
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes < 0 && errno == EAGAIN) return;
      if (bytes < 0) break;  // it does not want to read the rest
      fed_ += static_cast<size_t>(bytes);
    }
    child_.input.Reset();
  }

  void Read(OwnedFd* fd, OutputStream stream, CapturedOutput* output) {
    for (int i = 0; i < kReadsInARow; ++i) {
      ssize_t bytes = read(fd->get(), buffer_.data(), buffer_.size());
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes < 0 && errno == EAGAIN) return;
      if (bytes <= 0) return fd->Reset();
      const std::string_view read(buffer_.data(), static_cast<size_t>(bytes));
      context_.Write(stream, read);
      Keep(read, spec_.max_output_bytes, output);
    }
  }

  void Reap() {
    child_.listed.Free();
    siginfo_t info = {};
    int result;
    do {
      result = waitid(kByPidfd, static_cast<id_t>(child_.pidfd.get()), &info, WEXITED);
    } while (result != 0 && errno == EINTR);
    if (result != 0) return;  // somebody else reaped it: exit_code stays -1, signal 0
    if (info.si_code == CLD_EXITED) {
      end_.exit_code = info.si_status;
    } else {
      end_.signal = info.si_status;
    }
  }

  const ProcessSpec& spec_;
  TaskContext& context_;
  Child child_;
  std::string buffer_;
  ProcessEnd end_;
  size_t fed_ = 0;
  bool exited_ = false;
  int64_t deadline_ms_ = kNever;  // of the grace, later of the draining
};

}  // namespace

absl::StatusOr<ProcessEnd> RunProcess(const ProcessSpec& spec, TaskContext& context,
                                      bool* try_again) {
  NoSigpipe no_sigpipe;
  absl::StatusOr<Child> child = Spawn(spec, try_again);
  if (!child.ok()) return child.status();
  return Supervisor(spec, context, *std::move(child)).Run();
}
}  // namespace zsched::worker
