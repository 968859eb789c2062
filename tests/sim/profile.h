// What a simulation is asked to do and what is done to it, as data. Owned by tests/sim.
//
// A new kind of fault is a field here, an injector in faults.cc (or the place that draws it), and presets that use it; a new
// workload is a preset. Times are milliseconds unless the name says otherwise; `every_ms` fields are means, 0 means never.
//
// Example:
//   FaultProfile faults = *FindFaults("chaos");   faults.broker_crash_every_ms = 500;
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace zsched::sim {

struct FaultProfile {
  std::string_view name;
  bool pair = false;       // two brokers
  bool arbitrated = true;  // of a pair
  // Of everything that comes "every" so often: each seed draws how much faster or slower, up to this factor.
  double intensity_spread = 3;

  // Network. Frames of one connection keep their order, as over TCP, unless single frames are
  // meddled with.
  int64_t delay_min_us = 50, delay_max_us = 500;
  double delay_spike = 0;  // of frames: as long as delay_spike_max_ms
  int64_t delay_spike_max_ms = 0;
  // Of single frames inside a connection that lives; worse than TCP, as a faulty peer or proxy is.
  double frame_lost = 0;
  double frame_repeated = 0;   // once more, after up to frame_late_max_ms
  double frame_overtaken = 0;  // late by up to frame_late_max_ms, while others pass
  int64_t frame_late_max_ms = 0;
  int64_t link_cut_every_ms = 0;   // one connection at a time, everything in it lost
  int64_t half_open_max_ms = 0;    // how long a side may go on sending into a cut one
  int64_t partition_every_ms = 0;  // all connections at once, and none for up to partition_max_ms
  int64_t partition_max_ms = 0;
  int64_t high_water = 1000;  // frames that a connection holds for a reader that does not read

  // Broker.
  int64_t broker_crash_every_ms = 0;
  int64_t broker_down_max_ms = 0;
  double broker_crash_again = 0;  // of restarts: followed by a crash within broker_crash_again_ms
  int64_t broker_crash_again_ms = 0;
  int64_t broker_pause_every_ms = 0;
  int64_t broker_pause_max_ms = 0;
  int64_t commit_min_us = 200, commit_max_us = 2000;
  double commit_stall = 0;  // of commits: as long as commit_stall_max_ms
  int64_t commit_stall_max_ms = 0;
  double commit_error = 0;  // of commits; the broker ends on one, applied or not
  int64_t query_max_us = 5'000;
  int64_t disk_low_every_ms = 0;
  int64_t disk_low_max_ms = 0;

  // A pair, with an arbiter: the link between the two, which any frame may leave late or never, and the arbiter.
  double peer_lost = 0;
  double peer_late = 0;  // once more, up to peer_late_max_ms later
  int64_t peer_late_max_ms = 0;
  int64_t peer_cut_every_ms = 0;  // one way or both
  int64_t peer_cut_max_ms = 0;
  // Each client and worker reaches one of the two only, and these do not reach each other.
  int64_t split_every_ms = 0;
  int64_t split_max_ms = 0;
  double answer_lost = 0;  // of the arbiter's; of these every second question is not heard either
  int64_t arbiter_away_every_ms = 0;
  int64_t arbiter_away_max_ms = 0;
  int64_t blackout_every_ms = 0;    // both brokers crash
  int64_t switchover_every_ms = 0;  // the active is to hand over
  uint64_t keep_log_bytes = UINT64_MAX;

  // Workers.
  int64_t worker_crash_every_ms = 0;
  int64_t worker_down_max_ms = 0;
  int64_t worker_pause_every_ms = 0;
  int64_t worker_pause_max_ms = 0;  // the visibility timeout is 6 s
  int64_t worker_drain_every_ms = 0;
  double handler_fails = 0;  // of attempts
  double handler_slow = 0;   // up to handler_slow_max_ms
  double handler_hangs =
      0;  // past its timeout, deaf to cancellation for up to handler_slow_max_ms more
  int64_t handler_slow_max_ms = 0;

  // Clients.
  int64_t client_crash_every_ms = 0;
  int64_t client_down_max_ms = 0;
  int64_t client_pause_every_ms = 0;
  int64_t client_pause_max_ms = 0;

  // Clocks: the wall clock of one process jumps, either way.
  int64_t clock_jump_every_ms = 0;
  int64_t clock_jump_max_ms = 0;
  double clock_drift = 0;  // each process has clocks that run so much too fast or too slow, at most
};

struct WorkloadProfile {
  std::string_view name;

  int clients = 2;
  int workers = 3;
  int concurrency_max = 4;
  int tasks = 150;             // of each client
  int batch_max = 10;          // tasks of one call
  int64_t pause_max_ms = 500;  // between two calls
  int queues = 2;
  int types = 2;
  double picky_workers = 0.2;  // that take one queue or type only; the first takes all

  int64_t payload_max = 200;
  double large_payload = 0;  // up to large_payload_max bytes
  int64_t large_payload_max = 0;
  double memory = 0;   // of tasks with durability memory
  double delayed = 0;  // by up to delay_max_ms
  int64_t delay_max_ms = 0;
  double run_at = 0;   // of the delayed: at a wall-clock time
  double invalid = 0;  // refused by the broker
  int max_attempts = 6;
  int64_t timeout_min_ms = 2'000, timeout_max_ms = 10'000;
  int64_t retry_cap_max_ms = 2'000;

  int64_t handler_min_us = 100, handler_max_us = 50'000;
  double long_share = 0;  // of attempts: up to long_max_ms instead
  int64_t long_max_ms = 0;
  double result = 0.3;        // of successes: with a result
  double fails = 0.1;         // of attempts
  double fails_never = 0.05;  // of failures: with the advice never to try again
  double says = 0.05;         // of attempts: report progress and leave checkpoints

  double notify = 0.6;      // of calls
  double wait_later = 0.3;  // of the others: waited for after the ack
  double query = 0.1;       // of calls: followed by a GET, a LIST or STATUS
  double retry_dead = 0.3;  // of dead tasks that the client hears of
  double dead = 0.02;  // of calls: followed by a list of dead tasks, and a retry or delete of some
  double cancel = 0.05;  // of calls: followed by a cancel of some of the latest tasks
  double leave = 0.3;    // of clients: GOODBYE once they are done
  double keyed = 0;      // of tasks: with an idempotency key
  double repeat = 0;     // of these: an earlier one again, from this life of the client or another
  double rule = 0;       // of calls: followed by a change of the rules of a queue or a type
  double grouped = 0;    // of tasks: with a concurrency key, and as many with a fairness key
  double once = 0;       // of tasks: at most once
  double expiring = 0;   // of tasks: with a start-by time
  int64_t expires_max_ms = 5'000;
  double chained = 0;     // of tasks: with templates of tasks that follow them
  int schedules = 0;      // of each client
  double reschedule = 0;  // of calls: one is paused, resumed, set again or run by hand

  // Broker limits.
  uint64_t max_queue_tasks = 10'000'000;
  uint64_t keep_finished = 1'000'000;
  int64_t keep_finished_ms = 24 * 3600 * 1000;
  uint64_t max_dead = 0;
  uint64_t grant_bytes = uint64_t{64} << 20;  // of each worker
  size_t light_bytes = 64 << 10;  // of SUBMITs in a moment; who sends more waits for the others
};

std::span<const FaultProfile> AllFaults();
// Of pairs with an arbiter, and without one.
std::span<const FaultProfile> AllPairFaults();
std::span<const FaultProfile> AllLonePairFaults();
std::span<const WorkloadProfile> AllWorkloads();
// nullptr: no preset of that name.
const FaultProfile* FindFaults(std::string_view name);
const WorkloadProfile* FindWorkload(std::string_view name);

}  // namespace zsched::sim
