// The link to the other broker, on a thread of its own: its heartbeats leave and are heard whatever disk and load do to the
// loop. Owned by broker/server.
//
//   loop ──SendToPeer, Publish──▶ queue ──▶ DEALER ──▶ the peer's ROUTER
//   loop ◀──TakeReceived, a wake-up── queue ◀── ROUTER ◀── the peer's DEALER
//
// What cannot be sent is lost, which the protocol allows (docs/ha.md).
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto peer, PeerThread::Start(zmq, {.listen = …, .peer = …}, wake));
//   peer->Publish(node.Heartbeat());
//   for (const std::string& frame : peer->TakeReceived()) …
//
// Threads: all from the loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/text.h"
#include "broker/replication/peer_frames.h"
#include "broker/server/node.h"
#include "broker/server/threads.h"
#include "broker/transport/router_socket.h"

namespace zsched::broker {

struct PeerLinkOptions {
  HostPort listen;  // for what the peer sends
  HostPort peer;    // the peer's
  int64_t heartbeat_ms = 100;
  int64_t stall_ms = 2'000;  // a loop that has not been round for so long is stuck
};

class PeerThread final : public PeerOutbox {
 public:
  // UNAVAILABLE: the address cannot be bound. `zmq_context` and `loop` outlive it.
  static absl::StatusOr<std::unique_ptr<PeerThread>> Start(void* zmq_context,
                                                           const PeerLinkOptions& options,
                                                           WakeFd& loop);
  // Sends what is queued, if it can at once.
  ~PeerThread() override;

  void SendToPeer(std::string frame) override;
  // Since the last call, in order.
  std::vector<std::string> TakeReceived();
  // What heartbeats say from now on. Sent at once when anybody acts on the change.
  void Publish(const PeerHeartbeat& beat);
  // The loop has been round.
  void OnRound(int64_t mono_ms) { round_ms_.store(mono_ms, std::memory_order_relaxed); }

 private:
  PeerThread(const PeerLinkOptions& options, WakeFd& loop) : options_(options), loop_(loop) {}
  void Run();
  void Receive();
  void Send();
  void SendHeartbeat(int64_t mono_ms);
  bool Put(std::string frame);

  const PeerLinkOptions options_;
  WakeFd& loop_;
  WakeFd wake_;
  std::unique_ptr<RouterSocket> in_;
  void* out_ = nullptr;
  int64_t beat_due_ms_ = 0;

  std::mutex mutex_;
  std::vector<std::string> to_send_;   // under mutex_
  size_t to_send_bytes_ = 0;           // under mutex_
  std::vector<std::string> received_;  // under mutex_
  size_t received_bytes_ = 0;          // under mutex_
  PeerHeartbeat beat_;                 // under mutex_
  bool beat_changed_ = false;          // under mutex_
  std::atomic<int64_t> round_ms_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace zsched::broker
