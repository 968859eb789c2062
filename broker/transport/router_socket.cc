#include "broker/transport/router_socket.h"

#include <zmq.h>

#include <cerrno>
#include <new>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

// Frames queued for one peer. One that does not read is noticed after this many, or after its bytes
// (send_budget.h); with the windows and credits of the protocol a healthy one never gets there.
constexpr int kSendHighWaterMark = 256;
// A connection whose peer takes no bytes for so long is cut by the kernel: what is queued for a client
// that stopped reading does not stay longer than the session of one that fell silent.
constexpr int kUnreadMs = kClientTimeoutMs;
constexpr int kLingerMs = 500;  // on close: acks that were promised may still leave
constexpr int kBacklog = 1024;  // connections that wait for accept: a fleet that reconnects at once
constexpr int kHandshakeMs = 3000;  // a peer that connects and does not speak ZMTP

// A zmq message that closes itself.
class Message {
 public:
  Message() { zmq_msg_init(&message_); }
  // The charge ends when ZeroMQ needs the bytes no more.
  Message(size_t size, SendBudget::Charge charge) {
    auto* memory = static_cast<char*>(::operator new(sizeof charge + size));
    auto* owned = new (memory) SendBudget::Charge(std::move(charge));
    ZS_CHECK(zmq_msg_init_data(&message_, memory + sizeof charge, size, Free, owned) == 0);
  }
  ~Message() { zmq_msg_close(&message_); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  zmq_msg_t* get() { return &message_; }
  char* data() { return static_cast<char*>(zmq_msg_data(&message_)); }
  std::string_view view() { return {data(), zmq_msg_size(&message_)}; }
  bool more() { return zmq_msg_more(&message_) != 0; }

 private:
  static void Free(void*, void* hint) {
    static_cast<SendBudget::Charge*>(hint)->~Charge();
    ::operator delete(hint);
  }

  zmq_msg_t message_;
};

void SetOption(void* socket, int option, int value) {
  ZS_CHECK(zmq_setsockopt(socket, option, &value, sizeof value) == 0);
}

absl::StatusOr<int> BoundPort(void* socket) {
  char endpoint[256];
  size_t size = sizeof endpoint;
  if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0)
    return Error(ErrorCode::kInternal, "the bound address cannot be read");
  std::string_view text(endpoint);
  text.remove_prefix(std::string_view("tcp://").size());
  auto address = ParseHostPort(text, true);
  if (!address.ok()) return address.status();
  return address->port;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RouterSocket>> RouterSocket::Bind(void* zmq_context,
                                                                 const HostPort& address,
                                                                 SocketLimits limits) {
  void* socket = zmq_socket(zmq_context, ZMQ_ROUTER);
  if (socket == nullptr)
    return Error(ErrorCode::kInternal,
                 std::string("no ZeroMQ socket: ") + zmq_strerror(zmq_errno()));
  std::unique_ptr<RouterSocket> router(new RouterSocket(socket, address, limits.send));
  SetOption(socket, ZMQ_ROUTER_MANDATORY, 1);
  SetOption(socket, ZMQ_SNDHWM, kSendHighWaterMark);
  SetOption(socket, ZMQ_RCVHWM, limits.receive_frames);
  SetOption(socket, ZMQ_TCP_MAXRT, kUnreadMs);
  SetOption(socket, ZMQ_LINGER, kLingerMs);
  SetOption(socket, ZMQ_BACKLOG, kBacklog);
  SetOption(socket, ZMQ_HANDSHAKE_IVL, kHandshakeMs);
  SetOption(socket, ZMQ_IPV6, address.host.find(':') != std::string::npos ? 1 : 0);
  const int64_t max_bytes = limits.frame_bytes;
  ZS_CHECK(zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) == 0);
  std::string endpoint =
      address.port == 0 ? "tcp://" + address.host + ":*" : ToZmqEndpoint(address);
  if (zmq_bind(socket, endpoint.c_str()) != 0)
    return Error(ErrorCode::kUnavailable, "cannot listen on " + ToString(address) + ": " +
                                              zmq_strerror(zmq_errno()) +
                                              "; stop what uses it, or give another address");
  auto port = BoundPort(socket);
  if (!port.ok()) return port.status();
  router->address_.port = *port;
  return router;
}

RouterSocket::~RouterSocket() { zmq_close(socket_); }

bool RouterSocket::Receive(size_t max_messages,
                           absl::FunctionRef<bool(std::string_view, std::string_view)> visit) {
  for (size_t taken = 0; taken < max_messages; ++taken) {
    Message id;
    if (zmq_msg_recv(id.get(), socket_, ZMQ_DONTWAIT) < 0) {
      ZS_CHECK(zmq_errno() == EAGAIN || zmq_errno() == EINTR);
      return false;
    }
    if (!id.more()) {
      ++malformed_;
      continue;
    }
    Message body;
    ZS_CHECK(zmq_msg_recv(body.get(), socket_, ZMQ_DONTWAIT) >= 0);  // messages arrive whole
    if (body.more()) {
      ++malformed_;
      for (bool more = true; more;) {
        Message rest;
        ZS_CHECK(zmq_msg_recv(rest.get(), socket_, ZMQ_DONTWAIT) >= 0);
        more = rest.more();
      }
      continue;
    }
    if (!visit(id.view(), aligned_.Align(body.view()))) return true;
  }
  return true;
}

SendResult RouterSocket::Send(std::string_view routing_id, const FrameHeader& header,
                              std::string_view body) {
  const size_t size = kFrameHeaderBytes + body.size();
  std::optional<SendBudget::Charge> charge = budget_.Take(routing_id, size);
  if (!charge) return SendResult::kFull;
  if (zmq_send(socket_, routing_id.data(), routing_id.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0) {
    if (zmq_errno() == EHOSTUNREACH) return SendResult::kGone;
    ZS_CHECK(zmq_errno() == EAGAIN || zmq_errno() == EINTR);
    return SendResult::kFull;
  }
  Message message(size, *std::move(charge));
  SealHeader(header, body, message.data());
  std::memcpy(message.data() + kFrameHeaderBytes, body.data(), body.size());
  // The routing id was taken, so the peer's queue has room for the rest of the message.
  if (zmq_msg_send(message.get(), socket_, ZMQ_DONTWAIT) < 0) return SendResult::kGone;
  return SendResult::kSent;
}

}  // namespace zsched::broker
