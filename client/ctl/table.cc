#include "client/ctl/table.h"

#include <algorithm>

#include "base/check.h"
#include "base/text.h"

namespace zsched::ctl {
namespace {

constexpr size_t kGap = 2;
constexpr std::string_view kEllipsis = "…";
constexpr int64_t kSecondMs = 1000, kMinuteMs = 60 * kSecondMs, kHourMs = 60 * kMinuteMs,
                  kDayMs = 24 * kHourMs;

// Bytes of the character that starts `text`; 0 when it is not UTF-8.
size_t RuneBytes(std::string_view text) {
  for (size_t size = 1; size <= 4 && size <= text.size(); ++size)
    if (IsUtf8(text.substr(0, size))) return size;
  return 0;
}

uint32_t Decode(std::string_view rune) {
  auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(rune[i])); };
  if (rune.size() == 1) return byte(0);
  uint32_t code = byte(0) & (0xFF >> (rune.size() + 1));
  for (size_t i = 1; i < rune.size(); ++i) code = code << 6 | (byte(i) & 0x3F);
  return code;
}

struct Range {
  uint32_t first, last;
};
// The blocks that matter in practice, from Unicode's EastAsianWidth.txt (W and F) and its
// combining marks.
constexpr Range kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},  {0x3041, 0xA4CF},
                           {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},  {0xFE30, 0xFE6F},
                           {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F},
                           {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
constexpr Range kZero[] = {{0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}};

template <size_t N>
bool In(const Range (&ranges)[N], uint32_t code) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [code](Range r) { return code >= r.first && code <= r.last; });
}

size_t RuneWidth(std::string_view rune) {
  uint32_t code = Decode(rune);
  return In(kZero, code) ? 0 : In(kWide, code) ? 2 : 1;
}

// Marks that turn the direction of the text around them: a name must not reorder its line.
bool TurnsDirection(uint32_t code) {
  return (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

std::string_view EscapeOf(Color color) {
  switch (color) {
    case Color::kGreen:
      return "\x1b[32m";
    case Color::kRed:
      return "\x1b[31m";
    case Color::kYellow:
      return "\x1b[33m";
    case Color::kBlue:
      return "\x1b[34m";
    case Color::kGray:
      return "\x1b[90m";
    case Color::kNone:
      break;
  }
  return "";
}

}  // namespace

std::string Colored(std::string_view text, Color color, bool colors) {
  if (!colors || color == Color::kNone || text.empty()) return std::string(text);
  return std::string(EscapeOf(color)) + std::string(text) + "\x1b[0m";
}

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t size = RuneBytes(text);
    std::string_view rune = text.substr(0, size == 0 ? 1 : size);
    uint32_t code = size == 0 ? 0 : Decode(rune);
    if (code == '\n' || code == '\t' || code == '\r') {
      out += ' ';
    } else if (code < 0x20 || (code >= 0x7F && code < 0xA0) || TurnsDirection(code)) {
      out += '?';
    } else {
      out += rune;
    }
    text.remove_prefix(rune.size());
  }
  return out;
}

std::string PrintableLines(std::string_view text) {
  std::string out;
  while (true) {
    const size_t end = text.find('\n');
    out += Printable(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

size_t DisplayWidth(std::string_view printable) {
  size_t width = 0;
  while (!printable.empty()) {
    size_t size = std::max<size_t>(RuneBytes(printable), 1);
    width += RuneWidth(printable.substr(0, size));
    printable.remove_prefix(size);
  }
  return width;
}

std::string Truncate(std::string_view printable, size_t width) {
  if (DisplayWidth(printable) <= width) return std::string(printable);
  if (width == 0) return "";
  std::string out;
  for (size_t used = 0; !printable.empty();) {
    size_t size = std::max<size_t>(RuneBytes(printable), 1);
    used += RuneWidth(printable.substr(0, size));
    if (used + 1 > width) break;
    out += printable.substr(0, size);
    printable.remove_prefix(size);
  }
  return out + std::string(kEllipsis);
}

void Table::Row(std::vector<Cell> cells) {
  ZS_CHECK(cells.size() == columns_.size());
  for (Cell& cell : cells) cell.text = Printable(cell.text);
  rows_.push_back(std::move(cells));
}

// Natural widths; while the sum is too wide, the widest elastic column gives.
std::vector<size_t> Table::Widths(size_t width) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(DisplayWidth(columns_[i].title));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], DisplayWidth(row[i].text));
  }
  size_t total = kGap * (columns_.size() - 1);
  for (size_t w : widths) total += w;
  while (total > width) {
    size_t widest = columns_.size();
    for (size_t i = 0; i < columns_.size(); ++i)
      if (columns_[i].elastic && widths[i] > DisplayWidth(columns_[i].title) &&
          (widest == columns_.size() || widths[i] > widths[widest]))
        widest = i;
    if (widest == columns_.size()) break;
    --widths[widest];
    --total;
  }
  return widths;
}

std::string Table::Render(size_t width, bool colors) const {
  std::vector<size_t> widths = Widths(width);
  std::string out;
  auto line = [&](const std::vector<Cell>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      std::string cut = Truncate(cells[i].text, widths[i]);
      std::string pad(widths[i] - DisplayWidth(cut), ' ');
      if (i > 0) text.append(kGap, ' ');
      if (columns_[i].right) text += pad;
      text += Colored(cut, cells[i].color, colors);
      if (!columns_[i].right && i + 1 < cells.size()) text += pad;
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    out += text + "\n";
  };
  std::vector<Cell> titles;
  for (const Column& column : columns_) titles.push_back({column.title, Color::kGray});
  line(titles);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string ShortDuration(int64_t ms) {
  if (ms < kSecondMs) return std::to_string(ms) + "ms";
  if (ms < kMinuteMs) return std::to_string(ms / kSecondMs) + "s";
  if (ms < kHourMs) return std::to_string(ms / kMinuteMs) + "m";
  if (ms < 2 * kDayMs) return std::to_string(ms / kHourMs) + "h";
  return std::to_string(ms / kDayMs) + "d";
}

std::string RelativeTime(int64_t time_ms, int64_t now_ms) {
  if (time_ms == 0) return "-";
  int64_t distance = now_ms > time_ms ? now_ms - time_ms : time_ms - now_ms;
  if (distance < kSecondMs) return "now";
  std::string text = ShortDuration(distance);
  return now_ms > time_ms ? text + " ago" : "in " + text;
}

}  // namespace zsched::ctl
