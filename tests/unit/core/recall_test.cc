// Who gets a task when several may, and what is taken from one worker for another.
#include <gtest/gtest.h>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class RecallTest : public testing::Test {
 protected:
  RecallTest() : client_(h_.Client(1)) {}

  SessionId Worker(uint64_t uuid, uint32_t concurrency, uint32_t credit,
                   std::vector<std::string> types = {}) {
    h_.concurrency = concurrency;
    return h_.Worker(uuid, credit, {}, std::move(types));
  }
  TaskId Submit(const std::string& type = "a") {
    return h_.SubmitOne(client_, ++seq_, {.type = type});
  }
  // A worker with one hand that holds `tasks` of type a.
  SessionId Laden(uint32_t tasks) {
    for (uint32_t i = 0; i < tasks; ++i) Submit();
    const SessionId worker = Worker(1, 1, tasks);
    held_ = h_.Take(worker);
    EXPECT_EQ(held_.size(), tasks);
    return worker;
  }
  void LadenComesBack() {
    h_.concurrency = 1;
    std::vector<CoreHarness::Held> held;
    for (const Assign& a : held_) held.push_back({a.task.value(), a.lease.value(), a.attempt});
    h_.Worker(1, static_cast<uint32_t>(held_.size()), {}, {}, held);
  }
  std::vector<uint64_t> Recalled() {
    std::vector<uint64_t> leases;
    for (const RecallEffect& recall : std::exchange(h_.recalls, {}))
      leases.insert(leases.end(), recall.leases.begin(), recall.leases.end());
    return leases;
  }

  CoreHarness h_;
  SessionId client_;
  uint64_t seq_ = 0;
  std::vector<Assign> held_;
};

TEST_F(RecallTest, IdleHandsComeBeforeCreditForMore) {
  Laden(1);
  const SessionId busy = Worker(2, 1, 100), idle = Worker(3, 1, 1, {"a", "b"});
  Submit();  // one each, whoever comes first
  Submit();
  EXPECT_EQ(h_.Take(busy).size(), 1u);
  EXPECT_EQ(h_.Take(idle).size(), 1u) << "although the other has credit for 99 more";
  Submit();
  EXPECT_EQ(h_.Take(busy).size(), 1u) << "nobody is idle any more";
}

TEST_F(RecallTest, WorkersWithManyHandsShareTheLoad) {
  const SessionId one = Worker(1, 8, 8), other = Worker(2, 8, 8);
  for (int i = 0; i < 8; ++i) Submit();
  EXPECT_EQ(h_.Take(one).size(), 4u);
  EXPECT_EQ(h_.Take(other).size(), 4u);
}

TEST_F(RecallTest, WhatWaitsBehindARunningTaskGoesToAnIdleWorker) {
  const SessionId laden = Laden(4);
  const SessionId idle = Worker(2, 2, 2);
  h_.Pass(kRecallAfterMs - 1);
  EXPECT_TRUE(Recalled().empty()) << "it may begin soon";
  h_.Pass(2);
  EXPECT_EQ(Recalled(), (std::vector{held_[3].lease.value(), held_[2].lease.value()}))
      << "the last that it got, as many as there are idle hands";
  h_.Release(laden, {held_[3], held_[2]});
  std::vector<Assign> taken = h_.Take(idle);
  ASSERT_EQ(taken.size(), 2u);
  EXPECT_EQ(taken[0].attempt, 1u) << "what has not begun was no attempt";
  EXPECT_TRUE(h_.Take(laden).empty());
  h_.Pass(10 * kRecallAfterMs);
  EXPECT_TRUE(Recalled().empty()) << "there are no idle hands";
  h_.Done(idle, taken);
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_EQ(Recalled(), (std::vector{held_[1].lease.value()}));
}

TEST_F(RecallTest, IsAskedOnce) {
  Laden(2);
  Worker(2, 2, 2);
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_EQ(Recalled().size(), 1u);
  h_.Pass(10 * kRecallAfterMs);
  EXPECT_TRUE(Recalled().empty()) << "what was not given back has begun";
}

TEST_F(RecallTest, IsAskedAgainOfAWorkerThatComesBack) {
  Laden(2);
  Worker(2, 2, 2);
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_EQ(Recalled().size(), 1u) << "which is lost with the session";
  LadenComesBack();
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_EQ(Recalled(), (std::vector{held_[1].lease.value()}));
}

// While the laden worker is away nobody is laden, and nothing is handed out when it returns.
TEST_F(RecallTest, AWorkerThatWasAwayIsLookedAt) {
  const SessionId laden = Laden(2);
  h_.core->OnSessionBroken(laden);
  Worker(2, 2, 2);
  h_.Pass(5 * kRecallAfterMs);
  EXPECT_TRUE(Recalled().empty());
  LadenComesBack();
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_EQ(Recalled(), (std::vector{held_[1].lease.value()}));
}

TEST_F(RecallTest, WhatIsKnownToRunStays) {
  const SessionId laden = Laden(2);
  h_.Started(laden, held_[1]);
  Worker(2, 2, 2);
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_EQ(Recalled(), (std::vector{held_[0].lease.value()}));
}

TEST_F(RecallTest, OnlyForAWorkerThatServesIt) {
  Laden(3);
  Worker(2, 2, 2, {"b"});
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_TRUE(Recalled().empty());
}

TEST_F(RecallTest, NothingIsTakenFromWhoHasHandsForIt) {
  for (int i = 0; i < 4; ++i) Submit();
  const SessionId worker = Worker(1, 4, 4);
  ASSERT_EQ(h_.Take(worker).size(), 4u);
  Worker(2, 4, 4);
  h_.Pass(2 * kRecallAfterMs);
  EXPECT_TRUE(Recalled().empty());
  EXPECT_GT(h_.core->next_tick_ms(h_.now), h_.now.mono_ms) << "and nobody looks again and again";
}

}  // namespace
}  // namespace zsched::broker
