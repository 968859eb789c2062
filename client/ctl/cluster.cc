// `zsched-ctl cluster` and `zsched-ctl status`: which brokers there are, and what they hold.
#include <chrono>
#include <thread>

#include "base/text.h"
#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

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

std::string MergeTable(const Context& context, const StatusInfo& status) {
  std::vector<Column> columns = {{.title = "EPOCH"}, {.title = "MERGED", .elastic = true}};
  for (const char* title : {"TAKEN", "FINISHED", "ENDED", "RESENT", "VOIDED", "SCHEDULES"})
    columns.push_back({.title = title, .right = true});
  Table table(std::move(columns));
  for (const MergeSummary& merge : status.merges)
    table.Row({{std::to_string(merge.epoch.value())},
               {merge.done ? FormatTimeMs(merge.decided_ms) : std::string("under way")},
               {std::to_string(merge.taken)},
               {std::to_string(merge.finished)},
               {std::to_string(merge.ended)},
               {std::to_string(merge.resent)},
               {std::to_string(merge.voided)},
               {std::to_string(merge.schedules)}});
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

absl::StatusOr<StatusInfo> Ask(const Context& context, bool observe) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect({.observe = observe});
  if (!client.ok()) return client.status();
  return (*client)->Status();
}

int Status(const Context& context) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  absl::StatusOr<StatusInfo> status = Ask(context, /*observe=*/false);
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
  absl::StatusOr<StatusInfo> status = Ask(context, /*observe=*/true);
  if (!status.ok()) return context.Fail(status.status());
  if (context.form() != Form::kTable) {
    Print(ClusterJson(*status) + "\n");
    return FinishOutput();
  }
  Print(BrokerTable(context, *status) + "\nepoch " + std::to_string(status->epoch.value()) +
        ", cluster " + ToString(status->cluster) + "\n");
  if (!status->merges.empty())
    Print("\nwhat a broker did alone, and what became of it (tasks):\n" +
          MergeTable(context, *status));
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
  absl::StatusOr<std::unique_ptr<Client>> client = context.MakeClient({.observe = true});
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

// --- Changing roles -------------------------------------------------------------------------------

absl::StatusOr<StatusInfo> StatusOf(Client& client) {
  absl::Status up = client.WaitForBroker(kTick.count());
  if (!up.ok()) return up;
  return client.Status();
}

// Asks until `done`, or the time is over: TIMED_OUT then, with `what` was not seen.
template <class Ask, class Done>
absl::StatusOr<StatusInfo> AwaitStatus(Ask ask, Done done, const std::string& what,
                                       int64_t timeout_ms) {
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!Interrupted()) {
    absl::StatusOr<StatusInfo> status = ask();
    if (status.ok() && done(*status)) return status;
    if (LeftMs(deadline) == 0)
      return Error(ErrorCode::kTimedOut,
                   what + (status.ok() ? "" : ": " + MessageOf(status.status())) +
                       "; see `zsched-ctl cluster status` and the brokers' logs");
    std::this_thread::sleep_for(kLookInterval);
  }
  return Error(ErrorCode::kCancelled, "interrupted");
}

int Finish(const Context& context, const absl::StatusOr<StatusInfo>& status) {
  if (Interrupted()) return kExitInterrupted;
  if (!status.ok()) return context.Fail(status.status());
  Print(context.form() == Form::kTable ? BrokerTable(context, *status)
                                       : ClusterJson(*status) + "\n");
  return FinishOutput();
}

int Switchover(const Context& context, int64_t timeout_ms) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  CatchInterrupts();
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const absl::StatusOr<StatusInfo> before = (*client)->Status();
  if (!before.ok()) return context.Fail(before.status());
  if (absl::Status begun = (*client)->Switchover(); !begun.ok()) return context.Fail(begun);
  auto ask = [&] { return StatusOf(**client); };
  auto done = [&](const StatusInfo& now) { return now.node != before->node && IsActive(now.role); };
  return Finish(context,
                AwaitStatus(ask, done, "the standby did not take over in time", timeout_ms));
}

