// What may surprise about a schedule in the time to come: firings that daylight saving moves, days
// that some months lack, a rule about days that few expect. Owned by cron; for previews.
//
// Example:
//   for (const cron::Warning& warning : cron::Warnings(*schedule, *zone, now_ms, kYearMs))
//     std::puts(warning.text.c_str());
//   "2027-03-28 02:30 does not exist in Europe/Berlin; it fires at 03:00 instead"
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "cron/cron.h"

namespace zsched::cron {

struct Warning {
  enum class Kind : uint8_t {
    kGap,         // times that a gap skips; they fire at the moment after it, once
    kOverlap,     // times that come twice; they fire the first time
    kUneven,      // firings by real time whose distance a shift changes (by half an hour, mostly)
    kMissingDay,  // months that lack a day that the schedule names
    kEitherDay,   // both day fields are restricted, and either suffices
  };
  Kind kind;
  // When it happens: the moment of the shift, or the start of the first month concerned; 0: always.
  int64_t at_ms = 0;
  std::string text;
};

// "gap", "overlap", "uneven", "missing_day", "either_day".
std::string_view NameOf(Warning::Kind kind);

// No preview looks farther, and each shift in it is looked at.
inline constexpr int64_t kMaxHorizonMs = int64_t{10} * 366 * 24 * 3600 * 1000;

// Those of (from_ms, from_ms + horizon_ms], the horizon cut to kMaxHorizonMs; by time, kEitherDay
// first.
std::vector<Warning> Warnings(const Schedule& schedule, const absl::TimeZone& zone, int64_t from_ms,
                              int64_t horizon_ms);

}  // namespace zsched::cron
