// The link to the other broker: what the loop sends it and hears from it. Owned by broker/server.
//
//   loop ──SendToPeer──▶ DEALER ──▶ the peer's ROUTER
//   loop ◀──Receive── ROUTER ◀── the peer's DEALERs: its loop's, its heartbeats'
//
// The loop uses the sockets itself: a commit waits for two frames, and each thread on their way would cost them its waking.
// What cannot be sent is lost, which the protocol allows (docs/ha.md).
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto peer, PeerLink::Open(zmq, listen, address));
//   peer->SendToPeer(frame);
//   peer->Receive([&](std::string_view frame) { …; return true; });
//
// Threads: one owner each.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/text.h"
#include "broker/server/node.h"
#include "broker/transport/router_socket.h"

namespace zsched::broker {

// A DEALER that is connected to the peer, or tries to be.
class PeerSocket {
 public:
  // `zmq_context` outlives it.
  PeerSocket(void* zmq_context, const HostPort& peer);
  // Sends what is queued, if it can at once.
  ~PeerSocket();
  PeerSocket(const PeerSocket&) = delete;
  PeerSocket& operator=(const PeerSocket&) = delete;

  // Never blocks. It is lost when the peer is away, or reads nothing.
  void Send(std::string frame);

 private:
  void* socket_;
};

class PeerLink final : public PeerOutbox {
 public:
  // `listen`: where this broker hears; `peer`: where the other one does. UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<PeerLink>> Open(void* zmq_context, const HostPort& listen,
                                                        const HostPort& peer);

  void SendToPeer(std::string frame) override { out_.Send(std::move(frame)); }
  // For zmq_poll: something has come.
  void* handle() const { return in_->handle(); }
  // Calls `visit` with frames that have come, until it returns false; each starts at a multiple of 8 and lives for the call.
  // Returns whether there may be more.
  bool Receive(absl::FunctionRef<bool(std::string_view frame)> visit);

 private:
  PeerLink(void* zmq_context, const HostPort& peer, std::unique_ptr<RouterSocket> in)
      : in_(std::move(in)), out_(zmq_context, peer) {}

  const std::unique_ptr<RouterSocket> in_;
  PeerSocket out_;
};

}  // namespace zsched::broker
