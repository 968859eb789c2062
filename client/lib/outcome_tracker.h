// Which outcomes are awaited, by whom, and what has to be asked of the broker to get them. Owned by
// client/lib. No sockets and no clocks.
//
// Two kinds of waiting: ranges of consecutive ids (the accepted tasks of one SUBMIT frame with
// notify; one bit a task), and waits for any ids (Client::Wait…). The broker pushes outcomes to the
// session that asked, so after a reconnect, and when it says that it dropped a push, all that is
// still awaited is asked for again by WAIT frames, a few at a time.
//
// Threads: the background thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "client/lib/submitter.h"
#include "schemas/wire_generated.h"
#include "zsched/client.h"

namespace zsched {

// One call that waits for outcomes.
struct WaitGroup {
  std::vector<TaskId> ids;  // distinct
  OutcomeCallback on_outcome;
  absl::AnyInvocable<void(absl::Status)> on_done;
  int64_t deadline_ms = 0;  // mono; Session::kNever
  size_t left = 0;          // set by AddWait
};

class OutcomeTracker {
 public:
  // WAIT frames without an answer at any moment: enough to keep the broker busy, few enough that
  // their answers do not swamp the connection.
  static constexpr size_t kMaxWaitsInFlight = 4;
  using SendWait = absl::FunctionRef<bool(uint64_t request, std::string_view body)>;

  OutcomeTracker(std::function<void(std::span<Outcome>)> on_outcomes, int64_t resend_ms)
      : on_outcomes_(std::move(on_outcomes)), resend_ms_(resend_ms) {}

  void AddRange(AwaitedRange range);
  // Calls on_done at once when there is nothing to wait for.
  void AddWait(std::shared_ptr<WaitGroup> group);

  // A new session knows of none of our waits; a broker that dropped a push, of too few.
  void AskForAll();
  void OnDown();

  // Sends WAIT frames as far as kMaxWaitsInFlight allows. `next_request` makes request numbers.
  void Pump(int64_t now_mono_ms, absl::FunctionRef<uint64_t()> next_request, SendWait send);
  // Ends the waits whose deadline has come with TIMED_OUT.
  void Expire(int64_t now_mono_ms);

  // OUTCOMES: calls the callbacks. What nobody awaits is ignored.
  void OnOutcomes(const wire::Outcomes& outcomes);
  // ERROR whose request is one of our WAITs: asked again later. False: not ours.
  bool OnError(uint64_t request, int64_t now_mono_ms, uint32_t retry_after_ms);

  int64_t next_deadline_ms() const;
  // Ends all waits with `status`; outcome callbacks are dropped.
  void FailAll(const absl::Status& status);
  uint64_t delivered() const { return delivered_; }
  bool Awaits(TaskId id) const;

 private:
  struct Range {
    uint32_t tasks = 0;
    uint32_t left = 0;
    std::vector<uint64_t> done;  // one bit a task
    std::vector<OutcomeCallback> callbacks;
    bool IsDone(uint32_t index) const { return (done[index / 64] >> (index % 64) & 1) != 0; }
  };
  using Ranges = absl::btree_map<TaskId, Range>;
  struct InFlight {
    std::vector<TaskId> ids;
    int64_t due_ms = 0;  // asked again when there was no answer by then
  };

  void AddRepeated(TaskId id, OutcomeCallback callback);
  Ranges::iterator FindRange(TaskId id);
  void Deliver(Outcome& outcome);
  void DeliverToRange(Outcome& outcome);
  void DeliverToWaits(Outcome& outcome);
  Outcome& NextBulk();
  void FlushBulk();
  void AskAgain(const std::vector<TaskId>& ids);
  void EndWait(const std::shared_ptr<WaitGroup>& group, absl::Status status);

  const std::function<void(std::span<Outcome>)> on_outcomes_;
  const int64_t resend_ms_;

  Ranges ranges_;
  // By id: what is asked for, and in which order, does not depend on how a hash map is laid out.
  absl::btree_map<TaskId, std::vector<std::shared_ptr<WaitGroup>>> waits_;
  std::multimap<int64_t, std::shared_ptr<WaitGroup>> by_deadline_;  // those with one

  std::deque<TaskId> to_ask_;
  int64_t ask_after_ms_ = 0;  // after an ERROR
  std::map<uint64_t, InFlight> in_flight_;
  int64_t send_again_ms_ = 0;

  Outcome scratch_;
  std::vector<Outcome>
      bulk_;  // the first bulk_used_ are waiting for on_outcomes_; strings are reused
  size_t bulk_used_ = 0;
  uint64_t delivered_ = 0;
};

}  // namespace zsched
