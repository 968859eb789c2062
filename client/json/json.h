// What things look like in JSON, on standard output and over HTTP alike (docs/cli.md lists the fields);
// read.h is the other direction. Owned by the programs around the client library; pure functions. Every
// result is one line without a newline.
//
// Bytes that are UTF-8 appear as a string, others as {"base64":"…"}; times are RFC 3339 UTC with
// milliseconds, or null.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "cron/warnings.h"
#include "zsched/types.h"

namespace zsched {

// Payload and result may be left out: by a list that did not ask for them.
enum class Bodies { kThere, kOmitted };
std::string TaskJson(const TaskInfo& task, Bodies bodies = Bodies::kThere);
// 16 hexadecimal digits, as --fingerprint takes them.
std::string FingerprintText(uint64_t fingerprint);
std::string DeadGroupJson(const DeadGroup& group);
std::string ExplanationJson(TaskId id, const TaskExplanation& explanation);
std::string AttemptJson(const AttemptInfo& attempt);
std::string OutputPieceJson(uint32_t attempt, const OutputPiece& piece);
std::string QueueJson(const QueueInfo& queue);
std::string TypeJson(const TypeInfo& type);
std::string ScheduleJson(const ScheduleInfo& schedule);
std::string WorkerJson(const WorkerSummary& worker);
std::string StatusJson(const StatusInfo& status);
// "4711.2", behind event 2 of record 4711, or "4711", behind all of that record: as --after and
// Last-Event-ID take it.
std::string PositionText(const EventPosition& position);
std::optional<EventPosition> ParsePosition(std::string_view text);
// `position` is the place behind it.
std::string EventJson(const Event& event);
// The brokers and the epoch of `status`.
std::string ClusterJson(const StatusInfo& status);
// {"id":…,"code":…,"message":…}
std::string ItemJson(const ItemResult& item);
std::string SettingJson(const Setting& setting);
// RFC 3339 UTC, with a fraction only when there is one: "2026-11-21T08:00:00Z".
std::string CronTimeText(int64_t unix_ms);
// {"kind":…,"at":…,"text":…}; "at" is null for what holds always.
std::string CronWarningJson(const cron::Warning& warning);
// {"next":[…],"warnings":[…]}
std::string CronNextJson(const std::vector<int64_t>& times_ms,
                         const std::vector<cron::Warning>& warnings);
// {"error":{"code":…,"message":…,"retryable":…}}
std::string ErrorJson(const absl::Status& status);
// "\"text\""; what is not UTF-8 becomes U+FFFD.
std::string Quote(std::string_view text);

std::string Base64(std::string_view bytes);

// The payload of a shell task: {"argv":[…]}, which reads what its parent left if it is `fed`. An argument that is not UTF-8 becomes
// {"base64":"…"}, since JSON has no other way to hold a file name in an old encoding.
std::string ShellPayload(const std::vector<std::string>& argv, bool fed = false);

}  // namespace zsched
