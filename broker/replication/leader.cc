#include "broker/replication/leader.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/planted.h"

namespace zsched::broker {

void Leader::Begin(Epoch epoch) {
  epoch_ = epoch;
  life_ = 0;
  at_tail_ = false;
  acked_ = next_ = last_sent_ = most_sent_ = made_first_ = made_last_ = Lsn();
  unacked_.clear();
  unacked_bytes_ = 0;
}

absl::Status Leader::OnFetch(Epoch epoch, uint64_t life, const LogEnd& end) {
  if (epoch != epoch_ || life == 0) return absl::OkStatus();
  // It was long on its way: what a follower has in one life only grows.
  if (life == life_ && end.lsn < acked_) return absl::OkStatus();
  // It asks whether it is known.
  if (life == life_ && at_tail_ && end.lsn == last_sent_) return absl::OkStatus();
  at_tail_ = false;
  // What a follower has in memory counts once it says that it is on its disk.
  if (std::exchange(life_, 0) != life) acked_ = most_sent_ = Lsn();
  // An empty log is the beginning of any.
  std::optional<uint64_t> hash = 0;
  if (end.lsn.value() != 0) {
    auto found = log_.HashAt(end.lsn);
    if (!found.ok()) return found.status();
    hash = *found;
    // It has a part of the batch that is on its way to the own disk: it will ask again.
    if (!hash && end.lsn >= made_first_ && end.lsn <= made_last_) return absl::OkStatus();
  }
  if (hash != end.hash && !(hash && ZS_PLANTED("logs-not-compared"))) {
    sink_.SendDiverged(epoch_, life, end.lsn);
    return absl::OkStatus();
  }
  life_ = life;
  next_ = Next(end.lsn);
  last_sent_ = end.lsn;
  most_sent_ = std::max(most_sent_, last_sent_);
  unacked_.clear();
  unacked_bytes_ = 0;
  return Pump();
}

void Leader::Send(const LogPart& part) {
  sink_.SendAppend(epoch_, life_, part);
  next_ = Next(part.last_lsn());
  last_sent_ = part.last_lsn();
  most_sent_ = std::max(most_sent_, last_sent_);
  unacked_.emplace_back(last_sent_, part.records.size());
  unacked_bytes_ += part.records.size();
}

void Leader::OnBatch(const Batch& batch) {
  if (batch.record_ends().empty()) return;
  made_first_ = batch.first_lsn();
  made_last_ = batch.last_lsn();
  if (life_ == 0) return;
  // Behind it, or too far ahead of its acknowledgements: then the log on disk has it, later.
  at_tail_ = next_ == batch.first_lsn() && unacked_bytes_ < kAppendWindowBytes;
  if (!at_tail_) return;
  const std::vector<uint32_t>& ends = batch.record_ends();
  size_t first = 0, begin = 0;
  while (first < ends.size()) {
    size_t next = first + 1;
    while (next < ends.size() && ends[next] - begin <= kMaxAppendBytes) ++next;
    const size_t end = ends[next - 1];
    Send({.epoch = batch.epoch(),
          .first_lsn = Lsn(batch.first_lsn().value() + first),
          .count = static_cast<uint32_t>(next - first),
          .hash_before = batch.hash_before(first),
          .records = batch.records().substr(begin, end - begin)});
    first = next;
    begin = end;
  }
}

bool Leader::OnAcked(Epoch epoch, uint64_t life, Lsn lsn) {
  if (epoch != epoch_ || life != life_ || life == 0 || lsn > most_sent_) return false;
  acked_ = std::max(acked_, lsn);
  // A fetch that was late has set it back to what the follower has by now.
  if (next_ <= acked_) {
    next_ = Next(acked_);
    last_sent_ = acked_;
  }
  for (; !unacked_.empty() && unacked_.front().first <= acked_; unacked_.pop_front())
    unacked_bytes_ -= unacked_.front().second;
  return true;
}

absl::Status Leader::Pump() {
  while (life_ != 0 && !at_tail_ && unacked_bytes_ < kAppendWindowBytes) {
    auto part = log_.Read(next_, kMaxAppendBytes);
    if (!part.ok()) return part.status();
    if (!part->has_value()) {
      // All that is on the disk was sent; the next batch goes to it as it is made. Or what follows is not kept any more.
      if (next_ < made_first_) {
        sink_.SendDiverged(epoch_, life_, last_sent_);
        life_ = 0;
      }
      at_tail_ = life_ != 0 && last_sent_ >= made_last_;  // there is nothing else yet
      return absl::OkStatus();
    }
    Send(**part);
  }
  return absl::OkStatus();
}

}  // namespace zsched::broker
