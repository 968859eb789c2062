// One LMDB environment with the journal's databases open, and LMDB's return codes as statuses.
// Owned by broker/journal.
//
// Threads: Open and the destructor from one thread while nobody else uses it; the rest any.
#pragma once

#include <lmdb.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/journal/codec.h"
#include "broker/journal/data_directory.h"

namespace zsched::broker {

// The databases: the tables by their number, then the log.
inline constexpr size_t kLogDb = kTables;
inline constexpr size_t kDatabases = kTables + 1;

// As LMDB and error messages name it.
std::string DatabaseName(size_t database);

// Views that may be alive at once, and LMDB's reader slots: the rest are for mdb_stat and backups.
inline constexpr unsigned kMaxViews = 112;
inline constexpr unsigned kMaxReaders = 128;

// `what` says what was being done. RESOURCE_EXHAUSTED: map or disk full, or no reader slot left.
// DATA_LOSS: LMDB found its own structure broken. INVALID_ARGUMENT: made by another LMDB format.
// INTERNAL: everything else. Requires rc != 0.
absl::Status LmdbError(int rc, const std::string& what);

// An MDB_val over a key that lies beside it.
class LmdbKey {
 public:
  explicit LmdbKey(uint64_t key) { StoreKey(key, bytes_); }
  LmdbKey(const LmdbKey&) = delete;
  LmdbKey& operator=(const LmdbKey&) = delete;
  MDB_val* val() { return &val_; }

 private:
  char bytes_[kKeyBytes];
  MDB_val val_{kKeyBytes, bytes_};
};

// DATA_LOSS: not a key of ours.
absl::StatusOr<uint64_t> KeyOf(size_t database, const MDB_val& key);
inline absl::StatusOr<uint64_t> KeyOf(Table table, const MDB_val& key) {
  return KeyOf(static_cast<size_t>(table), key);
}

inline std::string_view ToView(const MDB_val& val) {
  return {static_cast<const char*>(val.mv_data), val.mv_size};
}

// DATA_LOSS: not a segment of the log, or not under its key.
absl::StatusOr<LogSegment> LoadLogSegment(const MDB_val& key, const MDB_val& value);

class LmdbEnv {
 public:
  // Opens data.mdb in `directory`, creating the databases when the directory is new. Errors as
  // OpenLmdbJournal's. `directory` outlives the environment.
  static absl::StatusOr<std::unique_ptr<LmdbEnv>> Open(const DataDirectory& directory,
                                                       uint64_t map_bytes);
  LmdbEnv(const LmdbEnv&) = delete;
  LmdbEnv& operator=(const LmdbEnv&) = delete;
  // Requires that all transactions have ended.
  ~LmdbEnv();

  MDB_env* get() const { return env_; }
  MDB_dbi dbi(size_t database) const { return dbis_[database]; }
  MDB_dbi dbi(Table table) const { return dbis_[static_cast<size_t>(table)]; }
  uint64_t page_bytes() const { return page_bytes_; }
  // Bytes of the pages that one database occupies, as `txn` sees it.
  uint64_t DatabaseBytes(MDB_txn* txn, MDB_dbi dbi) const;
  // map_bytes, used_bytes, free_bytes and log_bytes, as `txn` sees them. Costs ten look-ups.
  JournalUsage Usage(MDB_txn* txn) const;

 private:
  LmdbEnv() = default;
  absl::Status OpenFile(const DataDirectory& directory, uint64_t map_bytes);
  absl::Status CheckFileLength(const DataDirectory& directory);
  uint64_t CountFreePages(uint64_t first) const;
  absl::Status OpenDatabases(const DataDirectory& directory);

  MDB_env* env_ = nullptr;
  std::array<MDB_dbi, kDatabases> dbis_{};
  uint64_t page_bytes_ = 0;
};

}  // namespace zsched::broker
