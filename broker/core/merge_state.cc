// What the log says of epochs, and of what another broker did alone while both served.
#include "base/check.h"
#include "broker/core/merge.h"
#include "broker/core/state.h"
#include "schemas/errors.h"

namespace zsched::broker {
bool State::HasAnyOf(uint64_t task) const {
  return tasks_.Find(TaskId(task)) != kNil || chains_.Has(task) || trails_.Find(task) != nullptr ||
         keys_.OfTask(task) != nullptr;
}

SubmitMemory MemoryOf(const MergeView& entry) {
  const ProducerSubmit& submit = entry.submit.submit;
  SubmitMemory memory{submit.seq, submit.first_id, submit.accepted, {}};
  RowReader in(entry.rejects);
  for (ProducerReject reject; !in.rest().empty() && in.Read(reject);)
    memory.rejected.push_back(reject);
  return memory;
}

void State::EpochStarted(Batch& batch, Epoch epoch, const Uuid& cluster, int64_t now_ms) {
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  // The record is still open: the hash is the one before it.
  AppendStruct(batch.OpenRows(),
               EpochRow{batch.next_lsn().value(), batch.hash(), meta_.epoch, meta_.next_task,
                        meta_.next_lease, meta_.next_letter, next_schedule(), now_ms, kRowVersion});
  batch.PutTail(Table::kEpochs, epoch.value(), offset);
  epochs_.push_back(epoch.value());
  for (; epochs_.size() > kKeptEpochs; epochs_.pop_front())
    batch.Erase(Table::kEpochs, epochs_.front());
  meta_.epoch = epoch.value();
  meta_.cluster = cluster;
  meta_.next_task = 1;
  meta_.next_lease = 1;
}

const MergeRow* State::FindMerge(uint64_t log_hash) const {
  for (const auto& [number, row] : merges_)
    if (row.log_hash == log_hash) return &row;
  return nullptr;
}

uint64_t State::MergeNumber(uint64_t log_hash) const {
  for (const auto& [number, row] : merges_)
    if (row.log_hash == log_hash) return number;
  return merges_.empty() ? 1 : merges_.rbegin()->first + 1;
}

bool State::IsResent(uint64_t log_hash, uint64_t task) const {
  const auto frames = resent_.find(MergeNumber(log_hash));
  if (frames == resent_.end()) return false;
  auto behind = frames->second.upper_bound(task);
  return behind != frames->second.begin() &&
         task - std::prev(behind)->first < std::prev(behind)->second;
}

void State::MergeResent(uint64_t number, const broker::MergeResent& frame) {
  resent_[number][frame.first_id] = frame.tasks;
}

void State::MergeDecided(Batch& batch, uint64_t number, const MergeRow& row) {
  merges_[number] = row;
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), row);
  if (row.done) resent_.erase(number);
  if (auto frames = resent_.find(number); frames != resent_.end())
    for (const auto& [first_id, tasks] : frames->second) {
      AppendStruct(batch.OpenRows(), first_id);
      AppendStruct(batch.OpenRows(), tasks);
    }
  batch.PutTail(Table::kMerges, number, offset);
  for (; merges_.size() > kKeptMerges; merges_.erase(merges_.begin())) {
    batch.Erase(Table::kMerges, merges_.begin()->first);
    resent_.erase(merges_.begin()->first);
  }
}

// What its attempts left stays where they ran.
void State::BeginTrailBehind(Batch& batch, Task& task) {
  if (task.attempt == 0 || task.trailed) return;
  task.trailed = 1;
  WriteTrail(
      batch, task.id,
      trails_.Add(task.id, {meta_.next_trail++, static_cast<uint16_t>(task.attempt + 1), 0, 0}));
}

