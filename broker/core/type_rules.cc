#include "broker/core/type_rules.h"

#include <string>

#include "base/text.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {

Verdict ChangeRules(const wire::TypeSet& set, TypeRow& rules) {
  auto bad = [](std::string what) { return Verdict{ErrorCode::kInvalidArgument, std::move(what)}; };
  if (!IsValidName(TextOf(set.type())))
    return bad("type: must be 1.." + std::to_string(kMaxNameBytes) +
               " bytes of UTF-8 without control characters");
  if (set.max_running().value_or(0) > kMaxQueueRunning)
    return bad("max_running: at most " + std::to_string(kMaxQueueRunning));
  if (set.rate_micro().value_or(0) > kMaxQueueRateMicro)
    return bad("rate: at most " + std::to_string(kMaxQueueRateMicro / 1'000'000) + " a second");
  if (set.burst().value_or(0) > kMaxQueueBurst)
    return bad("burst: at most " + std::to_string(kMaxQueueBurst));
  if (const uint64_t others = set.no_retry().value_or(0) & ~kAttemptErrors; others != 0)
    return bad("no_retry: no attempt ends with " + TextOfErrors(others));
  if (set.paused().has_value()) rules.paused = *set.paused() ? 1 : 0;
  rules.max_running = set.max_running().value_or(rules.max_running);
  rules.rate_micro = set.rate_micro().value_or(rules.rate_micro);
  rules.burst = set.burst().value_or(rules.burst);
  rules.no_retry = set.no_retry().value_or(rules.no_retry);
  return {};
}

bool AreSane(const TypeRow& rules, std::string_view name) {
  return rules.version == kRowVersion && rules.name_bytes == name.size() && IsValidName(name) &&
         rules.max_running <= kMaxQueueRunning && rules.rate_micro <= kMaxQueueRateMicro &&
         rules.burst <= kMaxQueueBurst && rules.paused <= 1 &&
         (rules.no_retry & ~kAttemptErrors) == 0;
}

}  // namespace zsched::broker
