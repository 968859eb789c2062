// Writes batches into LMDB, one transaction each: the hot path. Owned by broker/journal.
//
// A commit costs its rows: each table is walked once by one cursor over sorted keys, rows and their
// checksums are written straight into LMDB's pages (MDB_RESERVE), and keys beyond a table's last
// are appended without a search, which also fills pages to the brim.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "broker/core/batch.h"
#include "broker/journal/lmdb_env.h"

namespace zsched::broker {

class LmdbWriter {
 public:
  // Reads where the log and each table end. DATA_LOSS when the last segment is not readable.
  static absl::StatusOr<std::unique_ptr<LmdbWriter>> Open(const LmdbEnv& env,
                                                          uint64_t keep_log_bytes);

  // On an error the transaction is rolled back as far as LMDB can; this object must not be used
  // again.
  absl::Status Commit(Batch& batch);

  Lsn last_lsn() const { return last_lsn_; }

 private:
  class Cursor;

  LmdbWriter(const LmdbEnv& env, uint64_t keep_log_bytes)
      : env_(env), keep_log_bytes_(keep_log_bytes) {}
  absl::Status ReadEnds(MDB_txn* txn);
  absl::Status Write(MDB_txn* txn, Batch& batch);
  absl::Status WriteLog(MDB_txn* txn, const Batch& batch);
  absl::Status WriteTable(MDB_txn* txn, Table table, Batch& batch);
  absl::Status TrimLog(MDB_txn* txn, const Cursor& cursor, size_t budget);

  const LmdbEnv& env_;
  const uint64_t keep_log_bytes_;
  Lsn last_lsn_;
  // No key of the table is greater. Erasing does not lower it, so it is a bound, not the last key.
  std::array<std::optional<uint64_t>, kTables> highest_keys_;
};

}  // namespace zsched::broker
