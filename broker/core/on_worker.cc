// Workers come, bring what they hold, grant credit, and go.
#include <algorithm>

#include "base/planted.h"
#include "base/text.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

using Names = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

absl::Status CheckNames(const char* field, const Names* names, size_t limit) {
  if (names == nullptr) return absl::OkStatus();
  if (names->size() > limit)
    return Error(ErrorCode::kInvalidArgument, std::string("WORKER_HELLO: ") + field + ": at most " +
                                                  std::to_string(limit) + " are allowed");
  for (const flatbuffers::String* name : *names)
    if (!IsValidName(TextOf(name)))
      return Error(ErrorCode::kInvalidArgument,
                   std::string("WORKER_HELLO: ") + field +
                       ": a name must be 1..128 bytes of UTF-8 without control characters");
  return absl::OkStatus();
}

std::vector<std::string> ToStrings(const Names* names) {
  std::vector<std::string> out;
  if (names != nullptr)
    for (const flatbuffers::String* name : *names) out.emplace_back(TextOf(name));
  return out;
}

absl::Status CheckHello(const wire::WorkerHello& hello) {
  auto invalid = [](std::string message) {
    return Error(ErrorCode::kInvalidArgument, "WORKER_HELLO: " + std::move(message));
  };
  if (hello.id() == nullptr || (hello.id()->hi() == 0 && hello.id()->lo() == 0))
    return invalid("id: missing; a worker needs a random 128-bit id");
  if (!IsValidName(TextOf(hello.name())))
    return invalid("name: must be 1..128 bytes of UTF-8 without control characters");
  for (const flatbuffers::String* text : {hello.host(), hello.version()})
    if (TextOf(text).size() > kMaxNameBytes || !IsUtf8(TextOf(text)))
      return invalid("host, version: must be at most 128 bytes of UTF-8");
  if (hello.held() != nullptr && hello.held()->size() > kMaxCreditTasks)
    return invalid("held: more leases than a worker may have");
  if (hello.labels() != nullptr && hello.labels()->size() > kMaxLabels)
    return invalid("labels: at most " + std::to_string(kMaxLabels) + " are allowed");
  if (hello.labels() != nullptr)
    for (const wire::Label* label : *hello.labels())
      if (TextOf(label->key()).size() > kMaxLabelKeyBytes || !IsValidName(TextOf(label->key())) ||
          TextOf(label->value()).size() > kMaxLabelValueBytes || !IsUtf8(TextOf(label->value())))
        return invalid("labels: a key or value is too long or not text");
  ZS_RETURN_IF_ERROR(CheckNames("queues", hello.queues(), kMaxWorkerQueues));
  return CheckNames("types", hello.types(), kMaxWorkerTypes);
}

}  // namespace

void Core::RegisterWorker(const wire::WorkerHello& hello, Now now) {
  Worker worker;
  worker.number = state_.meta().next_worker;
  worker.id = Uuid{hello.id()->hi(), hello.id()->lo()};
  worker.name = std::string(TextOf(hello.name()));
  worker.host = std::string(TextOf(hello.host()));
  worker.version = std::string(TextOf(hello.version()));
  worker.pid = hello.pid();
  worker.seen_ms = now.wall_ms;
  WorkerSeenRecord record;
  record.worker = worker.number;
  record.pid = worker.pid;
  record.id = worker.id;
  record.name_bytes = static_cast<uint16_t>(worker.name.size());
  record.host_bytes = static_cast<uint16_t>(worker.host.size());
  record.version_bytes = static_cast<uint16_t>(worker.version.size());
  OpenedRecord opened = OpenRecord(RecordKind::kWorkerSeen, record);
  batch_.OpenRecord().append(worker.name).append(worker.host).append(worker.version);
  state_.WorkerSeen(batch_, std::move(worker));
  CloseRecord(opened, record, now);
}

