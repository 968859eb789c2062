// `zsched-ctl worker`: who is connected, and asking one to leave.
#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

// Enough of an id to tell workers apart; `worker drain` takes it.
constexpr size_t kShortIdDigits = 8;

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text.empty() ? "(all)" : text;
}

Cell StateOf(const WorkerSummary& worker) {
  if (worker.silent_ms > 2 * kHeartbeatMs)
    return {"silent " + ShortDuration(worker.silent_ms), Color::kRed};
  if (worker.draining) return {"draining", Color::kYellow};
  return worker.running > 0 ? Cell{"busy", Color::kBlue} : Cell{"idle", Color::kGreen};
}

int List(const Context& context) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::StatusOr<std::vector<WorkerSummary>> workers = (*client)->Workers();
  if (!workers.ok()) return context.Fail(workers.status());
  ItemStream stream(context.form(), "workers");
  Table table({{.title = "ID"},
               {.title = "NAME", .elastic = true},
               {.title = "STATE"},
               {.title = "HOST", .elastic = true},
               {.title = "PID", .right = true},
               {.title = "QUEUES", .elastic = true},
               {.title = "TYPES", .elastic = true},
               {.title = "RUN", .right = true},
               {.title = "HELD", .right = true},
               {.title = "DONE", .right = true}});
  for (const WorkerSummary& worker : *workers) {
    stream.Add(WorkerJson(worker), ToString(worker.id));
    table.Row({{ToString(worker.id).substr(0, kShortIdDigits)},
               {worker.name},
               StateOf(worker),
               {worker.host},
               {std::to_string(worker.pid)},
               {Joined(worker.queues)},
               {Joined(worker.types)},
               {std::to_string(worker.running) + "/" + std::to_string(worker.concurrency)},
               {std::to_string(worker.outstanding)},
               {std::to_string(worker.finished)}});
  }
  stream.Finish();
  if (context.form() == Form::kTable) {
    if (table.empty()) context.Note("no worker is connected; start one with `zsched-worker`");
    if (!table.empty()) Print(table.Render(context.width(), context.colors()));
  }
  return FinishOutput();
}

int Drain(const Context& context, const std::string& worker) {
  absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  if (absl::Status status = (*client)->DrainWorker(worker); !status.ok())
    return context.Fail(status);
  switch (context.form()) {
    case Form::kTable:
      Print("worker " + Printable(worker) +
            " is draining: it finishes what runs, gives the rest back and leaves\n");
      break;
    case Form::kId:
      Print(Printable(worker) + "\n");
      break;
    case Form::kJson:
    case Form::kJsonl:
      Print("{\"worker\":" + Quote(worker) + ",\"draining\":true}\n");
      break;
  }
  return FinishOutput();
}

}  // namespace

void AddWorker(Context& context, Actions& actions) {
  Flags& family = context.flags().Command("worker", "See workers, or have one leave");
  family.Example("zsched-ctl worker list");
  Flags& list = family.Command("list", "List the connected workers");
  list.Notes("RUN: attempts running of its concurrency; HELD: tasks sent to it and not finished.");
  list.Example("zsched-ctl worker list");
  actions["worker list"] = [&context] { return List(context); };
  Flags& drain =
      family.Command("drain", "Have a worker finish what it runs, give back the rest, and leave");
  auto worker = std::make_shared<std::string>();
  drain.Positional("ID", worker.get(), "Its id, an unambiguous start of it, or its name");
  drain.Example("zsched-ctl worker drain 9f3a01c2");
  actions["worker drain"] = [&context, worker] { return Drain(context, *worker); };
}

}  // namespace zsched::ctl
