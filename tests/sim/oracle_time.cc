// The timely half: what a worker that returns in time keeps, when tasks may start and must have, when attempts must end.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "schemas/limits.h"
#include "schemas/verify.h"
#include "tests/sim/oracle.h"
#include "tests/sim/process.h"

namespace zsched::sim {
namespace {

using broker::TaskState;

// A worker that is heard of so often cannot have been taken for silent: the timeout, but for a little of rounding.
constexpr int64_t kHeardInTimeUs = kVisibilityTimeoutMs * kMillisecond - 50 * kMillisecond;
// A round comes at least so often, for sessions that may have expired, unless the broker is paused.
constexpr int64_t kLongestRoundUs = 300 * kMillisecond;
// A slower commit holds tasks back that were decided long ago.
constexpr int64_t kSlowCommitUs = 500 * kMillisecond;
// A task that is due must be leased when a worker for it has been idle for so long: several rounds and commits.
constexpr int64_t kLateUs = 2 * kSecond;
constexpr int64_t kLateCheckUs = 250 * kMillisecond;
// A worker that beats every second and is not held up is heard at least so often.
constexpr int64_t kHeardOftenUs = 1'500 * kMillisecond;
// What has not begun after so long is given back when another worker is idle: with all that frames may be late.
constexpr int64_t kBehindUs = 6 * kSecond;
// Attempts are ended in the first round after their time, and that round is over.
constexpr int64_t kOverdueUs = 10 * kMillisecond;

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }

// When a clock that shows milliseconds has gone on by so many.
int64_t After(int64_t us, int64_t ms) { return (us / kMillisecond + ms) * kMillisecond; }

std::string Seconds(int64_t us) { return absl::StrCat(static_cast<double>(us) / kSecond, " s"); }

}  // namespace

// --- The broker -------------------------------------------------------------------------------------------------------

void Oracle::BrokerStarted() {
  broker_started_us_ = steady_since_us_ = round_us_ = scheduler_.now_us();
  batch_at_journal_ = credit_given_ = false;
  worker_sessions_.clear();
  owed_cancels_.clear();
  greeted_.clear();
  last_hello_.clear();
  named_.clear();
  started_.clear();
  overdue_.clear();
  found_.clear();
  RulesReread();
  disk_low_ = false;
  disk_roomy_since_us_ = wall_steady_since_us_ = scheduler_.now_us();
  for (auto& [number, schedule] : schedules_) schedule.waits_since_us = -1;
  for (const auto& [id, task] : tasks_)
    if (task.has_row && !task.pruned && !broker::IsFinished(task.row.state))
      found_.emplace(id, task.row);
}

void Oracle::DiskLow(bool low) {
  if (disk_low_ && !low) disk_roomy_since_us_ = scheduler_.now_us();
  disk_low_ = low;
}

void Oracle::RoundOver(int64_t wall_ms) {
  const int64_t now_us = scheduler_.now_us();
  const int64_t passed_ms = now_us / kMillisecond - round_us_ / kMillisecond;
  if (wall_ms != round_wall_ms_ + passed_ms) wall_steady_since_us_ = now_us;
  round_wall_ms_ = wall_ms;
  latest_wall_ms_ = std::max(latest_wall_ms_, wall_ms);
  if (now_us - round_us_ > kLongestRoundUs) steady_since_us_ = now_us;
  round_us_ = now_us;
  SettleRules();
  CheckOverdue();
  CheckOwedCancels();
  // With nothing at the journal since the round before, the rows say all that was decided until then.
  if (!batch_at_journal_) CheckLate(now_us);
}

void Oracle::BatchTaken() {
  ++batches_taken_;
  batch_at_journal_ = true;
  batch_taken_us_ = scheduler_.now_us();
}

void Oracle::CommitReported() {
  batch_at_journal_ = false;
  batches_reported_ = batches_taken_;
  if (scheduler_.now_us() - batch_taken_us_ > kSlowCommitUs) steady_since_us_ = scheduler_.now_us();
}

// --- Sessions of workers ----------------------------------------------------------------------------------------------

void Oracle::NotDelivered(uint64_t session) {
  auto it = worker_sessions_.find(session);
  if (it != worker_sessions_.end()) it->second.broken = true;
}

bool Oracle::IsKnown(const WorkerSession& session) const {
  return session.certain && scheduler_.now_us() - session.heard_us <= kHeardInTimeUs;
}

