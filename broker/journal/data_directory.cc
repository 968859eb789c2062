#include "broker/journal/data_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

constexpr mode_t kDirectoryMode = 0700;
constexpr mode_t kFileMode = 0600;
constexpr size_t kMaxSmallFileBytes = 64;  // lock and FORMAT hold one short line
constexpr std::string_view kFormatPrefix = "zsched-journal ";
constexpr std::string_view kFormatFile = "FORMAT";
constexpr std::string_view kFormatTemporary = "FORMAT.new";
constexpr std::string_view kMergedFile = "merged";
// What may lie in a directory that is not finished: our own files, and what mkfs leaves in the root
// of a file system.
constexpr std::string_view kCopyFolder = "copy";
constexpr std::string_view kTakingCopyFile = "taking-copy";
constexpr std::array<std::string_view, 13> kAllowedInNew = {".",
                                                            "..",
                                                            "lock",
                                                            "lock.mdb",
                                                            "data.mdb",
                                                            "redo",
                                                            "lost+found",
                                                            "register",
                                                            "register.new",
                                                            "archive",
                                                            kCopyFolder,
                                                            kTakingCopyFile,
                                                            kFormatTemporary};
// What makes a journal.
constexpr std::array<std::string_view, 3> kJournalFiles = {"data.mdb", "redo", kFormatFile};

// The errno of the failed call; `what` names it.
absl::Status SystemError(const std::string& path, const std::string& what) {
  std::string reason = std::strerror(errno);
  return Error(ErrorCode::kUnavailable, "data directory " + path + ": " + what + ": " + reason);
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

bool IsSameFile(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) || error;
}

// Makes the names in a directory durable.
absl::Status SyncDirectory(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok() || fsync(fd.get()) != 0) return SystemError(path, "cannot be synced");
  return absl::OkStatus();
}

// The first line of a small file; nullopt when it does not exist or cannot be read (errno says).
std::optional<std::string> ReadSmallFile(int fd) {
  char buffer[kMaxSmallFileBytes];
  ssize_t size = pread(fd, buffer, sizeof(buffer), 0);
  if (size < 0) return std::nullopt;
  std::string_view text(buffer, static_cast<size_t>(size));
  return std::string(text.substr(0, text.find('\n')));
}

absl::Status MakeDirectory(const std::string& path) {
  if (path.empty()) return Error(ErrorCode::kInvalidArgument, "the data directory has no name");
  if (mkdir(path.c_str(), kDirectoryMode) == 0) return absl::OkStatus();
  if (errno != EEXIST) return SystemError(path, "cannot be created");
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return SystemError(path, "cannot be read");
  if (!S_ISDIR(info.st_mode))
    return Error(ErrorCode::kInvalidArgument,
                 "data directory " + path + " is not a directory; name another one");
  return absl::OkStatus();
}

// Refuses to settle among somebody else's files.
absl::Status CheckNothingForeign(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(path.c_str()), &closedir);
  if (dir == nullptr) return SystemError(path, "cannot be read");
  for (const dirent* entry; (entry = readdir(dir.get())) != nullptr;) {
    std::string_view name = entry->d_name;
    if (name == kFormatFile) return absl::OkStatus();  // ours; CheckFormat looks into it
    if (std::find(kAllowedInNew.begin(), kAllowedInNew.end(), name) != kAllowedInNew.end())
      continue;
    // FORMAT may still follow in the listing.
    if (access((path + "/" + std::string(kFormatFile)).c_str(), F_OK) == 0) return absl::OkStatus();
    return Error(ErrorCode::kInvalidArgument,
                 "data directory " + path + " is not a zsched directory (it has '" +
                     std::string(name) + "' and no FORMAT); name an empty or a new one");
  }
  return absl::OkStatus();
}

absl::StatusOr<int> TakeLock(const std::string& path) {
  Fd fd(open((path + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode));
  if (!fd.ok()) return SystemError(path, "cannot open its lock");
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return SystemError(path, "cannot take its lock");
    std::string holder = ReadSmallFile(fd.get()).value_or("");
    return Error(ErrorCode::kConflict, "data directory " + path + " is in use by another broker (" +
                                           (holder.empty() ? "starting" : holder) +
                                           "); stop it or name another directory");
  }
  std::string holder = "pid " + std::to_string(getpid()) + "\n";
  // Only a help to people: the lock itself is flock's.
  if (ftruncate(fd.get(), 0) != 0 ||
      pwrite(fd.get(), holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size()))
    return SystemError(path, "cannot write its lock");
  return fd.Release();
}

}  // namespace

