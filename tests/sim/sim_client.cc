#include "tests/sim/sim_client.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "client/lib/codec.h"
#include "client/lib/task_buffer.h"
#include "schemas/verify.h"

namespace zsched::sim {
namespace {

// As ClientOptions' defaults.
constexpr int64_t kRequestTimeoutMs = 10'000;
constexpr int64_t kResendMs = 10'000;
constexpr size_t kMaxQueuedTasks = 65'536, kMaxQueuedBytes = 64 << 20;
// As client/lib/core.h: requests are numbered apart from SUBMIT seqs.
constexpr uint64_t kFirstRequest = uint64_t{1} << 62;

constexpr int64_t kQuietenEveryMs = 5'000;
// A cancel takes some of so many tasks, the latest: most of them are not over.
constexpr size_t kCancelAmong = 12, kCancelMost = 3;
// Dead tasks that one request takes, and those that are kept from earlier lists.
constexpr uint64_t kDeadMost = 4, kListedMost = 30;
// What a type may be told not to retry.
constexpr uint64_t kNoRetry[] = {
    0, ErrorBit(ErrorCode::kHandlerFailed),
    ErrorBit(ErrorCode::kInvalidArgument) | ErrorBit(ErrorCode::kProcessFailed),
    ErrorBit(ErrorCode::kWorkerLost) | ErrorBit(ErrorCode::kAttemptTimedOut)};
constexpr int64_t kPaceSpread = 4;  // clients differ in how often they call

}  // namespace

SimClient::SimClient(World& world, int number) : Process(world), number_(number) {}
SimClient::~SimClient() = default;

void SimClient::Boot(int tasks) {
  Start();
  id_ = Uuid{random_.Next(), random_.Next()};
  next_request_ = kFirstRequest;
  tasks_left_ = tasks;
  leaves_ = random_.Chance(world_.workload.leave);
  next_call_ms_ = 0;
  pause_max_ms_ = random_.LogBetween(1 + world_.workload.pause_max_ms / kPaceSpread,
                                     kPaceSpread * world_.workload.pause_max_ms);
  intake_ = std::make_unique<Intake>(kMaxQueuedTasks, kMaxQueuedBytes, [] {});
  submitter_ = std::make_unique<Submitter>(
      Submitter::Options{.retry_exhausted = true, .resend_ms = kResendMs}, intake_.get());
  outcomes_ = std::make_unique<OutcomeTracker>(
      [this](std::span<Outcome> outcomes) {
        for (Outcome& outcome : outcomes) Pushed(outcome);
      },
      kResendMs);
  requests_ = std::make_unique<RequestTable>();
  session_ = std::make_unique<Session>(
      SessionOptions{
          .kind = SessionKind::kClient, .brokers = world_.brokers, .seed = random_.Next()},
      SessionHooks{.hello = [this] { return EncodeHello(id_, "client", "sim"); }});
  world_.scheduler.Trace("client up", static_cast<uint64_t>(number_), id_.hi);
  for (int index = 0; tasks > 0 && index < world_.workload.schedules; ++index) SetSchedule(index);
}

void SimClient::Crash() {
  if (!up()) return;
  world_.scheduler.Trace("client down", static_cast<uint64_t>(number_));
  Die();
  world_.network.Close(std::exchange(socket_, 0));
  inbox_.clear();
  world_.reached["peer_frames_repeated"] += session_->repeated_frames();
  world_.reached["peer_sessions_broken"] += session_->gaps();
  session_.reset();
  submitter_.reset();
  outcomes_.reset();
  requests_.reset();
  intake_.reset();
  unacked_.clear();
  marker_of_.clear();
  awaited_.clear();
  pushed_.clear();
  listed_.clear();
  to_get_.clear();
  unset_schedules_.clear();
  asking_ = 0;
}

bool SimClient::idle() const {
  return !up() || (tasks_left_ == 0 && unacked_.empty() && awaited_.empty() && asking_ == 0 &&
                   to_get_.empty() && unset_schedules_.empty());
}

std::string SimClient::Waiting() const {
  if (idle()) return "";
  std::string text =
      absl::StrCat("client ", number_, " (", std::string(NameOf(session_->state())),
                   "): ", tasks_left_, " to submit, ", unacked_.size(), " without an ack, ",
                   awaited_.size(), " without an outcome, ", asking_, " requests");
  if (!awaited_.empty()) absl::StrAppend(&text, ", first task ", ToString(*awaited_.begin()));
  return text;
}

// --- The loop, as Client::Core::Run around Dealer::Poll ------------------------------------------------------------------

void SimClient::Round() {
  SessionActions actions;
  while (!inbox_.empty()) {
    std::string frame = std::move(inbox_.front());
    inbox_.pop_front();
    world_.network.ReadBy(socket_);
    session_->OnFrame(aligned_.Align(frame), now(), &actions);
    Execute(actions);
  }
  session_->OnTick(now(), &actions);
  Execute(actions);
  if (session_->state() == SessionState::kClosed) return Crash();  // an orderly end
  if (session_->state() == SessionState::kClosing) return WakeAtMono(session_->next_deadline_ms());
  const int64_t now_ms = now().mono_ms;
  if (now_ms >= next_call_ms_ && tasks_left_ > 0) NextCall();
  if (now_ms >= next_quieten_ms_) Quieten();
  Pump(now_ms);
  if (leaves_ && idle() && session_->ready()) {
    session_->Close(now(), &actions);
    Execute(actions);
  }
  WakeAtMono(NextDeadlineMs());
}

int64_t SimClient::NextDeadlineMs() const {
  int64_t deadline =
      std::min({session_->next_deadline_ms(), submitter_->next_deadline_ms(),
                outcomes_->next_deadline_ms(), requests_->next_deadline_ms(), next_quieten_ms_});
  return tasks_left_ > 0 ? std::min(deadline, next_call_ms_) : deadline;
}

void SimClient::Pump(int64_t now_ms) {
  submitter_->ReportJudged();
  submitter_->Pump(now_ms,
                   [this](std::string_view body) { return Send(MessageType::kSubmit, body); });
  if (session_->ready()) {
    requests_->Pump(now_ms,
                    [this](MessageType type, std::string_view body) { return Send(type, body); });
    outcomes_->Pump(
        now_ms, [this] { return next_request_++; },
        [this](uint64_t, std::string_view body) { return Send(MessageType::kWait, body); });
  }
  requests_->Expire(now_ms, "not connected");
  outcomes_->Expire(now_ms);
}

bool SimClient::Send(MessageType type, std::string_view body) {
  return session_->ready() && Put(type, body);
}

bool SimClient::Put(MessageType type, std::string_view body) {
  if (socket_ == 0 || !world_.network.Send(socket_, session_->Seal(type, body))) return false;
  session_->OnSent();
  return true;
}

void SimClient::Execute(SessionActions& actions) {
  SessionActions now_due = std::exchange(actions, {});
  for (SessionAction& action : now_due) {
    if (auto* connect = std::get_if<ConnectAction>(&action)) {
      world_.network.Close(socket_);
      inbox_.clear();
      const uint64_t owner = 2 * static_cast<uint64_t>(number_);
      socket_ = world_.network.Connect(owner, connect->endpoint, [this](std::string frame) {
        inbox_.push_back(std::move(frame));
        WakeNow();
      });
    } else if (std::holds_alternative<DisconnectAction>(action)) {
      world_.network.Close(std::exchange(socket_, 0));
      inbox_.clear();
    } else if (auto* send = std::get_if<SendAction>(&action)) {
      Put(send->type, send->body);
    } else if (auto* up = std::get_if<UpAction>(&action)) {
      OnUp(up->welcome);
    } else if (std::holds_alternative<DownAction>(action)) {
      submitter_->OnDown();
      requests_->OnDown();
      outcomes_->OnDown();
    } else if (auto* deliver = std::get_if<DeliverAction>(&action)) {
      OnFrame(deliver->frame);
    }
  }
}

void SimClient::OnUp(const FrameView& welcome) {
  const auto* body = flatbuffers::GetRoot<wire::Welcome>(welcome.body.data());
  submitter_->OnUp(body->window_tasks(), body->window_bytes());
  outcomes_->AskForAll();
}

void SimClient::OnFrame(const FrameView& frame) {
  bool understood = true;
  auto reply = [&](const auto* body) {
    if (body != nullptr) requests_->OnReply(frame, body->request());
    return body != nullptr;
  };
  switch (frame.header.type) {
    case MessageType::kSubmitAck: {
      const auto* ack = VerifyBody<wire::SubmitAck>(frame.body);
      understood =
          ack != nullptr && submitter_->OnAck(*ack, now().mono_ms, [this](AwaitedRange range) {
            outcomes_->AddRange(std::move(range));
          });
      break;
    }
    case MessageType::kOutcomes: {
      const auto* outcomes = VerifyBody<wire::Outcomes>(frame.body);
      understood = outcomes != nullptr;
      if (understood) outcomes_->OnOutcomes(*outcomes);
      break;
    }
    case MessageType::kHeartbeatAck: {
      const wire::HeartbeatAck* ack = nullptr;
      understood = VerifyOptionalBody(frame.body, &ack);
      if (ack != nullptr && ack->resync()) outcomes_->AskForAll();
      break;
    }
    case MessageType::kError:
      return OnError(frame);
    case MessageType::kTaskInfos:
      understood = reply(VerifyBody<wire::TaskInfos>(frame.body));
      break;
    case MessageType::kItemReply:
      understood = reply(VerifyBody<wire::ItemReply>(frame.body));
      break;
    case MessageType::kTypeInfos:
      understood = reply(VerifyBody<wire::TypeInfos>(frame.body));
      break;
    case MessageType::kExplanation:
      understood = reply(VerifyBody<wire::Explanation>(frame.body));
      break;
    case MessageType::kHistoryInfo:
      understood = reply(VerifyBody<wire::HistoryInfo>(frame.body));
      break;
    case MessageType::kLogPages:
      understood = reply(VerifyBody<wire::LogPages>(frame.body));
      break;
    case MessageType::kDeadLetters:
      understood = reply(VerifyBody<wire::DeadLetters>(frame.body));
      break;
    case MessageType::kQueueInfos:
      understood = reply(VerifyBody<wire::QueueInfos>(frame.body));
      break;
    case MessageType::kScheduleInfos:
      understood = reply(VerifyBody<wire::ScheduleInfos>(frame.body));
      break;
    case MessageType::kStatusReply:
      understood = reply(VerifyBody<wire::StatusReply>(frame.body));
      break;
    default:
      understood = false;
  }
  if (!understood)
    world_.judge.Fail(
        absl::StrCat("a client cannot read a frame of type ", static_cast<int>(frame.header.type)));
}

void SimClient::OnError(const FrameView& frame) {
  const auto* error = VerifyBody<wire::Error>(frame.body);
  if (error == nullptr) return world_.judge.Fail("an unreadable ERROR");
  const ErrorCode code = ErrorFromNumber(error->code());
  if (code != ErrorCode::kResourceExhausted)
    return world_.judge.Fail("the broker refused a client's frame: " +
                             std::string(TextOf(error->message())));
  std::string message(TextOf(error->message()));
  const int64_t now_ms = now().mono_ms;
  if (error->request() < kFirstRequest)
    submitter_->OnError(error->request(), code, message, error->retry_after_ms(), now_ms);
  else if (!outcomes_->OnError(error->request(), now_ms, error->retry_after_ms()))
    requests_->OnError(error->request(), Error(code, message));
}

// --- The program ----------------------------------------------------------------------------------------------------------

void SimClient::NextCall() {
  const WorkloadProfile& workload = world_.workload;
  next_call_ms_ = now().mono_ms + random_.Between(0, pause_max_ms_);
  bool notify = random_.Chance(workload.notify),
       wait = !notify && random_.Chance(workload.wait_later);
  if (workload.batch_max == 1 || random_.Chance(0.3))
    SubmitOne(notify, wait);
  else
    SubmitBatch(notify, wait);
  if (random_.Chance(workload.query)) RandomQuery();
  if (random_.Chance(workload.rule)) RandomRule();
  if (random_.Chance(workload.cancel)) CancelSome();
  if (random_.Chance(workload.reschedule)) RandomSchedule();
  if (random_.Chance(workload.dead)) ListDead();
}

void SimClient::Put(const std::vector<TaskSpec>& tasks, Segment segment, bool notify) {
  std::string records;
  for (const TaskSpec& task : tasks) {
    ZS_CHECK_OK(CheckEncodable(task));
    AppendRecord(task, &records);
  }
  segment.tasks = static_cast<uint32_t>(tasks.size());
  ZS_CHECK_OK(intake_->Put(notify ? kNotifyLane : kPlainLane, &records, std::move(segment), 0));
  tasks_left_ -= static_cast<int>(tasks.size());
}

void SimClient::SubmitOne(bool notify, bool wait) {
  std::string marker;
  TaskSpec task = MakeOrRepeat(&marker, notify);
  unacked_.insert(marker);
  Segment segment;
  const bool lasts = task.durability != Durability::kMemory;
  segment.on_ack = [this, marker, notify, wait, lasts](absl::StatusOr<TaskId> id) {
    Acked(marker, notify, wait, lasts, id.ok() ? *id : TaskId());
  };
  if (notify) segment.on_outcome = [this](Outcome& outcome) { Pushed(outcome); };
  Put({task}, std::move(segment), notify);
}

void SimClient::SubmitBatch(bool notify, bool wait) {
  std::vector<TaskSpec> tasks;
  std::vector<std::string> markers;
  std::vector<bool> lasts;
  int64_t count = random_.Between(1, std::min(world_.workload.batch_max, tasks_left_));
  for (int64_t i = 0; i < count; ++i) {
    tasks.push_back(MakeOrRepeat(&markers.emplace_back(), notify));
    unacked_.insert(markers.back());
    lasts.push_back(tasks.back().durability != Durability::kMemory);
  }
  Segment segment;
  segment.batch = std::make_shared<BatchState>();
  segment.batch->left = tasks.size();
  segment.batch->ack.ids.resize(tasks.size());
  segment.batch->on_ack = [this, markers, lasts, notify, wait](BatchAck ack) {
    for (size_t i = 0; i < markers.size(); ++i)
      Acked(markers[i], notify, wait, lasts[i], ack.ids[i]);
  };
  Put(tasks, std::move(segment), notify);
}

// `id` 0: refused.
void SimClient::Acked(const std::string& marker, bool notify, bool wait, bool lasts, TaskId id) {
  auto unacked = unacked_.find(marker);
  if (unacked == unacked_.end()) return world_.judge.Fail(marker + " was acknowledged twice");
  unacked_.erase(unacked);
  if (!id) return;
  world_.judge.Acknowledged(id.value(), lasts);
  auto [known, is_new] = marker_of_.emplace(id, marker);
  if (!is_new && known->second != marker)
    return world_.judge.Fail("two tasks of a client have the id " + ToString(id));
  if (notify && !pushed_.contains(id)) awaited_.insert(id);
  if (wait) WaitFor(id);
}

void SimClient::WaitFor(TaskId id) {
  auto group = std::make_shared<WaitGroup>();
  group->ids = {id};
  group->deadline_ms = Session::kNever;
  group->on_outcome = [this](Outcome& outcome) { Heard(outcome.id, outcome); };
  awaited_.insert(id);
  outcomes_->AddWait(std::move(group));
}

void SimClient::Pushed(Outcome& outcome) {
  if (!pushed_.insert(outcome.id).second)
    world_.judge.Fail("a client heard the outcome of task " + ToString(outcome.id) + " twice");
  Heard(outcome.id, outcome);
}

void SimClient::Heard(TaskId id, const Outcome& outcome) {
  awaited_.erase(id);
  auto marker = marker_of_.find(id);
  const bool not_found = outcome.error == ErrorCode::kNotFound;
  // The ack of a batch may come after the first outcomes of it.
  if (marker != marker_of_.end()) world_.judge.OutcomeSeen(marker->second, id.value(), not_found);
  bool dead = !not_found && outcome.state == TaskState::kDead;
  if (dead && random_.Chance(world_.workload.retry_dead)) Retry(id);
}

template <class Reply>
void SimClient::AskBroker(MessageType type, MessageType reply_type,
                          const std::function<std::string(uint64_t)>& encode,
                          std::function<void(const Reply*)> read) {
  const uint64_t number = next_request_++;
  Request request{.type = type,
                  .reply_type = reply_type,
                  .number = number,
                  .body = encode(number),
                  .deadline_ms = now().mono_ms + kRequestTimeoutMs,
                  .on_reply = [this, read = std::move(read)](absl::StatusOr<FrameView> reply) {
                    --asking_;
                    // Verified on its way here.
                    read(reply.ok() ? flatbuffers::GetRoot<Reply>(reply->body.data()) : nullptr);
                  }};
  ++asking_;
  requests_->Add(std::move(request));
  WakeNow();
}

// Waits for the new outcome after the answer, or, as another client would, beside it.
void SimClient::Retry(TaskId id) {
  const bool wait_at_once = random_.Chance(0.5);
  AskBroker<wire::ItemReply>(
      MessageType::kRetry, MessageType::kItemReply,
      [id](uint64_t number) { return EncodeRetry(number, std::span(&id, 1)); },
      [this, id, wait_at_once](const wire::ItemReply* reply) {
        if (reply == nullptr) return;
        if (reply->items() == nullptr || reply->items()->size() != 1 ||
            reply->items()->Get(0)->id() != id.value())
          return world_.judge.Fail("an ITEM_REPLY to other ids than asked for");
        if (!wait_at_once) WaitFor(id);
      });
  if (wait_at_once) WaitFor(id);
}

void SimClient::CancelSome() {
  std::vector<TaskId> latest, ids;
  for (auto it = marker_of_.rbegin(); it != marker_of_.rend() && latest.size() < kCancelAmong; ++it)
    latest.push_back(it->first);
  if (latest.empty()) return;
  for (uint64_t i = 1 + random_.Below(kCancelMost); i > 0; --i)
    ids.push_back(latest[random_.Below(latest.size())]);
  AskBroker<wire::ItemReply>(
      MessageType::kCancelTasks, MessageType::kItemReply,
      [&ids](uint64_t number) { return EncodeCancel(number, ids); },
      [this, ids](const wire::ItemReply* reply) {
        if (reply == nullptr) return;
        const size_t items = reply->items() == nullptr ? 0 : reply->items()->size();
        bool same = items == ids.size();
        for (uint32_t i = 0; same && i < items; ++i)
          same = reply->items()->Get(i)->id() == ids[i].value();
        if (!same) world_.judge.Fail("an ITEM_REPLY to other ids than asked for");
      });
}

void SimClient::ListDead() {
  DeadListSpec list{.view = static_cast<wire::DeadView>(random_.Below(3)), .limit = kMaxQueryIds};
  if (random_.Chance(0.3)) list.filter.queue = "q0";
  if (random_.Chance(0.2)) list.filter.type = "t0";
  if (random_.Chance(0.2)) list.filter.error = "HANDLER_FAILED";
  if (random_.Chance(0.2)) list.filter.older_than_ms = random_.Between(1, 5'000);
  if (random_.Chance(0.2)) list.limit = 1 + random_.Below(kDeadMost);
  AskBroker<wire::DeadLetters>(
      MessageType::kDeadList, MessageType::kDeadLetters,
      [&](uint64_t number) { return EncodeDeadList(number, list); },
      [this](const wire::DeadLetters* answer) { TakeDead(answer); });
}

void SimClient::TakeDead(const wire::DeadLetters* answer) {
  if (answer == nullptr) return;
  std::vector<Dead> dead;
  for (const wire::DeadLetter* letter : *answer->letters())
    dead.push_back({TaskId(letter->task()), letter->letter()});
  listed_.insert(listed_.end(), dead.begin(), dead.end());
  if (listed_.size() > kListedMost)
    listed_.erase(listed_.begin(), listed_.end() - static_cast<std::ptrdiff_t>(kListedMost));
  for (const wire::TaskInfo* task : *answer->tasks()) dead.push_back({TaskId(task->id()), 0});
  // From an old list: it may have been retried since, and be dead again.
  if (!listed_.empty() && random_.Chance(0.3)) dead = {listed_[random_.Below(listed_.size())]};
  while (dead.size() > kDeadMost)
    dead.erase(dead.begin() + static_cast<std::ptrdiff_t>(random_.Below(dead.size())));
  if (!dead.empty()) RetryOrDelete(dead);
}

void SimClient::RetryOrDelete(const std::vector<Dead>& dead) {
  const bool retry = random_.Chance(0.6);
  std::vector<TaskId> ids;
  std::vector<uint64_t> letters;
  for (const Dead& one : dead) {
    ids.push_back(one.id);
    if (one.letter != 0) letters.push_back(one.letter);
  }
  AskBroker<wire::ItemReply>(
      retry ? MessageType::kRetry : MessageType::kDeadDelete, MessageType::kItemReply,
      [&](uint64_t number) {
        return retry ? EncodeRetry(number, ids, letters) : EncodeDeadDelete(number, ids, letters);
      },
      [this, size = ids.size()](const wire::ItemReply* reply) {
        if (reply == nullptr) return;
        if (reply->items() == nullptr || reply->items()->size() != size)
          world_.judge.Fail("an ITEM_REPLY to other ids than asked for");
      });
}

void SimClient::RandomQuery() {
  auto ignore = [](const auto*) {};
  switch (random_.Below(4)) {
    case 0: {
      std::vector<TaskId> ids;
      for (const auto& [id, marker] : marker_of_)
        if (random_.Chance(0.2)) ids.push_back(id);
      if (ids.size() > kMaxQueryIds) ids.resize(kMaxQueryIds);
      return AskBroker<wire::TaskInfos>(
          MessageType::kGet, MessageType::kTaskInfos,
          [&](uint64_t number) { return EncodeGet(number, ids); }, ignore);
    }
    case 1: {
      ListQuery query;
      query.queue = random_.Chance(0.5) ? "q0" : "";
      query.limit = 1 + random_.Below(100);
      if (random_.Chance(0.5))
        query.states = {TaskState::kReady, TaskState::kRetryWait, TaskState::kScheduled};
      return AskBroker<wire::TaskInfos>(
          MessageType::kList, MessageType::kTaskInfos,
          [&](uint64_t number) { return EncodeList(number, query); },
          [this](const wire::TaskInfos* infos) { WaitForOneOf(infos); });
    }
    case 2: {
      if (marker_of_.empty()) return;
      const TaskId id =
          std::next(marker_of_.begin(), random_.Between(0, std::ssize(marker_of_) - 1))->first;
      if (random_.Chance(0.3))
        return AskBroker<wire::Explanation>(
            MessageType::kExplain, MessageType::kExplanation,
            [&](uint64_t number) { return EncodeExplain(number, id); }, ignore);
      if (random_.Chance(0.5)) return AskForLogs(id);
      return AskBroker<wire::HistoryInfo>(
          MessageType::kHistory, MessageType::kHistoryInfo,
          [&](uint64_t number) { return EncodeHistory(number, id); }, ignore);
    }
    default:
      return AskBroker<wire::StatusReply>(MessageType::kStatus, MessageType::kStatusReply,
                                          EncodeStatus, ignore);
  }
}

void SimClient::AskForLogs(TaskId id) {
  const auto attempt = static_cast<uint32_t>(random_.Between(0, world_.workload.max_attempts / 2));
  const uint64_t from = random_.Chance(0.3) ? random_.Below(kOutputPages * kOutputPageBytes) : 0;
  AskBroker<wire::LogPages>(
      MessageType::kLogs, MessageType::kLogPages,
      [&](uint64_t number) { return EncodeLogs(number, id, attempt, from); },
      [](const wire::LogPages*) {});
}

void SimClient::SetQueue(int queue, const QueueChange& change) {
  const std::string name = absl::StrCat("q", queue);
  AskBroker<wire::QueueInfos>(
      MessageType::kQueueSet, MessageType::kQueueInfos,
      [&](uint64_t number) { return EncodeQueueSet(number, name, change); },
      [this, name](const wire::QueueInfos* infos) {
        if (infos == nullptr) return;
        if (infos->queues() == nullptr || infos->queues()->size() != 1 ||
            TextOf(infos->queues()->Get(0)->name()) != name)
          world_.judge.Fail("QUEUE_INFOS of another queue than was asked for");
      });
}

void SimClient::SetType(int type, const TypeChange& change) {
  const std::string name = absl::StrCat("t", type);
  AskBroker<wire::TypeInfos>(
      MessageType::kTypeSet, MessageType::kTypeInfos,
      [&](uint64_t number) { return EncodeTypeSet(number, name, change); },
      [this, name](const wire::TypeInfos* infos) {
        if (infos == nullptr) return;
        if (infos->types() == nullptr || infos->types()->size() != 1 ||
            TextOf(infos->types()->Get(0)->name()) != name)
          world_.judge.Fail("TYPE_INFOS of another type than was asked for");
      });
}

void SimClient::RandomTypeRule() {
  TypeChange change;
  if (random_.Chance(0.5)) change.paused = random_.Chance(0.3);
  if (random_.Chance(0.5)) change.max_running = static_cast<uint32_t>(random_.Between(0, 3));
  if (random_.Chance(0.4)) {
    change.rate_micro = static_cast<uint64_t>(random_.Between(0, 20)) * 1'000'000;
    change.burst = static_cast<uint32_t>(random_.Between(0, 4));
  }
  if (random_.Chance(0.4)) change.no_retry = kNoRetry[random_.Below(std::size(kNoRetry))];
  SetType(static_cast<int>(random_.Below(static_cast<uint64_t>(world_.workload.types))), change);
}

void SimClient::RandomRule() {
  if (random_.Chance(0.3)) return RandomTypeRule();
  QueueChange change;
  if (random_.Chance(0.5)) change.paused = random_.Chance(0.3);
  if (random_.Chance(0.4)) change.max_running = static_cast<uint32_t>(random_.Between(0, 3));
  if (random_.Chance(0.4)) {
    change.rate_micro = static_cast<uint64_t>(random_.Between(0, 20)) * 1'000'000;
    change.burst = static_cast<uint32_t>(random_.Between(0, 4));
  }
  if (random_.Chance(0.5)) change.key_max_running = static_cast<uint32_t>(random_.Between(0, 2));
  if (random_.Chance(0.3)) {
    change.key_rate_micro = static_cast<uint64_t>(random_.Between(0, 10)) * 1'000'000;
    change.key_burst = static_cast<uint32_t>(random_.Between(0, 2));
  }
  if (random_.Chance(0.3)) change.ageing_ms = static_cast<uint32_t>(random_.Between(0, 2) * 500);
  if (random_.Chance(0.2)) change.weight = static_cast<uint8_t>(random_.Between(0, 3));
  SetQueue(static_cast<int>(random_.Below(static_cast<uint64_t>(world_.workload.queues))), change);
}

void SimClient::Quieten() {
  leaves_ = false;
  next_quieten_ms_ = now().mono_ms + kQuietenEveryMs;
  for (int queue = 0; world_.workload.rule > 0 && queue < world_.workload.queues; ++queue)
    SetQueue(queue, {.paused = false,
                     .max_running = 0,
                     .rate_micro = 0,
                     .key_max_running = 0,
                     .key_rate_micro = 0});
  for (int type = 0; world_.workload.rule > 0 && type < world_.workload.types; ++type)
    SetType(type, {.paused = false, .max_running = 0, .rate_micro = 0});
  if (world_.workload.schedules > 0) PauseSchedules();
}

// --- Schedules ------------------------------------------------------------------------------------------------------------

// Always the same under a name, as by a program that sets its schedules each time it starts.
void SimClient::SetSchedule(int index) {
  constexpr const char* kExpressions[] = {"@every 1s", "*/2 * * * * *", "@every 3s", "* * * * * *"};
  constexpr Overlap kOverlaps[] = {Overlap::kAllow, Overlap::kSkip, Overlap::kQueueOne,
                                   Overlap::kQueueAll, Overlap::kCancelOld};
  const auto choice = static_cast<size_t>(index + 3 * number_);
  ScheduleSpec schedule;
  schedule.name = absl::StrCat("c", number_, ".s", index);
  schedule.expression = kExpressions[choice % std::size(kExpressions)];
  schedule.overlap = kOverlaps[choice % std::size(kOverlaps)];
  if (choice % 2 == 0) schedule.catch_up_ms = kMinCatchUpMs;
  if (choice % 7 == 0) schedule.jitter_ms = 500;
  schedule.task.type = absl::StrCat("t", index % world_.workload.types);
  schedule.task.queue = absl::StrCat("q", index % world_.workload.queues);
  schedule.task.payload = schedule.name + "|";
  schedule.task.max_attempts = 2;
  schedule.task.timeout_ms = static_cast<uint32_t>(world_.workload.timeout_max_ms);
  schedule.task.retry_base_ms = schedule.task.retry_cap_ms = 500;
  unset_schedules_.insert(index);
  AskBroker<wire::ScheduleInfos>(
      MessageType::kScheduleSet, MessageType::kScheduleInfos,
      [&](uint64_t number) { return EncodeScheduleSet(number, schedule, true); },
      [this, index](const wire::ScheduleInfos* infos) {
        if (infos == nullptr) return SetSchedule(index);
        unset_schedules_.erase(index);
      });
}

// Every other one is left alone, so that it is known what becomes of each of its ticks.
void SimClient::RandomSchedule() {
  const int index =
      static_cast<int>(random_.Below(static_cast<uint64_t>(world_.workload.schedules)));
  const std::string name = absl::StrCat("c", number_, ".s", index);
  if (unset_schedules_.contains(index)) return;
  if (index % 2 == 0) return SetSchedule(index);
  return random_.Chance(0.5) ? PauseSchedule(name, random_.Chance(0.5)) : RunSchedule(name);
}

void SimClient::PauseSchedule(const std::string& name, bool paused) {
  AskBroker<wire::ScheduleInfos>(
      MessageType::kSchedulePause, MessageType::kScheduleInfos,
      [&](uint64_t number) { return EncodeSchedulePause(number, name, paused); },
      [](const wire::ScheduleInfos*) {});
}

void SimClient::RunSchedule(const std::string& name) {
  constexpr int64_t kBackfillMs = 5'000;
  constexpr int64_t kLongAgoMs = kEpochWallMs - 3'600'000;  // whatever the broker's clock shows
  const int64_t to_ms = random_.Chance(0.5) ? 0 : kLongAgoMs;
  AskBroker<wire::ItemReply>(
      MessageType::kScheduleRun, MessageType::kItemReply,
      [&](uint64_t number) {
        return EncodeScheduleRun(number, name, to_ms == 0 ? 0 : to_ms - kBackfillMs, to_ms);
      },
      [](const wire::ItemReply*) {});
}

void SimClient::PauseSchedules() {
  AskBroker<wire::ScheduleInfos>(
      MessageType::kScheduleList, MessageType::kScheduleInfos,
      [](uint64_t number) { return EncodeScheduleList(number, "", ""); },
      [this](const wire::ScheduleInfos* infos) {
        if (infos == nullptr || infos->schedules() == nullptr) return;
        for (const wire::ScheduleInfo* schedule : *infos->schedules())
          if (!schedule->paused()) PauseSchedule(schedule->name()->str(), true);
      });
}

// Of anybody's tasks: so that some have more than one client that waits.
void SimClient::WaitForOneOf(const wire::TaskInfos* infos) {
  if (infos == nullptr || infos->tasks() == nullptr || infos->tasks()->size() == 0) return;
  const auto index = static_cast<uint32_t>(random_.Below(infos->tasks()->size()));
  WaitFor(TaskId(infos->tasks()->Get(index)->id()));
}

// --- The last look --------------------------------------------------------------------------------------------------------

void SimClient::Ask(std::vector<TaskId> ids, std::function<void(const wire::TaskInfos&)> seen) {
  to_get_ = std::move(ids);
  on_infos_ = std::move(seen);
  leaves_ = false;
  AskNext();
}

void SimClient::AskNext() {
  if (to_get_.empty()) return;
  auto ids = std::span(to_get_).first(std::min(to_get_.size(), kMaxQueryIds));
  AskBroker<wire::TaskInfos>(
      MessageType::kGet, MessageType::kTaskInfos,
      [&](uint64_t number) { return EncodeGet(number, ids); },
      [this](const wire::TaskInfos* infos) {
        if (infos != nullptr) {
          on_infos_(*infos);
          to_get_.erase(
              to_get_.begin(),
              to_get_.begin() + std::min<std::ptrdiff_t>(infos->answered(), std::ssize(to_get_)));
        }
        AskNext();
      });
}

}  // namespace zsched::sim
