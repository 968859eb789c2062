// Clients cancel tasks: those that wait are over at once, those that run when their attempt is.
#include <algorithm>

#include "absl/container/btree_map.h"
#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"

namespace zsched::broker {
namespace {

ItemCode JudgeOver(const Core::RowItem& item) {
  const std::string name = "task " + ToString(TaskId(item.id));
  if (!item.row.has_value()) return {item.id, ErrorCode::kNotFound, name + " does not exist"};
  if (item.row->state == TaskState::kCancelled) return {item.id, ErrorCode::kOk, {}};
  const bool dead = item.row->state == TaskState::kDead;
  return {item.id, ErrorCode::kConflict,
          name + " cannot be cancelled: it " + (dead ? "is dead" : "has succeeded")};
}

}  // namespace

bool Core::OnCancel(SessionId from, uint64_t request, const std::vector<uint64_t>& ids, Now now) {
  if (!CancelAll(ids, now).empty()) return false;
  // Also one that was cancelled before: that may not be durable yet.
  ItemReplyEffect reply{from, appended(), request, {}};
  if (ZS_PLANTED("cancel-ack-early")) reply.wait = Lsn(0);
  for (uint64_t id : ids) reply.items.push_back({id, ErrorCode::kOk, {}});
  effects_.push_back(std::move(reply));
  return true;
}

bool Core::OnCancelRows(SessionId from, uint64_t request, const std::vector<RowItem>& items,
                        Now now) {
  std::vector<uint64_t> ids;
  for (const RowItem& item : items) ids.push_back(item.id);
  const std::vector<uint64_t> over = CancelAll(ids, now);
  auto next_over = over.begin();
  ItemReplyEffect reply{from, appended(), request, {}};
  for (const RowItem& item : items) {
    if (next_over == over.end() || *next_over != item.id) {
      reply.items.push_back({item.id, ErrorCode::kOk, {}});
      continue;
    }
    ++next_over;
    if (item.row.has_value() && !IsFinished(item.row->state)) return false;
    reply.items.push_back(JudgeOver(item));
  }
  effects_.push_back(std::move(reply));
  return true;
}

// Returns those that are over, in the order of `ids`.
std::vector<uint64_t> Core::CancelAll(const std::vector<uint64_t>& ids, Now now) {
  std::vector<uint64_t> over;
  ids_.clear();
  for (uint64_t id : ids) {
    uint32_t slot = state_.tasks().Find(TaskId(id));
    if (slot == kNil)
      over.push_back(id);
    else if (!state_.tasks()[slot].cancelling)
      ids_.push_back(id);
  }
  std::sort(ids_.begin(), ids_.end());
  ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
  if (ids_.empty()) return over;
  IdsRecord record{ids_.size()};
  OpenedRecord opened = OpenRecord(RecordKind::kCancelled, record);
  // By session slot; in an order that a replay repeats.
  absl::btree_map<uint32_t, std::vector<uint64_t>> running;
  for (uint64_t id : ids_) {
    AppendStruct(batch_.OpenRecord(), id);
    if (const Lease* lease = Cancel(state_.tasks().Find(TaskId(id)), now))
      if (uint32_t session = state_.workers().at(lease->worker).session; session != kNil)
        running[session].push_back(lease->id);
  }
  state_.FlushFinished(batch_, now.wall_ms);
  const Lsn lsn = CloseRecord(opened, record, now);
  for (auto& [session, leases] : running)
    effects_.push_back(
        CancelEffect{workers_[session].id, lsn, std::move(leases), ErrorCode::kCancelled});
  return over;
}

// Records are the caller's. Returns the lease of the attempt that has to end first, or nullptr.
const Lease* Core::Cancel(uint32_t slot, Now now) {
  const Task& task = state_.tasks()[slot];
  if (task.state == TaskState::kLeased) {
    state_.Cancelled(batch_, slot, now.wall_ms);
    return &state_.LeaseOf(task);
  }
  // State::Cancelled puts the outcome row first, at the offset that Notify is given.
  Notify(task, TaskState::kCancelled, static_cast<uint32_t>(batch_.rows().size()),
         static_cast<uint32_t>(State::CancelledWaiting().size()));
  metrics_.Add(Metric::kTasksCancelled);
  const uint64_t id = task.id, next_task = state_.meta().next_task;
  state_.Cancelled(batch_, slot, now.wall_ms);
  metrics_.Add(Metric::kTasksFollowed, state_.meta().next_task - next_task);
  schedules_.OnTaskTurned(id);
  return nullptr;
}

// A worker that says hello may have been away when its tasks were cancelled.
void Core::TellCancelled(const Worker& worker) {
  std::vector<uint64_t> leases;
  for (uint32_t slot = worker.leases_head; slot != kNil; slot = state_.tasks()[slot].next)
    if (state_.tasks()[slot].cancelling) leases.push_back(state_.LeaseOf(state_.tasks()[slot]).id);
  if (leases.empty()) return;
  // The order of the list is not the same after a restart.
  std::sort(leases.begin(), leases.end());
  effects_.push_back(CancelEffect{workers_[worker.session].id, appended(), std::move(leases),
                                  ErrorCode::kCancelled});
}

}  // namespace zsched::broker
