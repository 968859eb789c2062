// Bodies, queries and paths of HTTP requests: read as each route reads them, nothing is sent.
#include <nlohmann/json.hpp>
#include <string_view>

#include "client/gateway/http.h"
#include "client/json/json.h"
#include "client/json/read.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const absl::StatusOr<nlohmann::json> json = ParseJson(text); json.ok()) {
    if (json->is_array())
      for (const nlohmann::json& item : *json) (void)ReadTask(item, "[0]");
    (void)ReadTask(*json, "");
    (void)ReadSchedule(*json);
    (void)ReadQueueChange(*json);
    (void)ReadTypeChange(*json);
    std::vector<TaskId> ids;
    (void)ReadIds("ids", *json, 1000, &ids);
  }
  (void)ParsePosition(text);
  gateway::Request request;
  request.ParseQuery(text);
  gateway::Query query(request);
  query.Number("limit", 1, 1, 1000);
  query.DurationMs("wait", 0, 60'000);
  query.TimeMs("from");
  (void)query.Finish();
  static const gateway::Router router(
      {{gateway::Method::kGet, "/a/{b}/c/{d}", nullptr, "x", "y", "z"}}, {{"/e", "/a"}});
  (void)router.Find(gateway::Method::kGet, text);
  return 0;
}
