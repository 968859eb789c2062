#include "broker/server/engine.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "broker/server/bounds.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// Checksum kind of a frame that may be malformed: the answer should come in a kind its sender can
// read.
uint16_t FlagsOf(std::string_view frame) {
  if (frame.size() < kFrameHeaderBytes) return 0;
  FrameHeader header;
  std::memcpy(&header, frame.data(), sizeof header);
  return header.flags & kFlagCrc32;
}

// What sessions of this endpoint may send; OnClientFrame and OnWorkerFrame deal with each.
bool IsRequest(Endpoint endpoint, MessageType type) {
  switch (type) {
    case MessageType::kHeartbeat:
    case MessageType::kGoodbye:
      return true;
    case MessageType::kSubmit:
    case MessageType::kWait:
    case MessageType::kGet:
    case MessageType::kList:
    case MessageType::kRetry:
    case MessageType::kStatus:
    case MessageType::kWorkerList:
    case MessageType::kWorkerDrain:
    case MessageType::kCancelTasks:
    case MessageType::kDeadList:
    case MessageType::kDeadDelete:
    case MessageType::kQueueSet:
    case MessageType::kQueueList:
    case MessageType::kTypeSet:
    case MessageType::kTypeList:
    case MessageType::kScheduleSet:
    case MessageType::kSchedulePause:
    case MessageType::kScheduleRun:
    case MessageType::kScheduleRemove:
    case MessageType::kScheduleList:
    case MessageType::kHistory:
    case MessageType::kExplain:
    case MessageType::kLogs:
    case MessageType::kEvents:
    case MessageType::kClusterCommand:
      return endpoint == Endpoint::kClient;
    case MessageType::kCredit:
    case MessageType::kResults:
    case MessageType::kRelease:
    case MessageType::kProgress:
    case MessageType::kOutput:
      return endpoint == Endpoint::kWorker;
    default:
      return false;
  }
}

}  // namespace

Engine::Engine(EngineConfig config, Journal& journal, Outbox& outbox)
    : config_(std::move(config)),
      journal_(journal),
      outbox_(outbox),
      core_(config_.core),
      intake_(config_.intake) {}

absl::Status Engine::Load(Now now) {
  now_ = now;
  started_ms_ = now.mono_ms;
  // So that those of an earlier life are not taken for later ones.
  last_observer_ =
      kObserverBit | (static_cast<uint64_t>(now.wall_ms / 1000) << 16 & (kObserverBit - 1));
  auto view = journal_.View();
  if (!view.ok()) return view.status();
  auto scan = [&](Table table,
                  const std::function<absl::Status(uint64_t, std::string_view)>& visit) {
    absl::Status inner;
    absl::Status outer = (*view)->Scan(table, 0, [&](uint64_t key, std::string_view row) {
      inner = visit(key, row);
      return inner.ok();
    });
    return outer.ok() ? inner : outer;
  };
  ZS_RETURN_IF_ERROR(core_.state().Rebuild(scan));
  core_.OnRebuilt();
  durable_ = in_flight_ = core_.state().lsn();
  return absl::OkStatus();
}

bool Engine::CanFollow(Epoch epoch) const {
  return !core_.HasRecords() || (core_.open_epoch() == epoch && core_.OpenBytes() <= kMaxOpenBytes);
}

absl::Status Engine::Follow(Epoch epoch, std::string_view records, Now now) {
  ZS_CHECK(!serving_);
  now_ = now;
  return core_.Follow(epoch, records);
}

absl::Status Engine::Serve(const Uuid& fresh_cluster, Epoch epoch, Now now) {
  ZS_CHECK(!serving_ && in_flight_ == durable_);
  now_ = now;
  ZS_RETURN_IF_ERROR(core_.Start(fresh_cluster, epoch, now));
  epoch_lsn_ = core_.appended();
  if (ZS_PLANTED("epoch-not-awaited")) epoch_lsn_ = Lsn(0);
  serving_ = true;
  role_ = wire::Role::kActiveSolo;
  return absl::OkStatus();
}

absl::Status Engine::Start(const Uuid& fresh_cluster, Now now) {
  ZS_RETURN_IF_ERROR(Load(now));
  return Serve(fresh_cluster, core_.NextEpoch(config_.node == "backup" ? 1 : 0), now);
}

