// The OpenAPI document, made of the table of routes, and of openapi_schemas.json for what bodies look like.
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/config.h"
#include "client/gateway/assets.h"
#include "client/gateway/backend.h"
#include "client/gateway/sse.h"

namespace zsched::gateway {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kJson[] = "application/json";

Json Ref(std::string_view component) {
  return {{"$ref", absl::StrCat("#/components/schemas/", std::string(component))}};
}

Json Content(std::string_view type, Json schema) {
  return {{std::string(type), {{"schema", std::move(schema)}}}};
}

// Of the path, then of the query.
Json Parameters(const Route& route) {
  Json parameters = Json::array();
  for (const std::string& segment :
       std::vector<std::string>(absl::StrSplit(std::string(route.pattern), '/')))
    if (segment.starts_with('{'))
      parameters.push_back({{"name", segment.substr(1, segment.size() - 2)},
                            {"in", "path"},
                            {"required", true},
                            {"schema", {{"type", "string"}}}});
  for (const ParameterDoc& parameter : route.query)
    parameters.push_back({{"name", std::string(parameter.name)},
                          {"in", "query"},
                          {"required", parameter.required},
                          {"description", std::string(parameter.what)},
                          {"schema", Json::parse(parameter.schema)}});
  if (route.id == "submitTasks")
    parameters.push_back({{"name", "Idempotency-Key"},
                          {"in", "header"},
                          {"description", "The key of the task; task N of a list gets KEY.N"},
                          {"schema", {{"type", "string"}}}});
  return parameters;
}

Json Responses(const Route& route) {
  Json responses = Json::object();
  for (const ReplyDoc& reply : route.replies) {
    Json& response = responses[std::to_string(reply.status)];
    response["description"] = std::string(reply.what);
    if (!reply.schema.empty()) response["content"] = Content(reply.content_type, Ref(reply.schema));
    if (reply.schema.empty() && reply.content_type != kJson)
      response["content"] = Content(reply.content_type, {{"type", "string"}});
  }
  if (route.id == "taskLogs" || route.id == "getEvents")
    responses["200"]["content"][std::string(kEventStream)] = {{"schema", {{"type", "string"}}}};
  responses["default"] = {{"description", "What is wrong, and what to do"},
                          {"content", Content("application/problem+json", Ref("Problem"))}};
  return responses;
}

Json Operation(const Route& route) {
  Json operation = {{"operationId", std::string(route.id)},
                    {"tags", {std::string(route.tag)}},
                    {"summary", std::string(route.what)}};
  if (Json parameters = Parameters(route); !parameters.empty())
    operation["parameters"] = std::move(parameters);
  if (!route.body.empty())
    operation["requestBody"] = {{"required", true}, {"content", Content(kJson, Ref(route.body))}};
  operation["responses"] = Responses(route);
  return operation;
}

Reply Serve(const Backend& backend, const Request&) {
  return JsonReply(200, OpenApi(backend.router.routes()));
}

}  // namespace

std::string OpenApi(const std::vector<Route>& routes) {
  Json document = {{"openapi", "3.1.0"},
                   {"info",
                    {{"title", "zsched"},
                     {"version", std::string(Version())},
                     {"summary", "A distributed task scheduler that loses nothing"},
                     {"license", {{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}}},
                   {"servers", {{{"url", "/"}}}},
                   {"paths", Json::object()}};
  for (const Route& route : routes) {
    std::string method(NameOf(route.method));
    for (char& c : method) c = static_cast<char>(c | 0x20);
    if (route.tag != "dashboard")
      document["paths"][std::string(route.pattern)][method] = Operation(route);
  }
  const Asset* schemas = FindAsset("openapi_schemas.json");
  ZS_CHECK(schemas != nullptr);
  document["components"]["schemas"] = Json::parse(schemas->bytes);
  return document.dump();
}

void AddOpenApiRoute(std::vector<Route>& routes) {
  routes.push_back({Method::kGet,
                    "/openapi.json",
                    Serve,
                    "getOpenApi",
                    "about",
                    "This document",
                    {},
                    {},
                    {{200, "OpenAPI 3.1", "Document"}}});
}

}  // namespace zsched::gateway
