// `zsched-ctl queue`: what is in the queues, and the rules by which they hand tasks out.
#include "client/ctl/context.h"
#include "client/ctl/json.h"
#include "client/ctl/output.h"
#include "client/ctl/queue_rules.h"

namespace zsched::ctl {
namespace {

uint64_t CountOf(const QueueInfo& queue, TaskState state) {
  return queue.counts[static_cast<size_t>(state)];
}

Cell StateOf(const QueueInfo& queue) {
  switch (queue.gate) {
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

std::string RuleText(const QueueSettings& settings) {
  std::string text;
  for (const auto& [key, value] : RulesOf(settings))
    text += (text.empty() ? "" : " ") + key + "=" + value;
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
    row.push_back({RuleText(queue.settings)});
    table.Row(std::move(row));
  }
  Print(table.Render(context.width(), context.colors()));
}

// One queue, as `show`, `set`, `pause` and `resume` print it.
int PrintOne(const Context& context, const absl::StatusOr<QueueInfo>& queue) {
  if (!queue.ok()) return context.Fail(queue.status());
  switch (context.form()) {
    case Form::kTable:
      Show(context, {*queue});
      break;
    case Form::kId:
      Print(Printable(queue->name) + "\n");
      break;
    case Form::kJson:
    case Form::kJsonl:
      Print(QueueJson(*queue) + "\n");
      break;
  }
  return FinishOutput();
}

int List(const Context& context) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::StatusOr<std::vector<QueueInfo>> queues = (*client)->Queues();
  if (!queues.ok()) return context.Fail(queues.status());
  ItemStream stream(context.form(), "queues");
  for (const QueueInfo& queue : *queues) stream.Add(QueueJson(queue), queue.name);
  stream.Finish();
  if (context.form() == Form::kTable) {
    if (queues->empty()) context.Note("no queues yet; the first task makes one");
    if (!queues->empty()) Show(context, *queues);
  }
  return FinishOutput();
}

int ShowOne(const Context& context, const std::string& name) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  return PrintOne(context, (*client)->GetQueue(name));
}

int Change(const Context& context, const std::string& name, const QueueChange& change) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  return PrintOne(context, (*client)->SetQueue(name, change));
}

int Set(const Context& context, const std::string& name, const std::vector<std::string>& rules) {
  QueueChange change;
  for (const std::string& rule : rules)
    if (absl::Status status = ParseRule(rule, &change); !status.ok())
      return context.Usage(MessageOf(status));
  return Change(context, name, change);
}

}  // namespace

void AddQueue(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("queue", "See queues, pause them, set their rules");
  family.Example("zsched-ctl queue set mail rate=100/m max-running=4");
  Flags& list = family.Command("list", "List all queues");
  list.Notes("STATE: why a queue hands nothing out now, or open.");
  list.Example("zsched-ctl queue list");
  actions["queue list"] = [&context] { return List(context); };

  auto name = std::make_shared<std::string>();
  auto command = [&](const char* verb, const char* what) -> Flags& {
    Flags& flags = family.Command(verb, what);
    flags.Positional("QUEUE", name.get(), "Its name");
    return flags;
  };
  command("show", "Show one queue").Example("zsched-ctl queue show mail -o json");
  actions["queue show"] = [&context, name] { return ShowOne(context, *name); };

  Flags& set = command("set", "Set rules of a queue; the others stay");
  auto rules = std::make_shared<std::vector<std::string>>();
  set.Positionals("RULE", rules.get(), "key=value; key=none takes the rule away");
  set.Notes("Rules:\n" + RuleHelp());
  set.Example("zsched-ctl queue set mail rate=100/m burst=10");
  set.Example("zsched-ctl queue set mail rate=none max-running=4");
  actions["queue set"] = [&context, name, rules] { return Set(context, *name, *rules); };

  command("pause", "Hand out nothing of a queue; submits are taken, what runs goes on")
      .Example("zsched-ctl queue pause mail");
  actions["queue pause"] = [&context, name] { return Change(context, *name, {.paused = true}); };
  command("resume", "Hand out tasks of a paused queue again")
      .Example("zsched-ctl queue resume mail");
  actions["queue resume"] = [&context, name] { return Change(context, *name, {.paused = false}); };
}

}  // namespace zsched::ctl
