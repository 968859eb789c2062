#include "zsched/worker.h"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <random>
#include <thread>

#include "base/check.h"
#include "base/config.h"
#include "base/text.h"
#include "schemas/errors.h"
#include "schemas/limits.h"
#include "worker/server/runtime.h"

namespace zsched {
namespace {

absl::Status Invalid(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

std::string NameRule(const char* what, const std::string& name) {
  return std::string(what) + " '" + name + "' is not a name: 1 to " +
         std::to_string(kMaxNameBytes) + " bytes of UTF-8 without control characters";
}

absl::Status CheckQueues(const std::vector<std::string>& queues) {
  if (queues.size() > kMaxWorkerQueues)
    return Invalid("a worker serves at most " + std::to_string(kMaxWorkerQueues) + " queues, not " +
                   std::to_string(queues.size()));
  for (const std::string& queue : queues)
    if (!IsValidName(queue)) return Invalid(NameRule("queue", queue));
  return absl::OkStatus();
}

absl::Status CheckLabels(const std::vector<std::pair<std::string, std::string>>& labels) {
  if (labels.size() > kMaxLabels)
    return Invalid("a worker has at most " + std::to_string(kMaxLabels) + " labels");
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto& [key, value] = labels[i];
    if (key.empty() || key.size() > kMaxLabelKeyBytes || value.size() > kMaxLabelValueBytes ||
        !IsUtf8(key) || !IsUtf8(value))
      return Invalid("label '" + key + "' is not KEY=VALUE of text, a key of 1 to " +
                     std::to_string(kMaxLabelKeyBytes) + " bytes, a value of at most " +
                     std::to_string(kMaxLabelValueBytes));
    for (size_t j = 0; j < i; ++j)
      if (labels[j].first == key) return Invalid("label '" + key + "' is given twice");
  }
  return absl::OkStatus();
}

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  if (gethostname(name, sizeof(name) - 1) != 0 || !IsValidName(name)) return "unknown";
  return name;
}

absl::StatusOr<std::pair<Uuid, uint64_t>> RandomIdAndSeed() {
  try {
    std::random_device device;
    auto word = [&device] { return uint64_t{device()} << 32 | device(); };
    Uuid id{word(), word()};
    return std::pair(id, word());
  } catch (const std::exception& error) {
    return Error(ErrorCode::kResourceExhausted,
                 std::string("the system gives no random numbers: ") + error.what());
  }
}

}  // namespace

std::string_view NameOf(WorkerEvent::Kind kind) {
  switch (kind) {
    case WorkerEvent::Kind::kConnected:
      return "connected";
    case WorkerEvent::Kind::kDisconnected:
      return "disconnected";
    case WorkerEvent::Kind::kNoBroker:
      return "no broker";
    case WorkerEvent::Kind::kDraining:
      return "draining";
    case WorkerEvent::Kind::kSlotsBlocked:
      return "slots blocked";
    case WorkerEvent::Kind::kSlotsReturned:
      return "slots returned";
    case WorkerEvent::Kind::kResultsRefused:
      return "results refused";
  }
  return "unknown";
}

class Worker::Impl {
 public:
  explicit Impl(worker::RuntimeOptions options) : runtime(std::move(options)) {}

  worker::Runtime runtime;
  worker::HandlerMap handlers;
  bool has_run = false;
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(WorkerOptions options) {
  ZS_ASSIGN_OR_RETURN(auto brokers, ParseBrokerList(options.brokers));
  ZS_RETURN_IF_ERROR(CheckQueues(options.queues));
  ZS_RETURN_IF_ERROR(CheckLabels(options.labels));
  if (options.concurrency < 0 || options.concurrency > kMaxConcurrency)
    return Invalid("concurrency is " + std::to_string(options.concurrency) + "; it may be 1 to " +
                   std::to_string(kMaxConcurrency) + ", or 0 for one a core");
  int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int concurrency =
      options.concurrency != 0 ? options.concurrency : std::min(cores, kMaxConcurrency);
  std::string host = HostName();
  std::string name = options.name;
  if (name.empty()) name = host + "-" + std::to_string(getpid());
  if (!IsValidName(name)) return Invalid(NameRule("worker name", name));
  ZS_ASSIGN_OR_RETURN(auto random, RandomIdAndSeed());

  worker::RuntimeOptions runtime;
  runtime.identity = {random.first,
                      name,
                      host,
                      std::string(Version()),
                      static_cast<uint32_t>(getpid()),
                      std::move(options.queues),
                      {},
                      std::move(options.labels),
                      static_cast<uint32_t>(concurrency)};
  runtime.session.kind = SessionKind::kWorker;
  runtime.session.brokers = std::move(brokers);
  runtime.session.seed = random.second;
  runtime.ledger.concurrency = concurrency;
  runtime.recycling = {options.recycle_after_tasks, options.recycle_after_memory_bytes};
  runtime.on_event = std::move(options.on_event);
  auto impl = std::make_unique<Impl>(std::move(runtime));
  ZS_RETURN_IF_ERROR(impl->runtime.Open());
  return std::unique_ptr<Worker>(new Worker(std::move(impl)));
}

Worker::Worker(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Worker::~Worker() = default;

absl::Status Worker::Register(std::string type, TaskHandler handler) {
  if (impl_->has_run) return Invalid("types are registered before Run");
  if (!IsValidName(type)) return Invalid(NameRule("type", type));
  if (!handler) return Invalid("the handler of type '" + type + "' is empty");
  if (impl_->handlers.size() >= kMaxWorkerTypes)
    return Invalid("a worker has at most " + std::to_string(kMaxWorkerTypes) + " types");
  if (!impl_->handlers.try_emplace(type, std::move(handler)).second)
    return Invalid("type '" + type + "' is registered already");
  return absl::OkStatus();
}

absl::Status Worker::Run() {
  if (impl_->handlers.empty()) return Invalid("no task type is registered");
  if (std::exchange(impl_->has_run, true)) return Invalid("a Worker runs only once");
  return impl_->runtime.Run(std::move(impl_->handlers));
}

void Worker::Drain() noexcept { impl_->runtime.Drain(); }
void Worker::Stop() noexcept { impl_->runtime.Stop(); }
bool Worker::due_for_recycling() const { return impl_->runtime.due_for_recycling(); }
WorkerStats Worker::stats() const { return impl_->runtime.stats(); }
Uuid Worker::id() const { return impl_->runtime.identity().id; }
const std::string& Worker::name() const { return impl_->runtime.identity().name; }

}  // namespace zsched
