#include "broker/replication/file_register.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "schemas/errors.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zsched::broker {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr char kTemporaryName[] = "register.new";
constexpr size_t kChecksumBytes = 8;
// A newer version may be longer than ours; no register is as long as this.
constexpr size_t kMaxFileBytes = 4096;

static_assert(std::endian::native == std::endian::little);
struct FileBytes {
  char magic[8] = {'z', 's', '-', 'r', 'e', 'g', 's', 't'};
  uint32_t version = 1;
  uint32_t epoch = 0;
  uint8_t active = 0;
  uint8_t in_sync = 0;
  uint8_t reserved[6] = {};
  uint64_t cluster_hi = 0;
  uint64_t cluster_lo = 0;
  uint64_t checksum = 0;
};
static_assert(sizeof(FileBytes) == 48 && offsetof(FileBytes, checksum) == 40);

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

class Lock {
 public:
  explicit Lock(int fd) : fd_(fd) {
    int result;
    while ((result = flock(fd_, LOCK_EX)) != 0 && errno == EINTR) {
    }
    held_ = result == 0;
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (held_) flock(fd_, LOCK_UN);
  }
  bool held() const { return held_; }

 private:
  const int fd_;
  bool held_ = false;
};

uint64_t ChecksumOf(const void* bytes, size_t size) { return XXH3_64bits(bytes, size); }

FileBytes Encode(const Register& value) {
  FileBytes bytes;
  bytes.epoch = static_cast<uint32_t>(value.epoch.value());
  bytes.active = value.active;
  bytes.in_sync = value.in_sync;
  bytes.cluster_hi = value.cluster.hi;
  bytes.cluster_lo = value.cluster.lo;
  bytes.checksum = ChecksumOf(&bytes, offsetof(FileBytes, checksum));
  return bytes;
}

