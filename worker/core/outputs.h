// What attempts write, on its way to the broker: the last pages of each. Owned by worker/core. Pure.
//
// What an attempt writes to its log, to stdout and to stderr is one sequence of bytes, in the order in which it came,
// cut into pages at multiples of kOutputPageBytes. Both sides keep the last kOutputPages of them: what is written
// faster than it leaves shows as a gap, and never as more memory. A page that has grown is sent again from its start, so
// that the broker has nothing to remember.
//
//   Append ──▶ waits ──every kReportEveryMs──▶ sent ──Append, a new session──▶ waits
//                └──OnEnded──▶ due at once        └──Forget: its lease is not held any more──▶ gone
//
// Example:
//   OutputPages written;                                    // in the attempt's thread
//   written.Append(OutputStream::kStdout, "copied 1 file\n");
//   outputs.OnWritten(task, lease, written.Take());          // in the session's
//   for (const OutputPageRef& ref : outputs.Take(now_ms)) …  // then send the results
//
// Threads: each object one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "schemas/ids.h"
#include "schemas/limits.h"
#include "schemas/output_stream.h"
#include "schemas/wire_generated.h"
#include "worker/core/reports.h"

namespace zsched::worker {

// Of all attempts that a worker holds, beside the last page of each. Ended ones are held until the broker has their
// results, and it may be away.
inline constexpr size_t kMaxHeldOutputBytes = 64 << 20;

// Part of a page, or all of it.
struct OutputPage {
  uint64_t offset = 0;  // of the first byte, in all that the attempt wrote
  std::string bytes;
  std::vector<wire::OutputRun> runs;  // of which streams they are

  uint64_t end() const { return offset + bytes.size(); }
  uint64_t number() const { return offset / kOutputPageBytes; }
  void Append(OutputStream stream, std::string_view more);
};

// The last pages of what one attempt wrote.
class OutputPages {
 public:
  void Append(OutputStream stream, std::string_view bytes);
  // What was appended since the last Take, without what was too much; goes on at the same offset.
  std::vector<OutputPage> Take();
  // The next attempt begins: nothing is written.
  void Reset() { *this = OutputPages(); }
  // A further part of the same bytes, which another OutputPages gave.
  void Add(OutputPage&& page);

  const std::deque<OutputPage>& pages() const { return pages_; }
  // Drops the first; false: it is the last one too, which may go on.
  bool DropFirst();
  uint64_t end() const { return end_; }

 private:
  void DropOld();

  std::deque<OutputPage> pages_;  // by rising offset
  uint64_t end_ = 0;
};

// Lives until the next call of any method of Outputs.
struct OutputPageRef {
  TaskId task;
  LeaseId lease;
  const OutputPage* page = nullptr;
};

// How many of them, from the first on, make one OUTPUT frame; at least one of a list that is not empty.
size_t PagesOfOneFrame(std::span<const OutputPageRef> pages);

class Outputs {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  void OnWritten(TaskId task, LeaseId lease, std::vector<OutputPage> pages);
  void OnEnded(LeaseId lease);
  // Everything is due again.
  void OnSessionUp();
  // Forgets leases that are not held any more.
  template <class IsHeld>
  void Forget(IsHeld is_held) {
    for (auto it = entries_.begin(); it != entries_.end();)
      it = is_held(it->first) ? std::next(it) : Erase(it);
  }

  // What has to be sent now, before any results; counts as sent.
  std::vector<OutputPageRef> Take(int64_t now_ms);
  // When Take has something.
  int64_t NextDeadlineMs() const;
  bool empty() const { return entries_.empty(); }
  size_t held_bytes() const { return held_bytes_; }

 private:
  struct Entry {
    TaskId task;
    OutputPages written;
    uint64_t due_from = 0;  // pages that end after it are due
    size_t bytes = 0;
    bool ended = false;
    bool due() const { return written.end() > due_from; }
  };
  using Map = std::map<LeaseId, Entry>;

  size_t TakeOf(LeaseId lease, Entry& entry, std::vector<OutputPageRef>& taken);
  void Count(Entry& entry);
  void DropSome();
  Map::iterator Erase(Map::iterator it);

  Map entries_;
  size_t held_bytes_ = 0;
  LeaseId last_;         // the last that had its turn
  int64_t next_ms_ = 0;  // when attempts that go on may send again
};

}  // namespace zsched::worker
