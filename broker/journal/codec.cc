#include "broker/journal/codec.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "schemas/errors.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zsched::broker {
namespace {

static_assert(std::endian::native == std::endian::little, "stored integers are little-endian");

constexpr size_t kChecksummedHeaderBytes = offsetof(SegmentHeader, checksum);
uint64_t SegmentChecksum(const SegmentHeader& header, std::string_view body) {
  uint64_t seed = XXH3_64bits(&header, kChecksummedHeaderBytes);
  return XXH3_64bits_withSeed(body.data(), body.size(), seed);
}

absl::Status SegmentLost(Lsn key, const char* what) {
  return Error(ErrorCode::kDataLoss, "log segment at LSN " + std::to_string(key.value()) + ": " +
                                         what +
                                         "; the disk returned other bytes than were written");
}

}  // namespace

absl::Status ForEachSegment(const Batch& batch,
                            absl::FunctionRef<absl::Status(const LogSegment&)> visit) {
  const std::vector<uint32_t>& ends = batch.record_ends();
  std::string_view records = batch.records();
  ZS_CHECK(records.size() == (ends.empty() ? 0 : ends.back()));  // no record is left open
  constexpr size_t kMaxRecords = kMaxSegmentBytes - kSegmentHeaderBytes;
  size_t next = 0;
  uint32_t begin = 0;
  while (next < ends.size()) {
    size_t first = next++;
    while (next < ends.size() && ends[next] - begin <= kMaxRecords) ++next;
    uint32_t end = ends[next - 1];
    LogSegment segment{.first_lsn = Lsn(batch.first_lsn().value() + first),
                       .count = static_cast<uint32_t>(next - first),
                       .epoch = batch.epoch(),
                       .hash_before = batch.hash_before(first),
                       .records = records.substr(begin, end - begin)};
    ZS_RETURN_IF_ERROR(visit(segment));
    begin = end;
  }
  return absl::OkStatus();
}

void StoreSegment(const LogSegment& segment, std::string_view redo, char* out) {
  SegmentHeader header{.first_lsn = segment.first_lsn.value(),
                       .epoch = segment.epoch.value(),
                       .count = segment.count,
                       .bytes = static_cast<uint32_t>(segment.records.size()),
                       .hash_before = segment.hash_before};
  char* body = out + kSegmentHeaderBytes;
  std::memcpy(body, segment.records.data(), segment.records.size());
  if (!redo.empty()) std::memcpy(body + segment.records.size(), redo.data(), redo.size());
  header.checksum = SegmentChecksum(header, {body, segment.records.size() + redo.size()});
  std::memcpy(out, &header, kSegmentHeaderBytes);
}

absl::StatusOr<StoredSegment> LoadSegment(Lsn key, std::string_view stored) {
  if (stored.size() < kSegmentHeaderBytes) return SegmentLost(key, "shorter than its header");
  SegmentHeader header;
  std::memcpy(&header, stored.data(), kSegmentHeaderBytes);
  std::string_view body = stored.substr(kSegmentHeaderBytes);
  if (header.bytes > body.size() || header.first_lsn != key.value() || header.count == 0)
    return SegmentLost(key, "header does not match");
  if (header.checksum != SegmentChecksum(header, body))
    return SegmentLost(key, "checksum does not match");
  LogSegment segment{.first_lsn = key,
                     .count = header.count,
                     .epoch = Epoch(header.epoch),
                     .hash_before = header.hash_before,
                     .records = body.substr(0, header.bytes)};
  return StoredSegment{segment, body.substr(header.bytes)};
}

namespace {

// Sorts by key and keeps the last mutation of each.
void SortMutations(std::vector<Mutation>& mutations) {
  auto by_key = [](const Mutation& a, const Mutation& b) { return a.key < b.key; };
  auto not_rising = [](const Mutation& a, const Mutation& b) { return a.key >= b.key; };
  if (std::adjacent_find(mutations.begin(), mutations.end(), not_rising) == mutations.end()) return;
  std::stable_sort(mutations.begin(), mutations.end(), by_key);
  size_t kept = 0;
  for (size_t i = 0; i < mutations.size(); ++i) {
    bool replaced = i + 1 < mutations.size() && mutations[i + 1].key == mutations[i].key;
    if (!replaced) mutations[kept++] = mutations[i];
  }
  mutations.resize(kept);
}

bool Overlap(const std::vector<KeyRange>& sorted) {
  return std::adjacent_find(sorted.begin(), sorted.end(), [](const KeyRange& a, const KeyRange& b) {
           return a.last >= b.first;
         }) != sorted.end();
}

// Drops the mutations that a later range erases. Requires sorted ranges, and mutations in the order
// in which they came.
void DropErased(std::vector<Mutation>& mutations, const std::vector<KeyRange>& ranges) {
  const bool overlap = Overlap(ranges);  // never what the core does, but a log may say so
  uint32_t at = 0;
  std::erase_if(mutations, [&](const Mutation& mutation) {
    const uint32_t place = at++;
    auto erases = [&](const KeyRange& range) {
      return range.first <= mutation.key && mutation.key <= range.last && place < range.after;
    };
    if (overlap) return std::any_of(ranges.begin(), ranges.end(), erases);
    if (mutation.key > ranges.back().last) return false;  // mostly: what is pruned is old
    return erases(
        *std::lower_bound(ranges.begin(), ranges.end(), mutation.key,
                          [](const KeyRange& range, uint64_t key) { return range.last < key; }));
  });
}

// Makes one range of those that overlap or follow each other. Requires sorted ranges.
void JoinRanges(std::vector<KeyRange>& ranges) {
  size_t kept = 0;
  for (const KeyRange& range : ranges) {
    KeyRange& last = ranges[kept];
    if (range.first <= last.last || range.first == last.last + 1)
      last.last = std::max(last.last, range.last);
    else
      ranges[++kept] = range;
    ranges[kept].after = 0;
  }
  ranges.resize(kept + 1);
}

}  // namespace

void SortChanges(Batch& batch, Table table) {
  std::vector<Mutation>& mutations = batch.mutations(table);
  if (std::vector<KeyRange>& ranges = batch.erased_ranges(table); !ranges.empty()) {
    std::sort(ranges.begin(), ranges.end(),
              [](const KeyRange& a, const KeyRange& b) { return a.first < b.first; });
    DropErased(mutations, ranges);
    JoinRanges(ranges);
  }
  SortMutations(mutations);
}

absl::Status CheckFollows(const Batch& batch, Lsn last) {
  Lsn first = batch.first_lsn();
  if (last ? first == Next(last) : bool(first)) return absl::OkStatus();
  return Error(ErrorCode::kInternal, "batch begins at LSN " + std::to_string(first.value()) +
                                         ", the log ends at " + std::to_string(last.value()));
}

absl::Status PoisonedBy(const absl::Status& cause) {
  return Error(CodeOf(cause), "an earlier commit failed, restart to recover: " + MessageOf(cause));
}

}  // namespace zsched::broker
