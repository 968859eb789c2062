#include "broker/core/state.h"

#include <algorithm>
#include <cstdlib>

#include "base/planted.h"
#include "schemas/errors.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

constexpr size_t kLookAhead = 8;  // rows written before a task is there: about its way from memory

template <class T>
T OrDefault(T value, T fallback) {
  return value == 0 ? fallback : value;
}

void AppendLabel(std::string& rows, std::string_view key, std::string_view value) {
  AppendStruct(rows,
               LabelHead{static_cast<uint16_t>(key.size()), static_cast<uint16_t>(value.size())});
  rows.append(key).append(value);
}

// nullopt: it follows no task.
std::optional<ParentHead> HeadOf(const ParentView& parent) {
  if (parent.task == 0) return std::nullopt;
  return ParentHead{parent.task, static_cast<uint32_t>(parent.outcome.size()), parent.state,
                    parent.passed, 0};
}

void AppendExtras(std::string& rows, const ExtrasView& extras) {
  const std::optional<ParentHead> parent = HeadOf(extras.parent);
  const size_t parent_bytes = parent ? sizeof *parent + extras.parent.outcome.size() : 0;
  AppendStruct(rows, ExtrasHead{static_cast<uint8_t>(extras.concurrency_key.size()),
                                static_cast<uint8_t>(extras.fairness_key.size()),
                                static_cast<uint8_t>(extras.correlation_id.size()),
                                static_cast<uint8_t>(extras.traceparent.size()),
                                static_cast<uint32_t>(parent_bytes)});
  rows.append(extras.concurrency_key).append(extras.fairness_key);
  rows.append(extras.correlation_id).append(extras.traceparent);
  if (!parent) return;
  AppendStruct(rows, *parent);
  rows.append(extras.parent.outcome);
}

void AppendSpecRow(std::string& rows, const wire::TaskSpec& spec, int64_t now_ms,
                   std::span<const LabelView> more_labels, const ParentView& parent) {
  std::string_view payload = BytesOf(spec.payload()), content_type = TextOf(spec.content_type());
  std::string_view key = TextOf(spec.key());
  const ExtrasView extras{TextOf(spec.concurrency_key()), TextOf(spec.fairness_key()),
                          TextOf(spec.correlation_id()), TextOf(spec.traceparent()), parent};
  SpecRow& head = ExtendStruct<SpecRow>(rows);
  head.submitted_ms = now_ms;
  head.payload_bytes = static_cast<uint32_t>(payload.size());
  head.content_type_bytes = static_cast<uint8_t>(content_type.size());
  head.key_bytes = static_cast<uint8_t>(key.size());
  const size_t own_labels = spec.labels() != nullptr ? spec.labels()->size() : 0;
  head.labels = (own_labels + more_labels.size()) & 0x7F;
  const bool has_extras = extras.any();
  head.extras = has_extras;
  rows.append(payload).append(content_type).append(key);
  if (own_labels > 0)
    for (const wire::Label* label : *spec.labels())
      AppendLabel(rows, TextOf(label->key()), TextOf(label->value()));
  for (const LabelView& label : more_labels) AppendLabel(rows, label.key, label.value);
  if (has_extras) AppendExtras(rows, extras);
}

// Workers report in the order in which handlers end: mostly, not quite, that of the ids.
void JoinRuns(std::vector<OpenRun>& runs) {
  auto by_id = [](const OpenRun& a, const OpenRun& b) { return a.first < b.first; };
  if (std::is_sorted(runs.begin(), runs.end(), by_id)) return;
  std::sort(runs.begin(), runs.end(), by_id);
  size_t kept = 0;
  for (size_t i = 1; i < runs.size(); ++i)
    if (runs[kept].end == runs[i].first && runs[kept].like == runs[i].like)
      runs[kept].end = runs[i].end;
    else
      runs[++kept] = runs[i];
  runs.resize(kept + 1);
}

}  // namespace

