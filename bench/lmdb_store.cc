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

// A key, big-endian so that LMDB's order is the order of numbers, and a value.
struct Stored {
  Stored(uint64_t number, std::string_view bytes)
      : big_endian(__builtin_bswap64(number)),
        value{bytes.size(), const_cast<char*>(bytes.data())} {}
  uint64_t big_endian;
  MDB_val key{sizeof big_endian, &big_endian};
  MDB_val value;
};

void Put(MDB_cursor* cursor, uint64_t key, std::string_view value, unsigned flags) {
  Stored stored(key, value);
  Must(mdb_cursor_put(cursor, &stored.key, &stored.value, flags));
}

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
  Must(mdb_env_set_maxdbs(store->env_, 3));
  Must(mdb_env_open(store->env_, store->directory_.c_str(), 0, 0600));
  MDB_txn* txn;
  Must(mdb_txn_begin(store->env_, nullptr, 0, &txn));
  Must(mdb_dbi_open(txn, "log", MDB_CREATE, &store->log_));
  Must(mdb_dbi_open(txn, "rows", MDB_CREATE, &store->rows_));
  Must(mdb_dbi_open(txn, "states", MDB_CREATE, &store->states_));
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
  Must(mdb_cursor_open(txn_, rows_, &row_cursor_));
  Must(mdb_cursor_open(txn_, states_, &state_cursor_));
}

void LmdbStore::AppendLog(std::string_view record) {
  Stored stored(next_lsn_++, record);
  Must(mdb_put(txn_, log_, &stored.key, &stored.value, MDB_APPEND));
}
void LmdbStore::AppendRow(uint64_t key, std::string_view row) {
  Put(row_cursor_, key, row, MDB_APPEND);
}
void LmdbStore::AppendState(uint64_t key, std::string_view state) {
  Put(state_cursor_, key, state, MDB_APPEND);
}
void LmdbStore::RewriteState(uint64_t key, std::string_view state) {
  Put(state_cursor_, key, state, 0);
}

void LmdbStore::Commit() {
  mdb_cursor_close(row_cursor_);
  mdb_cursor_close(state_cursor_);
  Must(mdb_txn_commit(txn_));
}

}  // namespace zsched::bench
