#include "worker/core/recycling.h"

#include "base/text.h"

namespace zsched::worker {
namespace {

uint64_t WithJitter(uint64_t tasks, uint64_t seed) {
  // In this order, so that no product overflows.
  const uint64_t spread =
      tasks / 100 * kRecycleJitterPercent + tasks % 100 * kRecycleJitterPercent / 100;
  return tasks == 0 ? 0 : tasks + seed % (spread + 1);
}

}  // namespace

Recycling::Recycling(RecyclingOptions options, uint64_t seed)
    : after_tasks_(WithJitter(options.after_tasks, seed)),
      after_memory_bytes_(options.after_memory_bytes) {}

std::optional<std::string> Recycling::Due(uint64_t ended, uint64_t resident_bytes) const {
  if (after_tasks_ != 0 && ended >= after_tasks_)
    return "to be recycled: attempts ended: " + std::to_string(ended);
  if (after_memory_bytes_ != 0 && ended > 0 && resident_bytes > after_memory_bytes_)
    return "to be recycled: resident memory: " +
           FormatSizeBytes(static_cast<int64_t>(resident_bytes));
  return std::nullopt;
}

}  // namespace zsched::worker
