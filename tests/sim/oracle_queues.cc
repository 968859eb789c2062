// The ruled half: what queues may hand out, by the rules that operators gave them.
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

}  // namespace

void Oracle::QueueStored(std::string_view bytes) {
  broker::QueueRow row;
  broker::RowReader in(bytes);
  std::string_view name;
  if (!in.Read(row) || !in.Take(row.name_bytes, name)) return Fail("the row of a queue is short");
  ruled_[std::string(name)].row = row;
}

void Oracle::RuleAsked(const std::string& name) {
  RuledQueue& queue = ruled_[name];
  queue.settled = false;
  queue.asked_batch = batches_taken_;
  queue.asked_us = scheduler_.now_us();
}

// By a broker that starts: what is on disk holds from its first moment on.
void Oracle::RulesReread() {
  for (auto& [name, queue] : ruled_) {
    queue.settled = true;
    queue.asked_us = scheduler_.now_us();
    queue.handed_out = queue.leased = 0;
  }
}

void Oracle::SettleRules() {
  for (auto& [name, queue] : ruled_) {
    if (queue.settled || batches_reported_ < queue.asked_batch + kBatchesUnderWay) continue;
    queue.settled = true;
    queue.handed_out = 0;
  }
}

void Oracle::CheckHandOut(const std::string& name) {
  auto it = ruled_.find(name);
  if (it == ruled_.end() || !it->second.settled) return;
  RuledQueue& queue = it->second;
  ++queue.handed_out;
  if (queue.row.paused != 0) return Fail(absl::StrCat("queue ", name, " is paused, and hands out"));
  if (queue.row.rate_micro == 0) return;
  // One more for a token that was nearly there, and the rest of a millisecond.
  const double elapsed_ms = static_cast<double>(scheduler_.now_us() - queue.asked_us) / 1e3 + 1;
  const double allowed = static_cast<double>(broker::BurstOf(queue.row)) + 1 +
                         static_cast<double>(queue.row.rate_micro) / 1e9 * elapsed_ms;
  if (static_cast<double>(queue.handed_out) > allowed)
    Fail(absl::StrCat("queue ", name, " handed out ", queue.handed_out, " tasks in ", elapsed_ms,
                      " ms, more than its rate allows"));
}

// Leases of older epochs are those that workers came back with, which no rule takes from them.
void Oracle::CheckRunning(Epoch epoch) {
  for (auto& [name, queue] : ruled_) {
    uint64_t leased = 0;
    for (const auto& [id, task] : tasks_)
      if (task.has_row && task.row.state == TaskState::kLeased &&
          EpochOf(LeaseId(task.row.lease)) == epoch && wishes_[task.marker].queue == name)
        ++leased;
    const uint64_t most = std::max<uint64_t>(queue.row.max_running, queue.leased);
    if (queue.settled && queue.row.max_running != 0 && leased > most)
      Fail(absl::StrCat("queue ", name, " has ", leased, " tasks at workers, more than the ",
                        queue.row.max_running, " it may"));
    queue.leased = leased;
  }
}

bool Oracle::MayWait(const std::string& name, int64_t since_us) const {
  auto it = ruled_.find(name);
  if (it == ruled_.end()) return false;
  return it->second.Holds() || !it->second.settled || it->second.asked_us > since_us;
}

}  // namespace zsched::sim