ClusterView Engine::View() const {
  ClusterView view;
  view.cluster = core_.state().meta().cluster;
  view.epoch = core_.state().epoch();
  view.brokers.push_back({config_.node, role_, config_.address, config_.worker_address, true});
  if (peer_broker_) view.brokers.push_back(*peer_broker_);
  return view;
}

// --- Frames in -----------------------------------------------------------------------------------

void Engine::Refuse(Endpoint endpoint, std::string_view routing_id, uint16_t flags, ErrorCode code,
                    std::string_view message, uint64_t request) {
  core_.metrics().Add(Metric::kFramesRefused);
  FrameHeader header;
  header.type = MessageType::kError;
  header.flags = flags;
  header.epoch = core_.state().epoch().value();
  outbox_.Send(endpoint, routing_id, header, encoder_.Error(code, message, request));
}

void Engine::OnDropped(uint64_t messages) {
  core_.metrics().Add(Metric::kFramesIn, messages);
  core_.metrics().Add(Metric::kFramesDropped, messages);
}

void Engine::OnFrame(Endpoint endpoint, std::string_view routing_id, std::string_view bytes,
                     Now now) {
  now_ = now;
  core_.metrics().Add(Metric::kFramesIn);
  absl::StatusOr<FrameView> frame = OpenFrame(bytes);
  if (!frame.ok()) {
    ErrorCode code = CodeOf(frame.status());
    if (code == ErrorCode::kBadMagic || bytes.size() < kFrameHeaderBytes)
      core_.metrics().Add(Metric::kFramesDropped);
    else
      Refuse(endpoint, routing_id, FlagsOf(bytes), code, MessageOf(frame.status()));
    return;
  }
  const FrameHeader& header = frame->header;
  uint16_t flags = header.flags & kFlagCrc32;
  if (header.epoch > core_.state().epoch().value()) {
    Refuse(endpoint, routing_id, flags, ErrorCode::kNotActive,
           "this broker's epoch is over: a later one is known");
    return;
  }
  if (IsGreeting(header.type)) {
    Greet(endpoint, routing_id, *frame, now);
    return;
  }
  auto peer = peers_.find(header.session);
  if (peer == peers_.end() || peer->second.routing_id != routing_id ||
      peer->second.endpoint != endpoint) {
    Refuse(endpoint, routing_id, flags, ErrorCode::kNoSession,
           "no such session here; say hello again");
    return;
  }
  if (!IsNext(peer->second, header, now)) return;
  // From here on the frame is received, whatever it says.
  if (!IsRequest(endpoint, header.type)) {
    Refuse(endpoint, routing_id, flags, ErrorCode::kUnknownMessage,
           "no such message on this endpoint");
    return;
  }
  Dispatch(endpoint, routing_id, *frame, now);
}

bool Engine::IsNext(Peer& peer, const FrameHeader& header, Now now) {
  if (header.number == 0) {
    Refuse(peer.endpoint, peer.routing_id, peer.flags, ErrorCode::kMalformed,
           "a frame of a session must have its number in it: 1, 2, 3, ...");
    return false;
  }
  FramePlace place = PlaceAfter(peer.received, header.number);
  if (place == FramePlace::kGap && ZS_PLANTED("broker-ignores-gaps")) place = FramePlace::kNext;
  switch (place) {
    case FramePlace::kNext:
      peer.received = header.number;
      return true;
    case FramePlace::kRepeat:
      if (ZS_PLANTED("broker-takes-repeats")) return true;
      core_.metrics().Add(Metric::kFramesRepeated);
      return false;
    case FramePlace::kGap:
      break;
  }
  core_.metrics().Add(Metric::kSessionsBroken);
  SessionId session(header.session);
  core_.Touch(session, now);  // the peer is there, and has the whole timeout to come back
  Refuse(peer.endpoint, peer.routing_id, peer.flags, ErrorCode::kNoSession,
         "frames were lost: number " + std::to_string(header.number) + " came after " +
             std::to_string(peer.received) + "; say hello again");
  Break(session);
  return false;
}

void Engine::Break(SessionId session) {
  core_.OnSessionBroken(session);
  Forget(session);
}

void Engine::EndSessionOf(Endpoint endpoint, const std::string& connection) {
  auto& connections = connections_[static_cast<size_t>(endpoint)];
  auto last = connections.find(connection);
  if (last != connections.end()) Break(last->second);
}

