// A hierarchical timing wheel over nodes that live elsewhere: O(1) to add and remove, no cost for
// timers that are not due. Owned by broker/core; pure.
//
// Seven levels of 64 slots, 1 ms at the lowest, 2^42 ms in all. A timer stands on the level of the
// highest 6-bit digit in which its due time differs from the wheel's; when the wheel reaches that
// slot, its timers move to lower levels, and from the lowest to the due list. Each level has a
// bitmap of occupied slots, so advancing jumps over empty time. Source of the scheme: Varghese and
// Lauck, "Hashed and Hierarchical Timing Wheels", 1987, scheme 7.
//
// Nodes are named by 31-bit handles; `Nodes` gives access to their links and due time:
//   struct Nodes { uint32_t& next(uint32_t); uint32_t& prev(uint32_t); int64_t due(uint32_t); };
// A node is in the wheel from Add until Remove; due nodes stay linked (in the due list) until
// removed.
//
// Example:
//   TimerWheel<Nodes> wheel(nodes, now_ms);
//   wheel.Add(h);
//   wheel.Advance(now_ms);
//   while (wheel.due_head() != kNil) { h = wheel.due_head(); wheel.Remove(h); … }
//
// Threads: none of its own; one owner.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace zsched::broker {

inline constexpr uint32_t kNil = 0x7FFFFFFF;

template <class Nodes>
class TimerWheel {
 public:
  TimerWheel(Nodes nodes, int64_t now_ms) : nodes_(nodes), now_(now_ms) { heads_.fill(kNil); }

  // Requires: not linked. A due time that has passed goes to the due list at once.
  void Add(uint32_t node) { Link(node, ListFor(nodes_.due(node))); }

  // Requires: linked by Add, due or not.
  void Remove(uint32_t node) {
    uint32_t next = nodes_.next(node), prev = nodes_.prev(node);
    if (prev & kIsList) {
      uint32_t list = prev & ~kIsList;
      ZS_CHECK(heads_[list] == node);
      heads_[list] = next;
      if (next == kNil) MarkEmpty(list);
    } else {
      nodes_.next(prev) = next;
    }
    if (next != kNil) nodes_.prev(next) = prev;
    --size_;
  }

  // Moves everything due at or before now_ms to the due list. Time that goes back is ignored.
  void Advance(int64_t now_ms) {
    while (true) {
      auto [time, list] = NextSlot();
      if (list == kNoList || time > now_ms) break;
      now_ = std::max(now_, time);
      Redistribute(list);
    }
    now_ = std::max(now_, now_ms);
  }

  // Head of the due list, or kNil; in no particular order.
  uint32_t due_head() const { return heads_[kDueList]; }

  // A time at which Advance may have something to do; INT64_MAX when the wheel is empty. Never
  // later than the first due.
  int64_t next_ms() const {
    if (due_head() != kNil) return now_;
    auto [time, list] = NextSlot();
    return list == kNoList ? INT64_MAX : time;
  }

  size_t size() const { return size_; }

 private:
  static constexpr int kLevels = 7, kBits = 6, kSlots = 1 << kBits;
  static constexpr uint32_t kDueList = kLevels * kSlots;
  static constexpr uint32_t kNoList = UINT32_MAX;
  static constexpr uint32_t kIsList = 0x80000000;  // in prev: the node is first in that list
  static constexpr int64_t kHorizonMs = (int64_t{1} << (kLevels * kBits)) - 1;

  uint32_t ListFor(int64_t due) const {
    if (due <= now_) return kDueList;
    if (due - now_ >= kHorizonMs)
      due = now_ + kHorizonMs - 1;  // put again when the wheel gets there
    auto difference = static_cast<uint64_t>(due ^ now_);
    int level = std::min((63 - std::countl_zero(difference)) / kBits, kLevels - 1);
    auto slot = static_cast<uint32_t>(due >> (level * kBits)) & (kSlots - 1);
    return static_cast<uint32_t>(level) * kSlots + slot;
  }

  // The earliest occupied slot and the time at which the wheel reaches it.
  std::pair<int64_t, uint32_t> NextSlot() const {
    std::pair<int64_t, uint32_t> best{INT64_MAX, kNoList};
    for (int level = 0; level < kLevels; ++level) {
      if (occupied_[level] == 0) continue;
      int shift = level * kBits;
      int at = static_cast<int>(now_ >> shift) & (kSlots - 1);
      // Slots behind the wheel's own position belong to the next turn (only on the top level).
      int ahead = std::countr_zero(std::rotr(occupied_[level], at));
      int64_t slot_time = ((now_ >> shift) + ahead) << shift;
      if (slot_time < best.first)
        best = {slot_time, static_cast<uint32_t>(level * kSlots + ((at + ahead) & (kSlots - 1)))};
    }
    return best;
  }

  void Redistribute(uint32_t list) {
    uint32_t node = heads_[list];
    heads_[list] = kNil;
    MarkEmpty(list);
    while (node != kNil) {
      uint32_t next = nodes_.next(node);
      --size_;
      Link(node, ListFor(nodes_.due(node)));
      node = next;
    }
  }

  void Link(uint32_t node, uint32_t list) {
    uint32_t head = heads_[list];
    nodes_.next(node) = head;
    nodes_.prev(node) = kIsList | list;
    if (head != kNil) nodes_.prev(head) = node;
    heads_[list] = node;
    if (list != kDueList) occupied_[list / kSlots] |= uint64_t{1} << (list % kSlots);
    ++size_;
  }

  void MarkEmpty(uint32_t list) {
    if (list != kDueList) occupied_[list / kSlots] &= ~(uint64_t{1} << (list % kSlots));
  }

  Nodes nodes_;
  int64_t now_;
  size_t size_ = 0;
  std::array<uint32_t, kDueList + 1> heads_;
  std::array<uint64_t, kLevels> occupied_{};
};

}  // namespace zsched::broker
