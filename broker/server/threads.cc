#include "broker/server/threads.h"

#include <malloc.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "base/check.h"
#include "broker/server/bounds.h"

namespace zsched::broker {
namespace {

constexpr std::chrono::seconds kUsageInterval(1);

}  // namespace

WakeFd::WakeFd() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) { ZS_CHECK(fd_ >= 0); }
WakeFd::~WakeFd() { close(fd_); }

void WakeFd::Wake() {
  uint64_t one = 1;
  // EAGAIN: the counter is full, so the poller wakes anyway.
  [[maybe_unused]] ssize_t written = write(fd_, &one, sizeof one);
}

void WakeFd::Clear() {
  uint64_t count;
  [[maybe_unused]] ssize_t read_bytes = read(fd_, &count, sizeof count);
}

JournalThread::JournalThread(Journal& journal, WakeFd& wake)
    : journal_(journal), wake_(wake), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "zsched-journal");
}

JournalThread::~JournalThread() {
  stop_.store(true);
  // Any value but the one waited for wakes the thread; it looks at stop_ first.
  static Batch dummy;
  Batch* expected = nullptr;
  work_.compare_exchange_strong(expected, &dummy);
  work_.notify_one();
  thread_.join();
}

void JournalThread::Commit(Batch& batch) {
  ZS_CHECK(!busy_);
  busy_ = true;
  work_.store(&batch, std::memory_order_release);
  work_.notify_one();
}

std::optional<JournalThread::Done> JournalThread::Poll() {
  if (!busy_ || !finished_.load(std::memory_order_acquire)) return std::nullopt;
  finished_.store(false, std::memory_order_relaxed);
  busy_ = false;
  return std::move(done_);
}

JournalThread::Done JournalThread::Wait() {
  ZS_CHECK(busy_);
  finished_.wait(false, std::memory_order_acquire);
  return *Poll();
}

void JournalThread::Run() {
  while (true) {
    work_.wait(nullptr, std::memory_order_acquire);
    Batch* batch = work_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    auto begin = std::chrono::steady_clock::now();
    done_.status = journal_.Commit(*batch);
    done_.commit_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(
                                                std::chrono::steady_clock::now() - begin)
                                                .count());
    done_.flush_us = journal_.last_flush_us();
    work_.store(nullptr, std::memory_order_relaxed);
    finished_.store(true, std::memory_order_release);
    finished_.notify_one();
    wake_.Wake();
    if (stop_.load()) return;  // set while the batch was here
  }
}

QueryThread::QueryThread(Journal& journal, WakeFd& wake)
    : journal_(journal), wake_(wake), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "zsched-query");
}

QueryThread::~QueryThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void QueryThread::Add(std::vector<Query> queries) {
  if (queries.empty()) return;
  {
    std::lock_guard lock(mutex_);
    for (Query& query : queries) queries_.push_back(std::move(query));
  }
  work_.notify_one();
}

std::vector<QueryReply> QueryThread::TakeReplies() {
  std::vector<QueryReply> replies;
  {
    std::lock_guard lock(mutex_);
    replies = std::exchange(replies_, {});
  }
  if (replies.size() >= kMaxReplies) work_.notify_one();
  return replies;
}

std::optional<Surroundings> QueryThread::TakeUsage() {
  std::lock_guard lock(mutex_);
  return std::exchange(usage_, std::nullopt);
}

void QueryThread::TrimMemory() {
  std::lock_guard lock(mutex_);
  trim_ = true;  // with the next look at the journal's room
}

void QueryThread::Answer(const Query& query) {
  QueryReply reply;
  // A view a query: each sees what was committed before it ran, and none keeps pages from being
  // used again.
  if (auto view = journal_.View(); view.ok())
    reply = runner_.Run(**view, query);
  else
    reply.status = view.status();
  std::lock_guard lock(mutex_);
  replies_.push_back(std::move(reply));
}

void QueryThread::LookAtUsage() {
  auto usage = journal_.Usage();
  if (!usage.ok()) return;  // the next commit or query will say it
  const ProcessUsage process = ReadProcessUsage();
  std::lock_guard lock(mutex_);
  usage_ = Surroundings{*usage, process};
}

void QueryThread::Run() {
  auto next_usage = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  while (!stop_) {
    auto can_work = [&] { return !queries_.empty() && replies_.size() < kMaxReplies; };
    work_.wait_until(lock, next_usage, [&] { return stop_ || can_work(); });
    if (stop_) return;
    if (can_work()) {
      Query query = std::move(queries_.front());
      queries_.pop_front();
      lock.unlock();
      Answer(query);
      wake_.Wake();
      lock.lock();
    }
    if (std::chrono::steady_clock::now() < next_usage) continue;
    const bool trim = std::exchange(trim_, false);
    lock.unlock();
    LookAtUsage();
    if (trim) malloc_trim(0);
    lock.lock();
    next_usage = std::chrono::steady_clock::now() + kUsageInterval;
  }
}

}  // namespace zsched::broker