void Engine::Forget(SessionId session) {
  intake_.Forget(session);
  observers_.erase(session.value());
  auto peer = peers_.find(session.value());
  if (peer == peers_.end()) return;
  auto& connections = connections_[static_cast<size_t>(peer->second.endpoint)];
  // A later session of the same connection keeps its place.
  auto connection = connections.find(peer->second.routing_id);
  if (connection != connections.end() && connection->second == session)
    connections.erase(connection);
  peers_.erase(peer);
}

void Engine::Greet(Endpoint endpoint, std::string_view routing_id, const FrameView& frame,
                   Now now) {
  uint16_t flags = frame.header.flags & kFlagCrc32;
  auto refuse = [&](ErrorCode code, std::string_view message) {
    Refuse(endpoint, routing_id, flags, code, message);
  };
  MessageType type = frame.header.type;
  bool here = endpoint == Endpoint::kClient ? type != MessageType::kWorkerHello
                                            : type == MessageType::kWorkerHello;
  if (!here)
    return refuse(ErrorCode::kUnknownMessage, "this message belongs on the other endpoint");
  if (type == MessageType::kDiscover) {
    const wire::Discover* discover;
    if (!VerifyOptionalBody(frame.body, &discover))
      return refuse(ErrorCode::kMalformed, "the body is not a Discover");
    FrameHeader header;
    header.type = MessageType::kView;
    header.flags = flags;
    header.epoch = core_.state().epoch().value();
    outbox_.Send(endpoint, routing_id, header, encoder_.View(View()));
    core_.metrics().Add(Metric::kFramesOut);
    return;
  }
  OpenSession(endpoint, routing_id, frame, now);
}

void Engine::OpenSession(Endpoint endpoint, std::string_view routing_id, const FrameView& frame,
                         Now now) {
  uint16_t flags = frame.header.flags & kFlagCrc32;
  auto refuse = [&](ErrorCode code, std::string_view message) {
    Refuse(endpoint, routing_id, flags, code, message);
  };
  const wire::Hello* hello = nullptr;
  if (endpoint == Endpoint::kClient) {
    hello = VerifyBody<wire::Hello>(frame.body);
    if (hello == nullptr) return refuse(ErrorCode::kMalformed, "the body is not a Hello");
    if (hello->observe()) return OpenObserver(routing_id, flags, now);
  }
  if (!serving_) {
    voted_ = true;
    return refuse(ErrorCode::kNotActive,
                  std::string("this broker is not active, it is ") + wire::EnumNameRole(role_));
  }
  const std::string connection(routing_id);
  SessionId session;
  if (hello != nullptr) {
    EndSessionOf(endpoint, connection);
    session = core_.OnHello(*hello, now);
    if (!session)
      return refuse(ErrorCode::kResourceExhausted, "the broker serves as many clients as it may");
  } else {
    const auto* worker = VerifyBody<wire::WorkerHello>(frame.body);
    if (worker == nullptr) return refuse(ErrorCode::kMalformed, "the body is not a WorkerHello");
    if (core_.IsPast(*worker)) return core_.metrics().Add(Metric::kFramesRepeated);
    EndSessionOf(endpoint, connection);
    auto opened = core_.OnWorkerHello(*worker, now);
    if (!opened.ok()) return refuse(CodeOf(opened.status()), MessageOf(opened.status()));
    session = *opened;
  }
  peers_[session.value()] = Peer{endpoint, connection, flags};
  connections_[static_cast<size_t>(endpoint)][connection] = session;
}

void Engine::Dispatch(Endpoint endpoint, std::string_view routing_id, const FrameView& frame,
                      Now now) {
  SessionId from(frame.header.session);
  core_.Touch(from, now);
  bool understood = IsObserver(from)                ? OnObserverFrame(from, frame, now)
                    : endpoint == Endpoint::kClient ? OnClientFrame(from, frame, now)
                                                    : OnWorkerFrame(from, frame, now);
  if (!understood)
    Refuse(endpoint, routing_id, frame.header.flags & kFlagCrc32, ErrorCode::kMalformed,
           "the body is not what its type says");
}

