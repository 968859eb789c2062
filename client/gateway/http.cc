#include "client/gateway/http.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/text.h"
#include "schemas/errors.h"

namespace zsched::gateway {
namespace {

// Seconds that one who met a full queue, or no broker, is asked to wait. A broker asks for 0.1 to 1 s; the header
// counts whole ones.
constexpr int kRetryAfterSeconds = 1;

// A message may quote what was sent; whoever sent it has it.
constexpr size_t kMaxDetailBytes = 1024;

struct HttpError {
  ErrorCode code;
  int status;
};
// The HTTP status of each error that a request can meet; 500 for the others.
constexpr HttpError kStatuses[] = {
    {ErrorCode::kInvalidArgument, 422},
    {ErrorCode::kMalformed, 400},
    {ErrorCode::kNotFound, 404},
    {ErrorCode::kConflict, 409},
    {ErrorCode::kStale, 409},
    {ErrorCode::kUnavailable, 503},
    {ErrorCode::kNoSession, 503},
    {ErrorCode::kNotActive, 503},
    {ErrorCode::kPermissionDenied, 403},
    {ErrorCode::kResourceExhausted, 429},
    {ErrorCode::kTimedOut, 504},
    {ErrorCode::kTooLarge, 413},
};

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// nullopt: not percent-encoding.
std::optional<std::string> Decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? HexDigit(text[i + 2]) : -1;
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

// nullopt: also when it is not UTF-8 without control characters.
std::optional<std::string> DecodeSegment(std::string_view text) {
  std::optional<std::string> out = Decode(text);
  if (!out || !IsUtf8(*out)) return std::nullopt;
  const bool control =
      std::any_of(out->begin(), out->end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
  return control ? std::nullopt : std::move(out);
}

bool IsArgument(std::string_view segment) { return segment.starts_with('{'); }

// The arguments of `path`, when it has the form of `pattern`.
bool Matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path,
             std::map<std::string, std::string>* args) {
  if (pattern.size() != path.size()) return false;
  for (size_t i = 0; i < pattern.size(); ++i)
    if (!IsArgument(pattern[i]) && pattern[i] != path[i]) return false;
  args->clear();
  for (size_t i = 0; i < pattern.size(); ++i)
    if (IsArgument(pattern[i])) (*args)[pattern[i].substr(1, pattern[i].size() - 2)] = path[i];
  return true;
}

// Patterns with fewer arguments come first: "/tasks/retry" is not a task.
size_t Arguments(const Route& route) {
  return static_cast<size_t>(std::count(route.pattern.begin(), route.pattern.end(), '{'));
}

}  // namespace

std::string_view TitleOf(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 422:
      return "Unprocessable Content";
    case 431:
      return "Request Header Fields Too Large";
    case 429:
      return "Too Many Requests";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    case 504:
      return "Gateway Timeout";
    default:
      return "Internal Server Error";
  }
}

std::string_view NameOf(Method method) {
  switch (method) {
    case Method::kGet:
      return "GET";
    case Method::kPost:
      return "POST";
    case Method::kPut:
      return "PUT";
    case Method::kPatch:
      return "PATCH";
    case Method::kDelete:
      return "DELETE";
  }
  return "GET";
}

