#include "client/lib/outcome_tracker.h"

#include <algorithm>

#include "base/planted.h"
#include "client/lib/codec.h"
#include "client/session/session.h"

namespace zsched {
namespace {

constexpr uint32_t kMinAskAgainMs = 20;

}  // namespace

// Another call of ours may wait for the same task, so it is no range.
void OutcomeTracker::AddRepeated(TaskId id, OutcomeCallback callback) {
  if (callback == nullptr && on_outcomes_ == nullptr) return;
  auto group = std::make_shared<WaitGroup>();
  group->ids = {id};
  group->deadline_ms = Session::kNever;
  group->on_outcome = std::move(callback);
  if (group->on_outcome == nullptr)
    group->on_outcome = [this](Outcome& outcome) { on_outcomes_(std::span(&outcome, 1)); };
  AddWait(std::move(group));
}

void OutcomeTracker::AddRange(AwaitedRange awaited) {
  for (auto& [id, callback] : awaited.repeated) AddRepeated(id, std::move(callback));
  if (awaited.tasks == 0) return;
  if (awaited.callbacks.empty() && on_outcomes_ == nullptr) return;
  // The broker never names an id twice; if a broken one does, the first range keeps its place.
  auto [it, added] = ranges_.try_emplace(awaited.first);
  if (!added) return;
  Range& range = it->second;
  range.tasks = range.left = awaited.tasks;
  range.done.resize((awaited.tasks + 63) / 64);
  range.callbacks = std::move(awaited.callbacks);
  if (!awaited.ask) return;
  for (uint32_t i = 0; i < awaited.tasks; ++i) to_ask_.emplace_back(awaited.first.value() + i);
}

void OutcomeTracker::AddWait(std::shared_ptr<WaitGroup> group) {
  group->left = group->ids.size();
  if (group->left == 0) {
    if (group->on_done) group->on_done(absl::OkStatus());
    return;
  }
  for (TaskId id : group->ids) {
    waits_[id].push_back(group);
    to_ask_.push_back(id);
  }
  if (group->deadline_ms != Session::kNever) by_deadline_.emplace(group->deadline_ms, group);
}

bool OutcomeTracker::Awaits(TaskId id) const {
  if (waits_.contains(id)) return true;
  auto it = const_cast<OutcomeTracker*>(this)->FindRange(id);
  return it != ranges_.end() &&
         !it->second.IsDone(static_cast<uint32_t>(id.value() - it->first.value()));
}

OutcomeTracker::Ranges::iterator OutcomeTracker::FindRange(TaskId id) {
  auto it = ranges_.upper_bound(id);
  if (it == ranges_.begin()) return ranges_.end();
  --it;
  return id.value() - it->first.value() < it->second.tasks ? it : ranges_.end();
}

// --- Asking ---

void OutcomeTracker::AskForAll() {
  if (ZS_PLANTED("client-asks-once")) return;
  to_ask_.clear();
  in_flight_.clear();
  ask_after_ms_ = send_again_ms_ = 0;
  for (const auto& [first, range] : ranges_)
    for (uint32_t i = 0; i < range.tasks; ++i)
      if (!range.IsDone(i)) to_ask_.emplace_back(first.value() + i);
  for (const auto& [id, groups] : waits_) to_ask_.push_back(id);
}

void OutcomeTracker::OnDown() {
  to_ask_.clear();
  in_flight_.clear();
  ask_after_ms_ = send_again_ms_ = 0;
}

void OutcomeTracker::AskAgain(const std::vector<TaskId>& ids) {
  to_ask_.insert(to_ask_.end(), ids.begin(), ids.end());
}

void OutcomeTracker::Pump(int64_t now_mono_ms, absl::FunctionRef<uint64_t()> next_request,
                          SendWait send) {
  send_again_ms_ = 0;
  for (auto it = in_flight_.begin(); it != in_flight_.end();) {
    if (it->second.due_ms > now_mono_ms) {
      ++it;
      continue;
    }
    AskAgain(it->second.ids);
    it = in_flight_.erase(it);
  }
  if (now_mono_ms < ask_after_ms_) return;
  while (!to_ask_.empty() && in_flight_.size() < kMaxWaitsInFlight) {
    InFlight wait{.ids = {}, .due_ms = now_mono_ms + resend_ms_};
    while (!to_ask_.empty() && wait.ids.size() < kMaxQueryIds) {
      if (Awaits(to_ask_.front())) wait.ids.push_back(to_ask_.front());
      to_ask_.pop_front();
    }
    if (wait.ids.empty()) return;
    const uint64_t request = next_request();
    if (!send(request, EncodeWait(request, wait.ids))) {
      AskAgain(wait.ids);
      send_again_ms_ = now_mono_ms + kMinAskAgainMs;
      return;
    }
    in_flight_.emplace(request, std::move(wait));
  }
}

bool OutcomeTracker::OnError(uint64_t request, int64_t now_mono_ms, uint32_t retry_after_ms) {
  auto it = in_flight_.find(request);
  if (it == in_flight_.end()) return false;
  AskAgain(it->second.ids);
  in_flight_.erase(it);
  ask_after_ms_ = now_mono_ms + std::max(retry_after_ms, kMinAskAgainMs);
  return true;
}

void OutcomeTracker::Expire(int64_t now_mono_ms) {
  while (!by_deadline_.empty() && by_deadline_.begin()->first <= now_mono_ms) {
    std::shared_ptr<WaitGroup> group = std::move(by_deadline_.begin()->second);
    by_deadline_.erase(by_deadline_.begin());
    if (group->left == 0) continue;
    for (TaskId id : group->ids) {
      auto it = waits_.find(id);
      if (it == waits_.end()) continue;
      std::erase(it->second, group);
      if (it->second.empty()) waits_.erase(it);
    }
    EndWait(group, Error(ErrorCode::kTimedOut, std::to_string(group->left) + " of " +
                                                   std::to_string(group->ids.size()) +
                                                   " tasks did not end in time"));
  }
}

int64_t OutcomeTracker::next_deadline_ms() const {
  int64_t deadline = by_deadline_.empty() ? Session::kNever : by_deadline_.begin()->first;
  if (send_again_ms_ != 0) deadline = std::min(deadline, send_again_ms_);
  if (!to_ask_.empty() && ask_after_ms_ != 0) deadline = std::min(deadline, ask_after_ms_);
  for (const auto& [request, wait] : in_flight_) deadline = std::min(deadline, wait.due_ms);
  return deadline;
}

// --- Delivering ---

void OutcomeTracker::OnOutcomes(const wire::Outcomes& outcomes) {
  // The first answer to a WAIT says that the broker has it; what is not in it will be pushed.
  if (outcomes.request() != 0) in_flight_.erase(outcomes.request());
  if (outcomes.succeeded() != nullptr) {
    ResetOutcome(&scratch_);
    for (uint64_t id : *outcomes.succeeded()) {
      scratch_.id = TaskId(id);
      Deliver(scratch_);
    }
  }
  if (outcomes.outcomes() != nullptr) {
    for (const wire::Outcome* outcome : *outcomes.outcomes())
      if (ReadOutcome(*outcome, &scratch_)) Deliver(scratch_);
  }
  FlushBulk();
}

void OutcomeTracker::Deliver(Outcome& outcome) {
  if (!waits_.empty()) DeliverToWaits(outcome);
  DeliverToRange(outcome);
}

void OutcomeTracker::DeliverToRange(Outcome& outcome) {
  auto it = FindRange(outcome.id);
  if (it == ranges_.end()) return;
  Range& range = it->second;
  const auto index = static_cast<uint32_t>(outcome.id.value() - it->first.value());
  if (range.IsDone(index)) return;  // told twice
  range.done[index / 64] |= uint64_t{1} << (index % 64);
  ++delivered_;
  OutcomeCallback callback;
  if (!range.callbacks.empty()) callback = std::move(range.callbacks[index]);
  if (--range.left == 0) ranges_.erase(it);
  if (callback) {
    callback(outcome);
    ResetOutcome(&outcome);  // the callback may have moved from it
  } else if (on_outcomes_ != nullptr) {
    std::swap(NextBulk(), outcome);
    if (bulk_used_ == kMaxSubmitTasks) FlushBulk();
    ResetOutcome(&outcome);
  }
}

void OutcomeTracker::DeliverToWaits(Outcome& outcome) {
  auto it = waits_.find(outcome.id);
  if (it == waits_.end()) return;
  const std::vector<std::shared_ptr<WaitGroup>> groups = std::move(it->second);
  waits_.erase(it);
  for (const std::shared_ptr<WaitGroup>& group : groups) {
    ++delivered_;
    if (group->on_outcome) {
      Outcome copy = outcome;  // each may move from its own
      group->on_outcome(copy);
    }
    if (--group->left == 0) EndWait(group, absl::OkStatus());
  }
}

void OutcomeTracker::EndWait(const std::shared_ptr<WaitGroup>& group, absl::Status status) {
  if (status.ok() && group->deadline_ms != Session::kNever) {
    auto [begin, end] = by_deadline_.equal_range(group->deadline_ms);
    for (auto it = begin; it != end; ++it) {
      if (it->second != group) continue;
      by_deadline_.erase(it);
      break;
    }
  }
  if (group->on_done) group->on_done(std::move(status));
  group->on_done = nullptr;
  group->on_outcome = nullptr;
}

Outcome& OutcomeTracker::NextBulk() {
  if (bulk_used_ == bulk_.size()) bulk_.emplace_back();
  return bulk_[bulk_used_++];
}

void OutcomeTracker::FlushBulk() {
  if (bulk_used_ == 0) return;
  on_outcomes_(std::span(bulk_.data(), bulk_used_));
  bulk_used_ = 0;
}

void OutcomeTracker::FailAll(const absl::Status& status) {
  ranges_.clear();
  by_deadline_.clear();
  to_ask_.clear();
  in_flight_.clear();
  auto waits = std::move(waits_);
  waits_.clear();
  for (auto& [id, groups] : waits) {
    for (const std::shared_ptr<WaitGroup>& group : groups) {
      if (group->left == 0) continue;
      group->left = 0;
      EndWait(group, status);
    }
  }
}

}  // namespace zsched
