// zsched-gateway: reads its settings, serves HTTP until a signal.
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>

#include "base/check.h"
#include "base/config.h"
#include "base/log.h"
#include "base/reload.h"
#include "client/gateway/flags.h"
#include "client/gateway/gateway.h"
#include "schemas/errors.h"
#include "schemas/limits.h"

namespace zsched::gateway {
namespace {

constexpr char kDescription[] =
    "Serves the REST API, metrics and the dashboard of a zsched cluster over HTTP.";

std::atomic<int> signals{0};

// The first signal ends it cleanly, the second at once.
void OnSignal(int) {
  if (signals.fetch_add(1) > 0) _exit(130);
}

struct Settings {
  GatewayOptions gateway;
  std::vector<HostPort> brokers = {{kDefaultHost, kDefaultPort}};
  LogOptions log{.program = "zsched-gateway"};
  bool check = false;
};

void AddFlags(Flags& flags, Settings& settings) {
  flags.Brokers("--brokers", &settings.brokers, "Brokers of the cluster");
  flags.Address("--listen", &settings.gateway.http.listen,
                "Where to serve HTTP; port 0 takes a free one");
  AddHttpFlags(flags, &settings.gateway.http);
  AddLogFlags(flags, &settings.log);
  flags.Switch("--check-config", &settings.check,
               "Read all settings, print them with their sources, and end");
  flags.Example("zsched-gateway --brokers 10.0.0.1:5570,10.0.0.2:5570 --listen 127.0.0.1:8080");
  flags.Notes(
      "The dashboard is at /, the API under /api/v1, its description at /openapi.json. Stops "
      "cleanly on "
      "SIGTERM or SIGINT; a second signal ends it at once.");
}

int Main(int argc, char** argv) {
  Settings settings;
  settings.gateway.http.listen = {kDefaultHost, kDefaultHttpPort};
  Flags flags("zsched-gateway", kDescription);
  AddFlags(flags, settings);
  if (const std::optional<int> code = flags.Parse(argc, argv)) return *code;
  if (settings.check) return flags.PrintSettings();
  InitLog(settings.log);
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigset_t blocked, before;
  sigemptyset(&blocked);
  for (int signal : {SIGTERM, SIGINT}) {
    sigaction(signal, &action, nullptr);
    sigaddset(&blocked, signal);
  }
  std::signal(SIGPIPE, SIG_IGN);
  // Held back until sigsuspend, and from all threads that are made: one cannot come in between.
  sigprocmask(SIG_BLOCK, &blocked, &before);

  GatewayOptions& options = settings.gateway;
  options.brokers.clear();
  for (const HostPort& broker : settings.brokers)
    options.brokers += (options.brokers.empty() ? "" : ",") + ToString(broker);
  const auto gateway = Gateway::Start(options);
  if (!gateway.ok()) {
    std::fprintf(stderr, "zsched-gateway: %s\n", MessageOf(gateway.status()).c_str());
    return 1;
  }
  WarnOfOpenAddress((*gateway)->address());
  Log(Level::kInfo, "ready",
      {{"http", ToString((*gateway)->address())}, {"brokers", options.brokers}});
  while (signals.load() == 0) sigsuspend(&before);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  (*gateway)->Stop();
  Log(Level::kInfo, "stopped");
  return 0;
}

}  // namespace
}  // namespace zsched::gateway

int main(int argc, char** argv) { return zsched::gateway::Main(argc, argv); }
