// The durable half: what each row on disk may say.
#include "tests/sim/oracle.h"

#include "absl/strings/str_cat.h"
#include "tests/sim/process.h"

namespace zsched::sim {
namespace {

using broker::IsFinished;
using broker::Mutation;
using broker::Table;
using broker::TaskRow;
using broker::TaskState;

constexpr uint64_t kLosses =
    ErrorBit(ErrorCode::kWorkerLost) | ErrorBit(ErrorCode::kAttemptTimedOut);

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }
std::string Name(TaskState state) { return wire::EnumNameTaskState(state); }

}  // namespace

void Oracle::Committed(const broker::Batch& batch) {
  scheduler_.Trace("durable", batch.last_lsn().value(), batch.bytes());
  for (const Mutation& m : batch.mutations(Table::kSchedules))
    if (m.size != Mutation::kErase) ScheduleStored(m.key, batch.row(m));
  for (const Mutation& m : batch.mutations(Table::kSpecs))
    if (m.size != Mutation::kErase) SpecStored(m.key, batch.row(m));
  for (const Mutation& m : batch.mutations(Table::kWorkers)) {
    broker::WorkerRow row;
    if (m.size == Mutation::kErase) continue;
    broker::RowReader(batch.row(m)).Read(row);
    worker_of_number_[static_cast<uint32_t>(m.key)] = row.id;
  }
  TrailsCommitted(batch);
  ExpiriesStored(batch);
  auto on_task = [&](const Mutation& m) {
    changed_tasks_.push_back(m.key);
    if (m.size == Mutation::kErase) return RowErased(m.key);
    TaskRow row;
    if (!broker::RowReader(batch.row(m)).Read(row)) return Fail(Name(m.key) + ": its row is short");
    CheckRow(m.key, row);
  };
  batch.ForEachChange(Table::kTasks, on_task, [&](const broker::KeyRange& range) {
    for (uint64_t id = range.first; id <= range.last; ++id) {
      changed_tasks_.push_back(id);
      RowErased(id);
    }
  });
  DeadStored(batch);
  for (uint64_t id : std::exchange(changed_tasks_, {})) CheckTrail(id);
  ChainsStored(batch);
  if (std::exchange(pruned_young_, false) && clocks_agree_ && kept_ < keep_finished_)
    Fail(absl::StrCat("retention keeps ", kept_, " tasks, but was told ", keep_finished_));
  for (const Mutation& m : batch.mutations(Table::kQueues))
    if (m.size != Mutation::kErase) QueueStored(batch.row(m));
  for (const Mutation& m : batch.mutations(Table::kTicks))
    if (m.size != Mutation::kErase) TicksStored(m.key, batch.row(m));
  SchedulesStored();
  for (const Mutation& m : batch.mutations(Table::kTypes))
    if (m.size != Mutation::kErase) TypeStored(batch.row(m));
  CheckRunning(batch.epoch());
  CheckLate(batch_taken_us_);
}

void Oracle::SpecStored(uint64_t id, std::string_view row) {
  auto spec = broker::ReadSpec(row);
  if (!spec) return Fail(Name(id) + ": its spec cannot be read");
  TaskFacts& task = tasks_[id];
  if (task.durable) return Fail(Name(id) + ": its id was given twice");
  task.durable = true;
  task.bytes = spec->head.payload_bytes;
  task.made_ms = spec->head.submitted_ms;
  task.marker = std::string(spec->payload.substr(0, spec->payload.find('|')));
  if (!spec->key.empty()) {
    auto [holder, first] = id_of_key_.try_emplace(std::string(spec->key), id);
    if (!first) Fail(Name(id) + " was created under the key of " + Name(holder->second));
  }
  if (TickStored(id, *spec)) return;
  FollowerStored(id, *spec);
  auto [it, is_new] = id_of_marker_.try_emplace(task.marker, id);
  if (!is_new)
    Fail(absl::StrCat(task.marker, " was created twice: as ", Name(it->second), " and as ",
                      Name(id)));
}

