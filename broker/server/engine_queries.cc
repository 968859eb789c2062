// Questions of clients, which the query thread answers from the tables, and commands, which change what
// only the tables know. One command is under way at a time: the rows that it was given are still true when
// it is carried out.
#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "broker/server/bounds.h"
#include "broker/server/engine.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

constexpr uint32_t kQueryRetryMs = 100;  // for one that is refused: a hundred answers' time

}  // namespace

bool Engine::OnList(SessionId from, const FrameView& frame) {
  const auto* list = VerifyBody<wire::List>(frame.body);
  if (list == nullptr) return false;
  Query query;
  query.to = from;
  query.kind = QueryKind::kList;
  query.request = list->request();
  query.queue = std::string(TextOf(list->queue()));
  query.type = std::string(TextOf(list->type()));
  if (list->label() != nullptr) {
    query.label_key = std::string(TextOf(list->label()->key()));
    query.label_value = std::string(TextOf(list->label()->value()));
  }
  query.states = list->states();
  query.limit = list->limit() == 0 ? static_cast<uint32_t>(kDefaultListLimit) : list->limit();
  query.cursor = list->cursor();
  query.brief = list->brief();
  query.descending = list->descending();
  query.omit_bodies = list->omit_bodies();
  // What waits is kept small, and nothing has such names.
  if (std::max(query.queue.size(), query.type.size()) > kMaxNameBytes ||
      query.label_key.size() > kMaxLabelKeyBytes || query.label_value.size() > kMaxLabelValueBytes)
    RefuseQuery(query, ErrorCode::kInvalidArgument,
                "a queue, type or label to look for is longer than any can be");
  else
    Ask(std::move(query));
  return true;
}

// At once, of what the loop knows: most of it is in no table.
bool Engine::OnExplain(SessionId from, const FrameView& frame, Now now) {
  const auto* explain = VerifyBody<wire::Explain>(frame.body);
  if (explain == nullptr) return false;
  const TaskId id(explain->id());
  Send(from, MessageType::kExplanation,
       encoder_.Explanation(explain->request(), id, core_.Explain(id, now)));
  return true;
}

bool Engine::OnDeadList(SessionId from, const FrameView& frame, Now now) {
  const auto* list = VerifyBody<wire::DeadList>(frame.body);
  if (list == nullptr) return false;
  Query query;
  query.to = from;
  query.kind = QueryKind::kDead;
  query.request = list->request();
  query.view = list->view();
  query.queue = std::string(TextOf(list->queue()));
  query.type = std::string(TextOf(list->type()));
  query.error = std::string(TextOf(list->error()));
  query.fingerprint = list->fingerprint();
  if (list->older_than_ms() != 0)
    query.died_before_ms = now.wall_ms - static_cast<int64_t>(std::min<uint64_t>(
                                             list->older_than_ms(), INT64_MAX / 2));
  if (list->before() != 0) query.before_letter = list->before();
  query.limit = list->limit() == 0 ? static_cast<uint32_t>(kDefaultListLimit) : list->limit();
  query.cursor = list->cursor();
  query.omit_bodies = list->omit_bodies();
  if (query.view > wire::DeadView::MAX)
    RefuseQuery(query, ErrorCode::kInvalidArgument, "this view of dead letters is unknown");
  else if (std::max(query.queue.size(), query.type.size()) > kMaxNameBytes ||
           query.error.size() > kMaxErrorMessageBytes)
    RefuseQuery(query, ErrorCode::kInvalidArgument,
                "a queue, type or error to look for is longer than any can be");
  else
    Ask(std::move(query));
  return true;
}

namespace {

struct IdsOf {
  QueryKind kind{};
  uint64_t request = 0;
  const flatbuffers::Vector<uint64_t>*ids = nullptr, *letters = nullptr;
};
template <class Body>
std::optional<IdsOf> ReadIds(QueryKind kind, std::string_view bytes) {
  const auto* body = VerifyBody<Body>(bytes);
  if (body == nullptr) return std::nullopt;
  IdsOf ids{kind, body->request(), body->ids()};
  if constexpr (requires { body->letters(); }) ids.letters = body->letters();
  return ids;
}
std::optional<IdsOf> ReadIds(const FrameView& frame) {
  switch (frame.header.type) {
    case MessageType::kWait:
      return ReadIds<wire::Wait>(QueryKind::kOutcomes, frame.body);
    case MessageType::kGet:
      return ReadIds<wire::Get>(QueryKind::kGet, frame.body);
    case MessageType::kRetry:
      return ReadIds<wire::Retry>(QueryKind::kRetryRows, frame.body);
    default:
      return ReadIds<wire::DeadDelete>(QueryKind::kDeleteRows, frame.body);
  }
}

}  // namespace

