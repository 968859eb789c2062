#include "client/lib/core.h"

#include <pthread.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <climits>

#include "base/check.h"
#include "base/text.h"
#include "client/lib/codec.h"
#include "schemas/verify.h"

namespace zsched {
namespace {

// How long a clean end waits for the broker's GOODBYE once everything is acknowledged.
constexpr int64_t kGoodbyeMs = 500;

Uuid RandomUuid() {
  Uuid id;
  while (!id) ZS_CHECK(getrandom(&id, sizeof(id), 0) == sizeof(id));
  return id;
}

std::string DefaultName() {
  char host[HOST_NAME_MAX + 1] = "";
  gethostname(host, sizeof(host) - 1);
  std::string name = std::string(program_invocation_short_name) + "@" + host;
  if (name.size() > kMaxNameBytes) name.resize(kMaxNameBytes);
  return IsValidName(name) ? name : "client";
}

std::chrono::milliseconds Bounded(int64_t timeout_ms) {
  constexpr int64_t kLongestMs = int64_t{366} * 24 * 3600 * 1000;
  return std::chrono::milliseconds(
      timeout_ms == kForever ? kLongestMs : std::clamp<int64_t>(timeout_ms, 0, kLongestMs));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client::Core>> Client::Core::Create(ClientOptions options) {
  ZS_ASSIGN_OR_RETURN(std::vector<HostPort> brokers, ParseBrokerList(options.brokers));
  if (options.name.empty()) options.name = DefaultName();
  if (!IsValidName(options.name))
    return Error(ErrorCode::kInvalidArgument, "the client's name must be 1.." +
                                                  std::to_string(kMaxNameBytes) +
                                                  " bytes of UTF-8 without control characters");
  if (options.max_queued_tasks == 0 || options.max_queued_bytes == 0)
    return Error(ErrorCode::kInvalidArgument,
                 "max_queued_tasks and max_queued_bytes must be over 0");
  if (options.request_timeout_ms <= 0 || options.resend_ms <= 0)
    return Error(ErrorCode::kInvalidArgument, "request_timeout_ms and resend_ms must be over 0");
  const Uuid id = RandomUuid();
  std::unique_ptr<Core> core(new Core(std::move(options), id));
  ZS_RETURN_IF_ERROR(core->Start({.kind = SessionKind::kClient,
                                  .brokers = std::move(brokers),
                                  .seed = RandomUuid().lo,
                                  .observe = core->options().observe}));
  return core;
}

Client::Core::Core(ClientOptions options, Uuid id)
    : options_(std::move(options)),
      id_(id),
      intake_(options_.max_queued_tasks, options_.max_queued_bytes, [this] { dealer_->Wake(); }),
      submitter_({.retry_exhausted = options_.retry_exhausted, .resend_ms = options_.resend_ms},
                 &intake_),
      outcomes_(options_.on_outcomes, options_.resend_ms) {}

absl::Status Client::Core::Start(SessionOptions session) {
  SessionHooks hooks;
  hooks.hello = [this] {
    return EncodeHello(id_, options_.name, ZSCHED_VERSION, options_.observe);
  };
  ZS_ASSIGN_OR_RETURN(dealer_, Dealer::Create(std::move(session), std::move(hooks), this));
  try {
    // The thread waits for its own id, which callers compare with.
    std::unique_lock lock(inbox_mutex_);
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "zsched-client");
      { std::lock_guard wait_for_id(inbox_mutex_); }
      Run();
    });
    thread_id_ = thread_.get_id();
  } catch (const std::system_error& error) {
    return Error(ErrorCode::kUnavailable, std::string("cannot start a thread: ") + error.what());
  }
  return absl::OkStatus();
}

Client::Core::~Core() {
  if (thread_.joinable()) Close(0).IgnoreError();
}

// --- Callers' threads ---

absl::Status Client::Core::Put(std::span<const TaskSpec> tasks, Segment segment, bool notify,
                               int64_t block_ms) {
  ZS_RETURN_IF_ERROR(CheckMaySend(MessageType::kSubmit));
  thread_local std::string records;
  records.clear();
  for (const TaskSpec& task : tasks) {
    ZS_RETURN_IF_ERROR(CheckEncodable(task));
    AppendRecord(task, &records);
  }
  if (block_ms == SubmitOptions().block_ms) block_ms = options_.submit_block_ms;
  if (on_background()) block_ms = 0;
  segment.tasks = static_cast<uint32_t>(tasks.size());
  return intake_.Put(notify ? kNotifyLane : kPlainLane, &records, std::move(segment), block_ms);
}

