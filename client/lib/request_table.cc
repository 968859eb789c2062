#include "client/lib/request_table.h"

#include <algorithm>

#include "client/session/session.h"

namespace zsched {
namespace {

constexpr char kLost[] = "the connection broke before the broker answered: it may have been done";
constexpr int64_t kSendAgainMs = 20;  // after the socket was full

}  // namespace

void RequestTable::Add(Request request) {
  unsent_ = true;
  const uint64_t number = request.number;
  requests_.emplace(number, std::move(request));
}

void RequestTable::OnDown() {
  for (auto it = requests_.begin(); it != requests_.end();) {
    auto next = std::next(it);
    // Twice would be two of what it makes.
    if (it->second.type == MessageType::kScheduleRun && it->second.was_sent)
      Answer(it, Error(ErrorCode::kTimedOut, kLost));
    else
      it->second.sent = false;
    it = next;
  }
  unsent_ = !requests_.empty();
  send_again_ms_ = 0;
}

void RequestTable::Pump(int64_t now_mono_ms, SendRequest send) {
  if (!unsent_) return;
  send_again_ms_ = 0;
  for (auto& [number, request] : requests_) {
    if (request.sent) continue;
    if (!send(request.type, request.body)) {
      send_again_ms_ = now_mono_ms + kSendAgainMs;
      return;
    }
    request.sent = request.was_sent = true;
  }
  unsent_ = false;
}

void RequestTable::Expire(int64_t now_mono_ms, const std::string& why_down) {
  for (auto it = requests_.begin(); it != requests_.end();) {
    auto next = std::next(it);
    if (it->second.deadline_ms <= now_mono_ms)
      Answer(it, it->second.sent ? Error(ErrorCode::kTimedOut, "the broker did not answer in time")
                 : it->second.was_sent
                     ? Error(ErrorCode::kTimedOut, kLost)
                     : Error(ErrorCode::kUnavailable, "no active broker: " + why_down));
    it = next;
  }
}

bool RequestTable::OnReply(const FrameView& frame, uint64_t number) {
  auto it = requests_.find(number);
  if (it == requests_.end() || it->second.reply_type != frame.header.type) return false;
  Answer(it, frame);
  return true;
}

bool RequestTable::OnError(uint64_t number, absl::Status status) {
  auto it = requests_.find(number);
  if (it == requests_.end()) return false;
  Answer(it, std::move(status));
  return true;
}

void RequestTable::Answer(std::map<uint64_t, Request>::iterator it,
                          absl::StatusOr<FrameView> reply) {
  ReplyCallback on_reply = std::move(it->second.on_reply);
  requests_.erase(it);
  on_reply(std::move(reply));
}

int64_t RequestTable::next_deadline_ms() const {
  int64_t deadline = send_again_ms_ != 0 ? send_again_ms_ : Session::kNever;
  for (const auto& [number, request] : requests_)
    deadline = std::min(deadline, request.deadline_ms);
  return deadline;
}

void RequestTable::FailAll(const absl::Status& status) {
  while (!requests_.empty()) Answer(requests_.begin(), status);
}

}  // namespace zsched
