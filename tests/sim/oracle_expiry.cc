// Start-by times: what they are, that a task which waits is dead once its time has come and not before, and that no attempt
// begins too late.
//
// How late one may begin, exactly: TASKS says how much of the time was left when the frame was made, by the broker's wall clock;
// the worker counts it from when it reads the frame, by a clock that does not jump. So an attempt begins before the start-by
// time plus the frame's way, whatever the clocks of the two show. That way is shorter than the visibility timeout, or the
// worker starts nothing.
#include "absl/strings/str_cat.h"
#include "schemas/verify.h"
#include "tests/sim/oracle.h"
#include "tests/sim/process.h"

namespace zsched::sim {
namespace {

using broker::ExpiryRow;
using broker::Mutation;
using broker::Table;
using broker::TaskState;

// A task expires in the first round after its time, unless the broker has just started.
constexpr int64_t kLateUs = 3 * kSecond;

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }

}  // namespace

// What was asked for; 0: nothing.
int64_t Oracle::StartByOf(const TaskFacts& task) {
  const Wish& wish = wishes_[task.marker];
  if (wish.start_by_ms != 0) return wish.start_by_ms;
  return wish.start_within_ms != 0 ? task.made_ms + wish.start_within_ms : 0;
}

void Oracle::ExpiriesStored(const broker::Batch& batch) {
  for (const Mutation& m : batch.mutations(Table::kExpiries)) {
    TaskFacts& task = tasks_[m.key];
    if (m.size == Mutation::kErase) continue;
    ExpiryRow row;
    if (!broker::RowReader(batch.row(m)).Read(row)) return Fail("the row of an expiry is short");
    if (row.start_by_ms != StartByOf(task))
      return Fail(Name(m.key) + " has another start-by time than it was to have");
    may_expire_.insert(m.key);
  }
}

// The row says that it is dead, and neither its attempts nor its handler do.
bool Oracle::HasExpired(uint64_t id, const TaskFacts& task, const broker::TaskRow& row) {
  const int64_t start_by_ms = StartByOf(task);
  if (start_by_ms == 0) return false;
  if (row.failures + row.lost > 0 || task.retry_asked) return false;
  if (row.finished_ms < start_by_ms)
    Fail(absl::StrCat(Name(id), " expired ", start_by_ms - row.finished_ms, " ms too early"));
  ++reached_["tasks_expired"];
  return true;
}

// The rows say all that was decided until `as_of_us`.
void Oracle::CheckExpiries(int64_t as_of_us) {
  const int64_t since_us = as_of_us - kLateUs;
  const bool steady =
      std::max({wall_steady_since_us_, steady_since_us_,
                broker_started_us_ + kVisibilityTimeoutMs * kMillisecond}) <= since_us;
  const int64_t since_ms = round_wall_ms_ - (round_us_ - since_us) / kMillisecond;
  for (auto it = may_expire_.begin(); it != may_expire_.end();) {
    const TaskFacts& task = tasks_[*it];
    const broker::TaskRow& row = task.row;
    const bool lifted = task.retry_asked || row.failures + row.lost > 0;
    if (!task.has_row || broker::IsFinished(row.state) || lifted) {
      it = task.has_row ? may_expire_.erase(it) : std::next(it);
      continue;
    }
    // Given back by a worker it may wait since a moment ago.
    if (steady && row.state != TaskState::kLeased && task.row_us < since_us &&
        StartByOf(task) < since_ms)
      return Fail(absl::StrCat(Name(*it), " still waits ", since_ms - StartByOf(task),
                               " ms after its start-by time and more"));
    ++it;
  }
}

// The worker has read a TASKS frame. `until_ms`: by its own clock.
void Oracle::StartWithin(uint64_t lease, int64_t until_ms) { start_until_ms_[lease] = until_ms; }

void Oracle::CheckStartWithin(uint64_t id, const wire::Assignment& assignment) {
  const TaskFacts& task = tasks_[id];
  const int64_t start_by_ms = StartByOf(task);
  const auto within_ms = static_cast<int64_t>(assignment.start_within_ms());
  if (start_by_ms == 0 && within_ms != 0)
    return Fail(Name(id) + " is handed out with a start-by time, and has none");
  if (start_by_ms == 0 || !clocks_agree_) return;
  // An attempt that counted may have lifted it.
  const bool counted = task.row.failures + task.row.lost > 0 || task.retry_asked;
  const int64_t now_ms = kEpochWallMs + scheduler_.now_us() / kMillisecond;
  const int64_t left_ms = std::max<int64_t>(1, start_by_ms - now_ms);
  // A millisecond for the round that began before the frame was made.
  if (!counted && (within_ms < left_ms || within_ms > left_ms + 1))
    Fail(absl::StrCat(Name(id), " is to start within ", within_ms, " ms, and has ", left_ms));
}

void Oracle::CheckStartsInTime(uint64_t lease, int64_t mono_ms) {
  auto until = start_until_ms_.find(lease);
  if (until == start_until_ms_.end() || mono_ms < until->second) return;
  Fail(absl::StrCat("an attempt of ", Name(leases_[lease].task), " began ", mono_ms - until->second,
                    " ms too late"));
}

}  // namespace zsched::sim
