#include "bench/processes.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"
#include "zsched/client.h"

extern char** environ;

namespace zsched::bench {
namespace {

constexpr std::chrono::seconds kStartTime(30);

std::string ProgramDirectory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

// A port P with P, P+1 and P+2 free at this moment.
absl::StatusOr<int> FreePorts() {
  constexpr int kTries = 50, kPorts = 3;
  for (int i = 0; i < kTries; ++i) {
    int port = 0, found = 0;
    std::array<int, kPorts> sockets;
    for (int& fd : sockets) {
      fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      address.sin_port = htons(static_cast<uint16_t>(found == 0 ? 0 : port + found));
      socklen_t size = sizeof address;
      if (port + found > 65535 || bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
          getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
        continue;
      if (found++ == 0) port = ntohs(address.sin_port);
    }
    for (int fd : sockets) close(fd);
    if (found == kPorts) return port;
  }
  return Error(ErrorCode::kUnavailable, "no three neighbouring free ports on 127.0.0.1");
}

}  // namespace

absl::StatusOr<pid_t> Cluster::Spawn(const std::vector<std::string>& argv, const std::string& log) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t pid = 0;
  int error = posix_spawn(&pid, args[0], &actions, nullptr, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0)
    return Error(ErrorCode::kUnavailable, "cannot start " + argv[0] + ": " + std::strerror(error));
  return pid;
}

absl::StatusOr<std::unique_ptr<Cluster>> Cluster::Start(const ClusterOptions& options) {
  std::unique_ptr<Cluster> cluster(new Cluster(options));
  std::string pattern = options.data_root + "/zsched-bench-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr)
    return Error(ErrorCode::kUnavailable, "cannot make a directory in " + options.data_root + ": " +
                                              std::strerror(errno) +
                                              "; name another with --data-root");
  cluster->data_ = pattern;
  for (size_t node = 0; node < (options.standby ? 2 : 1); ++node) {
    ZS_ASSIGN_OR_RETURN(int port, FreePorts());
    cluster->addresses_[node] = "127.0.0.1:" + std::to_string(port);
    cluster->brokers_ += (node == 0 ? "" : ",") + cluster->addresses_[node];
  }
  ZS_RETURN_IF_ERROR(cluster->StartNode(0));
  if (options.standby) {
    ZS_RETURN_IF_ERROR(cluster->StartNode(1));
    ZS_RETURN_IF_ERROR(cluster->WaitForStandby().status());
  }
  ZS_RETURN_IF_ERROR(cluster->StartWorkers(options.workers));
  return cluster;
}

absl::Status Cluster::StartNode(size_t node) {
  const std::string name = node == 0 ? "broker" : "standby";
  std::vector<std::string> argv = {ProgramDirectory() + "/zsched-broker", "--data",
                                   data_ + "/" + name, "--listen", addresses_[node]};
  if (options_.standby)
    for (const char* flag : {"--node", node == 0 ? "primary" : "backup", "--peer"})
      argv.emplace_back(flag);
  if (options_.standby) argv.push_back(addresses_[1 - node]);
  argv.insert(argv.end(), options_.broker_flags.begin(), options_.broker_flags.end());
  ZS_ASSIGN_OR_RETURN(nodes_[node], Spawn(argv, data_ + "/" + name + ".log"));
  return absl::OkStatus();
}

absl::StatusOr<size_t> Cluster::WaitForStandby() const {
  auto client = Client::Create({.brokers = brokers_, .name = "zsched-bench"});
  if (!client.ok()) return client.status();
  auto deadline = std::chrono::steady_clock::now() + kStartTime;
  while (std::chrono::steady_clock::now() < deadline) {
    auto status = (*client)->Status();
    if (status.ok() && status->role == BrokerRole::kActiveSync)
      return status->node == "primary" ? 0 : 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return Error(ErrorCode::kTimedOut, "the two brokers at " + brokers_ + " do not become a pair");
}

absl::Status Cluster::StartWorkers(int count) {
  for (int i = 0; i < count; ++i) {
    std::string name = "bench-" + std::to_string(workers_.size());
    ZS_ASSIGN_OR_RETURN(
        pid_t pid, Spawn({ProgramDirectory() + "/zsched-worker", "--brokers", brokers_, "--name",
                          name, "--concurrency", std::to_string(options_.concurrency)},
                         data_ + "/" + name + ".log"));
    workers_.push_back(pid);
  }
  return absl::OkStatus();
}

absl::Status Cluster::WaitForWorkers(int workers) const {
  auto client = Client::Create({.brokers = brokers_, .name = "zsched-bench"});
  if (!client.ok()) return client.status();
  auto deadline = std::chrono::steady_clock::now() + kStartTime;
  while (std::chrono::steady_clock::now() < deadline) {
    auto found = (*client)->Workers();
    if (found.ok() && static_cast<int>(found->size()) >= workers) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return Error(ErrorCode::kTimedOut, "the broker and its workers did not start at " + brokers_);
}

// CPU seconds of the process's life.
double Cluster::End(pid_t pid, int signal) {
  kill(pid, signal);
  rusage usage{};
  int status;
  if (wait4(pid, &status, 0, &usage) != pid) return 0;
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void Cluster::EndNode(size_t node, int signal) {
  killed_cpu_ += End(std::exchange(nodes_[node], 0), signal);
}
void Cluster::KillBroker() { EndNode(0, SIGKILL); }

double Cluster::Stop() {
  double cpu = killed_cpu_;
  // Workers first: they say goodbye to a broker that still listens.
  for (pid_t pid : std::exchange(workers_, {})) cpu += End(pid, SIGTERM);
  for (pid_t& pid : nodes_)
    if (pid != 0) cpu += End(std::exchange(pid, 0), SIGTERM);
  return cpu;
}

Cluster::~Cluster() {
  for (pid_t pid : workers_) End(pid, SIGKILL);
  for (pid_t pid : nodes_)
    if (pid != 0) End(pid, SIGKILL);
  std::error_code ignored;
  if (!data_.empty()) std::filesystem::remove_all(data_, ignored);
}

}  // namespace zsched::bench