class FileRegister final : public RegisterStore {
 public:
  FileRegister(std::string path, Fd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  absl::StatusOr<Register> Read() override;
  absl::StatusOr<Register> Swap(const Register& expected, const Register& wanted) override;

 private:
  // The value in the file, durable. Requires the lock.
  absl::StatusOr<Register> ReadDurable();
  absl::StatusOr<Register> ReadFile() const;
  absl::StatusOr<Register> Decode(std::string_view file) const;
  absl::Status Write(const Register& value);
  absl::Status WriteTemporary(const FileBytes& bytes) const;

  std::string File() const { return path_ + "/" + kRegisterFileName; }
  std::string Temporary() const { return path_ + "/" + kTemporaryName; }
  // The errno of the failed call.
  absl::Status Failed(const std::string& what) const;
  absl::Status Damaged(const std::string& what) const;

  const std::string path_;
  const Fd directory_;
  // What the file's name stands for may not be on disk yet: whoever renamed it last did not come to
  // sync the directory.
  bool name_in_doubt_ = true;
  // Syncing it failed. The system may have forgotten by then that there was something to sync, so
  // another sync would prove nothing; a value that is written anew does.
  bool write_anew_ = false;
};

absl::Status FileRegister::Failed(const std::string& what) const {
  return Error(ErrorCode::kUnavailable,
               "register in " + path_ + ": " + what + ": " + std::strerror(errno));
}

absl::Status FileRegister::Damaged(const std::string& what) const {
  return Error(ErrorCode::kDataLoss,
               File() + " is damaged (" + what +
                   "); stop both brokers, move it away, and start the one that was active first");
}

absl::StatusOr<Register> FileRegister::Decode(std::string_view file) const {
  const FileBytes ours;
  FileBytes bytes;
  if (file.size() < sizeof bytes || file.size() > kMaxFileBytes)
    return Damaged("it has " + std::to_string(file.size()) + " bytes or more");
  uint64_t checksum;
  std::memcpy(&checksum, file.data() + file.size() - kChecksumBytes, kChecksumBytes);
  if (checksum != ChecksumOf(file.data(), file.size() - kChecksumBytes))
    return Damaged("its checksum is wrong");
  std::memcpy(&bytes, file.data(), sizeof bytes);
  if (std::memcmp(bytes.magic, ours.magic, sizeof ours.magic) != 0)
    return Damaged("it is no register");
  if (bytes.version > ours.version)
    return Error(ErrorCode::kInvalidArgument,
                 File() + " was written by a newer zsched (version " +
                     std::to_string(bytes.version) + ", this one reads up to " +
                     std::to_string(ours.version) + "); upgrade zsched");
  const Register value{Epoch(bytes.epoch), bytes.active, bytes.in_sync,
                       Uuid{bytes.cluster_hi, bytes.cluster_lo}};
  if (file.size() != sizeof bytes || value.empty() || !CheckRegister(value).ok())
    return Damaged("its fields contradict each other");
  return value;
}

absl::StatusOr<Register> FileRegister::ReadFile() const {
  Fd fd(open(File().c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok()) {
    if (errno == ENOENT) return Register{};
    return Failed("cannot open its file");
  }
  char bytes[kMaxFileBytes + 1];  // one more, to see that it ends
  size_t size = 0;
  while (size < sizeof bytes) {
    ssize_t got = read(fd.get(), bytes + size, sizeof bytes - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("cannot read its file");
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  return Decode({bytes, size});
}

absl::StatusOr<Register> FileRegister::ReadDurable() {
  ZS_ASSIGN_OR_RETURN(Register value, ReadFile());
  if (write_anew_ && !value.empty()) {
    ZS_RETURN_IF_ERROR(Write(value));
  } else if (name_in_doubt_) {
    if (fsync(directory_.get()) != 0) {
      write_anew_ = true;
      return Failed("cannot sync its directory");
    }
    name_in_doubt_ = write_anew_ = false;
  }
  return value;
}

absl::Status FileRegister::WriteTemporary(const FileBytes& bytes) const {
  Fd fd(open(Temporary().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode));
  if (!fd.ok()) return Failed("cannot make " + std::string(kTemporaryName));
  errno = ENOSPC;  // what a write that took a part mostly means
  if (write(fd.get(), &bytes, sizeof bytes) != static_cast<ssize_t>(sizeof bytes) ||
      fsync(fd.get()) != 0)
    return Failed("cannot write " + std::string(kTemporaryName));
  return absl::OkStatus();
}

absl::Status FileRegister::Write(const Register& value) {
  ZS_RETURN_IF_ERROR(WriteTemporary(Encode(value)));
  // Until here the old value stands, whatever failed.
  if (rename(Temporary().c_str(), File().c_str()) != 0) return Failed("cannot rename its file");
  name_in_doubt_ = true;
  if (fsync(directory_.get()) != 0) {
    write_anew_ = true;
    return Failed("cannot sync its directory");
  }
  name_in_doubt_ = write_anew_ = false;
  return absl::OkStatus();
}

absl::StatusOr<Register> FileRegister::Read() {
  Lock lock(directory_.get());
  if (!lock.held()) return Failed("cannot lock its directory");
  return ReadDurable();
}

absl::StatusOr<Register> FileRegister::Swap(const Register& expected, const Register& wanted) {
  ZS_CHECK(!wanted.empty());
  ZS_CHECK_OK(CheckRegister(wanted));
  Lock lock(directory_.get());
  if (!lock.held()) return Failed("cannot lock its directory");
  ZS_ASSIGN_OR_RETURN(Register stands, ReadDurable());
  if (stands != expected) return stands;
  ZS_RETURN_IF_ERROR(Write(wanted));
  return wanted;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RegisterStore>> OpenFileRegister(const std::string& directory) {
  Fd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) {
    const std::string reason = std::strerror(errno);
    const bool wrong_name = errno == ENOENT || errno == ENOTDIR;
    return Error(wrong_name ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable,
                 "the register's directory " + directory + " cannot be opened: " + reason +
                     "; make it, or name another one");
  }
  return std::make_unique<FileRegister>(directory, std::move(fd));
}

}  // namespace zsched::broker
