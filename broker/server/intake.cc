#include "broker/server/intake.h"

#include <algorithm>
#include <utility>

namespace zsched::broker {

namespace {

// Who comes at random, while commits of length c take turns with pauses of length p, waits for c²/2(c+p)
// on average.
int64_t PauseAfter(int64_t commit_us) {
  commit_us = std::min<int64_t>(commit_us, 60'000'000);
  return std::clamp<int64_t>(commit_us * commit_us / (2 * Intake::kMeanWaitUs) - commit_us, 0,
                             Intake::kMaxPauseFactor * commit_us);
}

}  // namespace

// What the client submitted in this span and the one before it.
size_t Intake::CountRate(Client& client, size_t bytes, int64_t now_ms) const {
  if (const int64_t age = now_ms - client.since_ms; age >= kRateMs) {
    client.bytes_before = age < 2 * kRateMs ? client.bytes : 0;
    client.bytes = 0;
    client.since_ms = now_ms;
  }
  client.bytes += bytes;
  return client.bytes + client.bytes_before;
}

void Intake::SawLight(SessionId from, int64_t now_ms) {
  if (newest_.client != from) other_ = newest_;
  newest_ = {from, now_ms};
}

bool Intake::Contended(SessionId from, int64_t now_ms) const {
  const Light& light = newest_.client == from ? other_ : newest_;
  return now_ms - light.seen_ms < kRateMs;
}

bool Intake::Enters(SessionId from, size_t bytes, int64_t now_ms) {
  Client& client = clients_[from.value()];
  const bool light = CountRate(client, bytes, now_ms) <= limits_.light_bytes;
  if (light) SawLight(from, now_ms);
  return client.frames.empty() && (light || !Contended(from, now_ms));
}

bool Intake::Park(SessionId from, std::string_view body, int64_t now_ms) {
  Client& client = clients_[from.value()];
  if (client.frames.size() >= limits_.parked_frames ||
      client.parked_bytes + body.size() > limits_.parked_bytes)
    return false;
  if (turns_.empty()) may_enter_ms_ = std::max(may_enter_ms_, now_ms);
  if (client.frames.empty()) turns_.push_back(from);
  client.frames.emplace_back(body);
  client.parked_bytes += body.size();
  return true;
}

bool Intake::MayEnter(size_t bytes, const Round& round) const {
  if (at_journal_bytes_ > 0 || (open_bytes_ > 0 && open_bytes_ + bytes > limits_.batch_bytes))
    return false;
  if (round.now_ms < may_enter_ms_) return false;
  return round.idle || open_bytes_ > 0 || round.now_ms >= may_enter_ms_ + kPatienceMs;
}

std::optional<Intake::Parked> Intake::Next(const Round& round) {
  if (turns_.empty() || !round.room) return std::nullopt;
  const SessionId from = turns_.front();
  Client& client = clients_.at(from.value());
  if (Contended(from, round.now_ms)) {
    if (!MayEnter(client.frames.front().size(), round)) return std::nullopt;
    open_bytes_ += client.frames.front().size();
  }
  turns_.pop_front();
  Parked parked{from, TakeFrame(client)};
  if (!client.frames.empty()) turns_.push_back(from);
  return parked;
}

std::optional<Intake::Parked> Intake::NextOf(SessionId from) {
  auto client = clients_.find(from.value());
  if (client == clients_.end() || client->second.frames.empty()) return std::nullopt;
  Parked parked{from, TakeFrame(client->second)};
  if (client->second.frames.empty()) std::erase(turns_, from);
  return parked;
}

std::string Intake::TakeFrame(Client& client) {
  std::string frame = std::move(client.frames.front());
  client.frames.pop_front();
  client.parked_bytes -= frame.size();
  return frame;
}

void Intake::Forget(SessionId from) {
  auto client = clients_.find(from.value());
  if (client == clients_.end()) return;
  if (!client->second.frames.empty()) std::erase(turns_, from);
  clients_.erase(client);
}

void Intake::OnBatchTaken() { at_journal_bytes_ = std::exchange(open_bytes_, 0); }

void Intake::OnCommitted(uint64_t commit_us, int64_t now_ms) {
  if (std::exchange(at_journal_bytes_, 0) == 0) return;
  may_enter_ms_ = now_ms + (PauseAfter(static_cast<int64_t>(commit_us)) + 999) / 1000;
}

int64_t Intake::due_ms(int64_t now_ms) const {
  int64_t due = INT64_MAX;
  if (turns_.empty()) return due;
  for (int64_t moment : {may_enter_ms_, may_enter_ms_ + kPatienceMs, newest_.seen_ms + kRateMs,
                         other_.seen_ms + kRateMs})
    if (moment > now_ms) due = std::min(due, moment);
  return due;
}

}  // namespace zsched::broker
