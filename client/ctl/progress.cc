#include "client/ctl/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "client/ctl/table.h"

namespace zsched::ctl {
namespace {

constexpr size_t kBarColumns = 20;
constexpr std::chrono::milliseconds kQuiet{1000}, kInterval{100};
constexpr size_t kDefaultColumns = 80;

// 1234567 -> "1,234,567".
std::string Grouped(uint64_t number) {
  std::string text = std::to_string(number);
  for (size_t i = text.size(); i > 3;) text.insert(i -= 3, ",");
  return text;
}

size_t TerminalColumns() {
  winsize size{};
  bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : kDefaultColumns;
}

}  // namespace

std::string ProgressLine(const ProgressState& state, size_t width) {
  std::string line;
  const bool bounded = state.total_known && state.total > 0;
  if (bounded) {
    size_t full =
        static_cast<size_t>(std::min(state.done, state.total) * kBarColumns / state.total);
    line = "[" + std::string(full, '#') + std::string(kBarColumns - full, '-') + "]  ";
  }
  line += Grouped(state.done) + "/" + Grouped(state.total);
  if (bounded) line += fmt::format("  {} %", state.done * 100 / state.total);
  if (state.failed > 0) line += "  " + Grouped(state.failed) + " failed";
  if (state.elapsed_ms > 0 && state.done > 0) {
    double per_ms = static_cast<double>(state.done) / static_cast<double>(state.elapsed_ms);
    double rate = per_ms * 1000;
    line += rate >= 10 ? "  " + Grouped(static_cast<uint64_t>(rate)) + "/s"
                       : fmt::format("  {:.1f}/s", rate);
    if (bounded && state.done < state.total)
      line += "  " +
              ShortDuration(
                  static_cast<int64_t>(static_cast<double>(state.total - state.done) / per_ms)) +
              " left";
  }
  return Truncate(line, width);
}

Progress::Progress() : enabled_(isatty(STDERR_FILENO) != 0), next_draw_(start_ + kQuiet) {}

Progress::~Progress() { Clear(); }

void Progress::Update(ProgressState state) {
  Clock::time_point now = Clock::now();
  if (!enabled_ || now < next_draw_) return;
  next_draw_ = now + kInterval;
  state.elapsed_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now - start_).count();
  std::string line = "\r" + ProgressLine(state, TerminalColumns() - 1) + "\x1b[K";
  std::fputs(line.c_str(), stderr);
  drawn_ = true;
}

void Progress::Clear() {
  if (!drawn_) return;
  std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
  next_draw_ = Clock::now() + kInterval;
}

}  // namespace zsched::ctl
