#include "broker/server/register_thread.h"

#include <pthread.h>

#include <utility>

#include "base/check.h"

namespace zsched::broker {

RegisterThread::RegisterThread(std::unique_ptr<RegisterStore> store, WakeFd& loop)
    : store_(std::move(store)), loop_(loop), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "zsched-register");
}

RegisterThread::~RegisterThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  asked_.notify_one();
  thread_.join();
}

absl::StatusOr<Register> RegisterThread::Read() {
  ZS_CHECK(!busy_);
  return store_->Read();
}

void RegisterThread::Ask(const RegisterQuestion& question) {
  ZS_CHECK(!std::exchange(busy_, true));
  {
    std::lock_guard lock(mutex_);
    question_ = question;
  }
  asked_.notify_one();
}

std::optional<absl::StatusOr<Register>> RegisterThread::TakeAnswer() {
  if (!busy_) return std::nullopt;
  std::lock_guard lock(mutex_);
  if (answer_) busy_ = false;
  return std::exchange(answer_, std::nullopt);
}

void RegisterThread::Discard() {
  if (!busy_) return;
  std::unique_lock lock(mutex_);
  answered_.wait(lock, [&] { return answer_.has_value(); });
  answer_.reset();
  busy_ = false;
}

void RegisterThread::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    asked_.wait(lock, [&] { return stop_ || question_; });
    if (stop_) return;
    const RegisterQuestion question = *std::exchange(question_, std::nullopt);
    lock.unlock();
    absl::StatusOr<Register> value =
        question.swap ? store_->Swap(question.expected, question.wanted) : store_->Read();
    lock.lock();
    answer_ = std::move(value);
    answered_.notify_one();
    loop_.Wake();
  }
}

}  // namespace zsched::broker
