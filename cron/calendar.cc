#include "cron/calendar.h"

#include <algorithm>
#include <bit>

namespace zsched::cron {
namespace {

// Bits 1, 8, 15, 22, 29: a day of the week that falls on the first.
constexpr uint64_t kWeekly = uint64_t{1} << 1 | 1 << 8 | 1 << 15 | 1 << 22 | 1 << 29;

constexpr uint64_t Bit(int value) { return uint64_t{1} << value; }
constexpr bool Has(uint64_t bits, int value) { return (bits >> value & 1) != 0; }

// The lowest value in `bits` at or above `from`, which may be one above the highest bit there is.
std::optional<int> FirstFrom(uint64_t bits, int from) {
  bits = bits >> from << from;
  if (bits == 0) return std::nullopt;
  return std::countr_zero(bits);
}
int Lowest(uint64_t bits) { return std::countr_zero(bits); }

int FirstWeekDay(absl::civil_year_t year, int month) {
  // Absl counts from Monday, cron from Sunday.
  return (static_cast<int>(absl::GetWeekday(absl::CivilDay(year, month, 1))) + 1) % 7;
}

uint64_t ByMonthDay(const Fields& fields, int last) {
  uint64_t days = fields.month_days;
  for (uint32_t left = fields.days_before_last; left != 0; left &= left - 1)
    if (int day = last - Lowest(left); day >= 1) days |= Bit(day);
  return days;
}

uint64_t ByWeekDay(const Fields& fields, int first_week_day, int last) {
  uint64_t days = 0;
  for (int week_day = 0; week_day < 7; ++week_day) {
    const int first = 1 + (week_day - first_week_day + 7) % 7;
    if (Has(fields.week_days, week_day)) days |= kWeekly << (first - 1);
    if (Has(fields.last_week_days, week_day)) days |= Bit(first + (last - first) / 7 * 7);
    for (int n = 1; n <= 5 && fields.nth_week_days != 0; ++n)
      if (Has(fields.nth_week_days, NthBit(week_day, n))) days |= Bit(first + 7 * (n - 1));
  }
  return days;
}

struct TimeOfDay {
  int hour, minute, second;
};

// The first time of day at or after `from`; nullopt: none today.
std::optional<TimeOfDay> FirstTime(const Fields& fields, TimeOfDay from) {
  if (Has(fields.hours, from.hour)) {
    if (Has(fields.minutes, from.minute))
      if (std::optional<int> second = FirstFrom(fields.seconds, from.second))
        return TimeOfDay{from.hour, from.minute, *second};
    if (std::optional<int> minute = FirstFrom(fields.minutes, from.minute + 1))
      return TimeOfDay{from.hour, *minute, Lowest(fields.seconds)};
  }
  std::optional<int> hour = FirstFrom(fields.hours, from.hour + 1);
  if (!hour) return std::nullopt;
  return TimeOfDay{*hour, Lowest(fields.minutes), Lowest(fields.seconds)};
}

}  // namespace

int DaysOfMonth(absl::civil_year_t year, int month) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return month == 2 && leap ? 29 : kDays[month - 1];
}

uint32_t AllowedDays(const Fields& fields, absl::civil_year_t year, int month) {
  constexpr uint32_t kAllWeekDays = (1 << 7) - 1;
  const int last = DaysOfMonth(year, month);
  const uint64_t existing = Bit(last + 1) - Bit(1);
  const uint64_t by_month_day = ByMonthDay(fields, last);
  if (fields.any_week_day && fields.week_days == kAllWeekDays)
    return static_cast<uint32_t>(by_month_day & existing);
  const uint64_t by_week_day = ByWeekDay(fields, FirstWeekDay(year, month), last);
  const bool either = !fields.any_month_day && !fields.any_week_day;
  return static_cast<uint32_t>((either ? by_month_day | by_week_day : by_month_day & by_week_day) &
                               existing);
}

std::optional<absl::CivilSecond> FirstMatch(const Fields& fields, absl::CivilSecond from) {
  absl::civil_year_t year = from.year();
  const absl::civil_year_t last_year = std::min<absl::civil_year_t>(year + kSearchYears, kLastYear);
  if (year > last_year) return std::nullopt;
  int month = from.month(), first_day = 1;
  if (Has(fields.months, month)) {
    if (Has(AllowedDays(fields, year, month), from.day()))
      if (std::optional<TimeOfDay> time =
              FirstTime(fields, {from.hour(), from.minute(), from.second()}))
        return absl::CivilSecond(year, month, from.day(), time->hour, time->minute, time->second);
    first_day = from.day() + 1;
  }
  while (year <= last_year) {
    if (Has(fields.months, month))
      if (std::optional<int> day = FirstFrom(AllowedDays(fields, year, month), first_day))
        return absl::CivilSecond(year, month, *day, Lowest(fields.hours), Lowest(fields.minutes),
                                 Lowest(fields.seconds));
    first_day = 1;
    std::optional<int> later = FirstFrom(fields.months, month + 1);
    if (!later) ++year;
    month = later.value_or(Lowest(fields.months));
  }
  return std::nullopt;
}

}  // namespace zsched::cron
