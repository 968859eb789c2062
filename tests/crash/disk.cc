#include "tests/crash/disk.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace zsched::crash {
namespace {

// Written through a map: see disk.h.
constexpr std::string_view kMappedFile = "lock.mdb";

std::string ParentOf(const std::string& path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

std::string Rubbish(size_t size, sim::Random& random) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.Next());
  return bytes;
}

// Makes `bytes` as long as `length`; sectors that are new hold zeros or rubbish.
void Extend(std::string& bytes, uint64_t length, sim::Random& random) {
  if (length <= bytes.size()) return;
  size_t old = bytes.size();
  bytes.resize(length);
  if (!random.Chance(0.5)) return;
  std::string rubbish = Rubbish(kSectorBytes, random);
  for (size_t at = old; at < length; ++at) bytes[at] = rubbish[at % kSectorBytes];
}

}  // namespace

// What share of the pending changes an image takes: drawn anew for each image, so that all, none,
// all but one, only one and any mixture come up.
struct Disk::Odds {
  double change = 0;  // a change is looked at at all
  double sector = 1;  // then each sector of it
  double length = 0;  // its new length, without its bytes
  double flip = 0;    // a change that was taken is not, and the other way round

  static Odds Draw(sim::Random& random) {
    Odds odds;
    odds.length = random.Unit();
    switch (random.Below(6)) {
      case 0:  // whole changes
        odds.change = 0.5;
        break;
      case 1:  // sectors
        odds.change = 1;
        odds.sector = 0.5;
        break;
      case 2:  // nearly everything
        odds.change = 1;
        odds.sector = 0.99;
        odds.flip = 0.1;
        break;
      case 3:  // nearly nothing
        odds.sector = 0.9;
        odds.flip = 0.1;
        break;
      case 4:  // all or nothing
        odds.change = random.Below(2) == 0 ? 0 : 1;
        break;
      default:
        odds.change = random.Unit();
        odds.sector = random.Unit();
    }
    return odds;
  }
  bool Takes(sim::Random& random) const { return random.Chance(change) != random.Chance(flip); }
};

Disk::Disk(const Tree& base) {
  for (const auto& [path, bytes] : base) {
    names_[path] = bytes ? files_.size() : kDirectory;
    if (bytes) files_.push_back({.durable = *bytes, .cache = *bytes, .pending = {}});
  }
  durable_names_ = names_;
}

void Disk::Issue(const Event& event) {
  if (event.note != NoteKind::kNone) return;
  switch (event.kind) {
    case CallKind::kCreate:
      files_.emplace_back();
      return Create(event.path, files_.size() - 1, "");
    case CallKind::kMakeDirectory:
      return Create(event.path, kDirectory, "");
    case CallKind::kRename:
      return Create(event.target, names_.at(event.path), event.path);
    case CallKind::kWrite:
      return Write(event);
    case CallKind::kResize:
      return Resize(FileAt(event.path), event.offset);
    case CallKind::kSync:
    case CallKind::kSyncDirectory:
      return;
  }
}

void Disk::Settle(const Event& event) {
  if (event.note != NoteKind::kNone) return;
  if (event.kind == CallKind::kSync && lie_ != Lie::kDataSyncIgnored) Sync(FileAt(event.path));
  if (event.kind == CallKind::kSyncDirectory && lie_ != Lie::kDirectorySyncIgnored)
    SyncDirectory(event.path);
  if (event.kind == CallKind::kWrite && event.synchronous && lie_ != Lie::kSynchronousIsNot)
    SyncSectors(FileAt(event.path), event.offset, event.bytes.size());
}

void Disk::Create(const std::string& path, FileId file, const std::string& removed) {
  pending_names_.push_back({.path = path, .file = file, .removed = removed});
  Apply(pending_names_.back(), names_);
}

void Disk::Apply(const NameChange& change, Names& names) {
  names[change.path] = change.file;
  if (!change.removed.empty()) names.erase(change.removed);
}

void Disk::Write(const Event& event) {
  File& file = FileAt(event.path);
  const uint64_t end = event.offset + event.bytes.size();
  if (end > file.cache.size()) file.cache.resize(end);
  file.cache.replace(event.offset, event.bytes.size(), event.bytes);
  const uint64_t first = event.offset / kSectorBytes;
  const uint64_t sectors = (end + kSectorBytes - 1) / kSectorBytes - first;
  Pending change{.first_sector = first,
                 .bytes = file.cache.substr(first * kSectorBytes, sectors * kSectorBytes),
                 .dropped = std::vector<bool>(sectors),
                 .length = file.cache.size()};
  file.pending.push_back(std::move(change));
}

