#include "base/config_file.h"

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

bool IsKeyChar(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

absl::Status Bad(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

// Walks one line.
class LineReader {
 public:
  explicit LineReader(std::string_view line) : rest_(line) {}

  void SkipBlanks() {
    while (!rest_.empty() && IsBlank(rest_.front())) rest_.remove_prefix(1);
  }
  // True at the end of the line or at a comment.
  bool AtEnd() {
    SkipBlanks();
    return rest_.empty() || rest_.front() == '#';
  }
  bool Take(char c) {
    SkipBlanks();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  char Peek() { return AtEnd() ? '\0' : rest_.front(); }

  std::string_view Key() {
    SkipBlanks();
    size_t size = 0;
    while (size < rest_.size() && IsKeyChar(rest_[size])) ++size;
    std::string_view key = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return key;
  }

  // A quoted value, or a bare one that ends before any of `stops`, a comment, or the end.
  absl::StatusOr<std::string> Value(std::string_view stops) {
    if (Take('\'')) return Literal();
    if (Take('"')) return Quoted();
    size_t size = 0;
    while (size < rest_.size() && stops.find(rest_[size]) == std::string_view::npos &&
           !(rest_[size] == '#' && (size == 0 || IsBlank(rest_[size - 1]))))
      ++size;
    std::string_view value = rest_.substr(0, size);
    rest_.remove_prefix(size);
    while (!value.empty() && IsBlank(value.back())) value.remove_suffix(1);
    if (value.empty()) return Bad("a value is missing; write \"\" for an empty one");
    return std::string(value);
  }

 private:
  absl::StatusOr<std::string> Literal() {
    size_t end = rest_.find('\'');
    if (end == std::string_view::npos) return Bad("the closing ' is missing");
    std::string value(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return value;
  }

  absl::StatusOr<std::string> Quoted() {
    constexpr std::string_view kEscapes = "\"\\ntr", kMeanings = "\"\\\n\t\r";
    std::string value;
    for (size_t i = 0; i < rest_.size(); ++i) {
      if (rest_[i] == '"') {
        rest_.remove_prefix(i + 1);
        return value;
      }
      if (rest_[i] != '\\') {
        value += rest_[i];
        continue;
      }
      size_t known = i + 1 < rest_.size() ? kEscapes.find(rest_[i + 1]) : std::string_view::npos;
      if (known == std::string_view::npos)
        return Bad("unknown escape after \\; \\\" \\\\ \\n \\t \\r are known");
      value += kMeanings[known];
      ++i;
    }
    return Bad("the closing \" is missing");
  }

  std::string_view rest_;
};

absl::StatusOr<std::vector<std::string>> ReadList(LineReader& line) {
  std::vector<std::string> values;
  while (!line.Take(']')) {
    if (line.AtEnd()) return Bad("the closing ] is missing; a list stands on one line");
    ZS_ASSIGN_OR_RETURN(std::string value, line.Value(",]"));
    values.push_back(std::move(value));
    if (!line.Take(',') && line.Peek() != ']') return Bad("a list needs ',' between its values");
  }
  return values;
}

// Nothing for an empty line or a comment.
absl::StatusOr<std::optional<ConfigItem>> ReadLine(std::string_view text) {
  LineReader line(text);
  if (line.AtEnd()) return std::nullopt;
  if (line.Peek() == '[') return Bad("sections are not known here; write key = value");
  ConfigItem item;
  item.key = std::string(line.Key());
  if (item.key.empty() || !line.Take('=')) return Bad("not of the form key = value");
  if (line.Take('[')) {
    ZS_ASSIGN_OR_RETURN(item.values, ReadList(line));
  } else {
    ZS_ASSIGN_OR_RETURN(std::string value, line.Value(""));
    item.values.push_back(std::move(value));
  }
  if (!line.AtEnd()) return Bad("something follows the value of '" + item.key + "'");
  return item;
}

}  // namespace

absl::StatusOr<std::vector<ConfigItem>> ParseConfigText(std::string_view text) {
  std::vector<ConfigItem> items;
  for (int number = 1; !text.empty(); ++number) {
    size_t end = text.find('\n');
    absl::StatusOr<std::optional<ConfigItem>> item = ReadLine(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    std::string line = std::to_string(number) + ": ";
    if (!item.ok()) return Bad(line + MessageOf(item.status()));
    if (!item->has_value()) continue;
    for (const ConfigItem& earlier : items)
      if (earlier.key == (*item)->key)
        return Bad(line + "'" + earlier.key + "' was given in line " +
                   std::to_string(earlier.line) + " already");
    (*item)->line = number;
    items.push_back(**std::move(item));
  }
  return items;
}

}  // namespace zsched
