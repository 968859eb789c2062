// Where callers' threads leave tasks for the background thread: a bounded queue behind one short
// mutex, emptied by a swap. Owned by client/lib.
//
// It counts what waits here or at the background thread for its place in a frame, and blocks
// callers at the bound; and it counts what is not acknowledged, for Flush.
//
// Threads: Put, AwaitAcknowledged, Shut from any; the rest from the background thread.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "zsched/client.h"

namespace zsched {

// A batch until all of its tasks are judged.
struct BatchState {
  BatchCallback on_ack;
  BatchAck ack;
  size_t left = 0;
};

// Consecutive tasks of one call: a single one with its callbacks, or a part of a batch.
struct Segment {
  AckCallback on_ack;
  OutcomeCallback on_outcome;
  std::shared_ptr<BatchState> batch;
  uint32_t first = 0;  // index in the batch
  uint32_t tasks = 0;
  uint32_t generation = 0;  // of Intake, set by Put
};

// Tasks as records, and who they belong to.
struct Lot {
  std::vector<std::string> chunks;
  std::vector<Segment> segments;
  size_t tasks = 0;
  size_t bytes = 0;

  // Room in a chunk before a new one is begun: few allocations, and few bytes that move.
  static constexpr size_t kChunkBytes = 64 << 10;
  void Append(std::string* records, Segment segment);
  bool empty() const { return tasks == 0; }
};

// Tasks that want their outcome pushed and tasks that do not travel in frames of their own, because
// a frame asks for all or none.
enum Lane : int { kPlainLane = 0, kNotifyLane = 1, kLanes = 2 };

class Intake {
 public:
  // `wake` is called when the background thread sleeps and enough has come.
  Intake(size_t max_tasks, size_t max_bytes, absl::AnyInvocable<void()> wake)
      : max_tasks_(max_tasks), max_bytes_(max_bytes), wake_(std::move(wake)) {}

  // Hands over `segment.tasks` tasks, the bytes of whose records are `*records` (moved from when
  // large). Waits up to `block_ms` (kForever) for room. RESOURCE_EXHAUSTED: none in time;
  // UNAVAILABLE: shut.
  absl::Status Put(Lane lane, std::string* records, Segment segment, int64_t block_ms);

  // Everything that came since the last call. The background thread is awake from here on.
  void Take(Lot lots[kLanes]);
  // The background thread goes to sleep: wake it once `tasks` or `bytes` wait. False when they do
  // already.
  bool Sleep(size_t tasks, size_t bytes);

  // Tasks left the queue into a frame, or came back to it to be submitted again.
  void Release(size_t tasks, size_t bytes);
  void Charge(size_t tasks, size_t bytes);

  // Tasks were acknowledged, `count` of each generation.
  void Acknowledge(const std::vector<std::pair<uint32_t, size_t>>& counts);
  // Waits until everything put before was acknowledged; false at the timeout.
  bool AwaitAcknowledged(int64_t timeout_ms);

  // From now on Put answers UNAVAILABLE, waiting ones too.
  void Shut();
  uint64_t submitted() const;

 private:
  bool HasRoom(size_t tasks, size_t bytes) const;
  bool AllBefore(uint32_t generation) const;

  const size_t max_tasks_;
  const size_t max_bytes_;
  absl::AnyInvocable<void()> wake_;

  mutable std::mutex mutex_;
  std::condition_variable room_;
  std::condition_variable acknowledged_;
  int waiting_ = 0;  // in room_
  bool shut_ = false;
  Lot lots_[kLanes];
  size_t queued_tasks_ = 0;
  size_t queued_bytes_ = 0;
  uint64_t submitted_ = 0;
  bool sleeping_ = false;
  size_t wake_tasks_ = 1;
  size_t wake_bytes_ = 1;
  // Tasks not acknowledged, by generation from first_generation_ on; each Flush begins a new one.
  std::deque<size_t> pending_{0};
  uint32_t first_generation_ = 0;
};

}  // namespace zsched
