// The visible half: what each frame that enters or leaves the broker may say.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/str_cat.h"
#include "schemas/verify.h"
#include "tests/sim/oracle.h"

namespace zsched::sim {
namespace {

using broker::Endpoint;
using broker::TaskRow;
using broker::TaskState;
using wire::Durability;

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }
std::string LeaseName(uint64_t id) { return "lease " + ToString(LeaseId(id)); }

Uuid ToUuid(const wire::Uuid* id) { return id == nullptr ? Uuid{} : Uuid{id->hi(), id->lo()}; }

template <class T>
const T& Read(std::string_view body) {
  return *flatbuffers::GetRoot<T>(body.data());
}

}  // namespace

// --- In ---------------------------------------------------------------------------------------------------------------

void Oracle::FrameIn(Endpoint endpoint, std::string_view routing_id, std::string_view bytes) {
  auto frame = OpenFrame(aligned_.Align(bytes));
  if (!frame.ok()) return;
  scheduler_.Trace("in", static_cast<uint64_t>(frame->header.type), frame->header.checksum,
                   frame->header.session);
  if (frame->header.type == MessageType::kHello) {
    client_greeting_[std::string(routing_id)] = ToUuid(Read<wire::Hello>(frame->body).id());
  } else if (frame->header.type == MessageType::kWorkerHello) {
    OnWorkerHello(routing_id, Read<wire::WorkerHello>(frame->body));
  } else if (!Follows(routing_id, frame->header)) {
    return;
  } else if (endpoint == Endpoint::kClient) {
    OnClientFrame(frame->header.session, *frame);
  } else {
    OnWorkerFrame(*frame);
  }
}

// Runs are far too short for numbers to wrap.
bool Oracle::Follows(std::string_view routing_id, const FrameHeader& header) {
  auto stream = streams_.find(header.session);
  if (stream == streams_.end() || stream->second.routing_id != routing_id || stream->second.broken)
    return false;
  if (header.number == stream->second.in + 1) {
    ++stream->second.in;
    return true;
  }
  stream->second.broken = header.number > stream->second.in;
  auto worker = worker_sessions_.find(header.session);
  if (worker != worker_sessions_.end()) worker->second.broken = stream->second.broken;
  return false;
}

void Oracle::CheckNumber(std::string_view routing_id, const FrameHeader& header) {
  if (header.session == 0) {
    if (header.number != 0) Fail("a frame outside of a session has a number");
    return;
  }
  Stream& stream = streams_[header.session];
  stream.routing_id = std::string(routing_id);
  if (header.number != ++stream.out)
    Fail(absl::StrCat("session ", ToString(SessionId(header.session)), " sends number ",
                      header.number, " instead of ", stream.out));
  if (stream.broken)
    Fail(absl::StrCat("session ", ToString(SessionId(header.session)), " goes on after a gap"));
}

void Oracle::OnClientFrame(uint64_t session, const FrameView& frame) {
  auto client = client_of_session_.find(session);
  if (client == client_of_session_.end()) return;
  if (frame.header.type == MessageType::kSubmit)
    OnSubmit(client->second, Read<wire::Submit>(frame.body), frame.body);
  OnScheduleFrame(session, frame);
  if (frame.header.type == MessageType::kQueueSet)
    QueueRuleAsked(Read<wire::QueueSet>(frame.body).queue()->str());
  if (frame.header.type == MessageType::kTypeSet)
    TypeRuleAsked(Read<wire::TypeSet>(frame.body).type()->str());
  OnDeadFrame(session, frame);
  if (frame.header.type == MessageType::kCancelTasks) {
    const auto& cancel = Read<wire::CancelTasks>(frame.body);
    std::vector<uint64_t>& ids = cancels_[{session, cancel.request()}];
    ids.assign(cancel.ids()->begin(), cancel.ids()->end());
    for (uint64_t id : ids) tasks_[id].cancel_asked = true;
  }
}

