#include "bench/lmdb_store.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::bench {
namespace {

constexpr size_t kMapBytes = size_t{16} << 30;

void Must(int result) { ZS_CHECK(result == MDB_SUCCESS); }

}  // namespace

absl::StatusOr<std::unique_ptr<LmdbStore>> LmdbStore::Make(const std::string& data_root) {
  std::unique_ptr<LmdbStore> store(new LmdbStore());
  store->directory_ = data_root + "/zsched-limit-XXXXXX";
  if (mkdtemp(store->directory_.data()) == nullptr)
    return Error(ErrorCode::kUnavailable, "cannot make a directory in " + data_root + ": " +
                                              std::strerror(errno) +
                                              "; name another with --data-root");
  Must(mdb_env_create(&store->env_));
  Must(mdb_env_set_mapsize(store->env_, kMapBytes));
  Must(mdb_env_set_maxdbs(store->env_, 2));
  Must(mdb_env_open(store->env_, store->directory_.c_str(), 0, 0600));
  MDB_txn* txn;
  Must(mdb_txn_begin(store->env_, nullptr, 0, &txn));
  Must(mdb_dbi_open(txn, "log", MDB_CREATE, &store->log_));
  Must(mdb_dbi_open(txn, "table", MDB_CREATE, &store->table_));
  Must(mdb_txn_commit(txn));
  return store;
}

LmdbStore::~LmdbStore() {
  if (env_ != nullptr) mdb_env_close(env_);
  std::error_code ignored;
  std::filesystem::remove_all(directory_, ignored);
}

void LmdbStore::Begin() {
  Must(mdb_txn_begin(env_, nullptr, 0, &txn_));
  Must(mdb_cursor_open(txn_, table_, &row_cursor_));
}

void LmdbStore::Put(MDB_dbi table, uint64_t key, std::string_view value, unsigned flags) {
  uint64_t big_endian = __builtin_bswap64(key);
  MDB_val k{sizeof big_endian, &big_endian}, v{value.size(), const_cast<char*>(value.data())};
  if (table == table_)
    Must(mdb_cursor_put(row_cursor_, &k, &v, flags));
  else
    Must(mdb_put(txn_, table, &k, &v, flags));
}

void LmdbStore::AppendLog(std::string_view record) { Put(log_, next_lsn_++, record, MDB_APPEND); }
void LmdbStore::AppendRow(uint64_t key, std::string_view row) { Put(table_, key, row, MDB_APPEND); }
void LmdbStore::RewriteRow(uint64_t key, std::string_view row) { Put(table_, key, row, 0); }

void LmdbStore::Commit() {
  mdb_cursor_close(row_cursor_);
  Must(mdb_txn_commit(txn_));
}

}  // namespace zsched::bench
