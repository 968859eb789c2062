// Structured logging of the programs to stderr, for people (text) or machines (one JSON object a
// line). Owned by base; libraries and pure code do not log.
//
//   text  2026-11-21T08:00:00.000Z INFO  worker joined  worker=w1 session=17
//   json  {"time":"2026-11-21T08:00:00.000Z","level":"info","program":"zsched-broker",
//          "message":"worker joined","worker":"w1","session":17}
//
// Control characters and bytes that are not UTF-8 are escaped in both, so nothing that a peer sends
// can forge a line or move a terminal's cursor. Secrets and payloads are never logged. A line is on
// its way to the kernel before Log returns: the last words before an abort are not lost.
//
// Example:
//   LogOptions options{.program = "zsched-broker"};
//   AddLogFlags(flags, &options);  /* after flags.Parse */  InitLog(options);
//   Log(Level::kInfo, "worker joined", {{"worker", name}, {"session", id}});
//
// Threads: Log from any thread; InitLog before other threads start. Before InitLog, text at info.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace zsched {

class Flags;

enum class Level : uint8_t { kDebug, kInfo, kWarn, kError, kOff };

struct LogOptions {
  std::string program;          // "zsched-broker"
  std::string format = "text";  // or "json"
  std::string level = "info";   // debug, info, warn, error, off
};

// Adds --log-format and --log-level.
void AddLogFlags(Flags& flags, LogOptions* options);
// Takes the options in force. Unknown names cannot come from AddLogFlags; others read as the
// defaults. Colours: only for text on a terminal, and not when NO_COLOR is set.
void InitLog(const LogOptions& options);
// Changes the level alone; any thread, at any time.
void SetLogLevel(std::string_view level);

// One key and value. Strings are viewed until Log returns. Keys are lower-case words of our own
// choice, none of time, level, program, message.
struct LogField {
  using Value = std::variant<std::string_view, int64_t, uint64_t, double, bool>;

  LogField(std::string_view k, std::string_view v) : key(k), value(v) {}
  LogField(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  LogField(std::string_view k, bool v) : key(k), value(v) {}
  LogField(std::string_view k, std::floating_point auto v)
      : key(k), value(static_cast<double>(v)) {}
  LogField(std::string_view k, std::signed_integral auto v)
      : key(k), value(static_cast<int64_t>(v)) {}
  LogField(std::string_view k, std::unsigned_integral auto v)
      : key(k), value(static_cast<uint64_t>(v)) {}

  std::string_view key;
  Value value;
};

namespace internal {
extern std::atomic<Level> log_level;
void WriteLog(Level level, std::string_view message, std::initializer_list<LogField> fields);
}  // namespace internal

// False: Log would do nothing. Ask before work that only a line needs.
inline bool LogEnabled(Level level) {
  return level >= internal::log_level.load(std::memory_order_relaxed);
}

// Writes one line. When the level is off this is one load and a compare.
inline void Log(Level level, std::string_view message,
                std::initializer_list<LogField> fields = {}) {
  if (LogEnabled(level)) internal::WriteLog(level, message, fields);
}

}  // namespace zsched
