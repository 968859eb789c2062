#include "client/ctl/submit_job.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "client/ctl/lines.h"
#include "client/json/json.h"

namespace zsched::ctl {
namespace {

// One batch: enough for full frames, small enough that results flow while the input is read.
constexpr size_t kBatchTasks = 1000;
// Tasks that the hint after Ctrl-C names one by one.
constexpr size_t kHintIds = 8;
// How long the main thread sleeps at most: what Ctrl-C and the progress bar need.
constexpr std::chrono::milliseconds kTick{100};

std::string Counted(uint64_t n, std::string_view noun) {
  return std::to_string(n) + " " + std::string(noun) + (n == 1 ? "" : "s");
}

}  // namespace

SubmitJob::SubmitJob(const Context& context, SubmitPlan plan)
    : context_(context),
      plan_(std::move(plan)),
      id_stream_(context.form(), "ids"),
      task_writer_(context),
      ended_([this] {
        std::lock_guard lock(mutex_);
        changed_.notify_all();
      }) {}

SubmitJob::~SubmitJob() {
  if (producer_.joinable()) producer_.join();
}

int SubmitJob::Run() {
  absl::StatusOr<std::unique_ptr<Client>> client = context_.Connect(MakeOptions());
  if (!client.ok()) return context_.Fail(client.status());
  client_ = *std::move(client);
  CatchInterrupts();
  producer_ = std::thread([this] { Produce(); });
  return Consume();
}

ClientOptions SubmitJob::MakeOptions() {
  ClientOptions options;
  options.name = "zsched-ctl submit";
  // A stream waits for room, as a pipe does; who submits a given number wants to be told.
  options.retry_exhausted = plan_.each_line.has_value();
  if (plan_.wait) options.on_outcomes = [this](std::span<Outcome> all) { ended_.Push(all); };
  options.on_connection = [this](const absl::Status& status) { OnConnection(status); };
  return options;
}

// --- Producer thread -------------------------------------------------------------------------------

void SubmitJob::Produce() {
  if (plan_.each_line) {
    ProduceLines();
  } else {
    ProduceCopies();
  }
  std::lock_guard lock(mutex_);
  produced_all_ = true;
  changed_.notify_all();
}

void SubmitJob::ProduceCopies() {
  size_t payload = std::max<size_t>(plan_.task.payload.size(), 1);
  size_t most = std::clamp<size_t>(kBatchTargetBytes / payload, 1, kBatchTasks);
  for (uint64_t left = plan_.count; left > 0 && !stop_;) {
    size_t size = std::min<uint64_t>(left, most);
    std::vector<TaskSpec> batch(size, plan_.task);
    if (!Send(batch)) return;
    left -= size;
  }
}

void SubmitJob::ProduceLines() {
  const bool standard_input = *plan_.each_line == "-";
  int fd = standard_input ? STDIN_FILENO : open(plan_.each_line->c_str(), O_RDONLY | O_CLOEXEC);
  absl::Status status =
      fd >= 0 ? ReadLines(fd)
              : Error(ErrorCode::kInvalidArgument,
                      "'" + *plan_.each_line + "' cannot be read: " + std::strerror(errno));
  if (fd >= 0 && !standard_input) close(fd);
  if (status.ok()) return;
  std::lock_guard lock(mutex_);
  FailLocked(std::move(status));
}

// Sends what it has before it waits for more input, so that a slow producer's lines do not wait.
absl::Status SubmitJob::ReadLines(int fd) {
  LineReader reader(fd, kMaxPayloadBytes);
  std::vector<TaskSpec> batch;
  size_t batch_bytes = 0;
  std::string_view line;
  while (!stop_) {
    LineReader::Got got = reader.Next(&line);
    if (got == LineReader::Got::kLine && !line.empty()) {
      absl::StatusOr<TaskSpec> task = TaskOfLine(line, reader.line_number());
      if (!task.ok()) {
        Send(batch);
        return task.status();
      }
      batch_bytes += task->payload.size();
      batch.push_back(*std::move(task));
    }
    bool full = batch.size() >= kBatchTasks || batch_bytes >= kBatchTargetBytes;
    if (full || got != LineReader::Got::kLine) {
      if (!Send(batch)) return absl::OkStatus();
      batch_bytes = 0;
    }
    if (got == LineReader::Got::kEnd) return reader.status();
  }
  return absl::OkStatus();
}

absl::StatusOr<TaskSpec> SubmitJob::TaskOfLine(std::string_view line, uint64_t number) const {
  TaskSpec task = plan_.task;
  if (!task.key.empty()) task.key = Substitute({task.key}, line).front();
  if (!plan_.argv) {
    task.payload = std::string(line);
    return task;
  }
  if (line.find('\0') != std::string_view::npos)
    return Error(ErrorCode::kInvalidArgument,
                 "line " + std::to_string(number) +
                     " of the input holds a NUL byte, which no program argument can");
  task.payload = ShellPayload(Substitute(*plan_.argv, line));
  return task;
}

// Leaves `batch` empty. False: submitting is over.
bool SubmitJob::Send(std::vector<TaskSpec>& batch) {
  if (batch.empty()) return true;
  uint64_t number = 0, first_task = 0;
  {
    std::lock_guard lock(mutex_);
    number = sent_batches_++;
    first_task = sent_tasks_;
    sent_tasks_ += batch.size();
    ++pending_batches_;
  }
  absl::Status status = client_->SubmitBatch(
      batch,
      [this, number, first_task](BatchAck ack) { OnAck(number, first_task, std::move(ack)); },
      {.notify = plan_.wait});
  if (!status.ok()) {
    std::lock_guard lock(mutex_);
    --pending_batches_;
    FailLocked(status);
  }
  batch.clear();
  return status.ok();
}

void SubmitJob::FailLocked(absl::Status status) {
  if (error_.ok()) error_ = std::move(status);
  stop_ = true;
  changed_.notify_all();
}

// --- Client's thread -------------------------------------------------------------------------------

void SubmitJob::OnAck(uint64_t batch, uint64_t first_task, BatchAck ack) {
  std::lock_guard lock(mutex_);
  --pending_batches_;
  std::erase(ack.ids, TaskId(0));
  accepted_ += ack.ids.size();
  rejected_ += ack.rejected.size();
  repeated_ += ack.repeated.size();
  for (TaskId id : ack.ids)
    if (some_ids_.size() < kHintIds) some_ids_.push_back(id);
  if (!ack.rejected.empty()) {
    const Rejection& first = ack.rejected.front();
    std::string message = MessageOf(first.status);
    if (plan_.each_line || plan_.count > 1)
      message = "task " + std::to_string(first_task + first.index + 1) + ": " + message;
    FailLocked(Error(CodeOf(first.status), std::move(message)));
  }
  if (!plan_.wait) acked_.emplace(batch, std::move(ack.ids));
  changed_.notify_all();
}

void SubmitJob::OnConnection(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  if (status.ok()) {
    connection_note_.clear();
    connected_ = true;
  } else if (connected_) {
    connected_ = false;
    connection_note_ = "the broker is gone (" + MessageOf(status) + "); waiting for it";
  }
  changed_.notify_all();
}

// --- Main thread -----------------------------------------------------------------------------------

bool SubmitJob::DoneLocked() const {
  EndedTasks::Counts ended = ended_.counts();
  return produced_all_ && pending_batches_ == 0 && acked_.empty() && ended.queued == 0 &&
         (!plan_.wait || ended.ended >= accepted_);
}

int SubmitJob::Consume() {
  for (bool done = false; !done;) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kTick, [&] {
        return ended_.counts().queued > 0 || acked_.contains(next_batch_) ||
               !connection_note_.empty() || DoneLocked();
      });
    }
    if (Interrupted()) LeaveInterrupted();
    PrintNote();
    while (PrintAcked()) continue;
    PrintEnded();
    ShowProgress();
    std::lock_guard lock(mutex_);
    done = DoneLocked();
  }
  return Finish();
}

