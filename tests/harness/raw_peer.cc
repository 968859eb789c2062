#include "tests/harness/raw_peer.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include <cerrno>
#include <cstring>
#include <random>

namespace zsched::harness {
namespace {

wire::Uuid RandomUuid() {
  std::random_device device;
  auto word = [&] { return uint64_t{device()} << 32 | device(); };
  return {word(), word()};
}

int Milliseconds(Ms patience) { return static_cast<int>(patience.count()); }

}  // namespace

Received::Received(std::string_view bytes) {
  // AlignedCopy copies only what is not aligned, so the bytes are kept here as well.
  own_ = std::string(bytes);
  auto frame = OpenFrame(copy_.Align(own_));
  if (!frame.ok()) throw Failure("the broker sent a bad frame: " + MessageOf(frame.status()));
  frame_ = *frame;
}

RawPeer::RawPeer(const std::string& endpoint)
    : context_(zmq_ctx_new()), socket_(zmq_socket(context_, ZMQ_DEALER)) {
  int linger = 0;
  zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof linger);
  if (zmq_connect(socket_, endpoint.c_str()) != 0)
    throw Failure("cannot connect to " + endpoint + ": " + zmq_strerror(zmq_errno()));
}

RawPeer::~RawPeer() {
  zmq_close(socket_);
  zmq_ctx_term(context_);
}

void RawPeer::SendParts(const std::vector<std::string>& parts) {
  int timeout = Milliseconds(kPatience);
  zmq_setsockopt(socket_, ZMQ_SNDTIMEO, &timeout, sizeof timeout);
  for (size_t i = 0; i < parts.size(); ++i) {
    int more = i + 1 < parts.size() ? ZMQ_SNDMORE : 0;
    if (zmq_send(socket_, parts[i].data(), parts[i].size(), more) < 0)
      throw Failure(std::string("the broker takes no frame: ") + zmq_strerror(zmq_errno()));
  }
}

std::unique_ptr<Received> RawPeer::Receive(Ms patience) {
  zmq_pollitem_t item{socket_, 0, ZMQ_POLLIN, 0};
  if (zmq_poll(&item, 1, patience.count()) <= 0) return nullptr;
  zmq_msg_t message;
  zmq_msg_init(&message);
  std::unique_ptr<Received> frame;
  if (zmq_msg_recv(&message, socket_, ZMQ_DONTWAIT) >= 0) {
    std::string bytes(static_cast<char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    frame = std::make_unique<Received>(bytes);
  }
  zmq_msg_close(&message);
  if (frame != nullptr &&
      (frame->type() == MessageType::kWelcome || frame->type() == MessageType::kWorkerWelcome)) {
    session_ = SessionId(frame->header().session);
    sent_ = 0;
  }
  return frame;
}

std::unique_ptr<Received> RawPeer::Await(MessageType type) {
  const Clock::time_point deadline = Clock::now() + kPatience;
  while (Clock::now() < deadline) {
    auto frame = Receive(std::chrono::ceil<Ms>(deadline - Clock::now()));
    if (frame != nullptr && frame->type() == type) return frame;
  }
  throw Failure("the broker sent no frame of type " + std::to_string(static_cast<int>(type)));
}

ErrorAnswer RawPeer::ReceiveError() {
  auto frame = Receive();
  if (frame == nullptr) throw Failure("the broker did not answer");
  if (frame->type() != MessageType::kError)
    throw Failure("the broker answered by type " + std::to_string(static_cast<int>(frame->type())) +
                  " instead of ERROR");
  const auto& error = frame->As<wire::Error>();
  return {ErrorFromNumber(error.code()), std::string(TextOf(error.message())), error.request()};
}

size_t RawPeer::Drain() {
  size_t count = 0;
  while (Receive(Ms(0)) != nullptr) ++count;
  return count;
}

std::string RawPeer::Seal(MessageType type, std::string_view body) {
  const uint32_t number = session_ && !IsGreeting(type) ? ++sent_ : 0;
  return SealFrame({.type = type, .number = number, .session = session_.value()}, body);
}

SessionId RawPeer::HelloAsClient() {
  wire::Uuid id = RandomUuid();
  Say(MessageType::kHello,
      BodyOf([&](auto& b) { return wire::CreateHelloDirect(b, &id, "raw", "0"); }));
  Await(MessageType::kWelcome);
  return session_;
}

SessionId RawPeer::HelloAsWorker(const wire::Uuid& id, const std::string& name,
                                 const std::vector<wire::LeaseRef>& held,
                                 std::vector<uint64_t>* stale) {
  Say(MessageType::kWorkerHello, BodyOf([&](auto& b) {
        return wire::CreateWorkerHelloDirect(b, &id, name.c_str(), "localhost", "0", 1, nullptr,
                                             nullptr, nullptr, 1, false, &held);
      }));
  auto welcome = Await(MessageType::kWorkerWelcome);
  if (auto* refused = welcome->As<wire::WorkerWelcome>().stale();
      stale != nullptr && refused != nullptr)
    stale->assign(refused->begin(), refused->end());
  return session_;
}

RawTcp::RawTcp(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    throw Failure(std::string("connect: ") + std::strerror(errno));
}

RawTcp::~RawTcp() {
  if (fd_ >= 0) close(fd_);
}

bool RawTcp::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

size_t RawTcp::TrySend(std::string_view bytes) {
  ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return static_cast<size_t>(std::max<ssize_t>(sent, 0));
}

std::string RawTcp::Receive(size_t size) {
  std::string bytes(size, '\0');
  size_t have = 0;
  while (have < size) {
    pollfd item{fd_, POLLIN, 0};
    if (poll(&item, 1, Milliseconds(kPatience)) <= 0) break;
    ssize_t got = recv(fd_, bytes.data() + have, size - have, 0);
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

bool RawTcp::AwaitClose(Ms patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (true) {
    auto left = std::chrono::ceil<Ms>(deadline - Clock::now());
    pollfd item{fd_, POLLIN, 0};
    if (left.count() <= 0 || poll(&item, 1, Milliseconds(left)) <= 0) return false;
    char buffer[4096];  // the greeting of ZMTP, and then the end
    if (recv(fd_, buffer, sizeof buffer, 0) <= 0) return true;
  }
}

}  // namespace zsched::harness
