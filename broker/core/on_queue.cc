// Operators set up queues and types: what is set is a record, so that a restart and a standby know it.
#include "broker/core/core.h"
#include "broker/core/queue_settings.h"
#include "broker/core/record_writer.h"
#include "broker/core/type_rules.h"
#include "schemas/verify.h"

namespace zsched::broker {

void Core::OnQueueSet(SessionId from, const wire::QueueSet& set, Now now) {
  auto refuse = [&](ErrorCode code, std::string message) {
    effects_.push_back(ErrorEffect{from, Lsn(0), code, std::move(message), set.request()});
  };
  const std::string_view name = TextOf(set.queue());
  const Queue* queue = state_.lanes().FindQueue(name);
  QueueRow settings = queue != nullptr ? queue->settings : QueueRow{};
  if (Verdict verdict = ChangeSettings(set, settings); verdict.code != ErrorCode::kOk)
    return refuse(verdict.code, std::move(verdict.message));
  if (queue == nullptr && state_.lanes().queues().size() >= config_.max_queues)
    return refuse(ErrorCode::kResourceExhausted, "the broker knows as many queues as it may");
  settings.name_bytes = static_cast<uint32_t>(name.size());
  QueueSetEffect effect{from, appended(), set.request(), std::string(name)};
  const bool aged = queue != nullptr && queue->settings.ageing_ms != settings.ageing_ms;
  if (queue == nullptr || queue->settings != settings) {
    OpenedRecord opened = OpenRecord(RecordKind::kQueueSet, settings);
    batch_.OpenRecord().append(name);
    const uint32_t number = state_.QueueSet(batch_, name, settings);
    effect.wait = CloseRecord(opened, settings, now);
    gates_.OnQueueSettings(number);
    if (aged) dispatcher_.OnAgeing(number);
    metrics_.Add(Metric::kQueuesSet);
  }
  effects_.push_back(std::move(effect));
}

void Core::OnTypeSet(SessionId from, const wire::TypeSet& set, Now now) {
  auto refuse = [&](ErrorCode code, std::string message) {
    effects_.push_back(ErrorEffect{from, Lsn(0), code, std::move(message), set.request()});
  };
  const std::string_view name = TextOf(set.type());
  const Type* type = state_.lanes().FindType(name);
  TypeRow rules = type != nullptr ? type->rules : TypeRow{};
  if (Verdict verdict = ChangeRules(set, rules); verdict.code != ErrorCode::kOk)
    return refuse(verdict.code, std::move(verdict.message));
  if (type == nullptr && state_.lanes().types().size() >= config_.max_lanes)
    return refuse(ErrorCode::kResourceExhausted, "the broker knows as many types as it may");
  rules.name_bytes = static_cast<uint32_t>(name.size());
  TypeSetEffect effect{from, appended(), set.request(), std::string(name)};
  if (type == nullptr || type->rules != rules) {
    OpenedRecord opened = OpenRecord(RecordKind::kTypeSet, rules);
    batch_.OpenRecord().append(name);
    const uint32_t number = state_.TypeSet(batch_, name, rules);
    effect.wait = CloseRecord(opened, rules, now);
    gates_.OnTypeRules(number);
    metrics_.Add(Metric::kTypesSet);
  }
  effects_.push_back(std::move(effect));
}

}  // namespace zsched::broker
