// A disk under a page cache: what a recording leaves behind when power fails at a given moment. Owned
// by tests/crash.
//
//   change ──Issue──▶ cache, and pending ──Settle (sync)──▶ durable
//                        └── Draw: any part of what is pending ──▶ an image
//
// The model, in all doubt the worse one:
// - Each 512-byte sector of a file independently holds what was last synced or any of its contents
//   since. Within one sector later changes build on earlier ones, as in the page cache.
// - fsync and fdatasync make one file's bytes and length durable, not its name.
// - A write on a descriptor with O_DSYNC makes the sectors that it touches durable, no others.
// - The length of a file moves with a pending change or without it; new sectors whose bytes did not
//   arrive are zeros or rubbish.
// - Names (creation, rename, new directories) become durable when their directory is synced; until
//   then each of them independently happened or not.
// - lock.mdb is written through a shared map that nobody sees: it holds anything.
// The crash comes while one event is under way: a write may have reached the disk, a sync promises
// nothing yet.
//
// Example:
//   Disk disk(recording.base);
//   for (const Event& event : recording.events) {
//     disk.Issue(event);
//     Tree image = disk.Draw(random);  // power fails here
//     disk.Settle(event);
//   }
//
// Threads: one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/crash/recorder.h"
#include "tests/sim/random.h"

namespace zsched::crash {

inline constexpr size_t kSectorBytes = 512;

// Ways in which a disk may lie, to see that images tell.
enum class Lie : uint8_t {
  kNone,
  kDataSyncIgnored,    // fdatasync and fsync of files return, and nothing is durable
  kSyncLosesOneWrite,  // a sync leaves one of the writes before it behind
  kSynchronousIsNot,   // O_DSYNC is not heard
  kDirectorySyncIgnored,
};

class Disk {
 public:
  explicit Disk(const Tree& base);
  // From now on.
  void BeginLying(Lie lie) { lie_ = lie; }

  // The event begins: from now on its change may reach the disk.
  void Issue(const Event& event);
  // It has returned.
  void Settle(const Event& event);

  Tree Draw(sim::Random& random) const;

 private:
  using FileId = size_t;
  static constexpr FileId kDirectory = SIZE_MAX;

  // One change of a file that no sync has covered: whole sectors as they stood after it, or none for
  // a change of length.
  struct Pending {
    uint64_t first_sector = 0;
    std::string bytes;
    std::vector<bool> dropped;  // by sector: a later O_DSYNC write made a newer one durable
    uint64_t length = 0;        // of the file after it
    bool cut = false;           // it made the file shorter
  };
  struct File {
    std::string durable, cache;
    std::vector<Pending> pending;
  };
  struct NameChange {
    std::string path;
    FileId file = kDirectory;
    std::string removed;  // the old name of a rename
  };
  using Names = std::map<std::string, FileId>;
  struct Odds;

  File& FileAt(const std::string& path) { return files_[names_.at(path)]; }
  void Create(const std::string& path, FileId file, const std::string& removed);
  void Write(const Event& event);
  void Resize(File& file, uint64_t length);
  void Sync(File& file);
  void SyncSectors(File& file, uint64_t offset, size_t size);
  void SyncDirectory(const std::string& path);
  static void Apply(const Pending& change, std::string& bytes);
  static void Apply(const NameChange& change, Names& names);
  std::string DrawFile(const File& file, const Odds& odds, sim::Random& random) const;
  Names DrawNames(const Odds& odds, sim::Random& random) const;

  Lie lie_ = Lie::kNone;
  std::vector<File> files_;
  Names names_, durable_names_;
  std::vector<NameChange> pending_names_;
};

}  // namespace zsched::crash
