#include "base/check.h"

#include <execinfo.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace zsched::internal {
namespace {
constexpr int kMaxStackFrames = 64;
}

void CheckFailed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "zsched: invariant broken at %s:%d: %s\n", file, line, what);
  void* frames[kMaxStackFrames];
  backtrace_symbols_fd(frames, backtrace(frames, kMaxStackFrames), STDERR_FILENO);
  std::abort();
}

void CheckFailed(const char* file, int line, const absl::Status& status) {
  CheckFailed(file, line, status.ToString().c_str());
}

}  // namespace zsched::internal
