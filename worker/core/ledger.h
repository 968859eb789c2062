// The worker's ledger: every lease it holds, the credit it grants, the results it owes, and what
// has to happen next. Owned by worker/core. Pure: no sockets, threads, clocks or files; time
// arrives as mono milliseconds, work leaves as Orders (for whoever executes tasks) and Frames (for
// whoever sends them). docs/protocol.md §6 is what it implements.
//
//   state of a lease | what holds                                   | leaves on                        | to
//   -----------------+----------------------------------------------+----------------------------------+-----------------
//   kWaiting         | with the executor, not known to have started | OnStarted                        | kRunning, cancelled: kEnding
//                    |                                              | OnEnded                          | kEnded
//                    |                                              | OnWithdrawn (drain, surplus, recall, late) | kReleasing, cancelled: kEnded
//   kRunning         | started, deadline known                      | OnEnded                          | kEnded
//                    |                                              | deadline, or cancelled           | kEnding
//   kEnding          | told to end                                  | OnEnded, or kAbandonAfterMs      | kEnded (timed out, cancelled)
//   kReleasing       | taken back unstarted, RELEASE not sent       | TakeFrames                       | forgotten
//   kEnded           | its result is kept until RESULT_ACK          | OnResultAck, stale               | forgotten
//   In every state but kEnded, WELCOME's `stale` and a CANCEL that takes the lease away forget it at once. A CANCEL
//   because the task was cancelled leaves the lease: its attempt is ended and reported as CANCELLED, whatever it did.
// A lease that is forgotten or abandoned while a handler may still run under it is "stuck": it
// holds a slot (the worker has that much less concurrency) until OnEnded or OnWithdrawn says that
// it is over, and its result is dropped.
//
// Example (a driver, after any event):
//   Orders orders = ledger.TakeOrders(now);      // cancel attempts, take back what has not started
//   ledger.OnWithdrawn(executor.Withdraw(orders.withdraw));
//   Frames frames = ledger.TakeFrames(now);      // send them in this order: credit, release, results
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "schemas/errors.h"
#include "schemas/ids.h"
#include "schemas/limits.h"
#include "schemas/wire_generated.h"
#include "worker/core/credit.h"

namespace zsched::worker {

// Half of what HELLO may name: the other half is room for ended attempts whose results are not
// acknowledged.
inline constexpr uint32_t kMaxSelfSizedCredit = kMaxCreditTasks / 2;
// Unacknowledged result bytes at which no task is asked for or started any more.
inline constexpr uint64_t kMaxUnackedResultBytes = 64 << 20;
// An attempt that was told to end and has not returned after this long is given up. Long enough for
// SIGTERM, its grace and SIGKILL; short enough that the broker hears of it before it acts itself.
inline constexpr int64_t kAbandonAfterMs = 8'000;
static_assert(kAbandonAfterMs < kTimeoutGraceMs);
// How long a drain waits for a broker to hand its last results to.
inline constexpr int64_t kDrainOfflineMs = 15'000;

struct LedgerOptions {
  int concurrency = 1;                              // at least 1
  uint32_t max_credit_tasks = kMaxSelfSizedCredit;  // at least concurrency
  uint64_t max_credit_bytes = kMaxCreditBytes;
};

// One task of a TASKS frame, without what only the handler needs.
struct Assigned {
  TaskId task;
  LeaseId lease;
  uint32_t attempt = 0;
  uint32_t timeout_ms = 0;  // 0: kDefaultTimeoutMs
  uint32_t payload_bytes = 0;
  uint64_t start_within_ms = 0;  // from now; 0: at any time
};

// How an attempt ended, when there is more to say than "succeeded, no result".
struct Outcome {
  bool succeeded = false;
  std::string result;  // success
  std::string content_type;
  ErrorCode code = ErrorCode::kHandlerFailed;  // failure
  std::string message;
  wire::RetryAdvice advice = wire::RetryAdvice::kDefault;
  uint64_t retry_after_ms = 0;
};

struct Ended {
  LeaseId lease;
  uint32_t run_us = 0;
  std::unique_ptr<Outcome> outcome;  // null: succeeded with an empty result
};

// One RESULTS frame. Kept until it is acknowledged.
struct ResultsFrame {
  struct Entry {
    TaskId task;
    LeaseId lease;
    uint32_t run_us = 0;
    Outcome outcome;
  };
  uint64_t seq = 0;  // of the current session; 0: not sent in it
  std::vector<wire::Done> done;
  std::vector<Entry> results;
  size_t bytes = 0;  // of `results`, as they count for kMaxUnackedResultBytes
  size_t size() const { return done.size() + results.size(); }
};

// An attempt to end, and why: ATTEMPT_TIMED_OUT; CANCELLED, its task is cancelled; STALE, the lease
// is not this worker's any more; UNAVAILABLE, this worker is being stopped.
struct CancelOrder {
  LeaseId lease;
  ErrorCode why = ErrorCode::kOk;
  bool operator==(const CancelOrder&) const = default;
};

// What the executor has to do.
struct Orders {
  // Take them back when they have not started (then say OnWithdrawn), else set their cancellation
  // flag. OnEnded is due for those.
  std::vector<CancelOrder> cancel;
  // Take these back when they have not started (then say OnWithdrawn), else leave them alone: the
  // broker asks for them, or their start-by time has come.
  std::vector<LeaseId> recall;
  // Take back this many attempts that have not started, the last queued first, and say OnWithdrawn.
  size_t withdraw = 0;
};

struct Grant {
  uint32_t tasks = 0;
  uint64_t bytes = 0;
  bool operator==(const Grant&) const = default;
};

// What has to be sent on the session, in the order of the fields: a smaller grant must reach the
// broker before the results that would make room under the larger one.
struct Frames {
  std::optional<Grant> credit;
  std::vector<wire::LeaseRef> release;
  std::vector<const ResultsFrame*> results;  // live until the next event given to the ledger
};

struct HeartbeatInfo {
  std::vector<wire::LeaseRef> started;
  uint32_t running = 0;
  uint32_t queued = 0;
};

struct LedgerCounters {
  uint64_t assigned = 0;
  uint64_t duplicates = 0;   // assignments of a lease already held
  uint64_t over_credit = 0;  // assignments beyond what HELLO could name: released unstarted
  uint64_t ended = 0;
  uint64_t timed_out = 0;
  uint64_t cancelled = 0;
  uint64_t abandoned = 0;  // handlers that did not return after being told to
  uint64_t dropped = 0;    // results of leases that were no longer held
  uint64_t released = 0;
  uint64_t refused = 0;  // results that the broker called stale
};

class Ledger {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  explicit Ledger(LedgerOptions options);

