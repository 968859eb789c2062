// Input of `submit --each-line`: lines from a file or pipe as they come, and commands made of them.
// Owned by zsched-ctl.
//
// Example:
//   LineReader reader(STDIN_FILENO, kMaxPayloadBytes);
//   std::string_view line;
//   while (reader.Next(&line) == LineReader::Got::kLine) Use(line);
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace zsched::ctl {

// Splits what a descriptor delivers at '\n'; nothing else is special ("\r" and any bytes stay). The
// last line needs no '\n'. Holds one line and one read's worth of memory.
class LineReader {
 public:
  enum class Got {
    kLine,   // *line is the next line, valid until the next call
    kPause,  // all that has come was taken; the next call blocks until more comes
    kEnd,    // end of input, or an error (see status())
  };

  // Does not own `fd`.
  LineReader(int fd, size_t max_line_bytes);
  Got Next(std::string_view* line);
  // INVALID_ARGUMENT when a line is longer than the limit or reading failed.
  const absl::Status& status() const { return status_; }
  // Of the line that Next gave last, from 1.
  uint64_t line_number() const { return line_number_; }

 private:
  bool Fill();

  int fd_;
  size_t max_line_bytes_;
  std::string buffer_;
  size_t start_ = 0;    // of what was not given out yet
  size_t scanned_ = 0;  // from here on no '\n' was looked for
  uint64_t line_number_ = 0;
  bool paused_ = false;
  bool ended_ = false;
  absl::Status status_;
};

// `argv` with every "{}" replaced by `line`, anywhere in a word and as often as it stands there;
// without any "{}", `line` is added as the last word (as xargs and GNU parallel do).
std::vector<std::string> Substitute(const std::vector<std::string>& argv, std::string_view line);

}  // namespace zsched::ctl
