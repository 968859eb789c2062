// Next against a scan: random expressions, zones and moments. The scan looks at every minute (or
// second) of a window of real time, asks only what the wall shows, and compares it with lists of
// values; it knows neither the parser nor bits, and nothing of absl's gaps and overlaps.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/text.h"
#include "cron/cron.h"

namespace zsched::cron {
namespace {

using Random = std::mt19937_64;

int Draw(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}
bool Chance(Random& random, int percent) { return Draw(random, 1, 100) <= percent; }

// --- Random expressions ------------------------------------------------------------------------

constexpr const char* kMonthNames[] = {"",    "Jan", "FEB", "mar", "APR", "May", "JUN",
                                       "jul", "AUG", "Sep", "OCT", "nov", "DEC"};
constexpr const char* kDayNames[] = {"SUN", "mon", "TUE", "Wed", "THU", "fri", "SAT"};

struct Field {
  std::string text;
  std::set<int> values = {};
  bool star = false;

  void Add(const std::string& item) { text += (text.empty() ? "" : ",") + item; }
};

std::string ValueText(Random& random, int value, const char* const* names) {
  return names != nullptr && Chance(random, 30) ? names[value] : std::to_string(value);
}

void AddItem(Random& random, Field& field, int low, int high, const char* const* names) {
  const int a = Draw(random, low, high), b = Draw(random, a, high);
  const int step = Draw(random, 1, high - low + 1);
  auto take = [&](int first, int last, int by, const std::string& text) {
    for (int value = first; value <= last; value += by) field.values.insert(value);
    field.Add(text);
  };
  const std::string first = ValueText(random, a, names), last = ValueText(random, b, names);
  switch (Draw(random, 0, 5)) {
    case 0:
      return take(a, b, 1, first + "-" + last);
    case 1:
      return take(a, b, step, first + "-" + last + "/" + std::to_string(step));
    case 2:
      return take(a, high, step, first + "/" + std::to_string(step));
    case 3:
      if (field.text.empty()) field.star = true;
      return take(low, high, step, "*/" + std::to_string(step));
    default:
      return take(a, a, 1, first);
  }
}

Field RandomField(Random& random, int low, int high, int star_percent,
                  const char* const* names = nullptr) {
  Field field;
  if (Chance(random, star_percent)) {
    field.text = "*";
    field.star = true;
    for (int value = low; value <= high; ++value) field.values.insert(value);
    return field;
  }
  for (int items = Draw(random, 1, 3); items > 0; --items) AddItem(random, field, low, high, names);
  return field;
}

struct Expression {
  Field second{"0", {0}}, minute, hour, month_day, month, week_day;
  std::set<int> before_last, last_week_days;
  std::set<std::pair<int, int>> nth;  // day of the week, which one

