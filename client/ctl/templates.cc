#include "client/ctl/templates.h"

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/text.h"
#include "client/ctl/json.h"

namespace zsched::ctl {
namespace {

using Json = nlohmann::json;

constexpr char kShellType[] = "shell";
constexpr char kFields[] =
    "type, queue, payload, content_type, argv, stdin_from, priority, max_attempts, timeout, "
    "delay, start_within, retry_base, retry_cap, labels, delivery, durability, concurrency_key, "
    "fairness_key, "
    "correlation_id, traceparent, pass_result, on_success, on_failure and on_complete";

absl::Status Bad(const std::string& where, std::string_view what) {
  std::string message = where;
  message += ": ";
  message += what;
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

absl::Status ReadText(const std::string& where, const Json& value, std::string* to) {
  if (!value.is_string()) return Bad(where, "is not a string");
  *to = value.get<std::string>();
  return absl::OkStatus();
}

// As TaskJson prints it: a string, or {"base64":"…"}.
absl::Status ReadBytes(const std::string& where, const Json& value, std::string* to) {
  if (value.is_string()) return ReadText(where, value, to);
  if (!value.is_object() || value.size() != 1 || !value.contains("base64") ||
      !value["base64"].is_string())
    return Bad(where, "is neither a string nor {\"base64\":\"…\"}");
  if (!absl::Base64Unescape(value["base64"].get_ref<const std::string&>(), to))
    return Bad(where, "is not valid base64");
  return absl::OkStatus();
}

template <class Number>
absl::Status ReadNumber(const std::string& where, const Json& value, uint64_t most, Number* to) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
    return Bad(where, absl::StrCat("is not a whole number from 0 to ", most));
  *to = static_cast<Number>(value.get<uint64_t>());
  return absl::OkStatus();
}

// "90s", or milliseconds as a number.
template <class Number>
absl::Status ReadDuration(const std::string& where, const Json& value, uint64_t most_ms,
                          Number* to_ms) {
  if (!value.is_string()) return ReadNumber(where, value, most_ms, to_ms);
  absl::StatusOr<int64_t> ms = ParseDurationMs(value.get<std::string>());
  if (!ms.ok()) return Bad(where, MessageOf(ms.status()));
  if (*ms < 0 || static_cast<uint64_t>(*ms) > most_ms)
    return Bad(where,
               absl::StrCat("is longer than ", FormatDurationMs(static_cast<int64_t>(most_ms))));
  *to_ms = static_cast<Number>(*ms);
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
  return Bad(where, absl::StrCat("is none of ", names));
}

absl::Status ReadLabels(const std::string& where, const Json& value, std::vector<Label>* to) {
  if (!value.is_object()) return Bad(where, "is not an object of strings");
  for (const auto& [key, text] : value.items()) {
    Label label{key, {}};
    std::string name = where;
    name.append(".").append(key);
    ZS_RETURN_IF_ERROR(ReadText(name, text, &label.value));
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
  if (name == "payload") return ReadBytes(where, value, &task->payload);
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
  if (name == "pass_result") {
    if (!value.is_boolean()) return Bad(where, "is neither true nor false");
    task->pass_result = value.get<bool>();
    return absl::OkStatus();
  }
  if (name == "on_success") return ReadTemplates(where, value, depth + 1, &task->on_success);
  if (name == "on_failure") return ReadTemplates(where, value, depth + 1, &task->on_failure);
  if (name == "on_complete") return ReadTemplates(where, value, depth + 1, &task->on_complete);
  return Bad(where, absl::StrCat("unknown field; there are ", kFields));
}

// `argv` and `stdin_from` together are the payload of a shell task.
absl::Status ReadCommand(const std::string& where, const Json& value, TaskSpec* task) {
  if (!value.contains("argv")) {
    if (value.contains("stdin_from")) return Bad(where, "stdin_from: only beside argv");
    if (!value.contains("type")) return Bad(where, "type is required, unless there is argv");
    return absl::OkStatus();
  }
  if (value.contains("payload")) return Bad(where, "give payload or argv, not both");
  if (value.contains("type") && value["type"] != kShellType)
    return Bad(where, "argv makes a task of type shell");
  const Json& argv = value["argv"];
  std::vector<std::string> words;
  for (size_t i = 0; argv.is_array() && i < argv.size(); ++i)
    if (argv[i].is_string()) words.push_back(argv[i].get<std::string>());
  if (!argv.is_array() || words.empty() || words.size() != argv.size())
    return Bad(where, "argv is not a list of at least one string");
  if (value.contains("stdin_from") && value["stdin_from"] != "parent")
    return Bad(where, "stdin_from is not \"parent\"");
  task->type = kShellType;
  task->content_type = "application/json";
  task->payload = ShellPayload(words, value.contains("stdin_from"));
  return absl::OkStatus();
}

absl::Status ReadTemplate(const std::string& where, const Json& value, int depth, TaskSpec* task) {
  if (!value.is_object()) return Bad(where, "is not an object");
  for (const auto& [name, field] : value.items()) {
    if (name == "argv" || name == "stdin_from") continue;
    ZS_RETURN_IF_ERROR(ReadField(absl::StrCat(where, ".", name), name, field, depth, task));
  }
  return ReadCommand(where, value, task);
}

absl::Status ReadTemplates(const std::string& where, const Json& value, int depth,
                           std::vector<TaskSpec>* to) {
  if (depth > kMaxChainDepth)
    return Bad(where, absl::StrCat("a chain is at most ", kMaxChainDepth, " deep"));
  const Json list = value.is_array() ? value : Json::array({value});
  for (size_t i = 0; i < list.size(); ++i)
    ZS_RETURN_IF_ERROR(
        ReadTemplate(absl::StrCat(where, "[", i, "]"), list[i], depth, &to->emplace_back()));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<TaskSpec>> ParseTemplates(const std::string& where,
                                                     std::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded())
    return Bad(where, "is not JSON; write it like {\"type\":\"notify\",\"pass_result\":true}");
  std::vector<TaskSpec> templates;
  ZS_RETURN_IF_ERROR(ReadTemplates(where, json, 1, &templates));
  return templates;
}

}  // namespace zsched::ctl
