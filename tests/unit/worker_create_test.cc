// What zsched::Worker refuses before it runs.
#include <gtest/gtest.h>

#include "schemas/limits.h"
#include "zsched/worker.h"

namespace zsched {
namespace {

TEST(WorkerCreateTest, NamesTheOptionThatIsWrong) {
  auto message = [](auto change) {
    WorkerOptions options;
    change(&options);
    auto made = Worker::Create(options);
    EXPECT_EQ(CodeOf(made.status()), ErrorCode::kInvalidArgument);
    return MessageOf(made.status());
  };
  EXPECT_NE(message([](auto* o) { o->brokers = "nonsense"; }).find("nonsense"), std::string::npos);
  EXPECT_NE(message([](auto* o) { o->concurrency = -1; }).find("concurrency"), std::string::npos);
  EXPECT_NE(message([](auto* o) { o->concurrency = kMaxConcurrency + 1; }).find("concurrency"),
            std::string::npos);
  EXPECT_NE(message([](auto* o) { o->queues = {""}; }).find("queue"), std::string::npos);
  EXPECT_NE(message([](auto* o) { o->name = "a\nb"; }).find("name"), std::string::npos);
  EXPECT_NE(message([](auto* o) {
              o->labels = {{"k", "1"}, {"k", "2"}};
            }).find("label 'k'"),
            std::string::npos);
}

TEST(WorkerCreateTest, RefusesTypesThatCannotBe) {
  auto made = Worker::Create({});
  ASSERT_TRUE(made.ok());
  auto handler = [](TaskContext&) { return TaskResult::Ok(); };
  EXPECT_FALSE((*made)->Register("", handler).ok());
  EXPECT_FALSE((*made)->Register("t", nullptr).ok());
  EXPECT_TRUE((*made)->Register("t", handler).ok());
  EXPECT_FALSE((*made)->Register("t", handler).ok());
}

TEST(WorkerCreateTest, NothingToRunIsAnError) {
  auto made = Worker::Create({});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(CodeOf((*made)->Run()), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace zsched