const SubmitMemory* FindSubmit(const Producer* producer, uint64_t seq) {
  if (ZS_PLANTED("seq-taken-twice")) return nullptr;
  if (producer == nullptr) return nullptr;
  for (const SubmitMemory& submit : producer->submits)
    if (submit.seq == seq) return &submit;
  return nullptr;
}

Worker* State::FindWorker(const Uuid& id) {
  auto it = worker_by_id_.find(id);
  return it == worker_by_id_.end() ? nullptr : &workers_.at(it->second);
}

Producer* State::FindProducer(const Uuid& client) {
  auto it = producer_by_client_.find(client);
  return it == producer_by_client_.end() ? nullptr : &producers_.at(it->second);
}

void State::PrefetchEnd(uint32_t slot) const {
  const Task& task = tasks_[slot];
  if (task.lease == kNil) return;
  __builtin_prefetch(&leases_[task.lease], /*write=*/1);
  tasks_.Prefetch(task.next);  // neighbours among the worker's leases
  tasks_.Prefetch(task.prev);
}

void State::MarkDirty(uint32_t slot) {
  Task& task = tasks_[slot];
  if (task.dirty) return;
  task.dirty = 1;
  dirty_tasks_.push_back({slot, task.id});
}

void State::SetState(Task& task, TaskState state) {
  Queue& queue = lanes_.queue_of(task.lane);
  --queue.counts[static_cast<size_t>(task.state)];
  ++queue.counts[static_cast<size_t>(state)];
  if (state == TaskState::kLeased) lanes_.CountRunning(task.lane, +1);
  if (task.state == TaskState::kLeased) lanes_.CountRunning(task.lane, -1);
  task.state = state;
}

void State::MakeReady(uint32_t slot, Lsn lsn, int64_t now_ms, bool front) {
  Task& task = tasks_[slot];
  SetState(task, TaskState::kReady);
  ready_clock_.Note(lsn.value(), now_ms);
  auto place = static_cast<int64_t>(lsn.value());
  task.order = front ? -place : place;
  if (front)
    lanes_.PushFront(slot);
  else
    lanes_.PushBack(slot);
  MarkDirty(slot);
}

void State::WaitUntil(uint32_t slot, TaskState state, int64_t due_ms) {
  if (ZS_PLANTED("timers-late")) due_ms += 10'000;
  SetState(tasks_[slot], state);
  tasks_[slot].order = due_ms;
  timers_.Add(slot);
  MarkDirty(slot);
}

uint32_t State::CreateLane(Batch& batch, const LaneNames& names) {
  const LaneNames base{names.queue, names.type, {}, {}};
  if (!names.plain() && lanes_.Find(base) == 0) AddLane(batch, base);
  AddLane(batch, names);
  return lanes_.Find(names);
}

void State::AddLane(Batch& batch, const LaneNames& names) {
  const uint32_t number = lanes_.free_number();
  lanes_.Create(number, names);
  meta_.next_lane = std::max(meta_.next_lane, lanes_.end());
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(
      batch.OpenRows(),
      LaneRow{static_cast<uint16_t>(names.queue.size()), static_cast<uint16_t>(names.type.size()),
              static_cast<uint16_t>(names.concurrency_key.size()),
              static_cast<uint16_t>(names.fairness_key.size()), kRowVersion});
  batch.OpenRows().append(names.queue).append(names.type);
  batch.OpenRows().append(names.concurrency_key).append(names.fairness_key);
  batch.PutTail(Table::kLanes, number, offset);
}

// A task of the lane is over, and not dead; or was, and is deleted.
void State::LeaveLane(Batch& batch, uint32_t lane) {
  if (--lanes_[lane].tasks > 0 || lanes_.IsPlain(lane)) return;
  lanes_.Drop(lane);
  batch.Erase(Table::kLanes, lane);
}

