// Apply: one record of the log, read back, checked, and given to the State method of its kind. A
// standby and the property tests come this way; the active calls the same methods as it decides.
#include <algorithm>

#include "base/check.h"
#include "broker/core/queue_settings.h"
#include "broker/core/schedule_settings.h"
#include "broker/core/state.h"
#include "broker/core/type_rules.h"
#include "broker/core/validate.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

absl::Status Corrupt(const char* what) {
  return Error(ErrorCode::kDataLoss, std::string("log record cannot be applied: ") + what);
}

}  // namespace

class Applier {
 public:
  Applier(State& state, Batch& batch, const RecordHead& head, std::string_view body)
      : state_(state), batch_(batch), now_ms_(head.time_ms), in_(body), kind_(head.kind) {}

  absl::Status Run() {
    switch (kind_) {
      case RecordKind::kEpochStarted:
        return EpochStarted();
      case RecordKind::kSubmitted:
        return Submitted();
      case RecordKind::kWorkerSeen:
        return WorkerSeen();
      case RecordKind::kLeased:
        return Leased();
      case RecordKind::kAdopted:
        return Adopted();
      case RecordKind::kSucceeded:
        return Succeeded();
      case RecordKind::kEnded:
        return Ended();
      case RecordKind::kFired:
        return Fired();
      case RecordKind::kRetried:
        return Retried();
      case RecordKind::kPruned:
        return Pruned();
      case RecordKind::kProducersGone:
        return ProducersGone();
      case RecordKind::kWorkersGone:
        return WorkersGone();
      case RecordKind::kCancelled:
        return Cancelled();
      case RecordKind::kKeysGone:
        return KeysGone();
      case RecordKind::kDeadGone:
        return DeadGone();
      case RecordKind::kQueueSet:
        return QueueSet();
      case RecordKind::kReported:
        return Reported();
      case RecordKind::kOutput:
        return Output();
      case RecordKind::kScheduleSet:
        return ScheduleSet();
      case RecordKind::kTicked:
        return Ticked();
      case RecordKind::kSchedulesGone:
        return SchedulesGone();
      case RecordKind::kExpired:
        return Expired();
      case RecordKind::kTypeSet:
        return TypeSet();
      case RecordKind::kMerged:
        return Merged();
    }
    return Corrupt("its kind is unknown; a newer version wrote it");
  }

 private:
  absl::Status EpochStarted() {
    EpochStartedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    state_.EpochStarted(batch_, Epoch(record.epoch), record.cluster, now_ms_);
    return absl::OkStatus();
  }

  absl::Status Submitted() {
    SubmittedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    std::string_view body;
    if (!in_.Take(record.body_bytes, body)) return Corrupt("too short");
    SubmitMemory memory{record.seq, record.first_id, record.accepted, {}};
    for (uint32_t i = 0; i < record.rejected; ++i) {
      ProducerReject reject;
      if (!in_.Read(reject)) return Corrupt("too short");
      memory.rejected.push_back(reject);
    }
    AlignedCopy copy;
    const auto* submit = VerifyBody<wire::Submit>(copy.Align(body));
    if (submit == nullptr) return Corrupt("its SUBMIT is malformed");
    ZS_RETURN_IF_ERROR(SubmittedTasks(*submit, record, memory.rejected));
    state_.SubmitRemembered(record.client, std::move(memory), record.acked_below, now_ms_);
    return absl::OkStatus();
  }

  absl::Status SubmittedTasks(const wire::Submit& submit, const SubmittedRecord& record,
                              const std::vector<ProducerReject>& rejected) {
    uint64_t id = record.first_id;
    size_t next_reject = 0;
    for (uint32_t i = 0; i < submit.tasks()->size(); ++i) {
      if (next_reject < rejected.size() && rejected[next_reject].index == i) {
        ++next_reject;
        continue;
      }
      const wire::TaskSpec& spec = *submit.tasks()->Get(i);
      if (ValidateSpec(spec, kMaxPayloadBytes, now_ms_).code != ErrorCode::kOk)
        return Corrupt("a task in it is invalid");
      const uint32_t lane = FindOrCreateLane(spec);
      if (IsTaken(id)) return Corrupt("a task id is taken");
      if (spec.key() != nullptr && state_.keys().Find(HashKey(TextOf(spec.key()))).any())
        return Corrupt("a key is held by another task");
      state_.Submitted(batch_, TaskId(id++), lane, spec, now_ms_);
    }
    return id - record.first_id == record.accepted ? absl::OkStatus()
                                                   : Corrupt("its count does not match");
  }

