// A TaskContext for tests: an attempt with the payload that the test gives, cancelled when the test says so.
// Owned by tests.
//
// Threads: Cancel from any.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <mutex>
#include <string>

#include "zsched/task.h"

namespace zsched::testing {

class FakeTask final : public TaskContext {
 public:
  FakeTask(std::string type, std::string payload)
      : type_(std::move(type)), payload_(std::move(payload)), fd_(eventfd(0, EFD_CLOEXEC)) {}
  ~FakeTask() override { close(fd_); }

  // Its views must live as long as the task.
  void Follow(const ParentTask& parent) { parent_ = parent; }

  void Cancel() {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t written = write(fd_, &one, sizeof(one));
    changed_.notify_all();
  }

  std::string written(OutputStream stream) const {
    std::lock_guard lock(mutex_);
    return written_[static_cast<size_t>(stream)];
  }

  TaskId task_id() const override { return MakeId<TaskId>(Epoch(4), 17); }
  LeaseId lease_id() const override { return MakeId<LeaseId>(Epoch(4), 99); }
  std::string_view type() const override { return type_; }
  std::string_view queue() const override { return "default"; }
  std::string_view payload() const override { return payload_; }
  std::string_view content_type() const override { return ""; }
  int attempt() const override { return 2; }
  int max_attempts() const override { return 5; }
  int64_t submitted_at_ms() const override { return 0; }
  std::string_view correlation_id() const override { return ""; }
  std::string_view traceparent() const override { return ""; }
  std::optional<ParentTask> parent() const override { return parent_; }
  std::optional<std::string_view> label(std::string_view) const override { return std::nullopt; }
  std::vector<std::pair<std::string_view, std::string_view>> labels() const override { return {}; }
  std::string_view checkpoint() const override { return ""; }
  absl::Status Checkpoint(std::string_view) override { return absl::OkStatus(); }
  void Progress(int, std::string_view) override {}
  void Write(OutputStream stream, std::string_view bytes) override {
    std::lock_guard lock(mutex_);
    written_[static_cast<size_t>(stream)].append(bytes);
  }
  std::chrono::steady_clock::time_point deadline() const override {
    return std::chrono::steady_clock::time_point::max();
  }
  bool cancelled() const override {
    std::lock_guard lock(mutex_);
    return cancelled_;
  }
  ErrorCode cancel_reason() const override {
    return cancelled() ? ErrorCode::kCancelled : ErrorCode::kOk;
  }
  int cancelled_fd() override { return fd_; }
  bool WaitCancelled(std::chrono::milliseconds duration) override {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, duration, [this] { return cancelled_; });
  }

 private:
  const std::string type_;
  const std::string payload_;
  std::optional<ParentTask> parent_;
  const int fd_;
  mutable std::mutex mutex_;
  std::array<std::string, 3> written_;  // by stream
  std::condition_variable changed_;
  bool cancelled_ = false;
};

}  // namespace zsched::testing
