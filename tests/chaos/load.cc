#include "tests/chaos/load.h"

namespace zsched::chaos {
namespace {

using harness::Failure;
using harness::kPatience;

constexpr uint32_t kRetryBaseMs = 20, kRetryCapMs = 200;
constexpr int kFlakyTimes = 2;
constexpr uint64_t kLongestDelayMs = 1500;

std::string FailPayload(int times, const std::string& message) {
  return "{\"times\":" + std::to_string(times) + ",\"message\":\"" + message + "\"}";
}

// Most tasks are plain; the others keep timers, retries and dead letters busy at every moment.
Kind Draw(std::mt19937_64& random) {
  uint64_t percent = random() % 100;
  if (percent < 70) return Kind::kEcho;
  if (percent < 82) return Kind::kDelayed;
  return percent < 95 ? Kind::kFlaky : Kind::kDoomed;
}

TaskSpec MakeTask(Kind kind, const std::string& name, std::mt19937_64& random) {
  TaskSpec task{.type = "echo", .payload = name};
  task.retry_base_ms = kRetryBaseMs;
  task.retry_cap_ms = kRetryCapMs;
  task.priority = static_cast<int>(random() % kPriorities);
  switch (kind) {
    case Kind::kEcho:
      break;
    case Kind::kDelayed:
      task.delay_ms = 1 + random() % kLongestDelayMs;
      break;
    case Kind::kFlaky:
      task.type = "fail";
      task.payload = FailPayload(kFlakyTimes, name);
      break;
    case Kind::kDoomed:
      task.type = "fail";
      task.max_attempts = 2;
      task.payload = FailPayload(kMaxMaxAttempts, name);
      break;
  }
  return task;
}

}  // namespace

Load::Load(harness::Cluster& cluster, LoadOptions options) {
  for (int i = 0; i < options.producers; ++i) {
    auto producer = std::make_unique<Producer>();
    producer->random.seed(options.seed * 1000 + static_cast<uint64_t>(i));
    ClientOptions client;
    client.name = "producer-" + std::to_string(i);
    client.on_outcomes = [this](std::span<Outcome> all) { OnOutcomes(all); };
    producer->client = cluster.NewClient(std::move(client));
    producers_.push_back(std::move(producer));
  }
  for (size_t i = 0; i < producers_.size(); ++i)
    producers_[i]->thread =
        std::thread([this, i] { Produce(*producers_[i], static_cast<int>(i)); });
}

Load::~Load() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  for (auto& producer : producers_) {
    if (producer->thread.joinable()) producer->thread.join();
    producer->client.reset();  // before what its callbacks use
  }
}

void Load::Produce(Producer& producer, int number) {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || producer.submitted < allowed_; });
      if (stop_) return;
      ++submitted_;
    }
    std::string name = std::to_string(number) + "/" + std::to_string(producer.submitted++);
    Kind kind = Draw(producer.random);
    TaskSpec task = MakeTask(kind, name, producer.random);
    absl::Status taken =
        producer.client->Submit(task,
                                [this, kind, payload = task.payload](absl::StatusOr<TaskId> id) {
                                  OnAck(kind, payload, std::move(id));
                                },
                                nullptr, {.notify = true});
    if (!taken.ok()) OnAck(kind, task.payload, taken);
  }
}

void Load::OnAck(Kind kind, const std::string& payload, absl::StatusOr<TaskId> id) {
  std::lock_guard lock(mutex_);
  if (id.ok())
    promises_.push_back({*id, kind, payload});
  else
    refused_.push_back(payload + ": " + MessageOf(id.status()));
  changed_.notify_all();
}

void Load::OnOutcomes(std::span<Outcome> outcomes) {
  std::lock_guard lock(mutex_);
  for (Outcome& outcome : outcomes)
    if (TaskId id = outcome.id; !outcomes_.emplace(id, std::move(outcome)).second)
      twice_.push_back(id);
}

void Load::Allow(size_t tasks_each) {
  std::lock_guard lock(mutex_);
  allowed_ += tasks_each;
  changed_.notify_all();
}

bool Load::AwaitAcks(size_t total) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, kPatience, [&] { return promises_.size() >= total; });
}

size_t Load::acks() {
  std::lock_guard lock(mutex_);
  return promises_.size();
}

std::vector<Promise> Load::Finish() {
  std::unique_lock lock(mutex_);
  stop_ = true;
  changed_.notify_all();
  lock.unlock();
  for (auto& producer : producers_) producer->thread.join();
  lock.lock();
  bool all = changed_.wait_for(lock, kPatience,
                               [&] { return promises_.size() + refused_.size() >= submitted_; });
  if (!refused_.empty())
    throw Failure(std::to_string(refused_.size()) + " submits refused, such as " + refused_[0]);
  if (!all)
    throw Failure(std::to_string(submitted_ - promises_.size()) + " submits were not acknowledged");
  return promises_;
}

std::map<TaskId, Outcome> Load::outcomes() {
  std::lock_guard lock(mutex_);
  return outcomes_;
}

size_t Load::outcome_count() {
  std::lock_guard lock(mutex_);
  return outcomes_.size();
}

std::vector<TaskId> Load::twice() {
  std::lock_guard lock(mutex_);
  return twice_;
}

}  // namespace zsched::chaos
