#include "client/session/dealer.h"

#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>

#include "base/check.h"
#include "schemas/errors.h"
#include "schemas/limits.h"

namespace zsched {
namespace {

// ZeroMQ's own reconnecting on one socket. It only has to bridge a broker that restarts: a socket
// lives no longer than a session or an attempt to open one.
constexpr int kTcpReconnectMs = 100;
constexpr int kTcpReconnectMaxMs = 1000;
constexpr int kTcpConnectTimeoutMs = 2000;
constexpr int kHandshakeTimeoutMs = 3000;
// How long a GOODBYE without echo may take to leave while the socket is closed.
constexpr int kGoodbyeLingerMs = 200;

template <class Value>
void SetOption(void* socket, int option, Value value) {
  ZS_CHECK(zmq_setsockopt(socket, option, &value, sizeof(value)) == 0);
}

absl::Status SystemError(const char* what) {
  return Error(ErrorCode::kUnavailable, std::string(what) + ": " + zmq_strerror(errno));
}

// A zmq_msg_t that is closed with its scope.
class Message {
 public:
  Message() { zmq_msg_init(&message_); }
  explicit Message(size_t bytes) { ZS_CHECK(zmq_msg_init_size(&message_, bytes) == 0); }
  ~Message() { zmq_msg_close(&message_); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  zmq_msg_t* get() { return &message_; }
  char* data() { return static_cast<char*>(zmq_msg_data(&message_)); }
  std::string_view bytes() { return {data(), zmq_msg_size(&message_)}; }
  bool more() { return zmq_msg_more(&message_) != 0; }

 private:
  zmq_msg_t message_;
};

}  // namespace

class Dealer::Impl {
 public:
  Impl(SessionOptions options, SessionHooks hooks, Handler* handler)
      : session_(std::move(options), std::move(hooks)), handler_(handler) {}

  ~Impl() {
    CloseSocket(0);
    if (context_ != nullptr) zmq_ctx_term(context_);
    if (wake_fd_ >= 0) close(wake_fd_);
  }

  absl::Status Open() {
    wake_fd_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake_fd_ < 0) return SystemError("eventfd");
    context_ = zmq_ctx_new();
    if (context_ == nullptr) return SystemError("zmq_ctx_new");
    return absl::OkStatus();
  }

  bool Poll(int64_t deadline_mono_ms) {
    const int64_t deadline = std::min(deadline_mono_ms, session_.next_deadline_ms());
    const bool woken = Await(deadline);
    // Frames first: one that waits must not look like silence to the tick.
    for (int i = 0; i < kFramesPerPoll && Receive(); ++i) continue;
    while (HearMonitor()) continue;
    session_.OnTick(SystemNow(), &actions_);
    Execute();
    return woken;
  }

  bool Send(MessageType type, std::string_view body) { return session_.ready() && Put(type, body); }

  void Restart(const absl::Status& reason) {
    session_.Restart(reason, SystemNow(), &actions_);
    Execute();
  }

  void Wake() {
    if (wake_pending_.exchange(true)) return;
    const uint64_t one = 1;
    // Fails only when the counter is at its maximum, and then the poll returns anyway.
    [[maybe_unused]] ssize_t written = write(wake_fd_, &one, sizeof(one));
  }

  bool Close(int64_t timeout_ms) {
    const int64_t deadline = SystemNow().mono_ms + timeout_ms;
    session_.Close(SystemNow(), &actions_);
    Execute();
    const bool said_goodbye = session_.state() == SessionState::kClosing;
    while (session_.state() == SessionState::kClosing && SystemNow().mono_ms < deadline)
      Poll(deadline);
    const bool echoed = session_.goodbye_echoed();
    CloseSocket(said_goodbye && !echoed ? kGoodbyeLingerMs : 0);
    return echoed;
  }

  const Session& session() const { return session_; }
  uint64_t dropped_multipart() const { return dropped_multipart_; }