// False: the body is malformed.
bool Engine::OnClientFrame(SessionId from, const FrameView& frame, Now now) {
  switch (frame.header.type) {
    case MessageType::kSubmit: {
      const auto* submit = VerifyBody<wire::Submit>(frame.body);
      if (submit != nullptr) OnSubmit(from, frame.body, *submit, now);
      return submit != nullptr;
    }
    case MessageType::kHeartbeat: {
      const wire::Heartbeat* heartbeat;
      if (!VerifyOptionalBody(frame.body, &heartbeat)) return false;
      core_.OnHeartbeat(from, nullptr, now);
      return true;
    }
    case MessageType::kGoodbye:
      if (!frame.body.empty()) return false;
      while (auto parked = intake_.NextOf(from)) SubmitParked(*parked, now);
      core_.OnClientGoodbye(from, now);
      return true;
    case MessageType::kStatus:
      return OnStatus(from, frame, now);
    case MessageType::kWorkerList: {
      const auto* list = VerifyBody<wire::WorkerList>(frame.body);
      if (list == nullptr) return false;
      Send(from, MessageType::kWorkerInfos, encoder_.Workers(list->request(), core_, now.mono_ms));
      return true;
    }
    case MessageType::kWorkerDrain: {
      const auto* drain = VerifyBody<wire::WorkerDrain>(frame.body);
      if (drain != nullptr) core_.OnWorkerDrain(from, drain->request(), TextOf(drain->worker()));
      return drain != nullptr;
    }
    case MessageType::kQueueSet:
    case MessageType::kQueueList:
      return OnQueueFrame(from, frame, now);
    case MessageType::kTypeSet:
    case MessageType::kTypeList:
      return OnTypeFrame(from, frame, now);
    case MessageType::kScheduleSet:
    case MessageType::kSchedulePause:
    case MessageType::kScheduleRun:
    case MessageType::kScheduleRemove:
    case MessageType::kScheduleList:
      return OnScheduleFrame(from, frame, now);
    case MessageType::kList:
      return OnList(from, frame);
    case MessageType::kWait:
    case MessageType::kGet:
    case MessageType::kRetry:
    case MessageType::kDeadDelete:
      return OnQuery(from, frame);
    case MessageType::kDeadList:
      return OnDeadList(from, frame, now);
    case MessageType::kCancelTasks:
      return OnCancel(from, frame, now);
    case MessageType::kHistory:
      return OnHistory(from, frame);
    case MessageType::kExplain:
      return OnExplain(from, frame, now);
    case MessageType::kLogs:
      return OnLogs(from, frame);
    case MessageType::kEvents:
      return OnEvents(from, frame);
    case MessageType::kClusterCommand: {
      const auto* command = VerifyBody<wire::ClusterCommand>(frame.body);
      if (command != nullptr) OnClusterCommand(from, *command);
      return command != nullptr;
    }
    default:
      return false;  // IsRequest let nothing else through
  }
}

void Engine::OnSubmit(SessionId from, std::string_view body, const wire::Submit& submit, Now now) {
  if (intake_.Enters(from, body.size(), now.mono_ms))
    return core_.OnSubmit(from, submit, body, now);
  if (!intake_.Park(from, body, now.mono_ms)) return core_.OnSubmitBeyondWindow(from, submit);
  core_.metrics().Add(Metric::kSubmitsParked);
}

void Engine::SubmitParked(const Intake::Parked& parked, Now now) {
  const auto* submit = VerifyBody<wire::Submit>(parked.body);
  ZS_CHECK(submit != nullptr);  // it was verified when it came
  core_.OnSubmit(parked.from, *submit, parked.body, now);
}

void Engine::TakeParked(Now now) {
  auto round = [&] {
    return Intake::Round{.now_ms = now.mono_ms,
                         .idle = in_flight_ == durable_ && !core_.HasRecords(),
                         .room = core_.OpenBytes() <= kMaxOpenBytes};
  };
  while (auto parked = intake_.Next(round())) SubmitParked(*parked, now);
}

bool Engine::OnWorkerFrame(SessionId from, const FrameView& frame, Now now) {
  switch (frame.header.type) {
    case MessageType::kResults: {
      const auto* results = VerifyBody<wire::Results>(frame.body);
      if (results != nullptr) core_.OnResults(from, *results, now);
      return results != nullptr;
    }
    case MessageType::kCredit: {
      const auto* credit = VerifyBody<wire::Credit>(frame.body);
      if (credit != nullptr) core_.OnCredit(from, *credit);
      return credit != nullptr;
    }
    case MessageType::kHeartbeat: {
      const wire::Heartbeat* heartbeat;
      if (!VerifyOptionalBody(frame.body, &heartbeat)) return false;
      core_.OnHeartbeat(from, heartbeat, now);
      return true;
    }
    case MessageType::kProgress: {
      const auto* progress = VerifyBody<wire::Progress>(frame.body);
      if (progress != nullptr) core_.OnProgress(from, *progress, now);
      return progress != nullptr;
    }
    case MessageType::kOutput: {
      const auto* output = VerifyBody<wire::Output>(frame.body);
      if (output != nullptr) core_.OnOutput(from, *output, now);
      return output != nullptr;
    }
    case MessageType::kRelease: {
      const auto* release = VerifyBody<wire::Release>(frame.body);
      if (release != nullptr) core_.OnRelease(from, *release, now);
      return release != nullptr;
    }
    case MessageType::kGoodbye:
      if (!frame.body.empty()) return false;
      core_.OnWorkerGoodbye(from, now);
      return true;
    default:
      return false;  // IsRequest let nothing else through
  }
}

