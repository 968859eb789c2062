// The grammar of cron.h: text to Schedule, or what is wrong with it.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "base/check.h"
#include "base/text.h"
#include "cron/calendar.h"
#include "cron/cron.h"
#include "schemas/errors.h"

namespace zsched::cron {
namespace {

// What the values of one field are.
struct FieldSpec {
  std::string_view name;
  int min, max;
  int top;  // where "*" and "5/15" end; Sunday's second number is not counted again
  std::string_view allowed;
  std::string_view names;  // of three letters each, from `min` on; empty: none
};

constexpr FieldSpec kSecond = {"second", 0, 59, 59, "a number within 0..59", ""};
constexpr FieldSpec kMinute = {"minute", 0, 59, 59, "a number within 0..59", ""};
constexpr FieldSpec kHour = {"hour", 0, 23, 23, "a number within 0..23", ""};
constexpr FieldSpec kMonthDay = {
    "day of month", 1, 31, 31, "a number within 1..31, L, L-3 or ?", ""};
constexpr FieldSpec kMonth = {
    "month", 1, 12, 12, "one of 1..12 or JAN..DEC", "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"};
constexpr FieldSpec kWeekDay = {
    "day of week",          0, 7, 6, "one of 0..7, SUN..SAT, 5L, FRIL, 5#2, FRI#2 or ?",
    "SUNMONTUEWEDTHUFRISAT"};

constexpr size_t kNameLetters = 3;
constexpr int kMostBeforeLast = 30;  // L-30 is the first day of a month of 31
constexpr int kMostNth = 5;

struct Shorthand {
  std::string_view name, expression;
};
constexpr Shorthand kShorthands[] = {{"@yearly", "0 0 1 1 *"},  {"@annually", "0 0 1 1 *"},
                                     {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
                                     {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
                                     {"@hourly", "0 * * * *"}};
constexpr std::string_view kEvery = "@every";

absl::Status Invalid(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

absl::Status Bad(const FieldSpec& spec, const std::string& what) {
  return Invalid(std::string(spec.name) + ": " + what);
}

std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 40;  // enough to find the place
  return "'" + std::string(text.substr(0, kShown)) + (text.size() > kShown ? "...'" : "'");
}

absl::Status NotAllowed(const FieldSpec& spec, std::string_view text) {
  return Bad(spec, Quoted(text) + " is not " + std::string(spec.allowed));
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return absl::ascii_toupper(static_cast<unsigned char>(x)) ==
           absl::ascii_toupper(static_cast<unsigned char>(y));
  });
}

bool IsBlank(char c) { return c == ' ' || c == '\t'; }

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && !IsBlank(text[end])) ++end;
    if (end > i) words.push_back(text.substr(i, end - i));
    i = end + 1;
  }
  return words;
}

std::string Range(int min, int max) { return std::to_string(min) + ".." + std::to_string(max); }

// Digits alone, within bounds. `what` stands before the number in messages: "step ".
absl::StatusOr<int> ParseNumber(const FieldSpec& spec, std::string_view text, int min, int max,
                                const std::string& what = "") {
  constexpr size_t kMostDigits = 6;  // fits an int; more are out of every range
  bool digits = !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  if (!digits) return Bad(spec, what + Quoted(text) + " is not a number within " + Range(min, max));
  int number = text.size() > kMostDigits ? max + 1 : std::atoi(std::string(text).c_str());
  if (number < min || number > max)
    return Bad(spec, what + std::string(text.substr(0, kMostDigits)) +
                         (text.size() > kMostDigits ? "..." : "") + " is not within " +
                         Range(min, max));
  return number;
}

// A number or a name of the field.
absl::StatusOr<int> ParseValue(const FieldSpec& spec, std::string_view text) {
  if (!text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0])) &&
      std::all_of(text.begin(), text.end(), absl::ascii_isdigit))
    return ParseNumber(spec, text, spec.min, spec.max);
  for (size_t i = 0; i < spec.names.size(); i += kNameLetters)
    if (EqualsIgnoringCase(text, spec.names.substr(i, kNameLetters)))
      return spec.min + static_cast<int>(i / kNameLetters);
  return NotAllowed(spec, text);
}

struct Span {
  int low, high;
};

// "a-b". Around Sunday: 0 at the end is 7, and 7 at the start is 0.
absl::StatusOr<Span> ParseRange(const FieldSpec& spec, std::string_view text, size_t dash) {
  if (dash == 0 || dash + 1 == text.size()) return NotAllowed(spec, text);
  ZS_ASSIGN_OR_RETURN(int low, ParseValue(spec, text.substr(0, dash)));
  ZS_ASSIGN_OR_RETURN(int high, ParseValue(spec, text.substr(dash + 1)));
  if (&spec == &kWeekDay) {
    if (low == 7 && high < 7) low = 0;
    if (high == 0 && low > 0) high = 7;
  }
  if (low > high)
    return Bad(spec, "the range " + std::string(text) + " ends before it begins; write it as " +
                         std::to_string(low) + "-" + std::to_string(spec.top) + "," +
                         std::to_string(spec.min) + "-" + std::to_string(high));
  return Span{low, high};
}

