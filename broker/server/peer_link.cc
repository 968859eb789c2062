#include "broker/server/peer_link.h"

#include <zmq.h>

#include <utility>

#include "base/check.h"
#include "broker/server/bounds.h"

namespace zsched::broker {
namespace {

// Frames in ZeroMQ's own queue to the peer: more than a window of parts.
constexpr int kSendFrames = 256;
constexpr int kReconnectMs = 50;
constexpr int kReconnectMaxMs = 500;
constexpr int kConnectTimeoutMs = 1'000;
constexpr int kHandshakeMs = 1'000;
// A peer whose host is gone takes nothing; what is queued for it is not worth keeping.
constexpr int kUnreadMs = 2'000;
// On close: a HANDOVER may still leave.
constexpr int kLingerMs = 100;
// Taken from the socket at a time: a part of the log each, so that a round stays short.
constexpr size_t kFramesPerRound = 64;

void FreeString(void*, void* frame) { delete static_cast<std::string*>(frame); }

}  // namespace

PeerSocket::PeerSocket(void* zmq_context, const HostPort& peer)
    : socket_(zmq_socket(zmq_context, ZMQ_DEALER)) {
  ZS_CHECK(socket_ != nullptr);
  auto set = [this](int option, int value) {
    ZS_CHECK(zmq_setsockopt(socket_, option, &value, sizeof value) == 0);
  };
  set(ZMQ_SNDHWM, kSendFrames);
  set(ZMQ_RCVHWM, 1);     // nobody answers here
  set(ZMQ_IMMEDIATE, 1);  // nothing is queued for a peer that is away
  set(ZMQ_RECONNECT_IVL, kReconnectMs);
  set(ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
  set(ZMQ_CONNECT_TIMEOUT, kConnectTimeoutMs);
  set(ZMQ_HANDSHAKE_IVL, kHandshakeMs);
  set(ZMQ_TCP_MAXRT, kUnreadMs);
  set(ZMQ_LINGER, kLingerMs);
  set(ZMQ_IPV6, peer.host.find(':') != std::string::npos ? 1 : 0);
  // A wrong address was refused when the settings were read; a host without an address is looked up again and again.
  ZS_CHECK(zmq_connect(socket_, ToZmqEndpoint(peer).c_str()) == 0);
}

PeerSocket::~PeerSocket() { zmq_close(socket_); }

void PeerSocket::Send(std::string frame) {
  auto* owned = new std::string(std::move(frame));
  zmq_msg_t message;
  ZS_CHECK(zmq_msg_init_data(&message, owned->data(), owned->size(), FreeString, owned) == 0);
  if (zmq_msg_send(&message, socket_, ZMQ_DONTWAIT) < 0) zmq_msg_close(&message);
}

absl::StatusOr<std::unique_ptr<PeerLink>> PeerLink::Open(void* zmq_context, const HostPort& listen,
                                                         const HostPort& peer) {
  ZS_ASSIGN_OR_RETURN(auto in, RouterSocket::Bind(zmq_context, listen, kPeerSocket));
  return std::unique_ptr<PeerLink>(new PeerLink(zmq_context, peer, std::move(in)));
}

bool PeerLink::Receive(absl::FunctionRef<bool(std::string_view frame)> visit) {
  return in_->Receive(kFramesPerRound,
                      [&](std::string_view, std::string_view frame) { return visit(frame); });
}

}  // namespace zsched::broker
