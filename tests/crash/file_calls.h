// What this process does to files, seen at the border to the system, where each call may be made to
// fail. Owned by tests/crash.
//
//   LMDB, journal ──write, pwrite, writev, fdatasync, …──▶ file_calls.cc ──▶ libc
//                                                     Before │ ▲ After
//                                                            ▼ │
//                                                        FileObserver
//
// file_calls.cc defines the libc functions that change files. A program's own definition wins over
// libc's for every library in the process, so linking it in is all there is to do; the same file
// makes a library for LD_PRELOAD. Without an observer each call costs one load more.
//
// Seen: open (what it creates and empties), mkdir, rename, write, pwrite, writev, pwritev, ftruncate,
// truncate, fsync, fdatasync. Not seen: what is written through shared maps (LMDB's lock.mdb; its
// data.mdb is mapped for reading only), and calls that neither LMDB nor the journal makes.
//
// Example:
//   Recorder recorder;                    // a FileObserver
//   ObserveFiles(&recorder, "/tmp/x");
//   …
//   ObserveFiles(nullptr, "");
//
// Threads: ObserveFiles while no other thread touches files below `root`; the observer is called by
// one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace zsched::crash {

enum class CallKind : uint8_t {
  kCreate,  // a file that was not there
  kMakeDirectory,
  kRename,
  kWrite,
  kResize,
  kSync,           // of a file
  kSyncDirectory,  // of the names in it
};
inline constexpr size_t kCallKinds = 7;

struct FileCall {
  CallKind kind{};
  std::string path;          // absolute, without links
  std::string target;        // kRename
  uint64_t offset = 0;       // kWrite: of the first byte. kResize: the new length
  std::string_view bytes;    // kWrite
  bool synchronous = false;  // kWrite on a descriptor with O_DSYNC: durable on return
};

// What becomes of a call. An error: nothing happens, and the caller sees errno. Short: a write takes
// half of its bytes and says so, as a disk that fills up does.
struct Verdict {
  int error = 0;
  bool is_short = false;
};

class FileObserver {
 public:
  virtual ~FileObserver() = default;
  virtual Verdict Before(const FileCall& call) = 0;
  // The call succeeded; a short write with the bytes it took.
  virtual void After(const FileCall& call) = 0;
};

// Shows `observer` every call on files below `root` (absolute, without links), and on `root` itself.
// Null: nobody.
void ObserveFiles(FileObserver* observer, const std::string& root);

}  // namespace zsched::crash