  // --- Events of the session ---
  // Everything held, for WORKER_HELLO.
  std::vector<wire::LeaseRef> Held() const;
  // The session is open. `stale` leases are dropped; every unacknowledged result is due again under
  // new seqs.
  void OnSessionUp(uint32_t visibility_timeout_ms, std::span<const LeaseId> stale, int64_t now_ms);
  void OnSessionDown(int64_t now_ms);
  // A frame of the session arrived: the broker is there, and the leases live on.
  void OnHeard(int64_t now_ms) { heard_ms_ = now_ms; }
  // True: to be queued for execution. False: a duplicate, or to be given back (draining, or beyond
  // the bound of the ledger).
  [[nodiscard]] bool OnAssigned(const Assigned& task, int64_t now_ms);
  void OnResultAck(uint64_t seq, size_t stale);
  // CANCELLED: these tasks are cancelled, and their attempts to be ended and reported; again: nothing
  // more. Any other code: the broker has taken the leases away. Unknown ones are ignored.
  void OnCancel(std::span<const LeaseId> leases, ErrorCode code, int64_t now_ms);
  // Another worker has nothing to do: those that have not started are to be given back.
  void OnRecall(std::span<const LeaseId> leases);

  // --- Events of the executor ---
  // An attempt was seen running since `started_ms`. Optional for attempts that end soon: their
  // timeout is not watched.
  void OnStarted(LeaseId lease, int64_t started_ms);
  // Takes the outcomes. Entries of `ended` are left empty.
  void OnEnded(std::span<Ended> ended, int64_t now_ms);
  // These had not started and will not.
  void OnWithdrawn(std::span<const LeaseId> leases);

  // --- Other events ---
  // DRAIN, SIGTERM, or this process is to be recycled. For good. `offline_ms`: how long the last
  // results wait for a broker, kNever for ever; a shorter time may follow a longer one.
  void OnDrain(int64_t now_ms, int64_t offline_ms = kDrainOfflineMs);
  // Orders every attempt to be cancelled; each is still awaited and reported.
  void OnStop();
  void OnTick(int64_t now_ms);