bool Engine::OnQuery(SessionId from, const FrameView& frame) {
  const std::optional<IdsOf> asked = ReadIds(frame);
  if (!asked) return false;
  Query query;
  query.to = from;
  query.kind = asked->kind;
  query.request = asked->request;
  if (asked->ids->size() > kMaxQueryIds) {
    RefuseQuery(query, ErrorCode::kTooLarge,
                "at most " + std::to_string(kMaxQueryIds) + " ids in one request");
    return true;
  }
  if (asked->letters != nullptr && asked->letters->size() != asked->ids->size()) {
    RefuseQuery(query, ErrorCode::kInvalidArgument, "letters must be as many as ids, or none");
    return true;
  }
  if (query.kind == QueryKind::kOutcomes)
    query.ids = core_.OnWait(from, *flatbuffers::GetRoot<wire::Wait>(frame.body.data()));
  else
    query.ids.assign(asked->ids->begin(), asked->ids->end());
  if (asked->letters != nullptr)
    query.letters.assign(asked->letters->begin(), asked->letters->end());
  Ask(std::move(query));
  return true;
}

// What is not over is cancelled at once; the answer may have to wait for rows of what is.
bool Engine::OnCancel(SessionId from, const FrameView& frame, Now now) {
  const auto* cancel = VerifyBody<wire::CancelTasks>(frame.body);
  if (cancel == nullptr) return false;
  Query query;
  query.to = from;
  query.kind = QueryKind::kCancelRows;
  query.request = cancel->request();
  if (cancel->ids()->size() > kMaxQueryIds) {
    RefuseQuery(query, ErrorCode::kTooLarge,
                "at most " + std::to_string(kMaxQueryIds) + " ids in one request");
    return true;
  }
  if (!MayAsk(query)) return true;
  query.ids.assign(cancel->ids()->begin(), cancel->ids()->end());
  if (!core_.OnCancel(from, query.request, query.ids, now)) Ask(std::move(query));
  return true;
}

void Engine::RefuseQuery(const Query& query, ErrorCode code, std::string_view message,
                         uint32_t retry_after_ms) {
  Send(query.to, MessageType::kError, encoder_.Error(code, message, query.request, retry_after_ms));
  core_.metrics().Add(Metric::kFramesRefused);
}

bool Engine::MayAsk(const Query& query) {
  auto peer = peers_.find(query.to.value());
  if (peer == peers_.end()) return false;
  if (open_queries_ < kMaxQueries && peer->second.queries < kMaxPeerQueries) return true;
  RefuseQuery(query, ErrorCode::kResourceExhausted, "too many queries wait; ask again later",
              kQueryRetryMs);
  return false;
}

void Engine::Ask(Query query) {
  if (!MayAsk(query)) return;
  ++open_queries_;
  ++peers_.at(query.to.value()).queries;
  Enqueue(std::move(query));
}

void Engine::Enqueue(Query query) {
  if (IsCommand(query.kind) && command_running_) {
    commands_.push_back(std::move(query));
    return;
  }
  command_running_ |= IsCommand(query.kind);
  LookUp(std::move(query));
}

void Engine::LookUp(Query query) {
  // Events are told as far as the log is committed, whatever else was decided.
  query.wait = query.kind == QueryKind::kEvents ? durable_ : core_.appended();
  if (ZS_PLANTED("query-early")) query.wait = durable_;
  held_queries_.push_back(std::move(query));
}

void Engine::Answered(SessionId client) {
  --open_queries_;
  if (auto peer = peers_.find(client.value()); peer != peers_.end()) --peer->second.queries;
}

bool Engine::IsAwaited(const Query& query) {
  // The one is the retention's; the other is a command, which is carried out in any case.
  if (query.kind == QueryKind::kFinished || IsCommand(query.kind)) return true;
  auto peer = peers_.find(query.to.value());
  if (peer != peers_.end() && outbox_.HasRoom(peer->second.endpoint, peer->second.routing_id))
    return true;
  if (query.kind == QueryKind::kOutcomes) core_.OnPushDropped(query.to);
  Answered(query.to);
  return false;
}

