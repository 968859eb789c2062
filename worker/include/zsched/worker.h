// A worker: takes tasks from a zsched broker and runs your handlers on them. This is the public
// SDK; zsched-worker is a small program around it. A task runs at least once: make handlers
// idempotent, or use the fencing token of the context.
//
// Example (complete; link with zsched::worker):
//
//   #include <csignal>
//   #include "zsched/worker.h"
//
//   zsched::Worker* worker = nullptr;
//
//   int main() {
//     zsched::WorkerOptions options;
//     options.brokers = "10.0.0.1:5570,10.0.0.2:5570";
//     options.queues = {"images"};
//     auto made = zsched::Worker::Create(options);
//     if (!made.ok()) return 1;
//     worker = made->get();
//     absl::Status registered = worker->Register("greet", [](zsched::TaskContext& task) {
//       return zsched::TaskResult::Ok("hello " + std::string(task.payload()), "text/plain");
//     });
//     if (!registered.ok()) return 1;
//     std::signal(SIGTERM, [](int) { worker->Drain(); });
//     return worker->Run().ok() ? 0 : 1;
//   }
//
// Threads: Run() keeps the session on the thread that calls it, which no handler can block, and
// runs handlers on `concurrency` threads of its own. Register before Run. Drain and Stop from any
// thread or signal handler.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/ids.h"
#include "zsched/task.h"

namespace zsched {

inline constexpr int kMaxConcurrency = 1024;

// Changes worth a line in a log. Reported on the thread in Run(); the callback must not block.
struct WorkerEvent {
  enum class Kind : uint8_t {
    kConnected,       // a session is open; `session` names it
    kDisconnected,    // it was lost; `message` says why. Running attempts go on
    kNoBroker,        // no session could be opened; said once, then the worker keeps trying
    kDraining,        // asked to, by Drain() or the broker, or to be recycled
    kSlotsBlocked,    // `count` slots are held by handlers whose attempt is over (timed out, taken
                      // away) and that do not return: the worker has so much less concurrency
    kSlotsReturned,   // some did return; `count` are still held
    kResultsRefused,  // the broker called `count` results stale: other attempts had taken over
  };
  Kind kind;
  std::string message;
  SessionId session;
  uint64_t count = 0;
};
std::string_view NameOf(WorkerEvent::Kind kind);

struct WorkerOptions {
  std::string brokers = "127.0.0.1:5570";  // "host:port[,host:port]", base addresses
  std::vector<std::string> queues;         // to serve; empty: every queue
  int concurrency = 0;                     // attempts at once, 1..kMaxConcurrency; 0: one a core
  std::string name;                        // what people see; empty: host name and process id
  std::vector<std::pair<std::string, std::string>> labels;
  // A process that has done so much drains by itself, and asks to be replaced: see
  // Worker::due_for_recycling. 0: never.
  uint64_t recycle_after_tasks = 0;         // attempts ended; each worker adds a random 0 to 10 %
  uint64_t recycle_after_memory_bytes = 0;  // resident in RAM, looked at with every heartbeat
  std::function<void(const WorkerEvent&)> on_event;  // may be empty
};

// Figures since Create. A snapshot, at most one round of the thread in Run() old.
struct WorkerStats {
  uint64_t ended = 0;  // attempts whose outcome was reported
  uint64_t timed_out = 0;
  uint64_t abandoned = 0;
  uint64_t refused = 0;   // results that the broker called stale
  uint64_t released = 0;  // tasks given back unstarted
  uint64_t unacked = 0;   // results not acknowledged at the moment
  uint32_t granted = 0;   // credit in force
};

class Worker {
 public:
  // INVALID_ARGUMENT names the option that is wrong.
  static absl::StatusOr<std::unique_ptr<Worker>> Create(WorkerOptions options);
  // Requires that Run() is not running. Handlers that were abandoned may still be: see Run.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // `type`: 1..128 bytes of UTF-8 without control characters, at most kMaxWorkerTypes of them; not
  // registered before. INVALID_ARGUMENT otherwise. Before Run only.
  absl::Status Register(std::string type, TaskHandler handler);

  // Serves until drained. OK: everything held was finished or given back, and acknowledged.
  // UNAVAILABLE: drained, but no broker could be reached to take the last results; it will have
  // these tasks done again. INVALID_ARGUMENT: no type is registered. RESOURCE_EXHAUSTED: the system
  // gives no thread or socket. Only once in the life of a Worker.
  //
  // A handler that does not return after its timeout keeps its thread; Run does not wait for it in
  // the end, and leaves the thread behind. What that handler uses must then live on.
  absl::Status Run();

  // Takes no new tasks, gives back what has not started, finishes what runs, waits for the broker
  // to have all results, then lets Run() return. For good. Signal-safe.
  void Drain() noexcept;
  // As Drain, and cancels what runs (TaskContext::cancelled()). Signal-safe.
  void Stop() noexcept;

  // After Run() has returned OK: it did because of WorkerOptions::recycle_…, and nobody has asked it
  // to end. Nothing is held, so the program may begin anew at once, in a new process (exec).
  bool due_for_recycling() const;

  // Any thread.
  WorkerStats stats() const;
  Uuid id() const;
  const std::string& name() const;

 private:
  class Impl;
  explicit Worker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zsched
