// The ZeroMQ side of a Session: one DEALER socket, one eventfd to wake it, and the clocks. Executes
// the session's actions and hands frames to the owner. Owned by client/session; shared by the
// client library and the worker.
//
// Example (the background thread of a client or worker):
//   class Owner : public Dealer::Handler { ... };
//   ZS_ASSIGN_OR_RETURN(auto dealer, Dealer::Create(options, hooks, &owner));
//   while (!owner.stopping()) {
//     if (dealer->ready()) owner.SendWhatIsDue(dealer.get());
//     dealer->Poll(owner.next_deadline_ms());
//   }
//   dealer->Close(2000);
//
// Threads: everything from one thread, except Wake().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "client/session/session.h"

namespace zsched {

class Dealer {
 public:
  // What the owner learns, inside Poll and Close. May call Send; must not call Poll or Close. Views
  // live until the call returns, and bodies are 8-aligned: VerifyBody (schemas/verify.h) may read
  // them in place.
  class Handler {
   public:
    virtual ~Handler() = default;
    // The session is open; `welcome.body` is a verified Welcome or WorkerWelcome.
    virtual void OnUp(const FrameView& welcome) = 0;
    // It is gone. The dealer finds the next by itself.
    virtual void OnDown(const absl::Status& reason) = 0;
    // A frame of the session, body not yet verified. HEARTBEAT_ACK and ERROR come here too.
    virtual void OnFrame(const FrameView& frame) = 0;
    // One attempt to open a session failed; the next follows by itself.
    virtual void OnRetry(const absl::Status& reason) { static_cast<void>(reason); }
  };

  // INVALID_ARGUMENT for an empty broker list, UNAVAILABLE when the system gives no socket or
  // eventfd. `handler` and what `hooks` refer to must outlive the dealer.
  static absl::StatusOr<std::unique_ptr<Dealer>> Create(SessionOptions options, SessionHooks hooks,
                                                        Handler* handler);
  // Closes the socket without GOODBYE.
  ~Dealer();
  Dealer(const Dealer&) = delete;
  Dealer& operator=(const Dealer&) = delete;

  // One round: waits until a frame arrives, Wake() is called, the session's deadline or
  // `deadline_mono_ms` (Session::kNever: none; a time past: does not wait) comes; then handles at
  // most kFramesPerPoll frames and ticks the session. The first call connects. Returns whether
  // Wake() was called since the last round.
  bool Poll(int64_t deadline_mono_ms);

  // Sends one frame of the open session. The bytes are copied. False, with nothing sent, when there
  // is no session or the socket is full (kSendHighWater frames wait): try again after Poll, or when
  // OnUp comes.
  [[nodiscard]] bool Send(MessageType type, std::string_view body);

  // Ends the open session as lost and begins again (Session::Restart); OnDown is called. Not from
  // inside a Handler's call.
  void Restart(const absl::Status& reason);

  // Makes the current or next Poll return. Any thread; async-signal-safe.
  void Wake();

  // GOODBYE, then polls until its echo or `timeout_ms`; frames are still delivered meanwhile. Then
  // the socket is closed and Poll does nothing more. Returns whether the echo came.
  bool Close(int64_t timeout_ms);

  bool ready() const;
  const Session& session() const;
  // Frames that ZeroMQ delivered in several parts: dropped, as the protocol says.
  uint64_t dropped_multipart() const;

  // Frames handled in one round, so that a flood does not starve the owner's own work.
  static constexpr int kFramesPerPoll = 256;
  // Frames that may wait in the socket, each way. Both protocols bound what may be outstanding well
  // below it, so only a stuck connection reaches it.
  static constexpr int kSendHighWater = 1024;
  static constexpr int kReceiveHighWater = 1024;

 private:
  class Impl;
  explicit Dealer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace zsched
