#include "broker/transport/encoder.h"

#include <algorithm>

#include "base/planted.h"
#include "broker/core/schedule_settings.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// Queues in one STATUS_REPLY, by name; a broker with more is asked through metrics.
constexpr size_t kMaxStatusQueues = 5000;
constexpr size_t kMaxListedWorkers = 5000;
constexpr size_t kMaxPushedOutcomes = 4096;  // docs/protocol.md §5

flatbuffers::Offset<flatbuffers::String> Str(flatbuffers::FlatBufferBuilder& b,
                                             std::string_view s) {
  return b.CreateString(s.data(), s.size());
}
flatbuffers::Offset<flatbuffers::Vector<uint8_t>> Bytes(flatbuffers::FlatBufferBuilder& b,
                                                        std::string_view s) {
  return b.CreateVector(reinterpret_cast<const uint8_t*>(s.data()), s.size());
}

// What is left now. One that is late by now is given back at once, and expires.
uint64_t StartWithin(const Assign& assign, int64_t wall_ms) {
  if (assign.start_by_ms == 0) return 0;
  return static_cast<uint64_t>(std::max<int64_t>(1, assign.start_by_ms - wall_ms));
}

// The age is a second old at most; that there is none ready is known now.
uint64_t AgeOf(const Queue& queue, uint64_t age_ms) {
  return queue.counts[static_cast<size_t>(TaskState::kReady)] == 0 ? 0 : age_ms;
}

}  // namespace

template <class Table>
std::string_view Encoder::Finish(flatbuffers::Offset<Table> root) {
  builder_.Finish(root);
  return {reinterpret_cast<const char*>(builder_.GetBufferPointer()), builder_.GetSize()};
}

std::string_view Encoder::Error(ErrorCode code, std::string_view message, uint64_t request,
                                uint32_t retry_after_ms) {
  builder_.Clear();
  auto text = Str(builder_, message);
  return Finish(
      wire::CreateError(builder_, static_cast<uint16_t>(code), text, retry_after_ms, request));
}

Encoder::Brokers Encoder::BrokerList(const ClusterView& view) {
  std::vector<flatbuffers::Offset<wire::BrokerInfo>> list;
  for (const BrokerEntry& entry : view.brokers) {
    auto node = Str(builder_, entry.node), address = Str(builder_, entry.address),
         worker = Str(builder_, entry.worker_address);
    list.push_back(wire::CreateBrokerInfo(builder_, node, entry.role, address, worker, entry.self));
  }
  return builder_.CreateVector(list);
}

std::string_view Encoder::View(const ClusterView& view) {
  builder_.Clear();
  auto brokers = BrokerList(view);
  wire::Uuid cluster(view.cluster.hi, view.cluster.lo);
  return Finish(wire::CreateView(builder_, &cluster, view.epoch.value(), brokers));
}

std::string_view Encoder::Welcome(SessionId session, const ClusterView& view,
                                  const CoreConfig& config) {
  builder_.Clear();
  auto brokers = BrokerList(view);
  return Finish(wire::CreateWelcome(
      builder_, session.value(), view.epoch.value(), static_cast<uint32_t>(config.heartbeat_ms),
      static_cast<uint32_t>(config.client_timeout_ms), kSubmitWindowTasks, kSubmitWindowBytes,
      static_cast<uint32_t>(config.max_payload_bytes), brokers));
}

std::string_view Encoder::WorkerWelcome(const WorkerWelcomeEffect& effect, const ClusterView& view,
                                        const CoreConfig& config) {
  builder_.Clear();
  auto brokers = BrokerList(view);
  auto stale = builder_.CreateVector(effect.stale);
  return Finish(wire::CreateWorkerWelcome(
      builder_, effect.to.value(), view.epoch.value(), static_cast<uint32_t>(config.heartbeat_ms),
      static_cast<uint32_t>(config.visibility_timeout_ms), stale, brokers));
}

std::string_view Encoder::HeartbeatAck(bool resync) {
  builder_.Clear();
  return Finish(wire::CreateHeartbeatAck(builder_, resync));
}

