// Sequence numbers that mostly rise by one, and the epoch of each: which of a client's frames this log has taken, and when. Owned by
// broker/core; pure.
//
// Nearly always one range for each epoch in which the client spoke. A gap is what another broker took while this one did not hear of it (docs/ha.md, "The merge"), or a
// frame that was refused. The oldest range is forgotten when there are too many: then it is not known of its numbers.
//
// Example:
//   SeqRanges taken;  taken.Add(1, 7);  taken.Add(2, 7);  taken.Add(4, 7);
//   taken.EpochOf(2)   // 7
//   taken.EpochOf(3)   // nullopt: it is not among them
//
// Threads: plain values.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace zsched::broker {

class SeqRanges {
 public:
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;
    uint64_t epoch = 0;
    bool operator==(const Range&) const = default;
  };
  // As many as a client has frames under way, each of which may be a gap; or as many epochs as it lives to see.
  static constexpr size_t kMost = 64;

  // nullopt: it is not among them.
  std::optional<uint64_t> EpochOf(uint64_t seq) const {
    auto behind = Behind(seq);
    if (behind == ranges_.begin() || seq > std::prev(behind)->last) return std::nullopt;
    return std::prev(behind)->epoch;
  }
  void Add(uint64_t seq, uint64_t epoch) {
    auto joins = [&](const Range& a, const Range& b) {
      return a.last + 1 == b.first && a.epoch == b.epoch;
    };
    const Range added{seq, seq, epoch};
    if (!ranges_.empty() && joins(ranges_.back(), added)) {
      ranges_.back().last = seq;
      return;
    }
    if (EpochOf(seq)) return;
    auto at = ranges_.insert(Behind(seq), added);
    if (auto next = std::next(at); next != ranges_.end() && joins(*at, *next)) {
      at->last = next->last;
      at = std::prev(ranges_.erase(next));
    }
    if (at != ranges_.begin() && joins(*std::prev(at), *at)) {
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
      if (i == 0) continue;
      // With a gap behind the one before, or of another epoch.
      const Range& before = ranges[i - 1];
      if (ranges[i].first <= before.last ||
          (ranges[i].first - before.last < 2 && ranges[i].epoch == before.epoch))
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
