// What an operator may set for a queue (docs/scheduling.md): checking a change, and what a setting means
// where it is not given. Owned by broker/core; pure.
//
// Settings are a QueueRow, where 0 stands for "no such rule". A change names the fields that it sets.
//
// Example:
//   QueueRow settings = queue.settings;
//   Verdict verdict = ChangeSettings(set, settings);
//   if (verdict.code == ErrorCode::kOk && settings != queue.settings) …record them…
//
// Threads: plain functions.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "broker/core/rows.h"
#include "broker/core/validate.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

// Applies the fields that `set` gives. INVALID_ARGUMENT names the first that is out of range, and
// leaves `settings` as they were.
Verdict ChangeSettings(const wire::QueueSet& set, QueueRow& settings);

// Whether a row from the log or a table is within the bounds that ChangeSettings keeps.
bool AreSane(const QueueRow& settings, std::string_view name);

// Tasks that a queue gives for each of its turns.
inline uint32_t WeightOf(const QueueRow& settings) {
  return std::max<uint32_t>(1, settings.weight);
}

// Attempts that may begin at once after a rest.
inline uint64_t BurstOf(uint64_t burst, uint64_t rate_micro) {
  return burst != 0 ? burst : std::max<uint64_t>(1, rate_micro / 1'000'000);
}

}  // namespace zsched::broker
