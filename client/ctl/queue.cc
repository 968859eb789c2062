// `zsched-ctl queue` and `zsched-ctl type`: what is in the queues, and the rules by which tasks are handed
// out.
#include <chrono>
#include <thread>

#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/ctl/rules.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

// Between two looks at a queue that is waited for.
constexpr std::chrono::milliseconds kLookInterval{200};
constexpr int64_t kDefaultDrainMs = 60 * 60'000;
constexpr int64_t kMaxDrainMs = 7 * 24 * 60 * 60'000LL;

uint64_t CountOf(const QueueInfo& queue, TaskState state) {
  return queue.counts[static_cast<size_t>(state)];
}

uint64_t UnfinishedOf(const QueueInfo& queue) {
  uint64_t unfinished = 0;
  for (int state = 0; state < kTaskStates; ++state)
    if (!IsFinal(static_cast<TaskState>(state))) unfinished += queue.counts[state];
  return unfinished;
}

Cell StateOf(QueueGate gate) {
  switch (gate) {
    case QueueGate::kPaused:
      return {"paused", Color::kYellow};
    case QueueGate::kFull:
      return {"at max-running", Color::kBlue};
    case QueueGate::kDry:
      return {"at its rate", Color::kBlue};
    case QueueGate::kOpen:
      break;
  }
  return {"open", Color::kGreen};
}

Cell StateOf(const QueueInfo& queue) {
  if (!queue.settings.draining || queue.gate == QueueGate::kPaused) return StateOf(queue.gate);
  return {UnfinishedOf(queue) == 0 ? "drained" : "draining", Color::kYellow};
}

std::string TextOf(const RuleTexts& rules) {
  std::string text;
  for (const auto& [key, value] : rules) text += (text.empty() ? "" : " ") + key + "=" + value;
  return text.empty() ? "-" : text;
}

void Show(const Context& context, const std::vector<QueueInfo>& queues) {
  Table table({{.title = "QUEUE", .elastic = true},
               {.title = "STATE"},
               {.title = "SCHED", .right = true},
               {.title = "READY", .right = true},
               {.title = "LEASED", .right = true},
               {.title = "RETRY", .right = true},
               {.title = "DEAD", .right = true},
               {.title = "RULES", .elastic = true}});
  for (const QueueInfo& queue : queues) {
    std::vector<Cell> row = {{queue.name}, StateOf(queue)};
    for (TaskState state : {TaskState::kScheduled, TaskState::kReady, TaskState::kLeased,
                            TaskState::kRetryWait, TaskState::kDead}) {
      const uint64_t count = CountOf(queue, state);
      row.push_back({std::to_string(count), count == 0 ? Color::kGray : ColorOf(state)});
    }
    row.push_back({TextOf(RulesOf(queue.settings))});
    table.Row(std::move(row));
  }
  Print(table.Render(context.width(), context.colors()));
}

void Show(const Context& context, const std::vector<TypeInfo>& types) {
  Table table({{.title = "TYPE", .elastic = true},
               {.title = "STATE"},
               {.title = "RUNNING", .right = true},
               {.title = "RULES", .elastic = true}});
  for (const TypeInfo& type : types)
    table.Row({{type.name},
               StateOf(type.gate),
               {std::to_string(type.running), type.running == 0 ? Color::kGray : Color::kNone},
               {TextOf(RulesOf(type.rules))}});
  Print(table.Render(context.width(), context.colors()));
}

std::string JsonOf(const QueueInfo& queue) { return QueueJson(queue); }
std::string JsonOf(const TypeInfo& type) { return TypeJson(type); }

// One, as `show`, `set`, `pause` and `resume` print it.
template <class Info>
int PrintOne(const Context& context, const absl::StatusOr<Info>& info) {
  if (!info.ok()) return context.Fail(info.status());
  switch (context.form()) {
    case Form::kTable:
      Show(context, {*info});
      break;
    case Form::kId:
      Print(Printable(info->name) + "\n");
      break;
    case Form::kJson:
    case Form::kJsonl:
      Print(JsonOf(*info) + "\n");
      break;
  }
  return FinishOutput();
}

template <class Info>
int PrintAll(const Context& context, const char* what, const char* none,
             const std::vector<Info>& infos) {
  ItemStream stream(context.form(), what);
  for (const Info& info : infos) stream.Add(JsonOf(info), info.name);
  stream.Finish();
  if (context.form() == Form::kTable) {
    if (infos.empty()) context.Note(none);
    if (!infos.empty()) Show(context, infos);
  }
  return FinishOutput();
}

// Calls `act` with a client.
template <class Act>
int WithClient(const Context& context, Act act) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  return client.ok() ? act(**client) : context.Fail(client.status());
}

