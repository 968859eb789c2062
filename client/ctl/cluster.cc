// `zsched-ctl cluster` and `zsched-ctl status`: which brokers there are, and what they hold.
#include <chrono>
#include <thread>

#include "client/ctl/context.h"
#include "client/ctl/json.h"
#include "client/ctl/output.h"

namespace zsched::ctl {
namespace {

using Clock = std::chrono::steady_clock;

// Between two looks at the cluster while waiting for a role.
constexpr std::chrono::milliseconds kLookInterval{100};
constexpr int64_t kDefaultWaitMs = 60'000;
constexpr std::chrono::milliseconds kTick{100};

bool IsActive(BrokerRole role) {
  return role == BrokerRole::kActiveSync || role == BrokerRole::kActiveSolo;
}

bool HasRole(BrokerRole role, const std::string& wanted) {
  return wanted == "active" ? IsActive(role) : NameOf(role) == wanted;
}

bool AnyHasRole(const StatusInfo& status, const std::string& wanted) {
  if (HasRole(status.role, wanted)) return true;
  for (const BrokerSummary& broker : status.brokers)
    if (HasRole(broker.role, wanted)) return true;
  return false;
}

Color ColorOf(BrokerRole role) {
  if (IsActive(role)) return Color::kGreen;
  if (role == BrokerRole::kStandby) return Color::kBlue;
  return role == BrokerRole::kFenced ? Color::kRed : Color::kYellow;
}

std::string BrokerTable(const Context& context, const StatusInfo& status) {
  Table table({{.title = "NODE"},
               {.title = "ROLE"},
               {.title = "ADDRESS", .elastic = true},
               {.title = "WORKERS AT", .elastic = true}});
  for (const BrokerSummary& broker : status.brokers)
    table.Row({{broker.node},
               {std::string(NameOf(broker.role)), ColorOf(broker.role)},
               {broker.address},
               {broker.worker_address}});
  return table.Render(context.width(), context.colors());
}

std::string QueueTable(const Context& context, const StatusInfo& status) {
  std::vector<Column> columns = {{.title = "QUEUE", .elastic = true}};
  for (const char* title : {"SCHED", "READY", "LEASED", "RETRY", "BLOCKED", "OK", "DEAD", "CANC"})
    columns.push_back({.title = title, .right = true});
  columns.push_back({.title = "BYTES", .right = true});
  Table table(std::move(columns));
  for (const QueueSummary& queue : status.queues) {
    std::vector<Cell> row = {{queue.name}};
    for (int state = 0; state < kTaskStates; ++state) {
      Color color =
          queue.counts[state] == 0 ? Color::kGray : ctl::ColorOf(static_cast<TaskState>(state));
      row.push_back({std::to_string(queue.counts[state]), color});
    }
    row.push_back({std::to_string(queue.bytes)});
    table.Row(std::move(row));
  }
  return table.empty() ? "no queues yet; `zsched-ctl submit --help` shows how to submit a task\n"
                       : table.Render(context.width(), context.colors());
}

absl::StatusOr<StatusInfo> Ask(const Context& context) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return client.status();
  return (*client)->Status();
}

int Status(const Context& context) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  absl::StatusOr<StatusInfo> status = Ask(context);
  if (!status.ok()) return context.Fail(status.status());
  if (context.form() != Form::kTable) {
    Print(StatusJson(*status) + "\n");
    return FinishOutput();
  }
  Print("broker   " + Printable(status->node) + ", " +
        Colored(NameOf(status->role), ColorOf(status->role), context.colors()) + ", epoch " +
        std::to_string(status->epoch.value()) + ", up " +
        ShortDuration(static_cast<int64_t>(status->uptime_ms)) + ", version " +
        Printable(status->version) + "\n");
  Print("log      at " + std::to_string(status->lsn.value()) + ", durable to " +
        std::to_string(status->durable_lsn.value()) + "\n");
  Print("workers  " + std::to_string(status->workers) + "\nclients  " +
        std::to_string(status->clients) + "\n\n");
  Print(QueueTable(context, *status));
  return FinishOutput();
}

int ClusterStatus(const Context& context) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  absl::StatusOr<StatusInfo> status = Ask(context);
  if (!status.ok()) return context.Fail(status.status());
  Print(context.form() == Form::kTable
            ? BrokerTable(context, *status) + "\nepoch " + std::to_string(status->epoch.value()) +
                  ", cluster " + ToString(status->cluster) + "\n"
            : ClusterJson(*status) + "\n");
  return FinishOutput();
}

int64_t LeftMs(Clock::time_point deadline) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return std::max<int64_t>(left.count(), 0);
}

// OK and the status once a broker has the role.
absl::StatusOr<StatusInfo> WaitForRole(const Context& context, const std::string& role,
                                       Clock::time_point deadline) {
  absl::Status last = Error(ErrorCode::kTimedOut, "no broker answered");
  absl::StatusOr<std::unique_ptr<Client>> client = context.MakeClient();
  if (!client.ok()) return client.status();
  while (!Interrupted()) {
    // In slices, so that Ctrl-C is noticed.
    last = (*client)->WaitForBroker(std::min<int64_t>(LeftMs(deadline), kTick.count()));
    if (last.ok()) {
      absl::StatusOr<StatusInfo> status = (*client)->Status();
      if (status.ok() && AnyHasRole(*status, role)) return status;
      last = status.ok() ? Error(ErrorCode::kTimedOut, "no broker has this role") : status.status();
      std::this_thread::sleep_for(kLookInterval);
    }
    if (LeftMs(deadline) == 0)
      return Error(ErrorCode::kTimedOut, "no " + role + " broker at " + context.BrokerText() +
                                             " in time: " + MessageOf(last));
  }
  return Error(ErrorCode::kCancelled, "interrupted");
}

int ClusterWait(const Context& context, const std::string& role, int64_t timeout_ms) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  CatchInterrupts();
  Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  absl::StatusOr<StatusInfo> status = WaitForRole(context, role, deadline);
  if (Interrupted()) return kExitInterrupted;
  if (!status.ok()) return context.Fail(status.status());
  Print(context.form() == Form::kTable ? BrokerTable(context, *status)
                                       : ClusterJson(*status) + "\n");
  return FinishOutput();
}

}  // namespace

void AddCluster(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("cluster", "See the brokers, or wait for one");
  family.Example("zsched-ctl cluster status");
  Flags& show = family.Command("status", "Show the brokers and their roles");
  show.Example("zsched-ctl cluster status -o json");
  actions["cluster status"] = [&context] { return ClusterStatus(context); };

  Flags& wait = family.Command("wait", "Wait until a broker answers in a role");
  auto role = std::make_shared<std::string>("active");
  auto timeout_ms = std::make_shared<int64_t>(kDefaultWaitMs);
  wait.Duration("--timeout", timeout_ms.get(), "Give up after so long, with exit code 124");
  wait.Text("--role", role.get(), "The role to wait for", "ROLE",
            {"active", "active_sync", "active_solo", "standby", "catchup", "recovering"});
  wait.Example("zsched-broker --data /var/lib/zsched & zsched-ctl cluster wait --timeout 30s");
  actions["cluster wait"] = [&context, role, timeout_ms] {
    return ClusterWait(context, *role, *timeout_ms);
  };

  Flags& status = context.flags().Command("status", "Show what the broker holds, queue by queue");
  status.Example("zsched-ctl status");
  status.Example("zsched-ctl status -o json | jq '.queues[] | {name, ready: .counts.ready}'");
  actions["status"] = [&context] { return Status(context); };
}

}  // namespace zsched::ctl
