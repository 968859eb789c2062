// What another broker did alone becomes part of this one's log: docs/ha.md, "The merge".
#include <algorithm>

#include "base/planted.h"
#include "base/text.h"
#include "broker/core/core.h"
#include "broker/core/fingerprint.h"
#include "broker/core/merge.h"
#include "broker/core/record_writer.h"
#include "schemas/frame.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// So late a tick may fire, by a load or a jitter, that nobody asked for by hand; or, by a clock that was set back, so early.
constexpr int64_t kLateTickMs = 60'000;
// Of the clients that are remembered one in so many is never the other side's, so that new ones find room.
constexpr uint64_t kMergedShare = 4;
constexpr char kRanThere[] = "it was running at the other broker of the pair, which was replaced";

// A schedule that has decided all ticks up to there. Ticks that wait are counted from the first on, so that none may join them behind
// a gap.
TicksRow MovedTo(int64_t cursor_ms, TicksRow row) {
  row.cursor_ms = cursor_ms;
  row.gap = row.held > 0 ? 1 : 0;
  return row;
}

// The task never runs, and says why.
void Void(MergeView& entry, std::string& outcome, std::string_view why, Now now) {
  outcome = ErrorOutcome(ErrorCode::kCancelled, why);
  entry.outcome = outcome;
  entry.task.row.state = TaskState::kCancelled;
  entry.task.row.finished_ms = now.wall_ms;
  entry.task.start_by_ms = 0;
  entry.chain = {};
}

// An end that nobody reported: a broker gave the attempt up.
bool IsPresumed(std::string_view outcome) {
  const std::optional<OutcomeView> view = ReadOutcome(outcome);
  const ErrorCode code = view ? ErrorFromNumber(view->head.error_code) : ErrorCode::kOk;
  return code == ErrorCode::kWorkerLost || code == ErrorCode::kAttemptTimedOut ||
         code == ErrorCode::kExpired;
}

}  // namespace

// The part, the record that is written, and what to tell when it is.
struct Core::Decided {
  const MergePart& part;
  MergeRow row;
  std::string outcome;  // of the entry that is decided, if it is not its own
  // Tasks that end here and so make others, which must stand in line behind all that are merged.
  std::vector<std::string> last;
  absl::btree_map<uint32_t, std::vector<uint64_t>> taken_away;  // leases, by session slot
  // By schedule: the latest tick that was fired there and is not decided here, and its task.
  absl::btree_map<uint32_t, std::pair<int64_t, uint64_t>> ticks;
};

absl::Status Core::OnMerge(const MergePart& part, Now now) {
  const MergeRow* known = state_.FindMerge(part.log_hash);
  if ((known == nullptr ? 0 : known->parts) != part.number || (known != nullptr && known->done))
    return absl::OkStatus();
  ZS_RETURN_IF_ERROR(CheckMergeEntries(part.entries));
  ZS_RETURN_IF_ERROR(CheckMergeIds(part.entries));
  Decided decided{
      .part = part, .row = {}, .outcome = {}, .last = {}, .taken_away = {}, .ticks = {}};
  if (known != nullptr) decided.row = *known;
  if (known == nullptr) decided.row.begun_ms = now.wall_ms;
  decided.row.log_hash = part.log_hash;
  decided.row.epoch = part.epoch;
  // Records of their own, in front: they may come twice, if what follows does not become durable.
  ForEachMergeEntry(part.entries, [&](const MergeView& entry) {
    if (entry.kind == MergeKind::kSchedule) MergeSchedule(entry, decided, now);
    if (entry.kind == MergeKind::kTask && MayHaveRun(entry.task.row)) ReleaseTick(entry, now);
  });
  MergedRecord record{state_.MergeNumber(part.log_hash), {}};
  OpenedRecord opened = OpenRecord(RecordKind::kMerged, record);
  ForEachMergeEntry(part.entries, [&](const MergeView& entry) {
    if (entry.kind == MergeKind::kTask) MergeTaken(entry, decided, now);
    if (entry.kind == MergeKind::kEnd && entry.end.fires)
      AppendMergeEntry(decided.last.emplace_back(), entry);
    else if (entry.kind == MergeKind::kEnd)
      MergeEnded(entry, decided, now);
    if (entry.kind == MergeKind::kSubmit) MergeSubmitted(entry, decided, record.number, now);
  });
  for (const std::string& entry : decided.last)
    ForEachMergeEntry(entry, [&](const MergeView& last) {
      last.kind == MergeKind::kEnd ? MergeEnded(last, decided, now) : RecordMerged(last, now);
    });
  MoveSchedules(decided);
  record.row = decided.row;
  record.row.parts = part.number + (ZS_PLANTED("part-skipped") ? 2 : 1);
  record.row.done = part.last;
  record.row.decided_ms = now.wall_ms;
  state_.FlushFinished(batch_, now.wall_ms);
  state_.MergeDecided(batch_, record.number, record.row);
  const Lsn lsn = CloseRecord(opened, record, now);
  for (auto& [session, leases] : decided.taken_away)
    effects_.push_back(
        CancelEffect{workers_[session].id, lsn, std::move(leases), ErrorCode::kCancelled});
  return absl::OkStatus();
}