// Settles the leases of a worker that says hello: what it holds and may hold stays, what it lost
// the record of is adopted, what it does not hold goes back to its queue. Returns the leases it
// must drop.
std::vector<uint64_t> Core::TakeOver(Worker& worker, const wire::WorkerHello& hello, Now now) {
  std::vector<uint64_t> stale;
  absl::flat_hash_set<uint32_t> held;
  std::vector<AdoptedEntry> adopted;
  auto refs = hello.held();
  for (uint32_t i = 0; refs != nullptr && i < refs->size(); ++i) {
    const wire::LeaseRef* ref = refs->Get(i);
    if (uint32_t slot = FindLeased(ref->task_id(), ref->lease_id(), worker.number);
        slot != kNil && !ZS_PLANTED("return-loses-leases")) {
      held.insert(slot);
      // A RECALL may have been lost with the last session.
      state_.LeaseOf(state_.tasks()[slot]).recalled = false;
      continue;
    }
    // A lease of an earlier epoch that the log does not know: its record was not durable when the
    // broker died. The attempt goes on if the task waits for exactly this attempt. Leases of this
    // epoch are all known.
    uint32_t slot = state_.tasks().Find(TaskId(ref->task_id()));
    bool adopt = slot != kNil && state_.tasks()[slot].state == TaskState::kReady &&
                 (state_.tasks()[slot].attempt + 1u == ref->attempt() ||
                  ZS_PLANTED("any-attempt-adopted")) &&
                 EpochOf(LeaseId(ref->lease_id())) < state_.epoch() && held.insert(slot).second;
    if (adopt && !ZS_PLANTED("no-adoption"))
      adopted.push_back({ref->task_id(), ref->lease_id(), worker.number, ref->attempt()});
    else
      stale.push_back(ref->lease_id());
  }
  std::vector<uint32_t> returned;
  for (uint32_t slot = worker.leases_head; slot != kNil; slot = state_.tasks()[slot].next)
    if (!held.contains(slot) && !ZS_PLANTED("unnamed-leases-stay")) returned.push_back(slot);
  if (!adopted.empty()) {
    LeasedRecord record{0, adopted.size()};
    OpenedRecord opened = OpenRecord(RecordKind::kAdopted, record);
    for (const AdoptedEntry& entry : adopted) {
      AppendStruct(batch_.OpenRecord(), entry);
      state_.Leased(state_.tasks().Find(TaskId(entry.task)), LeaseId(entry.lease), entry.worker,
                    static_cast<uint16_t>(entry.attempt), now.wall_ms);
    }
    CloseRecord(opened, record, now);
    metrics_.Add(Metric::kTasksAdopted, adopted.size());
  }
  EndUnreported(std::move(returned), Charge::kRelease, ErrorCode::kOk, "", now);
  return stale;
}

bool Core::IsPast(const wire::WorkerHello& hello) {
  if (hello.id() == nullptr || hello.number() == 0 || ZS_PLANTED("past-hello-heeded")) return false;
  const Worker* worker = state_.FindWorker({hello.id()->hi(), hello.id()->lo()});
  return worker != nullptr && hello.number() <= worker->last_hello;
}

absl::StatusOr<SessionId> Core::OnWorkerHello(const wire::WorkerHello& hello, Now now) {
  ZS_RETURN_IF_ERROR(CheckHello(hello));
  Uuid id{hello.id()->hi(), hello.id()->lo()};
  Worker* worker = state_.FindWorker(id);
  bool again = worker != nullptr && worker->session != kNil;
  if (!again && worker_count_ >= config_.max_workers)
    return Error(ErrorCode::kResourceExhausted, "the broker serves as many workers as it may");
  if (worker == nullptr) {
    RegisterWorker(hello, now);
    worker = state_.FindWorker(id);
  }
  worker->last_hello = std::max(worker->last_hello, hello.number());
  if (again) {  // the newer session takes over; its leases are settled below
    effects_.push_back(ClosedEffect{workers_[worker->session].id, Lsn(0), false});
    LeaveWorker(worker->session);
  }
  uint32_t slot =
      free_workers_.empty() ? static_cast<uint32_t>(workers_.size()) : free_workers_.back();
  if (!dispatcher_.Join(slot, ToStrings(hello.queues()), ToStrings(hello.types()))) {
    worker->silent_since = now.mono_ms;
    if (worker->leases > 0) orphans_.insert(worker->number);
    return Error(ErrorCode::kResourceExhausted, "workers may differ in at most " +
                                                    std::to_string(Dispatcher::kMaxClasses) +
                                                    " combinations of queues and types");
  }
  if (free_workers_.empty())
    workers_.emplace_back();
  else
    free_workers_.pop_back();
  WorkerSession& session = workers_[slot];
  session = WorkerSession{};
  session.id = NewSessionId();
  session.worker = worker->number;
  session.queues = ToStrings(hello.queues());
  session.types = ToStrings(hello.types());
  if (hello.labels() != nullptr)
    for (const wire::Label* label : *hello.labels())
      session.labels.emplace_back(TextOf(label->key()), TextOf(label->value()));
  session.concurrency = hello.concurrency();
  session.draining = hello.draining();
  session.seen_ms = now.mono_ms;
  sessions_[session.id.value()] = {slot, true};
  ++worker_count_;
  worker->session = slot;
  orphans_.erase(worker->number);
  metrics_.Add(Metric::kSessionsOpened);
  std::vector<uint64_t> stale = TakeOver(*worker, hello, now);
  // It may hold more than it can run, and nothing else need be handed out for a look at that.
  if (worker->leases > 0) next_recall_ms_ = std::min(next_recall_ms_, now.mono_ms + kRecallAfterMs);
  metrics_.Add(Metric::kLeasesStale, stale.size());
  // The worker forgets what is stale, results too: what made it so must not be lost with this broker, or the
  // next one takes what its hello does not name for something that never ran.
  const Lsn wait = stale.empty() ? Lsn(0) : appended();
  effects_.push_back(WorkerWelcomeEffect{session.id, wait, std::move(stale)});
  if (!ZS_PLANTED("cancel-not-resent")) TellCancelled(*worker);
  return session.id;
}