void Oracle::OnSubmit(const Uuid& client, const wire::Submit& submit, std::string_view body) {
  auto [it, is_new] = submits_.try_emplace({client, submit.seq()});
  SubmittedFrame& known = it->second;
  uint64_t hash = XXH3_64bits(body.data(), body.size());
  if (!is_new) {
    if (hash != known.body_hash)
      Fail(absl::StrCat("seq ", submit.seq(), " was sent again with other bytes"));
    return;
  }
  known.body_hash = hash;
  for (const wire::TaskSpec* spec : *submit.tasks()) {
    std::string_view payload = BytesOf(spec->payload());
    known.tasks.push_back({std::string(payload.substr(0, payload.find('|'))),
                           std::string(TextOf(spec->key())),
                           spec->durability() == Durability::kMemory});
    NoteWish(*spec, known.tasks.back().marker);
  }
}

void Oracle::OnWorkerFrame(const FrameView& frame) {
  auto it = worker_sessions_.find(frame.header.session);
  if (it == worker_sessions_.end()) return;
  WorkerSession& worker = it->second;
  Heard(worker);
  if (frame.header.type != MessageType::kHeartbeat) worker.stirred_us = scheduler_.now_us();
  switch (frame.header.type) {
    case MessageType::kHeartbeat:
      if (++worker.beats; worker.grants.back().tasks == 0 && worker.last_call == 0)
        worker.last_call = worker.beats;
      return NoteStarted(worker, Read<wire::Heartbeat>(frame.body));
    case MessageType::kGoodbye:
      worker.certain = false;
      return;
    case MessageType::kCredit: {
      const auto& credit = Read<wire::Credit>(frame.body);
      credit_given_ = true;
      if (credit.tasks() > 0) worker.last_call = 0;
      worker.grants.back().until_batch = batches_taken_;
      worker.grants.push_back({0, credit.tasks(), credit.bytes()});
      return;
    }
    case MessageType::kRelease:
      for (const wire::LeaseRef* ref : *Read<wire::Release>(frame.body).leases())
        worker.outstanding.erase(ref->lease_id());
      return;
    case MessageType::kProgress:
      return OnProgress(worker, Read<wire::Progress>(frame.body));
    case MessageType::kOutput:
      return OnOutput(worker, Read<wire::Output>(frame.body));
    case MessageType::kResults:
      return OnResults(worker, Read<wire::Results>(frame.body));
    default:
      return;
  }
}

void Oracle::OnResults(WorkerSession& session, const wire::Results& results) {
  std::vector<ReportedResult>& reported = session.results[results.seq()];
  auto add = [&](uint64_t task, uint64_t lease, bool done) -> ReportedResult& {
    auto live = live_lease_.find(task);
    bool superseded = live == live_lease_.end() || live->second != lease;
    session.outstanding.erase(lease);
    return reported.emplace_back(
        ReportedResult{.task = task, .lease = lease, .done = done, .must_be_stale = superseded});
  };
  if (results.done() != nullptr)
    for (const wire::Done* done : *results.done()) add(done->task_id(), done->lease_id(), true);
  if (results.results() != nullptr)
    for (const wire::Result* result : *results.results()) {
      ReportedResult& noted = add(result->task_id(), result->lease_id(), result->succeeded());
      noted.code = ErrorFromNumber(result->error_code());
      noted.never = result->advice() == wire::RetryAdvice::kNever;
      noted.arrived_us = scheduler_.now_us();
      if (result->advice() != wire::RetryAdvice::kAfter) continue;
      noted.retry_after_ms = static_cast<int64_t>(result->retry_after_ms());
      TaskFacts& task = tasks_[result->task_id()];
      task.retry_after_ms = std::max(task.retry_after_ms, noted.retry_after_ms);
    }
}

// --- Out --------------------------------------------------------------------------------------------------------------

