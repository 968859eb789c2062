// What a schedule must look like (docs/scheduling.md, "Time schedules"), and what is read off it. Owned by
// broker/core; pure.
//
// Example:
//   Verdict verdict = ValidateSchedule(*set, config.max_payload_bytes, now.wall_ms);
//   if (verdict.code == ErrorCode::kOk) verdict = ValidateFiring(*set);
//
// Threads: plain functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "broker/core/rows.h"
#include "broker/core/validate.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

// All but expression and zone: what the log is held against too. INVALID_ARGUMENT and TOO_LARGE name
// the field.
Verdict ValidateSchedule(const wire::ScheduleSet& set, size_t max_payload_bytes, int64_t now_ms);

// Expression and zone. They are not looked at again when a record is applied: another version may
// know other ones, and state needs neither.
Verdict ValidateFiring(const wire::ScheduleSet& set);

// Whether a row from the log or a table can be that of a schedule.
bool AreSane(const TicksRow& row);

std::string_view ZoneOf(const wire::ScheduleSet& set);
int64_t CatchUpOf(const wire::ScheduleSet& set);

// Both fire at the same ticks, and hold the same ones back.
bool FireAlike(const wire::ScheduleSet& a, const wire::ScheduleSet& b);

// By how much a tick's task comes after the tick: 0..jitter_ms, always the same.
int64_t JitterOf(const wire::ScheduleSet& set, int64_t tick_ms);

}  // namespace zsched::broker
