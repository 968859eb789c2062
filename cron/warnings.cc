#include "cron/warnings.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "absl/time/civil_time.h"
#include "cron/calendar.h"
#include "cron/shift.h"

namespace zsched::cron {
namespace {

constexpr uint32_t kAllMonthDays = 0xFFFFFFFE;  // 1..31
constexpr int kFirstUncertainDay = 29;          // every month has the days before it
constexpr size_t kMostMonthsNamed = 12;         // a year's, so that a text stays one to read

// The time that is looked at.
struct Period {
  absl::TimeZone zone;
  absl::Time from, until;
};

std::string ToText(const absl::CivilSecond& time) {
  std::string text = time.second() == 0 ? absl::FormatCivilTime(absl::CivilMinute(time))
                                        : absl::FormatCivilTime(time);
  std::replace(text.begin(), text.end(), 'T', ' ');
  return text;
}

// The time of day alone when the day is that of `beside`, with which it is read.
std::string ToShortText(const absl::CivilSecond& time, const absl::CivilSecond& beside) {
  std::string text = ToText(time);
  return absl::CivilDay(time) == absl::CivilDay(beside) ? text.substr(text.find(' ') + 1) : text;
}

// "2027-03-28 02:30", or that there are more up to `end`; `match` is the first.
std::string TimesText(const Fields& fields, absl::CivilSecond match, absl::CivilSecond end) {
  std::optional<absl::CivilSecond> second = FirstMatch(fields, match + 1);
  if (!second || *second >= end) return ToText(match);
  return ToText(match) + " and later times before " + ToShortText(end, match);
}

// The first match in [begin, end).
std::optional<absl::CivilSecond> MatchWithin(const Fields& fields, absl::CivilSecond begin,
                                             absl::CivilSecond end) {
  std::optional<absl::CivilSecond> match = FirstMatch(fields, begin);
  return match && *match < end ? match : std::nullopt;
}

std::optional<Warning> OfGap(const Fields& fields, const Period& period, const Shift& shift) {
  std::optional<absl::CivilSecond> match = MatchWithin(fields, shift.from, shift.to);
  if (!match) return std::nullopt;
  const std::string times = TimesText(fields, *match, shift.to);
  const bool one = times == ToText(*match);
  return Warning{Warning::Kind::kGap, absl::ToUnixMillis(shift.at),
                 times + (one ? " does" : " do") + " not exist in " +
                     std::string(period.zone.name()) + (one ? "; it fires" : "; they fire once,") +
                     " at " + ToShortText(shift.to, *match) + " instead"};
}

std::optional<Warning> OfOverlap(const Fields& fields, const Period& period, const Shift& shift) {
  std::optional<absl::CivilSecond> match = MatchWithin(fields, shift.to, shift.from);
  if (!match) return std::nullopt;
  const std::string times = TimesText(fields, *match, shift.from);
  const bool one = times == ToText(*match);
  return Warning{Warning::Kind::kOverlap, absl::ToUnixMillis(shift.at),
                 times + (one ? " comes" : " come") + " twice in " +
                     std::string(period.zone.name()) + (one ? "; it fires" : "; they fire") +
                     " the first time only"};
}

// Whether every hour looks alike when the clock is moved by so much.
bool KeepsPattern(const Fields& fields, absl::civil_diff_t shift_seconds) {
  constexpr int kHourMinutes = 60, kMinuteSeconds = 60;
  if (shift_seconds % kMinuteSeconds != 0) return false;
  const int by = static_cast<int>((shift_seconds / kMinuteSeconds % kHourMinutes + kHourMinutes) %
                                  kHourMinutes);
  constexpr uint64_t kMask = (uint64_t{1} << kHourMinutes) - 1;
  const uint64_t moved =
      (fields.minutes << by | fields.minutes >> (kHourMinutes - by) % kHourMinutes) & kMask;
  return moved == fields.minutes;
}

std::optional<Warning> OfRealTime(const Fields& fields, const Period& period, const Shift& shift) {
  if (KeepsPattern(fields, shift.to - shift.from)) return std::nullopt;
  // A day on which it does not fire at all does not matter.
  constexpr int kAround = 3600;
  if (!MatchWithin(fields, std::min(shift.from, shift.to) - kAround,
                   std::max(shift.from, shift.to) + kAround))
    return std::nullopt;
  return Warning{Warning::Kind::kUneven, absl::ToUnixMillis(shift.at),
                 "in " + std::string(period.zone.name()) + " clocks go from " + ToText(shift.from) +
                     " to " + ToShortText(shift.to, shift.from) +
                     "; around it firings are closer together or farther apart than usual"};
}

void AddShifts(const Fields& fields, const Period& period, std::vector<Warning>& warnings) {
  absl::Time time = period.from;
  while (std::optional<Shift> shift = NextShift(period.zone, time)) {
    if (shift->at > period.until) break;
    time = shift->at;
    if (shift->from == shift->to) continue;  // only the zone's name changes
    std::optional<Warning> warning = FollowsRealTime(fields) ? OfRealTime(fields, period, *shift)
                                     : shift->is_gap()       ? OfGap(fields, period, *shift)
                                                             : OfOverlap(fields, period, *shift);
    if (warning) warnings.push_back(*std::move(warning));
  }
}

// One warning for all months of the period in which `lacks(year, month)`.
template <class Lacks>
void AddMonths(const Fields& fields, const Period& period, const std::string& what, Lacks lacks,
               std::vector<Warning>& warnings) {
  std::optional<absl::CivilMonth> first;
  std::string names;
  size_t count = 0;
  const absl::CivilMonth last(period.zone.At(period.until).cs);
  for (absl::CivilMonth month(period.zone.At(period.from).cs); month <= last; ++month) {
    if ((fields.months >> month.month() & 1) == 0 || !lacks(month.year(), month.month())) continue;
    if (!first) first = month;
    if (++count <= kMostMonthsNamed)
      names += (names.empty() ? "" : ", ") + absl::FormatCivilTime(month);
  }
  if (!first) return;
  if (count > kMostMonthsNamed)
    names += " and " + std::to_string(count - kMostMonthsNamed) + " more months";
  warnings.push_back({Warning::Kind::kMissingDay,
                      absl::ToUnixMillis(absl::FromCivil(*first, period.zone)),
                      "there is no " + what + " in " + names + "; nothing fires for it there"});
}

// A field that takes every day, or every so many, names none that could be missed.
bool NamesDays(const Fields& fields) {
  return !fields.any_month_day && fields.month_days != kAllMonthDays;
}

void AddMissingDays(const Fields& fields, const Period& period, std::vector<Warning>& warnings) {
  for (int day = kFirstUncertainDay; day <= 31 && NamesDays(fields); ++day)
    if ((fields.month_days >> day & 1) != 0)
      AddMonths(
          fields, period, "day " + std::to_string(day),
          [&](absl::civil_year_t year, int month) { return DaysOfMonth(year, month) < day; },
          warnings);
  for (uint32_t left = fields.days_before_last; left != 0; left &= left - 1) {
    const int before = std::countr_zero(left);
    AddMonths(
        fields, period, "L-" + std::to_string(before),
        [&](absl::civil_year_t year, int month) { return DaysOfMonth(year, month) <= before; },
        warnings);
  }
  constexpr const char* kNames[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                    "Thursday", "Friday", "Saturday"};
  for (int day = 0; day < 7; ++day) {
    // Every month has four of each; this asks the calendar for the fifth alone.
    Fields fifth;
    fifth.any_month_day = true;
    fifth.month_days = kAllMonthDays;
    fifth.nth_week_days = fields.nth_week_days & uint64_t{1} << NthBit(day, 5);
    if (fifth.nth_week_days != 0)
      AddMonths(
          fields, period, std::string("fifth ") + kNames[day],
          [&](absl::civil_year_t year, int month) { return AllowedDays(fifth, year, month) == 0; },
          warnings);
  }
}

}  // namespace

std::string_view NameOf(Warning::Kind kind) {
  switch (kind) {
    case Warning::Kind::kGap:
      return "gap";
    case Warning::Kind::kOverlap:
      return "overlap";
    case Warning::Kind::kUneven:
      return "uneven";
    case Warning::Kind::kMissingDay:
      return "missing_day";
    case Warning::Kind::kEitherDay:
      return "either_day";
  }
  return "";
}

std::vector<Warning> Warnings(const Schedule& schedule, const absl::TimeZone& zone, int64_t from_ms,
                              int64_t horizon_ms) {
  std::vector<Warning> warnings;
  if (schedule.every_ms > 0) return warnings;
  const Fields& fields = schedule.fields;
  const absl::Time from = absl::FromUnixMillis(from_ms);
  const Period period{zone, from,
                      from + absl::Milliseconds(std::clamp<int64_t>(horizon_ms, 0, kMaxHorizonMs))};
  if (!fields.any_month_day && !fields.any_week_day)
    warnings.push_back({Warning::Kind::kEitherDay, 0,
                        "day of month and day of week are both restricted; a day that matches "
                        "either one is taken"});
  AddShifts(fields, period, warnings);
  AddMissingDays(fields, period, warnings);
  std::stable_sort(warnings.begin(), warnings.end(),
                   [](const Warning& a, const Warning& b) { return a.at_ms < b.at_ms; });
  return warnings;
}

}  // namespace zsched::cron
