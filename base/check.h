// Invariant checks that stay on in release builds. A failed one is a bug in zsched: it prints the
// condition, the place and a stack trace, and aborts, because going on could break a promise about
// somebody's work.
//
// Example:  ZS_CHECK(slot < tasks.size()) ;   ZS_CHECK_OK(journal->Commit(batch));
// Threads: any.
#pragma once

#include "absl/status/status.h"

namespace zsched::internal {
[[noreturn]] void CheckFailed(const char* file, int line, const char* what);
[[noreturn]] void CheckFailed(const char* file, int line, const absl::Status& status);
}  // namespace zsched::internal

#define ZS_CHECK(condition)                          \
  (__builtin_expect(static_cast<bool>(condition), 1) \
       ? static_cast<void>(0)                        \
       : ::zsched::internal::CheckFailed(__FILE__, __LINE__, #condition))

#define ZS_CHECK_OK(expression)                                             \
  do {                                                                      \
    if (absl::Status zs_check_status = (expression); !zs_check_status.ok()) \
      ::zsched::internal::CheckFailed(__FILE__, __LINE__, zs_check_status); \
  } while (false)

#define ZS_CONCAT_INNER(a, b) a##b
#define ZS_CONCAT(a, b) ZS_CONCAT_INNER(a, b)

// Returns the status from the enclosing function unless it is OK.
#define ZS_RETURN_IF_ERROR(expression)                                            \
  do {                                                                            \
    if (absl::Status zs_status = (expression); !zs_status.ok()) return zs_status; \
  } while (false)

// ZS_ASSIGN_OR_RETURN(auto x, Compute());
#define ZS_ASSIGN_OR_RETURN(target, expression) \
  ZS_ASSIGN_OR_RETURN_IMPL(ZS_CONCAT(zs_or_, __LINE__), target, expression)
#define ZS_ASSIGN_OR_RETURN_IMPL(temp, target, expression) \
  auto temp = (expression);                                \
  if (!temp.ok()) return temp.status();                    \
  target = std::move(temp).value()
