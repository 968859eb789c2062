#include "client/json/json.h"

#include <algorithm>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace zsched {
namespace {

using Json = nlohmann::ordered_json;  // fields in the order people read them

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json BytesJson(std::string_view bytes) {
  if (IsUtf8(bytes)) return std::string(bytes);
  return {{"base64", Base64(bytes)}};
}

Json TextOrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json LabelsJson(const std::vector<Label>& labels) {
  Json json = Json::object();
  for (const Label& label : labels) json[label.key] = label.value;
  return json;
}

Json ErrorFields(ErrorCode code, const std::string& message) {
  return {{"code", std::string(TextOf(code))}, {"message", message}};
}

Json BrokersJson(const StatusInfo& status) {
  Json brokers = Json::array();
  for (const BrokerSummary& broker : status.brokers)
    brokers.push_back({{"node", broker.node},
                       {"role", std::string(NameOf(broker.role))},
                       {"address", broker.address},
                       {"worker_address", broker.worker_address},
                       {"self", broker.self}});
  return brokers;
}

Json MergesJson(const StatusInfo& status) {
  Json merges = Json::array();
  for (const MergeSummary& merge : status.merges)
    merges.push_back({{"epoch", merge.epoch.value()},
                      {"begun_at", FormatTimeMs(merge.begun_ms)},
                      {"decided_at", FormatTimeMs(merge.decided_ms)},
                      {"done", merge.done},
                      {"taken", merge.taken},
                      {"finished", merge.finished},
                      {"ended", merge.ended},
                      {"resent", merge.resent},
                      {"voided", merge.voided},
                      {"schedules", merge.schedules}});
  return merges;
}

Json CountsJson(const std::array<uint64_t, kTaskStates>& counts) {
  Json json;
  for (size_t state = 0; state < counts.size(); ++state)
    json[std::string(NameOf(static_cast<TaskState>(state)))] = counts[state];
  return json;
}

Json CronWarning(const cron::Warning& warning) {
  return {{"kind", std::string(cron::NameOf(warning.kind))},
          {"at", warning.at_ms == 0 ? Json(nullptr) : Json(CronTimeText(warning.at_ms))},
          {"text", warning.text}};
}

Json QueuesJson(const StatusInfo& status) {
  Json queues = Json::array();
  for (const QueueSummary& queue : status.queues)
    queues.push_back({{"name", queue.name},
                      {"counts", CountsJson(queue.counts)},
                      {"bytes", queue.bytes},
                      {"oldest_ready_ms", queue.oldest_ready_ms}});
  return queues;
}

Json HistogramsJson(const StatusInfo& status) {
  Json histograms = Json::object();
  for (const HistogramValue& histogram : status.histograms)
    histograms[histogram.name] = {{"bounds_us", histogram.bounds_us},
                                  {"counts", histogram.counts},
                                  {"sum_us", histogram.sum_us}};
  return histograms;
}

// null: no such rule.
Json RuleJson(uint64_t value) { return value == 0 ? Json(nullptr) : Json(value); }
Json RateJson(uint64_t rate_micro) {
  return rate_micro == 0 ? Json(nullptr) : Json(static_cast<double>(rate_micro) / 1e6);
}

Json ErrorsJson(uint64_t set) {
  Json codes = Json::array();
  for (uint64_t rest = set; rest != 0; rest &= rest - 1)
    codes.push_back(TextOfErrors(rest & ~(rest - 1)));
  return codes;
}

// An object whose fields are appended one after another.
class ObjectWriter {
 public:
  void Raw(std::string_view name, std::string_view json) {
    out_ += out_.empty() ? "{\"" : ",\"";
    out_ += name;
    out_ += "\":";
    out_ += json;
  }
  void Number(std::string_view name, int64_t value) { Raw(name, std::to_string(value)); }
  void Text(std::string_view name, std::string_view value) { Raw(name, Quote(value)); }
  void TextOrNull(std::string_view name, std::string_view value) {
    Raw(name, value.empty() ? "null" : Quote(value));
  }
  void Bytes(std::string_view name, std::string_view value) {
    Raw(name, IsUtf8(value) ? Quote(value) : "{\"base64\":\"" + Base64(value) + "\"}");
  }
  void Time(std::string_view name, int64_t unix_ms) {
    Raw(name, unix_ms == 0 ? "null" : "\"" + FormatTimeMs(unix_ms) + "\"");
  }
  std::string Finish() && { return std::move(out_) + "}"; }

