// Text for people: tables that fit the screen, times relative to now, durations. Owned by
// zsched-ctl; pure functions.
//
// Example:
//   Table table({{.title = "ID"}, {.title = "QUEUE", .elastic = true}});
//   table.Row({{"4-17"}, {"mail"}});
//   std::fputs(table.Render(100, false).c_str(), stdout);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace zsched::ctl {

enum class Color : uint8_t { kNone, kGreen, kRed, kYellow, kBlue, kGray };

struct Column {
  std::string title;
  bool right = false;
  bool elastic = false;  // may be cut with … when the table is too wide
};

struct Cell {
  std::string text;
  Color color = Color::kNone;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  // One cell a column. Text is shown as Printable() makes it.
  void Row(std::vector<Cell> cells);
  bool empty() const { return rows_.empty(); }
  // The title line and one line a row, none wider than `width` as long as cutting the elastic
  // columns down to their titles can achieve it.
  std::string Render(size_t width, bool colors) const;

 private:
  std::vector<size_t> Widths(size_t width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// `text` between the escape codes of `color`, or as it is.
std::string Colored(std::string_view text, Color color, bool colors);

// UTF-8 without control characters, so that no task can move the cursor: they and bytes that are
// not UTF-8 become '?', blanks of any kind a space.
std::string Printable(std::string_view text);
// The same of several lines: line feeds stay.
std::string PrintableLines(std::string_view text);
// Columns that printable text takes on a terminal; East Asian wide characters take two.
size_t DisplayWidth(std::string_view printable);
// Cut to `width` columns, the last of them '…' when something was cut.
std::string Truncate(std::string_view printable, size_t width);

// "12s ago", "in 3m", "now", "-" for 0. Both in Unix milliseconds.
std::string RelativeTime(int64_t time_ms, int64_t now_ms);
// "250ms", "12s", "3m", "5h", "2d": the one unit that says enough.
std::string ShortDuration(int64_t ms);

}  // namespace zsched::ctl