void Oracle::FrameOut(Endpoint, std::string_view routing_id, const FrameHeader& header,
                      std::string_view body) {
  scheduler_.Trace("out", static_cast<uint64_t>(header.type), XXH3_64bits(body.data(), body.size()),
                   header.session);
  CheckNumber(routing_id, header);
  body = aligned_.Align(body);
  switch (header.type) {
    case MessageType::kWelcome:
      client_of_session_[header.session] = client_greeting_[std::string(routing_id)];
      return;
    case MessageType::kWorkerWelcome:
      return WorkerWelcomed(routing_id, Read<wire::WorkerWelcome>(body));
    case MessageType::kSubmitAck:
      return CheckSubmitAck(header.session, Read<wire::SubmitAck>(body));
    case MessageType::kOutcomes:
      return CheckOutcomes(Read<wire::Outcomes>(body));
    case MessageType::kTaskInfos:
      return CheckInfos(Read<wire::TaskInfos>(body));
    case MessageType::kHistoryInfo:
      return CheckHistory(Read<wire::HistoryInfo>(body));
    case MessageType::kLogPages:
      return CheckLogs(Read<wire::LogPages>(body));
    case MessageType::kItemReply:
      CheckDeadReply(header.session, Read<wire::ItemReply>(body));
      return CheckCancelAck(header.session, Read<wire::ItemReply>(body));
    case MessageType::kScheduleInfos:
      return CheckScheduleInfos(header.session, Read<wire::ScheduleInfos>(body));
    case MessageType::kDeadLetters:
      return CheckDeadLetters(header.session, Read<wire::DeadLetters>(body));
    case MessageType::kTasks:
      return CheckTasks(header.session, Read<wire::Tasks>(body));
    case MessageType::kHeartbeatAck:
      return HeartbeatAcked(header.session);
    case MessageType::kResultAck:
      return CheckResultAck(header.session, Read<wire::ResultAck>(body));
    case MessageType::kCancel:
      return Cancelled(header.session, Read<wire::Cancel>(body));
    case MessageType::kRecall:
      return CheckRecall(header.session, Read<wire::Recall>(body));
    default:
      return;
  }
}

void Oracle::StaleFrameOut(std::string_view routing_id, const FrameHeader& header,
                           std::string_view body) {
  scheduler_.Trace("out, stale", static_cast<uint64_t>(header.type),
                   XXH3_64bits(body.data(), body.size()), header.session);
  CheckNumber(routing_id, header);
  body = aligned_.Align(body);
  switch (header.type) {
    case MessageType::kWelcome:
      client_of_session_[header.session] = client_greeting_[std::string(routing_id)];
      return;
    case MessageType::kSubmitAck:
      return CheckSubmitAck(header.session, Read<wire::SubmitAck>(body));
    case MessageType::kOutcomes:
      return CheckOutcomes(Read<wire::Outcomes>(body));
    case MessageType::kTasks:
      // Attempts that run in vain, unless the active one takes them over.
      for (const wire::Assignment* task : *Read<wire::Tasks>(body).tasks())
        leases_.try_emplace(task->lease_id(), LeaseFacts{task->task_id(), task->attempt(),
                                                         task->timeout_ms(), scheduler_.now_us()});
      return;
    default:
      return;
  }
}

void Oracle::Cancelled(uint64_t session, const wire::Cancel& cancel) {
  auto worker = worker_sessions_.find(session);
  if (worker == worker_sessions_.end()) return Fail("CANCEL to a session that was not welcomed");
  worker->second.stirred_us = scheduler_.now_us();
  for (uint64_t lease : *cancel.leases()) {
    if (cancel.code() == static_cast<uint16_t>(ErrorCode::kCancelled)) {
      const TaskRow& row = tasks_[leases_[lease].task].row;
      if (row.lease == lease && row.state == TaskState::kLeased && row.cancelling == 0)
        return Fail(LeaseName(lease) + " is cancelled before that is durable");
      worker->second.told.insert(lease);
      continue;  // it stays the worker's
    }
    worker->second.outstanding.erase(lease);
    auto known = leases_.find(lease);
    if (known == leases_.end()) continue;
    auto live = live_lease_.find(known->second.task);
    if (live != live_lease_.end() && live->second == lease) live_lease_.erase(live);
  }
}

void Oracle::CheckCancelAck(uint64_t session, const wire::ItemReply& reply) {
  if (!cancels_.contains({session, reply.request()})) return;  // of a RETRY
  for (const wire::ItemResult* item : *reply.items()) {
    const std::string name = Name(item->id());
    TaskFacts& task = tasks_[item->id()];
    const bool cancelled =
        task.has_row && (task.row.state == TaskState::kCancelled || task.row.cancelling != 0);
    switch (ErrorFromNumber(item->code())) {
      case ErrorCode::kOk:
        if (!cancelled) Fail(name + ": its cancel was acknowledged before it was durable");
        task.cancel_acked = true;
        break;
      case ErrorCode::kConflict:
        if (cancelled || task.ends.empty())
          Fail(name + ": its cancel was refused, but it has not ended otherwise");
        break;
      case ErrorCode::kNotFound:
        if (task.acked && !task.pruned) Fail(name + " was acknowledged and cannot be cancelled");
        break;
      default:
        Fail(name + ": its cancel was answered by " +
             std::string(TextOf(ErrorFromNumber(item->code()))));
    }
  }
}

