#include "tests/sim/sim_worker.h"

#include <algorithm>
#include <iterator>
#include <variant>

#include "base/check.h"
#include "schemas/verify.h"

namespace zsched::sim {
namespace {

// As worker/server/runtime.cc.
constexpr int64_t kObserveMs = 5;
constexpr int64_t kSendRetryMs = 10;
constexpr int64_t kResultAckTimeoutMs = 30'000;
constexpr int64_t kLastCallMs = 2'000;

// How soon a handler that heeds its cancellation returns.
constexpr int64_t kCancelSeenMaxUs = 20 * kMillisecond;
constexpr size_t kResultMaxBytes = 300;
constexpr size_t kCheckpointMaxBytes = 3'000;
constexpr int64_t kSayMost = 4;        // times of one attempt
constexpr int64_t kWriteMost = 3'000;  // lines at a time: more than is kept
// What handlers fail with, where types have rules about it.
constexpr ErrorCode kFailures[] = {ErrorCode::kHandlerFailed, ErrorCode::kInvalidArgument,
                                   ErrorCode::kProcessFailed};

std::vector<LeaseId> ToLeases(const flatbuffers::Vector<uint64_t>* ids) {
  std::vector<LeaseId> leases;
  if (ids != nullptr)
    for (uint64_t id : *ids) leases.emplace_back(id);
  return leases;
}

}  // namespace

SimWorker::SimWorker(World& world, int number) : Process(world), number_(number) {}
SimWorker::~SimWorker() = default;

void SimWorker::Boot() {
  Start();
  const WorkloadProfile& workload = world_.workload;
  slots_ = static_cast<int>(random_.Between(1, workload.concurrency_max));
  identity_ = worker::Identity{};
  identity_.id = Uuid{random_.Next(), random_.Next()};
  identity_.name = "worker-" + std::to_string(number_);
  identity_.concurrency = static_cast<uint32_t>(slots_);
  if (number_ > 0 && random_.Chance(workload.picky_workers)) {
    if (random_.Chance(0.5))
      identity_.queues = {"q" +
                          std::to_string(random_.Below(static_cast<uint64_t>(workload.queues)))};
    else
      identity_.types = {"t" +
                         std::to_string(random_.Below(static_cast<uint64_t>(workload.types)))};
  }
  worker::LedgerOptions options;
  options.concurrency = slots_;
  options.max_credit_bytes = workload.grant_bytes;
  ledger_ = std::make_unique<worker::Ledger>(options);
  SessionHooks hooks;
  hooks.hello = [this] {
    beats_sent_ = beats_answered_ = last_call_ = 0;
    return std::string(
        EncodeHello(identity_, ledger_->draining(), ledger_->Held(), ++hellos_, &builder_));
  };
  hooks.heartbeat = [this] {
    ++beats_sent_;
    return std::string(EncodeHeartbeat(ledger_->TakeHeartbeat(), &builder_));
  };
  session_ = std::make_unique<Session>(
      SessionOptions{
          .kind = SessionKind::kWorker, .brokers = world_.brokers, .seed = random_.Next()},
      std::move(hooks));
  world_.scheduler.Trace("worker up", static_cast<uint64_t>(number_), identity_.id.hi);
}

void SimWorker::Crash() {
  if (!up()) return;
  world_.scheduler.Trace("worker down", static_cast<uint64_t>(number_));
  Die();
  world_.network.Close(socket_);
  socket_ = 0;
  world_.reached["peer_frames_repeated"] += session_->repeated_frames();
  world_.reached["peer_sessions_broken"] += session_->gaps();
  session_.reset();
  ledger_.reset();
  reports_ = worker::Reports();
  outputs_ = worker::Outputs();
  inbox_.clear();
  queue_.clear();
  handlers_.clear();
  ended_.clear();
  ForgetSession();
  broken_ = absl::OkStatus();
  drain_asked_ = false;
}

// --- The loop, as Runtime::Round around Dealer::Poll ------------------------------------------------------------------------

void SimWorker::Round() {
  SessionActions actions;
  while (!inbox_.empty()) {
    std::string frame = std::move(inbox_.front());
    inbox_.pop_front();
    world_.network.ReadBy(socket_);
    session_->OnFrame(aligned_.Align(frame), now(), &actions);
    Execute(actions);
  }
  session_->OnTick(now(), &actions);
  Execute(actions);
  const int64_t now_ms = now().mono_ms;
  if (session_->state() == SessionState::kClosed) return Crash();  // an orderly end
  if (session_->state() == SessionState::kClosing) return WakeAtMono(session_->next_deadline_ms());
  if (std::exchange(drain_asked_, false)) ledger_->OnDrain(now_ms);
  for (const worker::Ended& ended : ended_) {
    reports_.OnEnded(ended.lease);
    outputs_.OnEnded(ended.lease);
  }
  ledger_->OnEnded(ended_, now_ms);
  ended_.clear();
  Observe();
  ledger_->OnTick(now_ms);
  CarryOut(ledger_->TakeOrders(now_ms));
  SendDue(now_ms);
  RestartWhenUnanswered(now_ms);
  StartHandlers(now_ms);
  if (Done(now_ms)) {
    session_->Close(now(), &actions);
    Execute(actions);
  }
  WakeAtMono(NextDeadlineMs(now_ms));
}

int64_t SimWorker::NextDeadlineMs(int64_t now_ms) {
  int64_t deadline = std::min(ledger_->NextDeadlineMs(), session_->next_deadline_ms());
  if (last_call_ != 0 && ledger_->drained(now_ms)) deadline = std::min(deadline, last_call_by_ms_);
  if (!unsent_.empty()) deadline = std::min(deadline, now_ms + kSendRetryMs);
  if (ledger_->waiting() > 0 && ledger_->StartsUntilMs() > now_ms)
    deadline = std::min(deadline, now_ms + kObserveMs);
  if (session_->ready())
    deadline = std::min({deadline, reports_.NextDeadlineMs(), outputs_.NextDeadlineMs()});
  return deadline;
}

void SimWorker::Execute(SessionActions& actions) {
  SessionActions now_due = std::exchange(actions, {});
  for (SessionAction& action : now_due) {
    if (auto* connect = std::get_if<ConnectAction>(&action)) {
      world_.network.Close(socket_);
      inbox_.clear();
      const uint64_t owner = 2 * static_cast<uint64_t>(number_) + 1;
      socket_ = world_.network.Connect(owner, connect->endpoint, [this](std::string frame) {
        inbox_.push_back(std::move(frame));
        WakeNow();
      });
    } else if (std::holds_alternative<DisconnectAction>(action)) {
      world_.network.Close(std::exchange(socket_, 0));
      inbox_.clear();
    } else if (auto* send = std::get_if<SendAction>(&action)) {
      Put(send->type, send->body);
    } else if (auto* up = std::get_if<UpAction>(&action)) {
      OnUp(up->welcome);
    } else if (std::holds_alternative<DownAction>(action)) {
      ForgetSession();
      ledger_->OnSessionDown(now().mono_ms);
    } else if (auto* deliver = std::get_if<DeliverAction>(&action)) {
      OnFrame(deliver->frame);
    }
  }
}

// --- Frames -------------------------------------------------------------------------------------------------------------

void SimWorker::OnUp(const FrameView& welcome) {
  const auto* body = VerifyBody<wire::WorkerWelcome>(welcome.body);
  if (body == nullptr) return world_.judge.Fail("an unreadable WORKER_WELCOME");
  ForgetSession();
  ledger_->OnSessionUp(body->visibility_timeout_ms(), ToLeases(body->stale()), now().mono_ms);
  const auto is_held = [this](LeaseId lease) { return ledger_->Holds(lease); };
  reports_.OnSessionUp();
  reports_.Forget(is_held);
  outputs_.OnSessionUp();
  outputs_.Forget(is_held);
}

void SimWorker::ForgetSession() {
  unsent_.clear();
  oldest_unacked_ms_ = 0;
}

void SimWorker::OnFrame(const FrameView& frame) {
  const int64_t now_ms = now().mono_ms;
  ledger_->OnHeard(now_ms);
  switch (frame.header.type) {
    case MessageType::kTasks:
      return OnTasks(frame);
    case MessageType::kResultAck: {
      const auto* ack = VerifyBody<wire::ResultAck>(frame.body);
      if (ack == nullptr) return world_.judge.Fail("an unreadable RESULT_ACK");
      ledger_->OnResultAck(ack->seq(), ack->stale() == nullptr ? 0 : ack->stale()->size());
      oldest_unacked_ms_ = ledger_->unacked() == 0 ? 0 : now_ms;
      const auto is_held = [this](LeaseId lease) { return ledger_->Holds(lease); };
      reports_.Forget(is_held);
      outputs_.Forget(is_held);
      return;
    }
    case MessageType::kCancel: {
      const auto* cancel = VerifyBody<wire::Cancel>(frame.body);
      if (cancel == nullptr) return world_.judge.Fail("an unreadable CANCEL");
      return ledger_->OnCancel(ToLeases(cancel->leases()), ErrorFromNumber(cancel->code()), now_ms);
    }
    case MessageType::kRecall: {
      const auto* recall = VerifyBody<wire::Recall>(frame.body);
      if (recall == nullptr) return world_.judge.Fail("an unreadable RECALL");
      return ledger_->OnRecall(ToLeases(recall->leases()));
    }
    case MessageType::kDrain:
      return ledger_->OnDrain(now_ms);
    case MessageType::kError: {
      const auto* error = VerifyBody<wire::Error>(frame.body);
      broken_ = Error(ErrorFromNumber(error->code()), "the broker refused a frame");
      world_.judge.Fail("a broker refused a worker's frame: " +
                        std::string(TextOf(error->message())));
      return;
    }
    case MessageType::kHeartbeatAck:
      ++beats_answered_;
      return;
    default:
      return;
  }
}

void SimWorker::OnTasks(const FrameView& frame) {
  const auto* tasks = VerifyBody<wire::Tasks>(frame.body);
  if (tasks == nullptr) return world_.judge.Fail("unreadable TASKS");
  for (const wire::Assignment* task : *tasks->tasks()) {
    worker::Assigned assigned{
        TaskId(task->task_id()), LeaseId(task->lease_id()), task->attempt(), task->timeout_ms(), 0,
        task->start_within_ms()};
    const auto within_ms = static_cast<int64_t>(task->start_within_ms());
    if (within_ms != 0) world_.judge.StartWithin(assigned.lease.value(), now().mono_ms + within_ms);
    if (!ledger_->OnAssigned(assigned, now().mono_ms)) continue;
    std::string_view payload = BytesOf(task->payload());
    queue_.push_back({assigned.lease, assigned.task, assigned.attempt, assigned.timeout_ms,
                      std::string(payload.substr(0, payload.find('|'))),
                      std::string(BytesOf(task->checkpoint())),
                      within_ms != 0 ? now().mono_ms + within_ms : 0});
  }
  if (ledger_->counters().duplicates > 0) world_.judge.Fail("a lease was assigned twice");
}

void SimWorker::SendDue(int64_t now_ms) {
  while (!unsent_.empty() && TrySend(unsent_.front().first, unsent_.front().second))
    unsent_.pop_front();
  if (!unsent_.empty() || !session_->ready()) return;
  worker::Frames frames = ledger_->TakeFrames(now_ms);
  if (frames.credit) Send(MessageType::kCredit, EncodeCredit(*frames.credit, &builder_));
  if (!frames.release.empty())
    Send(MessageType::kRelease, worker::EncodeRelease(frames.release, &builder_));
  SendReports(now_ms);
  if (!frames.results.empty() && oldest_unacked_ms_ == 0) oldest_unacked_ms_ = now_ms;
  for (const worker::ResultsFrame* frame : frames.results)
    Send(MessageType::kResults, EncodeResults(*frame, &builder_));
  if (!ledger_->draining() || last_call_ != 0) return;
  Send(MessageType::kHeartbeat, EncodeHeartbeat(ledger_->TakeHeartbeat(), &builder_));
  last_call_ = ++beats_sent_;
  last_call_by_ms_ = now_ms + kLastCallMs;
}

void SimWorker::SendReports(int64_t now_ms) {
  const std::vector<const worker::Report*> reports = reports_.Take(now_ms);
  if (!reports.empty()) Send(MessageType::kProgress, EncodeProgress(reports, &builder_));
  const std::vector<worker::OutputPageRef> pages = outputs_.Take(now_ms);
  for (std::span<const worker::OutputPageRef> rest = pages; !rest.empty();) {
    const size_t count = worker::PagesOfOneFrame(rest);
    Send(MessageType::kOutput, EncodeOutput(rest.first(count), &builder_));
    rest = rest.subspan(count);
  }
}

void SimWorker::Send(MessageType type, std::string_view body) {
  if (!unsent_.empty() || !TrySend(type, body)) unsent_.emplace_back(type, body);
}

bool SimWorker::TrySend(MessageType type, std::string_view body) {
  return session_->ready() && Put(type, body);
}

bool SimWorker::Put(MessageType type, std::string_view body) {
  if (socket_ == 0 || !world_.network.Send(socket_, session_->Seal(type, body))) return false;
  session_->OnSent();
  return true;
}

void SimWorker::RestartWhenUnanswered(int64_t now_ms) {
  if (broken_.ok() && oldest_unacked_ms_ != 0 && session_->ready() &&
      now_ms - oldest_unacked_ms_ >= kResultAckTimeoutMs)
    broken_ = Error(ErrorCode::kTimedOut, "the broker does not acknowledge results");
  if (broken_.ok()) return;
  SessionActions actions;
  session_->Restart(std::exchange(broken_, absl::OkStatus()), now(), &actions);
  Execute(actions);
}

bool SimWorker::Done(int64_t now_ms) const {
  if (!ledger_->drained(now_ms) || !unsent_.empty()) return false;
  if (!session_->ready()) return true;
  return last_call_ != 0 && (beats_answered_ >= last_call_ || now_ms >= last_call_by_ms_);
}

// --- The pool -------------------------------------------------------------------------------------------------------------

void SimWorker::Observe() {
  for (auto& [lease, handler] : handlers_)
    if (!std::exchange(handler.observed, true)) ledger_->OnStarted(lease, handler.started_ms);
}

void SimWorker::CarryOut(const worker::Orders& orders) {
  std::vector<LeaseId> withdrawn;
  for (const worker::CancelOrder& order : orders.cancel) CancelAttempt(order.lease, withdrawn);
  for (LeaseId lease : orders.recall) TakeBack(lease, withdrawn);
  for (size_t i = 0; i < orders.withdraw && !queue_.empty(); ++i) {
    withdrawn.push_back(queue_.back().lease);
    queue_.pop_back();
  }
  ledger_->OnWithdrawn(withdrawn);
}

bool SimWorker::TakeBack(LeaseId lease, std::vector<LeaseId>& withdrawn) {
  auto queued = std::find_if(queue_.begin(), queue_.end(),
                             [&](const Work& work) { return work.lease == lease; });
  if (queued == queue_.end()) return false;
  withdrawn.push_back(lease);
  queue_.erase(queued);
  return true;
}

void SimWorker::CancelAttempt(LeaseId lease, std::vector<LeaseId>& withdrawn) {
  if (TakeBack(lease, withdrawn)) return;
  auto it = handlers_.find(lease);
  if (it == handlers_.end() || it->second.cancelled || !it->second.heeds_cancel) return;
  it->second.cancelled = true;
  it->second.truth.succeeded = it->second.truth.never = false;
  it->second.advice = wire::RetryAdvice::kDefault;
  world_.scheduler.After(random_.Between(0, kCancelSeenMaxUs), life_,
                         [this, lease] { EndHandler(lease); });
}

void SimWorker::StartHandlers(int64_t now_ms) {
  while (!queue_.empty() && std::ssize(handlers_) < slots_ && ledger_->StartsUntilMs() > now_ms) {
    Work work = std::move(queue_.front());
    queue_.pop_front();
    if (work.start_by_ms != 0 && now_ms >= work.start_by_ms)
      ledger_->OnWithdrawn({&work.lease, 1});
    else
      StartHandler(std::move(work), now_ms);
  }
}

void SimWorker::StartHandler(Work work, int64_t now_ms) {
  const FaultProfile& faults = world_.faults;
  const WorkloadProfile& workload = world_.workload;
  Handler handler;
  handler.started_ms = now_ms;
  handler.started_us = world_.scheduler.now_us();
  int64_t run_us = random_.LogBetween(workload.handler_min_us, workload.handler_max_us);
  if (workload.long_share > 0 && random_.Chance(workload.long_share))
    run_us = random_.Between(0, workload.long_max_ms * kMillisecond);
  if (random_.Chance(faults.handler_slow))
    run_us = random_.Between(0, faults.handler_slow_max_ms * kMillisecond);
  if (random_.Chance(faults.handler_hangs)) {
    handler.heeds_cancel = false;
    run_us = work.timeout_ms * kMillisecond +
             random_.Between(0, faults.handler_slow_max_ms * kMillisecond);
  }
  handler.truth.task = work.task.value();
  handler.truth.worker = identity_.id;
  handler.truth.succeeded =
      !random_.Chance(workload.fails) && !random_.Chance(faults.handler_fails);
  if (handler.truth.succeeded && random_.Chance(workload.result)) {
    // Names its attempt, so that a result taken for another's shows.
    handler.truth.result = work.marker + " under " + ToString(work.lease);
    handler.truth.result.append(random_.Below(kResultMaxBytes), '.');
  }
  if (!handler.truth.succeeded) {
    // By the lease, so that workloads without rules stay as they are.
    if (workload.rule > 0)
      handler.truth.code = kFailures[work.lease.value() % std::size(kFailures)];
    handler.truth.never = random_.Chance(workload.fails_never);
    if (handler.truth.never)
      handler.advice = wire::RetryAdvice::kNever;
    else if (random_.Chance(0.2))
      handler.advice = wire::RetryAdvice::kAfter;
  }
  LeaseId lease = work.lease;
  handler.work = std::move(work);
  if (!handlers_.emplace(lease, std::move(handler)).second)
    return world_.judge.Fail("an attempt was started twice");
  world_.judge.AttemptStarted(lease.value(), now_ms);
  if (random_.Chance(workload.says))
    for (int64_t i = random_.Between(1, kSayMost); i > 0; --i)
      world_.scheduler.After(random_.Between(0, run_us), life_, [this, lease] { SaySome(lease); });
  world_.scheduler.After(run_us, life_, [this, lease] { EndHandler(lease); });
}

// A checkpoint that nobody else leaves, and how many there are.
void SimWorker::SaySome(LeaseId lease) {
  auto it = handlers_.find(lease);
  if (it == handlers_.end() || paused()) return;
  // Some workers speak for a handler whose lease was taken away: the broker has to know better.
  if (!ledger_->Holds(lease) && random_.Chance(0.5)) return;
  Handler& handler = it->second;
  worker::Report note;
  note.task = handler.work.task;
  note.lease = lease;
  if (random_.Chance(0.7)) note.percent = static_cast<uint8_t>(random_.Below(101));
  if (random_.Chance(0.5)) note.message = "step " + std::to_string(handler.said);
  if (random_.Chance(0.7))
    note.checkpoint = ToString(lease) + "#" + std::to_string(++handler.said) +
                      std::string(random_.Below(kCheckpointMaxBytes), 'c');
  reports_.OnNote(std::move(note));
  if (random_.Chance(0.7)) WriteSome(lease, handler);
  WakeNow();
}

// Lines that nobody else writes; looked at by the session now, or with what comes later.
void SimWorker::WriteSome(LeaseId lease, Handler& handler) {
  for (int64_t i = random_.LogBetween(1, kWriteMost); i > 0; --i, ++handler.lines)
    handler.written.Append(StreamOfLine(lease.value(), handler.lines),
                           OutputLine(lease.value(), handler.lines));
  if (random_.Chance(0.5)) TakeWritten(lease, handler);
}

void SimWorker::TakeWritten(LeaseId lease, Handler& handler) {
  std::vector<worker::OutputPage> pages = handler.written.Take();
  if (!pages.empty()) outputs_.OnWritten(handler.work.task, lease, std::move(pages));
}

void SimWorker::EndHandler(LeaseId lease) {
  auto it = handlers_.find(lease);
  if (it == handlers_.end()) return;
  if (paused()) {  // handlers are paused with their process
    world_.scheduler.At(paused_until_us() + random_.Between(1, 1000), life_,
                        [this, lease] { EndHandler(lease); });
    return;
  }
  Handler& handler = it->second;
  TakeWritten(lease, handler);
  worker::Ended ended;
  ended.lease = lease;
  ended.run_us = static_cast<uint32_t>(world_.scheduler.now_us() - handler.started_us);
  if (!handler.truth.succeeded || !handler.truth.result.empty()) {
    ended.outcome = std::make_unique<worker::Outcome>();
    ended.outcome->succeeded = handler.truth.succeeded;
    ended.outcome->result = handler.truth.result;
    ended.outcome->code = handler.truth.code;
    ended.outcome->advice = handler.advice;
    ended.outcome->retry_after_ms = random_.Below(200);
    if (!handler.truth.succeeded) ended.outcome->message = "failed " + ToString(lease);
  }
  ended_.push_back(std::move(ended));
  world_.judge.AttemptEnded(lease.value(), std::move(handler.truth));
  handlers_.erase(it);
  WakeNow();
}

}  // namespace zsched::sim