uint32_t State::TypeSet(Batch& batch, std::string_view name, const TypeRow& rules) {
  const uint32_t number = lanes_.FindOrCreateType(name);
  Type& type = lanes_.types()[number];
  type.rules = rules;
  if (type.rules_number == 0) type.rules_number = meta_.next_type++;
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), rules);
  batch.OpenRows().append(name);
  batch.PutTail(Table::kTypes, type.rules_number, offset);
  return number;
}

uint32_t State::QueueSet(Batch& batch, std::string_view name, const QueueRow& settings) {
  const uint32_t number = lanes_.FindOrCreateQueue(name);
  Queue& queue = lanes_.queues()[number];
  queue.settings = settings;
  if (queue.settings_number == 0) queue.settings_number = meta_.next_queue++;
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), settings);
  batch.OpenRows().append(name);
  batch.PutTail(Table::kQueues, queue.settings_number, offset);
  return number;
}

uint32_t State::Submitted(Batch& batch, TaskId id, uint32_t lane, const wire::TaskSpec& spec,
                          int64_t now_ms, std::span<const LabelView> more_labels,
                          const ParentView& parent) {
  uint32_t slot = tasks_.Insert(id);
  Task& task = tasks_[slot];
  task.lane = lane;
  task.priority = spec.priority() & 0xF;
  task.durability = static_cast<uint8_t>(spec.durability()) & 3;
  task.at_most_once = spec.delivery() == wire::Delivery::kAtMostOnce;
  const QueueRow& rules = lanes_.queue_of(lane).settings;
  task.max_attempts =
      OrDefault(spec.max_attempts(), OrDefault<uint16_t>(rules.max_attempts, kDefaultMaxAttempts));
  task.timeout_ms = OrDefault(spec.timeout_ms(), OrDefault(rules.timeout_ms, kDefaultTimeoutMs));
  task.retry_base_ms =
      OrDefault(spec.retry_base_ms(), OrDefault(rules.retry_base_ms, kDefaultRetryBaseMs));
  // A cap that nobody gave for this base does not lower it.
  task.retry_cap_ms =
      OrDefault(spec.retry_cap_ms(),
                std::max(OrDefault(rules.retry_cap_ms, kDefaultRetryCapMs), task.retry_base_ms));
  task.bytes = static_cast<uint32_t>(BytesOf(spec.payload()).size() + parent.outcome.size());

  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendSpecRow(batch.OpenRows(), spec, now_ms, more_labels, parent);
  batch.PutTail(Table::kSpecs, id.value(), offset);

  if (spec.key() != nullptr) {
    const KeyHash hash = HashKey(TextOf(spec.key()));
    KeyRow row{hash.low, hash.high, HashBody(spec)};
    keys_.Add(id.value(), row);
    task.keyed = 1;
    PutKey(batch, id.value(), row);
  }
  if (HasChain(spec)) {
    task.chained = 1;
    PutChain(batch, id.value(), Chain{0, BuildChain(spec)});
  }

  if (spec.start_by_ms() != 0)
    PutExpiry(batch, task, spec.start_by_ms());
  else if (spec.start_within_ms() != 0)
    PutExpiry(batch, task, now_ms + static_cast<int64_t>(spec.start_within_ms()));

  CountNew(task);
  meta_.next_task = CounterOf(id) + 1;

  int64_t due =
      spec.run_at_ms() != 0 ? spec.run_at_ms() : now_ms + static_cast<int64_t>(spec.delay_ms());
  if (due > now_ms)
    WaitUntil(slot, TaskState::kScheduled, due);
  else
    MakeReady(slot, batch.next_lsn(), now_ms, /*front=*/false);
  return slot;
}