absl::Status Client::Core::CheckMaySend(MessageType type) const {
  if (!options_.observe || IsObservers(type)) return absl::OkStatus();
  return Error(ErrorCode::kPermissionDenied, "this client only observes; make one that does not");
}

void Client::Core::AddWait(std::shared_ptr<WaitGroup> group) {
  if (absl::Status status = CheckMaySend(MessageType::kWait); !status.ok()) {
    if (group->on_done) group->on_done(std::move(status));
    return;
  }
  Hand([this, group]() mutable {
    if (stop_) {
      if (group->on_done) group->on_done(Error(ErrorCode::kUnavailable, "the client is closed"));
      return;
    }
    outcomes_.AddWait(std::move(group));
  });
}

// Runs `work` on the background thread; on this one when that has ended.
void Client::Core::Hand(absl::AnyInvocable<void()> work) {
  {
    std::lock_guard lock(inbox_mutex_);
    if (!inbox_shut_) {
      inbox_.push_back(std::move(work));
      if (inbox_.size() == 1) dealer_->Wake();
      return;
    }
  }
  work();
}

absl::Status Client::Core::CheckMayWait() const {
  if (!on_background()) return absl::OkStatus();
  return Error(ErrorCode::kConflict,
               "a callback of the client must not call a method that waits; hand the work to "
               "another thread");
}

absl::Status Client::Core::AskRaw(MessageType type, MessageType reply_type, uint64_t number,
                                  std::string body,
                                  absl::AnyInvocable<absl::Status(const FrameView&)> read) {
  ZS_RETURN_IF_ERROR(CheckMayWait());
  ZS_RETURN_IF_ERROR(CheckMaySend(type));
  auto answered = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> answer = answered->get_future();
  Request request{.type = type,
                  .reply_type = reply_type,
                  .number = number,
                  .body = std::move(body),
                  .deadline_ms = SystemNow().mono_ms + options_.request_timeout_ms,
                  .on_reply = nullptr,
                  .sent = false};
  request.on_reply = [answered, read = std::move(read)](absl::StatusOr<FrameView> reply) mutable {
    answered->set_value(reply.ok() ? read(*reply) : reply.status());
  };
  Hand([this, request = std::move(request)]() mutable {
    if (stop_)
      request.on_reply(Error(ErrorCode::kUnavailable, "the client is closed"));
    else
      requests_.Add(std::move(request));
  });
  return answer.get();
}

absl::Status Client::Core::AskCluster(wire::ClusterAction action, bool force, Epoch epoch) {
  return Ask<wire::ItemReply>(
      MessageType::kClusterCommand, MessageType::kItemReply,
      [=](uint64_t number) { return EncodeClusterCommand(number, action, force, epoch); },
      [](const wire::ItemReply& reply) {
        if (reply.items() == nullptr || reply.items()->size() != 1)
          return Error(ErrorCode::kMalformed, "the broker's answer says nothing");
        return ReadItemStatus(*reply.items()->Get(0));
      });
}

absl::Status Client::Core::WaitForBroker(int64_t timeout_ms) {
  ZS_RETURN_IF_ERROR(CheckMayWait());
  std::unique_lock lock(state_mutex_);
  state_changed_.wait_for(lock, Bounded(timeout_ms), [this] { return connected_ || finished_; });
  if (connected_) return absl::OkStatus();
  if (finished_) return Error(ErrorCode::kUnavailable, "the client is closed");
  return Error(ErrorCode::kTimedOut,
               "no active broker among " + options_.brokers +
                   (last_failure_.ok() ? "" : ": " + MessageOf(last_failure_)));
}

absl::Status Client::Core::Flush(int64_t timeout_ms) {
  ZS_RETURN_IF_ERROR(CheckMayWait());
  if (intake_.AwaitAcknowledged(timeout_ms)) return absl::OkStatus();
  return Error(ErrorCode::kTimedOut, "not everything was acknowledged in time");
}