// Decided by now, so in the open batch at the latest.
void Oracle::OweCancel(uint64_t session, uint64_t lease) {
  owed_cancels_.push_back({batches_taken_ + 1, session, lease});
}

void Oracle::CheckOwedCancels() {
  for (; !owed_cancels_.empty() && owed_cancels_.front().until_batch <= batches_reported_;
       owed_cancels_.pop_front()) {
    const OwedCancel& owed = owed_cancels_.front();
    const WorkerSession& session = worker_sessions_[owed.session];
    if (IsKnown(session) && !session.broken && session.outstanding.contains(owed.lease) &&
        !session.told.contains(owed.lease))
      Fail("the worker of " + LeaseName(owed.lease) + " is not told that its task is cancelled");
  }
}

void Oracle::CheckSubmitAck(uint64_t session, const wire::SubmitAck& ack) {
  auto submit = submits_.find({client_of_session_[session], ack.seq()});
  if (submit == submits_.end())
    return Fail(absl::StrCat("SUBMIT_ACK of seq ", ack.seq(), ", which was not sent"));
  SubmittedFrame& frame = submit->second;
  absl::flat_hash_map<uint32_t, bool> rejected;
  if (ack.rejected() != nullptr)
    for (const wire::Rejected* reject : *ack.rejected()) {
      rejected[reject->index()] = true;
      if (reject->existing() != 0 && reject->index() < frame.tasks.size())
        CheckRepeated(frame.tasks[reject->index()], *reject);
    }
  if (ack.accepted() + rejected.size() != frame.tasks.size())
    return Fail(absl::StrCat("SUBMIT_ACK of seq ", ack.seq(), " does not judge every task"));
  const bool durable = ack.durability() != Durability::kMemory;
  uint64_t id = ack.first_id();
  for (uint32_t i = 0; i < frame.tasks.size(); ++i) {
    if (rejected.contains(i)) continue;
    TaskFacts& task = tasks_[id];
    if (!durable && !frame.tasks[i].memory)
      return Fail(Name(id) + " was acknowledged as in memory, but asked for disk");
    if (durable && !task.durable) return Fail(Name(id) + " was acknowledged before it was durable");
    if (durable && task.marker != frame.tasks[i].marker)
      return Fail(absl::StrCat(Name(id), " is ", task.marker, ", but was acknowledged as ",
                               frame.tasks[i].marker));
    task.acked |= durable;
    ++id;
  }
  if (!durable || ack.accepted() == 0) return;
  if (frame.first_id != 0 && (frame.first_id != ack.first_id() || frame.accepted != ack.accepted()))
    return Fail(absl::StrCat("two answers to seq ", ack.seq(), " differ"));
  frame.first_id = ack.first_id();
  frame.accepted = ack.accepted();
}

// Instead of a new task there is one that holds the key.
void Oracle::CheckRepeated(const SubmittedTask& task, const wire::Rejected& answer) {
  const uint64_t id = answer.existing();
  auto holder = id_of_key_.find(task.key);
  if (task.key.empty() || holder == id_of_key_.end() || holder->second != id)
    return Fail(Name(id) + " is said to hold key '" + task.key + "', and does not");
  const bool same = tasks_[id].marker == task.marker, repeats = answer.code() == 0;
  if (repeats != same)
    Fail(absl::StrCat(task.marker, " came under the key of ", Name(id), ", which is ",
                      tasks_[id].marker, ", and was ", repeats ? "taken for it" : "refused"));
}

