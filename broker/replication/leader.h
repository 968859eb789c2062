// What the active sends to its follower: each batch as it is made, and before that what the follower has not got yet. Owned by
// broker/replication. Pure: frames leave through a sink, the log is read through an interface.
//
//   OnFetch ──▶ behind ──Pump: parts of the log on disk──▶ at the tail ──OnBatch: the batch itself──▶ at the tail
//                 ▲                                              │
//                 └── the window is full, or another Fetch ──────┘
//
// Nothing here needs to arrive: a follower that misses something asks again, from where its log ends.
//
// Example (a driver):
//   Leader leader(log, sink);
//   leader.Begin(epoch, appended);
//   … leader.OnFetch(fetch);  leader.OnBatch(batch);  leader.OnAcked(acked);  leader.Pump();
//
// Threads: one owner, the loop.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/replication/role.h"
#include "schemas/ids.h"

namespace zsched::broker {

// Records of a part are cut off at so many bytes: well below the largest frame, many to a window. A larger
// record is a part by itself.
inline constexpr size_t kMaxAppendBytes = 1 << 20;
// Sent and not acknowledged by a follower that is behind: enough to keep a disk busy while the next parts are
// on their way, little enough to be read from the log and thrown away.
inline constexpr size_t kAppendWindowBytes = 8 << 20;

// Consecutive records of one epoch, in the bytes of the log.
struct LogPart {
  Epoch epoch;  // of the records
  Lsn first_lsn;
  uint32_t count = 0;
  uint64_t hash_before = 0;
  std::string_view records;
  Lsn last_lsn() const { return Lsn(first_lsn.value() + count - 1); }
};

// The log on the own disk. Bytes live until the next call.
class LogReader {
 public:
  virtual ~LogReader() = default;
  // The log's hash behind this record; nullopt when it is not there, or not any more.
  virtual absl::StatusOr<std::optional<uint64_t>> HashAt(Lsn lsn) = 0;
  // The record `from` and those behind it, as many as fit into `max_bytes`, at least one; nullopt when it is not there
  // yet, or not any more.
  virtual absl::StatusOr<std::optional<LogPart>> Read(Lsn from, size_t max_bytes) = 0;
};

class LeaderSink {
 public:
  virtual ~LeaderSink() = default;
  virtual void SendAppend(Epoch epoch, uint64_t life, const LogPart& part) = 0;
  // What follows `lsn` in the follower's log is not in this one, or not kept any more.
  virtual void SendDiverged(Epoch epoch, uint64_t life, Lsn lsn) = 0;
};

class Leader {
 public:
  // Both outlive it.
  Leader(LogReader& log, LeaderSink& sink) : log_(log), sink_(sink) {}

  // This node serves in `epoch` from here on; nobody follows yet.
  void Begin(Epoch epoch);
  // A follower says where its log ends. Errors are those of the log.
  absl::Status OnFetch(Epoch epoch, uint64_t life, const LogEnd& end);
  // A batch that goes to the own journal now.
  void OnBatch(const Batch& batch);
  // False: it does not count (another epoch, another life).
  bool OnAcked(Epoch epoch, uint64_t life, Lsn lsn);
  // Sends of the log on disk what the window allows. Call when the journal has committed, and after OnAcked.
  absl::Status Pump();

  // The follower gets every batch as it is made.
  bool at_tail() const { return at_tail_; }
  Lsn acked() const { return acked_; }
  bool has_follower() const { return life_ != 0; }

 private:
  void Send(const LogPart& part);

  LogReader& log_;
  LeaderSink& sink_;
  Epoch epoch_;
  uint64_t life_ = 0;  // of the follower; 0: nobody follows
  Lsn next_;           // to be sent
  Lsn acked_;
  bool at_tail_ = false;
  Lsn made_first_, made_last_;  // of the last batch, which may be on its way to the own disk
  std::deque<std::pair<Lsn, size_t>> unacked_;  // last LSN and bytes of each part, oldest first
  size_t unacked_bytes_ = 0;
  Lsn last_sent_;
  Lsn most_sent_;  // in this life of the follower, as it may be sent again
};

}  // namespace zsched::broker
