// Attempts end: reported by their worker, or given up by the broker. What that means for the task
// is decided here.
#include <algorithm>
#include <array>

#include "base/planted.h"
#include "base/text.h"
#include "broker/core/core.h"
#include "broker/core/fingerprint.h"
#include "broker/core/record_writer.h"
#include "broker/core/type_rules.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

constexpr int kMaxBackoffShift = 32;  // base * 2^32 is over every cap

// How tasks end whose attempts were running when they were cancelled.
constexpr std::string_view kGivenBack = "the task was cancelled before it ran";
constexpr std::string_view kSucceededTooLate =
    "the task was cancelled; its attempt succeeded all the same, too late";

// Behind the error of an attempt that nobody reported on, of a task that runs at most once.
constexpr char kMayHaveRun[] = "; it may have run, and is not run again";

std::string CancelledAnd(std::string_view what) {
  return "the task was cancelled; " + std::string(what);
}

std::string DescribeCancelled(const wire::Result& result) {
  if (result.succeeded()) return std::string(kSucceededTooLate);
  const ErrorCode code = ErrorFromNumber(result.error_code());
  std::string message(TextOf(result.error_message()));
  if (code == ErrorCode::kCancelled) return message;  // the worker says it all
  return CancelledAnd("its attempt ended with " + std::string(TextOf(code)) + ": " + message);
}

// SplitMix64 (Steele, Lea, Flood 2014): the jitter of an attempt follows from its task and number,
// so it needs no state.
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

uint32_t Core::FindLeased(uint64_t task_id, uint64_t lease_id, uint32_t worker) {
  return IfLeased(state_.tasks().Find(TaskId(task_id)), task_id, lease_id, worker);
}

// The slot, if it still holds the task, and the worker that lease of it. Otherwise kNil.
uint32_t Core::IfLeased(uint32_t slot, uint64_t task_id, uint64_t lease_id, uint32_t worker) {
  if (slot == kNil) return kNil;
  const Task& task = state_.tasks()[slot];
  if (task.id != task_id || task.state != TaskState::kLeased) return kNil;
  const Lease& lease = state_.LeaseOf(task);
  if (ZS_PLANTED("any-lease-accepted")) return slot;
  if (ZS_PLANTED("any-own-lease-accepted")) lease_id = lease.id;
  return lease.id == lease_id && lease.worker == worker ? slot : kNil;
}

// Calls visit(entry, slot) for each entry of a frame; the slot is kNil when its lease is stale. Looks up
// some ahead of their visits. These may end tasks and add those that follow, in slots that are free by then:
// a slot is looked at again before its visit.
template <class Entries, class Visit>
void Core::ForEachLeased(const Entries& entries, uint32_t worker, Visit visit) {
  constexpr uint32_t kLookAhead = 32;
  std::array<uint32_t, kLookAhead> slots;
  TaskIndex& tasks = state_.tasks();
  for (uint32_t first = 0; first < entries.size(); first += kLookAhead) {
    const uint32_t end = std::min(entries.size(), first + kLookAhead);
    for (uint32_t i = first; i < end; ++i) tasks.PrefetchFind(TaskId(entries.Get(i)->task_id()));
    for (uint32_t i = first; i < end; ++i)
      slots[i - first] = tasks.Find(TaskId(entries.Get(i)->task_id()));
    for (uint32_t i = first; i < end; ++i)
      if (slots[i - first] != kNil) state_.PrefetchEnd(slots[i - first]);
    for (uint32_t i = first; i < end; ++i) {
      const auto* entry = entries.Get(i);
      visit(*entry, IfLeased(slots[i - first], entry->task_id(), entry->lease_id(), worker));
    }
  }
}

void Core::StopTimer(Task& task) {
  Lease& lease = state_.LeaseOf(task);
  if (!lease.timed) return;
  deadlines_.Remove(task.lease);
  lease.timed = false;
}

