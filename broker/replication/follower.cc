#include "broker/replication/follower.h"

#include "base/check.h"
#include "base/planted.h"

namespace zsched::broker {

void Follower::Begin(Epoch epoch, uint64_t life, const LogEnd& end, int64_t mono_ms) {
  ZS_CHECK(life != 0 && epoch != Epoch());
  epoch_ = epoch;
  life_ = life;
  end_ = end;
  durable_ = end.lsn;
  Fetch(mono_ms);
  sink_.SendAcked(epoch_, life_, durable_);
}

void Follower::Fetch(int64_t mono_ms) {
  quiet_since_ms_ = mono_ms;
  sink_.SendFetch(epoch_, life_, end_);
}

Follower::Verdict Follower::Judge(Epoch epoch, uint64_t life, const LogPart& part,
                                  int64_t mono_ms) {
  if (!IsAddressed(epoch, life)) return Verdict::kIgnore;
  if (part.first_lsn <= end_.lsn) return Verdict::kIgnore;
  if (part.first_lsn > Next(end_.lsn)) {
    if (mono_ms - quiet_since_ms_ >= kFetchAgainMs) Fetch(mono_ms);
    return Verdict::kGap;
  }
  if (ZS_PLANTED("logs-not-compared")) return Verdict::kTake;
  return part.hash_before == end_.hash && part.epoch <= epoch_ && part.epoch >= end_.epoch
             ? Verdict::kTake
             : Verdict::kForeign;
}

void Follower::Taken(const LogEnd& end, int64_t mono_ms) {
  end_ = end;
  quiet_since_ms_ = mono_ms;
  if (ZS_PLANTED("acked-not-durable")) OnDurable(end.lsn);
}

void Follower::OnDurable(Lsn lsn) {
  durable_ = lsn;
  if (following()) sink_.SendAcked(epoch_, life_, lsn);
}

void Follower::OnTick(int64_t mono_ms) {
  if (!following() || mono_ms - quiet_since_ms_ < kFetchAgainMs) return;
  // Also when nothing seems to be missing: a leader that has not heard of this following would not count its
  // acknowledgements. One of them that was lost is said again.
  Fetch(mono_ms);
  if (durable_ == end_.lsn) sink_.SendAcked(epoch_, life_, durable_);
}

}  // namespace zsched::broker
