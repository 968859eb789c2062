// The broker's data directory: made, recognised, and locked against a second broker. Owned by
// broker/journal.
//
//   lock      held with flock() while a broker uses the directory; names its process
//   FORMAT    "zsched-journal 1": written last when a directory is made, so it tells a finished one
//   data.mdb, lock.mdb   LMDB's
//   redo      commits on their way into LMDB (redo_file.h)
//   register  of a pair without an arbiter (broker/replication/file_register.h)
//   archive   what was set aside: each folder of it is a data directory
//   set-aside there while the files are removed that the archive has now
//
// Example:
//   ZS_ASSIGN_OR_RETURN(DataDirectory directory, DataDirectory::Open("/var/lib/zsched"));
//   if (directory.is_new()) { create tables; ZS_RETURN_IF_ERROR(directory.FinishCreation()); }
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zsched::broker {

// The version of everything in the directory: raised when an older broker could not read it.
inline constexpr int kJournalFormat = 1;

class DataDirectory {
 public:
  // Makes the directory (0700, not its parents) when missing, takes the lock, checks FORMAT.
  // CONFLICT: another broker has it. INVALID_ARGUMENT: newer format, or other files live there.
  // UNAVAILABLE: the system refused. DATA_LOSS: FORMAT is there and data.mdb is not.
  static absl::StatusOr<DataDirectory> Open(const std::string& path);

  // Moves all of a journal into archive/`name` and leaves a new directory; what is in the archive can be opened as a
  // data directory. Cut off anywhere, it has happened or not, or the next Open finishes it. Nobody may use the directory.
  // Errors as Open's.
  static absl::Status SetAside(const std::string& path, const std::string& name);

  DataDirectory(DataDirectory&& other) noexcept;
  DataDirectory& operator=(DataDirectory&&) = delete;
  // Releases the lock.
  ~DataDirectory();

  const std::string& path() const { return path_; }
  // No FORMAT yet: either just made, or an earlier start was cut off before FinishCreation.
  bool is_new() const { return is_new_; }
  // Writes FORMAT and makes it and every file's name durable. UNAVAILABLE on failure.
  absl::Status FinishCreation();
  // Bytes that the file system has left for us. UNAVAILABLE on failure.
  absl::StatusOr<uint64_t> FreeBytes() const;
  // Size of data.mdb. UNAVAILABLE on failure.
  absl::StatusOr<uint64_t> DataFileBytes() const;
  // Cuts data.mdb, or fills it up with a hole. UNAVAILABLE on failure.
  absl::Status ResizeDataFile(uint64_t bytes) const;

 private:
  DataDirectory(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}
  absl::Status CheckFormat();
  absl::Status LinkInto(const std::string& archive) const;
  absl::Status FinishSetAside() const;

  std::string path_;
  int lock_fd_ = -1;
  bool is_new_ = false;
};

}  // namespace zsched::broker