 private:
  std::string out_;
};

// The broker beside the one that answered; null while it is alone.
Json PeerJson(const StatusInfo& status) {
  for (const BrokerSummary& broker : status.brokers)
    if (!broker.self)
      return {{"node", broker.node},
              {"role", std::string(NameOf(broker.role))},
              {"address", broker.address}};
  return nullptr;
}

}  // namespace

std::string Base64(std::string_view bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k)
      out += i + k > bytes.size() ? '=' : kDigits[group >> (18 - 6 * k) & 63];
  }
  return out;
}

std::string FingerprintText(uint64_t fingerprint) {
  char text[17];
  std::snprintf(text, sizeof text, "%016" PRIx64, fingerprint);
  return text;
}

std::string DeadGroupJson(const DeadGroup& group) {
  return Dump({{"fingerprint", FingerprintText(group.fingerprint)},
               {"type", group.type},
               {"tasks", group.tasks},
               {"error", ErrorFields(group.error, group.error_message)},
               {"first_died_at", FormatTimeMs(group.first_died_at_ms)},
               {"last_died_at", FormatTimeMs(group.last_died_at_ms)},
               {"last_task", ToString(group.last_task)}});
}

// Appended by hand: a document tree costs 20 µs a task, which a stream of a million results feels.
std::string TaskJson(const TaskInfo& task, Bodies bodies) {
  ObjectWriter json;
  json.Text("id", ToString(task.id));
  json.Text("queue", task.queue);
  json.Text("type", task.type);
  json.Text("state", NameOf(task.state));
  json.Number("priority", task.priority);
  json.Number("attempt", task.attempt);
  json.Number("max_attempts", task.max_attempts);
  json.Number("timeout_ms", task.timeout_ms);
  json.Time("submitted_at", task.submitted_at_ms);
  json.Time("run_at", task.run_at_ms);
  json.Time("started_at", task.started_at_ms);
  json.Time("finished_at", task.finished_at_ms);
  json.TextOrNull("worker", task.worker);
  if (bodies == Bodies::kThere) json.Bytes("payload", task.payload);
  json.TextOrNull("content_type", task.content_type);
  if (bodies == Bodies::kThere)
    task.result.empty() ? json.Raw("result", "null") : json.Bytes("result", task.result);
  json.TextOrNull("result_content_type", task.result_content_type);
  task.error == ErrorCode::kOk
      ? json.Raw("error", "null")
      : json.Raw("error", Dump(ErrorFields(task.error, task.error_message)));
  json.Raw("labels", task.labels.empty() ? "{}" : Dump(LabelsJson(task.labels)));
  json.Text("durability", NameOf(task.durability));
  json.Text("delivery", NameOf(task.delivery));
  for (const auto& [name, text] :
       {std::pair("key", &task.key), std::pair("concurrency_key", &task.concurrency_key),
        std::pair("fairness_key", &task.fairness_key),
        std::pair("correlation_id", &task.correlation_id),
        std::pair("traceparent", &task.traceparent)})
    if (!text->empty()) json.Text(name, *text);
  if (task.parent) json.Text("parent", ToString(task.parent));
  if (task.start_by_ms != 0) json.Time("start_by", task.start_by_ms);
  if (task.cancelling) json.Raw("cancelling", "true");
  if (task.fingerprint != 0) {
    json.Text("fingerprint", FingerprintText(task.fingerprint));
    json.Time("died_at", task.finished_at_ms);
  }
  if (task.progress) {
    ObjectWriter progress;
    progress.Number("percent", task.progress->percent);
    progress.Text("message", task.progress->message);
    progress.Number("attempt", task.progress->attempt);
    progress.Time("at", task.progress->at_ms);
    json.Raw("progress", std::move(progress).Finish());
  }
  return std::move(json).Finish();
}

