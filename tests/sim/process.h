// What simulated processes share: a clock of their own, a loop that sleeps until something comes, pauses and death. Owned
// by tests/sim.
//
// Example:
//   class SimWorker final : Process { void Round() override { …; WakeAtMono(deadline_ms); } };
//
// Threads: one.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "schemas/ids.h"
#include "tests/sim/network.h"
#include "tests/sim/profile.h"
#include "tests/sim/scheduler.h"

namespace zsched::sim {

class Judge;

// How often something happened that is worth reaching, by name: the counters of the brokers, and the simulation's own.
using Reached = std::map<std::string_view, uint64_t>;

// What every process sees. The profiles may change while the simulation runs: the last phase is calm.
struct World {
  Scheduler& scheduler;
  Network& network;
  Judge& judge;
  FaultProfile& faults;
  WorkloadProfile& workload;
  Reached& reached;
  std::vector<HostPort> brokers;  // the list that clients and workers are given
};

// What wall clocks that are right show at the begin.
inline constexpr int64_t kEpochWallMs = 1'700'000'000'000;

// Of the brokers: the only one, or primary and backup.
inline constexpr const char* kHosts[] = {"sim", "sim2"};

class Process {
 public:
  explicit Process(World& world) : world_(world), random_(world.scheduler.random().Fork()) {
    mono_offset_ms_ = random_.Between(0, kMaxUptimeMs);
    if (const double most = world.faults.clock_drift; most > 0)
      drift_ = most * (2 * random_.Unit() - 1);
  }
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Runs nothing until then; what arrives waits.
  void PauseFor(int64_t us) { paused_until_us_ = world_.scheduler.now_us() + us; }
  void Resume() {
    paused_until_us_ = 0;
    WakeNow();
  }
  // Now and then back: how far off a clock can be is bounded by the largest jump.
  void SetWallClock(int64_t off_by_ms) { wall_offset_ms_ = off_by_ms; }

 protected:
  virtual void Round() = 0;

  Now now() const {
    const int64_t us = world_.scheduler.now_us();
    const int64_t ms = (us + static_cast<int64_t>(static_cast<double>(us) * drift_)) / kMillisecond;
    return {kEpochWallMs + ms + wall_offset_ms_, mono_offset_ms_ + ms};
  }
  // Ends everything that was to happen; Start begins a new life, on a machine that may have been restarted too.
  void Die() {
    life_.reset();
    wake_us_ = kNever;
    paused_until_us_ = 0;
  }
  void Start() {
    life_ = NewLife();
    mono_offset_ms_ = random_.Between(0, kMaxUptimeMs);
    WakeNow();
  }
  bool alive() const { return life_ != nullptr; }
  int64_t paused_until_us() const { return paused_until_us_; }
  bool paused() const { return world_.scheduler.now_us() < paused_until_us_; }

  void WakeNow() { WakeAt(world_.scheduler.now_us() + random_.Between(1, kWakeUpMaxUs)); }
  // Time of the process's own monotonic clock; its kNever (INT64_MAX) is ours.
  void WakeAtMono(int64_t mono_ms) {
    if (mono_ms == kNever) return;
    // At least a little later: a loop takes time, and simulated time must pass.
    int64_t us = (mono_ms - mono_offset_ms_) * kMillisecond;
    if (drift_ != 0) us = static_cast<int64_t>(static_cast<double>(us) / (1 + drift_)) + 1;
    WakeAt(std::max(us, world_.scheduler.now_us() + kLoopUs));
  }

  World& world_;
  Random random_;
  Life life_;  // null: dead

 private:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  static constexpr int64_t kMaxUptimeMs = 1'000'000'000;
  static constexpr int64_t kWakeUpMaxUs = 100;
  static constexpr int64_t kLoopUs = 20;

  void WakeAt(int64_t time_us) {
    time_us = std::max({time_us, paused_until_us_, world_.scheduler.now_us()});
    if (life_ == nullptr || wake_us_ <= time_us) return;
    wake_us_ = time_us;
    world_.scheduler.At(time_us, life_, [this, time_us] {
      if (wake_us_ != time_us) return;
      wake_us_ = kNever;
      if (world_.scheduler.now_us() < paused_until_us_) return WakeAt(paused_until_us_);
      Round();
    });
  }

  double drift_ = 0;  // its clocks run so much too fast, as a share
  int64_t wall_offset_ms_ = 0;
  int64_t mono_offset_ms_ = 0;
  int64_t paused_until_us_ = 0;
  int64_t wake_us_ = kNever;
};

}  // namespace zsched::sim