void Oracle::CheckOutcomes(const wire::Outcomes& outcomes) {
  if (outcomes.succeeded() != nullptr)
    for (uint64_t id : *outcomes.succeeded()) CheckOutcome(id, TaskState::kSucceeded, "");
  if (outcomes.outcomes() == nullptr) return;
  for (const wire::Outcome* outcome : *outcomes.outcomes()) {
    if (outcome->error_code() != static_cast<uint16_t>(ErrorCode::kNotFound)) {
      CheckOutcome(outcome->id(), outcome->state(), BytesOf(outcome->result()));
      if ((outcome->state() == TaskState::kCancelled) !=
          (outcome->error_code() == static_cast<uint16_t>(ErrorCode::kCancelled)))
        Fail(Name(outcome->id()) + ": its state and its error do not agree about a cancel");
      continue;
    }
    auto it = tasks_.find(outcome->id());
    if (it != tasks_.end() && it->second.acked && !it->second.pruned)
      Fail(Name(outcome->id()) + " was acknowledged and is now said not to exist");
  }
}

void Oracle::CheckOutcome(uint64_t id, TaskState state, std::string_view result) {
  const TaskFacts& task = tasks_[id];
  for (const auto& [end, lease] : task.ends) {
    if (end != state) continue;
    if (state != TaskState::kSucceeded || truths_[lease].result == result) return;
    return Fail(absl::StrCat(Name(id), ": the result that is told is not the handler's"));
  }
  Fail(absl::StrCat(Name(id), ": told as ", wire::EnumNameTaskState(state),
                    " before that was durable"));
}

// False: it is not true, which has been noted.
bool Oracle::CheckInfo(const wire::TaskInfo& info) {
  const TaskFacts& task = tasks_[info.id()];
  if (!task.durable) Fail(Name(info.id()) + ": shown, but not on disk");
  if (broker::IsFinished(info.state()))
    CheckOutcome(info.id(), info.state(), BytesOf(info.result()));
  if (info.parent() != task.parent) Fail(Name(info.id()) + " is shown with another parent");
  const bool dead = info.state() == TaskState::kDead;
  if (dead ? !task.fingerprints.contains(info.fingerprint()) : info.fingerprint() != 0)
    Fail(Name(info.id()) + " is shown with a fingerprint that no error of it had");
  return !failed();
}

void Oracle::CheckInfos(const wire::TaskInfos& infos) {
  if (infos.tasks() != nullptr)
    for (const wire::TaskInfo* info : *infos.tasks()) {
      if (!CheckInfo(*info)) return;
      if (info->progress() != nullptr) CheckProgress(info->id(), *info->progress());
    }
  if (infos.missing() == nullptr) return;
  for (uint64_t id : *infos.missing()) {
    auto it = tasks_.find(id);
    if (it != tasks_.end() && it->second.acked && !it->second.pruned)
      Fail(Name(id) + " was acknowledged and is missing");
  }
}

void Oracle::CheckTasks(uint64_t session, const wire::Tasks& tasks) {
  auto it = worker_sessions_.find(session);
  if (it == worker_sessions_.end()) return Fail("TASKS to a session that was not welcomed");
  WorkerSession& worker = it->second;
  if (worker.last_call != 0 && worker.beats_acked >= worker.last_call)
    return Fail("TASKS to a worker that grants none and had the ack of its last call");
  worker.stirred_us = scheduler_.now_us();
  for (const wire::Assignment* task : *tasks.tasks()) {
    const uint64_t id = task->task_id(), lease = task->lease_id();
    const TaskFacts& facts = tasks_[id];
    if (!facts.durable) return Fail(Name(id) + " was handed out before it was durable");
    std::string_view payload = BytesOf(task->payload());
    if (payload.substr(0, payload.find('|')) != facts.marker ||
        payload.size() != facts.bytes - facts.passed_bytes)
      return Fail(Name(id) + " was handed out with another payload");
    if (!leases_
             .try_emplace(lease,
                          LeaseFacts{id, task->attempt(), task->timeout_ms(), scheduler_.now_us()})
             .second)
      return Fail(LeaseName(lease) + " was used before");
    if (facts.cancel_acked)
      return Fail(Name(id) + " was handed out after its cancel was acknowledged");
    CheckParent(*task, facts);
    CheckStartWithin(id, *task);
    CheckEarly(id, facts);
    CheckCheckpoint(id, *task);
    CheckHandOut(wishes_[facts.marker]);
    live_lease_[id] = lease;
    worker.outstanding[lease] = facts.bytes;
  }
  CheckCredit(session, worker);
}