constexpr char kNoQueues[] = "no queues yet; the first task makes one";
constexpr char kNoTypes[] = "no types yet; the first task makes one";

int ListQueues(const Context& context) {
  return WithClient(context, [&](Client& client) {
    absl::StatusOr<std::vector<QueueInfo>> queues = client.Queues();
    return queues.ok() ? PrintAll(context, "queues", kNoQueues, *queues)
                       : context.Fail(queues.status());
  });
}

int ListTypes(const Context& context) {
  return WithClient(context, [&](Client& client) {
    absl::StatusOr<std::vector<TypeInfo>> types = client.Types();
    return types.ok() ? PrintAll(context, "types", kNoTypes, *types) : context.Fail(types.status());
  });
}

int Change(const Context& context, const std::string& name, const QueueChange& change) {
  return WithClient(
      context, [&](Client& client) { return PrintOne(context, client.SetQueue(name, change)); });
}

int Change(const Context& context, const std::string& name, const TypeChange& change) {
  return WithClient(
      context, [&](Client& client) { return PrintOne(context, client.SetType(name, change)); });
}

int Purge(const Context& context, Client& client, const std::string& name, bool yes) {
  absl::StatusOr<QueueInfo> queue = client.GetQueue(name);
  if (!queue.ok()) return context.Fail(queue.status());
  if (!yes) {
    uint64_t waiting = 0;
    for (TaskState state : {TaskState::kScheduled, TaskState::kReady, TaskState::kRetryWait})
      waiting += CountOf(*queue, state);
    return context.Usage("this would cancel the " + std::to_string(waiting) +
                         " tasks that wait in queue '" + name + "'; repeat it with --yes");
  }
  absl::StatusOr<uint64_t> cancelled = client.PurgeQueue(name);
  if (!cancelled.ok()) return context.Fail(cancelled.status());
  if (context.form() == Form::kJson || context.form() == Form::kJsonl)
    Print("{\"cancelled\":" + std::to_string(*cancelled) + "}\n");
  if (context.form() == Form::kTable)
    Print(std::to_string(*cancelled) + " tasks of queue '" + Printable(name) + "' cancelled\n");
  return FinishOutput();
}

// Until nothing is left of it, or `timeout_ms` has passed.
int AwaitDrained(const Context& context, Client& client, const std::string& name,
                 int64_t timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (true) {
    absl::StatusOr<QueueInfo> queue = client.GetQueue(name);
    if (!queue.ok()) return context.Fail(queue.status());
    if (UnfinishedOf(*queue) == 0) return PrintOne(context, queue);
    if (std::chrono::steady_clock::now() >= deadline)
      return context.Fail(
          Error(ErrorCode::kTimedOut, "queue '" + name + "' still has " +
                                          std::to_string(UnfinishedOf(*queue)) +
                                          " unfinished tasks; it goes on draining"));
    std::this_thread::sleep_for(kLookInterval);
  }
}

int Drain(const Context& context, const std::string& name, bool wait, int64_t timeout_ms) {
  return WithClient(context, [&](Client& client) {
    absl::StatusOr<QueueInfo> queue = client.SetQueue(name, {.draining = true});
    return queue.ok() && wait ? AwaitDrained(context, client, name, timeout_ms)
                              : PrintOne(context, queue);
  });
}

void AddDrain(Context& context, Actions& actions, Flags& drain,
              const std::shared_ptr<std::string>& name) {
  auto wait = std::make_shared<bool>(false);
  auto timeout_ms = std::make_shared<int64_t>(kDefaultDrainMs);
  drain.Switch("--wait", wait.get(), "Wait until it has no unfinished task");
  drain
      .Duration("--timeout", timeout_ms.get(), "Give up waiting after so long (exit code 124)", 0,
                kMaxDrainMs)
      .default_text = FormatDurationMs(kDefaultDrainMs);
  drain.Notes(
      "Submits are refused with RESOURCE_EXHAUSTED, and ticks of schedules wait, as if it were "
      "full. "
      "Retries\nand what follows accepted tasks still come in. `queue resume` ends it.");
  drain.Example("zsched-ctl queue drain mail --wait --timeout 10m");
  actions["queue drain"] = [&context, name, wait, timeout_ms] {
    return Drain(context, *name, *wait, *timeout_ms);
  };
}

template <class Changes>
int Set(const Context& context, const std::string& name, const std::vector<std::string>& rules) {
  Changes change;
  for (const std::string& rule : rules)
    if (absl::Status status = ParseRule(rule, &change); !status.ok())
      return context.Usage(MessageOf(status));
  return Change(context, name, change);
}

