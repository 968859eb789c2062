#include "broker/journal/redo_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "broker/journal/codec.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr size_t kSlotBytes = 16 << 10;
constexpr size_t kFileBytes = kMaxLayers * kSlotBytes;
constexpr size_t kLengthBytes = 8;
static_assert(kLengthBytes + kMaxSegmentBytes <= kSlotBytes);

absl::Status Failed(ErrorCode code, const char* what) {
  return Error(code, std::string("cannot ") + what + " redo: " + std::strerror(errno));
}

absl::Status NotWhole() {
  return Error(ErrorCode::kDataLoss,
               "redo is missing or not whole; restore the directory from a backup, or name a new "
               "one to begin empty");
}

std::string_view SlotOf(std::string_view file, size_t slot) {
  return file.substr(slot * kSlotBytes, kSlotBytes);
}

// The commit in a slot; nullptr when there is no whole one.
std::shared_ptr<const RedoLayer> ReadSlot(std::string_view slot) {
  uint64_t length, first_lsn;
  std::memcpy(&length, slot.data(), kLengthBytes);
  if (length < kSegmentHeaderBytes || length > kSlotBytes - kLengthBytes) return nullptr;
  std::string_view stored = slot.substr(kLengthBytes, length);
  std::memcpy(&first_lsn, stored.data() + offsetof(SegmentHeader, first_lsn), sizeof first_lsn);
  auto segment = LoadSegment(Lsn(first_lsn), stored);
  if (!segment.ok()) return nullptr;
  auto layer = RedoLayer::Decode(segment->segment, segment->redo);
  return layer.ok() ? *std::move(layer) : nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RedoFile>> RedoFile::Create(const std::string& path) {
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kFileMode);
  if (fd < 0) return Failed(ErrorCode::kUnavailable, "make");
  std::unique_ptr<RedoFile> file(new RedoFile(fd));
  ZS_ASSIGN_OR_RETURN(std::string leftover, file->ReadAll());
  leftover.resize(kFileBytes);
  for (size_t slot = 0; slot < kMaxLayers; ++slot)
    if (ReadSlot(SlotOf(leftover, slot)) != nullptr)
      return Error(ErrorCode::kInvalidArgument,
                   "redo has tasks, and there is no FORMAT file; restore FORMAT, or name another "
                   "directory");
  const std::string zeros(kFileBytes, '\0');
  errno = ENOSPC;  // what a write that took a part mostly means
  if (pwrite(fd, zeros.data(), zeros.size(), 0) != static_cast<ssize_t>(zeros.size()) ||
      ftruncate(fd, kFileBytes) != 0 || fsync(fd) != 0)
    return Failed(ErrorCode::kUnavailable, "make");
  return file;
}

absl::StatusOr<std::unique_ptr<RedoFile>> RedoFile::Open(const std::string& path) {
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) return Failed(ErrorCode::kUnavailable, "open");
  std::unique_ptr<RedoFile> file(new RedoFile(fd));
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0 || info.st_size != kFileBytes) return NotWhole();
  return file;
}

RedoFile::~RedoFile() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::string> RedoFile::ReadAll() const {
  std::string bytes(kFileBytes, '\0');
  size_t size = 0;
  while (size < bytes.size()) {
    ssize_t got = pread(fd_, bytes.data() + size, bytes.size() - size, static_cast<off_t>(size));
    // A page that cannot be read ends a call early; the next one says so.
    if (got < 0) return Failed(ErrorCode::kUnavailable, "read");
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

absl::StatusOr<RedoLayers> RedoFile::Read(Lsn last) {
  ZS_ASSIGN_OR_RETURN(const std::string bytes, ReadAll());
  if (bytes.size() != kFileBytes) return NotWhole();
  RedoLayers layers;
  bool goes_on = true;
  for (size_t slot = 0; slot < kMaxLayers; ++slot) {
    auto layer = ReadSlot(SlotOf(bytes, slot));
    const Lsn first = layer == nullptr ? Lsn() : layer->segment().first_lsn;
    goes_on = goes_on && layer != nullptr && (first == Next(last) || !last);
    if (goes_on) {
      last = LastLsn(layer->segment());
      layers.push_back(std::move(layer));
    } else if (Next(last) < first) {  // a commit that was lost had an LSN at least
      return Error(ErrorCode::kDataLoss,
                   "redo has no commit at LSN " + std::to_string(Next(last).value()) +
                       " and one behind it; the disk returned other bytes than were written");
    }
  }
  return layers;
}

absl::Status RedoFile::Write(size_t slot, const RedoLayer& layer) {
  ZS_CHECK(slot < kMaxLayers);
  const LogSegment segment = layer.segment();
  const uint64_t length = StoredSegmentBytes(segment, layer.bytes());
  ZS_CHECK(length <= kMaxSegmentBytes);
  buffer_.resize(kLengthBytes + length);
  std::memcpy(buffer_.data(), &length, kLengthBytes);
  StoreSegment(segment, layer.bytes(), buffer_.data() + kLengthBytes);
  errno = ENOSPC;  // what a write that took a part mostly means
  if (pwrite(fd_, buffer_.data(), buffer_.size(), static_cast<off_t>(slot * kSlotBytes)) !=
          static_cast<ssize_t>(buffer_.size()) ||
      fdatasync(fd_) != 0)
    return Failed(ErrorCode::kInternal, "write");
  return absl::OkStatus();
}

}  // namespace zsched::broker
