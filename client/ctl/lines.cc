#include "client/ctl/lines.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "schemas/errors.h"

namespace zsched::ctl {
namespace {
constexpr size_t kReadBytes = 64 << 10;
constexpr std::string_view kPlaceholder = "{}";
}  // namespace

LineReader::LineReader(int fd, size_t max_line_bytes) : fd_(fd), max_line_bytes_(max_line_bytes) {}

LineReader::Got LineReader::Next(std::string_view* line) {
  while (true) {
    size_t end = buffer_.find('\n', scanned_);
    if (end == std::string::npos && ended_) {
      if (start_ == buffer_.size() || !status_.ok()) return Got::kEnd;
      end = buffer_.size();
    }
    if (end != std::string::npos && end - start_ <= max_line_bytes_) {
      *line = std::string_view(buffer_).substr(start_, end - start_);
      start_ = scanned_ = end + (end < buffer_.size());
      ++line_number_;
      return Got::kLine;
    }
    scanned_ = buffer_.size();
    if (end != std::string::npos || buffer_.size() - start_ > max_line_bytes_) {
      ended_ = true;
      status_ = Error(ErrorCode::kTooLarge, "line " + std::to_string(line_number_ + 1) +
                                                " of the input is longer than " +
                                                std::to_string(max_line_bytes_) + " bytes");
      return Got::kEnd;
    }
    if (!paused_) {
      paused_ = true;
      return Got::kPause;
    }
    paused_ = false;
    if (!Fill()) ended_ = true;
  }
}

bool LineReader::Fill() {
  buffer_.erase(0, start_);
  scanned_ -= start_;
  start_ = 0;
  size_t old_size = buffer_.size();
  buffer_.resize(old_size + kReadBytes);
  ssize_t got = 0;
  do {
    got = read(fd_, buffer_.data() + old_size, kReadBytes);
  } while (got < 0 && errno == EINTR);
  int error = errno;
  buffer_.resize(old_size + static_cast<size_t>(got < 0 ? 0 : got));
  if (got < 0)
    status_ = Error(ErrorCode::kInvalidArgument,
                    std::string("the input cannot be read: ") + std::strerror(error));
  return got > 0;
}

std::vector<std::string> Substitute(const std::vector<std::string>& argv, std::string_view line) {
  std::vector<std::string> words;
  bool placed = false;
  for (const std::string& word : argv) {
    std::string& out = words.emplace_back();
    size_t from = 0;
    for (size_t at; (at = word.find(kPlaceholder, from)) != std::string::npos;
         from = at + kPlaceholder.size()) {
      out.append(word, from, at - from).append(line);
      placed = true;
    }
    out.append(word, from);
  }
  if (!placed) words.emplace_back(line);
  return words;
}

}  // namespace zsched::ctl
