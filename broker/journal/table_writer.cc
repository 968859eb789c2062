#include "broker/journal/table_writer.h"

#include <algorithm>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {

absl::Status TableWriter::Write(const LmdbEnv& env, MDB_txn* txn, Table table,
                                std::span<const KeyRange> erased,
                                std::span<const RowChange> changes) {
  table_ = table;
  builder_.emplace(table);
  ZS_RETURN_IF_ERROR(cursor_.Open(env, txn, static_cast<size_t>(table)));
  absl::Status status;
  for (const KeyRange& range : erased)
    if (status.ok()) status = EraseRange(range);
  if (status.ok()) status = MergeAll(changes);
  cursor_.Close();  // before the transaction ends, also when that is because of an error
  return status;
}

absl::Status TableWriter::EraseRange(const KeyRange& range) {
  ZS_ASSIGN_OR_RETURN(Place place, Find(range.first));
  if (place.first_key) ZS_RETURN_IF_ERROR(KeepOthers(place, range));
  // Now from block to block: all rows of one are below the first key of the next.
  while (place.next_key && *place.next_key <= range.last) {
    const uint64_t key = *place.next_key;
    LmdbKey wanted(key);
    MDB_val at = *wanted.val(), value;
    place = Place{};
    if (!cursor_.Seek(MDB_SET_RANGE, at, value)) return cursor_.Failed();
    if (cursor_.Seek(MDB_NEXT, at, value)) {
      ZS_ASSIGN_OR_RETURN(place.next_key, KeyOf(table_, at));
    } else if (cursor_.failed()) {
      return cursor_.Failed();
    }
    if (place.next_key && *place.next_key - 1 <= range.last) {
      if (!cursor_.Erase(key)) return cursor_.Failed();
    } else {
      ZS_ASSIGN_OR_RETURN(place, Find(key));
      ZS_RETURN_IF_ERROR(KeepOthers(place, range));
    }
  }
  return absl::OkStatus();
}

// Writes the block again without the rows of the range, if it has any.
absl::Status TableWriter::KeepOthers(const Place& place, const KeyRange& range) {
  const uint64_t first = *place.first_key;
  if (place.last_key() < range.first || first > range.last) return absl::OkStatus();
  if (first >= range.first && !cursor_.Erase(first)) return cursor_.Failed();
  const Block& block = place.block;  // no rows: a large one, which is gone now
  for (uint32_t i = 0; i < block.rows(); ++i)
    if (block.key(i) < range.first || block.key(i) > range.last)
      ZS_RETURN_IF_ERROR(Add(place, block.key(i), block.row(i)));
  return builder_->empty() ? absl::OkStatus() : StoreBlock(place);
}

absl::Status TableWriter::MergeAll(std::span<const RowChange> changes) {
  while (!changes.empty()) {
    ZS_ASSIGN_OR_RETURN(Place place, Find(changes.front().key));
    auto end = changes.end();
    if (place.next_key)
      end = std::lower_bound(changes.begin(), changes.end(), *place.next_key,
                             [](const RowChange& c, uint64_t key) { return c.key < key; });
    auto count = static_cast<size_t>(end - changes.begin());
    ZS_RETURN_IF_ERROR(Merge(place, changes.first(count)));
    changes = changes.subspan(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<TableWriter::Place> TableWriter::Find(uint64_t key) {
  LmdbKey wanted(key);
  MDB_val at = *wanted.val(), value;
  Place place;
  if (cursor_.Seek(MDB_SET_RANGE, at, value)) {
    ZS_ASSIGN_OR_RETURN(uint64_t first_key, KeyOf(table_, at));
    if (first_key == key) {
      ZS_RETURN_IF_ERROR(Read(at, value, place));
      if (cursor_.Seek(MDB_NEXT, at, value)) {
        ZS_ASSIGN_OR_RETURN(place.next_key, KeyOf(table_, at));
      }
    } else {
      place.next_key = first_key;
      if (cursor_.Seek(MDB_PREV, at, value)) ZS_RETURN_IF_ERROR(Read(at, value, place));
    }
  } else if (!cursor_.failed() && cursor_.Seek(MDB_LAST, at, value)) {
    ZS_RETURN_IF_ERROR(Read(at, value, place));
  }
  if (cursor_.failed()) return cursor_.Failed();
  return place;
}

absl::Status TableWriter::Read(const MDB_val& key, const MDB_val& value, Place& place) {
  ZS_ASSIGN_OR_RETURN(place.first_key, KeyOf(table_, key));
  if (value.mv_size > kMaxBlockBytes) return absl::OkStatus();
  old_.assign(static_cast<const char*>(value.mv_data), value.mv_size);
  ZS_ASSIGN_OR_RETURN(place.block, Block::Load(table_, *place.first_key, old_));
  return absl::OkStatus();
}

absl::Status TableWriter::Merge(const Place& place, std::span<const RowChange> changes) {
  Block old;  // the rows that are written again
  if (place.first_key) {
    const bool behind = changes.front().key > place.last_key();
    if (behind)
      while (!changes.empty() && changes.front().erased) changes = changes.subspan(1);
    if (changes.empty()) return absl::OkStatus();
    const RowChange& first = changes.front();
    if (!behind || (place.block.rows() > 0 && place.block.HasRoom(first.key, first.row.size())))
      old = place.block;
    if (first.erased && first.key == *place.first_key && !cursor_.Erase(first.key))
      return cursor_.Failed();
  }
  uint32_t next = 0;
  for (const RowChange& change : changes) {
    for (; next < old.rows() && old.key(next) < change.key; ++next)
      ZS_RETURN_IF_ERROR(Add(place, old.key(next), old.row(next)));
    if (next < old.rows() && old.key(next) == change.key) ++next;
    if (!change.erased) ZS_RETURN_IF_ERROR(Add(place, change.key, change.row));
  }
  for (; next < old.rows(); ++next) ZS_RETURN_IF_ERROR(Add(place, old.key(next), old.row(next)));
  return builder_->empty() ? absl::OkStatus() : StoreBlock(place);
}

absl::Status TableWriter::Add(const Place& place, uint64_t key, std::string_view row) {
  if (!builder_->Fits(key, row.size())) ZS_RETURN_IF_ERROR(StoreBlock(place));
  builder_->Add(key, row);
  return absl::OkStatus();
}

absl::Status TableWriter::StoreBlock(const Place& place) {
  const uint64_t key = builder_->first_key();
  const bool last = !place.next_key && (!place.first_key || key > *place.first_key);
  char* room = cursor_.Reserve(key, builder_->bytes(), last ? MDB_APPEND : 0);
  if (room == nullptr) return cursor_.Failed();
  builder_->Store(room);
  return absl::OkStatus();
}

}  // namespace zsched::broker
