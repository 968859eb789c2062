// What attempts say while they run, on its way to the broker: progress and checkpoints. Owned by worker/core. Pure.
//
// Of each attempt only the latest counts, so a handler that says much costs no more than one that speaks five times a second:
// what is said meanwhile replaces what waits. Reports of attempts that have ended leave at once, before their results, because
// the next attempt gets the last checkpoint; they are kept until the result is acknowledged, and like all others are due again
// in a new session: nobody knows what became of those in the old one.
//
//   OnNote ──▶ waits ──every kReportEveryMs──▶ sent ──OnNote, a new session──▶ waits
//                └──OnEnded──▶ due at once        └──Forget: its lease is not held any more──▶ gone
//
// Example:
//   reports.OnNote({.task = task, .lease = lease, .percent = 40, .message = "copied"});
//   for (const Report* report : reports.Take(now_ms)) …        // then send the results
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "schemas/ids.h"
#include "schemas/limits.h"

namespace zsched::worker {

// A person who looks does not need it more often.
inline constexpr int64_t kReportEveryMs = 200;
// Checkpoints that leave at a time, of attempts that go on: a worker with many large ones takes turns, and shares the
// broker's disk with others.
inline constexpr size_t kMaxReportBytes = 1 << 20;

struct Report {
  TaskId task;
  LeaseId lease;
  std::optional<uint8_t> percent;
  std::optional<std::string> message;
  std::optional<std::string> checkpoint;

  // Replaces what `later` says something about.
  void Take(Report&& later);
  bool says_something() const { return percent || message || checkpoint; }
  size_t bytes() const { return checkpoint ? checkpoint->size() : 0; }
};

// How many of them, from the first on, make one PROGRESS frame; at least one of a list that is not empty.
size_t ReportsOfOneFrame(std::span<const Report* const> reports);

class Reports {
 public:
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  void OnNote(Report note);
  void OnEnded(LeaseId lease);
  // Everything is due again.
  void OnSessionUp();
  // Forgets leases that are not held any more.
  template <class IsHeld>
  void Forget(IsHeld is_held) {
    for (auto it = reports_.begin(); it != reports_.end();)
      it = is_held(it->first) ? std::next(it) : reports_.erase(it);
  }

  // What has to be sent now, before any results; counts as sent. They live until the next call of any method.
  std::vector<const Report*> Take(int64_t now_ms);
  // When Take has something.
  int64_t NextDeadlineMs() const;
  bool empty() const { return reports_.empty(); }

 private:
  struct Entry {
    Report report;
    bool due = true;
    bool ended = false;
  };
  std::map<LeaseId, Entry> reports_;
  LeaseId last_;         // the last that had its turn
  int64_t next_ms_ = 0;  // when attempts that go on may report again
};

}  // namespace zsched::worker
