// A connection that speaks ZMTP 3.0 as a DEALER by hand, and reads only when a test says so: what ZeroMQ itself cannot
// play, because its I/O threads always read. Owned by tests.
//
// Example:
//   RawZmtp peer(cluster.client_port());
//   peer.HelloAsClient();
//   peer.Say(MessageType::kSubmit, body);     // and never read again
//
// Threads: one.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "schemas/frame.h"
#include "tests/harness/raw_peer.h"

namespace zsched::harness {

class RawZmtp {
 public:
  // Connects and shakes hands. Throws Failure when nobody does.
  explicit RawZmtp(int port);
  RawZmtp(RawZmtp&&) = default;

  // One message of one part. False when the broker has closed the connection; blocks while it does not read.
  bool Send(std::string_view frame);
  // The next frame of the session.
  bool Say(MessageType type, std::string_view body) { return Send(Seal(type, body)); }
  std::string Seal(MessageType type, std::string_view body);
  // The same frame so many times, each with its number, in one piece.
  bool SayAgain(MessageType type, std::string_view body, int times);
  // As Say, but does not wait for a broker that does not read now: false then, and nothing was said.
  bool TrySay(MessageType type, std::string_view body);
  // The next frame that the broker sent. Throws Failure when none comes.
  std::unique_ptr<Received> Receive();

  // Open a session, reading WELCOME. Throws Failure when it is refused.
  SessionId HelloAsClient();
  SessionId HelloAsWorker(const std::string& name, const std::string& queue);

 private:
  std::string Read(size_t size);
  // Flags and body of the next message or command.
  std::pair<char, std::string> ReadPart();
  void AwaitWelcome(MessageType type);

  RawTcp tcp_;
  std::string unsent_;  // of a frame that TrySay could not finish
  SessionId session_;
  uint32_t sent_ = 0;
};

}  // namespace zsched::harness
