// Tasks, schedules and rules from JSON, as programs of users write it: bodies of HTTP requests, templates
// on a command line. The other direction is json.h. Owned by the programs around the client library.
//
//   {"type":"notify", "queue":"mail", "payload":"done", "delay":"5m", "labels":{"team":"blue"}}
//   {"argv":["mail","-s","failed","root"], "stdin_from":"parent", "pass_result":true}
//
// The names are those of a task's JSON (docs/cli.md, docs/rest.md); `argv` makes a task of type shell. A
// name that is none of them is refused, so that nothing is left out by a slip. Bounds of a field's
// meaning are the broker's to check.
//
// Example:
//   ZS_ASSIGN_OR_RETURN(nlohmann::json json, ParseJson(body));
//   ZS_ASSIGN_OR_RETURN(TaskSpec task, ReadTask(json, ""));
//
// Errors: INVALID_ARGUMENT; the message begins with the field, as "on_success[0].queue: …", behind
// `where`.
//
// Threads: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "zsched/types.h"

namespace zsched {

// Objects and lists inside of each other. Deeper ones are nobody's data, and cost a stack frame each.
inline constexpr int kMaxJsonDepth = 32;

// One document. MALFORMED says where it breaks the format, or that it is too deep.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text);

// A task to submit. `payload` is a string, {"base64":"…"}, or any other object or list, which travels as
// its JSON text with content type application/json (its keys sorted, its numbers as doubles where they
// are no 64-bit integers).
absl::StatusOr<TaskSpec> ReadTask(const nlohmann::json& json, const std::string& where);
// Templates of tasks that follow a task, as text: an object, or a list of them.
absl::StatusOr<std::vector<TaskSpec>> ParseTemplates(const std::string& where,
                                                     std::string_view text);
// {"name","cron","tz","task","overlap","catch_up","jitter","paused"}. With `name`, that is its name, and
// the JSON has none.
absl::StatusOr<ScheduleSpec> ReadSchedule(const nlohmann::json& json, std::string_view name = {});
// The names of QueueJson's rules; null takes one away.
absl::StatusOr<QueueChange> ReadQueueChange(const nlohmann::json& json);
// Likewise of TypeJson's.
absl::StatusOr<TypeChange> ReadTypeChange(const nlohmann::json& json);

// --- Parts, for those who read objects of their own
absl::Status ReadText(const std::string& where, const nlohmann::json& value, std::string* to);
absl::Status ReadBool(const std::string& where, const nlohmann::json& value, bool* to);
// "2026-11-21T08:00:00Z", with any offset.
absl::Status ReadTime(const std::string& where, const nlohmann::json& value, int64_t* to_ms);
// "90s", or milliseconds as a number; 0..most_ms.
absl::Status ReadDurationMs(const std::string& where, const nlohmann::json& value, uint64_t most_ms,
                            uint64_t* to_ms);
// A list of ids as strings, at most `most` of them.
absl::Status ReadIds(const std::string& where, const nlohmann::json& value, size_t most,
                     std::vector<TaskId>* to);
// "a.b", or "b" when `where` is empty.
std::string FieldName(const std::string& where, std::string_view name);
// "WHERE: WHAT" as INVALID_ARGUMENT.
absl::Status BadField(const std::string& where, std::string_view what);

}  // namespace zsched
