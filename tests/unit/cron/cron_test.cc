// What expressions mean and what is said about wrong ones; firings worked out by hand; zones; warnings.
#include "cron/cron.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "cron/warnings.h"
#include "schemas/errors.h"

namespace zsched::cron {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

constexpr int64_t kYearMs = int64_t{366} * 24 * 3600 * 1000;

Schedule MustParse(std::string_view text) {
  absl::StatusOr<Schedule> schedule = Parse(text);
  EXPECT_TRUE(schedule.ok()) << text << ": " << schedule.status();
  return schedule.value_or(Schedule{});
}

absl::TimeZone Zone(std::string_view name) {
  absl::StatusOr<absl::TimeZone> zone = LoadZone(name);
  EXPECT_TRUE(zone.ok()) << zone.status();
  return zone.value_or(absl::UTCTimeZone());
}

std::string NextText(std::string_view expression, std::string_view zone, std::string_view from) {
  const int64_t from_ms = *ParseTimeMs(from);
  std::optional<int64_t> next = Next(MustParse(expression), Zone(zone), from_ms, from_ms);
  return next ? FormatTimeMs(*next) : "never";
}

// --- Grammar ----------------------------------------------------------------------------------

TEST(Parse, DifferentTextsThatMeanTheSame) {
  const std::pair<const char*, const char*> kPairs[] = {
      {"0 0 1 1 *", "0 0 0 1 1 *"},
      {"  0\t0  1 1 * ", "0 0 1 1 *"},
      {"0 0 1 JAN *", "0 0 1 1 *"},
      {"0 0 1 jan,Feb-APR *", "0 0 1 1-4 *"},
      {"0 0 * * SUN", "0 0 * * 0"},
      {"0 0 * * 7", "0 0 * * 0"},
      {"0 0 * * FRI-SUN", "0 0 * * 0,5,6"},
      {"0 0 * * 5-0", "0 0 * * 5-7"},
      {"0 0 * * 7-2", "0 0 * * 0-2"},
      {"0 0 * * 7/2", "0 0 * * 0,2,4,6"},
      {"0 0 * * fril", "0 0 * * 5L"},
      {"0 0 * * Fri#2", "0 0 * * 5#2"},
      {"0 0 * * 7#1", "0 0 * * 0#1"},
      {"0 0 l-3 * *", "0 0 L-3 * *"},
      {"0 0 L-0 * *", "0 0 L * *"},
      {"0 0 ? * ?", "0 0 * * *"},
      {"5/15 * * * *", "5,20,35,50 * * * *"},
      {"10-30/5 * * * *", "10,15,20,25,30 * * * *"},
      {"*/20 * * * *", "0,20,40 * * * *"},
      {"*/60 * * * *", "0 * * * *"},
      {"30-30 * * * *", "30 * * * *"},
      {"007 * * * *", "7 * * * *"},
      {"* 0-23 * * *", "* * * * *"},
      {"@yearly", "0 0 1 1 *"},
      {"@annually", "0 0 1 1 *"},
      {"@monthly", "0 0 1 * *"},
      {"@weekly", "0 0 * * SUN"},
      {"@daily", "0 0 * * *"},
      {"@midnight", "0 0 * * *"},
      {" @HOURLY ", "0 * * * *"},
      {"@every 90s", "@EVERY \t 1m30s"},
  };
  for (auto [one, other] : kPairs) EXPECT_EQ(MustParse(one), MustParse(other)) << one;
}

TEST(Parse, TextsThatLookAlikeAndDiffer) {
  const std::pair<const char*, const char*> kPairs[] = {
      {"0 0 * * MON", "0 0 1-31 * MON"},  // the second takes either, so every day
      {"0 0 L * *", "0 0 31 * *"},       {"0 0 * * 5L", "0 0 * * 5"},
      {"0 0 * * 5#1", "0 0 * * 5#5"},    {"* * * * * *", "* * * * *"},
      {"@every 60s", "* * * * *"},
  };
  for (auto [one, other] : kPairs) EXPECT_FALSE(MustParse(one) == MustParse(other)) << one;
}

TEST(Parse, ErrorsNameTheFieldTheReasonAndWhatIsAllowed) {
  struct Case {
    const char *text, *field, *says;
  };
  const Case kCases[] = {
      {"60 * * * *", "minute: ", "60 is not within 0..59"},
      {"-1 * * * *", "minute: ", "'-1' is not a number within 0..59"},
      {"1- * * * *", "minute: ", "'1-' is not"},
      {"1-2-3 * * * *", "minute: ", "'2-3' is not"},
      {"a * * * *", "minute: ", "'a' is not a number within 0..59"},
      {"1.5 * * * *", "minute: ", "'1.5' is not"},
      {"99999999999999999999 * * * *", "minute: ", "is not within 0..59"},
      {"1,,2 * * * *", "minute: ", "empty item"},
      {", * * * *", "minute: ", "empty item"},
      {"1, * * * *", "minute: ", "empty item"},
      {"*/0 * * * *", "minute: ", "step 0 is not within 1..60"},
      {"*/61 * * * *", "minute: ", "step 61 is not within 1..60"},
      {"*/ * * * *", "minute: ", "step '' is not a number"},
      {"*/5/5 * * * *", "minute: ", "step '5/5' is not a number"},
      {"*/x * * * *", "minute: ", "step 'x' is not a number"},
      {"*5 * * * *", "minute: ", "'*5' is not"},
      {"30-10 * * * *", "minute: ", "ends before it begins; write it as 30-59,0-10"},
      {"? * * * *", "minute: ", "for the two day fields; write *"},
      {"L * * * *", "minute: ", "'L' is not a number within 0..59"},
      {"* 24 * * *", "hour: ", "24 is not within 0..23"},
      {"* 22-4 * * *", "hour: ", "write it as 22-23,0-4"},
      {"* MON * * *", "hour: ", "'MON' is not"},
      {"* * 0 * *", "day of month: ", "0 is not within 1..31"},
      {"* * 32 * *", "day of month: ", "32 is not within 1..31"},
      {"* * 15W * *", "day of month: ", "'15W' is not a number within 1..31, L, L-3 or ?"},
      {"* * L3 * *", "day of month: ", "'L3' is not"},
      {"* * LW * *", "day of month: ", "'LW' is not"},
      {"* * L-31 * *", "day of month: ", "L-31 is not within 0..30"},
      {"* * L- * *", "day of month: ", "L-'' is not a number within 0..30"},
      {"* * L/2 * *", "day of month: ", "'L/2' is not"},
      {"* * ?,5 * *", "day of month: ", "'?' stands alone"},
      {"* * ?/5 * *", "day of month: ", "'?' stands alone"},
      {"* * MON * *", "day of month: ", "'MON' is not"},
      {"* * * 0 *", "month: ", "0 is not within 1..12"},
      {"* * * 13 *", "month: ", "13 is not within 1..12"},
      {"* * * FOO *", "month: ", "'FOO' is not one of 1..12 or JAN..DEC"},
      {"* * * JANUARY *", "month: ", "'JANUARY' is not"},
      {"* * * ANF *", "month: ", "'ANF' is not"},
      {"* * * NOV-FEB *", "month: ", "write it as 11-12,1-2"},
      {"* * * * 8", "day of week: ", "8 is not within 0..7"},
      {"* * * * FOO", "day of week: ", "'FOO' is not one of 0..7, SUN..SAT, 5L, FRIL, 5#2"},
      {"* * * * L", "day of week: ", "'L' needs a day before it"},
      {"* * * * 8L", "day of week: ", "8 is not within 0..7"},
      {"* * * * 1-5L", "day of week: ", "'1-5' is not"},
      {"* * * * FRI#6", "day of week: ", "#6 is not within 1..5"},
      {"* * * * FRI#0", "day of week: ", "#0 is not within 1..5"},
      {"* * * * FRI#", "day of week: ", "#'' is not a number within 1..5"},
      {"* * * * #2", "day of week: ", "'' is not one of"},
      {"* * * * SAT-MON", "day of week: ", "ends before it begins; write it as 6-6,0-1"},
      {"* * * * */8", "day of week: ", "step 8 is not within 1..7"},
      {"60 * * * * *", "second: ", "60 is not within 0..59"},
      {"? * * * * *", "second: ", "for the two day fields"},
      {"@every", "@every: ", "'' is not a duration"},
      {"@every 5", "@every: ", "'5' is not a duration"},
      {"@every -5s", "@every: ", "'-5s' is not a duration"},
      {"@every 999ms", "@every: ", "999ms is not within 1s.."},
      {"@every 100000h", "@every: ", "100000h is not within 1s.."},
  };
  for (const Case& c : kCases) {
    absl::StatusOr<Schedule> schedule = Parse(c.text);
    ASSERT_FALSE(schedule.ok()) << c.text;
    EXPECT_EQ(CodeOf(schedule.status()), ErrorCode::kInvalidArgument);
    EXPECT_THAT(MessageOf(schedule.status()), AllOf(StartsWith(c.field), HasSubstr(c.says)))
        << c.text;
  }
}

TEST(Parse, WhatIsNoExpressionAtAll) {
  const std::pair<std::string, const char*> kCases[] = {
      {"", "has 0 fields; a schedule has 5"},
      {"  ", "has 0 fields"},
      {"* * * *", "has 4 fields"},
      {"* * * * * * *", "has 7 fields"},
      {"*", "has 1 fields"},
      {"@reboot", "not a shorthand; there are @yearly"},
      {"@", "not a shorthand"},
      {"@daily 5", "not a shorthand"},
      {"@everyday", "not a shorthand"},
      {"* * * * \xC3\xBC", "not printable ASCII"},
      {"* * * * *\n", "not printable ASCII"},
      {std::string("* * * * *\0", 10), "not printable ASCII"},
      {std::string(kMaxExpressionBytes, ' ') + "@daily", "more than 1024"},
  };
  for (const auto& [text, says] : kCases) {
    absl::StatusOr<Schedule> schedule = Parse(text);
    ASSERT_FALSE(schedule.ok()) << text;
    EXPECT_THAT(MessageOf(schedule.status()), HasSubstr(says)) << text;
  }
}

TEST(Parse, WhatCanNeverFireIsRefused) {
  for (const char* text : {"0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31 APR ?", "0 0 30 FEB */2",
                           "0 0 L-29 2 *", "0 0 L-30 4 *"}) {
    absl::StatusOr<Schedule> schedule = Parse(text);
    ASSERT_FALSE(schedule.ok()) << text;
    EXPECT_THAT(MessageOf(schedule.status()),
                AllOf(StartsWith("day of month: "), HasSubstr("it would never fire")));
  }
  // These fire, however rarely: a leap day, a Monday in its month, the one day of 31 before the last.
  for (const char* text : {"0 0 29 2 *", "0 0 30 2 MON", "0 0 * 2 MON#5", "0 0 L-28 2 *"})
    EXPECT_TRUE(Parse(text).ok()) << text;
}

TEST(Parse, EveryValueListedFits) {
  auto list = [](int first, int last) {
    std::string text;
    for (int i = first; i <= last; ++i) text += (text.empty() ? "" : ",") + std::to_string(i);
    return text;
  };
  const std::string all = list(0, 59) + " " + list(0, 59) + " " + list(0, 23) + " " + list(1, 31) +
                          " " + list(1, 12) + " " + list(0, 7);
  EXPECT_EQ(Next(MustParse(all), absl::UTCTimeZone(), 1500, 0), 2000);
}

// --- Firings, worked out by hand -------------------------------------------------------------

TEST(Next, IsAfterTheMomentGiven) {
  EXPECT_EQ(NextText("* * * * * *", "UTC", "2024-05-05T12:00:00Z"), "2024-05-05T12:00:01.000Z");
  EXPECT_EQ(NextText("* * * * * *", "UTC", "2024-05-05T12:00:00.999Z"), "2024-05-05T12:00:01.000Z");
  EXPECT_EQ(NextText("* * * * * *", "UTC", "1969-12-31T23:59:58.001Z"), "1969-12-31T23:59:59.000Z");
  EXPECT_EQ(NextText("0 0 * * *", "UTC", "1969-12-31T23:59:59.999Z"), "1970-01-01T00:00:00.000Z");
}

// New York left standard time on 10 March 2024 at 07:00 UTC and returned on 3 November at 06:00.
TEST(Next, AGapFiresOnceAtItsEnd) {
  EXPECT_EQ(NextText("30 2 * * *", "America/New_York", "2024-03-10T06:59:00Z"),
            "2024-03-10T07:00:00.000Z");
  EXPECT_EQ(NextText("30 2 * * *", "America/New_York", "2024-03-10T07:00:00Z"),
            "2024-03-11T06:30:00.000Z");
  EXPECT_EQ(NextText("* 2 * * *", "America/New_York", "2024-03-10T07:00:00Z"),
            "2024-03-11T06:00:00.000Z");
}

TEST(Next, AnOverlapFiresAtItsFirstPassing) {
  EXPECT_EQ(NextText("30 1 * * *", "America/New_York", "2024-11-03T05:00:00Z"),
            "2024-11-03T05:30:00.000Z");
  EXPECT_EQ(NextText("30 1 * * *", "America/New_York", "2024-11-03T05:30:00Z"),
            "2024-11-04T06:30:00.000Z");
}

TEST(Next, EveryHourFollowsRealTime) {
  EXPECT_EQ(NextText("*/15 * * * *", "America/New_York", "2024-11-03T05:45:00Z"),
            "2024-11-03T06:00:00.000Z");
  EXPECT_EQ(NextText("*/15 * * * *", "America/New_York", "2024-11-03T06:45:00Z"),
            "2024-11-03T07:00:00.000Z");
  EXPECT_EQ(NextText("30 * * * *", "America/New_York", "2024-03-10T06:30:00Z"),
            "2024-03-10T07:30:00.000Z");
}

// 29 February was or will be a Monday in 1988, 2016, 2044, 2072, 2112.
TEST(Next, FindsTheRarestDay) {
  EXPECT_EQ(NextText("0 0 * 2 MON#5", "UTC", "1988-02-29T00:00:00Z"), "2016-02-29T00:00:00.000Z");
  EXPECT_EQ(NextText("0 0 * 2 MON#5", "UTC", "2072-02-29T00:00:00Z"), "2112-02-29T00:00:00.000Z");
  EXPECT_EQ(NextText("0 * * 2 MON#5", "Europe/Berlin", "2016-02-29T23:00:00Z"),
            "2044-02-28T23:00:00.000Z");
}

// The reason for kSearchYears, from the calendar itself.
TEST(Next, NoRuleIsRarerThanTheSearchIsLong) {
  absl::civil_year_t longest = 0;
  for (int week_day = 0; week_day < 7; ++week_day) {
    absl::civil_year_t last = 0;
    for (absl::civil_year_t year = 1600; year < 2600; ++year) {
      absl::CivilDay day(year, 2, 29);
      if (day.month() != 2 || static_cast<int>(absl::GetWeekday(day)) != week_day) continue;
      if (last != 0) longest = std::max(longest, year - last);
      last = year;
    }
  }
  EXPECT_EQ(longest, kSearchYears);
}

TEST(Next, EndsWithTheCalendar) {
  EXPECT_EQ(NextText("0 0 1 1 *", "UTC", "2299-12-31T00:00:00Z"), "2300-01-01T00:00:00.000Z");
  EXPECT_EQ(NextText("0 0 1 1 *", "UTC", "2300-01-01T00:00:00Z"), "never");
  for (int64_t from :
       {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::max() - 1}) {
    EXPECT_EQ(Next(MustParse("* * * * *"), absl::UTCTimeZone(), from, 0), std::nullopt);
    EXPECT_EQ(Next(MustParse("@every 1s"), absl::UTCTimeZone(), from, 0), std::nullopt);
    EXPECT_EQ(Next(MustParse("@every 1s"), absl::UTCTimeZone(), 0, from), std::nullopt);
  }
  constexpr int64_t kFirst = std::numeric_limits<int64_t>::min();
  for (const char* zone : {"UTC", "Europe/Berlin"})
    for (const char* text : {"* * * * *", "0 0 29 2 *", "0 3 * * *", "@every 1s"}) {
      std::optional<int64_t> next = Next(MustParse(text), Zone(zone), kFirst, kFirst);
      ASSERT_TRUE(next) << text;
      EXPECT_GT(*next, kFirst) << text;
    }
}

TEST(Next, EveryCountsFromItsAnchor) {
  const Schedule schedule = MustParse("@every 90s");
  const absl::TimeZone utc = absl::UTCTimeZone();
  EXPECT_EQ(Next(schedule, utc, 0, 0), 90'000);
  EXPECT_EQ(Next(schedule, utc, 89'999, 0), 90'000);
  EXPECT_EQ(Next(schedule, utc, 90'000, 0), 180'000);
  EXPECT_EQ(Next(schedule, utc, 90'000, 7), 90'007);
  EXPECT_EQ(Next(schedule, utc, -500'000, 7), 90'007);  // not before its anchor
  EXPECT_EQ(Next(schedule, utc, -500'000, -600'000), -420'000);
}

// --- Zones ------------------------------------------------------------------------------------

TEST(LoadZone, TakesNamesOfTheDatabaseOnly) {
  for (const char* name : {"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                           "Asia/Kolkata", "America/Sao_Paulo", "America/Argentina/Buenos_Aires",
                           "Etc/GMT+5", "America/Port-au-Prince"})
    EXPECT_TRUE(LoadZone(name).ok()) << name;
  for (const char* name :
       {"", "Nowhere/Land", "europe/berlin!", "/etc/localtime", "../zoneinfo/UTC", "Europe/../UTC",
        "localtime", "file:UTC", "libc:localtime", "Fixed/UTC+05:00:00", "right/UTC", "+05:00",
        "zone.tab", "Europe", "UTC ",
        "Europe/Berlin/which-is-a-name-that-is-far-longer-than-any-zone-has"}) {
    absl::StatusOr<absl::TimeZone> zone = LoadZone(name);
    ASSERT_FALSE(zone.ok()) << name;
    EXPECT_EQ(CodeOf(zone.status()), ErrorCode::kInvalidArgument);
    EXPECT_THAT(MessageOf(zone.status()), StartsWith("time zone: '"));
  }
}

// --- Warnings ---------------------------------------------------------------------------------

std::vector<std::string> WarningTexts(std::string_view expression, std::string_view zone,
                                      std::string_view from, int64_t horizon_ms = kYearMs) {
  std::vector<std::string> texts;
  for (const Warning& warning :
       Warnings(MustParse(expression), Zone(zone), *ParseTimeMs(from), horizon_ms))
    texts.push_back(std::string(NameOf(warning.kind)) + " " +
                    (warning.at_ms == 0 ? "-" : FormatTimeMs(warning.at_ms)) + ": " + warning.text);
  return texts;
}

constexpr const char* kFrom = "2024-01-01T00:00:00Z";

TEST(Warnings, FiringsThatAreMovedOrComeTwice) {
  EXPECT_THAT(WarningTexts("30 2 * * *", "Europe/Berlin", kFrom),
              ElementsAre("gap 2024-03-31T01:00:00.000Z: 2024-03-31 02:30 does not exist in "
                          "Europe/Berlin; it fires at 03:00 instead",
                          "overlap 2024-10-27T01:00:00.000Z: 2024-10-27 02:30 comes twice in "
                          "Europe/Berlin; it fires the first time only"));
  EXPECT_THAT(
      WarningTexts("*/10 1,2 * * *", "America/New_York", kFrom),
      ElementsAre("gap 2024-03-10T07:00:00.000Z: 2024-03-10 02:00 and later times before "
                  "03:00 do not exist in America/New_York; they fire once, at 03:00 instead",
                  "overlap 2024-11-03T06:00:00.000Z: 2024-11-03 01:00 and later times before "
                  "02:00 come twice in America/New_York; they fire the first time only"));
  EXPECT_THAT(WarningTexts("5 30 12 30 12 *", "Pacific/Apia", "2011-06-01T00:00:00Z"),
              ElementsAre("gap 2011-12-30T10:00:00.000Z: 2011-12-30 12:30:05 does not exist in "
                          "Pacific/Apia; it fires at 2011-12-31 00:00 instead"));
}

TEST(Warnings, NoneWhereNothingIsOdd) {
  EXPECT_THAT(WarningTexts("30 2 * * *", "Asia/Kolkata", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("0 0 28 * *", "UTC", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("0 4 * * *", "Europe/Berlin", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("0 1 * * *", "Europe/Berlin", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("30 2 * * MON", "Europe/Berlin", kFrom), IsEmpty());  // shifts: Sundays
  EXPECT_THAT(WarningTexts("30 * * * *", "Europe/Berlin", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("@every 1h", "Europe/Berlin", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("0 0 */3 * MON", "UTC", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("0 0 1-31 * ?", "UTC", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("0 0 L,L-27 * *", "UTC", kFrom), IsEmpty());
}

TEST(Warnings, OnlyWithinTheHorizon) {
  const int64_t to_the_gap = *ParseTimeMs("2024-03-31T01:00:00Z") - *ParseTimeMs(kFrom);
  EXPECT_THAT(WarningTexts("30 2 * * *", "Europe/Berlin", kFrom, to_the_gap - 1), IsEmpty());
  EXPECT_EQ(WarningTexts("30 2 * * *", "Europe/Berlin", kFrom, to_the_gap).size(), 1);
  EXPECT_THAT(WarningTexts("30 2 * * *", "Europe/Berlin", kFrom, -1), IsEmpty());
  // Ten years of two shifts each, however much is asked for.
  EXPECT_EQ(WarningTexts("30 2 * * *", "Europe/Berlin", kFrom, std::numeric_limits<int64_t>::max())
                .size(),
            20);
}

TEST(Warnings, HalfAnHourIsUneven) {
  EXPECT_THAT(WarningTexts("15 * * * *", "Australia/Lord_Howe", kFrom),
              ElementsAre(AllOf(StartsWith("uneven 2024-04-06T15:00:00.000Z: "),
                                HasSubstr("from 2024-04-07 02:00 to 01:30")),
                          AllOf(StartsWith("uneven 2024-10-05T15:30:00.000Z: "),
                                HasSubstr("from 2024-10-06 02:00 to 02:30"))));
  EXPECT_THAT(WarningTexts("*/30 * * * *", "Australia/Lord_Howe", kFrom), IsEmpty());
  EXPECT_THAT(WarningTexts("15 * * JUL *", "Australia/Lord_Howe", kFrom), IsEmpty());
}

TEST(Warnings, MonthsWithoutTheDay) {
  EXPECT_THAT(WarningTexts("0 0 31 * *", "UTC", kFrom, kYearMs - 1000),
              ElementsAre("missing_day 2024-02-01T00:00:00.000Z: there is no day 31 in 2024-02, "
                          "2024-04, 2024-06, 2024-09, 2024-11; nothing fires for it there"));
  EXPECT_THAT(WarningTexts("0 0 29 2 *", "UTC", "2024-06-01T00:00:00Z", 3 * kYearMs),
              ElementsAre(HasSubstr("there is no day 29 in 2025-02, 2026-02, 2027-02;")));
  EXPECT_THAT(WarningTexts("0 0 L-29 * *", "UTC", kFrom),
              ElementsAre(HasSubstr("there is no L-29 in 2024-02;")));
  EXPECT_THAT(WarningTexts("0 0 ? 1-6 FRI#5", "UTC", kFrom),
              ElementsAre(HasSubstr("no fifth Friday in 2024-01, 2024-02, 2024-04, 2024-06;")));
  EXPECT_THAT(WarningTexts("0 0 31 * *", "UTC", kFrom, 4 * kYearMs),
              ElementsAre(HasSubstr(", 2026-04 and 8 more months;")));
}

TEST(Warnings, EitherDayComesFirst) {
  std::vector<std::string> texts = WarningTexts("0 0 30 2 MON", "UTC", kFrom);
  ASSERT_EQ(texts.size(), 2);
  EXPECT_THAT(texts[0], StartsWith("either_day -: day of month and day of week are both"));
  EXPECT_THAT(texts[1], StartsWith("missing_day"));
}

}  // namespace
}  // namespace zsched::cron
