#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/time/time.h"
#include "schemas/errors.h"
#include "schemas/limits.h"

namespace zsched {
namespace {

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

struct SizeUnit {
  std::string_view name;
  int shift;
};
constexpr SizeUnit kSizeUnits[] = {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"", 0}};
constexpr int64_t kMaxSize = std::numeric_limits<int64_t>::max();

absl::Status BadDuration(std::string_view text) {
  return Error(
      ErrorCode::kInvalidArgument,
      "'" + std::string(text) + "' is not a duration; write it like 250ms, 5s, 2m or 1h30m");
}

}  // namespace

absl::StatusOr<int64_t> ParseDurationMs(std::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(ToAbsl(text), &duration) || duration < absl::ZeroDuration() ||
      duration == absl::InfiniteDuration() ||
      // Rounded down it would be 0, which often means something else.
      (duration > absl::ZeroDuration() && duration < absl::Milliseconds(1)))
    return BadDuration(text);
  return absl::ToInt64Milliseconds(duration);
}

std::string FormatDurationMs(int64_t ms) { return absl::FormatDuration(absl::Milliseconds(ms)); }

absl::StatusOr<int64_t> ParseSizeBytes(std::string_view text) {
  int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, text.data() + text.size() - end);
  for (const SizeUnit& known : kSizeUnits)
    if (error == std::errc() && number >= 0 && unit == known.name &&
        number <= kMaxSize >> known.shift)
      return number << known.shift;
  return Error(
      ErrorCode::kInvalidArgument,
      "'" + std::string(text) + "' is not a size; write it like 65536, 512KiB, 64MiB or 1GiB");
}

std::string FormatSizeBytes(int64_t bytes) {
  for (const SizeUnit& unit : kSizeUnits)
    if (bytes != 0 && bytes % (int64_t{1} << unit.shift) == 0)
      return std::to_string(bytes >> unit.shift) + std::string(unit.name);
  return std::to_string(bytes);
}

absl::StatusOr<int64_t> ParseTimeMs(std::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, ToAbsl(text), &time, &error) ||
      time == absl::InfiniteFuture() || time == absl::InfinitePast())
    return Error(ErrorCode::kInvalidArgument,
                 "'" + std::string(text) + "' is not a time; write it like 2026-11-21T08:00:00Z");
  return absl::ToUnixMillis(time);
}

std::string FormatTimeMs(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixMillis(unix_ms),
                          absl::UTCTimeZone());
}

absl::StatusOr<HostPort> ParseHostPort(std::string_view text, bool allow_empty_host) {
  auto bad = [&] {
    return Error(ErrorCode::kInvalidArgument,
                 "'" + std::string(text) + "' is not an address; write it like 127.0.0.1:5570");
  };
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  std::string_view host = text.substr(0, colon), port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  if (host.empty() && !allow_empty_host) return bad();
  int number = -1;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number < 0 || number > 65535)
    return bad();
  return HostPort{std::string(host), number};
}

std::string ToString(const HostPort& address) {
  bool v6 = address.host.find(':') != std::string::npos;
  return (v6 ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

std::string ToZmqEndpoint(const HostPort& address) { return "tcp://" + ToString(address); }

absl::StatusOr<std::vector<HostPort>> ParseBrokerList(std::string_view text) {
  std::vector<HostPort> list;
  while (true) {
    size_t comma = text.find(',');
    auto address = ParseHostPort(text.substr(0, comma));
    if (!address.ok()) return address.status();
    if (std::find(list.begin(), list.end(), *address) != list.end())
      return Error(ErrorCode::kInvalidArgument,
                   "broker " + ToString(*address) + " is listed twice");
    list.push_back(*std::move(address));
    if (list.size() > kMaxBrokers)
      return Error(ErrorCode::kInvalidArgument,
                   "more than " + std::to_string(kMaxBrokers) + " brokers are listed");
    if (comma == std::string_view::npos) return list;
    text.remove_prefix(comma + 1);
  }
}

bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      ++i;
      continue;
    }
    size_t more = byte >= 0xF0 ? 3 : byte >= 0xE0 ? 2 : 1;
    if (byte < 0xC2 || byte > 0xF4 || text.size() - i <= more) return false;
    auto second = static_cast<unsigned char>(text[i + 1]);
    if ((byte == 0xE0 && second < 0xA0) || (byte == 0xED && second > 0x9F) ||
        (byte == 0xF0 && second < 0x90) || (byte == 0xF4 && second > 0x8F))
      return false;
    for (size_t k = 1; k <= more; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

std::string_view CutUtf8(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
  return text.substr(0, limit);
}

bool IsValidName(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes || !IsUtf8(name)) return false;
  return std::none_of(name.begin(), name.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

}  // namespace zsched
