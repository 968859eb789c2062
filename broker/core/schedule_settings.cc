#include "broker/core/schedule_settings.h"

#include <string>

#include "base/text.h"
#include "cron/cron.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

constexpr std::string_view kDefaultZone = "UTC";

Verdict Invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

Verdict ValidateTask(const wire::TaskSpec& spec, size_t max_payload_bytes, int64_t now_ms) {
  if (spec.delay_ms() != 0 || spec.run_at_ms() != 0)
    return Invalid("task: delay_ms, run_at_ms: the schedule says when it runs");
  if (spec.start_by_ms() != 0)
    return Invalid(
        "task: start_by_ms: a schedule's task has start_within_ms, from when it is made");
  if (spec.key() != nullptr) return Invalid("task: key: a tick's task is there once without one");
  if (spec.labels() != nullptr) {
    if (spec.labels()->size() > kMaxLabels - 2)
      return Invalid("task: labels: at most " + std::to_string(kMaxLabels - 2) +
                     ", as each tick adds two");
    for (const wire::Label* label : *spec.labels())
      if (TextOf(label->key()) == kScheduleLabel || TextOf(label->key()) == kTickLabel)
        return Invalid("task: labels: '" + std::string(TextOf(label->key())) +
                       "' is set by each tick");
  }
  Verdict verdict = ValidateSpec(spec, max_payload_bytes, now_ms);
  if (verdict.code != ErrorCode::kOk) verdict.message = "task: " + verdict.message;
  return verdict;
}

// FNV-1a over the name, then the finalizer of SplitMix64: spreads neighbours in name and time.
uint64_t Hash(std::string_view name, int64_t tick_ms) {
  uint64_t hash = 0xCBF29CE484222325;
  for (char byte : name) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001B3;
  hash ^= static_cast<uint64_t>(tick_ms) * 0x9E3779B97F4A7C15;
  hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9;
  hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EB;
  return hash ^ (hash >> 31);
}

}  // namespace

Verdict ValidateSchedule(const wire::ScheduleSet& set, size_t max_payload_bytes, int64_t now_ms) {
  if (!IsValidName(TextOf(set.name())))
    return Invalid("name: must be 1.." + std::to_string(kMaxNameBytes) +
                   " bytes of UTF-8 without control characters");
  if (set.expression()->size() > cron::kMaxExpressionBytes)
    return Invalid("expression: at most " + std::to_string(cron::kMaxExpressionBytes) + " bytes");
  if (ZoneOf(set).size() > cron::kMaxZoneNameBytes)
    return Invalid("zone: at most " + std::to_string(cron::kMaxZoneNameBytes) + " bytes");
  if (set.overlap() > wire::Overlap::MAX)
    return Invalid("overlap: unknown value " + std::to_string(static_cast<int>(set.overlap())));
  const auto catch_up = static_cast<uint64_t>(CatchUpOf(set));
  if (catch_up < kMinCatchUpMs || catch_up > kMaxCatchUpMs)
    return Invalid("catch_up: must be 10 seconds to 366 days");
  if (set.jitter_ms() > kMaxJitterMs) return Invalid("jitter: at most 1 hour");
  return ValidateTask(*set.task(), max_payload_bytes, now_ms);
}

Verdict ValidateFiring(const wire::ScheduleSet& set) {
  auto schedule = cron::Parse(TextOf(set.expression()));
  if (!schedule.ok()) return Invalid("expression: " + MessageOf(schedule.status()));
  auto zone = cron::LoadZone(ZoneOf(set));
  if (!zone.ok()) return Invalid("zone: " + MessageOf(zone.status()));
  return {};
}

bool AreSane(const TicksRow& row) {
  return row.version == kRowVersion && row.paused <= 1 && row.gap <= (row.held > 0 ? 1 : 0) &&
         row.held <= kMaxHeldTicks && (row.held == 0) == (row.held_ms == 0);
}

std::string_view ZoneOf(const wire::ScheduleSet& set) {
  std::string_view zone = TextOf(set.zone());
  return zone.empty() ? kDefaultZone : zone;
}

int64_t CatchUpOf(const wire::ScheduleSet& set) {
  const uint64_t ms = set.catch_up_ms().value_or(kDefaultCatchUpMs);
  return static_cast<int64_t>(std::min(ms, kMaxCatchUpMs + 1));
}

bool FireAlike(const wire::ScheduleSet& a, const wire::ScheduleSet& b) {
  return TextOf(a.expression()) == TextOf(b.expression()) && ZoneOf(a) == ZoneOf(b) &&
         a.overlap() == b.overlap();
}

int64_t JitterOf(const wire::ScheduleSet& set, int64_t tick_ms) {
  if (set.jitter_ms() == 0) return 0;
  return static_cast<int64_t>(Hash(TextOf(set.name()), tick_ms) % (uint64_t{set.jitter_ms()} + 1));
}

}  // namespace zsched::broker
