// A standby that applies what the active decides has the same state, the same tables and the same log, and can take its
// place at any moment.
#include <gtest/gtest.h>

#include "tests/unit/core/random_life.h"
#include "tests/unit/core/standby.h"

namespace zsched::broker {
namespace {

std::string FingerprintOfTables(Journal& journal) {
  State state;
  auto view = journal.View();
  EXPECT_TRUE(Rebuild(**view, state).ok());
  return state.Fingerprint();
}

class FollowProperty : public testing::TestWithParam<uint64_t> {};

TEST_P(FollowProperty, TheStandbyIsTheActiveAndTakesItsPlace) {
  CoreHarness active(Standby::Config());
  RandomLife life(active, GetParam());
  auto standby = std::make_unique<Standby>();
  int promotions = 0;
  active.fail_over = [&] {
    // What the standby has not got is lost, as with the node that had it.
    active.core = std::move(standby->core);
    active.journal = std::move(standby->journal);
    const Epoch epoch = active.core->NextEpoch(++promotions % 2);
    ASSERT_TRUE(active.core->Start(Uuid{1, 2}, epoch, active.now).ok());
    active.Commit();
    standby = std::make_unique<Standby>();
  };
  for (int step = 1; step <= 400 && !HasFatalFailure(); ++step) {
    life.Step();
    if (step % 7 == 0) standby->CatchUp(*active.journal, 1 + static_cast<size_t>(step % 3));
    if (step % 35 != 0) continue;
    active.Commit();
    standby->CatchUp(*active.journal);
    const std::string live = active.Fingerprint();
    ASSERT_EQ(live, standby->core->state().Fingerprint());
    ASSERT_EQ(live, FingerprintOfTables(*standby->journal));
    ASSERT_EQ(active.core->appended_hash(), standby->core->appended_hash());
    if (step % 105 == 0) life.Restart();
  }
  EXPECT_GE(promotions, 3);
}

INSTANTIATE_TEST_SUITE_P(Seeds, FollowProperty, testing::Range<uint64_t>(1, 31));

TEST(Follow, APromotedStandbyHandsOutWhatWaitsAndAdoptsWhatRuns) {
  CoreHarness h(Standby::Config());
  const SessionId client = h.Client(1), worker = h.Worker(1, 1);
  const TaskId runs = h.SubmitOne(client, 1, {});
  const Assign lease = h.Take(worker).at(0);
  h.Credit(worker, 0);
  const TaskId waits = h.SubmitOne(client, 2, {.concurrency_key = "k"});
  const TaskId later = h.SubmitOne(client, 3, {.delay_ms = 1000});
  Standby standby;
  standby.CatchUp(*h.journal);
  h.core = std::move(standby.core);
  h.journal = std::move(standby.journal);
  ASSERT_TRUE(h.core->Start(Uuid{1, 2}, h.core->NextEpoch(1), h.now).ok());
  h.Commit();

  const SessionId other = h.Worker(2, 10);
  auto taken = h.Take(other);
  ASSERT_EQ(taken.size(), 1u) << "what the first worker holds is its own";
  EXPECT_EQ(taken[0].task, waits);
  h.Pass(1000);
  EXPECT_EQ(h.Take(other).at(0).task, later);
  EXPECT_NE(h.Find(runs), nullptr);
  const Assign held = lease;
  const SessionId back = h.Worker(1, 1, {}, {}, {{held.task.value(), held.lease.value(), 1}});
  h.Done(back, {held});
  EXPECT_EQ(h.Find(runs), nullptr) << "its result counts";
}

TEST(Follow, WhatCannotBeAppliedIsRefused) {
  Standby standby;
  EXPECT_FALSE(standby.core->Follow(Epoch(4), "short").ok());
  std::string record(64, '\0');
  record[0] = 64;
  EXPECT_FALSE(standby.core->Follow(Epoch(4), record).ok()) << "of no kind";
}

}  // namespace
}  // namespace zsched::broker
