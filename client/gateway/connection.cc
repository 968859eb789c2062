#include "client/gateway/connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"

namespace zsched::gateway {
namespace {

constexpr size_t kReadBytes = 16 << 10;
// Small answers leave at once and whole; larger ones as they are made.
constexpr size_t kWriteBytes = 64 << 10;
// What is still read of a request that was answered before its end.
constexpr int64_t kDrainMs = 500;
constexpr size_t kDrainBytes = 4 << 20;
// How soon a thread that waits for its peer hears that the gateway ends.
constexpr int64_t kLookMs = 200;

int64_t MonoMs() { return SystemNow().mono_ms; }

void AddressOf(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    port = ntohs(v4->sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    port = ntohs(v6->sin6_port);
  }
  ip = text;
}

}  // namespace

Connection::Connection(socket_t socket, int64_t write_ms, const std::atomic<bool>& stop)
    : socket_(socket), write_ms_(write_ms), stop_(stop) {
  const int on = 1;
  setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() {
  shutdown(socket_, SHUT_WR);
  // A close with bytes that nobody read resets the connection, and the answer may be lost with it.
  if (drain_) {
    const int64_t deadline_ms = MonoMs() + kDrainMs;
    for (size_t drained = 0; drained < kDrainBytes && Fill(deadline_ms);) drained += in_.size();
  }
  close(socket_);
}

bool Connection::Await(short events, int64_t deadline_ms) const {
  for (;;) {
    const int64_t left_ms = deadline_ms - MonoMs();
    if (left_ms <= 0 || stop_.load(std::memory_order_relaxed)) return false;
    pollfd one{.fd = socket_, .events = events, .revents = 0};
    const int ready = poll(&one, 1, static_cast<int>(std::min(left_ms, kLookMs)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// Asks the kernel first: under load the bytes are there, and a poll would be a system call in vain.
bool Connection::Fill(int64_t deadline_ms) {
  in_.resize(kReadBytes);
  taken_ = 0;
  for (;;) {
    const ssize_t got = recv(socket_, in_.data(), in_.size(), MSG_DONTWAIT);
    in_.resize(got > 0 ? static_cast<size_t>(got) : got < 0 ? kReadBytes : 0);
    if (got > 0) return true;
    const bool again = got < 0 && (errno == EAGAIN || errno == EINTR);
    // The peer may wait for what is written, such as "100 Continue", before it sends more.
    ended_ = !again || !Flush();
    if (ended_ || !Await(POLLIN, deadline_ms)) {
      in_.clear();
      return false;
    }
  }
}

bool Connection::AwaitRequest(int64_t idle_ms, int64_t crowded_ms,
                              const std::function<bool()>& crowded) {
  if (taken_ < in_.size()) return true;
  const int64_t begun_ms = MonoMs();
  for (int64_t waited_ms = 0; waited_ms < idle_ms; waited_ms = MonoMs() - begun_ms) {
    if (Fill(begun_ms + std::min(waited_ms + kLookMs, idle_ms))) return true;
    if (ended_ || stop_.load(std::memory_order_relaxed)) return false;
    if (MonoMs() - begun_ms >= crowded_ms && crowded()) return false;
  }
  return false;
}

std::optional<std::string> Connection::ReadHead(int64_t request_ms) {
  deadline_ms_ = MonoMs() + request_ms;
  std::string head;
  for (;;) {
    // An empty line ends a head; one before it is from a client that sent one too many.
    while (taken_ < in_.size()) {
      const size_t end = in_.find('\n', taken_);
      const size_t count = (end == std::string::npos ? in_.size() : end + 1) - taken_;
      if (head.size() + count > kMaxHeadBytes) {
        head_too_long_ = true;
        return std::nullopt;
      }
      const size_t line = head.rfind('\n') + 1;  // 0 when there is none
      head.append(in_, taken_, count);
      taken_ += count;
      if (end == std::string::npos) continue;
      const std::string_view last = std::string_view(head).substr(line);
      if (!last.ends_with("\r\n")) return head;  // ParseHead says what is wrong with it
      if (last != "\r\n") continue;
      head.resize(line);
      if (!head.empty()) return head;
    }
    if (!Fill(deadline_ms_)) return std::nullopt;
  }
}

bool Connection::ReadBody(uint64_t bytes, std::string* to) {
  while (to->size() < bytes) {
    if (taken_ == in_.size() && !Fill(deadline_ms_)) return false;
    const size_t count = std::min<uint64_t>(bytes - to->size(), in_.size() - taken_);
    to->append(in_, taken_, count);
    taken_ += count;
  }
  return true;
}

void Connection::Offer(std::string request) {
  offered_ = std::move(request);
  offered_taken_ = 0;
}

ssize_t Connection::read(char* to, size_t size) {
  const size_t count = std::min(size, offered_.size() - offered_taken_);
  if (count == 0) return -1;
  std::memcpy(to, offered_.data() + offered_taken_, count);
  offered_taken_ += count;
  return static_cast<ssize_t>(count);
}

ssize_t Connection::write(const char* from, size_t size) {
  if (broken_) return -1;
  out_.append(from, size);
  if (out_.size() >= kWriteBytes && !Flush()) return -1;
  return static_cast<ssize_t>(size);
}

bool Connection::Flush() {
  int64_t deadline_ms = MonoMs() + write_ms_;
  // A slow line has the time anew for each piece; one that takes a byte now and then has not.
  size_t sent = 0, piece_end = kWriteBytes;
  while (!broken_ && sent < out_.size()) {
    const ssize_t count =
        send(socket_, out_.data() + sent, out_.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) sent += static_cast<size_t>(count);
    if (sent >= piece_end) {
      piece_end = sent + kWriteBytes;
      deadline_ms = MonoMs() + write_ms_;
    }
    const bool full = count < 0 && (errno == EAGAIN || errno == EINTR);
    if (count <= 0 && (!full || !Await(POLLOUT, deadline_ms))) broken_ = true;
  }
  out_.clear();
  return !broken_;
}

bool Connection::PeerGone() const {
  char byte;
  const ssize_t got = recv(socket_, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    AddressOf(address, ip, port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    AddressOf(address, ip, port);
}

}  // namespace zsched::gateway
