// The running broker: sockets, clocks and threads around an Engine. Owned by broker/server; the
// only place that composes core, journal and transport.
//
//   loop thread: poll ▶ committed? ▶ replies ▶ worker frames ▶ client frames ▶ tick ▶ end round ▶ hand batch to journal
//
// Example:
//   auto server = Server::Start(config);
//   absl::Status status = (*server)->Run();     // until Stop(), from a signal handler or another thread
//
// Threads: Start and Run on one thread; Stop from any, async-signal-safe; Reconfigure from any.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "base/text.h"
#include "broker/journal/journal.h"
#include "broker/server/engine.h"
#include "broker/server/threads.h"
#include "broker/transport/router_socket.h"

namespace zsched::broker {

struct ServerConfig {
  CoreConfig core;
  LmdbOptions journal;
  std::string node = "primary";
  HostPort listen;
  HostPort worker_listen;
  double map_watermark = 0.85;              // of the map: submits are refused above it
  uint64_t disk_reserve_bytes = 512 << 20;  // submits are refused when less is free
};

class Server : private Outbox {
 public:
  // Opens the journal, rebuilds the state, binds the sockets. UNAVAILABLE, CONFLICT, DATA_LOSS…:
  // one line for the operator.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerConfig& config);
  ~Server() override;

  // Serves until Stop(); then commits what is open, sends what waited for it, tells the peers. An
  // error means that nothing more could be made durable: the process must end without another word.
  absl::Status Run();
  void Stop();
  // New limits and times for the core, from the next round on. Any thread.
  void Reconfigure(const CoreConfig& config);

  const HostPort& client_address() const { return clients_->address(); }
  const HostPort& worker_address() const { return workers_->address(); }
  const Engine& engine() const { return *engine_; }

 private:
  explicit Server(const ServerConfig& config);
  Delivery Send(Endpoint endpoint, std::string_view routing_id, const FrameHeader& header,
                std::string_view body) override;
  bool HasRoom(Endpoint endpoint, std::string_view routing_id) override;
  RouterSocket& SocketOf(Endpoint endpoint) {
    return endpoint == Endpoint::kClient ? *clients_ : *workers_;
  }
  absl::Status Bind();
  void WaitForWork();
  absl::Status Round();
  absl::Status TakeCommit();
  absl::Status TakeReplies();
  void WatchRoom();
  void ReturnMemory();
  void TakeNewConfig();
  void ReadSockets(Now now);
  void HandOver();
  absl::Status Finish();

  ServerConfig config_;
  void* zmq_ = nullptr;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<RouterSocket> clients_, workers_;
  std::unique_ptr<Engine> engine_;
  WakeFd wake_;
  std::unique_ptr<JournalThread> journal_thread_;
  std::unique_ptr<QueryThread> query_thread_;
  Batch
      batches_[2];  // one at the journal, one committed last: the cache of what was just submitted
  int at_journal_ = 0;
  size_t most_queued_ = 0;        // in the send queues, since memory was last given back
  bool more_input_ = false;       // a socket was left with frames in it
  std::mutex reconfigure_mutex_;  // taken once a reload and once a flagged round
  CoreConfig new_config_;
  std::atomic<bool> reconfigured_{false};
  std::atomic<bool> stop_{false};
};

}  // namespace zsched::broker
