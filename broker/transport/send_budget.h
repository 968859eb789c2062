// How many bytes lie in ZeroMQ's queues for each peer of a socket and for all of them, and who may be
// sent more. Owned by a RouterSocket.
//
// ZeroMQ bounds a queue by frames, and a frame of ours may have fifty bytes or two megabytes. So each
// frame carries a charge, which ends with it: when ZeroMQ has written it, or dropped it with its
// connection.
//
//   loop: Take ──▶ frame and charge ──▶ ZeroMQ's queue ──▶ I/O thread: TCP, or the peer is gone ──▶ ~Charge
//
// A peer may have `peer_bytes`, but not more than an eighth of what is left of `total_bytes`, so that
// those that do not read leave something to those that do (Choudhury and Hahne, "Dynamic queue length
// thresholds for shared-memory packet switches", 1998); `own_bytes` it may have whatever others do. So
// at most `total_bytes` and `own_bytes` a connection are queued.
//
// Example:
//   SendBudget budget({.own_bytes = 64 << 10, .peer_bytes = 64 << 20, .total_bytes = 512 << 20});
//   std::optional<SendBudget::Charge> charge = budget.Take(routing_id, frame.size());
//   if (!charge) …                       // full
//
// Threads: one owner; a Charge may end on any thread, and after the budget.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace zsched::broker {

struct SendLimits {
  size_t own_bytes = 0;
  size_t peer_bytes = 0;
  size_t total_bytes = 0;
};

class SendBudget {
  struct Queue;

 public:
  class Charge {
   public:
    Charge(std::shared_ptr<Queue> queue, size_t bytes);
    Charge(Charge&& other) noexcept : queue_(std::move(other.queue_)), bytes_(other.bytes_) {}
    Charge& operator=(Charge&&) = delete;
    ~Charge();

   private:
    std::shared_ptr<Queue> queue_;  // null: moved from
    size_t bytes_;
  };

  explicit SendBudget(SendLimits limits);

  // nullopt: the peer, or all of them together, would have more than they may.
  std::optional<Charge> Take(std::string_view routing_id, size_t bytes);
  // False from a refusal until half of what the peer had then is gone: what costs something to make
  // need not be made for a peer that does not take it.
  bool HasRoom(std::string_view routing_id) const;
  size_t total_bytes() const { return total_->load(std::memory_order_relaxed); }
  // For tests: peers that are remembered, some with nothing in their queues.
  size_t peers() const { return queues_.size(); }

 private:
  using Total = std::atomic<size_t>;
  struct Queue {
    explicit Queue(std::shared_ptr<Total> all) : total(std::move(all)) {}
    std::shared_ptr<Total> total;
    std::atomic<size_t> bytes{0};        // rises on the owner's thread only
    size_t room_below_bytes = SIZE_MAX;  // HasRoom; the owner's
  };

  std::shared_ptr<Queue> QueueOf(std::string_view routing_id);

  SendLimits limits_;
  std::shared_ptr<Total> total_;
  absl::flat_hash_map<std::string, std::shared_ptr<Queue>> queues_;
  size_t sweep_at_peers_;
};

}  // namespace zsched::broker
