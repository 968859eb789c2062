// Counters and times of a broker, kept from its start, shown by STATUS and from there by /metrics. Owned by
// broker/core; pure. Threads: written by the loop only; others read a copy that the loop makes.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "broker/core/histogram.h"

namespace zsched::broker {

// clang-format off
#define ZSCHED_METRICS(X)                                                      \
  X(kFramesIn, "frames_in_total")                                              \
  X(kFramesOut, "frames_out_total")                                            \
  X(kFramesDropped, "frames_dropped_total") /* no answer possible: bad magic, truncated header, several parts */ \
  X(kFramesRefused, "frames_refused_total") /* answered by ERROR */            \
  X(kFramesRepeated, "frames_repeated_total") /* dropped: their number was here before */ \
  X(kSendsBlocked, "sends_blocked_total")   /* the peer's queue was full */    \
  X(kSessionsOpened, "sessions_opened_total")                                  \
  X(kSessionsExpired, "sessions_expired_total")                                \
  X(kSessionsBroken, "sessions_broken_total") /* frames were lost or overtaken */ \
  X(kSubmitFrames, "submit_frames_total")                                      \
  X(kSubmitsParked, "submits_parked_total") /* they came while light clients had their turn */ \
  X(kSubmitDuplicates, "submit_duplicates_total")                              \
  X(kTasksSubmitted, "tasks_submitted_total")                                  \
  X(kTasksRejected, "tasks_rejected_total")                                    \
  /* Of these, by reason; together they are tasks_rejected_total. */           \
  X(kRejectedInvalid, "rejected_invalid_total")                                \
  X(kRejectedConflict, "rejected_conflict_total") /* the key is another task's */ \
  X(kRejectedDraining, "rejected_draining_total") /* the queue takes none */   \
  X(kRejectedQueueFullTasks, "rejected_queue_full_tasks_total")                \
  X(kRejectedQueueFullBytes, "rejected_queue_full_bytes_total")                \
  X(kRejectedBrokerFull, "rejected_broker_full_total") /* tasks or bytes of all queues */ \
  X(kRejectedDiskLow, "rejected_disk_low_total") /* or the journal's map */    \
  X(kRejectedChainsFull, "rejected_chains_full_total")                         \
  X(kRejectedKeysFull, "rejected_keys_full_total")                             \
  X(kRejectedLanesFull, "rejected_lanes_full_total") /* queues, types and keys */ \
  X(kRejectedClientsFull, "rejected_clients_full_total") /* that are remembered */ \
  X(kRejectedWindow, "rejected_window_total") /* more than a client may have unacknowledged */ \
  X(kRejectedIdsSpent, "rejected_ids_spent_total")                             \
  X(kTasksRepeated, "tasks_repeated_total") /* submitted with a key that was held */ \
  X(kTasksFollowed, "tasks_followed_total") /* made by the end of another */   \
  X(kTasksDispatched, "tasks_dispatched_total")                                \
  X(kTasksAdopted, "tasks_adopted_total")                                      \
  X(kTasksSucceeded, "tasks_succeeded_total")                                  \
  X(kTasksDead, "tasks_dead_total")                                            \
  X(kTasksExpired, "tasks_expired_total")   /* of the dead: by their start-by time */ \
  X(kTasksCancelled, "tasks_cancelled_total")                                  \
  X(kTasksRetried, "tasks_retried_total")   /* by RETRY */                     \
  X(kTasksPruned, "tasks_pruned_total")                                        \
  X(kDeadDeleted, "tasks_dead_deleted_total") /* by DEAD_DELETE */             \
  X(kDeadExpired, "tasks_dead_expired_total") /* by retention of dead letters */ \
  X(kAttemptsFailed, "attempts_failed_total")                                  \
  X(kAttemptsLost, "attempts_lost_total")                                      \
  X(kAttemptsReleased, "attempts_released_total")                              \
  X(kTasksRecalled, "tasks_recalled_total") /* asked back for idle workers */  \
  X(kResultsStale, "results_stale_total")                                      \
  X(kLeasesStale, "leases_stale_total")     /* refused at WORKER_HELLO */      \
  X(kReportsTaken, "reports_taken_total")   /* progress and checkpoints */     \
  X(kReportsStale, "reports_stale_total")   /* not of a lease of their worker */ \
  X(kReportsDropped, "reports_dropped_total") /* more than a worker may say */ \
  X(kOutputTaken, "output_pages_taken_total")                                  \
  X(kOutputStale, "output_pages_stale_total")                                  \
  X(kOutputDropped, "output_pages_dropped_total") /* also: the disk is full */ \
  X(kQueuesSet, "queues_set_total")         /* changes of rules */             \
  X(kTypesSet, "types_set_total")           /* likewise */                     \
  X(kTimersFired, "timers_fired_total")                                        \
  X(kTicksFired, "schedule_ticks_fired_total")                                 \
  X(kTicksSkipped, "schedule_ticks_skipped_total") /* the earlier task was not over */ \
  X(kTicksMissed, "schedule_ticks_missed_total") /* before the catch-up window */ \
  X(kPushesDropped, "pushes_dropped_total")                                    \
  X(kCommits, "commits_total")                                                 \
  X(kCommitBytes, "commit_bytes_total")                                        \
  X(kCommitMicros, "commit_microseconds_total")
// clang-format on

enum class Metric : size_t {
#define ZSCHED_METRIC_ENUM(name, text) name,
  ZSCHED_METRICS(ZSCHED_METRIC_ENUM)
#undef ZSCHED_METRIC_ENUM
};
inline constexpr std::array kMetricNames = {
#define ZSCHED_METRIC_NAME(name, text) text,
    ZSCHED_METRICS(ZSCHED_METRIC_NAME)
#undef ZSCHED_METRIC_NAME
};

// Times that are counted in buckets. docs/protocol.md ("STATUS") says what each is.
// clang-format off
#define ZSCHED_TIMINGS(X)                     \
  X(kTaskWait, "task_wait", kTaskBoundsUs)    \
  X(kTaskRun, "task_run", kTaskBoundsUs)      \
  X(kCommit, "commit", kCommitBoundsUs)       \
  X(kFlush, "fsync", kCommitBoundsUs)
// clang-format on
enum class Timing : size_t {
#define ZSCHED_TIMING_ENUM(name, text, bounds) name,
  ZSCHED_TIMINGS(ZSCHED_TIMING_ENUM)
#undef ZSCHED_TIMING_ENUM
};
inline constexpr std::array kTimingNames = {
#define ZSCHED_TIMING_NAME(name, text, bounds) text,
    ZSCHED_TIMINGS(ZSCHED_TIMING_NAME)
#undef ZSCHED_TIMING_NAME
};

class Metrics {
 public:
  void Observe(Timing timing, uint64_t us) { timings_[static_cast<size_t>(timing)].Observe(us); }
  const std::array<Histogram, kTimingNames.size()>& timings() const { return timings_; }
  void Add(Metric metric, uint64_t n = 1) { values_[static_cast<size_t>(metric)] += n; }
  uint64_t operator[](Metric metric) const { return values_[static_cast<size_t>(metric)]; }
  const std::array<uint64_t, kMetricNames.size()>& values() const { return values_; }

 private:
  std::array<Histogram, kTimingNames.size()> timings_ = {
#define ZSCHED_TIMING_HISTOGRAM(name, text, bounds) Histogram(bounds),
      ZSCHED_TIMINGS(ZSCHED_TIMING_HISTOGRAM)
#undef ZSCHED_TIMING_HISTOGRAM
  };
  std::array<uint64_t, kMetricNames.size()> values_{};
};

}  // namespace zsched::broker
