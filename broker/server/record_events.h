// A record of the log as the events that it tells: what a person, a dashboard or a metric wants to know of it. Owned by
// broker/server; pure. Every length is checked, as everywhere that records are read.
//
//   kSubmitted ──▶ submitted, submitted, …        kEnded ──▶ succeeded | failed | dead | …, then submitted for each task of a chain
//
// The events of a record and their order never change: the place of an event in it names the event for good.
//
// Example:
//   ZS_RETURN_IF_ERROR(ForEachEvent(record, [&](const LogEvent& event) { …; return true; }));
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "broker/core/record.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

// What a record says of it; names stand in tables where there is a number. Texts live during the visit.
struct LogEvent {
  wire::EventKind kind{};
  int64_t at_ms = 0;
  uint64_t task = 0;  // 0: it is about no task
  uint64_t parent = 0;
  uint32_t lane = 0;  // of the task; 0: the task's row has it, or `queue` and `type` are given
  std::string_view queue{}, type{};
  TaskState state{};  // of the task after it
  uint16_t attempt = 0;
  uint32_t worker = kNoWorker;
  uint32_t schedule = 0;  // its number; `name` is not given then
  std::string_view name{};
  uint16_t error_code = 0;
  std::string_view error_message{};
  uint8_t percent = 0;
  std::string_view message{};
  uint64_t count = 0;
};

// Calls `visit` for each, until it returns false. DATA_LOSS: the record is none; never of one that can be applied.
absl::Status ForEachEvent(std::string_view record, absl::FunctionRef<bool(const LogEvent&)> visit);

// Calls `visit` for each record in `records`, which lie back to back, until it returns false. DATA_LOSS: a length
// is wrong.
absl::Status ForEachRecord(std::string_view records,
                           absl::FunctionRef<bool(std::string_view record)> visit);

}  // namespace zsched::broker
