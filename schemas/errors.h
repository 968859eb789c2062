// The error registry: every code that a frame, a status, a JSON document or an exit code can carry.
// Owned by schemas.
//
// One row an error: enumerator, number on the wire (never reused), text, may the same request
// succeed later, exit code of zsched-ctl, absl::StatusCode. C++ reads this table; docs/errors.md is
// checked against it by a test.
//
// Example:
//   absl::Status s = Error(ErrorCode::kNotFound, "task 4-17 does not exist");
//   CodeOf(s) == ErrorCode::kNotFound;  TextOf(CodeOf(s)) == "NOT_FOUND"
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

// clang-format off
#define ZSCHED_ERRORS(X)                                                                                    \
  X(kOk,                  0, "OK",                  false, 0, absl::StatusCode::kOk)                        \
  X(kInternal,            1, "INTERNAL",            false, 1, absl::StatusCode::kInternal)                  \
  X(kInvalidArgument,     2, "INVALID_ARGUMENT",    false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kNotFound,            3, "NOT_FOUND",           false, 3, absl::StatusCode::kNotFound)                  \
  X(kConflict,            4, "CONFLICT",            false, 4, absl::StatusCode::kFailedPrecondition)        \
  X(kUnavailable,         5, "UNAVAILABLE",         true,  5, absl::StatusCode::kUnavailable)               \
  X(kPermissionDenied,    6, "PERMISSION_DENIED",   false, 6, absl::StatusCode::kPermissionDenied)          \
  X(kResourceExhausted,   7, "RESOURCE_EXHAUSTED",  true,  7, absl::StatusCode::kResourceExhausted)         \
  X(kTimedOut,            8, "TIMED_OUT",           true, 124, absl::StatusCode::kDeadlineExceeded)         \
  X(kBadMagic,           16, "BAD_MAGIC",           false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kUnsupportedVersion, 17, "UNSUPPORTED_VERSION", false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kTruncated,          18, "TRUNCATED",           false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kBadChecksum,        19, "BAD_CHECKSUM",        true,  2, absl::StatusCode::kInvalidArgument)           \
  X(kMalformed,          20, "MALFORMED",           false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kUnknownMessage,     21, "UNKNOWN_MESSAGE",     false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kTooLarge,           22, "TOO_LARGE",           false, 2, absl::StatusCode::kInvalidArgument)           \
  X(kNoSession,          23, "NO_SESSION",          true,  5, absl::StatusCode::kUnavailable)               \
  X(kNotActive,          24, "NOT_ACTIVE",          true,  5, absl::StatusCode::kUnavailable)               \
  X(kStale,              25, "STALE",               false, 4, absl::StatusCode::kFailedPrecondition)        \
  X(kHandlerFailed,      32, "HANDLER_FAILED",      true,  1, absl::StatusCode::kAborted)                   \
  X(kUnknownType,        33, "UNKNOWN_TYPE",        true,  1, absl::StatusCode::kUnimplemented)             \
  X(kAttemptTimedOut,    34, "ATTEMPT_TIMED_OUT",   true,  1, absl::StatusCode::kDeadlineExceeded)          \
  X(kWorkerLost,         35, "WORKER_LOST",         true,  1, absl::StatusCode::kAborted)                   \
  X(kProcessFailed,      36, "PROCESS_FAILED",      true,  1, absl::StatusCode::kAborted)                   \
  X(kCancelled,          37, "CANCELLED",           false, 1, absl::StatusCode::kCancelled)                 \
  X(kExpired,            38, "EXPIRED",             false, 1, absl::StatusCode::kDeadlineExceeded)          \
  X(kDataLoss,           48, "DATA_LOSS",           false, 1, absl::StatusCode::kDataLoss)
// clang-format on

namespace zsched {

enum class ErrorCode : uint16_t {
#define ZSCHED_ERROR_ENUM(name, number, text, retryable, exit, absl_code) name = number,
  ZSCHED_ERRORS(ZSCHED_ERROR_ENUM)
#undef ZSCHED_ERROR_ENUM
};

// Sets of codes are words that have bit N set for the code of number N.
constexpr uint64_t ErrorBit(ErrorCode code) { return uint64_t{1} << static_cast<uint16_t>(code); }
#define ZSCHED_ERROR_FITS(name, number, text, retryable, exit, absl_code) &&(number) < 64
static_assert(true ZSCHED_ERRORS(ZSCHED_ERROR_FITS));
#undef ZSCHED_ERROR_FITS

// Those that an attempt can end with: what handlers and executors report, and what is said of lost
// ones. Not the codes of frames and sessions, and not CANCELLED, which says that somebody ended it.
inline constexpr uint64_t kAttemptErrors =
    ErrorBit(ErrorCode::kInternal) | ErrorBit(ErrorCode::kInvalidArgument) |
    ErrorBit(ErrorCode::kNotFound) | ErrorBit(ErrorCode::kConflict) |
    ErrorBit(ErrorCode::kUnavailable) | ErrorBit(ErrorCode::kPermissionDenied) |
    ErrorBit(ErrorCode::kResourceExhausted) | ErrorBit(ErrorCode::kTimedOut) |
    ErrorBit(ErrorCode::kTooLarge) | ErrorBit(ErrorCode::kHandlerFailed) |
    ErrorBit(ErrorCode::kUnknownType) | ErrorBit(ErrorCode::kAttemptTimedOut) |
    ErrorBit(ErrorCode::kWorkerLost) | ErrorBit(ErrorCode::kProcessFailed) |
    ErrorBit(ErrorCode::kDataLoss);

struct ErrorInfo {
  ErrorCode code;
  std::string_view text;
  bool retryable;
  int exit_code;
  absl::StatusCode status;
};

// The row of a code; a number from a newer peer that is not in the table reads as INTERNAL.
const ErrorInfo& InfoOf(ErrorCode code);
inline std::string_view TextOf(ErrorCode code) { return InfoOf(code).text; }
inline bool IsRetryable(ErrorCode code) { return InfoOf(code).retryable; }
ErrorCode ErrorFromNumber(uint16_t number);
std::optional<ErrorCode> ErrorFromText(std::string_view text);
// The texts of a set, in the order of their numbers: "INTERNAL,WORKER_LOST"; a number that no code has
// as itself.
std::string TextOfErrors(uint64_t set);

// A status with `code` attached. `message` says what is wrong and, where there is one, what to do
// next.
[[nodiscard]] absl::Status Error(ErrorCode code, std::string message);

// The code attached by Error(); for a status made elsewhere, the nearest row. kOk for an OK status.
ErrorCode CodeOf(const absl::Status& status);

// The message of a status as std::string (absl's own string_view is another type in this build).
std::string MessageOf(const absl::Status& status);

}  // namespace zsched
