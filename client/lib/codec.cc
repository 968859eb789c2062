#include "client/lib/codec.h"

#include <algorithm>

#include "schemas/verify.h"

namespace zsched {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;
constexpr size_t kSmallBody = 256;

// The wire's numbers are ours, so that a cast converts them.
static_assert(static_cast<int>(wire::TaskState::kCancelled) ==
              static_cast<int>(TaskState::kCancelled));
static_assert(static_cast<int>(wire::TaskState::MAX) + 1 == kTaskStates);
static_assert(static_cast<int>(wire::Durability::kReplicated) ==
              static_cast<int>(Durability::kReplicated));
static_assert(static_cast<int>(wire::Overlap::MAX) == static_cast<int>(Overlap::kAllow));
static_assert(static_cast<int>(wire::Delivery::MAX) == static_cast<int>(Delivery::kAtMostOnce));
static_assert(static_cast<int>(wire::AttemptEnd::MAX) == static_cast<int>(AttemptEnd::kCancelled));
static_assert(static_cast<int>(wire::WaitReason::MAX) == static_cast<int>(WaitReason::kNoCredit));
static_assert(static_cast<int>(wire::OutputStream::MAX) == static_cast<int>(OutputStream::kStderr));
static_assert(static_cast<int>(wire::QueueGate::MAX) == static_cast<int>(QueueGate::kDry));
static_assert(static_cast<int>(wire::Role::kFenced) == static_cast<int>(BrokerRole::kFenced));

void Assign(const flatbuffers::String* from, std::string* to) {
  if (from != nullptr)
    to->assign(from->data(), from->size());
  else
    to->clear();
}

void Assign(const flatbuffers::Vector<uint8_t>* from, std::string* to) {
  if (from != nullptr)
    to->assign(reinterpret_cast<const char*>(from->data()), from->size());
  else
    to->clear();
}

template <class Field>
std::string Text(const Field* from) {
  std::string text;
  Assign(from, &text);
  return text;
}

std::vector<Label> ReadLabels(const flatbuffers::Vector<flatbuffers::Offset<wire::Label>>* from) {
  std::vector<Label> labels;
  if (from == nullptr) return labels;
  for (const wire::Label* label : *from)
    labels.push_back({Text(label->key()), Text(label->value())});
  return labels;
}

std::vector<std::string> ReadStrings(
    const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* from) {
  std::vector<std::string> strings;
  if (from == nullptr) return strings;
  for (const flatbuffers::String* text : *from) strings.push_back(text->str());
  return strings;
}

Uuid ReadUuid(const wire::Uuid* from) {
  return from != nullptr ? Uuid{from->hi(), from->lo()} : Uuid{};
}

void ReadCounts(const flatbuffers::Vector<uint64_t>* from,
                std::array<uint64_t, kTaskStates>* counts) {
  if (from == nullptr) return;
  for (uint32_t i = 0; i < std::min<size_t>(from->size(), kTaskStates); ++i)
    (*counts)[i] = from->Get(i);
}

template <class Value>
flatbuffers::Optional<Value> ToWire(const std::optional<Value>& value) {
  return value ? flatbuffers::Optional<Value>(*value) : flatbuffers::nullopt;
}

// An enumerator of a newer peer reads as `otherwise`.
template <class Enum, class WireEnum>
Enum ReadEnum(WireEnum from, Enum otherwise) {
  return from <= WireEnum::MAX ? static_cast<Enum>(from) : otherwise;
}

template <class Table>
std::string Finish(Builder* builder, flatbuffers::Offset<Table> root) {
  builder->Finish(root);
  return {reinterpret_cast<const char*>(builder->GetBufferPointer()), builder->GetSize()};
}

flatbuffers::Offset<flatbuffers::Vector<uint64_t>> WriteIds(Builder* builder,
                                                            std::span<const TaskId> ids) {
  static_assert(sizeof(TaskId) == sizeof(uint64_t));
  return builder->CreateVector(reinterpret_cast<const uint64_t*>(ids.data()), ids.size());
}

flatbuffers::Offset<flatbuffers::Vector<uint64_t>> WriteLetters(Builder* builder,
                                                                std::span<const uint64_t> letters) {
  return letters.empty() ? 0 : builder->CreateVector(letters.data(), letters.size());
}

flatbuffers::Offset<flatbuffers::String> WriteOptional(Builder* builder, const std::string& text) {
  return text.empty() ? 0 : builder->CreateString(text);
}

flatbuffers::Offset<wire::TaskSpec> WriteTask(Builder* builder, const TaskSpec& task);

flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskSpec>>> WriteTemplates(
    Builder* builder, const std::vector<TaskSpec>& templates) {
  if (templates.empty()) return 0;
  std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
  for (const TaskSpec& task : templates) specs.push_back(WriteTask(builder, task));
  return builder->CreateVector(specs);
}

flatbuffers::Offset<wire::TaskSpec> WriteTask(Builder* builder, const TaskSpec& task) {
  const auto on_success = WriteTemplates(builder, task.on_success),
             on_failure = WriteTemplates(builder, task.on_failure),
             on_complete = WriteTemplates(builder, task.on_complete);
  std::vector<flatbuffers::Offset<wire::Label>> pairs;
  for (const Label& label : task.labels) {
    const auto key = builder->CreateString(label.key), value = builder->CreateString(label.value);
    pairs.push_back(wire::CreateLabel(*builder, key, value));
  }
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Label>>> labels;
  if (!pairs.empty()) labels = builder->CreateVector(pairs);
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> payload;
  if (!task.payload.empty())
    payload = builder->CreateVector(reinterpret_cast<const uint8_t*>(task.payload.data()),
                                    task.payload.size());
  const auto type = builder->CreateString(task.type), queue = builder->CreateString(task.queue);
  const auto content_type = WriteOptional(builder, task.content_type);
  const auto key = WriteOptional(builder, task.key);
  const auto concurrency_key = WriteOptional(builder, task.concurrency_key),
             fairness_key = WriteOptional(builder, task.fairness_key),
             correlation_id = WriteOptional(builder, task.correlation_id),
             traceparent = WriteOptional(builder, task.traceparent);
  return wire::CreateTaskSpec(
      *builder, type, queue, payload, content_type, static_cast<uint8_t>(task.priority),
      static_cast<wire::Durability>(task.durability), static_cast<uint16_t>(task.max_attempts),
      task.timeout_ms, task.delay_ms, task.run_at_ms, task.retry_base_ms, task.retry_cap_ms, labels,
      key, concurrency_key, fairness_key, correlation_id, traceparent,
      static_cast<wire::Delivery>(task.delivery), on_success, on_failure, on_complete,
      task.pass_result, task.start_within_ms, task.start_by_ms);
}

}  // namespace

