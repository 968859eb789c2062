// The session of a client or worker with its broker, as a pure state machine: find the active
// broker, greet it, keep the session alive, notice its loss, begin again. Owned by client/session,
// shared by the client library and the worker. Pure: no sockets, threads, clocks or random devices.
// Time arrives as Now, randomness from a seed, bytes through OnFrame; what is to be done leaves as
// SessionActions. docs/protocol.md §4 is what it implements.
//
//   state        | what holds                     | leaves on                         | to
//   -------------+--------------------------------+-----------------------------------+-------------
//   kIdle        | never ticked                   | OnTick                            | kDiscovering
//   kDiscovering | socket to a listed address,    | VIEW with an active broker        | kGreeting
//                | DISCOVER sent                  | VIEW without one, ERROR, 2 s,     |
//                |                                | lower epoch                       | kBackoff
//   kGreeting    | socket to the active broker,   | WELCOME / WORKER_WELCOME          | kReady
//                | HELLO / WORKER_HELLO sent      | ERROR, 2 s, lower epoch           | kBackoff
//   kReady       | session open, heartbeats flow  | 3 silent heartbeat intervals,     |
//                |                                | ERROR NO_SESSION or NOT_ACTIVE,   |
//                |                                | frames lost or overtaken,         |
//                |                                | lower epoch, GOODBYE of the broker| kBackoff
//                |                                | Close                             | kClosing
//   kBackoff     | no socket, waiting             | OnTick at the deadline            | kDiscovering
//   kClosing     | GOODBYE sent, waiting for its  | GOODBYE, 2 s, whatever ends       |
//                | echo                           | kReady                            | kClosed
//   kClosed      | no socket; the end             | -                                 | -
//
// Close in any other state goes to kClosed at once.
//
// An open session is a numbered stream each way (schemas/frame.h). A frame from the broker that was
// here before is dropped; one that does not follow the last ends the session, and what was lost is
// settled by the next HELLO. Heartbeats and their answers are numbered too, so the loss of the last
// frame shows within one interval.
//
// Example (a driver; Dealer is the one for ZeroMQ):
//   Session session({.kind = SessionKind::kClient, .brokers = brokers, .seed = seed},
//                   {.hello = [&] { return HelloBody(); }});
//   SessionActions actions;
//   session.OnTick(now, &actions);
//   for (const SessionAction& action : actions) ...   // connect, send, tell the owner
//   ... wait for a frame until session.next_deadline_ms() ...
//   session.OnFrame(bytes, now, &actions);
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/text.h"
#include "schemas/frame.h"
#include "schemas/ids.h"
#include "schemas/limits.h"

namespace zsched {

enum class SessionKind : uint8_t { kClient, kWorker };
enum class SessionState : uint8_t {
  kIdle,
  kDiscovering,
  kGreeting,
  kReady,
  kBackoff,
  kClosing,
  kClosed
};
std::string_view NameOf(SessionState state);

struct SessionOptions {
  SessionKind kind = SessionKind::kClient;
  std::vector<HostPort> brokers{};  // base addresses, at least one; tried in this order
  uint64_t seed = 0;                // of the back-off jitter
  bool observe = false;             // of a client: stay with whoever answers; its HELLO says so too
  // The defaults are the protocol's; tests shorten them.
  uint32_t hello_timeout_ms = kHelloTimeoutMs;
  uint32_t reconnect_min_ms = kReconnectMinMs;
  uint32_t reconnect_max_ms = kReconnectMaxMs;
};

// What the session asks its owner for while it handles an event. Called inside OnTick and OnFrame;
// must not call the session.
struct SessionHooks {
  // The FlatBuffer of HELLO (client) or WORKER_HELLO (worker, with the leases held at this moment).
  // Required.
  std::function<std::string()> hello{};
  // The FlatBuffer of HEARTBEAT. Absent or returning "": an empty body.
  std::function<std::string()> heartbeat{};
};

// --- What the driver has to do, in this order ---

// Close the socket there is, with all that is queued in it, and open one to `endpoint`
// ("tcp://host:port").
struct ConnectAction {
  std::string endpoint{};
};
// Close the socket. Frames already given to SendAction may still go out (a GOODBYE should).
struct DisconnectAction {};
// Send one frame: Seal it now, and call OnSent if the socket took it. When the socket cannot take it
// at once, drop it: the session's timeouts cover the loss, and it has used no number.
struct SendAction {
  MessageType type{};
  std::string body{};
};
// The session is open. `welcome` is the verified frame of WELCOME or WORKER_WELCOME; it lives as
// long as the bytes given to OnFrame.
struct UpAction {
  FrameView welcome{};
};
// The session that was up is gone; everything sent and not answered has an unknown fate.
struct DownAction {
  absl::Status reason{};
};
// An attempt to open a session failed; another follows by itself after the back-off. For logs, and
// for the message of a timeout.
struct RetryAction {
  absl::Status reason{};
};
// A frame of the open session for the owner: every type that the session does not consume.
// HEARTBEAT_ACK and ERROR are delivered too. Header, session and epoch are checked; the body is
// not: read it with VerifyBody (schemas/verify.h). Lives as long as the bytes given to OnFrame.
struct DeliverAction {
  FrameView frame{};
};
using SessionAction = std::variant<ConnectAction, DisconnectAction, SendAction, UpAction,
                                   DownAction, RetryAction, DeliverAction>;
using SessionActions = std::vector<SessionAction>;

// A broker of the last VIEW or WELCOME, with empty hosts replaced by the one it was reached at.
struct BrokerView {
  std::string node{};
  uint8_t role = 0;  // wire::Role
  HostPort address{};
  HostPort worker_address{};
  bool self = false;
};

class Session {
 public:
  // next_deadline_ms() of a session that waits for nothing.
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  // Heartbeat intervals without any frame after which the broker is taken for lost.
  static constexpr int kSilentIntervals = 3;