std::string ExplanationJson(TaskId id, const TaskExplanation& explanation) {
  ObjectWriter json;
  json.Text("id", ToString(id));
  json.Text("state", NameOf(explanation.state));
  std::string reasons = "[";
  for (const WaitCause& cause : explanation.causes) {
    ObjectWriter reason;
    reason.Text("reason", NameOf(cause.reason));
    reason.TextOrNull("name", cause.name);
    reason.Time("since", cause.since_ms);
    reason.Time("until", cause.until_ms);
    reason.Number("count", cause.count);
    reason.Number("limit", cause.limit);
    if (reasons.size() > 1) reasons += ',';
    reasons += std::move(reason).Finish();
  }
  json.Raw("reasons", reasons + "]");
  const bool ready = explanation.state == TaskState::kReady;
  json.Raw("ahead", ready ? std::to_string(explanation.ahead) : "null");
  json.Raw("ahead_exact", explanation.ahead_exact ? "true" : "false");
  json.Raw("ready_in_queue", ready ? std::to_string(explanation.ready) : "null");
  return std::move(json).Finish();
}

std::string OutputPieceJson(uint32_t attempt, const OutputPiece& piece) {
  ObjectWriter json;
  json.Number("attempt", attempt);
  json.Text("stream", NameOf(piece.stream));
  json.Number("offset", piece.offset);
  json.Bytes("text", piece.bytes);
  return std::move(json).Finish();
}

std::string AttemptJson(const AttemptInfo& attempt) {
  ObjectWriter json;
  json.Number("attempt", attempt.attempt);
  json.Text("lease", ToString(attempt.lease));
  json.TextOrNull("worker", attempt.worker);
  json.Time("leased_at", attempt.leased_at_ms);
  json.Time("ended_at", attempt.ended_at_ms);
  json.Number("run_us", attempt.run_us);
  json.Text("end", NameOf(attempt.end));
  attempt.error == ErrorCode::kOk
      ? json.Raw("error", "null")
      : json.Raw("error", Dump(ErrorFields(attempt.error, attempt.error_message)));
  return std::move(json).Finish();
}

std::string WorkerJson(const WorkerSummary& worker) {
  return Dump({{"id", ToString(worker.id)},
               {"name", worker.name},
               {"host", worker.host},
               {"pid", worker.pid},
               {"version", worker.version},
               {"queues", worker.queues},
               {"types", worker.types},
               {"labels", LabelsJson(worker.labels)},
               {"concurrency", worker.concurrency},
               {"credit_tasks", worker.credit_tasks},
               {"outstanding", worker.outstanding},
               {"running", worker.running},
               {"draining", worker.draining},
               {"silent_ms", worker.silent_ms},
               {"finished", worker.finished}});
}

std::string StatusJson(const StatusInfo& status) {
  Json counters = Json::object();
  for (const CounterValue& counter : status.counters) counters[counter.name] = counter.value;
  Json gauges = Json::object();
  for (const CounterValue& gauge : status.gauges) gauges[gauge.name] = gauge.value;
  return Dump({{"node", status.node},
               {"role", std::string(NameOf(status.role))},
               {"epoch", status.epoch.value()},
               {"lsn", status.lsn.value()},
               {"durable_lsn", status.durable_lsn.value()},
               {"peer", PeerJson(status)},
               {"cluster", ToString(status.cluster)},
               {"version", status.version},
               {"uptime_ms", status.uptime_ms},
               {"workers", status.workers},
               {"clients", status.clients},
               {"brokers", BrokersJson(status)},
               {"queues", QueuesJson(status)},
               {"counters", counters},
               {"gauges", gauges},
               {"histograms", HistogramsJson(status)}});
}

