#include "client/ctl/output.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "client/json/json.h"

namespace zsched::ctl {

void Print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

int FinishOutput() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  std::fprintf(stderr, "zsched-ctl: the output could not be written: %s\n", std::strerror(errno));
  return InfoOf(ErrorCode::kInternal).exit_code;
}

int64_t WallMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Color ColorOf(TaskState state) {
  switch (state) {
    case TaskState::kSucceeded:
      return Color::kGreen;
    case TaskState::kDead:
      return Color::kRed;
    case TaskState::kRetryWait:
      return Color::kYellow;
    case TaskState::kLeased:
      return Color::kBlue;
    case TaskState::kCancelled:
    case TaskState::kBlocked:
    case TaskState::kScheduled:
      return Color::kGray;
    case TaskState::kReady:
      break;
  }
  return Color::kNone;
}

void ItemStream::Add(std::string_view json, std::string_view id) {
  if (form_ == Form::kJson) {
    Print(count_ == 0 ? "{\"" + name_ + "\":[" : std::string(","));
    Print(json);
  } else if (form_ != Form::kTable) {
    Print(form_ == Form::kId ? id : json);
    Print("\n");
  }
  ++count_;
}

void ItemStream::Finish(std::string_view more) {
  if (form_ != Form::kJson) return;
  if (count_ == 0) Print("{\"" + name_ + "\":[");
  Print("]");
  if (!more.empty()) Print("," + std::string(more));
  Print("}\n");
}

TaskWriter::TaskWriter(const Context& context)
    : context_(context),
      stream_(context.form(), "tasks"),
      table_({{.title = "ID"},
              {.title = "STATE"},
              {.title = "QUEUE", .elastic = true},
              {.title = "TYPE", .elastic = true},
              {.title = "TRY", .right = true},
              {.title = "AGE", .right = true},
              {.title = "WORKER", .elastic = true},
              {.title = "RESULT", .elastic = true}}) {}

bool TaskWriter::needs_details() const {
  return context_.form() != Form::kId && (context_.form() != Form::kTable || rows_ < kMaxTableRows);
}

void TaskWriter::Add(const TaskInfo& task) {
  if (context_.form() != Form::kTable) {
    std::string id = ToString(task.id);
    return stream_.Add(needs_details() ? TaskJson(task) : "", id);
  }
  if (rows_ >= kMaxTableRows) {
    ++skipped_;
    return;
  }
  ++rows_;
  bool failed = task.error != ErrorCode::kOk && task.state != TaskState::kSucceeded;
  std::string result =
      failed ? std::string(TextOf(task.error)) + ": " + task.error_message : task.result;
  table_.Row({{ToString(task.id)},
              {std::string(NameOf(task.state)), ColorOf(task.state)},
              {task.queue},
              {task.type},
              {std::to_string(task.attempt) + "/" + std::to_string(task.max_attempts)},
              {task.submitted_at_ms == 0
                   ? "-"
                   : ShortDuration(std::max<int64_t>(WallMs() - task.submitted_at_ms, 0))},
              {task.worker.empty() ? "-" : task.worker},
              // A cell shows a few words; cutting first keeps a megabyte out of the table.
              {result.substr(0, 4 * context_.width()), failed ? Color::kRed : Color::kNone}});
}

void TaskWriter::Flush() {
  if (context_.form() != Form::kTable) std::fflush(stdout);
}

void TaskWriter::Finish(std::string_view more) {
  stream_.Finish(more);
  if (table_.empty()) return;
  Print(table_.Render(context_.width(), context_.colors()));
  if (skipped_ > 0)
    context_.Note("and " + std::to_string(skipped_) + " more; -o jsonl prints them all");
}

}  // namespace zsched::ctl
