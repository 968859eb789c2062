// Operators set up queues: what is set is a record, so that a restart and a standby know it.
#include "broker/core/core.h"
#include "broker/core/queue_settings.h"
#include "broker/core/record_writer.h"
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
  if (queue == nullptr || queue->settings != settings) {
    OpenedRecord opened = OpenRecord(RecordKind::kQueueSet, settings);
    batch_.OpenRecord().append(name);
    const uint32_t number = state_.QueueSet(batch_, name, settings);
    effect.wait = CloseRecord(opened, settings, now);
    gates_.OnSettings(number);
    metrics_.Add(Metric::kQueuesSet);
  }
  effects_.push_back(std::move(effect));
}

}  // namespace zsched::broker