  std::string Text(bool by_second) const {
    return (by_second ? second.text + " " : "") + minute.text + " " + hour.text + " " +
           month_day.text + " " + month.text + " " + week_day.text;
  }
  bool EveryHour() const { return hour.values.size() == 24; }
  bool OnDay(const absl::CivilDay& day) const;
  bool At(const absl::CivilSecond& wall) const {
    return minute.values.count(wall.minute()) != 0 && hour.values.count(wall.hour()) != 0 &&
           second.values.count(wall.second()) != 0 && OnDay(absl::CivilDay(wall));
  }
};

bool Expression::OnDay(const absl::CivilDay& day) const {
  if (month.values.count(day.month()) == 0) return false;
  // Weeks to the ends of the month, counted by walking.
  int left = 0, nth_of_kind = 1;
  for (absl::CivilDay later = day + 1; later.month() == day.month(); ++later) ++left;
  for (absl::CivilDay earlier = day - 7; earlier.month() == day.month(); earlier -= 7)
    ++nth_of_kind;
  const int today = static_cast<int>(day - absl::CivilDay(1970, 1, 4)) % 7;  // that was a Sunday
  const int week_day_of = (today + 7) % 7;
  const bool by_month = month_day.values.count(day.day()) != 0 || before_last.count(left) != 0;
  const bool by_week = week_day.values.count(week_day_of) != 0 ||
                       (last_week_days.count(week_day_of) != 0 && left < 7) ||
                       nth.count({week_day_of, nth_of_kind}) != 0;
  if (month_day.star || week_day.star) return by_month && by_week;
  return by_month || by_week;
}

void RandomDays(Random& random, Expression& expression) {
  expression.month_day = RandomField(random, 1, 31, 55);
  expression.week_day = RandomField(random, 0, 6, 55, kDayNames);
  if (expression.month_day.text == "*" && Chance(random, 30)) expression.month_day.text = "?";
  if (expression.week_day.text == "*" && Chance(random, 30)) expression.week_day.text = "?";
  if (!expression.month_day.star && Chance(random, 30)) {
    const int before = Chance(random, 50) ? 0 : Draw(random, 0, 30);
    expression.before_last.insert(before);
    expression.month_day.Add(before == 0 ? "L" : "L-" + std::to_string(before));
  }
  if (expression.week_day.star || Chance(random, 50)) return;
  const int day = Draw(random, 0, 6), nth = Draw(random, 1, 5);
  if (Chance(random, 50)) {
    expression.last_week_days.insert(day);
    expression.week_day.Add(ValueText(random, day, kDayNames) + "L");
  } else {
    expression.nth.insert({day, nth});
    expression.week_day.Add(ValueText(random, day, kDayNames) + "#" + std::to_string(nth));
  }
}

Expression RandomExpression(Random& random, bool by_second) {
  Expression expression;
  if (by_second) expression.second = RandomField(random, 0, 59, 20);
  expression.minute = RandomField(random, 0, 59, 20);
  expression.hour = RandomField(random, 0, 23, 35);
  // Shifts happen in the small hours.
  if (Chance(random, 40)) {
    const int hour = Draw(random, 0, 3);
    expression.hour.values.insert(hour);
    expression.hour.Add(std::to_string(hour));
  }
  expression.month = RandomField(random, 1, 12, 70, kMonthNames);
  RandomDays(random, expression);
  return expression;
}

// --- The scan ----------------------------------------------------------------------------------

constexpr const char* kZones[] = {"America/New_York",
                                  "Europe/Berlin",
                                  "Australia/Lord_Howe",
                                  "Asia/Kolkata",
                                  "UTC",
                                  "America/Sao_Paulo",
                                  "Africa/Casablanca",
                                  "Antarctica/Troll",
                                  "Europe/Dublin",
                                  "America/Caracas",
                                  "Asia/Tehran",
                                  "Pacific/Apia"};

// What the wall shows at each step of a stretch of real time.
struct Window {
  std::string zone_name;
  absl::TimeZone zone;
  int64_t start_s, step_s;
  std::vector<absl::CivilSecond> wall;
  std::vector<bool> again;     // shown before
  int64_t interesting_s = -1;  // a shift, where moments are drawn more often

