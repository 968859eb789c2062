// Rebuild: the in-memory index from the journal's tables, at the start of a broker. Reading the
// tables must give the same state as applying the log; tests compare the two by Fingerprint.
#include <algorithm>
#include <cstdlib>
#include <set>

#include "base/planted.h"
#include "broker/core/queue_settings.h"
#include "broker/core/schedule_settings.h"
#include "broker/core/state.h"
#include "broker/core/type_rules.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

std::string Text(std::string_view view) { return std::string(view); }

}  // namespace

absl::Status BadRow(const char* table, uint64_t key) {
  return Error(ErrorCode::kDataLoss, std::string("row ") + std::to_string(key) + " of table " +
                                         table + " cannot be read; restore a backup");
}

absl::Status State::RebuildTask(TaskId id, const TaskRow& row, std::vector<ReadyRow>& ready) {
  if (row.version != kRowVersion || !lanes_.Has(row.lane) || row.priority >= kPriorities ||
      row.state > TaskState::MAX || (row.cancelling != 0 && row.state != TaskState::kLeased))
    return BadRow("tasks", id.value());
  Queue& queue = lanes_.queue_of(row.lane);
  ++queue.counts[static_cast<size_t>(row.state)];
  if (row.state == TaskState::kSucceeded || row.state == TaskState::kCancelled) {
    ++finished_;
    return absl::OkStatus();
  }
  ++lanes_[row.lane].tasks;
  chained_ += row.chained;
  if (row.state == TaskState::kDead) {
    ++dead_;
    return absl::OkStatus();
  }
  uint32_t slot = tasks_.Insert(id);
  Task& task = tasks_[slot];
  task.order = row.order;
  FillTask(task, row);
  if (ZS_PLANTED("once-not-stored")) task.at_most_once = 0;
  if (!ZS_PLANTED("chains-not-stored")) task.chained = row.chained;
  if (!ZS_PLANTED("expiries-not-stored")) task.expires = row.expires;
  task.state = row.state;
  CountUnfinished(task);
  switch (row.state) {
    case TaskState::kReady:
      ready.push_back({slot, row.leased_ms});
      break;
    case TaskState::kScheduled:
    case TaskState::kRetryWait:
      if (ZS_PLANTED("restart-loses-waits")) break;
      timers_.Add(slot);
      break;
    case TaskState::kLeased: {
      auto worker = workers_.find(row.worker);
      if (worker == workers_.end()) return BadRow("tasks", id.value());
      task.lease = NewLease();
      Lease& lease = leases_[task.lease];
      lease.id = row.lease;
      lease.task = slot;
      lease.worker = row.worker;
      lease.leased_ms = row.leased_ms;
      LinkToWorker(slot, worker->second);
      lanes_.CountRunning(row.lane, +1);
      if (!ZS_PLANTED("cancel-not-recorded")) task.cancelling = row.cancelling;
      break;
    }
    default:
      return BadRow("tasks", id.value());
  }
  return absl::OkStatus();
}

// The rows come by rising id, which is nearly always the order of the lines already.
void State::LinkReady(std::vector<ReadyRow>& ready) {
  auto before = [&](const ReadyRow& a, const ReadyRow& b) {
    const Task &x = tasks_[a.slot], &y = tasks_[b.slot];
    return std::tie(x.order, x.id) < std::tie(y.order, y.id);
  };
  if (!std::is_sorted(ready.begin(), ready.end(), before))
    std::sort(ready.begin(), ready.end(), before);
  for (const ReadyRow& row : ready) lanes_.PushBack(row.slot);
  // Those that were given back stand in front of what came before them.
  auto lsn_of = [&](const ReadyRow& row) {
    return static_cast<uint64_t>(std::abs(tasks_[row.slot].order));
  };
  std::sort(ready.begin(), ready.end(),
            [&](const ReadyRow& a, const ReadyRow& b) { return lsn_of(a) < lsn_of(b); });
  for (const ReadyRow& row : ready) ready_clock_.Note(lsn_of(row), row.since_ms);
  ready_clock_.Note(meta_.lsn + 1, meta_.ready_ms);
}

