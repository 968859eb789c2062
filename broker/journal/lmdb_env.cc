#include "broker/journal/lmdb_env.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

constexpr mdb_mode_t kFileMode = 0600;
// LMDB's own databases: its free list and the directory of the named ones.
constexpr MDB_dbi kFreeListDbi = 0;
constexpr uint64_t kMetaPages = 2;

// MDB_NOTLS: reader slots belong to transactions, so views may be pooled and change threads.
// Not MDB_NORDAHEAD: what reads from disk is a restart and the dispatch of an old backlog, and both
// walk keys upwards that were appended in that order, so read-ahead is right.
// Not WRITEMAP, NOSYNC, NOMETASYNC, MAPASYNC: each can lose or corrupt what was acknowledged.
// Not MDB_NOMEMINIT: pages would carry stray heap bytes to the disk.
constexpr unsigned kEnvFlags = MDB_NOTLS;

// LMDB calls this where its structures contradict each other; it has no way back from there.
void OnLmdbAssert(MDB_env*, const char* message) {
  std::fprintf(stderr, "zsched: LMDB found its data file inconsistent: %s\n", message);
  std::abort();
}

// As LmdbError, with the directory's name and the code that opening promises.
absl::Status OpenError(int rc, const DataDirectory& directory) {
  std::string where = "data directory " + directory.path() + ": ";
  if (rc == MDB_INVALID || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND)
    return Error(ErrorCode::kDataLoss,
                 where + "data.mdb is not a valid LMDB file; restore it from a backup");
  if (rc == MDB_VERSION_MISMATCH)
    return Error(ErrorCode::kInvalidArgument,
                 where + "data.mdb has another LMDB format; use the LMDB that made it");
  return Error(ErrorCode::kUnavailable, where + "cannot open data.mdb: " + mdb_strerror(rc));
}

}  // namespace

std::string DatabaseName(size_t database) {
  return database == kLogDb ? "log" : kTableNames[database];
}

absl::StatusOr<uint64_t> KeyOf(size_t database, const MDB_val& key) {
  if (key.mv_size == kKeyBytes) return LoadKey(key.mv_data);
  return Error(ErrorCode::kDataLoss, DatabaseName(database) + ": a key has a wrong size");
}

absl::StatusOr<LogSegment> LoadLogSegment(const MDB_val& key, const MDB_val& value) {
  ZS_ASSIGN_OR_RETURN(uint64_t lsn, KeyOf(kLogDb, key));
  ZS_ASSIGN_OR_RETURN(StoredSegment stored, LoadSegment(Lsn(lsn), ToView(value)));
  if (stored.redo.empty()) return stored.segment;
  return Error(ErrorCode::kDataLoss, "log segment at LSN " + std::to_string(lsn) +
                                         " has rows, which belong into the redo file");
}

absl::Status LmdbError(int rc, const std::string& what) {
  ZS_CHECK(rc != MDB_SUCCESS);
  std::string text = what + ": " + mdb_strerror(rc);
  switch (rc) {
    case MDB_MAP_FULL:
      return Error(ErrorCode::kResourceExhausted,
                   text + "; restart with a larger map, or let finished tasks expire");
    case ENOSPC:
    case EDQUOT:
      return Error(ErrorCode::kResourceExhausted, text + "; free disk space");
    case MDB_READERS_FULL:
      return Error(ErrorCode::kResourceExhausted, text + "; too many views at once");
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
      return Error(ErrorCode::kDataLoss, text);
    default:
      return Error(ErrorCode::kInternal, text);
  }
}

absl::StatusOr<std::unique_ptr<LmdbEnv>> LmdbEnv::Open(const DataDirectory& directory,
                                                       uint64_t map_bytes) {
  std::unique_ptr<LmdbEnv> env(new LmdbEnv());
  ZS_RETURN_IF_ERROR(env->OpenFile(directory, map_bytes));
  ZS_RETURN_IF_ERROR(env->CheckFileLength(directory));
  ZS_RETURN_IF_ERROR(env->OpenDatabases(directory));
  return env;
}

LmdbEnv::~LmdbEnv() {
  if (env_ != nullptr) mdb_env_close(env_);
}

absl::Status LmdbEnv::OpenFile(const DataDirectory& directory, uint64_t map_bytes) {
  int rc = mdb_env_create(&env_);
  if (rc == 0) rc = mdb_env_set_assert(env_, &OnLmdbAssert);
  if (rc == 0) rc = mdb_env_set_maxdbs(env_, kDatabases);
  if (rc == 0) rc = mdb_env_set_maxreaders(env_, kMaxReaders);
  if (rc == 0) rc = mdb_env_set_mapsize(env_, map_bytes);
  if (rc == 0) rc = mdb_env_open(env_, directory.path().c_str(), kEnvFlags, kFileMode);
  // Slots that other processes (backups, mdb_stat) left behind when they were killed.
  int stale = 0;
  if (rc == 0) rc = mdb_reader_check(env_, &stale);
  return rc == 0 ? absl::OkStatus() : OpenError(rc, directory);
}