// All ticks before were decided there too. With the tasks, in one record, as the part with the schedules comes last and may be late.
void Core::MoveSchedules(const Decided& decided) {
  for (const auto& [number, tick] : decided.ticks) {
    if (ZS_PLANTED("merged-ticks-forgotten")) break;
    MergeView entry;
    entry.kind = MergeKind::kTicks;
    entry.moved = {number, MovedTo(tick.first, state_.schedules().at(number).row)};
    TicksRow& row = entry.moved.row;
    const bool waits = state_.IsUnfinished(tick.second);
    if (waits && row.held == 0 && !state_.IsUnfinished(row.task)) row.task = tick.second;
    AppendMergeEntry(batch_.OpenRecord(), entry);
    state_.ScheduleSet(batch_, number, row, {});
    schedules_.Place(number);
  }
}

// They were made before this epoch, or nobody could have made them; and each is there once.
absl::Status Core::CheckMergeIds(std::string_view entries) const {
  absl::Status status;
  uint64_t before = 0;
  ForEachMergeEntry(entries, [&](const MergeView& entry) {
    const bool names = entry.kind == MergeKind::kTask || entry.kind == MergeKind::kSubmit;
    const uint64_t id =
        entry.kind == MergeKind::kTask ? entry.task.task : entry.submit.submit.first_id;
    if (names && EpochOf(TaskId(id)) >= state_.epoch())
      status = Error(ErrorCode::kMalformed, "what another broker did alone: an id of this epoch");
    if (entry.kind == MergeKind::kTask && std::exchange(before, id) >= id)
      status = Error(ErrorCode::kMalformed, "what another broker did alone: an id comes twice");
  });
  return status;
}

void Core::RecordMerged(const MergeView& entry, Now now) {
  uint32_t lane = state_.lanes().Find(entry.lane);
  if (lane == 0) lane = state_.CreateLane(batch_, entry.lane);
  AppendMergeEntry(batch_.OpenRecord(), entry);
  state_.Merged(batch_, entry, lane, now.wall_ms);
}

void Core::MergeTaken(MergeView entry, Decided& decided, Now now) {
  const uint64_t id = entry.task.task;
  // Something of it is here, where nothing can be: whoever sends it is not to be trusted.
  if (state_.HasAnyOf(id)) return;
  if (state_.IsResent(decided.part.log_hash, id)) {
    ++decided.row.resent;
    return;
  }
  const KeyRow& key = entry.task.key;
  const bool over = IsFinished(entry.task.row.state);
  const Keys::Holder holder = state_.keys().Find({key.hash_low, key.hash_high});
  const bool key_held = key.version != 0 && holder.any();
  if (key_held) entry.task.key = {0, 0, 0, 0, 0};
  bool makes_others = false;
  int64_t tick_ms = 0;
  const Schedule* schedule = FindTick(entry, &tick_ms);
  const bool is_decided_tick =
      schedule != nullptr && tick_ms <= schedule->row.cursor_ms && !ZS_PLANTED("decided-ticks-run");
  if (schedule != nullptr && !is_decided_tick) {
    std::pair<int64_t, uint64_t>& latest = decided.ticks[schedule->number];
    latest = std::max(latest, {tick_ms, id});
  }
  // One that both knew has the key for longer here than there.
  if (!over && key_held && holder.task >= decided.part.first_unknown) {
    Void(entry, decided.outcome,
         "its idempotency key is held by task " + ToString(TaskId(holder.task)) +
             ", which the other broker of the pair took at the same time",
         now);
  } else if (!MayHaveRun(entry.task.row) && is_decided_tick) {
    Void(entry, decided.outcome, "the other broker of the pair decided the same tick", now);
  } else if (!over && entry.task.row.attempt == 0 && FollowsHereToo(entry, decided.part)) {
    Void(entry, decided.outcome,
         "the task that it follows has ended at the other broker of the pair too", now);
  } else if (entry.task.row.state == TaskState::kLeased) {
    LoseAttempt(entry);
    makes_others = IsFinished(entry.task.row.state);
    if (makes_others) {
      entry.task.row.finished_ms = now.wall_ms;
      decided.outcome = outcome_;
      entry.outcome = decided.outcome;
    }
  }
  const bool is_over = IsFinished(entry.task.row.state);
  ++(!is_over ? decided.row.taken : over ? decided.row.finished : decided.row.voided);
  if (!is_over) entry.outcome = {};
  if (!makes_others) return RecordMerged(entry, now);
  AppendMergeEntry(decided.last.emplace_back(), entry);
}