std::string PositionText(const EventPosition& position) {
  if (position.skip == 0) return std::to_string(position.after.value());
  return std::to_string(position.after.value() + 1) + "." + std::to_string(position.skip - 1);
}

std::optional<EventPosition> ParsePosition(std::string_view text) {
  uint64_t lsn = 0;
  uint32_t index = 0;
  const char* end = text.data() + text.size();
  const auto [dot, error] = std::from_chars(text.data(), end, lsn);
  if (error != std::errc() || lsn == UINT64_MAX) return std::nullopt;
  EventPosition position{.after = Lsn(lsn)};
  if (dot != end) {
    const auto [rest, error2] = std::from_chars(dot + 1, end, index);
    if (*dot != '.' || error2 != std::errc() || rest != end || lsn == 0 || index == UINT32_MAX)
      return std::nullopt;
    position = {.after = Lsn(lsn - 1), .skip = index + 1};
  }
  if (PositionText(position) != text) return std::nullopt;  // leading zeros: it has one spelling
  return position;
}

std::string EventJson(const Event& event) {
  ObjectWriter json;
  json.Text("position", PositionText({Lsn(event.lsn.value() - 1), event.index + 1}));
  json.Time("at", event.at_ms);
  json.Text("kind", NameOf(event.kind));
  if (event.task) {
    json.Text("task", ToString(event.task));
    json.TextOrNull("queue", event.queue);
    json.TextOrNull("type", event.type);
    json.Text("state", NameOf(event.state));
  }
  if (event.attempt != 0) json.Number("attempt", event.attempt);
  if (!event.worker.empty()) json.Text("worker", event.worker);
  if (!event.name.empty()) json.Text("name", event.name);
  if (event.error != ErrorCode::kOk)
    json.Raw("error", Dump(ErrorFields(event.error, event.error_message)));
  if (event.kind == EventKind::kProgress) json.Number("percent", event.percent);
  if (!event.message.empty()) json.Text("message", event.message);
  if (event.count != 0) json.Number("count", static_cast<int64_t>(event.count));
  if (event.parent) json.Text("parent", ToString(event.parent));
  return std::move(json).Finish();
}

std::string TypeJson(const TypeInfo& type) {
  return Dump({{"name", type.name},
               {"running", type.running},
               {"gate", std::string(NameOf(type.gate))},
               {"paused", type.rules.paused},
               {"max_running", RuleJson(type.rules.max_running)},
               {"rate_per_second", RateJson(type.rules.rate_micro)},
               {"burst", RuleJson(type.rules.burst)},
               {"no_retry", ErrorsJson(type.rules.no_retry)}});
}

std::string QueueJson(const QueueInfo& queue) {
  const QueueSettings& rules = queue.settings;
  return Dump({{"name", queue.name},
               {"counts", CountsJson(queue.counts)},
               {"bytes", queue.bytes},
               {"oldest_ready_ms", queue.oldest_ready_ms},
               {"gate", std::string(NameOf(queue.gate))},
               {"paused", rules.paused},
               {"draining", rules.draining},
               {"max_tasks", RuleJson(rules.max_tasks)},
               {"max_bytes", RuleJson(rules.max_bytes)},
               {"max_running", RuleJson(rules.max_running)},
               {"rate_per_second", RateJson(rules.rate_micro)},
               {"burst", RuleJson(rules.burst)},
               {"weight", RuleJson(rules.weight)},
               {"max_attempts", RuleJson(rules.max_attempts)},
               {"timeout_ms", RuleJson(rules.timeout_ms)},
               {"retry_base_ms", RuleJson(rules.retry_base_ms)},
               {"retry_cap_ms", RuleJson(rules.retry_cap_ms)},
               {"key_max_running", RuleJson(rules.key_max_running)},
               {"key_rate_per_second", RateJson(rules.key_rate_micro)},
               {"key_burst", RuleJson(rules.key_burst)},
               {"ageing_ms", RuleJson(rules.ageing_ms)}});
}

