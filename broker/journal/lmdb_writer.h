// Writes batches into LMDB, one transaction each: the hot path. Owned by broker/journal.
//
// A large commit costs its rows: each table is walked once over sorted keys, in blocks of
// neighbouring rows that are written straight into LMDB's pages (table_writer.h).
//
// A small commit would cost the pages it touches, two or three for each table, and LMDB's two
// flushes. So it goes into the redo file (redo_file.h), and a later commit takes it into LMDB with its
// own.
//
// Threads: one at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "broker/core/batch.h"
#include "broker/journal/lmdb_env.h"
#include "broker/journal/redo_file.h"
#include "broker/journal/table_writer.h"

namespace zsched::broker {

class LmdbWriter {
 public:
  // Reads where the log ends, and takes in what the last commits left in the redo file, which
  // outlives the writer. DATA_LOSS when either is not readable.
  static absl::StatusOr<std::unique_ptr<LmdbWriter>> Open(const LmdbEnv& env, RedoFile& redo,
                                                          uint64_t keep_log_bytes);

  // On an error the transaction is rolled back as far as LMDB can; this object must not be used
  // again.
  absl::Status Commit(Batch& batch);

  // See journal.h. Any thread.
  void HoldLog(Lsn from) { held_from_.store(from.value(), std::memory_order_relaxed); }

  Lsn last_lsn() const { return last_lsn_; }
  // Journal::last_flush_us.
  uint64_t flush_us() const { return flush_us_; }
  // LMDB's last transaction, and what lies over it since.
  size_t txn_id() const { return txn_id_; }
  std::shared_ptr<const RedoLayers> layers() const { return layers_; }

 private:
  LmdbWriter(const LmdbEnv& env, RedoFile& redo, uint64_t keep_log_bytes)
      : env_(env), redo_(redo), keep_log_bytes_(keep_log_bytes) {}
  absl::Status ReadEnd(MDB_txn* txn);
  absl::Status ReadLayers();
  absl::Status FlushLayers();
  bool IsSmall(const Batch& batch) const;
  absl::Status CommitSmall(Batch& batch);
  absl::Status CommitLarge(Batch& batch);
  absl::Status WriteAll(MDB_txn* txn, Batch& batch);
  absl::Status WriteLog(MDB_txn* txn, const Batch& batch);
  absl::Status WriteLayers(MDB_txn* txn);
  absl::Status AppendSegment(WriteCursor& cursor, const LogSegment& segment);
  absl::Status WriteTable(MDB_txn* txn, Table table, Batch& batch);
  absl::Status TrimLog(MDB_txn* txn, const WriteCursor& cursor);
  // Whether somebody needs the segment.
  bool IsHeld(const MDB_val& key, const MDB_val& value) const;
  // Runs `write` in a transaction and makes it durable.
  template <class Write>
  absl::Status InTransaction(Write write);

  const LmdbEnv& env_;
  RedoFile& redo_;
  const uint64_t keep_log_bytes_;
  std::atomic<uint64_t> held_from_{0};  // LSN; 0: none
  Lsn last_lsn_;
  size_t txn_id_ = 0;
  std::shared_ptr<const RedoLayers> layers_ = std::make_shared<const RedoLayers>();
  bool lmdb_is_durable_ = false;  // what was read from it at start lies on the disk
  uint64_t flush_us_ = 0;
  size_t added_segments_ = 0;  // since the log was trimmed
  TableWriter table_writer_;
  std::vector<RowChange> changes_;  // of the table that is written
};

}  // namespace zsched::broker
