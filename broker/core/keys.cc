#include "broker/core/keys.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"
#include "broker/core/chains.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {

KeyHash HashKey(std::string_view key) {
  const XXH128_hash_t hash = XXH3_128bits(key.data(), key.size());
  return {hash.low64, hash.high64};
}

// Each part seeds the next, so that bytes cannot move from one to another unnoticed.
uint64_t HashBody(const wire::TaskSpec& spec) {
  const std::string_view queue = spec.queue() != nullptr ? TextOf(spec.queue()) : kDefaultQueue;
  uint64_t hash = 0;
  for (std::string_view part :
       {TextOf(spec.type()), queue, TextOf(spec.content_type()), BytesOf(spec.payload())})
    hash = XXH3_64bits_withSeed(part.data(), part.size(), hash + part.size());
  // Branch by branch: a template that stands under another one is another body. Without any the hash
  // is what it was before there were chains.
  ForEachBranch(spec, [&](Branch branch, const char*, const Templates& templates) {
    const uint64_t head[] = {branch, templates.size()};
    hash = XXH3_64bits_withSeed(head, sizeof head, hash);
    for (const wire::TaskSpec* next : templates) {
      const uint64_t body = HashBody(*next);
      hash = XXH3_64bits_withSeed(&body, sizeof body, hash);
    }
  });
  return hash;
}

Keys::Holder Keys::Find(const KeyHash& hash) const {
  auto it = by_key_.find(hash);
  return it == by_key_.end() ? Holder{} : Holder{it->second, &by_task_.at(it->second)};
}

const KeyRow* Keys::OfTask(uint64_t task) const {
  auto it = by_task_.find(task);
  return it == by_task_.end() ? nullptr : &it->second;
}

void Keys::Add(uint64_t task, const KeyRow& row) {
  const bool free = by_key_.emplace(KeyHash{row.hash_low, row.hash_high}, task).second;
  const bool first = by_task_.emplace(task, row).second;
  ZS_CHECK(free && first);
  if (row.finished_ms != 0) aging_.emplace_back(row.finished_ms, task);
}

const KeyRow* Keys::SetFinished(uint64_t task, int64_t finished_ms) {
  auto it = by_task_.find(task);
  if (it == by_task_.end()) return nullptr;
  it->second.finished_ms = finished_ms;
  if (finished_ms != 0) aging_.emplace_back(finished_ms, task);
  return &it->second;
}

void Keys::Erase(uint64_t task) {
  auto it = by_task_.find(task);
  ZS_CHECK(it != by_task_.end());
  by_key_.erase(KeyHash{it->second.hash_low, it->second.hash_high});
  by_task_.erase(it);
}

std::vector<uint64_t> Keys::Old(int64_t before_ms, size_t limit) {
  std::vector<uint64_t> old;
  while (!aging_.empty() && old.size() < limit) {
    auto [finished_ms, task] = aging_.front();
    const KeyRow* row = OfTask(task);
    if (row != nullptr && row->finished_ms == finished_ms) {
      if (finished_ms >= before_ms) break;
      old.push_back(task);
    }
    aging_.pop_front();
  }
  std::sort(old.begin(), old.end());
  // A task that was retried and ended in the same millisecond stands here twice.
  old.erase(std::unique(old.begin(), old.end()), old.end());
  return old;
}

void Keys::SortByAge() { std::sort(aging_.begin(), aging_.end()); }

}  // namespace zsched::broker
