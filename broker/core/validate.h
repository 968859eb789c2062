// What a submitted task must look like (docs/protocol.md §5). Owned by broker/core; pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "broker/core/lanes.h"
#include "schemas/errors.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

struct Verdict {
  ErrorCode code = ErrorCode::kOk;
  std::string message;  // names the field and what it may be; empty when OK
};

// Requires a verified buffer. `max_payload_bytes` is the broker's setting, at most
// kMaxPayloadBytes. Templates of tasks that follow it are judged with it: the message then begins
// with the way to the template, as in "on_success[2].on_failure[0].queue: …". Allocates only when it
// refuses.
Verdict ValidateSpec(const wire::TaskSpec& spec, size_t max_payload_bytes, int64_t now_ms);

// The templates of a task alone, as they are kept in the journal.
Verdict ValidateChain(const wire::Chain& chain);

// The lane that a task belongs to; views into the spec.
LaneNames LaneOf(const wire::TaskSpec& spec);

}  // namespace zsched::broker
