// Frames about what attempts leave behind.
#include "broker/server/engine.h"
#include "schemas/verify.h"

namespace zsched::broker {

bool Engine::OnHistory(SessionId from, const FrameView& frame) {
  const auto* history = VerifyBody<wire::History>(frame.body);
  if (history == nullptr) return false;
  Query query;
  query.to = from;
  query.kind = QueryKind::kHistory;
  query.request = history->request();
  query.ids = {history->id()};
  Ask(std::move(query));
  return true;
}

bool Engine::OnLogs(SessionId from, const FrameView& frame) {
  const auto* logs = VerifyBody<wire::Logs>(frame.body);
  if (logs == nullptr) return false;
  Query query;
  query.to = from;
  query.kind = QueryKind::kLogs;
  query.request = logs->request();
  query.ids = {logs->id()};
  query.attempt = logs->attempt();
  query.cursor = logs->from();
  Ask(std::move(query));
  return true;
}

}  // namespace zsched::broker