absl::Status Client::Core::Close(int64_t timeout_ms) {
  ZS_RETURN_IF_ERROR(CheckMayWait());
  std::lock_guard lock(close_mutex_);
  if (closed_) return close_status_;
  intake_.Shut();
  close_status_ = Flush(timeout_ms);
  goodbye_ms_ = timeout_ms == 0 ? 0 : kGoodbyeMs;
  stop_ = true;
  dealer_->Wake();
  thread_.join();
  closed_ = true;
  return close_status_;
}

ClientStats Client::Core::stats() const {
  ClientStats stats;
  {
    std::lock_guard lock(state_mutex_);
    stats = stats_;
  }
  stats.submitted = intake_.submitted();
  return stats;
}

// --- The background thread ---

void Client::Core::Run() {
  while (!stop_) {
    now_ms_ = SystemNow().mono_ms;
    TakeInbox();
    PumpAll();
    const auto [tasks, bytes] = submitter_.WakeThreshold();
    // Something came meanwhile: only look at the socket, do not sleep.
    const int64_t deadline = intake_.Sleep(tasks, bytes) ? NextDeadline() : 0;
    dealer_->Poll(deadline);
  }
  Finish();
}

void Client::Core::TakeInbox() {
  std::vector<absl::AnyInvocable<void()>> works;
  {
    std::lock_guard lock(inbox_mutex_);
    if (inbox_.empty()) return;
    works.swap(inbox_);
  }
  for (auto& work : works) work();
}

void Client::Core::PumpAll() {
  // Before Flush returns the numbers are there.
  PublishStats();
  submitter_.ReportJudged();
  submitter_.Pump(
      now_ms_, [this](std::string_view body) { return dealer_->Send(MessageType::kSubmit, body); });
  if (dealer_->ready()) {
    requests_.Pump(now_ms_, [this](MessageType type, std::string_view body) {
      return dealer_->Send(type, body);
    });
    outcomes_.Pump(
        now_ms_, [this] { return next_request_.fetch_add(1); },
        [this](uint64_t, std::string_view body) {
          return dealer_->Send(MessageType::kWait, body);
        });
  }
  requests_.Expire(now_ms_, WhyDown());
  outcomes_.Expire(now_ms_);
}

int64_t Client::Core::NextDeadline() const {
  return std::min(
      {submitter_.next_deadline_ms(), outcomes_.next_deadline_ms(), requests_.next_deadline_ms()});
}

std::string Client::Core::WhyDown() const {
  const absl::Status& failure = dealer_->session().last_failure();
  return failure.ok() ? "not connected yet" : MessageOf(failure);
}

void Client::Core::Finish() {
  dealer_->Close(goodbye_ms_);
  const absl::Status closed =
      Error(ErrorCode::kUnavailable,
            "the client was closed before the answer came; what was asked may have been done");
  TakeInbox();
  submitter_.FailAll(closed);
  requests_.FailAll(closed);
  outcomes_.FailAll(closed);
  {
    // From here on Hand runs work on the caller's thread.
    std::lock_guard lock(inbox_mutex_);
    inbox_shut_ = true;
  }
  TakeInbox();
  PublishStats();
  std::lock_guard lock(state_mutex_);
  connected_ = false;
  finished_ = true;
  state_changed_.notify_all();
}

void Client::Core::PublishStats() {
  std::lock_guard lock(state_mutex_);
  stats_ = submitter_.stats();
  stats_.outcomes = outcomes_.delivered();
  stats_.malformed = malformed_;
  stats_.session = connected_ ? dealer_->session().id() : SessionId();
}

void Client::Core::SetConnection(bool up, const absl::Status& reason) {
  {
    std::lock_guard lock(state_mutex_);
    connected_ = up;
    if (!reason.ok()) last_failure_ = reason;
  }
  state_changed_.notify_all();
  if (options_.on_connection) options_.on_connection(reason);
}

void Client::Core::OnUp(const FrameView& welcome) {
  // Verified by the session.
  const auto* body = flatbuffers::GetRoot<wire::Welcome>(welcome.body.data());
  submitter_.OnUp(body->window_tasks(), body->window_bytes());
  outcomes_.AskForAll();
  SetConnection(true, absl::OkStatus());
}

