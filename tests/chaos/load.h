// Clients that keep submitting while the ground moves, and remember every promise they were given. Owned by tests/chaos.
//
// Each producer has its own connection and thread. Every task has a payload of its own, by which it can be found again
// whatever id it got. Outcomes that the broker pushes are kept as well, to be held against what it says in the end.
//
// Example:
//   Load load(cluster, {.producers = 4, .seed = 7});
//   load.Allow(500);  load.AwaitAcks(200);  cluster.KillBroker(); …
//   std::vector<Promise> all = load.Finish();
//
// Threads: the test's own; producers lock what they share.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/harness/cluster.h"

namespace zsched::chaos {

enum class Kind { kEcho, kDelayed, kFlaky, kDoomed };

// A task that was acknowledged.
struct Promise {
  TaskId id;
  Kind kind;
  std::string payload;
};

struct LoadOptions {
  int producers = 4;
  uint64_t seed = 1;
};

class Load {
 public:
  Load(harness::Cluster& cluster, LoadOptions options);
  ~Load();

  // Every producer may submit so many tasks more; without room they wait.
  void Allow(size_t tasks_each);
  // Waits until so many tasks have been acknowledged in all. False at the deadline.
  [[nodiscard]] bool AwaitAcks(size_t total);
  size_t acks();
  // No more submits: waits for every ack that is due and gives all promises. Throws harness::Failure when a submit was
  // refused or its ack does not come.
  std::vector<Promise> Finish();
  // The outcomes that were pushed, by task; a task told twice stands in `twice`.
  std::map<TaskId, Outcome> outcomes();
  size_t outcome_count();
  std::vector<TaskId> twice();

 private:
  struct Producer {
    std::unique_ptr<Client> client;
    std::thread thread;
    std::mt19937_64 random;
    size_t submitted = 0;
  };
  void Produce(Producer& producer, int number);
  void OnOutcomes(std::span<Outcome> outcomes);
  void OnAck(Kind kind, const std::string& payload, absl::StatusOr<TaskId> id);

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t allowed_ = 0;  // of one producer, in all
  bool stop_ = false;
  size_t submitted_ = 0;
  std::vector<Promise> promises_;
  std::vector<std::string> refused_;
  std::map<TaskId, Outcome> outcomes_;
  std::vector<TaskId> twice_;
  std::vector<std::unique_ptr<Producer>> producers_;
};

}  // namespace zsched::chaos