void Disk::Resize(File& file, uint64_t length) {
  Pending change;
  change.length = length;
  change.cut = length < file.cache.size();
  file.cache.resize(length);
  file.pending.push_back(std::move(change));
}

void Disk::Apply(const Pending& change, std::string& bytes) {
  if (change.cut || bytes.size() < change.length) bytes.resize(change.length);
  for (size_t i = 0; i < change.dropped.size(); ++i) {
    if (change.dropped[i]) continue;
    std::string_view sector = std::string_view(change.bytes).substr(i * kSectorBytes, kSectorBytes);
    bytes.replace((change.first_sector + i) * kSectorBytes, sector.size(), sector);
  }
}

void Disk::Sync(File& file) {
  std::vector<Pending> kept;
  for (size_t i = 0; i < file.pending.size(); ++i) {
    if (lie_ == Lie::kSyncLosesOneWrite && i == file.pending.size() / 2)
      kept.push_back(std::move(file.pending[i]));
    else
      Apply(file.pending[i], file.durable);
  }
  file.pending = std::move(kept);
}

void Disk::SyncSectors(File& file, uint64_t offset, size_t size) {
  const uint64_t first = offset / kSectorBytes;
  const uint64_t end = (offset + size + kSectorBytes - 1) / kSectorBytes;
  if (file.durable.size() < offset + size) file.durable.resize(offset + size);
  std::string newest = file.cache.substr(first * kSectorBytes, (end - first) * kSectorBytes);
  newest.resize(std::min(newest.size(), file.durable.size() - first * kSectorBytes));
  file.durable.replace(first * kSectorBytes, newest.size(), newest);
  for (Pending& change : file.pending)
    for (uint64_t sector = first; sector < end; ++sector)
      if (sector >= change.first_sector && sector - change.first_sector < change.dropped.size())
        change.dropped[sector - change.first_sector] = true;
  std::erase_if(file.pending, [](const Pending& change) {
    return !change.dropped.empty() &&
           std::find(change.dropped.begin(), change.dropped.end(), false) == change.dropped.end();
  });
}

void Disk::SyncDirectory(const std::string& path) {
  std::erase_if(pending_names_, [&](const NameChange& change) {
    if (ParentOf(change.path) != path) return false;
    Apply(change, durable_names_);
    return true;
  });
}

std::string Disk::DrawFile(const File& file, const Odds& odds, sim::Random& random) const {
  std::string bytes = file.durable;
  for (const Pending& change : file.pending) {
    if (!odds.Takes(random)) {
      if (!change.cut && random.Chance(odds.length)) Extend(bytes, change.length, random);
      continue;
    }
    if (change.cut) bytes.resize(std::min<uint64_t>(bytes.size(), change.length));
    if (change.dropped.empty()) Extend(bytes, change.length, random);
    for (size_t i = 0; i < change.dropped.size(); ++i) {
      if (change.dropped[i] || !random.Chance(odds.sector)) continue;
      std::string_view sector =
          std::string_view(change.bytes).substr(i * kSectorBytes, kSectorBytes);
      const uint64_t at = (change.first_sector + i) * kSectorBytes;
      Extend(bytes, at + sector.size(), random);
      bytes.replace(at, sector.size(), sector);
    }
  }
  return bytes;
}

Disk::Names Disk::DrawNames(const Odds& odds, sim::Random& random) const {
  Names names = durable_names_;
  for (const NameChange& change : pending_names_)
    if (odds.Takes(random)) Apply(change, names);
  return names;
}

Tree Disk::Draw(sim::Random& random) const {
  const Odds odds = Odds::Draw(random);
  Tree tree;
  for (const auto& [path, file] : DrawNames(odds, random)) {
    std::string parent = ParentOf(path);
    if (!parent.empty() && !tree.contains(parent)) continue;  // its directory did not make it
    if (file == kDirectory)
      tree[path] = std::nullopt;
    else if (path.ends_with(kMappedFile))
      tree[path] = Rubbish(random.Below(2) * files_[file].cache.size(), random);
    else
      tree[path] = DrawFile(files_[file], odds, random);
  }
  return tree;
}

}  // namespace zsched::crash
