// `zsched-ctl dlq`: dead tasks by what they died of; retry them, delete them.
#include <charconv>
#include <cstdio>

#include "base/check.h"
#include "client/ctl/context.h"
#include "client/ctl/items.h"
#include "client/ctl/output.h"
#include "client/ctl/progress.h"
#include "client/ctl/rules.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

// --- Which --------------------------------------------------------------------------------------

struct FilterFlags {
  std::string queue, type, error, fingerprint;
  std::optional<int64_t> older_than_ms;

  bool any() const {
    return !queue.empty() || !type.empty() || !error.empty() || !fingerprint.empty() ||
           older_than_ms.has_value();
  }
};

void AddFilter(Flags& command, FilterFlags* filter) {
  command.Text("--queue", &filter->queue, "Only of this queue", "QUEUE");
  command.Text("--type", &filter->type, "Only of this type", "TYPE");
  command.Text("--error", &filter->error, "Only with this somewhere in their error", "TEXT");
  command.Text("--fingerprint", &filter->fingerprint, "Only of this group of errors", "HEX");
  command.Duration("--older-than", &filter->older_than_ms, "Only dead for longer");
}

absl::StatusOr<DeadFilter> MakeFilter(const FilterFlags& flags) {
  DeadFilter filter{.queue = flags.queue,
                    .type = flags.type,
                    .error = flags.error,
                    .older_than_ms = flags.older_than_ms.value_or(0)};
  if (flags.fingerprint.empty()) return filter;
  const char* end = flags.fingerprint.data() + flags.fingerprint.size();
  auto [at, error] = std::from_chars(flags.fingerprint.data(), end, filter.fingerprint, 16);
  if (error != std::errc() || at != end || filter.fingerprint == 0)
    return Error(ErrorCode::kInvalidArgument,
                 "--fingerprint: '" + flags.fingerprint +
                     "' is none; `zsched-ctl dlq groups` shows those that there are");
  return filter;
}

std::string ErrorText(ErrorCode code, const std::string& message) {
  return std::string(TextOf(code)) + ": " + message;
}
std::string TaskCount(uint64_t count) {
  return std::to_string(count) + (count == 1 ? " dead task" : " dead tasks");
}

// --- list ---------------------------------------------------------------------------------------

struct ListFlags {
  FilterFlags filter;
  uint64_t limit = kDefaultListLimit;
  uint64_t cursor = 0;
};

class DeadTable {
 public:
  explicit DeadTable(const Context& context)
      : context_(context),
        table_({{.title = "ID"},
                {.title = "QUEUE", .elastic = true},
                {.title = "TYPE", .elastic = true},
                {.title = "TRY", .right = true},
                {.title = "DIED", .right = true},
                {.title = "FINGERPRINT"},
                {.title = "ERROR", .elastic = true}}) {}

  void Add(const TaskInfo& task) {
    if (rows_++ >= TaskWriter::kMaxTableRows) return;
    table_.Row(
        {{ToString(task.id)},
         {task.queue},
         {task.type},
         {std::to_string(task.attempt) + "/" + std::to_string(task.max_attempts)},
         {RelativeTime(task.finished_at_ms, WallMs())},
         {FingerprintText(task.fingerprint)},
         // A cell shows a few words of it.
         {ErrorText(task.error, task.error_message).substr(0, 4 * context_.width()), Color::kRed}});
  }
  void Finish() const {
    if (rows_ == 0) return context_.Note("no dead task matches");
    Print(table_.Render(context_.width(), context_.colors()));
    if (rows_ > TaskWriter::kMaxTableRows)
      context_.Note("and " + std::to_string(rows_ - TaskWriter::kMaxTableRows) +
                    " more; -o jsonl prints them all");
  }

 private:
  const Context& context_;
  Table table_;
  uint64_t rows_ = 0;
};

