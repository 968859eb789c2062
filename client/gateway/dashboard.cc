// The dashboard's files. They are part of the program; a browser keeps them, and asks whether they are
// still the same.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/gateway/assets.h"
#include "client/gateway/backend.h"

namespace zsched::gateway {
namespace {

// Nothing from elsewhere, nothing inline: what a task's name or payload has in it is never run.
constexpr char kPolicy[] =
    "default-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

std::string_view TypeOf(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  return "application/octet-stream";
}

Reply File(const Request& request, const std::string& name) {
  const Asset* asset = FindAsset(name);
  if (asset == nullptr)
    return ProblemReply(Error(ErrorCode::kNotFound, "the dashboard has no such file"), request);
  char tag[24];
  std::snprintf(
      tag, sizeof tag, "\"%016llx\"",
      static_cast<unsigned long long>(XXH3_64bits(asset->bytes.data(), asset->bytes.size())));
  Reply reply;
  reply.headers = {{"ETag", tag},
                   {"Cache-Control", "no-cache"},
                   {"Content-Security-Policy", kPolicy},
                   {"Referrer-Policy", "no-referrer"}};
  if (request.Header("if-none-match") == tag) {
    reply.status = 304;
    return reply;
  }
  reply.content_type = std::string(TypeOf(name));
  reply.body = std::string(asset->bytes);
  return reply;
}

Reply Index(const Backend&, const Request& request) { return File(request, "ui/index.html"); }
Reply TopFile(const Backend&, const Request& request) {
  return File(request, absl::StrCat("ui/", request.Arg("file")));
}
Reply DeepFile(const Backend&, const Request& request) {
  return File(request, absl::StrCat("ui/", request.Arg("folder"), "/", request.Arg("file")));
}

}  // namespace

void AddDashboardRoutes(std::vector<Route>& routes) {
  routes.insert(
      routes.end(),
      {{Method::kGet, "/", Index, "getDashboard", "dashboard", "The dashboard"},
       {Method::kGet, "/ui/{file}", TopFile, "getDashboardFile", "dashboard", "A file of it"},
       {Method::kGet, "/ui/{folder}/{file}", DeepFile, "getDashboardPart", "dashboard",
        "A file of a folder of it"}});
}

}  // namespace zsched::gateway
