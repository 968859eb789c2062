// Rules of queues and types as people write them: "max-running=8", "rate=100/m", "max-bytes=1GiB", "timeout=none".
// Owned by zsched-ctl; pure functions.
//
// Example:
//   QueueChange change;
//   ZS_RETURN_IF_ERROR(ParseRule("rate=5/s", &change));
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsched/types.h"

namespace zsched::ctl {

// Adds what one "key=value" says. "none" takes the rule away. INVALID_ARGUMENT names the key and what it
// may be.
absl::Status ParseRule(std::string_view text, QueueChange* change);
absl::Status ParseRule(std::string_view text, TypeChange* change);

// "5/s", "100/m", "2.5/h", "7/d" or "3", which means a second: attempts in a million seconds, rounded.
absl::StatusOr<uint64_t> ParseRate(std::string_view text);
// The shortest of these that says `rate_micro`: "5/s", "100/m".
std::string FormatRate(uint64_t rate_micro);

// The rules that a queue has, as they would be set: {"rate", "5/s"}, …
using RuleTexts = std::vector<std::pair<std::string, std::string>>;
RuleTexts RulesOf(const QueueSettings& settings);
RuleTexts RulesOf(const TypeRules& rules);

// The keys of ParseRule, for the help: one "key  what it means" a line.
std::string QueueRuleHelp();
std::string TypeRuleHelp();

}  // namespace zsched::ctl
