// The order of everything a process did to the files of one directory, with notes of what it was told
// in between. Owned by tests/crash.
//
// Example:
//   Recorder recorder(root);                  // what lies in `root` now is taken for durable
//   recorder.Note(NoteKind::kBegun, 7);       // commit 7 is on its way
//   journal->Commit(batch);
//   recorder.Note(NoteKind::kAcknowledged, 7);
//   Recording recording = recorder.Stop();
//
// Threads: as file_calls.h; one recorder at a time in a process.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash/fault.h"
#include "tests/crash/file_calls.h"

namespace zsched::crash {

// Files and directories below a root, by their path from there. A directory has no bytes.
using Tree = std::map<std::string, std::optional<std::string>>;

Tree ReadTree(const std::string& root);
// Zeros in the unused middle of each LMDB page in `bytes`, which begin at `offset` of data.mdb. LMDB leaves there what its
// buffers held before, addresses among it; with zeros a seed gives the same images every time.
void BlankUnused(std::string& bytes, uint64_t offset);

// Makes `root` hold `tree` and nothing else.
void WriteTree(const Tree& tree, const std::string& root);

enum class NoteKind : uint8_t {
  kNone,
  kBegun,         // the state with this number may be found from now on
  kAcknowledged,  // the state with this number, or a later one, must be found from now on
};

// A change, a sync, or a note. Paths are relative to the recorder's root; the root itself is "".
struct Event {
  CallKind kind{};
  std::string path, target;
  uint64_t offset = 0;  // kResize: the new length
  std::string bytes;
  bool synchronous = false;
  NoteKind note = NoteKind::kNone;  // if not kNone, this event is a note, and the rest is empty
  size_t state = 0;
};

// As it was, but for BlankUnused.
struct Recording {
  Tree base;
  std::vector<Event> events;
};

class Recorder final : public FileObserver {
 public:
  // Calls that fail are not recorded.
  explicit Recorder(const std::string& root, std::optional<Fault> fault = std::nullopt);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() override;

  void Note(NoteKind note, size_t state);
  // Ends the recording, once.
  Recording Stop();
  const FaultCounter& faults() const { return faults_; }

  Verdict Before(const FileCall& call) override;
  void After(const FileCall& call) override;

 private:
  std::string Relative(const std::string& path) const;

  const std::string root_;
  FaultCounter faults_;
  Recording recording_;
};

}  // namespace zsched::crash
