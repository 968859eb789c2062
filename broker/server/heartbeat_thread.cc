#include "broker/server/heartbeat_thread.h"

#include <pthread.h>
#include <zmq.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace zsched::broker {

HeartbeatThread::HeartbeatThread(void* zmq_context, const HeartbeatOptions& options)
    : options_(options), round_ms_(SystemNow().mono_ms) {
  thread_ = std::thread([this, zmq_context] { Run(zmq_context); });
  pthread_setname_np(thread_.native_handle(), "zsched-heart");
}

HeartbeatThread::~HeartbeatThread() {
  stop_.store(true);
  wake_.Wake();
  thread_.join();
}

void HeartbeatThread::Publish(const PeerHeartbeat& beat) {
  {
    std::lock_guard lock(mutex_);
    const bool acts = beat.state.role != beat_.state.role || beat.state.known != beat_.state.known;
    beat_ = beat;
    if (!acts) return;
    beat_changed_ = true;
  }
  wake_.Wake();
}

void HeartbeatThread::Run(void* zmq_context) {
  PeerSocket socket(zmq_context, options_.peer);
  while (!stop_.load()) {
    zmq_pollitem_t item{nullptr, wake_.fd(), ZMQ_POLLIN, 0};
    zmq_poll(&item, 1, std::clamp<int64_t>(due_ms_ - SystemNow().mono_ms, 0, options_.interval_ms));
    if (item.revents & ZMQ_POLLIN) wake_.Clear();
    const int64_t now_ms = SystemNow().mono_ms;
    PeerHeartbeat beat;
    if (!TakeBeat(now_ms, &beat)) continue;
    beat.state.stuck = now_ms - round_ms_.load(std::memory_order_relaxed) > options_.stall_ms;
    socket.Send(SealPeerFrame(beat));
  }
}

bool HeartbeatThread::TakeBeat(int64_t mono_ms, PeerHeartbeat* beat) {
  std::lock_guard lock(mutex_);
  if (!std::exchange(beat_changed_, false) && mono_ms < due_ms_) return false;
  due_ms_ = mono_ms + options_.interval_ms;
  *beat = beat_;
  return beat->state.life != 0;  // otherwise nothing was published yet
}

}  // namespace zsched::broker
