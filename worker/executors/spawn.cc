#include "worker/executors/spawn.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::worker {
namespace {

// Where the child finds the pipe on which it reports a failed exec.
constexpr int kReportFd = 3;

enum class Step : int { kGroup, kEnding, kParent, kDescriptors, kSignals, kDirectory, kExec };

struct Report {
  Step step;
  int error;
};

struct Pipe {
  OwnedFd read;
  OwnedFd write;
};

// What the child needs, prepared by the parent: between vfork and exec nothing may be allocated.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* environment;
  const char* directory;  // nullptr: stay
  int input, output, error, report;
  const LiveGroup* listed;
  pid_t parent;
};

absl::Status SystemError(const std::string& what, int error) {
  return Error(ErrorCode::kProcessFailed, what + ": " + std::strerror(error));
}

// Both ends above 2, so that the child's dup2 onto 0..2 cannot overwrite one of them.
absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  Pipe pipe{OwnedFd(fds[0]), OwnedFd(fds[1])};
  for (OwnedFd* end : {&pipe.read, &pipe.write}) {
    if (end->get() > kReportFd) continue;
    int higher = fcntl(end->get(), F_DUPFD_CLOEXEC, kReportFd + 1);
    if (higher < 0) return SystemError("cannot make a pipe", errno);
    end->Reset(higher);
  }
  return pipe;
}

void SetNonBlocking(const OwnedFd& fd) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// --- In the child, in the memory of the parent: async-signal-safe calls only -----------------------

[[noreturn]] void Fail(int report_fd, Step step) {
  Report report{step, errno};
  [[maybe_unused]] ssize_t written = write(report_fd, &report, sizeof(report));
  _exit(127);
}

void ResetSignals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  // SIGKILL, SIGSTOP and the C library's own refuse; that is as it should be.
  for (int signal = 1; signal <= SIGRTMAX; ++signal) sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

void CloseFrom(unsigned first) {
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  // Kernels before 5.9.
  long limit = sysconf(_SC_OPEN_MAX);
  for (long fd = first; fd < limit; ++fd) close(static_cast<int>(fd));
}

[[noreturn]] void RunChild(const ChildPlan& plan) {
  if (setpgid(0, 0) != 0) Fail(plan.report, Step::kGroup);
  if (!plan.listed->List(getpid())) Fail(plan.report, Step::kEnding);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) Fail(plan.report, Step::kParent);
  // The parent may have died before the line above.
  if (getppid() != plan.parent) _exit(127);
  if (dup2(plan.input, 0) < 0 || dup2(plan.output, 1) < 0 || dup2(plan.error, 2) < 0 ||
      dup3(plan.report, kReportFd, O_CLOEXEC) < 0)
    Fail(plan.report, Step::kDescriptors);
  CloseFrom(kReportFd + 1);
  if (plan.directory != nullptr && chdir(plan.directory) != 0) Fail(kReportFd, Step::kDirectory);
  ResetSignals();
  execve(plan.program, plan.argv, plan.environment);
  Fail(kReportFd, Step::kExec);
}

// --- In the parent ---------------------------------------------------------------------------------

// vfork, because fork copies the page tables of a process that may be large, and because the child
// only makes system calls. All signals are blocked until the child has reset them: a handler of
// ours must not run in it.
__attribute__((noinline)) pid_t VforkAndRun(const ChildPlan& plan) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = vfork();
  if (pid == 0) RunChild(plan);
  int error = errno;
  // Once more, because under a sanitizer vfork is a fork, and what the child wrote is its own.
  if (pid > 0) plan.listed->List(pid);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

bool MayPass(int error) {
  return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE ||
         error == ETXTBSY || error == EIO;
}

absl::Status Explain(const Report& report, const ProcessSpec& spec) {
  if (report.step == Step::kEnding)
    return Error(ErrorCode::kProcessFailed, "the worker ends at once");
  if (report.step == Step::kDirectory)
    return SystemError("cannot enter the directory '" + spec.directory + "'", report.error);
  if (report.step != Step::kExec) return SystemError("cannot prepare the process", report.error);
  if (report.error == ENOEXEC)
    return Error(ErrorCode::kProcessFailed,
                 "'" + spec.program +
                     "' is neither a binary of this machine nor a script that "
                     "names its interpreter in a #! line");
  if (report.error == E2BIG)
    return Error(ErrorCode::kProcessFailed,
                 "arguments and environment are more than the system takes; use stdin");
  return SystemError("cannot run '" + spec.program + "'", report.error);
}

absl::Status AwaitExec(const OwnedFd& report_end, const ProcessSpec& spec, Child* child,
                       bool* try_again) {
  Report report;
  ssize_t bytes;
  do {
    bytes = read(report_end.get(), &report, sizeof(report));
  } while (bytes < 0 && errno == EINTR);
  if (bytes == 0) return absl::OkStatus();  // closed by exec
  child->listed.Free();
  waitpid(child->pid, nullptr, 0);
  if (bytes != sizeof(report)) return Error(ErrorCode::kProcessFailed, "the process did not start");
  *try_again = report.step == Step::kEnding || MayPass(report.error);
  return Explain(report, spec);
}

absl::Status Watch(Child* child) {
  child->pidfd.Reset(static_cast<int>(syscall(SYS_pidfd_open, child->pid, 0)));
  if (child->pidfd.open()) return absl::OkStatus();
  int why = errno;
  kill(-child->pid, SIGKILL);
  child->listed.Free();
  waitpid(child->pid, nullptr, 0);
  return SystemError("cannot watch the process", why);
}

}  // namespace

void OwnedFd::Reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

absl::StatusOr<Child> Spawn(const ProcessSpec& spec, bool* try_again) {
  *try_again = true;
  Child child;
  child.listed = LiveGroup::Reserve();
  if (!child.listed.reserved())
    return Error(ErrorCode::kProcessFailed, "as many processes run as this worker can watch");
  ZS_ASSIGN_OR_RETURN(Pipe input, MakePipe());
  ZS_ASSIGN_OR_RETURN(Pipe output, MakePipe());
  ZS_ASSIGN_OR_RETURN(Pipe error, MakePipe());
  ZS_ASSIGN_OR_RETURN(Pipe report, MakePipe());
  std::vector<char*> argv = Pointers(spec.argv), environment = Pointers(spec.environment);
  ChildPlan plan{spec.program.c_str(), argv.data(),
                 environment.data(),   spec.directory.empty() ? nullptr : spec.directory.c_str(),
                 input.read.get(),     output.write.get(),
                 error.write.get(),    report.write.get(),
                 &child.listed,        getpid()};
  child.pid = VforkAndRun(plan);
  if (child.pid < 0) return SystemError("cannot start a process", errno);
  report.write.Reset();
  ZS_RETURN_IF_ERROR(AwaitExec(report.read, spec, &child, try_again));
  ZS_RETURN_IF_ERROR(Watch(&child));
  child.input = std::move(input.write);
  child.output = std::move(output.read);
  child.error = std::move(error.read);
  for (const OwnedFd* fd : {&child.input, &child.output, &child.error}) SetNonBlocking(*fd);
  return child;
}

}  // namespace zsched::worker
