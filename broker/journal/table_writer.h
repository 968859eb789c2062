// Writes changes of rows into the blocks of a table (block.h), within one LMDB transaction. Owned by
// broker/journal.
//
// Changes come by rising key. Those that fall between the first keys of two blocks belong to the
// first of the two: it is read once, merged with them, and written as as many blocks as it takes.
// Rows behind the last block are appended, which fills pages to the brim.
//
// Of an erased range of keys, the blocks that lie within it go without being read; only those at its
// two ends are. So retention, which takes long ranges, costs a block and not a row.
//
// Example:
//   TableWriter writer;
//   ZS_RETURN_IF_ERROR(writer.Write(env, txn, Table::kTasks, ranges, changes));
//
// Threads: one at a time.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "broker/journal/block.h"
#include "broker/journal/lmdb_cursor.h"

namespace zsched::broker {

struct RowChange {
  uint64_t key = 0;
  bool erased = false;  // the row need not exist
  std::string_view row;
};

class TableWriter {
 public:
  // First the ranges, then the changes; of either, each key at most once. DATA_LOSS: a block that has
  // to change cannot be read. Others from LMDB.
  absl::Status Write(const LmdbEnv& env, MDB_txn* txn, Table table,
                     std::span<const KeyRange> erased, std::span<const RowChange> changes);

 private:
  // Where a key belongs.
  struct Place {
    // The block with the greatest first key up to the key, if there is one. A row that is large, and
    // so a block by itself, is not read: it is replaced or left, never merged.
    std::optional<uint64_t> first_key;
    Block block;                       // in old_; no rows when large
    std::optional<uint64_t> next_key;  // first key of the block behind it

    uint64_t last_key() const { return block.rows() > 0 ? block.last_key() : *first_key; }
  };

  absl::Status EraseRange(const KeyRange& range);
  absl::Status KeepOthers(const Place& place, const KeyRange& range);
  absl::Status MergeAll(std::span<const RowChange> changes);
  absl::StatusOr<Place> Find(uint64_t key);
  absl::Status Read(const MDB_val& key, const MDB_val& value, Place& place);
  absl::Status Merge(const Place& place, std::span<const RowChange> changes);
  absl::Status Add(const Place& place, uint64_t key, std::string_view row);
  absl::Status StoreBlock(const Place& place);

  WriteCursor cursor_;
  Table table_{};
  std::optional<BlockBuilder> builder_;
  std::string old_;  // the block that is merged: LMDB moves the original while it is written to
};

}  // namespace zsched::broker
