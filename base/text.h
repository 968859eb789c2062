// Reading and writing durations, times and addresses the way people type them. Owned by base; pure
// functions.
//
// Example:
//   ParseDuration("1h30m") == 5'400'000;  FormatTime(0) == "1970-01-01T00:00:00.000Z"
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace zsched {

// "250ms", "5s", "2m", "1h30m", "0": milliseconds, not negative. INVALID_ARGUMENT names the text
// and an example.
absl::StatusOr<int64_t> ParseDurationMs(std::string_view text);
std::string FormatDurationMs(int64_t ms);

// "1048576", "512KiB", "64MiB", "1GiB", "1TiB": bytes. INVALID_ARGUMENT names the text and an
// example.
absl::StatusOr<int64_t> ParseSizeBytes(std::string_view text);
// The largest unit that divides it: "64MiB", "1000".
std::string FormatSizeBytes(int64_t bytes);

// RFC 3339 with any offset; "2026-11-21T08:00:00Z", fractions allowed. Unix milliseconds.
absl::StatusOr<int64_t> ParseTimeMs(std::string_view text);
// RFC 3339 UTC with milliseconds.
std::string FormatTimeMs(int64_t unix_ms);

struct HostPort {
  std::string host;
  int port = 0;
  bool operator==(const HostPort&) const = default;
};
// "host:port", "[::1]:port", ":port" (empty host, only when allow_empty_host). Port 0..65535.
absl::StatusOr<HostPort> ParseHostPort(std::string_view text, bool allow_empty_host = false);
std::string ToString(const HostPort& address);
// "tcp://host:port" as ZeroMQ wants it.
std::string ToZmqEndpoint(const HostPort& address);
// Comma-separated list of 1..kMaxBrokers addresses without repeats.
absl::StatusOr<std::vector<HostPort>> ParseBrokerList(std::string_view text);

// Valid UTF-8 as RFC 3629 has it (no surrogates, no overlong forms).
bool IsUtf8(std::string_view text);
// The first bytes of UTF-8, at most `limit` of them, cut at a character's edge.
std::string_view CutUtf8(std::string_view text, size_t limit);
// A queue, type or worker name: 1..kMaxNameBytes of UTF-8 without control characters.
bool IsValidName(std::string_view name);

}  // namespace zsched
