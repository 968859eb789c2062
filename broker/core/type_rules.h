// What an operator may set for a type of task (docs/scheduling.md). Owned by broker/core; pure.
//
// Rules are a TypeRow, where 0 stands for "no such rule". A change names the fields that it sets.
//
// Threads: plain functions.
#pragma once

#include <string_view>

#include "broker/core/rows.h"
#include "broker/core/validate.h"
#include "schemas/errors.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

// Applies the fields that `set` gives. INVALID_ARGUMENT names the first that is out of range, and leaves
// `rules` as they were.
Verdict ChangeRules(const wire::TypeSet& set, TypeRow& rules);

// Whether an attempt that ends with `code` is the last of its task.
inline bool ForbidsRetry(const TypeRow& rules, ErrorCode code) {
  return (rules.no_retry & ErrorBit(code)) != 0;
}

// Whether a row from the log or a table is within the bounds that ChangeRules keeps.
bool AreSane(const TypeRow& rules, std::string_view name);

}  // namespace zsched::broker
