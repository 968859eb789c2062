// The threads beside the loop: one that commits batches, one that answers queries. Owned by
// broker/server. They exchange whole objects with the loop and share nothing else; each wakes the
// loop through its eventfd.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/process_usage.h"
#include "broker/core/batch.h"
#include "broker/journal/journal.h"
#include "broker/server/query.h"

namespace zsched::broker {

// An eventfd that makes zmq_poll return. Wake from any thread, Clear from the poller.
class WakeFd {
 public:
  WakeFd();
  ~WakeFd();
  WakeFd(const WakeFd&) = delete;
  WakeFd& operator=(const WakeFd&) = delete;
  int fd() const { return fd_; }
  void Wake();
  void Clear();

 private:
  int fd_;
};

// Commits one batch at a time. The hand-over is one atomic pointer each way: no lock on the hot
// path.
class JournalThread {
 public:
  struct Done {
    absl::Status status;
    uint64_t commit_us = 0;
    uint64_t flush_us = 0;  // of these, Journal::last_flush_us
  };

  JournalThread(Journal& journal, WakeFd& wake);
  // Finishes the batch it has.
  ~JournalThread();

  bool idle() const { return !busy_; }
  // Poll would return something.
  bool done() const { return busy_ && finished_.load(std::memory_order_relaxed); }
  // Requires idle(). `batch` is the thread's until Poll returns its result.
  void Commit(Batch& batch);
  // The result of the batch, once.
  std::optional<Done> Poll();
  // Blocks until the batch is done. For the shutdown.
  Done Wait();

 private:
  void Run();

  Journal& journal_;
  WakeFd& wake_;
  bool busy_ = false;  // loop side
  Done done_;          // written by the thread before finished_ is set
  std::atomic<Batch*> work_{nullptr};
  std::atomic<bool> finished_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// What costs system calls to know.
struct Surroundings {
  JournalUsage journal;
  ProcessUsage process;
};

// Runs queries in the order they come, and not faster than the loop takes the answers. They are off
// the hot path, so a mutex will do. Also looks every second at the room left on disk and in the map, and at
// what the process uses.
class QueryThread {
 public:
  QueryThread(Journal& journal, WakeFd& wake);
  ~QueryThread();

  void Add(std::vector<Query> queries);
  std::vector<QueryReply> TakeReplies();
  // The newest look; nullopt when there is no newer one than last time.
  std::optional<Surroundings> TakeUsage();
  // Much was freed: gives it back to the system, which malloc by itself does only for the end of its
  // heap. Holds up others' calls of malloc meanwhile, some 10 ms for some 100 MiB.
  void TrimMemory();

 private:
  void Run();
  void Answer(const Query& query);
  void LookAtUsage();

  Journal& journal_;
  WakeFd& wake_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Query> queries_;
  std::vector<QueryReply> replies_;
  std::optional<Surroundings> usage_;
  bool trim_ = false;
  bool stop_ = false;
  QueryRunner runner_;
  std::thread thread_;
};

}  // namespace zsched::broker