void Oracle::Heard(WorkerSession& session) {
  if (session.broken) return;  // the broker does not take it for a sign of life any more
  session.certain = IsKnown(session);
  if (scheduler_.now_us() - session.heard_us > kHeardOftenUs)
    session.steady_us = scheduler_.now_us();
  session.heard_us = scheduler_.now_us();
}

void Oracle::OnWorkerHello(std::string_view routing_id, const wire::WorkerHello& hello) {
  uint32_t& last = last_hello_[Uuid{hello.id()->hi(), hello.id()->lo()}];
  if (hello.number() <= last) return;  // late or repeated: it changes nothing
  last = hello.number();
  Greeting& greeting = worker_greeting_[std::string(routing_id)];
  greeting = Greeting{};
  greeting.worker = Uuid{hello.id()->hi(), hello.id()->lo()};
  greeting.arrived_us = scheduler_.now_us();
  auto read = [](const auto* names, Names& out) {
    for (uint32_t i = 0; names != nullptr && i < names->size(); ++i)
      out.emplace(TextOf(names->Get(i)));
  };
  read(hello.queues(), greeting.queues);
  read(hello.types(), greeting.types);
  greeting.concurrency = hello.concurrency();
  if (hello.held() != nullptr)
    for (const wire::LeaseRef* ref : *hello.held())
      greeting.held.push_back({ref->task_id(), ref->lease_id(), ref->attempt()});
  greeting.must_keep = MustKeep(greeting);
}

// Leases that nothing has taken from the worker: its last session lives and the frames say what it has, or the broker is
// new and has what it found on the disk.
std::set<uint64_t> Oracle::MustKeep(const Greeting& greeting) {
  std::set<uint64_t> leases;
  const bool first = greeted_.insert(greeting.worker).second;
  const bool in_time = scheduler_.now_us() - broker_started_us_ <= kHeardInTimeUs;
  for (auto& [id, session] : worker_sessions_) {
    if (session.greeting.worker != greeting.worker) continue;
    // After a gap nobody was told of attempts that the broker ended because they were overdue.
    auto may_be_over = [&](uint64_t lease) { return session.broken && started_.contains(lease); };
    if (IsKnown(session))
      for (const HeldLease& held : greeting.held)
        if (session.outstanding.contains(held.lease) && !may_be_over(held.lease))
          leases.insert(held.lease);
    session.certain = false;  // it ends here
  }
  for (const HeldLease& held : greeting.held)
    if (first && in_time && WasFound(greeting, held)) leases.insert(held.lease);
  for (const HeldLease& held : greeting.held) named_.insert(held.task);
  return leases;
}

// The lease itself, or the task as it was before: the lease was given and had not become durable. Then it must still be
// free: nobody else came with an attempt of it, and nobody could be given a new one.
bool Oracle::WasFound(const Greeting& greeting, const HeldLease& held) {
  auto row = found_.find(held.task);
  auto lease = leases_.find(held.lease);
  if (row == found_.end() || lease == leases_.end() || lease->second.task != held.task)
    return false;
  if (row->second.state == TaskState::kLeased)
    return row->second.lease == held.lease &&
           worker_of_number_[row->second.worker] == greeting.worker;
  return row->second.state == TaskState::kReady && row->second.attempt + 1u == held.attempt &&
         !credit_given_ && !named_.contains(held.task) && !tasks_[held.task].cancel_asked;
}

// --- When a task may start --------------------------------------------------------------------------------------------

void Oracle::NoteWish(const wire::TaskSpec& spec, const std::string& marker) {
  auto [at, is_new] = wishes_.try_emplace(marker);
  if (!is_new) return;  // it comes again: the task may be there, and its time counts from the first
  Wish& wish = at->second;
  wish.queue = std::string(spec.queue() != nullptr ? TextOf(spec.queue()) : kDefaultQueue);
  wish.type = std::string(TextOf(spec.type()));
  wish.concurrency_key = std::string(TextOf(spec.concurrency_key()));
  wish.at_most_once = spec.delivery() == wire::Delivery::kAtMostOnce;
  wish.start_within_ms = static_cast<int64_t>(spec.start_within_ms());
  wish.start_by_ms = spec.start_by_ms();
  wish.delay_ms = static_cast<int64_t>(spec.delay_ms());
  wish.not_before_us = After(scheduler_.now_us(), wish.delay_ms);
  if (spec.run_at_ms() != 0) {
    wish.not_before_us = (spec.run_at_ms() - kEpochWallMs) * kMillisecond;
    wish.delay_ms = 0;
  }
  wish.retry_base_ms = spec.retry_base_ms() != 0 ? spec.retry_base_ms() : kDefaultRetryBaseMs;
  wish.retry_cap_ms = spec.retry_cap_ms() != 0 ? spec.retry_cap_ms() : kDefaultRetryCapMs;
  NoteChain(spec, marker);  // makes other wishes: this one may move
}

