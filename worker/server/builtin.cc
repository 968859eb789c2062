#include "worker/server/builtin.h"

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "schemas/errors.h"
#include "schemas/limits.h"

namespace zsched::worker {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxCount = 1'000'000'000;

absl::Status Invalid(const TaskContext& task, const std::string& what) {
  return Error(ErrorCode::kInvalidArgument, std::string(task.type()) + " payload: " + what);
}

// The payload as an object that has no other fields than `fields`.
absl::StatusOr<Json> ReadObject(const TaskContext& task, std::initializer_list<const char*> fields,
                                const std::string& example) {
  std::string_view payload = task.payload();
  Json json = Json::parse(payload.begin(), payload.end(), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object())
    return Invalid(task, "it is not a JSON object like " + example);
  for (const auto& [key, value] : json.items())
    if (std::find(fields.begin(), fields.end(), key) == fields.end())
      return Invalid(task, "unknown field '" + key + "'; write it like " + example);
  return json;
}

absl::StatusOr<int64_t> ReadNumber(const TaskContext& task, const Json& json, const char* field,
                                   int64_t max) {
  auto it = json.find(field);
  if (it == json.end()) return Invalid(task, std::string(field) + " is missing");
  if (!it->is_number_unsigned() || it->get<uint64_t>() > static_cast<uint64_t>(max))
    return Invalid(task,
                   std::string(field) + " is not a whole number from 0 to " + std::to_string(max));
  return it->get<int64_t>();
}

TaskResult Sleep(TaskContext& task) {
  auto json = ReadObject(task, {"ms"}, R"({"ms":250})");
  if (!json.ok()) return TaskResult(json.status()).DoNotRetry();
  auto ms = ReadNumber(task, *json, "ms", kMaxTimeoutMs);
  if (!ms.ok()) return TaskResult(ms.status()).DoNotRetry();
  if (task.WaitCancelled(std::chrono::milliseconds(*ms)))
    return Error(ErrorCode::kCancelled, "woken before the end");
  return TaskResult::Ok();
}

TaskResult Fail(TaskContext& task) {
  auto json = ReadObject(task, {"times", "message"}, R"({"times":2,"message":"not yet"})");
  if (!json.ok()) return TaskResult(json.status()).DoNotRetry();
  auto times = ReadNumber(task, *json, "times", kMaxMaxAttempts);
  if (!times.ok()) return TaskResult(times.status()).DoNotRetry();
  auto message = json->find("message");
  if (message != json->end() && !message->is_string())
    return TaskResult(Invalid(task, "message is not a string")).DoNotRetry();
  if (task.attempt() > *times) return TaskResult::Ok();
  return Error(ErrorCode::kHandlerFailed, message != json->end()
                                              ? message->get<std::string>()
                                              : "failed on purpose, attempt " +
                                                    std::to_string(task.attempt()) + " of " +
                                                    std::to_string(*times));
}

TaskResult Count(TaskContext& task) {
  auto json = ReadObject(task, {"to", "ms", "fail_at"}, R"({"to":100,"ms":50})");
  if (!json.ok()) return TaskResult(json.status()).DoNotRetry();
  auto to = ReadNumber(task, *json, "to", kMaxCount),
       ms = ReadNumber(task, *json, "ms", kMaxTimeoutMs);
  if (!to.ok()) return TaskResult(to.status()).DoNotRetry();
  if (!ms.ok()) return TaskResult(ms.status()).DoNotRetry();
  int64_t fail_at = -1, from = 0;
  if (json->contains("fail_at")) {
    auto number = ReadNumber(task, *json, "fail_at", kMaxCount);
    if (!number.ok()) return TaskResult(number.status()).DoNotRetry();
    fail_at = *number;
  }
  if (!task.checkpoint().empty()) from = std::stoll(std::string(task.checkpoint()));
  for (int64_t i = from; i < *to; ++i) {
    if (task.WaitCancelled(std::chrono::milliseconds(*ms)))
      return Error(ErrorCode::kCancelled, "woken at " + std::to_string(i));
    ZS_RETURN_IF_ERROR(task.Checkpoint(std::to_string(i + 1)));
    const std::string counted = "counted to " + std::to_string(i + 1);
    task.Progress(static_cast<int>((i + 1) * 100 / *to), counted);
    task.Log(counted);
    if (i + 1 == fail_at)
      return Error(ErrorCode::kHandlerFailed, "failed on purpose at " + std::to_string(i + 1));
  }
  return TaskResult::Ok(Json({{"from", from}, {"to", *to}}).dump(), "application/json");
}

}  // namespace

std::vector<std::pair<std::string, TaskHandler>> BuiltinTypes() {
  return {{"noop", [](TaskContext&) { return TaskResult::Ok(); }},
          {"echo",
           [](TaskContext& task) {
             return TaskResult::Ok(std::string(task.payload()), std::string(task.content_type()));
           }},
          {"sleep", Sleep},
          {"count", Count},
          {"fail", Fail}};
}

}  // namespace zsched::worker
