// The journal's twin for simulation: same semantics, no disk, and failures on demand. Owned by
// broker/journal; OpenMemoryJournal in journal.h makes one.
//
// A MemoryDisk holds what was committed; a MemoryJournal is one process's use of it. Views share
// the committed tables, and a commit copies only the tables that it changes while a view is alive.
//
// Differences to LmdbJournal: the log is trimmed only when it is asked for, so that a test can replay all of it; stored
// bytes do not rot, so nothing ever reads as DATA_LOSS.
//
// Example:
//   auto disk = MakeMemoryDisk();
//   auto journal = OpenMemoryJournal(disk);
//   disk->FailNextCommit(Error(ErrorCode::kInternal, "injected"), /*applied=*/true);
//   journal->Commit(batch);             // fails, and so does every later one
//   journal.reset();                    // the simulated process dies
//   journal = OpenMemoryJournal(disk);  // what it finds: the batch, because applied was true
//
// Threads: as journal.h.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "broker/core/batch.h"
#include "broker/journal/journal.h"

namespace zsched::broker {

class MemoryDisk {
 public:
  static constexpr uint64_t kDefaultCapacityBytes = uint64_t{64} << 30;

  // The next Commit returns `error`. `applied`: its batch is on the disk all the same, as when only
  // the last sync of a real commit fails. Any thread.
  void FailNextCommit(absl::Status error, bool applied);

  // A Commit that would take the stored bytes beyond this fails with RESOURCE_EXHAUSTED; Usage()
  // reports it as map_bytes. Any thread.
  void SetCapacityBytes(uint64_t bytes);
  // Older segments are trimmed, as LmdbOptions::keep_log_bytes has it. At first nothing is. Any thread.
  void KeepLog(uint64_t bytes);

 private:
  friend class MemoryJournal;
  friend class MemoryView;

  struct Segment {
    uint32_t count = 0;
    Epoch epoch;
    uint64_t hash_before = 0;
    std::string records;
  };
  using Rows = std::map<uint64_t, std::string>;
  using Log = std::map<Lsn, Segment>;

  // Immutable while more than one holds it.
  struct State {
    std::array<std::shared_ptr<Rows>, kTables> tables;
    std::shared_ptr<Log> log;
  };
  struct Fault {
    absl::Status error;
    bool applied = false;
  };

  MemoryDisk();
  friend std::shared_ptr<MemoryDisk> MakeMemoryDisk();
  Lsn LastLsnLocked() const;
  absl::Status CommitLocked(Batch& batch);
  void ApplyLocked(Batch& batch);
  void TrimLogLocked();
  void ApplyTableLocked(Table table, Batch& batch);

  std::mutex mutex_;
  State state_;
  uint64_t row_bytes_ = 0;
  uint64_t log_bytes_ = 0;
  uint64_t capacity_bytes_ = kDefaultCapacityBytes;
  uint64_t keep_log_bytes_ = UINT64_MAX;
  Lsn held_from_;
  std::optional<Fault> fault_;
  bool in_use_ = false;  // by a MemoryJournal
};

}  // namespace zsched::broker
