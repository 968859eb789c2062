// The scheduled half: what becomes of each tick, by the calendar, the rows and the tasks.
//
// The row of a schedule that reaches the disk stands behind the one before it by ticks that have been decided since:
//   ticks between the cursors + those that waited  =  fired + skipped + missed + those that wait
// and each that has fired has a task with its label. Schedules that were run by hand have more tasks, and of one that was
// paused ticks are left out; such are judged by what still holds.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "schemas/verify.h"
#include "tests/sim/oracle.h"
#include "tests/sim/process.h"

namespace zsched::sim {
namespace {

using broker::TicksRow;
using wire::Overlap;

// A tick fires in the first round after its time; one that found no room is tried again each second.
constexpr int64_t kLateUs = 3 * kSecond;

template <class T>
const T& Read(std::string_view body) {
  return *flatbuffers::GetRoot<T>(body.data());
}

// Schedules of the simulation go by UTC and have no end.
int64_t TickAfter(const cron::Schedule& rule, const TicksRow& row, int64_t from_ms) {
  return *cron::Next(rule, absl::UTCTimeZone(), from_ms, row.created_ms);
}

// Ticks after `from_ms`, up to `to_ms`.
uint64_t CountTicks(const cron::Schedule& rule, const TicksRow& row, int64_t from_ms,
                    int64_t to_ms) {
  uint64_t count = 0;
  for (int64_t tick_ms = TickAfter(rule, row, from_ms); tick_ms <= to_ms;
       tick_ms = TickAfter(rule, row, tick_ms))
    ++count;
  return count;
}

uint32_t MostHeld(Overlap overlap) {
  if (overlap == Overlap::kQueueAll) return kMaxHeldTicks;
  return overlap == Overlap::kQueueOne || overlap == Overlap::kCancelOld ? 1 : 0;
}

}  // namespace

// --- What reaches the disk --------------------------------------------------------------------------------------------

bool Oracle::TickStored(uint64_t id, const broker::SpecView& spec) {
  Tick tick;
  const bool readable = broker::ReadLabels(spec, [&tick](broker::LabelView label) {
    if (label.key == kScheduleLabel) tick.schedule = std::string(label.value);
    if (label.key == kTickLabel) tick.tick_ms = ParseTimeMs(std::string(label.value)).value_or(0);
  });
  if (!readable) Fail(absl::StrCat("task ", ToString(TaskId(id)), ": its labels cannot be read"));
  if (tick.schedule.empty()) return false;
  tasks_[id].acked = true;  // nobody is told of it, and it must not be lost
  for (const auto& [number, schedule] : schedules_)
    if (schedule.name == tick.schedule && schedule.overlap == Overlap::kCancelOld)
      tasks_[id].cancel_asked = true;
  new_ticks_.push_back(std::move(tick));
  return true;
}

void Oracle::ScheduleStored(uint64_t number, std::string_view bytes) {
  broker::RowReader in(bytes);
  broker::ScheduleRow head;
  std::string_view body;
  if (!in.Read(head) || !in.Take(head.body_bytes, body)) return Fail("a schedule's row is short");
  AlignedCopy copy;
  const auto& set = Read<wire::ScheduleSet>(copy.Align(body));
  ScheduleFacts& schedule = schedules_[number];
  schedule.name = set.name()->str();
  schedule.rule = *cron::Parse(TextOf(set.expression()));
  schedule.overlap = set.overlap();
  schedule.catch_up_ms = static_cast<int64_t>(set.catch_up_ms().value_or(kDefaultCatchUpMs));
  schedule.jitter_ms = set.jitter_ms();
}

void Oracle::TicksStored(uint64_t number, std::string_view bytes) {
  ScheduleFacts& schedule = schedules_[number];
  TicksRow old = schedule.row;
  if (!broker::RowReader(bytes).Read(schedule.row)) return Fail("a schedule's ticks are short");
  if (!std::exchange(schedule.has_row, true)) old.cursor_ms = schedule.row.created_ms;
  auto fail = [&](const std::string& what) {
    Fail(absl::StrCat("schedule ", schedule.name, " ", what, ", at ",
                      FormatTimeMs(schedule.row.cursor_ms)));
  };
  if (schedule.row.cursor_ms < old.cursor_ms) return fail("went back");
  if (schedule.row.cursor_ms > latest_wall_ms_) return fail("ticks before its time");
  if (!pauses_.contains({schedule.name, batches_taken_})) CheckFates(schedule, old, fail);
  CheckOverlap(schedule, old, fail);
  ClaimTicks(schedule, old);
}

void Oracle::CheckFates(const ScheduleFacts& schedule, const TicksRow& old, const Failing& fail) {
  const TicksRow& row = schedule.row;
  const uint64_t ticks = CountTicks(schedule.rule, row, old.cursor_ms, row.cursor_ms);
  const uint64_t missed = row.missed - old.missed;
  if (row.paused != 0 && ticks > 0) return fail("is paused, and ticks");
  if (old.held + ticks != row.held + (row.fired - old.fired) + (row.skipped - old.skipped) + missed)
    return fail("does not account for each of its ticks");
  // The oldest are missed first.
  int64_t tick_ms = old.cursor_ms;
  for (uint64_t i = 0; i < missed; ++i) tick_ms = TickAfter(schedule.rule, row, tick_ms);
  if (missed > 0 && tick_ms + schedule.catch_up_ms >= latest_wall_ms_)
    fail("missed a tick inside of its window");
}

void Oracle::CheckOverlap(const ScheduleFacts& schedule, const TicksRow& old, const Failing& fail) {
  const TicksRow& row = schedule.row;
  const bool fired = row.fired > old.fired, holds = row.held > old.held;
  const TaskFacts& earlier = tasks_[old.task];
  const bool over = broker::IsFinished(earlier.row.state);
  // When this batch was decided, as far as rows tell.
  const bool may_be_busy = schedule.was_busy || fired || old.held > 0 || earlier.retry_asked;
  if ((holds || row.skipped > old.skipped) && !may_be_busy)
    return fail("holds a tick back, but its task is over");
  if (row.held > MostHeld(schedule.overlap) ||
      (row.skipped > old.skipped && schedule.overlap == Overlap::kAllow))
    return fail("breaks its rule for overlaps");
  if (holds && !fired && schedule.overlap == Overlap::kCancelOld && !over && !earlier.retry_asked &&
      earlier.row.cancelling == 0)
    return fail("waits for a task that it does not cancel");
  if (fired && old.task != 0 && !over && !earlier.retry_asked &&
      schedule.overlap != Overlap::kAllow)
    return fail("fired beside a task that is not over");
  if (fired && old.held > 0) ++reached_["ticks_released"];
}

// The tasks of this batch are those of the ticks that the row says have fired.
void Oracle::ClaimTicks(ScheduleFacts& schedule, const TicksRow& old) {
  std::vector<int64_t> ticks;
  std::erase_if(new_ticks_, [&](const Tick& tick) {
    if (tick.schedule != schedule.name) return false;
    ticks.push_back(tick.tick_ms);
    return true;
  });
  const uint64_t fired = schedule.row.fired - old.fired;
  uint64_t& made = runs_made_[schedule.name];
  made += ticks.size() - std::min<uint64_t>(fired, ticks.size());
  auto asked = runs_asked_.find(schedule.name);
  if (fired > ticks.size() || made > (asked == runs_asked_.end() ? 0 : asked->second))
    return Fail(absl::StrCat("schedule ", schedule.name, " fired ", fired, " times and has ",
                             ticks.size(), " new tasks"));
  if (asked != runs_asked_.end()) return;  // which are those of ticks cannot be told
  const int64_t first_ms = old.held > 0 ? old.held_ms : old.cursor_ms + 1;
  for (int64_t tick_ms : ticks) {
    auto fail = [&](const std::string& what) {
      Fail(absl::StrCat("the tick of ", schedule.name, " at ", FormatTimeMs(tick_ms), " ", what));
    };
    if (!schedule.ticks.insert(tick_ms).second) return fail("has two tasks");
    if (tick_ms < first_ms || tick_ms > schedule.row.cursor_ms ||
        TickAfter(schedule.rule, schedule.row, tick_ms - 1) != tick_ms)
      return fail("is none that was due");
  }
}

// Once all rows of a batch are read.
void Oracle::SchedulesStored() {
  if (!new_ticks_.empty())
    Fail("schedule " + new_ticks_.front().schedule + " has a task, and its row is the old one");
  for (auto& [number, schedule] : schedules_) {
    auto task = tasks_.find(schedule.row.task);
    schedule.was_busy = task != tasks_.end() && !broker::IsFinished(task->second.row.state);
  }
}

bool Oracle::schedules_rest() const {
  return std::all_of(schedules_.begin(), schedules_.end(),
                     [](const auto& entry) { return entry.second.row.paused != 0; });
}

// --- In time ----------------------------------------------------------------------------------------------------------

// The rows say all that was decided until `as_of_us`, and the broker was steady for long.
void Oracle::CheckTicksLate(int64_t as_of_us) {
  const int64_t since_us = as_of_us - kLateUs;
  if (disk_low_ ||
      std::max({disk_roomy_since_us_, wall_steady_since_us_, steady_since_us_}) > since_us)
    return;
  const int64_t since_ms = round_wall_ms_ - (round_us_ - since_us) / kMillisecond;
  for (auto& [number, schedule] : schedules_) {
    const TicksRow& row = schedule.row;
    if (row.paused != 0) {
      schedule.waits_since_us = -1;
      continue;
    }
    const int64_t next_ms = TickAfter(schedule.rule, row, row.cursor_ms);
    if (next_ms + schedule.jitter_ms < since_ms)
      return Fail(
          absl::StrCat("the tick of ", schedule.name, " at ", FormatTimeMs(next_ms), " is late"));
    const bool may_fire = row.held > 0 && broker::IsFinished(tasks_[row.task].row.state);
    if (!may_fire) schedule.waits_since_us = -1;
    if (may_fire && schedule.waits_since_us < 0) schedule.waits_since_us = as_of_us;
    if (may_fire && schedule.waits_since_us < since_us)
      return Fail("ticks of " + schedule.name + " wait for a task that is over");
  }
}

// --- Frames -----------------------------------------------------------------------------------------------------------

void Oracle::OnScheduleFrame(uint64_t session, const FrameView& frame) {
  if (frame.header.type == MessageType::kScheduleSet) {
    const auto& set = Read<wire::ScheduleSet>(frame.body);
    settings_[{session, set.request()}] = set.name()->str();
    std::string_view payload = BytesOf(set.task()->payload());
    NoteWish(*set.task(), std::string(payload.substr(0, payload.find('|'))));
  }
  if (frame.header.type == MessageType::kSchedulePause) {
    const auto& pause = Read<wire::SchedulePause>(frame.body);
    settings_[{session, pause.request()}] = pause.name()->str();
    pauses_.insert({pause.name()->str(), batches_taken_ + 1});  // decided in the open batch
  }
  if (frame.header.type == MessageType::kScheduleRun) {
    const auto& run = Read<wire::ScheduleRun>(frame.body);
    uint64_t& asked = runs_asked_[run.name()->str()];
    asked += run.to_ms() == 0 ? 1 : kMaxBackfillTicks;
  }
}

void Oracle::CheckScheduleInfos(uint64_t session, const wire::ScheduleInfos& infos) {
  auto setting = settings_.find({session, infos.request()});
  if (setting == settings_.end()) return;
  const bool stored = std::any_of(schedules_.begin(), schedules_.end(), [&](const auto& entry) {
    return entry.second.has_row && entry.second.name == setting->second;
  });
  if (!stored) Fail("schedule " + setting->second + " was acknowledged before it was durable");
}

}  // namespace zsched::sim
