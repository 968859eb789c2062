#include "broker/replication/snapshot.h"

#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/planted.h"
#include "broker/core/record.h"
#include "schemas/errors.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zsched::broker {
namespace {

struct [[gnu::packed]] RowHead {
  uint8_t table;
  uint64_t key;
  uint32_t bytes;
};
static_assert(sizeof(RowHead) == 13);

uint64_t HashOf(std::string_view rows, uint64_t before) {
  return XXH3_64bits_withSeed(rows.data(), rows.size(), before);
}

absl::Status Spoiled(std::string_view what) {
  return Error(ErrorCode::kDataLoss,
               "a snapshot of the active's tables cannot be used: " + std::string(what));
}

}  // namespace

// --- Sender ---------------------------------------------------------------------------------------

void SnapshotSender::Begin(Epoch epoch, uint64_t life, std::unique_ptr<SnapshotReader> reader,
                           int64_t mono_ms) {
  epoch_ = epoch;
  life_ = life;
  reader_ = std::move(reader);
  begun_ms_ = heard_ms_ = mono_ms;
  next_ = {};
  all_sent_ = false;
  unwritten_.clear();
}

absl::Status SnapshotSender::OnFetch(uint32_t part, bool again, int64_t mono_ms) {
  ZS_CHECK(sending());
  heard_ms_ = mono_ms;
  while (!unwritten_.empty() && unwritten_.front().part < part) unwritten_.pop_front();
  if (unwritten_.empty() && all_sent_) {
    End();
    return absl::OkStatus();
  }
  if (again && !unwritten_.empty()) {
    next_ = unwritten_.front();
    unwritten_.clear();
    all_sent_ = false;
  }
  while (!all_sent_ && unwritten_.size() < kSnapshotWindowParts) ZS_RETURN_IF_ERROR(SendNext());
  return absl::OkStatus();
}

absl::Status SnapshotSender::SendNext() {
  Place place = next_;
  ZS_RETURN_IF_ERROR(Fill(&place));
  SnapshotPart part{.number = next_.part,
                    .hash = HashOf(rows_, next_.hash_before),
                    .rows = rows_,
                    .last = place.table == kTables};
  if (part.last) {
    ZS_ASSIGN_OR_RETURN(part.tail, reader_->Tail());
  }
  unwritten_.push_back(next_);
  sink_.SendSnapshotPart(epoch_, life_, part);
  place.part = next_.part + 1;
  place.hash_before = part.hash;
  next_ = place;
  all_sent_ = part.last;
  return absl::OkStatus();
}

// From `place` on; leaves there where the part behind it begins.
absl::Status SnapshotSender::Fill(Place* place) {
  rows_.clear();
  for (; place->table < kTables; ++place->table, place->key = 0) {
    bool full = false;
    auto take = [&](uint64_t key, std::string_view row) {
      full = !rows_.empty() && rows_.size() + sizeof(RowHead) + row.size() > kSnapshotPartBytes;
      if (full) {
        place->key = key;
        return false;
      }
      if (ZS_PLANTED("copy-misses-rows") && key % 5 == 0) return true;
      const RowHead head{static_cast<uint8_t>(place->table), key,
                         static_cast<uint32_t>(row.size())};
      rows_.append(reinterpret_cast<const char*>(&head), sizeof head).append(row);
      return true;
    };
    ZS_RETURN_IF_ERROR(reader_->Scan(static_cast<Table>(place->table), place->key, take));
    if (full) return absl::OkStatus();
  }
  return absl::OkStatus();
}

void SnapshotSender::OnTick(int64_t mono_ms) {
  if (mono_ms - heard_ms_ > kIdleMs || mono_ms - begun_ms_ > kLongestMs) End();
}

// --- Receiver -------------------------------------------------------------------------------------

void SnapshotReceiver::Begin(Epoch epoch, uint64_t life, std::unique_ptr<SnapshotTarget> target,
                             int64_t mono_ms) {
  epoch_ = epoch;
  life_ = life;
  target_ = std::move(target);
  next_ = 0;
  hash_ = rows_ = 0;
  Fetch(/*again=*/false, mono_ms);
}

void SnapshotReceiver::Fetch(bool again, int64_t mono_ms) {
  quiet_since_ms_ = mono_ms;
  sink_.SendSnapshotFetch(epoch_, life_, next_, again);
}

absl::StatusOr<bool> SnapshotReceiver::OnPart(const SnapshotPart& part, int64_t mono_ms) {
  // One that was lost before it is asked for when its time has come.
  if (part.number != next_) return false;
  if (part.hash != HashOf(part.rows, hash_)) return Spoiled("its hashes do not go on");
  batch_.Begin(part.tail.epoch, part.last ? part.tail.first_lsn : Lsn(1), part.tail.hash_before);
  ZS_RETURN_IF_ERROR(PutRows(part.rows));
  if (part.last) ZS_RETURN_IF_ERROR(PutTail(part.tail));
  ZS_RETURN_IF_ERROR(target_->Write(batch_));
  hash_ = part.hash;
  ++next_;
  Fetch(/*again=*/false, mono_ms);
  return part.last;
}

absl::Status SnapshotReceiver::PutRows(std::string_view rows) {
  for (RowHead head; !rows.empty(); ++rows_) {
    if (rows.size() < sizeof head) return Spoiled("a row is cut off");
    std::memcpy(&head, rows.data(), sizeof head);
    rows.remove_prefix(sizeof head);
    if (head.table >= kTables) return Spoiled("a newer zsched has sent it; upgrade this one first");
    if (head.bytes > rows.size()) return Spoiled("a row is cut off");
    batch_.Put(static_cast<Table>(head.table), head.key, rows.substr(0, head.bytes));
    rows.remove_prefix(head.bytes);
  }
  return absl::OkStatus();
}

absl::Status SnapshotReceiver::PutTail(const LogPart& tail) {
  std::string_view rest = tail.records;
  for (uint32_t n = 0; n < tail.count; ++n) {
    RecordHead head;
    RowReader reader(rest);
    if (!reader.Read(head) || head.bytes < sizeof head || head.bytes > rest.size())
      return Spoiled("the end of the log is cut off");
    batch_.AppendRecord(rest.substr(0, head.bytes));
    rest.remove_prefix(head.bytes);
  }
  return rest.empty() && tail.count > 0 ? absl::OkStatus() : Spoiled("the end of the log is odd");
}

void SnapshotReceiver::OnTick(int64_t mono_ms) {
  if (receiving() && mono_ms - quiet_since_ms_ >= kFetchAgainMs) Fetch(/*again=*/true, mono_ms);
}

}  // namespace zsched::broker
