// `zsched-ctl task`: look at tasks, list them, wait for them, try them again, cancel
// them.
#include <condition_variable>
#include <cstdio>
#include <mutex>

#include "base/check.h"
#include "client/ctl/context.h"
#include "client/ctl/ended_tasks.h"
#include "client/ctl/items.h"
#include "client/ctl/output.h"
#include "client/ctl/progress.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

constexpr std::chrono::milliseconds kTick{100};
// What one task's page shows of a payload or result; -o json has all of it.
constexpr size_t kPreviewBytes = 2000;

std::string MissingText(uint64_t count, const std::string& first) {
  return count == 1
             ? "task " + first + " does not exist (or is pruned)"
             : std::to_string(count) + " tasks do not exist (or are pruned), such as " + first;
}

std::string Preview(const std::string& bytes) {
  if (bytes.size() <= kPreviewBytes) return Printable(bytes);
  return Printable(bytes.substr(0, kPreviewBytes)) + "… (" + std::to_string(bytes.size()) +
         " bytes)";
}

// One task for a person: a line a field.
void PrintPage(const Context& context, const TaskInfo& task) {
  const int64_t now_ms = WallMs();
  auto line = [&](const std::string& name, const std::string& value, Color color = Color::kNone) {
    if (value.empty()) return;
    Print(Colored(name + std::string(14 - name.size(), ' '), Color::kGray, context.colors()) +
          Colored(Printable(value), color, context.colors()) + "\n");
  };
  auto time = [&](const std::string& name, int64_t ms) {
    if (ms != 0) line(name, FormatTimeMs(ms) + " (" + RelativeTime(ms, now_ms) + ")");
  };
  line("id", ToString(task.id));
  line("state", std::string(NameOf(task.state)) + (task.cancelling ? ", being cancelled" : ""),
       ColorOf(task.state));
  line("queue", task.queue);
  line("type", task.type);
  line("priority", std::to_string(task.priority));
  line("attempt", std::to_string(task.attempt) + " of " + std::to_string(task.max_attempts));
  line("timeout", FormatDurationMs(task.timeout_ms));
  if (task.delivery == Delivery::kAtMostOnce) line("delivery", "at most once");
  time("submitted", task.submitted_at_ms);
  if (!IsFinal(task.state)) time("ready", task.run_at_ms);
  time("start by", task.start_by_ms);
  time("started", task.started_at_ms);
  time("finished", task.finished_at_ms);
  line("worker", task.worker);
  if (task.progress)
    line("progress", std::to_string(task.progress->percent) + "% " + task.progress->message + " (" +
                         RelativeTime(task.progress->at_ms, now_ms) + ", attempt " +
                         std::to_string(task.progress->attempt) + ")");
  line("concurrency", task.concurrency_key);
  line("fairness", task.fairness_key);
  line("correlation", task.correlation_id);
  line("traceparent", task.traceparent);
  if (task.parent) line("parent", ToString(task.parent));
  for (const Label& label : task.labels) line("label", label.key + "=" + label.value);
  line("payload", Preview(task.payload));
  line("result", Preview(task.result));
  if (task.error != ErrorCode::kOk)
    line(task.state == TaskState::kSucceeded ? "earlier error" : "error",
         std::string(TextOf(task.error)) + ": " + task.error_message, Color::kRed);
  if (task.fingerprint != 0) line("fingerprint", FingerprintText(task.fingerprint));
}

// --- get -------------------------------------------------------------------------------------------

// A single task is one JSON object; several are a list.
void PrintOne(const Context& context, const TaskInfo& task) {
  if (context.form() == Form::kTable) return PrintPage(context, task);
  Print((context.form() == Form::kId ? ToString(task.id) : TaskJson(task)) + "\n");
}

