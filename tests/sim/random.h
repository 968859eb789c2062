// The one source of chance in a simulation. Owned by tests/sim.
//
// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine, which std's distributions are not.
//
// Example:
//   Random random(seed);
//   if (random.Chance(0.1)) delay_us = random.Between(100, 5'000);
//
// Threads: one owner.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace zsched::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  // 0 .. bound-1. Requires bound > 0.
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  // Both ends included.
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Below(static_cast<uint64_t>(high - low) + 1));
  }
  // 0 <= x < 1.
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  bool Chance(double probability) { return Unit() < probability; }
  // Between `low` and `high`, each order of magnitude as likely as the next. Requires low > 0.
  int64_t LogBetween(int64_t low, int64_t high) {
    double ratio = static_cast<double>(high) / static_cast<double>(low);
    return std::clamp(static_cast<int64_t>(static_cast<double>(low) * std::pow(ratio, Unit())), low,
                      high);
  }
  // Time to the next of events that come every `mean` on average, at least 1.
  int64_t Interval(int64_t mean) {
    return 1 + static_cast<int64_t>(-std::log(1.0 - Unit()) * static_cast<double>(mean));
  }
  // A stream of its own, so that what one process draws does not shift what another does.
  Random Fork() { return Random(Next()); }

 private:
  uint64_t state_;
};

}  // namespace zsched::sim