std::string_view Encoder::SubmitAck(const SubmitAckEffect& ack) {
  builder_.Clear();
  std::vector<flatbuffers::Offset<wire::Rejected>> rejected;
  for (const Reject& r : ack.rejected) {
    auto message = Str(builder_, r.message);
    rejected.push_back(wire::CreateRejected(builder_, r.index, static_cast<uint16_t>(r.code),
                                            message, r.retry_after_ms, r.existing));
  }
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Rejected>>> list;
  if (!rejected.empty()) list = builder_.CreateVector(rejected);
  return Finish(wire::CreateSubmitAck(builder_, ack.seq, ack.first_id, ack.accepted, ack.reached,
                                      ack.duplicate, list, kSubmitWindowTasks, kSubmitWindowBytes));
}

std::string_view Encoder::ResultAck(const ResultAckEffect& ack) {
  builder_.Clear();
  flatbuffers::Offset<flatbuffers::Vector<uint64_t>> stale;
  if (!ack.stale.empty()) stale = builder_.CreateVector(ack.stale);
  return Finish(wire::CreateResultAck(builder_, ack.seq, stale));
}

std::string_view Encoder::Cancel(const CancelEffect& cancel) {
  builder_.Clear();
  auto leases = builder_.CreateVector(cancel.leases);
  return Finish(wire::CreateCancel(builder_, leases, static_cast<uint16_t>(cancel.code)));
}

std::string_view Encoder::Recall(const RecallEffect& recall) {
  builder_.Clear();
  return Finish(wire::CreateRecall(builder_, builder_.CreateVector(recall.leases)));
}

std::string_view Encoder::Explanation(uint64_t request, TaskId id,
                                      const broker::Explanation& explanation) {
  builder_.Clear();
  std::vector<flatbuffers::Offset<wire::WaitCause>> causes;
  for (const WaitCause& cause : explanation.causes) {
    auto name = Str(builder_, cause.name);
    causes.push_back(wire::CreateWaitCause(builder_, cause.reason, name, cause.since_ms,
                                           cause.until_ms, cause.count, cause.limit));
  }
  auto list = builder_.CreateVector(causes);
  return Finish(wire::CreateExplanation(builder_, request, id.value(), explanation.found,
                                        explanation.state, list, explanation.ahead,
                                        explanation.ahead_exact, explanation.ready));
}

std::string_view Encoder::ItemReply(const ItemReplyEffect& reply) {
  builder_.Clear();
  std::vector<flatbuffers::Offset<wire::ItemResult>> items;
  for (const ItemCode& item : reply.items) {
    auto message = Str(builder_, item.message);
    items.push_back(
        wire::CreateItemResult(builder_, item.id, static_cast<uint16_t>(item.code), message));
  }
  auto list = builder_.CreateVector(items);
  return Finish(wire::CreateItemReply(builder_, reply.request, list));
}

flatbuffers::Offset<wire::Parent> Encoder::CopyParent(const ParentView& parent) {
  // A success may have left nothing.
  std::optional<OutcomeView> outcome;
  if (!parent.outcome.empty()) outcome = ReadOutcome(parent.outcome);
  ZS_CHECK(outcome.has_value() || parent.outcome.empty());
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> result;
  flatbuffers::Offset<flatbuffers::String> content_type, message;
  const uint16_t code = outcome ? outcome->head.error_code : 0;
  if (outcome && code == 0) {
    result = Bytes(builder_, outcome->body);
    content_type = Str(builder_, outcome->content_type);
  } else if (outcome) {
    message = Str(builder_, outcome->body);
  }
  return wire::CreateParent(builder_, parent.task, parent.state, parent.passed, result,
                            content_type, code, message);
}

