// When a worker is to be recycled: worker/core/recycling.h, and how long its drain waits.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "worker/core/ledger.h"
#include "worker/core/recycling.h"

namespace zsched::worker {
namespace {

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

TEST(Recycling, NeverWithoutABound) {
  const Recycling recycling({}, 17);
  EXPECT_FALSE(recycling.Due(kMost, kMost));
  EXPECT_FALSE(recycling.watches_memory());
}

TEST(Recycling, AfterSoManyAttempts) {
  const Recycling recycling({.after_tasks = 5}, 17);
  EXPECT_EQ(recycling.after_tasks(), 5u) << "a tenth of 5 is nothing";
  EXPECT_FALSE(recycling.Due(4, kMost));
  EXPECT_EQ(recycling.Due(5, 0), "to be recycled: attempts ended: 5");
  EXPECT_TRUE(recycling.Due(6, 0));
}

TEST(Recycling, JitterAddsUpToATenthAndTakesNothingAway) {
  std::set<uint64_t> bounds;
  for (uint64_t seed = 0; seed < 1000; ++seed)
    bounds.insert(Recycling({.after_tasks = 100}, seed * 0x9E3779B97F4A7C15).after_tasks());
  EXPECT_EQ(*bounds.begin(), 100u);
  EXPECT_EQ(*bounds.rbegin(), 110u);
  EXPECT_EQ(bounds.size(), 11u) << "each of them is drawn";
  EXPECT_EQ(Recycling({.after_tasks = 1}, 17).after_tasks(), 1u);
}

TEST(Recycling, AboveSoMuchMemoryOnceSomethingHasRun) {
  const Recycling recycling({.after_memory_bytes = 1 << 20}, 17);
  EXPECT_TRUE(recycling.watches_memory());
  EXPECT_FALSE(recycling.Due(0, 2 << 20)) << "a new process would be no smaller";
  EXPECT_FALSE(recycling.Due(1, 1 << 20));
  EXPECT_EQ(recycling.Due(1, 2 << 20), "to be recycled: resident memory: 2MiB");
}

// A worker that goes on in a new process does not leave results behind that no broker has taken.
TEST(Recycling, ItsDrainWaitsForABrokerUntilSomebodyAsksForTheEnd) {
  int64_t now = 1'000'000;
  Ledger ledger(LedgerOptions{});
  ledger.OnSessionUp(6'000, {}, now);
  ASSERT_TRUE(ledger.OnAssigned({TaskId(1), LeaseId(1), 1, 60'000, 0}, now));
  ledger.OnStarted(LeaseId(1), now);
  ledger.OnDrain(now, Ledger::kNever);
  Ended ended{LeaseId(1), 10, nullptr};
  ledger.OnEnded({&ended, 1}, now);
  ledger.OnSessionDown(now);
  now += 3'600'000;
  EXPECT_FALSE(ledger.drained(now));
  EXPECT_EQ(ledger.NextDeadlineMs(), Ledger::kNever);
  ledger.OnDrain(now);
  EXPECT_FALSE(ledger.drained(now)) << "the end has its own time to find a broker";
  EXPECT_EQ(ledger.NextDeadlineMs(), now + kDrainOfflineMs);
  ledger.OnDrain(now + 1, Ledger::kNever);
  EXPECT_TRUE(ledger.drained(now + kDrainOfflineMs)) << "for good";
}

}  // namespace
}  // namespace zsched::worker
