#include "broker/journal/block.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/check.h"
#include "schemas/errors.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zsched::broker {
namespace {

// Spreads the table number over the whole seed, so that (table, key) pairs do not meet.
constexpr uint64_t kTableSeed = 0x9E3779B97F4A7C15;
constexpr size_t kChecksumBytes = 8;
constexpr size_t kEntryBytes = 8;

struct BlockHead {
  uint64_t checksum = 0;
  uint32_t rows = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(BlockHead) == 16);

struct Entry {
  uint32_t key = 0;  // minus the first key
  uint32_t end = 0;  // of the row, from where rows begin
};
static_assert(sizeof(Entry) == kEntryBytes);

uint64_t Checksum(Table table, uint64_t first_key, const char* stored, size_t bytes) {
  uint64_t seed = first_key ^ (static_cast<uint64_t>(table) + 1) * kTableSeed;
  return XXH3_64bits_withSeed(stored + kChecksumBytes, bytes - kChecksumBytes, seed);
}

// Whether a block that has grown to `bytes`, with keys from `first` to `last`, is one.
bool IsWithinBounds(size_t bytes, uint64_t first, uint64_t last) {
  return bytes <= kMaxBlockBytes && last - first <= UINT32_MAX;
}

absl::Status Lost(Table table, uint64_t key, const char* what) {
  return Error(ErrorCode::kDataLoss, std::string("table ") +
                                         kTableNames[static_cast<size_t>(table)] +
                                         ", rows from key " + std::to_string(key) + ": " + what +
                                         "; the disk returned other bytes than were written");
}

}  // namespace

absl::StatusOr<Block> Block::Load(Table table, uint64_t first_key, std::string_view stored) {
  BlockHead head;
  if (stored.size() < sizeof head) return Lost(table, first_key, "shorter than their header");
  std::memcpy(&head, stored.data(), sizeof head);
  if (head.checksum != Checksum(table, first_key, stored.data(), stored.size()))
    return Lost(table, first_key, "checksum does not match");
  std::string_view rest = stored.substr(sizeof head);
  if (head.rows == 0 || rest.size() / kEntryBytes < head.rows)
    return Lost(table, first_key, "their number does not fit");
  Block block;
  block.first_key_ = first_key;
  block.rows_ = head.rows;
  block.index_ = rest.data();
  block.bodies_ = rest.substr(head.rows * kEntryBytes);
  Entry last;
  for (uint32_t i = 0; i < head.rows; ++i) {
    Entry entry{block.Word(i, 0), block.Word(i, 1)};
    bool rises = i == 0 ? entry.key == 0 : entry.key > last.key && entry.end >= last.end;
    if (!rises || first_key > UINT64_MAX - entry.key)
      return Lost(table, first_key, "they are out of order");
    last = entry;
  }
  if (last.end != block.bodies_.size()) return Lost(table, first_key, "their sizes do not fit");
  return block;
}

uint32_t Block::LowerBound(uint64_t key) const {
  uint32_t low = 0, high = rows_;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (this->key(middle) < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

std::optional<std::string_view> Block::Find(uint64_t key) const {
  uint32_t i = LowerBound(key);
  if (i == rows_ || this->key(i) != key) return std::nullopt;
  return row(i);
}

bool Block::HasRoom(uint64_t key, size_t row_bytes) const {
  size_t bytes = sizeof(BlockHead) + rows_ * kEntryBytes + bodies_.size();
  return IsWithinBounds(bytes + kEntryBytes + row_bytes, first_key_, key);
}

bool BlockBuilder::Fits(uint64_t key, size_t row_bytes) const {
  return rows_.empty() || IsWithinBounds(bytes_ + kEntryBytes + row_bytes, first_key(), key);
}

void BlockBuilder::Add(uint64_t key, std::string_view row) {
  ZS_CHECK(rows_.empty() || key > rows_.back().key);
  if (rows_.empty()) bytes_ = sizeof(BlockHead);
  rows_.push_back({key, row});
  bytes_ += kEntryBytes + row.size();
}

void BlockBuilder::Store(char* out) {
  BlockHead head{.rows = static_cast<uint32_t>(rows_.size())};
  char *entries = out + sizeof head, *bodies = entries + rows_.size() * kEntryBytes, *end = bodies;
  for (const Row& row : rows_) {
    if (!row.bytes.empty()) std::memcpy(end, row.bytes.data(), row.bytes.size());
    end += row.bytes.size();
    Entry entry{static_cast<uint32_t>(row.key - first_key()), static_cast<uint32_t>(end - bodies)};
    std::memcpy(entries, &entry, sizeof entry);
    entries += sizeof entry;
  }
  std::memcpy(out, &head, sizeof head);
  head.checksum = Checksum(table_, first_key(), out, bytes_);
  std::memcpy(out, &head, sizeof head);
  ZS_CHECK(end == out + bytes_);
  rows_.clear();
  bytes_ = 0;
}

}  // namespace zsched::broker
