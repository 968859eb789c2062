// `zsched-ctl task logs`: what attempts at a task wrote, also while they run.
#include <poll.h>
#include <unistd.h>

#include <cstdio>

#include "client/ctl/context.h"
#include "client/ctl/output.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

constexpr int kFollowEveryMs = 250;

struct LogFlags {
  std::string id;
  std::string stream;  // empty: all
  std::optional<uint64_t> attempt;
  bool follow = false;
  bool prefix = false;
};

// Bytes for a person: as they are, but harmless on a terminal; with `prefix` each line says where it was
// written.
class TextWriter {
 public:
  TextWriter(bool prefix, bool harmless) : prefix_(prefix), harmless_(harmless) {}

  void Write(const OutputPiece& piece) {
    const std::string text = harmless_ ? PrintableLines(piece.bytes) : piece.bytes;
    if (!prefix_) return Print(text);
    if (!line_begins_ && piece.stream != last_) EndLine();
    last_ = piece.stream;
    for (std::string_view rest = text; !rest.empty();) {
      const size_t line = std::min(rest.find('\n'), rest.size() - 1) + 1;
      if (line_begins_) Print("[" + std::string(NameOf(piece.stream)) + "] ");
      Print(rest.substr(0, line));
      line_begins_ = rest[line - 1] == '\n';
      rest.remove_prefix(line);
    }
  }

 private:
  void EndLine() {
    Print("\n");
    line_begins_ = true;
  }

  const bool prefix_, harmless_;
  bool line_begins_ = true;
  OutputStream last_ = OutputStream::kLog;
};

class LogsJob {
 public:
  LogsJob(const Context& context, const LogFlags& flags, TaskId id)
      : context_(context),
        flags_(flags),
        id_(id),
        attempt_(static_cast<uint32_t>(flags.attempt.value_or(0))),
        text_(flags.prefix, isatty(STDOUT_FILENO) != 0),
        stream_(context.form(), "output") {}

  int Run() {
    absl::StatusOr<std::unique_ptr<Client>> client = context_.Connect();
    if (!client.ok()) return context_.Fail(client.status());
    CatchInterrupts();
    while (true) {
      absl::StatusOr<TaskOutput> output = (*client)->Logs(id_, attempt_, from_);
      if (Interrupted()) return Leave();
      if (!output.ok()) return context_.Fail(output.status());
      Show(*output);
      if (std::fflush(stdout) != 0) break;
      const Next next = NextAfter(*output);
      if (next == Next::kEnd) break;
      if (next == Next::kLater) poll(nullptr, 0, kFollowEveryMs);
      if (Interrupted()) return Leave();
    }
    stream_.Finish("\"id\":" + Quote(ToString(id_)));
    if (!shown_ && attempt_ == 0) context_.Note("no attempt yet");
    if (!shown_ && attempt_ != 0)
      context_.Note("nothing that attempt " + std::to_string(attempt_) + " wrote is kept");
    return FinishOutput();
  }

 private:
  enum class Next : uint8_t { kEnd, kLater, kAtOnce };

  void Show(const TaskOutput& output) {
    if (attempt_ == 0) attempt_ = output.attempt;
    for (const OutputPiece& piece : output.pieces) {
      if (piece.offset > from_)
        context_.Note("… " + std::to_string(piece.offset - from_) + " bytes are not kept …");
      from_ = piece.offset + piece.bytes.size();
      if (!flags_.stream.empty() && NameOf(piece.stream) != flags_.stream) continue;
      shown_ = true;
      stream_.Add(OutputPieceJson(attempt_, piece), "");
      if (context_.form() == Form::kTable) text_.Write(piece);
    }
  }

  // What to ask for after an answer, which says how things stood.
  Next NextAfter(const TaskOutput& output) {
    if (!flags_.follow) return Next::kEnd;
    if (output.running) return Next::kLater;
    if (attempt_ == 0) {  // from its first attempt on
      if (output.finished) return Next::kEnd;
      attempt_ = 1;
      return Next::kLater;
    }
    if (flags_.attempt && output.last_attempt >= attempt_) return Next::kEnd;
    if (output.last_attempt > attempt_) {
      from_ = 0;
      context_.Note("attempt " + std::to_string(++attempt_));
      return Next::kAtOnce;
    }
    return output.finished ? Next::kEnd : Next::kLater;
  }

  int Leave() {
    stream_.Finish("\"id\":" + Quote(ToString(id_)));
    std::fflush(stdout);
    return kExitInterrupted;
  }

  const Context& context_;
  const LogFlags& flags_;
  const TaskId id_;
  uint32_t attempt_;    // 0: whichever is the last
  uint64_t from_ = 0;   // of what it wrote
  bool shown_ = false;  // anything
  TextWriter text_;
  ItemStream stream_;
};

int Logs(const Context& context, const LogFlags& flags) {
  absl::StatusOr<std::vector<TaskId>> ids = ParseIds({flags.id});
  if (!ids.ok()) return context.Usage(MessageOf(ids.status()));
  if (int code = context.RefuseIdForm(); code != 0) return code;
  return LogsJob(context, flags, ids->front()).Run();
}

}  // namespace

void AddTaskLogs(Context& context, Flags& family, Actions& actions) {
  Flags& command = family.Command("logs", "Show what an attempt at a task wrote, or follow it");
  auto flags = std::make_shared<LogFlags>();
  command.Positional("ID", &flags->id, "A task id, such as 4-17");
  command.Number("--attempt", &flags->attempt, "Number of the attempt; without it the last one", 1,
                 UINT16_MAX);
  command.Switch("--follow", &flags->follow,
                 "Go on while it runs, and with the next attempts until the task is over");
  command.Text("--stream", &flags->stream, "Only what was written there", "STREAM",
               {"log", "stdout", "stderr"});
  command.Switch("--prefix", &flags->prefix, "Say before each line where it was written");
  command.Notes(
      "What handlers log and what programs write to stdout and stderr, in the order in which it\n"
      "came; of each attempt the last " +
      std::to_string(kOutputPages * kOutputPageBytes >> 10) +
      " KiB are kept for as long as the task is. What is\n"
      "missing is said on stderr.");
  command.Example("zsched-ctl task logs 4-17 --follow");
  command.Example("zsched-ctl task logs 4-17 --attempt 1 --stream stderr");
  actions["task logs"] = [&context, flags] { return Logs(context, *flags); };
}

}  // namespace zsched::ctl
