#include "client/ctl/ended_tasks.h"

#include <cstdio>

#include "base/check.h"

namespace zsched::ctl {

void EndedTasks::Push(std::span<Outcome> outcomes) {
  {
    std::lock_guard lock(mutex_);
    for (Outcome& outcome : outcomes) {
      const bool missing = outcome.error == ErrorCode::kNotFound;
      ++counts_.ended;
      counts_.failed += !outcome.succeeded();
      counts_.missing += missing;
      if (missing) continue;  // there is nothing to show
      queue_.push_back({outcome.id, outcome.state, outcome.attempt, outcome.error,
                        std::move(outcome.error_message)});
    }
  }
  wake_();
}

EndedTasks::Counts EndedTasks::counts() const {
  std::lock_guard lock(mutex_);
  Counts counts = counts_;
  counts.queued = queue_.size();
  return counts;
}

std::deque<EndedTasks::Ended> EndedTasks::Take(size_t most) {
  std::lock_guard lock(mutex_);
  std::deque<Ended> taken;
  for (; !queue_.empty() && taken.size() < most; queue_.pop_front())
    taken.push_back(std::move(queue_.front()));
  return taken;
}

// What the outcome alone tells: for -o id, and for a task that was pruned before it was fetched.
TaskInfo EndedTasks::InfoOf(const Ended& task) {
  TaskInfo info;
  info.id = task.id;
  info.state = task.state;
  info.attempt = task.attempt;
  info.error = task.error;
  info.error_message = task.error_message;
  return info;
}

absl::StatusOr<bool> EndedTasks::PrintSome(Client& client, TaskWriter& writer) {
  std::deque<Ended> ended = Take(kMaxQueryIds);
  if (ended.empty()) return false;
  GetResult found;
  if (writer.needs_details()) {
    std::vector<TaskId> ids;
    for (const Ended& task : ended) ids.push_back(task.id);
    absl::StatusOr<GetResult> answer = client.Get(ids);
    while (!answer.ok() && IsRetryable(CodeOf(answer.status()))) {
      if (Interrupted()) return Error(ErrorCode::kCancelled, "interrupted");
      answer = client.Get(ids);
    }
    ZS_ASSIGN_OR_RETURN(found, std::move(answer));
  }
  size_t next = 0;
  for (const Ended& task : ended) {
    const bool known = next < found.tasks.size() && found.tasks[next].id == task.id;
    writer.Add(known ? found.tasks[next++] : InfoOf(task));
  }
  writer.Flush();
  return true;
}

}  // namespace zsched::ctl
