// The door to the zone database.
#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "cron/cron.h"
#include "schemas/errors.h"

namespace zsched::cron {
namespace {

// What names of the database are made of. Anything else could be a path ("/etc/…", "../…"), or one
// of Absl's own forms ("file:…", "libc:…", "Fixed/UTC+01:00:00").
bool LooksLikeZone(std::string_view name) {
  if (name.empty() || name.size() > kMaxZoneNameBytes ||
      !absl::ascii_isalpha(static_cast<unsigned char>(name[0])))
    return false;
  return std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '/' || c == '_' || c == '-' || c == '+';
  });
}

// Real names that are no place: this machine's own zone, and clocks that count leap seconds.
bool IsUnfit(std::string_view name) {
  return name == "localtime" || name == "posixrules" || name == "Factory" ||
         name.starts_with("right/") || name.starts_with("posix/");
}

}  // namespace

absl::StatusOr<absl::TimeZone> LoadZone(std::string_view name) {
  absl::TimeZone zone;
  if (!LooksLikeZone(name) || IsUnfit(name) ||
      !absl::LoadTimeZone(absl::string_view(name.data(), name.size()), &zone))
    return Error(ErrorCode::kInvalidArgument,
                 "time zone: '" + std::string(name.substr(0, kMaxZoneNameBytes)) +
                     "' is not in the zone database; write it like Europe/Berlin or UTC");
  return zone;
}

}  // namespace zsched::cron
