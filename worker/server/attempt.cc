#include "worker/server/attempt.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "base/text.h"
#include "schemas/verify.h"

namespace zsched::worker {
namespace {

std::string_view StateName(wire::TaskState state) {
  if (state == wire::TaskState::kSucceeded) return "succeeded";
  return state == wire::TaskState::kDead ? "dead" : "cancelled";
}

class AttemptContext final : public TaskContext {
 public:
  AttemptContext(const wire::Assignment& task, std::chrono::steady_clock::time_point started,
                 CancelSignal* signal, NoteBox* notes, const std::function<void()>& tell)
      : task_(task), started_(started), signal_(signal), notes_(notes), tell_(tell) {}

  TaskId task_id() const override { return TaskId(task_.task_id()); }
  LeaseId lease_id() const override { return LeaseId(task_.lease_id()); }
  std::string_view type() const override { return TextOf(task_.type()); }
  std::string_view queue() const override { return TextOf(task_.queue()); }
  std::string_view payload() const override { return BytesOf(task_.payload()); }
  std::string_view content_type() const override { return TextOf(task_.content_type()); }
  int attempt() const override { return task_.attempt(); }
  int max_attempts() const override { return task_.max_attempts(); }
  int64_t submitted_at_ms() const override { return task_.submitted_at_ms(); }

  std::string_view correlation_id() const override { return TextOf(task_.correlation_id()); }
  std::string_view traceparent() const override { return TextOf(task_.traceparent()); }

  std::optional<ParentTask> parent() const override {
    const wire::Parent* parent = task_.parent();
    if (parent == nullptr) return std::nullopt;
    return ParentTask{TaskId(parent->id()),
                      StateName(parent->state()),
                      parent->passed(),
                      BytesOf(parent->result()),
                      TextOf(parent->content_type()),
                      ErrorFromNumber(parent->error_code()),
                      TextOf(parent->error_message())};
  }

  std::optional<std::string_view> label(std::string_view key) const override {
    for (const auto& [name, value] : labels())
      if (name == key) return value;
    return std::nullopt;
  }
  std::vector<std::pair<std::string_view, std::string_view>> labels() const override {
    std::vector<std::pair<std::string_view, std::string_view>> labels;
    if (task_.labels() != nullptr)
      for (const wire::Label* label : *task_.labels())
        labels.emplace_back(TextOf(label->key()), TextOf(label->value()));
    return labels;
  }

  std::string_view checkpoint() const override { return BytesOf(task_.checkpoint()); }
  absl::Status Checkpoint(std::string_view bytes) override {
    if (bytes.size() > kMaxCheckpointBytes)
      return Error(ErrorCode::kTooLarge, "a checkpoint of " + std::to_string(bytes.size()) +
                                             " bytes is over the limit of " +
                                             std::to_string(kMaxCheckpointBytes));
    if (notes_->SetCheckpoint(bytes)) tell_();
    return absl::OkStatus();
  }
  void Progress(int percent, std::string_view message) override {
    if (notes_->SetProgress(percent, message)) tell_();
  }
  void Write(OutputStream stream, std::string_view bytes) override {
    if (!bytes.empty() && notes_->Write(stream, bytes)) tell_();
  }

  std::chrono::steady_clock::time_point deadline() const override {
    uint32_t timeout_ms = task_.timeout_ms() != 0 ? task_.timeout_ms() : kDefaultTimeoutMs;
    return started_ + std::chrono::milliseconds(timeout_ms);
  }
  bool cancelled() const override { return signal_->cancelled(); }
  ErrorCode cancel_reason() const override { return signal_->reason(); }
  int cancelled_fd() override { return signal_->fd(); }
  bool WaitCancelled(std::chrono::milliseconds duration) override {
    return signal_->Wait(duration);
  }

