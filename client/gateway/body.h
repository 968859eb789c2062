// Bodies of requests and answers, as most routes have them. Owned by client/gateway.
//
// Threads: pure functions.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/gateway/backend.h"
#include "zsched/types.h"

namespace zsched::gateway {

// Whether the body, if there is one, is JSON by its content type. Asked before any handler is.
bool HasJsonType(const Request& request);
// MALFORMED also when there is none.
absl::StatusOr<nlohmann::json> JsonBody(const Request& request);
// The same; an empty object when there is no body.
absl::StatusOr<nlohmann::json> OptionalJsonBody(const Request& request);
// OK when there is none, or an empty object.
absl::Status NoBody(const Request& request);

// {"ids":[…]} and nothing else.
absl::Status ReadIdsBody(const nlohmann::json& body, size_t most, std::vector<TaskId>* ids);

// "[A,B]" of documents.
std::string JsonList(const std::vector<std::string>& documents);
std::string ItemsJson(const std::vector<ItemResult>& items);

// A place for a request that waits; none is needed for one that does not.
WaitingRoom::Place EnterIf(bool waits, const Backend& backend);

}  // namespace zsched::gateway