// It is over, or was running and is not to run again.
bool Core::MayHaveRun(const TaskRow& row) {
  return IsFinished(row.state) || (row.state == TaskState::kLeased && row.at_most_once);
}

// Its worker was told that the lease is stale, or will be.
void Core::LoseAttempt(MergeView& entry) {
  TaskRow& row = entry.task.row;
  ++row.lost;
  entry.task.start_by_ms = 0;  // an attempt had begun in time
  row.state = TaskState::kReady;
  if (row.cancelling) {
    row.state = TaskState::kCancelled;
    BuildOutcome("the task was cancelled while it ran", {}, ErrorCode::kCancelled);
  } else if ((row.at_most_once && !ZS_PLANTED("once-merged-to-run")) || row.lost >= kCrashLimit) {
    row.state = TaskState::kDead;
    const std::string_view why = row.at_most_once ? kMayHaveRunThere : kRanThere;
    BuildOutcome(why, {}, ErrorCode::kWorkerLost);
    entry.task.fingerprint = FingerprintOf(entry.lane.type, ErrorCode::kWorkerLost, why);
  }
  row.cancelling = 0;
}

// The schedule of which the task is a tick that was fired when it was due. Not what a person asked for (`cron trigger`, `backfill`): that is no
// tick of the schedule, or comes long after it.
const Schedule* Core::FindTick(const MergeView& entry, int64_t* tick_ms) const {
  const std::optional<SpecView> spec = ReadSpec(entry.spec);
  std::string_view name, tick;
  ReadLabels(*spec, [&](LabelView label) {
    if (label.key == kScheduleLabel) name = label.value;
    if (label.key == kTickLabel) tick = label.value;
  });
  const Schedule* schedule = name.empty() ? nullptr : state_.FindSchedule(name);
  const absl::StatusOr<int64_t> time_ms = ParseTimeMs(tick);
  if (schedule == nullptr || !time_ms.ok()) return nullptr;
  // Labels are anybody's to write. A tick that waited for its turn comes as late as that is; it does here too.
  const int64_t made_ms = spec->head.submitted_ms;
  const bool waits_here = schedule->row.held > 0 && *time_ms >= schedule->row.held_ms &&
                          *time_ms <= schedule->row.cursor_ms;
  const bool near = made_ms > *time_ms - kLateTickMs && made_ms < *time_ms + kLateTickMs;
  if ((!near && !waits_here) || schedules_.TicksWithin(*schedule, *time_ms, *time_ms, 1).empty())
    return nullptr;
  *tick_ms = *time_ms;
  return schedule;
}

// The first of the ticks that wait here has run there: it does not wait any more. Those behind it come with tasks of later numbers.
void Core::ReleaseTick(const MergeView& entry, Now now) {
  int64_t tick_ms = 0;
  const Schedule* schedule = FindTick(entry, &tick_ms);
  if (schedule == nullptr || schedule->row.held == 0 || schedule->row.held_ms != tick_ms) return;
  TicksRow ticks = schedule->row;
  --ticks.held;
  ++ticks.skipped;
  // As Schedules::Decide counts them.
  ticks.held_ms =
      ticks.held == 0 ? 0 : schedules_.TickAfter(*schedule, tick_ms).value_or(ticks.cursor_ms);
  if (ticks.held == 0) ticks.gap = 0;
  RecordSchedule(schedule->number, ticks, {}, now);
  schedules_.Place(schedule->number);
}

// The task that it follows was known to both, and has made those that follow it here when it ended here; or it was left out.
bool Core::FollowsHereToo(const MergeView& entry, const MergePart& part) const {
  const std::optional<ExtrasView> extras = ReadExtras(*ReadSpec(entry.spec));
  const uint64_t parent = extras ? extras->parent.task : 0;
  if (parent == 0) return false;
  if (state_.IsResent(part.log_hash, parent)) return true;
  return parent < part.first_unknown && state_.tasks().Find(TaskId(parent)) == kNil;
}

