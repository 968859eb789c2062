#include "tests/harness/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace zsched::harness {
namespace {

constexpr int kExecFailed = 127;  // as shells say it
constexpr int kSignalExit = 128;
constexpr mode_t kLogMode = 0600;

std::vector<std::string> Environment(const std::map<std::string, std::string>& own) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (std::string_view text = *entry; !text.starts_with("ZSCHED_")) out.emplace_back(text);
  for (const auto& [key, value] : own) out.push_back(key + "=" + value);
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

int Open(const std::string& path, int flags) {
  int fd = open(path.c_str(), flags | O_CLOEXEC, kLogMode);
  if (fd < 0) throw Failure("cannot open " + path + ": " + std::strerror(errno));
  return fd;
}

// Between fork and exec: only what is safe in the child of a program with threads.
[[noreturn]] void Become(pid_t parent, const int fds[3], char** argv, char** environment) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kExecFailed);  // it died before the line above
  for (int i = 0; i < 3; ++i) dup2(fds[i], i);
  close_range(3, ~0U, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  execve(argv[0], argv, environment);
  _exit(kExecFailed);
}

}  // namespace

Process::Process(const std::vector<std::string>& argv, const ProcessOptions& options)
    : name_(argv.at(0)) {
  std::vector<std::string> words = argv, settings = Environment(options.environment);
  std::vector<char*> arguments = Pointers(words), environment = Pointers(settings);
  constexpr int kAppend = O_WRONLY | O_CREAT | O_APPEND;
  int fds[3] = {Open(options.stdin_path, O_RDONLY), Open(options.stdout_path, kAppend), -1};
  fds[2] = options.stderr_path.empty() ? fds[1] : Open(options.stderr_path, kAppend);
  pid_t self = getpid();
  pid_ = fork();
  if (pid_ == 0) Become(self, fds, arguments.data(), environment.data());
  int error = errno;
  close(fds[0]);
  close(fds[1]);
  if (fds[2] != fds[1]) close(fds[2]);
  if (pid_ < 0) throw Failure("cannot start " + name_ + ": " + std::strerror(error));
  // Not pidfd_open(): its header in glibc 2.36 has no C linkage for C++.
  pid_fd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
  if (pid_fd_ < 0) throw Failure(std::string("pidfd_open: ") + std::strerror(errno));
}

Process::~Process() {
  if (pid_ > 0) Kill();
  if (pid_fd_ >= 0) close(pid_fd_);
}

bool Process::running() { return !WaitExit(Ms(0)).has_value(); }

void Process::Signal(int number) {
  if (!exit_) kill(pid_, number);
}

void Process::Kill() {
  Signal(SIGKILL);
  WaitExit();
}

std::optional<int> Process::WaitExit(Ms patience) {
  if (exit_) return exit_;
  pollfd ended{pid_fd_, POLLIN, 0};
  const Clock::time_point deadline = Clock::now() + patience;
  while (poll(&ended, 1,
              static_cast<int>(std::max<int64_t>(
                  0, std::chrono::ceil<Ms>(deadline - Clock::now()).count()))) < 0)
    if (errno != EINTR) throw Failure(std::string("poll: ") + std::strerror(errno));
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : kSignalExit + WTERMSIG(status);
  return exit_;
}

size_t AnonymousRssBytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoul(line.substr(8)) * 1024;
  throw Failure("process " + std::to_string(pid) + " has no RssAnon");
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!(file << text) || !file.flush()) throw Failure("cannot write " + path);
}

}  // namespace zsched::harness
