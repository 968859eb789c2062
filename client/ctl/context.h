// What every command of zsched-ctl shares: the global flags, the connection, the form of output and
// of errors, Ctrl-C. Owned by zsched-ctl.
//
// Example (a command):
//   absl::StatusOr<std::unique_ptr<Client>> client = context.Connect();
//   if (!client.ok()) return context.Fail(client.status());
//
// Threads: the main thread, but for Interrupted().
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/config.h"
#include "schemas/limits.h"
#include "zsched/client.h"

namespace zsched::ctl {

enum class Form : uint8_t { kTable, kJson, kJsonl, kId };

// Exit codes that are not a row of the error registry.
inline constexpr int kExitTaskFailed = 1;
inline constexpr int kExitInterrupted = 130;  // as shells count SIGINT

// What each command does; the key is its path ("task wait"). The result is the exit code.
using Actions = std::map<std::string, std::function<int()>>;

class Context {
 public:
  // Adds the global flags.
  explicit Context(Flags& flags);

  Flags& flags() { return flags_; }
  // After Flags::Parse.
  Form form() const;
  bool machine_form() const { return form() == Form::kJson || form() == Form::kJsonl; }
  // Whether stdout gets colours, and how wide a table may be.
  bool colors() const;
  size_t width() const;

  // A client with an open session. UNAVAILABLE says where no broker answered and what to do.
  absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options = {}) const;
  // The same without waiting for a broker.
  absl::StatusOr<std::unique_ptr<Client>> MakeClient(ClientOptions options = {}) const;
  // An observer of one of --brokers: what it knows itself.
  absl::StatusOr<std::unique_ptr<Client>> Observe(const HostPort& broker) const;
  const std::vector<HostPort>& brokers() const { return brokers_; }
  std::string BrokerText() const;
  int64_t connect_timeout_ms() const { return connect_timeout_ms_; }

  // Prints an error in the form of the output, on stderr; returns its exit code.
  int Fail(const absl::Status& status) const;
  // A usage error found after parsing: prints it and returns 2.
  int Usage(const std::string& message) const;
  // For commands whose output has no ids: 2 after an error when -o id was asked for, else 0.
  int RefuseIdForm() const;
  // Says who has answered when that is not the active broker.
  absl::Status NoteStale(Client& client) const;
  // A remark for people on stderr; nothing with -o json and jsonl.
  void Note(const std::string& message) const;

 private:
  Flags& flags_;
  std::vector<HostPort> brokers_ = {{kDefaultHost, kDefaultPort}};
  std::string output_ = "table";
  int64_t connect_timeout_ms_ = 5000;
  bool stale_ = false;
};

// From here on the first SIGINT or SIGTERM only makes Interrupted() true; a second one ends the
// program.
void CatchInterrupts();
bool Interrupted();

// Ids as the user typed them; INVALID_ARGUMENT names the first that is none.
absl::StatusOr<std::vector<TaskId>> ParseIds(const std::vector<std::string>& texts);
// "key=value"; INVALID_ARGUMENT.
absl::StatusOr<Label> ParseLabel(const std::string& text);

// Each adds the commands of its family.
void AddSubmit(Context& context, Actions& actions);
void AddTask(Context& context, Actions& actions);
void AddDlq(Context& context, Actions& actions);
void AddExplain(Context& context, Flags& family, Actions& actions);
// Those of `family` that show what attempts left behind.
void AddTaskTrails(Context& context, Flags& family, Actions& actions);
void AddTaskLogs(Context& context, Flags& family, Actions& actions);
void AddQueue(Context& context, Actions& actions);
void AddType(Context& context, Actions& actions);
void AddWorker(Context& context, Actions& actions);
void AddCluster(Context& context, Actions& actions);
void AddEvents(Context& context, Actions& actions);
void AddCron(Context& context, Actions& actions);
// Those of `cron` that ask a broker.
void AddSchedules(Context& context, Flags& cron, Actions& actions);
void AddConfig(Context& context, Actions& actions);
void AddCompletion(Context& context, Actions& actions);

}  // namespace zsched::ctl
