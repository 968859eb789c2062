// One connection of the gateway as a stream of bytes with deadlines. Owned by client/gateway.
//
// The HTTP library asks a stream for bytes and gives it some; how long that may take in all, and how much
// it may be, only the stream can say. Writes are collected and leave in one piece at Flush, so that a
// small answer is one packet.
//
// Threads: one, the connection's.
#pragma once

#include <httplib.h>

#include <atomic>
#include <string>

namespace zsched::gateway {

// The head of a request: its line and its headers together.
inline constexpr size_t kMaxHeadBytes = 32 << 10;

class Connection final : public httplib::Stream {
 public:
  // `stop` is looked at while it waits. Closes the socket in the end.
  Connection(socket_t socket, int64_t write_ms, const std::atomic<bool>& stop);
  ~Connection() override;

  // Waits for the first byte of a request. False: the peer has gone, `idle_ms` have passed, or `stop`.
  bool AwaitRequest(int64_t idle_ms);
  // From now on: a request has so long, and its head kMaxHeadBytes.
  void BeginRequest(int64_t request_ms);
  // The head has been read; what follows is bounded by its reader.
  void BeginBody() { head_left_ = SIZE_MAX; }
  // The request will not be read to its end: this connection takes no other, and ends gently.
  void Abandon() { drain_ = true; }
  bool abandoned() const { return drain_; }
  // False: the peer does not read, or has gone.
  bool Flush();
  // Whether the peer has closed its side; looks without waiting.
  bool PeerGone() const;

  bool is_readable() const override { return true; }
  bool is_writable() const override { return !broken_; }
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  using httplib::Stream::write;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  // Waits for `events`. False: not by then, or `stop`.
  bool Await(short events, int64_t deadline_ms) const;
  bool Fill(int64_t deadline_ms);

  const socket_t socket_;
  const int64_t write_ms_;
  const std::atomic<bool>& stop_;
  std::string in_;    // received
  size_t taken_ = 0;  // of it
  std::string out_;   // not sent
  size_t head_left_ = 0;
  int64_t deadline_ms_ = 0;
  bool broken_ = false;
  bool drain_ = false;
};

}  // namespace zsched::gateway
