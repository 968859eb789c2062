// Time schedules with real processes: each tick has one task, also over kill -9, and zsched-ctl cron as
// scripts see it.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.h"
#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::Await;
using harness::Cluster;
using harness::CtlResult;
using nlohmann::json;

class Schedules : public testing::Test {
 protected:
  Schedules() { cluster_.StartBroker(); }

  CtlResult Run(int exit_code, const Args& args) {
    CtlResult result = cluster_.Ctl(args);
    std::string command;
    for (const std::string& arg : args) command += " " + arg;
    EXPECT_EQ(result.exit_code, exit_code) << "zsched-ctl" << command << "\n"
                                           << result.out << result.err;
    return result;
  }
  json RunJson(Args args) {
    args.insert(args.begin(), {"-o", "json"});
    return json::parse(Run(0, args).out);
  }
  // The ticks that have tasks, each as often as it has one.
  std::vector<int64_t> Ticks(const std::string& name) {
    std::vector<int64_t> ticks;
    const json list = RunJson({"task", "list", "--label", "schedule=" + name, "--limit", "1000"});
    for (const json& task : list["tasks"]) {
      auto tick_ms = ParseTimeMs(task["labels"]["tick"].get<std::string>());
      EXPECT_TRUE(tick_ms.ok());
      ticks.push_back(*tick_ms);
    }
    std::sort(ticks.begin(), ticks.end());
    return ticks;
  }

  Cluster cluster_;
};

TEST_F(Schedules, EachTickHasOneTaskOverKills) {
  Run(0, {"cron", "add", "beat", "--cron", "@every 1s", "--type", "noop", "--overlap", "allow"});
  cluster_.StartWorker("w");
  for (int kill = 1; kill <= 3; ++kill) {
    const size_t before = Ticks("beat").size();
    ASSERT_TRUE(Await([&] { return Ticks("beat").size() > before; }));
    cluster_.KillBroker();
    cluster_.StartBroker();
  }
  const size_t before = Ticks("beat").size();
  ASSERT_TRUE(Await([&] { return Ticks("beat").size() > before + 1; }));
  Run(0, {"cron", "pause", "beat"});
  const std::vector<int64_t> ticks = Ticks("beat");
  for (size_t i = 1; i < ticks.size(); ++i)
    EXPECT_EQ(ticks[i] - ticks[i - 1], 1000) << "a tick is lost or there twice, at " << i;
  EXPECT_EQ(RunJson({"cron", "show", "beat"})["fired"], ticks.size());
  EXPECT_EQ(RunJson({"cron", "show", "beat"})["missed"], 0);
}

TEST_F(Schedules, AreMadeSeenChangedAndRemoved) {
  const json made =
      RunJson({"cron", "add", "report", "--cron", "30 2 * * MON-FRI", "--tz", "Europe/Berlin",
               "--type", "mail", "--queue", "night", "--payload", "hello", "--label", "team=sales",
               "--catch-up", "2h", "--jitter", "30s"});
  EXPECT_EQ(made["name"], "report");
  EXPECT_EQ(made["cron"], "30 2 * * MON-FRI");
  EXPECT_EQ(made["tz"], "Europe/Berlin");
  EXPECT_EQ(made["overlap"], "skip");
  EXPECT_EQ(made["catch_up_ms"], 7'200'000);
  EXPECT_EQ(made["jitter_ms"], 30'000);
  EXPECT_EQ(made["task"]["payload"], "hello");
  EXPECT_EQ(made["task"]["labels"]["team"], "sales");
  const json preview =
      RunJson({"cron", "next", "30 2 * * MON-FRI", "--tz", "Europe/Berlin", "--count", "1"});
  EXPECT_EQ(ParseTimeMs(made["next"].get<std::string>()),
            ParseTimeMs(preview["next"][0].get<std::string>()))
      << "the broker fires when the preview says";

  Run(4, {"cron", "add", "report", "--cron", "@daily", "--type", "mail"});
  Run(0, {"cron", "add", "report", "--cron", "@daily", "--replace", "--overlap", "queue_one", "--",
          "true"});
  EXPECT_EQ(RunJson({"cron", "pause", "report"})["paused"], true);
  Run(0, {"cron", "add", "tidy", "--cron", "@hourly", "--type", "noop"});
  EXPECT_EQ(Run(0, {"-o", "id", "cron", "list"}).out, "report\ntidy\n");
  const json all = RunJson({"cron", "list"})["schedules"];
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0]["overlap"], "queue_one");
  EXPECT_EQ(all[0]["paused"], true) << "to be set anew does not resume it";
  EXPECT_EQ(RunJson({"cron", "resume", "report"})["paused"], false);
  Run(0, {"cron", "remove", "report"});
  for (const char* verb : {"show", "pause", "resume", "trigger", "remove"})
    Run(3, {"cron", verb, "report"});
  Run(0, {"cron", "add", std::string(100, 'n'), "--cron", "30 2,4,6,8,10,12 1-7 * MON-FRI", "--tz",
          "America/Argentina/Buenos_Aires", "--type", std::string(100, 't')});
  const std::string table = Run(0, {"cron", "list"}).out;
  EXPECT_NE(table.find("tidy"), std::string::npos) << table;
  std::istringstream lines(table);
  auto begins_character = [](char byte) { return (byte & 0xC0) != 0x80; };
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(std::count_if(line.begin(), line.end(), begins_character), 100) << line;
}

TEST_F(Schedules, AreRunByHand) {
  cluster_.StartWorker("w");
  Run(0, {"cron", "add", "s", "--cron", "0 * * * *", "--type", "echo", "--payload", "x"});
  std::string id = Run(0, {"-o", "id", "cron", "trigger", "s"}).out;
  id.pop_back();
  Run(0, {"task", "wait", id});
  const json items = RunJson({"cron", "backfill", "s", "--from", "2026-01-01T00:00:00Z", "--to",
                              "2026-01-01T02:59:59Z"})["items"];
  ASSERT_EQ(items.size(), 3u);
  const auto ticks = Ticks("s");
  ASSERT_EQ(ticks.size(), 4u);
  EXPECT_EQ(ticks[0], *ParseTimeMs("2026-01-01T00:00:00Z"));
  EXPECT_EQ(ticks[2], *ParseTimeMs("2026-01-01T02:00:00Z"));
  Run(2,
      {"cron", "backfill", "s", "--from", "2020-01-01T00:00:00Z", "--to", "2026-01-01T00:00:00Z"});
  Run(2, {"cron", "backfill", "s", "--from", "yesterday", "--to", "today"});
}

TEST_F(Schedules, WhatIsWrongIsNamed) {
  const auto says = [&](const Args& more, const std::string& what) {
    Args args = {"cron", "add", "s"};
    args.insert(args.end(), more.begin(), more.end());
    const std::string error = Run(2, args).err;
    EXPECT_NE(error.find(what), std::string::npos) << error;
  };
  says({"--cron", "61 * * * *", "--type", "noop"}, "expression: ");
  says({"--cron", "@daily", "--tz", "Europe/Atlantis", "--type", "noop"}, "zone: ");
  says({"--cron", "@daily"}, "--type is required");
  says({"--type", "noop"}, "--cron");
  says({"--cron", "@daily", "--type", "noop", "--overlap", "never"}, "--overlap");
  EXPECT_TRUE(RunJson({"cron", "list"})["schedules"].empty());
}

}  // namespace
}  // namespace zsched::integration
