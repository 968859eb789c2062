// What a journal holds, as a few numbers: cheap to keep for every commit, and equal only for equal
// rows, records and rebuilt states. Owned by tests/crash.
//
// Example:
//   Ledger ledger(*view);                      // what lies there already
//   ledger.Apply(batch);                       // what a commit ought to make of it
//   ZS_CHECK(ledger.ContentsFrom(first_lsn) == *ReadContents(*view));
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "broker/journal/journal.h"

namespace zsched::crash {

// XXH3_64.
uint64_t Hash(std::string_view bytes, uint64_t seed = 0);

struct Contents {
  uint64_t rows = 0;  // of all tables, in any order
  uint64_t log = 0;   // of all records' bytes
  uint64_t first_lsn = 0, last_lsn = 0;

  bool operator==(const Contents&) const = default;
};

// Reads everything, so every checksum is verified. DATA_LOSS when something does not hold.
absl::StatusOr<Contents> ReadContents(broker::JournalView& view);

// What the journal ought to hold: kept from the batches alone.
class Ledger {
 public:
  explicit Ledger(broker::JournalView& view);

  void Apply(const broker::Batch& batch);
  // `first_lsn`: the oldest record that has not been trimmed; 0: the log is empty.
  Contents ContentsFrom(uint64_t first_lsn) const;

 private:
  using Key = std::pair<broker::Table, uint64_t>;
  void Put(const Key& key, uint64_t hash);
  void Erase(const Key& key);

  std::map<Key, uint64_t> rows_;  // hashes
  uint64_t sum_ = 0;
  std::string records_;
  std::vector<size_t> starts_;  // of records, the first one's LSN is first_lsn_
  uint64_t first_lsn_ = 1;
};

}  // namespace zsched::crash
