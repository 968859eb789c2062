#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "base/check.h"
#include "schemas/errors.h"
#include "worker/executors/shell.h"

namespace zsched::worker {
namespace {

using Json = nlohmann::json;

absl::Status Invalid(const std::string& what) {
  return Error(ErrorCode::kInvalidArgument, "shell payload: " + what);
}

// A string, or {"base64":"…"} for bytes that JSON cannot hold, such as a file name in an old
// encoding.
absl::StatusOr<std::string> BytesOf(const Json& value, const std::string& field) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object() || value.size() != 1 || !value.contains("base64") ||
      !value["base64"].is_string())
    return Invalid(field + " is not a string");
  std::string bytes;
  if (!absl::Base64Unescape(value["base64"].get_ref<const std::string&>(), &bytes))
    return Invalid(field + " is not valid base64");
  return bytes;
}

// A text that can be an argument of a system call.
absl::StatusOr<std::string> SystemText(const Json& value, const std::string& field) {
  ZS_ASSIGN_OR_RETURN(std::string text, BytesOf(value, field));
  if (text.find('\0') != std::string::npos) return Invalid(field + " contains a NUL character");
  if (text.size() > kMaxArgumentBytes)
    return Invalid(field + " has " + std::to_string(text.size()) + " bytes; the system takes " +
                   std::to_string(kMaxArgumentBytes) + "; use stdin");
  return text;
}

absl::Status ReadArgv(const Json& value, ShellCommand* command) {
  if (!value.is_array() || value.empty())
    return Invalid("argv is not a list of at least one string");
  if (value.size() > kMaxArguments)
    return Invalid("argv has " + std::to_string(value.size()) + " entries; at most " +
                   std::to_string(kMaxArguments) + " are taken");
  for (size_t i = 0; i < value.size(); ++i) {
    ZS_ASSIGN_OR_RETURN(std::string text, SystemText(value[i], "argv[" + std::to_string(i) + "]"));
    command->argv.push_back(std::move(text));
  }
  if (command->argv[0].empty()) return Invalid("argv[0] is empty; it names the program");
  return absl::OkStatus();
}

absl::Status ReadEnv(const Json& value, ShellCommand* command) {
  if (!value.is_object()) return Invalid("env is not an object of strings");
  if (value.size() > kMaxEnvironment)
    return Invalid("env has " + std::to_string(value.size()) + " entries; at most " +
                   std::to_string(kMaxEnvironment) + " are taken");
  for (const auto& [key, entry] : value.items()) {
    if (key.empty() || key.find_first_of(std::string("=\0", 2)) != std::string::npos)
      return Invalid("env has the key '" + key + "'; a key is not empty and has no '=' and no NUL");
    ZS_ASSIGN_OR_RETURN(std::string text, SystemText(entry, "env." + key));
    if (key.size() + 1 + text.size() > kMaxArgumentBytes)
      return Invalid("env." + key + " is longer than the system takes");
    command->env.emplace_back(key, std::move(text));
  }
  return absl::OkStatus();
}

absl::Status ReadExitCodes(const Json& value, ShellCommand* command) {
  constexpr char kWhat[] = "no_retry_exit_codes is not a list of exit codes from 1 to ";
  auto is_code = [](const Json& code) {
    return code.is_number_unsigned() && code.get<uint64_t>() >= 1 &&
           code.get<uint64_t>() <= kMaxExitCode;
  };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_code))
    return Invalid(kWhat + std::to_string(kMaxExitCode));
  for (const Json& code : value) command->no_retry_exit_codes.set(code.get<size_t>());
  return absl::OkStatus();
}

absl::Status ReadField(const std::string& key, const Json& value, ShellCommand* command) {
  if (key == "argv") return ReadArgv(value, command);
  if (key == "env") return ReadEnv(value, command);
  if (key == "cwd") {
    ZS_ASSIGN_OR_RETURN(command->cwd, SystemText(value, "cwd"));
    if (!command->cwd.empty() && command->cwd[0] != '/')
      return Invalid("cwd '" + command->cwd + "' is not an absolute path");
    return absl::OkStatus();
  }
  if (key == "stdin") {
    ZS_ASSIGN_OR_RETURN(command->stdin_text, BytesOf(value, "stdin"));
    return absl::OkStatus();
  }
  if (key == "no_retry_exit_codes") return ReadExitCodes(value, command);
  if (key == "stdin_from") {
    if (value != "parent") return Invalid("stdin_from is not \"parent\"");
    command->stdin_from_parent = true;
    return absl::OkStatus();
  }
  return Invalid("unknown field '" + key +
                 "'; there are argv, env, cwd, stdin, stdin_from and no_retry_exit_codes");
}

}  // namespace

absl::StatusOr<ShellCommand> ParseShellCommand(std::string_view payload) {
  Json json = Json::parse(payload.begin(), payload.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object())
    return Invalid("it is not a JSON object like {\"argv\":[\"prog\",\"arg\"]}");
  ShellCommand command;
  for (const auto& [key, value] : json.items()) ZS_RETURN_IF_ERROR(ReadField(key, value, &command));
  if (command.stdin_from_parent && json.contains("stdin"))
    return Invalid("stdin, stdin_from: give one of the two");
  if (command.argv.empty()) return Invalid("argv is missing; it names the program to run");
  return command;
}

}  // namespace zsched::worker