 private:
  // Sleeps until a frame, a wake-up or the deadline. Returns whether Wake() was called.
  bool Await(int64_t deadline_ms) {
    long timeout_ms = -1;
    if (deadline_ms != Session::kNever)
      timeout_ms = std::clamp<int64_t>(deadline_ms - SystemNow().mono_ms, 0, INT_MAX);
    zmq_pollitem_t items[] = {{nullptr, wake_fd_, ZMQ_POLLIN, 0},
                              {socket_, 0, ZMQ_POLLIN, 0},
                              {monitor_, 0, ZMQ_POLLIN, 0}};
    zmq_poll(items, socket_ == nullptr ? 1 : monitor_ == nullptr ? 2 : 3, timeout_ms);
    if ((items[0].revents & ZMQ_POLLIN) == 0) return false;
    uint64_t count = 0;
    [[maybe_unused]] ssize_t bytes = read(wake_fd_, &count, sizeof(count));
    // After the read: whoever sees `true` still set has published before this exchange.
    wake_pending_.exchange(false);
    return true;
  }

  // Tells the session what became of the connection; false when there was nothing. ZeroMQ itself would connect again
  // without a word, and the broker then knows nothing of the session.
  bool HearMonitor() {
    if (monitor_ == nullptr) return false;
    Message event;
    if (zmq_msg_recv(event.get(), monitor_, ZMQ_DONTWAIT) < 0) return false;
    uint16_t what = 0;
    if (event.bytes().size() >= sizeof what) std::memcpy(&what, event.bytes().data(), sizeof what);
    if (event.more()) {
      Message address;
      zmq_msg_recv(address.get(), monitor_, ZMQ_DONTWAIT);
    }
    if (what == ZMQ_EVENT_DISCONNECTED)
      session_.OnDisconnected(SystemNow(), &actions_);
    else if (what == ZMQ_EVENT_CONNECT_RETRIED)
      session_.OnRefused(SystemNow(), &actions_);
    Execute();
    return true;
  }

  void Watch() {
    // A name of its own, as the last one may still be closing.
    const std::string endpoint = "inproc://connection-" + std::to_string(++connections_);
    constexpr int kEvents = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED;
    if (zmq_socket_monitor(socket_, endpoint.c_str(), kEvents) != 0) return;
    monitor_ = zmq_socket(context_, ZMQ_PAIR);
    if (monitor_ == nullptr) return;  // out of sockets: silence tells, later
    SetOption(monitor_, ZMQ_LINGER, 0);
    if (zmq_connect(monitor_, endpoint.c_str()) == 0) return;
    zmq_close(monitor_);
    monitor_ = nullptr;
  }

  // Handles one frame; false when there was none.
  bool Receive() {
    if (socket_ == nullptr) return false;
    Message message;
    if (zmq_msg_recv(message.get(), socket_, ZMQ_DONTWAIT) < 0) return false;
    if (message.more()) {
      ++dropped_multipart_;
      SkipParts();
      return true;
    }
    session_.OnFrame(aligned_.Align(message.bytes()), SystemNow(), &actions_);
    Execute();
    return true;
  }

  void SkipParts() {
    for (bool more = true; more;) {
      Message part;
      if (zmq_msg_recv(part.get(), socket_, ZMQ_DONTWAIT) < 0) return;
      more = part.more();
    }
  }

  void Execute() {
    for (SessionAction& action : actions_) std::visit([this](auto& one) { Do(one); }, action);
    actions_.clear();
  }