absl::StatusOr<DataDirectory> DataDirectory::Open(const std::string& path) {
  ZS_RETURN_IF_ERROR(MakeDirectory(path));
  ZS_RETURN_IF_ERROR(CheckNothingForeign(path));
  ZS_ASSIGN_OR_RETURN(int lock_fd, TakeLock(path));
  DataDirectory directory(path, lock_fd);
  ZS_RETURN_IF_ERROR(directory.FinishTakingCopy());
  ZS_RETURN_IF_ERROR(directory.CheckFormat());
  return directory;
}

// By names of the same files: nothing is copied, and the archive is whole before anything is replaced.
absl::Status DataDirectory::LinkInto(const std::string& archive) const {
  for (const std::string& folder : {path_ + "/archive", archive})
    if (mkdir(folder.c_str(), kDirectoryMode) != 0 && errno != EEXIST)
      return SystemError(path_, folder + " cannot be created");
  for (std::string_view file : kJournalFiles) {
    const std::string name(file);
    if (link((path_ + "/" + name).c_str(), (archive + "/" + name).c_str()) != 0 && errno != EEXIST)
      return SystemError(path_, name + " cannot be set aside");
  }
  ZS_RETURN_IF_ERROR(SyncDirectory(archive));
  return SyncDirectory(path_ + "/archive");
}

absl::StatusOr<std::string> DataDirectory::MakeCopy(const std::string& path) {
  const std::string copy = path + "/" + std::string(kCopyFolder);
  std::error_code error;
  std::filesystem::remove_all(copy, error);
  if (error) {
    errno = error.value();
    return SystemError(path, copy + " cannot be removed");
  }
  return copy;
}

// Each file takes the place of the own one at once, so that this can be done again from anywhere.
absl::Status DataDirectory::FinishTakingCopy() const {
  const std::string marker = path_ + "/" + std::string(kTakingCopyFile);
  if (access(marker.c_str(), F_OK) != 0) return absl::OkStatus();
  const std::string copy = path_ + "/" + std::string(kCopyFolder);
  for (std::string_view file : kJournalFiles) {
    const std::string name = "/" + std::string(file);
    if (rename((copy + name).c_str(), (path_ + name).c_str()) != 0 && errno != ENOENT)
      return SystemError(path_, std::string(file) + " cannot be replaced");
  }
  if (unlink((path_ + "/lock.mdb").c_str()) != 0 && errno != ENOENT)
    return SystemError(path_, "lock.mdb cannot be removed");
  ZS_RETURN_IF_ERROR(SyncDirectory(path_));
  if (unlink(marker.c_str()) != 0) return SystemError(path_, "taking-copy cannot be removed");
  ZS_RETURN_IF_ERROR(SyncDirectory(path_));
  return MakeCopy(path_).status();
}

absl::Status DataDirectory::TakeCopy(const std::string& path, const std::string& archive) {
  ZS_ASSIGN_OR_RETURN(const DataDirectory directory, Open(path));
  // Whole, or it would not have its FORMAT.
  ZS_RETURN_IF_ERROR(Open(path + "/" + std::string(kCopyFolder)).status());
  if (access((path + "/" + std::string(kCopyFolder) + "/" + std::string(kFormatFile)).c_str(),
             F_OK) != 0)
    return SystemError(path, "there is no whole copy");
  if (!archive.empty() && !directory.is_new())
    ZS_RETURN_IF_ERROR(directory.LinkInto(path + "/archive/" + archive));
  {
    const Fd marker(open((path + "/" + std::string(kTakingCopyFile)).c_str(),
                         O_WRONLY | O_CREAT | O_CLOEXEC, kFileMode));
    if (!marker.ok() || fsync(marker.get()) != 0) return SystemError(path, "taking-copy");
  }
  ZS_RETURN_IF_ERROR(SyncDirectory(path));
  return directory.FinishTakingCopy();
}

absl::StatusOr<std::vector<std::string>> DataDirectory::UnmergedArchives(const std::string& path) {
  std::vector<std::string> archives;
  std::error_code error;
  std::filesystem::directory_iterator folders(path + "/archive", error);
  if (error == std::errc::no_such_file_or_directory) return archives;
  for (; !error && folders != std::filesystem::directory_iterator(); folders.increment(error)) {
    const std::string archive = folders->path().string();
    // Taking a copy may have been cut off before there was all of it, or before it was another file than the own.
    const bool whole = access((archive + "/" + std::string(kFormatFile)).c_str(), F_OK) == 0 &&
                       !IsSameFile(archive + "/data.mdb", path + "/data.mdb");
    if (whole && access((archive + "/" + std::string(kMergedFile)).c_str(), F_OK) != 0)
      archives.push_back(archive);
  }
  if (error) {
    errno = error.value();
    return SystemError(path, "archive cannot be read");
  }
  // Names end in the time.
  auto time_of = [](const std::string& name) { return name.substr(name.rfind('-') + 1); };
  std::sort(archives.begin(), archives.end(), [&](const std::string& a, const std::string& b) {
    return std::tuple(time_of(a), a) < std::tuple(time_of(b), b);
  });
  return archives;
}