void Oracle::RowErased(uint64_t id) {
  auto it = tasks_.find(id);
  if (it == tasks_.end() || !it->second.has_row)
    return Fail(Name(id) + ": pruned and never stored");
  if (it->second.row.state == TaskState::kDead && !it->second.pruned)
    return DeadErased(id, it->second);
  if (it->second.row.state != TaskState::kSucceeded &&
      it->second.row.state != TaskState::kCancelled)
    return Fail(Name(id) + ": pruned while " + Name(it->second.row.state));
  it->second.pruned = true;
  --kept_;
  const int64_t now_ms = kEpochWallMs + scheduler_.now_us() / kMillisecond;
  pruned_young_ |= it->second.row.finished_ms + keep_finished_ms_ >= now_ms;
}

void Oracle::CheckRow(uint64_t id, const TaskRow& row) {
  TaskFacts& task = tasks_[id];
  if (!task.durable) return Fail(Name(id) + ": a row without a spec");
  if (task.pruned) return Fail(Name(id) + ": a row after it was pruned");
  const bool was_over = task.has_row && IsFinished(task.row.state);
  if (was_over && task.row.state != TaskState::kDead)
    return Fail(absl::StrCat(Name(id), ": ended as ", Name(task.row.state), " and then became ",
                             Name(row.state)));
  if (was_over && !task.retry_asked)
    return Fail(Name(id) + ": was dead and became " + Name(row.state) +
                ", but nobody asked for RETRY");
  if (was_over) DeadRevived(id, task);
  // In one batch with its RETRY it may be cancelled, or leased anew and lost with its worker.
  if (was_over && IsFinished(row.state) && row.state != TaskState::kCancelled &&
      row.lease == task.row.lease)
    return Fail(Name(id) + ": ended twice");
  CheckCharges(id, task, row);
  CheckCancel(id, task, row);
  if (!IsFinished(row.state) && (row.failures >= row.max_attempts || row.lost >= kCrashLimit))
    return Fail(absl::StrCat(Name(id), " goes on after ", row.failures, " of ", row.max_attempts,
                             " failures and ", row.lost, " losses"));
  const bool lost = task.has_row && row.lost > task.row.lost && !task.retry_asked;
  if (lost && !IsFinished(row.state) &&
      ForbidsRetry(wishes_[task.marker], kLosses, scheduler_.now_us()))
    return Fail(Name(id) + " goes on after it was lost, which its type does not retry");
  if (IsFinished(row.state)) {
    CheckEnd(id, task, row);
    task.ends.emplace_back(row.state, row.lease);
    ended_.push_back(id);
  }
  if (row.state == TaskState::kSucceeded || row.state == TaskState::kCancelled) ++kept_;
  if (row.state == TaskState::kDead) ++dead_;
  const bool is_over = IsFinished(row.state), counted = task.has_row && !was_over;
  if (counted && is_over) --unfinished_;
  if (!counted && !is_over) ++unfinished_;
  task.has_row = true;
  task.row = row;
  task.row_us = scheduler_.now_us();
  NoteWaiting(id, task);
}

void Oracle::CheckCharges(uint64_t id, const TaskFacts& task, const TaskRow& row) {
  if (task.retry_asked) return;  // RETRY begins a new count of failures
  int charged = row.failures + row.lost;
  bool one_more = row.state == TaskState::kLeased || row.state == TaskState::kSucceeded;
  // A cancel may come before, between or during attempts.
  one_more |= row.state == TaskState::kCancelled && row.attempt > charged;
  if (row.attempt != charged + (one_more ? 1 : 0))
    Fail(absl::StrCat(Name(id), " is ", Name(row.state), " in attempt ", row.attempt, " with ",
                      row.failures, " failures and ", row.lost, " losses"));
}