void Core::OnResults(SessionId from, const wire::Results& results, Now now) {
  auto it = sessions_.find(from.value());
  if (it == sessions_.end() || !it->second.worker) return;
  uint32_t slot = it->second.slot;
  WorkerSession& session = workers_[slot];
  ResultAckEffect ack{from, Lsn(0), results.seq(), {}};
  EndDone(results, session, ack.stale, now);
  EndReported(results, session, ack.stale, now);
  metrics_.Add(Metric::kResultsStale, ack.stale.size());
  // A repeated frame finds nothing to end, but its first copy may not be durable yet: wait for all
  // there is.
  ack.wait = appended();
  if (ZS_PLANTED("result-ack-early")) ack.wait = Lsn(0);
  effects_.push_back(std::move(ack));
  UpdateFree(slot);
}

// Successes with an empty result: one compact record.
void Core::EndDone(const wire::Results& results, WorkerSession& session,
                   std::vector<uint64_t>& stale, Now now) {
  if (results.done() == nullptr || results.done()->size() == 0) return;
  EndedRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kSucceeded, record);
  std::vector<wire::Done> cancelled;
  ForEachLeased(*results.done(), session.worker, [&](const wire::Done& done, uint32_t slot) {
    if (slot == kNil) return stale.push_back(done.lease_id());
    if (state_.tasks()[slot].cancelling && !ZS_PLANTED("cancelled-succeeds"))
      return cancelled.push_back(done);
    SucceededEntry& succeeded = ExtendStruct<SucceededEntry>(batch_.OpenRecord());
    succeeded.task = done.task_id();
    succeeded.run_us = done.run_us();
    succeeded.attempt = state_.tasks()[slot].attempt;
    metrics_.Observe(Timing::kTaskRun, done.run_us());
    EndedEntry entry;
    entry.task = done.task_id();
    entry.run_us = done.run_us();
    outcome_.clear();
    ApplyEnded(slot, entry, now);
    ++record.count;
  });
  CloseEnded(opened, record, now);
  session.finished += record.count;
  EndCancelled(cancelled, session, stale, now);
}

// Successes that crossed the cancel of their task: too late.
void Core::EndCancelled(const std::vector<wire::Done>& dones, WorkerSession& session,
                        std::vector<uint64_t>& stale, Now now) {
  if (dones.empty()) return;
  EndedRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kEnded, record);
  for (const wire::Done& done : dones) {
    uint32_t slot = FindLeased(done.task_id(), done.lease_id(), session.worker);
    if (slot == kNil) {  // named twice in the frame
      stale.push_back(done.lease_id());
      continue;
    }
    EndedEntry entry = JudgeCancelled(state_.tasks()[slot], kSucceededTooLate);
    entry.run_us = done.run_us();
    metrics_.Observe(Timing::kTaskRun, done.run_us());
    AppendEnded(slot, entry);
    ApplyEnded(slot, entry, now);
    ++record.count;
  }
  CloseEnded(opened, record, now);
  session.finished += record.count;
}

void Core::EndReported(const wire::Results& results, WorkerSession& session,
                       std::vector<uint64_t>& stale, Now now) {
  if (results.results() == nullptr || results.results()->size() == 0) return;
  EndedRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kEnded, record);
  ForEachLeased(*results.results(), session.worker, [&](const wire::Result& result, uint32_t slot) {
    if (slot == kNil) return stale.push_back(result.lease_id());
    const Task& task = state_.tasks()[slot];
    const bool cancelled = task.cancelling &&
                           !(ZS_PLANTED("cancelled-succeeds") && result.succeeded()) &&
                           !(ZS_PLANTED("cancelled-tried-again") && !result.succeeded());
    EndedEntry entry = cancelled ? JudgeCancelled(task, DescribeCancelled(result))
                                 : JudgeResult(task, result, now);
    entry.run_us = result.run_us();
    metrics_.Observe(Timing::kTaskRun, result.run_us());
    AppendEnded(slot, entry);
    ApplyEnded(slot, entry, now);
    ++record.count;
  });
  CloseEnded(opened, record, now);
  session.finished += record.count;
}

// Into outcome_: the row that the attempt leaves.
void Core::BuildOutcome(std::string_view body, std::string_view content_type, ErrorCode code) {
  OutcomeRow row;
  row.body_bytes = static_cast<uint32_t>(body.size());
  row.error_code = static_cast<uint16_t>(code);
  row.content_type_bytes = static_cast<uint8_t>(content_type.size());
  outcome_.clear();
  AppendStruct(outcome_, row);
  outcome_.append(body).append(content_type);
}