// Flattened: the builder calls a small function for each field, also for those that are absent.
[[gnu::flatten]] void Encoder::Tasks(const TasksEffect& effect, const Lanes& lanes, int64_t wall_ms,
                                     absl::FunctionRef<std::string_view(TaskId)> spec_of,
                                     absl::FunctionRef<std::string_view(uint64_t)> checkpoint_of,
                                     Sink sink) {
  std::vector<flatbuffers::Offset<wire::Assignment>> list;
  list.reserve(std::min(effect.tasks.size(), kMaxAssignTasks));
  for (size_t i = 0; i < effect.tasks.size();) {
    builder_.Clear();
    list.clear();
    uint32_t named_lane = 0;  // whose names are in the buffer last: neighbours mostly share them
    flatbuffers::Offset<flatbuffers::String> type, queue;
    for (; i < effect.tasks.size() && list.size() < kMaxAssignTasks &&
           (list.empty() || builder_.GetSize() < kBatchTargetBytes);
         ++i) {
      const Assign& assign = effect.tasks[i];
      std::optional<SpecView> spec = ReadSpec(spec_of(assign.task));
      ZS_CHECK(spec.has_value());
      if (assign.lane != named_lane) {
        type = Str(builder_, lanes.type_of(assign.lane).name);
        queue = Str(builder_, lanes.queue_of(assign.lane).name);
        named_lane = assign.lane;
      }
      flatbuffers::Offset<flatbuffers::Vector<uint8_t>> payload;
      if (!spec->payload.empty()) payload = Bytes(builder_, spec->payload);
      flatbuffers::Offset<flatbuffers::String> content_type;
      if (!spec->content_type.empty()) content_type = Str(builder_, spec->content_type);
      flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Label>>> labels;
      if (spec->head.labels > 0) {
        std::vector<flatbuffers::Offset<wire::Label>> pairs;
        ReadLabels(*spec, [&](LabelView label) {
          auto key = Str(builder_, label.key), value = Str(builder_, label.value);
          pairs.push_back(wire::CreateLabel(builder_, key, value));
        });
        labels = builder_.CreateVector(pairs);
      }
      flatbuffers::Offset<flatbuffers::Vector<uint8_t>> checkpoint;
      if (assign.checkpoint != 0) checkpoint = Bytes(builder_, checkpoint_of(assign.checkpoint));
      flatbuffers::Offset<flatbuffers::String> correlation_id, traceparent;
      flatbuffers::Offset<wire::Parent> parent;
      if (spec->head.extras) {
        std::optional<ExtrasView> extras = ReadExtras(*spec);
        ZS_CHECK(extras.has_value());
        if (!extras->correlation_id.empty()) correlation_id = Str(builder_, extras->correlation_id);
        if (!extras->traceparent.empty()) traceparent = Str(builder_, extras->traceparent);
        if (extras->parent.task != 0) parent = CopyParent(extras->parent);
      }
      list.push_back(wire::CreateAssignment(
          builder_, assign.task.value(), assign.lease.value(), assign.attempt, assign.max_attempts,
          assign.timeout_ms, assign.priority, type, queue, payload, content_type,
          spec->head.submitted_ms, labels, correlation_id, traceparent, checkpoint, parent,
          StartWithin(assign, wall_ms)));
    }
    auto tasks = builder_.CreateVector(list);
    sink(Finish(wire::CreateTasks(builder_, tasks)));
  }
}

