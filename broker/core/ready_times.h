// When the latest records were decided, to a millisecond: what a task's wait is measured from. Owned by
// broker/core; pure.
//
// A ready task has the LSN that made it ready (Task::order) and no time, so that a waiting task costs nothing
// for this. The first LSN of each of the last kMarks milliseconds in which anything was decided is kept, here, in a ring:
// at least the last 16 seconds. What became ready before is known to a second, by ReadyClock.
//
// Unlike that one it is of this process only, and of the monotonic clock.
//
// Example:
//   times.Note(lsn, now.mono_ms);                // each record
//   times.TimeOf(task_lsn);                      // nullopt: too long ago
//
// Threads: one owner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace zsched::broker {

class ReadyTimes {
 public:
  static constexpr size_t kMarks = 16'384;  // 256 KiB

  // LSNs and times come in rising order.
  void Note(uint64_t lsn, int64_t mono_ms) {
    if (end_ > 0 && mono_ms <= At(end_ - 1).ms) return;
    if (marks_.empty()) marks_.resize(kMarks);
    At(end_++) = {lsn, mono_ms};
  }

  std::optional<int64_t> TimeOf(uint64_t lsn) const {
    if (lsn >= found_from_ && lsn < found_before_) return found_ms_;
    const uint64_t begin = end_ > kMarks ? end_ - kMarks : 0;
    if (begin == end_ || lsn < At(begin).lsn) return std::nullopt;
    // The last mark that is not behind it.
    uint64_t low = begin, high = end_;
    while (high - low > 1) {
      const uint64_t middle = low + (high - low) / 2;
      (At(middle).lsn <= lsn ? low : high) = middle;
    }
    if (high == end_) return At(low).ms;  // the mark may still be the newest: not remembered
    found_from_ = At(low).lsn;
    found_before_ = At(high).lsn;
    return found_ms_ = At(low).ms;
  }

 private:
  struct Mark {
    uint64_t lsn = 0;
    int64_t ms = 0;
  };
  Mark& At(uint64_t number) { return marks_[number % kMarks]; }
  const Mark& At(uint64_t number) const { return marks_[number % kMarks]; }

  std::vector<Mark> marks_;  // a ring, by number
  uint64_t end_ = 0;         // marks so far
  // What was found last: tasks that became ready together are mostly handed out together.
  mutable uint64_t found_from_ = 1, found_before_ = 0;
  mutable int64_t found_ms_ = 0;
};

}  // namespace zsched::broker