void Engine::AskForFinished(Now now) {
  if (finished_running_) return;
  uint64_t from = core_.PruneFrom(now);
  if (from == 0) return;
  finished_running_ = true;
  Query query;
  query.kind = QueryKind::kFinished;
  query.cursor = from;  // after all that was pruned; rows do not change before that, so no wait
  held_queries_.push_back(std::move(query));
}

absl::Status Engine::OnReply(QueryReply reply, Now now) {
  // Of a later batch, events would only have names, which do not change.
  if (config_.replicated && serving_ && reply.kind != QueryKind::kEvents &&
      !ZS_PLANTED("answers-uncommitted") && (in_flight_ > durable_ || !held_replies_.empty())) {
    held_replies_.emplace_back(in_flight_, std::move(reply));
    return absl::OkStatus();
  }
  return Reply(std::move(reply), now);
}

absl::Status Engine::ReleaseReplies() {
  while (!held_replies_.empty() && held_replies_.front().first <= durable_) {
    QueryReply reply = std::move(held_replies_.front().second);
    held_replies_.pop_front();
    ZS_RETURN_IF_ERROR(Reply(std::move(reply), now_));
  }
  return absl::OkStatus();
}

absl::Status Engine::Reply(QueryReply reply, Now now) {
  now_ = now;
  if (!reply.status.ok()) return reply.status;
  bool taken = true;
  for (const auto& [type, body] : reply.frames) {
    Delivery delivery = Send(reply.to, type, body);
    taken &= delivery == Delivery::kSent;
    if (delivery == Delivery::kFull && reply.kind == QueryKind::kOutcomes)
      core_.OnPushDropped(reply.to);
  }
  if (reply.kind == QueryKind::kFinished) {
    finished_running_ = false;
    core_.OnPrune(reply.finished, now);
    // There may be more: at full rate one slice a tick would not keep up. An empty one ends it: what
    // is over the limit has ended, but is not durable yet.
    if (!reply.finished.empty()) AskForFinished(now);
    return absl::OkStatus();
  }
  if (reply.kind == QueryKind::kOutcomes && GoOnWith(reply, taken)) return absl::OkStatus();
  if (IsCommand(reply.kind))
    OnCommandRows(reply, now);
  else
    Answered(reply.to);
  return absl::OkStatus();
}

// As a command, so that none of these dead tasks is retried or deleted before they go.
void Engine::AskForOldDead(Now now) {
  if (dead_running_ || !core_.HasOldDead(now)) return;
  dead_running_ = true;
  Query query;
  query.kind = QueryKind::kDeadOldest;
  Enqueue(std::move(query));
}

void Engine::OnCommandRows(const QueryReply& reply, Now now) {
  switch (reply.kind) {
    case QueryKind::kRetryRows:
      core_.OnRetry(reply.to, reply.request, reply.rows, now);
      break;
    case QueryKind::kDeleteRows:
      core_.OnDeadDelete(reply.to, reply.request, reply.rows, now);
      break;
    case QueryKind::kDeadOldest:
      core_.OnDeadRead(reply.dead, now);
      dead_running_ = false;
      break;
    default:
      if (!core_.OnCancelRows(reply.to, reply.request, reply.rows, now)) return CancelAgain(reply);
  }
  if (reply.kind != QueryKind::kDeadOldest) Answered(reply.to);
  command_running_ = false;
  if (!commands_.empty()) {
    Query next = std::move(commands_.front());
    commands_.pop_front();
    Enqueue(std::move(next));
  }
  AskForOldDead(now);  // there may be more
}

void Engine::CancelAgain(const QueryReply& reply) {
  Query again;
  again.kind = reply.kind;
  again.to = reply.to;
  again.request = reply.request;
  for (const Core::RowItem& item : reply.rows) again.ids.push_back(item.id);
  LookUp(std::move(again));
}

bool Engine::GoOnWith(const QueryReply& reply, bool taken) {
  Query query;
  query.kind = QueryKind::kOutcomes;
  query.to = reply.to;
  query.request = reply.request;
  // A RETRY came between the WAIT and its answer. Those that have ended again meanwhile are looked up
  // again.
  if (!reply.unfinished.empty())
    query.ids = core_.OnWaitAgain(reply.to, reply.request, reply.unfinished);
  // A client that does not take one frame gets no more: it asks again when it is told of the loss.
  if (taken) query.ids.insert(query.ids.end(), reply.rest.begin(), reply.rest.end());
  if (query.ids.empty() || !peers_.contains(reply.to.value())) return false;
  Enqueue(std::move(query));
  return true;
}

}  // namespace zsched::broker
