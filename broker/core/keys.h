// Idempotency keys: which task holds a key, and how long. Owned by broker/core, part of State; pure.
//
// A key belongs to the first task that was submitted with it, from then until that task is over and a
// time (CoreConfig::keep_keys_ms) has passed. A submit with a key that is held creates nothing: with the
// same body it gets the holder's id, with another it is a conflict.
//
//   free ──submit──▶ held ──the task ends──▶ held, aging ──keep_keys_ms──▶ free
//                     ▲────────RETRY────────────┘
//
// Keys are compared by a 128-bit hash, bodies by one of 64 bits under it: type, queue, payload and content
// type, which is what a task is; how it is retried or delayed may differ.
//
// Example:
//   Keys::Holder held = keys.Find(HashKey("order-17"));
//   if (held.any()) …held.task; held.row->body_hash == HashBody(spec)…
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <deque>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/rows.h"

namespace zsched::broker {

struct KeyHash {
  uint64_t low = 0, high = 0;
  bool operator==(const KeyHash&) const = default;
  template <class H>
  friend H AbslHashValue(H state, const KeyHash& hash) {
    return H::combine(std::move(state), hash.low, hash.high);
  }
};
KeyHash HashKey(std::string_view key);
uint64_t HashBody(const wire::TaskSpec& spec);

class Keys {
 public:
  struct Holder {
    uint64_t task = 0;
    const KeyRow* row = nullptr;  // nullptr: nobody holds the key
    bool any() const { return row != nullptr; }
  };
  Holder Find(const KeyHash& hash) const;
  const KeyRow* OfTask(uint64_t task) const;

  // Requires that nothing holds the key.
  void Add(uint64_t task, const KeyRow& row);
  // The task is over since finished_ms, or, with 0, it goes on. Returns its row as it is now, nullptr when
  // it has no key (any more).
  const KeyRow* SetFinished(uint64_t task, int64_t finished_ms);
  void Erase(uint64_t task);

  // Tasks, by rising id and at most `limit` of them, that were over before `before_ms`: their keys can go.
  std::vector<uint64_t> Old(int64_t before_ms, size_t limit);
  // After the rows of a restart were added, in whatever order.
  void SortByAge();

  size_t size() const { return by_task_.size(); }
  template <class Visit>
  void ForEach(Visit visit) const {
    for (const auto& [task, row] : by_task_) visit(task, row);
  }

 private:
  absl::flat_hash_map<uint64_t, KeyRow> by_task_;
  absl::flat_hash_map<KeyHash, uint64_t> by_key_;
  // (finished_ms, task), the oldest first but for jumps of the clock; void when the row says another time.
  std::deque<std::pair<int64_t, uint64_t>> aging_;
};

}  // namespace zsched::broker
