// Tasks, schedules and rules as users write them in JSON.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/json/json.h"
#include "client/json/read.h"

namespace zsched {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

absl::StatusOr<TaskSpec> Task(std::string_view text) {
  const absl::StatusOr<nlohmann::json> json = ParseJson(text);
  return json.ok() ? ReadTask(*json, "") : json.status();
}

TEST(ReadTask, TakesEveryField) {
  const absl::StatusOr<TaskSpec> task = Task(R"({
      "type":"resize","queue":"images","payload":"p","content_type":"text/plain","priority":9,"max_attempts":3,"timeout":"90s",
      "delay":250,"start_within":"1h","retry_base":"1s","retry_cap":"1m","key":"k","labels":{"a":"b"},"delivery":"at_most_once",
      "durability":"disk","concurrency_key":"c","fairness_key":"f","correlation_id":"i","traceparent":"t",
      "on_success":{"type":"next","pass_result":true},"on_failure":[{"type":"one"},{"argv":["two"]}],"on_complete":[]})");
  ASSERT_TRUE(task.ok()) << task.status();
  EXPECT_EQ(task->type, "resize");
  EXPECT_EQ(task->timeout_ms, 90'000u);
  EXPECT_EQ(task->delay_ms, 250u);
  EXPECT_EQ(task->start_within_ms, 3'600'000u);
  EXPECT_EQ(task->priority, 9);
  EXPECT_EQ(task->key, "k");
  EXPECT_EQ(task->delivery, Delivery::kAtMostOnce);
  EXPECT_EQ(task->durability, Durability::kDisk);
  EXPECT_EQ(task->labels, (std::vector<Label>{{"a", "b"}}));
  ASSERT_EQ(task->on_success.size(), 1u);
  EXPECT_TRUE(task->on_success[0].pass_result);
  ASSERT_EQ(task->on_failure.size(), 2u);
  EXPECT_EQ(task->on_failure[1].type, "shell");
  const absl::StatusOr<TaskSpec> timed = Task(
      R"({"type":"a","run_at":"2026-11-22T08:00:00+01:00","start_by":"2026-11-22T09:00:00Z"})");
  ASSERT_TRUE(timed.ok());
  EXPECT_EQ(timed->run_at_ms, 1795330800000);
  EXPECT_EQ(timed->start_by_ms, 1795338000000);
}

TEST(ReadTask, PayloadsAreTextBytesOrJson) {
  EXPECT_EQ(Task(R"({"type":"a","payload":"\u00e4\u0000"})")->payload, std::string("ä\0", 3));
  EXPECT_EQ(Task(R"({"type":"a","payload":{"base64":"AP8="}})")->payload, std::string("\0\xFF", 2));
  const absl::StatusOr<TaskSpec> json =
      Task(R"({"type":"a","payload":{"base64":"x","b":18446744073709551615}})");
  EXPECT_EQ(json->payload, R"({"b":18446744073709551615,"base64":"x"})");
  EXPECT_EQ(json->content_type, "application/json");
  EXPECT_EQ(Task(R"({"type":"a","content_type":"x/y","payload":[]})")->content_type, "x/y");
}

TEST(ReadTask, SaysWhichFieldIsWrong) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"type":1})", "type: "},
      {R"({"type":"a","priority":-1})", "priority: "},
      {R"({"type":"a","priority":1e3})", "priority: "},
      {R"({"type":"a","timeout":"8d"})", "timeout: "},
      {R"({"type":"a","payload":true})", "payload: "},
      {R"({"type":"a","on_success":{"type":"b","run_at":"x"}})", "on_success[0].run_at: "},
      {R"({"type":"a","on_success":[{"on_failure":{"type":"c","on_complete":{"type":"d","on_success":{"type":"e"}}}}]})",
       "on_success[0]"},
      {R"({"type":"a","nope":1})", "nope: unknown field"},
      {R"({"queue":"a"})", "type is required"},
      {R"([])", "is not an object"}};
  for (const auto& [text, message] : wrong) {
    const absl::StatusOr<TaskSpec> task = Task(text);
    EXPECT_EQ(CodeOf(task.status()), ErrorCode::kInvalidArgument) << text;
    EXPECT_THAT(MessageOf(task.status()), StartsWith(message)) << text;
  }
}

