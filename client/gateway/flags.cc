#include "client/gateway/flags.h"

#include "base/log.h"

namespace zsched::gateway {

void AddHttpFlags(Flags& flags, HttpOptions* options) {
  flags.Number("--http-connections", &options->max_connections,
               "Connections at a time; half of them may wait for tasks or events", 2, 10'000);
  flags.Size("--http-max-body", &options->max_body_bytes, "Body of a request", 1024,
             int64_t{64} << 20);
  flags.Duration("--http-idle", &options->idle_ms,
                 "How long a connection may stay without a request", 100, 3600 * 1000);
  flags.Duration("--http-request-time", &options->request_ms,
                 "Time that a request may take to arrive", 100, 600 * 1000);
}

void WarnOfOpenAddress(const HostPort& address) {
  if (address.host == "localhost" || address.host == "::1" || address.host.starts_with("127."))
    return;
  Log(Level::kWarn,
      "HTTP is not encrypted and asks for no password: anyone who reaches this address can run and "
      "cancel tasks",
      {{"http", ToString(address)}});
}

}  // namespace zsched::gateway
