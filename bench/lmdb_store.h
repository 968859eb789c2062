// LMDB as bare as it gets: one environment with a log and a table, one write transaction at a time.
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
  void RewriteRow(uint64_t key, std::string_view row);
  void Commit();

 private:
  LmdbStore() = default;
  void Put(MDB_dbi table, uint64_t key, std::string_view value, unsigned flags);

  std::string directory_;
  MDB_env* env_ = nullptr;
  MDB_txn* txn_ = nullptr;
  MDB_cursor* row_cursor_ = nullptr;
  MDB_dbi log_ = 0, table_ = 0;
  uint64_t next_lsn_ = 1;
};

}  // namespace zsched::bench
