// A copy of all tables for a follower that the log cannot bring up to date: one whose log is another, or ends before what the
// active's log still has. Owned by broker/replication. Pure: the tables are read and written through interfaces.
//
//   SnapshotReader ──▶ SnapshotSender ──part 0, 1, … the last: with the end of the log──▶ SnapshotReceiver ──▶ SnapshotTarget
//                            ▲                                                                   │
//                            └──────────────── fetch: all below this part is written ◀───────────┘
//
// Any part may be lost: the receiver asks again, and the sender reads it again from the same picture of the tables.
//
// Example (a sender):
//   SnapshotSender sender(sink);
//   sender.Begin(epoch, life, std::move(reader), now);
//   ZS_RETURN_IF_ERROR(sender.OnFetch(fetch, now));
//
// Threads: one owner each, the loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/replication/leader.h"
#include "schemas/ids.h"

namespace zsched::broker {

// Rows of a part are cut off at so many bytes: a millisecond or so to read, which is how long the loop does nothing else. A
// larger row is a part by itself.
inline constexpr size_t kSnapshotPartBytes = 1 << 20;
// Parts sent and not written yet: enough to keep the follower's disk busy.
inline constexpr size_t kSnapshotWindowParts = 8;

// All tables and the end of the log as they were at one moment. Lives as long as a snapshot is sent.
class SnapshotReader {
 public:
  virtual ~SnapshotReader() = default;
  // Calls `visit` for each row with key >= from, by rising key, until it returns false.
  virtual absl::Status Scan(Table table, uint64_t from,
                            absl::FunctionRef<bool(uint64_t key, std::string_view row)> visit) = 0;
  // The last records of the log, at least one. Bytes live as long as the reader.
  virtual absl::StatusOr<LogPart> Tail() = 0;
};

// Where a snapshot is put together, beside what is in use.
class SnapshotTarget {
 public:
  virtual ~SnapshotTarget() = default;
  // Makes rows, and in the end the records behind which the log goes on, durable.
  virtual absl::Status Write(Batch& batch) = 0;
};

struct SnapshotPart {
  uint32_t number = 0;
  uint64_t hash =
      0;  // XXH3_64 of the rows, seeded with that of the part before: 0 before the first
  std::string_view rows;  // table (1 byte), key (8), size (4), bytes; one after the other
  bool last = false;
  LogPart tail{};  // of the last part
};

class SnapshotSink {
 public:
  virtual ~SnapshotSink() = default;
  virtual void SendSnapshotPart(Epoch epoch, uint64_t life, const SnapshotPart& part) = 0;
  virtual void SendSnapshotFetch(Epoch epoch, uint64_t life, uint32_t part, bool again) = 0;
};

class SnapshotSender {
 public:
  // Without a word from the follower for so long the picture of the tables is given up: it keeps pages from being reused.
  static constexpr int64_t kIdleMs = 10'000;
  // And after so long in any case, as the file grows meanwhile. At 100 MB/s that is enough for 180 GB.
  static constexpr int64_t kLongestMs = 30 * 60 * 1'000;

  explicit SnapshotSender(SnapshotSink& sink) : sink_(sink) {}

  void Begin(Epoch epoch, uint64_t life, std::unique_ptr<SnapshotReader> reader, int64_t mono_ms);
  void End() { reader_.reset(); }
  bool sending() const { return reader_ != nullptr; }
  bool IsAddressed(Epoch epoch, uint64_t life) const {
    return sending() && epoch == epoch_ && life == life_;
  }
  // All below `part` is written. `again`: nothing came of what follows. Errors are those of the tables.
  absl::Status OnFetch(uint32_t part, bool again, int64_t mono_ms);
  void OnTick(int64_t mono_ms);

 private:
  // Where a part begins.
  struct Place {
    uint32_t part = 0;
    size_t table = 0;
    uint64_t key = 0;
    uint64_t hash_before = 0;
  };
  absl::Status SendNext();
  absl::Status Fill(Place* place);

  SnapshotSink& sink_;
  Epoch epoch_;
  uint64_t life_ = 0;
  std::unique_ptr<SnapshotReader> reader_;
  int64_t begun_ms_ = 0, heard_ms_ = 0;
  Place next_;
  bool all_sent_ = false;
  std::deque<Place> unwritten_;  // parts that were sent, oldest first
  std::string rows_;             // of the part that is made
};

class SnapshotReceiver {
 public:
  // After so long without the part that comes next it is asked for again.
  static constexpr int64_t kFetchAgainMs = 500;

  explicit SnapshotReceiver(SnapshotSink& sink) : sink_(sink) {}

  // `life`: not 0, and another each time. `target` is empty.
  void Begin(Epoch epoch, uint64_t life, std::unique_ptr<SnapshotTarget> target, int64_t mono_ms);
  void End() { target_.reset(); }
  bool receiving() const { return target_ != nullptr; }
  Epoch epoch() const { return epoch_; }
  bool IsAddressed(Epoch epoch, uint64_t life) const {
    return receiving() && epoch == epoch_ && life == life_;
  }
  // True: that was the last part, and all is durable. Errors are those of the target; DATA_LOSS: the parts are not of one
  // snapshot.
  absl::StatusOr<bool> OnPart(const SnapshotPart& part, int64_t mono_ms);
  void OnTick(int64_t mono_ms);
  uint64_t rows() const { return rows_; }

 private:
  absl::Status PutRows(std::string_view rows);
  absl::Status PutTail(const LogPart& tail);
  void Fetch(bool again, int64_t mono_ms);

  SnapshotSink& sink_;
  Epoch epoch_;
  uint64_t life_ = 0;
  std::unique_ptr<SnapshotTarget> target_;
  uint32_t next_ = 0;
  uint64_t hash_ = 0;
  uint64_t rows_ = 0;
  int64_t quiet_since_ms_ = 0;
  Batch batch_;
};

}  // namespace zsched::broker