// The first broker of the list that answers and is not active.
absl::StatusOr<std::unique_ptr<Client>> FindStandby(const Context& context) {
  absl::Status none;
  for (const HostPort& broker : context.brokers()) {
    absl::StatusOr<std::unique_ptr<Client>> client = context.Observe(broker);
    if (!client.ok()) {
      none.Update(client.status());
      continue;
    }
    absl::StatusOr<StatusInfo> status = (*client)->Status();
    if (!status.ok()) return status.status();
    if (!IsActive(status->role)) return client;
    none = Error(ErrorCode::kConflict, ToString(broker) + " is active already");
  }
  return none;
}

int Promote(const Context& context, bool force, int64_t timeout_ms) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  CatchInterrupts();
  absl::StatusOr<std::unique_ptr<Client>> client = FindStandby(context);
  if (!client.ok()) return context.Fail(client.status());
  if (force)
    context.Note(
        "by force: what the other broker has acknowledged and this one has not is out of reach "
        "until "
        "it comes back, and with an arbiter for good; while it still serves elsewhere both take "
        "work");
  if (absl::Status begun = (*client)->Promote(force); !begun.ok()) return context.Fail(begun);
  auto ask = [&] { return StatusOf(**client); };
  auto done = [&](const StatusInfo& now) { return IsActive(now.role); };
  return Finish(context, AwaitStatus(ask, done, "the broker was not promoted in time", timeout_ms));
}

}  // namespace

void AddCluster(Context& context, Actions& actions) {
  Flags& family =
      context.flags().Command("cluster", "See the brokers, wait for one, change places");
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

  Flags& switchover =
      family.Command("switchover", "Have the active broker and its standby change places");
  auto switch_ms = std::make_shared<int64_t>(kDefaultWaitMs);
  switchover.Duration("--timeout", switch_ms.get(),
                      "Give up waiting after so long, with exit code 124");
  switchover.Notes("Nothing is lost, and running attempts go on; clients notice a short delay.");
  switchover.Example("zsched-ctl --brokers 10.0.0.1:5570,10.0.0.2:5570 cluster switchover");
  actions["cluster switchover"] = [&context, switch_ms] { return Switchover(context, *switch_ms); };

  Flags& promote =
      family.Command("promote", "Have a standby take over from an active broker that is gone");
  auto force = std::make_shared<bool>(false);
  auto promote_ms = std::make_shared<int64_t>(kDefaultWaitMs);
  promote.Switch("--force", force.get(),
                 "Also when it may not have all that was acknowledged, or the other one is there");
  promote.Duration("--timeout", promote_ms.get(),
                   "Give up waiting after so long, with exit code 124");
  promote.Notes(
      "The broker is the first of --brokers that answers and is not active. By itself a standby "
      "takes "
      "over within a second, so this is for when it may not. What --force risks: what the other "
      "broker "
      "has acknowledged and this one has not is out of reach until it comes back, when it is "
      "merged; "
      "with an arbiter it is set aside for good. And while the other one serves where this one "
      "does "
      "not reach it, both take work. With an arbiter, the arbiter has to answer, force or not.");
  promote.Example("zsched-ctl --brokers 10.0.0.2:5570 cluster promote");
  promote.Example("zsched-ctl --brokers 10.0.0.2:5570 cluster promote --force");
  actions["cluster promote"] = [&context, force, promote_ms] {
    return Promote(context, *force, *promote_ms);
  };

  Flags& status = context.flags().Command("status", "Show what the broker holds, queue by queue");
  status.Example("zsched-ctl status");
  status.Example("zsched-ctl status -o json | jq '.queues[] | {name, ready: .counts.ready}'");
  actions["status"] = [&context] { return Status(context); };
}

}  // namespace zsched::ctl