void State::SubmitRemembered(const Uuid& client, SubmitMemory submit, uint64_t acked_below,
                             int64_t now_ms) {
  auto [it, is_new] = producer_by_client_.try_emplace(client, meta_.next_producer);
  Producer& producer = producers_[it->second];
  if (is_new) {
    producer.number = meta_.next_producer++;
    producer.client = client;
  }
  producer.used_ms = now_ms;
  producer.acked_below = std::max(producer.acked_below, acked_below);
  while (!producer.submits.empty() && producer.submits.front().seq < producer.acked_below)
    producer.submits.pop_front();
  const uint64_t taken_in =
      submit.accepted > 0 ? EpochOf(TaskId(submit.first_id)).value() : epoch().value();
  producer.taken.Add(submit.seq, taken_in);
  // Resends after a reconnect may overtake: keep the list sorted.
  auto at = std::upper_bound(producer.submits.begin(), producer.submits.end(), submit.seq,
                             [](uint64_t seq, const SubmitMemory& s) { return seq < s.seq; });
  producer.submits.insert(at, std::move(submit));
  if (!producer.dirty) dirty_producers_.push_back(producer.number);
  producer.dirty = true;
}

void State::WorkerSeen(Batch& batch, Worker worker) {
  meta_.next_worker = std::max(meta_.next_worker, worker.number + 1);
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  WorkerRow row;
  row.id = worker.id;
  row.seen_ms = worker.seen_ms;
  row.pid = worker.pid;
  row.name_bytes = static_cast<uint16_t>(worker.name.size());
  row.host_bytes = static_cast<uint16_t>(worker.host.size());
  row.version_bytes = static_cast<uint16_t>(worker.version.size());
  AppendStruct(batch.OpenRows(), row);
  batch.OpenRows().append(worker.name).append(worker.host).append(worker.version);
  batch.PutTail(Table::kWorkers, worker.number, offset);
  worker_by_id_[worker.id] = worker.number;
  uint32_t number = worker.number;
  workers_[number] = std::move(worker);
}

uint32_t State::NewLease() {
  if (free_leases_.empty()) {
    leases_.emplace_back();
    return static_cast<uint32_t>(leases_.size() - 1);
  }
  uint32_t index = free_leases_.back();
  free_leases_.pop_back();
  leases_[index] = Lease{};
  return index;
}

void State::LinkToWorker(uint32_t slot, Worker& worker) {
  Task& task = tasks_[slot];
  task.prev = kNil;
  task.next = worker.leases_head;
  if (worker.leases_head != kNil) tasks_[worker.leases_head].prev = slot;
  worker.leases_head = slot;
  ++worker.leases;
  worker.leased_bytes += task.bytes;
}

void State::UnlinkFromWorker(uint32_t slot, Worker& worker) {
  Task& task = tasks_[slot];
  if (task.prev != kNil)
    tasks_[task.prev].next = task.next;
  else
    worker.leases_head = task.next;
  if (task.next != kNil) tasks_[task.next].prev = task.prev;
  --worker.leases;
  worker.leased_bytes -= task.bytes;
}

void State::Leased(uint32_t slot, LeaseId lease_id, uint32_t worker, uint16_t attempt,
                   int64_t now_ms) {
  Task& task = tasks_[slot];
  ZS_CHECK(task.state == TaskState::kReady);
  lanes_.Remove(slot);
  if (task.expires) expiries_.Pause(task.id);
  SetState(task, TaskState::kLeased);
  task.attempt = attempt;
  task.lease = NewLease();
  Lease& lease = leases_[task.lease];
  lease.id = lease_id.value();
  lease.task = slot;
  lease.worker = worker;
  lease.leased_ms = now_ms;
  if (EpochOf(lease_id) == epoch())
    meta_.next_lease = std::max(meta_.next_lease, CounterOf(lease_id) + 1);
  LinkToWorker(slot, workers_.at(worker));
  MarkDirty(slot);
}

void State::ReleaseLease(Task& task) {
  Lease& lease = leases_[task.lease];
  ZS_CHECK(!lease.timed);  // the core takes the timer off first
  UnlinkFromWorker(lease.task, workers_.at(lease.worker));
  lease = Lease{};
  free_leases_.push_back(task.lease);
  task.lease = kNil;
}

