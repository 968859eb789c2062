#include "tests/crash/file_calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <mutex>

namespace zsched::crash {
namespace {

// The definition that ours hides.
template <class Function>
Function* Hidden(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}
#define ZS_HIDDEN(name) \
  static auto* const real = ::zsched::crash::Hidden(static_cast<decltype(&::name)>(nullptr), #name)

struct Observation {
  std::atomic<FileObserver*> observer = nullptr;
  std::string root;
  std::mutex mutex;
};
// Never destroyed: libraries write files when the process ends.
Observation& TheObservation() {
  static auto& observation = *new Observation();
  return observation;
}
bool Observed() { return TheObservation().observer.load(std::memory_order_acquire) != nullptr; }

bool Below(const std::string& path) {
  const std::string& root = TheObservation().root;
  return path.starts_with(root) && (path.size() == root.size() || path[root.size()] == '/');
}

// What a descriptor stands for, as the system says; empty when it is not below the root.
std::string PathOf(int fd) {
  char target[PATH_MAX];
  std::string link = "/proc/self/fd/" + std::to_string(fd);
  ssize_t size = readlink(link.c_str(), target, sizeof target);
  std::string path(target, static_cast<size_t>(std::max<ssize_t>(size, 0)));
  return Below(path) ? path : "";
}

// A name that may not exist yet: its directory without links, then the name.
std::string PathOf(const char* name) {
  std::string text = name;
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  size_t slash = text.rfind('/');
  std::string directory = slash == std::string::npos ? "." : text.substr(0, slash + 1);
  char resolved[PATH_MAX];
  if (realpath(directory.c_str(), resolved) == nullptr) return "";
  std::string path = std::string(resolved) + "/" + text.substr(slash + 1);
  return Below(path) ? path : "";
}

// Runs `act(most_bytes)` under the observer's eyes. It returns what the libc function returns.
template <class Act>
auto Watch(FileCall call, Act act) -> decltype(act(size_t{})) {
  Observation& seen = TheObservation();
  std::lock_guard lock(seen.mutex);
  FileObserver* observer = seen.observer.load(std::memory_order_acquire);
  if (observer == nullptr) return act(SIZE_MAX);
  Verdict verdict = observer->Before(call);
  if (verdict.error != 0) {
    errno = verdict.error;
    return -1;
  }
  auto result = act(verdict.is_short ? call.bytes.size() / 2 : SIZE_MAX);
  if (result < 0) return result;
  int kept_errno = errno;
  if (call.kind == CallKind::kWrite) call.bytes = call.bytes.substr(0, static_cast<size_t>(result));
  observer->After(call);
  errno = kept_errno;
  return result;
}

FileCall WriteTo(int fd, std::string path, uint64_t offset, std::string_view bytes) {
  return {.kind = CallKind::kWrite,
          .path = std::move(path),
          .target = {},
          .offset = offset,
          .bytes = bytes,
          .synchronous = (fcntl(fd, F_GETFL) & O_DSYNC) != 0};
}

std::string Gather(const iovec* parts, int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i)
    bytes.append(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
  return bytes;
}

uint64_t PositionOf(int fd) { return static_cast<uint64_t>(lseek(fd, 0, SEEK_CUR)); }

int Sync(int fd, int (*real)(int)) {
  if (!Observed()) return real(fd);
  std::string path = PathOf(fd);
  struct stat info;
  if (path.empty() || fstat(fd, &info) != 0) return real(fd);
  CallKind kind = S_ISDIR(info.st_mode) ? CallKind::kSyncDirectory : CallKind::kSync;
  return Watch({.kind = kind, .path = path, .target = {}, .bytes = {}},
               [&](size_t) { return real(fd); });
}

int Open(const char* name, int flags, mode_t mode, int (*real)(const char*, int, ...)) {
  if (!Observed() || (flags & (O_CREAT | O_TRUNC)) == 0) return real(name, flags, mode);
  std::string path = PathOf(name);
  if (path.empty()) return real(name, flags, mode);
  bool is_new = access(name, F_OK) != 0;
  FileCall call{.kind = is_new ? CallKind::kCreate : CallKind::kResize,
                .path = path,
                .target = {},
                .bytes = {}};
  if (!is_new && (flags & O_TRUNC) == 0) return real(name, flags, mode);
  return Watch(call, [&](size_t) { return real(name, flags, mode); });
}

bool TakesMode(int flags) { return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE; }

}  // namespace

void ObserveFiles(FileObserver* observer, const std::string& root) {
  Observation& seen = TheObservation();
  std::lock_guard lock(seen.mutex);
  seen.root = root;
  seen.observer.store(observer, std::memory_order_release);
}

}  // namespace zsched::crash

// --- libc's functions ----------------------------------------------------------------------------
using zsched::crash::CallKind;
using zsched::crash::FileCall;

extern "C" {

ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) {
  ZS_HIDDEN(pwrite);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(fd) : "";
  if (path.empty()) return real(fd, data, size, offset);
  std::string_view bytes(static_cast<const char*>(data), size);
  return zsched::crash::Watch(
      zsched::crash::WriteTo(fd, path, static_cast<uint64_t>(offset), bytes),
      [&](size_t most) { return real(fd, data, std::min(size, most), offset); });
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) {
  return pwrite(fd, data, size, offset);
}

ssize_t write(int fd, const void* data, size_t size) {
  ZS_HIDDEN(write);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(fd) : "";
  if (path.empty()) return real(fd, data, size);
  std::string_view bytes(static_cast<const char*>(data), size);
  return zsched::crash::Watch(
      zsched::crash::WriteTo(fd, path, zsched::crash::PositionOf(fd), bytes),
      [&](size_t most) { return real(fd, data, std::min(size, most)); });
}

ssize_t writev(int fd, const iovec* parts, int count) {
  ZS_HIDDEN(writev);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(fd) : "";
  if (path.empty()) return real(fd, parts, count);
  std::string bytes = zsched::crash::Gather(parts, count);
  return zsched::crash::Watch(
      zsched::crash::WriteTo(fd, path, zsched::crash::PositionOf(fd), bytes), [&](size_t most) {
        iovec whole{bytes.data(), std::min(bytes.size(), most)};
        return real(fd, &whole, 1);
      });
}

ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  std::string bytes = zsched::crash::Gather(parts, count);
  return pwrite(fd, bytes.data(), bytes.size(), offset);
}

