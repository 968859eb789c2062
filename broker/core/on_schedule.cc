// Time schedules: made, changed, run by hand, removed; and their ticks.
#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"
#include "broker/core/schedule_settings.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

constexpr size_t kMaxTickedPerRound = 4096;  // entries; the rest comes in the next round, at once
constexpr int64_t kFullRetryMs = 1000;       // a tick whose queue is full is tried again

std::string NoSchedule(std::string_view name) {
  return "there is no schedule '" + std::string(name) + "'";
}

}  // namespace

void Core::RefuseSchedule(SessionId from, uint64_t request, ErrorCode code, std::string message) {
  effects_.push_back(ErrorEffect{from, Lsn(0), code, std::move(message), request});
}

const Schedule* Core::ScheduleOrRefuse(SessionId from, uint64_t request, std::string_view name) {
  const Schedule* schedule = state_.FindSchedule(name);
  if (schedule == nullptr) RefuseSchedule(from, request, ErrorCode::kNotFound, NoSchedule(name));
  return schedule;
}

Verdict Core::JudgeSchedule(const wire::ScheduleSet& set, size_t bytes, const Schedule* old,
                            Now now) const {
  Verdict verdict = ValidateSchedule(set, config_.max_payload_bytes, now.wall_ms);
  if (verdict.code == ErrorCode::kOk) verdict = ValidateFiring(set);
  if (verdict.code != ErrorCode::kOk) return verdict;
  if (old != nullptr && !set.replace())
    return {ErrorCode::kConflict, "schedule '" + std::string(TextOf(set.name())) +
                                      "' exists; ask to replace it, or remove it first"};
  if (old == nullptr && state_.schedules().size() >= config_.max_schedules)
    return {ErrorCode::kResourceExhausted, "the broker has as many schedules as it may"};
  const uint64_t others = state_.schedule_bytes() - (old != nullptr ? old->body.size() : 0);
  if (others + bytes > config_.max_schedule_bytes)
    return {ErrorCode::kResourceExhausted,
            "the definitions of the broker's schedules are as large as they may be together"};
  return {};
}

void Core::OnScheduleSet(SessionId from, const wire::ScheduleSet& set, std::string_view body,
                         Now now) {
  const Schedule* old = state_.FindSchedule(TextOf(set.name()));
  Verdict verdict = JudgeSchedule(set, body.size(), old, now);
  if (verdict.code != ErrorCode::kOk)
    return RefuseSchedule(from, set.request(), verdict.code, std::move(verdict.message));
  const uint32_t number = old != nullptr ? old->number : state_.next_schedule();
  TicksRow row;
  row.created_ms = row.cursor_ms = now.wall_ms;
  if (old != nullptr) {
    row = old->row;
    // Otherwise setting the same again, as a deployment does, would lose the ticks since the last.
    if (!FireAlike(old->set(), set)) {
      row.cursor_ms = std::max(row.cursor_ms, now.wall_ms);
      row.skipped += row.held;
      row.held = 0;
      row.held_ms = 0;
      row.gap = 0;
    }
  }
  SetPaused(row, set.paused().value_or(row.paused != 0), now);
  const Lsn lsn = RecordSchedule(number, row, body, now);
  schedules_.Redefine(number);
  const Lsn wait = ZS_PLANTED("schedule-ack-early") ? Lsn(0) : lsn;
  effects_.push_back(ScheduleEffect{from, wait, set.request(), std::string(TextOf(set.name()))});
}

// What comes while it is paused is not caught up.
void Core::SetPaused(TicksRow& row, bool paused, Now now) const {
  if (row.paused != 0 && !paused) {
    row.cursor_ms = std::max(row.cursor_ms, now.wall_ms);
    row.gap = row.held > 0 ? 1 : 0;
  }
  row.paused = paused ? 1 : 0;
}

Lsn Core::RecordSchedule(uint32_t number, const TicksRow& row, std::string_view body, Now now) {
  ScheduleSetRecord record{number, static_cast<uint32_t>(body.size()), row};
  OpenedRecord opened = OpenRecord(RecordKind::kScheduleSet, record);
  batch_.OpenRecord().append(body);
  state_.ScheduleSet(batch_, number, row, body);
  return CloseRecord(opened, record, now);
}

void Core::OnSchedulePause(SessionId from, const wire::SchedulePause& pause, Now now) {
  const Schedule* schedule = ScheduleOrRefuse(from, pause.request(), TextOf(pause.name()));
  if (schedule == nullptr) return;
  ScheduleEffect effect{from, appended(), pause.request(), std::string(TextOf(pause.name()))};
  TicksRow row = schedule->row;
  SetPaused(row, pause.paused(), now);
  if (row != schedule->row) {
    effect.wait = RecordSchedule(schedule->number, row, {}, now);
    schedules_.Place(schedule->number);
  }
  effects_.push_back(std::move(effect));
}

