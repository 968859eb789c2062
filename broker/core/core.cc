#include "broker/core/core.h"

#include "base/planted.h"
#include "broker/core/record_writer.h"

namespace zsched::broker {

Core::Core(CoreConfig config)
    : config_(config),
      gates_(state_.lanes(), state_.tasks()),
      schedules_(state_),
      dispatcher_(state_.tasks(), state_.lanes(), gates_, state_.ready_clock()),
      deadlines_(LeaseLinks{&state_.leases()}, 0) {}

// So that appended() is the log's end from the beginning.
void Core::OnRebuilt() { batch_.Begin(state_.epoch(), Next(state_.lsn()), state_.meta().hash); }

absl::Status Core::Follow(Epoch epoch, std::string_view records) {
  if (batch_.epoch() != epoch) {
    ZS_CHECK(batch_.empty());
    batch_.Begin(epoch, Next(state_.lsn()), state_.meta().hash);
  }
  while (!records.empty()) {
    RecordHead head;
    if (RowReader in(records);
        !in.Read(head) || head.bytes < sizeof head || head.bytes > records.size())
      return Error(ErrorCode::kDataLoss, "log record cannot be applied: its size is wrong");
    ZS_RETURN_IF_ERROR(state_.Apply(batch_, records.substr(0, head.bytes)));
    records.remove_prefix(head.bytes);
  }
  state_.lanes().ClearChanges();  // nobody dispatches here; Start reports all of them
  return absl::OkStatus();
}

absl::Status Core::Start(const Uuid& cluster, Epoch epoch, Now now) {
  ZS_CHECK(batch_.empty() && epoch > state_.epoch());
  if (epoch.value() > kMaxEpoch)
    return Error(ErrorCode::kInternal,
                 "the data directory has been started " + std::to_string(PromotionsOf(epoch)) +
                     " times and has no epochs left; move its tasks to a new one");
  batch_.Begin(epoch, Next(state_.lsn()), state_.meta().hash);
  EpochStartedRecord record{epoch.value(), state_.meta().cluster ? state_.meta().cluster : cluster};
  OpenedRecord opened = OpenRecord(RecordKind::kEpochStarted, record);
  state_.EpochStarted(batch_, epoch, record.cluster, now.wall_ms);
  CloseRecord(opened, record, now);

  expire_tasks_from_ms_ =
      now.mono_ms + (state_.tasks().size() == 0 ? 0 : config_.visibility_timeout_ms);
  gates_.Advance(now.mono_ms);
  for (auto& [number, worker] : state_.workers()) {
    worker.silent_since = now.mono_ms;
    if (ZS_PLANTED("restart-ends-leases")) worker.silent_since -= config_.visibility_timeout_ms;
    if (worker.leases > 0) orphans_.insert(number);
  }
  if (ZS_PLANTED("orphans-keep-leases")) orphans_.clear();
  state_.lanes().ReportAll();
  deadlines_.Advance(now.mono_ms);
  state_.timers().Advance(now.wall_ms);
  schedules_.Load();
  return absl::OkStatus();
}

// What the state has done with the record that is about to be closed. A kMerged has nothing but entries.
void Core::Tell(RecordKind kind) {
  if (kind != RecordKind::kMerged)
    for (const ToldTask& task : state_.told()) AppendStruct(batch_.OpenRecord(), task);
  state_.told().clear();
}

void Core::TellName(std::string_view name) {
  AppendStruct(batch_.OpenRecord(), ToldName{name.size()});
  batch_.OpenRecord().append(name);
}

void Core::TakeBatch(Batch& out) {
  ZS_CHECK(told_clients_.empty() && served_workers_.empty());  // EndRound comes first
  state_.FlushRows(batch_);
  std::swap(batch_, out);
  batch_.Begin(state_.epoch(), out.next_lsn(), out.hash());
}

bool Core::Touch(SessionId session, Now now) {
  auto it = sessions_.find(session.value());
  if (it == sessions_.end()) return false;
  if (it->second.worker)
    workers_[it->second.slot].seen_ms = now.mono_ms;
  else
    clients_[it->second.slot].seen_ms = now.mono_ms;
  return true;
}

void Core::OnSessionBroken(SessionId session) {
  auto it = sessions_.find(session.value());
  if (it == sessions_.end()) return;
  SlotRef ref = it->second;
  if (ref.worker)
    OrphanWorker(ref.slot);
  else
    CloseClient(ref.slot, /*echo=*/false);
}

ClientSession* Core::FindClient(SessionId id) {
  auto it = sessions_.find(id.value());
  return it == sessions_.end() || it->second.worker ? nullptr : &clients_[it->second.slot];
}

WorkerSession* Core::FindWorkerSession(SessionId id) {
  auto it = sessions_.find(id.value());
  return it == sessions_.end() || !it->second.worker ? nullptr : &workers_[it->second.slot];
}

SessionId Core::NewSessionId() {
  ZS_CHECK(next_session_ < UINT32_MAX);  // Task::watcher holds the counter
  return MakeId<SessionId>(state_.epoch(), next_session_++);
}

}  // namespace zsched::broker