int fdatasync(int fd) {
  ZS_HIDDEN(fdatasync);
  return zsched::crash::Sync(fd, real);
}

int fsync(int fd) {
  ZS_HIDDEN(fsync);
  return zsched::crash::Sync(fd, real);
}

int ftruncate(int fd, off_t length) noexcept {
  ZS_HIDDEN(ftruncate);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(fd) : "";
  if (path.empty()) return real(fd, length);
  FileCall call{.kind = CallKind::kResize,
                .path = path,
                .target = {},
                .offset = static_cast<uint64_t>(length),
                .bytes = {}};
  return zsched::crash::Watch(call, [&](size_t) { return real(fd, length); });
}

int truncate(const char* name, off_t length) noexcept {
  ZS_HIDDEN(truncate);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(name) : "";
  if (path.empty()) return real(name, length);
  FileCall call{.kind = CallKind::kResize,
                .path = path,
                .target = {},
                .offset = static_cast<uint64_t>(length),
                .bytes = {}};
  return zsched::crash::Watch(call, [&](size_t) { return real(name, length); });
}

int mkdir(const char* name, mode_t mode) noexcept {
  ZS_HIDDEN(mkdir);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(name) : "";
  if (path.empty()) return real(name, mode);
  FileCall call{.kind = CallKind::kMakeDirectory, .path = path, .target = {}, .bytes = {}};
  return zsched::crash::Watch(call, [&](size_t) { return real(name, mode); });
}

int rename(const char* from, const char* to) noexcept {
  ZS_HIDDEN(rename);
  std::string path = zsched::crash::Observed() ? zsched::crash::PathOf(from) : "";
  if (path.empty()) return real(from, to);
  FileCall call{
      .kind = CallKind::kRename, .path = path, .target = zsched::crash::PathOf(to), .bytes = {}};
  return zsched::crash::Watch(call, [&](size_t) { return real(from, to); });
}

int open(const char* name, int flags, ...) {
  ZS_HIDDEN(open);
  va_list rest;
  va_start(rest, flags);
  mode_t mode = zsched::crash::TakesMode(flags) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return zsched::crash::Open(name, flags, mode, real);
}

int open64(const char* name, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  mode_t mode = zsched::crash::TakesMode(flags) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open(name, flags, mode);
}

}  // extern "C"