// An accepted failure, of which the row is on disk: docs/protocol.md §6 says how long the task waits at least.
void Oracle::NoteFailure(const ReportedResult& result, TaskFacts& task) {
  const broker::TaskRow& row = task.row;
  if (row.state == TaskState::kDead || row.state == TaskState::kCancelled) return;
  if (result.never && !task.retry_asked)
    return Fail(Name(result.task) + " goes on, but its handler said never again");
  const Wish& wish = wishes_[task.marker];
  if (!task.retry_asked && ForbidsRetry(wish, ErrorBit(result.code), result.arrived_us))
    return Fail(absl::StrCat(Name(result.task), " goes on after ",
                             TextOfErrors(ErrorBit(result.code)), ", which type ", wish.type,
                             " does not retry"));
  auto wait_ms = result.retry_after_ms;
  if (wait_ms < 0) {
    // The row may be of a later attempt already, and then counts more.
    const bool same = row.attempt == leases_[result.lease].attempt;
    const bool lost = result.code == ErrorCode::kAttemptTimedOut;
    const int count = same ? std::max<int>(1, lost ? row.lost : row.failures) : 1;
    const uint64_t full_ms = std::min(wish.retry_cap_ms, wish.retry_base_ms << (count - 1));
    wait_ms = static_cast<int64_t>(full_ms - full_ms / 2);
  }
  task.not_before_us = After(result.arrived_us, wait_ms);
}

void Oracle::CheckEarly(uint64_t id, const TaskFacts& task) {
  if (!clocks_agree_) return;
  const int64_t from_us = std::max(wishes_[task.marker].not_before_us, task.not_before_us);
  if (scheduler_.now_us() < from_us)
    Fail(absl::StrCat(Name(id), " was handed out ", Seconds(from_us - scheduler_.now_us()),
                      " before its time"));
}

// A task that runs at most once has one attempt that began, unless somebody asked for another by RETRY.
void Oracle::AttemptStarted(uint64_t lease, int64_t mono_ms) {
  CheckStartsInTime(lease, mono_ms);
  LeaseFacts& facts = leases_[lease];
  facts.begun = true;
  const uint64_t id = facts.task;
  TaskFacts& task = tasks_[id];
  if (wishes_[task.marker].at_most_once && task.started != 0 && !task.retry_asked)
    Fail(absl::StrCat(Name(id), " runs at most once, and began under leases ",
                      ToString(LeaseId(task.started)), " and ", ToString(LeaseId(lease))));
  task.started = lease;
}

// --- When it must have started ----------------------------------------------------------------------------------------

// The row has just been stored, so the wait began before now.
void Oracle::NoteWaiting(uint64_t id, TaskFacts& task) {
  if (task.due_us != kNotWaiting) waiting_.erase({task.due_us, id});
  task.due_us = kNotWaiting;
  const int64_t now_us = scheduler_.now_us();
  const Wish& wish = wishes_[task.marker];
  if (task.row.state == TaskState::kReady)
    task.due_us = now_us;
  else if (task.row.state == TaskState::kScheduled)
    task.due_us = std::max(wish.not_before_us, After(now_us, wish.delay_ms));
  else if (task.row.state == TaskState::kRetryWait)
    task.due_us =
        After(now_us, std::max(static_cast<int64_t>(wish.retry_cap_ms), task.retry_after_ms));
  if (task.due_us != kNotWaiting) waiting_.emplace(task.due_us, id);
}

bool Oracle::IsIdleSince(const WorkerSession& session, int64_t since_us) const {
  const Grant& grant = session.grants.back();
  return IsKnown(session) && !session.broken && session.stirred_us <= since_us &&
         session.outstanding.empty() && grant.tasks > 0 && grant.bytes > 0;
}