EndedEntry Core::JudgeResult(const Task& task, const wire::Result& result, Now now) {
  EndedEntry entry;
  entry.task = task.id;
  outcome_.clear();
  std::string_view body = BytesOf(result.result()), type = TextOf(result.content_type());
  bool too_large = body.size() > kMaxResultBytes || type.size() > kMaxContentTypeBytes;
  if (result.succeeded() && !too_large) {
    if (!body.empty() || !type.empty()) BuildOutcome(body, type, ErrorCode::kOk);
    entry.outcome_bytes = static_cast<uint32_t>(outcome_.size());
    return entry;
  }
  ErrorCode code = ErrorFromNumber(result.error_code());
  std::string_view message = TextOf(result.error_message());
  if (too_large) {
    code = ErrorCode::kTooLarge;
    message =
        "the result or its content type is over the limit; store it elsewhere and return a "
        "reference";
  } else if (code == ErrorCode::kOk) {
    code = ErrorCode::kHandlerFailed;
  }
  bool lost = code == ErrorCode::kAttemptTimedOut || code == ErrorCode::kWorkerLost;
  entry = JudgeFailure(task, lost ? Charge::kLost : Charge::kFailure, code, now);
  if (too_large || (result.advice() == wire::RetryAdvice::kNever && !ZS_PLANTED("never-ignored"))) {
    entry.ending = Ending::kDead;
  } else if (entry.ending == Ending::kRetry && result.advice() == wire::RetryAdvice::kAfter) {
    entry.due_ms =
        now.wall_ms + static_cast<int64_t>(std::min(result.retry_after_ms(), kMaxDelayMs));
  }
  BuildOutcome(CutUtf8(message, kMaxErrorMessageBytes), {}, code);
  entry.outcome_bytes = static_cast<uint32_t>(outcome_.size());
  if (entry.ending == Ending::kDead) entry.fingerprint = FingerprintOfOutcome(task);
  return entry;
}

// Of the error in outcome_.
uint64_t Core::FingerprintOfOutcome(const Task& task) const {
  const OutcomeView error = ReadOutcome(outcome_).value();
  return FingerprintOf(state_.lanes().type_of(task.lane).name,
                       ErrorFromNumber(error.head.error_code), error.body);
}

EndedEntry Core::JudgeCancelled(const Task& task, std::string_view message) {
  BuildOutcome(CutUtf8(message, kMaxErrorMessageBytes), {}, ErrorCode::kCancelled);
  EndedEntry entry;
  entry.task = task.id;
  entry.ending = Ending::kCancelled;
  entry.outcome_bytes = static_cast<uint32_t>(outcome_.size());
  return entry;
}

EndedEntry Core::JudgeFailure(const Task& task, Charge charge, ErrorCode code, Now now) const {
  EndedEntry entry;
  entry.task = task.id;
  entry.charge = charge;
  bool lost = charge == Charge::kLost;
  int count = (lost ? task.lost : task.failures) + 1;
  int limit = lost ? kCrashLimit : static_cast<int>(task.max_attempts);
  if (ZS_PLANTED("one-attempt-more")) ++limit;
  const bool spent = task.at_most_once && !ZS_PLANTED("once-retried");
  const bool forbidden = ForbidsRetry(state_.lanes().type_of(task.lane).rules, code) &&
                         !ZS_PLANTED("no-retry-ignored");
  if (spent || forbidden || count >= limit) {
    entry.ending = Ending::kDead;
  } else {
    entry.ending = Ending::kRetry;
    entry.due_ms = now.wall_ms + BackoffMs(task, count);
  }
  return entry;
}

// min(cap, base * 2^(n-1)), of which the second half is jittered.
int64_t Core::BackoffMs(const Task& task, int failures) const {
  if (ZS_PLANTED("no-back-off")) return 0;
  uint64_t delay = uint64_t{task.retry_base_ms} << std::min(failures - 1, kMaxBackoffShift - 1);
  delay = std::min<uint64_t>(delay, task.retry_cap_ms);
  uint64_t half = delay / 2;
  uint64_t jitter = half == 0 ? 0 : Mix(task.id ^ Mix(task.attempt)) % (half + 1);
  return static_cast<int64_t>(delay - half + jitter);
}