std::string_view Request::Header(std::string_view lower_case_name) const {
  const auto found = headers.find(lower_case_name);
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

bool Request::Accepts(std::string_view content_type) const {
  return Header("accept").find(content_type) != std::string_view::npos;
}

void Request::ParseQuery(std::string_view text) {
  for (const std::string& pair :
       std::vector<std::string>(absl::StrSplit(std::string(text), '&', absl::SkipEmpty()))) {
    std::string spaced = pair;
    std::replace(spaced.begin(), spaced.end(), '+', ' ');
    const size_t equals = std::min(spaced.find('='), spaced.size());
    const std::optional<std::string> name = Decode(std::string_view(spaced).substr(0, equals));
    const std::optional<std::string> value =
        Decode(std::string_view(spaced).substr(std::min(equals + 1, spaced.size())));
    if (name && value)
      query.emplace(*name, *value);
    else
      query_malformed = true;
  }
}

Reply JsonReply(int status, std::string json) {
  json += '\n';
  Reply reply;
  reply.status = status;
  reply.content_type = "application/json";
  reply.body = std::move(json);
  return reply;
}

Reply ProblemReply(int status, const absl::Status& error, const Request& request) {
  const ErrorCode code = CodeOf(error);
  const nlohmann::ordered_json problem = {
      {"type", absl::StrCat("/errors#", TextOf(code).data())},
      {"title", std::string(TitleOf(status))},
      {"status", status},
      {"detail", std::string(CutUtf8(MessageOf(error), kMaxDetailBytes))},
      {"instance", request.path},
      {"code", std::string(TextOf(code))},
      {"retryable", IsRetryable(code)}};
  Reply reply = JsonReply(
      status, problem.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
  reply.content_type = "application/problem+json";
  if (status == 429 || status == 503)
    reply.headers.emplace_back("Retry-After", std::to_string(kRetryAfterSeconds));
  return reply;
}

Reply ProblemReply(const absl::Status& status, const Request& request) {
  const ErrorCode code = CodeOf(status);
  const auto* found = std::find_if(std::begin(kStatuses), std::end(kStatuses),
                                   [code](const HttpError& error) { return error.code == code; });
  return ProblemReply(found == std::end(kStatuses) ? 500 : found->status, status, request);
}

Query::Query(const Request& request) : request_(request) {}

std::optional<std::string> Query::TextIfThere(const std::string& name) {
  known_.push_back(name);
  const auto [begin, end] = request_.query.equal_range(name);
  if (begin == end) return std::nullopt;
  if (std::next(begin) != end) Refuse(name, "is there twice");
  if (!IsUtf8(begin->second)) Refuse(name, "is not UTF-8");
  return begin->second;
}

std::string Query::Text(const std::string& name) { return TextIfThere(name).value_or(""); }

uint64_t Query::Number(const std::string& name, uint64_t otherwise, uint64_t min, uint64_t max) {
  const std::optional<std::string> text = TextIfThere(name);
  if (!text) return otherwise;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < min || value > max)
    Refuse(name, absl::StrCat("is not a whole number from ", min, " to ", max));
  return value;
}

int64_t Query::DurationMs(const std::string& name, int64_t otherwise_ms, int64_t max_ms) {
  const std::optional<std::string> text = TextIfThere(name);
  if (!text) return otherwise_ms;
  int64_t ms = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), ms);
  if (error != std::errc() || end != text->data() + text->size()) {
    const absl::StatusOr<int64_t> parsed = ParseDurationMs(*text);
    if (!parsed.ok()) Refuse(name, MessageOf(parsed.status()));
    ms = parsed.value_or(0);
  }
  if (ms < 0 || ms > max_ms)
    Refuse(name, absl::StrCat("is not a duration of up to ", FormatDurationMs(max_ms)));
  return ms;
}

std::optional<int64_t> Query::TimeMs(const std::string& name) {
  const std::optional<std::string> text = TextIfThere(name);
  if (!text) return std::nullopt;
  const absl::StatusOr<int64_t> time_ms = ParseTimeMs(*text);
  if (!time_ms.ok()) Refuse(name, MessageOf(time_ms.status()));
  return time_ms.value_or(0);
}

bool Query::Switch(const std::string& name) {
  const std::optional<std::string> text = TextIfThere(name);
  if (!text || *text == "false" || *text == "0") return false;
  if (!text->empty() && *text != "true" && *text != "1") Refuse(name, "is neither true nor false");
  return true;
}

void Query::Refuse(const std::string& name, std::string_view what) {
  if (bad_.ok())
    bad_ = Error(ErrorCode::kMalformed,
                 absl::StrCat("query parameter ", name, " ", std::string(what)));
}

absl::Status Query::Finish() {
  if (request_.query_malformed)
    return Error(ErrorCode::kMalformed, "the query is not percent-encoded");
  for (const auto& [name, value] : request_.query) {
    if (!bad_.ok()) break;
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    std::string names;
    for (const std::string& one : known_) absl::StrAppend(&names, names.empty() ? "" : ", ", one);
    bad_ = Error(ErrorCode::kMalformed,
                 absl::StrCat("there is no query parameter '", name, "' here; there ",
                              names.empty() ? "is none" : "are ", names));
  }
  return bad_;
}

Router::Router(std::vector<Route> routes, std::vector<std::pair<std::string, std::string>> aliases)
    : routes_(std::move(routes)), aliases_(std::move(aliases)) {
  std::stable_sort(routes_.begin(), routes_.end(),
                   [](const Route& a, const Route& b) { return Arguments(a) < Arguments(b); });
  for (const Route& route : routes_)
    segments_.push_back(absl::StrSplit(std::string(route.pattern), '/'));
}

absl::StatusOr<Router::Match> Router::Find(Method method, std::string_view path) const {
  std::string whole(path);
  for (const auto& [alias, target] : aliases_)
    if (path == alias || path.starts_with(alias + "/")) {
      whole = target + whole.substr(alias.size());
      break;
    }
  std::vector<std::string> segments = absl::StrSplit(whole, '/');
  for (std::string& segment : segments) {
    std::optional<std::string> decoded = DecodeSegment(segment);
    if (!decoded)
      return Error(ErrorCode::kMalformed,
                   "the path is not percent-encoded UTF-8 without control characters");
    segment = *std::move(decoded);
  }
  Match match;
  for (size_t i = 0; i < routes_.size() && match.route == nullptr; ++i) {
    if (!Matches(segments_[i], segments, &match.args)) continue;
    match.allowed.push_back(routes_[i].method);
    if (routes_[i].method == method) match.route = &routes_[i];
  }
  return match;
}

}  // namespace zsched::gateway
