// EVENTS: what the log tells. docs/protocol.md has the message.
#include <algorithm>

#include "broker/server/engine.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {

// Who asks for what comes next is mostly told that there is nothing yet: at once, and without a look at the journal.
bool Engine::OnEvents(SessionId from, const FrameView& frame) {
  const auto* events = VerifyBody<wire::Events>(frame.body);
  if (events == nullptr) return false;
  Query query;
  query.to = from;
  query.kind = QueryKind::kEvents;
  query.request = events->request();
  query.cursor = events->after();
  query.skip = events->skip();
  query.kinds = events->kinds();
  query.limit = events->limit() == 0 ? static_cast<uint32_t>(kDefaultEventLimit) : events->limit();
  query.queue = std::string(TextOf(events->queue()));
  query.type = std::string(TextOf(events->type()));
  if (events->task() != 0) query.ids.push_back(events->task());
  query.until = committed();
  if (std::max(query.queue.size(), query.type.size()) > kMaxNameBytes) {
    RefuseQuery(query, ErrorCode::kInvalidArgument,
                "a queue or type to look for is longer than any can be");
    return true;
  }
  const uint64_t last = query.until.value();
  if (query.cursor < last) {
    Ask(std::move(query));
    return true;
  }
  EventsPlace place{.next = query.cursor, .next_skip = query.skip, .last = last};
  const bool now = query.cursor == UINT64_MAX;
  // Another log: one that follows may only be behind.
  place.trimmed = !now && serving_ && query.cursor > core_.appended().value();
  if (now || place.trimmed) place = {.next = last, .last = last, .trimmed = place.trimmed};
  Send(from, MessageType::kEventPage, encoder_.NoEvents(query.request, place));
  return true;
}

}  // namespace zsched::broker