// "*", "5", "10-30", each with an optional step. Sunday's 7 becomes bit 0.
absl::StatusOr<uint64_t> ParseItem(const FieldSpec& spec, std::string_view item) {
  const size_t slash = item.find('/');
  const std::string_view base = item.substr(0, slash);
  Span span{spec.min, spec.top};
  if (size_t dash = base.find('-'); dash != std::string_view::npos) {
    ZS_ASSIGN_OR_RETURN(span, ParseRange(spec, base, dash));
  } else if (base != "*") {
    ZS_ASSIGN_OR_RETURN(span.low, ParseValue(spec, base));
    const bool steps = slash != std::string_view::npos;
    if (steps && &spec == &kWeekDay) span.low %= 7;
    span.high = steps ? spec.top : span.low;
  }
  int step = 1;
  if (slash != std::string_view::npos) {
    // A step that is wider than the field is a slip: "*/90" in minutes is not an hour and a half.
    ZS_ASSIGN_OR_RETURN(
        step, ParseNumber(spec, item.substr(slash + 1), 1, spec.top - spec.min + 1, "step "));
  }
  uint64_t bits = 0;
  for (int value = span.low; value <= span.high; value += step)
    bits |= uint64_t{1} << (&spec == &kWeekDay ? value % 7 : value);
  return bits;
}

// Calls `take` for each item of a list; the first error ends it.
template <class Take>
absl::Status ForEachItem(const FieldSpec& spec, std::string_view text, Take take) {
  for (std::string_view rest = text;;) {
    const size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    if (item.empty())
      return Bad(spec,
                 Quoted(text) + " has an empty item; each has to be " + std::string(spec.allowed));
    if (item.find('?') != std::string_view::npos)
      return Bad(spec, &spec == &kMonthDay || &spec == &kWeekDay
                           ? "'?' stands alone, for any day"
                           : "'?' is for the two day fields; write *");
    ZS_RETURN_IF_ERROR(take(item));
    if (comma == std::string_view::npos) return absl::OkStatus();
    rest.remove_prefix(comma + 1);
  }
}

absl::StatusOr<uint64_t> ParseField(const FieldSpec& spec, std::string_view text) {
  uint64_t bits = 0;
  ZS_RETURN_IF_ERROR(ForEachItem(spec, text, [&](std::string_view item) -> absl::Status {
    ZS_ASSIGN_OR_RETURN(uint64_t more, ParseItem(spec, item));
    bits |= more;
    return absl::OkStatus();
  }));
  return bits;
}

bool StartsWithL(std::string_view item) { return item[0] == 'L' || item[0] == 'l'; }
bool EndsWithL(std::string_view item) { return item.back() == 'L' || item.back() == 'l'; }

absl::Status ParseMonthDays(std::string_view text, Fields& fields) {
  fields.any_month_day = text == "?" || text[0] == '*';
  if (text == "?") text = "*";
  return ForEachItem(kMonthDay, text, [&](std::string_view item) -> absl::Status {
    if (StartsWithL(item)) {
      int before = 0;
      if (item.size() > 1 && item[1] != '-') return NotAllowed(kMonthDay, item);
      if (item.size() > 1) {
        ZS_ASSIGN_OR_RETURN(before,
                            ParseNumber(kMonthDay, item.substr(2), 0, kMostBeforeLast, "L-"));
      }
      fields.days_before_last |= uint32_t{1} << before;
      return absl::OkStatus();
    }
    ZS_ASSIGN_OR_RETURN(uint64_t days, ParseItem(kMonthDay, item));
    fields.month_days |= static_cast<uint32_t>(days);
    return absl::OkStatus();
  });
}

absl::Status ParseWeekDays(std::string_view text, Fields& fields) {
  fields.any_week_day = text == "?" || text[0] == '*';
  if (text == "?") text = "*";
  return ForEachItem(kWeekDay, text, [&](std::string_view item) -> absl::Status {
    if (size_t hash = item.find('#'); hash != std::string_view::npos) {
      ZS_ASSIGN_OR_RETURN(int day, ParseValue(kWeekDay, item.substr(0, hash)));
      ZS_ASSIGN_OR_RETURN(int nth, ParseNumber(kWeekDay, item.substr(hash + 1), 1, kMostNth, "#"));
      fields.nth_week_days |= uint64_t{1} << NthBit(day % 7, nth);
      return absl::OkStatus();
    }
    if (item == "L" || item == "l")
      return Bad(kWeekDay, "'L' needs a day before it: 5L or FRIL is the last Friday");
    if (EndsWithL(item)) {
      ZS_ASSIGN_OR_RETURN(int day, ParseValue(kWeekDay, item.substr(0, item.size() - 1)));
      fields.last_week_days |= uint32_t{1} << day % 7;
      return absl::OkStatus();
    }
    ZS_ASSIGN_OR_RETURN(uint64_t days, ParseItem(kWeekDay, item));
    fields.week_days |= static_cast<uint32_t>(days);
    return absl::OkStatus();
  });
}