  // Requires options.brokers not empty and hooks.hello set.
  Session(SessionOptions options, SessionHooks hooks);

  // Time has passed. Call at next_deadline_ms() or earlier, after all frames that had arrived were
  // given to OnFrame: a frame that waits must not look like silence. A process that was itself
  // stopped charges the broker one heartbeat interval at most for it. Appends to `out`.
  void OnTick(Now now, SessionActions* out);

  // One frame arrived on the current socket. `bytes` must start at a multiple of 8 (AlignedCopy)
  // and outlive the handling of the actions appended to `out`. Frames that cannot be read, frames of
  // another session, and repeats are counted and dropped.
  void OnFrame(std::string_view bytes, Now now, SessionActions* out);

  // The transport's connection was up and is lost: the session with it.
  void OnDisconnected(Now now, SessionActions* out);
  // The transport could not connect, and will try again. The next broker of the list is asked, if there is one.
  void OnRefused(Now now, SessionActions* out);

  // Leaves: GOODBYE when ready, then waits for its echo (kClosing); else kClosed at once.
  void Close(Now now, SessionActions* out);

  // The owner cannot go on with this session (a body it cannot read, an answer that never came):
  // ends it as if the broker were lost, and begins again. Does nothing unless ready.
  void Restart(absl::Status reason, Now now, SessionActions* out);

  // Mono time at which OnTick has to be called next; kNever when closed.
  int64_t next_deadline_ms() const;

  SessionState state() const { return state_; }
  bool ready() const { return state_ == SessionState::kReady; }
  SessionId id() const { return id_; }    // 0 unless ready or closing
  Epoch epoch() const { return epoch_; }  // highest seen in the life of this object
  uint32_t heartbeat_ms() const { return heartbeat_ms_; }
  uint64_t dropped_frames() const { return dropped_frames_; }
  uint64_t repeated_frames() const { return repeated_frames_; }
  // Sessions that ended because frames of the broker were lost or overtaken.
  uint64_t gaps() const { return gaps_; }
  // Whether the end was a clean one: the broker answered our GOODBYE.
  bool goodbye_echoed() const { return goodbye_echoed_; }
  // Why the last session or attempt ended; OK before the first failure.
  const absl::Status& last_failure() const { return last_failure_; }
  // Brokers of the newest VIEW or WELCOME; empty before it.
  const std::vector<BrokerView>& brokers() const { return brokers_; }

  // The header of the frame that is sent next, and the frame itself: of the session when it is open,
  // with its next number. Once the socket has taken the frame, OnSent uses that number up.
  FrameHeader HeaderFor(MessageType type) const;
  std::string Seal(MessageType type, std::string_view body) const;
  void OnSent();

 private:
  void Discover(Now now, SessionActions* out);
  void OnView(const FrameView& frame, Now now, SessionActions* out);
  void Greet(const HostPort* address, Now now, SessionActions* out);
  void OnWelcome(const FrameView& frame, Now now, SessionActions* out);
  void OnEarlyFrame(const FrameView& frame, Now now, SessionActions* out);
  void OnSessionFrame(const FrameView& frame, Now now, SessionActions* out);
  // Whether a frame of our session is the next one of its stream; counts or ends what is not.
  bool IsNext(const FrameHeader& header, Now now, SessionActions* out);
  void OnSessionError(const FrameView& frame, Now now, SessionActions* out);
  void TickReady(Now now, SessionActions* out);
  // Ends the session or the attempt; `advance`: the contact is of no use, take the next of the
  // list.
  void Fail(absl::Status reason, bool advance, Now now, SessionActions* out);
  void Finish(SessionActions* out);
  bool ContactIsActive() const;
  int64_t NextBackoffMs(bool all_asked);
  template <class Brokers>
  void ReadBrokers(const Brokers* brokers);

  const SessionOptions options_;
  const SessionHooks hooks_;
  uint64_t random_;  // SplitMix64

  SessionState state_ = SessionState::kIdle;
  Epoch epoch_;
  SessionId id_;
  size_t contact_ = 0;       // index into options_.brokers
  HostPort reached_;         // where the socket is connected
  HostPort active_;          // client address of the active broker we follow
  int failures_ = 0;         // since the last session or full success
  int64_t deadline_ms_ = 0;  // kDiscovering, kGreeting, kBackoff, kClosing

  // kReady, kClosing.
  uint32_t sent_ = 0, received_ = 0;  // numbers of the last frames, each way
  uint32_t heartbeat_ms_ = kHeartbeatMs;
  int64_t next_heartbeat_ms_ = 0;
  int64_t silent_ms_ = 0;
  int64_t last_tick_ms_ = 0;

  std::vector<BrokerView> brokers_;
  absl::Status last_failure_;
  uint64_t dropped_frames_ = 0;
  uint64_t repeated_frames_ = 0;
  uint64_t gaps_ = 0;
  bool goodbye_echoed_ = false;
};

}  // namespace zsched
