// The head of an HTTP/1 request: its line and its headers, read strictly. Owned by client/gateway; pure.
//
// What is not exactly as RFC 9112 has it is refused, not interpreted: two readers of one connection (a proxy
// in front, the gateway) must never see two different requests in the same bytes. For the same reason bodies
// come with a Content-Length, and with nothing else.
//
// Example:
//   std::variant<Head, HeadError> read = ParseHead(text);   // up to and without the empty line
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>

namespace zsched::gateway {

// Longer request lines are nobody's.
inline constexpr size_t kMaxTargetBytes = 2048;
inline constexpr size_t kMaxHeaders = 100;

struct Head {
  std::string method;
  std::string target;  // in origin form: begins with '/'
  std::map<std::string, std::string, std::less<>>
      headers;  // by lower-case name, values as they came
  uint64_t body_bytes = 0;
  bool http_1_0 = false;
  bool keep_alive = true;
  bool expects_continue = false;
};

struct HeadError {
  int status = 400;
  std::string_view what;
};

// `text` has whole lines, each with its CR LF; the empty line that ends a head is not among them.
std::variant<Head, HeadError> ParseHead(std::string_view text);

}  // namespace zsched::gateway
