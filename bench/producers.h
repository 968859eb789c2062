// The clients of a throughput run: each on a thread of its own submits its share of the tasks and
// counts the outcomes that are pushed to it. Owned by bench.
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto producers, Producers::Connect({.tasks = 1'000'000}, brokers));
//   producers->Start();
//   while (producers->running()) { … producers->ended() … }
//   ZS_RETURN_IF_ERROR(producers->Finish());
//
// Threads: made and used by one; the counters may be read by any.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <latch>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "zsched/client.h"

namespace zsched::bench {

struct ProducerOptions {
  uint64_t tasks = 0;  // of all clients together
  uint32_t payload_bytes = 100;
  uint32_t batch = 100;  // tasks in one call; 1: Submit, otherwise SubmitBatch
  int clients = 1;
  uint64_t in_flight = 0;  // submitted and not ended, all clients together; 0: no bound
  uint32_t queues = 1;     // that tasks go to in turn
  // Concurrency keys likewise, each with a bound that it does not reach; 0: none.
  uint32_t keys = 0;
};

class Producers {
 public:
  // Every client connected, and the rules of keys set. TIMED_OUT, UNAVAILABLE.
  static absl::StatusOr<std::unique_ptr<Producers>> Connect(const ProducerOptions& options,
                                                            const std::string& brokers);
  // Gives up what is not done.
  ~Producers();

  void Start();
  // Tasks that have an outcome or were refused.
  uint64_t ended() const;
  // No client has failed, and not every task was acknowledged and has ended.
  bool running() const;
  // When the last submit was acknowledged. Requires: not running, nobody failed.
  std::chrono::steady_clock::time_point submitted_at() const;
  double tasks_per_frame() const;
  // Ends the clients and their threads. The first client's error; INTERNAL when tasks were refused
  // or failed. The submitting threads live until here, so that their CPU time can be read before.
  absl::Status Finish();

 private:
  struct Producer {
    uint64_t share = 0;
    std::atomic<bool> submitted{false};  // then the thread changes nothing here any more
    absl::Status status = {};
    std::chrono::steady_clock::time_point submitted_at = {};
    std::atomic<uint64_t> ended{0};  // of these:
    std::atomic<uint64_t> rejected{0}, failed{0};
    std::unique_ptr<Client> client = {};  // last: its thread uses the counters
  };

  explicit Producers(const ProducerOptions& options) : options_(options) {}
  void CountOutcomes(Producer& producer, std::span<Outcome> outcomes);
  void CountRejected(Producer& producer, uint64_t tasks);
  void AwaitRoom(const Producer& producer, uint64_t sent, uint64_t next) const;
  void Spread(uint64_t sent, std::span<TaskSpec> tasks) const;
  absl::Status Submit(Producer& producer);
  void JoinThreads();

  const ProducerOptions options_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::atomic<bool> stopping_{false};
  std::latch measured_{1};
  std::vector<std::thread> threads_;
};

}  // namespace zsched::bench