TaskSpec ReadTask(const wire::TaskSpec& from) {
  TaskSpec task;
  task.type = Text(from.type());
  if (from.queue() != nullptr) task.queue = Text(from.queue());
  task.payload = Text(from.payload());
  task.content_type = Text(from.content_type());
  task.priority = from.priority();
  task.durability = ReadEnum(from.durability(), Durability::kReplicated);
  task.max_attempts = from.max_attempts();
  task.timeout_ms = from.timeout_ms();
  task.retry_base_ms = from.retry_base_ms();
  task.retry_cap_ms = from.retry_cap_ms();
  task.labels = ReadLabels(from.labels());
  task.concurrency_key = Text(from.concurrency_key());
  task.fairness_key = Text(from.fairness_key());
  task.correlation_id = Text(from.correlation_id());
  task.traceparent = Text(from.traceparent());
  task.delivery = ReadEnum(from.delivery(), Delivery::kAtLeastOnce);
  task.delay_ms = from.delay_ms();
  task.run_at_ms = from.run_at_ms();
  task.key = Text(from.key());
  for (auto [templates, read] : {std::pair(from.on_success(), &task.on_success),
                                 std::pair(from.on_failure(), &task.on_failure),
                                 std::pair(from.on_complete(), &task.on_complete)})
    if (templates != nullptr)
      for (const wire::TaskSpec* spec : *templates) read->push_back(ReadTask(*spec));
  task.pass_result = from.pass_result();
  task.start_within_ms = from.start_within_ms();
  task.start_by_ms = from.start_by_ms();
  return task;
}

