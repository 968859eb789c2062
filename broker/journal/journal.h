// Where batches become durable and state is read back. Owned by broker/journal. Two
// implementations, held to one conformance suite (tests/conformance/journal_test.cc): LmdbJournal
// on disk, MemoryJournal for simulation.
//
// Example:
//   auto journal = OpenLmdbJournal({.directory = "/var/lib/zsched"});
//   ZS_RETURN_IF_ERROR((*journal)->Commit(batch));             // on return it survives a power cut
//   auto view = (*journal)->View();
//   auto row = view->Get(Table::kTasks, id.value());
//
// Threads: Commit from one thread at a time (the journal thread); View from any thread, each view
// used by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/core/batch.h"
#include "schemas/ids.h"

namespace zsched::broker {

// Consecutive records as they lie in the log: `records` holds `count` of them back to back
// (broker/core/record.h knows where each ends). Bytes live as long as the view.
struct LogSegment {
  Lsn first_lsn;
  uint32_t count = 0;
  Epoch epoch;
  uint64_t hash_before = 0;  // the log's, before the first of them
  std::string_view records;
};

struct LogBounds {
  Lsn first;  // 0 when the log is empty
  Lsn last;
};

// A consistent snapshot of everything committed before View() was called. Keep it short (under a
// second; a follower's copy of all tables takes longer): while it lives, LMDB cannot reuse the pages freed after it. Every row read is verified
// against its checksum: DATA_LOSS names table and key, and means that the disk gave back other
// bytes than were written.
class JournalView {
 public:
  virtual ~JournalView() = default;

  // nullopt when there is no such row. The bytes live as long as the view.
  virtual absl::StatusOr<std::optional<std::string_view>> Get(Table table, uint64_t key) = 0;

  // Calls `visit` for each row with key >= from, by rising key, until it returns false.
  virtual absl::Status Scan(Table table, uint64_t from,
                            absl::FunctionRef<bool(uint64_t key, std::string_view row)> visit) = 0;

  // The same with key <= to, by falling key.
  virtual absl::Status ScanBack(
      Table table, uint64_t to,
      absl::FunctionRef<bool(uint64_t key, std::string_view row)> visit) = 0;

  // Calls `visit` for each segment from the one that contains `from` (or the first after it), until
  // it returns false.
  virtual absl::Status ScanLog(Lsn from, absl::FunctionRef<bool(const LogSegment&)> visit) = 0;

  virtual absl::StatusOr<LogBounds> Bounds() = 0;
};

struct JournalUsage {
  uint64_t map_bytes = 0;   // reserved
  uint64_t used_bytes = 0;  // of the map, highest page ever used
  uint64_t free_bytes = 0;  // of used_bytes, pages that can be used again
  uint64_t log_bytes = 0;
  uint64_t disk_free_bytes = 0;  // on the file system that holds the directory
};

// How much of the log is kept when somebody needs it: several times what is kept anyway, and the largest batch.
constexpr uint64_t HeldLogBytes(uint64_t keep_log_bytes) {
  constexpr uint64_t kLargestBatch = uint64_t{64} << 20;
  return keep_log_bytes > UINT64_MAX / 8 ? UINT64_MAX : 4 * keep_log_bytes + kLargestBatch;
}

class Journal {
 public:
  virtual ~Journal() = default;

  // Writes log records and mutations as one transaction. OK: durable. Any error: nothing may be
  // acknowledged any more and the outcome is unknown; the caller ends the process and recovers from
  // disk. Requires batch.first_lsn() to follow the last committed LSN (checked; a gap is an
  // INTERNAL error). May reorder the batch's mutation lists; changes nothing else in it.
  virtual absl::Status Commit(Batch& batch) = 0;

  // How long the last Commit waited for the disk: the redo file's write and fdatasync of a small one; LMDB's
  // own commit of a large one, which writes its pages and flushes them in one call. 0: it has no disk, or had
  // nothing to do. The thread that commits.
  virtual uint64_t last_flush_us() const { return 0; }

  virtual absl::StatusOr<std::unique_ptr<JournalView>> View() = 0;

  // The log from `from` on is needed by somebody: it is kept, up to HeldLogBytes. Lsn(): it is not. Any
  // thread.
  virtual void HoldLog(Lsn from) = 0;

  // As of the last commit. Any thread.
  virtual absl::StatusOr<JournalUsage> Usage() = 0;
};

struct LmdbOptions {
  std::string directory;                    // created (0700) when missing
  uint64_t map_bytes = uint64_t{64} << 30;  // reserved address space, not memory
  uint64_t keep_log_bytes = uint64_t{256}
                            << 20;  // older segments are trimmed, a bounded number a commit
};

// Errors, each one line that names the directory and what to do: CONFLICT (another broker holds the
// directory's lock), INVALID_ARGUMENT (made by a newer version, or not a zsched directory),
// UNAVAILABLE (cannot be created, read or written), DATA_LOSS (not a valid LMDB file),
// RESOURCE_EXHAUSTED or INTERNAL (as Commit's: the commits that wait in the redo file were not taken in).
absl::StatusOr<std::unique_ptr<Journal>> OpenLmdbJournal(const LmdbOptions& options);

// Keeps committed state over the journal's own life: a new MemoryJournal on the same Disk sees what
// was committed, so a simulated crash is the destruction of everything but the Disk.
class MemoryDisk;
std::shared_ptr<MemoryDisk> MakeMemoryDisk();
std::unique_ptr<Journal> OpenMemoryJournal(std::shared_ptr<MemoryDisk> disk);

}  // namespace zsched::broker