namespace {

// As --on-success and its like take them: what is not there has its default.
Json TemplateJson(const TaskSpec& task);
Json TemplatesJson(const std::vector<TaskSpec>& templates) {
  Json list = Json::array();
  for (const TaskSpec& task : templates) list.push_back(TemplateJson(task));
  return list;
}
Json TemplateJson(const TaskSpec& task) {
  Json json = {{"type", task.type}, {"queue", task.queue}};
  if (!task.payload.empty()) json["payload"] = BytesJson(task.payload);
  if (task.priority != kDefaultPriority) json["priority"] = task.priority;
  if (task.max_attempts != 0) json["max_attempts"] = task.max_attempts;
  if (task.timeout_ms != 0) json["timeout"] = task.timeout_ms;
  if (task.delay_ms != 0) json["delay"] = task.delay_ms;
  if (task.start_within_ms != 0) json["start_within"] = task.start_within_ms;
  if (task.retry_base_ms != 0) json["retry_base"] = task.retry_base_ms;
  if (task.retry_cap_ms != 0) json["retry_cap"] = task.retry_cap_ms;
  if (!task.labels.empty()) json["labels"] = LabelsJson(task.labels);
  if (task.delivery != Delivery::kAtLeastOnce)
    json["delivery"] = std::string(NameOf(task.delivery));
  if (task.durability != Durability::kReplicated)
    json["durability"] = std::string(NameOf(task.durability));
  for (const auto& [name, text] : {std::pair("content_type", &task.content_type),
                                   std::pair("concurrency_key", &task.concurrency_key),
                                   std::pair("fairness_key", &task.fairness_key),
                                   std::pair("correlation_id", &task.correlation_id),
                                   std::pair("traceparent", &task.traceparent)})
    if (!text->empty()) json[name] = *text;
  if (task.pass_result) json["pass_result"] = true;
  for (const auto& [name, templates] :
       {std::pair("on_success", &task.on_success), std::pair("on_failure", &task.on_failure),
        std::pair("on_complete", &task.on_complete)})
    if (!templates->empty()) json[name] = TemplatesJson(*templates);
  return json;
}

void AddChain(const TaskSpec& task, ObjectWriter& json) {
  for (const auto& [name, templates] :
       {std::pair("on_success", &task.on_success), std::pair("on_failure", &task.on_failure),
        std::pair("on_complete", &task.on_complete)})
    if (!templates->empty()) json.Raw(name, Dump(TemplatesJson(*templates)));
}

}  // namespace