  int64_t end_s() const { return start_s + step_s * static_cast<int64_t>(wall.size()); }
};

Window RandomWindow(Random& random, int64_t step_s, int64_t days) {
  constexpr int64_t kDay = 24 * 3600;
  Window window;
  window.step_s = step_s;
  window.zone_name = kZones[Draw(random, 0, std::size(kZones) - 1)];
  window.zone = *LoadZone(window.zone_name);
  window.start_s = std::uniform_int_distribution<int64_t>(0, 60 * 365)(random) * kDay;
  absl::TimeZone::CivilTransition shift;
  if (Chance(random, 80) &&
      window.zone.NextTransition(absl::FromUnixSeconds(window.start_s), &shift)) {
    window.interesting_s = absl::ToUnixSeconds(absl::FromCivil(shift.to, window.zone));
    // The second passing of an overlap begins somewhere behind; steps stay full minutes.
    window.start_s =
        (window.interesting_s / kDay - Draw(random, 0, static_cast<int>(days) / 2)) * kDay;
  }
  absl::CivilSecond highest = absl::CivilSecond::min();
  // A day in advance, so that the window knows what was shown before it began.
  for (int64_t s = window.start_s - kDay; s < window.start_s + days * kDay; s += step_s) {
    const absl::CivilSecond shown = window.zone.At(absl::FromUnixSeconds(s)).cs;
    if (s >= window.start_s) {
      window.wall.push_back(shown);
      window.again.push_back(shown <= highest);
    }
    highest = std::max(highest, shown);
  }
  return window;
}

// Unix seconds of every firing in the window but its first step, whose past is not known.
std::vector<int64_t> Scan(const Expression& expression, const Window& window) {
  std::vector<int64_t> firings;
  for (size_t i = 1; i < window.wall.size(); ++i) {
    bool fires = (expression.EveryHour() || !window.again[i]) && expression.At(window.wall[i]);
    if (!expression.EveryHour())
      for (absl::CivilSecond skipped = window.wall[i - 1] + window.step_s;
           skipped < window.wall[i] && !fires; skipped += window.step_s)
        fires = expression.At(skipped);
    if (fires) firings.push_back(window.start_s + window.step_s * static_cast<int64_t>(i));
  }
  return firings;
}

int64_t RandomMomentMs(Random& random, const Window& window) {
  constexpr int kAround = 4 * 3600;
  int64_t s = std::uniform_int_distribution<int64_t>(window.start_s, window.end_s() - 1)(random);
  if (window.interesting_s >= 0 && Chance(random, 60))
    s = std::clamp(window.interesting_s + Draw(random, -kAround, kAround), window.start_s,
                   window.end_s() - 1);
  return s * 1000 + (Chance(random, 50) ? 0 : Draw(random, 1, 999));
}

// The pairs that were compared.
int CompareInWindow(Random& random, const Window& window, int expressions, int moments) {
  const bool by_second = window.step_s == 1;
  int pairs = 0;
  for (int i = 0; i < expressions; ++i) {
    const Expression expression = RandomExpression(random, by_second);
    const std::string text = expression.Text(by_second);
    absl::StatusOr<Schedule> schedule = Parse(text);
    const std::vector<int64_t> firings = Scan(expression, window);
    if (!schedule.ok()) {
      EXPECT_TRUE(firings.empty()) << text << ": " << schedule.status();
      continue;
    }
    for (int k = 0; k < moments; ++k, ++pairs) {
      const int64_t from_ms = RandomMomentMs(random, window);
      const int64_t end_ms = window.end_s() * 1000;
      auto expected = std::find_if(firings.begin(), firings.end(),
                                   [&](int64_t s) { return s * 1000 > from_ms; });
      const int64_t next_ms = Next(*schedule, window.zone, from_ms, 0).value_or(end_ms);
      const int64_t expected_ms = expected == firings.end() ? end_ms : *expected * 1000;
      EXPECT_EQ(FormatTimeMs(std::min(next_ms, end_ms)), FormatTimeMs(expected_ms))
          << text << " in " << window.zone_name << " after " << FormatTimeMs(from_ms);
    }
    if (testing::Test::HasFailure()) break;
  }
  return pairs;
}

TEST(Property, NextIsWhatAScanByMinutesFinds) {
  Random random(20'261'121);
  int pairs = 0;
  for (int i = 0; i < 60 && !HasFailure(); ++i)
    pairs += CompareInWindow(random, RandomWindow(random, 60, 20), 20, 30);
  std::printf("%d pairs\n", pairs);
  EXPECT_GE(pairs, 20'000);
}

TEST(Property, NextIsWhatAScanBySecondsFinds) {
  Random random(6);
  int pairs = 0;
  for (int i = 0; i < 15 && !HasFailure(); ++i)
    pairs += CompareInWindow(random, RandomWindow(random, 1, 2), 10, 30);
  std::printf("%d pairs\n", pairs);
  EXPECT_GE(pairs, 3'000);
}

// Long jumps: days looked at one by one for 90 years, across 2100, which has no 29 February.
TEST(Property, NextIsWhatAScanByDaysFinds) {
  Random random(366);
  const absl::CivilDay begin(2040, 1, 1), end(2130, 1, 1);
  constexpr int64_t kDayMs = int64_t{24} * 3600 * 1000;
  const int64_t begin_ms = absl::ToUnixMillis(absl::FromCivil(begin, absl::UTCTimeZone()));
  for (int i = 0; i < 150 && !HasFailure(); ++i) {
    Expression expression;
    expression.month = RandomField(random, 1, 12, 20, kMonthNames);
    RandomDays(random, expression);
    expression.minute.text = expression.hour.text = "0";
    const std::string text = expression.Text(false);
    absl::StatusOr<Schedule> schedule = Parse(text);
    int64_t last_ms = begin_ms - 1;
    int firings = 0;
    for (absl::CivilDay day = begin; day < end; ++day) {
      if (!expression.OnDay(day)) continue;
      ASSERT_TRUE(schedule.ok()) << text << ": " << schedule.status();
      ++firings;
      const int64_t expected_ms = begin_ms + (day - begin) * kDayMs;
      std::optional<int64_t> next_ms = Next(*schedule, absl::UTCTimeZone(), last_ms, 0);
      ASSERT_EQ(FormatTimeMs(next_ms.value_or(0)), FormatTimeMs(expected_ms)) << text;
      last_ms = expected_ms;
    }
    EXPECT_EQ(schedule.ok(), firings > 0) << text;
  }
}

}  // namespace
}  // namespace zsched::cron