// Once the mark is on disk, or the cancel acknowledged, there is one way to go.
void Oracle::CheckCancel(uint64_t id, const TaskFacts& task, const TaskRow& row) {
  const bool cancelled = row.state == TaskState::kCancelled || row.cancelling != 0;
  if (cancelled && !task.cancel_asked)
    return Fail(Name(id) + " was cancelled, but nobody asked for it");
  if (task.cancel_acked && !cancelled)
    return Fail(Name(id) + " became " + Name(row.state) + " after its cancel was acknowledged");
  if (task.has_row && task.row.cancelling && !cancelled)
    return Fail(Name(id) + " became " + Name(row.state) + " after it was marked as cancelled");
  if (row.state == TaskState::kCancelled && !(task.has_row && task.row.cancelling))
    ++reached_["cancelled_waiting"];
  if (row.cancelling == 0 || (task.has_row && task.row.cancelling)) return;
  ++reached_["cancelled_running"];
  for (const auto& [number, session] : worker_sessions_)
    if (IsKnown(session) && !session.broken && session.outstanding.contains(row.lease))
      OweCancel(number, row.lease);
}

void Oracle::CheckEnd(uint64_t id, const TaskFacts& task, const TaskRow& row) {
  auto truth = truths_.find(row.lease);
  const bool known = truth != truths_.end();
  if (row.state == TaskState::kDead) {
    bool spent = row.failures >= row.max_attempts || row.lost >= kCrashLimit ||
                 (wishes_[task.marker].at_most_once && row.failures + row.lost > 0);
    if (spent || (known && truth->second.never) || HasExpired(id, task, row)) return;
    const uint64_t errors =
        (known ? ErrorBit(truth->second.code) : 0) | (row.lost > 0 ? kLosses : 0);
    if (MayForbidRetry(wishes_[task.marker], errors))
      ++reached_["ended_by_rule"];
    else
      Fail(absl::StrCat(Name(id), " is dead after ", row.failures, " of ", row.max_attempts,
                        " failures and ", row.lost, " losses"));
    return;
  }
  if (row.state == TaskState::kCancelled) return;  // CheckCancel looks at those
  if (row.state != TaskState::kSucceeded) return Fail(Name(id) + " ended as " + Name(row.state));
  std::string lease = ToString(LeaseId(row.lease));
  if (!known || !truth->second.succeeded)
    return Fail(Name(id) + " succeeded under lease " + lease +
                ", but no handler succeeded under it");
  if (truth->second.task != id)
    return Fail(Name(id) + " succeeded under lease " + lease + " of " + Name(truth->second.task));
  if (worker_of_number_[row.worker] != truth->second.worker)
    Fail(Name(id) + " succeeded under lease " + lease + ", but at another worker");
}

void Oracle::OutcomeSeen(const std::string& marker, uint64_t id, bool not_found) {
  auto it = tasks_.find(id);
  const bool exists = it != tasks_.end() && it->second.durable;
  if (not_found) {
    if (exists && !it->second.pruned) Fail(Name(id) + " was said not to exist");
    return;
  }
  if (!exists) return Fail(Name(id) + ": a client heard its end, but it does not exist");
  if (it->second.marker != marker)
    Fail(absl::StrCat("the client of ", marker, " heard the end of ", it->second.marker));
}

// --- The last look ----------------------------------------------------------------------------------------------------

std::vector<TaskId> Oracle::MustBeThere() {
  std::vector<TaskId> ids;
  for (const auto& [id, task] : tasks_)
    if (task.acked) ids.emplace_back(id);
  return ids;
}

void Oracle::LastSeen(const wire::TaskInfo& info) {
  if (info.state() != tasks_.at(info.id()).row.state || !IsFinished(info.state()))
    Fail(Name(info.id()) + " is at last shown as " + wire::EnumNameTaskState(info.state()));
}

}  // namespace zsched::sim
