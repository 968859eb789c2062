// How much work a worker asks for: absolute grants sized by itself from measured run times. Owned
// by worker/core, used by the ledger. Pure.
//
// Enough tasks to keep every slot busy for kCreditTargetUs at the measured run time, and at least
// one a slot; for tasks that run longer than that exactly one a slot, so that a long task never
// waits behind another while a different worker is free. A grant at most doubles, and only after as
// many attempts ended as it allowed: a short run of quick tasks does not pull in thousands of slow
// ones. When nothing ends for kCreditTargetUs although tasks wait (a stall), run times are what the
// stall says, not what was measured before it.
//
// Example:
//   CreditSizer sizer(kMaxSelfSizedCredit);
//   sizer.OnRun(ended.run_us);
//   if (auto tasks = sizer.Next(slots, ceiling, waiting, now)) Send(Credit{*tasks});
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace zsched::worker {

// Work that a worker wants in hand, so that no slot waits for the broker: covers a round trip with
// a durable commit many times over, and is little to give back.
inline constexpr int64_t kCreditTargetUs = 50'000;
// Weight of one attempt in the average run time: about the last 16 attempts count.
inline constexpr double kRunTimeWeight = 1.0 / 16;

class CreditSizer {
 public:
  explicit CreditSizer(uint32_t max_tasks) : max_tasks_(max_tasks) {}

  // An attempt ended after `run_us`.
  void OnRun(uint32_t run_us) {
    double run = run_us == 0 ? 1 : run_us;
    average_run_us_ += average_run_us_ == 0 ? run : (run - average_run_us_) * kRunTimeWeight;
    ++ended_since_change_;
  }
  // An attempt started or ended, or the first work arrived.
  void OnProgress(int64_t now_ms) { progress_ms_ = now_ms; }
  // A new session begins with a grant of 0.
  void Reset() {
    granted_ = 0;
    ended_since_change_ = 0;
  }

  // The grant to send, which then counts as sent; nullopt while the last one will do. `slots`:
  // attempts that can run at once now. `ceiling`: the most that may be granted, for other reasons.
  std::optional<uint32_t> Next(uint32_t slots, uint32_t ceiling, size_t waiting, int64_t now_ms);

  // `waiting` tasks and yet nothing started or ended for kCreditTargetUs.
  bool Stalled(size_t waiting, int64_t now_ms) const {
    return waiting > 0 && now_ms - progress_ms_ >= kCreditTargetUs / 1000;
  }
  // When `waiting` tasks become a stall.
  int64_t StallMs() const { return progress_ms_ + kCreditTargetUs / 1000; }

  uint32_t granted() const { return granted_; }
  double average_run_us() const { return average_run_us_; }

 private:
  uint32_t Wanted(uint32_t slots, size_t waiting, int64_t now_ms) const;

  const uint32_t max_tasks_;
  uint32_t granted_ = 0;
  uint64_t ended_since_change_ = 0;
  double average_run_us_ = 0;  // 0: nothing measured
  int64_t progress_ms_ = 0;
};

}  // namespace zsched::worker
