#include "client/gateway/head.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/ascii.h"

namespace zsched::gateway {
namespace {

// RFC 9110, "token".
bool IsToken(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           kMarks.find(c) != std::string_view::npos;
  });
}

// Visible characters, spaces, tabs, and bytes above ASCII.
bool IsFieldValue(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7F; });
}

bool IsTarget(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return c > 0x20 && c < 0x7F; });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The line without its CR LF, taken off `text`. nullopt: a line ends otherwise.
std::optional<std::string_view> TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos || end == 0 || text[end - 1] != '\r') return std::nullopt;
  const std::string_view line = text.substr(0, end - 1);
  text.remove_prefix(end + 1);
  if (line.find('\r') != std::string_view::npos) return std::nullopt;
  return line;
}

// Whether a comma-separated list has `word`, in any case.
bool HasWord(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view one = Trim(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    if (one.size() == word.size() &&
        std::equal(one.begin(), one.end(), word.begin(),
                   [](unsigned char a, unsigned char b) { return absl::ascii_tolower(a) == b; }))
      return true;
  }
  return false;
}

std::optional<HeadError> ParseRequestLine(std::string_view line, Head* head) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return HeadError{400, "the request line is not METHOD TARGET HTTP/1.1"};
  const std::string_view method = line.substr(0, first), version = line.substr(last + 1);
  std::string_view target = line.substr(first + 1, last - first - 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    if (version.starts_with("HTTP/"))
      return HeadError{505, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
    return HeadError{400, "the request line is not METHOD TARGET HTTP/1.1"};
  }
  if (!IsToken(method)) return HeadError{400, "the method is not a word"};
  if (target.size() > kMaxTargetBytes) return HeadError{414, "the request line is too long"};
  if (!IsTarget(target))
    return HeadError{400, "the target of the request has characters that it cannot have"};
  // In absolute form, which proxies use: the same without scheme and host.
  for (const std::string_view scheme : {"http://", "https://"})
    if (target.starts_with(scheme)) {
      const size_t slash = target.find('/', scheme.size());
      if (slash == std::string_view::npos) return HeadError{400, "the target has no path"};
      target.remove_prefix(slash);
      break;
    }
  if (!target.starts_with('/'))
    return HeadError{400, "the target of the request does not begin with '/'"};
  head->method = std::string(method);
  head->target = std::string(target);
  head->http_1_0 = version == "HTTP/1.0";
  return std::nullopt;
}

std::optional<HeadError> ParseHeader(std::string_view line, Head* head) {
  const size_t colon = line.find(':');
  // No space before the colon, and no continuation of the line before.
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon)))
    return HeadError{400, "a header is not NAME: VALUE"};
  const std::string_view value = Trim(line.substr(colon + 1));
  if (!IsFieldValue(value)) return HeadError{400, "a header has control characters"};
  if (head->headers.size() >= kMaxHeaders) return HeadError{431, "there are too many headers"};
  const std::string name = absl::AsciiStrToLower(absl::string_view(line.data(), colon));
  const auto [place, fresh] = head->headers.emplace(name, value);
  if (fresh) return std::nullopt;
  if (name == "content-length" || name == "host" || name == "transfer-encoding")
    return HeadError{400, "a header is there twice that may be there once"};
  place->second.append(", ").append(value);
  return std::nullopt;
}

std::optional<HeadError> TakeMeaning(Head* head) {
  const auto value = [head](std::string_view name) {
    const auto found = head->headers.find(name);
    return found == head->headers.end() ? std::string_view() : std::string_view(found->second);
  };
  if (head->headers.contains("transfer-encoding"))
    return HeadError{411, "send the body with a Content-Length, and without Transfer-Encoding"};
  if (!head->http_1_0 && !head->headers.contains("host"))
    return HeadError{400, "there is no Host header"};
  const std::string_view encoding = value("content-encoding");
  if (!encoding.empty() && encoding != "identity")
    return HeadError{415, "send the body without a Content-Encoding"};
  if (head->headers.contains("content-length")) {
    const std::string_view length = value("content-length");
    const auto [end, error] =
        std::from_chars(length.data(), length.data() + length.size(), head->body_bytes);
    const bool digits =
        !length.empty() && absl::ascii_isdigit(static_cast<unsigned char>(length[0]));
    if (error == std::errc::result_out_of_range && end == length.data() + length.size())
      head->body_bytes = UINT64_MAX;
    else if (!digits || error != std::errc() || end != length.data() + length.size())
      return HeadError{400, "Content-Length is not a number"};
  }
  const std::string_view connection = value("connection");
  head->keep_alive =
      head->http_1_0 ? HasWord(connection, "keep-alive") : !HasWord(connection, "close");
  head->expects_continue = !head->http_1_0 && HasWord(value("expect"), "100-continue");
  return std::nullopt;
}

}  // namespace

std::variant<Head, HeadError> ParseHead(std::string_view text) {
  Head head;
  std::optional<std::string_view> line = TakeLine(text);
  if (!line) return HeadError{400, "the request line does not end with CR LF"};
  if (const auto error = ParseRequestLine(*line, &head)) return *error;
  while (!text.empty()) {
    line = TakeLine(text);
    if (!line) return HeadError{400, "a header does not end with CR LF"};
    if (const auto error = ParseHeader(*line, &head)) return *error;
  }
  if (const auto error = TakeMeaning(&head)) return *error;
  return head;
}

}  // namespace zsched::gateway
