#include "bench/tables.h"

#include <lmdb.h>

#include <memory>

#include "schemas/errors.h"

namespace zsched::bench {
namespace {

// More than a journal has (docs/journal.md).
constexpr MDB_dbi kMaxDatabases = 32;

using Env = std::unique_ptr<MDB_env, decltype(&mdb_env_close)>;
using Txn = std::unique_ptr<MDB_txn, decltype(&mdb_txn_abort)>;
using Cursor = std::unique_ptr<MDB_cursor, decltype(&mdb_cursor_close)>;

absl::Status CannotRead(const std::string& directory, int result) {
  return Error(ErrorCode::kUnavailable,
               "cannot read the journal in " + directory + ": " + mdb_strerror(result));
}

int Measure(MDB_txn* txn, const std::string& name, TableSize* table) {
  MDB_dbi dbi;
  if (int result = mdb_dbi_open(txn, name.c_str(), 0, &dbi); result != MDB_SUCCESS) return result;
  MDB_stat stat;
  if (int result = mdb_stat(txn, dbi, &stat); result != MDB_SUCCESS) return result;
  size_t pages = stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
  *table = {name, stat.ms_entries, pages * stat.ms_psize};
  return MDB_SUCCESS;
}

}  // namespace

absl::StatusOr<std::vector<TableSize>> TableSizes(const std::string& directory) {
  MDB_env* raw_env = nullptr;
  if (int result = mdb_env_create(&raw_env); result != MDB_SUCCESS)
    return CannotRead(directory, result);
  Env env(raw_env, mdb_env_close);
  mdb_env_set_maxdbs(env.get(), kMaxDatabases);
  if (int result = mdb_env_open(env.get(), directory.c_str(), MDB_RDONLY, 0); result != MDB_SUCCESS)
    return CannotRead(directory, result);
  MDB_txn* raw_txn = nullptr;
  if (int result = mdb_txn_begin(env.get(), nullptr, MDB_RDONLY, &raw_txn); result != MDB_SUCCESS)
    return CannotRead(directory, result);
  Txn txn(raw_txn, mdb_txn_abort);
  // The unnamed database has the names of the others as its keys.
  MDB_dbi names;
  MDB_cursor* raw_cursor = nullptr;
  if (int result = mdb_dbi_open(txn.get(), nullptr, 0, &names); result != MDB_SUCCESS)
    return CannotRead(directory, result);
  if (int result = mdb_cursor_open(txn.get(), names, &raw_cursor); result != MDB_SUCCESS)
    return CannotRead(directory, result);
  Cursor cursor(raw_cursor, mdb_cursor_close);
  std::vector<TableSize> tables;
  MDB_val key, value;
  while (mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT) == MDB_SUCCESS) {
    std::string name(static_cast<const char*>(key.mv_data), key.mv_size);
    if (int result = Measure(txn.get(), name, &tables.emplace_back()); result != MDB_SUCCESS)
      return CannotRead(directory, result);
  }
  return tables;
}

}  // namespace zsched::bench