// The rows say all that was decided until `as_of_us`.
void Oracle::CheckLate(int64_t as_of_us) {
  const int64_t now_us = scheduler_.now_us(), since_us = as_of_us - kLateUs;
  const bool slow = batch_at_journal_ && now_us - batch_taken_us_ > kSlowCommitUs;
  if (slow || steady_since_us_ > since_us || now_us < next_late_check_us_) return;
  next_late_check_us_ = now_us + kLateCheckUs;
  CheckTicksLate(as_of_us);
  CheckExpiries(as_of_us);
  if (!clocks_agree_) return;
  CheckBehind(as_of_us);
  auto takes = [](const Names& names, const std::string& name) {
    return names.empty() || names.contains(name);
  };
  for (const auto& [number, session] : worker_sessions_) {
    if (!IsIdleSince(session, since_us)) continue;
    for (const auto& [due_us, id] : waiting_) {
      if (due_us > since_us) break;
      const Wish& wish = wishes_[tasks_[id].marker];
      if (!takes(session.greeting.queues, wish.queue) || !takes(session.greeting.types, wish.type))
        continue;
      if (MayWait(wish, since_us)) continue;
      return Fail(absl::StrCat(Name(id), " still waits ", Seconds(as_of_us - due_us),
                               " after it was due, beside an idle worker"));
    }
  }
}

// Work is stolen from those that have too much of it.
void Oracle::CheckBehind(int64_t as_of_us) {
  const int64_t now_us = scheduler_.now_us(), since_us = as_of_us - kBehindUs;
  if (steady_since_us_ > since_us) return;
  auto takes = [](const Names& names, const std::string& name) {
    return names.empty() || names.contains(name);
  };
  auto is_laden = [&](const WorkerSession& session) {
    return IsKnown(session) && !session.broken && session.steady_us <= since_us &&
           now_us - session.heard_us <= kHeardOftenUs &&
           session.outstanding.size() > session.greeting.concurrency;
  };
  for (const auto& [number, idle] : worker_sessions_) {
    if (!IsIdleSince(idle, since_us)) continue;
    for (const auto& [other, laden] : worker_sessions_) {
      if (!is_laden(laden)) continue;
      for (const auto& [lease, bytes] : laden.outstanding) {
        const LeaseFacts& facts = leases_[lease];
        const Wish& wish = wishes_[tasks_[facts.task].marker];
        if (facts.begun || facts.given_us > since_us || laden.told.contains(lease) ||
            !takes(idle.greeting.queues, wish.queue) || !takes(idle.greeting.types, wish.type))
          continue;
        return Fail(absl::StrCat(Name(facts.task), " has waited ", Seconds(now_us - facts.given_us),
                                 " behind others at its worker, beside an idle one"));
      }
    }
  }
}

void Oracle::CheckRecall(uint64_t session, const wire::Recall& recall) {
  auto worker = worker_sessions_.find(session);
  if (worker == worker_sessions_.end()) return Fail("RECALL to a session that was not welcomed");
  for (uint64_t lease : *recall.leases())
    if (!leases_.contains(lease)) return Fail("RECALL of a lease that nobody was given");
  reached_["leases_recalled"] += recall.leases()->size();
}

// --- When an attempt must end -----------------------------------------------------------------------------------------

void Oracle::NoteStarted(const WorkerSession& session, const wire::Heartbeat& heartbeat) {
  // Of a session that the worker has left, and whose last frames are late, the broker takes none.
  if (heartbeat.started() == nullptr || !session.certain) return;
  for (const wire::LeaseRef* ref : *heartbeat.started()) {
    auto lease = leases_.find(ref->lease_id());
    if (lease == leases_.end() || !session.outstanding.contains(lease->first)) continue;
    if (!started_.insert(lease->first).second) continue;
    const int64_t allowed_ms = int64_t{lease->second.timeout_ms} + kTimeoutGraceMs;
    overdue_.emplace(After(scheduler_.now_us(), allowed_ms) + kOverdueUs, lease->first);
  }
}

void Oracle::CheckOverdue() {
  while (!overdue_.empty() && overdue_.begin()->first < scheduler_.now_us()) {
    const uint64_t lease = overdue_.begin()->second;
    overdue_.erase(overdue_.begin());
    // What runs at most once is taken away when that is durable.
    if (wishes_[tasks_[leases_[lease].task].marker].at_most_once) continue;
    for (const auto& [number, session] : worker_sessions_)
      if (IsKnown(session) && !session.broken && session.outstanding.contains(lease))
        Fail(absl::StrCat("lease ", ToString(LeaseId(lease)), " is not over ",
                          kTimeoutGraceMs / 1000, " s past its timeout, and was not taken away"));
  }
}

}  // namespace zsched::sim
