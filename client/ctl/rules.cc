#include "client/ctl/rules.h"

#include <algorithm>
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

// "A,B", as a set of codes.
absl::StatusOr<uint64_t> ParseErrors(std::string_view text) {
  uint64_t set = 0;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::optional<ErrorCode> code = ErrorFromText(text.substr(at, comma - at));
    if (!code) return Error(ErrorCode::kInvalidArgument, "not an error code");
    set |= ErrorBit(*code);
    at = comma + 1;
  }
  return set;
}

std::string FormatCount(uint64_t value) { return std::to_string(value); }
std::string FormatSize(uint64_t value) { return FormatSizeBytes(static_cast<int64_t>(value)); }
std::string FormatTime(uint64_t value) { return FormatDurationMs(static_cast<int64_t>(value)); }

// One rule: how it is written, and where its value is.
template <class Settings, class Change>
struct Rule {
  std::string_view key;
  std::string_view help;
  std::string_view expected;
  absl::StatusOr<uint64_t> (*parse)(std::string_view);
  std::string (*format)(uint64_t);
  void (*set)(Change&, uint64_t);
  uint64_t (*get)(const Settings&);
  uint64_t max;  // of what the field can hold; the broker knows the bounds
};

#define ZSCHED_RULE(Settings, Change, key, field, help, expected, parse, format)        \
  Rule<Settings, Change> {                                                              \
    key, help, expected, parse, format,                                                 \
        [](Change& change, uint64_t value) {                                            \
          change.field = static_cast<decltype(Settings::field)>(value);                 \
        },                                                                              \
        [](const Settings& settings) { return static_cast<uint64_t>(settings.field); }, \
        std::numeric_limits<decltype(Settings::field)>::max()                           \
  }
#define ZSCHED_QUEUE_RULE(...) ZSCHED_RULE(QueueSettings, QueueChange, __VA_ARGS__)
#define ZSCHED_TYPE_RULE(...) ZSCHED_RULE(TypeRules, TypeChange, __VA_ARGS__)

constexpr std::string_view kNumber = "a number", kSize = "a size such as 512MiB",
                           kTime = "a duration such as 90s or 5m",
                           kRate = "a rate such as 5/s or 100/m",
                           kErrors = "a list of error codes such as INVALID_ARGUMENT,WORKER_LOST";
constexpr std::array kQueueRules = {
    ZSCHED_QUEUE_RULE("max-tasks", max_tasks, "unfinished tasks it takes", kNumber, ParseCount,
                      FormatCount),
    ZSCHED_QUEUE_RULE("max-bytes", max_bytes, "payload of these", kSize, ParseSize, FormatSize),
    ZSCHED_QUEUE_RULE("max-running", max_running, "tasks that workers may hold at once", kNumber,
                      ParseCount, FormatCount),
    ZSCHED_QUEUE_RULE("rate", rate_micro, "tasks handed out over time, such as 5/s, 100/m, 2/h",
                      kRate, ParseRate, FormatRate),
    ZSCHED_QUEUE_RULE("burst", burst,
                      "of these at once after a rest; one second's worth by default", kNumber,
                      ParseCount, FormatCount),
    ZSCHED_QUEUE_RULE("weight", weight, "share beside other queues, 1..100", kNumber, ParseCount,
                      FormatCount),
    ZSCHED_QUEUE_RULE("max-attempts", max_attempts, "for tasks that do not say", kNumber,
                      ParseCount, FormatCount),
    ZSCHED_QUEUE_RULE("timeout", timeout_ms, "of an attempt, likewise", kTime, ParseTime,
                      FormatTime),
    ZSCHED_QUEUE_RULE("retry-base", retry_base_ms, "delay before the second attempt, likewise",
                      kTime, ParseTime, FormatTime),
    ZSCHED_QUEUE_RULE("retry-cap", retry_cap_ms, "longest delay between attempts, likewise", kTime,
                      ParseTime, FormatTime),
    ZSCHED_QUEUE_RULE("key-max-running", key_max_running,
                      "tasks with the same concurrency key that workers may hold", kNumber,
                      ParseCount, FormatCount),
    ZSCHED_QUEUE_RULE("key-rate", key_rate_micro, "of these handed out over time", kRate, ParseRate,
                      FormatRate),
    ZSCHED_QUEUE_RULE("key-burst", key_burst, "and at once after a rest", kNumber, ParseCount,
                      FormatCount),
    ZSCHED_QUEUE_RULE("ageing", ageing_ms, "waiting so long is worth a step of priority", kTime,
                      ParseTime, FormatTime),
};
constexpr std::array kTypeRules = {
    ZSCHED_TYPE_RULE("max-running", max_running, "tasks of it that workers may hold at once",
                     kNumber, ParseCount, FormatCount),
    ZSCHED_TYPE_RULE("rate", rate_micro, "handed out over time, such as 5/s, 100/m, 2/h", kRate,
                     ParseRate, FormatRate),
    ZSCHED_TYPE_RULE("burst", burst, "of these at once after a rest; one second's worth by default",
                     kNumber, ParseCount, FormatCount),
    ZSCHED_TYPE_RULE("no-retry", no_retry, "errors after which a task is dead at once, A,B,…",
                     kErrors, ParseErrors, TextOfErrors),
};
#undef ZSCHED_QUEUE_RULE
#undef ZSCHED_TYPE_RULE
#undef ZSCHED_RULE

template <class Rules>
std::string KeyList(const Rules& rules) {
  std::string keys;
  for (const auto& rule : rules) keys += (keys.empty() ? "" : ", ") + std::string(rule.key);
  return keys;
}

template <class Rules, class Change>
absl::Status ParseAnyRule(const Rules& rules, const char* whose, std::string_view text,
                          Change* change) {
  const size_t equals = text.find('=');
  const std::string_view key = text.substr(0, equals);
  for (const auto& rule : rules) {
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
  return Error(ErrorCode::kInvalidArgument, "'" + std::string(key) + "' is no rule of a " + whose +
                                                "; there are " + KeyList(rules));
}

template <class Rules, class Settings>
RuleTexts AnyRulesOf(const Rules& rules, const Settings& settings) {
  RuleTexts texts;
  for (const auto& rule : rules)
    if (uint64_t value = rule.get(settings); value != 0)
      texts.emplace_back(rule.key, rule.format(value));
  return texts;
}

template <class Rules>
std::string HelpOf(const Rules& rules) {
  std::string help;
  for (const auto& rule : rules) {
    std::string key(rule.key);
    key.resize(17, ' ');
    help += "  " + key + std::string(rule.help) + "\n";
  }
  return help;
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
  return ParseAnyRule(kQueueRules, "queue", text, change);
}
absl::Status ParseRule(std::string_view text, TypeChange* change) {
  return ParseAnyRule(kTypeRules, "type", text, change);
}

RuleTexts RulesOf(const QueueSettings& settings) { return AnyRulesOf(kQueueRules, settings); }
RuleTexts RulesOf(const TypeRules& rules) { return AnyRulesOf(kTypeRules, rules); }

std::string QueueRuleHelp() { return HelpOf(kQueueRules); }
std::string TypeRuleHelp() { return HelpOf(kTypeRules); }

}  // namespace zsched::ctl