absl::Status DataDirectory::MarkMerged(const std::string& archive) {
  const Fd marker(open((archive + "/" + std::string(kMergedFile)).c_str(),
                       O_WRONLY | O_CREAT | O_CLOEXEC, kFileMode));
  if (!marker.ok() || fsync(marker.get()) != 0) return SystemError(archive, "merged");
  return SyncDirectory(archive);
}

DataDirectory::DataDirectory(DataDirectory&& other) noexcept
    : path_(std::move(other.path_)),
      lock_fd_(std::exchange(other.lock_fd_, -1)),
      is_new_(other.is_new_) {}

DataDirectory::~DataDirectory() {
  if (lock_fd_ >= 0) close(lock_fd_);
}

absl::Status DataDirectory::CheckFormat() {
  Fd fd(open((path_ + "/" + std::string(kFormatFile)).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) {
    if (errno != ENOENT) return SystemError(path_, "cannot open FORMAT");
    is_new_ = true;
    return SyncDirectory(path_ + "/..");
  }
  std::optional<std::string> line = ReadSmallFile(fd.get());
  if (!line) return SystemError(path_, "cannot read FORMAT");
  int version = 0;
  const char* end = line->data() + line->size();
  bool known = line->starts_with(kFormatPrefix) &&
               std::from_chars(line->data() + kFormatPrefix.size(), end, version).ptr == end;
  if (!known || version < 1)
    return Error(ErrorCode::kInvalidArgument,
                 "data directory " + path_ +
                     " is not a zsched directory (FORMAT says otherwise); name another one");
  if (version > kJournalFormat)
    return Error(ErrorCode::kInvalidArgument,
                 "data directory " + path_ + " was made by a newer zsched (format " +
                     std::to_string(version) + ", this one reads up to " +
                     std::to_string(kJournalFormat) + "); upgrade zsched");
  // The process that renamed FORMAT may have ended before it could do this.
  ZS_RETURN_IF_ERROR(SyncDirectory(path_));
  struct stat info;
  // LMDB would take a missing or empty file for a new, empty database.
  if (stat((path_ + "/data.mdb").c_str(), &info) != 0 || info.st_size == 0)
    return Error(ErrorCode::kDataLoss, "data directory " + path_ +
                                           " has lost its data.mdb; restore it from a backup, or "
                                           "name a new directory to begin empty");
  return absl::OkStatus();
}

absl::Status DataDirectory::FinishCreation() {
  std::string temporary = path_ + "/" + std::string(kFormatTemporary);
  std::string text = std::string(kFormatPrefix) + std::to_string(kJournalFormat) + "\n";
  Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode));
  if (!fd.ok() || write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(fd.get()) != 0)
    return SystemError(path_, "cannot write FORMAT");
  // data.mdb's name first: FORMAT promises that it is there.
  ZS_RETURN_IF_ERROR(SyncDirectory(path_));
  if (rename(temporary.c_str(), (path_ + "/" + std::string(kFormatFile)).c_str()) != 0)
    return SystemError(path_, "cannot write FORMAT");
  ZS_RETURN_IF_ERROR(SyncDirectory(path_));
  is_new_ = false;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> DataDirectory::FreeBytes() const {
  struct statvfs info;
  if (statvfs(path_.c_str(), &info) != 0)
    return SystemError(path_, "cannot tell how much disk is free");
  return uint64_t{info.f_bavail} * info.f_frsize;
}

absl::StatusOr<uint64_t> DataDirectory::DataFileBytes() const {
  struct stat info;
  if (stat((path_ + "/data.mdb").c_str(), &info) != 0) return SystemError(path_, "data.mdb");
  return static_cast<uint64_t>(info.st_size);
}

absl::Status DataDirectory::ResizeDataFile(uint64_t bytes) const {
  if (truncate((path_ + "/data.mdb").c_str(), static_cast<off_t>(bytes)) != 0)
    return SystemError(path_, "cannot set the length of data.mdb");
  return absl::OkStatus();
}

}  // namespace zsched::broker