void Core::AppendEnded(uint32_t slot, EndedEntry& entry) {
  const Task& task = state_.tasks()[slot];
  entry.attempt = task.attempt;
  entry.worker = state_.LeaseOf(task).worker;
  AppendStruct(batch_.OpenRecord(), entry);
  batch_.OpenRecord().append(outcome_);
}

// Records are the caller's; this is the state, the watchers, the counters. The outcome row is
// outcome_.
void Core::ApplyEnded(uint32_t slot, const EndedEntry& entry, Now now) {
  Task& task = state_.tasks()[slot];
  StopTimer(task);
  if (std::optional<TaskState> end = StateAfter(entry.ending)) {
    bool empty = end == TaskState::kSucceeded &&
                 outcome_.size() <= sizeof(OutcomeRow);  // nothing but the head
    Notify(task, *end, static_cast<uint32_t>(batch_.rows().size()),
           empty ? 0 : static_cast<uint32_t>(outcome_.size()));
    metrics_.Add(end == TaskState::kSucceeded ? Metric::kTasksSucceeded
                 : end == TaskState::kDead    ? Metric::kTasksDead
                                              : Metric::kTasksCancelled);
  }
  if (entry.charge == Charge::kFailure) metrics_.Add(Metric::kAttemptsFailed);
  if (entry.charge == Charge::kLost) metrics_.Add(Metric::kAttemptsLost);
  if (entry.charge == Charge::kRelease) metrics_.Add(Metric::kAttemptsReleased);
  const LaneGates gates = GatesOf(state_.lanes()[task.lane]);  // it may go with the task
  // State::Ended puts the outcome row first, at the offset that Notify was given.
  const uint64_t id = task.id, next_task = state_.meta().next_task;
  if (state_.Ended(batch_, slot, entry, outcome_, now.wall_ms)) schedules_.OnTaskTurned(id);
  metrics_.Add(Metric::kTasksFollowed, state_.meta().next_task - next_task);
  gates_.OnLeaseEnded(gates);
}

void Core::EndUnreported(std::vector<uint32_t> slots, Charge charge, ErrorCode code,
                         const std::string& message, Now now) {
  if (slots.empty()) return;
  // Each is put in front of its line, so the last in line goes first.
  std::sort(slots.begin(), slots.end(),
            [&](uint32_t a, uint32_t b) { return state_.tasks()[a].id > state_.tasks()[b].id; });
  EndedRecord record{slots.size()};
  OpenedRecord opened = OpenRecord(RecordKind::kEnded, record);
  for (uint32_t slot : slots) {
    const Task& task = state_.tasks()[slot];
    EndedEntry entry;
    entry.task = task.id;
    entry.charge = charge;
    entry.ending = Ending::kReturned;
    outcome_.clear();
    if (task.cancelling && !ZS_PLANTED("cancelled-returned")) {
      entry = JudgeCancelled(
          task, charge == Charge::kLost ? CancelledAnd(message) : std::string(kGivenBack));
      entry.charge = charge;
    } else if (charge == Charge::kLost) {
      BuildOutcome(task.at_most_once ? message + kMayHaveRun : message, {}, code);
      entry.outcome_bytes = static_cast<uint32_t>(outcome_.size());
      // A lost worker says nothing about the task: again at once. A timeout may repeat: wait first.
      EndedEntry judged = JudgeFailure(task, charge, code, now);
      if (judged.ending == Ending::kDead || code == ErrorCode::kAttemptTimedOut) {
        entry.ending = judged.ending;
        entry.due_ms = judged.due_ms;
        if (entry.ending == Ending::kDead) entry.fingerprint = FingerprintOfOutcome(task);
      }
    }
    AppendEnded(slot, entry);
    ApplyEnded(slot, entry, now);
  }
  CloseEnded(opened, record, now);
}

void Core::CloseEnded(const OpenedRecord& opened, const EndedRecord& record, Now now) {
  if (record.count == 0) return DropRecord(opened);
  state_.FlushFinished(batch_, now.wall_ms);
  CloseRecord(opened, record, now);
}

}  // namespace zsched::broker
