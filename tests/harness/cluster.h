// A broker, workers and clients as real processes on ports and in a directory of their own. Owned by tests.
//
// Example:
//   Cluster cluster;
//   cluster.StartBroker({"--max-queue-tasks", "10"});
//   Process& worker = cluster.StartWorker("w1");
//   CtlResult result = cluster.Ctl({"submit", "--type", "echo", "--payload", "hi", "--wait"});
//   cluster.KillBroker();                    // kill -9
//   cluster.StartBroker();                   // the same data, the same ports
//
//   Cluster pair;
//   pair.StartPair();                        // "primary" and "backup", one of them active
//   pair.KillNode(pair.Active());
//
// Data lies beside the build (a normal disk, as fsync has to mean something), in a new directory that goes with the
// cluster. When the test has failed by then, the last lines of every log are printed first; ZSCHED_TEST_KEEP=1 keeps the
// directory. Every process is gone when the destructor returns.
//
// Ports come in fours (clients, workers, the other broker, one spare) from below the kernel's ephemeral range, so that no outgoing connection can sit on
// them while a broker is down, and are reserved across processes, so that tests can run side by side.
//
// Threads: the test's main thread; clients have theirs.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/harness/process.h"
#include "zsched/client.h"

namespace zsched::harness {

using Args = std::vector<std::string>;

struct CtlResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};

struct RunOptions {
  std::string standard_input{};
  std::map<std::string, std::string> environment{};
  // A program that has nothing to wait for for ever; longer is a failure.
  Ms patience = kPatience;
};

// Directory of the programs under test: the one of the test itself.
std::string ProgramPath(const std::string& program);

// Four neighbouring ports on 127.0.0.1 that are this object's until it goes.
class PortRange {
 public:
  PortRange();
  ~PortRange();
  PortRange(const PortRange&) = delete;
  PortRange& operator=(const PortRange&) = delete;
  int first() const { return first_; }

 private:
  int first_ = 0;
  int reservation_ = -1;
};

class Cluster {
 public:
  Cluster();
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  const std::string& dir() const { return dir_; }
  std::string data() const { return dir_ + "/broker"; }
  // For --brokers: both of a pair.
  std::string brokers() const { return paired_ ? primary() + "," + backup() : primary(); }
  std::string client_endpoint() const { return "tcp://" + primary(); }
  std::string worker_endpoint() const;
  int client_port() const { return ports_.first(); }

  // Starts a broker on this cluster's data and ports, with the flags of the last start when none are given, and waits until
  // it says that it is ready. Throws Failure when it ends instead.
  Process& StartBroker();
  Process& StartBroker(const Args& flags);
  Process& broker() { return *broker_; }
  void KillBroker() { broker_->Kill(); }
  // SIGTERM; the exit code.
  int StopBroker();

  // --- A pair, instead of one broker. Its nodes are "primary" and "backup", which also name their logs.
  // Starts both and waits until one is active and the other its standby. `flags`: of both, also of later starts.
  void StartPair(const Args& flags = {});
  // Starts "witness", a third node, or starts it again. Returns its base address, for --arbiter witness=….
  std::string StartWitness();
  // Of a node, from its next start on.
  void SetEnvironment(const std::string& node, std::map<std::string, std::string> environment) {
    environments_[node] = std::move(environment);
  }
  // Waits until it says that it is ready, whatever its role.
  Process& StartNode(const std::string& node);
  Process& node(const std::string& node) { return *nodes_.at(node); }
  void KillNode(const std::string& node) { nodes_.at(node)->Kill(); }
  // SIGTERM; the exit code.
  int StopNode(const std::string& node);
  bool is_pair() const { return paired_; }
  static std::string Other(const std::string& node) {
    return node == "primary" ? "backup" : "primary";
  }
  // As it last said in its log, such as "kStandby".
  std::string RoleOf(const std::string& node) const;
  // The node that last said to be active, of those that run. Throws Failure when there is none at the deadline.
  std::string Active();
  void AwaitRole(const std::string& node, const std::string& prefix);

  // Starts a worker and waits until it is connected to the broker.
  Process& StartWorker(const std::string& name, const Args& flags = {},
                       const std::map<std::string, std::string>& environment = {});
  Process& worker(const std::string& name) { return *workers_.at(name); }

  // Runs zsched-ctl against this cluster to its end.
  CtlResult Ctl(const Args& args, const RunOptions& options = {});
  // The same, naming one node of a pair only.
  CtlResult CtlAt(const std::string& node, Args args);
  // Any program, by path, to its end; nothing is added to its arguments.
  CtlResult Run(const Args& argv, const RunOptions& options = {});

  // A connected client.
  std::unique_ptr<Client> NewClient(ClientOptions options = {});

  // What a process has written so far; `name` as given to StartWorker, or "broker".
  std::string Log(const std::string& name) const { return ReadFile(LogPath(name)); }
  // Waits until a line with `text` has been written; `from`: where in the log to look. False at the deadline.
  bool AwaitLog(const std::string& name, const std::string& text, size_t from = 0) const;
  // A broken test shows this much of each log.
  static constexpr size_t kShownLogBytes = 6000;

 private:
  std::string primary() const { return "127.0.0.1:" + std::to_string(ports_.first()); }
  std::string backup() const { return "127.0.0.1:" + std::to_string(more_ports_->first()); }
  std::unique_ptr<Process> StartBrokerProcess(const std::string& name, const Args& argv);
  std::string LogPath(const std::string& name) const { return dir_ + "/" + name + ".log"; }
  void PrintLogs() const;

  std::string dir_;
  PortRange ports_;
  Args broker_flags_;
  std::unique_ptr<Process> broker_;
  bool paired_ = false;
  std::optional<PortRange> more_ports_;  // of the backup
  std::optional<PortRange> witness_ports_;
  std::map<std::string, std::unique_ptr<Process>> nodes_;
  std::map<std::string, std::map<std::string, std::string>> environments_;
  std::map<std::string, std::unique_ptr<Process>> workers_;
  int runs_ = 0;
};

// A counter of the broker as `status` shows it; 0 when there is none of this name.
uint64_t CounterOf(Client& client, const std::string& name);
// Tasks of a state in all queues.
uint64_t CountOf(Client& client, TaskState state);
// Whether the task is in this state now; false when nobody answers.
bool IsIn(Client& client, TaskId id, TaskState state);
// Waits until all have ended. Throws Failure at the deadline.
std::vector<Outcome> WaitAll(Client& client, const std::vector<TaskId>& ids,
                             Ms patience = kPatience);
// All of them, in order. Throws Failure when one is missing.
std::vector<TaskInfo> GetAll(Client& client, const std::vector<TaskId>& ids);
// Submits one task and waits for its id. Throws Failure when it is refused.
TaskId SubmitOne(Client& client, const TaskSpec& task);

}  // namespace zsched::harness