// Lanes with keys come after their bases, which may have the higher numbers.
absl::Status State::RebuildLanes(const ScanTable& scan) {
  std::vector<std::pair<uint32_t, std::string>> keyed;
  auto create = [&](uint64_t key, std::string_view bytes, bool defer) -> absl::Status {
    RowReader in(bytes);
    LaneRow row;
    LaneNames names;
    if (!in.Read(row) || row.version != kRowVersion || !in.Take(row.queue_bytes, names.queue) ||
        !in.Take(row.type_bytes, names.type) ||
        !in.Take(row.concurrency_bytes, names.concurrency_key) ||
        !in.Take(row.fairness_bytes, names.fairness_key) || key == 0 || key >= meta_.next_lane)
      return BadRow("lanes", key);
    const auto number = static_cast<uint32_t>(key);
    if (defer && !names.plain()) {
      keyed.emplace_back(number, bytes);
      return absl::OkStatus();
    }
    if (lanes_.Find(names) != 0 || (!defer && lanes_.Find({names.queue, names.type, {}, {}}) == 0))
      return BadRow("lanes", key);
    lanes_.Create(number, names);
    return absl::OkStatus();
  };
  ZS_RETURN_IF_ERROR(scan(Table::kLanes, [&](uint64_t key, std::string_view bytes) {
    return create(key, bytes, /*defer=*/true);
  }));
  for (const auto& [number, bytes] : keyed)
    ZS_RETURN_IF_ERROR(create(number, bytes, /*defer=*/false));
  return absl::OkStatus();
}

absl::Status State::RebuildSchedules(const ScanTable& scan) {
  AlignedCopy copy;
  ZS_RETURN_IF_ERROR(
      scan(Table::kSchedules, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        RowReader in(bytes);
        ScheduleRow row;
        std::string_view body;
        if (!in.Read(row) || row.version != kRowVersion || !in.Take(row.body_bytes, body) ||
            key == 0 || key >= UINT32_MAX ||
            VerifyBody<wire::ScheduleSet>(copy.Align(body)) == nullptr)
          return BadRow("schedules", key);
        const auto number = static_cast<uint32_t>(key);
        Schedule& schedule = schedules_[number];
        schedule.number = number;
        schedule.body = Text(body);
        schedule_bytes_ += body.size();
        schedule_by_name_[Text(schedule.name())] = number;
        return absl::OkStatus();
      }));
  size_t rows = 0;
  ZS_RETURN_IF_ERROR(scan(Table::kTicks, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    auto it = key > UINT32_MAX ? schedules_.end() : schedules_.find(static_cast<uint32_t>(key));
    if (it == schedules_.end() || !RowReader(bytes).Read(it->second.row) ||
        !AreSane(it->second.row))
      return BadRow("ticks", key);
    if (ZS_PLANTED("cursor-not-stored")) it->second.row.cursor_ms = it->second.row.created_ms;
    if (ZS_PLANTED("waiting-ticks-forgotten")) it->second.row.held = 0, it->second.row.held_ms = 0;
    ++rows;
    return absl::OkStatus();
  }));
  // A schedule without a cursor would fire everything again.
  return rows == schedules_.size() ? absl::OkStatus() : BadRow("ticks", rows);
}