void ResetOutcome(Outcome* outcome) {
  outcome->state = TaskState::kSucceeded;
  outcome->attempt = 0;
  outcome->error = ErrorCode::kOk;
  outcome->result.clear();
  outcome->content_type.clear();
  outcome->error_message.clear();
}

bool ReadOutcome(const wire::Outcome& from, Outcome* outcome) {
  outcome->id = TaskId(from.id());
  outcome->error = ErrorFromNumber(from.error_code());
  outcome->state = ReadEnum(from.state(), TaskState::kReady);
  if (outcome->error != ErrorCode::kNotFound && !IsFinal(outcome->state)) return false;
  outcome->attempt = from.attempt();
  Assign(from.result(), &outcome->result);
  Assign(from.content_type(), &outcome->content_type);
  Assign(from.error_message(), &outcome->error_message);
  return true;
}

TaskInfo ReadTaskInfo(const wire::TaskInfo& from) {
  TaskInfo task;
  task.id = TaskId(from.id());
  task.queue = Text(from.queue());
  task.type = Text(from.type());
  task.state = ReadEnum(from.state(), TaskState::kReady);
  task.priority = from.priority();
  task.attempt = from.attempt();
  task.max_attempts = from.max_attempts();
  task.timeout_ms = from.timeout_ms();
  task.submitted_at_ms = from.submitted_at_ms();
  task.run_at_ms = from.run_at_ms();
  task.started_at_ms = from.started_at_ms();
  task.finished_at_ms = from.finished_at_ms();
  task.worker = Text(from.worker());
  task.payload = Text(from.payload());
  task.content_type = Text(from.content_type());
  task.result = Text(from.result());
  task.result_content_type = Text(from.result_content_type());
  task.error = ErrorFromNumber(from.error_code());
  task.error_message = Text(from.error_message());
  task.labels = ReadLabels(from.labels());
  task.key = Text(from.key());
  task.concurrency_key = Text(from.concurrency_key());
  task.fairness_key = Text(from.fairness_key());
  task.correlation_id = Text(from.correlation_id());
  task.traceparent = Text(from.traceparent());
  task.delivery = ReadEnum(from.delivery(), Delivery::kAtLeastOnce);
  task.durability = ReadEnum(from.durability(), Durability::kReplicated);
  task.cancelling = from.cancelling();
  task.fingerprint = from.fingerprint();
  if (const wire::ProgressInfo* progress = from.progress())
    task.progress = {.percent = progress->percent(),
                     .message = Text(progress->message()),
                     .attempt = progress->attempt(),
                     .at_ms = progress->at_ms()};
  task.parent = TaskId(from.parent());
  task.start_by_ms = from.start_by_ms();
  return task;
}

namespace {

using Counters = flatbuffers::Vector<flatbuffers::Offset<wire::Counter>>;

std::vector<CounterValue> ReadCounters(const Counters* from) {
  std::vector<CounterValue> counters;
  if (from == nullptr) return counters;
  for (const wire::Counter* counter : *from)
    counters.push_back({.name = Text(counter->name()), .value = counter->value()});
  return counters;
}

// One whose numbers do not fit together is left out.
void ReadHistogram(const wire::Histogram& from, std::vector<HistogramValue>* histograms) {
  if (from.bounds_us() == nullptr || from.counts() == nullptr ||
      from.counts()->size() != from.bounds_us()->size() + 1)
    return;
  histograms->push_back({.name = Text(from.name()),
                         .bounds_us = {from.bounds_us()->begin(), from.bounds_us()->end()},
                         .counts = {from.counts()->begin(), from.counts()->end()},
                         .sum_us = from.sum_us()});
}

}  // namespace

