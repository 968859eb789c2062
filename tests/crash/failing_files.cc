// A library for LD_PRELOAD that makes one file call of a program fail; for tests, never installed.
//
//   FAILING_FILES="write 12 EIO"          the 13th write below FAILING_FILES_BELOW
//   FAILING_FILES="sync 0 ENOSPC always"  every sync
//   FAILING_FILES="write 5 short"         half of it is written
//   FAILING_FILES_BELOW=/absolute/path    without links; need not exist yet
//
// A wrong value ends the program at once: a fault that never strikes would prove nothing.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>

#include "tests/crash/fault.h"

namespace zsched::crash {
namespace {

class FailingFiles final : public FileObserver {
 public:
  explicit FailingFiles(const Fault& fault) : faults_(fault) {}
  Verdict Before(const FileCall& call) override { return faults_.Next(call.kind); }
  void After(const FileCall&) override {}

 private:
  FaultCounter faults_;
};

constexpr std::string_view kKindNames[kCallKinds] = {"create", "mkdir", "rename",        "write",
                                                     "resize", "sync",  "sync-directory"};

[[noreturn]] void Refuse(const char* text) {
  std::fprintf(stderr, "failing_files: cannot read FAILING_FILES='%s'\n", text);
  std::_Exit(99);
}

Fault Parse(const char* text) {
  std::istringstream words(text);
  std::string kind, way, lasting;
  Fault fault;
  words >> kind >> fault.number >> way >> lasting;
  size_t index = 0;
  while (index < kCallKinds && kKindNames[index] != kind) ++index;
  if (words.bad() || way.empty() || index == kCallKinds) Refuse(text);
  fault.kind = static_cast<CallKind>(index);
  if (way == "EIO")
    fault.verdict.error = EIO;
  else if (way == "ENOSPC")
    fault.verdict.error = ENOSPC;
  else if (way == "short")
    fault.verdict.is_short = true;
  else
    Refuse(text);
  fault.lasting = lasting == "always";
  return fault;
}

[[gnu::constructor]] void Install() {
  const char* fault = std::getenv("FAILING_FILES");
  const char* below = std::getenv("FAILING_FILES_BELOW");
  if (fault == nullptr || below == nullptr) return;
  static auto& files = *new FailingFiles(Parse(fault));
  ObserveFiles(&files, below);
}

}  // namespace
}  // namespace zsched::crash
