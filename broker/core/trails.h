// The trails of tasks: numbers under which the journal keeps what attempts leave behind (docs/scheduling.md).
// Owned by broker/core; pure.
//
// A task gets a trail when one of its attempts leaves something, and keeps it for as long as it has rows: retention
// and whoever else deletes a task drops it. Of a trail only this is in memory; its rows are read by queries. Some
// 30 bytes a trail; a task that succeeds at once and says nothing has none.
//
// Example:
//   Trail& trail = trails.Add(task_id, {meta.next_trail++, attempt});
//   batch.Put(Table::kHistory, HistoryKey(trail.number, attempt), row);
//   trails.ForEachIn(first, last, [&](uint64_t task, const Trail& trail) { … });   trails.Erase(first, last);
//
// Threads: one owner.
#pragma once

#include <cstdint>

#include "absl/container/btree_map.h"
#include "base/check.h"

namespace zsched::broker {

struct Trail {
  uint64_t number = 0;
  uint16_t first = 0;  // the attempt that began it
  uint8_t notes = 0;   // 1 << NoteKind: there is a row of that kind
  uint16_t wrote = 0;  // the last attempt with output; 0: none has any
};

class Trails {
 public:
  // nullptr: the task has none.
  const Trail* Find(uint64_t task) const {
    auto it = by_task_.find(task);
    return it == by_task_.end() ? nullptr : &it->second;
  }
  Trail* Find(uint64_t task) {
    auto it = by_task_.find(task);
    return it == by_task_.end() ? nullptr : &it->second;
  }
  // Requires: it has none.
  Trail& Add(uint64_t task, const Trail& trail) {
    auto [it, is_new] = by_task_.emplace(task, trail);
    ZS_CHECK(is_new);
    return it->second;
  }
  // Calls visit(task, trail) for each task with first <= id <= last, by rising id.
  template <class Visit>
  void ForEachIn(uint64_t first, uint64_t last, Visit visit) const {
    for (auto it = by_task_.lower_bound(first); it != by_task_.end() && it->first <= last; ++it)
      visit(it->first, it->second);
  }
  template <class Visit>
  void ForEach(Visit visit) const {
    for (const auto& [task, trail] : by_task_) visit(task, trail);
  }
  void Erase(uint64_t first, uint64_t last) {
    by_task_.erase(by_task_.lower_bound(first), by_task_.upper_bound(last));
  }
  size_t size() const { return by_task_.size(); }

 private:
  absl::btree_map<uint64_t, Trail> by_task_;
};

}  // namespace zsched::broker