  void Do(const ConnectAction& action) {
    CloseSocket(0);
    socket_ = zmq_socket(context_, ZMQ_DEALER);
    if (socket_ == nullptr) return;  // out of descriptors: the attempt times out and comes again
    SetOption(socket_, ZMQ_LINGER, 0);
    SetOption(socket_, ZMQ_MAXMSGSIZE, int64_t{kMaxFrameBytes});
    SetOption(socket_, ZMQ_SNDHWM, kSendHighWater);
    SetOption(socket_, ZMQ_RCVHWM, kReceiveHighWater);
    SetOption(socket_, ZMQ_RECONNECT_IVL, kTcpReconnectMs);
    SetOption(socket_, ZMQ_RECONNECT_IVL_MAX, kTcpReconnectMaxMs);
    SetOption(socket_, ZMQ_CONNECT_TIMEOUT, kTcpConnectTimeoutMs);
    SetOption(socket_, ZMQ_HANDSHAKE_IVL, kHandshakeTimeoutMs);
    SetOption(socket_, ZMQ_TCP_KEEPALIVE, 1);
    SetOption(socket_, ZMQ_IPV6, 1);
    // ZMQ_IMMEDIATE stays 0: the first frame is given to the socket before TCP is up. What else may
    // queue there across a reconnect names its session, which a restarted broker refuses.
    //
    // A name that does not resolve fails here or later inside ZeroMQ; both end in the attempt's
    // timeout.
    Watch();
    if (zmq_connect(socket_, action.endpoint.c_str()) != 0) CloseSocket(0);
  }
  void Do(const DisconnectAction&) {
    // When the session is over its GOODBYE may still be in the socket: Close() decides how long.
    if (session_.state() != SessionState::kClosed) CloseSocket(0);
  }
  void Do(const SendAction& action) { Put(action.type, action.body); }
  void Do(const UpAction& action) { handler_->OnUp(action.welcome); }
  void Do(const DownAction& action) { handler_->OnDown(action.reason); }
  void Do(const RetryAction& action) { handler_->OnRetry(action.reason); }
  void Do(const DeliverAction& action) { handler_->OnFrame(action.frame); }

  // Gives one frame to the socket; false, and its number is not used up, when it cannot.
  bool Put(MessageType type, std::string_view body) {
    if (socket_ == nullptr) return false;
    Message message(kFrameHeaderBytes + body.size());
    SealHeader(session_.HeaderFor(type), body, message.data());
    if (!body.empty()) std::memcpy(message.data() + kFrameHeaderBytes, body.data(), body.size());
    if (zmq_msg_send(message.get(), socket_, ZMQ_DONTWAIT) < 0) return false;
    session_.OnSent();
    return true;
  }

  void CloseSocket(int linger_ms) {
    if (socket_ == nullptr) return;
    if (monitor_ != nullptr) {
      zmq_socket_monitor(socket_, nullptr, 0);
      zmq_close(monitor_);
      monitor_ = nullptr;
    }
    SetOption(socket_, ZMQ_LINGER, linger_ms);
    zmq_close(socket_);
    socket_ = nullptr;
  }

  Session session_;
  Handler* const handler_;
  void* context_ = nullptr;
  void* socket_ = nullptr;
  void* monitor_ = nullptr;  // what becomes of its connection
  uint64_t connections_ = 0;
  int wake_fd_ = -1;
  std::atomic<bool> wake_pending_{false};
  SessionActions actions_;  // reused between events
  AlignedCopy aligned_;
  uint64_t dropped_multipart_ = 0;
};

absl::StatusOr<std::unique_ptr<Dealer>> Dealer::Create(SessionOptions options, SessionHooks hooks,
                                                       Handler* handler) {
  if (options.brokers.empty())
    return Error(ErrorCode::kInvalidArgument, "the list of brokers is empty");
  auto impl = std::make_unique<Impl>(std::move(options), std::move(hooks), handler);
  ZS_RETURN_IF_ERROR(impl->Open());
  return std::unique_ptr<Dealer>(new Dealer(std::move(impl)));
}

Dealer::Dealer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dealer::~Dealer() = default;

bool Dealer::Poll(int64_t deadline_mono_ms) { return impl_->Poll(deadline_mono_ms); }
bool Dealer::Send(MessageType type, std::string_view body) { return impl_->Send(type, body); }
void Dealer::Restart(const absl::Status& reason) { impl_->Restart(reason); }
void Dealer::Wake() { impl_->Wake(); }
bool Dealer::Close(int64_t timeout_ms) { return impl_->Close(timeout_ms); }
bool Dealer::ready() const { return impl_->session().ready(); }
const Session& Dealer::session() const { return impl_->session(); }
uint64_t Dealer::dropped_multipart() const { return impl_->dropped_multipart(); }

}  // namespace zsched
