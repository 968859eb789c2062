// The table cases.txt, whose firings another program has calculated (make_cases.py).
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "base/text.h"
#include "cron/cron.h"

namespace zsched::cron {
namespace {

std::string Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return "";
  return std::string(text.substr(begin, text.find_last_not_of(' ') - begin + 1));
}

std::vector<std::string> Columns(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> columns;
  for (std::string column; std::getline(in, column, '|');) columns.push_back(Trimmed(column));
  return columns;
}

TEST(Cases, EachFiresAsCalculated) {
  std::ifstream in(ZSCHED_SOURCE_DIR "/tests/unit/cron/cases.txt");
  int cases = 0;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    SCOPED_TRACE(line);
    const std::vector<std::string> columns = Columns(line);
    ASSERT_EQ(columns.size(), 5);
    absl::StatusOr<Schedule> schedule = Parse(columns[0]);
    ASSERT_TRUE(schedule.ok()) << schedule.status();
    absl::StatusOr<absl::TimeZone> zone = LoadZone(columns[1]);
    ASSERT_TRUE(zone.ok()) << zone.status();
    int64_t last_ms = *ParseTimeMs(columns[2]);
    const int64_t anchor_ms = columns[3] == "-" ? 0 : *ParseTimeMs(columns[3]);
    std::istringstream firings(columns[4]);
    int count = 0;
    for (std::string expected; firings >> expected; ++count) {
      std::optional<int64_t> next_ms = Next(*schedule, *zone, last_ms, anchor_ms);
      ASSERT_TRUE(next_ms) << "instead of " << expected;
      ASSERT_EQ(FormatTimeMs(*next_ms), FormatTimeMs(*ParseTimeMs(expected)));
      last_ms = *next_ms;
    }
    EXPECT_EQ(count, 5);
    ++cases;
  }
  EXPECT_GE(cases, 200);
}

}  // namespace
}  // namespace zsched::cron
