// Requests and answers as the routes of the gateway see them, and the table of routes. Owned by
// client/gateway; free of the HTTP library, so that routes can be called by tests without a socket.
//
// Example (a route):
//   Reply GetQueue(const Backend& backend, const Request& request) {
//     const absl::StatusOr<QueueInfo> queue = backend.client.GetQueue(request.Arg("name"));
//     return queue.ok() ? JsonReply(200, QueueJson(*queue)) : ProblemReply(queue.status(), request);
//   }
//
// Threads: values. A handler runs on the thread of its connection, many at once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace zsched::gateway {

// GET stands for HEAD too.
enum class Method : uint8_t { kGet, kPost, kPut, kPatch, kDelete };
std::string_view NameOf(Method method);

struct Request {
  Method method = Method::kGet;
  std::string path{};                               // "/api/v1/queues/a%2Fb", as it came
  std::map<std::string, std::string> args{};        // of the route: {"name", "a/b"}
  std::multimap<std::string, std::string> query{};  // decoded
  std::map<std::string, std::string, std::less<>>
      headers{};  // by lower-case name; the first of each
  std::string body{};
  std::string remote{};  // address of the peer, for the log
  bool http_1_0 = false;
  // Whether there is nobody left to answer to. Empty: nobody knows.
  std::function<bool()> peer_gone{};

  // An argument of the route; it has one of that name.
  const std::string& Arg(const std::string& name) const { return args.at(name); }
  // "" when there is none.
  std::string_view Header(std::string_view lower_case_name) const;
  bool Accepts(std::string_view content_type) const;
  // Of what follows '?' in the request line.
  void ParseQuery(std::string_view text);
  bool query_malformed = false;
};

// Where a stream writes. Both are false when the reader is gone, too slow, or the gateway ends.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual bool Write(std::string_view bytes) = 0;
  // Waits, but not for longer than that.
  virtual bool Sleep(int64_t ms) = 0;
};

struct Reply {
  int status = 200;
  std::string content_type{};
  std::string body{};
  std::vector<std::pair<std::string, std::string>> headers{};
  // Called instead of sending `body`, once the headers have left; the stream ends when it returns.
  std::function<void(Sink&)> stream{};
  // For the log: what it is about.
  std::string task{};
  std::string correlation_id{};
};

// "Not Found"
std::string_view TitleOf(int status);

Reply JsonReply(int status, std::string json);
// RFC 9457, with the code of the registry; docs/rest.md has the status of each.
Reply ProblemReply(const absl::Status& status, const Request& request);
// The same of an error that only HTTP knows, such as a method that the route does not have. `code` is
// one of the registry, in upper case.
Reply ProblemReply(int status, const absl::Status& error, const Request& request);

// The query of a request, each parameter named once. What is not asked for in the end is refused, so
// that a misspelt filter does not answer with everything.
//
//   Query query(request);
//   task_query.queue = query.Text("queue");
//   if (absl::Status bad = query.Finish(); !bad.ok()) return ProblemReply(bad, request);
//
// Threads: one.
class Query {
 public:
  explicit Query(const Request& request);
  // "" when it is not there.
  std::string Text(const std::string& name);
  // nullopt when it is not there.
  std::optional<std::string> TextIfThere(const std::string& name);
  uint64_t Number(const std::string& name, uint64_t otherwise, uint64_t min, uint64_t max);
  int64_t DurationMs(const std::string& name, int64_t otherwise_ms, int64_t max_ms);
  std::optional<int64_t> TimeMs(const std::string& name);
  bool Switch(const std::string& name);
  // Says that a parameter's text is not what it should be.
  void Refuse(const std::string& name, std::string_view what);
  // MALFORMED names the first parameter that is wrong, unknown or there twice.
  absl::Status Finish();

 private:
  const Request& request_;
  std::vector<std::string> known_;
  absl::Status bad_;
};

struct Backend;
using Handler = Reply (*)(const Backend& backend, const Request& request);

// What the OpenAPI document says of a parameter.
struct ParameterDoc {
  std::string_view name;
  std::string_view what;
  std::string_view schema = R"({"type":"string"})";
  bool required = false;
};
// Of the routes that list tasks.
inline constexpr ParameterDoc kOmitBodies = {
    "omit_bodies", "Without payloads and results, which may be a megabyte each",
    R"({"type":"boolean","default":false})"};
struct ReplyDoc {
  int status;
  std::string_view what;
  std::string_view schema = {};  // name of a component; empty: no body
  std::string_view content_type = "application/json";
};

// One operation. Views are of literals.
struct Route {
  Method method;
  std::string_view pattern;  // "/queues/{name}", below the prefix
  Handler handler;
  std::string_view id;  // operationId
  std::string_view tag;
  std::string_view what;
  std::vector<ParameterDoc> query = {};
  std::string_view body = {};  // name of a component; empty: none
  std::vector<ReplyDoc> replies = {};
};

// Finds the route of a request. Built once, then read by all threads.
class Router {
 public:
  // `aliases` are other prefixes of the routes below a pattern: {"/jobs", "/api/v1/tasks"}.
  Router(std::vector<Route> routes, std::vector<std::pair<std::string, std::string>> aliases);

  struct Match {
    const Route* route = nullptr;  // null: no such path, or, when `allowed` says so, no such method
    std::vector<Method> allowed{};
    std::map<std::string, std::string> args{};
  };
  // MALFORMED: the path is not well-formed (percent-encoding, UTF-8).
  absl::StatusOr<Match> Find(Method method, std::string_view path) const;
  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
  std::vector<std::vector<std::string>> segments_;  // of each route's pattern
  std::vector<std::pair<std::string, std::string>> aliases_;
};

}  // namespace zsched::gateway
