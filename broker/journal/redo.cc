#include "broker/journal/redo.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "base/check.h"
#include "broker/journal/codec.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

struct RedoHead {
  uint32_t changes = 0;
  uint32_t reserved = 0;
};
struct ChangeHead {
  uint64_t key = 0;
  uint32_t size = 0;
  Table table{};
  uint8_t reserved[3] = {};
};
static_assert(sizeof(RedoHead) == 8 && sizeof(ChangeHead) == 16);

template <class Struct>
void Append(std::string& out, const Struct& head) {
  out.append(reinterpret_cast<const char*>(&head), sizeof head);
}

// Takes a struct off the front; false when there is too little.
template <class Struct>
bool Take(std::string_view bytes, size_t& at, Struct& head) {
  if (bytes.size() - at < sizeof head) return false;
  std::memcpy(&head, bytes.data() + at, sizeof head);
  at += sizeof head;
  return true;
}

// A range with more rows than this is not small, however much larger it is.
constexpr uint64_t kMaxRangeRows = 1 << 20;

auto Place(const RedoLayer::Change& change) { return std::make_tuple(change.table, change.key); }

// A layer is looked up by single keys: each key of a range becomes an erasure of its own, unless the
// row was written again. Requires sorted changes.
void ExpandRanges(Batch& batch, Table table) {
  std::vector<KeyRange>& ranges = batch.erased_ranges(table);
  if (ranges.empty()) return;
  std::vector<Mutation>& mutations = batch.mutations(table);
  const auto written = static_cast<std::ptrdiff_t>(mutations.size());
  for (const KeyRange& range : ranges)
    for (uint64_t key = range.first; key - range.first <= range.last - range.first; ++key)
      mutations.push_back({key, 0, Mutation::kErase});
  ranges.clear();
  // Stable: what was written comes first, and the first one of a key is kept.
  auto by_key = [](const Mutation& a, const Mutation& b) { return a.key < b.key; };
  auto same_key = [](const Mutation& a, const Mutation& b) { return a.key == b.key; };
  std::inplace_merge(mutations.begin(), mutations.begin() + written, mutations.end(), by_key);
  mutations.erase(std::unique(mutations.begin(), mutations.end(), same_key), mutations.end());
}

absl::Status NotARedo(const char* what) {
  return Error(ErrorCode::kDataLoss, std::string("the rows of a small commit: ") + what);
}

}  // namespace

size_t RedoLayer::BytesFor(const Batch& batch) {
  size_t changes = 0;
  for (size_t number = 0; number < kTables; ++number) {
    auto table = static_cast<Table>(number);
    changes += batch.mutations(table).size();
    for (const KeyRange& range : batch.erased_ranges(table))
      changes += std::min<uint64_t>(range.last - range.first, kMaxRangeRows) + 1;
  }
  return sizeof(RedoHead) + changes * sizeof(ChangeHead) + batch.rows().size();
}

std::shared_ptr<const RedoLayer> RedoLayer::Of(Batch& batch) {
  auto layer = std::make_shared<RedoLayer>();
  std::string& bytes = layer->bytes_;
  bytes.reserve(BytesFor(batch));
  Append(bytes, RedoHead{});
  for (size_t number = 0; number < kTables; ++number) {
    auto table = static_cast<Table>(number);
    SortChanges(batch, table);
    ExpandRanges(batch, table);
    for (const Mutation& mutation : batch.mutations(table)) {
      Append(bytes, ChangeHead{.key = mutation.key, .size = mutation.size, .table = table});
      layer->changes_.push_back(
          {table, mutation.key, static_cast<uint32_t>(bytes.size()), mutation.size});
      if (mutation.size != Mutation::kErase) bytes.append(batch.row(mutation));
    }
  }
  RedoHead head{.changes = static_cast<uint32_t>(layer->changes_.size())};
  std::memcpy(bytes.data(), &head, sizeof head);
  layer->Keep({.first_lsn = batch.first_lsn(),
               .count = static_cast<uint32_t>(batch.record_ends().size()),
               .epoch = batch.epoch(),
               .hash_before = batch.hash_before(),
               .records = batch.records()});
  return layer;
}

void RedoLayer::Keep(const LogSegment& segment) {
  records_ = std::string(segment.records);
  segment_ = segment;
  segment_.records = records_;
}

absl::StatusOr<std::shared_ptr<const RedoLayer>> RedoLayer::Decode(const LogSegment& segment,
                                                                   std::string_view bytes) {
  auto layer = std::make_shared<RedoLayer>();
  layer->Keep(segment);
  size_t at = 0;
  RedoHead head;
  if (!Take(bytes, at, head)) return NotARedo("cut off");
  for (uint32_t i = 0; i < head.changes; ++i) {
    ChangeHead change;
    if (!Take(bytes, at, change)) return NotARedo("cut off");
    size_t size = change.size == Mutation::kErase ? 0 : change.size;
    if (static_cast<size_t>(change.table) >= kTables) return NotARedo("no such table");
    if (bytes.size() - at < size) return NotARedo("a row is cut off");
    Change next{change.table, change.key, static_cast<uint32_t>(at), change.size};
    if (!layer->changes_.empty() && Place(layer->changes_.back()) >= Place(next))
      return NotARedo("out of order");
    layer->changes_.push_back(next);
    at += size;
  }
  if (at != bytes.size()) return NotARedo("more bytes than rows");
  layer->bytes_ = std::string(bytes);
  return layer;
}

const RedoLayer::Change* RedoLayer::Find(Table table, uint64_t key) const {
  std::span<const Change> from = From(table, key);
  return from.empty() || from.front().key != key ? nullptr : &from.front();
}

std::span<const RedoLayer::Change> RedoLayer::From(Table table, uint64_t from) const {
  auto before = [](const Change& change, const auto& place) { return Place(change) < place; };
  auto begin =
      std::lower_bound(changes_.begin(), changes_.end(), std::make_tuple(table, from), before);
  auto next_table = static_cast<Table>(static_cast<uint8_t>(table) + 1);
  auto end =
      std::lower_bound(begin, changes_.end(), std::make_tuple(next_table, uint64_t{0}), before);
  return {begin, end};
}

NewestChange FindNewest(const RedoLayers& layers, Table table, uint64_t key) {
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    if (const RedoLayer::Change* change = (*layer)->Find(table, key)) return {layer->get(), change};
  return {};
}

std::vector<NewestChange> NewestFrom(const RedoLayers& layers, Table table, uint64_t from) {
  std::vector<NewestChange> all;
  for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer)
    for (const RedoLayer::Change& change : (*layer)->From(table, from))
      all.push_back({layer->get(), &change});
  // Newest first within a key: the first one counts.
  std::stable_sort(all.begin(), all.end(), [](const NewestChange& a, const NewestChange& b) {
    return a.change->key < b.change->key;
  });
  auto same_key = [](const NewestChange& a, const NewestChange& b) {
    return a.change->key == b.change->key;
  };
  all.erase(std::unique(all.begin(), all.end(), same_key), all.end());
  return all;
}

}  // namespace zsched::broker
