// `zsched-ctl cron next` as people and scripts see it. There is no broker in these tests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/harness/cluster.h"

namespace zsched::integration {
namespace {

using harness::Args;
using harness::CtlResult;
using nlohmann::json;
using testing::HasSubstr;

class CronNext : public testing::Test {
 protected:
  CtlResult Run(int exit_code, Args args) {
    args.insert(args.begin(), {"cron", "next"});
    CtlResult result = nothing_runs_.Ctl(args);
    EXPECT_EQ(result.exit_code, exit_code) << args[2] << "\n" << result.out << result.err;
    return result;
  }

  harness::Cluster nothing_runs_;
};

TEST_F(CronNext, TableForPeople) {
  CtlResult result = Run(
      0, {"30 2 * * *", "--tz", "Europe/Berlin", "--count", "3", "--from", "2024-03-30T00:00:00Z"});
  EXPECT_EQ(
      result.out,
      "DAY  IN Europe/Berlin          UTC\n"
      "Sat  2024-03-30 02:30:00 CET   2024-03-30T01:30:00Z\n"
      "Sun  2024-03-31 03:00:00 CEST  2024-03-31T01:00:00Z\n"
      "Mon  2024-04-01 02:30:00 CEST  2024-04-01T00:30:00Z\n"
      "warning: 2024-03-31 02:30 does not exist in Europe/Berlin; it fires at 03:00 instead\n"
      "warning: 2024-10-27 02:30 comes twice in Europe/Berlin; it fires the first time only\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(CronNext, JsonForScripts) {
  const Args kArgs = {"0 8 31 * *", "--count", "2", "--from", "2024-03-30T00:00:00Z", "-o", "json"};
  json document = json::parse(Run(0, kArgs).out);
  EXPECT_EQ(document["next"], json::parse(R"(["2024-03-31T08:00:00Z","2024-05-31T08:00:00Z"])"));
  ASSERT_EQ(document["warnings"].size(), 1);
  EXPECT_EQ(document["warnings"][0]["kind"], "missing_day");
  EXPECT_EQ(document["warnings"][0]["at"], "2024-04-01T00:00:00Z");
  EXPECT_THAT(document["warnings"][0]["text"].get<std::string>(), HasSubstr("no day 31"));

  json either = json::parse(Run(0, {"0 8 1 * MON", "-o", "json"}).out);
  EXPECT_EQ(either["next"].size(), 5);  // from now on
  EXPECT_EQ(either["warnings"][0]["kind"], "either_day");
  EXPECT_TRUE(either["warnings"][0]["at"].is_null());
  json plain = json::parse(Run(0, {"@daily", "--count", "1", "-o", "json"}).out);
  EXPECT_EQ(plain["warnings"], json::array());
}

TEST_F(CronNext, JsonLines) {
  CtlResult result =
      Run(0, {"0 0 1 * MON", "--count", "2", "--from", "2024-05-31T00:00:00Z", "-o", "jsonl"});
  EXPECT_THAT(result.out, testing::StartsWith("{\"next\":\"2024-06-01T00:00:00Z\"}\n"
                                              "{\"next\":\"2024-06-03T00:00:00Z\"}\n"
                                              "{\"warning\":{\"kind\":\"either_day\""));
}

TEST_F(CronNext, PeriodsCountFromTheMomentAsked) {
  json document = json::parse(
      Run(0, {"@every 1500ms", "--count", "2", "--from", "2024-05-31T00:00:00Z", "-o", "json"})
          .out);
  EXPECT_EQ(document["next"], json::parse(R"(["2024-05-31T00:00:01.5Z","2024-05-31T00:00:03Z"])"));
}

TEST_F(CronNext, SaysWhenThereIsNothingToCome) {
  CtlResult result = Run(0, {"0 0 1 1 *", "--from", "2300-06-01T00:00:00Z"});
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("does not fire any more"));
}

TEST_F(CronNext, WhatIsWrongIsExitCodeTwo) {
  EXPECT_EQ(Run(2, {"0 0 32 * *"}).err, "zsched-ctl: day of month: 32 is not within 1..31\n");
  EXPECT_THAT(Run(2, {"0 0 30 2 *"}).err, HasSubstr("never fire"));
  EXPECT_THAT(Run(2, {"@daily", "--tz", "Europe/Bärlin"}).err, HasSubstr("time zone: '"));
  EXPECT_THAT(Run(2, {"@daily", "--from", "tomorrow"}).err, HasSubstr("is not a time"));
  EXPECT_THAT(Run(2, {"@daily", "--count", "0"}).err, HasSubstr("--count"));
  EXPECT_THAT(Run(2, {"@daily", "-o", "id"}).err, HasSubstr("no ids"));
  Run(2, {"0", "0", "*", "*", "*"});  // without quotes
  json error = json::parse(Run(2, {"0 24 * * *", "-o", "json"}).err)["error"];
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["message"], "hour: 24 is not within 0..23");
  EXPECT_EQ(error["retryable"], false);
}

}  // namespace
}  // namespace zsched::integration
