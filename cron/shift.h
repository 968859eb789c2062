// The moments at which a zone's clocks are moved, as Next and Warnings look at them. Owned by cron.
//
//             from = 02:00 ─ ─ gap ─ ─ ▶ to = 03:00       clocks go forward: 02:30 does not exist
//   to = 02:00 ◀ ─ ─ overlap ─ ─ from = 03:00             clocks go back: 02:30 comes twice
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "cron/cron.h"

namespace zsched::cron {

struct Shift {
  absl::Time at;           // the first moment with the new offset
  absl::CivilSecond from;  // what the wall would have shown then
  absl::CivilSecond to;    // what it shows
  bool is_gap() const { return from < to; }
};

// The first shift after `time` (exclusive).
inline std::optional<Shift> NextShift(const absl::TimeZone& zone, absl::Time time) {
  absl::TimeZone::CivilTransition transition;
  if (!zone.NextTransition(time, &transition)) return std::nullopt;
  return Shift{zone.At(transition.to).trans, transition.from, transition.to};
}

// Every hour is allowed: firings follow real time (cron.h, daylight saving).
inline bool FollowsRealTime(const Fields& fields) {
  constexpr uint32_t kAllHours = (1 << 24) - 1;
  return fields.hours == kAllHours;
}

}  // namespace zsched::cron
