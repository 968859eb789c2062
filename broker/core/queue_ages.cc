// How long ago records were decided, and since when the first ready task of each queue is ready.
#include <algorithm>
#include <cstdlib>

#include "broker/core/core.h"

namespace zsched::broker {
namespace {

// The ages are to a second, and a look at the lines of 200,000 lanes takes some 10 ms.
constexpr int64_t kQueueAgesMs = 1000;
// At the front of a line are those that were given back, the last one first: so many of them are passed over to get to
// those that have waited for longer.
constexpr int kMostReturned = 16;

}  // namespace

uint64_t Core::MsSince(Lsn lsn, Now now) const {
  if (const std::optional<int64_t> at_ms = ready_times_.TimeOf(lsn.value()))
    return static_cast<uint64_t>(now.mono_ms - *at_ms);
  const int64_t at_ms = state_.ready_clock().TimeOf(lsn.value());
  return at_ms == 0 ? 0 : static_cast<uint64_t>(std::max<int64_t>(0, now.wall_ms - at_ms));
}

const std::vector<uint64_t>& Core::QueueAges(Now now) {
  const Lanes& lanes = state_.lanes();
  if (has_queue_ages_ && now.mono_ms - queue_ages_ms_ < kQueueAgesMs &&
      queue_ages_.size() == lanes.queues().size())
    return queue_ages_;
  has_queue_ages_ = true;
  queue_ages_ms_ = now.mono_ms;
  std::vector<uint64_t> oldest(lanes.queues().size(), UINT64_MAX);  // LSN
  for (uint32_t lane = 1; lane < lanes.end(); ++lane) {
    if (!lanes.Has(lane) || lanes[lane].tasks == 0) continue;
    uint64_t& first = oldest[lanes[lane].queue];
    for (const Line& line : lanes[lane].lines) {
      uint32_t slot = line.head;
      for (int i = 0; slot != kNil && i <= kMostReturned; ++i, slot = state_.tasks()[slot].next) {
        const int64_t order = state_.tasks()[slot].order;
        first = std::min(first, static_cast<uint64_t>(std::abs(order)));
        if (order > 0) break;
      }
    }
  }
  queue_ages_.assign(oldest.size(), 0);
  for (size_t queue = 0; queue < oldest.size(); ++queue) {
    if (oldest[queue] == UINT64_MAX) continue;
    const int64_t since_ms = state_.ready_clock().TimeOf(oldest[queue]);
    if (since_ms != 0)
      queue_ages_[queue] = static_cast<uint64_t>(std::max<int64_t>(0, now.wall_ms - since_ms));
  }
  return queue_ages_;
}

}  // namespace zsched::broker
