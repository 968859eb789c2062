#include "client/ctl/context.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "client/ctl/table.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

constexpr size_t kPipeWidth = 100, kMinWidth = 60, kMaxWidth = 240;

// One broker of a list that may be gone: the next one is asked soon.
constexpr int64_t kObserveMs = 1'000;

volatile sig_atomic_t g_interrupted = 0;

// Parse fails before the flags have their values, so the form of its error is read off the words.
bool WantsMachineErrors(int argc, const char* const* argv) {
  std::string form;
  if (const char* variable = std::getenv("ZSCHED_OUTPUT")) form = variable;
  for (int i = 1; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    std::string_view word = argv[i];
    if ((word == "-o" || word == "--output") && i + 1 < argc) {
      form = argv[i + 1];
    } else if (word.starts_with("--output=")) {
      form = word.substr(sizeof "--output=" - 1);
    } else if (word.starts_with("-o")) {
      form = word.substr(2);
    }
  }
  return form == "json" || form == "jsonl";
}

}  // namespace

Context::Context(Flags& flags) : flags_(flags) {
  flags.Brokers("--brokers", &brokers_, "Brokers; the active one is found by itself");
  flags.Text("-o,--output", &output_, "Form of the output", "FORM",
             {"table", "json", "jsonl", "id"});
  flags.Switch("--stale", &stale_,
               "Let any broker answer, also a standby, which may be a moment behind; for commands "
               "that only look");
  flags.Duration("--connect-timeout", &connect_timeout_ms_, "How long to look for a broker", 1);
  flags.ReportUsageErrors([](int argc, const char* const* argv, const std::string& message) {
    if (!WantsMachineErrors(argc, argv)) return false;
    std::fprintf(stderr, "%s\n", ErrorJson(Error(ErrorCode::kInvalidArgument, message)).c_str());
    return true;
  });
}

Form Context::form() const {
  if (output_ == "json") return Form::kJson;
  if (output_ == "jsonl") return Form::kJsonl;
  if (output_ == "id") return Form::kId;
  return Form::kTable;
}

bool Context::colors() const {
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0') &&
         (terminal == nullptr || std::strcmp(terminal, "dumb") != 0);
}

size_t Context::width() const {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
      size.ws_col == 0)
    return kPipeWidth;
  return std::clamp<size_t>(size.ws_col, kMinWidth, kMaxWidth);
}

std::string Context::BrokerText() const {
  std::string text;
  for (const HostPort& address : brokers_) text += (text.empty() ? "" : ",") + ToString(address);
  return text;
}

absl::StatusOr<std::unique_ptr<Client>> Context::MakeClient(ClientOptions options) const {
  options.brokers = BrokerText();
  options.observe |= stale_;
  return Client::Create(std::move(options));
}

absl::StatusOr<std::unique_ptr<Client>> Context::Observe(const HostPort& broker) const {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<Client> client,
                      Client::Create({.brokers = ToString(broker), .observe = true}));
  ZS_RETURN_IF_ERROR(client->WaitForBroker(std::min(connect_timeout_ms_, kObserveMs)));
  return client;
}

absl::Status Context::NoteStale(Client& client) const {
  ZS_ASSIGN_OR_RETURN(const StatusInfo status, client.Status());
  const bool active =
      status.role == BrokerRole::kActiveSync || status.role == BrokerRole::kActiveSolo;
  if (!active)
    Note("answered by the " + status.node + ", which is " + std::string(NameOf(status.role)) +
         " and may be behind the active broker");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Client>> Context::Connect(ClientOptions options) const {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<Client> client, MakeClient(std::move(options)));
  absl::Status status = client->WaitForBroker(connect_timeout_ms_);
  if (status.ok() && stale_) status = NoteStale(*client);
  if (status.ok()) return client;
  ErrorCode code = CodeOf(status);
  if (code != ErrorCode::kTimedOut && code != ErrorCode::kUnavailable) return status;
  return Error(ErrorCode::kUnavailable,
               "no broker answered at " + BrokerText() + " within " +
                   FormatDurationMs(connect_timeout_ms_) +
                   "; start one with `zsched-broker --data DIR`, or name it with --brokers");
}

int Context::Fail(const absl::Status& status) const {
  std::fflush(stdout);
  std::string line =
      machine_form() ? ErrorJson(status) : "zsched-ctl: " + Printable(MessageOf(status));
  std::fprintf(stderr, "%s\n", line.c_str());
  return InfoOf(CodeOf(status)).exit_code;
}

int Context::Usage(const std::string& message) const { return flags_.UsageError(message); }

int Context::RefuseIdForm() const {
  return form() == Form::kId ? Usage("there are no ids to print here; use -o table, json or jsonl")
                             : 0;
}

void Context::Note(const std::string& message) const {
  if (machine_form()) return;
  std::fflush(stdout);
  std::fprintf(stderr, "zsched-ctl: %s\n", Printable(message).c_str());
}

void CatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { g_interrupted = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool Interrupted() { return g_interrupted != 0; }

absl::StatusOr<std::vector<TaskId>> ParseIds(const std::vector<std::string>& texts) {
  std::vector<TaskId> ids;
  for (const std::string& text : texts) {
    std::optional<TaskId> id = ParseId<TaskId>(text);
    if (!id)
      return Error(ErrorCode::kInvalidArgument,
                   "'" + text + "' is not a task id; they look like 4-17");
    ids.push_back(*id);
  }
  return ids;
}

absl::StatusOr<Label> ParseLabel(const std::string& text) {
  size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0)
    return Error(ErrorCode::kInvalidArgument,
                 "'" + text + "' is not a label; write it like team=blue");
  return Label{text.substr(0, equals), text.substr(equals + 1)};
}

}  // namespace zsched::ctl
