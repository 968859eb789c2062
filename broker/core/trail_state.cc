// What attempts leave behind: the part of State that writes and drops the rows of trails.
#include "base/planted.h"
#include "base/text.h"
#include "broker/core/state.h"
#include "schemas/errors.h"

namespace zsched::broker {

// Of a task that has begun its first attempt at least. Begins one when there is none.
Trail& State::TrailOf(Batch& batch, Task& task) {
  if (task.trailed) return *trails_.Find(task.id);
  task.trailed = 1;
  Trail& trail = trails_.Add(task.id, {meta_.next_trail++, task.attempt, 0, 0});
  WriteTrail(batch, task.id, trail);
  return trail;
}

void State::WriteTrail(Batch& batch, uint64_t task, const Trail& trail) {
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(),
               TrailRow{trail.number, trail.first, trail.notes, 0, trail.wrote, 0, kRowVersion});
  batch.PutTail(Table::kTrails, task, offset);
}

void State::Reported(Batch& batch, uint32_t slot, const ReportedEntry& entry,
                     std::string_view message, std::string_view checkpoint, int64_t now_ms) {
  Task& task = tasks_[slot];
  ZS_CHECK(task.state == TaskState::kLeased);
  if (entry.kinds & NoteBit(NoteKind::kProgress))
    WriteNote(batch, task, NoteKind::kProgress, entry.percent, message, now_ms);
  if (entry.kinds & NoteBit(NoteKind::kCheckpoint))
    WriteNote(batch, task, NoteKind::kCheckpoint, 0, checkpoint, now_ms);
}

void State::WriteNote(Batch& batch, Task& task, NoteKind kind, uint8_t percent,
                      std::string_view body, int64_t now_ms) {
  Trail& trail = TrailOf(batch, task);
  if (!(trail.notes & NoteBit(kind))) {
    trail.notes |= NoteBit(kind);
    WriteTrail(batch, task.id, trail);
  }
  NoteRow row;
  row.time_ms = now_ms;
  row.bytes = static_cast<uint32_t>(body.size());
  row.attempt = task.attempt;
  row.percent = percent;
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), row);
  batch.OpenRows().append(body);
  batch.PutTail(Table::kNotes, NoteKey(trail.number, kind), offset);
}

void State::Wrote(Batch& batch, uint32_t slot, uint64_t offset, std::string_view runs,
                  std::string_view bytes) {
  Task& task = tasks_[slot];
  ZS_CHECK(task.state == TaskState::kLeased);
  Trail& trail = TrailOf(batch, task);
  if (trail.wrote != task.attempt) {
    trail.wrote = task.attempt;
    WriteTrail(batch, task.id, trail);
    DropOutput(batch, task);  // of the attempt that had its place before
  }
  OutputRow row;
  row.offset = offset;
  row.attempt = task.attempt;
  row.bytes = static_cast<uint16_t>(bytes.size());
  row.runs = static_cast<uint16_t>(runs.size() / sizeof(wire::OutputRun));
  auto at = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), row);
  batch.OpenRows().append(runs).append(bytes);
  batch.PutTail(Table::kOutput, OutputKey(trail.number, task.attempt, offset), at);
}

// What stands in the place of the last attempt, whoever left it.
void State::DropOutput(Batch& batch, const Task& task) {
  const Trail* trail = task.trailed ? trails_.Find(task.id) : nullptr;
  if (trail == nullptr || trail->wrote != task.attempt || ZS_PLANTED("output-of-place-stays"))
    return;
  const uint64_t first = OutputKey(trail->number, task.attempt, 0);
  batch.EraseRange(Table::kOutput, first, first + kOutputPages - 1);
}

void State::RecordAttempt(Batch& batch, Task& task, const EndedEntry& entry,
                          std::string_view outcome, int64_t now_ms) {
  if (ZS_PLANTED("loss-not-recorded") && entry.charge == Charge::kLost) return;
  const Trail& trail = TrailOf(batch, task);
  const Lease& lease = leases_[task.lease];
  const std::string& worker = workers_.at(lease.worker).name;
  std::string_view message;
  AttemptRow row;
  if (auto view = ReadOutcome(outcome)) {
    message = CutUtf8(view->body, kMaxHistoryMessageBytes);
    row.error_code = view->head.error_code;
  }
  row.lease = lease.id;
  row.leased_ms = lease.leased_ms;
  row.ended_ms = now_ms;
  row.run_us = entry.run_us;
  row.attempt = task.attempt;
  row.message_bytes = static_cast<uint16_t>(message.size());
  row.worker_bytes = static_cast<uint8_t>(worker.size());
  row.ending = static_cast<uint8_t>(entry.ending);
  uint64_t key = HistoryKey(trail.number, task.attempt);
  if (ZS_PLANTED("attempts-overwritten")) key = FirstHistoryKey(trail.number) + task.attempt % 2;
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), row);
  batch.OpenRows().append(worker).append(message);
  batch.PutTail(Table::kHistory, key, offset);
}

// Of tasks that are deleted.
void State::DropTrails(Batch& batch, uint64_t first, uint64_t last) {
  trails_.ForEachIn(first, last, [&](uint64_t task, const Trail& trail) {
    batch.Erase(Table::kTrails, task);
    batch.EraseRange(Table::kHistory, FirstHistoryKey(trail.number), LastHistoryKey(trail.number));
    if (trail.notes != 0 && !ZS_PLANTED("notes-not-pruned"))
      batch.EraseRange(Table::kNotes, NoteKey(trail.number, NoteKind::kProgress),
                       NoteKey(trail.number, NoteKind::kCheckpoint));
    if (trail.wrote != 0 && !ZS_PLANTED("output-not-pruned"))
      batch.EraseRange(Table::kOutput, FirstOutputKey(trail.number), LastOutputKey(trail.number));
  });
  trails_.Erase(first, last);
}

absl::Status State::RebuildTrails(const ScanTable& scan) {
  return scan(Table::kTrails, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    if (ZS_PLANTED("trails-not-stored")) return absl::OkStatus();
    std::optional<TrailRow> row = ReadTrail(bytes);
    if (!row || row->number >= meta_.next_trail)
      return Error(ErrorCode::kDataLoss, "row " + std::to_string(key) +
                                             " of table trails cannot be read; restore a backup");
    trails_.Add(key, {row->number, row->first, row->notes, row->wrote});
    if (uint32_t slot = tasks_.Find(TaskId(key)); slot != kNil) tasks_[slot].trailed = 1;
    return absl::OkStatus();
  });
}

}  // namespace zsched::broker