std::string ScheduleJson(const ScheduleInfo& schedule) {
  const ScheduleSpec& spec = schedule.spec;
  ObjectWriter task;
  task.Text("queue", spec.task.queue);
  task.Text("type", spec.task.type);
  task.Bytes("payload", spec.task.payload);
  task.TextOrNull("content_type", spec.task.content_type);
  task.Number("priority", spec.task.priority);
  task.Raw("max_attempts", Dump(RuleJson(spec.task.max_attempts)));
  task.Raw("timeout_ms", Dump(RuleJson(spec.task.timeout_ms)));
  task.Raw("labels", spec.task.labels.empty() ? "{}" : Dump(LabelsJson(spec.task.labels)));
  // What has its default is left out.
  for (const auto& [name, ms] : {std::pair("start_within_ms", spec.task.start_within_ms),
                                 std::pair("retry_base_ms", uint64_t{spec.task.retry_base_ms}),
                                 std::pair("retry_cap_ms", uint64_t{spec.task.retry_cap_ms})})
    if (ms != 0) task.Number(name, static_cast<int64_t>(ms));
  if (spec.task.delivery != Delivery::kAtLeastOnce)
    task.Text("delivery", NameOf(spec.task.delivery));
  if (spec.task.durability != Durability::kReplicated)
    task.Text("durability", NameOf(spec.task.durability));
  for (const auto& [name, text] : {std::pair("concurrency_key", &spec.task.concurrency_key),
                                   std::pair("fairness_key", &spec.task.fairness_key),
                                   std::pair("correlation_id", &spec.task.correlation_id),
                                   std::pair("traceparent", &spec.task.traceparent)})
    if (!text->empty()) task.Text(name, *text);
  AddChain(spec.task, task);
  ObjectWriter json;
  json.Text("name", spec.name);
  json.Text("cron", spec.expression);
  json.Text("tz", spec.zone);
  json.Raw("task", std::move(task).Finish());
  json.Text("overlap", NameOf(spec.overlap));
  json.Number("catch_up_ms", static_cast<int64_t>(spec.catch_up_ms));
  json.Number("jitter_ms", spec.jitter_ms);
  json.Raw("paused", spec.paused.value_or(false) ? "true" : "false");
  json.Time("created_at", schedule.created_at_ms);
  json.Time("next", schedule.next_ms);
  schedule.last_task ? json.Text("last_task", ToString(schedule.last_task))
                     : json.Raw("last_task", "null");
  json.Raw("running", schedule.running ? "true" : "false");
  json.Number("held", schedule.held);
  json.Number("fired", static_cast<int64_t>(schedule.fired));
  json.Number("skipped", static_cast<int64_t>(schedule.skipped));
  json.Number("missed", static_cast<int64_t>(schedule.missed));
  json.TextOrNull("error", schedule.error);
  return std::move(json).Finish();
}

std::string ClusterJson(const StatusInfo& status) {
  return Dump({{"cluster", ToString(status.cluster)},
               {"epoch", status.epoch.value()},
               {"brokers", BrokersJson(status)},
               {"merges", MergesJson(status)}});
}

std::string ItemJson(const ItemResult& item) {
  Json json = {{"id", ToString(item.id)}, {"code", std::string(TextOf(CodeOf(item.status)))}};
  json["message"] = item.status.ok() ? Json(nullptr) : Json(MessageOf(item.status));
  return Dump(json);
}

std::string SettingJson(const Setting& setting) {
  return Dump({{"command", TextOrNull(setting.command)},
               {"name", setting.name},
               {"value", setting.value},
               {"source", std::string(TextOf(setting.source))},
               {"where", TextOrNull(setting.where)}});
}

std::string CronTimeText(int64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromUnixMillis(unix_ms),
                          absl::UTCTimeZone());
}

std::string CronWarningJson(const cron::Warning& warning) { return Dump(CronWarning(warning)); }

std::string CronNextJson(const std::vector<int64_t>& times_ms,
                         const std::vector<cron::Warning>& warnings) {
  Json json = {{"next", Json::array()}, {"warnings", Json::array()}};
  for (int64_t time_ms : times_ms) json["next"].push_back(CronTimeText(time_ms));
  for (const cron::Warning& warning : warnings) json["warnings"].push_back(CronWarning(warning));
  return Dump(json);
}

std::string ErrorJson(const absl::Status& status) {
  Json error = ErrorFields(CodeOf(status), MessageOf(status));
  error["retryable"] = IsRetryable(CodeOf(status));
  return Dump({{"error", error}});
}

std::string Quote(std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
  });
  return plain ? "\"" + std::string(text) + "\"" : Dump(std::string(text));
}

std::string ShellPayload(const std::vector<std::string>& argv, bool fed) {
  Json words = Json::array();
  for (const std::string& word : argv) words.push_back(BytesJson(word));
  Json payload = {{"argv", words}};
  if (fed) payload["stdin_from"] = "parent";
  return Dump(payload);
}

}  // namespace zsched
