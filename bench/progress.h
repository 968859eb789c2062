// One line on stderr that says how far a long measurement is. Owned by bench. Draws nothing when
// stderr is no terminal.
//
// Example:
//   ProgressLine progress;
//   progress.Show([&] { return "3,400,000 of 10,000,000 tasks"; });
//
// Threads: one.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

namespace zsched::bench {

class ProgressLine {
 public:
  ProgressLine() = default;
  ~ProgressLine() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // `text` is made only when it is drawn: every kDrawEvery at most.
  template <class MakeText>
  void Show(MakeText text) {
    if (!terminal_ || Clock::now() < next_draw_) return;
    std::fprintf(stderr, "\r\033[K%s", std::string(text()).c_str());
    drawn_ = true;
    next_draw_ = Clock::now() + kDrawEvery;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kDrawEvery{200};

  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool drawn_ = false;
  Clock::time_point next_draw_ = Clock::now() + kDrawEvery;
};

}  // namespace zsched::bench
