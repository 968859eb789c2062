#include "worker/core/credit.h"

#include <algorithm>
#include <cmath>

namespace zsched::worker {

uint32_t CreditSizer::Wanted(uint32_t slots, size_t waiting, int64_t now_ms) const {
  double run_us = average_run_us_;
  if (Stalled(waiting, now_ms))
    run_us = std::max(run_us, static_cast<double>(now_ms - progress_ms_) * 1000);
  if (slots == 0 || run_us == 0 || run_us >= kCreditTargetUs) return slots;
  double tasks = std::ceil(kCreditTargetUs * static_cast<double>(slots) / run_us);
  auto wanted = static_cast<uint32_t>(std::min<double>(tasks, max_tasks_));
  if (wanted > granted_)
    wanted = ended_since_change_ >= granted_ ? std::min(wanted, 2 * granted_) : granted_;
  return std::max(wanted, slots);
}

std::optional<uint32_t> CreditSizer::Next(uint32_t slots, uint32_t ceiling, size_t waiting,
                                          int64_t now_ms) {
  uint32_t wanted = std::min(Wanted(slots, waiting, now_ms), ceiling);
  uint32_t change = wanted > granted_ ? wanted - granted_ : granted_ - wanted;
  bool must = granted_ > ceiling || (wanted == 0) != (granted_ == 0) ||
              (wanted == slots && granted_ > slots);
  if (change == 0 || (!must && uint64_t{change} * 4 <= granted_)) return std::nullopt;
  granted_ = wanted;
  ended_since_change_ = 0;
  return wanted;
}

}  // namespace zsched::worker