void Encoder::Outcomes(const OutcomesEffect& effect, std::string_view rows, Sink sink) {
  for (size_t i = 0; i < effect.succeeded.size(); i += kMaxPushedOutcomes) {
    builder_.Clear();
    size_t count = std::min(kMaxPushedOutcomes, effect.succeeded.size() - i);
    if (ZS_PLANTED("last-outcome-unsaid")) --count;
    auto ids = builder_.CreateVector(effect.succeeded.data() + i, count);
    sink(Finish(wire::CreateOutcomes(builder_, 0, ids)));
  }
  std::vector<flatbuffers::Offset<wire::Outcome>> list;
  for (size_t i = 0; i < effect.items.size();) {
    builder_.Clear();
    list.clear();
    for (; i < effect.items.size() && list.size() < kMaxPushedOutcomes &&
           (list.empty() || builder_.GetSize() < kBatchTargetBytes);
         ++i) {
      const OutcomeItem& item = effect.items[i];
      std::optional<OutcomeView> row = ReadOutcome(rows.substr(item.offset, item.size));
      ZS_CHECK(item.size == 0 || row.has_value());
      flatbuffers::Offset<flatbuffers::Vector<uint8_t>> result;
      flatbuffers::Offset<flatbuffers::String> content_type, message;
      uint16_t code = row ? row->head.error_code : 0;
      if (row && code == 0) result = Bytes(builder_, row->body);
      if (row && code != 0) message = Str(builder_, row->body);
      if (row && !row->content_type.empty()) content_type = Str(builder_, row->content_type);
      list.push_back(wire::CreateOutcome(builder_, item.task.value(), item.state, item.attempt,
                                         result, content_type, code, message));
    }
    auto outcomes = builder_.CreateVector(list);
    sink(Finish(wire::CreateOutcomes(builder_, 0, 0, outcomes)));
  }
}

flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Histogram>>> Encoder::Histograms(
    const Metrics& metrics) {
  std::vector<flatbuffers::Offset<wire::Histogram>> list;
  for (size_t i = 0; i < kTimingNames.size(); ++i) {
    const Histogram& histogram = metrics.timings()[i];
    auto name = Str(builder_, kTimingNames[i]);
    auto bounds = builder_.CreateVector(histogram.bounds().data(), histogram.bounds().size());
    auto counts = builder_.CreateVector(histogram.counts().data(), histogram.counts().size());
    list.push_back(wire::CreateHistogram(builder_, name, bounds, counts, histogram.sum_us()));
  }
  return builder_.CreateVector(list);
}

std::string_view Encoder::NoEvents(uint64_t request, const EventsPlace& place) {
  builder_.Clear();
  return Finish(wire::CreateEventPage(builder_, request, 0, place.next, place.next_skip, place.last,
                                      place.trimmed));
}

std::string_view Encoder::Status(const StatusInput& input, const Core& core,
                                 const ClusterView& view) {
  builder_.Clear();
  const std::vector<Queue>& all = core.state().lanes().queues();
  std::vector<const Queue*> queues;
  for (const Queue& queue : all) queues.push_back(&queue);
  std::sort(queues.begin(), queues.end(),
            [](const Queue* a, const Queue* b) { return a->name < b->name; });
  if (queues.size() > kMaxStatusQueues) queues.resize(kMaxStatusQueues);
  std::vector<flatbuffers::Offset<wire::QueueStatus>> queue_list;
  for (const Queue* queue : queues) {
    auto name = Str(builder_, queue->name);
    auto counts = builder_.CreateVector(queue->counts.data(), queue->counts.size());
    queue_list.push_back(wire::CreateQueueStatus(
        builder_, name, counts, queue->bytes,
        AgeOf(*queue, input.queue_ages[static_cast<size_t>(queue - all.data())])));
  }
  auto counter = [this](const char* text, uint64_t value) {
    auto name = Str(builder_, text);
    return wire::CreateCounter(builder_, name, value);
  };
  std::vector<flatbuffers::Offset<wire::Counter>> counters, gauges;
  for (size_t i = 0; i < kMetricNames.size(); ++i)
    counters.push_back(counter(kMetricNames[i], core.metrics().values()[i]));
  for (const Gauge& gauge : input.gauges) gauges.push_back(counter(gauge.name, gauge.value));
  auto gauge_vector = builder_.CreateVector(gauges);
  auto histogram_vector = Histograms(core.metrics());
  std::vector<flatbuffers::Offset<wire::MergeReport>> merges;
  for (const auto& [number, row] : core.state().merges())
    merges.push_back(wire::CreateMergeReport(builder_, row.epoch, row.begun_ms, row.decided_ms,
                                             row.done != 0, row.taken, row.finished, row.ended,
                                             row.resent, row.voided, row.schedules));
  auto merge_vector = builder_.CreateVector(merges);
  auto brokers = BrokerList(view);
  auto queue_vector = builder_.CreateVector(queue_list);
  auto counter_vector = builder_.CreateVector(counters);
  auto node = Str(builder_, input.node), version = Str(builder_, input.version);
  wire::Uuid cluster(view.cluster.hi, view.cluster.lo);
  wire::Role role = view.brokers.empty() ? wire::Role::kRecovering : view.brokers.front().role;
  return Finish(wire::CreateStatusReply(
      builder_, input.request, node, role, view.epoch.value(), core.appended().value(),
      input.durable_lsn, input.uptime_ms, version, &cluster, brokers, queue_vector,
      static_cast<uint32_t>(core.worker_count()), static_cast<uint32_t>(core.client_count()),
      counter_vector, merge_vector, gauge_vector, histogram_vector));
}

