#include "client/session/session.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "fmt/format.h"
#include "schemas/errors.h"
#include "schemas/verify.h"

namespace zsched {
namespace {

// What a WELCOME may ask for; outside of it a broken broker could make us spin or never notice a
// loss.
constexpr uint32_t kMinHeartbeatMs = 10;
constexpr uint32_t kMaxHeartbeatMs = 60'000;
// Doublings after which the back-off has long reached its cap; keeps the shift in range.
constexpr int kMaxDoublings = 16;

bool IsActive(uint8_t role) {
  return role == static_cast<uint8_t>(wire::Role::kActiveSync) ||
         role == static_cast<uint8_t>(wire::Role::kActiveSolo);
}

// An address as a broker says it; port 0 when there is none that can be used.
HostPort ReadAddress(const flatbuffers::String* text, const std::string& reached_host) {
  if (text == nullptr) return {};
  absl::StatusOr<HostPort> address =
      ParseHostPort(std::string_view(text->c_str(), text->size()), /*allow_empty_host=*/true);
  if (!address.ok() || address->port == 0) return {};
  if (address->host.empty()) address->host = reached_host;
  return *std::move(address);
}

}  // namespace

std::string_view NameOf(SessionState state) {
  switch (state) {
    case SessionState::kIdle:
      return "idle";
    case SessionState::kDiscovering:
      return "discovering";
    case SessionState::kGreeting:
      return "greeting";
    case SessionState::kReady:
      return "ready";
    case SessionState::kBackoff:
      return "backoff";
    case SessionState::kClosing:
      return "closing";
    case SessionState::kClosed:
      return "closed";
  }
  return "?";
}

Session::Session(SessionOptions options, SessionHooks hooks)
    : options_(std::move(options)), hooks_(std::move(hooks)), random_(options_.seed) {
  ZS_CHECK(!options_.brokers.empty());
  ZS_CHECK(hooks_.hello != nullptr);
}

void Session::OnTick(Now now, SessionActions* out) {
  switch (state_) {
    case SessionState::kIdle:
      return Discover(now, out);
    case SessionState::kBackoff:
      if (now.mono_ms >= deadline_ms_) Discover(now, out);
      return;
    case SessionState::kDiscovering:
    case SessionState::kGreeting:
      if (now.mono_ms >= deadline_ms_)
        Fail(Error(ErrorCode::kUnavailable,
                   fmt::format("no answer from {} within {} ms", ToString(reached_),
                               options_.hello_timeout_ms)),
             /*advance=*/true, now, out);
      return;
    case SessionState::kReady:
      return TickReady(now, out);
    case SessionState::kClosing:
      if (now.mono_ms >= deadline_ms_) Finish(out);
      return;
    case SessionState::kClosed:
      return;
  }
}

void Session::OnFrame(std::string_view bytes, Now now, SessionActions* out) {
  absl::StatusOr<FrameView> frame = OpenFrame(bytes);
  const bool connected = state_ == SessionState::kDiscovering ||
                         state_ == SessionState::kGreeting || state_ == SessionState::kReady ||
                         state_ == SessionState::kClosing;
  if (!frame.ok() || !connected) {
    ++dropped_frames_;
    return;
  }
  const Epoch epoch(frame->header.epoch);
  if (epoch < epoch_) {
    // A broker that was replaced and does not know it yet, or restarted with an older state.
    return Fail(
        Error(ErrorCode::kStale, fmt::format("{} speaks for epoch {}, but epoch {} was seen",
                                             ToString(reached_), epoch.value(), epoch_.value())),
        ContactIsActive(), now, out);
  }
  if (state_ == SessionState::kReady || state_ == SessionState::kClosing) {
    OnSessionFrame(*frame, now, out);
  } else {
    epoch_ = epoch;
    OnEarlyFrame(*frame, now, out);
  }
}

void Session::Close(Now now, SessionActions* out) {
  if (state_ == SessionState::kClosing || state_ == SessionState::kClosed) return;
  if (state_ != SessionState::kReady) return Finish(out);
  out->push_back(SendAction{MessageType::kGoodbye});
  state_ = SessionState::kClosing;
  deadline_ms_ = now.mono_ms + options_.hello_timeout_ms;
}

int64_t Session::next_deadline_ms() const {
  switch (state_) {
    case SessionState::kIdle:
      return 0;
    case SessionState::kReady:
      return std::min(next_heartbeat_ms_,
                      last_tick_ms_ + int64_t{kSilentIntervals} * heartbeat_ms_ - silent_ms_);
    case SessionState::kClosed:
      return kNever;
    default:
      return deadline_ms_;
  }
}

FrameHeader Session::HeaderFor(MessageType type) const {
  return {.type = type,
          .number = id_ ? NumberAfter(sent_) : 0,
          .epoch = epoch_.value(),
          .session = id_.value()};
}

std::string Session::Seal(MessageType type, std::string_view body) const {
  return SealFrame(HeaderFor(type), body);
}

void Session::OnSent() {
  if (id_) sent_ = NumberAfter(sent_);
}

// --- Opening a session ---

void Session::Discover(Now now, SessionActions* out) {
  state_ = SessionState::kDiscovering;
  reached_ = options_.brokers[contact_];
  deadline_ms_ = now.mono_ms + options_.hello_timeout_ms;
  out->push_back(ConnectAction{ToZmqEndpoint(reached_)});
  out->push_back(SendAction{MessageType::kDiscover});
}

// A frame while no session is open yet.
void Session::OnEarlyFrame(const FrameView& frame, Now now, SessionActions* out) {
  const MessageType welcome =
      options_.kind == SessionKind::kClient ? MessageType::kWelcome : MessageType::kWorkerWelcome;
  if (frame.header.type == MessageType::kError) {
    const auto* error = VerifyBody<wire::Error>(frame.body);
    const std::string text(error != nullptr ? TextOf(error->message()) : "unreadable ERROR");
    const ErrorCode code =
        error != nullptr ? ErrorFromNumber(error->code()) : ErrorCode::kMalformed;
    return Fail(Error(code, fmt::format("{}: {}", ToString(reached_), text)), /*advance=*/true, now,
                out);
  }
  if (state_ == SessionState::kDiscovering && frame.header.type == MessageType::kView)
    return OnView(frame, now, out);
  if (state_ == SessionState::kGreeting && frame.header.type == welcome)
    return OnWelcome(frame, now, out);
  ++dropped_frames_;
}

void Session::OnView(const FrameView& frame, Now now, SessionActions* out) {
  const auto* view = VerifyBody<wire::View>(frame.body);
  if (view == nullptr)
    return Fail(Error(ErrorCode::kMalformed, ToString(reached_) + " sent an unreadable VIEW"),
                /*advance=*/true, now, out);
  epoch_ = std::max(epoch_, Epoch(view->epoch()));
  ReadBrokers(view->brokers());
  // In a partition two brokers may call themselves active; the one that answers is the one to take.
  const BrokerView* active = nullptr;
  for (const BrokerView& broker : brokers_)
    if (options_.observe ? broker.self
                         : IsActive(broker.role) && (active == nullptr || broker.self))
      active = &broker;
  // Where none is, the one that answers is asked all the same: a standby takes over, without an arbiter, only when somebody
  // wants to be served who does not reach the active either (docs/ha.md).
  for (const BrokerView& broker : brokers_)
    if (active == nullptr && broker.self) active = &broker;
  if (active == nullptr)
    return Fail(Error(ErrorCode::kUnavailable,
                      ToString(reached_) + " answers, but knows of no active broker"),
                /*advance=*/true, now, out);

  if (options_.kind == SessionKind::kClient && active->self) {
    active_ = reached_;
    return Greet(nullptr, now, out);
  }
  const HostPort target =
      options_.kind == SessionKind::kClient ? active->address : active->worker_address;
  if (target.port == 0)
    return Fail(Error(ErrorCode::kMalformed,
                      ToString(reached_) + " names no usable address of the active broker"),
                /*advance=*/true, now, out);
  active_ = active->self ? reached_ : active->address;
  Greet(&target, now, out);
}

// Says HELLO to `address`, or on the connection there is when it is null.
void Session::Greet(const HostPort* address, Now now, SessionActions* out) {
  state_ = SessionState::kGreeting;
  deadline_ms_ = now.mono_ms + options_.hello_timeout_ms;
  if (address != nullptr) {
    reached_ = *address;
    out->push_back(ConnectAction{ToZmqEndpoint(reached_)});
  }
  const MessageType hello =
      options_.kind == SessionKind::kClient ? MessageType::kHello : MessageType::kWorkerHello;
  out->push_back(SendAction{hello, hooks_.hello()});
}

void Session::OnWelcome(const FrameView& frame, Now now, SessionActions* out) {
  SessionId id;
  Epoch epoch;
  uint32_t heartbeat_ms = 0;
  auto read = [&](const auto* welcome) {
    if (welcome == nullptr) return;
    id = SessionId(welcome->session());
    epoch = Epoch(welcome->epoch());
    heartbeat_ms = welcome->heartbeat_ms();
    if (welcome->brokers() != nullptr) ReadBrokers(welcome->brokers());
  };
  if (options_.kind == SessionKind::kClient)
    read(VerifyBody<wire::Welcome>(frame.body));
  else
    read(VerifyBody<wire::WorkerWelcome>(frame.body));
  if (!id || PlaceAfter(0, frame.header.number) != FramePlace::kNext)
    return Fail(Error(ErrorCode::kMalformed, ToString(reached_) + " sent an unreadable WELCOME"),
                /*advance=*/true, now, out);

  id_ = id;
  sent_ = 0;
  received_ = frame.header.number;
  epoch_ = std::max(epoch_, epoch);
  state_ = SessionState::kReady;
  failures_ = 0;
  heartbeat_ms_ = std::clamp(heartbeat_ms, kMinHeartbeatMs, kMaxHeartbeatMs);
  next_heartbeat_ms_ = now.mono_ms + heartbeat_ms_;
  silent_ms_ = 0;
  last_tick_ms_ = now.mono_ms;
  out->push_back(UpAction{frame});
}

template <class Brokers>
void Session::ReadBrokers(const Brokers* brokers) {
  brokers_.clear();
  if (brokers == nullptr) return;
  for (const wire::BrokerInfo* info : *brokers) {
    if (brokers_.size() == kMaxBrokers) return;
    brokers_.push_back({.node = std::string(TextOf(info->node())),
                        .role = static_cast<uint8_t>(info->role()),
                        .address = ReadAddress(info->address(), reached_.host),
                        .worker_address = ReadAddress(info->worker_address(), reached_.host),
                        .self = info->self()});
  }
}

// --- The open session ---

void Session::OnSessionFrame(const FrameView& frame, Now now, SessionActions* out) {
  const MessageType type = frame.header.type;
  // A broker that does not know our session cannot name it in its ERROR.
  const bool outside = type == MessageType::kError && frame.header.session == 0;
  if (!outside && frame.header.session != id_.value()) {
    ++dropped_frames_;
    return;
  }
  if (!outside && !IsNext(frame.header, now, out)) return;
  epoch_ = Epoch(frame.header.epoch);
  silent_ms_ = 0;
  last_tick_ms_ = now.mono_ms;
  if (type == MessageType::kGoodbye) {
    goodbye_echoed_ = state_ == SessionState::kClosing;
    return Fail(Error(ErrorCode::kUnavailable, ToString(reached_) + " ended the session"),
                /*advance=*/false, now, out);
  }
  if (type == MessageType::kError) return OnSessionError(frame, now, out);
  const bool greeting = type == MessageType::kView || type == MessageType::kWelcome ||
                        type == MessageType::kWorkerWelcome;
  if (greeting)
    ++dropped_frames_;
  else
    out->push_back(DeliverAction{frame});
}

bool Session::IsNext(const FrameHeader& header, Now now, SessionActions* out) {
  if (header.number == 0) {
    ++dropped_frames_;
    return false;
  }
  FramePlace place = PlaceAfter(received_, header.number);
  if (place == FramePlace::kGap && ZS_PLANTED("peer-ignores-gaps")) place = FramePlace::kNext;
  switch (place) {
    case FramePlace::kNext:
      received_ = header.number;
      return true;
    case FramePlace::kRepeat:
      if (ZS_PLANTED("peer-takes-repeats")) return true;
      ++repeated_frames_;
      return false;
    case FramePlace::kGap:
      break;
  }
  ++gaps_;
  Fail(Error(ErrorCode::kUnavailable, fmt::format("frames of {} were lost: number {} came after {}",
                                                  ToString(reached_), header.number, received_)),
       /*advance=*/false, now, out);
  return false;
}

void Session::OnSessionError(const FrameView& frame, Now now, SessionActions* out) {
  const auto* error = VerifyBody<wire::Error>(frame.body);
  if (error == nullptr) {
    ++dropped_frames_;
    return;
  }
  const ErrorCode code = ErrorFromNumber(error->code());
  if (code == ErrorCode::kNoSession || code == ErrorCode::kNotActive)
    return Fail(Error(code, fmt::format("{}: {}", ToString(reached_), TextOf(error->message()))),
                /*advance=*/false, now, out);
  out->push_back(DeliverAction{frame});
}

void Session::OnDisconnected(Now now, SessionActions* out) {
  if (state_ != SessionState::kReady && state_ != SessionState::kGreeting) return;
  const bool advance = state_ == SessionState::kGreeting || ContactIsActive();
  Fail(Error(ErrorCode::kUnavailable, "the connection to " + ToString(reached_) + " was lost"),
       advance, now, out);
}

void Session::OnRefused(Now now, SessionActions* out) {
  const bool opening = state_ == SessionState::kDiscovering || state_ == SessionState::kGreeting;
  // Of one broker it is the transport that tries again, and soon.
  if (!opening || options_.brokers.size() == 1) return;
  Fail(Error(ErrorCode::kUnavailable, ToString(reached_) + " does not take connections"),
       /*advance=*/true, now, out);
}

void Session::TickReady(Now now, SessionActions* out) {
  // A longer gap means that this process did not run; that is not the broker's silence.
  silent_ms_ += std::min<int64_t>(now.mono_ms - last_tick_ms_, heartbeat_ms_);
  last_tick_ms_ = now.mono_ms;
  if (silent_ms_ >= int64_t{kSilentIntervals} * heartbeat_ms_)
    return Fail(Error(ErrorCode::kUnavailable,
                      fmt::format("{} was silent for {} ms", ToString(reached_), silent_ms_)),
                ContactIsActive(), now, out);
  if (now.mono_ms < next_heartbeat_ms_) return;
  next_heartbeat_ms_ = now.mono_ms + heartbeat_ms_;
  out->push_back(
      SendAction{MessageType::kHeartbeat, hooks_.heartbeat ? hooks_.heartbeat() : std::string()});
}

// Whether the contact of the list is the broker we are with; if not, the contact is still worth
// asking when that broker is lost.
bool Session::ContactIsActive() const {
  return state_ == SessionState::kDiscovering || options_.brokers[contact_] == active_;
}

// --- Ends ---

void Session::Fail(absl::Status reason, bool advance, Now now, SessionActions* out) {
  last_failure_ = reason;
  const bool was_up = state_ == SessionState::kReady;
  if (state_ == SessionState::kClosing) return Finish(out);
  id_ = SessionId();
  if (advance) contact_ = (contact_ + 1) % options_.brokers.size();
  state_ = SessionState::kBackoff;
  // The longer, the more often all of them were asked in vain; the next one of the list is asked soon.
  const bool all_asked = !advance || contact_ == 0;
  deadline_ms_ = now.mono_ms + NextBackoffMs(all_asked);
  out->push_back(DisconnectAction{});
  if (was_up)
    out->push_back(DownAction{std::move(reason)});
  else
    out->push_back(RetryAction{std::move(reason)});
}

void Session::Restart(absl::Status reason, Now now, SessionActions* out) {
  if (ready()) Fail(std::move(reason), /*advance=*/false, now, out);
}

void Session::Finish(SessionActions* out) {
  const bool had_socket = state_ != SessionState::kIdle && state_ != SessionState::kBackoff;
  state_ = SessionState::kClosed;
  id_ = SessionId();
  if (had_socket) out->push_back(DisconnectAction{});
}

// Full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): uniform
// between 0 and the doubling cap, so that the clients of a lost broker do not return all at once.
int64_t Session::NextBackoffMs(bool all_asked) {
  // Of a pair only every second time: a standby needs most of a second to take over, and is to be asked again soon after.
  const int rounds = options_.brokers.size() > 1 ? failures_ / 2 : failures_;
  const int doublings = all_asked ? std::min(rounds, kMaxDoublings) : 0;
  const uint64_t cap = std::min<uint64_t>(options_.reconnect_max_ms,
                                          uint64_t{options_.reconnect_min_ms} << doublings);
  if (all_asked) ++failures_;
  // SplitMix64 (Steele, Lea, Flood 2014).
  uint64_t z = (random_ += 0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z ^= z >> 31;
  return static_cast<int64_t>(z % (cap + 1));
}

}  // namespace zsched