// --- Rounds and the commit gate ------------------------------------------------------------------

void Engine::OnTick(Now now) {
  now_ = now;
  EndSilentObservers(now);
  if (!serving_) return;
  core_.OnTick(now);
  AskForFinished(now);
  AskForOldDead(now);
}

void Engine::Hold(Effect effect) {
  // Nothing leaves before the epoch is durable: after a crash the next start would take the same
  // one, and give its session, lease and task ids a second time.
  Lsn wait = std::max(epoch_lsn_, std::visit([](const auto& e) { return e.wait; }, effect));
  if (wait <= durable_)
    failure_.Update(Release(effect));
  else if (wait <= in_flight_)
    held_in_flight_.push_back(std::move(effect));
  else
    held_open_.push_back(std::move(effect));
}

absl::Status Engine::EndRound(Now now) {
  now_ = now;
  for (SessionId session : std::exchange(unreachable_, {})) {
    if (IsObserver(session))
      Forget(session);
    else
      core_.OnSessionBroken(session);
  }
  if (serving_) {
    TakeParked(now);
    core_.EndRound(now);
    for (Effect& effect : core_.effects()) Hold(std::move(effect));
    core_.effects().clear();
  }
  view_.reset();
  while (!held_queries_.empty() && held_queries_.front().wait <= durable_) {
    Query query = std::move(held_queries_.front());
    held_queries_.pop_front();
    if (IsAwaited(query)) ready_queries_.push_back(std::move(query));
  }
  return failure_;
}

bool Engine::TakeBatch(Batch& batch) {
  ZS_CHECK(in_flight_ == durable_ && held_in_flight_.empty());
  if (!core_.HasRecords()) return false;
  core_.TakeBatch(batch);
  in_flight_ = batch.last_lsn();
  std::swap(held_in_flight_, held_open_);
  intake_.OnBatchTaken();
  return true;
}

void Engine::OnCommitted(const Batch& batch, uint64_t commit_us, Now now) {
  now_ = now;
  ZS_CHECK(batch.last_lsn() == in_flight_ && released_.empty());
  durable_ = in_flight_;
  committed_ = &batch;
  intake_.OnCommitted(commit_us, now.mono_ms);
  std::swap(released_, held_in_flight_);
  core_.metrics().Add(Metric::kCommits);
  core_.metrics().Add(Metric::kCommitBytes, batch.bytes());
  core_.metrics().Add(Metric::kCommitMicros, commit_us);
  core_.metrics().Observe(Timing::kCommit, commit_us);
}

absl::Status Engine::ReleaseCommitted() {
  for (Effect& effect : released_) failure_.Update(Release(effect));
  released_.clear();
  view_.reset();
  failure_.Update(ReleaseReplies());
  return failure_;
}

