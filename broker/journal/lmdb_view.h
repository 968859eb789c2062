// Snapshots of the LMDB journal, and the pool that makes one cost a fraction of a microsecond.
// Owned by broker/journal.
//
// A read transaction that is reset and renewed keeps its reader slot and its cursors, so only the
// first views of a process pay for them.
//
// Threads: LmdbViewPool any; each view one thread at a time.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "broker/journal/journal.h"
#include "broker/journal/lmdb_env.h"
#include "broker/journal/redo.h"

namespace zsched::broker {

// One read transaction with a cursor for each database that was ever asked for.
class LmdbReader {
 public:
  // INTERNAL or RESOURCE_EXHAUSTED from LMDB.
  static absl::StatusOr<std::unique_ptr<LmdbReader>> Begin(const LmdbEnv& env);
  LmdbReader(const LmdbReader&) = delete;
  LmdbReader& operator=(const LmdbReader&) = delete;
  ~LmdbReader();

  // Between Reset and Renew it pins no pages and may not be read.
  void Reset();
  absl::Status Renew();

  MDB_txn* txn() const { return txn_; }
  // Valid until Reset; one a database, so a caller that stops midway leaves it anywhere.
  absl::StatusOr<MDB_cursor*> Cursor(size_t database);

 private:
  explicit LmdbReader(const LmdbEnv& env) : env_(env) {}

  struct Slot {
    MDB_cursor* cursor = nullptr;
    bool current = false;  // bound to the transaction's present snapshot
  };
  const LmdbEnv& env_;
  MDB_txn* txn_ = nullptr;
  std::array<Slot, kDatabases> slots_{};
};

// A commit changes two things, one after the other: the file, and which layers lie over its tables
// (redo.h). A view must see both as of the same commit, so it compares LMDB's transaction ids and
// tries again when it came between the two.
class LmdbViewPool {
 public:
  explicit LmdbViewPool(const LmdbEnv& env) : env_(env) {}
  LmdbViewPool(const LmdbViewPool&) = delete;
  LmdbViewPool& operator=(const LmdbViewPool&) = delete;
  // Requires that every view has ended.
  ~LmdbViewPool();

  // The commit that was transaction `txn_id` is done; these layers lie over its tables.
  void Publish(size_t txn_id, std::shared_ptr<const RedoLayers> layers);
  // A commit failed: what the file holds is not known any more.
  void Poison();

  // RESOURCE_EXHAUSTED when kMaxViews are alive. INTERNAL when a failed commit changed the file.
  absl::StatusOr<std::unique_ptr<JournalView>> View();
  absl::StatusOr<std::unique_ptr<LmdbReader>> Take();
  void GiveBack(std::unique_ptr<LmdbReader> reader);
  const LmdbEnv& env() const { return env_; }

 private:
  struct Published {
    size_t txn_id = 0;
    std::shared_ptr<const RedoLayers> layers;
    bool poisoned = false;
  };
  Published Newest();

  const LmdbEnv& env_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<LmdbReader>> idle_;
  size_t taken_ = 0;
  Published published_;
};

}  // namespace zsched::broker