TEST(ParseJson, RefusesWhatIsDeepOrNoJson) {
  std::string deep;
  for (int i = 0; i < kMaxJsonDepth; ++i) deep += '[';
  EXPECT_THAT(MessageOf(ParseJson(deep).status()), StartsWith("not JSON"));
  EXPECT_THAT(MessageOf(ParseJson(deep + "[").status()), HasSubstr("levels deep"));
  std::string many = "[0";
  for (size_t i = 2; i < kMaxJsonValues; ++i) many += ",0";
  EXPECT_TRUE(ParseJson(many + "]").ok());
  EXPECT_THAT(MessageOf(ParseJson(many + ",0,0]").status()), HasSubstr("too many values"));
  // Brackets in a string are text.
  EXPECT_TRUE(ParseJson(R"(["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[[["])").ok());
  for (const char* text : {"", "{", "nan", "{'a':1}", "\"\xFF\"", "1 2", "[1,]", "1e999"})
    EXPECT_EQ(CodeOf(ParseJson(text).status()), ErrorCode::kMalformed) << text;
}

TEST(ReadRules, SetAndTakeAway) {
  const auto change = ReadQueueChange(
      *ParseJson(R"({"paused":true,"rate_per_second":0.5,"burst":null,"max_tasks":7})"));
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_EQ(change->paused, true);
  EXPECT_EQ(change->rate_micro, 500'000u);
  EXPECT_EQ(change->burst, 0u);
  EXPECT_EQ(change->max_tasks, 7u);
  EXPECT_EQ(change->weight, std::nullopt);
  for (const char* text :
       {R"({})", R"([])", R"({"rate_per_second":-1})", R"({"rate_per_second":"5/s"})",
        R"({"weight":256})", R"({"max_running":4294967296})", R"({"paused":1})", R"({"speed":1})"})
    EXPECT_EQ(CodeOf(ReadQueueChange(*ParseJson(text)).status()), ErrorCode::kInvalidArgument)
        << text;
  EXPECT_EQ(ReadTypeChange(*ParseJson(R"({"no_retry":["WORKER_LOST"]})"))->no_retry,
            ErrorBit(ErrorCode::kWorkerLost));
  EXPECT_FALSE(ReadTypeChange(*ParseJson(R"({"no_retry":"WORKER_LOST"})")).ok());
}

TEST(ReadSchedule, NeedsWhatMakesOne) {
  const auto spec = ReadSchedule(*ParseJson(
      R"({"name":"n","cron":"@daily","task":{"type":"a"},"jitter":"5s","catch_up":60000,"overlap":"allow"})"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->zone, "UTC");
  EXPECT_EQ(spec->jitter_ms, 5000u);
  EXPECT_EQ(spec->catch_up_ms, 60'000u);
  EXPECT_EQ(spec->overlap, Overlap::kAllow);
  EXPECT_EQ(spec->paused, std::nullopt);
  EXPECT_EQ(ReadSchedule(*ParseJson(R"({"cron":"@daily","task":{"type":"a"}})"), "given")->name,
            "given");
  for (const auto& [text, name, message] :
       {std::tuple(R"({"cron":"@daily","task":{"type":"a"}})", "", "name: "),
        std::tuple(R"({"name":"n","task":{"type":"a"}})", "", "cron: "),
        std::tuple(R"({"name":"n","cron":"@daily"})", "", "task: "),
        std::tuple(R"({"name":"n","cron":"@daily","task":{"type":"a"}})", "other", "name: ")})
    EXPECT_THAT(MessageOf(ReadSchedule(*ParseJson(text), name).status()), StartsWith(message))
        << text;
}

TEST(Positions, HaveOneSpellingEachWay) {
  for (const char* text : {"0", "812", "812.0", "812.3", "1.0"})
    EXPECT_EQ(PositionText(*ParsePosition(text)), text);
  EXPECT_EQ(ParsePosition("812.3"), (EventPosition{Lsn(811), 4}));
  for (const char* text : {"", ".", "1.", ".1", "a", "1.a", "-1", "1.2.3", "0.1", "1.4294967295",
                           "99999999999999999999", "18446744073709551615", "007", "1.00"})
    EXPECT_EQ(ParsePosition(text), std::nullopt) << text;
}

}  // namespace
}  // namespace zsched
