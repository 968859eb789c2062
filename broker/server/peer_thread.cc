#include "broker/server/peer_thread.h"

#include <pthread.h>
#include <zmq.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
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
// Taken from the socket at a time, so that heartbeats are not late.
constexpr size_t kFramesPerRound = 64;

void SetOption(void* socket, int option, int value) {
  ZS_CHECK(zmq_setsockopt(socket, option, &value, sizeof value) == 0);
}

void* Connect(void* context, const HostPort& peer) {
  void* socket = zmq_socket(context, ZMQ_DEALER);
  ZS_CHECK(socket != nullptr);
  SetOption(socket, ZMQ_SNDHWM, kSendFrames);
  SetOption(socket, ZMQ_RCVHWM, 1);     // nobody answers here
  SetOption(socket, ZMQ_IMMEDIATE, 1);  // nothing is queued for a peer that is away
  SetOption(socket, ZMQ_RECONNECT_IVL, kReconnectMs);
  SetOption(socket, ZMQ_RECONNECT_IVL_MAX, kReconnectMaxMs);
  SetOption(socket, ZMQ_CONNECT_TIMEOUT, kConnectTimeoutMs);
  SetOption(socket, ZMQ_HANDSHAKE_IVL, kHandshakeMs);
  SetOption(socket, ZMQ_TCP_MAXRT, kUnreadMs);
  SetOption(socket, ZMQ_LINGER, kLingerMs);
  SetOption(socket, ZMQ_IPV6, peer.host.find(':') != std::string::npos ? 1 : 0);
  // A wrong address was refused when the settings were read; a host without an address is looked up again and again.
  ZS_CHECK(zmq_connect(socket, ToZmqEndpoint(peer).c_str()) == 0);
  return socket;
}

void FreeString(void*, void* frame) { delete static_cast<std::string*>(frame); }

}  // namespace

absl::StatusOr<std::unique_ptr<PeerThread>> PeerThread::Start(void* zmq_context,
                                                              const PeerLinkOptions& options,
                                                              WakeFd& loop) {
  std::unique_ptr<PeerThread> peer(new PeerThread(options, loop));
  auto in = RouterSocket::Bind(zmq_context, options.listen, kPeerSocket);
  if (!in.ok()) return in.status();
  peer->in_ = *std::move(in);
  peer->out_ = Connect(zmq_context, options.peer);
  peer->round_ms_.store(SystemNow().mono_ms);
  peer->thread_ = std::thread([link = peer.get()] { link->Run(); });
  pthread_setname_np(peer->thread_.native_handle(), "zsched-peer");
  return peer;
}

PeerThread::~PeerThread() {
  if (thread_.joinable()) {
    stop_.store(true);
    wake_.Wake();
    thread_.join();
  }
  if (out_ != nullptr) zmq_close(out_);
}

// --- The loop's side ------------------------------------------------------------------------------

void PeerThread::SendToPeer(std::string frame) {
  {
    std::lock_guard lock(mutex_);
    if (to_send_bytes_ + frame.size() > kPeerQueueBytes) return;
    to_send_bytes_ += frame.size();
    to_send_.push_back(std::move(frame));
  }
  wake_.Wake();
}

std::vector<std::string> PeerThread::TakeReceived() {
  std::lock_guard lock(mutex_);
  received_bytes_ = 0;
  return std::exchange(received_, {});
}

void PeerThread::Publish(const PeerHeartbeat& beat) {
  {
    std::lock_guard lock(mutex_);
    const bool acts = beat.state.role != beat_.state.role || beat.state.known != beat_.state.known;
    beat_ = beat;
    if (!acts) return;
    beat_changed_ = true;
  }
  wake_.Wake();
}

// --- The thread -----------------------------------------------------------------------------------

void PeerThread::Run() {
  while (!stop_.load()) {
    const int64_t now_ms = SystemNow().mono_ms;
    zmq_pollitem_t items[] = {{nullptr, wake_.fd(), ZMQ_POLLIN, 0},
                              {in_->handle(), 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, 2, std::clamp<int64_t>(beat_due_ms_ - now_ms, 0, options_.heartbeat_ms));
    if (items[0].revents & ZMQ_POLLIN) wake_.Clear();
    Receive();
    SendHeartbeat(SystemNow().mono_ms);
    Send();
  }
}

void PeerThread::Receive() {
  std::vector<std::string> frames;
  size_t bytes = 0;
  in_->Receive(kFramesPerRound, [&](std::string_view, std::string_view frame) {
    bytes += frame.size();
    frames.emplace_back(frame);
    return true;
  });
  if (frames.empty()) return;
  {
    std::lock_guard lock(mutex_);
    // A loop that takes nothing has no use for more; what is lost is asked for again.
    if (received_bytes_ + bytes > kPeerQueueBytes) return;
    received_bytes_ += bytes;
    std::move(frames.begin(), frames.end(), std::back_inserter(received_));
  }
  loop_.Wake();
}

void PeerThread::SendHeartbeat(int64_t mono_ms) {
  PeerHeartbeat beat;
  {
    std::lock_guard lock(mutex_);
    if (!std::exchange(beat_changed_, false) && mono_ms < beat_due_ms_) return;
    beat = beat_;
  }
  if (beat.state.life == 0) return;  // nothing was published yet
  beat_due_ms_ = mono_ms + options_.heartbeat_ms;
  beat.state.stuck = mono_ms - round_ms_.load(std::memory_order_relaxed) > options_.stall_ms;
  Put(SealPeerFrame(beat));
}

void PeerThread::Send() {
  std::vector<std::string> frames;
  {
    std::lock_guard lock(mutex_);
    frames = std::exchange(to_send_, {});
    to_send_bytes_ = 0;
  }
  for (std::string& frame : frames)
    if (!Put(std::move(frame))) return;
}

// False: the peer is away, or reads nothing.
bool PeerThread::Put(std::string frame) {
  auto* owned = new std::string(std::move(frame));
  zmq_msg_t message;
  ZS_CHECK(zmq_msg_init_data(&message, owned->data(), owned->size(), FreeString, owned) == 0);
  if (zmq_msg_send(&message, out_, ZMQ_DONTWAIT) >= 0) return true;
  zmq_msg_close(&message);
  return false;
}

}  // namespace zsched::broker
