// Time passes: timers fire, overdue attempts end, silent sessions expire, old things are forgotten.
// Bounded work a call.
#include <algorithm>

#include "absl/container/btree_map.h"
#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/fingerprint.h"
#include "broker/core/record_writer.h"

namespace zsched::broker {
namespace {

constexpr size_t kMaxFiredPerTick = 8192;    // the rest fires on the next tick, at once
constexpr size_t kMaxExpiredPerTick = 8192;  // likewise
constexpr size_t kMaxForgottenPerScan = 4096;
constexpr int64_t kExpiryIntervalMs =
    100;  // how often sessions are looked at: part of the lateness of an expiry
constexpr int64_t kForgetIntervalMs = 30'000;
constexpr int64_t kAgeCheckIntervalMs = 5'000;
constexpr size_t kMaxPrunedPerRecord = 16'384;

}  // namespace

void Core::OnTick(Now now) {
  FireTimers(now);
  ExpireTasks(now);
  FireSchedules(now);
  EndOverdue(now);
  if (now.mono_ms >= next_expiry_ms_) {
    ExpireSessions(now);
    next_expiry_ms_ = now.mono_ms + kExpiryIntervalMs;
  }
  ForgetKeys(now);
  if (now.mono_ms >= next_forget_ms_) {
    ForgetOld(now);
    next_forget_ms_ = now.mono_ms + kForgetIntervalMs;
  }
}

int64_t Core::next_tick_ms(Now now) const {
  if (gates_.has_waking()) return now.mono_ms;
  int64_t next = std::min({next_expiry_ms_, next_recall_ms_, deadlines_.next_ms(), gates_.next_ms(),
                           schedules_.retry_ms()});
  auto mono = [&](int64_t wall_ms) {
    return now.mono_ms + std::max<int64_t>(0, wall_ms - now.wall_ms);
  };
  if (int64_t timer = std::min(state_.timers().next_ms(), schedules_.next_ms()); timer != INT64_MAX)
    next = std::min(next, mono(timer));
  if (int64_t start_by = state_.expiries().next_ms(); start_by != INT64_MAX)
    next = std::min(next, std::max(expire_tasks_from_ms_, mono(start_by)));
  return next;
}

void Core::FireTimers(Now now) {
  if (ZS_PLANTED("timers-early")) now.wall_ms += 300;
  auto& timers = state_.timers();
  timers.Advance(now.wall_ms);
  if (timers.due_head() == kNil) return;
  ids_.clear();
  for (uint32_t slot = timers.due_head(); slot != kNil && ids_.size() < kMaxFiredPerTick;
       slot = state_.tasks()[slot].next)
    ids_.push_back(state_.tasks()[slot].id);
  // By rising id: the order in which a rebuild would find tasks that became ready with one record.
  std::sort(ids_.begin(), ids_.end());
  IdsRecord record{ids_.size()};
  OpenedRecord opened = OpenRecord(RecordKind::kFired, record);
  for (uint64_t id : ids_) {
    AppendStruct(batch_.OpenRecord(), id);
    state_.Fired(batch_, state_.tasks().Find(TaskId(id)), now.wall_ms);
  }
  CloseRecord(opened, record, now);
  metrics_.Add(Metric::kTimersFired, ids_.size());
}

// The wall clock decides; once recorded it is so, whatever the clock says later.
void Core::ExpireTasks(Now now) {
  if (ZS_PLANTED("nothing-expires")) return;
  if (ZS_PLANTED("expires-early")) now.wall_ms += 300;
  if (now.mono_ms < expire_tasks_from_ms_ && !ZS_PLANTED("expires-what-runs")) return;
  const std::vector<uint64_t> due = state_.expiries().Due(now.wall_ms, kMaxExpiredPerTick);
  if (due.empty()) return;
  IdsRecord record{due.size()};
  OpenedRecord opened = OpenRecord(RecordKind::kExpired, record);
  const OutcomeView error = ReadOutcome(State::ExpiredOutcome()).value();
  const uint64_t next_task = state_.meta().next_task;
  for (uint64_t id : due) {
    const uint32_t slot = state_.tasks().Find(TaskId(id));
    const Task& task = state_.tasks()[slot];
    const uint64_t fingerprint =
        FingerprintOf(state_.lanes().type_of(task.lane).name, ErrorCode::kExpired, error.body);
    AppendStruct(batch_.OpenRecord(), ExpiredEntry{id, fingerprint});
    // State::Expired puts the outcome row first, at the offset that Notify is given.
    Notify(task, TaskState::kDead, static_cast<uint32_t>(batch_.rows().size()),
           static_cast<uint32_t>(State::ExpiredOutcome().size()));
    state_.Expired(batch_, slot, fingerprint, now.wall_ms);
    schedules_.OnTaskTurned(id);
  }
  CloseRecord(opened, record, now);
  metrics_.Add(Metric::kTasksDead, due.size());
  metrics_.Add(Metric::kTasksExpired, due.size());
  metrics_.Add(Metric::kTasksFollowed, state_.meta().next_task - next_task);
}

void Core::EndOverdue(Now now) {
  deadlines_.Advance(now.mono_ms);
  if (deadlines_.due_head() == kNil) return;
  struct Taken {
    std::vector<uint64_t> leases;
    bool once = false;  // one of them is of a task that runs at most once
  };
  std::vector<uint32_t> slots;
  absl::btree_map<uint32_t, Taken> cancels;  // by session slot; in an order that a replay repeats
  for (uint32_t i = deadlines_.due_head(); i != kNil; i = state_.leases()[i].timer_next) {
    const Lease& lease = state_.leases()[i];
    slots.push_back(lease.task);
    uint32_t session = state_.workers().at(lease.worker).session;
    if (session == kNil) continue;
    cancels[session].leases.push_back(lease.id);
    cancels[session].once |= state_.tasks()[lease.task].at_most_once;
  }
  EndUnreported(std::move(slots), Charge::kLost, ErrorCode::kAttemptTimedOut,
                "the attempt was not over " + std::to_string(kTimeoutGraceMs / 1000) +
                    " s past its timeout, and its worker did not say so",
                now);
  // What runs at most once is taken away for good, or not at all, as with stale leases at WELCOME.
  for (auto& [slot, taken] : cancels) {
    const Lsn wait = taken.once ? appended() : Lsn(0);
    workers_[slot].taken_away = std::max(workers_[slot].taken_away, wait);
    effects_.push_back(CancelEffect{workers_[slot].id, wait, std::move(taken.leases),
                                    ErrorCode::kAttemptTimedOut});
    UpdateFree(slot);
  }
}

void Core::ExpireSessions(Now now) {
  for (uint32_t slot = 0; slot < workers_.size(); ++slot)
    if (workers_[slot].id && now.mono_ms - workers_[slot].seen_ms > config_.visibility_timeout_ms) {
      if (ZS_PLANTED("silence-keeps-leases")) continue;
      metrics_.Add(Metric::kSessionsExpired);
      CloseWorker(slot, /*echo=*/false, now);
    }
  for (uint32_t slot = 0; slot < clients_.size(); ++slot)
    if (clients_[slot].id && now.mono_ms - clients_[slot].seen_ms > config_.client_timeout_ms) {
      metrics_.Add(Metric::kSessionsExpired);
      CloseClient(slot, /*echo=*/false);
    }
  // Workers of broken sessions, or of before the restart, that did not come back.
  std::vector<uint32_t> gone;
  for (uint32_t number : orphans_)
    if (now.mono_ms - state_.workers().at(number).silent_since > config_.visibility_timeout_ms)
      gone.push_back(number);
  std::sort(gone.begin(), gone.end());  // hash order must not reach the log
  for (uint32_t number : gone) {
    const Worker& worker = state_.workers().at(number);
    std::vector<uint32_t> slots;
    for (uint32_t task = worker.leases_head; task != kNil; task = state_.tasks()[task].next)
      slots.push_back(task);
    EndUnreported(std::move(slots), Charge::kLost, ErrorCode::kWorkerLost,
                  "worker '" + worker.name + "' did not come back to the task that it held", now);
    orphans_.erase(number);
  }
}

void Core::ForgetOld(Now now) {
  ids_.clear();
  for (const auto& [number, producer] : state_.producers())
    if (ids_.size() < kMaxForgottenPerScan &&
        now.wall_ms - producer.used_ms > config_.keep_producer_ms)
      ids_.push_back(number);
  // A client that is connected keeps its memory, however long it is idle.
  absl::flat_hash_set<Uuid> live;
  if (!ids_.empty())
    for (const ClientSession& client : clients_)
      if (client.id) live.insert(client.client);
  std::erase_if(ids_, [&](uint64_t n) { return live.contains(state_.producers().at(n).client); });
  std::sort(ids_.begin(), ids_.end());
  if (!ids_.empty()) {
    IdsRecord record{ids_.size()};
    OpenedRecord opened = OpenRecord(RecordKind::kProducersGone, record);
    for (uint64_t number : ids_) {
      AppendStruct(batch_.OpenRecord(), number);
      state_.ProducerGone(batch_, number);
    }
    CloseRecord(opened, record, now);
  }

  ids_.clear();
  for (const auto& [number, worker] : state_.workers())
    if (ids_.size() < kMaxForgottenPerScan && worker.session == kNil && worker.leases == 0 &&
        now.mono_ms - worker.silent_since > config_.keep_worker_ms)
      ids_.push_back(number);
  std::sort(ids_.begin(), ids_.end());
  if (!ids_.empty()) {
    IdsRecord record{ids_.size()};
    OpenedRecord opened = OpenRecord(RecordKind::kWorkersGone, record);
    for (uint64_t number : ids_) AppendStruct(batch_.OpenRecord(), number);
    for (uint64_t number : ids_) {
      TellName(state_.workers().at(static_cast<uint32_t>(number)).name);
      state_.WorkerGone(batch_, static_cast<uint32_t>(number));
    }
    CloseRecord(opened, record, now);
  }
}

void Core::ForgetKeys(Now now) {
  if (ZS_PLANTED("keys-forgotten-early")) now.wall_ms += config_.keep_keys_ms + 1;
  std::vector<uint64_t> tasks =
      state_.OldKeys(now.wall_ms - config_.keep_keys_ms, kMaxForgottenPerScan);
  if (tasks.empty()) return;
  IdsRecord record{tasks.size()};
  OpenedRecord opened = OpenRecord(RecordKind::kKeysGone, record);
  for (uint64_t task : tasks) {
    AppendStruct(batch_.OpenRecord(), task);
    state_.KeyGone(batch_, task);
  }
  CloseRecord(opened, record, now);
}

uint64_t Core::PruneFrom(Now now) const {
  if (state_.finished() >= config_.keep_finished + oldest_finished_) return prune_from_;
  bool check_age = state_.finished() > 0 && now.mono_ms >= next_age_check_ms_;
  return check_age ? prune_from_ : 0;
}

void Core::OnPrune(const std::vector<FinishedEntry>& entries, Now now) {
  next_age_check_ms_ = now.mono_ms + kAgeCheckIntervalMs;
  oldest_finished_ = 1;
  PrunedRecord record;
  std::string keys, runs;
  uint64_t pruned = 0;
  for (const FinishedEntry& entry : entries) {
    uint64_t left = state_.finished() - pruned;
    if (ZS_PLANTED("pruned-too-soon")) ++left;
    bool old = now.wall_ms - entry.finished_ms > config_.keep_finished_ms;
    // Tasks that ended with one record go together: only when enough are left without them, or a
    // single large RESULTS frame would take all that is kept with it.
    if (!old && left < config_.keep_finished + entry.tasks) {
      oldest_finished_ = std::max<uint64_t>(1, entry.tasks);
      break;
    }
    if (pruned > 0 && pruned + entry.tasks > kMaxPrunedPerRecord) break;
    AppendStruct(keys, entry.key);
    runs += entry.runs;
    pruned += entry.tasks;
    prune_from_ = entry.key + 1;
    if (old) next_age_check_ms_ = now.mono_ms;  // there may be more
  }
  if (keys.empty()) return;
  record.keys = keys.size() / sizeof(uint64_t);
  record.runs = runs.size() / sizeof(FinishedRun);
  OpenedRecord opened = OpenRecord(RecordKind::kPruned, record);
  batch_.OpenRecord().append(keys).append(runs);
  state_.Pruned(batch_, keys, runs);
  CloseRecord(opened, record, now);
  metrics_.Add(Metric::kTasksPruned, pruned);
}

}  // namespace zsched::broker