absl::Status State::Rebuild(const ScanTable& scan) {
  ZS_CHECK(tasks_.size() == 0 && lanes_.size() == 0);
  ZS_RETURN_IF_ERROR(scan(Table::kMeta, [&](uint64_t key, std::string_view row) -> absl::Status {
    RowReader in(row);
    if (key == kMetaState && (!in.Read(meta_) || meta_.version != kRowVersion))
      return BadRow("meta", key);
    return absl::OkStatus();
  }));
  ZS_RETURN_IF_ERROR(RebuildEpochs(scan));
  ZS_RETURN_IF_ERROR(RebuildLanes(scan));
  ZS_RETURN_IF_ERROR(scan(Table::kTypes, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    RowReader in(bytes);
    TypeRow row;
    std::string_view name;
    if (!in.Read(row) || !in.Take(row.name_bytes, name) || !AreSane(row, name) || key == 0 ||
        key >= meta_.next_type)
      return BadRow("types", key);
    if (ZS_PLANTED("type-rules-not-stored")) return absl::OkStatus();
    if (ZS_PLANTED("no-retry-forgotten")) row.no_retry = 0;
    Type& type = lanes_.types()[lanes_.FindOrCreateType(name)];
    type.rules = row;
    type.rules_number = static_cast<uint32_t>(key);
    return absl::OkStatus();
  }));
  ZS_RETURN_IF_ERROR(
      scan(Table::kQueues, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        RowReader in(bytes);
        QueueRow row;
        std::string_view name;
        if (!in.Read(row) || !in.Take(row.name_bytes, name) || !AreSane(row, name) || key == 0 ||
            key >= meta_.next_queue)
          return BadRow("queues", key);
        Queue& queue = lanes_.queues()[lanes_.FindOrCreateQueue(name)];
        if (ZS_PLANTED("settings-not-stored")) row = QueueRow{};
        queue.settings = row;
        queue.settings_number = static_cast<uint32_t>(key);
        return absl::OkStatus();
      }));
  ZS_RETURN_IF_ERROR(
      scan(Table::kWorkers, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        RowReader in(bytes);
        WorkerRow row;
        std::string_view name, host, version;
        if (!in.Read(row) || row.version != kRowVersion || !in.Take(row.name_bytes, name) ||
            !in.Take(row.host_bytes, host) || !in.Take(row.version_bytes, version))
          return BadRow("workers", key);
        Worker worker;
        worker.number = static_cast<uint32_t>(key);
        worker.id = row.id;
        worker.pid = row.pid;
        worker.seen_ms = row.seen_ms;
        worker.name = Text(name);
        worker.host = Text(host);
        worker.version = Text(version);
        worker_by_id_[row.id] = worker.number;
        workers_[worker.number] = std::move(worker);
        return absl::OkStatus();
      }));
  ZS_RETURN_IF_ERROR(
      scan(Table::kProducers, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        RowReader in(bytes);
        ProducerRow row;
        if (!in.Read(row) || row.version != kRowVersion) return BadRow("producers", key);
        Producer producer;
        producer.number = key;
        producer.client = row.client;
        producer.acked_below = row.acked_below;
        producer.used_ms = row.used_ms;
        for (uint32_t i = 0; i < row.submits; ++i) {
          ProducerSubmit submit;
          if (!in.Read(submit)) return BadRow("producers", key);
          SubmitMemory memory{submit.seq, submit.first_id, submit.accepted, {}};
          for (uint32_t k = 0; k < submit.rejected; ++k) {
            ProducerReject reject;
            if (!in.Read(reject)) return BadRow("producers", key);
            memory.rejected.push_back(reject);
          }
          producer.submits.push_back(std::move(memory));
        }
        uint64_t count;
        if (!in.Read(count) || count > SeqRanges::kMost) return BadRow("producers", key);
        std::vector<SeqRanges::Range> taken(count);
        for (SeqRanges::Range& range : taken)
          if (!in.Read(range)) return BadRow("producers", key);
        if (!producer.taken.Set(std::move(taken))) return BadRow("producers", key);
        producer_by_client_[producer.client] = key;
        producers_[key] = std::move(producer);
        return absl::OkStatus();
      }));
  ZS_RETURN_IF_ERROR(RebuildSchedules(scan));
  std::vector<ReadyRow> ready;
  ZS_RETURN_IF_ERROR(scan(Table::kTasks, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    RowReader in(bytes);
    TaskRow row;
    if (!in.Read(row)) return BadRow("tasks", key);
    return RebuildTask(TaskId(key), row, ready);
  }));
  LinkReady(ready);
  for (uint32_t lane = 1; lane < lanes_.end(); ++lane)
    if (lanes_.Has(lane) && !lanes_.IsPlain(lane) && lanes_[lane].tasks == 0)
      return BadRow("lanes", lane);
  ZS_RETURN_IF_ERROR(scan(Table::kKeys, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    if (ZS_PLANTED("keys-not-stored")) return absl::OkStatus();
    RowReader in(bytes);
    KeyRow row;
    if (!in.Read(row) || row.version != kRowVersion ||
        keys_.Find({row.hash_low, row.hash_high}).any())
      return BadRow("keys", key);
    keys_.Add(key, row);
    const uint32_t slot = tasks_.Find(TaskId(key));
    if ((slot == kNil) != (row.finished_ms != 0)) return BadRow("keys", key);
    if (slot != kNil) tasks_[slot].keyed = 1;
    return absl::OkStatus();
  }));
  keys_.SortByAge();
  ZS_RETURN_IF_ERROR(RebuildChains(scan));
  ZS_RETURN_IF_ERROR(RebuildExpiries(scan));
  ZS_RETURN_IF_ERROR(CheckDead(scan));
  return RebuildTrails(scan);
}

