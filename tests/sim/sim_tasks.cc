// The tasks that a client of the simulation asks for.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/sim/sim_client.h"

namespace zsched::sim {
namespace {

constexpr int kPriorityChoices = 3;
constexpr int kGroups = 3;  // concurrency keys of a queue, and fairness keys

}  // namespace

TaskSpec SimClient::MakeTask(std::string* marker) {
  const WorkloadProfile& workload = world_.workload;
  TaskSpec task;
  *marker = absl::StrCat("c", number_, ".", next_task_++);
  auto name = [&](const char* prefix, int choices) {
    return absl::StrCat(prefix, random_.Below(static_cast<uint64_t>(choices)));
  };
  task.type = name("t", workload.types);
  task.queue = name("q", workload.queues);
  bool large = random_.Chance(workload.large_payload);
  task.payload = *marker + "|";
  task.payload.append(random_.Below(static_cast<uint64_t>(large ? workload.large_payload_max
                                                                : workload.payload_max)),
                      'x');
  task.priority = kDefaultPriority + static_cast<int>(random_.Below(kPriorityChoices));
  if (random_.Chance(workload.memory)) task.durability = Durability::kMemory;
  task.max_attempts = static_cast<uint32_t>(random_.Between(1, workload.max_attempts));
  task.timeout_ms =
      static_cast<uint32_t>(random_.Between(workload.timeout_min_ms, workload.timeout_max_ms));
  task.retry_cap_ms = static_cast<uint32_t>(random_.Between(1, workload.retry_cap_max_ms));
  task.retry_base_ms = static_cast<uint32_t>(random_.Between(1, task.retry_cap_ms));
  if (random_.Chance(workload.delayed)) {
    int64_t delay_ms = random_.Between(1, workload.delay_max_ms);
    if (random_.Chance(workload.run_at))
      task.run_at_ms = now().wall_ms + delay_ms;
    else
      task.delay_ms = static_cast<uint64_t>(delay_ms);
  }
  if (random_.Chance(workload.grouped)) task.concurrency_key = name("c", kGroups);
  if (random_.Chance(workload.grouped)) task.fairness_key = name("f", kGroups);
  if (random_.Chance(workload.once)) task.delivery = Delivery::kAtMostOnce;
  if (random_.Chance(workload.expiring)) SetStartBy(&task);
  if (random_.Chance(workload.invalid)) task.delay_ms = task.run_at_ms = 1;  // not both
  size_t templates = kMaxTemplates;
  if (random_.Chance(workload.chained)) AddChain(*marker, /*depth=*/1, &templates, &task);
  return task;
}

void SimClient::SetStartBy(TaskSpec* task) {
  constexpr double kAtATime = 0.3;
  const int64_t within_ms = random_.LogBetween(1, world_.workload.expires_max_ms);
  const auto delay_ms = static_cast<int64_t>(task->delay_ms);
  if (task->run_at_ms != 0)
    task->start_by_ms = task->run_at_ms + within_ms;
  else if (delay_ms == 0 && random_.Chance(kAtATime))
    task->start_by_ms = now().wall_ms + within_ms;
  else
    task->start_within_ms = static_cast<uint64_t>(delay_ms + within_ms);
}

// Up to two templates a branch, named after the task that they follow.
void SimClient::AddChain(const std::string& marker, int depth, size_t* left, TaskSpec* task) {
  constexpr double kBranch = 0.5, kTwo = 0.2, kDeeper = 0.3;
  int number = 0;
  for (std::vector<TaskSpec>* branch : {&task->on_success, &task->on_failure, &task->on_complete}) {
    if (!random_.Chance(kBranch)) continue;
    for (int more = random_.Chance(kTwo) ? 2 : 1; more > 0 && *left > 0; --more) {
      --*left;
      const std::string name = absl::StrCat(marker, "/", number++);
      TaskSpec next = *task;
      next.on_success.clear();
      next.on_failure.clear();
      next.on_complete.clear();
      next.key.clear();
      next.run_at_ms = 0;
      next.delay_ms = random_.Chance(kBranch) ? 0 : random_.Below(500);
      next.start_by_ms = 0;
      if (next.start_within_ms != 0) next.start_within_ms += next.delay_ms;
      next.payload = name + "|";
      next.queue = absl::StrCat("q", random_.Below(static_cast<uint64_t>(world_.workload.queues)));
      next.pass_result = random_.Chance(kBranch);
      if (depth < kMaxChainDepth && random_.Chance(kDeeper)) AddChain(name, depth + 1, left, &next);
      branch->push_back(std::move(next));
    }
  }
}

// A task with a key may come again as it was, or another may come under its key, which must be refused.
// Not with notify: then the outcome would be pushed once for each.
TaskSpec SimClient::MakeOrRepeat(std::string* marker, bool notify) {
  const WorkloadProfile& workload = world_.workload;
  constexpr double kOtherBody = 0.2;
  if (!random_.Chance(workload.keyed)) return MakeTask(marker);
  if (!notify && !keyed_.empty() && random_.Chance(workload.repeat)) {
    const auto& [old_marker, old] = keyed_[random_.Below(keyed_.size())];
    if (!random_.Chance(kOtherBody)) {
      *marker = old_marker;
      return old;
    }
    TaskSpec other = MakeTask(marker);
    other.key = old.key;
    return other;
  }
  TaskSpec task = MakeTask(marker);
  task.key = *marker;
  keyed_.emplace_back(*marker, task);
  return task;
}

}  // namespace zsched::sim
