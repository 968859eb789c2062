// When a schedule fires next: the calendar's matches seen through a time zone.
#include <algorithm>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "cron/calendar.h"
#include "cron/cron.h"
#include "cron/shift.h"

namespace zsched::cron {
namespace {

constexpr absl::Duration kSecond = absl::Seconds(1);

// More than clocks have ever been moved at once (a day, when a country changed sides of the date
// line), and a day more so that no care is needed at the edges.
constexpr absl::Duration kBeyondAnyShift = absl::Hours(48);

// The whole second at or before.
absl::Time FloorToSecond(int64_t unix_ms) {
  int64_t seconds = unix_ms / 1000;
  if (unix_ms % 1000 < 0) --seconds;
  return absl::FromUnixSeconds(seconds);
}

// By the clock on the wall: each matching civil time once. absl::FromCivil gives a time in a gap the
// first moment after it and a time in an overlap its first passing, and never decreases; so the
// first match among the civil times that have not fired yet is the next firing.
std::optional<absl::Time> NextByCivilTime(const Fields& fields, const absl::TimeZone& zone,
                                          absl::Time from) {
  const absl::CivilSecond now = zone.At(from).cs;
  const absl::TimeZone::TimeInfo info = zone.At(now);
  absl::CivilSecond first = now + 1;
  // The second passing of an overlap: all of its times have fired.
  if (info.kind == absl::TimeZone::TimeInfo::REPEATED && from >= info.trans)
    first = zone.At(info.trans - kSecond).cs + 1;
  while (std::optional<absl::CivilSecond> match = FirstMatch(fields, first)) {
    absl::Time time = absl::FromCivil(*match, zone);
    if (time > from) return time;
    first = *match + 1;  // two transitions within hours of each other, which history has a few of
  }
  return std::nullopt;
}

// By real time: every moment at which the wall shows a matching time. Between two transitions civil
// and real time run in step; at a transition the wall is read anew.
std::optional<absl::Time> NextByRealTime(const Fields& fields, const absl::TimeZone& zone,
                                         absl::Time from) {
  for (absl::Time start = from + kSecond;;) {
    const absl::CivilSecond now = zone.At(start).cs;
    const std::optional<absl::CivilSecond> match = FirstMatch(fields, now);
    if (!match) return std::nullopt;
    const absl::Time time = start + absl::Seconds(*match - now);
    const std::optional<Shift> shift = NextShift(zone, start);
    if (!shift || time < shift->at) return time;
    // The wall shows no match before `match`, unless it is turned back right away; so a distant
    // match need not be approached transition by transition.
    start = shift->at < start + kBeyondAnyShift ? shift->at
                                                : std::max(shift->at, time - kBeyondAnyShift);
  }
}

// anchor + n × period, n >= 1. In unsigned numbers, whose distances cannot overflow.
std::optional<int64_t> NextPeriod(int64_t every_ms, int64_t from_ms, int64_t anchor_ms) {
  if (from_ms < anchor_ms) return NextPeriod(every_ms, anchor_ms, anchor_ms);
  const uint64_t passed = static_cast<uint64_t>(from_ms) - static_cast<uint64_t>(anchor_ms);
  const uint64_t period = static_cast<uint64_t>(every_ms);
  const uint64_t next = static_cast<uint64_t>(from_ms) + (period - passed % period);
  return static_cast<int64_t>(next);
}

}  // namespace

std::optional<int64_t> Next(const Schedule& schedule, const absl::TimeZone& zone, int64_t from_ms,
                            int64_t anchor_ms) {
  static const int64_t kEndMs =
      absl::ToUnixMillis(absl::FromCivil(absl::CivilYear(kLastYear + 1), absl::UTCTimeZone()));
  if (from_ms >= kEndMs || anchor_ms >= kEndMs) return std::nullopt;
  if (schedule.every_ms > 0) return NextPeriod(schedule.every_ms, from_ms, anchor_ms);
  const absl::Time from = FloorToSecond(from_ms);
  std::optional<absl::Time> next = FollowsRealTime(schedule.fields)
                                       ? NextByRealTime(schedule.fields, zone, from)
                                       : NextByCivilTime(schedule.fields, zone, from);
  if (!next) return std::nullopt;
  return absl::ToUnixMillis(*next);
}

std::vector<int64_t> NextTimes(const Schedule& schedule, const absl::TimeZone& zone,
                               int64_t from_ms, int64_t anchor_ms, size_t count) {
  std::vector<int64_t> times_ms;
  for (int64_t last_ms = from_ms; times_ms.size() < count;) {
    const std::optional<int64_t> next_ms = Next(schedule, zone, last_ms, anchor_ms);
    if (!next_ms) break;
    times_ms.push_back(last_ms = *next_ms);
  }
  return times_ms;
}

}  // namespace zsched::cron
