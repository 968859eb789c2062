#include "worker/executors/live_groups.h"

#include <signal.h>

#include <array>

#include "zsched/worker.h"

namespace zsched::worker {
namespace {

constexpr pid_t kFree = 0;
constexpr pid_t kReserved = -1;

// One for each attempt that can run at once. A group without a place would outlive an end at once,
// so it is not started.
std::array<std::atomic<pid_t>, kMaxConcurrency> places;
std::atomic<bool> ending;

// Touched in a signal handler and by a vfork child, where a lock could wait for ever.
static_assert(std::atomic<pid_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

}  // namespace

LiveGroup LiveGroup::Reserve() {
  LiveGroup group;
  for (auto& place : places) {
    pid_t free = kFree;
    if (!place.compare_exchange_strong(free, kReserved)) continue;
    group.place_ = &place;
    break;
  }
  return group;
}

bool LiveGroup::List(pid_t group) const {
  place_->store(group, std::memory_order_seq_cst);
  return !ending.load(std::memory_order_seq_cst);
}

void LiveGroup::Free() {
  if (place_ != nullptr) place_->store(kFree);
  place_ = nullptr;
}

void KillAllProcessGroups() {
  ending.store(true, std::memory_order_seq_cst);
  for (const auto& place : places)
    if (pid_t group = place.load(std::memory_order_seq_cst); group > 0) kill(-group, SIGKILL);
}

}  // namespace zsched::worker
