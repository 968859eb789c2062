// When tasks became ready: LSNs and the wall clock at which they were given. Owned by broker/core; pure.
//
// A task's place in line is an LSN (Task::order). What a queue with ageing, and a person, want to know is
// since when it has waited. A mark at the first LSN of each second says so, for 16 bytes. The marks of a
// restart come from the rows of the tasks that wait, and the last one from the meta row: so a restart, a
// standby and a broker that runs on say the same of every task.
//
//   marks   (lsn 10, 12:00:00) (lsn 900, 12:00:01) (lsn 2500, 12:00:02)
//   TimeOf(1200) == 12:00:01
//
// More than kMaxMarks are thinned: every other goes, so what is old is known less finely.
//
// Threads: one owner.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace zsched::broker {

class ReadyClock {
 public:
  static constexpr size_t kMaxMarks = 65'536;  // 1 MiB: 18 hours to a second, 36 to two seconds, …
  static constexpr int64_t kMarkMs = 1000;

  // LSNs come in rising order; a clock that jumped back is taken for one that stands still.
  void Note(uint64_t lsn, int64_t now_ms) {
    const int64_t second_ms = now_ms - now_ms % kMarkMs;
    if (!marks_.empty() && second_ms <= marks_.back().ms) return;
    if (marks_.size() >= kMaxMarks) Thin();
    marks_.push_back({lsn, second_ms});
  }
  // Of the last mark; 0: there is none.
  int64_t last_ms() const { return marks_.empty() ? 0 : marks_.back().ms; }
  // 0 when the LSN is before the first mark.
  int64_t TimeOf(uint64_t lsn) const {
    if (marks_.empty()) return 0;
    if (lsn >= marks_.back().lsn) return marks_.back().ms;
    auto after = std::upper_bound(marks_.begin(), marks_.end(), lsn,
                                  [](uint64_t l, const Mark& mark) { return l < mark.lsn; });
    return after == marks_.begin() ? 0 : (after - 1)->ms;
  }
  size_t size() const { return marks_.size(); }

 private:
  struct Mark {
    uint64_t lsn;
    int64_t ms;
  };

  void Thin() {
    size_t kept = 0;
    for (size_t i = 0; i < marks_.size(); i += 2) marks_[kept++] = marks_[i];
    marks_.resize(kept);
  }

  std::vector<Mark> marks_;
};

}  // namespace zsched::broker
