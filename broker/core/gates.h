// Whether a queue may give tasks to workers now: its pause, its bound on attempts under lease, its rate.
// Owned by broker/core, asked by Dispatcher; pure. Volatile: what it needs after a restart are the
// queues' settings and counts.
//
//   open ──bound on attempts reached──▶ full ──an attempt ends──▶ open
//     ├───last token spent──▶ dry ──the next token's moment──▶ open
//     └───pause──▶ paused ──resume──▶ open
//
// A gate that was found closed is remembered, and its queue named by TakeReopened() once what closed it
// is over, so that nobody has to look at closed queues again and again. Queues without rules cost one
// look at a flag.
//
// The rate is a token bucket of BurstOf(settings) tokens that fills by rate_micro in a million seconds, on the
// monotonic clock. It is full when a broker starts or the rate is changed.
//
// Example:
//   gates.Advance(now.mono_ms);
//   if (gates.MayGive(queue)) { …lease a task…; gates.OnGiven(queue); }
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "broker/core/lanes.h"

namespace zsched::broker {

using wire::QueueGate;

class Gates {
 public:
  explicit Gates(const Lanes& lanes) : lanes_(lanes) {}

  // The settings of the queue are new: at the start, and after each change.
  void OnSettings(uint32_t queue);
  // Time goes on: tokens come, dry queues open.
  void Advance(int64_t mono_ms);

  // False: the queue is closed, and will be among the reopened ones when it is not any more.
  bool MayGive(uint32_t queue);
  // A task of the queue was leased.
  void OnGiven(uint32_t queue);
  // A lease of the queue ended.
  void OnLeaseEnded(uint32_t queue);

  // Queues that were found closed, and may be open now; each once.
  std::vector<uint32_t> TakeReopened() { return std::exchange(reopened_, {}); }
  bool has_reopened() const { return !reopened_.empty(); }
  // When a dry queue opens, on the monotonic clock; INT64_MAX: none does by time alone.
  int64_t next_ms() const { return dry_.empty() ? INT64_MAX : dry_.top().first; }

  // What the queue is now, for people.
  QueueGate Look(uint32_t queue) const;

 private:
  struct Gate {
    bool ruled = false;                   // has any rule
    QueueGate closed = QueueGate::kOpen;  // as MayGive found it last
    int64_t nanotokens = 0;               // at since_ms_; a task costs a billion
    int64_t since_ms = 0;
    int64_t opens_ms = 0;  // while dry
  };

  const QueueRow& SettingsOf(uint32_t queue) const { return lanes_.queues()[queue].settings; }
  int64_t Nanotokens(const Gate& gate, const QueueRow& settings) const;
  void Close(uint32_t queue, Gate& gate, QueueGate why);
  void Reopen(uint32_t queue, Gate& gate);

  const Lanes& lanes_;
  std::vector<Gate> gates_;  // by queue; queues behind its end have no rules
  int64_t now_ms_ = 0;
  using Opening = std::pair<int64_t, uint32_t>;  // moment, queue; void when the gate says another
  std::priority_queue<Opening, std::vector<Opening>, std::greater<>> dry_;
  std::vector<uint32_t> reopened_;
};

}  // namespace zsched::broker
