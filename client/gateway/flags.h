// Flags of the HTTP side, for zsched-gateway and for a broker with --http. Owned by client/gateway.
#pragma once

#include "base/config.h"
#include "client/gateway/gateway.h"

namespace zsched::gateway {

inline constexpr int kDefaultHttpPort = 8080;

void AddHttpFlags(Flags& flags, GatewayOptions* options);
// Says so when others than this machine's users can reach it: it has no passwords.
void WarnOfOpenAddress(const HostPort& address);

// Says so when this process may not have so many files open.
void WarnOfFewConnections(uint64_t file_limit, uint64_t connections);

}  // namespace zsched::gateway