// A task that follows it is here: its parent, which goes on here, does not make it again.
void State::BranchFired(Batch& batch, const ParentView& parent) {
  const uint32_t slot = parent.task == 0 ? kNil : tasks_.Find(TaskId(parent.task));
  if (slot == kNil || !tasks_[slot].chained) return;
  Chain chain = chains_.Take(parent.task);
  chain.fired |= BranchesAt(parent.state);
  if (chain.MayFireAfter(0)) return PutChain(batch, parent.task, std::move(chain));
  batch.Erase(Table::kFollows, parent.task);
  tasks_[slot].chained = 0;
  MarkDirty(slot);
}

void State::Merged(Batch& batch, const MergeView& entry, uint32_t lane, int64_t now_ms) {
  BranchFired(batch, ReadExtras(*ReadSpec(entry.spec))->parent);
  const TaskRow& row = entry.task.row;
  const uint64_t id = entry.task.task;
  const uint32_t slot = tasks_.Insert(TaskId(id));
  Task& task = tasks_[slot];
  FillTask(task, row);
  task.lane = lane;
  task.state = TaskState::kScheduled;  // until it is somewhere
  batch.Put(Table::kSpecs, id, entry.spec);
  if (entry.task.key.version != 0) {
    keys_.Add(id, entry.task.key);
    task.keyed = 1;
    PutKey(batch, id, entry.task.key);
  }
  if (!entry.chain.empty()) {
    task.chained = 1;
    PutChain(batch, id, Chain{static_cast<uint8_t>(entry.task.fired), std::string(entry.chain)});
  }
  if (entry.task.start_by_ms != 0) PutExpiry(batch, task, entry.task.start_by_ms);
  if (row.state != TaskState::kSucceeded && row.state != TaskState::kCancelled)
    BeginTrailBehind(batch, task);
  CountNew(task);
  if (row.state == TaskState::kReady)
    MakeReady(slot, batch.next_lsn(), now_ms, /*front=*/false);
  else if (!IsFinished(row.state))
    WaitUntil(slot, row.state, row.order);
  else
    End(batch, slot,
        {.state = row.state,
         .fingerprint = entry.task.fingerprint,
         .finished_ms = row.finished_ms,
         .run_us = row.run_us,
         .outcome = entry.outcome},
        now_ms);
}

void State::MergedEnd(Batch& batch, uint32_t slot, const MergeEnd& end, std::string_view outcome,
                      int64_t now_ms) {
  Task& task = tasks_[slot];
  task.cancelling = 0;
  if (task.state == TaskState::kLeased)
    ReleaseLease(task);
  else
    RemoveWaiting(slot);
  task.attempt = std::max(task.attempt, end.attempt);
  if (task.chained && !end.fires) {
    // The tasks that follow were made with the end, there.
    Chain chain = chains_.Take(task.id);
    chain.fired |= BranchesAt(end.state);
    chains_.Add(task.id, std::move(chain));
  }
  End(batch, slot,
      {.state = end.state,
       .fingerprint = end.fingerprint,
       .finished_ms = end.finished_ms,
       .run_us = end.run_us,
       .outcome = outcome,
       .trail_behind = end.state == TaskState::kDead},
      now_ms);
}

absl::Status State::RebuildEpochs(const ScanTable& scan) {
  ZS_RETURN_IF_ERROR(
      scan(Table::kEpochs, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        EpochRow row;
        if (!RowReader(bytes).Read(row) || row.version != kRowVersion || key > meta_.epoch)
          return BadRow("epochs", key);
        epochs_.push_back(key);
        return absl::OkStatus();
      }));
  return scan(Table::kMerges, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    RowReader in(bytes);
    MergeRow row;
    if (!in.Read(row) || row.version != kRowVersion) return BadRow("merges", key);
    merges_[key] = row;
    for (uint64_t first_id, tasks; !in.rest().empty();)
      if (!in.Read(first_id) || !in.Read(tasks))
        return BadRow("merges", key);
      else
        resent_[key][first_id] = tasks;
    return absl::OkStatus();
  });
}

}  // namespace zsched::broker