void Core::OnScheduleRemove(SessionId from, const wire::ScheduleRemove& remove, Now now) {
  const Schedule* schedule = ScheduleOrRefuse(from, remove.request(), TextOf(remove.name()));
  if (schedule == nullptr) return;
  const uint32_t number = schedule->number;
  schedules_.Remove(number);
  IdsRecord record{1};
  OpenedRecord opened = OpenRecord(RecordKind::kSchedulesGone, record);
  AppendStruct(batch_.OpenRecord(), uint64_t{number});
  TellName(schedule->name());
  state_.ScheduleGone(batch_, number);
  ItemReplyEffect reply{from, CloseRecord(opened, record, now), remove.request(), {}};
  reply.items.push_back({0, ErrorCode::kOk, {}});
  effects_.push_back(std::move(reply));
}

void Core::OnScheduleRun(SessionId from, const wire::ScheduleRun& run, Now now) {
  const Schedule* schedule = ScheduleOrRefuse(from, run.request(), TextOf(run.name()));
  if (schedule == nullptr) return;
  std::vector<int64_t> ticks{now.wall_ms};
  if (run.from_ms() != 0 || run.to_ms() != 0) {
    if (run.from_ms() < 0 || run.from_ms() > run.to_ms() || run.to_ms() > now.wall_ms)
      return RefuseSchedule(from, run.request(), ErrorCode::kInvalidArgument,
                            "from, to: must be a time that has passed, from its start to its end");
    ticks = schedules_.TicksWithin(*schedule, run.from_ms(), run.to_ms(), kMaxBackfillTicks);
    if (ticks.size() > kMaxBackfillTicks)
      return RefuseSchedule(from, run.request(), ErrorCode::kInvalidArgument,
                            "from, to: more than " + std::to_string(kMaxBackfillTicks) +
                                " ticks; ask for a shorter time");
  }
  ItemReplyEffect reply{from, appended(), run.request(), {}};
  TickedRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kTicked, record);
  for (int64_t tick_ms : ticks) {
    TickedEntry entry{.tick_ms = tick_ms, .schedule = schedule->number, .ticks = 1};
    entry.fate = TickFate::kExtra;
    Reject reject = Tick(entry, now);
    reply.items.push_back({entry.task, reject.code, std::move(reject.message)});
    if (reject.code == ErrorCode::kOk) ++record.count;
  }
  if (record.count > 0)
    reply.wait = CloseRecord(opened, record, now);
  else
    DropRecord(opened);
  effects_.push_back(std::move(reply));
}

// Appends the entry to the open record and applies it; gives it a task if it makes one. Refused: there
// is no room for the task, and nothing happened.
Reject Core::Tick(TickedEntry& entry, Now now) {
  uint32_t lane = 0;
  if (entry.MakesTask()) {
    const wire::TaskSpec& spec = *state_.schedules().at(entry.schedule).set().task();
    lane = state_.lanes().Find(LaneOf(spec));
    Reject reject = JudgeRoom(spec, lane);
    if (reject.code == ErrorCode::kOk && !HasTaskIds(1))
      reject = {0, ErrorCode::kResourceExhausted, kNoTaskIds, 0, 0, Metric::kRejectedIdsSpent};
    if (reject.code != ErrorCode::kOk) return reject;
    if (lane == 0) lane = state_.CreateLane(batch_, LaneOf(spec));
    entry.task = MakeId<TaskId>(state_.epoch(), state_.meta().next_task).value();
  }
  AppendStruct(batch_.OpenRecord(), entry);
  state_.Ticked(batch_, entry, lane, now.wall_ms);
  return {};
}

void Core::FireSchedules(Now now) {
  if (ZS_PLANTED("ticks-early")) now.wall_ms += 300;
  schedules_.RetryDelayed(now.mono_ms);
  if (schedules_.Due(now.wall_ms) == 0) return;
  std::vector<uint64_t> cancelled;
  TickedRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kTicked, record);
  for (size_t i = 0; i < kMaxTickedPerRound; ++i) {
    const uint32_t number = schedules_.Due(now.wall_ms);
    if (number == 0) break;
    TickedEntry entry = schedules_.Decide(number, now.wall_ms);
    if (entry.ticks == 0) {
      schedules_.Place(number);
      continue;
    }
    if (Tick(entry, now).code != ErrorCode::kOk) {
      schedules_.Delay(number, now.mono_ms + kFullRetryMs);
      continue;
    }
    ++record.count;
    CountTicks(entry);
    const Schedule& schedule = state_.schedules().at(number);
    if (entry.fate == TickFate::kHeld && schedule.set().overlap() == wire::Overlap::kCancelOld)
      cancelled.push_back(schedule.row.task);
    schedules_.Place(number);
  }
  if (record.count > 0)
    CloseRecord(opened, record, now);
  else
    DropRecord(opened);
  // The tick that waits fires when the task is over: of one that runs, when its worker says so.
  CancelAll(cancelled, now);
}

void Core::CountTicks(const TickedEntry& entry) {
  if (entry.MakesTask()) metrics_.Add(Metric::kTicksFired);
  if (entry.fate == TickFate::kSkipped) metrics_.Add(Metric::kTicksSkipped, entry.ticks);
  if (entry.fate == TickFate::kMissed) metrics_.Add(Metric::kTicksMissed, entry.ticks);
}

}  // namespace zsched::broker