void Oracle::CheckCredit(uint64_t session, const WorkerSession& worker) {
  // What leaves now belongs to the batch that was reported last. A grant that is over counts if that
  // batch was still open then.
  uint32_t tasks = 0;
  uint64_t bytes = 0, held = 0;
  for (const Grant& grant : worker.grants) {
    bool in_force = &grant == &worker.grants.back() || grant.until_batch + 1 >= batches_reported_;
    if (!in_force) continue;
    tasks = std::max(tasks, grant.tasks);
    bytes = std::max(bytes, grant.bytes);
  }
  for (const auto& [lease, size] : worker.outstanding) held += size;
  if (worker.outstanding.size() > tasks || (held > bytes && worker.outstanding.size() > 1))
    Fail(absl::StrCat("session ", ToString(SessionId(session)), " has ", worker.outstanding.size(),
                      " tasks and ", held, " bytes outstanding, over its credit of ", tasks,
                      " tasks and ", bytes, " bytes"));
}

void Oracle::CheckResultAck(uint64_t session, const wire::ResultAck& ack) {
  auto it = worker_sessions_.find(session);
  if (it == worker_sessions_.end()) return Fail("RESULT_ACK to a session that was not welcomed");
  auto& results = it->second.results;
  auto frame = results.find(ack.seq());
  if (frame == results.end() || frame != results.begin())
    return Fail(absl::StrCat("RESULT_ACK of seq ", ack.seq(), " out of turn"));
  std::set<uint64_t> stale;
  if (ack.stale() != nullptr) stale.insert(ack.stale()->begin(), ack.stale()->end());
  for (const ReportedResult& result : frame->second) {
    if (stale.contains(result.lease)) continue;
    if (result.must_be_stale)
      return Fail(absl::StrCat(Name(result.task), ": a result under the superseded ",
                               LeaseName(result.lease), " was accepted"));
    CheckAccepted(result);
    if (tasks_[result.task].pruned) continue;
    CheckLastWords(result);
    CheckLastOutput(result);
  }
  results.erase(frame);
}

// The worker may forget the result now, so the disk must know it.
void Oracle::CheckAccepted(const ReportedResult& result) {
  TaskFacts& task = tasks_[result.task];
  if (task.pruned) return;
  const broker::TaskRow& row = task.row;
  const uint16_t attempt = leases_[result.lease].attempt;
  bool known = task.has_row && row.attempt >= attempt &&
               !(row.state == TaskState::kLeased && row.lease == result.lease);
  const bool cancelled = row.state == TaskState::kCancelled;
  if (known && result.done)
    known = (row.state == TaskState::kSucceeded || cancelled) && row.lease == result.lease;
  if (known && result.done && cancelled) ++reached_["cancelled_successes"];
  if (!known)
    Fail(absl::StrCat(Name(result.task), ": the result under ", LeaseName(result.lease),
                      " was acknowledged before it was durable"));
  if (!result.done) NoteFailure(result, task);
}

// Heartbeats are acknowledged in their order, but for those that a larger grant overtook.
void Oracle::HeartbeatAcked(uint64_t session) {
  auto it = worker_sessions_.find(session);
  if (it != worker_sessions_.end()) ++it->second.beats_acked;
}

void Oracle::WorkerWelcomed(std::string_view routing_id, const wire::WorkerWelcome& welcome) {
  const Greeting& greeting = worker_greeting_[std::string(routing_id)];
  WorkerSession& session = worker_sessions_[welcome.session()];
  session = WorkerSession{};
  session.greeting = greeting;
  session.heard_us = session.steady_us = greeting.arrived_us;
  session.stirred_us = scheduler_.now_us();
  session.grants.emplace_back();
  std::set<uint64_t> stale;
  if (welcome.stale() != nullptr) stale.insert(welcome.stale()->begin(), welcome.stale()->end());
  for (const HeldLease& held : greeting.held) {
    if (stale.contains(held.lease)) {
      if (greeting.must_keep.contains(held.lease))
        Fail(absl::StrCat(Name(held.task), ": its worker came back in time, and lost ",
                          LeaseName(held.lease)));
      continue;
    }
    live_lease_[held.task] = held.lease;
    session.outstanding[held.lease] = tasks_[held.task].bytes;
    const TaskRow& row = tasks_[held.task].row;
    if (row.lease != held.lease || row.cancelling == 0) continue;
    ++reached_["cancelled_away"];
    OweCancel(welcome.session(), held.lease);
  }
}

}  // namespace zsched::sim