  // --- What follows ---
  Orders TakeOrders(int64_t now_ms);
  // Requires an open session (answers nothing without one). What it returns counts as sent.
  Frames TakeFrames(int64_t now_ms);
  // Contents of the next HEARTBEAT: attempts that began since the last one and still run, at most
  // kMaxStartedReports.
  HeartbeatInfo TakeHeartbeat();
  // Mono time at which OnTick and TakeOrders are due without any other event.
  int64_t NextDeadlineMs() const;
  // Until when an attempt that waits may be started: the broker may have given its lease to
  // somebody else after that. 0: not now.
  int64_t StartsUntilMs() const;

  // Whether anything of it may still be reported: it runs, or its result is not acknowledged.
  bool Holds(LeaseId lease) const { return leases_.contains(lease); }

  bool draining() const { return draining_; }
  // Draining and nothing is held any more, so GOODBYE is due; or it waited so long in vain
  // for a broker to take the last results (unacked() says how many).
  bool drained(int64_t now_ms) const;

  size_t waiting() const { return waiting_; }
  size_t running() const { return running_.size(); }
  // Sent by the broker and neither ended nor given back: what the grant bounds.
  size_t outstanding() const { return leases_.size() - unacked_; }
  size_t unacked() const { return unacked_; }
  size_t stuck() const { return stuck_.size(); }
  uint64_t unacked_bytes() const { return unacked_bytes_; }
  uint32_t granted() const { return credit_.granted(); }
  double average_run_us() const { return credit_.average_run_us(); }
  const LedgerCounters& counters() const { return counters_; }

 private:
  enum class State : uint8_t { kWaiting, kRunning, kEnding, kReleasing, kEnded };
  static constexpr int32_t kNotWatched = -1;
  struct Lease {
    TaskId task;
    uint32_t attempt;
    uint32_t timeout_ms;
    State state;
    bool cancelled = false;               // by its task
    bool expires = false;                 // start_times_ has when
    int32_t running_index = kNotWatched;  // in running_
  };
  struct Running {
    LeaseId lease;
    int64_t started_ms;
    int64_t deadline_ms;  // kRunning: of the attempt; kEnding: when it is abandoned
    bool ending;
  };
  using Map = absl::flat_hash_map<LeaseId, Lease>;

  uint32_t Slots() const;
  uint32_t CreditCeiling() const;
  void CancelLease(Map::iterator it, int64_t now_ms);
  // Removes `lease` from the attempts that are watched.
  void WaitsNoMore(LeaseId id, const Lease& lease);
  void StopWatching(Lease* lease);
  void Drop(LeaseId id, ErrorCode why);
  void Finish(Map::iterator it, uint32_t run_us, std::unique_ptr<Outcome> outcome);
  void Append(TaskId task, LeaseId lease, uint32_t run_us, std::unique_ptr<Outcome> outcome);
  void DropResults(const absl::flat_hash_set<LeaseId>& leases);
  void PrepareResend();
  int64_t GivesUpMs() const;
  void StartEnding(Running* running, int64_t now_ms);
  void EndOverdue(Running* running, int64_t now_ms);
  std::vector<wire::LeaseRef> TakeReleases();

  const LedgerOptions options_;
  Map leases_;
  size_t waiting_ = 0;
  size_t unacked_ = 0;
  uint64_t unacked_bytes_ = 0;
  std::vector<Running> running_;  // observed attempts, at most one a slot
  absl::flat_hash_set<LeaseId> stuck_;
  std::vector<LeaseId> fresh_started_;
  std::vector<CancelOrder> to_cancel_;
  std::vector<LeaseId> to_recall_;
  std::vector<LeaseId> releasing_;       // in state kReleasing, unless dropped since
  std::vector<wire::LeaseRef> refused_;  // never entered leases_: to be released
  std::deque<ResultsFrame> unsent_;
  std::deque<ResultsFrame> sent_;

  bool up_ = false;
  uint64_t next_seq_ = 1;
  int64_t heard_ms_ = 0;
  int64_t cancelled_ms_ = 0;  // the last CANCEL for tasks
  int64_t down_since_ms_ = 0;
  uint32_t visibility_timeout_ms_ = 0;  // 0: there was no session yet

  // Of kWaiting that have a time by which they must begin, on the mono clock.
  absl::btree_set<std::pair<int64_t, LeaseId>> start_by_;
  absl::flat_hash_map<LeaseId, int64_t> start_times_;

  CreditSizer credit_;
  int64_t surplus_asked_ms_ = 0;

  bool draining_ = false;
  int64_t draining_since_ms_ = 0;
  int64_t drain_offline_ms_ = kNever;
  LedgerCounters counters_;
};

}  // namespace zsched::worker
