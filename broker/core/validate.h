// What a submitted task must look like (docs/protocol.md §5). Owned by broker/core; pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "schemas/errors.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

struct Verdict {
  ErrorCode code = ErrorCode::kOk;
  std::string message;  // names the field and what it may be; empty when OK
};

// Requires a verified buffer. `max_payload_bytes` is the broker's setting, at most
// kMaxPayloadBytes. Allocates only when it refuses.
Verdict ValidateSpec(const wire::TaskSpec& spec, size_t max_payload_bytes, int64_t now_ms);

// The queue that the task is for: "default" unless it names one.
std::string_view QueueOf(const wire::TaskSpec& spec);

}  // namespace zsched::broker