  // By a task that is not over, or by a dead one whose chain waits.
  bool IsTaken(uint64_t id) const {
    return state_.tasks().Find(TaskId(id)) != kNil || state_.chains().Has(id);
  }
  // What another broker took has an id of an epoch before this one, and nothing of it is here.
  bool IsMergeable(uint64_t id) const {
    return EpochOf(TaskId(id)) < state_.epoch() && !state_.HasAnyOf(id);
  }

  // Before the task ends as `end`: whether there is room for those that follow it.
  absl::Status CheckFollowers(const Task& task, TaskState end) const {
    if (!task.chained) return absl::OkStatus();
    const uint64_t first = state_.meta().next_task;
    const uint64_t followers = state_.chains().Of(task.id).FollowersAt(end);
    if (followers > kMaxIdCounter || first > kMaxIdCounter - followers)
      return Corrupt("no task ids are left for those that follow");
    for (uint64_t next = first; next < first + followers; ++next)
      if (IsTaken(MakeId<TaskId>(state_.epoch(), next).value()))
        return Corrupt("the id of a task that follows is taken");
    return absl::OkStatus();
  }

  absl::Status Merged() {
    MergedRecord record;
    if (!in_.Read(record) || record.number == 0) return Corrupt("too short");
    ZS_RETURN_IF_ERROR(CheckMergeEntries(in_.rest()));
    absl::Status status;
    ForEachMergeEntry(in_.rest(), [&](const MergeView& entry) {
      if (status.ok()) status = Merge(record.number, entry);
    });
    ZS_RETURN_IF_ERROR(status);
    state_.FlushFinished(batch_, now_ms_);
    state_.MergeDecided(batch_, record.number, record.row);
    return absl::OkStatus();
  }

  absl::Status Merge(uint64_t number, const MergeView& entry) {
    const uint32_t slot = state_.tasks().Find(TaskId(entry.end.task));
    const KeyRow& key = entry.task.key;
    switch (entry.kind) {
      case MergeKind::kTask:
        if (!IsMergeable(entry.task.task)) return Corrupt("a task id is taken");
        if (entry.task.row.state == TaskState::kLeased) return Corrupt("a lease without a worker");
        if (key.version != 0 && state_.keys().Find({key.hash_low, key.hash_high}).any())
          return Corrupt("a key is held by another task");
        state_.Merged(batch_, entry, FindOrCreateLane(entry.lane), now_ms_);
        return absl::OkStatus();
      case MergeKind::kEnd:
        if (slot == kNil) return Corrupt("an ended task is not there");
        ZS_RETURN_IF_ERROR(CheckFollowers(state_.tasks()[slot], entry.end.state));
        state_.MergedEnd(batch_, slot, entry.end, entry.outcome, now_ms_);
        return absl::OkStatus();
      case MergeKind::kSubmit:
        state_.SubmitRemembered(entry.submit.client, MemoryOf(entry), entry.submit.acked_below,
                                now_ms_);
        return absl::OkStatus();
      case MergeKind::kResent:
        state_.MergeResent(number, entry.resent);
        return absl::OkStatus();
      case MergeKind::kTicks:
        if (!state_.schedules().contains(static_cast<uint32_t>(entry.moved.schedule)))
          return Corrupt("an unknown schedule has come further");
        state_.ScheduleSet(batch_, static_cast<uint32_t>(entry.moved.schedule), entry.moved.row,
                           {});
        return absl::OkStatus();
      case MergeKind::kSchedule:
        break;
    }
    return Corrupt("an entry is none of a record");
  }

  uint32_t FindOrCreateLane(const wire::TaskSpec& spec) { return FindOrCreateLane(LaneOf(spec)); }
  uint32_t FindOrCreateLane(const LaneNames& names) {
    const uint32_t lane = state_.lanes().Find(names);
    return lane != 0 ? lane : state_.CreateLane(batch_, names);
  }

  absl::Status ScheduleSet() {
    ScheduleSetRecord record;
    std::string_view body;
    if (!in_.Read(record) || !in_.Take(record.body_bytes, body)) return Corrupt("too short");
    if (record.schedule == 0 || record.schedule == UINT32_MAX || !AreSane(record.row))
      return Corrupt("a schedule is out of range");
    const bool known = state_.schedules().contains(record.schedule);
    if (body.empty() && !known) return Corrupt("an unknown schedule is changed");
    if (!body.empty()) {
      AlignedCopy copy;
      const auto* set = VerifyBody<wire::ScheduleSet>(copy.Align(body));
      if (set == nullptr ||
          ValidateSchedule(*set, kMaxPayloadBytes, now_ms_).code != ErrorCode::kOk)
        return Corrupt("its SCHEDULE_SET is invalid");
      const Schedule* namesake = state_.FindSchedule(TextOf(set->name()));
      if (known ? namesake == nullptr || namesake->number != record.schedule : namesake != nullptr)
        return Corrupt("a schedule's name is another's");
    }
    state_.ScheduleSet(batch_, record.schedule, record.row, body);
    return absl::OkStatus();
  }

