// `zsched-ctl cron`: schedules of the broker. (`cron next`, which asks none, is cron.cc.)
#include "base/text.h"
#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/ctl/task_flags.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

constexpr Overlap kOverlaps[] = {Overlap::kSkip, Overlap::kQueueOne, Overlap::kQueueAll,
                                 Overlap::kCancelOld, Overlap::kAllow};

struct AddArgs {
  std::string name, expression;
  std::string zone = "UTC";
  TaskFlags task;
  std::string overlap = "skip";
  int64_t catch_up_ms = kDefaultCatchUpMs;
  uint32_t jitter_ms = 0;
  bool paused = false;
  bool replace = false;
};

struct BackfillArgs {
  std::string from, to;
};

std::string TimeCell(int64_t unix_ms) { return unix_ms == 0 ? "-" : CronTimeText(unix_ms); }

Cell StateOf(const ScheduleInfo& schedule) {
  if (!schedule.error.empty()) return {"cannot fire", Color::kRed};
  if (schedule.spec.paused.value_or(false)) return {"paused", Color::kYellow};
  if (schedule.held > 0) return {std::to_string(schedule.held) + " held", Color::kBlue};
  return {"active", Color::kGreen};
}

void Show(const Context& context, const std::vector<ScheduleInfo>& schedules) {
  Table table({{.title = "SCHEDULE", .elastic = true},
               {.title = "STATE"},
               {.title = "CRON", .elastic = true},
               {.title = "ZONE", .elastic = true},
               {.title = "TYPE", .elastic = true},
               {.title = "NEXT"},
               {.title = "FIRED", .right = true},
               {.title = "SKIPPED", .right = true},
               {.title = "MISSED", .right = true}});
  for (const ScheduleInfo& schedule : schedules)
    table.Row({{schedule.spec.name},
               StateOf(schedule),
               {schedule.spec.expression},
               {schedule.spec.zone},
               {schedule.spec.task.type},
               {TimeCell(schedule.next_ms)},
               {std::to_string(schedule.fired)},
               {std::to_string(schedule.skipped)},
               {std::to_string(schedule.missed)}});
  Print(table.Render(context.width(), context.colors()));
  for (const ScheduleInfo& schedule : schedules)
    if (!schedule.error.empty()) context.Note(schedule.spec.name + ": " + schedule.error);
}

int PrintOne(const Context& context, const absl::StatusOr<ScheduleInfo>& schedule) {
  if (!schedule.ok()) return context.Fail(schedule.status());
  switch (context.form()) {
    case Form::kTable:
      Show(context, {*schedule});
      break;
    case Form::kId:
      Print(Printable(schedule->spec.name) + "\n");
      break;
    case Form::kJson:
    case Form::kJsonl:
      Print(ScheduleJson(*schedule) + "\n");
      break;
  }
  return FinishOutput();
}

// Connects, and does `act` with the client; the result is the exit code.
template <class Act>
int WithClient(const Context& context, Act act) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  return client.ok() ? act(**client) : context.Fail(client.status());
}

absl::StatusOr<ScheduleSpec> MakeSchedule(const AddArgs& args,
                                          const std::optional<std::vector<std::string>>& argv) {
  absl::StatusOr<TaskSpec> task = MakeTask(args.task, argv);
  if (!task.ok()) return task.status();
  ScheduleSpec spec;
  spec.name = args.name;
  spec.expression = args.expression;
  spec.zone = args.zone;
  spec.task = *std::move(task);
  for (Overlap overlap : kOverlaps)
    if (NameOf(overlap) == args.overlap) spec.overlap = overlap;
  spec.catch_up_ms = static_cast<uint64_t>(args.catch_up_ms);
  spec.jitter_ms = args.jitter_ms;
  if (args.paused) spec.paused = true;
  return spec;
}

int Add(const Context& context, const AddArgs& args,
        const std::optional<std::vector<std::string>>& argv) {
  absl::StatusOr<ScheduleSpec> spec = MakeSchedule(args, argv);
  if (!spec.ok() && CodeOf(spec.status()) == ErrorCode::kInvalidArgument)
    return context.Usage(MessageOf(spec.status()));
  if (!spec.ok()) return context.Fail(spec.status());
  return WithClient(context, [&](Client& client) {
    return PrintOne(context, client.SetSchedule(*spec, args.replace));
  });
}

int List(const Context& context) {
  return WithClient(context, [&](Client& client) {
    absl::StatusOr<std::vector<ScheduleInfo>> schedules = client.Schedules();
    if (!schedules.ok()) return context.Fail(schedules.status());
    ItemStream stream(context.form(), "schedules");
    for (const ScheduleInfo& schedule : *schedules)
      stream.Add(ScheduleJson(schedule), schedule.spec.name);
    stream.Finish();
    if (context.form() == Form::kTable) {
      if (schedules->empty()) context.Note("no schedules yet; `cron add` makes one");
      if (!schedules->empty()) Show(context, *schedules);
    }
    return FinishOutput();
  });
}

int PrintTasks(const Context& context, const std::vector<ItemResult>& items) {
  ItemStream stream(context.form(), "items");
  Table table({{.title = "TASK"}, {.title = "ERROR", .elastic = true}});
  absl::Status failed;
  for (const ItemResult& item : items) {
    if (!item.status.ok()) failed = item.status;
    stream.Add(ItemJson(item), ToString(item.id));
    table.Row({{item.status.ok() ? ToString(item.id) : "-"}, {MessageOf(item.status)}});
  }
  stream.Finish();
  if (context.form() == Form::kTable) {
    if (items.empty()) context.Note("no tick in that time");
    if (!items.empty()) Print(table.Render(context.width(), context.colors()));
  }
  const int code = FinishOutput();
  return code != 0 ? code : InfoOf(CodeOf(failed)).exit_code;
}

