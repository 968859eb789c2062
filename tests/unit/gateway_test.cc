// The parts of the gateway that need no socket: routes, queries, problems, figures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/gateway/backend.h"
#include "client/gateway/http.h"
#include "client/gateway/metrics.h"
#include "schemas/errors.h"

namespace zsched::gateway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Reply Nothing(const Backend&, const Request&) { return {}; }

Router SmallRouter() {
  return Router({{Method::kGet, "/things/{id}", Nothing, "get", "t", "w"},
                 {Method::kDelete, "/things/{id}", Nothing, "delete", "t", "w"},
                 {Method::kPost, "/things/all", Nothing, "all", "t", "w"},
                 {Method::kGet, "/things/{id}/parts/{part}", Nothing, "part", "t", "w"},
                 {Method::kGet, "/", Nothing, "root", "t", "w"}},
                {{"/items", "/things"}});
}

std::string IdOf(const Router& router, Method method, std::string_view path) {
  const absl::StatusOr<Router::Match> match = router.Find(method, path);
  if (!match.ok()) return std::string(TextOf(CodeOf(match.status())));
  if (match->route == nullptr) return match->allowed.empty() ? "none" : "method";
  std::string text(match->route->id);
  for (const auto& [name, value] : match->args) text += " " + name + "=" + value;
  return text;
}

TEST(Routes, AreFoundByMethodAndSegments) {
  const Router router = SmallRouter();
  EXPECT_EQ(IdOf(router, Method::kGet, "/"), "root");
  EXPECT_EQ(IdOf(router, Method::kGet, "/things/7"), "get id=7");
  EXPECT_EQ(IdOf(router, Method::kDelete, "/things/7"), "delete id=7");
  EXPECT_EQ(IdOf(router, Method::kGet, "/things/7/parts/x"), "part id=7 part=x");
  EXPECT_EQ(IdOf(router, Method::kPost, "/things/7"), "method");
  for (const char* path : {"", "/things", "/things/7/parts", "/things/7/parts/x/y", "/thing/7"})
    EXPECT_EQ(IdOf(router, Method::kGet, path), "none") << path;
}

TEST(Routes, WithoutArgumentsComeFirst) {
  const Router router = SmallRouter();
  EXPECT_EQ(IdOf(router, Method::kPost, "/things/all"), "all");
  EXPECT_EQ(IdOf(router, Method::kGet, "/things/all"), "get id=all");
}

TEST(Routes, HaveAliases) {
  const Router router = SmallRouter();
  EXPECT_EQ(IdOf(router, Method::kGet, "/items/7"), "get id=7");
  EXPECT_EQ(IdOf(router, Method::kGet, "/itemsx/7"), "none");
}

TEST(Routes, DecodeEachSegmentByItself) {
  const Router router = SmallRouter();
  EXPECT_EQ(IdOf(router, Method::kGet, "/things/a%2Fb%20c"), "get id=a/b c");
  EXPECT_EQ(IdOf(router, Method::kGet, "/things/%C3%A4"), "get id=ä");
  EXPECT_EQ(IdOf(router, Method::kGet, "/things/.."), "get id=..");
  for (const char* path : {"/things/%", "/things/%2", "/things/%zz", "/things/%00", "/things/%0a",
                           "/things/%ff", "/things/%7f"})
    EXPECT_EQ(IdOf(router, Method::kGet, path), "MALFORMED") << path;
}

Request WithQuery(std::string_view text) {
  Request request;
  request.ParseQuery(text);
  return request;
}

TEST(QueryParameters, AreDecoded) {
  const Request request = WithQuery("a=x%3Dy%26z&b=1+2&c&=d&label=k=v=w");
  Query query(request);
  EXPECT_EQ(query.Text("a"), "x=y&z");
  EXPECT_EQ(query.Text("b"), "1 2");
  EXPECT_EQ(query.Text("c"), "");
  EXPECT_EQ(query.Text("label"), "k=v=w");
  EXPECT_EQ(query.TextIfThere("d"), std::nullopt);
  query.Text("");
  EXPECT_TRUE(query.Finish().ok());
}

TEST(QueryParameters, ThatNobodyAsksForAreRefused) {
  const Request request = WithQuery("queue=a&qeueu=b");
  Query query(request);
  query.Text("queue");
  EXPECT_THAT(MessageOf(query.Finish()), HasSubstr("'qeueu'"));
}