// Dead tasks are found by their rows of kDead only: one without a row would be out of reach.
absl::Status State::CheckDead(const ScanTable& scan) {
  uint64_t letters = 0;
  ZS_RETURN_IF_ERROR(scan(Table::kDead, [&](uint64_t key, std::string_view bytes) -> absl::Status {
    RowReader in(bytes);
    DeadRow row;
    if (!in.Read(row) || row.version != kRowVersion || key >= meta_.next_letter ||
        !lanes_.Has(row.lane) || tasks_.Find(TaskId(row.task)) != kNil)
      return BadRow("dead", key);
    ++letters;
    return absl::OkStatus();
  }));
  if (ZS_PLANTED("letters-given-twice")) meta_.next_letter = 1;
  if (letters == dead_) return absl::OkStatus();
  return Error(ErrorCode::kDataLoss, std::to_string(dead_) +
                                         " tasks are dead, but table dead has " +
                                         std::to_string(letters) + " rows; restore a backup");
}

std::string State::Fingerprint() const {
  std::set<std::string> lines;  // sorted, so that hash order does not show
  auto add = [&](auto... parts) {
    std::string line;
    ((line += parts, line += ' '), ...);
    lines.insert(line);
  };
  auto num = [](auto n) { return std::to_string(n); };
  add("meta", num(meta_.epoch), num(meta_.lsn), num(meta_.next_task), num(meta_.next_lease),
      num(meta_.next_lane), num(meta_.next_worker), num(meta_.next_producer), num(meta_.next_queue),
      num(meta_.next_type), num(meta_.next_letter), num(meta_.next_trail), num(dead_));
  tasks_.ForEach([&](uint32_t, const Task& task) {
    TaskRow row = RowOf(task);
    uint64_t before = 0;  // the neighbour in its line: order is state
    if (task.state == TaskState::kReady && task.prev != kNil) before = tasks_[task.prev].id;
    add("task", num(task.id), num(static_cast<int>(row.state)), num(row.order), num(row.lease),
        num(row.leased_ms), num(task.lane), num(row.timeout_ms), num(row.bytes),
        num(row.retry_base_ms), num(row.retry_cap_ms), num(row.worker), num(row.attempt),
        num(row.max_attempts), num(row.failures), num(row.lost), num(row.priority),
        num(static_cast<int>(row.durability)), num(static_cast<int>(row.cancelling)),
        num(static_cast<int>(row.at_most_once)), num(static_cast<int>(row.chained)),
        num(expiries_.StartBy(task.id)), num(static_cast<int>(expiries_.Waits(task.id))),
        num(before));
  });
  chains_.ForEach([&](uint64_t task, const Chain& chain) {
    add("chain", num(task), num(chain.fired), chain.body);
  });
  keys_.ForEach([&](uint64_t task, const KeyRow& row) {
    add("key", num(task), num(row.hash_low), num(row.hash_high), num(row.body_hash),
        num(row.finished_ms));
  });
  trails_.ForEach([&](uint64_t task, const Trail& trail) {
    add("trail", num(task), num(trail.number), num(trail.first), num(trail.notes),
        num(trail.wrote));
  });
  for (const Queue& queue : lanes_.queues()) {
    std::string counts;
    for (uint64_t count : queue.counts) counts += num(count) + ",";
    const QueueRow& rules = queue.settings;
    add("queue", queue.name, counts, num(queue.unfinished), num(queue.bytes),
        num(queue.settings_number), num(rules.max_tasks), num(rules.max_bytes),
        num(rules.rate_micro), num(rules.burst), num(rules.max_running), num(rules.timeout_ms),
        num(rules.retry_base_ms), num(rules.retry_cap_ms), num(rules.max_attempts),
        num(rules.weight), num(rules.paused), num(rules.key_max_running), num(rules.key_rate_micro),
        num(rules.key_burst), num(rules.ageing_ms), num(rules.draining));
  }
  for (const Type& type : lanes_.types())
    add("type", type.name, num(type.rules_number), num(type.running), num(type.rules.max_running),
        num(type.rules.rate_micro), num(type.rules.burst), num(type.rules.paused));
  for (uint32_t number = 1; number < lanes_.end(); ++number) {
    if (!lanes_.Has(number)) continue;
    const LaneNames names = lanes_.NamesOf(number);
    const Lane& lane = lanes_[number];
    add("lane", num(number), Text(names.queue), Text(names.type), Text(names.concurrency_key),
        Text(names.fairness_key), num(lane.base), num(lane.tasks),
        num(lanes_.keys()[lane.key].running));
  }
  for (const auto& [number, worker] : workers_)
    add("worker", num(number), ToString(worker.id), worker.name, num(worker.leases),
        num(worker.leased_bytes), num(worker.seen_ms));
  for (const auto& [number, producer] : producers_) {
    std::string submits;
    for (const SubmitMemory& s : producer.submits)
      submits += num(s.seq) + ":" + num(s.first_id) + "+" + num(s.accepted) + "-" +
                 num(s.rejected.size()) + ",";
    for (const SeqRanges::Range& range : producer.taken.ranges())
      submits += " " + num(range.first) + ".." + num(range.last) + "@" + num(range.epoch);
    add("producer", num(number), ToString(producer.client), num(producer.acked_below),
        num(producer.used_ms), submits);
  }
  for (const auto& [number, schedule] : schedules_) {
    const TicksRow& row = schedule.row;
    add("schedule", num(number), std::string(schedule.name()), schedule.body, num(row.created_ms),
        num(row.cursor_ms), num(row.held_ms), num(row.task), num(row.fired), num(row.skipped),
        num(row.missed), num(row.held), num(row.paused), num(row.gap));
  }
  for (const uint64_t epoch : epochs_) add("epoch", num(epoch));
  for (const auto& [number, row] : merges_)
    add("merge", num(number), num(row.log_hash), num(row.epoch), num(row.begun_ms),
        num(row.decided_ms), num(row.taken), num(row.finished), num(row.ended), num(row.resent),
        num(row.voided), num(row.schedules), num(row.parts), num(row.done));
  for (const auto& [number, frames] : resent_)
    for (const auto& [first_id, tasks] : frames)
      add("resent", num(number), num(first_id), num(tasks));
  add("finished", num(finished_), num(unfinished_bytes_), num(schedule_bytes_));
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace zsched::broker
