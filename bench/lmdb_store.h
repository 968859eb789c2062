// LMDB as bare as it gets: one environment with a log, a table of what was submitted and one of where
// each task stands; one write transaction at a time.
// Owned by bench.
#pragma once

#include <lmdb.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace zsched::bench {

class LmdbStore {
 public:
  // A fresh directory below data_root, removed with the object.
  static absl::StatusOr<std::unique_ptr<LmdbStore>> Make(const std::string& data_root);
  ~LmdbStore();
  LmdbStore(const LmdbStore&) = delete;
  LmdbStore& operator=(const LmdbStore&) = delete;

  // All abort on an LMDB error: a benchmark on a broken disk has no result.
  void Begin();
  void AppendLog(std::string_view record);
  void AppendRow(uint64_t key, std::string_view row);
  void AppendState(uint64_t key, std::string_view state);
  void RewriteState(uint64_t key, std::string_view state);
  void Commit();

 private:
  LmdbStore() = default;

  std::string directory_;
  MDB_env* env_ = nullptr;
  MDB_txn* txn_ = nullptr;
  MDB_cursor *row_cursor_ = nullptr, *state_cursor_ = nullptr;
  MDB_dbi log_ = 0, rows_ = 0, states_ = 0;
  uint64_t next_lsn_ = 1;
};

}  // namespace zsched::bench
