// Shows the other broker that this one lives, on a thread of its own: heartbeats leave whatever disk and load do to the loop,
// and say so when it stands still. Owned by broker/server.
//
// Example:
//   HeartbeatThread heart(zmq, {.peer = address});
//   heart.Publish(node.Heartbeat());
//   heart.OnRound(now.mono_ms);
//
// Threads: all from the loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <thread>

#include "base/text.h"
#include "broker/replication/peer_frames.h"
#include "broker/server/peer_link.h"
#include "broker/server/threads.h"

namespace zsched::broker {

struct HeartbeatOptions {
  HostPort peer;  // where the other broker hears
  int64_t interval_ms = 100;
  int64_t stall_ms = 2'000;  // a loop that has not been round for so long is stuck
};

class HeartbeatThread {
 public:
  // `zmq_context` outlives it.
  HeartbeatThread(void* zmq_context, const HeartbeatOptions& options);
  ~HeartbeatThread();

  // What heartbeats say from now on. Sent at once when anybody acts on the change.
  void Publish(const PeerHeartbeat& beat);
  // The loop has been round.
  void OnRound(int64_t mono_ms) { round_ms_.store(mono_ms, std::memory_order_relaxed); }

 private:
  void Run(void* zmq_context);
  bool TakeBeat(int64_t mono_ms, PeerHeartbeat* beat);

  const HeartbeatOptions options_;
  WakeFd wake_;
  int64_t due_ms_ = 0;  // the thread's

  std::mutex mutex_;
  PeerHeartbeat beat_;         // under mutex_
  bool beat_changed_ = false;  // under mutex_
  std::atomic<int64_t> round_ms_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace zsched::broker
