#include "worker/server/runtime.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/check.h"
#include "schemas/verify.h"

namespace zsched::worker {
namespace {

// How soon the session thread looks which attempts have begun, while some wait to: bounds how late
// a timeout is noticed and how long an outcome may wait behind a slow attempt in the same thread.
constexpr int64_t kObserveMs = 5;
// A full socket is tried again after this.
constexpr int64_t kSendRetryMs = 10;
// A broker that is there but does not acknowledge results for this long has lost or refused a
// frame: a new session settles what it has. Longer than any commit may take, shorter than anybody's
// patience.
constexpr int64_t kResultAckTimeoutMs = 30'000;
// How long a drained worker waits for the broker to have heard that it takes nothing more.
constexpr int64_t kLastCallMs = 2'000;
// How long GOODBYE may wait for its echo, and Stop for handlers and acknowledgements.
constexpr int64_t kGoodbyeMs = 2'000;
constexpr int64_t kStopMs = kAbandonAfterMs;
// After a drain all handlers have returned, or were abandoned.
constexpr int64_t kShutdownMs = 100;

std::vector<LeaseId> ToLeases(const flatbuffers::Vector<uint64_t>* ids) {
  std::vector<LeaseId> leases;
  if (ids == nullptr) return leases;
  leases.reserve(ids->size());
  for (uint64_t id : *ids) leases.emplace_back(id);
  return leases;
}

int64_t NowMs() { return SystemNow().mono_ms; }

// What this process has in memory; 0 when the system does not say.
uint64_t ResidentBytes() {
  uint64_t total_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> total_pages >> resident_pages;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Runtime::Runtime(RuntimeOptions options)
    : options_(std::move(options)),
      ledger_(options_.ledger),
      recycling_(options_.recycling, options_.session.seed) {}

absl::Status Runtime::Open() {
  SessionHooks hooks;
  hooks.hello = [this] {
    beats_sent_ = beats_answered_ = last_call_ = 0;
    return std::string(
        EncodeHello(options_.identity, ledger_.draining(), ledger_.Held(), ++hellos_, &builder_));
  };
  hooks.heartbeat = [this] {
    ++beats_sent_;
    if (recycling_.watches_memory()) resident_bytes_ = ResidentBytes();
    return std::string(EncodeHeartbeat(ledger_.TakeHeartbeat(), &builder_));
  };
  ZS_ASSIGN_OR_RETURN(dealer_, Dealer::Create(options_.session, std::move(hooks), this));
  return absl::OkStatus();
}

absl::Status Runtime::Run(HandlerMap handlers) {
  for (const auto& [type, handler] : handlers) options_.identity.types.push_back(type);
  std::sort(options_.identity.types.begin(), options_.identity.types.end());
  pool_ = std::make_unique<Pool>(options_.ledger.concurrency, std::move(handlers),
                                 [this] { dealer_->Wake(); });
  ZS_RETURN_IF_ERROR(pool_->Start());
  while (!Done(NowMs())) dealer_->Poll(Round());
  return Finish();
}

int64_t Runtime::Round() {
  int64_t now_ms = NowMs();
  HandleAsked(now_ms);
  CollectEnded(now_ms);
  RecycleWhenDue(now_ms);
  ledger_.OnTick(now_ms);
  CarryOut(ledger_.TakeOrders(now_ms));
  SendDue(now_ms);
  ResetWhenUnanswered(now_ms);
  if (int64_t until = ledger_.StartsUntilMs(); until != starts_until_ms_)
    pool_->SetStartsUntil(starts_until_ms_ = until);
  ReportChanges();
  PublishStats();
  if (Done(now_ms)) return now_ms;
  int64_t deadline = std::min(ledger_.NextDeadlineMs(), stop_by_ms_);
  if (last_call_ != 0 && !recycles_ && ledger_.drained(now_ms))
    deadline = std::min(deadline, last_call_by_ms_);
  if (!unsent_.empty()) deadline = std::min(deadline, now_ms + kSendRetryMs);
  if (ledger_.waiting() > 0 && starts_until_ms_ > now_ms)
    deadline = std::min(deadline, now_ms + kObserveMs);
  if (pool_->has_notes()) deadline = std::min(deadline, notes_due_ms_);
  if (dealer_->ready())
    deadline = std::min({deadline, reports_.NextDeadlineMs(), outputs_.NextDeadlineMs()});
  return deadline;
}

void Runtime::CollectEnded(int64_t now_ms) {
  pool_->TakeEnded(&ended_);
  CollectNotes(now_ms);
  ledger_.OnWithdrawn(pool_->TakeLate());
  ledger_.OnEnded(ended_, now_ms);
  ended_.clear();
  // Afterwards: what has ended since is reported by the next round.
  pool_->ObserveRunning(&observed_);
  for (const Pool::RunningAttempt& running : observed_)
    ledger_.OnStarted(running.lease, running.started_ms);
  observed_.clear();
}

// At once when attempts have ended, because it goes before their results.
void Runtime::CollectNotes(int64_t now_ms) {
  if (pool_->has_notes() && (now_ms >= notes_due_ms_ || !ended_.empty())) {
    notes_due_ms_ = now_ms + kReportEveryMs;
    for (Note& note : pool_->TakeNotes()) {
      if (!ledger_.Holds(note.report.lease)) continue;
      if (!note.pages.empty())
        outputs_.OnWritten(note.report.task, note.report.lease, std::move(note.pages));
      if (note.report.says_something()) reports_.OnNote(std::move(note.report));
    }
  }
  if (reports_.empty() && outputs_.empty()) return;
  for (const Ended& ended : ended_) {
    reports_.OnEnded(ended.lease);
    outputs_.OnEnded(ended.lease);
  }
}

void Runtime::CarryOut(const Orders& orders) {
  if (!orders.cancel.empty()) ledger_.OnWithdrawn(pool_->Cancel(orders.cancel));
  if (!orders.recall.empty()) ledger_.OnWithdrawn(pool_->TakeBack(orders.recall));
  if (orders.withdraw > 0) ledger_.OnWithdrawn(pool_->Withdraw(orders.withdraw));
}

// --- Sending --------------------------------------------------------------------------------------

void Runtime::SendDue(int64_t now_ms) {
  while (!unsent_.empty() && dealer_->Send(unsent_.front().first, unsent_.front().second))
    unsent_.pop_front();
  // With the socket full, nothing new is taken from the ledger, where it is bounded.
  if (!unsent_.empty() || !dealer_->ready()) return;
  Frames frames = ledger_.TakeFrames(now_ms);
  if (frames.credit) Send(MessageType::kCredit, EncodeCredit(*frames.credit, &builder_));
  if (!frames.release.empty())
    Send(MessageType::kRelease, EncodeRelease(frames.release, &builder_));
  SendReports(now_ms);
  SendOutput(now_ms);
  if (!frames.results.empty() && oldest_unacked_ms_ == 0) oldest_unacked_ms_ = now_ms;
  for (const ResultsFrame* frame : frames.results)
    Send(MessageType::kResults, EncodeResults(*frame, &builder_));
  if (ledger_.draining() && last_call_ == 0) SendLastCall(now_ms);
}

void Runtime::SendReports(int64_t now_ms) {
  if (reports_.empty()) return;
  const std::vector<const worker::Report*> reports = reports_.Take(now_ms);
  for (std::span<const worker::Report* const> rest = reports; !rest.empty();) {
    const size_t count = ReportsOfOneFrame(rest);
    Send(MessageType::kProgress, EncodeProgress(rest.first(count), &builder_));
    rest = rest.subspan(count);
  }
}

void Runtime::SendOutput(int64_t now_ms) {
  if (outputs_.empty()) return;
  const std::vector<OutputPageRef> pages = outputs_.Take(now_ms);
  for (std::span<const OutputPageRef> rest = pages; !rest.empty();) {
    const size_t count = PagesOfOneFrame(rest);
    Send(MessageType::kOutput, EncodeOutput(rest.first(count), &builder_));
    rest = rest.subspan(count);
  }
}

// A heartbeat right behind the grant of 0. When its answer is there, so is every task that was sent
// before the broker knew: it can be given back properly, instead of being lost with GOODBYE.
void Runtime::SendLastCall(int64_t now_ms) {
  Send(MessageType::kHeartbeat, EncodeHeartbeat(ledger_.TakeHeartbeat(), &builder_));
  last_call_ = ++beats_sent_;
  last_call_by_ms_ = now_ms + kLastCallMs;
}

void Runtime::Send(MessageType type, std::string_view body) {
  if (!unsent_.empty() || !dealer_->Send(type, body)) unsent_.emplace_back(type, body);
}

void Runtime::ResetWhenUnanswered(int64_t now_ms) {
  if (broken_.ok() && oldest_unacked_ms_ != 0 && dealer_->ready() &&
      now_ms - oldest_unacked_ms_ >= kResultAckTimeoutMs)
    broken_ = Error(ErrorCode::kTimedOut, "the broker does not acknowledge results");
  if (!broken_.ok()) dealer_->Restart(std::exchange(broken_, absl::OkStatus()));
}

// --- Dealer::Handler ------------------------------------------------------------------------------

void Runtime::OnUp(const FrameView& welcome) {
  const auto* body = VerifyBody<wire::WorkerWelcome>(welcome.body);
  if (body == nullptr) {
    broken_ = Error(ErrorCode::kMalformed, "WORKER_WELCOME cannot be read");
    return;
  }
  ForgetSession();
  uint32_t timeout_ms = body->visibility_timeout_ms();
  ledger_.OnSessionUp(timeout_ms != 0 ? timeout_ms : kVisibilityTimeoutMs, ToLeases(body->stale()),
                      NowMs());
  reports_.OnSessionUp();
  outputs_.OnSessionUp();
  ForgetWhatIsNotHeld();
  no_broker_reported_ = false;
  Report(WorkerEvent::Kind::kConnected);
}

void Runtime::ForgetSession() {
  unsent_.clear();
  oldest_unacked_ms_ = 0;
}

void Runtime::OnDown(const absl::Status& reason) {
  ForgetSession();
  ledger_.OnSessionDown(NowMs());
  Report(WorkerEvent::Kind::kDisconnected, MessageOf(reason));
}

void Runtime::OnRetry(const absl::Status& reason) {
  if (std::exchange(no_broker_reported_, true)) return;
  Report(WorkerEvent::Kind::kNoBroker, MessageOf(reason));
}

void Runtime::OnFrame(const FrameView& frame) {
  ledger_.OnHeard(NowMs());
  switch (frame.header.type) {
    case MessageType::kTasks:
      return OnTasks(frame);
    case MessageType::kResultAck:
      return OnResultAck(frame);
    case MessageType::kCancel:
      return OnCancel(frame);
    case MessageType::kRecall:
      return OnRecall(frame);
    case MessageType::kDrain:
      return StartDrain("the broker asked for it", NowMs());
    case MessageType::kError:
      return OnError(frame);
    case MessageType::kHeartbeatAck:
      ++beats_answered_;
      return;
    default:
      return;  // what newer brokers may say
  }
}

void Runtime::OnTasks(const FrameView& frame) {
  if (VerifyBody<wire::Tasks>(frame.body) == nullptr) {
    // The broker counts on these tasks; only a new session tells it that they never came.
    broken_ = Error(ErrorCode::kMalformed, "a TASKS frame cannot be read");
    return;
  }
  int64_t now_ms = NowMs();
  auto batch = std::make_shared<Batch>(frame.body, now_ms);
  for (const wire::Assignment* task : *batch->tasks().tasks()) {
    Assigned assigned{
        TaskId(task->task_id()), LeaseId(task->lease_id()), task->attempt(), task->timeout_ms(), 0,
        task->start_within_ms()};
    if (ledger_.OnAssigned(assigned, now_ms)) batch->Add(task);
  }
  if (int64_t until = ledger_.StartsUntilMs(); until != starts_until_ms_)
    pool_->SetStartsUntil(starts_until_ms_ = until);
  pool_->Push(std::move(batch));
}

void Runtime::OnResultAck(const FrameView& frame) {
  const auto* ack = VerifyBody<wire::ResultAck>(frame.body);
  if (ack == nullptr) {
    broken_ = Error(ErrorCode::kMalformed, "a RESULT_ACK frame cannot be read");
    return;
  }
  ledger_.OnResultAck(ack->seq(), ack->stale() == nullptr ? 0 : ack->stale()->size());
  oldest_unacked_ms_ = ledger_.unacked() == 0 ? 0 : NowMs();
  ForgetWhatIsNotHeld();
}

void Runtime::ForgetWhatIsNotHeld() {
  const auto is_held = [this](LeaseId lease) { return ledger_.Holds(lease); };
  if (!reports_.empty()) reports_.Forget(is_held);
  if (!outputs_.empty()) outputs_.Forget(is_held);
}

void Runtime::OnCancel(const FrameView& frame) {
  const auto* cancel = VerifyBody<wire::Cancel>(frame.body);
  if (cancel == nullptr) {
    broken_ = Error(ErrorCode::kMalformed, "a CANCEL frame cannot be read");
    return;
  }
  ledger_.OnCancel(ToLeases(cancel->leases()), ErrorFromNumber(cancel->code()), NowMs());
}

void Runtime::OnRecall(const FrameView& frame) {
  const auto* recall = VerifyBody<wire::Recall>(frame.body);
  if (recall == nullptr) {
    broken_ = Error(ErrorCode::kMalformed, "a RECALL frame cannot be read");
    return;
  }
  ledger_.OnRecall(ToLeases(recall->leases()));
}

// The broker could not take one of our frames. What it was and what it changed is not known, so
// both sides begin again from what HELLO and WELCOME say.
void Runtime::OnError(const FrameView& frame) {
  const auto* error = VerifyBody<wire::Error>(frame.body);
  ErrorCode code = error == nullptr ? ErrorCode::kMalformed : ErrorFromNumber(error->code());
  std::string text =
      error == nullptr || error->message() == nullptr ? "no reason given" : error->message()->str();
  broken_ = Error(code, "the broker refused a frame: " + text);
}

// --- Ends -----------------------------------------------------------------------------------------

void Runtime::Ask(Asked what) noexcept {
  int value = static_cast<int>(what), before = asked_.load();
  while (before < value && !asked_.compare_exchange_weak(before, value)) continue;
  dealer_->Wake();
}

void Runtime::HandleAsked(int64_t now_ms) {
  int asked = asked_.load();
  if (asked == asked_done_) return;
  asked_done_ = asked;
  StartDrain(asked == static_cast<int>(Asked::kStop) ? "this process was told to stop"
                                                     : "this process was asked to end",
             now_ms);
  if (asked != static_cast<int>(Asked::kStop)) return;
  ledger_.OnStop();
  stop_by_ms_ = now_ms + kStopMs;
}

void Runtime::StartDrain(std::string why, int64_t now_ms) {
  // Whoever asks for the end gets it, from a worker that is about to begin anew too.
  if (ledger_.draining() && !std::exchange(recycles_, false)) return;
  ledger_.OnDrain(now_ms);
  Report(WorkerEvent::Kind::kDraining, std::move(why));
}

// Only with a broker there: away from it, a drain would finish what runs and then do nothing.
void Runtime::RecycleWhenDue(int64_t now_ms) {
  if (ledger_.draining() || !dealer_->ready()) return;
  std::optional<std::string> why = recycling_.Due(ledger_.counters().ended, resident_bytes_);
  if (!why) return;
  recycles_ = true;
  ledger_.OnDrain(now_ms, Ledger::kNever);
  Report(WorkerEvent::Kind::kDraining, *std::move(why));
}

bool Runtime::Done(int64_t now_ms) const {
  if (now_ms >= stop_by_ms_) return true;
  if (!ledger_.drained(now_ms) || !unsent_.empty()) return false;
  // One that goes on in a new process is in no hurry: it leaves when the broker has heard all.
  if (recycles_) return dealer_->ready() && last_call_ != 0 && beats_answered_ >= last_call_;
  if (!dealer_->ready()) return true;
  return last_call_ != 0 && (beats_answered_ >= last_call_ || now_ms >= last_call_by_ms_);
}

absl::Status Runtime::Finish() {
  size_t held = ledger_.outstanding() + ledger_.unacked();
  if (dealer_->ready()) dealer_->Close(kGoodbyeMs);
  pool_->Shutdown(kShutdownMs);
  PublishStats();
  if (held == 0) return absl::OkStatus();
  return Error(
      ErrorCode::kUnavailable,
      std::to_string(held) +
          " attempts were left without the broker having their results; it will have these "
          "tasks done again");
}

// --- Reports --------------------------------------------------------------------------------------

void Runtime::Report(WorkerEvent::Kind kind, std::string message, uint64_t count) {
  if (!options_.on_event) return;
  options_.on_event({kind, std::move(message), dealer_->session().id(), count});
}

void Runtime::ReportChanges() {
  if (uint64_t stuck = ledger_.stuck(); stuck != stuck_reported_) {
    auto kind = stuck > stuck_reported_ ? WorkerEvent::Kind::kSlotsBlocked
                                        : WorkerEvent::Kind::kSlotsReturned;
    stuck_reported_ = stuck;
    Report(kind, {}, stuck);
  }
  if (uint64_t refused = ledger_.counters().refused; refused != refused_reported_)
    Report(WorkerEvent::Kind::kResultsRefused, {},
           refused - std::exchange(refused_reported_, refused));
}

void Runtime::PublishStats() {
  const LedgerCounters& counters = ledger_.counters();
  auto set = [](auto& atomic, auto value) { atomic.store(value, std::memory_order_relaxed); };
  set(stats_.ended, counters.ended);
  set(stats_.timed_out, counters.timed_out);
  set(stats_.abandoned, counters.abandoned);
  set(stats_.refused, counters.refused);
  set(stats_.released, counters.released);
  set(stats_.unacked, uint64_t{ledger_.unacked()});
  set(stats_.granted, ledger_.granted());
}

WorkerStats Runtime::stats() const {
  auto get = [](const auto& atomic) { return atomic.load(std::memory_order_relaxed); };
  return {get(stats_.ended),    get(stats_.timed_out), get(stats_.abandoned), get(stats_.refused),
          get(stats_.released), get(stats_.unacked),   get(stats_.granted)};
}

}  // namespace zsched::worker
