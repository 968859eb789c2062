// The ruled half: what may be handed out, and tried again, by the rules that operators gave queues,
// types and concurrency keys.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "broker/core/queue_settings.h"
#include "tests/sim/oracle.h"
#include "tests/sim/process.h"

namespace zsched::sim {
namespace {

using broker::TaskState;

// Batches that may hold decisions from before a change, or are not known to be reported: the one at the
// journal and the one that was open.
constexpr uint64_t kBatchesUnderWay = 2;

std::string QueueGateName(const std::string& queue) { return "queue " + queue; }
std::string TypeGateName(const std::string& type) { return "type " + type; }
std::string KeyGateName(const std::string& queue, const std::string& key) {
  return "key of " + queue + ": " + key;
}

}  // namespace

// Those of a task. That of a key is made with the rules that its queue has now.
std::vector<std::string> Oracle::GatesOf(const Wish& wish) {
  std::vector<std::string> names = {QueueGateName(wish.queue), TypeGateName(wish.type)};
  if (wish.concurrency_key.empty()) return names;
  names.push_back(KeyGateName(wish.queue, wish.concurrency_key));
  if (gates_.contains(names.back())) return names;
  const GateFacts& queue = gates_[names.front()];
  GateFacts key = queue;
  key.rules = queue.key_rules;
  key.handed_out = key.leased = 0;
  gates_[names.back()] = key;
  return names;
}

template <class Visit>
void Oracle::ForGatesOfQueue(const std::string& queue, Visit visit) {
  visit(gates_[QueueGateName(queue)]);
  const std::string prefix = KeyGateName(queue, "");
  for (auto it = gates_.lower_bound(prefix);
       it != gates_.end() && absl::StartsWith(it->first, prefix); ++it)
    visit(it->second);
}

void Oracle::QueueStored(std::string_view bytes) {
  broker::QueueRow row;
  broker::RowReader in(bytes);
  std::string_view name;
  if (!in.Read(row) || !in.Take(row.name_bytes, name)) return Fail("the row of a queue is short");
  const GateRules of_keys{false, row.key_max_running, row.key_rate_micro, row.key_burst};
  ForGatesOfQueue(std::string(name), [&](GateFacts& gate) { gate.rules = of_keys; });
  GateFacts& queue = gates_[QueueGateName(std::string(name))];
  queue.rules = {row.paused != 0, row.max_running, row.rate_micro, row.burst};
  queue.key_rules = of_keys;
}

void Oracle::TypeStored(std::string_view bytes) {
  broker::TypeRow row;
  broker::RowReader in(bytes);
  std::string_view name;
  if (!in.Read(row) || !in.Take(row.name_bytes, name)) return Fail("the row of a type is short");
  gates_[TypeGateName(std::string(name))].rules = {row.paused != 0, row.max_running, row.rate_micro,
                                                   row.burst, row.no_retry};
}

void Oracle::RuleAsked(GateFacts& gate) {
  gate.settled = false;
  gate.asked_batch = batches_taken_;
  gate.asked_us = scheduler_.now_us();
}

void Oracle::QueueRuleAsked(const std::string& queue) {
  ForGatesOfQueue(queue, [this](GateFacts& gate) { RuleAsked(gate); });
}

void Oracle::TypeRuleAsked(const std::string& type) { RuleAsked(gates_[TypeGateName(type)]); }

// By a broker that starts: what is on disk holds from its first moment on.
void Oracle::RulesReread() {
  for (auto& [name, gate] : gates_) {
    gate.settled = true;
    gate.asked_us = scheduler_.now_us();
    gate.handed_out = gate.leased = 0;
  }
}

void Oracle::SettleRules() {
  for (auto& [name, gate] : gates_) {
    if (gate.settled || batches_reported_ < gate.asked_batch + kBatchesUnderWay) continue;
    gate.settled = true;
    gate.handed_out = 0;
  }
}

void Oracle::CheckHandOut(const Wish& wish) {
  for (const std::string& name : GatesOf(wish)) {
    GateFacts& gate = gates_[name];
    if (!gate.settled) continue;
    ++gate.handed_out;
    if (gate.rules.paused) return Fail(absl::StrCat(name, " is paused, and hands out"));
    if (gate.rules.rate_micro == 0) continue;
    // One more for a token that was nearly there, and the rest of a millisecond.
    const double elapsed_ms =
        static_cast<double>(scheduler_.now_us() - gate.asked_us) / 1e3 * (1 + drift_) + 1;
    const double allowed =
        static_cast<double>(broker::BurstOf(gate.rules.burst, gate.rules.rate_micro)) + 1 +
        static_cast<double>(gate.rules.rate_micro) / 1e9 * elapsed_ms;
    if (static_cast<double>(gate.handed_out) > allowed)
      return Fail(absl::StrCat(name, " handed out ", gate.handed_out, " tasks in ", elapsed_ms,
                               " ms, more than its rate allows"));
  }
}

// Leases of older epochs are those that workers came back with, which no rule takes from them.
void Oracle::CheckRunning(Epoch epoch) {
  std::map<std::string, uint64_t> leased;
  for (const auto& [id, task] : tasks_)
    if (task.has_row && task.row.state == TaskState::kLeased &&
        EpochOf(LeaseId(task.row.lease)) == epoch)
      for (const std::string& name : GatesOf(wishes_[task.marker])) ++leased[name];
  for (auto& [name, gate] : gates_) {
    const uint64_t now = leased[name], most = std::max(gate.rules.max_running, gate.leased);
    if (gate.settled && gate.rules.max_running != 0 && now > most)
      Fail(absl::StrCat(name, " has ", now, " tasks at workers, more than the ",
                        gate.rules.max_running, " it may"));
    gate.leased = now;
  }
}

// Whether it is sure that an attempt of the task that ended at `since_us` with any of `errors` was its
// last.
bool Oracle::ForbidsRetry(const Wish& wish, uint64_t errors, int64_t since_us) {
  const GateFacts& gate = gates_[TypeGateName(wish.type)];
  return gate.settled && gate.asked_us < since_us && (errors & ~gate.rules.no_retry) == 0;
}

// Whether one that has just ended with one of `errors` may have been.
bool Oracle::MayForbidRetry(const Wish& wish, uint64_t errors) {
  const GateFacts& gate = gates_[TypeGateName(wish.type)];
  return !gate.settled || (gate.rules.no_retry & errors) != 0;
}

bool Oracle::MayWait(const Wish& wish, int64_t since_us) {
  for (const std::string& name : GatesOf(wish)) {
    const GateFacts& gate = gates_[name];
    if (gate.rules.Hold() || !gate.settled || gate.asked_us > since_us) return true;
  }
  return false;
}

}  // namespace zsched::sim