int Get(const Context& context, const std::vector<std::string>& texts) {
  absl::StatusOr<std::vector<TaskId>> ids = ParseIds(texts);
  if (!ids.ok()) return context.Usage(MessageOf(ids.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  TaskWriter writer(context);
  std::vector<TaskId> missing;
  for (size_t from = 0; from < ids->size(); from += kMaxQueryIds) {
    size_t size = std::min(kMaxQueryIds, ids->size() - from);
    absl::StatusOr<GetResult> found = (*client)->Get(std::span(*ids).subspan(from, size));
    if (!found.ok()) return context.Fail(found.status());
    for (const TaskInfo& task : found->tasks)
      ids->size() == 1 ? PrintOne(context, task) : writer.Add(task);
    missing.insert(missing.end(), found->missing.begin(), found->missing.end());
  }
  if (ids->size() > 1) writer.Finish();
  if (int code = FinishOutput(); code != 0) return code;
  if (missing.empty()) return 0;
  return context.Fail(
      Error(ErrorCode::kNotFound, MissingText(missing.size(), ToString(missing.front()))));
}

// --- list ------------------------------------------------------------------------------------------

struct ListFlags {
  std::string queue, type, cursor;
  std::vector<std::string> states;
  std::optional<std::string> label;
  uint64_t limit = kDefaultListLimit;
  bool newest = false;
};

absl::StatusOr<ListQuery> MakeQuery(const ListFlags& flags) {
  ListQuery query{.queue = flags.queue, .type = flags.type, .limit = flags.limit};
  query.descending = flags.newest;
  for (const std::string& name : flags.states) {
    size_t before = query.states.size();
    for (int state = 0; state < kTaskStates; ++state)
      if (NameOf(static_cast<TaskState>(state)) == name)
        query.states.push_back(static_cast<TaskState>(state));
    if (query.states.size() == before)
      return Error(ErrorCode::kInvalidArgument,
                   "--state: '" + name +
                       "' is none of scheduled, ready, leased, retry_wait, blocked, succeeded, "
                       "dead, cancelled");
  }
  if (flags.label) {
    ZS_ASSIGN_OR_RETURN(Label label, ParseLabel(*flags.label));
    query.label.push_back(std::move(label));
  }
  if (!flags.cursor.empty()) {
    ZS_ASSIGN_OR_RETURN(std::vector<TaskId> ids, ParseIds({flags.cursor}));
    query.cursor = ids.front();
  }
  return query;
}

int List(const Context& context, const ListFlags& flags) {
  absl::StatusOr<ListQuery> query = MakeQuery(flags);
  if (!query.ok()) return context.Usage(MessageOf(query.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  TaskWriter writer(context);
  query->omit_bodies = context.form() == Form::kId;
  TaskLister lister = (*client)->ListTasks(*query);
  for (TaskInfo task; lister.Next(&task);) writer.Add(task);
  std::string cursor = lister.cursor() ? ToString(lister.cursor()) : "";
  writer.Finish("\"cursor\":" + (cursor.empty() ? "null" : Quote(cursor)));
  if (int code = FinishOutput(); code != 0) return code;
  if (!lister.status().ok()) return context.Fail(lister.status());
  if (!cursor.empty() && context.form() == Form::kTable)
    context.Note("there are more; continue with --cursor " + cursor);
  return 0;
}

// --- wait ------------------------------------------------------------------------------------------

class WaitJob {
 public:
  WaitJob(const Context& context, std::vector<TaskId> ids)
      : context_(context), ids_(std::move(ids)), writer_(context), ended_([this] { Wake(); }) {}

  int Run(int64_t timeout_ms) {
    absl::StatusOr<std::unique_ptr<Client>> client = context_.Connect();
    if (!client.ok()) return context_.Fail(client.status());
    CatchInterrupts();
    client_ = *std::move(client);
    client_->WaitEach(
        ids_, timeout_ms, [this](Outcome& outcome) { OnOutcome(outcome); },
        [this](absl::Status status) { OnDone(std::move(status)); });
    while (true) {
      bool done = WaitForWork();
      if (Interrupted()) return LeaveInterrupted();
      progress_.Update({.done = ended_.counts().ended,
                        .failed = ended_.counts().failed,
                        .total = ids_.size(),
                        .total_known = true});
      if (ended_.counts().queued > 0 && isatty(STDOUT_FILENO) != 0) progress_.Clear();
      absl::StatusOr<bool> printed = ended_.PrintSome(*client_, writer_);
      if (Interrupted()) return LeaveInterrupted();
      if (!printed.ok()) return context_.Fail(printed.status());
      if (done && !*printed) return Finish();
    }
  }

 private:
  void Wake() {
    std::lock_guard lock(mutex_);
    changed_.notify_all();
  }

  void OnOutcome(Outcome& outcome) {
    if (outcome.error == ErrorCode::kNotFound) {
      std::lock_guard lock(mutex_);
      if (!first_missing_) first_missing_ = outcome.id;
    }
    ended_.Push(std::span(&outcome, 1));
  }

  void OnDone(absl::Status status) {
    std::lock_guard lock(mutex_);
    done_ = true;
    status_ = std::move(status);
    changed_.notify_all();
  }

  // True once no more outcomes will come.
  bool WaitForWork() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kTick, [this] { return done_ || ended_.counts().queued > 0; });
    return done_;
  }

  int Finish() {
    progress_.Clear();
    writer_.Finish();
    if (int code = FinishOutput(); code != 0) return code;
    EndedTasks::Counts counts = ended_.counts();
    if (counts.missing > 0)
      return context_.Fail(
          Error(ErrorCode::kNotFound, MissingText(counts.missing, ToString(first_missing_))));
    if (CodeOf(status_) == ErrorCode::kTimedOut)
      return context_.Fail(Error(ErrorCode::kTimedOut, std::to_string(ids_.size() - counts.ended) +
                                                           " of " + std::to_string(ids_.size()) +
                                                           " tasks are not finished"));
    if (!status_.ok()) return context_.Fail(status_);
    if (counts.failed == 0) return 0;
    context_.Note(std::to_string(counts.failed) + " of " + std::to_string(ids_.size()) +
                  " tasks did not succeed");
    return kExitTaskFailed;
  }

  int LeaveInterrupted() {
    progress_.Clear();
    std::fflush(stdout);
    std::fprintf(stderr,
                 "zsched-ctl: interrupted; %zu of %zu tasks are not finished; they go on, the same "
                 "command waits again\n",
                 ids_.size() - static_cast<size_t>(ended_.counts().ended), ids_.size());
    return kExitInterrupted;
  }

  const Context& context_;
  const std::vector<TaskId> ids_;
  TaskWriter writer_;
  Progress progress_;
  EndedTasks ended_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;               // guarded by mutex_
  absl::Status status_;             // guarded by mutex_, final once done_
  TaskId first_missing_;            // the same
  std::unique_ptr<Client> client_;  // destroyed first: its thread uses the above
};

// --- retry, cancel ---------------------------------------------------------------------------------

constexpr ItemCommand kRetry{&Client::Retry, " task is ready again", " tasks are ready again"};
constexpr ItemCommand kCancel{&Client::Cancel, " task is cancelled", " tasks are cancelled"};

void AddGet(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("get", "Show tasks with payload, result and error");
  auto ids = std::make_shared<std::vector<std::string>>();
  command.Positionals("ID", ids.get(), "Task ids, such as 4-17");
  command.Example("zsched-ctl task get 4-17");
  command.Example("zsched-ctl task get 4-17 -o json | jq -r .result");
  actions["task get"] = [&context, ids] { return Get(context, *ids); };
}

void AddList(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("list", "List tasks by rising id");
  auto flags = std::make_shared<ListFlags>();
  command.Text("--queue", &flags->queue, "Only of this queue", "QUEUE");
  command.Text("--type", &flags->type, "Only of this type", "TYPE");
  command.List("--state", &flags->states,
               "Only in these states (scheduled, ready, leased, retry_wait, blocked, succeeded, "
               "dead, cancelled)",
               "STATE[,STATE]");
  command.Text("--label", &flags->label, "Only with this label", "KEY=VALUE");
  command.Number("--limit", &flags->limit, "At most so many; 0: all");
  command.Switch("--newest", &flags->newest, "The latest first");
  command.Text("--cursor", &flags->cursor, "Continue after this id, as the last list said", "ID");
  command.Example("zsched-ctl task list --state dead --queue mail");
  command.Example(
      "zsched-ctl task list --state dead --limit 0 -o id | xargs zsched-ctl task retry");
  actions["task list"] = [&context, flags] { return List(context, *flags); };
}

void AddWait(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("wait", "Wait until tasks are finished and print them");
  auto ids = std::make_shared<std::vector<std::string>>();
  auto timeout_ms = std::make_shared<std::optional<int64_t>>();
  command.Positionals("ID", ids.get(), "Task ids, such as 4-17");
  command.Duration("--timeout", timeout_ms.get(), "Give up after so long, with exit code 124");
  command.Notes(
      "Exit code 0: all succeeded; 1: one did not; 3: one does not exist; 124: timed out.");
  command.Example("zsched-ctl task wait 4-17 4-18 --timeout 5m");
  actions["task wait"] = [&context, ids, timeout_ms] {
    absl::StatusOr<std::vector<TaskId>> parsed = ParseIds(*ids);
    if (!parsed.ok()) return context.Usage(MessageOf(parsed.status()));
    return WaitJob(context, *std::move(parsed)).Run(timeout_ms->value_or(kForever));
  };
}

void AddRetry(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("retry", "Give dead tasks a new budget of attempts");
  auto ids = std::make_shared<std::vector<std::string>>();
  command.Positionals("ID", ids.get(), "Task ids, such as 4-17");
  command.Notes(
      "Exit code 4 when a task is not dead, 3 when one does not exist; the others are retried.");
  command.Example("zsched-ctl task retry 4-17");
  actions["task retry"] = [&context, ids] { return RunItems(context, kRetry, *ids); };
}

void AddCancel(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("cancel", "Cancel tasks, whether they wait or run");
  auto ids = std::make_shared<std::vector<std::string>>();
  command.Positionals("ID", ids.get(), "Task ids, such as 4-17");
  command.Notes(
      "A task that waits is over at once. One that runs is told to end, a program by SIGTERM and\n"
      "then SIGKILL, and is over when it has; in no case does it succeed any more. `task wait`\n"
      "waits for that.\n"
      "Exit code 4 when a task has succeeded or is dead, 3 when one does not exist; the others "
      "are\n"
      "cancelled.");
  command.Example("zsched-ctl task cancel 4-17 4-18");
  command.Example(
      "zsched-ctl task list --queue mail --state ready,leased --limit 0 -o id | xargs zsched-ctl "
      "task cancel");
  actions["task cancel"] = [&context, ids] { return RunItems(context, kCancel, *ids); };
}

}  // namespace

void AddTask(Context& context, Actions& actions) {
  Flags& family =
      context.flags().Command("task", "Look at tasks, wait for them, retry or cancel them");
  family.Example("zsched-ctl task list --state ready,leased");
  AddGet(context, family, actions);
  AddList(context, family, actions);
  AddWait(context, family, actions);
  AddRetry(context, family, actions);
  AddCancel(context, family, actions);
  AddExplain(context, family, actions);
  AddTaskTrails(context, family, actions);
  AddTaskLogs(context, family, actions);
}

}  // namespace zsched::ctl
