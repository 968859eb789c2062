// When each time schedule fires next, and what becomes of a tick that is due. Owned by the core;
// volatile: all of it follows from the state's schedules.
//
//             due, earlier task over (or allowed) ──▶ fired
//   waiting ──due, earlier task not over──────────▶ held, or skipped
//      ▲      due for longer than the window──────▶ missed
//      └──────────── the next tick, from the durable cursor, never from the clock
//
// Ticks are decided in order, none is left out: so a clock that jumps forward makes ticks late, not
// lost, and one that jumps back finds them behind the cursor.
//
// Example:
//   schedules.Load();
//   for (uint32_t n; (n = schedules.Due(wall_ms)) != 0; schedules.Place(n))
//     state.Ticked(batch, schedules.Decide(n, wall_ms), lane, wall_ms);
//
// Threads: one owner, the loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "broker/core/state.h"
#include "cron/cron.h"

namespace zsched::broker {

class Schedules {
 public:
  explicit Schedules(const State& state) : state_(state) {}

  // All that the state has. Once, when a broker starts.
  void Load();
  // After each change of a schedule: made, set anew, paused, ticked.
  void Place(uint32_t number);
  // Its expression or zone may be another one.
  void Redefine(uint32_t number);
  void Remove(uint32_t number);
  // A task left the index of unfinished ones, or came back to it by a RETRY.
  void OnTaskTurned(uint64_t task) {
    if (!awaited_.empty()) PlaceWaiting(task);
  }

  // The schedule that is due first, if at or before `wall_ms`; 0: none.
  uint32_t Due(int64_t wall_ms) const;
  // What to record of a due schedule, the task's id left out: one task, or ticks that fare alike.
  // `ticks` 0: nothing is due after all, as when the earlier task is tried again. Place it then.
  TickedEntry Decide(uint32_t number, int64_t wall_ms) const;
  // The tick cannot have its task now: looked at again at `mono_ms`.
  void Delay(uint32_t number, int64_t mono_ms);
  void RetryDelayed(int64_t mono_ms);

  // Unix time of the first due one; INT64_MAX: none.
  int64_t next_ms() const { return due_.empty() ? INT64_MAX : due_.begin()->first; }
  // When RetryDelayed has something to do, monotonic; INT64_MAX: never.
  int64_t retry_ms() const { return delayed_.empty() ? INT64_MAX : retry_ms_; }

  // The first one after `from_ms`; none likewise.
  std::optional<int64_t> TickAfter(const Schedule& schedule, int64_t from_ms) const;
  // The tick after the cursor; none when it never fires again, or cannot.
  std::optional<int64_t> NextTick(const Schedule& schedule) const;
  // Why it cannot fire here: its zone or expression is not known to this version; empty: it can.
  const std::string& ErrorOf(uint32_t number) const { return entries_.at(number).error; }
  // Ticks in [from_ms, to_ms], at most `limit` + 1.
  std::vector<int64_t> TicksWithin(const Schedule& schedule, int64_t from_ms, int64_t to_ms,
                                   size_t limit) const;

  // The first broken promise: each schedule stands where its row says.
  absl::Status Check() const;

 private:
  static constexpr int64_t kNever = INT64_MAX;
  struct Entry {
    cron::Schedule rule;
    absl::TimeZone zone;
    std::string error;
    int64_t due_ms = kNever;  // its place in due_
    uint64_t awaited = 0;     // its key in awaited_
  };
  int64_t DueOf(const Schedule& schedule) const;
  TickFate Judge(const Schedule& schedule, int64_t tick_ms, uint32_t held, int64_t wall_ms) const;
  void PlaceWaiting(uint64_t task);

  const State& state_;
  absl::flat_hash_map<uint32_t, Entry> entries_;
  absl::btree_set<std::pair<int64_t, uint32_t>> due_;  // Unix ms, schedule
  absl::flat_hash_map<uint64_t, uint32_t> awaited_;    // task → schedule whose ticks wait for it
  std::vector<uint32_t> delayed_;
  int64_t retry_ms_ = 0;
};

}  // namespace zsched::broker
