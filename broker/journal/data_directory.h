// The broker's data directory: made, recognised, and locked against a second broker. Owned by
// broker/journal.
//
//   lock      held with flock() while a broker uses the directory; names its process
//   FORMAT    "zsched-journal 1": written last when a directory is made, so it tells a finished one
//   data.mdb, lock.mdb   LMDB's
//   redo      commits on their way into LMDB (redo_file.h)
//   register  of a pair without an arbiter (broker/replication/file_register.h)
//   archive   what was set aside: each folder of it is a data directory. `merged` in it: nothing of it is missing elsewhere
//   copy      another journal's contents on their way: a data directory
//   taking-copy  there while the copy's files take the place of the own
//
// Example:
//   ZS_ASSIGN_OR_RETURN(DataDirectory directory, DataDirectory::Open("/var/lib/zsched"));
//   if (directory.is_new()) { create tables; ZS_RETURN_IF_ERROR(directory.FinishCreation()); }
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

  // Removes what there is of an earlier copy. The path of the directory for a new one, which is not there yet.
  static absl::StatusOr<std::string> MakeCopy(const std::string& path);
  // Puts the journal of the copy into the place of the own, which is kept as archive/`archive` unless that is empty: a data
  // directory that can be opened. Cut off anywhere, it has happened or not, or the next Open finishes it. Nobody may use
  // the directory or the copy. Errors as Open's.
  static absl::Status TakeCopy(const std::string& path, const std::string& archive);

  // Paths of what TakeCopy has kept and nobody has marked as merged, the oldest first.
  static absl::StatusOr<std::vector<std::string>> UnmergedArchives(const std::string& path);
  static absl::Status MarkMerged(const std::string& archive);

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
  absl::Status FinishTakingCopy() const;

  std::string path_;
  int lock_fd_ = -1;
  bool is_new_ = false;
};

}  // namespace zsched::broker
