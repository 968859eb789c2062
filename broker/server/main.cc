// zsched-broker: reads its settings, runs a Server until a signal, and says in one line why it
// could not.
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>

#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/config.h"
#include "base/log.h"
#include "base/reload.h"
#include "broker/server/server.h"
#include "broker/server/witness_server.h"
#include "client/gateway/flags.h"
#include "client/gateway/gateway.h"

namespace zsched::broker {
namespace {

std::atomic<Server*> running{nullptr};
std::atomic<WitnessServer*> running_witness{nullptr};
std::atomic<int> signals{0};

constexpr char kWitness[] = "witness";

// The first signal stops the broker cleanly, the second ends it at once.
void OnSignal(int) {
  if (signals.fetch_add(1) > 0) _exit(130);
  if (Server* server = running.load()) server->Stop();
  if (WitnessServer* witness = running_witness.load()) witness->Stop();
}

void HandleSignals() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

// Every connection is a file descriptor. The number that this process may have.
uint64_t RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return UINT64_MAX;
  const rlimit wanted{.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
  return setrlimit(RLIMIT_NOFILE, &wanted) == 0 ? wanted.rlim_cur : limit.rlim_cur;
}

// A broker that has no descriptor left lets new connections wait unanswered.
void WarnOfFewFiles(uint64_t limit, const CoreConfig& core) {
  constexpr uint64_t kOwnFiles = 64;  // the journal's, the log's, the threads' and ZeroMQ's
  const uint64_t wanted = core.max_clients + core.max_workers + kOwnFiles;
  if (limit >= wanted) return;
  Log(Level::kWarn,
      "too few file descriptors for --max-clients and --max-workers; raise the hard limit "
      "(LimitNOFILE= of systemd, ulimit -Hn) or lower the two",
      {{"limit", limit}, {"wanted", wanted}});
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

struct Settings {
  ServerConfig server;
  std::optional<HostPort> worker_listen, peer, peer_listen;
  std::string arbiter = "none", etcd_password_file;
  PairConfig pair;  // when there is a peer
  std::optional<HostPort> http;
  gateway::HttpOptions http_options;
  LogOptions log{.program = "zsched-broker"};
  bool check = false;
};

void AddFlags(Flags& flags, Settings& settings) {
  ServerConfig& config = settings.server;
  CoreConfig& core = config.core;
  flags
      .Text("--data", &config.journal.directory, "Directory of the journal; one broker each", "DIR")
      .Required();
  flags.Address("--listen", &config.listen, "Where clients connect; port 0 takes a free one");
  flags.Address("--worker-listen", &settings.worker_listen,
                "Where workers connect; default: the port after --listen");
  flags.Text("--node", &config.node, "Which of a pair this is, or its third vote", "NODE",
             {"primary", "backup", kWitness});
  flags.Address("--peer", &settings.peer, "Base address of the other broker of a pair");
  flags.Address("--peer-listen", &settings.peer_listen,
                "Where the other broker connects; default: two ports after --listen");
  flags.Text("--arbiter", &settings.arbiter,
             "What decides which broker of a pair may serve: none, witness=HOST:PORT, or "
             "etcd=URL[,URL]",
             "ARBITER");
  PairConfig& pair = settings.pair;
  flags.Text("--cluster", &pair.name, "Name of the pair in etcd", "NAME");
  flags.Text("--etcd-user", &pair.etcd_user, "User at etcd", "USER");
  flags.Text("--etcd-password-file", &settings.etcd_password_file,
             "File with the user's password on its first line", "FILE");
  flags.Text("--etcd-ca", &pair.etcd_ca, "Authorities that etcd's certificate is checked with",
             "FILE");
  flags.Text("--etcd-cert", &pair.etcd_cert, "Own certificate for etcd", "FILE");
  flags.Text("--etcd-key", &pair.etcd_key, "Its key", "FILE");
  flags.Duration("--peer-heartbeat", &pair.heartbeat_ms, "How often the two show that they live",
                 10, 10'000);
  flags.Duration("--suspect-after", &pair.suspect_ms,
                 "Silence of the standby after which the active goes on alone", 50, 60'000);
  flags.Duration("--failover-after", &pair.failover_ms,
                 "Silence of the active after which the standby takes over", 100, 120'000);
  flags.Size("--map-size", &config.journal.map_bytes,
             "Address space reserved for the journal: the most it can hold", int64_t{16} << 20,
             int64_t{1} << 44);
  flags.Size("--keep-log", &config.journal.keep_log_bytes, "Log kept after it was applied",
             1 << 20);
  flags.Size("--disk-reserve", &config.disk_reserve_bytes,
             "Free disk below which submits are refused");
  flags.Number("--max-tasks", &core.max_tasks, "Unfinished tasks, all queues", 1, 1'000'000'000);
  flags.Size("--max-bytes", &core.max_bytes, "Payload of unfinished tasks, all queues", 1);
  flags.Number("--max-queue-tasks", &core.max_queue_tasks, "Unfinished tasks of one queue", 1,
               1'000'000'000);
  flags.Size("--max-queue-bytes", &core.max_queue_bytes, "Payload of unfinished tasks of one queue",
             1);
  flags.Size("--max-payload", &core.max_payload_bytes, "Payload of one task", 1, kMaxPayloadBytes);
  flags.Number("--keep-finished", &core.keep_finished, "Finished tasks kept for queries", 0,
               1'000'000'000);
  flags.Duration("--keep-finished-for", &core.keep_finished_ms,
                 "Age to which finished tasks are kept");
  flags.Number("--max-dead", &core.max_dead, "Dead tasks kept, the latest; 0: all", 0,
               1'000'000'000);
  flags.Duration("--keep-dead-for", &core.keep_dead_ms,
                 "Age to which dead tasks are kept; 0: for ever");
  flags.Duration("--keep-keys-for", &core.keep_keys_ms,
                 "Time that an idempotency key is held after its task is over");
  flags.Number("--max-keys", &core.max_keys, "Idempotency keys held, some 150 bytes each", 0,
               1'000'000'000);
  flags.Duration("--visibility-timeout", &core.visibility_timeout_ms,
                 "Silence after which a worker's tasks are given to others", 500, 3600 * 1000);
  flags.Duration("--heartbeat", &core.heartbeat_ms,
                 "How often clients and workers show that they live", 50, 60 * 1000);
  flags.Number("--max-clients", &core.max_clients, "Connected clients", 1, 1'000'000);
  flags.Number("--max-workers", &core.max_workers, "Connected workers", 1, 1'000'000);
  flags.Address("--http", &settings.http,
                "Serve the REST API, metrics and the dashboard there; default: not at all");
  gateway::AddHttpFlags(flags, &settings.http_options);
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "zsched-broker: %s\n", MessageOf(status).c_str());
  return 1;
}

absl::Status Usage(std::string text) { return Error(ErrorCode::kInvalidArgument, std::move(text)); }

absl::Status ReadArbiter(const Settings& settings, PairConfig& pair) {
  constexpr std::string_view kEtcd = "etcd=", kByWitness = "witness=";
  if (settings.arbiter == "none") return absl::OkStatus();
  if (settings.arbiter.starts_with(kByWitness)) {
    const auto address = ParseHostPort(settings.arbiter.substr(kByWitness.size()));
    if (!address.ok()) return Usage("--arbiter witness=: " + MessageOf(address.status()));
    pair.witness = *address;
    return absl::OkStatus();
  }
  if (!settings.arbiter.starts_with(kEtcd))
    return Usage("--arbiter: '" + settings.arbiter +
                 "' is neither none, witness=HOST:PORT, nor etcd=URL[,URL]");
  pair.etcd_urls = absl::StrSplit(settings.arbiter.substr(kEtcd.size()), ',', absl::SkipEmpty());
  if (pair.etcd_urls.empty()) return Usage("--arbiter etcd= needs the URL of an etcd server");
  if (settings.etcd_password_file.empty()) return absl::OkStatus();
  std::ifstream file(settings.etcd_password_file);
  if (!std::getline(file, pair.etcd_password))
    return Usage("--etcd-password-file: '" + settings.etcd_password_file + "' cannot be read");
  return absl::OkStatus();
}

// What the flags say of the pair, if this is one of a pair.
absl::Status ReadPair(Settings& settings) {
  ServerConfig& config = settings.server;
  if (config.node == kWitness && (settings.peer || settings.arbiter != "none"))
    return Usage("a witness has no --peer and no --arbiter: it is asked by the brokers");
  const int port = config.listen.port == 0 ? 0 : config.listen.port + kPeerPortOffset;
  PairConfig& pair = settings.pair;
  pair.peer_listen = settings.peer_listen.value_or(HostPort{config.listen.host, port});
  if (!settings.peer) {
    if (settings.arbiter == "none") return absl::OkStatus();
    return Usage("--arbiter is for a pair: name the other broker with --peer");
  }
  pair.peer = *settings.peer;
  if (pair.suspect_ms < 2 * pair.heartbeat_ms)
    return Usage("--suspect-after must be at least twice --peer-heartbeat");
  if (pair.failover_ms < pair.suspect_ms + pair.heartbeat_ms)
    return Usage(
        "--failover-after must be at least --suspect-after and one --peer-heartbeat, so that the "
        "active is first");
  ZS_RETURN_IF_ERROR(ReadArbiter(settings, pair));
  config.pair = pair;
  return absl::OkStatus();
}

// Flags, environment and file into `settings`. A value: the program ends with it.
std::optional<int> ReadSettings(int argc, char** argv, Settings& settings) {
  ServerConfig& config = settings.server;
  config.listen = {kDefaultHost, kDefaultPort};
  Flags flags("zsched-broker", "Keeps tasks durable and hands them to workers.");
  AddFlags(flags, settings);
  AddLogFlags(flags, &settings.log);
  flags.Switch("--check-config", &settings.check,
               "Read all settings, print them with their sources, and end");
  flags.Example("zsched-broker --data /var/lib/zsched");
  flags.Example("zsched-broker --data ./data --listen 127.0.0.1:6000 --keep-finished-for 1h");
  flags.Example("zsched-broker --data /var/lib/zsched --node witness --listen 10.0.0.3:5570");
  flags.Notes(
      "Stops cleanly on SIGTERM or SIGINT; a second signal ends it at once. Nothing acknowledged "
      "is lost either way. SIGHUP "
      "reads the settings again: limits (--max-*), retention (--keep-*), times and "
      "--log-level change without a "
      "restart.");
  if (std::optional<int> code = flags.Parse(argc, argv)) return code;
  if (config.core.heartbeat_ms * 2 > config.core.visibility_timeout_ms)
    return flags.UsageError("--visibility-timeout must be at least twice --heartbeat");
  int worker_port = config.listen.port == 0 ? 0 : config.listen.port + kWorkerPortOffset;
  config.worker_listen = settings.worker_listen.value_or(HostPort{config.listen.host, worker_port});
  if (absl::Status wrong = ReadPair(settings); !wrong.ok())
    return flags.UsageError(MessageOf(wrong));
  if (settings.check) return flags.PrintSettings();
  return std::nullopt;
}

void Reload(int argc, char** argv) {
  Settings settings;
  if (ReadSettings(argc, argv, settings)) {
    Log(Level::kError, "settings were not reloaded; the old ones stay in force");
    return;
  }
  SetLogLevel(settings.log.level);
  if (Server* server = running.load()) server->Reconfigure(settings.server.core);
  Log(Level::kInfo, "settings reloaded");
}

// The gateway in this process: a client like any other, by way of the loopback interface. nullptr: there is
// to be none.
absl::StatusOr<std::unique_ptr<gateway::Gateway>> StartGateway(const Settings& settings,
                                                               const HostPort& clients) {
  if (!settings.http) return nullptr;
  HostPort local = clients;
  // An address for everybody is reached by this machine's own.
  if (local.host == "0.0.0.0" || local.host == "*") local.host = "127.0.0.1";
  if (local.host == "::") local.host = "::1";
  gateway::GatewayOptions options{.http = settings.http_options,
                                  .brokers = ToString(local),
                                  .local = ToString(local),
                                  .name = "gateway of " + settings.server.node};
  options.http.listen = *settings.http;
  if (settings.server.pair) options.brokers += "," + ToString(settings.server.pair->peer);
  ZS_ASSIGN_OR_RETURN(auto started, gateway::Gateway::Start(options));
  gateway::WarnOfOpenAddress(started->address());
  Log(Level::kInfo, "serving HTTP", {{"http", ToString(started->address())}});
  return started;
}

int RunWitness(const Settings& settings) {
  signal(SIGHUP, SIG_IGN);  // it has no settings that could change
  const WitnessConfig config{.directory = settings.server.journal.directory,
                             .listen = settings.pair.peer_listen};
  auto witness = WitnessServer::Start(config);
  if (!witness.ok()) return Fail(witness.status());
  const absl::StatusOr<Register> value = (*witness)->Read();
  running_witness.store(witness->get());
  if (signals.load() > 0) (*witness)->Stop();
  Log(Level::kInfo, "ready",
      {{"brokers", ToString((*witness)->address())},
       {"data", config.directory},
       {"register", value.ok() ? ToText(*value) : MessageOf(value.status())}});
  (*witness)->Run();
  running_witness.store(nullptr);
  Log(Level::kInfo, "stopped");
  return 0;
}

int Main(int argc, char** argv) {
  Settings settings;
  if (std::optional<int> code = ReadSettings(argc, argv, settings)) return *code;
  const ServerConfig& config = settings.server;
  InitLog(settings.log);
  HandleSignals();
  if (config.node == kWitness) return RunWitness(settings);
  ReloadOnHangup reload([&] { Reload(argc, argv); });
  const uint64_t file_limit = RaiseFileLimit();

  auto server = Server::Start(config);
  if (!server.ok()) return Fail(server.status());
  running.store(server->get());
  if (signals.load() > 0) (*server)->Stop();
  const Core& core = (*server)->engine().core();
  if (!IsLoopback(config.listen.host) || !IsLoopback(config.worker_listen.host))
    Log(Level::kWarn,
        "connections are not encrypted and not authenticated: anyone who reaches this address can "
        "run tasks",
        {{"listen", ToString(config.listen)}});
  WarnOfFewFiles(file_limit, config.core);
  auto gateway = StartGateway(settings, (*server)->client_address());
  if (!gateway.ok()) return Fail(gateway.status());
  Log(Level::kInfo, "ready",
      {{"clients", ToString((*server)->client_address())},
       {"workers", ToString((*server)->worker_address())},
       {"data", config.journal.directory},
       {"role", wire::EnumNameRole((*server)->role())},
       {"epoch", core.state().epoch().value()},
       {"lsn", core.state().lsn().value()},
       {"unfinished", core.state().tasks().size()}});
  absl::Status status = (*server)->Run();
  running.store(nullptr);
  if (status.ok() && *gateway != nullptr) (*gateway)->Stop();
  if (!status.ok()) {
    // Nothing more can be made durable: end at once, acknowledge nothing, let the journal recover
    // at the next start.
    const bool lost =
        CodeOf(status) != ErrorCode::kConflict && CodeOf(status) != ErrorCode::kUnavailable;
    Log(Level::kError, lost ? "durability lost, ending" : "ending", {{"error", MessageOf(status)}});
    _exit(1);
  }
  server->reset();
  Log(Level::kInfo, "stopped");
  return 0;
}

}  // namespace
}  // namespace zsched::broker

int main(int argc, char** argv) { return zsched::broker::Main(argc, argv); }