void SubmitJob::PrintNote() {
  std::string note;
  {
    std::lock_guard lock(mutex_);
    note = std::exchange(connection_note_, "");
  }
  if (note.empty()) return;
  progress_.Clear();
  context_.Note(note);
}

// The ids of the next batch in the order of submitting; false when it is not acknowledged yet.
bool SubmitJob::PrintAcked() {
  std::vector<TaskId> ids;
  {
    std::lock_guard lock(mutex_);
    auto next = acked_.find(next_batch_);
    if (next == acked_.end()) return false;
    ids = std::move(next->second);
    acked_.erase(next);
    ++next_batch_;
  }
  if (ids.empty()) return true;
  if (!first_id_) first_id_ = ids.front();
  last_id_ = ids.back();
  if (context_.form() == Form::kTable) return true;
  for (TaskId id : ids) {
    std::string text = ToString(id);
    id_stream_.Add(context_.form() == Form::kJsonl ? "{\"id\":\"" + text + "\"}" : Quote(text),
                   text);
  }
  std::fflush(stdout);
  return true;
}

void SubmitJob::PrintEnded() {
  if (ended_.counts().queued == 0) return;
  if (context_.form() != Form::kTable && isatty(STDOUT_FILENO) != 0) progress_.Clear();
  absl::StatusOr<bool> printed = ended_.PrintSome(*client_, task_writer_);
  if (Interrupted()) LeaveInterrupted();
  if (printed.ok()) return;
  std::lock_guard lock(mutex_);
  FailLocked(printed.status());
}

