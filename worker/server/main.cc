// zsched-worker: a worker with the built-in task types and, when enabled, the executors.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "base/check.h"
#include "base/config.h"
#include "base/log.h"
#include "base/reload.h"
#include "schemas/errors.h"
#include "schemas/limits.h"
#include "worker/core/ledger.h"
#include "worker/executors/executor.h"
#include "worker/executors/live_groups.h"
#include "worker/server/attempt_log.h"
#include "worker/server/builtin.h"
#include "worker/server/self_exec.h"
#include "zsched/worker.h"

namespace zsched::worker {
namespace {

constexpr int kSignalExit =
    128;  // a program ended by signal N exits with 128 + N, as shells say it

struct Settings {
  std::vector<HostPort> brokers = {{kDefaultHost, kDefaultPort}};
  std::vector<std::string> enable;
  std::vector<std::string> labels;
  std::optional<uint64_t> recycle_after_tasks, recycle_after_memory_bytes;
  ExecutorOptions executor;
  WorkerOptions worker;
  LogOptions log{.program = "zsched-worker"};
  bool check = false;
};

// Written before the signals are armed, never afterwards.
Worker* signalled_worker = nullptr;
volatile sig_atomic_t signals_seen = 0;

void OnSignal(int signal) {
  if (signals_seen != 0) {
    KillAllProcessGroups();
    _exit(kSignalExit + signal);
  }
  signals_seen = 1;
  signalled_worker->Drain();
}

void ArmSignals(Worker* worker) {
  signalled_worker = worker;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &action, nullptr);
  SelfExec::AcceptTermination();
}

// Handlers that were abandoned may run until the end of the process.
AttemptLog& attempt_log = *new AttemptLog;

void LogEvent(const WorkerEvent& event) {
  using Kind = WorkerEvent::Kind;
  switch (event.kind) {
    case Kind::kConnected:
      attempt_log.SetSession(event.session);
      return Log(Level::kInfo, "connected to the active broker",
                 {{"session", ToString(event.session)}});
    case Kind::kDisconnected:
      return Log(Level::kWarn, "lost the broker; running attempts go on",
                 {{"reason", event.message}});
    case Kind::kNoBroker:
      return Log(Level::kWarn, "no broker takes this worker; trying on",
                 {{"reason", event.message}});
    case Kind::kDraining:
      return Log(Level::kInfo, "draining: finishing what runs, giving back the rest",
                 {{"reason", event.message}});
    case Kind::kSlotsBlocked:
      return Log(Level::kWarn, "handlers do not return although their attempts are over",
                 {{"slots_blocked", event.count}});
    case Kind::kSlotsReturned:
      return Log(Level::kInfo, "handlers of attempts long over returned",
                 {{"slots_blocked", event.count}});
    case Kind::kResultsRefused:
      return Log(Level::kWarn, "the broker refused results of attempts that others had taken over",
                 {{"results", event.count}});
  }
}

void AddFlags(Flags* flags, Settings* settings) {
  WorkerOptions& worker = settings->worker;
  worker.concurrency = static_cast<int>(
      std::clamp(std::thread::hardware_concurrency(), 1u, static_cast<unsigned>(kMaxConcurrency)));
  flags->Brokers("--brokers", &settings->brokers,
                 "Brokers to take tasks from; the active one is found");
  flags->List("--queues", &worker.queues, "Queues to serve; all when absent");
  flags->Number("--concurrency", &worker.concurrency,
                "Tasks to run at once; one a core unless given", 1, kMaxConcurrency);
  flags->List("--enable", &settings->enable,
              "Executors to offer besides noop, echo, sleep, count and fail: shell");
  flags->Text("--name", &worker.name, "Name that people see (default: host and process id)");
  flags->Texts("--label", &settings->labels, "Label of this worker", "KEY=VALUE");
  flags->Duration("--grace", &settings->executor.grace_ms,
                  "From SIGTERM to SIGKILL for the processes of a task that has to end", 0,
                  kAbandonAfterMs - 1000);
  flags->Number("--recycle-after-tasks", &settings->recycle_after_tasks,
                "Begin anew in a fresh process after so many attempts, and up to 10 % more", 1);
  flags->Size("--recycle-after-memory", &settings->recycle_after_memory_bytes,
              "The same once the process has more than this in RAM", 1);
  AddLogFlags(*flags, &settings->log);
  flags->Switch("--check-config", &settings->check,
                "Read all settings, print them with their sources, and end");
  flags->Example("zsched-worker --brokers 127.0.0.1:5570 --concurrency 8 --enable shell");
  flags->Notes(
      "SIGTERM and SIGINT drain: no new tasks, those that have not begun are given back, those "
      "that "
      "run are finished, then exit 0. A second signal ends at once. SIGHUP reads --log-level "
      "again.");
}

absl::StatusOr<std::unique_ptr<Worker>> MakeWorker(const Settings& settings) {
  WorkerOptions options = settings.worker;
  options.brokers.clear();
  for (const HostPort& broker : settings.brokers)
    options.brokers += (options.brokers.empty() ? "" : ",") + ToString(broker);
  for (const std::string& label : settings.labels) {
    size_t equals = label.find('=');
    if (equals == std::string::npos)
      return Error(ErrorCode::kInvalidArgument, "label '" + label + "' is not KEY=VALUE");
    options.labels.emplace_back(label.substr(0, equals), label.substr(equals + 1));
  }
  options.recycle_after_tasks = settings.recycle_after_tasks.value_or(0);
  options.recycle_after_memory_bytes = settings.recycle_after_memory_bytes.value_or(0);
  options.on_event = LogEvent;
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<Worker> worker, Worker::Create(std::move(options)));
  for (auto& [name, handler] : BuiltinTypes())
    ZS_RETURN_IF_ERROR(worker->Register(name, attempt_log.Wrap(std::move(handler))));
  for (const std::string& name : settings.enable) {
    ZS_ASSIGN_OR_RETURN(std::unique_ptr<Executor> made, MakeExecutor(name, settings.executor));
    std::shared_ptr<Executor> executor = std::move(made);
    ZS_RETURN_IF_ERROR(worker->Register(
        name, attempt_log.Wrap([executor](TaskContext& task) { return executor->Run(task); })));
  }
  return worker;
}

