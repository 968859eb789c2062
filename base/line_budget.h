// How many lines of one kind a log takes, so that what goes wrong at full speed does not fill the disk. Owned by
// base.
//
// Example:
//   if (const std::optional<uint64_t> left_out = budget.Take(SystemNow().mono_ms)) { …log, and *left_out if it is not 0… }
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

namespace zsched {

class LineBudget {
 public:
  // What a person can make use of.
  static constexpr uint64_t kLinesASecond = 100;

  // How many lines were left out since the last one; nullopt: leave this one out too.
  std::optional<uint64_t> Take(int64_t mono_ms) {
    constexpr int64_t kSecondMs = 1000;
    const int64_t second = mono_ms / kSecondMs;
    // Two threads may both begin a second; then it has a few lines more.
    if (second_.exchange(second, std::memory_order_relaxed) != second)
      lines_.store(0, std::memory_order_relaxed);
    if (lines_.fetch_add(1, std::memory_order_relaxed) < kLinesASecond)
      return left_out_.exchange(0, std::memory_order_relaxed);
    left_out_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }

 private:
  std::atomic<int64_t> second_{0};  // of the lines in lines_
  std::atomic<uint64_t> lines_{0};
  std::atomic<uint64_t> left_out_{0};
};

}  // namespace zsched
