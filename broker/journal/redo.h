// Small commits that the tables do not have yet: each lies in the redo file (redo_file.h), and in
// memory as a layer over log and tables, until a later commit writes it into LMDB. Owned by
// broker/journal.
//
// A commit of LMDB copies and writes every page it touches, and each table touches two or three of
// its own; then it flushes twice. For a single task that is most of the cost. A view reads through the
// layers, newest first, to the tables. After kMaxLayers small commits, or with the first large one,
// all go into LMDB in one transaction. A restart does that with what it finds in the file.
//
// The bytes of the rows (the redo):
//   0   | 4 | changes
//   4   | 4 | reserved, 0
//   8   | … | per change, by table and key: key (8), size (4; 2^32-1: the row is erased), table (1),
//       |   | reserved (3), the row
//
// Example:
//   auto layer = RedoLayer::Decode(segment, bytes);
//   if (const RedoLayer::Change* change = layer->Find(Table::kTasks, id)) ...
//
// Threads: immutable once made.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/journal/journal.h"

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

  // What the rows of this batch take at most.
  static size_t BytesFor(const Batch& batch);
  // Sorts the batch's mutations. Requires that its records are one segment.
  static std::shared_ptr<const RedoLayer> Of(Batch& batch);
  // DATA_LOSS: `bytes` are not a redo.
  static absl::StatusOr<std::shared_ptr<const RedoLayer>> Decode(const LogSegment& segment,
                                                                 std::string_view bytes);

  // The records; they live as long as the layer.
  const LogSegment& segment() const { return segment_; }
  const std::string& bytes() const { return bytes_; }
  std::string_view row(const Change& change) const {
    return std::string_view(bytes_).substr(change.offset, change.size);
  }
  // nullptr: this layer does not change the row.
  const Change* Find(Table table, uint64_t key) const;
  // Changes of one table with key >= from, by rising key.
  std::span<const Change> From(Table table, uint64_t from) const;

  RedoLayer() = default;
  RedoLayer(const RedoLayer&) = delete;
  RedoLayer& operator=(const RedoLayer&) = delete;

 private:
  void Keep(const LogSegment& segment);

  LogSegment segment_;  // its records are records_
  std::string records_;
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
