// A cursor of a write transaction on one database. Owned by broker/journal.
//
// Threads: one at a time. Must be closed before its transaction ends.
#pragma once

#include "broker/journal/codec.h"
#include "broker/journal/lmdb_env.h"

namespace zsched::broker {

class WriteCursor {
 public:
  WriteCursor() = default;
  WriteCursor(const WriteCursor&) = delete;
  WriteCursor& operator=(const WriteCursor&) = delete;
  ~WriteCursor() { Close(); }

  absl::Status Open(const LmdbEnv& env, MDB_txn* txn, size_t database) {
    Close();
    database_ = database;
    rc_ = mdb_cursor_open(txn, env.dbi(database), &cursor_);
    return rc_ == 0 ? absl::OkStatus() : Failed();
  }
  void Close() {
    if (cursor_ != nullptr) mdb_cursor_close(cursor_);
    cursor_ = nullptr;
  }
  MDB_cursor* get() const { return cursor_; }

  // False: there is none, or LMDB failed, which failed() tells apart.
  bool Seek(MDB_cursor_op op, MDB_val& key, MDB_val& value) {
    rc_ = mdb_cursor_get(cursor_, &key, &value, op);
    return rc_ == 0;
  }
  // Room for `bytes` under `key`, to be filled before the next call; null when LMDB refuses, and
  // then Failed() says why. `flags`: MDB_APPEND or 0.
  char* Reserve(uint64_t key, size_t bytes, unsigned flags) {
    LmdbKey lmdb_key(key);
    MDB_val value{bytes, nullptr};
    rc_ = mdb_cursor_put(cursor_, lmdb_key.val(), &value, flags | MDB_RESERVE);
    return rc_ == 0 ? static_cast<char*>(value.mv_data) : nullptr;
  }
  // False when LMDB refuses. A key that is not there is fine.
  bool Erase(uint64_t key) {
    LmdbKey lmdb_key(key);
    MDB_val value;
    rc_ = mdb_cursor_get(cursor_, lmdb_key.val(), &value, MDB_SET);
    if (rc_ == 0) rc_ = mdb_cursor_del(cursor_, 0);
    if (rc_ == MDB_NOTFOUND) rc_ = 0;
    return rc_ == 0;
  }

  bool failed() const { return rc_ != 0 && rc_ != MDB_NOTFOUND; }
  absl::Status Failed() const { return LmdbError(rc_, "cannot write " + DatabaseName(database_)); }

 private:
  MDB_cursor* cursor_ = nullptr;
  size_t database_ = 0;
  int rc_ = 0;
};

}  // namespace zsched::broker
