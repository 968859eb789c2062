// What a follower does with what the active sends: takes what continues its log, asks for what is missing, acknowledges what
// is durable. Owned by broker/replication. Pure: applying and committing are the owner's.
//
//   Begin ──Fetch──▶ waits ──Append that continues──▶ takes ──▶ …
//                      ▲                                 │
//                      └──── Fetch: a gap, or silence ◀──┘
//
// Example (a driver):
//   follower.Begin(epoch, life, end, now);
//   switch (follower.Judge(append, now)) { case Verdict::kTake: core.Follow(…); follower.Taken(end); … }
//   … follower.OnDurable(lsn);                       // the acknowledgement
//   … follower.OnTick(now);
//
// Threads: one owner, the loop.
#pragma once

#include <cstdint>

#include "broker/replication/leader.h"
#include "broker/replication/role.h"
#include "schemas/ids.h"

namespace zsched::broker {

class FollowerSink {
 public:
  virtual ~FollowerSink() = default;
  virtual void SendFetch(Epoch epoch, uint64_t life, const LogEnd& end) = 0;
  virtual void SendAcked(Epoch epoch, uint64_t life, Lsn lsn) = 0;
};

class Follower {
 public:
  // After so long without anything new a follower asks whether there is.
  static constexpr int64_t kFetchAgainMs = 200;

  explicit Follower(FollowerSink& sink) : sink_(sink) {}

  // Follows in `epoch` from the end of the own log on. `life` is not 0, and another each time.
  void Begin(Epoch epoch, uint64_t life, const LogEnd& end, int64_t mono_ms);
  void End() { epoch_ = Epoch(); }
  bool following() const { return epoch_ != Epoch(); }
  Epoch epoch() const { return epoch_; }
  // What is said to this following, and not to one before it.
  bool IsAddressed(Epoch epoch, uint64_t life) const {
    return following() && epoch == epoch_ && life == life_;
  }

  enum class Verdict : uint8_t {
    kTake,     // it is what comes next
    kIgnore,   // of another epoch or life, or here already
    kGap,      // something before it is missing, and was asked for
    kForeign,  // it is said to come next and continues another log
  };
  Verdict Judge(Epoch epoch, uint64_t life, const LogPart& part, int64_t mono_ms);
  // A part was applied: the log in memory ends here.
  void Taken(const LogEnd& end, int64_t mono_ms);
  // The log on disk ends here.
  void OnDurable(Lsn lsn);
  void OnTick(int64_t mono_ms);

 private:
  void Fetch(int64_t mono_ms);

  FollowerSink& sink_;
  Epoch epoch_;
  uint64_t life_ = 0;
  LogEnd end_;  // in memory
  Lsn durable_;
  int64_t quiet_since_ms_ = 0;
};

}  // namespace zsched::broker
