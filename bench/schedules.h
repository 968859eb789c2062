// zsched-bench schedules: many time schedules on one broker: how fast they are made, what a restart with them takes, what
// they cost while none is due, and how late their ticks are. Owned by bench.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "bench/stats.h"

namespace zsched::bench {

struct SchedulesOptions {
  uint64_t schedules = 100'000;
  // Each fires so long after it was made: they fire in the order and at the pace in which they were made.
  uint32_t period_ms = 300'000;
  // They are made, and so fire, evenly over so long; 0: as fast as they are taken.
  uint32_t spread_ms = 0;
  bool together = false;      // all at one moment instead, so long after the first was made
  uint32_t idle_ms = 20'000;  // for so long the broker's CPU time is looked at
  std::string data_root = "/var/tmp";
};
struct SchedulesResult {
  double sets_per_second = 0;  // each durable when it is answered
  double rss_bytes_per_schedule = 0;
  double disk_bytes_per_schedule = 0;
  double restart_seconds = 0;   // kill -9, start, until a client is served
  double idle_cpu_percent = 0;  // of one core, while no schedule is due
  double ticks_per_second = 0;
  double cpu_us_per_tick = 0;  // of the broker
  Percentiles late_ms;         // the task's submit after its tick
  double late_ms_max = 0;
};
// INVALID_ARGUMENT: the first schedule was due before the last was made; DATA_LOSS: a tick has no task.
absl::StatusOr<SchedulesResult> RunSchedules(const SchedulesOptions& options);

}  // namespace zsched::bench