void AddPurge(Context& context, Actions& actions, Flags& family,
              const std::shared_ptr<std::string>& name) {
  Flags& purge =
      family.Command("purge", "Cancel every task of a queue that waits; what runs goes on");
  purge.Positional("QUEUE", name.get(), "Its name");
  auto yes = std::make_shared<bool>(false);
  purge.Switch("--yes", yes.get(), "Do it; without it you are told how many tasks that would be");
  purge.Notes("Pause the queue first if nothing of it is to start meanwhile.");
  purge.Example("zsched-ctl queue purge mail --yes");
  actions["queue purge"] = [&context, name, yes] {
    return WithClient(context, [&](Client& client) { return Purge(context, client, *name, *yes); });
  };
}

}  // namespace

void AddQueue(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("queue", "See queues, pause them, set their rules");
  family.Example("zsched-ctl queue set mail rate=100/m max-running=4");
  Flags& list = family.Command("list", "List all queues");
  list.Notes("STATE: why a queue hands nothing out now, or open.");
  list.Example("zsched-ctl queue list");
  actions["queue list"] = [&context] { return ListQueues(context); };

  auto name = std::make_shared<std::string>();
  auto command = [&](const char* verb, const char* what) -> Flags& {
    Flags& flags = family.Command(verb, what);
    flags.Positional("QUEUE", name.get(), "Its name");
    return flags;
  };
  command("show", "Show one queue").Example("zsched-ctl queue show mail -o json");
  actions["queue show"] = [&context, name] {
    return WithClient(context,
                      [&](Client& client) { return PrintOne(context, client.GetQueue(*name)); });
  };

  Flags& set = command("set", "Set rules of a queue; the others stay");
  auto rules = std::make_shared<std::vector<std::string>>();
  set.Positionals("RULE", rules.get(), "key=value; key=none takes the rule away");
  set.Notes("Rules:\n" + QueueRuleHelp());
  set.Example("zsched-ctl queue set mail rate=100/m burst=10");
  set.Example("zsched-ctl queue set mail rate=none max-running=4");
  actions["queue set"] = [&context, name, rules] {
    return Set<QueueChange>(context, *name, *rules);
  };

  command("pause", "Hand out nothing of a queue; submits are taken, what runs goes on")
      .Example("zsched-ctl queue pause mail");
  actions["queue pause"] = [&context, name] {
    return Change(context, *name, QueueChange{.paused = true});
  };
  AddPurge(context, actions, family, name);
  AddDrain(context, actions,
           command("drain", "Take no new tasks into a queue; what it has runs on"), name);
  command("resume", "Hand out tasks of a paused queue again, take tasks into a drained one")
      .Example("zsched-ctl queue resume mail");
  actions["queue resume"] = [&context, name] {
    return Change(context, *name, QueueChange{.paused = false, .draining = false});
  };
}

void AddType(Context& context, Actions& actions) {
  Flags& family =
      context.flags().Command("type", "See types of tasks, pause them, set their rules");
  family.Example("zsched-ctl type set resize max-running=4");
  Flags& list = family.Command("list", "List all types");
  list.Notes("STATE: why no task of the type is handed out now, whatever its queue, or open.");
  list.Example("zsched-ctl type list");
  actions["type list"] = [&context] { return ListTypes(context); };

  auto name = std::make_shared<std::string>();
  auto command = [&](const char* verb, const char* what) -> Flags& {
    Flags& flags = family.Command(verb, what);
    flags.Positional("TYPE", name.get(), "Its name");
    return flags;
  };
  command("show", "Show one type").Example("zsched-ctl type show resize -o json");
  actions["type show"] = [&context, name] {
    return WithClient(context,
                      [&](Client& client) { return PrintOne(context, client.GetType(*name)); });
  };
  Flags& set = command("set", "Set rules of a type, over all queues; the others stay");
  auto rules = std::make_shared<std::vector<std::string>>();
  set.Positionals("RULE", rules.get(), "key=value; key=none takes the rule away");
  set.Notes("Rules:\n" + TypeRuleHelp());
  set.Example("zsched-ctl type set resize max-running=4 rate=100/m");
  actions["type set"] = [&context, name, rules] { return Set<TypeChange>(context, *name, *rules); };
  command("pause", "Hand out no task of a type; submits are taken, what runs goes on")
      .Example("zsched-ctl type pause resize");
  actions["type pause"] = [&context, name] {
    return Change(context, *name, TypeChange{.paused = true});
  };
  command("resume", "Hand out tasks of a paused type again")
      .Example("zsched-ctl type resume resize");
  actions["type resume"] = [&context, name] {
    return Change(context, *name, TypeChange{.paused = false});
  };
}

}  // namespace zsched::ctl
