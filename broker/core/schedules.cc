#include "broker/core/schedules.h"

#include "base/planted.h"
#include "broker/core/schedule_settings.h"
#include "schemas/errors.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// Ticks that one entry of a record tells of: a schedule with years of missed seconds must not keep
// a round.
constexpr uint32_t kMaxTicksPerEntry = 4096;
// Of ticks that wait for nothing any more: before any that a clock shows.
constexpr int64_t kAtOnceMs = 0;

// Ticks that may wait for the end of the earlier task.
uint32_t MostHeld(wire::Overlap overlap) {
  switch (overlap) {
    case wire::Overlap::kQueueOne:
    case wire::Overlap::kCancelOld:
      return 1;
    case wire::Overlap::kQueueAll:
      return kMaxHeldTicks;
    default:
      return 0;
  }
}

}  // namespace

void Schedules::Load() {
  for (const auto& [number, schedule] : state_.schedules()) Redefine(number);
}

void Schedules::Redefine(uint32_t number) {
  const wire::ScheduleSet& set = state_.schedules().at(number).set();
  Entry& entry = entries_[number];
  auto rule = cron::Parse(TextOf(set.expression()));
  auto zone = cron::LoadZone(ZoneOf(set));
  entry.error.clear();
  if (!rule.ok())
    entry.error = MessageOf(rule.status());
  else if (!zone.ok())
    entry.error = MessageOf(zone.status());
  if (entry.error.empty()) {
    entry.rule = *rule;
    entry.zone = *zone;
  }
  Place(number);
}

void Schedules::Place(uint32_t number) {
  Entry& entry = entries_.at(number);
  if (entry.due_ms != kNever) due_.erase({entry.due_ms, number});
  if (entry.awaited != 0) awaited_.erase(entry.awaited);
  const Schedule& schedule = state_.schedules().at(number);
  entry.awaited = schedule.row.held > 0 ? schedule.row.task : 0;
  if (entry.awaited != 0) awaited_[entry.awaited] = number;
  entry.due_ms = DueOf(schedule);
  if (entry.due_ms != kNever) due_.insert({entry.due_ms, number});
}

void Schedules::Remove(uint32_t number) {
  Entry& entry = entries_.at(number);
  if (entry.due_ms != kNever) due_.erase({entry.due_ms, number});
  if (entry.awaited != 0) awaited_.erase(entry.awaited);
  std::erase(delayed_, number);
  entries_.erase(number);
}

void Schedules::PlaceWaiting(uint64_t task) {
  auto it = awaited_.find(task);
  if (it != awaited_.end()) Place(it->second);
}

uint32_t Schedules::Due(int64_t wall_ms) const {
  return due_.empty() || due_.begin()->first > wall_ms ? 0 : due_.begin()->second;
}

std::optional<int64_t> Schedules::TickAfter(const Schedule& schedule, int64_t from_ms) const {
  const Entry& entry = entries_.at(schedule.number);
  if (!entry.error.empty()) return std::nullopt;
  return cron::Next(entry.rule, entry.zone, from_ms, schedule.row.created_ms);
}

std::optional<int64_t> Schedules::NextTick(const Schedule& schedule) const {
  return TickAfter(schedule, schedule.row.cursor_ms);
}

int64_t Schedules::DueOf(const Schedule& schedule) const {
  if (schedule.row.paused != 0 || !entries_.at(schedule.number).error.empty()) return kNever;
  if (schedule.row.held > 0 && !state_.IsUnfinished(schedule.row.task)) return kAtOnceMs;
  std::optional<int64_t> tick_ms = NextTick(schedule);
  return tick_ms ? *tick_ms + JitterOf(schedule.set(), *tick_ms) : kNever;
}

TickFate Schedules::Judge(const Schedule& schedule, int64_t tick_ms, uint32_t held,
                          int64_t wall_ms) const {
  const wire::ScheduleSet& set = schedule.set();
  // Not by the tick's own jitter: ticks keep their order, so one with a short delay may have to wait
  // for one before it that has a long one.
  const int64_t window_ms = ZS_PLANTED("window-ignored") ? 0 : CatchUpOf(set);
  if (wall_ms - tick_ms > window_ms + int64_t{set.jitter_ms()}) return TickFate::kMissed;
  const bool busy = held > 0 || state_.IsUnfinished(schedule.row.task);
  if (!busy || set.overlap() == wire::Overlap::kAllow || ZS_PLANTED("overlap-ignored"))
    return TickFate::kFired;
  const bool room = held < MostHeld(set.overlap()) && schedule.row.gap == 0;
  return room ? TickFate::kHeld : TickFate::kSkipped;
}

