// A broker for tests of clients: a real ROUTER socket that opens sessions and answers as the test tells it. It keeps no
// tasks. Owned by tests.
//
// Example:
//   FakeBroker broker;                               // listens, answers DISCOVER, HELLO, HEARTBEAT, GOODBYE and SUBMIT
//   broker.SetHandler([&](const FakeBroker::Peer& peer, const FrameView& frame) { ...; return true; });
//   broker.AwaitFrames(MessageType::kSubmit, 3);
//   broker.Stop();  broker.Start();                  // the same port, a higher epoch, no session survives
//
// Threads: the handlers run on the broker's thread; everything else from the test's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "schemas/frame.h"
#include "schemas/wire_generated.h"

namespace zsched::testing {

using Builder = flatbuffers::FlatBufferBuilder;

// The finished buffer of `builder`.
std::string BodyOf(const Builder& builder);
template <class Table>
std::string FinishBody(Builder& builder, flatbuffers::Offset<Table> root) {
  builder.Finish(root);
  return BodyOf(builder);
}

class FakeBroker {
 public:
  struct Peer {
    std::string routing_id;
    uint64_t session = 0;
  };
  struct Received {
    MessageType type;
    uint64_t epoch;
    uint64_t session;
    std::string body;
  };
  // Returns true when it has dealt with the frame, so that the default answer is not given.
  using FrameHandler = std::function<bool(const Peer&, const FrameView&)>;

  FakeBroker();
  ~FakeBroker();

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Ends without a word, as a crash does; Start listens on the same port again.
  void Stop();
  void Start();

  // Set while no frame of that kind can arrive, or through Post.
  void SetHandler(FrameHandler handler);
  // Runs `work` on the broker's thread and waits for it.
  void Post(std::function<void()> work);

  // --- On the broker's thread ---
  void Send(const Peer& peer, MessageType type, const std::string& body);
  void SendRaw(const Peer& peer, const std::string& frame);
  // The next header to this peer; it takes a number of its session.
  FrameHeader HeaderFor(const Peer& peer, MessageType type);
  // The default answer to a SUBMIT: all accepted.
  void Acknowledge(const Peer& peer, const wire::Submit& submit, bool duplicate = false);
  uint64_t next_id = 1;

  // The window, the heartbeat and the epoch that WELCOME names.
  uint32_t window_tasks = 65'536;
  uint64_t window_bytes = 16 << 20;
  uint32_t heartbeat_ms = 500;
  uint64_t epoch = 4;
  bool active = true;
  bool keep_frames = true;  // for received(); off for floods

  // --- On the test's thread ---
  // Blocks until at least `count` frames of `type` came, since the last Forget; false after 20 s.
  bool AwaitFrames(MessageType type, size_t count);
  std::vector<Received> received(MessageType type) const;
  void Forget();
  Peer last_peer() const;

 private:
  void Run();
  void Handle(const std::string& routing_id, std::string_view bytes);
  void Answer(const Peer& peer, const FrameView& frame);
  std::string View() const;
  std::string Welcome(uint64_t session) const;

  void* context_ = nullptr;
  void* socket_ = nullptr;
  int wake_fd_ = -1;
  int port_ = 0;
  bool stop_ = false;
  uint64_t next_session_ = 100;
  struct Stream {
    uint32_t sent = 0, received = 0;  // numbers of the last frames
  };
  std::map<uint64_t, Stream> sessions_;
  FrameHandler handler_;
  AlignedCopy aligned_;
  std::thread thread_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> works_;
  std::vector<Received> received_;
  std::map<MessageType, size_t> counts_;
  Peer last_peer_;
};

}  // namespace zsched::testing