StatusInfo ReadStatus(const wire::StatusReply& from) {
  StatusInfo status;
  status.node = Text(from.node());
  status.role = ReadEnum(from.role(), BrokerRole::kRecovering);
  status.epoch = Epoch(from.epoch());
  status.lsn = Lsn(from.lsn());
  status.durable_lsn = Lsn(from.durable_lsn());
  status.uptime_ms = from.uptime_ms();
  status.version = Text(from.version());
  status.cluster = ReadUuid(from.cluster());
  status.workers = from.workers();
  status.clients = from.clients();
  if (from.brokers() != nullptr)
    for (const wire::BrokerInfo* broker : *from.brokers())
      status.brokers.push_back({.node = Text(broker->node()),
                                .role = ReadEnum(broker->role(), BrokerRole::kRecovering),
                                .address = Text(broker->address()),
                                .worker_address = Text(broker->worker_address()),
                                .self = broker->self()});
  if (from.queues() != nullptr)
    for (const wire::QueueStatus* queue : *from.queues()) {
      QueueSummary& summary = status.queues.emplace_back();
      summary.name = Text(queue->name());
      summary.bytes = queue->bytes();
      summary.oldest_ready_ms = queue->oldest_ready_ms();
      ReadCounts(queue->counts(), &summary.counts);
    }
  status.counters = ReadCounters(from.counters());
  status.gauges = ReadCounters(from.gauges());
  if (from.histograms() != nullptr)
    for (const wire::Histogram* histogram : *from.histograms())
      ReadHistogram(*histogram, &status.histograms);
  if (from.merges() != nullptr)
    for (const wire::MergeReport* merge : *from.merges())
      status.merges.push_back({.epoch = Epoch(merge->epoch()),
                               .begun_ms = merge->begun_ms(),
                               .decided_ms = merge->decided_ms(),
                               .done = merge->done(),
                               .taken = merge->taken(),
                               .finished = merge->finished(),
                               .ended = merge->ended(),
                               .resent = merge->resent(),
                               .voided = merge->voided(),
                               .schedules = merge->schedules()});
  return status;
}

WorkerSummary ReadWorker(const wire::WorkerInfo& from) {
  return {.id = ReadUuid(from.id()),
          .name = Text(from.name()),
          .host = Text(from.host()),
          .version = Text(from.version()),
          .pid = from.pid(),
          .queues = ReadStrings(from.queues()),
          .types = ReadStrings(from.types()),
          .labels = ReadLabels(from.labels()),
          .concurrency = from.concurrency(),
          .credit_tasks = from.credit_tasks(),
          .outstanding = from.outstanding(),
          .running = from.running(),
          .draining = from.draining(),
          .silent_ms = from.silent_ms(),
          .finished = from.finished()};
}

DeadGroup ReadDeadGroup(const wire::DeadGroup& from) {
  return {.fingerprint = from.fingerprint(),
          .type = Text(from.type()),
          .error = ErrorFromNumber(from.error_code()),
          .error_message = Text(from.error_message()),
          .tasks = from.letters(),
          .first_died_at_ms = from.first_died_ms(),
          .last_died_at_ms = from.last_died_ms(),
          .last_task = TaskId(from.last_task())};
}

QueueInfo ReadQueue(const wire::QueueInfo& from) {
  QueueInfo queue;
  queue.name = Text(from.name());
  ReadCounts(from.counts(), &queue.counts);
  queue.bytes = from.bytes();
  queue.gate = ReadEnum(from.gate(), QueueGate::kOpen);
  queue.settings = {.paused = from.paused(),
                    .max_tasks = from.max_tasks(),
                    .max_bytes = from.max_bytes(),
                    .max_running = from.max_running(),
                    .rate_micro = from.rate_micro(),
                    .burst = from.burst(),
                    .weight = from.weight(),
                    .max_attempts = from.max_attempts(),
                    .timeout_ms = from.timeout_ms(),
                    .retry_base_ms = from.retry_base_ms(),
                    .retry_cap_ms = from.retry_cap_ms(),
                    .key_max_running = from.key_max_running(),
                    .key_rate_micro = from.key_rate_micro(),
                    .key_burst = from.key_burst(),
                    .ageing_ms = from.ageing_ms(),
                    .draining = from.draining()};
  queue.oldest_ready_ms = from.oldest_ready_ms();
  return queue;
}

TypeInfo ReadType(const wire::TypeInfo& from) {
  TypeInfo type;
  type.name = Text(from.name());
  type.running = from.running();
  type.gate = ReadEnum(from.gate(), QueueGate::kOpen);
  type.rules = {.paused = from.paused(),
                .max_running = from.max_running(),
                .rate_micro = from.rate_micro(),
                .burst = from.burst(),
                .no_retry = from.no_retry()};
  return type;
}