TickedEntry Schedules::Decide(uint32_t number, int64_t wall_ms) const {
  const Schedule& schedule = state_.schedules().at(number);
  const TicksRow& row = schedule.row;
  TickedEntry entry;
  entry.schedule = number;
  if (row.held > 0 && !state_.IsUnfinished(row.task)) {
    entry.fate = TickFate::kReleased;
    entry.ticks = 1;
    entry.tick_ms = row.held_ms;
    // What waits is counted, not listed: the ticks behind the first are found anew. Should another
    // zone database know none, the cursor's place is taken, so that the count is worked off.
    if (row.held > 1) entry.held_ms = TickAfter(schedule, row.held_ms).value_or(row.cursor_ms);
    return entry;
  }
  std::optional<int64_t> tick_ms = NextTick(schedule);
  // Of the ticks that are due the last, as by a clock and not by the cursor.
  while (ZS_PLANTED("tick-from-now") && tick_ms && TickAfter(schedule, *tick_ms) <= wall_ms)
    tick_ms = TickAfter(schedule, *tick_ms);
  auto is_due = [&] { return tick_ms && *tick_ms + JitterOf(schedule.set(), *tick_ms) <= wall_ms; };
  if (!is_due()) return entry;
  entry.fate = Judge(schedule, *tick_ms, row.held, wall_ms);
  if (entry.fate == TickFate::kHeld) entry.held_ms = row.held > 0 ? row.held_ms : *tick_ms;
  const uint32_t most = entry.fate == TickFate::kFired ? 1 : kMaxTicksPerEntry;
  do {
    entry.tick_ms = *tick_ms;
    ++entry.ticks;
    if (entry.ticks == most) break;
    tick_ms = TickAfter(schedule, entry.tick_ms);
  } while (is_due() &&
           Judge(schedule, *tick_ms, row.held + (entry.fate == TickFate::kHeld ? entry.ticks : 0),
                 wall_ms) == entry.fate);
  return entry;
}

void Schedules::Delay(uint32_t number, int64_t mono_ms) {
  Entry& entry = entries_.at(number);
  if (entry.due_ms != kNever) due_.erase({entry.due_ms, number});
  entry.due_ms = kNever;
  if (delayed_.empty()) retry_ms_ = mono_ms;
  delayed_.push_back(number);
}

void Schedules::RetryDelayed(int64_t mono_ms) {
  if (mono_ms < retry_ms()) return;
  std::vector<uint32_t> again = std::exchange(delayed_, {});
  for (uint32_t number : again) Place(number);
}

std::vector<int64_t> Schedules::TicksWithin(const Schedule& schedule, int64_t from_ms,
                                            int64_t to_ms, size_t limit) const {
  std::vector<int64_t> ticks;
  std::optional<int64_t> tick_ms = TickAfter(schedule, from_ms - 1);
  for (; tick_ms && *tick_ms <= to_ms && ticks.size() <= limit;
       tick_ms = TickAfter(schedule, *tick_ms))
    ticks.push_back(*tick_ms);
  return ticks;
}

absl::Status Schedules::Check() const {
  auto broken = [](const Schedule& schedule, const char* what) {
    return Error(ErrorCode::kInternal,
                 "invariant: schedule " + std::string(schedule.name()) + " " + what);
  };
  if (entries_.size() != state_.schedules().size() ||
      state_.schedule_names().size() != entries_.size())
    return Error(ErrorCode::kInternal, "invariant: schedules and their index differ in number");
  for (const auto& [number, schedule] : state_.schedules()) {
    const Entry& entry = entries_.at(number);
    const TicksRow& row = schedule.row;
    const bool delayed = std::find(delayed_.begin(), delayed_.end(), number) != delayed_.end();
    if (!delayed && entry.due_ms != DueOf(schedule))
      return broken(schedule, "is due at another time");
    if ((entry.due_ms != kNever) != due_.contains({entry.due_ms, number}))
      return broken(schedule, "has no place in the order of firing");
    auto awaited = awaited_.find(entry.awaited);
    if (entry.awaited != (row.held > 0 ? row.task : 0) ||
        (entry.awaited != 0 && (awaited == awaited_.end() || awaited->second != number)))
      return broken(schedule, "holds ticks for a task whose end it does not watch");
  }
  return absl::OkStatus();
}

}  // namespace zsched::broker
