// Who judges a run: told what happens by those who take part in it, by brokers, workers and clients. Owned by tests/sim.
//
//   Oracle      one broker, or a pair with an arbiter: one log is the truth, and every promise is checked at once
//   MergeJudge  a pair without an arbiter: two logs may part, and what is promised holds for the line that they end as
//
// What a judge does not look at it does not override. The first broken promise is kept; the simulation ends on it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/core/batch.h"
#include "broker/journal/journal.h"
#include "broker/server/engine.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/ids.h"
#include "tests/sim/scheduler.h"

namespace zsched::sim {

// How a handler ended, whether or not anybody heard of it.
struct AttemptTruth {
  uint64_t task = 0;
  Uuid worker;
  bool succeeded = false;
  bool never = false;                          // a failure that must not be tried again
  ErrorCode code = ErrorCode::kHandlerFailed;  // of a failure
  std::string result;
};

class Judge {
 public:
  explicit Judge(Scheduler& scheduler) : scheduler_(scheduler) {}
  virtual ~Judge() = default;
  Judge(const Judge&) = delete;
  Judge& operator=(const Judge&) = delete;

  // --- Of brokers
  // What they are told to keep of what succeeded.
  virtual void SetRetention(uint64_t /*tasks*/, int64_t /*ms*/) {}
  // Dead tasks that they keep; 0: all.
  virtual void SetMaxDead(uint64_t /*tasks*/) {}
  virtual void FrameIn(broker::Endpoint endpoint, std::string_view routing_id,
                       std::string_view frame) = 0;
  // A frame leaves the broker; `body` is 8-aligned.
  virtual void FrameOut(broker::Endpoint endpoint, std::string_view routing_id,
                        const FrameHeader& header, std::string_view body) = 0;
  // The same of a broker that is not the active one any more, and has not noticed: what it acknowledges and tells as over is
  // true all the same.
  virtual void StaleFrameOut(std::string_view /*routing_id*/, const FrameHeader& /*header*/,
                             std::string_view /*body*/) {}
  // It did not: the broker ends the session.
  virtual void NotDelivered(uint64_t /*session*/) {}
  virtual void BrokerStarted() {}
  // `wall_ms`: what the broker's clock showed.
  virtual void RoundOver(int64_t /*wall_ms*/) {}
  // A broker's clock showed this when it decided something.
  virtual void WallShown(int64_t /*wall_ms*/) {}
  virtual void DiskLow(bool /*low*/) {}
  // The open batch was handed to the journal.
  virtual void BatchTaken() {}
  // The next batch of the log that is the truth.
  virtual void Committed(const broker::Batch& batch) = 0;
  // Without an arbiter: a broker has it on its disk. It may or may not be in that log.
  virtual void Written(const broker::Batch& /*batch*/) {}
  // Without an arbiter: a broker has set this data aside, to be merged.
  virtual void SetAside(broker::JournalView& /*view*/) {}
  // The broker was told so.
  virtual void CommitReported() {}

  // --- Of clocks
  virtual void ClockJumped() {}
  // All of them run so much too fast or too slow, at most.
  virtual void ClocksDrift(double /*share*/) {}

  // --- Of workers. `mono_ms`: what the worker's clock shows.
  virtual void AttemptStarted(uint64_t /*lease*/, int64_t /*mono_ms*/) {}
  virtual void StartWithin(uint64_t /*lease*/, int64_t /*until_ms*/) {}
  virtual void AttemptEnded(uint64_t lease, AttemptTruth truth) = 0;

  // --- Of clients. `lasts`: it was to be durable.
  virtual void Acknowledged(uint64_t /*id*/, bool /*lasts*/) {}
  // What a client was told about a task of its own.
  virtual void OutcomeSeen(const std::string& /*marker*/, uint64_t /*id*/, bool /*not_found*/) {}

  // --- The last look
  // Tasks that somebody asks for when all is over, and what is said of each.
  virtual std::vector<TaskId> MustBeThere() = 0;
  virtual void LastSeen(const wire::TaskInfo& info) = 0;
  virtual size_t tasks_seen() const = 0;

  // How often something happened that is worth reaching.
  const std::map<std::string_view, uint64_t>& reached() const { return reached_; }

  // Keeps the first.
  void Fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

 protected:
  Scheduler& scheduler_;
  std::map<std::string_view, uint64_t> reached_;

 private:
  std::string failure_;
};

}  // namespace zsched::sim
