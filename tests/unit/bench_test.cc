// What zsched-bench makes of its measurements: medians, spreads, samples, tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lmdb.h>
#include <unistd.h>

#include <cmath>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bench/proc.h"
#include "bench/report.h"
#include "bench/sampler.h"
#include "bench/stats.h"
#include "bench/tables.h"

namespace zsched::bench {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Spread, IsMedianLowestAndHighest) {
  Spread odd = SpreadOf({30, 10, 20});
  EXPECT_EQ(odd.median, 20);
  EXPECT_EQ(odd.min, 10);
  EXPECT_EQ(odd.max, 30);
  EXPECT_DOUBLE_EQ(odd.relative(), 1);
  EXPECT_EQ(SpreadOf({40, 10, 20, 30}).median, 25);
  EXPECT_EQ(SpreadOf({7}).relative(), 0);
  EXPECT_EQ(SpreadOf({0, 0}).relative(), 0);
  EXPECT_TRUE(std::isinf(SpreadOf({0, 0, 1}).relative()));
}

Json MakeRun(double rate, double p50) {
  return {{"tasks", 100},
          {"tasks_per_second", rate},
          {"commit_ms", {{"p50", p50}}},
          {"limit", nullptr},
          {"samples", {{{"tasks", 50}, {"seconds", rate / 10}}}}};
}

TEST(Summarise, OneRunStandsAsItIs) { EXPECT_EQ(Summarise({MakeRun(5, 1)}), MakeRun(5, 1)); }

TEST(Summarise, GivesMediansUnderTheNamesOfARunWithSpreadAndRuns) {
  Json result = Summarise({MakeRun(10, 3), MakeRun(40, 1), MakeRun(20, 2)});
  EXPECT_EQ(result["tasks"], 100);
  EXPECT_EQ(result["tasks_per_second"], 20.0);
  EXPECT_EQ(result["commit_ms"]["p50"], 2.0);
  EXPECT_TRUE(result["limit"].is_null());
  EXPECT_EQ(result["samples"], Json::parse(R"([{"tasks":50,"seconds":2.0}])"));
  EXPECT_EQ(result["spread"], Json::parse(R"({
      "tasks_per_second": {"min": 10.0, "max": 40.0, "relative": 1.5},
      "commit_ms": {"p50": {"min": 1.0, "max": 3.0, "relative": 1.0}}})"));
  EXPECT_EQ(result["runs"], Json({MakeRun(10, 3), MakeRun(40, 1), MakeRun(20, 2)}));
}

TEST(Summarise, LeavesOutATableWhoseRowsCannotBeCompared) {
  Json shorter = MakeRun(1, 1);
  shorter["samples"] = Json::array();
  EXPECT_TRUE(Summarise({MakeRun(1, 1), shorter})["samples"].is_null());
}

TEST(Report, ShowsTheSpreadBesideEachFigureAndTablesBelow) {
  std::string once = TableText(Summarise({MakeRun(5, 1)}));
  EXPECT_THAT(once, HasSubstr("commit_ms p50"));
  EXPECT_THAT(once, Not(HasSubstr("%")));
  EXPECT_THAT(once, HasSubstr("\nsamples\n"));
  std::string thrice = TableText(Summarise({MakeRun(10, 3), MakeRun(40, 1), MakeRun(20, 2)}));
  EXPECT_THAT(thrice, HasSubstr("20.000   10.000 .. 40.000 (150.0 %)"));
  EXPECT_THAT(thrice, Not(HasSubstr("runs")));
}

TEST(Sampler, TakesASampleAtEachShareWithTheRateSinceTheOneBefore) {
  double disk = 0;
  Sampler sampler(100, 4, [&] { return disk += 10; });
  sampler.Note(10, 1);
  EXPECT_TRUE(sampler.samples().empty());
  sampler.Note(26, 2);
  sampler.Note(49, 3);
  sampler.Note(50, 4);
  sampler.Note(100, 5);  // past two shares at once: one sample
  sampler.Note(100, 6);
  ASSERT_EQ(sampler.samples().size(), 3u);
  EXPECT_EQ(sampler.samples()[0].tasks, 26u);
  EXPECT_EQ(sampler.samples()[0].tasks_per_second, 13);
  EXPECT_EQ(sampler.samples()[1].tasks_per_second, 12);
  EXPECT_EQ(sampler.samples()[2].tasks, 100u);
  EXPECT_EQ(sampler.samples()[2].disk_bytes, 30);
}

TEST(Proc, CountsTheCpuTimeOfThreadsByName) {
  CpuByThread before = CpuOf(getpid(), "here");
  constexpr std::clock_t kBusy = CLOCKS_PER_SEC / 10;  // ten of the kernel's ticks
  for (std::clock_t begin = std::clock(); std::clock() - begin < kBusy;) continue;
  CpuByThread used = CpuBetween(before, CpuOf(getpid(), "here"));
  EXPECT_GE(used.at("here"), 0.05);
  EXPECT_TRUE(CpuOf(-1, "here").empty());
}

TEST(Tables, MeasuresEveryDatabase) {
  std::string directory = testing::TempDir() + "/zsched-tables-" + std::to_string(getpid());
  std::filesystem::create_directory(directory);
  MDB_env* env;
  MDB_txn* txn;
  MDB_dbi small, large;
  ASSERT_EQ(mdb_env_create(&env), 0);
  ASSERT_EQ(mdb_env_set_maxdbs(env, 2), 0);
  ASSERT_EQ(mdb_env_open(env, directory.c_str(), MDB_NOSYNC, 0600), 0);
  ASSERT_EQ(mdb_txn_begin(env, nullptr, 0, &txn), 0);
  ASSERT_EQ(mdb_dbi_open(txn, "small", MDB_CREATE, &small), 0);
  ASSERT_EQ(mdb_dbi_open(txn, "large", MDB_CREATE, &large), 0);
  std::string value(20'000, 'x');
  for (char c : {'a', 'b', 'c'}) {
    MDB_val k{1, &c}, v{value.size(), value.data()};
    ASSERT_EQ(mdb_put(txn, large, &k, &v, 0), 0);
  }
  ASSERT_EQ(mdb_txn_commit(txn), 0);
  mdb_env_close(env);
  auto tables = TableSizes(directory);
  std::filesystem::remove_all(directory);
  ASSERT_TRUE(tables.ok()) << tables.status();
  ASSERT_EQ(tables->size(), 2u);
  EXPECT_EQ((*tables)[0].name, "large");
  EXPECT_EQ((*tables)[0].entries, 3u);
  EXPECT_GE((*tables)[0].bytes, 60'000u);
  EXPECT_EQ((*tables)[1].entries, 0u);
  EXPECT_FALSE(TableSizes(directory).ok());
}

}  // namespace
}  // namespace zsched::bench