  absl::Status Ticked() {
    TickedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      TickedEntry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      auto it = state_.schedules().find(entry.schedule);
      if (it == state_.schedules().end()) return Corrupt("an unknown schedule ticked");
      ZS_RETURN_IF_ERROR(CheckTick(entry, it->second.row));
      const uint32_t lane = entry.MakesTask() ? FindOrCreateLane(*it->second.set().task()) : 0;
      state_.Ticked(batch_, entry, lane, now_ms_);
    }
    return absl::OkStatus();
  }

  absl::Status CheckTick(const TickedEntry& entry, const TicksRow& row) {
    if (entry.fate > TickFate::kExtra || entry.ticks == 0 || entry.MakesTask() != (entry.task != 0))
      return Corrupt("a tick is unknown");
    if (entry.MakesTask() && (entry.ticks != 1 || IsTaken(entry.task)))
      return Corrupt("a tick's task does not fit");
    if (entry.MovesCursor() && entry.tick_ms <= row.cursor_ms) return Corrupt("a tick comes again");
    const bool holds = entry.fate == TickFate::kHeld, releases = entry.fate == TickFate::kReleased;
    if (holds && row.gap != 0) return Corrupt("a tick waits out of order");
    const uint64_t left = uint64_t{row.held} + (holds ? entry.ticks : 0);
    if (left > kMaxHeldTicks || (releases && left == 0) ||
        ((holds || releases) && (entry.held_ms == 0) != (left == (releases ? 1 : 0))))
      return Corrupt("ticks that wait do not fit");
    return absl::OkStatus();
  }

  absl::Status SchedulesGone() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      uint64_t number;
      if (!in_.Read(number) || number > UINT32_MAX ||
          !state_.schedules().contains(static_cast<uint32_t>(number)))
        return Corrupt("an unknown schedule is removed");
      state_.ScheduleGone(batch_, static_cast<uint32_t>(number));
    }
    return absl::OkStatus();
  }

  absl::Status QueueSet() {
    QueueRow settings;
    std::string_view name;
    if (!in_.Read(settings) || !in_.Take(settings.name_bytes, name)) return Corrupt("too short");
    if (!AreSane(settings, name)) return Corrupt("a setting is out of range");
    state_.QueueSet(batch_, name, settings);
    return absl::OkStatus();
  }

  absl::Status TypeSet() {
    TypeRow rules;
    std::string_view name;
    if (!in_.Read(rules) || !in_.Take(rules.name_bytes, name)) return Corrupt("too short");
    if (!AreSane(rules, name)) return Corrupt("a rule is out of range");
    state_.TypeSet(batch_, name, rules);
    return absl::OkStatus();
  }

  absl::Status WorkerSeen() {
    WorkerSeenRecord record;
    std::string_view name, host, version;
    if (!in_.Read(record) || !in_.Take(record.name_bytes, name) ||
        !in_.Take(record.host_bytes, host) || !in_.Take(record.version_bytes, version))
      return Corrupt("too short");
    Worker worker;
    worker.number = record.worker;
    worker.id = record.id;
    worker.pid = record.pid;
    worker.name = std::string(name);
    worker.host = std::string(host);
    worker.version = std::string(version);
    worker.seen_ms = now_ms_;
    state_.WorkerSeen(batch_, std::move(worker));
    return absl::OkStatus();
  }

  absl::Status Leased() {
    LeasedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      LeasedEntry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      uint32_t slot = state_.tasks().Find(TaskId(entry.task));
      ZS_RETURN_IF_ERROR(CheckLeasable(slot, entry.worker));
      auto attempt = static_cast<uint16_t>(state_.tasks()[slot].attempt + 1);
      state_.Leased(slot, LeaseId(record.first_lease + i), entry.worker, attempt, now_ms_);
    }
    return absl::OkStatus();
  }

  absl::Status Adopted() {
    LeasedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      AdoptedEntry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      uint32_t slot = state_.tasks().Find(TaskId(entry.task));
      ZS_RETURN_IF_ERROR(CheckLeasable(slot, entry.worker));
      state_.Leased(slot, LeaseId(entry.lease), entry.worker, static_cast<uint16_t>(entry.attempt),
                    now_ms_);
    }
    return absl::OkStatus();
  }

  absl::Status CheckLeasable(uint32_t slot, uint32_t worker) {
    if (slot == kNil || state_.tasks()[slot].state != TaskState::kReady)
      return Corrupt("a leased task is not ready");
    if (!state_.workers().contains(worker)) return Corrupt("a lease names an unknown worker");
    return absl::OkStatus();
  }

  absl::Status Succeeded() {
    EndedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      SucceededEntry done;
      if (!in_.Read(done)) return Corrupt("too short");
      EndedEntry entry;
      entry.task = done.task;
      entry.run_us = done.run_us;
      ZS_RETURN_IF_ERROR(End(entry, {}));
    }
    state_.FlushFinished(batch_, now_ms_);
    return absl::OkStatus();
  }

  absl::Status Ended() {
    EndedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      EndedEntry entry;
      std::string_view outcome;
      if (!in_.Read(entry) || !in_.Take(entry.outcome_bytes, outcome)) return Corrupt("too short");
      if (entry.ending > Ending::kCancelled || entry.charge > Charge::kRelease)
        return Corrupt("an ending is unknown");
      ZS_RETURN_IF_ERROR(End(entry, outcome));
    }
    state_.FlushFinished(batch_, now_ms_);
    return absl::OkStatus();
  }

  absl::Status End(const EndedEntry& entry, std::string_view outcome) {
    uint32_t slot = state_.tasks().Find(TaskId(entry.task));
    if (slot == kNil || state_.tasks()[slot].state != TaskState::kLeased)
      return Corrupt("an ended task is not leased");
    if (entry.ending == Ending::kDead && (entry.fingerprint == 0 || !ReadOutcome(outcome)))
      return Corrupt("a task dies of no error");
    if ((entry.ending == Ending::kCancelled) != (state_.tasks()[slot].cancelling != 0))
      return Corrupt("a task ends as cancelled exactly when it was");
    if (const auto end = StateAfter(entry.ending))
      ZS_RETURN_IF_ERROR(CheckFollowers(state_.tasks()[slot], *end));
    state_.Ended(batch_, slot, entry, outcome, now_ms_);
    return absl::OkStatus();
  }

  absl::Status Reported() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      ReportedEntry entry;
      std::string_view message, checkpoint;
      if (!in_.Read(entry) || !in_.Take(entry.message_bytes, message) ||
          !in_.Take(entry.checkpoint_bytes, checkpoint))
        return Corrupt("too short");
      if (entry.percent > 100 || entry.kinds >= 1 << kNoteKinds ||
          message.size() > kMaxProgressMessageBytes || checkpoint.size() > kMaxCheckpointBytes)
        return Corrupt("a report is out of range");
      uint32_t slot = state_.tasks().Find(TaskId(entry.task));
      if (slot == kNil || state_.tasks()[slot].state != TaskState::kLeased)
        return Corrupt("a task that is reported on is not leased");
      state_.Reported(batch_, slot, entry, message, checkpoint, now_ms_);
    }
    return absl::OkStatus();
  }

  absl::Status Output() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      OutputEntry entry;
      std::string_view runs, bytes;
      if (!in_.Read(entry) || !in_.Take(entry.runs * sizeof(wire::OutputRun), runs) ||
          !in_.Take(entry.bytes, bytes))
        return Corrupt("too short");
      if (!IsOutputPage(entry.offset, runs, bytes)) return Corrupt("output is no page");
      uint32_t slot = state_.tasks().Find(TaskId(entry.task));
      if (slot == kNil || state_.tasks()[slot].state != TaskState::kLeased)
        return Corrupt("a task that has output is not leased");
      state_.Wrote(batch_, slot, entry.offset, runs, bytes);
    }
    return absl::OkStatus();
  }

  absl::Status Fired() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      uint64_t id;
      if (!in_.Read(id)) return Corrupt("too short");
      uint32_t slot = state_.tasks().Find(TaskId(id));
      if (slot == kNil || (state_.tasks()[slot].state != TaskState::kScheduled &&
                           state_.tasks()[slot].state != TaskState::kRetryWait))
        return Corrupt("a fired task was not waiting");
      state_.Fired(batch_, slot, now_ms_);
    }
    return absl::OkStatus();
  }

  absl::Status Expired() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      ExpiredEntry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      const uint32_t slot = state_.tasks().Find(TaskId(entry.task));
      if (slot == kNil || entry.fingerprint == 0 || !state_.tasks()[slot].expires ||
          state_.tasks()[slot].state == TaskState::kLeased)
        return Corrupt("an expired task does not wait, or has no start-by time");
      ZS_RETURN_IF_ERROR(CheckFollowers(state_.tasks()[slot], TaskState::kDead));
      state_.Expired(batch_, slot, entry.fingerprint, now_ms_);
    }
    return absl::OkStatus();
  }

  absl::Status Cancelled() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      uint64_t id;
      if (!in_.Read(id)) return Corrupt("too short");
      uint32_t slot = state_.tasks().Find(TaskId(id));
      if (slot == kNil || state_.tasks()[slot].cancelling)
        return Corrupt("a cancelled task is over, or was cancelled before");
      if (state_.tasks()[slot].state != TaskState::kLeased)
        ZS_RETURN_IF_ERROR(CheckFollowers(state_.tasks()[slot], TaskState::kCancelled));
      state_.Cancelled(batch_, slot, now_ms_);
    }
    state_.FlushFinished(batch_, now_ms_);
    return absl::OkStatus();
  }

  absl::Status Retried() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      RetriedEntry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      if (!state_.lanes().Has(entry.row.lane) || entry.row.priority >= kPriorities ||
          state_.tasks().Find(TaskId(entry.task)) != kNil || entry.row.state != TaskState::kDead ||
          !IsLetter(static_cast<uint64_t>(entry.row.order)) || DeadOf(entry.row.lane) == 0)
        return Corrupt("a retried task does not fit");
      state_.Retried(batch_, entry, now_ms_);
    }
    return absl::OkStatus();
  }

  bool IsLetter(uint64_t letter) const { return letter > 0 && letter < state_.meta().next_letter; }
  uint64_t DeadOf(uint32_t lane) const {
    return state_.lanes().queue_of(lane).counts[static_cast<size_t>(TaskState::kDead)];
  }

  absl::Status DeadGone() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      DeadGoneEntry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      if (!state_.lanes().Has(entry.lane) || !IsLetter(entry.letter) ||
          state_.tasks().Find(TaskId(entry.task)) != kNil || DeadOf(entry.lane) == 0)
        return Corrupt("a dead task that goes does not fit");
      state_.DeadGone(batch_, entry);
    }
    return absl::OkStatus();
  }

  absl::Status Pruned() {
    PrunedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    std::string_view keys;
    if (!in_.Take(record.keys * sizeof(uint64_t), keys) ||
        in_.rest().size() != record.runs * sizeof(FinishedRun))
      return Corrupt("its counts do not match");
    state_.Pruned(batch_, keys, {});
    for (std::string_view bytes; !in_.rest().empty() && in_.Take(sizeof(FinishedRun), bytes);) {
      FinishedRun run;
      RowReader(bytes).Read(run);
      if (!run.IsSane() || !state_.lanes().Has(run.lane))
        return Corrupt("a pruned task does not fit");
      if (run.tasks > state_.lanes().queue_of(run.lane).counts[static_cast<size_t>(run.state)])
        return Corrupt("more tasks are pruned than have ended so");
      state_.Pruned(batch_, {}, bytes);
    }
    return absl::OkStatus();
  }

  absl::Status ProducersGone() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      uint64_t number;
      if (!in_.Read(number) || !state_.producers().contains(number))
        return Corrupt("an unknown client is forgotten");
      state_.ProducerGone(batch_, number);
    }
    return absl::OkStatus();
  }

  absl::Status KeysGone() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      uint64_t task;
      if (!in_.Read(task)) return Corrupt("too short");
      const KeyRow* row = state_.keys().OfTask(task);
      if (row == nullptr || row->finished_ms == 0) return Corrupt("a key that is held goes");
      state_.KeyGone(batch_, task);
    }
    return absl::OkStatus();
  }

  absl::Status WorkersGone() {
    IdsRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count; ++i) {
      uint64_t number;
      if (!in_.Read(number)) return Corrupt("too short");
      auto it = state_.workers().find(static_cast<uint32_t>(number));
      if (it == state_.workers().end() || it->second.leases != 0)
        return Corrupt("a worker that holds leases is forgotten");
      state_.WorkerGone(batch_, static_cast<uint32_t>(number));
    }
    return absl::OkStatus();
  }

  State& state_;
  Batch& batch_;
  int64_t now_ms_;
  RowReader in_;
  RecordKind kind_;
};

absl::Status State::Apply(Batch& batch, std::string_view record) {
  RowReader in(record);
  RecordHead head;
  if (!in.Read(head) || head.bytes != record.size()) return Corrupt("its size is wrong");
  batch.OpenRecord().append(record);
  ZS_RETURN_IF_ERROR(Applier(*this, batch, head, in.rest()).Run());
  told_.clear();  // the record has it, or was written by an older version
  batch.CloseRecord();
  return absl::OkStatus();
}

}  // namespace zsched::broker