// Indices of what the filter asks for, by name, and whether that is all there is.
template <class Named>
std::pair<std::vector<uint32_t>, bool> ChooseByName(const std::vector<Named>& all,
                                                    const Encoder::NameFilter& filter) {
  std::vector<uint32_t> chosen;
  for (uint32_t i = 0; i < all.size(); ++i)
    if (filter.only.empty() ? all[i].name > filter.after : all[i].name == filter.only)
      chosen.push_back(i);
  const size_t found = chosen.size();
  const size_t most = filter.limit == 0 ? kMaxQueueListLimit : filter.limit;
  const size_t limit = std::min({most, kMaxQueueListLimit, found});
  std::partial_sort(chosen.begin(), chosen.begin() + static_cast<ptrdiff_t>(limit), chosen.end(),
                    [&](uint32_t a, uint32_t b) { return all[a].name < all[b].name; });
  chosen.resize(limit);
  return {std::move(chosen), limit == found};
}

std::string_view Encoder::Queues(uint64_t request, const Core& core,
                                 const std::vector<uint64_t>& queue_ages,
                                 const NameFilter& filter) {
  builder_.Clear();
  const std::vector<Queue>& all = core.state().lanes().queues();
  auto [chosen, complete] = ChooseByName(all, filter);
  std::vector<flatbuffers::Offset<wire::QueueInfo>> list;
  for (uint32_t number : chosen) {
    const Queue& queue = all[number];
    const QueueRow& rules = queue.settings;
    auto name = Str(builder_, queue.name);
    auto counts = builder_.CreateVector(queue.counts.data(), queue.counts.size());
    list.push_back(wire::CreateQueueInfo(
        builder_, name, counts, queue.bytes, core.gates().LookAtQueue(number), rules.paused != 0,
        rules.max_tasks, rules.max_bytes, rules.max_running, rules.rate_micro, rules.burst,
        rules.weight, rules.max_attempts, rules.timeout_ms, rules.retry_base_ms, rules.retry_cap_ms,
        rules.key_max_running, rules.key_rate_micro, rules.key_burst, rules.ageing_ms,
        rules.draining != 0, AgeOf(queue, queue_ages[number])));
  }
  auto queues = builder_.CreateVector(list);
  return Finish(wire::CreateQueueInfos(builder_, request, queues, complete));
}

std::string_view Encoder::Types(uint64_t request, const Core& core, const NameFilter& filter) {
  builder_.Clear();
  const std::vector<Type>& all = core.state().lanes().types();
  auto [chosen, complete] = ChooseByName(all, filter);
  std::vector<flatbuffers::Offset<wire::TypeInfo>> list;
  for (uint32_t number : chosen) {
    const Type& type = all[number];
    auto name = Str(builder_, type.name);
    list.push_back(wire::CreateTypeInfo(
        builder_, name, type.running, core.gates().Look({Scope::kType, number}),
        type.rules.paused != 0, type.rules.max_running, type.rules.rate_micro, type.rules.burst,
        type.rules.no_retry));
  }
  auto types = builder_.CreateVector(list);
  return Finish(wire::CreateTypeInfos(builder_, request, types, complete));
}

