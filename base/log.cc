#include "base/log.h"

#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/config.h"
#include "base/text.h"

namespace zsched {
namespace internal {
std::atomic<Level> log_level = Level::kInfo;
}
namespace {

constexpr std::pair<std::string_view, Level> kLevels[] = {{"debug", Level::kDebug},
                                                          {"info", Level::kInfo},
                                                          {"warn", Level::kWarn},
                                                          {"error", Level::kError},
                                                          {"off", Level::kOff}};

std::string_view NameOf(Level level) { return kLevels[static_cast<size_t>(level)].first; }

// What stands between InitLog and the writers. The logger has its own mutex and writes a line with
// one call; there is no queue that could die with the process.
struct Output {
  std::shared_ptr<spdlog::logger> logger;
  std::string program;
  bool json = false;
};

std::shared_ptr<spdlog::logger> MakeLogger(bool json) {
  spdlog::sink_ptr sink;
  if (json || std::getenv("NO_COLOR") != nullptr) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(spdlog::color_mode::automatic);
  }
  auto logger = std::make_shared<spdlog::logger>("", std::move(sink));
  logger->set_pattern(json ? "%v" : "%^%v%$");
  logger->set_level(spdlog::level::trace);  // our own level decides before
  logger->flush_on(spdlog::level::trace);
  return logger;
}

// Never destroyed: threads may log while the program exits.
Output& GlobalOutput() {
  static Output& output = *new Output{.logger = MakeLogger(false), .program = {}};
  return output;
}

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
    case Level::kOff:
      break;
  }
  return spdlog::level::err;
}

// Valid UTF-8 stays, with control characters written by `escape`; what is not UTF-8 is written byte
// by byte as \xNN (text) or as U+FFFD (JSON has no way to say a byte).
size_t Utf8Length(std::string_view text) {
  for (size_t size = 1; size <= 4 && size <= text.size(); ++size)
    if (IsUtf8(text.substr(0, size))) return size;
  return 0;
}

// U+0080..U+009F: control characters too, and some terminals obey them.
bool IsC1Control(std::string_view rune) {
  return rune.size() == 2 && rune[0] == '\xC2' && static_cast<unsigned char>(rune[1]) < 0xA0;
}

void AppendText(std::string& out, std::string_view text) {
  while (!text.empty()) {
    size_t size = Utf8Length(text);
    std::string_view rune = text.substr(0, size == 0 ? 1 : size);
    auto byte = static_cast<unsigned char>(rune[0]);
    if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (byte == '\\') {
      out += "\\\\";
    } else if (size == 0 || byte < 0x20 || byte == 0x7F || IsC1Control(rune)) {
      for (char c : rune) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += rune;
    }
    text.remove_prefix(rune.size());
  }
}

void AppendJson(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    size_t size = Utf8Length(text);
    std::string_view rune = text.substr(0, size == 0 ? 1 : size);
    auto byte = static_cast<unsigned char>(rune[0]);
    if (size == 0) {
      out += "\\ufffd";
    } else if (byte == '"' || byte == '\\') {
      out += '\\';
      out += rune;
    } else if (byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\u{:04x}", byte);
    } else if (IsC1Control(rune)) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(rune[1]));
    } else {
      out += rune;
    }
    text.remove_prefix(rune.size());
  }
  out += '"';
}

// Quotes a value that could be taken for several fields.
void AppendTextValue(std::string& out, std::string_view text) {
  bool plain = !text.empty() && text.find_first_of(" =\"") == std::string_view::npos;
  if (plain) return AppendText(out, text);
  std::string escaped;
  AppendText(escaped, text);
  out += '"';
  for (char c : escaped) out += c == '"' ? std::string("\\\"") : std::string(1, c);
  out += '"';
}

template <class Number>
std::string NumberText(Number value) {
  if constexpr (std::is_same_v<Number, double>) {
    if (!(value - value == 0)) return "null";  // JSON has no infinity and no NaN
  }
  return fmt::format("{}", value);
}

void AppendValue(std::string& out, const LogField::Value& value, bool json) {
  std::visit(
      [&](auto v) {
        if constexpr (std::is_same_v<decltype(v), std::string_view>) {
          json ? AppendJson(out, v) : AppendTextValue(out, v);
        } else {
          out += NumberText(v);
        }
      },
      value);
}

int64_t WallMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string TextLine(Level level, std::string_view message,
                     std::initializer_list<LogField> fields) {
  std::string upper(NameOf(level));
  for (char& c : upper) c = static_cast<char>(c - 'a' + 'A');
  std::string out = fmt::format("{} {:<5} ", FormatTimeMs(WallMs()), upper);
  AppendText(out, message);
  if (fields.size() > 0) out += ' ';
  for (const LogField& field : fields) {
    out += ' ';
    AppendText(out, field.key);
    out += '=';
    AppendValue(out, field.value, false);
  }
  return out;
}

std::string JsonLine(Level level, const std::string& program, std::string_view message,
                     std::initializer_list<LogField> fields) {
  std::string out = fmt::format(R"({{"time":"{}","level":"{}","program":)", FormatTimeMs(WallMs()),
                                NameOf(level));
  AppendJson(out, program);
  out += ",\"message\":";
  AppendJson(out, message);
  for (const LogField& field : fields) {
    out += ',';
    AppendJson(out, field.key);
    out += ':';
    AppendValue(out, field.value, true);
  }
  return out + "}";
}

}  // namespace

void AddLogFlags(Flags& flags, LogOptions* options) {
  std::vector<std::string> levels;
  for (const auto& [name, level] : kLevels) levels.emplace_back(name);
  flags.Text("--log-format", &options->format, "Form of the log on stderr", "FORMAT",
             {"text", "json"});
  flags.Text("--log-level", &options->level, "Least important lines that are logged", "LEVEL",
             std::move(levels));
}

void InitLog(const LogOptions& options) {
  Output& output = GlobalOutput();
  output.json = options.format == "json";
  output.program = options.program;
  output.logger = MakeLogger(output.json);
  SetLogLevel(options.level);
}

void SetLogLevel(std::string_view wanted) {
  Level chosen = Level::kInfo;
  for (const auto& [name, level] : kLevels)
    if (name == wanted) chosen = level;
  internal::log_level.store(chosen, std::memory_order_relaxed);
}

void internal::WriteLog(Level level, std::string_view message,
                        std::initializer_list<LogField> fields) {
  const Output& output = GlobalOutput();
  std::string line = output.json ? JsonLine(level, output.program, message, fields)
                                 : TextLine(level, message, fields);
  output.logger->log(ToSpdlog(level), spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace zsched