ScheduleInfo ReadSchedule(const wire::ScheduleInfo& from) {
  ScheduleInfo info;
  info.spec.name = Text(from.name());
  info.spec.expression = Text(from.expression());
  info.spec.zone = Text(from.zone());
  if (from.task() != nullptr) info.spec.task = ReadTask(*from.task());
  info.spec.overlap = ReadEnum(from.overlap(), Overlap::kSkip);
  info.spec.catch_up_ms = from.catch_up_ms();
  info.spec.jitter_ms = from.jitter_ms();
  info.spec.paused = from.paused();
  info.created_at_ms = from.created_ms();
  info.cursor_ms = from.cursor_ms();
  info.next_ms = from.next_ms();
  info.last_task = TaskId(from.last_task());
  info.running = from.running();
  info.held = from.held();
  info.fired = from.fired();
  info.skipped = from.skipped();
  info.missed = from.missed();
  info.error = Text(from.error());
  return info;
}

TaskExplanation ReadExplanation(const wire::Explanation& from) {
  TaskExplanation explanation{.state = ReadEnum(from.state(), TaskState::kReady),
                              .ahead = from.ahead(),
                              .ahead_exact = from.ahead_exact(),
                              .ready = from.ready()};
  if (from.causes() == nullptr) return explanation;
  for (const wire::WaitCause* cause : *from.causes())
    explanation.causes.push_back({.reason = ReadEnum(cause->reason(), WaitReason::kUnknown),
                                  .name = Text(cause->name()),
                                  .since_ms = cause->since_ms(),
                                  .until_ms = cause->until_ms(),
                                  .count = cause->count(),
                                  .limit = cause->limit()});
  return explanation;
}

TaskHistory ReadHistory(const wire::HistoryInfo& from) {
  TaskHistory history;
  history.missing = from.missing();
  if (from.attempts() == nullptr) return history;
  for (const wire::AttemptInfo* attempt : *from.attempts())
    history.attempts.push_back({.attempt = attempt->attempt(),
                                .lease = LeaseId(attempt->lease()),
                                .worker = Text(attempt->worker()),
                                .leased_at_ms = attempt->leased_at_ms(),
                                .ended_at_ms = attempt->ended_at_ms(),
                                .run_us = attempt->run_us(),
                                .end = ReadEnum(attempt->end(), AttemptEnd::kRetried),
                                .error = ErrorFromNumber(attempt->error_code()),
                                .error_message = Text(attempt->error_message())});
  return history;
}

TaskOutput ReadLogs(const wire::LogPages& from, uint64_t offset) {
  TaskOutput output{.attempt = from.attempt(),
                    .last_attempt = from.last_attempt(),
                    .running = from.running(),
                    .finished = from.finished(),
                    .end_offset = offset};
  auto add = [&](OutputStream stream, uint64_t at, std::string_view bytes) {
    if (at + bytes.size() <= output.end_offset) return;
    const uint64_t begin = std::max(at, output.end_offset);
    bytes.remove_prefix(begin - at);
    if (output.pieces.empty() || output.pieces.back().stream != stream ||
        output.end_offset != begin)
      output.pieces.push_back({stream, begin, {}});
    output.pieces.back().bytes.append(bytes);
    output.end_offset = begin + bytes.size();
  };
  if (from.pages() == nullptr) return output;
  for (const wire::LogPage* page : *from.pages()) {
    if (page->runs() == nullptr) continue;
    std::string_view rest = BytesOf(page->bytes());
    uint64_t at = page->offset();
    for (const wire::OutputRun* run : *page->runs()) {
      const std::string_view bytes = rest.substr(0, run->bytes());
      add(ReadEnum(run->stream(), OutputStream::kStderr), at, bytes);
      at += bytes.size();
      rest.remove_prefix(bytes.size());
    }
  }
  return output;
}

