#include "client/json/read.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/text.h"
#include "client/json/json.h"

namespace zsched {

using Json = nlohmann::json;

std::string FieldName(const std::string& where, std::string_view name) {
  std::string joined = where;
  if (!joined.empty()) joined += '.';
  joined += name;
  return joined;
}

absl::Status BadField(const std::string& where, std::string_view what) {
  std::string message = where;
  if (!message.empty()) message += ": ";
  message += what;
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

absl::Status ReadText(const std::string& where, const Json& value, std::string* to) {
  if (!value.is_string()) return BadField(where, "is not a string");
  *to = value.get<std::string>();
  return absl::OkStatus();
}

absl::Status ReadBool(const std::string& where, const Json& value, bool* to) {
  if (!value.is_boolean()) return BadField(where, "is neither true nor false");
  *to = value.get<bool>();
  return absl::OkStatus();
}

absl::Status ReadTime(const std::string& where, const Json& value, int64_t* to_ms) {
  std::string text;
  ZS_RETURN_IF_ERROR(ReadText(where, value, &text));
  absl::StatusOr<int64_t> time_ms = ParseTimeMs(text);
  if (!time_ms.ok()) return BadField(where, MessageOf(time_ms.status()));
  *to_ms = *time_ms;
  return absl::OkStatus();
}

absl::Status ReadIds(const std::string& where, const Json& value, size_t most,
                     std::vector<TaskId>* to) {
  if (!value.is_array() || value.empty() || value.size() > most)
    return BadField(where, absl::StrCat("is not a list of 1 to ", most, " ids"));
  to->reserve(value.size());
  for (const Json& item : value) {
    const std::optional<TaskId> id =
        item.is_string() ? ParseId<TaskId>(item.get_ref<const std::string&>()) : std::nullopt;
    if (!id)
      return BadField(
          where,
          absl::StrCat(item.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 64),
                       " is not an id such as \"4-17\""));
    to->push_back(*id);
  }
  return absl::OkStatus();
}

namespace {

constexpr char kShellType[] = "shell";
constexpr char kTemplateFields[] =
    "type, queue, payload, content_type, argv, stdin_from, priority, max_attempts, timeout, "
    "delay, start_within, retry_base, retry_cap, labels, delivery, durability, concurrency_key, "
    "fairness_key, "
    "correlation_id, traceparent, pass_result, on_success, on_failure and on_complete";
constexpr char kTaskFields[] =
    "type, queue, payload, content_type, argv, priority, max_attempts, timeout, delay, run_at, "
    "start_within, start_by, retry_base, retry_cap, key, labels, delivery, durability, "
    "concurrency_key, fairness_key, correlation_id, traceparent, on_success, on_failure and "
    "on_complete";

// As TaskJson prints it: a string, or {"base64":"…"}. Anything else with a structure is data in JSON.
absl::Status ReadPayload(const std::string& where, const Json& value, TaskSpec* task) {
  if (value.is_string()) return ReadText(where, value, &task->payload);
  const bool bytes = value.is_object() && value.size() == 1 && value.contains("base64");
  if (bytes) {
    if (!value["base64"].is_string() ||
        !absl::Base64Unescape(value["base64"].get_ref<const std::string&>(), &task->payload))
      return BadField(where, "is not valid base64");
    return absl::OkStatus();
  }
  if (!value.is_structured())
    return BadField(where, "is not a string, {\"base64\":\"…\"}, or any other object or list");
  task->payload = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (task->content_type.empty()) task->content_type = "application/json";
  return absl::OkStatus();
}

template <class Number>
absl::Status ReadNumber(const std::string& where, const Json& value, uint64_t most, Number* to) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
    return BadField(where, absl::StrCat("is not a whole number from 0 to ", most));
  *to = static_cast<Number>(value.get<uint64_t>());
  return absl::OkStatus();
}

template <class Number>
absl::Status ReadDuration(const std::string& where, const Json& value, uint64_t most_ms,
                          Number* to_ms) {
  uint64_t ms = 0;
  ZS_RETURN_IF_ERROR(ReadDurationMs(where, value, most_ms, &ms));
  *to_ms = static_cast<Number>(ms);
  return absl::OkStatus();
}

// One of the names of `Enum`, by NameOf.
template <class Enum>
absl::Status ReadName(const std::string& where, const Json& value,
                      std::initializer_list<Enum> choices, Enum* to) {
  std::string names;
  for (Enum choice : choices) {
    const std::string name(NameOf(choice));
    if (value == name) {
      *to = choice;
      return absl::OkStatus();
    }
    names += names.empty() ? "" : ", ";
    names += name;
  }
  return BadField(where, absl::StrCat("is none of ", names));
}

absl::Status ReadLabels(const std::string& where, const Json& value, std::vector<Label>* to) {
  if (!value.is_object()) return BadField(where, "is not an object of strings");
  for (const auto& [key, text] : value.items()) {
    Label label{key, {}};
    ZS_RETURN_IF_ERROR(ReadText(FieldName(where, key), text, &label.value));
    to->push_back(std::move(label));
  }
  return absl::OkStatus();
}

absl::Status ReadTemplates(const std::string& where, const Json& value, int depth,
                           std::vector<TaskSpec>* to);

// The texts and keys, by the name in the JSON; nullptr: another field.
std::string* TextField(TaskSpec& task, std::string_view name) {
  if (name == "type") return &task.type;
  if (name == "queue") return &task.queue;
  if (name == "content_type") return &task.content_type;
  if (name == "concurrency_key") return &task.concurrency_key;
  if (name == "fairness_key") return &task.fairness_key;
  if (name == "correlation_id") return &task.correlation_id;
  if (name == "traceparent") return &task.traceparent;
  return nullptr;
}

absl::Status ReadField(const std::string& where, const std::string& name, const Json& value,
                       int depth, TaskSpec* task) {
  if (std::string* text = TextField(*task, name)) return ReadText(where, value, text);
  if (name == "payload") return ReadPayload(where, value, task);
  if (name == "priority") return ReadNumber(where, value, kPriorities - 1, &task->priority);
  if (name == "max_attempts") return ReadNumber(where, value, kMaxMaxAttempts, &task->max_attempts);
  if (name == "timeout") return ReadDuration(where, value, kMaxTimeoutMs, &task->timeout_ms);
  if (name == "delay") return ReadDuration(where, value, kMaxDelayMs, &task->delay_ms);
  if (name == "start_within")
    return ReadDuration(where, value, kMaxDelayMs, &task->start_within_ms);
  if (name == "retry_base") return ReadDuration(where, value, kMaxRetryCapMs, &task->retry_base_ms);
  if (name == "retry_cap") return ReadDuration(where, value, kMaxRetryCapMs, &task->retry_cap_ms);
  if (name == "labels") return ReadLabels(where, value, &task->labels);
  if (name == "delivery")
    return ReadName(where, value, {Delivery::kAtLeastOnce, Delivery::kAtMostOnce}, &task->delivery);
  if (name == "durability")
    return ReadName(where, value, {Durability::kMemory, Durability::kDisk, Durability::kReplicated},
                    &task->durability);
  if (depth == 0 && name == "key") return ReadText(where, value, &task->key);
  if (depth == 0 && name == "run_at") return ReadTime(where, value, &task->run_at_ms);
  if (depth == 0 && name == "start_by") return ReadTime(where, value, &task->start_by_ms);
  if (depth > 0 && name == "pass_result") return ReadBool(where, value, &task->pass_result);
  if (name == "on_success") return ReadTemplates(where, value, depth + 1, &task->on_success);
  if (name == "on_failure") return ReadTemplates(where, value, depth + 1, &task->on_failure);
  if (name == "on_complete") return ReadTemplates(where, value, depth + 1, &task->on_complete);
  return BadField(
      where, absl::StrCat("unknown field; there are ", depth == 0 ? kTaskFields : kTemplateFields));
}

// `argv` and `stdin_from` together are the payload of a shell task.
absl::Status ReadCommand(const std::string& where, const Json& value, TaskSpec* task) {
  if (!value.contains("argv")) {
    if (value.contains("stdin_from")) return BadField(where, "stdin_from: only beside argv");
    if (!value.contains("type")) return BadField(where, "type is required, unless there is argv");
    return absl::OkStatus();
  }
  if (value.contains("payload")) return BadField(where, "give payload or argv, not both");
  if (value.contains("type") && value["type"] != kShellType)
    return BadField(where, "argv makes a task of type shell");
  const Json& argv = value["argv"];
  std::vector<std::string> words;
  for (size_t i = 0; argv.is_array() && i < argv.size(); ++i)
    if (argv[i].is_string()) words.push_back(argv[i].get<std::string>());
  if (!argv.is_array() || words.empty() || words.size() != argv.size())
    return BadField(where, "argv is not a list of at least one string");
  if (value.contains("stdin_from") && value["stdin_from"] != "parent")
    return BadField(where, "stdin_from is not \"parent\"");
  task->type = kShellType;
  task->content_type = "application/json";
  task->payload = ShellPayload(words, value.contains("stdin_from"));
  return absl::OkStatus();
}

// A task, or a template at a depth from 1.
absl::Status ReadSpec(const std::string& where, const Json& value, int depth, TaskSpec* task) {
  if (!value.is_object()) return BadField(where, "is not an object");
  for (const auto& [name, field] : value.items()) {
    if (name == "argv" || (depth > 0 && name == "stdin_from")) continue;
    ZS_RETURN_IF_ERROR(ReadField(FieldName(where, name), name, field, depth, task));
  }
  return ReadCommand(where, value, task);
}

absl::Status ReadTemplates(const std::string& where, const Json& value, int depth,
                           std::vector<TaskSpec>* to) {
  if (depth > kMaxChainDepth)
    return BadField(where, absl::StrCat("a chain is at most ", kMaxChainDepth, " deep"));
  const Json list = value.is_array() ? value : Json::array({value});
  for (size_t i = 0; i < list.size(); ++i)
    ZS_RETURN_IF_ERROR(
        ReadSpec(absl::StrCat(where, "[", i, "]"), list[i], depth, &to->emplace_back()));
  return absl::OkStatus();
}

// A rule: a whole number from 0, or null for none.
template <class Number>
absl::Status ReadRule(const std::string& where, const Json& value, std::optional<Number>* to) {
  Number number = 0;
  if (!value.is_null())
    ZS_RETURN_IF_ERROR(ReadNumber(where, value, std::numeric_limits<Number>::max(), &number));
  *to = number;
  return absl::OkStatus();
}

absl::Status ReadRate(const std::string& where, const Json& value, std::optional<uint64_t>* to) {
  constexpr double kMicro = 1e6;
  *to = 0;
  if (value.is_null()) return absl::OkStatus();
  const double rate = value.is_number() ? value.get<double>() * kMicro : -1;
  if (!(rate >= 0 && rate <= static_cast<double>(kMaxQueueRateMicro)) || (rate > 0 && rate < 1))
    return BadField(where, "is not a number of tasks a second from 0.000001 to 1000000, or null");
  *to = static_cast<uint64_t>(std::round(rate));
  return absl::OkStatus();
}

absl::Status ReadSwitch(const std::string& where, const Json& value, std::optional<bool>* to) {
  bool on = false;
  ZS_RETURN_IF_ERROR(ReadBool(where, value, &on));
  *to = on;
  return absl::OkStatus();
}

absl::Status ReadErrors(const std::string& where, const Json& value, std::optional<uint64_t>* to) {
  *to = 0;
  if (value.is_null()) return absl::OkStatus();
  if (!value.is_array()) return BadField(where, "is not a list of error codes, or null");
  for (const Json& item : value) {
    const std::optional<ErrorCode> code =
        item.is_string() ? ErrorFromText(item.get_ref<const std::string&>()) : std::nullopt;
    if (!code) return BadField(where, "has what is no error code (docs/errors.md)");
    **to |= ErrorBit(*code);
  }
  return absl::OkStatus();
}

// How one rule of a Change is read.
template <class Change>
struct RuleReader {
  std::string_view name;
  absl::Status (*read)(const std::string& where, const Json& value, Change* change);
};
#define ZSCHED_RULE(Change, field, name, reader)                            \
  RuleReader<Change> {                                                      \
    name, [](const std::string& where, const Json& value, Change* change) { \
      return reader(where, value, &change->field);                          \
    }                                                                       \
  }
constexpr RuleReader<QueueChange> kQueueRules[] = {
    ZSCHED_RULE(QueueChange, paused, "paused", ReadSwitch),
    ZSCHED_RULE(QueueChange, draining, "draining", ReadSwitch),
    ZSCHED_RULE(QueueChange, max_tasks, "max_tasks", ReadRule),
    ZSCHED_RULE(QueueChange, max_bytes, "max_bytes", ReadRule),
    ZSCHED_RULE(QueueChange, max_running, "max_running", ReadRule),
    ZSCHED_RULE(QueueChange, rate_micro, "rate_per_second", ReadRate),
    ZSCHED_RULE(QueueChange, burst, "burst", ReadRule),
    ZSCHED_RULE(QueueChange, weight, "weight", ReadRule),
    ZSCHED_RULE(QueueChange, max_attempts, "max_attempts", ReadRule),
    ZSCHED_RULE(QueueChange, timeout_ms, "timeout_ms", ReadRule),
    ZSCHED_RULE(QueueChange, retry_base_ms, "retry_base_ms", ReadRule),
    ZSCHED_RULE(QueueChange, retry_cap_ms, "retry_cap_ms", ReadRule),
    ZSCHED_RULE(QueueChange, key_max_running, "key_max_running", ReadRule),
    ZSCHED_RULE(QueueChange, key_rate_micro, "key_rate_per_second", ReadRate),
    ZSCHED_RULE(QueueChange, key_burst, "key_burst", ReadRule),
    ZSCHED_RULE(QueueChange, ageing_ms, "ageing_ms", ReadRule),
};
constexpr RuleReader<TypeChange> kTypeRules[] = {
    ZSCHED_RULE(TypeChange, paused, "paused", ReadSwitch),
    ZSCHED_RULE(TypeChange, max_running, "max_running", ReadRule),
    ZSCHED_RULE(TypeChange, rate_micro, "rate_per_second", ReadRate),
    ZSCHED_RULE(TypeChange, burst, "burst", ReadRule),
    ZSCHED_RULE(TypeChange, no_retry, "no_retry", ReadErrors),
};
#undef ZSCHED_RULE

template <class Change, size_t kRules>
absl::StatusOr<Change> ReadChange(const RuleReader<Change> (&rules)[kRules], const Json& json) {
  if (!json.is_object() || json.empty())
    return BadField("", "give an object with the rules to set");
  Change change;
  for (const auto& [name, value] : json.items()) {
    const auto rule =
        std::find_if(std::begin(rules), std::end(rules),
                     [&name = name](const RuleReader<Change>& one) { return one.name == name; });
    if (rule == std::end(rules)) {
      std::string names;
      for (const RuleReader<Change>& one : rules)
        absl::StrAppend(&names, names.empty() ? "" : ", ", std::string(one.name));
      return BadField(name, absl::StrCat("no such rule; there are ", names));
    }
    ZS_RETURN_IF_ERROR(rule->read(name, value, &change));
  }
  return change;
}

absl::Status ReadScheduleField(const std::string& name, const Json& value, ScheduleSpec* spec) {
  if (name == "cron") return ReadText(name, value, &spec->expression);
  if (name == "tz") return ReadText(name, value, &spec->zone);
  if (name == "task") return ReadSpec(name, value, 0, &spec->task);
  if (name == "catch_up") return ReadDuration(name, value, kMaxCatchUpMs, &spec->catch_up_ms);
  if (name == "jitter") return ReadDuration(name, value, kMaxJitterMs, &spec->jitter_ms);
  if (name == "paused") return ReadSwitch(name, value, &spec->paused);
  if (name == "overlap")
    return ReadName(name, value,
                    {Overlap::kSkip, Overlap::kQueueOne, Overlap::kQueueAll, Overlap::kCancelOld,
                     Overlap::kAllow},
                    &spec->overlap);
  return BadField(name,
                  "unknown field; there are name, cron, tz, task, overlap, catch_up, jitter and "
                  "paused");
}

// nlohmann's parser needs no stack for depth, but what walks the result does.
bool IsTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) {
  if (IsTooDeep(text))
    return Error(ErrorCode::kMalformed,
                 absl::StrCat("the JSON is more than ", kMaxJsonDepth, " levels deep"));
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::exception& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the first part is the library's.
    std::string_view what = error.what();
    what.remove_prefix(std::min(what.find("] ") + 2, what.size()));
    return Error(ErrorCode::kMalformed, absl::StrCat("not JSON: ", std::string(what)));
  }
}

