// The register at a witness: a third zsched-broker process that has nothing else. Owned by broker/replication.
//
// A lost answer is settled by the next one: the witness carries out nothing of an asker that is older than what it has
// answered, and no swap that does not name its own life (witness.h).
//
// Example:
//   auto store = OpenWitnessRegister(zmq_context, {.address = {"10.0.0.3", 5572}});
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "base/text.h"
#include "broker/replication/register.h"

namespace zsched::broker {

// A witness answers within a few milliseconds, as it syncs one small file. One that does not answer for so long is away; the
// standby that asks wants to be active within a second.
inline constexpr int64_t kWitnessTimeoutMs = 1'000;

struct WitnessOptions {
  HostPort address;                        // of its peer endpoint
  int64_t timeout_ms = kWitnessTimeoutMs;  // of a whole Read or Swap
};

// Connects when it is asked first. `zmq_context` outlives it.
//
// Errors: what RegisterStore says, those of the witness's own file among them. UNAVAILABLE: no answer came.
std::unique_ptr<RegisterStore> OpenWitnessRegister(void* zmq_context,
                                                   const WitnessOptions& options);

}  // namespace zsched::broker
