#include "client/gateway/body.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/check.h"
#include "client/json/json.h"
#include "client/json/read.h"

namespace zsched::gateway {

bool HasJsonType(const Request& request) {
  if (request.body.empty()) return true;
  std::string type = absl::AsciiStrToLower(std::string(request.Header("content-type")));
  type.resize(std::min(type.find(';'), type.size()));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  return type == "application/json" || absl::EndsWith(type, "+json");
}

absl::StatusOr<nlohmann::json> JsonBody(const Request& request) {
  if (request.body.empty())
    return Error(ErrorCode::kMalformed, "the request has no body; send JSON");
  return ParseJson(request.body);
}

absl::StatusOr<nlohmann::json> OptionalJsonBody(const Request& request) {
  if (request.body.empty()) return nlohmann::json::object();
  return JsonBody(request);
}

absl::Status NoBody(const Request& request) {
  ZS_ASSIGN_OR_RETURN(const nlohmann::json body, OptionalJsonBody(request));
  if (body.is_object() && body.empty()) return absl::OkStatus();
  return BadField("", "this request has no body");
}

absl::Status ReadIdsBody(const nlohmann::json& body, size_t most, std::vector<TaskId>* ids) {
  if (!body.is_object() || body.size() != 1 || !body.contains("ids"))
    return BadField("", "give an object with ids and nothing else");
  return ReadIds("ids", body["ids"], most, ids);
}

std::string JsonList(const std::vector<std::string>& documents) {
  std::string list = "[";
  for (const std::string& document : documents) {
    if (list.size() > 1) list += ',';
    list += document;
  }
  return list + "]";
}

std::string ItemsJson(const std::vector<ItemResult>& items) {
  std::vector<std::string> documents;
  for (const ItemResult& item : items) documents.push_back(ItemJson(item));
  return "{\"items\":" + JsonList(documents) + "}";
}

absl::StatusOr<TaskId> IdOf(const Request& request) {
  const std::optional<TaskId> id = ParseId<TaskId>(request.Arg("id"));
  if (!id)
    return Error(ErrorCode::kMalformed, "'" + request.Arg("id") + "' is not an id such as 4-17");
  return *id;
}

absl::Status NoPlace() {
  return Error(ErrorCode::kResourceExhausted,
               "as many requests wait here as the gateway takes; ask without waiting, or later");
}

WaitingRoom::Place EnterIf(bool waits, const Backend& backend) {
  return waits ? backend.waiting.Enter() : WaitingRoom::Place(nullptr);
}

}  // namespace zsched::gateway
