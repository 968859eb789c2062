// Rows of a table as they lie in storage: some neighbours together are a block, one value of LMDB
// under the key of its first row. Owned by broker/journal.
//
// LMDB takes about a tenth of a microsecond to find and put a value, more to delete one, and 26
// bytes beside it. Tasks come, change and go by neighbours, so a block shares that among some twenty
// rows, and one checksum too.
//
// The bytes of a block:
//   0   | 8 | XXH3_64(all that follows, seed = first key xor (table + 1) * kTableSeed)
//   8   | 4 | rows, at least 1
//   12  | 4 | reserved, 0
//   16  | … | per row, by key: key minus the first key (4), end of the row from where rows begin (4)
//       | … | the rows back to back
//
// Example:
//   BlockBuilder builder(Table::kTasks);
//   builder.Add(7, "seven");
//   builder.Store(room_for_bytes);
//   absl::StatusOr<Block> block = Block::Load(Table::kTasks, 7, stored);
//   block->Find(7);   // "seven"
//
// Threads: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/core/batch.h"

namespace zsched::broker {

// What LMDB stores on one page of its own, a page of 4 KiB without its header. The tree then holds little
// more than page numbers, and a block that is replaced or deleted is neither copied nor moved about. A
// row that does not fit is a block by itself.
inline constexpr size_t kMaxBlockBytes = 4080;

class Block {
 public:
  Block() = default;
  // DATA_LOSS names the table and `first_key`. Points into `stored`.
  static absl::StatusOr<Block> Load(Table table, uint64_t first_key, std::string_view stored);

  uint32_t rows() const { return rows_; }  // 0 only when default-constructed
  uint64_t key(uint32_t i) const { return first_key_ + Word(i, 0); }
  std::string_view row(uint32_t i) const {
    uint32_t begin = i == 0 ? 0 : Word(i - 1, 1);
    return bodies_.substr(begin, Word(i, 1) - begin);
  }
  uint64_t first_key() const { return first_key_; }
  uint64_t last_key() const { return key(rows_ - 1); }
  // Whether a row behind the last would still fit.
  bool HasRoom(uint64_t key, size_t row_bytes) const;

  // The first row with a key >= `key`; rows() when there is none.
  uint32_t LowerBound(uint64_t key) const;
  // nullopt when the block has no such row.
  std::optional<std::string_view> Find(uint64_t key) const;

 private:
  uint32_t Word(uint32_t row, uint32_t word) const {
    uint32_t value;
    __builtin_memcpy(&value, index_ + row * 8 + word * 4, sizeof value);
    return value;
  }

  uint64_t first_key_ = 0;
  uint32_t rows_ = 0;
  const char* index_ = nullptr;
  std::string_view bodies_;
};

// Gathers rows by rising key. Rows are pointed to until Store.
class BlockBuilder {
 public:
  explicit BlockBuilder(Table table) : table_(table) {}

  bool empty() const { return rows_.empty(); }
  // Whether the row may be added: the first always, others while the block stays within
  // kMaxBlockBytes and its keys within 32 bits of each other.
  bool Fits(uint64_t key, size_t row_bytes) const;
  // Requires Fits and a key above the last.
  void Add(uint64_t key, std::string_view row);
  uint64_t first_key() const { return rows_.front().key; }
  size_t bytes() const { return bytes_; }
  // Writes bytes() to `out`, which overlaps none of the rows, and empties the builder.
  void Store(char* out);

 private:
  struct Row {
    uint64_t key;
    std::string_view bytes;
  };
  Table table_;
  std::vector<Row> rows_;
  size_t bytes_ = 0;
};

}  // namespace zsched::broker