TEST(QueryParameters, HaveBounds) {
  const auto refused = [](std::string_view text, auto read) {
    const Request request = WithQuery(text);
    Query query(request);
    read(query);
    return CodeOf(query.Finish()) == ErrorCode::kMalformed;
  };
  for (const char* text :
       {"n=0", "n=11", "n=-1", "n=1.5", "n=", "n=1&n=2", "n=99999999999999999999", "n=%zz"})
    EXPECT_TRUE(refused(text, [](Query& query) { query.Number("n", 5, 1, 10); })) << text;
  for (const char* text : {"d=61s", "d=-1", "d=1x", "d=", "d=99999999999999999999"})
    EXPECT_TRUE(refused(text, [](Query& query) { query.DurationMs("d", 0, 60'000); })) << text;
  for (const char* text : {"t=", "t=now", "t=2026-13-01T00:00:00Z"})
    EXPECT_TRUE(refused(text, [](Query& query) { query.TimeMs("t"); })) << text;
  const Request request = WithQuery("n=10&d=1m&e=250");
  Query query(request);
  EXPECT_EQ(query.Number("n", 5, 1, 10), 10u);
  EXPECT_EQ(query.DurationMs("d", 0, 60'000), 60'000);
  EXPECT_EQ(query.DurationMs("e", 0, 60'000), 250);
  EXPECT_EQ(query.Number("m", 5, 1, 10), 5u);
  EXPECT_TRUE(query.Finish().ok());
}

TEST(Problems, HaveTheStatusOfTheirCode) {
  Request request;
  request.path = "/x";
  const std::pair<ErrorCode, int> expected[] = {
      {ErrorCode::kMalformed, 400},         {ErrorCode::kPermissionDenied, 403},
      {ErrorCode::kNotFound, 404},          {ErrorCode::kConflict, 409},
      {ErrorCode::kTooLarge, 413},          {ErrorCode::kInvalidArgument, 422},
      {ErrorCode::kResourceExhausted, 429}, {ErrorCode::kInternal, 500},
      {ErrorCode::kDataLoss, 500},          {ErrorCode::kUnavailable, 503},
      {ErrorCode::kNotActive, 503},         {ErrorCode::kTimedOut, 504}};
  for (const auto& [code, status] : expected) {
    const Reply reply = ProblemReply(Error(code, "what is \xFF wrong"), request);
    const auto problem = nlohmann::json::parse(reply.body);
    EXPECT_EQ(reply.status, status) << TextOf(code);
    EXPECT_EQ(problem["status"], status);
    EXPECT_EQ(problem["code"], std::string(TextOf(code)));
    EXPECT_EQ(problem["instance"], "/x");
    EXPECT_EQ(problem["retryable"], IsRetryable(code));
    const bool retry =
        std::any_of(reply.headers.begin(), reply.headers.end(),
                    [](const auto& header) { return header.first == "Retry-After"; });
    EXPECT_EQ(retry, status == 429 || status == 503);
  }
}

TEST(WaitingRooms, HaveSoManyPlaces) {
  WaitingRoom room(2);
  const WaitingRoom::Place first = room.Enter();
  {
    WaitingRoom::Place second = room.Enter();
    const WaitingRoom::Place moved = std::move(second);
    EXPECT_TRUE(static_cast<bool>(first) && static_cast<bool>(moved));
    EXPECT_FALSE(static_cast<bool>(room.Enter()));
    EXPECT_FALSE(static_cast<bool>(room.Enter()));
  }
  EXPECT_TRUE(static_cast<bool>(room.Enter()));
}

TEST(Figures, AreInBaseUnitsWithLabels) {
  StatusInfo status;
  status.role = BrokerRole::kStandby;
  status.counters = {{"tasks_succeeded_total", 7},
                     {"rejected_disk_low_total", 3},
                     {"commit_microseconds_total", 2'500'000},
                     {"something_new_total", 1}};
  status.gauges = {{"replication_lag_ms", 1500}, {"disk_free_bytes", 12}};
  status.histograms = {{"commit", {100, 1000}, {1, 2, 4}, 3'000'000}};
  status.queues = {{.name = "a\"b\\c\nd", .counts = {}, .bytes = 5, .oldest_ready_ms = 2500}};
  const std::string text = Metrics().Text(status);
  for (const char* line :
       {"zsched_up 1\n", "zsched_role{role=\"standby\"} 1\n",
        "zsched_role{role=\"active_sync\"} 0\n",
        "zsched_tasks_finished_total{outcome=\"succeeded\"} 7\n",
        "zsched_rejected_total{reason=\"disk_low\"} 3\n", "zsched_commit_seconds_total 2.5\n",
        "zsched_something_new_total 1\n", "zsched_replication_lag_seconds 1.5\n",
        "zsched_disk_free_bytes 12\n", "zsched_commit_seconds_bucket{le=\"0.0001\"} 1\n",
        "zsched_commit_seconds_bucket{le=\"+Inf\"} 7\n", "zsched_commit_seconds_count 7\n",
        "zsched_commit_seconds_sum 3\n",
        "zsched_queue_oldest_seconds{queue=\"a\\\"b\\\\c\\nd\"} 2.5\n"})
    EXPECT_THAT(text, HasSubstr(line));
}

TEST(Figures, AreThereWithoutABroker) {
  Metrics metrics;
  metrics.Count("getTask", 503, 0.25);
  const std::string text = metrics.Text(Error(ErrorCode::kUnavailable, "nobody"));
  EXPECT_THAT(text, HasSubstr("zsched_up 0\n"));
  EXPECT_THAT(text,
              HasSubstr("zsched_http_requests_total{operation=\"getTask\",status=\"503\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("process_open_fds"));
  EXPECT_THAT(text, Not(HasSubstr("zsched_role")));
}

TEST(Figures, OfVeryManyQueuesAreBounded) {
  StatusInfo status;
  for (int i = 0; i < 1500; ++i) status.queues.push_back({.name = "q" + std::to_string(i)});
  const std::string text = Metrics().Text(status);
  EXPECT_THAT(text, HasSubstr("zsched_queues 1500\n"));
  EXPECT_THAT(text, HasSubstr("zsched_queues_not_shown 500\n"));
  EXPECT_THAT(text, Not(HasSubstr("queue=\"q1000\"")));
}

}  // namespace
}  // namespace zsched::gateway