EventPage ReadEvents(const wire::EventPage& from) {
  EventPage page{.next = {Lsn(from.next()), from.next_skip()},
                 .last = Lsn(from.last()),
                 .trimmed = from.trimmed()};
  if (from.events() == nullptr) return page;
  for (const wire::Event* event : *from.events()) {
    if (event->kind() > wire::EventKind::MAX) continue;  // of a newer broker
    page.events.push_back({.lsn = Lsn(event->lsn()),
                           .index = event->index(),
                           .at_ms = event->at_ms(),
                           .kind = static_cast<EventKind>(event->kind()),
                           .task = TaskId(event->task()),
                           .queue = Text(event->queue()),
                           .type = Text(event->type()),
                           .state = ReadEnum(event->state(), TaskState::kReady),
                           .attempt = event->attempt(),
                           .worker = Text(event->worker()),
                           .name = Text(event->name()),
                           .error = ErrorFromNumber(event->error_code()),
                           .error_message = Text(event->error_message()),
                           .percent = event->percent(),
                           .message = Text(event->message()),
                           .count = event->count(),
                           .parent = TaskId(event->parent())});
  }
  return page;
}

absl::Status ReadItemStatus(const wire::ItemResult& from) {
  return Error(ErrorFromNumber(from.code()), Text(from.message()));
}

std::string EncodeHello(Uuid id, const std::string& name, const std::string& version,
                        bool observe) {
  Builder builder(kSmallBody);
  const wire::Uuid uuid(id.hi, id.lo);
  const auto name_text = builder.CreateString(name);
  const auto version_text = builder.CreateString(version);
  return Finish(&builder, wire::CreateHello(builder, &uuid, name_text, version_text, observe));
}

std::string EncodeWait(uint64_t request, std::span<const TaskId> ids) {
  Builder builder(kSmallBody + ids.size_bytes());
  return Finish(&builder, wire::CreateWait(builder, request, WriteIds(&builder, ids)));
}

std::string EncodeGet(uint64_t request, std::span<const TaskId> ids) {
  Builder builder(kSmallBody + ids.size_bytes());
  return Finish(&builder, wire::CreateGet(builder, request, WriteIds(&builder, ids)));
}

std::string EncodeExplain(uint64_t request, TaskId id) {
  Builder builder(kSmallBody);
  return Finish(&builder, wire::CreateExplain(builder, request, id.value()));
}

std::string EncodeHistory(uint64_t request, TaskId id) {
  Builder builder(kSmallBody);
  return Finish(&builder, wire::CreateHistory(builder, request, id.value()));
}

std::string EncodeLogs(uint64_t request, TaskId id, uint32_t attempt, uint64_t from) {
  Builder builder(kSmallBody);
  return Finish(&builder, wire::CreateLogs(builder, request, id.value(),
                                           static_cast<uint16_t>(attempt), from));
}

std::string EncodeRetry(uint64_t request, std::span<const TaskId> ids,
                        std::span<const uint64_t> letters) {
  Builder builder(kSmallBody + ids.size_bytes() + letters.size_bytes());
  const auto list = WriteIds(&builder, ids);
  return Finish(&builder,
                wire::CreateRetry(builder, request, list, WriteLetters(&builder, letters)));
}

std::string EncodeDeadDelete(uint64_t request, std::span<const TaskId> ids,
                             std::span<const uint64_t> letters) {
  Builder builder(kSmallBody + ids.size_bytes() + letters.size_bytes());
  const auto list = WriteIds(&builder, ids);
  return Finish(&builder,
                wire::CreateDeadDelete(builder, request, list, WriteLetters(&builder, letters)));
}

std::string EncodeDeadList(uint64_t request, const DeadListSpec& list) {
  Builder builder(kSmallBody);
  const auto queue = WriteOptional(&builder, list.filter.queue),
             type = WriteOptional(&builder, list.filter.type),
             error = WriteOptional(&builder, list.filter.error);
  return Finish(&builder,
                wire::CreateDeadList(
                    builder, request, list.view, queue, type, error, list.filter.fingerprint,
                    static_cast<uint64_t>(std::max<int64_t>(list.filter.older_than_ms, 0)),
                    list.before, static_cast<uint32_t>(list.limit), list.cursor, list.omit_bodies));
}

std::string EncodeCancel(uint64_t request, std::span<const TaskId> ids) {
  Builder builder(kSmallBody + ids.size_bytes());
  return Finish(&builder, wire::CreateCancelTasks(builder, request, WriteIds(&builder, ids)));
}