void Core::MergeEnded(const MergeView& entry, Decided& decided, Now now) {
  const uint64_t id = entry.end.task;
  const uint32_t slot = state_.tasks().Find(TaskId(id));
  if (slot == kNil) return;  // over here too
  Task& task = state_.tasks()[slot];
  const bool leased = task.state == TaskState::kLeased;
  if (ZS_PLANTED("ends-not-merged")) return;
  if (leased && IsPresumed(entry.outcome)) return;             // it runs here
  const LaneGates gates = GatesOf(state_.lanes()[task.lane]);  // it may go with the task
  if (leased) {
    const Lease& lease = state_.LeaseOf(task);
    if (uint32_t session = state_.workers().at(lease.worker).session; session != kNil)
      decided.taken_away[session].push_back(lease.id);
    StopTimer(task);
  }
  AppendMergeEntry(batch_.OpenRecord(), entry);
  const TaskState end = entry.end.state;
  const bool empty = end == TaskState::kSucceeded && entry.outcome.size() <= sizeof(OutcomeRow);
  // State::MergedEnd puts the outcome row first.
  Notify(task, end, static_cast<uint32_t>(batch_.rows().size()),
         empty ? 0 : static_cast<uint32_t>(entry.outcome.size()));
  metrics_.Add(end == TaskState::kSucceeded ? Metric::kTasksSucceeded
               : end == TaskState::kDead    ? Metric::kTasksDead
                                            : Metric::kTasksCancelled);
  state_.MergedEnd(batch_, slot, entry.end, entry.outcome, now.wall_ms);
  schedules_.OnTaskTurned(id);
  if (leased) gates_.OnLeaseEnded(gates);
  ++decided.row.ended;
}

// So that a client which has not heard of it, and asks again, gets the same ids. Has it asked here since that side did its last, it was
// told of others: the tasks of the frame are left out. Otherwise it may have asked there again afterwards, and was told of those: both
// stay, as what is here may have run.
void Core::MergeSubmitted(const MergeView& entry, const Decided& decided, uint64_t number,
                          Now now) {
  const Producer* producer = state_.FindProducer(entry.submit.client);
  const ProducerSubmit& submit = entry.submit.submit;
  const std::optional<uint64_t> taken_in =
      producer == nullptr ? std::nullopt : producer->taken.EpochOf(submit.seq);
  if (taken_in && *taken_in > decided.part.epoch && !ZS_PLANTED("resends-merged")) {
    MergeView resent;
    resent.kind = MergeKind::kResent;
    resent.resent = {submit.first_id, submit.accepted};
    AppendMergeEntry(batch_.OpenRecord(), resent);
    return state_.MergeResent(number, resent.resent);
  }
  if (taken_in || (producer != nullptr && submit.seq < producer->acked_below)) return;
  const uint64_t most = config_.max_producers / kMergedShare * (kMergedShare - 1);
  if (producer == nullptr && state_.producers().size() >= most) return;
  AppendMergeEntry(batch_.OpenRecord(), entry);
  state_.SubmitRemembered(entry.submit.client, MemoryOf(entry), entry.submit.acked_below,
                          now.wall_ms);
}

void Core::MergeSchedule(const MergeView& entry, Decided& decided, Now now) {
  AlignedCopy copy;
  const auto* set = VerifyBody<wire::ScheduleSet>(copy.Align(entry.schedule));
  if (const Schedule* own = state_.FindSchedule(TextOf(set->name()))) {
    if (own->row.cursor_ms >= entry.ticks.cursor_ms || ZS_PLANTED("merged-ticks-forgotten")) return;
    // What that side fired is not fired again.
    RecordSchedule(own->number, MovedTo(entry.ticks.cursor_ms, own->row), {}, now);
    return schedules_.Place(own->number);
  }
  if (entry.schedule_known) return;  // it was removed here
  // Ticks that wait there for a task have no place here: nobody knows whether it is over.
  TicksRow ticks = entry.ticks;
  ticks.skipped += ticks.held;
  ticks.held = 0;
  ticks.held_ms = 0;
  ticks.gap = 0;
  if (JudgeSchedule(*set, entry.schedule.size(), nullptr, now).code != ErrorCode::kOk) {
    ++decided.row.voided;
    return;
  }
  const uint32_t number = state_.next_schedule();
  RecordSchedule(number, ticks, entry.schedule, now);
  schedules_.Redefine(number);
  ++decided.row.schedules;
}

}  // namespace zsched::broker
