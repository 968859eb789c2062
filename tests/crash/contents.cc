#include "tests/crash/contents.h"

#define XXH_INLINE_ALL  // the library's symbols are not linked
#include <xxhash.h>

#include "base/check.h"
#include "broker/core/record.h"
#include "schemas/errors.h"

namespace zsched::crash {
namespace {

using broker::Table;

uint64_t HashRow(Table table, uint64_t key, std::string_view row) {
  // Sums of these hashes name a set of rows: order does not matter, each row's place does.
  uint64_t place[] = {static_cast<uint64_t>(table), key};
  return Hash(row, XXH3_64bits(place, sizeof place));
}

absl::Status ForEachRow(broker::JournalView& view,
                        absl::FunctionRef<void(Table, uint64_t, std::string_view)> visit) {
  for (size_t i = 0; i < broker::kTables; ++i) {
    Table table = static_cast<Table>(i);
    ZS_RETURN_IF_ERROR(view.Scan(table, 0, [&](uint64_t key, std::string_view row) {
      visit(table, key, row);
      return true;
    }));
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t Hash(std::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

absl::StatusOr<Contents> ReadContents(broker::JournalView& view) {
  Contents contents;
  ZS_RETURN_IF_ERROR(ForEachRow(view, [&](Table table, uint64_t key, std::string_view row) {
    contents.rows += HashRow(table, key, row);
  }));
  std::string records;
  ZS_RETURN_IF_ERROR(view.ScanLog(Lsn(1), [&](const broker::LogSegment& segment) {
    records += segment.records;
    return true;
  }));
  contents.log = Hash(records);
  ZS_ASSIGN_OR_RETURN(broker::LogBounds bounds, view.Bounds());
  contents.first_lsn = bounds.first.value();
  contents.last_lsn = bounds.last.value();
  return contents;
}

Ledger::Ledger(broker::JournalView& view) {
  ZS_CHECK_OK(ForEachRow(view, [&](Table table, uint64_t key, std::string_view row) {
    Put({table, key}, HashRow(table, key, row));
  }));
  auto bounds = view.Bounds();
  ZS_CHECK_OK(bounds.status());
  if (bounds->first) first_lsn_ = bounds->first.value();
  ZS_CHECK_OK(view.ScanLog(Lsn(1), [&](const broker::LogSegment& segment) {
    for (std::string_view rest = segment.records; !rest.empty();) {
      broker::RecordHead head;
      ZS_CHECK(broker::RowReader(rest).Read(head) && head.bytes <= rest.size());
      starts_.push_back(records_.size());
      records_ += rest.substr(0, head.bytes);
      rest.remove_prefix(head.bytes);
    }
    return true;
  }));
}

void Ledger::Put(const Key& key, uint64_t hash) {
  auto [at, is_new] = rows_.try_emplace(key, hash);
  if (!is_new) sum_ -= std::exchange(at->second, hash);
  sum_ += hash;
}

void Ledger::Erase(const Key& key) {
  auto at = rows_.find(key);
  if (at == rows_.end()) return;
  sum_ -= at->second;
  rows_.erase(at);
}

void Ledger::Apply(const broker::Batch& batch) {
  size_t begin = 0;
  for (uint32_t end : batch.record_ends()) {
    starts_.push_back(records_.size());
    records_ += batch.records().substr(begin, end - begin);
    begin = end;
  }
  for (size_t i = 0; i < broker::kTables; ++i) {
    Table table = static_cast<Table>(i);
    auto on_mutation = [&](const broker::Mutation& mutation) {
      if (mutation.size == broker::Mutation::kErase) return Erase({table, mutation.key});
      Put({table, mutation.key}, HashRow(table, mutation.key, batch.row(mutation)));
    };
    auto on_range = [&](const broker::KeyRange& range) {
      for (uint64_t key = range.first; key <= range.last; ++key) Erase({table, key});
    };
    batch.ForEachChange(table, on_mutation, on_range);
  }
}

Contents Ledger::ContentsFrom(uint64_t first_lsn) const {
  size_t skip = records_.size();
  if (first_lsn != 0 && first_lsn - first_lsn_ < starts_.size())
    skip = starts_[first_lsn - first_lsn_];
  return {.rows = sum_,
          .log = Hash(std::string_view(records_).substr(skip)),
          .first_lsn = first_lsn,
          .last_lsn = starts_.empty() ? 0 : first_lsn_ + starts_.size() - 1};
}

}  // namespace zsched::crash
