// A progress bar on stderr for people who wait. Owned by zsched-ctl.
//
// Nothing is drawn when stderr is no terminal, nor in the first second: short waits stay quiet.
//
// Example:
//   Progress progress;
//   while (working) { ...; progress.Update({.done = done, .total = total}); }
//
// Threads: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace zsched::ctl {

struct ProgressState {
  uint64_t done = 0;
  uint64_t failed = 0;       // of those done
  uint64_t total = 0;        // what is known so far
  bool total_known = false;  // false: more may come
  int64_t elapsed_ms = 0;
};

// "[######--------------]  1,200/4,000  30 %  400/s  7s left", at most `width` columns; without a
// bar and an end as long as the total is not known.
std::string ProgressLine(const ProgressState& state, size_t width);

class Progress {
 public:
  Progress();
  ~Progress();  // wipes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Draws at most ten times a second. elapsed_ms is filled in here.
  void Update(ProgressState state);
  // Wipes the bar, before other output on the terminal.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;

  bool enabled_;
  bool drawn_ = false;
  Clock::time_point start_ = Clock::now();
  Clock::time_point next_draw_;
};

}  // namespace zsched::ctl
