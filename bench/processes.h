// The broker and workers that a benchmark starts for itself. Owned by bench.
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto cluster, Cluster::Start({.workers = 2}));
//   … cluster->brokers() …
//   double cpu = cluster->Stop();       // CPU seconds that its processes used
//
// Threads: one.
#pragma once

#include <sys/types.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace zsched::bench {

struct ClusterOptions {
  int workers = 2;
  int concurrency = 2;                         // of each worker
  std::string data_root = "/var/tmp";          // a directory on the disk to be measured
  std::vector<std::string> broker_flags = {};  // beside --data and --listen
  bool standby = false;                        // a second broker, which follows the first
};

class Cluster {
 public:
  // Starts zsched-broker and zsched-worker from the directory of this program, on free ports of
  // loopback, with a fresh data directory. UNAVAILABLE: a program is missing or ended early; its
  // last lines are in the message.
  static absl::StatusOr<std::unique_ptr<Cluster>> Start(const ClusterOptions& options);
  // Kills what Stop did not end, removes the data directory.
  ~Cluster();

  // Until the broker answers and that many workers are connected. TIMED_OUT.
  absl::Status WaitForWorkers(int workers) const;
  absl::Status StartBroker() { return StartNode(0); }
  // Of a pair: 0 is the primary, 1 the backup.
  absl::Status StartNode(size_t node);
  // SIGKILL, SIGTERM; returns when it has ended.
  void EndNode(size_t node, int signal);
  // Until one is active and the other has all that it has; which of them is active. TIMED_OUT.
  absl::StatusOr<size_t> WaitForStandby() const;
  absl::Status StartWorkers(int count);
  void KillBroker();

  pid_t broker_pid() const { return nodes_[0]; }
  pid_t pid(size_t node) const { return nodes_[node]; }
  const std::vector<pid_t>& worker_pids() const { return workers_; }
  const std::string& brokers() const { return brokers_; }
  // The broker's data directory.
  std::string journal() const { return data_ + "/broker"; }
  // Ends all processes cleanly; CPU seconds (user and system) they used in their lives.
  double Stop();

 private:
  explicit Cluster(const ClusterOptions& options) : options_(options) {}
  absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& argv, const std::string& log);

  double End(pid_t pid, int signal);

  const ClusterOptions options_;
  std::string brokers_, data_;
  std::array<std::string, 2> addresses_;  // the second of a standby
  std::array<pid_t, 2> nodes_ = {};       // 0: does not run
  std::vector<pid_t> workers_;
  double killed_cpu_ = 0;  // of brokers that KillBroker ended
};

}  // namespace zsched::bench