int List(const Context& context, const ListFlags& flags) {
  absl::StatusOr<DeadFilter> filter = MakeFilter(flags.filter);
  if (!filter.ok()) return context.Usage(MessageOf(filter.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  ItemStream stream(context.form(), "tasks");
  DeadTable table(context);
  const bool whole = context.form() == Form::kJson || context.form() == Form::kJsonl;
  DeadQuery query{.filter = *filter, .cursor = flags.cursor, .omit_bodies = !whole};
  uint64_t left = flags.limit == 0 ? UINT64_MAX : flags.limit;
  absl::Status failure;
  do {
    query.limit = std::min<uint64_t>(left, kMaxListLimit);
    absl::StatusOr<DeadPage> page = (*client)->DeadLetters(query);
    failure = page.status();
    if (!failure.ok()) break;
    for (const TaskInfo& task : page->tasks) {
      stream.Add(whole ? TaskJson(task) : "", ToString(task.id));
      if (context.form() == Form::kTable) table.Add(task);
    }
    left -= page->tasks.size();
    query.cursor = page->next_cursor;
  } while (left > 0 && query.cursor != 0);
  stream.Finish("\"cursor\":" + (query.cursor == 0 ? "null" : std::to_string(query.cursor)));
  if (context.form() == Form::kTable && failure.ok()) table.Finish();
  if (int code = FinishOutput(); code != 0) return code;
  if (!failure.ok()) return context.Fail(failure);
  if (query.cursor != 0 && context.form() == Form::kTable)
    context.Note("there may be more; continue with --cursor " + std::to_string(query.cursor));
  return 0;
}

// --- groups -------------------------------------------------------------------------------------

std::string GroupTable(const Context& context, const std::vector<DeadGroup>& groups) {
  Table table({{.title = "FINGERPRINT"},
               {.title = "TASKS", .right = true},
               {.title = "TYPE", .elastic = true},
               {.title = "FIRST", .right = true},
               {.title = "LAST", .right = true},
               {.title = "LATEST"},
               {.title = "ERROR", .elastic = true}});
  const int64_t now_ms = WallMs();
  for (const DeadGroup& group : groups)
    table.Row({{FingerprintText(group.fingerprint)},
               {std::to_string(group.tasks)},
               {group.type},
               {RelativeTime(group.first_died_at_ms, now_ms)},
               {RelativeTime(group.last_died_at_ms, now_ms)},
               {ToString(group.last_task)},
               {ErrorText(group.error, group.error_message), Color::kRed}});
  return table.Render(context.width(), context.colors());
}

int Groups(const Context& context, const FilterFlags& flags) {
  absl::StatusOr<DeadFilter> filter = MakeFilter(flags);
  if (!filter.ok()) return context.Usage(MessageOf(filter.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::StatusOr<std::vector<DeadGroup>> groups = (*client)->DeadGroups(*filter);
  if (!groups.ok()) return context.Fail(groups.status());
  ItemStream stream(context.form(), "groups");
  for (const DeadGroup& group : *groups)
    stream.Add(DeadGroupJson(group), FingerprintText(group.fingerprint));
  stream.Finish();
  if (context.form() == Form::kTable) {
    if (groups->empty()) context.Note("no dead task matches");
    if (!groups->empty()) Print(GroupTable(context, *groups));
  }
  return FinishOutput();
}

// --- retry, delete, purge -----------------------------------------------------------------------

constexpr ItemCommand kRetry{&Client::Retry, " task is ready again", " tasks are ready again"};
constexpr ItemCommand kDelete{&Client::DeleteDead, " task is deleted", " tasks are deleted"};

struct AllCommand {
  absl::StatusOr<DeadProgress> (Client::*run)(const DeadFilter& filter, const DeadJob& job);
  const char* done;  // "retried"
};
constexpr AllCommand kRetryAll{&Client::RetryDead, "retried"};
constexpr AllCommand kPurge{&Client::PurgeDead, "deleted"};

uint64_t Total(const std::vector<DeadGroup>& groups) {
  uint64_t tasks = 0;
  for (const DeadGroup& group : groups) tasks += group.tasks;
  return tasks;
}

int PrintDryRun(const Context& context, const std::vector<DeadGroup>& groups, const char* done) {
  const uint64_t total = Total(groups);
  if (context.form() == Form::kTable) {
    if (!groups.empty()) Print(GroupTable(context, groups));
    Print(TaskCount(total) + " would be " + done + "\n");
    return FinishOutput();
  }
  std::string list;
  for (const DeadGroup& group : groups) list += (list.empty() ? "" : ",") + DeadGroupJson(group);
  Print("{\"dry_run\":true,\"matched\":" + std::to_string(total) + ",\"groups\":[" + list + "]}\n");
  return FinishOutput();
}

// Also after a failure: what was done is done.
int PrintDone(const Context& context, const AllCommand& command, const DeadProgress& progress) {
  if (context.form() == Form::kTable) {
    Print(TaskCount(progress.done) + " " + command.done + "\n");
    if (progress.passed > 0)
      context.Note(std::to_string(progress.passed) +
                   " were retried or deleted by others before their turn came");
  } else {
    Print("{\"" + std::string(command.done) + "\":" + std::to_string(progress.done) +
          ",\"passed\":" + std::to_string(progress.passed) + "}\n");
  }
  return FinishOutput();
}

int RunAll(const Context& context, const AllCommand& command, Client& client,
           const DeadFilter& filter, uint64_t total, uint64_t rate_micro) {
  CatchInterrupts();
  Progress bar;
  DeadProgress last;
  auto go_on = [&](const DeadProgress& progress) {
    last = progress;
    bar.Update({.done = progress.done + progress.passed, .total = total, .total_known = true});
    return !Interrupted();
  };
  absl::StatusOr<DeadProgress> done =
      (client.*command.run)(filter, {.rate_micro = rate_micro, .go_on = go_on});
  bar.Clear();
  if (done.ok()) last = *done;
  if (int code = PrintDone(context, command, last); code != 0) return code;
  if (!done.ok()) return context.Fail(done.status());
  if (!Interrupted()) return 0;
  std::fprintf(stderr, "zsched-ctl: interrupted; the same command goes on with those still dead\n");
  return kExitInterrupted;
}

struct RetryFlags {
  std::vector<std::string> ids;
  FilterFlags filter;
  bool all = false, dry_run = false;
  std::string rate;
};

// 0 or the exit code of what is wrong with the flags as a whole.
int CheckRetry(const Context& context, const RetryFlags& flags) {
  if (flags.all && !flags.ids.empty()) return context.Usage("give ids or --all, not both");
  if (!flags.all && flags.ids.empty())
    return context.Usage("give ids, or --all for all dead tasks that the filters leave");
  if (!flags.all && (flags.filter.any() || flags.dry_run || !flags.rate.empty()))
    return context.Usage("filters, --dry-run and --rate belong to --all");
  return flags.all ? context.RefuseIdForm() : 0;
}

int Retry(const Context& context, const RetryFlags& flags) {
  if (int code = CheckRetry(context, flags); code != 0) return code;
  if (!flags.all) return RunItems(context, kRetry, flags.ids);
  absl::StatusOr<DeadFilter> filter = MakeFilter(flags.filter);
  if (!filter.ok()) return context.Usage(MessageOf(filter.status()));
  absl::StatusOr<uint64_t> rate = flags.rate.empty() ? 0 : ParseRate(flags.rate);
  if (!rate.ok() || (!flags.rate.empty() && *rate == 0))
    return context.Usage("--rate: '" + flags.rate + "' is not a rate such as 50, 50/s or 100/m");
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::StatusOr<std::vector<DeadGroup>> groups = (*client)->DeadGroups(*filter);
  if (!groups.ok()) return context.Fail(groups.status());
  if (flags.dry_run) return PrintDryRun(context, *groups, kRetryAll.done);
  return RunAll(context, kRetryAll, **client, *filter, Total(*groups), *rate);
}

int Purge(const Context& context, const FilterFlags& flags, bool yes, bool dry_run) {
  if (int code = context.RefuseIdForm(); code != 0) return code;
  absl::StatusOr<DeadFilter> filter = MakeFilter(flags);
  if (!filter.ok()) return context.Usage(MessageOf(filter.status()));
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::StatusOr<std::vector<DeadGroup>> groups = (*client)->DeadGroups(*filter);
  if (!groups.ok()) return context.Fail(groups.status());
  if (dry_run) return PrintDryRun(context, *groups, kPurge.done);
  if (!yes)
    return context.Usage("this deletes " + TaskCount(Total(*groups)) +
                         " for good; look at them with --dry-run, and add --yes to do it");
  return RunAll(context, kPurge, **client, *filter, Total(*groups), 0);
}

// --- Commands -----------------------------------------------------------------------------------

void AddList(Context& context, Flags& family, Actions& actions) {
  Flags& list = family.Command("list", "List dead tasks, the oldest death first");
  auto flags = std::make_shared<ListFlags>();
  AddFilter(list, &flags->filter);
  list.Number("--limit", &flags->limit, "At most so many; 0: all");
  list.Number("--cursor", &flags->cursor, "Continue where the last list said");
  list.Example("zsched-ctl dlq list --queue mail --older-than 1h");
  list.Example("zsched-ctl dlq list --error 'connection refused' -o json | jq '.tasks[].payload'");
  actions["dlq list"] = [&context, flags] { return List(context, *flags); };

  Flags& groups = family.Command("groups", "Group dead tasks by what they died of");
  auto filter = std::make_shared<FilterFlags>();
  AddFilter(groups, filter.get());
  groups.Notes(
      "Errors are of one group when they differ in details only, such as numbers, ids, paths and\n"
      "what stands in quotes.");
  groups.Example("zsched-ctl dlq groups --queue mail");
  actions["dlq groups"] = [&context, filter] { return Groups(context, *filter); };
}

void AddRetry(Context& context, Flags& family, Actions& actions) {
  Flags& retry = family.Command("retry", "Give dead tasks a new budget of attempts");
  auto flags = std::make_shared<RetryFlags>();
  retry.Positionals("ID", &flags->ids, "Task ids, such as 4-17", /*required=*/false);
  retry.Switch("--all", &flags->all, "All that the filters leave, the oldest death first");
  AddFilter(retry, &flags->filter);
  retry.Switch("--dry-run", &flags->dry_run, "Show which and how many, and do nothing");
  retry.Text("--rate", &flags->rate, "At most so many, such as 50 (a second) or 100/m", "N");
  retry.Notes(
      "With --all each task is retried once: what dies again meanwhile stays dead. When it is cut\n"
      "off, the same command goes on with those still dead.\n"
      "With ids, exit code 4 when a task is not dead, 3 when one does not exist; the others are\n"
      "retried.");
  retry.Example("zsched-ctl dlq retry 4-17");
  retry.Example("zsched-ctl dlq retry --all --fingerprint 5794f1d2a0b3c6e8 --dry-run");
  retry.Example("zsched-ctl dlq retry --all --queue mail --error 'connection refused' --rate 50");
  actions["dlq retry"] = [&context, flags] { return Retry(context, *flags); };
}

void AddDelete(Context& context, Flags& family, Actions& actions) {
  Flags& one = family.Command("delete", "Delete dead tasks for good");
  auto ids = std::make_shared<std::vector<std::string>>();
  one.Positionals("ID", ids.get(), "Task ids, such as 4-17");
  one.Notes(
      "Exit code 4 when a task is not dead, 3 when one does not exist; the others are deleted.");
  one.Example("zsched-ctl dlq delete 4-17");
  actions["dlq delete"] = [&context, ids] { return RunItems(context, kDelete, *ids); };

  Flags& purge = family.Command("purge", "Delete all dead tasks that the filters leave, for good");
  auto filter = std::make_shared<FilterFlags>();
  auto yes = std::make_shared<bool>(false), dry_run = std::make_shared<bool>(false);
  AddFilter(purge, filter.get());
  purge.Switch("--yes", yes.get(), "Do it; without it the command says how many, and refuses");
  purge.Switch("--dry-run", dry_run.get(), "Show which and how many, and do nothing");
  purge.Example("zsched-ctl dlq purge --older-than 720h --yes");
  actions["dlq purge"] = [&context, filter, yes, dry_run] {
    return Purge(context, *filter, *yes, *dry_run);
  };
}

}  // namespace

void AddDlq(Context& context, Actions& actions) {
  Flags& family =
      context.flags().Command("dlq", "See dead tasks by what they died of; retry or delete them");
  family.Example("zsched-ctl dlq groups");
  AddList(context, family, actions);
  AddRetry(context, family, actions);
  AddDelete(context, family, actions);
}

}  // namespace zsched::ctl
