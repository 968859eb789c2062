#include "worker/core/ledger.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/planted.h"
#include "base/text.h"

namespace zsched::worker {
namespace {

// What an entry costs beyond its strings, roughly.
constexpr size_t kEntryBytes = 64;

size_t BytesOf(const Outcome& outcome) {
  return kEntryBytes + outcome.result.size() + outcome.content_type.size() + outcome.message.size();
}

// `text` as UTF-8 of at most `max_bytes`: other bytes become '?', a longer text is cut between
// characters.
std::string BoundedText(std::string text, size_t max_bytes) {
  if (!IsUtf8(text))
    for (char& c : text)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text;
}

std::unique_ptr<Outcome> TimeoutOutcome(uint32_t timeout_ms, const char* what_else) {
  auto outcome = std::make_unique<Outcome>();
  outcome->code = ErrorCode::kAttemptTimedOut;
  outcome->message =
      "the attempt ran longer than its timeout of " + FormatDurationMs(timeout_ms) + what_else;
  return outcome;
}

std::unique_ptr<Outcome> CancelledOutcome(std::string message) {
  auto outcome = std::make_unique<Outcome>();
  outcome->code = ErrorCode::kCancelled;
  outcome->message = std::move(message);
  return outcome;
}

// Of an attempt whose task was cancelled, whatever it came to.
std::unique_ptr<Outcome> CancelledOutcome(std::unique_ptr<Outcome> outcome) {
  if (outcome == nullptr || outcome->succeeded)
    return CancelledOutcome("the task was cancelled; its attempt succeeded all the same");
  if (outcome->message.empty()) return CancelledOutcome("the task was cancelled while it ran");
  return CancelledOutcome(std::move(outcome->message));
}

// Brings an outcome within what a RESULTS entry may be; one that is too large becomes a failure.
void Bound(Outcome* outcome) {
  auto fail = [&](ErrorCode code, std::string message) {
    *outcome = Outcome{};
    outcome->code = code;
    outcome->message = std::move(message);
    outcome->advice = wire::RetryAdvice::kNever;
  };
  if (outcome->succeeded && outcome->result.size() > kMaxResultBytes)
    fail(ErrorCode::kTooLarge, "the result has " + std::to_string(outcome->result.size()) +
                                   " bytes; at most " + std::to_string(kMaxResultBytes) +
                                   " are kept: store it elsewhere and return its address");
  if (outcome->succeeded &&
      (outcome->content_type.size() > kMaxContentTypeBytes || !IsUtf8(outcome->content_type)))
    fail(ErrorCode::kInvalidArgument, "the handler's content type is not text of at most " +
                                          std::to_string(kMaxContentTypeBytes) + " bytes");
  if (!outcome->succeeded) {
    outcome->result.clear();
    outcome->content_type.clear();
    if (outcome->code == ErrorCode::kOk) outcome->code = ErrorCode::kHandlerFailed;
    outcome->message = BoundedText(std::move(outcome->message), kMaxErrorMessageBytes);
  }
}

}  // namespace

Ledger::Ledger(LedgerOptions options) : options_(options), credit_(options.max_credit_tasks) {
  ZS_CHECK(options_.concurrency > 0);
  ZS_CHECK(options_.max_credit_tasks >= static_cast<uint32_t>(options_.concurrency) &&
           options_.max_credit_tasks <= kMaxSelfSizedCredit);
}

// --- Session --------------------------------------------------------------------------------------

std::vector<wire::LeaseRef> Ledger::Held() const {
  std::vector<wire::LeaseRef> held;
  held.reserve(leases_.size());
  for (const auto& [id, lease] : leases_)
    held.emplace_back(lease.task.value(), id.value(), lease.attempt);
  // By lease id: what is sent does not depend on how a hash map is laid out.
  std::sort(held.begin(), held.end(),
            [](const auto& a, const auto& b) { return a.lease_id() < b.lease_id(); });
  return held;
}

void Ledger::OnSessionUp(uint32_t visibility_timeout_ms, std::span<const LeaseId> stale,
                         int64_t now_ms) {
  up_ = true;
  heard_ms_ = now_ms;
  visibility_timeout_ms_ = visibility_timeout_ms;
  next_seq_ = 1;
  credit_.Reset();
  PrepareResend();
  absl::flat_hash_set<LeaseId> stale_results;
  for (LeaseId id : stale) {
    auto it = leases_.find(id);
    if (it == leases_.end()) continue;
    if (it->second.state == State::kEnded) {
      stale_results.insert(id);
    } else {
      Drop(id, ErrorCode::kStale);
    }
  }
  if (!stale_results.empty()) DropResults(stale_results);
  fresh_started_.clear();
  for (const Running& running : running_) fresh_started_.push_back(running.lease);
}

void Ledger::OnSessionDown(int64_t now_ms) {
  if (!up_) return;
  up_ = false;
  down_since_ms_ = now_ms;
  credit_.Reset();
  refused_.clear();  // HELLO will not name them, so the broker takes them back
}

bool Ledger::OnAssigned(const Assigned& task, int64_t now_ms) {
  ++counters_.assigned;
  if (!stuck_.empty() && stuck_.contains(task.lease)) {
    ++counters_.duplicates;
    return false;
  }
  if (leases_.size() >= kMaxCreditTasks) {
    ++counters_.over_credit;
    refused_.emplace_back(task.task.value(), task.lease.value(), task.attempt);
    return false;
  }
  uint32_t timeout_ms = task.timeout_ms != 0 ? task.timeout_ms : kDefaultTimeoutMs;
  auto [it, inserted] =
      leases_.try_emplace(task.lease, task.task, task.attempt, timeout_ms, State::kWaiting);
  if (!inserted) {
    ++counters_.duplicates;
    return false;
  }
  if (draining_) {
    it->second.state = State::kReleasing;
    releasing_.push_back(task.lease);
    return false;
  }
  if (task.start_within_ms != 0) {
    const int64_t start_by_ms = now_ms + static_cast<int64_t>(task.start_within_ms);
    it->second.expires = true;
    start_times_.emplace(task.lease, start_by_ms);
    start_by_.emplace(start_by_ms, task.lease);
  }
  if (waiting_++ == 0) credit_.OnProgress(now_ms);
  return true;
}

void Ledger::OnResultAck(uint64_t seq, size_t stale) {
  counters_.refused += stale;
  while (!sent_.empty() && sent_.front().seq <= seq) {
    const ResultsFrame& frame = sent_.front();
    for (const wire::Done& done : frame.done) leases_.erase(LeaseId(done.lease_id()));
    for (const ResultsFrame::Entry& entry : frame.results) leases_.erase(entry.lease);
    unacked_ -= frame.size();
    unacked_bytes_ -= frame.bytes;
    sent_.pop_front();
  }
}

void Ledger::OnCancel(std::span<const LeaseId> leases, ErrorCode code, int64_t now_ms) {
  for (LeaseId id : leases) {
    auto it = leases_.find(id);
    // A result that is on its way crossed with the CANCEL; the broker's RESULT_ACK settles it.
    if (it == leases_.end() || it->second.state == State::kEnded) continue;
    if (code == ErrorCode::kCancelled)
      CancelLease(it, now_ms);
    else
      Drop(id, code);
  }
}

void Ledger::OnRecall(std::span<const LeaseId> leases) {
  for (LeaseId id : leases) {
    auto it = leases_.find(id);
    if (it != leases_.end() && it->second.state == State::kWaiting) to_recall_.push_back(id);
  }
}

void Ledger::CancelLease(Map::iterator it, int64_t now_ms) {
  Lease& lease = it->second;
  // What is ending or on its way back does not run on, and the broker knows what that means now.
  if (lease.cancelled || lease.state == State::kEnding || lease.state == State::kReleasing) return;
  lease.cancelled = true;
  cancelled_ms_ = now_ms;
  to_cancel_.push_back({it->first, ErrorCode::kCancelled});
  if (lease.state == State::kRunning)
    StartEnding(&running_[static_cast<size_t>(lease.running_index)], now_ms);
}

void Ledger::StartEnding(Running* running, int64_t now_ms) {
  leases_.find(running->lease)->second.state = State::kEnding;
  running->ending = true;
  running->deadline_ms = now_ms + kAbandonAfterMs;
}

// The broker no longer counts this lease as ours. Its handler may still run.
void Ledger::Drop(LeaseId id, ErrorCode why) {
  auto it = leases_.find(id);
  Lease& lease = it->second;
  if (lease.state == State::kWaiting) WaitsNoMore(id, lease);
  if (lease.state != State::kReleasing) {
    StopWatching(&lease);
    stuck_.insert(id);
    to_cancel_.push_back({id, why});
  }
  leases_.erase(it);
}

void Ledger::DropResults(const absl::flat_hash_set<LeaseId>& leases) {
  // Only right after a session came up, when everything is unsent.
  ZS_CHECK(sent_.empty());
  for (ResultsFrame& frame : unsent_) {
    unacked_ -= frame.size();
    unacked_bytes_ -= frame.bytes;
    std::erase_if(frame.done,
                  [&](const auto& d) { return leases.contains(LeaseId(d.lease_id())); });
    std::erase_if(frame.results, [&](const auto& entry) {
      if (!leases.contains(entry.lease)) return false;
      frame.bytes -= BytesOf(entry.outcome);
      return true;
    });
    unacked_ += frame.size();
    unacked_bytes_ += frame.bytes;
  }
  std::erase_if(unsent_, [](const ResultsFrame& frame) { return frame.size() == 0; });
  counters_.refused += leases.size();
  for (LeaseId id : leases) leases_.erase(id);
}

void Ledger::PrepareResend() {
  while (!sent_.empty()) {
    if (!ZS_PLANTED("results-not-resent")) unsent_.push_front(std::move(sent_.back()));
    sent_.pop_back();
  }
}

// --- Executor -------------------------------------------------------------------------------------

void Ledger::OnStarted(LeaseId id, int64_t started_ms) {
  auto it = leases_.find(id);
  if (it == leases_.end() || it->second.state != State::kWaiting) return;
  Lease& lease = it->second;
  WaitsNoMore(id, lease);
  lease.state = State::kRunning;
  lease.running_index = static_cast<int32_t>(running_.size());
  running_.push_back({id, started_ms, started_ms + lease.timeout_ms, /*ending=*/false});
  fresh_started_.push_back(id);
  credit_.OnProgress(started_ms);
  // Cancelled just before its start: the executor tells it, or has.
  if (lease.cancelled) StartEnding(&running_.back(), std::max(started_ms, cancelled_ms_));
}

void Ledger::WaitsNoMore(LeaseId id, const Lease& lease) {
  --waiting_;
  if (!lease.expires) return;
  auto it = start_times_.find(id);
  start_by_.erase({it->second, id});
  start_times_.erase(it);
}

void Ledger::StopWatching(Lease* lease) {
  if (lease->running_index == kNotWatched) return;
  auto index = static_cast<size_t>(std::exchange(lease->running_index, kNotWatched));
  std::swap(running_[index], running_.back());
  running_.pop_back();
  if (index < running_.size())
    leases_.find(running_[index].lease)->second.running_index = static_cast<int32_t>(index);
}

void Ledger::OnEnded(std::span<Ended> ended, int64_t now_ms) {
  if (ended.empty()) return;
  credit_.OnProgress(now_ms);
  for (Ended& end : ended) {
    if (!stuck_.empty() && stuck_.erase(end.lease) != 0) {
      ++counters_.dropped;
      end.outcome.reset();
      continue;
    }
    auto it = leases_.find(end.lease);
    if (it == leases_.end() || it->second.state == State::kEnded ||
        it->second.state == State::kReleasing) {
      ++counters_.dropped;
      end.outcome.reset();
      continue;
    }
    credit_.OnRun(end.run_us);
    if (it->second.cancelled) {
      ++counters_.cancelled;
      end.outcome = CancelledOutcome(std::move(end.outcome));
    } else if (it->second.state == State::kEnding) {
      ++counters_.timed_out;
      end.outcome = TimeoutOutcome(it->second.timeout_ms, "");
    }
    Finish(it, end.run_us, std::move(end.outcome));
  }
}

void Ledger::Finish(Map::iterator it, uint32_t run_us, std::unique_ptr<Outcome> outcome) {
  Lease& lease = it->second;
  if (lease.state == State::kWaiting) WaitsNoMore(it->first, lease);
  StopWatching(&lease);
  lease.state = State::kEnded;
  ++unacked_;
  ++counters_.ended;
  Append(lease.task, it->first, run_us, std::move(outcome));
}

void Ledger::Append(TaskId task, LeaseId lease, uint32_t run_us, std::unique_ptr<Outcome> outcome) {
  if (unsent_.empty() || unsent_.back().size() >= kMaxResultTasks ||
      unsent_.back().bytes >= kBatchTargetBytes)
    unsent_.emplace_back();
  ResultsFrame& frame = unsent_.back();
  if (outcome != nullptr) Bound(outcome.get());
  if (outcome == nullptr ||
      (outcome->succeeded && outcome->result.empty() && outcome->content_type.empty())) {
    frame.done.emplace_back(task.value(), lease.value(), run_us);
    return;
  }
  size_t bytes = BytesOf(*outcome);
  frame.bytes += bytes;
  unacked_bytes_ += bytes;
  frame.results.push_back({task, lease, run_us, std::move(*outcome)});
}

void Ledger::OnWithdrawn(std::span<const LeaseId> leases) {
  for (LeaseId id : leases) {
    if (!stuck_.empty() && stuck_.erase(id) != 0) continue;
    auto it = leases_.find(id);
    if (it == leases_.end() || it->second.state != State::kWaiting) continue;
    if (it->second.cancelled) {
      ++counters_.cancelled;
      Finish(it, 0, CancelledOutcome("the task was cancelled before it ran"));
      continue;
    }
    WaitsNoMore(id, it->second);
    it->second.state = State::kReleasing;
    if (ZS_PLANTED("withdrawn-not-released")) continue;
    releasing_.push_back(id);
  }
}

// --- Time and drain -------------------------------------------------------------------------------

void Ledger::OnDrain(int64_t now_ms, int64_t offline_ms) {
  if (draining_ && offline_ms >= drain_offline_ms_) return;
  draining_ = true;
  drain_offline_ms_ = offline_ms;
  draining_since_ms_ = now_ms;
}

void Ledger::OnStop() {
  for (const auto& [id, lease] : leases_)
    if (lease.state == State::kWaiting || lease.state == State::kRunning)
      to_cancel_.push_back({id, ErrorCode::kUnavailable});
}

void Ledger::OnTick(int64_t now_ms) {
  // Backwards: ending one moves the last into its place.
  for (size_t i = running_.size(); i-- > 0;)
    if (running_[i].deadline_ms <= now_ms) EndOverdue(&running_[i], now_ms);
}

void Ledger::EndOverdue(Running* running, int64_t now_ms) {
  if (!running->ending) {
    to_cancel_.push_back({running->lease, ErrorCode::kAttemptTimedOut});
    return StartEnding(running, now_ms);
  }
  auto it = leases_.find(running->lease);
  ++(it->second.cancelled ? counters_.cancelled : counters_.timed_out);
  ++counters_.abandoned;
  stuck_.insert(it->first);
  uint64_t run_us = static_cast<uint64_t>(now_ms - running->started_ms) * 1000;
  Finish(it, static_cast<uint32_t>(std::min<uint64_t>(run_us, UINT32_MAX)),
         it->second.cancelled
             ? CancelledOutcome(
                   "the task was cancelled; its attempt does not end although it was told to, and "
                   "was abandoned")
             : TimeoutOutcome(it->second.timeout_ms,
                              ", does not end although it was told to, and was abandoned"));
}

bool Ledger::drained(int64_t now_ms) const {
  if (!draining_) return false;
  if (leases_.empty() && refused_.empty()) return true;
  if (up_ || waiting_ != 0 || !running_.empty()) return false;
  return now_ms >= GivesUpMs();
}

// When a drained worker without a broker leaves with its last results unheard.
int64_t Ledger::GivesUpMs() const {
  if (drain_offline_ms_ == kNever) return kNever;
  return std::max(down_since_ms_, draining_since_ms_) + drain_offline_ms_;
}

int64_t Ledger::NextDeadlineMs() const {
  int64_t next = kNever;
  for (const Running& running : running_) next = std::min(next, running.deadline_ms);
  if (up_ && !draining_ && waiting_ > Slots())
    next = std::min(next, std::max(credit_.StallMs(), surplus_asked_ms_ + kCreditTargetUs / 1000));
  if (draining_ && !up_ && waiting_ == 0 && running_.empty()) next = std::min(next, GivesUpMs());
  if (!start_by_.empty()) next = std::min(next, start_by_.begin()->first);
  return next;
}

int64_t Ledger::StartsUntilMs() const {
  if (unacked_bytes_ >= kMaxUnackedResultBytes || visibility_timeout_ms_ == 0) return 0;
  return heard_ms_ + visibility_timeout_ms_;
}

// --- Output ---------------------------------------------------------------------------------------

uint32_t Ledger::Slots() const {
  auto concurrency = static_cast<size_t>(options_.concurrency);
  return static_cast<uint32_t>(concurrency - std::min(concurrency, stuck_.size()));
}

// Outstanding and unacknowledged leases together stay within what HELLO may name: results free
// credit at the broker at once, but stay in the ledger until they are durable.
uint32_t Ledger::CreditCeiling() const {
  if (draining_ || unacked_bytes_ >= kMaxUnackedResultBytes) return 0;
  return kMaxCreditTasks - static_cast<uint32_t>(std::min<size_t>(unacked_, kMaxCreditTasks));
}

Orders Ledger::TakeOrders(int64_t now_ms) {
  Orders orders;
  orders.cancel = std::exchange(to_cancel_, {});
  orders.recall = std::exchange(to_recall_, {});
  // One that cannot be taken back has started, and is about to say so.
  for (; !start_by_.empty() && start_by_.begin()->first <= now_ms;
       start_by_.erase(start_by_.begin()))
    orders.recall.push_back(start_by_.begin()->second);
  if (draining_) {
    orders.withdraw = waiting_;
  } else if (up_ && waiting_ > Slots() && credit_.Stalled(waiting_, now_ms)) {
    orders.withdraw = waiting_ - Slots();
    surplus_asked_ms_ = now_ms;
  }
  return orders;
}

std::vector<wire::LeaseRef> Ledger::TakeReleases() {
  std::vector<wire::LeaseRef> release = std::exchange(refused_, {});
  for (LeaseId id : std::exchange(releasing_, {})) {
    auto it = leases_.find(id);
    if (it == leases_.end() || it->second.state != State::kReleasing) continue;
    release.emplace_back(it->second.task.value(), id.value(), it->second.attempt);
    leases_.erase(it);
  }
  counters_.released += release.size();
  return release;
}

Frames Ledger::TakeFrames(int64_t now_ms) {
  Frames frames;
  if (!up_) return frames;
  if (auto tasks = credit_.Next(Slots(), CreditCeiling(), waiting_, now_ms))
    frames.credit = Grant{*tasks, *tasks == 0 ? 0 : options_.max_credit_bytes};
  frames.release = TakeReleases();
  while (!unsent_.empty()) {
    sent_.push_back(std::move(unsent_.front()));
    unsent_.pop_front();
    sent_.back().seq = next_seq_++;
    frames.results.push_back(&sent_.back());
  }
  return frames;
}

HeartbeatInfo Ledger::TakeHeartbeat() {
  HeartbeatInfo info;
  info.running = static_cast<uint32_t>(running_.size());
  info.queued = static_cast<uint32_t>(waiting_);
  size_t looked_at = 0;
  for (; looked_at < fresh_started_.size() && info.started.size() < kMaxStartedReports;
       ++looked_at) {
    auto it = leases_.find(fresh_started_[looked_at]);
    if (it == leases_.end() || it->second.running_index == kNotWatched) continue;
    info.started.emplace_back(it->second.task.value(), it->first.value(), it->second.attempt);
  }
  fresh_started_.erase(fresh_started_.begin(),
                       fresh_started_.begin() + static_cast<ptrdiff_t>(looked_at));
  return info;
}

}  // namespace zsched::worker
