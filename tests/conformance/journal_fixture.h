// What the journal tests share: a store that can be closed and opened again, for each implementation,
// and batches that say what they hold.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "broker/core/batch.h"
#include "broker/journal/journal.h"
#include "schemas/errors.h"
#include "tests/support/scratch_directory.h"

namespace zsched::broker {

inline std::unique_ptr<Journal> OpenOrDie(const LmdbOptions& options) {
  auto journal = OpenLmdbJournal(options);
  ZS_CHECK_OK(journal.status());
  return *std::move(journal);
}

// Fills a batch that begins at `first_lsn`. Returns it for chaining.
struct Filler {
  Batch batch;
  Filler(uint64_t epoch, uint64_t first_lsn) { batch.Begin(Epoch(epoch), Lsn(first_lsn)); }
  Filler& Record(const std::string& bytes) {
    batch.AppendRecord(bytes);
    return *this;
  }
  Filler& Put(Table table, uint64_t key, const std::string& row) {
    batch.Put(table, key, row);
    return *this;
  }
  Filler& Erase(Table table, uint64_t key) {
    batch.Erase(table, key);
    return *this;
  }
  Filler& EraseRange(Table table, uint64_t first, uint64_t last) {
    batch.EraseRange(table, first, last);
    return *this;
  }
  absl::Status CommitTo(Journal& journal) { return journal.Commit(batch); }
};

// --- Reading, each through a view of its own.
inline std::unique_ptr<JournalView> ViewOf(Journal& journal) {
  auto view = journal.View();
  ZS_CHECK_OK(view.status());
  return *std::move(view);
}

inline std::optional<std::string> RowIn(JournalView& view, Table table, uint64_t key) {
  auto row = view.Get(table, key);
  ZS_CHECK_OK(row.status());
  if (!row->has_value()) return std::nullopt;
  return std::string(**row);
}

inline std::optional<std::string> RowOf(Journal& journal, Table table, uint64_t key) {
  return RowIn(*ViewOf(journal), table, key);
}

using Rows = std::map<uint64_t, std::string>;

inline Rows RowsIn(JournalView& view, Table table, uint64_t from = 0) {
  Rows rows;
  uint64_t previous = 0;
  ZS_CHECK_OK(view.Scan(table, from, [&](uint64_t key, std::string_view row) {
    ZS_CHECK(rows.empty() || key > previous);
    previous = key;
    rows.emplace(key, row);
    return true;
  }));
  return rows;
}

inline Rows RowsOf(Journal& journal, Table table, uint64_t from = 0) {
  return RowsIn(*ViewOf(journal), table, from);
}

// A segment that owns its bytes.
struct Segment {
  uint64_t first_lsn;
  uint32_t count;
  uint64_t epoch;
  std::string records;
};

inline std::vector<Segment> LogOf(Journal& journal, uint64_t from = 0) {
  std::vector<Segment> log;
  ZS_CHECK_OK(ViewOf(journal)->ScanLog(Lsn(from), [&](const LogSegment& segment) {
    log.push_back({segment.first_lsn.value(), segment.count, segment.epoch.value(),
                   std::string(segment.records)});
    return true;
  }));
  return log;
}

inline std::string JoinRecords(const std::vector<Segment>& log) {
  std::string all;
  for (const Segment& segment : log) all += segment.records;
  return all;
}

inline std::pair<uint64_t, uint64_t> BoundsOf(Journal& journal) {
  auto bounds = ViewOf(journal)->Bounds();
  ZS_CHECK_OK(bounds.status());
  return {bounds->first.value(), bounds->last.value()};
}

}  // namespace zsched::broker
