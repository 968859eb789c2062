#include "broker/transport/send_budget.h"

#include <algorithm>

namespace zsched::broker {
namespace {

// Of what is free, the part that one peer may have.
constexpr size_t kShare = 8;
// Peers that are remembered at least before those with empty queues are forgotten.
constexpr size_t kMinSweepPeers = 1024;

// Debian's Abseil has a string_view of its own, which its hash tables want.
absl::string_view Key(std::string_view id) { return {id.data(), id.size()}; }

}  // namespace

SendBudget::Charge::Charge(std::shared_ptr<Queue> queue, size_t bytes)
    : queue_(std::move(queue)), bytes_(bytes) {
  queue_->bytes.fetch_add(bytes_, std::memory_order_relaxed);
  queue_->total->fetch_add(bytes_, std::memory_order_relaxed);
}

SendBudget::Charge::~Charge() {
  if (queue_ == nullptr) return;
  queue_->total->fetch_sub(bytes_, std::memory_order_relaxed);
  queue_->bytes.fetch_sub(bytes_, std::memory_order_relaxed);
}

SendBudget::SendBudget(SendLimits limits)
    : limits_(limits), total_(std::make_shared<Total>(0)), sweep_at_peers_(kMinSweepPeers) {}

std::optional<SendBudget::Charge> SendBudget::Take(std::string_view routing_id, size_t bytes) {
  std::shared_ptr<Queue> queue = QueueOf(routing_id);
  const size_t queued = queue->bytes.load(std::memory_order_relaxed);
  const size_t free = limits_.total_bytes - std::min(limits_.total_bytes, total_bytes());
  const size_t share = std::min(limits_.peer_bytes, free / kShare);
  if (queued + bytes > std::max(limits_.own_bytes, share)) {
    queue->room_below_bytes = queued / 2;
    return std::nullopt;
  }
  if (queued <= queue->room_below_bytes) queue->room_below_bytes = SIZE_MAX;
  return Charge(std::move(queue), bytes);
}

bool SendBudget::HasRoom(std::string_view routing_id) const {
  auto it = queues_.find(Key(routing_id));
  if (it == queues_.end()) return true;
  return it->second->bytes.load(std::memory_order_relaxed) <= it->second->room_below_bytes;
}

std::shared_ptr<SendBudget::Queue> SendBudget::QueueOf(std::string_view routing_id) {
  if (auto it = queues_.find(Key(routing_id)); it != queues_.end()) return it->second;
  if (queues_.size() >= sweep_at_peers_) {
    // Nobody says when a peer has gone. One whose queue is empty is as good as new.
    absl::erase_if(queues_, [](const auto& entry) {
      return entry.second->bytes.load(std::memory_order_relaxed) == 0;
    });
    sweep_at_peers_ = std::max(kMinSweepPeers, 2 * queues_.size());
  }
  return queues_[std::string(routing_id)] = std::make_shared<Queue>(total_);
}

}  // namespace zsched::broker
