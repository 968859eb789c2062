// What the log says of time schedules: definitions, how far each has come, and the tasks of its
// ticks. No arithmetic of calendars: a record names the ticks.
#include "base/check.h"
#include "base/text.h"
#include "broker/core/state.h"
#include "schemas/verify.h"

namespace zsched::broker {

uint32_t State::next_schedule() const {
  return schedules_.empty() ? 1 : schedules_.rbegin()->first + 1;
}

const Schedule* State::FindSchedule(std::string_view name) const {
  auto it = schedule_by_name_.find(std::string(name));
  return it == schedule_by_name_.end() ? nullptr : &schedules_.at(it->second);
}

bool State::IsUnfinished(uint64_t task) const {
  return task != 0 && tasks_.Find(TaskId(task)) != kNil;
}

void State::ScheduleSet(Batch& batch, uint32_t number, const TicksRow& row, std::string_view body) {
  Schedule& schedule = schedules_[number];
  schedule.number = number;
  schedule.row = row;
  if (!body.empty()) {
    schedule_bytes_ += body.size() - schedule.body.size();
    schedule.body = std::string(body);
    schedule_by_name_[std::string(schedule.name())] = number;
    auto offset = static_cast<uint32_t>(batch.OpenRows().size());
    AppendStruct(batch.OpenRows(), ScheduleRow{static_cast<uint32_t>(body.size()), kRowVersion});
    batch.OpenRows().append(body);
    batch.PutTail(Table::kSchedules, number, offset);
  }
  WriteTicks(batch, schedule);
}

void State::WriteTicks(Batch& batch, const Schedule& schedule) {
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), schedule.row);
  batch.PutTail(Table::kTicks, schedule.number, offset);
}

void State::Ticked(Batch& batch, const TickedEntry& entry, uint32_t lane, int64_t now_ms) {
  Schedule& schedule = schedules_.at(entry.schedule);
  TicksRow& row = schedule.row;
  if (entry.MovesCursor()) row.cursor_ms = entry.tick_ms;
  switch (entry.fate) {
    case TickFate::kFired:
      ++row.fired;
      break;
    case TickFate::kSkipped:
      row.skipped += entry.ticks;
      row.gap = row.held > 0 ? 1 : 0;
      break;
    case TickFate::kMissed:
      row.missed += entry.ticks;
      row.gap = row.held > 0 ? 1 : 0;
      break;
    case TickFate::kHeld:
      row.held += entry.ticks;
      row.held_ms = entry.held_ms;
      break;
    case TickFate::kReleased:
      ++row.fired;
      --row.held;
      row.held_ms = entry.held_ms;
      if (row.held == 0) row.gap = 0;
      break;
    case TickFate::kExtra:
      break;
  }
  if (entry.MakesTask()) {
    if (entry.fate != TickFate::kExtra) row.task = entry.task;
    const std::string tick = FormatTimeMs(entry.tick_ms);
    const LabelView labels[] = {{kScheduleLabel, schedule.name()}, {kTickLabel, tick}};
    Tell(Submitted(batch, TaskId(entry.task), lane, *schedule.set().task(), now_ms, labels), 0);
  }
  WriteTicks(batch, schedule);
}

void State::ScheduleGone(Batch& batch, uint32_t number) {
  auto it = schedules_.find(number);
  ZS_CHECK(it != schedules_.end());
  schedule_bytes_ -= it->second.body.size();
  schedule_by_name_.erase(std::string(it->second.name()));
  schedules_.erase(it);
  batch.Erase(Table::kSchedules, number);
  batch.Erase(Table::kTicks, number);
}

}  // namespace zsched::broker