void State::PutKey(Batch& batch, uint64_t task, const KeyRow& row) {
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(), row);
  batch.PutTail(Table::kKeys, task, offset);
}

void State::KeyGone(Batch& batch, uint64_t task) {
  keys_.Erase(task);
  batch.Erase(Table::kKeys, task);
}

void State::Finish(Batch& batch, uint32_t slot, int64_t now_ms) {
  Task& task = tasks_[slot];
  if (task.keyed) PutKey(batch, task.id, *keys_.SetFinished(task.id, now_ms));
  Queue& queue = lanes_.queue_of(task.lane);
  --queue.unfinished;
  queue.bytes -= task.bytes;
  unfinished_bytes_ -= task.bytes;
  const uint32_t lane = task.lane;
  const bool dead = task.state == TaskState::kDead;
  tasks_.Erase(slot);
  if (!dead) LeaveLane(batch, lane);
}

bool State::Ended(Batch& batch, uint32_t slot, const EndedEntry& entry, std::string_view outcome,
                  int64_t now_ms) {
  Task& task = tasks_[slot];
  ZS_CHECK(task.state == TaskState::kLeased);
  switch (entry.charge) {
    case Charge::kNothing:
      break;
    case Charge::kFailure:
      ++task.failures;
      break;
    case Charge::kLost:
      if (ZS_PLANTED("lost-attempt-free")) break;
      ++task.lost;
      break;
    case Charge::kRelease:
      DropOutput(batch, task);  // the next attempt has its number
      if (ZS_PLANTED("release-charged")) break;
      --task.attempt;
      break;
  }
  if (!outcome.empty()) batch.Put(Table::kOutcomes, task.id, outcome);
  // Given back without having run, it waits as before.
  if (task.expires && entry.ending == Ending::kReturned && entry.charge == Charge::kRelease)
    expiries_.Resume(task.id);
  else
    DropExpiry(batch, task);
  if (LeavesHistory(entry)) RecordAttempt(batch, task, entry, outcome, now_ms);
  if (entry.ending == Ending::kRetry || entry.ending == Ending::kReturned) {
    ReleaseLease(task);
    if (entry.ending == Ending::kRetry)
      WaitUntil(slot, TaskState::kRetryWait, entry.due_ms);
    else
      MakeReady(slot, batch.next_lsn(), now_ms, /*front=*/true);
    return false;
  }
  const TaskState end = *StateAfter(entry.ending);
  const uint64_t id = task.id;
  const bool chained = task.chained;
  SetState(task, end);
  task.cancelling = 0;
  // A success is left to fire when a RETRY brings one.
  if (chained)
    task.chained = end == TaskState::kDead && chains_.Of(id).MayFireAfter(BranchesAt(end));
  if (task.state == TaskState::kDead) PutDead(batch, task, entry.fingerprint, outcome, now_ms);
  WriteTaskRow(batch, task, now_ms, entry.run_us);
  ReleaseLease(task);
  // The row of an outcome is written with its attempt, and a second attempt means that there was a
  // first.
  if (end != TaskState::kDead) AddFinished(task, !outcome.empty() || task.attempt > 1);
  Finish(batch, slot, now_ms);
  if (chained && ZS_PLANTED("lost-fires-nothing") && entry.charge == Charge::kLost)
    DropChain(batch, id);
  else if (chained)
    Follow(batch, id, end, outcome, now_ms);
  return true;
}

void State::PutDead(Batch& batch, Task& task, uint64_t fingerprint, std::string_view outcome,
                    int64_t now_ms) {
  OutcomeRow error;
  RowReader(outcome).Read(error);
  const uint64_t letter = meta_.next_letter++;
  task.order = static_cast<int64_t>(letter);
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  AppendStruct(batch.OpenRows(),
               DeadRow{task.id, fingerprint, now_ms, task.lane, error.error_code, kRowVersion});
  batch.PutTail(Table::kDead, letter, offset);
  ++dead_;
}

