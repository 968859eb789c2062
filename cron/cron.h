// Time schedules: what an expression such as "30 2 * * MON-FRI" says, and when it fires next. Owned
// by cron; the broker's core fires by it and zsched-ctl previews with it.
//
//   ┌────────── second, optional      0..59
//   │ ┌──────── minute                0..59
//   │ │ ┌────── hour                  0..23
//   │ │ │ ┌──── day of month          1..31  L  L-3  ?
//   │ │ │ │ ┌── month                 1..12  JAN..DEC
//   │ │ │ │ │ ┌ day of week           0..7   SUN..SAT  5L  FRIL  5#2  FRI#2  ?      0 and 7: Sunday
//   0 0 8 * * MON-FRI
//
// A field is a list "a,b,…" of
//   *       every value              */15    every 15th, from the lowest
//   5       this value               10-30   a range            10-30/5, 5/15   to the top in steps
// and of these, for days: "L" the last day of the month, "L-3" the third before it; "5L" or "FRIL"
// the last Friday, "5#2" or "FRI#2" the second. "?" stands alone: any day. Names in any case; a range
// of days of the week may end with Sunday ("FRI-SUN"); steps there end with Saturday.
// In place of fields: @yearly @annually @monthly @weekly @daily @midnight @hourly, @every 1h30m.
//
// Days: when both day fields are restricted, a day that matches either is taken. A field that begins
// with "*", or is "?", is not restricted, and then a day has to match both; so "*/2" in one field
// narrows the other. That is the rule of Vixie cron.
//
// Daylight saving. Clocks jump forward over a gap, and back over an overlap, whose times come twice.
//   the hour field leaves hours out, "30 2 * * *":
//     a time in a gap fires at the first moment after the gap; however many do, that moment is one
//     firing. A time in an overlap fires when it comes first, and not again.
//   every hour is allowed, "*/15 * * * *" or "0 0-23 * * MON":
//     it fires whenever the clock on the wall shows a matching time. So the times of an overlap fire
//     twice, those in a gap do not fire, and where clocks move by whole hours firings keep their
//     distance in real time. (Where they move by half an hour, Warnings() tells what that does.)
//   @every: real time only, at anchor + n × period for n = 1, 2, …
//
// Example:
//   absl::StatusOr<cron::Schedule> schedule = cron::Parse("30 2 * * MON-FRI");
//   absl::StatusOr<absl::TimeZone> zone = cron::LoadZone("Europe/Berlin");
//   std::optional<int64_t> next_ms = cron::Next(*schedule, *zone, now_ms, created_ms);
//
// Threads: pure functions of their arguments and of the system's zone database. Times are Unix
// milliseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace zsched::cron {

// Every value of every field, listed one by one, needs about 600 bytes.
inline constexpr size_t kMaxExpressionBytes = 1024;
// Something that has to happen more often wants a worker that stays, not a queue of tasks.
inline constexpr int64_t kMinEveryMs = 1000;
// Ten years: longer is a slip of the keyboard.
inline constexpr int64_t kMaxEveryMs = int64_t{10} * 366 * 24 * 3600 * 1000;
// 29 February falls on a given day of the week again after at most 40 years (28, or 12 or 40 over a
// year such as 2100 that is no leap year). No rule of the grammar is rarer.
inline constexpr int kSearchYears = 40;
// Absl knows a zone's transitions for 400 years after the last rule in its tables; this is well
// before that ends.
inline constexpr int kLastYear = 2300;
// Names of the zone database are below 40 bytes.
inline constexpr size_t kMaxZoneNameBytes = 64;

// Bit v stands for value v. Days of the week are 0..6 from Sunday.
struct Fields {
  uint64_t seconds = 1;
  uint64_t minutes = 0;
  uint32_t hours = 0;
  uint32_t months = 0;
  uint32_t month_days = 0;
  uint32_t days_before_last = 0;  // bit 0: L, bit 3: L-3
  uint32_t week_days = 0;
  uint32_t last_week_days = 0;  // 5L
  uint64_t nth_week_days = 0;   // bit NthBit(day, n): day#n
  bool any_month_day = false;   // begins with '*' or is '?'
  bool any_week_day = false;
  bool operator==(const Fields&) const = default;
};
constexpr int NthBit(int week_day, int n) { return 7 * (n - 1) + week_day; }

struct Schedule {
  int64_t every_ms = 0;  // @every; 0: by `fields`
  Fields fields = {};
  bool operator==(const Schedule&) const = default;
};

// INVALID_ARGUMENT names the field, what is wrong with it and what is allowed; also for what would
// never fire, such as 30 February. The message is printable ASCII.
absl::StatusOr<Schedule> Parse(std::string_view expression);

// The first firing after `from_ms` (exclusive). `anchor_ms` is when @every began to count, such as
// the moment when the schedule was made; other schedules do not look at it. nullopt: none up to
// the end of kLastYear. Needs a schedule that Parse returned.
std::optional<int64_t> Next(const Schedule& schedule, const absl::TimeZone& zone, int64_t from_ms,
                            int64_t anchor_ms);
// The first `count` firings after `from_ms`; fewer when there are no more.
std::vector<int64_t> NextTimes(const Schedule& schedule, const absl::TimeZone& zone,
                               int64_t from_ms, int64_t anchor_ms, size_t count);

// A zone of the IANA database: "Europe/Berlin", "UTC". INVALID_ARGUMENT when there is none of that
// name here. This is the one place that touches the zone database: Absl reads the zone's file when a
// name is asked for the first time, and remembers every name for the life of the process, wrong ones
// too.
absl::StatusOr<absl::TimeZone> LoadZone(std::string_view name);

}  // namespace zsched::cron