void SubmitJob::ShowProgress() {
  std::lock_guard lock(mutex_);
  EndedTasks::Counts ended = ended_.counts();
  ProgressState state;
  state.done = plan_.wait ? ended.ended : accepted_ + rejected_;
  state.failed = plan_.wait ? ended.failed : rejected_;
  state.total = plan_.each_line ? sent_tasks_ : plan_.count;
  state.total_known = produced_all_ || !plan_.each_line;
  progress_.Update(state);
}

int SubmitJob::Finish() {
  producer_.join();
  progress_.Clear();
  if (plan_.wait) {
    task_writer_.Finish();
  } else if (context_.form() != Form::kTable) {
    id_stream_.Finish("\"repeated\":" + std::to_string(repeated_));
  } else if (accepted_ > 0) {
    Print(accepted_ == 1
              ? "task " + ToString(first_id_) +
                    (repeated_ > 0 ? " was submitted before with this key\n" : " submitted\n")
              : std::to_string(accepted_) + " tasks submitted: " + ToString(first_id_) + " … " +
                    ToString(last_id_) + "\n");
  }
  if (accepted_ > 1 && repeated_ > 0)
    context_.Note(std::to_string(repeated_) + " of them were submitted before with their keys");
  client_->Close(context_.connect_timeout_ms()).IgnoreError();
  if (int code = FinishOutput(); code != 0) return code;
  const uint64_t failed = ended_.counts().failed;
  if (!error_.ok()) {
    std::string message = MessageOf(error_);
    if (plan_.each_line || plan_.count > 1)
      message += " (" + Counted(accepted_, "task") + " submitted, " + std::to_string(rejected_) +
                 " refused)";
    return context_.Fail(Error(CodeOf(error_), std::move(message)));
  }
  if (failed == 0) return 0;
  context_.Note(std::to_string(failed) + " of " + Counted(accepted_, "task") + " did not succeed");
  return kExitTaskFailed;
}

std::string SubmitJob::WaitHint(uint64_t ended) const {
  std::string hint = ", " + std::to_string(accepted_ - ended) +
                     " of them not finished; they go on, wait for them with: ";
  if (accepted_ > kHintIds)
    return hint + "zsched-ctl task list --queue '" + plan_.task.queue + "' --type '" +
           plan_.task.type + "' --state ready,leased,retry_wait --limit 0 -o id | " +
           "xargs zsched-ctl task wait";
  hint += "zsched-ctl task wait";
  for (TaskId id : some_ids_) hint += " " + ToString(id);
  return hint;
}

// The producer may be blocked in read() for ever, so there is no orderly way out of this process;
// what is buffered for stdout is written.
void SubmitJob::LeaveInterrupted() {
  progress_.Clear();
  std::fflush(stdout);
  std::lock_guard lock(mutex_);
  const uint64_t ended = ended_.counts().ended;
  std::string text = "zsched-ctl: interrupted; " + Counted(accepted_, "task") + " submitted";
  if (plan_.wait && ended < accepted_) text += WaitHint(ended);
  std::fprintf(stderr, "%s\n", Printable(text).c_str());
  _exit(kExitInterrupted);
}

}  // namespace zsched::ctl