const std::string& State::CancelledWaiting() {
  static const std::string row =
      ErrorOutcome(ErrorCode::kCancelled, "the task was cancelled while it waited");
  return row;
}

bool State::Cancelled(Batch& batch, uint32_t slot, int64_t now_ms) {
  Task& task = tasks_[slot];
  ZS_CHECK(!task.cancelling);
  if (task.state == TaskState::kLeased) {
    task.cancelling = 1;
    MarkDirty(slot);
    Tell(slot, 0);
    return false;
  }
  RemoveWaiting(slot);
  End(batch, slot,
      {.state = TaskState::kCancelled, .finished_ms = now_ms, .outcome = CancelledWaiting()},
      now_ms);
  return true;
}

// As it is now.
void State::Tell(uint32_t slot, uint64_t parent) {
  if (parent != 0 && ZS_PLANTED("made-untold")) return;
  const Task& task = tasks_[slot];
  told_.push_back({task.id, parent, lanes_[task.lane].base, task.state, {}});
}

// Out of its line, or off its timer.
void State::RemoveWaiting(uint32_t slot) {
  if (tasks_[slot].state == TaskState::kReady)
    lanes_.Remove(slot);
  else
    timers_.Remove(slot);
}

// It is nowhere any more, but in the index. Its outcome row is the first one that this writes.
void State::End(Batch& batch, uint32_t slot, const Close& close, int64_t now_ms) {
  Task& task = tasks_[slot];
  const uint64_t id = task.id;
  const bool chained = task.chained, dead = close.state == TaskState::kDead;
  DropExpiry(batch, task);
  if (!close.outcome.empty()) batch.Put(Table::kOutcomes, id, close.outcome);
  if (close.trail_behind) BeginTrailBehind(batch, task);
  SetState(task, close.state);
  // A success is left to fire when a RETRY brings one.
  if (chained) task.chained = dead && chains_.Of(id).MayFireAfter(BranchesAt(close.state));
  if (dead) PutDead(batch, task, close.fingerprint, close.outcome, close.finished_ms);
  WriteTaskRow(batch, task, close.finished_ms, close.run_us);
  const bool had_error = task.attempt > 1 || task.failures + task.lost > 0;
  if (!dead) AddFinished(task, !close.outcome.empty() || had_error);
  Finish(batch, slot, now_ms);
  if (chained) Follow(batch, id, close.state, close.outcome, now_ms);
}

// What a row and the index both have of a task, whatever its state.
void State::FillTask(Task& task, const TaskRow& row) {
  task.lane = row.lane;
  task.priority = row.priority & 0xF;
  task.durability = static_cast<uint8_t>(row.durability) & 3;
  task.at_most_once = row.at_most_once;
  task.timeout_ms = row.timeout_ms;
  task.bytes = row.bytes;
  task.retry_base_ms = row.retry_base_ms;
  task.retry_cap_ms = row.retry_cap_ms;
  task.attempt = row.attempt;
  task.max_attempts = row.max_attempts;
  task.failures = row.failures;
  task.lost = row.lost;
}

void State::AddFinished(const Task& task, bool outcomes) {
  const uint64_t like = OpenRun::Like(lanes_[task.lane].base, task.state, outcomes, task.trailed);
  if (finished_runs_.empty() || finished_runs_.back().end != task.id ||
      finished_runs_.back().like != like)
    finished_runs_.push_back({task.id, task.id, like});
  ++finished_runs_.back().end;
  ++finished_;
}

void State::Fired(Batch& batch, uint32_t slot, int64_t now_ms) {
  timers_.Remove(slot);
  MakeReady(slot, batch.next_lsn(), now_ms, /*front=*/false);
}

