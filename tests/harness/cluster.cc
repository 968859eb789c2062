#include "tests/harness/cluster.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>

namespace zsched::harness {
namespace {

// Below Linux's default ephemeral range, which begins at 32768.
constexpr int kFirstPort = 20'000, kLastPort = 32'000;

std::filesystem::path ProgramDirectory() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

// An abstract Unix socket whose name says "these are taken"; the kernel takes it back with the process. -1: taken.
int Reserve(int port) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string name = "zsched-test-port-" + std::to_string(port);
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // a leading NUL: abstract
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0) return fd;
  close(fd);
  return -1;
}

// As ZeroMQ would bind it.
bool IsFree(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  bool free = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return free;
}

std::string MakeDirectory() {
  const char* root = std::getenv("ZSCHED_TEST_DIR");
  std::string pattern =
      (root != nullptr ? std::filesystem::path(root) : ProgramDirectory().parent_path()) /
      "test-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr)
    throw Failure("cannot make " + pattern + ": " + std::strerror(errno));
  return pattern;
}

template <class T>
T ValueOf(absl::StatusOr<T> value, const std::string& what) {
  if (!value.ok()) throw Failure(what + ": " + MessageOf(value.status()));
  return *std::move(value);
}

}  // namespace

std::string ProgramPath(const std::string& program) { return ProgramDirectory() / program; }

PortRange::PortRange() {
  // A start of our own for each process keeps searches from meeting.
  constexpr int kPorts = 4, kRanges = (kLastPort - kFirstPort) / kPorts;
  int start = static_cast<int>(static_cast<uint32_t>(getpid()) * 7919u % kRanges);
  for (int i = 0; i < kRanges; ++i) {
    int port = kFirstPort + kPorts * ((start + i) % kRanges);
    int fd = Reserve(port);
    if (fd < 0) continue;
    if (IsFree(port) && IsFree(port + 1) && IsFree(port + 2) && IsFree(port + 3)) {
      first_ = port;
      reservation_ = fd;
      return;
    }
    close(fd);
  }
  throw Failure("no four neighbouring free ports on 127.0.0.1");
}

PortRange::~PortRange() {
  if (reservation_ >= 0) close(reservation_);
}

Cluster::Cluster() : dir_(MakeDirectory()) {}

