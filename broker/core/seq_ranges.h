// A set of sequence numbers that mostly rise by one: which of a client's frames this log has taken. Owned by broker/core; pure.
//
// Nearly always one range. A gap is what another broker took while this one did not hear of it (docs/ha.md, "The merge"), or a
// frame that was refused. The oldest range is forgotten when there are too many: then it is not known of its numbers.
//
// Example:
//   SeqRanges taken;  taken.Add(1);  taken.Add(2);  taken.Add(4);
//   taken.Has(3)   // false
//
// Threads: plain values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace zsched::broker {

class SeqRanges {
 public:
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
    bool operator==(const Range&) const = default;
  };
  // More than a client has frames under way, each of which may be a gap.
  static constexpr size_t kMost = 64;

  bool Has(uint64_t seq) const {
    auto behind = Behind(seq);
    return behind != ranges_.begin() && seq <= std::prev(behind)->last;
  }
  void Add(uint64_t seq) {
    if (!ranges_.empty() && ranges_.back().last + 1 == seq) {
      ranges_.back().last = seq;
      return;
    }
    if (Has(seq)) return;
    auto at = ranges_.insert(Behind(seq), {seq, seq});
    if (auto next = std::next(at); next != ranges_.end() && next->first == seq + 1) {
      at->last = next->last;
      at = std::prev(ranges_.erase(next));
    }
    if (at != ranges_.begin() && std::prev(at)->last + 1 == seq) {
      std::prev(at)->last = at->last;
      ranges_.erase(at);
    }
    if (ranges_.size() > kMost) ranges_.erase(ranges_.begin());
  }
  const std::vector<Range>& ranges() const { return ranges_; }
  // As ranges() had them. False: no such set gives these.
  bool Set(std::vector<Range> ranges) {
    for (size_t i = 0; i < ranges.size(); ++i) {
      if (ranges[i].last < ranges[i].first) return false;
      // With a gap behind the one before.
      if (i > 0 &&
          (ranges[i].first <= ranges[i - 1].last || ranges[i].first - ranges[i - 1].last < 2))
        return false;
    }
    ranges_ = std::move(ranges);
    return ranges_.size() <= kMost;
  }

 private:
  std::vector<Range>::const_iterator Behind(uint64_t seq) const {
    return std::upper_bound(ranges_.begin(), ranges_.end(), seq,
                            [](uint64_t s, const Range& range) { return s < range.first; });
  }

  std::vector<Range> ranges_;
};

}  // namespace zsched::broker
