// Sessions that only ask, which any broker has: they are the engine's own, not the core's, as a broker that follows decides nothing.
#include "base/check.h"
#include "broker/server/bounds.h"
#include "broker/server/engine.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {

void Engine::OpenObserver(std::string_view routing_id, uint16_t flags, Now now) {
  const std::string connection(routing_id);
  EndSessionOf(Endpoint::kClient, connection);
  if (observers_.size() >= kMaxObservers)
    return Refuse(Endpoint::kClient, routing_id, flags, ErrorCode::kResourceExhausted,
                  "as many observers look at this broker as may");
  const SessionId session(++last_observer_);
  observers_[session.value()] = now.mono_ms;
  peers_[session.value()] = Peer{Endpoint::kClient, connection, flags};
  connections_[static_cast<size_t>(Endpoint::kClient)][connection] = session;
  SendOrClose(session, MessageType::kWelcome, encoder_.Welcome(session, View(), config_.core));
}

// False: the body is malformed.
bool Engine::OnObserverFrame(SessionId from, const FrameView& frame, Now now) {
  observers_[from.value()] = now.mono_ms;
  switch (frame.header.type) {
    case MessageType::kHeartbeat: {
      const wire::Heartbeat* heartbeat;
      if (!VerifyOptionalBody(frame.body, &heartbeat)) return false;
      Send(from, MessageType::kHeartbeatAck, encoder_.HeartbeatAck(/*resync=*/false));
      return true;
    }
    case MessageType::kGoodbye:
      if (!frame.body.empty()) return false;
      Send(from, MessageType::kGoodbye, "");
      Forget(from);
      return true;
    default:
      if (IsObservers(frame.header.type)) return OnClientFrame(from, frame, now);
      Send(from, MessageType::kError,
           encoder_.Error(ErrorCode::kPermissionDenied, "an observer may only ask", 0));
      core_.metrics().Add(Metric::kFramesRefused);
      return true;
  }
}

void Engine::EndSilentObservers(Now now) {
  std::vector<SessionId> silent;
  for (const auto& [session, heard_ms] : observers_)
    if (now.mono_ms - heard_ms > kClientTimeoutMs) silent.push_back(SessionId(session));
  for (SessionId session : silent) Forget(session);
}

void Engine::OnClusterCommand(SessionId from, const wire::ClusterCommand& command) {
  cluster_commands_.push_back(
      {from, command.request(), command.action(), command.force(), Epoch(command.epoch())});
}

void Engine::Answer(const ClusterCommand& command, const absl::Status& status) {
  ItemReplyEffect reply{
      .to = command.from, .wait = Lsn(0), .request = command.request, .items = {}};
  reply.items.push_back({0, CodeOf(status), MessageOf(status)});
  Send(command.from, MessageType::kItemReply, encoder_.ItemReply(reply));
}

}  // namespace zsched::broker
