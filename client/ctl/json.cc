#include "client/ctl/json.h"

#include <nlohmann/json.hpp>

#include "base/text.h"

namespace zsched::ctl {
namespace {

using Json = nlohmann::ordered_json;  // fields in the order people read them

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json BytesJson(std::string_view bytes) {
  if (IsUtf8(bytes)) return std::string(bytes);
  return {{"base64", Base64(bytes)}};
}

Json TimeJson(int64_t unix_ms) {
  return unix_ms == 0 ? Json(nullptr) : Json(FormatTimeMs(unix_ms));
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

Json QueuesJson(const StatusInfo& status) {
  Json queues = Json::array();
  for (const QueueSummary& queue : status.queues) {
    Json counts;
    for (int state = 0; state < kTaskStates; ++state)
      counts[std::string(NameOf(static_cast<TaskState>(state)))] = queue.counts[state];
    queues.push_back({{"name", queue.name}, {"counts", counts}, {"bytes", queue.bytes}});
  }
  return queues;
}

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

std::string TaskJson(const TaskInfo& task) {
  return Dump(
      {{"id", ToString(task.id)},
       {"queue", task.queue},
       {"type", task.type},
       {"state", std::string(NameOf(task.state))},
       {"priority", task.priority},
       {"attempt", task.attempt},
       {"max_attempts", task.max_attempts},
       {"timeout_ms", task.timeout_ms},
       {"submitted_at", TimeJson(task.submitted_at_ms)},
       {"run_at", TimeJson(task.run_at_ms)},
       {"started_at", TimeJson(task.started_at_ms)},
       {"finished_at", TimeJson(task.finished_at_ms)},
       {"worker", TextOrNull(task.worker)},
       {"payload", BytesJson(task.payload)},
       {"content_type", TextOrNull(task.content_type)},
       {"result", task.result.empty() ? Json(nullptr) : BytesJson(task.result)},
       {"result_content_type", TextOrNull(task.result_content_type)},
       {"error",
        task.error == ErrorCode::kOk ? Json(nullptr) : ErrorFields(task.error, task.error_message)},
       {"labels", LabelsJson(task.labels)},
       {"durability", std::string(NameOf(task.durability))}});
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
               {"counters", counters}});
}

std::string ClusterJson(const StatusInfo& status) {
  return Dump({{"cluster", ToString(status.cluster)},
               {"epoch", status.epoch.value()},
               {"brokers", BrokersJson(status)}});
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

std::string ErrorJson(const absl::Status& status) {
  Json error = ErrorFields(CodeOf(status), MessageOf(status));
  error["retryable"] = IsRetryable(CodeOf(status));
  return Dump({{"error", error}});
}

std::string Quote(std::string_view text) { return Dump(std::string(text)); }

std::string ShellPayload(const std::vector<std::string>& argv) {
  Json words = Json::array();
  for (const std::string& word : argv) words.push_back(BytesJson(word));
  return Dump({{"argv", words}});
}

}  // namespace zsched::ctl