// Every kind of year, by leap and by the day of the week on which it begins, is among these 28.
bool EverFires(const Fields& fields) {
  for (int year = 2000; year < 2028; ++year)
    for (int month = 1; month <= 12; ++month)
      if ((fields.months >> month & 1) != 0 && AllowedDays(fields, year, month) != 0) return true;
  return false;
}

absl::StatusOr<Schedule> ParseFields(std::string_view expression) {
  std::vector<std::string_view> words = Words(expression);
  if (words.size() != 5 && words.size() != 6)
    return Invalid(Quoted(expression) + " has " + std::to_string(words.size()) +
                   " fields; a schedule has 5 (minute, hour, day of month, month, day of week), or "
                   "6 with the second first");
  Schedule schedule;
  Fields& fields = schedule.fields;
  if (words.size() == 6) {
    ZS_ASSIGN_OR_RETURN(fields.seconds, ParseField(kSecond, words[0]));
    words.erase(words.begin());
  }
  ZS_ASSIGN_OR_RETURN(fields.minutes, ParseField(kMinute, words[0]));
  ZS_ASSIGN_OR_RETURN(uint64_t hours, ParseField(kHour, words[1]));
  fields.hours = static_cast<uint32_t>(hours);
  ZS_RETURN_IF_ERROR(ParseMonthDays(words[2], fields));
  ZS_ASSIGN_OR_RETURN(uint64_t months, ParseField(kMonth, words[3]));
  fields.months = static_cast<uint32_t>(months);
  ZS_RETURN_IF_ERROR(ParseWeekDays(words[4], fields));
  if (!EverFires(fields))
    return Bad(kMonthDay, Quoted(words[2]) + " never comes in month " + Quoted(words[3]) +
                              (fields.any_week_day && fields.any_month_day
                                   ? " on day of week " + Quoted(words[4])
                                   : "") +
                              ", so it would never fire; use a day that exists, or L for the last");
  return schedule;
}

absl::StatusOr<Schedule> ParseEvery(std::string_view text) {
  while (!text.empty() && IsBlank(text[0])) text.remove_prefix(1);
  absl::StatusOr<int64_t> every_ms = ParseDurationMs(text);
  if (!every_ms.ok())
    return Invalid(std::string(kEvery) + ": " + Quoted(text) +
                   " is not a duration; write it like @every 90s or @every 1h30m");
  if (*every_ms < kMinEveryMs || *every_ms > kMaxEveryMs)
    return Invalid(std::string(kEvery) + ": " + std::string(text) + " is not within " +
                   FormatDurationMs(kMinEveryMs) + ".." + FormatDurationMs(kMaxEveryMs));
  return Schedule{.every_ms = *every_ms};
}

absl::StatusOr<Schedule> ParseShorthand(std::string_view text) {
  const size_t end = std::min(text.find(' '), text.find('\t'));
  if (EqualsIgnoringCase(text.substr(0, end), kEvery))
    return ParseEvery(end == std::string_view::npos ? "" : text.substr(end));
  std::string known;
  for (const Shorthand& shorthand : kShorthands) {
    if (EqualsIgnoringCase(text, shorthand.name)) return ParseFields(shorthand.expression);
    known += std::string(shorthand.name) + ", ";
  }
  return Invalid(Quoted(text) + " is not a shorthand; there are " + known + "@every DURATION");
}

}  // namespace

absl::StatusOr<Schedule> Parse(std::string_view expression) {
  if (expression.size() > kMaxExpressionBytes)
    return Invalid("the expression has " + std::to_string(expression.size()) +
                   " bytes, more than " + std::to_string(kMaxExpressionBytes));
  if (!std::all_of(expression.begin(), expression.end(), [](char c) {
        return c == '\t' || absl::ascii_isprint(static_cast<unsigned char>(c));
      }))
    return Invalid("the expression holds something that is not printable ASCII");
  while (!expression.empty() && IsBlank(expression.front())) expression.remove_prefix(1);
  while (!expression.empty() && IsBlank(expression.back())) expression.remove_suffix(1);
  if (expression.starts_with('@')) return ParseShorthand(expression);
  return ParseFields(expression);
}

}  // namespace zsched::cron
