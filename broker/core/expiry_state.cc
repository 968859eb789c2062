// What the log says of start-by times: which tasks have one, and those that died of it.
#include "base/check.h"
#include "base/planted.h"
#include "broker/core/state.h"
#include "schemas/errors.h"

namespace zsched::broker {
const std::string& State::ExpiredOutcome() {
  static const std::string row =
      ErrorOutcome(ErrorCode::kExpired, "no attempt had begun by the task's start-by time");
  return row;
}

void State::PutExpiry(Batch& batch, Task& task, int64_t start_by_ms) {
  task.expires = 1;
  expiries_.Add(task.id, start_by_ms);
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), ExpiryRow{start_by_ms, kRowVersion});
  batch.PutTail(Table::kExpiries, task.id, offset);
}

// An attempt counts, or the task is over: the time does not matter any more.
void State::DropExpiry(Batch& batch, Task& task) {
  if (!task.expires) return;
  task.expires = 0;
  expiries_.Erase(task.id);
  batch.Erase(Table::kExpiries, task.id);
}

void State::Expired(Batch& batch, uint32_t slot, uint64_t fingerprint, int64_t now_ms) {
  RemoveWaiting(slot);
  End(batch, slot,
      {.state = TaskState::kDead,
       .fingerprint = fingerprint,
       .finished_ms = now_ms,
       .outcome = ExpiredOutcome()},
      now_ms);
}

absl::Status State::RebuildExpiries(const ScanTable& scan) {
  if (ZS_PLANTED("expiries-not-stored")) return absl::OkStatus();
  uint64_t rows = 0;
  ZS_RETURN_IF_ERROR(
      scan(Table::kExpiries, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        RowReader in(bytes);
        ExpiryRow row;
        const uint32_t slot = tasks_.Find(TaskId(key));
        if (!in.Read(row) || row.version != kRowVersion || slot == kNil || !tasks_[slot].expires)
          return Error(
              ErrorCode::kDataLoss,
              "row " + std::to_string(key) + " of table expiries cannot be read; restore a backup");
        expiries_.Add(key, row.start_by_ms);
        if (tasks_[slot].state == TaskState::kLeased) expiries_.Pause(key);
        ++rows;
        return absl::OkStatus();
      }));
  uint64_t expiring = 0;
  tasks_.ForEach([&](uint32_t, const Task& task) { expiring += task.expires; });
  if (rows == expiring) return absl::OkStatus();
  return Error(ErrorCode::kDataLoss, std::to_string(expiring) +
                                         " tasks have a start-by time, but table expiries has " +
                                         std::to_string(rows) + " rows; restore a backup");
}

}  // namespace zsched::broker