int Trigger(const Context& context, const std::string& name) {
  return WithClient(context, [&](Client& client) {
    absl::StatusOr<TaskId> task = client.TriggerSchedule(name);
    if (!task.ok()) return context.Fail(task.status());
    if (context.machine_form())
      Print("{\"id\":" + Quote(ToString(*task)) + "}\n");
    else
      Print(ToString(*task) + "\n");
    return FinishOutput();
  });
}

int Backfill(const Context& context, const std::string& name, const BackfillArgs& args) {
  absl::StatusOr<int64_t> from_ms = ParseTimeMs(args.from), to_ms = ParseTimeMs(args.to);
  if (!from_ms.ok()) return context.Usage("--from: " + MessageOf(from_ms.status()));
  if (!to_ms.ok()) return context.Usage("--to: " + MessageOf(to_ms.status()));
  return WithClient(context, [&](Client& client) {
    absl::StatusOr<std::vector<ItemResult>> items = client.BackfillSchedule(name, *from_ms, *to_ms);
    return items.ok() ? PrintTasks(context, *items) : context.Fail(items.status());
  });
}

int Remove(const Context& context, const std::string& name) {
  return WithClient(context, [&](Client& client) {
    if (absl::Status status = client.RemoveSchedule(name); !status.ok())
      return context.Fail(status);
    context.Note("schedule '" + name + "' is removed");
    return FinishOutput();
  });
}

void AddAdd(Context& context, Flags& family, Actions& actions) {
  Flags& add = family.Command("add", "Make a schedule: a task for each tick of an expression");
  auto args = std::make_shared<AddArgs>();
  add.Positional("NAME", &args->name, "Its name");
  add.Text("--cron", &args->expression, "When; see `cron next`", "EXPR").Required();
  add.Text("--tz", &args->zone, "Time zone, by its IANA name", "ZONE");
  AddTaskOptions(add, &args->task);
  std::vector<std::string> overlaps;
  for (Overlap overlap : kOverlaps) overlaps.emplace_back(NameOf(overlap));
  add.Text("--overlap", &args->overlap,
           "What becomes of a tick while the task of an earlier one is not over", "POLICY",
           overlaps);
  add.Duration("--catch-up", &args->catch_up_ms, "How late a tick may fire, after a downtime",
               static_cast<int64_t>(kMinCatchUpMs), static_cast<int64_t>(kMaxCatchUpMs));
  add.Duration("--jitter", &args->jitter_ms, "Delay each task by up to so much", 0, kMaxJitterMs);
  add.Switch("--paused", &args->paused, "It fires nothing until `cron resume`");
  add.Switch("--replace", &args->replace, "Take the place of a schedule of that name");
  add.Notes(
      "Each task has the labels schedule=NAME and tick=TIME. Overlap: skip the tick; queue_one:\n"
      "the first waits; queue_all: all wait; cancel_old: end the old task first; allow.");
  add.Example("zsched-ctl cron add report --cron \"30 2 * * *\" --tz Europe/Berlin --type report");
  add.Example("zsched-ctl cron add tidy --cron @hourly --overlap queue_one -- tidy --all");
  actions["cron add"] = [&context, &add, args] { return Add(context, *args, add.rest()); };
}

}  // namespace

void AddSchedules(Context& context, Flags& family, Actions& actions) {
  AddAdd(context, family, actions);
  family.Command("list", "List all schedules").Example("zsched-ctl cron list");
  actions["cron list"] = [&context] { return List(context); };

  auto name = std::make_shared<std::string>();
  auto command = [&](const char* verb, const char* what) -> Flags& {
    Flags& flags = family.Command(verb, what);
    flags.Positional("NAME", name.get(), "Its name");
    flags.Example("zsched-ctl cron " + std::string(verb) + " report" +
                  (std::string(verb) == "backfill"
                       ? " --from 2026-11-20T00:00:00Z --to 2026-11-20T23:59:59Z"
                       : ""));
    return flags;
  };
  command("show", "Show one schedule");
  actions["cron show"] = [&context, name] {
    return WithClient(context,
                      [&](Client& client) { return PrintOne(context, client.GetSchedule(*name)); });
  };
  for (bool pause : {true, false}) {
    const std::string verb = pause ? "pause" : "resume";
    command(verb.c_str(), pause ? "Fire nothing until it is resumed"
                                : "Fire again, from the next tick on; those of the pause are lost");
    actions["cron " + verb] = [&context, name, pause] {
      return WithClient(context, [&](Client& client) {
        return PrintOne(context, client.PauseSchedule(*name, pause));
      });
    };
  }
  command("trigger", "Submit its task now; its ticks stay as they are");
  actions["cron trigger"] = [&context, name] { return Trigger(context, *name); };
  Flags& backfill = command("backfill", "Submit its task for each tick of a time that has passed");
  auto range = std::make_shared<BackfillArgs>();
  backfill.Text("--from", &range->from, "First moment", "RFC3339").Required();
  backfill.Text("--to", &range->to, "Last moment", "RFC3339").Required();
  actions["cron backfill"] = [&context, name, range] { return Backfill(context, *name, *range); };
  command("remove", "Remove it; its tasks stay");
  actions["cron remove"] = [&context, name] { return Remove(context, *name); };
}

}  // namespace zsched::ctl