absl::Status ReadDurationMs(const std::string& where, const Json& value, uint64_t most_ms,
                            uint64_t* to_ms) {
  if (!value.is_string()) return ReadNumber(where, value, most_ms, to_ms);
  absl::StatusOr<int64_t> ms = ParseDurationMs(value.get<std::string>());
  if (!ms.ok()) return BadField(where, MessageOf(ms.status()));
  if (*ms < 0 || static_cast<uint64_t>(*ms) > most_ms)
    return BadField(
        where, absl::StrCat("is longer than ", FormatDurationMs(static_cast<int64_t>(most_ms))));
  *to_ms = static_cast<uint64_t>(*ms);
  return absl::OkStatus();
}

absl::StatusOr<TaskSpec> ReadTask(const Json& json, const std::string& where) {
  TaskSpec task;
  ZS_RETURN_IF_ERROR(ReadSpec(where, json, 0, &task));
  return task;
}

absl::StatusOr<std::vector<TaskSpec>> ParseTemplates(const std::string& where,
                                                     std::string_view text) {
  const absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok())
    return BadField(where, "is not JSON; write it like {\"type\":\"notify\",\"pass_result\":true}");
  std::vector<TaskSpec> templates;
  ZS_RETURN_IF_ERROR(ReadTemplates(where, *json, 1, &templates));
  return templates;
}

absl::StatusOr<ScheduleSpec> ReadSchedule(const Json& json, std::string_view name) {
  if (!json.is_object()) return BadField("", "give an object with cron and task");
  ScheduleSpec spec;
  spec.name = std::string(name);
  for (const auto& [field, value] : json.items()) {
    if (field == "name" && name.empty()) {
      ZS_RETURN_IF_ERROR(ReadText(field, value, &spec.name));
    } else {
      ZS_RETURN_IF_ERROR(ReadScheduleField(field, value, &spec));
    }
  }
  for (const char* needed : {"cron", "task"})
    if (!json.contains(needed)) return BadField(needed, "is required");
  if (spec.name.empty()) return BadField("name", "is required");
  return spec;
}

absl::StatusOr<QueueChange> ReadQueueChange(const Json& json) {
  return ReadChange(kQueueRules, json);
}

absl::StatusOr<TypeChange> ReadTypeChange(const Json& json) { return ReadChange(kTypeRules, json); }

}  // namespace zsched