std::string EncodeList(uint64_t request, const ListQuery& query) {
  Builder builder(kSmallBody);
  uint32_t states = 0;
  for (TaskState state : query.states) states |= 1u << static_cast<int>(state);
  const auto queue = WriteOptional(&builder, query.queue);
  const auto type = WriteOptional(&builder, query.type);
  flatbuffers::Offset<wire::Label> label;
  if (!query.label.empty()) {
    const auto key = builder.CreateString(query.label.front().key);
    const auto value = builder.CreateString(query.label.front().value);
    label = wire::CreateLabel(builder, key, value);
  }
  return Finish(&builder, wire::CreateList(builder, request, queue, type, states, label,
                                           static_cast<uint32_t>(query.limit), query.cursor.value(),
                                           query.brief, query.descending, query.omit_bodies));
}

std::string EncodeEvents(uint64_t request, const EventQuery& query) {
  Builder builder(kSmallBody);
  uint32_t kinds = 0;
  for (EventKind kind : query.kinds) kinds |= 1u << static_cast<int>(kind);
  const auto queue = WriteOptional(&builder, query.queue);
  const auto type = WriteOptional(&builder, query.type);
  return Finish(&builder, wire::CreateEvents(builder, request, query.from.after.value(),
                                             query.from.skip, static_cast<uint32_t>(query.limit),
                                             kinds, queue, type, query.task.value()));
}

std::string EncodeQueueList(uint64_t request, const std::string& only, const std::string& cursor) {
  Builder builder(kSmallBody);
  const auto queue = WriteOptional(&builder, only), after = WriteOptional(&builder, cursor);
  return Finish(&builder, wire::CreateQueueList(builder, request, queue, after));
}

std::string EncodeQueueSet(uint64_t request, const std::string& queue, const QueueChange& change) {
  Builder builder(kSmallBody);
  const auto name = builder.CreateString(queue);
  return Finish(
      &builder,
      wire::CreateQueueSet(
          builder, request, name, ToWire(change.paused), ToWire(change.max_tasks),
          ToWire(change.max_bytes), ToWire(change.max_running), ToWire(change.rate_micro),
          ToWire(change.burst), ToWire(change.weight), ToWire(change.max_attempts),
          ToWire(change.timeout_ms), ToWire(change.retry_base_ms), ToWire(change.retry_cap_ms),
          ToWire(change.key_max_running), ToWire(change.key_rate_micro), ToWire(change.key_burst),
          ToWire(change.ageing_ms), ToWire(change.draining)));
}

std::string EncodeTypeList(uint64_t request, const std::string& only, const std::string& cursor) {
  Builder builder(kSmallBody);
  const auto type = WriteOptional(&builder, only), after = WriteOptional(&builder, cursor);
  return Finish(&builder, wire::CreateTypeList(builder, request, type, after));
}

std::string EncodeTypeSet(uint64_t request, const std::string& type, const TypeChange& change) {
  Builder builder(kSmallBody);
  const auto name = builder.CreateString(type);
  return Finish(&builder, wire::CreateTypeSet(builder, request, name, ToWire(change.paused),
                                              ToWire(change.max_running), ToWire(change.rate_micro),
                                              ToWire(change.burst), ToWire(change.no_retry)));
}

std::string EncodeScheduleSet(uint64_t request, const ScheduleSpec& spec, bool replace) {
  Builder builder(kSmallBody);
  const auto name = builder.CreateString(spec.name);
  const auto expression = builder.CreateString(spec.expression);
  const auto zone = WriteOptional(&builder, spec.zone);
  const auto task = WriteTask(&builder, spec.task);
  return Finish(&builder,
                wire::CreateScheduleSet(builder, request, name, expression, zone, task,
                                        static_cast<wire::Overlap>(spec.overlap), spec.catch_up_ms,
                                        spec.jitter_ms, ToWire(spec.paused), replace));
}

std::string EncodeSchedulePause(uint64_t request, const std::string& name, bool paused) {
  Builder builder(kSmallBody);
  const auto text = builder.CreateString(name);
  return Finish(&builder, wire::CreateSchedulePause(builder, request, text, paused));
}