absl::Status Engine::Release(Effect& effect) {
  return std::visit(
      [&](auto& e) -> absl::Status {
        using E = std::decay_t<decltype(e)>;
        if constexpr (std::is_same_v<E, TasksEffect>) {
          return ReleaseTasks(e);
        } else if constexpr (std::is_same_v<E, OutcomesEffect>) {
          ReleaseOutcomes(e);
        } else if constexpr (std::is_same_v<E, SubmitAckEffect>) {
          core_.OnSubmitAckSent(e);
          SendOrClose(e.to, MessageType::kSubmitAck, encoder_.SubmitAck(e));
        } else if constexpr (std::is_same_v<E, ResultAckEffect>) {
          SendOrClose(e.to, MessageType::kResultAck, encoder_.ResultAck(e));
        } else if constexpr (std::is_same_v<E, WelcomeEffect>) {
          SendOrClose(e.to, MessageType::kWelcome, encoder_.Welcome(e.to, View(), config_.core));
        } else if constexpr (std::is_same_v<E, WorkerWelcomeEffect>) {
          SendOrClose(e.to, MessageType::kWorkerWelcome,
                      encoder_.WorkerWelcome(e, View(), config_.core));
        } else if constexpr (std::is_same_v<E, CancelEffect>) {
          SendOrClose(e.to, MessageType::kCancel, encoder_.Cancel(e));
        } else if constexpr (std::is_same_v<E, RecallEffect>) {
          SendOrClose(e.to, MessageType::kRecall, encoder_.Recall(e));
        } else if constexpr (std::is_same_v<E, DrainEffect>) {
          SendOrClose(e.to, MessageType::kDrain, "");
        } else if constexpr (std::is_same_v<E, HeartbeatAckEffect>) {
          Delivery delivery =
              Send(e.to, MessageType::kHeartbeatAck, encoder_.HeartbeatAck(e.resync));
          // Told again by the next one, or the client would wait for ever for what was dropped.
          if (e.resync && delivery == Delivery::kFull) core_.OnPushDropped(e.to);
        } else if constexpr (std::is_same_v<E, ErrorEffect>) {
          Send(e.to, MessageType::kError, encoder_.Error(e.code, e.message, e.request));
          core_.metrics().Add(Metric::kFramesRefused);
        } else if constexpr (std::is_same_v<E, ItemReplyEffect>) {
          Send(e.to, MessageType::kItemReply, encoder_.ItemReply(e));
        } else if constexpr (std::is_same_v<E, QueueSetEffect>) {
          Send(e.to, MessageType::kQueueInfos,
               encoder_.Queues(e.request, core_, core_.QueueAges(now_), {.only = e.queue}));
        } else if constexpr (std::is_same_v<E, TypeSetEffect>) {
          Send(e.to, MessageType::kTypeInfos, encoder_.Types(e.request, core_, {.only = e.type}));
        } else if constexpr (std::is_same_v<E, ScheduleEffect>) {
          Send(e.to, MessageType::kScheduleInfos,
               encoder_.Schedules(e.request, core_, {.only = e.name}));
        } else {
          static_assert(std::is_same_v<E, ClosedEffect>);
          if (e.echo) Send(e.to, MessageType::kGoodbye, "");
          Forget(e.to);
        }
        return absl::OkStatus();
      },
      effect);
}

void Engine::ReleaseOutcomes(const OutcomesEffect& effect) {
  auto peer = peers_.find(effect.to.value());
  if (peer == peers_.end()) return;
  if (!outbox_.HasRoom(peer->second.endpoint, peer->second.routing_id))
    return core_.OnPushDropped(effect.to);
  encoder_.Outcomes(effect, committed_->rows(), [&](std::string_view body) {
    if (Send(effect.to, MessageType::kOutcomes, body) == Delivery::kFull)
      core_.OnPushDropped(effect.to);
  });
}

Delivery Engine::Send(SessionId to, MessageType type, std::string_view body) {
  auto peer = peers_.find(to.value());
  if (peer == peers_.end()) return Delivery::kGone;
  FrameHeader header;
  header.type = type;
  header.flags = peer->second.flags;
  header.epoch = core_.state().epoch().value();
  header.session = to.value();
  header.number = NumberAfter(peer->second.sent);
  Delivery delivery = outbox_.Send(peer->second.endpoint, peer->second.routing_id, header, body);
  if (delivery == Delivery::kSent) {
    // Only now: a frame that the socket did not take must not look lost to the peer.
    peer->second.sent = header.number;
    core_.metrics().Add(Metric::kFramesOut);
  } else if (delivery == Delivery::kFull) {
    if (ZS_PLANTED("unsent-numbered")) peer->second.sent = header.number;
    core_.metrics().Add(Metric::kSendsBlocked);
  } else {
    unreachable_.push_back(to);
  }
  return delivery;
}

void Engine::SendOrClose(SessionId to, MessageType type, std::string_view body) {
  if (Send(to, type, body) == Delivery::kFull) unreachable_.push_back(to);
}

void Engine::Resign() {
  // In an order that does not hang on addresses: a simulation with the same seed is the same run.
  std::vector<uint64_t> sessions;
  sessions.reserve(peers_.size());
  for (const auto& [session, peer] : peers_) sessions.push_back(session);
  std::sort(sessions.begin(), sessions.end());
  for (const uint64_t session : sessions)
    Send(SessionId(session), MessageType::kError,
         encoder_.Error(ErrorCode::kNotActive, "the broker is shutting down", 0));
}

}  // namespace zsched::broker
