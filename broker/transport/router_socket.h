// One listening ROUTER socket: messages in, messages out, nothing that blocks. Owned by
// broker/transport.
//
// A message is a routing id and exactly one part; others are dropped and counted. Sends to a peer
// that is gone or whose queue is full fail at once and say which. zmq's exceptions and errno end
// here.
//
// Example:
//   auto socket = RouterSocket::Bind(context, {"127.0.0.1", 5570}, limits);
//   (*socket)->Receive(256, [&](std::string_view routing_id, std::string_view bytes) { … });
//   (*socket)->Send(routing_id, header, body) == SendResult::kSent;
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "base/text.h"
#include "broker/transport/send_budget.h"
#include "schemas/frame.h"
#include "schemas/limits.h"

namespace zsched::broker {

struct SocketLimits {
  int receive_frames = 0;                // of one peer, received and not taken
  int64_t frame_bytes = kMaxFrameBytes;  // a peer that sends a larger one is cut off
  SendLimits send;
};

enum class SendResult { kSent, kFull, kGone };

class RouterSocket {
 public:
  // Port 0 takes a free port. UNAVAILABLE: the address cannot be bound, and why. `zmq_context`
  // outlives the socket.
  static absl::StatusOr<std::unique_ptr<RouterSocket>> Bind(void* zmq_context,
                                                            const HostPort& address,
                                                            SocketLimits limits);
  ~RouterSocket();
  RouterSocket(const RouterSocket&) = delete;
  RouterSocket& operator=(const RouterSocket&) = delete;

  // As bound, with the real port.
  const HostPort& address() const { return address_; }
  // For zmq_poll.
  void* handle() const { return socket_; }

  // Takes up to `max_messages` that have arrived, until `visit` returns false. It gets a frame that
  // starts at a multiple of 8 and lives for the call. Returns whether there may be more.
  bool Receive(size_t max_messages,
               absl::FunctionRef<bool(std::string_view routing_id, std::string_view frame)> visit);

  // Seals header and body into one message. kFull: more is queued for this peer, or for all of them,
  // than may be.
  SendResult Send(std::string_view routing_id, const FrameHeader& header, std::string_view body);

  // Whether it is worth making a large frame for this peer; see SendBudget.
  // Of all peers, not yet written to their connections.
  size_t queued_bytes() const { return budget_.total_bytes(); }
  bool HasRoom(std::string_view routing_id) const { return budget_.HasRoom(routing_id); }

  uint64_t malformed() const { return malformed_; }

 private:
  RouterSocket(void* socket, HostPort address, SendLimits limits)
      : socket_(socket), address_(std::move(address)), budget_(limits) {}

  void* socket_;
  HostPort address_;
  SendBudget budget_;
  uint64_t malformed_ = 0;  // messages that were not (routing id, one part)
  AlignedCopy aligned_;
};

}  // namespace zsched::broker
