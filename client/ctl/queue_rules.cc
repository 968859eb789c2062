#include "client/ctl/queue_rules.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "base/check.h"
#include "base/text.h"
#include "schemas/errors.h"
#include "schemas/limits.h"

namespace zsched::ctl {
namespace {

constexpr double kMicro = 1e6;

struct Unit {
  std::string_view name;
  double seconds;
};
constexpr std::array<Unit, 4> kUnits = {{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86'400}}};

absl::Status Bad(std::string_view key, std::string_view value, std::string_view expected) {
  return Error(ErrorCode::kInvalidArgument, std::string(key) + ": '" + std::string(value) +
                                                "' is not " + std::string(expected) +
                                                ", or 'none'");
}

absl::StatusOr<uint64_t> ParseCount(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return Error(ErrorCode::kInvalidArgument, "not a number");
  return value;
}

absl::StatusOr<uint64_t> ParseSize(std::string_view text) {
  ZS_ASSIGN_OR_RETURN(int64_t bytes, ParseSizeBytes(text));
  return static_cast<uint64_t>(bytes);
}

absl::StatusOr<uint64_t> ParseTime(std::string_view text) {
  ZS_ASSIGN_OR_RETURN(int64_t ms, ParseDurationMs(text));
  return static_cast<uint64_t>(ms);
}

std::string FormatCount(uint64_t value) { return std::to_string(value); }
std::string FormatSize(uint64_t value) { return FormatSizeBytes(static_cast<int64_t>(value)); }
std::string FormatTime(uint64_t value) { return FormatDurationMs(static_cast<int64_t>(value)); }

// One rule: how it is written, and where its value is.
struct Rule {
  std::string_view key;
  std::string_view help;
  std::string_view expected;
  absl::StatusOr<uint64_t> (*parse)(std::string_view);
  std::string (*format)(uint64_t);
  void (*set)(QueueChange&, uint64_t);
  uint64_t (*get)(const QueueSettings&);
  uint64_t max;  // of what the field can hold; the broker knows the bounds
};

#define ZSCHED_RULE(key, field, help, expected, parse, format)                               \
  Rule {                                                                                     \
    key, help, expected, parse, format,                                                      \
        [](QueueChange& change, uint64_t value) {                                            \
          change.field = static_cast<decltype(QueueSettings::field)>(value);                 \
        },                                                                                   \
        [](const QueueSettings& settings) { return static_cast<uint64_t>(settings.field); }, \
        std::numeric_limits<decltype(QueueSettings::field)>::max()                           \
  }

constexpr std::string_view kNumber = "a number", kSize = "a size such as 512MiB",
                           kTime = "a duration such as 90s or 5m",
                           kRate = "a rate such as 5/s or 100/m";
constexpr std::array kRules = {
    ZSCHED_RULE("max-tasks", max_tasks, "unfinished tasks it takes", kNumber, ParseCount,
                FormatCount),
    ZSCHED_RULE("max-bytes", max_bytes, "payload of these", kSize, ParseSize, FormatSize),
    ZSCHED_RULE("max-running", max_running, "tasks that workers may hold at once", kNumber,
                ParseCount, FormatCount),
    ZSCHED_RULE("rate", rate_micro, "tasks handed out over time, such as 5/s, 100/m, 2/h", kRate,
                ParseRate, FormatRate),
    ZSCHED_RULE("burst", burst, "of these at once after a rest; one second's worth by default",
                kNumber, ParseCount, FormatCount),
    ZSCHED_RULE("weight", weight, "share beside other queues, 1..100", kNumber, ParseCount,
                FormatCount),
    ZSCHED_RULE("max-attempts", max_attempts, "for tasks that do not say", kNumber, ParseCount,
                FormatCount),
    ZSCHED_RULE("timeout", timeout_ms, "of an attempt, likewise", kTime, ParseTime, FormatTime),
    ZSCHED_RULE("retry-base", retry_base_ms, "delay before the second attempt, likewise", kTime,
                ParseTime, FormatTime),
    ZSCHED_RULE("retry-cap", retry_cap_ms, "longest delay between attempts, likewise", kTime,
                ParseTime, FormatTime),
};
#undef ZSCHED_RULE

std::string KeyList() {
  std::string keys;
  for (const Rule& rule : kRules) keys += (keys.empty() ? "" : ", ") + std::string(rule.key);
  return keys;
}

}  // namespace

absl::StatusOr<uint64_t> ParseRate(std::string_view text) {
  absl::Status bad = Error(ErrorCode::kInvalidArgument, "not a rate");
  std::string_view count = text.substr(0, text.find('/'));
  std::string_view unit = count.size() == text.size() ? "s" : text.substr(count.size() + 1);
  double value = 0;
  auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), value);
  if (error != std::errc() || end != count.data() + count.size() || !(value >= 0)) return bad;
  for (const Unit& known : kUnits) {
    if (known.name != unit) continue;
    const double micro = std::round(value / known.seconds * kMicro);
    if (micro > static_cast<double>(kMaxQueueRateMicro) || (micro < 1 && value > 0)) return bad;
    return static_cast<uint64_t>(micro);
  }
  return bad;
}

std::string FormatRate(uint64_t rate_micro) {
  for (const Unit& unit : kUnits) {
    const double count = static_cast<double>(rate_micro) * unit.seconds / kMicro;
    // The nearest hundredth, if it is read back as the same rate.
    char text[64];
    std::snprintf(text, sizeof text, "%.2f", count);
    std::string_view digits(text);
    digits = digits.substr(0, digits.find_last_not_of('0') + 1);
    if (digits.back() == '.') digits.remove_suffix(1);
    std::string written = std::string(digits) + "/" + std::string(unit.name);
    if (auto back = ParseRate(written); back.ok() && *back == rate_micro) return written;
  }
  return std::to_string(static_cast<double>(rate_micro) / kMicro) + "/s";
}

absl::Status ParseRule(std::string_view text, QueueChange* change) {
  const size_t equals = text.find('=');
  const std::string_view key = text.substr(0, equals);
  for (const Rule& rule : kRules) {
    if (rule.key != key) continue;
    if (equals == std::string_view::npos)
      return Error(ErrorCode::kInvalidArgument,
                   std::string(key) + ": give a value, such as " + std::string(key) + "=none");
    const std::string_view value = text.substr(equals + 1);
    if (value == "none") {
      rule.set(*change, 0);
      return absl::OkStatus();
    }
    absl::StatusOr<uint64_t> number = rule.parse(value);
    if (!number.ok() || *number > rule.max) return Bad(key, value, rule.expected);
    rule.set(*change, *number);
    return absl::OkStatus();
  }
  return Error(ErrorCode::kInvalidArgument,
               "'" + std::string(key) + "' is no rule of a queue; there are " + KeyList());
}

std::vector<std::pair<std::string, std::string>> RulesOf(const QueueSettings& settings) {
  std::vector<std::pair<std::string, std::string>> rules;
  for (const Rule& rule : kRules)
    if (uint64_t value = rule.get(settings); value != 0)
      rules.emplace_back(rule.key, rule.format(value));
  return rules;
}

std::string RuleHelp() {
  std::string help;
  for (const Rule& rule : kRules) {
    std::string key(rule.key);
    key.resize(14, ' ');
    help += "  " + key + std::string(rule.help) + "\n";
  }
  return help;
}

}  // namespace zsched::ctl
