// Templates on their way: from TaskSpec through records into a SUBMIT body, and back.
#include <gtest/gtest.h>

#include "client/lib/codec.h"
#include "client/lib/frame_builder.h"
#include "schemas/frame.h"
#include "schemas/verify.h"

namespace zsched {
namespace {

TaskSpec Parent() {
  TaskSpec task{.type = "a", .payload = "p", .labels = {{"k", "v"}}, .start_by_ms = 77};
  task.on_success = {{.type = "s0", .queue = "other", .payload = "x", .priority = 9},
                     {.type = "s1", .labels = {{"l", "1"}, {"m", "2"}}, .pass_result = true}};
  task.on_success[1].on_failure = {{.type = "s1f", .delay_ms = 5'000, .start_within_ms = 6'000}};
  task.on_success[1].on_failure[0].on_complete = {{.type = "s1fc", .correlation_id = "c"}};
  task.on_complete = {{.type = "c0", .content_type = "text/plain", .timeout_ms = 7}};
  return task;
}

void ExpectEqual(const TaskSpec& a, const TaskSpec& b);
void ExpectEqual(const std::vector<TaskSpec>& a, const std::vector<TaskSpec>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) ExpectEqual(a[i], b[i]);
}
void ExpectEqual(const TaskSpec& a, const TaskSpec& b) {
  EXPECT_EQ(a.type, b.type);
  EXPECT_EQ(a.queue, b.queue);
  EXPECT_EQ(a.payload, b.payload);
  EXPECT_EQ(a.content_type, b.content_type);
  EXPECT_EQ(a.priority, b.priority);
  EXPECT_EQ(a.timeout_ms, b.timeout_ms);
  EXPECT_EQ(a.delay_ms, b.delay_ms);
  EXPECT_EQ(a.labels, b.labels);
  EXPECT_EQ(a.correlation_id, b.correlation_id);
  EXPECT_EQ(a.pass_result, b.pass_result);
  EXPECT_EQ(a.start_within_ms, b.start_within_ms);
  EXPECT_EQ(a.start_by_ms, b.start_by_ms);
  ExpectEqual(a.on_success, b.on_success);
  ExpectEqual(a.on_failure, b.on_failure);
  ExpectEqual(a.on_complete, b.on_complete);
}

// Of tasks in one SUBMIT, as the broker reads it.
std::vector<TaskSpec> Sent(const std::string& body) {
  AlignedCopy copy;
  const auto* submit = VerifyBody<wire::Submit>(copy.Align(body));
  EXPECT_NE(submit, nullptr);
  std::vector<TaskSpec> tasks;
  if (submit != nullptr)
    for (const wire::TaskSpec* spec : *submit->tasks()) tasks.push_back(ReadTask(*spec));
  return tasks;
}

TEST(Chain, GoesThroughRecordAndFrame) {
  std::string records;
  const std::vector<TaskSpec> tasks = {{.type = "before"}, Parent(), {.type = "behind"}};
  for (const TaskSpec& task : tasks) {
    ASSERT_TRUE(CheckEncodable(task).ok());
    AppendRecord(task, &records);
  }
  FrameBuilder builder;
  for (std::string_view rest = records; !rest.empty();) {
    const TaskRecord record = ReadRecord(rest);
    builder.Add(record);
    rest.remove_prefix(record.header.size);
  }
  const size_t promised = builder.bytes();
  const std::string body = builder.Finish(1, 1, false);
  EXPECT_LE(body.size(), promised);
  ExpectEqual(Sent(body), tasks);
}

TEST(Chain, IsKeptByATaskThatIsSubmittedAgain) {
  std::string record, again;
  AppendRecord(Parent(), &record);
  FrameBuilder builder;
  builder.Add(ReadRecord(record));
  const std::string body = builder.Finish(1, 1, false);
  AlignedCopy copy;
  AppendRecord(*VerifyBody<wire::Submit>(copy.Align(body))->tasks()->Get(0), &again);
  FrameBuilder second;
  second.Add(ReadRecord(again));
  ExpectEqual(Sent(second.Finish(2, 1, false)), {Parent()});
}

TEST(Chain, BytesOfABodyAreNeverMoreThanPromised) {
  TaskSpec task{.type = "t"};
  for (size_t i = 0; i < kMaxTemplates; ++i) {
    TaskSpec& next = task.on_complete.emplace_back(TaskSpec{.type = std::to_string(i)});
    next.queue = "q" + std::to_string(i);
    next.concurrency_key = next.fairness_key = next.correlation_id = std::to_string(i);
    next.content_type = "x/" + std::to_string(i);
    for (size_t k = 0; k < kMaxLabels; ++k) next.labels.push_back({std::to_string(k), "v"});
  }
  std::string record;
  ASSERT_TRUE(CheckEncodable(task).ok());
  AppendRecord(task, &record);
  FrameBuilder builder;
  builder.Add(ReadRecord(record));
  const size_t promised = builder.bytes();
  EXPECT_LE(builder.Finish(1, 1, false).size(), promised);
}

TEST(Chain, WhatNoFrameCanCarryIsRefused) {
  TaskSpec deep{.type = "t"};
  for (int i = 0; i <= kMaxChainDepth; ++i) {
    TaskSpec above{.type = "t"};
    above.on_success.push_back(std::move(deep));
    deep = std::move(above);
  }
  EXPECT_EQ(CodeOf(CheckEncodable(deep)), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(CheckEncodable(deep.on_success[0]).ok());

  TaskSpec many{.type = "t", .on_failure = std::vector<TaskSpec>(kMaxTemplates)};
  EXPECT_TRUE(CheckEncodable(many).ok());
  many.on_failure[0].on_success.emplace_back();
  EXPECT_EQ(CodeOf(CheckEncodable(many)), ErrorCode::kInvalidArgument);

  TaskSpec bad{.type = "t"};
  bad.on_complete = {{.type = "t", .priority = 10}};
  EXPECT_EQ(CodeOf(CheckEncodable(bad)), ErrorCode::kInvalidArgument);

  TaskSpec large{.type = "t", .payload = std::string(kMaxPayloadBytes, 'x')};
  large.on_complete = {{.type = "t", .payload = std::string(kMaxTemplateBytes, 'x')}};
  EXPECT_TRUE(CheckEncodable(large).ok()) << "the broker takes both";
  large.on_complete[0].payload = std::string(kMaxTaskBytes, 'x');
  EXPECT_EQ(CodeOf(CheckEncodable(large)), ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace zsched
