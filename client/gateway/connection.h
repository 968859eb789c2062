// One connection of the gateway as a stream of bytes with deadlines. Owned by client/gateway.
//
// Requests are read here, strictly and within a time; what the HTTP library gets to read is a plain request that
// was made of one (Offer). Its answer is collected, and leaves in one piece at Flush, so that a small one is one
// packet.
//
// Threads: one, the connection's.
#pragma once

#include <httplib.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>

namespace zsched::gateway {

// The head of a request: its line and its headers together.
inline constexpr size_t kMaxHeadBytes = 32 << 10;

class Connection final : public httplib::Stream {
 public:
  // `stop` is looked at while it waits. Closes the socket in the end.
  Connection(socket_t socket, int64_t write_ms, const std::atomic<bool>& stop);
  ~Connection() override;

  // Waits for the first byte of a request. False: the peer has gone, `stop`, `idle_ms` have passed, or
  // `crowded_ms` and `crowded` says that this thread is wanted for others; it is asked now and then.
  bool AwaitRequest(int64_t idle_ms, int64_t crowded_ms, const std::function<bool()>& crowded);
  // Reads up to and with the empty line, within `request_ms` from now, which is also the time that ReadBody
  // has. The lines without the empty one; nullopt: not whole in time, or longer than kMaxHeadBytes (see
  // head_too_long()).
  std::optional<std::string> ReadHead(int64_t request_ms);
  bool head_too_long() const { return head_too_long_; }
  // Exactly so many bytes. False: they did not come in time.
  bool ReadBody(uint64_t bytes, std::string* to);
  // What the library reads from now on in place of the socket: a request without a body.
  void Offer(std::string request);
  // The request will not be read to its end: this connection takes no other, and ends gently.
  void Abandon() { drain_ = true; }
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
  std::string offered_;
  size_t offered_taken_ = 0;
  int64_t deadline_ms_ = 0;
  bool head_too_long_ = false;
  bool broken_ = false;
  bool ended_ = false;  // nothing more will be received
  bool drain_ = false;
};

}  // namespace zsched::gateway