void State::Retried(Batch& batch, const RetriedEntry& entry, int64_t now_ms) {
  if (!ZS_PLANTED("retried-stays-dead"))
    batch.Erase(Table::kDead, static_cast<uint64_t>(entry.row.order));
  --dead_;
  uint32_t slot = tasks_.Insert(TaskId(entry.task));
  Task& task = tasks_[slot];
  if (const KeyRow* key = keys_.SetFinished(entry.task, 0)) {
    task.keyed = 1;
    PutKey(batch, entry.task, *key);
  }
  task.trailed = trails_.Find(entry.task) != nullptr;
  FillTask(task, entry.row);
  task.failures = task.lost = 0;  // they count since the RETRY
  task.chained = chains_.Has(entry.task);
  task.state = TaskState::kDead;
  CountUnfinished(task);
  MakeReady(slot, batch.next_lsn(), now_ms, /*front=*/false);
}

void State::Pruned(Batch& batch, std::string_view keys, std::string_view runs) {
  RowReader key_reader(keys), in(runs);
  for (uint64_t key = 0; !key_reader.rest().empty() && key_reader.Read(key);)
    batch.Erase(Table::kFinished, key);
  for (FinishedRun run; !in.rest().empty() && in.Read(run);) {
    ZS_CHECK(lanes_.Has(run.lane) && run.tasks <= finished_);
    if (ZS_PLANTED("neighbour-pruned")) ++run.first;
    const uint64_t last = run.first + run.tasks - 1;
    batch.EraseRange(Table::kSpecs, run.first, last);
    batch.EraseRange(Table::kTasks, run.first, last);
    if (run.outcomes != 0) batch.EraseRange(Table::kOutcomes, run.first, last);
    if (run.trails != 0 && !ZS_PLANTED("trails-not-pruned")) DropTrails(batch, run.first, last);
    lanes_.queue_of(run.lane).counts[static_cast<size_t>(run.state)] -= run.tasks;
    finished_ -= run.tasks;
  }
}

void State::DeadGone(Batch& batch, const DeadGoneEntry& entry) {
  batch.Erase(Table::kDead, entry.letter);
  // As ranges: keys of kSpecs only rise among a batch's mutations.
  for (Table table : {Table::kTasks, Table::kSpecs, Table::kOutcomes})
    batch.EraseRange(table, entry.task, entry.task);
  DropTrails(batch, entry.task, entry.task);
  if (ZS_PLANTED("deleted-key-free") && keys_.OfTask(entry.task) != nullptr)
    KeyGone(batch, entry.task);
  if (chains_.Has(entry.task)) DropChain(batch, entry.task);
  --lanes_.queue_of(entry.lane).counts[static_cast<size_t>(TaskState::kDead)];
  --dead_;
  LeaveLane(batch, entry.lane);
}

void State::ProducerGone(Batch& batch, uint64_t number) {
  auto it = producers_.find(number);
  ZS_CHECK(it != producers_.end());
  producer_by_client_.erase(it->second.client);
  producers_.erase(it);
  batch.Erase(Table::kProducers, number);
}

void State::WorkerGone(Batch& batch, uint32_t number) {
  auto it = workers_.find(number);
  ZS_CHECK(it != workers_.end() && it->second.leases == 0);
  worker_by_id_.erase(it->second.id);
  workers_.erase(it);
  batch.Erase(Table::kWorkers, number);
}

// --- Rows ----------------------------------------------------------------------------------------

void State::FillRow(const Task& task, TaskRow& row) const {
  row.order = task.order;
  row.lane = task.lane;
  row.timeout_ms = task.timeout_ms;
  row.bytes = task.bytes;
  row.retry_base_ms = task.retry_base_ms;
  row.retry_cap_ms = task.retry_cap_ms;
  row.attempt = task.attempt;
  row.max_attempts = task.max_attempts;
  row.failures = task.failures;
  row.lost = task.lost;
  row.state = task.state;
  row.priority = task.priority;
  row.durability = static_cast<Durability>(task.durability);
  row.cancelling = task.cancelling;
  row.at_most_once = task.at_most_once;
  row.chained = task.chained;
  row.expires = task.expires;
  if (task.state == TaskState::kReady)
    row.leased_ms = ready_clock_.TimeOf(static_cast<uint64_t>(std::abs(task.order)));
  if (task.state == TaskState::kSucceeded || task.state == TaskState::kCancelled)
    row.lane = lanes_[task.lane].base;
  if (task.lease != kNil) {
    const Lease& lease = leases_[task.lease];
    row.lease = lease.id;
    row.leased_ms = lease.leased_ms;
    row.worker = lease.worker;
  }
}

