// How often a time was how long, in fixed buckets: what quantiles are made from. Owned by broker/core; pure.
//
//   bounds   100 µs   300 µs   1 ms  …  1000 s
//   counts  |   7   |   12   |  3  | … |   0   | above all: 0
//
// Example:
//   Histogram waits(kTaskBoundsUs);
//   waits.Observe(250);          // counts()[1] == 1
//
// Threads: one owner. An observation costs a few comparisons and allocates nothing.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

namespace zsched::broker {

inline constexpr size_t kMaxBuckets = 20;

// Of tasks, which wait and run for anything between nothing and hours: two or three a decade, the finest where
// people set their goals.
inline constexpr std::array<uint64_t, 18> kTaskBoundsUs = {
    100,       300,        1'000,      2'000,       5'000,       10'000,
    20'000,    50'000,     100'000,    200'000,     500'000,     1'000'000,
    3'000'000, 10'000'000, 30'000'000, 100'000'000, 300'000'000, 1'000'000'000};
// Of commits: from a fast disk's flush to one that has to be looked at.
inline constexpr std::array<uint64_t, 17> kCommitBoundsUs = {
    50,     100,     200,     500,     1'000,     2'000,     5'000,     10'000,    20'000,
    50'000, 100'000, 200'000, 500'000, 1'000'000, 2'000'000, 5'000'000, 10'000'000};

class Histogram {
 public:
  // `bounds` rise, are at most kMaxBuckets, and outlive it.
  explicit Histogram(std::span<const uint64_t> bounds) : bounds_(bounds) {}

  void Observe(uint64_t us) {
    // The first bound that is not below it; none: the bucket above all.
    const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), us) - bounds_.begin();
    ++counts_[static_cast<size_t>(bucket)];
    sum_us_ += us;
  }

  std::span<const uint64_t> bounds() const { return bounds_; }
  // One more than bounds.
  std::span<const uint64_t> counts() const { return {counts_.data(), bounds_.size() + 1}; }
  uint64_t sum_us() const { return sum_us_; }

 private:
  static_assert(kTaskBoundsUs.size() <= kMaxBuckets && kCommitBoundsUs.size() <= kMaxBuckets);
  std::span<const uint64_t> bounds_;
  std::array<uint64_t, kMaxBuckets + 1> counts_{};
  uint64_t sum_us_ = 0;
};

}  // namespace zsched::broker
