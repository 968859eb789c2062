// Queries under way: GET, LIST, RETRY, STATUS and the like. Most are idempotent, so they are sent again on a new
// session until they are answered or their time is over; what is not is sent once. Owned by client/lib. No
// sockets and no clocks.
//
// Threads: the background thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "schemas/frame.h"

namespace zsched {

// The answering frame, whose body is not yet verified and lives until the call returns; or an
// error.
using ReplyCallback = absl::AnyInvocable<void(absl::StatusOr<FrameView>)>;

struct Request {
  MessageType type{};
  MessageType reply_type{};
  uint64_t number = 0;  // as it stands in the body
  std::string body;
  int64_t deadline_ms = 0;  // mono
  ReplyCallback on_reply;
  bool sent = false;      // on this session
  bool was_sent = false;  // on any: it may have been heard
};

class RequestTable {
 public:
  using SendRequest = absl::FunctionRef<bool(MessageType type, std::string_view body)>;

  void Add(Request request);
  void OnDown();
  // Sends what was not sent on this session. `send` returns false when it has to wait.
  void Pump(int64_t now_mono_ms, SendRequest send);
  // Answers requests whose time is over: TIMED_OUT if they were sent, UNAVAILABLE with `why_down`
  // if there was no session to send them on, so that nobody has heard of them.
  void Expire(int64_t now_mono_ms, const std::string& why_down);

  // A frame of a reply type under `number`. False when nobody asked.
  bool OnReply(const FrameView& frame, uint64_t number);
  bool OnError(uint64_t number, absl::Status status);

  int64_t next_deadline_ms() const;
  void FailAll(const absl::Status& status);

 private:
  void Answer(std::map<uint64_t, Request>::iterator it, absl::StatusOr<FrameView> reply);

  std::map<uint64_t, Request> requests_;
  bool unsent_ = false;
  int64_t send_again_ms_ = 0;
};

}  // namespace zsched
