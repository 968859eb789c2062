// Which days and times of day the fields of a schedule allow, on a calendar without zones: every
// civil second exists once. Owned by cron; what a zone makes of it is next.cc's.
//
// Example:
//   FirstMatch(fields_of("0 8 29 2 *"), CivilSecond(2026, 1, 1)) == CivilSecond(2028, 2, 29, 8)
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/civil_time.h"
#include "cron/cron.h"

namespace zsched::cron {

int DaysOfMonth(absl::civil_year_t year, int month);

// Bit d: the fields allow day d of this month; of those, days that exist. Does not look at the
// month field.
uint32_t AllowedDays(const Fields& fields, absl::civil_year_t year, int month);

// The first civil second at or after `from` that matches every field. nullopt: none within
// kSearchYears, or none up to kLastYear. Steps by months, days, hours, minutes: a month costs some
// ten nanoseconds, and nothing is scanned below it.
std::optional<absl::CivilSecond> FirstMatch(const Fields& fields, absl::CivilSecond from);

}  // namespace zsched::cron
