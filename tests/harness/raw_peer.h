// A peer that says exactly the bytes a test gives it, right or wrong. Owned by tests.
//
// Example:
//   RawPeer peer(cluster.client_endpoint());
//   peer.HelloAsClient();
//   peer.Say(MessageType::kSubmit, "nonsense");
//   EXPECT_EQ(peer.ReceiveError().code, ErrorCode::kMalformed);
//
// Threads: one.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "schemas/frame.h"
#include "schemas/verify.h"
#include "tests/harness/process.h"

namespace zsched::harness {

// A frame from the broker, opened; the body starts at a multiple of 8 and may be read with VerifyBody.
class Received {
 public:
  explicit Received(std::string_view bytes);
  const FrameHeader& header() const { return frame_.header; }
  MessageType type() const { return frame_.header.type; }
  // Throws Failure when the body is not a T.
  template <class T>
  const T& As() const {
    const T* table = VerifyBody<T>(frame_.body);
    if (table == nullptr) throw Failure("a frame from the broker has a wrong body");
    return *table;
  }

 private:
  AlignedCopy copy_;
  std::string own_;  // outlives the view when the bytes were aligned already
  FrameView frame_;
};

struct ErrorAnswer {
  ErrorCode code;
  std::string message;
  uint64_t request;
};

class RawPeer {
 public:
  // "tcp://127.0.0.1:PORT"; a DEALER.
  explicit RawPeer(const std::string& endpoint);
  ~RawPeer();
  RawPeer(const RawPeer&) = delete;
  RawPeer& operator=(const RawPeer&) = delete;

  // One message of one part. Throws Failure when the broker does not take it for long.
  void Send(std::string_view frame) { SendParts({std::string(frame)}); }
  void SendParts(const std::vector<std::string>& parts);
  // The next frame of the session that was opened last; before one, and for greetings, without a number.
  void Say(MessageType type, std::string_view body) { Send(Seal(type, body)); }
  // The same, and not sent: whoever does not send it leaves a gap.
  std::string Seal(MessageType type, std::string_view body);
  // The next frame; nullptr when none came in time.
  std::unique_ptr<Received> Receive(Ms patience = kPatience);
  // The next frame of this type, past all others. Throws Failure when none comes.
  std::unique_ptr<Received> Await(MessageType type);
  // The next frame, which must be an ERROR. Throws Failure otherwise.
  ErrorAnswer ReceiveError();
  // Reads and drops what is there now; how many frames.
  size_t Drain();

  // Opens a session. Throws Failure when it is refused.
  SessionId HelloAsClient();
  // `stale`: which of the leases held are refused; may be null.
  SessionId HelloAsWorker(const wire::Uuid& id, const std::string& name,
                          const std::vector<wire::LeaseRef>& held = {},
                          std::vector<uint64_t>* stale = nullptr);

 private:
  void* context_;
  void* socket_;
  SessionId session_;
  uint32_t sent_ = 0;  // number of the session's last frame
};

// The finished buffer of what `build(builder)` returns.
template <class Build>
std::string BodyOf(Build build) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(build(builder));
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

// A TCP connection that is not ZeroMQ's. Sends as much as the peer takes; false once it has closed the connection.
class RawTcp {
 public:
  explicit RawTcp(int port);
  ~RawTcp();
  RawTcp(RawTcp&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  RawTcp& operator=(RawTcp&&) = delete;
  bool Send(std::string_view bytes);
  // How many bytes the peer takes at once.
  size_t TrySend(std::string_view bytes);
  // So many bytes; fewer when the peer has closed the connection, or sends nothing for long.
  std::string Receive(size_t size);
  // Whether the broker ends the connection in time.
  bool AwaitClose(Ms patience = kPatience);

 private:
  int fd_;
};

}  // namespace zsched::harness
