// The fingerprint of an error: the same 64 bits for errors that differ in their details only, so that a
// thousand dead letters show as the few causes that they have. Owned by broker/core; pure.
//
//   "no such file '/srv/in/17.csv' after 250ms"  ──▶  "no such file # after #"  ──▶  64 bits
//
// docs/scheduling.md has the rule. A fingerprint is decided once, when its task dies; so a better rule
// holds for later deaths, and changes none that is on the disk.
//
// Example:
//   row.fingerprint = FingerprintOf("resize", ErrorCode::kHandlerFailed, "exit code 3");
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "schemas/errors.h"

namespace zsched::broker {

// The message without its details: each is a '#', each run of blanks one blank.
std::string WithoutDetails(std::string_view message);

// Never 0.
uint64_t FingerprintOf(std::string_view type, ErrorCode code, std::string_view message);

}  // namespace zsched::broker