// Reading past the end of the mapped file would be a SIGBUS later. Yet a sound file may end before the highest page ever
// used: pages that one transaction takes and gives back are never written, and stand in the free list only. So a file that
// is short is filled up with a hole, and taken when every page that was missing is a free one.
absl::Status LmdbEnv::CheckFileLength(const DataDirectory& directory) {
  MDB_envinfo info;
  MDB_stat stat;
  int rc = mdb_env_info(env_, &info);
  if (rc == 0) rc = mdb_env_stat(env_, &stat);
  if (rc != 0) return OpenError(rc, directory);
  page_bytes_ = stat.ms_psize;
  ZS_ASSIGN_OR_RETURN(uint64_t file_bytes, directory.DataFileBytes());
  const uint64_t pages = info.me_last_pgno + 1;
  if (pages * page_bytes_ <= file_bytes) return absl::OkStatus();
  const uint64_t first_missing = file_bytes / page_bytes_;
  // Before the free list is read: it may be what is missing.
  ZS_RETURN_IF_ERROR(directory.ResizeDataFile(pages * page_bytes_));
  if (CountFreePages(first_missing) == pages - first_missing) return absl::OkStatus();
  directory.ResizeDataFile(file_bytes).IgnoreError();  // the next start is to see it as well
  return Error(ErrorCode::kDataLoss, "data directory " + directory.path() +
                                         ": data.mdb is cut short; restore it from a backup");
}

// Pages in the free list from number `first` on; 0 when the list cannot be read.
uint64_t LmdbEnv::CountFreePages(uint64_t first) const {
  MDB_txn* txn = nullptr;
  MDB_cursor* cursor = nullptr;
  int rc = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  if (rc == 0) rc = mdb_cursor_open(txn, kFreeListDbi, &cursor);
  uint64_t count = 0;
  MDB_val key, list;
  while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &list, MDB_NEXT)) == 0) {
    // A count, then as many page numbers.
    auto word = [&](size_t i) {
      size_t value;
      std::memcpy(&value, static_cast<const char*>(list.mv_data) + i * sizeof value, sizeof value);
      return value;
    };
    const size_t words = list.mv_size / sizeof(size_t);
    const size_t ids = words == 0 ? 0 : std::min(word(0), words - 1);
    for (size_t i = 1; i <= ids; ++i) count += word(i) >= first;
  }
  if (cursor != nullptr) mdb_cursor_close(cursor);
  if (txn != nullptr) mdb_txn_abort(txn);
  return rc == MDB_NOTFOUND ? count : 0;
}

absl::Status LmdbEnv::OpenDatabases(const DataDirectory& directory) {
  MDB_txn* txn;
  int rc = mdb_txn_begin(env_, nullptr, 0, &txn);
  if (rc != 0) return OpenError(rc, directory);
  for (size_t i = 0; rc == 0 && i < kDatabases; ++i)
    rc = mdb_dbi_open(txn, DatabaseName(i).c_str(), directory.is_new() ? MDB_CREATE : 0, &dbis_[i]);
  MDB_stat log{};
  if (rc == 0) rc = mdb_stat(txn, dbis_[kLogDb], &log);
  if (rc != 0) {
    mdb_txn_abort(txn);
    if (rc != MDB_NOTFOUND && rc != MDB_INCOMPATIBLE) return OpenError(rc, directory);
    return Error(ErrorCode::kDataLoss, "data directory " + directory.path() +
                                           ": data.mdb lacks a table; restore it from a backup");
  }
  if (directory.is_new() && log.ms_entries != 0) {
    mdb_txn_abort(txn);
    return Error(ErrorCode::kInvalidArgument,
                 "data directory " + directory.path() +
                     " has tasks and no FORMAT file; restore FORMAT, or name another directory");
  }
  rc = mdb_txn_commit(txn);
  return rc == 0 ? absl::OkStatus() : OpenError(rc, directory);
}

uint64_t LmdbEnv::DatabaseBytes(MDB_txn* txn, MDB_dbi dbi) const {
  MDB_stat stat;
  ZS_CHECK(mdb_stat(txn, dbi, &stat) == 0);  // fails only for a handle that is not open
  return (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * page_bytes_;
}

JournalUsage LmdbEnv::Usage(MDB_txn* txn) const {
  MDB_envinfo info;
  MDB_stat main;
  ZS_CHECK(mdb_env_info(env_, &info) == 0 && mdb_env_stat(env_, &main) == 0);
  // Every page below the highest ever used is a meta page, in a tree, or free. So the free ones
  // follow from the trees' page counts, without a walk over the free list.
  uint64_t in_trees = (kMetaPages + main.ms_branch_pages + main.ms_leaf_pages) * page_bytes_ +
                      DatabaseBytes(txn, kFreeListDbi);
  for (MDB_dbi dbi : dbis_) in_trees += DatabaseBytes(txn, dbi);
  JournalUsage usage{.map_bytes = info.me_mapsize,
                     .used_bytes = (info.me_last_pgno + 1) * page_bytes_,
                     .log_bytes = DatabaseBytes(txn, dbis_[kLogDb])};
  // A commit may fall between the snapshot of `txn` and that of mdb_env_info.
  usage.free_bytes = usage.used_bytes > in_trees ? usage.used_bytes - in_trees : 0;
  return usage;
}

}  // namespace zsched::broker
