// The running broker: sockets, clocks and threads around a Node. Owned by broker/server; the
// only place that composes core, journal and transport.
//
//   loop thread: poll ▶ durable? ▶ peer, register ▶ committed? ▶ replies ▶ worker frames ▶ client frames ▶ tick ▶ end round
//                ▶ hand batch to journal and peer
//
// A node that is over (fenced, or its log is another than the active's) is replaced by one that reads the journal again; the
// sockets stay.
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
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/text.h"
#include "broker/journal/journal.h"
#include "broker/server/node.h"
#include "broker/server/threads.h"
#include "broker/transport/router_socket.h"

namespace zsched::broker {

class HeartbeatThread;
class PeerLink;
class RegisterThread;

// The other broker, and how the two find out who serves.
struct PairConfig {
  HostPort peer;         // its base address
  HostPort peer_listen;  // where this one hears it
  // The arbiter, if there is one.
  std::optional<HostPort> witness;  // its base address
  std::vector<std::string> etcd_urls;
  std::string name = "zsched";  // of the pair, in etcd
  std::string etcd_user, etcd_password, etcd_ca, etcd_cert, etcd_key;
  // docs/ha.md, "Roles"
  int64_t heartbeat_ms = 100;
  int64_t suspect_ms = 400;
  int64_t failover_ms = 700;

  bool arbitrated() const { return witness || !etcd_urls.empty(); }
};

struct ServerConfig {
  CoreConfig core;
  LmdbOptions journal;
  std::string node = "primary";
  HostPort listen;
  HostPort worker_listen;
  std::optional<PairConfig> pair;           // nullopt: it serves alone
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
  const Engine& engine() const { return node_->engine(); }
  wire::Role role() const;

 private:
  explicit Server(const ServerConfig& config);
  Delivery Send(Endpoint endpoint, std::string_view routing_id, const FrameHeader& header,
                std::string_view body) override;
  bool HasRoom(Endpoint endpoint, std::string_view routing_id) override;
  RouterSocket& SocketOf(Endpoint endpoint) {
    return endpoint == Endpoint::kClient ? *clients_ : *workers_;
  }
  Engine& Serving() { return node_->engine(); }
  absl::Status Bind();
  absl::Status StartPair();
  absl::StatusOr<std::unique_ptr<RegisterStore>> OpenRegister() const;
  absl::Status OpenNode();
  absl::Status CloseNode();
  absl::Status Reopen();
  absl::StatusOr<std::unique_ptr<Journal>> OpenCopy() const;
  absl::Status TakeCopy(Epoch epoch, Lsn lsn);
  absl::StatusOr<std::unique_ptr<MergeSource>> OpenMerge(JournalView& own);
  absl::Status CloseMerge(const absl::Status& merged);
  void WaitForWork();
  absl::Status Round();
  absl::Status TakeDurable();
  absl::Status TakeFromPeer();
  absl::Status Release();
  void AskRegister();
  void Publish();
  absl::Status TakeReplies();
  void WatchRoom();
  void ReturnMemory();
  void TakeNewConfig();
  void ReadSockets(Now now);
  void HandOver();
  absl::Status LeaveToStandby();
  absl::Status Finish();

  ServerConfig config_;
  void* zmq_ = nullptr;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<RouterSocket> clients_, workers_;
  std::unique_ptr<Node> node_;
  WakeFd wake_;
  uint64_t life_ = 0;  // of the process
  Uuid fresh_cluster_;
  std::string merging_;             // the archive
  std::unique_ptr<PeerLink> peer_;  // of a pair, as the next ones
  std::unique_ptr<HeartbeatThread> heart_;
  std::unique_ptr<RegisterThread> register_;
  bool more_from_peer_ = false;  // it was left with frames
  wire::Role logged_role_ = wire::Role::kFenced;
  std::string_view logged_trouble_;
  std::string logged_refusal_;
  Register published_;
  int64_t published_ms_ = 0;
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
