#include "broker/core/queue_settings.h"

#include <string>

#include "base/text.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// Takes `value` into `field` when it is given and at most `limit`.
template <class Value, class Field>
bool Take(const flatbuffers::Optional<Value>& value, uint64_t limit, Field& field) {
  if (!value.has_value()) return true;
  if (*value > limit) return false;
  field = static_cast<Field>(*value);
  return true;
}

Verdict OverLimit(const char* field, const std::string& limit) {
  return {ErrorCode::kInvalidArgument, std::string(field) + ": at most " + limit};
}

Verdict OverLimit(const char* field, uint64_t limit) {
  return OverLimit(field, std::to_string(limit));
}

}  // namespace

Verdict ChangeSettings(const wire::QueueSet& set, QueueRow& settings) {
  QueueRow next = settings;
  if (!IsValidName(TextOf(set.queue())))
    return {ErrorCode::kInvalidArgument, "queue: must be 1.." + std::to_string(kMaxNameBytes) +
                                             " bytes of UTF-8 without control characters"};
  if (set.paused().has_value()) next.paused = *set.paused() ? 1 : 0;
  if (set.draining().has_value()) next.draining = *set.draining() ? 1 : 0;
  Take(set.max_tasks(), UINT64_MAX, next.max_tasks);
  Take(set.max_bytes(), UINT64_MAX, next.max_bytes);
  if (!Take(set.max_running(), kMaxQueueRunning, next.max_running))
    return OverLimit("max_running", kMaxQueueRunning);
  if (!Take(set.rate_micro(), kMaxQueueRateMicro, next.rate_micro))
    return OverLimit("rate", std::to_string(kMaxQueueRateMicro / 1'000'000) + " a second");
  if (!Take(set.burst(), kMaxQueueBurst, next.burst)) return OverLimit("burst", kMaxQueueBurst);
  if (!Take(set.weight(), kMaxQueueWeight, next.weight))
    return OverLimit("weight", kMaxQueueWeight);
  if (!Take(set.max_attempts(), kMaxMaxAttempts, next.max_attempts))
    return OverLimit("max_attempts", kMaxMaxAttempts);
  if (!Take(set.timeout_ms(), kMaxTimeoutMs, next.timeout_ms))
    return OverLimit("timeout", "7 days");
  if (!Take(set.retry_base_ms(), kMaxRetryCapMs, next.retry_base_ms))
    return OverLimit("retry_base", "24 hours");
  if (!Take(set.retry_cap_ms(), kMaxRetryCapMs, next.retry_cap_ms))
    return OverLimit("retry_cap", "24 hours");
  if (!Take(set.key_max_running(), kMaxQueueRunning, next.key_max_running))
    return OverLimit("key_max_running", kMaxQueueRunning);
  if (!Take(set.key_rate_micro(), kMaxQueueRateMicro, next.key_rate_micro))
    return OverLimit("key_rate", std::to_string(kMaxQueueRateMicro / 1'000'000) + " a second");
  if (!Take(set.key_burst(), kMaxQueueBurst, next.key_burst))
    return OverLimit("key_burst", kMaxQueueBurst);
  if (!Take(set.ageing_ms(), kMaxAgeingMs, next.ageing_ms)) return OverLimit("ageing", "24 hours");
  if (next.retry_cap_ms != 0 && next.retry_base_ms > next.retry_cap_ms)
    return {ErrorCode::kInvalidArgument, "retry_base: must not be over retry_cap"};
  settings = next;
  return {};
}

bool AreSane(const QueueRow& settings, std::string_view name) {
  return settings.version == kRowVersion && settings.name_bytes == name.size() &&
         IsValidName(name) && settings.max_running <= kMaxQueueRunning &&
         settings.rate_micro <= kMaxQueueRateMicro && settings.burst <= kMaxQueueBurst &&
         settings.weight <= kMaxQueueWeight && settings.paused <= 1 &&
         settings.max_attempts <= kMaxMaxAttempts && settings.timeout_ms <= kMaxTimeoutMs &&
         settings.retry_base_ms <= kMaxRetryCapMs && settings.retry_cap_ms <= kMaxRetryCapMs &&
         settings.key_max_running <= kMaxQueueRunning &&
         settings.key_rate_micro <= kMaxQueueRateMicro && settings.key_burst <= kMaxQueueBurst &&
         settings.ageing_ms <= kMaxAgeingMs && settings.draining <= 1;
}

}  // namespace zsched::broker
