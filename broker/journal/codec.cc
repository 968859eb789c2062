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
                       .bytes = static_cast<uint32_t>(segment.records.size())};
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
                     .records = body.substr(0, header.bytes)};
  return StoredSegment{segment, body.substr(header.bytes)};
}

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
