// How keys and log segments lie in storage: a segment is a header and whole records. Owned by
// broker/journal; LmdbJournal and MemoryJournal share it. docs/journal.md shows the bytes, block.h
// has those of the tables.
//
// LMDB has no checksums, so each segment carries one that is bound to its LSN and epoch: bytes that
// turn up in another place fail too.
//
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/journal/journal.h"
#include "schemas/ids.h"

namespace zsched::broker {

// --- Keys: big-endian, so that LMDB's byte order is the order of numbers.
inline constexpr size_t kKeyBytes = 8;
inline void StoreKey(uint64_t key, void* out) {
  uint64_t big_endian = __builtin_bswap64(key);
  __builtin_memcpy(out, &big_endian, kKeyBytes);
}
inline uint64_t LoadKey(const void* bytes) {
  uint64_t big_endian;
  __builtin_memcpy(&big_endian, bytes, kKeyBytes);
  return __builtin_bswap64(big_endian);
}

// --- Log segments: the header, then `count` records back to back, then the rows that the commit
// left out of the tables, if it did (redo.h).
struct SegmentHeader {
  uint64_t first_lsn = 0;
  uint64_t epoch = 0;
  uint32_t count = 0;
  uint32_t bytes = 0;  // of the records
  uint64_t hash_before = 0;
  uint64_t checksum = 0;  // XXH3_64(all that follows, seed = XXH3_64(the header before this field))
};
inline constexpr size_t kSegmentHeaderBytes = 40;
static_assert(sizeof(SegmentHeader) == kSegmentHeaderBytes);
static_assert(offsetof(SegmentHeader, epoch) == 8 && offsetof(SegmentHeader, count) == 16 &&
              offsetof(SegmentHeader, bytes) == 20 && offsetof(SegmentHeader, hash_before) == 24 &&
              offsetof(SegmentHeader, checksum) == 32);

// A segment with its header fills at most four 4 KiB pages less LMDB's page header of 16 bytes.
// LMDB stores it as one contiguous run of pages and must find such a run in its free list: short
// runs are found at once, long ones by a search that grows with the list.
inline constexpr size_t kMaxSegmentBytes = 4 * 4096 - 16;

inline size_t StoredSegmentBytes(const LogSegment& segment, std::string_view redo = {}) {
  return kSegmentHeaderBytes + segment.records.size() + redo.size();
}
// Calls `visit` for the batch's segments in order: whole records, and with the header no larger than
// kMaxSegmentBytes unless it is a single record. Stops at the first error and returns it.
absl::Status ForEachSegment(const Batch& batch,
                            absl::FunctionRef<absl::Status(const LogSegment&)> visit);
// Writes StoredSegmentBytes(segment, redo) bytes to `out`.
void StoreSegment(const LogSegment& segment, std::string_view redo, char* out);
struct StoredSegment {
  LogSegment segment;
  std::string_view redo;  // in the redo file: the rows that the commit changes; in LMDB: none
};
// DATA_LOSS names the LSN. Records and redo point into `stored`.
absl::StatusOr<StoredSegment> LoadSegment(Lsn key, std::string_view stored);

inline Lsn LastLsn(const LogSegment& segment) {
  return Lsn(segment.first_lsn.value() + segment.count - 1);
}

// --- Batches.
// Brings a table's changes into their plain form: erased ranges by rising key with gaps between them,
// all of them before the mutations, those by rising key and each key once.
void SortChanges(Batch& batch, Table table);
// INTERNAL unless batch.first_lsn() is the one after `last`; with last 0 (an empty log) any but 0.
absl::Status CheckFollows(const Batch& batch, Lsn last);
// The error of every Commit after one that failed with `cause`.
absl::Status PoisonedBy(const absl::Status& cause);

}  // namespace zsched::broker
