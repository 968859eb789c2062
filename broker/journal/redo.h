// Rows that a commit left out of the tables: they lie beside the commit's records in the log, and in
// memory over the tables, until a later commit writes them. Owned by broker/journal.
//
// A commit copies and writes every page it touches, and each table touches two or three of its own.
// For a single task that is most of the cost, so small commits write the log alone: the records and,
// behind them, the rows they change (the redo). A view reads through the layers, newest first, to
// the tables. After kMaxLayers such commits, or with the first large one, the rows go into the tables
// in one transaction. A restart does that with what it finds at the end of the log.
//
// The bytes of a redo:
//   0   | 4 | changes
//   4   | 4 | reserved, 0
//   8   | … | per change, by table and key: key (8), size (4; 2^32-1: the row is erased), table (1),
//       |   | reserved (3), the row
//
// Example:
//   absl::StatusOr<RedoLayer> layer = RedoLayer::Decode(bytes);
//   if (const RedoLayer::Change* change = layer->Find(Table::kTasks, id)) ...
//
// Threads: immutable once made.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/core/batch.h"

namespace zsched::broker {

// Layers a view may have to look through. One commit in so many pays for the tables; a look-up that
// misses costs a few microseconds.
inline constexpr size_t kMaxLayers = 64;

class RedoLayer {
 public:
  struct Change {
    Table table;
    uint64_t key;
    uint32_t offset;
    uint32_t size;  // Mutation::kErase: the row is gone
    bool erased() const { return size == Mutation::kErase; }
  };

  // What a redo of this batch takes at most.
  static size_t BytesFor(const Batch& batch);
  // Sorts the batch's mutations.
  static std::shared_ptr<const RedoLayer> Of(Batch& batch);
  // DATA_LOSS: not a redo.
  static absl::StatusOr<std::shared_ptr<const RedoLayer>> Decode(std::string_view bytes);

  const std::string& bytes() const { return bytes_; }
  std::string_view row(const Change& change) const {
    return std::string_view(bytes_).substr(change.offset, change.size);
  }
  // nullptr: this layer does not change the row.
  const Change* Find(Table table, uint64_t key) const;
  // Changes of one table with key >= from, by rising key.
  std::span<const Change> From(Table table, uint64_t from) const;

 private:
  std::string bytes_;
  std::vector<Change> changes_;  // by table, then key
};

// Oldest first.
using RedoLayers = std::vector<std::shared_ptr<const RedoLayer>>;

// The newest change of a row; nullptr: no layer changes it. `row` points into the layer.
struct NewestChange {
  const RedoLayer* layer = nullptr;
  const RedoLayer::Change* change = nullptr;
};
NewestChange FindNewest(const RedoLayers& layers, Table table, uint64_t key);
// The newest change of every row of one table with key >= from, by rising key.
std::vector<NewestChange> NewestFrom(const RedoLayers& layers, Table table, uint64_t from);

}  // namespace zsched::broker
