#include "broker/core/gates.h"

#include <algorithm>

#include "base/planted.h"
#include "broker/core/queue_settings.h"

namespace zsched::broker {
namespace {

// What a task costs. A rate of one task in a million seconds makes one nanotoken a millisecond.
constexpr int64_t kNanotokens = 1'000'000'000;

int64_t Capacity(const QueueRow& settings) {
  return static_cast<int64_t>(BurstOf(settings)) * kNanotokens;
}

}  // namespace

void Gates::OnSettings(uint32_t queue) {
  if (gates_.size() <= queue) gates_.resize(queue + 1);
  Gate& gate = gates_[queue];
  const QueueRow& settings = SettingsOf(queue);
  gate.ruled = settings.paused != 0 || settings.max_running != 0 || settings.rate_micro != 0;
  gate.nanotokens = Capacity(settings);
  gate.since_ms = now_ms_;
  Reopen(queue, gate);  // to be looked at again
}

void Gates::Advance(int64_t mono_ms) {
  now_ms_ = std::max(now_ms_, mono_ms);
  for (; !dry_.empty() && dry_.top().first <= now_ms_; dry_.pop()) {
    auto [moment, queue] = dry_.top();
    Gate& gate = gates_[queue];
    if (gate.closed == QueueGate::kDry && gate.opens_ms == moment) Reopen(queue, gate);
  }
}

int64_t Gates::Nanotokens(const Gate& gate, const QueueRow& settings) const {
  const int64_t capacity = Capacity(settings), rate = static_cast<int64_t>(settings.rate_micro);
  const int64_t missing = capacity - gate.nanotokens;
  // Only so long does it fill: beyond, the product could overflow.
  const int64_t filling_ms = std::min(now_ms_ - gate.since_ms, missing / rate + 1);
  return std::min(capacity, gate.nanotokens + filling_ms * rate);
}

QueueGate Gates::Look(uint32_t queue) const {
  if (queue >= gates_.size() || !gates_[queue].ruled) return QueueGate::kOpen;
  const QueueRow& settings = SettingsOf(queue);
  if (settings.paused != 0) return QueueGate::kPaused;
  const Queue& counted = lanes_.queues()[queue];
  if (settings.max_running != 0 &&
      counted.counts[static_cast<size_t>(TaskState::kLeased)] >= settings.max_running)
    return QueueGate::kFull;
  if (settings.rate_micro != 0 && Nanotokens(gates_[queue], settings) < kNanotokens)
    return QueueGate::kDry;
  return QueueGate::kOpen;
}

bool Gates::MayGive(uint32_t queue) {
  if (queue >= gates_.size() || !gates_[queue].ruled) return true;
  QueueGate gate = Look(queue);
  if (gate == QueueGate::kPaused && ZS_PLANTED("pause-ignored")) gate = QueueGate::kOpen;
  if (gate == QueueGate::kFull && ZS_PLANTED("max-running-ignored")) gate = QueueGate::kOpen;
  if (gate == QueueGate::kDry && ZS_PLANTED("rate-ignored")) gate = QueueGate::kOpen;
  if (gate != QueueGate::kOpen) Close(queue, gates_[queue], gate);
  return gate == QueueGate::kOpen;
}

void Gates::Close(uint32_t queue, Gate& gate, QueueGate why) {
  gate.closed = why;
  if (why != QueueGate::kDry) return;
  const auto rate = static_cast<int64_t>(SettingsOf(queue).rate_micro);
  const int64_t missing = kNanotokens - Nanotokens(gate, SettingsOf(queue));
  gate.opens_ms = now_ms_ + (missing + rate - 1) / rate;
  dry_.emplace(gate.opens_ms, queue);
}

void Gates::Reopen(uint32_t queue, Gate& gate) {
  if (std::exchange(gate.closed, QueueGate::kOpen) != QueueGate::kOpen) reopened_.push_back(queue);
}

void Gates::OnGiven(uint32_t queue) {
  if (queue >= gates_.size() || SettingsOf(queue).rate_micro == 0) return;
  Gate& gate = gates_[queue];
  // What it may be over by is an attempt that a rule did not count: none today.
  gate.nanotokens = Nanotokens(gate, SettingsOf(queue)) - kNanotokens;
  gate.since_ms = now_ms_;
}

void Gates::OnLeaseEnded(uint32_t queue) {
  if (queue >= gates_.size() || ZS_PLANTED("full-queue-forgotten")) return;
  if (gates_[queue].closed == QueueGate::kFull) Reopen(queue, gates_[queue]);
}

}  // namespace zsched::broker