void Client::Core::OnDown(const absl::Status& reason) {
  submitter_.OnDown();
  requests_.OnDown();
  outcomes_.OnDown();
  SetConnection(false, reason);
}

void Client::Core::OnRetry(const absl::Status& reason) { SetConnection(false, reason); }

void Client::Core::OnFrame(const FrameView& frame) {
  now_ms_ = SystemNow().mono_ms;
  if (!HandleFrame(frame)) ++malformed_;
}

bool Client::Core::HandleFrame(const FrameView& frame) {
  switch (frame.header.type) {
    case MessageType::kSubmitAck:
      return HandleAck(frame);
    case MessageType::kOutcomes:
      return HandleOutcomes(frame);
    case MessageType::kHeartbeatAck:
      return HandleHeartbeatAck(frame);
    case MessageType::kError:
      return HandleError(frame);
    case MessageType::kTaskInfos:
      return HandleReply<wire::TaskInfos>(frame);
    case MessageType::kExplanation:
      return HandleReply<wire::Explanation>(frame);
    case MessageType::kHistoryInfo:
      return HandleReply<wire::HistoryInfo>(frame);
    case MessageType::kLogPages:
      return HandleReply<wire::LogPages>(frame);
    case MessageType::kEventPage:
      return HandleReply<wire::EventPage>(frame);
    case MessageType::kItemReply:
      return HandleReply<wire::ItemReply>(frame);
    case MessageType::kStatusReply:
      return HandleReply<wire::StatusReply>(frame);
    case MessageType::kQueueInfos:
      return HandleReply<wire::QueueInfos>(frame);
    case MessageType::kTypeInfos:
      return HandleReply<wire::TypeInfos>(frame);
    case MessageType::kScheduleInfos:
      return HandleReply<wire::ScheduleInfos>(frame);
    case MessageType::kWorkerInfos:
      return HandleReply<wire::WorkerInfos>(frame);
    case MessageType::kDeadLetters:
      return HandleReply<wire::DeadLetters>(frame);
    default:
      return false;
  }
}

bool Client::Core::HandleAck(const FrameView& frame) {
  const auto* ack = VerifyBody<wire::SubmitAck>(frame.body);
  return ack != nullptr && submitter_.OnAck(*ack, now_ms_, [this](AwaitedRange range) {
    outcomes_.AddRange(std::move(range));
  });
}

bool Client::Core::HandleOutcomes(const FrameView& frame) {
  const auto* outcomes = VerifyBody<wire::Outcomes>(frame.body);
  if (outcomes == nullptr) return false;
  outcomes_.OnOutcomes(*outcomes);
  return true;
}

bool Client::Core::HandleHeartbeatAck(const FrameView& frame) {
  const wire::HeartbeatAck* ack = nullptr;
  if (!VerifyOptionalBody(frame.body, &ack)) return false;
  if (ack != nullptr && ack->resync()) outcomes_.AskForAll();
  return true;
}

bool Client::Core::HandleError(const FrameView& frame) {
  const auto* error = VerifyBody<wire::Error>(frame.body);
  if (error == nullptr) return false;
  const ErrorCode code = ErrorFromNumber(error->code());
  const std::string message = error->message() != nullptr ? error->message()->str() : "";
  if (error->request() == 0) {
    // Not about anything we wait for; the session has dealt with the codes that end it.
    std::lock_guard lock(state_mutex_);
    last_failure_ = Error(code, message);
    return true;
  }
  // An answer to what was given up meanwhile is no fault.
  if (error->request() < kFirstRequest)
    submitter_.OnError(error->request(), code, message, error->retry_after_ms(), now_ms_);
  else if (!outcomes_.OnError(error->request(), now_ms_, error->retry_after_ms()))
    requests_.OnError(error->request(), Error(code, message));
  return true;
}

template <class Reply>
bool Client::Core::HandleReply(const FrameView& frame) {
  const auto* reply = VerifyBody<Reply>(frame.body);
  if (reply == nullptr) return false;
  requests_.OnReply(frame, reply->request());
  return true;
}

}  // namespace zsched