// What its grant leaves of credit, and how much of that would begin at once.
Room Core::RoomOf(const WorkerSession& session, const Worker& worker) const {
  uint32_t grant_tasks = session.grant_tasks;
  if (ZS_PLANTED("one-over-grant")) ++grant_tasks;
  if (session.draining || worker.leases >= grant_tasks ||
      worker.leased_bytes >= session.grant_bytes)
    return Room();
  const uint32_t free = grant_tasks - worker.leases;
  const uint32_t hands = session.concurrency - std::min(session.concurrency, worker.leases);
  return Room(free, std::min(free, hands));
}

void Core::UpdateFree(uint32_t slot) {
  const WorkerSession& session = workers_[slot];
  dispatcher_.SetFree(slot, RoomOf(session, state_.workers().at(session.worker)));
}

void Core::OnCredit(SessionId from, const wire::Credit& credit) {
  WorkerSession* session = FindWorkerSession(from);
  if (session == nullptr) return;
  session->grant_tasks = std::min(credit.tasks(), kMaxCreditTasks);
  session->grant_bytes = std::min(credit.bytes(), kMaxCreditBytes);
  UpdateFree(sessions_.at(from.value()).slot);
}

void Core::OnRelease(SessionId from, const wire::Release& release, Now now) {
  WorkerSession* session = FindWorkerSession(from);
  if (session == nullptr) return;
  std::vector<uint32_t> slots;
  for (uint32_t i = 0; i < release.leases()->size(); ++i) {
    const wire::LeaseRef* ref = release.leases()->Get(i);
    uint32_t slot = FindLeased(ref->task_id(), ref->lease_id(), session->worker);
    if (slot != kNil && std::find(slots.begin(), slots.end(), slot) == slots.end())
      slots.push_back(slot);
  }
  EndUnreported(std::move(slots), Charge::kRelease, ErrorCode::kOk, "", now);
  UpdateFree(sessions_.at(from.value()).slot);
}

void Core::OnWorkerGoodbye(SessionId from, Now now) {
  auto it = sessions_.find(from.value());
  if (it != sessions_.end() && it->second.worker) CloseWorker(it->second.slot, /*echo=*/true, now);
}

// Ends the session and leaves the worker's leases as they are: the caller settles them.
void Core::LeaveWorker(uint32_t slot) {
  WorkerSession& session = workers_[slot];
  Worker& worker = state_.workers().at(session.worker);
  dispatcher_.Leave(slot);
  sessions_.erase(session.id.value());
  std::erase(served_workers_, slot);
  worker.session = kNil;
  worker.silent_since = session.seen_ms;
  session = WorkerSession{};
  free_workers_.push_back(slot);
  --worker_count_;
}

void Core::CloseWorker(uint32_t slot, bool echo, Now now) {
  const SessionId id = workers_[slot].id;
  const Worker& worker = state_.workers().at(workers_[slot].worker);
  LeaveWorker(slot);
  std::vector<uint32_t> slots;
  for (uint32_t task = worker.leases_head; task != kNil; task = state_.tasks()[task].next)
    slots.push_back(task);
  EndUnreported(std::move(slots), Charge::kLost, ErrorCode::kWorkerLost,
                "worker '" + worker.name + "' was lost while it held the task", now);
  effects_.push_back(ClosedEffect{id, echo ? appended() : Lsn(0), echo});
}

void Core::OrphanWorker(uint32_t slot) {
  const SessionId id = workers_[slot].id;
  Worker& worker = state_.workers().at(workers_[slot].worker);
  LeaveWorker(slot);
  if (ZS_PLANTED("gap-ends-leases")) worker.silent_since -= config_.visibility_timeout_ms;
  if (worker.leases > 0) orphans_.insert(worker.number);
  effects_.push_back(ClosedEffect{id, Lsn(0), /*echo=*/false});
}

void Core::OnWorkerDrain(SessionId from, uint64_t request, std::string_view wanted) {
  std::vector<uint32_t> found;
  for (uint32_t slot = 0; slot < workers_.size(); ++slot) {
    if (!workers_[slot].id) continue;
    const Worker& worker = state_.workers().at(workers_[slot].worker);
    std::string id = ToString(worker.id);
    if (worker.name == wanted || (wanted.size() >= 4 && id.compare(0, wanted.size(), wanted) == 0))
      found.push_back(slot);
  }
  ItemCode code{0, ErrorCode::kOk, {}};
  if (found.empty()) {
    code.code = ErrorCode::kNotFound;
    code.message = "no live worker has the id or name '" + std::string(wanted) + "'";
  } else if (found.size() > 1) {
    code.code = ErrorCode::kConflict;
    code.message = "'" + std::string(wanted) + "' names " + std::to_string(found.size()) +
                   " workers; give more of the id";
  } else {
    WorkerSession& session = workers_[found[0]];
    session.draining = true;
    UpdateFree(found[0]);
    effects_.push_back(DrainEffect{session.id, appended()});  // behind its WELCOME
  }
  effects_.push_back(ItemReplyEffect{from, Lsn(0), request, {std::move(code)}});
}

}  // namespace zsched::broker