std::string EncodeScheduleRun(uint64_t request, const std::string& name, int64_t from_ms,
                              int64_t to_ms) {
  Builder builder(kSmallBody);
  const auto text = builder.CreateString(name);
  return Finish(&builder, wire::CreateScheduleRun(builder, request, text, from_ms, to_ms));
}

std::string EncodeScheduleRemove(uint64_t request, const std::string& name) {
  Builder builder(kSmallBody);
  const auto text = builder.CreateString(name);
  return Finish(&builder, wire::CreateScheduleRemove(builder, request, text));
}

std::string EncodeScheduleList(uint64_t request, const std::string& only,
                               const std::string& cursor) {
  Builder builder(kSmallBody);
  const auto name = WriteOptional(&builder, only), after = WriteOptional(&builder, cursor);
  return Finish(&builder, wire::CreateScheduleList(builder, request, name, after));
}

std::string EncodeStatus(uint64_t request) {
  Builder builder(kSmallBody);
  return Finish(&builder, wire::CreateStatus(builder, request));
}

std::string EncodeWorkerList(uint64_t request) {
  Builder builder(kSmallBody);
  return Finish(&builder, wire::CreateWorkerList(builder, request));
}

std::string EncodeClusterCommand(uint64_t request, wire::ClusterAction action, bool force,
                                 Epoch epoch) {
  Builder builder(kSmallBody);
  return Finish(&builder,
                wire::CreateClusterCommand(builder, request, action, force, epoch.value()));
}

std::string EncodeWorkerDrain(uint64_t request, const std::string& worker) {
  Builder builder(kSmallBody);
  const auto name = builder.CreateString(worker);
  return Finish(&builder, wire::CreateWorkerDrain(builder, request, name));
}

std::string_view NameOf(TaskState state) {
  static constexpr std::string_view kNames[] = {"scheduled", "ready",     "leased", "retry_wait",
                                                "blocked",   "succeeded", "dead",   "cancelled"};
  const auto index = static_cast<size_t>(state);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(Durability durability) {
  static constexpr std::string_view kNames[] = {"memory", "disk", "replicated"};
  const auto index = static_cast<size_t>(durability);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(Delivery delivery) {
  static constexpr std::string_view kNames[] = {"at_least_once", "at_most_once"};
  const auto index = static_cast<size_t>(delivery);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(EventKind kind) {
  static constexpr std::string_view kNames[] = {
      "submitted", "ready",       "started",     "succeeded", "failed",       "dead",
      "cancelled", "cancelling",  "returned",    "retried",   "deleted",      "pruned",
      "progress",  "output",      "queue_set",   "type_set",  "schedule_set", "schedule_removed",
      "ticked",    "worker_seen", "worker_gone", "epoch",     "merged"};
  static_assert(std::size(kNames) == kEventKinds);
  const auto index = static_cast<size_t>(kind);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(WaitReason reason) {
  static constexpr std::string_view kNames[] = {
      "unknown",      "delay",      "retry_wait", "running",     "at_worker", "cancelling",
      "queue_paused", "queue_full", "queue_rate", "type_paused", "type_full", "type_rate",
      "key_full",     "key_rate",   "no_worker",  "no_credit"};
  const auto index = static_cast<size_t>(reason);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(AttemptEnd end) {
  static constexpr std::string_view kNames[] = {"running", "succeeded", "retried",
                                                "dead",    "returned",  "cancelled"};
  const auto index = static_cast<size_t>(end);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(OutputStream stream) {
  static constexpr std::string_view kNames[] = {"log", "stdout", "stderr"};
  const auto index = static_cast<size_t>(stream);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(QueueGate gate) {
  static constexpr std::string_view kNames[] = {"open", "paused", "full", "dry"};
  const auto index = static_cast<size_t>(gate);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(Overlap overlap) {
  static constexpr std::string_view kNames[] = {"skip", "queue_one", "queue_all", "cancel_old",
                                                "allow"};
  const auto index = static_cast<size_t>(overlap);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

std::string_view NameOf(BrokerRole role) {
  static constexpr std::string_view kNames[] = {
      "recovering", "catchup", "standby", "promoting", "active_sync", "active_solo", "fenced"};
  const auto index = static_cast<size_t>(role);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

}  // namespace zsched