constexpr char kDescription[] = "Takes tasks from a zsched broker and runs them.";

void Reload(int argc, char** argv) {
  Settings settings;
  Flags flags("zsched-worker", kDescription);
  AddFlags(&flags, &settings);
  if (flags.Parse(argc, argv)) {
    Log(Level::kError, "settings were not reloaded; the old ones stay in force");
    return;
  }
  SetLogLevel(settings.log.level);
  Log(Level::kInfo, "log level reloaded; other settings need a restart");
}

// To the end of this process, or of this program in it.
[[noreturn]] void Leave(const Worker& worker, absl::Status ended, const SelfExec& self) {
  // A handler that was abandoned may still have one.
  KillAllProcessGroups();
  if (ended.ok() && worker.due_for_recycling()) {
    Log(Level::kInfo, "beginning anew in the same process", {{"attempts", worker.stats().ended}});
    std::fflush(nullptr);
    ended = self.Exec([] { return signals_seen != 0; });
  }
  if (!ended.ok()) {
    Log(Level::kError, "worker ended", {{"reason", MessageOf(ended)}});
  } else {
    Log(Level::kInfo, "worker drained", {{"attempts", worker.stats().ended}});
  }
  std::fflush(nullptr);
  // Not return: a handler that was abandoned may still run, and static objects must outlive it.
  _exit(ended.ok() ? 0 : InfoOf(CodeOf(ended)).exit_code);
}

int Main(int argc, char** argv) {
  const SelfExec self(argv);
  Settings settings;
  Flags flags("zsched-worker", kDescription);
  AddFlags(&flags, &settings);
  if (std::optional<int> code = flags.Parse(argc, argv)) return *code;
  if (settings.check) return flags.PrintSettings();
  InitLog(settings.log);
  ReloadOnHangup reload([&] { Reload(argc, argv); });
  absl::StatusOr<std::unique_ptr<Worker>> worker = MakeWorker(settings);
  if (!worker.ok()) return flags.UsageError(MessageOf(worker.status()));
  ArmSignals(worker->get());
  Log(Level::kInfo, "worker started",
      {{"version", Version()},
       {"name", (*worker)->name()},
       {"id", ToString((*worker)->id())},
       {"concurrency", settings.worker.concurrency}});
  absl::Status ended = (*worker)->Run();
  Leave(**worker, std::move(ended), self);
}

}  // namespace
}  // namespace zsched::worker

int main(int argc, char** argv) { return zsched::worker::Main(argc, argv); }