Cluster::~Cluster() {
  workers_.clear();
  nodes_.clear();
  broker_.reset();
  if (testing::Test::HasFailure() || std::uncaught_exceptions() > 0) PrintLogs();
  if (std::getenv("ZSCHED_TEST_KEEP") != nullptr) return;
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::string Cluster::worker_endpoint() const {
  return "tcp://127.0.0.1:" + std::to_string(ports_.first() + 1);
}

Process& Cluster::StartBroker() { return StartBroker(Args(broker_flags_)); }

Process& Cluster::StartBroker(const Args& flags) {
  broker_flags_ = flags;
  Args argv = {ProgramPath("zsched-broker"), "--data", data(), "--listen", brokers()};
  argv.insert(argv.end(), flags.begin(), flags.end());
  broker_ = StartBrokerProcess("broker", argv);
  return *broker_;
}

std::unique_ptr<Process> Cluster::StartBrokerProcess(const std::string& name, const Args& argv) {
  size_t from = Log(name).size();
  auto process = std::make_unique<Process>(
      argv, ProcessOptions{.stdout_path = LogPath(name), .environment = environments_[name]});
  bool ready = Await(
      [&] { return Log(name).find(" ready  ", from) != std::string::npos || !process->running(); });
  if (!ready || !process->running())
    throw Failure("the broker did not start: " + Log(name).substr(from));
  return process;
}

void Cluster::StartPair(const Args& flags) {
  paired_ = true;
  more_ports_.emplace();
  broker_flags_ = flags;
  StartNode("primary");
  StartNode("backup");
  const std::string active = Active();
  AwaitRole(Other(active), "kStandby");
  AwaitRole(active, "kActiveSync");
}

std::string Cluster::StartWitness() {
  if (!witness_ports_) witness_ports_.emplace();
  const std::string address = "127.0.0.1:" + std::to_string(witness_ports_->first());
  nodes_["witness"] =
      StartBrokerProcess("witness", {ProgramPath("zsched-broker"), "--data", dir_ + "/witness",
                                     "--node", "witness", "--listen", address});
  return address;
}

Process& Cluster::StartNode(const std::string& node) {
  const bool first = node == "primary";
  Args argv = {ProgramPath("zsched-broker"),
               "--data",
               dir_ + "/" + node,
               "--node",
               node,
               "--listen",
               first ? primary() : backup(),
               "--peer",
               first ? backup() : primary()};
  argv.insert(argv.end(), broker_flags_.begin(), broker_flags_.end());
  nodes_[node] = StartBrokerProcess(node, argv);
  return *nodes_[node];
}

int Cluster::StopNode(const std::string& node) {
  nodes_.at(node)->Signal(SIGTERM);
  std::optional<int> code = nodes_.at(node)->WaitExit();
  if (!code) throw Failure("the " + node + " did not end after SIGTERM");
  return *code;
}

std::string Cluster::RoleOf(const std::string& node) const {
  constexpr std::string_view kRole = " role  role=";
  const std::string log = Log(node);
  const size_t at = log.rfind(kRole);
  if (at == std::string::npos) return "";
  const size_t begin = at + kRole.size();
  return log.substr(begin, log.find_first_of(" \n", begin) - begin);
}

std::string Cluster::Active() {
  std::string active;
  auto is_active = [&](const std::string& node) {
    auto process = nodes_.find(node);
    return process != nodes_.end() && process->second->running() &&
           RoleOf(node).starts_with("kActive");
  };
  const bool found = Await([&] {
    for (const char* node : {"primary", "backup"})
      if (is_active(node)) active = node;
    return !active.empty();
  });
  if (!found) throw Failure("no node is active");
  return active;
}

void Cluster::AwaitRole(const std::string& node, const std::string& prefix) {
  if (!Await([&] { return RoleOf(node).starts_with(prefix); }))
    throw Failure("the " + node + " is " + RoleOf(node) + " and not " + prefix);
}

int Cluster::StopBroker() {
  broker_->Signal(SIGTERM);
  std::optional<int> code = broker_->WaitExit();
  if (!code) throw Failure("the broker did not end after SIGTERM");
  return *code;
}

Process& Cluster::StartWorker(const std::string& name, const Args& flags,
                              const std::map<std::string, std::string>& environment) {
  Args argv = {ProgramPath("zsched-worker"), "--brokers", brokers(), "--name", name};
  argv.insert(argv.end(), flags.begin(), flags.end());
  size_t from = Log(name).size();
  workers_[name] = std::make_unique<Process>(
      argv, ProcessOptions{.stdout_path = LogPath(name), .environment = environment});
  if (!AwaitLog(name, "connected to the active broker", from))
    throw Failure("worker " + name + " did not connect: " + Log(name).substr(from));
  return *workers_[name];
}

CtlResult Cluster::Ctl(const Args& args, const RunOptions& options) {
  Args argv = {ProgramPath("zsched-ctl")};
  argv.insert(argv.end(), args.begin(), args.end());
  // By the environment: a test's own --brokers goes before it.
  RunOptions with_brokers = options;
  with_brokers.environment.emplace("ZSCHED_BROKERS", brokers());
  return Run(argv, with_brokers);
}

CtlResult Cluster::CtlAt(const std::string& node, Args args) {
  const std::string both = brokers();
  const size_t comma = both.find(',');
  args.insert(args.begin(),
              {"--brokers", node == "primary" ? both.substr(0, comma) : both.substr(comma + 1)});
  return Ctl(args);
}

CtlResult Cluster::Run(const Args& argv, const RunOptions& options) {
  std::string prefix = dir_ + "/run-" + std::to_string(runs_++);
  ProcessOptions process{.stdout_path = prefix + ".out",
                         .stderr_path = prefix + ".err",
                         .environment = options.environment};
  if (!options.standard_input.empty()) {
    process.stdin_path = prefix + ".in";
    WriteFile(process.stdin_path, options.standard_input);
  }
  std::optional<int> code = Process(argv, process).WaitExit(options.patience);
  CtlResult result{code.value_or(-1), ReadFile(prefix + ".out"), ReadFile(prefix + ".err")};
  if (!code) throw Failure(argv[0] + " did not end; it said: " + result.out + result.err);
  return result;
}

std::unique_ptr<Client> Cluster::NewClient(ClientOptions options) {
  options.brokers = brokers();
  auto client = ValueOf(Client::Create(std::move(options)), "client");
  if (absl::Status status = client->WaitForBroker(kPatience.count()); !status.ok())
    throw Failure("the client found no broker: " + MessageOf(status));
  return client;
}

bool Cluster::AwaitLog(const std::string& name, const std::string& text, size_t from) const {
  return Await([&] { return Log(name).find(text, from) != std::string::npos; });
}

void Cluster::PrintLogs() const {
  std::vector<std::filesystem::path> logs;
  for (const auto& entry : std::filesystem::directory_iterator(dir_))
    if (entry.path().extension() == ".log") logs.push_back(entry.path());
  std::sort(logs.begin(), logs.end());
  for (const std::filesystem::path& path : logs) {
    std::string text = ReadFile(path);
    size_t from = text.size() > kShownLogBytes ? text.find('\n', text.size() - kShownLogBytes) : 0;
    std::cerr << "---- " << path.filename().string() << "\n" << text.substr(from) << "\n";
  }
}

uint64_t CounterOf(Client& client, const std::string& name) {
  StatusInfo status = ValueOf(client.Status(), "status");
  for (const CounterValue& counter : status.counters)
    if (counter.name == name) return counter.value;
  return 0;
}

uint64_t CountOf(Client& client, TaskState state) {
  StatusInfo status = ValueOf(client.Status(), "status");
  uint64_t count = 0;
  for (const QueueSummary& queue : status.queues) count += queue.counts[static_cast<size_t>(state)];
  return count;
}

bool IsIn(Client& client, TaskId id, TaskState state) {
  absl::StatusOr<TaskInfo> task = client.Get(id);
  return task.ok() && task->state == state;
}

std::vector<Outcome> WaitAll(Client& client, const std::vector<TaskId>& ids, Ms patience) {
  return ValueOf(client.WaitAll(ids, patience.count()),
                 "waiting for " + std::to_string(ids.size()) + " tasks");
}

std::vector<TaskInfo> GetAll(Client& client, const std::vector<TaskId>& ids) {
  std::vector<TaskInfo> tasks;
  for (size_t from = 0; from < ids.size(); from += kMaxQueryIds) {
    size_t size = std::min(kMaxQueryIds, ids.size() - from);
    GetResult found = ValueOf(client.Get(std::span(ids).subspan(from, size)), "get");
    if (!found.missing.empty())
      throw Failure(std::to_string(found.missing.size()) + " tasks are missing, such as " +
                    ToString(found.missing.front()));
    for (TaskInfo& task : found.tasks) tasks.push_back(std::move(task));
  }
  return tasks;
}

TaskId SubmitOne(Client& client, const TaskSpec& task) {
  return ValueOf(client.Submit(task).get(), "submit");
}

}  // namespace zsched::harness
