#include "client/lib/intake.h"

#include <algorithm>
#include <chrono>

#include "fmt/format.h"

namespace zsched {
namespace {

// Waits on `condition` until `done`, at most `timeout_ms` (kForever).
template <class Done>
bool WaitUntil(std::condition_variable* condition, std::unique_lock<std::mutex>* lock,
               int64_t timeout_ms, Done done) {
  if (timeout_ms == kForever) {
    condition->wait(*lock, done);
    return true;
  }
  // Far longer than anybody waits, short enough for the clock's arithmetic.
  constexpr int64_t kLongestMs = int64_t{366} * 24 * 3600 * 1000;
  const auto timeout = std::chrono::milliseconds(std::clamp<int64_t>(timeout_ms, 0, kLongestMs));
  return condition->wait_for(*lock, timeout, done);
}

}  // namespace

void Lot::Append(std::string* records, Segment segment) {
  const size_t size = records->size();
  if (!chunks.empty() && chunks.back().size() + size <= kChunkBytes) {
    chunks.back().append(*records);
  } else if (size >= kChunkBytes / 2) {
    chunks.push_back(std::move(*records));
    records->clear();
  } else {
    chunks.emplace_back().reserve(kChunkBytes);
    chunks.back().append(*records);
  }
  tasks += segment.tasks;
  bytes += size;
  segments.push_back(std::move(segment));
}

absl::Status Intake::Put(Lane lane, std::string* records, Segment segment, int64_t block_ms) {
  const size_t tasks = segment.tasks, bytes = records->size();
  bool wake = false;
  {
    std::unique_lock lock(mutex_);
    if (!shut_ && !HasRoom(tasks, bytes) && block_ms != 0) {
      ++waiting_;
      WaitUntil(&room_, &lock, block_ms, [&] { return shut_ || HasRoom(tasks, bytes); });
      --waiting_;
    }
    if (shut_) return Error(ErrorCode::kUnavailable, "the client is closed");
    if (!HasRoom(tasks, bytes))
      return Error(ErrorCode::kResourceExhausted,
                   fmt::format("{} tasks of {} bytes wait to be submitted; the local queue is full",
                               queued_tasks_, queued_bytes_));
    queued_tasks_ += tasks;
    queued_bytes_ += bytes;
    submitted_ += tasks;
    pending_.back() += tasks;
    segment.generation = first_generation_ + static_cast<uint32_t>(pending_.size()) - 1;
    lots_[lane].Append(records, std::move(segment));
    wake = sleeping_ && (lots_[kPlainLane].tasks + lots_[kNotifyLane].tasks >= wake_tasks_ ||
                         lots_[kPlainLane].bytes + lots_[kNotifyLane].bytes >= wake_bytes_);
    if (wake) sleeping_ = false;
  }
  if (wake) wake_();
  return absl::OkStatus();
}

// A batch larger than the whole queue enters when that is empty.
bool Intake::HasRoom(size_t tasks, size_t bytes) const {
  return queued_tasks_ == 0 ||
         (queued_tasks_ + tasks <= max_tasks_ && queued_bytes_ + bytes <= max_bytes_);
}

void Intake::Take(Lot lots[kLanes]) {
  std::lock_guard lock(mutex_);
  sleeping_ = false;
  for (int lane = 0; lane < kLanes; ++lane) std::swap(lots[lane], lots_[lane]);
}

bool Intake::Sleep(size_t tasks, size_t bytes) {
  std::lock_guard lock(mutex_);
  if (lots_[kPlainLane].tasks + lots_[kNotifyLane].tasks >= tasks ||
      lots_[kPlainLane].bytes + lots_[kNotifyLane].bytes >= bytes)
    return false;
  wake_tasks_ = tasks;
  wake_bytes_ = bytes;
  sleeping_ = true;
  return true;
}

void Intake::Release(size_t tasks, size_t bytes) {
  std::lock_guard lock(mutex_);
  queued_tasks_ -= tasks;
  queued_bytes_ -= bytes;
  if (waiting_ > 0) room_.notify_all();
}

void Intake::Charge(size_t tasks, size_t bytes) {
  std::lock_guard lock(mutex_);
  queued_tasks_ += tasks;
  queued_bytes_ += bytes;
}

void Intake::Acknowledge(const std::vector<std::pair<uint32_t, size_t>>& counts) {
  std::lock_guard lock(mutex_);
  for (const auto& [generation, count] : counts) pending_[generation - first_generation_] -= count;
  while (pending_.size() > 1 && pending_.front() == 0) {
    pending_.pop_front();
    ++first_generation_;
  }
  if (pending_.front() == 0 || pending_.size() > 1) acknowledged_.notify_all();
}

bool Intake::AllBefore(uint32_t generation) const {
  // Counted without wrapping: a client makes one generation per Flush.
  for (size_t i = 0; i < pending_.size() && first_generation_ + i < generation; ++i)
    if (pending_[i] != 0) return false;
  return true;
}

bool Intake::AwaitAcknowledged(int64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  pending_.push_back(0);
  const uint32_t generation = first_generation_ + static_cast<uint32_t>(pending_.size()) - 1;
  // Nothing of the older generations may be left at all: drop them now when they are empty.
  while (pending_.size() > 1 && pending_.front() == 0) {
    pending_.pop_front();
    ++first_generation_;
  }
  return WaitUntil(&acknowledged_, &lock, timeout_ms, [&] { return AllBefore(generation); });
}

void Intake::Shut() {
  std::lock_guard lock(mutex_);
  shut_ = true;
  room_.notify_all();
}

uint64_t Intake::submitted() const {
  std::lock_guard lock(mutex_);
  return submitted_;
}

}  // namespace zsched