flatbuffers::Offset<wire::ScheduleInfo> Encoder::CopySchedule(const Schedule& schedule,
                                                              const Core& core) {
  const wire::ScheduleSet& set = schedule.set();
  const TicksRow& row = schedule.row;
  const auto name = Str(builder_, schedule.name());
  const auto expression = Str(builder_, TextOf(set.expression()));
  const auto zone = Str(builder_, ZoneOf(set));
  const auto task = CopySpec(builder_, *set.task());
  flatbuffers::Offset<flatbuffers::String> error;
  if (const std::string& text = core.schedules().ErrorOf(schedule.number); !text.empty())
    error = Str(builder_, text);
  wire::ScheduleInfoBuilder info(builder_);
  info.add_name(name);
  info.add_expression(expression);
  info.add_zone(zone);
  info.add_task(task);
  info.add_overlap(set.overlap());
  info.add_catch_up_ms(static_cast<uint64_t>(CatchUpOf(set)));
  info.add_jitter_ms(set.jitter_ms());
  info.add_paused(row.paused != 0);
  info.add_created_ms(row.created_ms);
  info.add_cursor_ms(row.cursor_ms);
  info.add_next_ms(core.schedules().NextTick(schedule).value_or(0));
  info.add_last_task(row.task);
  info.add_running(core.state().IsUnfinished(row.task));
  info.add_held(row.held);
  info.add_fired(row.fired);
  info.add_skipped(row.skipped);
  info.add_missed(row.missed);
  info.add_error(error);
  return info.Finish();
}

std::string_view Encoder::Schedules(uint64_t request, const Core& core, const NameFilter& filter) {
  builder_.Clear();
  const auto& names = core.state().schedule_names();
  const size_t most = filter.limit == 0 ? kMaxScheduleListLimit
                                        : std::min<size_t>(filter.limit, kMaxScheduleListLimit);
  std::vector<flatbuffers::Offset<wire::ScheduleInfo>> list;
  auto it = filter.only.empty() ? names.upper_bound(std::string(filter.after))
                                : names.find(std::string(filter.only));
  while (it != names.end() && list.size() < most &&
         (list.empty() || builder_.GetSize() < kBatchTargetBytes)) {
    list.push_back(CopySchedule(core.state().schedules().at(it->second), core));
    it = filter.only.empty() ? std::next(it) : names.end();
  }
  const auto schedules = builder_.CreateVector(list);
  return Finish(wire::CreateScheduleInfos(builder_, request, schedules, it == names.end()));
}

std::string_view Encoder::Workers(uint64_t request, const Core& core, int64_t mono_ms) {
  builder_.Clear();
  std::vector<flatbuffers::Offset<wire::WorkerInfo>> list;
  auto strings = [&](const std::vector<std::string>& names) {
    return builder_.CreateVectorOfStrings(names);
  };
  for (const WorkerSession& session : core.workers()) {
    if (!session.id || list.size() >= kMaxListedWorkers) continue;
    const Worker& worker = core.state().workers().at(session.worker);
    auto name = Str(builder_, worker.name), host = Str(builder_, worker.host),
         version = Str(builder_, worker.version);
    auto queues = strings(session.queues), types = strings(session.types);
    std::vector<flatbuffers::Offset<wire::Label>> pairs;
    for (const auto& [key, value] : session.labels) {
      auto k = Str(builder_, key), v = Str(builder_, value);
      pairs.push_back(wire::CreateLabel(builder_, k, v));
    }
    auto labels = builder_.CreateVector(pairs);
    wire::Uuid id(worker.id.hi, worker.id.lo);
    list.push_back(wire::CreateWorkerInfo(
        builder_, &id, name, host, version, worker.pid, queues, types, labels, session.concurrency,
        session.grant_tasks, worker.leases, session.running, session.draining,
        static_cast<uint32_t>(std::max<int64_t>(0, mono_ms - session.seen_ms)), session.finished));
  }
  auto workers = builder_.CreateVector(list);
  return Finish(wire::CreateWorkerInfos(builder_, request, workers));
}

}  // namespace zsched::broker
