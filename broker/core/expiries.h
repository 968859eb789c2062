// When the first attempts of tasks must have begun (docs/scheduling.md, "Start-by times"). Owned by
// broker/core; pure.
//
//   Add ──▶ waits ──Pause (leased)──▶ out of the order ──Resume (given back)──▶ waits ──Erase──▶ gone
//
// The order has those that wait only, so that what is due can be taken off its front. A task without
// such a time has nothing here.
//
// Example:
//   expiries.Add(id, start_by_ms);
//   while (expiries.next_ms() <= now.wall_ms) … expiries.front() …
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "base/check.h"

namespace zsched::broker {

class Expiries {
 public:
  bool Has(uint64_t task) const { return by_task_.contains(task); }
  // 0: none.
  int64_t StartBy(uint64_t task) const {
    auto it = by_task_.find(task);
    return it == by_task_.end() ? 0 : it->second;
  }
  // Requires !Has(task). It waits.
  void Add(uint64_t task, int64_t start_by_ms) {
    const bool is_new = by_task_.emplace(task, start_by_ms).second;
    ZS_CHECK(is_new);
    waiting_.emplace(start_by_ms, task);
  }
  // These require Has(task).
  void Pause(uint64_t task) { waiting_.erase({by_task_.at(task), task}); }
  void Resume(uint64_t task) { waiting_.emplace(by_task_.at(task), task); }
  void Erase(uint64_t task) {
    Pause(task);
    by_task_.erase(task);
  }

  // Of those that wait: the first time, INT64_MAX without any; up to `limit` tasks that are due.
  int64_t next_ms() const { return waiting_.empty() ? INT64_MAX : waiting_.begin()->first; }
  std::vector<uint64_t> Due(int64_t wall_ms, size_t limit) const {
    std::vector<uint64_t> due;
    for (auto it = waiting_.begin();
         it != waiting_.end() && it->first <= wall_ms && due.size() < limit; ++it)
      due.push_back(it->second);
    return due;
  }
  bool Waits(uint64_t task) const { return waiting_.contains({StartBy(task), task}); }
  size_t size() const { return by_task_.size(); }
  size_t waiting() const { return waiting_.size(); }
  template <class Visit>
  void ForEach(Visit visit) const {
    for (const auto& [task, start_by_ms] : by_task_) visit(task, start_by_ms);
  }

 private:
  absl::flat_hash_map<uint64_t, int64_t> by_task_;
  absl::btree_set<std::pair<int64_t, uint64_t>> waiting_;  // (start-by, task)
};

}  // namespace zsched::broker
