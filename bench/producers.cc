#include "bench/producers.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::bench {
namespace {

constexpr int64_t kConnectMs = 10'000, kCloseMs = 5'000;
constexpr uint32_t kKeyMaxRunning = 1000;  // enough for every task that the workers hold of a key

std::string QueueName(uint64_t number) {
  return number == 0 ? "bench" : "bench-" + std::to_string(number);
}

absl::Status BoundKeys(Client& client, uint32_t queues) {
  for (uint32_t queue = 0; queue < queues; ++queue)
    ZS_RETURN_IF_ERROR(
        client.SetQueue(QueueName(queue), {.key_max_running = kKeyMaxRunning}).status());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Producers>> Producers::Connect(const ProducerOptions& options,
                                                              const std::string& brokers) {
  std::unique_ptr<Producers> made(new Producers(options));
  auto clients = static_cast<uint64_t>(options.clients);
  for (uint64_t i = 0; i < clients; ++i) {
    auto producer = std::make_unique<Producer>();
    producer->share = options.tasks / clients + (i < options.tasks % clients ? 1 : 0);
    ClientOptions client;
    client.brokers = brokers;
    client.name = "zsched-bench";
    client.on_outcomes = [made = made.get(), counts = producer.get()](std::span<Outcome> outcomes) {
      made->CountOutcomes(*counts, outcomes);
    };
    ZS_ASSIGN_OR_RETURN(producer->client, Client::Create(std::move(client)));
    made->producers_.push_back(std::move(producer));
  }
  // All connect at once.
  for (auto& producer : made->producers_)
    ZS_RETURN_IF_ERROR(producer->client->WaitForBroker(kConnectMs));
  if (options.keys > 0)
    ZS_RETURN_IF_ERROR(BoundKeys(*made->producers_.front()->client, options.queues));
  return made;
}

Producers::~Producers() {
  stopping_ = true;
  for (auto& producer : producers_) {
    (void)producer->client->Close(0);
    ++producer->ended;  // wakes who waits for room
    producer->ended.notify_all();
  }
  JoinThreads();
}

void Producers::CountOutcomes(Producer& producer, std::span<Outcome> outcomes) {
  for (const Outcome& outcome : outcomes) producer.failed += !outcome.succeeded();
  producer.ended += outcomes.size();
  producer.ended.notify_one();
}

void Producers::CountRejected(Producer& producer, uint64_t tasks) {
  if (tasks == 0) return;
  producer.rejected += tasks;
  producer.ended += tasks;
  producer.ended.notify_one();
}

// `next` more tasks fit, or nothing is in flight any more.
void Producers::AwaitRoom(const Producer& producer, uint64_t sent, uint64_t next) const {
  const uint64_t room = std::max<uint64_t>(options_.in_flight / producers_.size(), next);
  for (uint64_t ended = producer.ended; options_.in_flight > 0 && !stopping_;
       ended = producer.ended) {
    if (sent + next <= ended + room) return;
    producer.ended.wait(ended);
  }
}

void Producers::Start() {
  for (auto& made : producers_)
    threads_.emplace_back([this, &producer = *made] {
      pthread_setname_np(pthread_self(), "submit");
      producer.status = Submit(producer);
      producer.submitted_at = std::chrono::steady_clock::now();
      producer.submitted = true;
      measured_.wait();
    });
}

// Gives tasks their queues and keys in turn; `sent` were before them.
void Producers::Spread(uint64_t sent, std::span<TaskSpec> tasks) const {
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (options_.queues > 1) tasks[i].queue = QueueName((sent + i) % options_.queues);
    if (options_.keys > 0)
      tasks[i].concurrency_key = "key-" + std::to_string((sent + i) % options_.keys);
  }
}

absl::Status Producers::Submit(Producer& producer) {
  const TaskSpec spec{
      .type = "noop", .queue = "bench", .payload = std::string(options_.payload_bytes, 'x')};
  std::vector<TaskSpec> batch(options_.batch, spec);
  for (uint64_t sent = 0; sent < producer.share;) {
    uint64_t count = std::min<uint64_t>(batch.size(), producer.share - sent);
    AwaitRoom(producer, sent, count);
    Spread(sent, std::span(batch).first(count));
    absl::Status status =
        options_.batch == 1
            ? producer.client->Submit(
                  batch.front(),
                  [&](absl::StatusOr<TaskId> id) { CountRejected(producer, id.ok() ? 0 : 1); },
                  nullptr, {.notify = true})
            : producer.client->SubmitBatch(
                  std::span(batch).first(count),
                  [&](const BatchAck& ack) { CountRejected(producer, ack.rejected.size()); },
                  {.notify = true});
    if (!status.ok()) return status;
    sent += count;
  }
  return producer.client->Flush(kForever);
}

uint64_t Producers::ended() const {
  uint64_t ended = 0;
  for (const auto& producer : producers_) ended += producer->ended;
  return ended;
}

bool Producers::running() const {
  bool all_submitted = true;
  for (const auto& producer : producers_) {
    bool submitted = producer->submitted;
    if (submitted && !producer->status.ok()) return false;
    all_submitted = all_submitted && submitted;
  }
  return !all_submitted || ended() < options_.tasks;
}

std::chrono::steady_clock::time_point Producers::submitted_at() const {
  std::chrono::steady_clock::time_point last;
  for (const auto& producer : producers_) last = std::max(last, producer->submitted_at);
  return last;
}

double Producers::tasks_per_frame() const {
  uint64_t tasks = 0, frames = 0;
  for (const auto& producer : producers_) {
    ClientStats stats = producer->client->stats();
    tasks += stats.submitted;
    frames += stats.frames;
  }
  return frames == 0 ? 0 : static_cast<double>(tasks) / static_cast<double>(frames);
}

absl::Status Producers::Finish() {
  // Others may wait for ever for what the first lacks; the destructor ends them.
  for (auto& producer : producers_)
    if (producer->submitted) ZS_RETURN_IF_ERROR(producer->status);
  JoinThreads();
  uint64_t rejected = 0, failed = 0;
  for (auto& producer : producers_) {
    ZS_RETURN_IF_ERROR(producer->client->Close(kCloseMs));
    rejected += producer->rejected;
    failed += producer->failed;
  }
  if (rejected + failed == 0) return absl::OkStatus();
  return Error(ErrorCode::kInternal, std::to_string(rejected) + " tasks were refused and " +
                                         std::to_string(failed) + " failed");
}

void Producers::JoinThreads() {
  if (threads_.empty()) return;
  measured_.count_down();
  for (std::thread& thread : std::exchange(threads_, {})) thread.join();
}

}  // namespace zsched::bench
