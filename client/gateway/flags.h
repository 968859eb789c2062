// Flags of the HTTP side, for zsched-gateway and for a broker with --http. Owned by client/gateway.
#pragma once

#include "base/config.h"
#include "client/gateway/http_server.h"

namespace zsched::gateway {

inline constexpr int kDefaultHttpPort = 8080;

void AddHttpFlags(Flags& flags, HttpOptions* options);
// Says so when others than this machine's users can reach it: it has no passwords.
void WarnOfOpenAddress(const HostPort& address);

}  // namespace zsched::gateway