 private:
  const wire::Assignment& task_;
  const std::chrono::steady_clock::time_point started_;
  CancelSignal* const signal_;
  NoteBox* const notes_;
  const std::function<void()>& tell_;
};

std::unique_ptr<Outcome> Failed(ErrorCode code, std::string message) {
  auto outcome = std::make_unique<Outcome>();
  outcome->code = code;
  outcome->message = std::move(message);
  return outcome;
}

std::unique_ptr<Outcome> ToOutcome(TaskResult result) {
  if (result.ok() && result.result().empty() && result.content_type().empty()) return nullptr;
  if (!result.ok()) {
    auto outcome = Failed(CodeOf(result.status()), MessageOf(result.status()));
    if (result.retry() == TaskResult::Retry::kNever) outcome->advice = wire::RetryAdvice::kNever;
    if (result.retry() == TaskResult::Retry::kAfter) {
      outcome->advice = wire::RetryAdvice::kAfter;
      outcome->retry_after_ms = static_cast<uint64_t>(result.retry_after().count());
    }
    return outcome;
  }
  auto outcome = std::make_unique<Outcome>();
  outcome->succeeded = true;
  outcome->result = result.TakeResult();
  outcome->content_type = result.TakeContentType();
  return outcome;
}

}  // namespace

CancelSignal::~CancelSignal() {
  if (fd_ >= 0) close(fd_);
}

void CancelSignal::Begin(LeaseId lease, int64_t started_ms) {
  // The start is never seen with the lease of the attempt before: that one is 0 by now.
  started_ms_.store(started_ms, std::memory_order_release);
  if (fd_ < 0) {
    current_.store(lease.value(), std::memory_order_release);
    return;
  }
  std::lock_guard lock(mutex_);
  current_.store(lease.value(), std::memory_order_release);
  if (!std::exchange(fd_signalled_, false)) return;
  uint64_t count;
  [[maybe_unused]] ssize_t bytes = read(fd_, &count, sizeof(count));
}

LeaseId CancelSignal::Running(int64_t* started_ms) const {
  uint64_t lease = current_.load(std::memory_order_acquire);
  *started_ms = started_ms_.load(std::memory_order_acquire);
  return LeaseId(current_.load(std::memory_order_acquire) == lease ? lease : 0);
}

bool CancelSignal::Request(LeaseId lease, ErrorCode why) {
  std::lock_guard lock(mutex_);
  if (current_.load(std::memory_order_acquire) != lease.value()) return false;
  if (cancelled_.load(std::memory_order_relaxed) == lease.value()) return true;
  why_.store(why, std::memory_order_relaxed);
  cancelled_.store(lease.value(), std::memory_order_release);
  requested_.notify_all();
  if (fd_ >= 0 && !std::exchange(fd_signalled_, true)) {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t bytes = write(fd_, &one, sizeof(one));
  }
  return true;
}

int CancelSignal::fd() {
  std::lock_guard lock(mutex_);
  if (fd_ < 0) fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (fd_ >= 0 && cancelled() && !std::exchange(fd_signalled_, true)) {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t bytes = write(fd_, &one, sizeof(one));
  }
  return fd_;
}

bool CancelSignal::Wait(std::chrono::milliseconds duration) {
  std::unique_lock lock(mutex_);
  return requested_.wait_for(lock, duration, [this] { return cancelled(); });
}

void NoteBox::Begin(TaskId task, LeaseId lease) {
  task_ = task;
  lease_ = lease;
  if (written_.end() == 0) return;  // most write nothing
  std::lock_guard lock(mutex_);
  written_.Reset();
}

bool NoteBox::SetProgress(int percent, std::string_view message) {
  Report note;
  note.percent = static_cast<uint8_t>(std::clamp(percent, 0, 100));
  note.message = std::string(CutUtf8(message, kMaxProgressMessageBytes));
  return Add(std::move(note));
}

bool NoteBox::SetCheckpoint(std::string_view bytes) {
  Report note;
  note.checkpoint = std::string(bytes);
  return Add(std::move(note));
}

bool NoteBox::Add(Report note) {
  std::lock_guard lock(mutex_);
  report_.Take(std::move(note));
  return Said();
}

bool NoteBox::Write(OutputStream stream, std::string_view bytes) {
  std::lock_guard lock(mutex_);
  written_.Append(stream, bytes);
  return Said();
}

bool NoteBox::Said() {
  report_.task = task_;
  report_.lease = lease_;
  return !said_.exchange(true, std::memory_order_release);
}

std::optional<Note> NoteBox::Take() {
  if (!said_.load(std::memory_order_acquire)) return std::nullopt;
  std::lock_guard lock(mutex_);
  if (!said_.exchange(false, std::memory_order_relaxed)) return std::nullopt;
  return Note{std::exchange(report_, {}), written_.Take()};
}

std::unique_ptr<Outcome> RunAttempt(const wire::Assignment& task, const TaskHandler* handler,
                                    std::chrono::steady_clock::time_point started,
                                    CancelSignal* signal, NoteBox* notes,
                                    const std::function<void()>& tell) {
  AttemptContext context(task, started, signal, notes, tell);
  if (handler == nullptr)
    return Failed(ErrorCode::kUnknownType,
                  "this worker has no handler for the type '" + std::string(context.type()) + "'");
  try {
    return ToOutcome((*handler)(context));
  } catch (const std::exception& error) {
    return Failed(ErrorCode::kHandlerFailed, error.what());
  } catch (...) {
    return Failed(ErrorCode::kHandlerFailed,
                  "the handler threw something that is no std::exception");
  }
}

}  // namespace zsched::worker