TaskRow State::RowOf(const Task& task) const {
  TaskRow row;
  FillRow(task, row);
  return row;
}

void State::WriteTaskRow(Batch& batch, const Task& task, int64_t finished_ms, uint32_t run_us) {
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  TaskRow& row = ExtendStruct<TaskRow>(batch.OpenRows());
  FillRow(task, row);
  row.finished_ms = finished_ms;
  row.run_us = run_us;
  batch.PutTail(Table::kTasks, task.id, offset);
}

void State::WriteProducer(Batch& batch, const Producer& producer) {
  std::string& rows = batch.OpenRows();
  auto offset = static_cast<uint32_t>(rows.size());
  AppendStruct(rows, ProducerRow{producer.client, producer.acked_below, producer.used_ms,
                                 static_cast<uint32_t>(producer.submits.size()), kRowVersion});
  for (const SubmitMemory& submit : producer.submits) {
    AppendStruct(rows, ProducerSubmit{submit.seq, submit.first_id, submit.accepted,
                                      static_cast<uint32_t>(submit.rejected.size())});
    for (const ProducerReject& reject : submit.rejected) AppendStruct(rows, reject);
  }
  AppendStruct(rows, uint64_t{producer.taken.ranges().size()});
  for (const SeqRanges::Range& range : producer.taken.ranges()) AppendStruct(rows, range);
  batch.PutTail(Table::kProducers, producer.number, offset);
}

void State::FlushFinished(Batch& batch, int64_t now_ms) {
  if (finished_runs_.empty()) return;
  JoinRuns(finished_runs_);
  std::string& rows = batch.OpenRows();
  const size_t offset = rows.size();
  AppendStruct(rows, FinishedRow{now_ms, 0, kRowVersion});
  uint32_t runs = 0;
  for (const OpenRun& open : finished_runs_)
    for (uint64_t first = open.first; first < open.end; ++runs) {
      const FinishedRun run = open.Part(first);
      AppendStruct(rows, run);
      first += run.tasks;
    }
  std::memcpy(rows.data() + offset + offsetof(FinishedRow, runs), &runs, sizeof runs);
  batch.PutTail(Table::kFinished, batch.next_lsn().value(), static_cast<uint32_t>(offset));
  finished_runs_.clear();
}

void State::FlushRows(Batch& batch) {
  ZS_CHECK(finished_runs_.empty());
  for (size_t i = 0; i < dirty_tasks_.size(); ++i) {
    if (i + kLookAhead < dirty_tasks_.size()) tasks_.Prefetch(dirty_tasks_[i + kLookAhead].slot);
    const DirtyTask& dirty = dirty_tasks_[i];
    Task& task = tasks_[dirty.slot];
    if (task.id != dirty.id || !task.dirty) continue;  // finished since: its row is written already
    task.dirty = 0;
    WriteTaskRow(batch, task, 0, 0);
  }
  dirty_tasks_.clear();
  for (uint64_t number : dirty_producers_) {
    auto it = producers_.find(number);
    if (it == producers_.end()) continue;
    it->second.dirty = false;
    if (ZS_PLANTED("submits-not-stored")) continue;
    WriteProducer(batch, it->second);
  }
  dirty_producers_.clear();
  if (batch.record_ends().empty()) return;
  meta_.lsn = batch.last_lsn().value();
  meta_.hash = batch.hash();
  meta_.ready_ms = ready_clock_.last_ms();
  std::string row;
  AppendStruct(row, meta_);
  batch.Put(Table::kMeta, kMetaState, row);
}

}  // namespace zsched::broker
