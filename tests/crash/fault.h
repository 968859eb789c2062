// One call that fails, or one and all after it: by kind, number and error. Owned by tests/crash.
//
// Example:
//   FaultCounter faults(Fault{.kind = CallKind::kSync, .number = 3, .verdict = {.error = EIO}});
//   Verdict verdict = faults.Next(CallKind::kSync);
//
// Threads: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "tests/crash/file_calls.h"

namespace zsched::crash {

struct Fault {
  CallKind kind{};
  size_t number = 0;  // from 0, over the calls of its kind
  Verdict verdict;
  bool lasting = false;  // all later calls of the kind fail too
};

class FaultCounter {
 public:
  explicit FaultCounter(std::optional<Fault> fault) : fault_(fault) {}

  Verdict Next(CallKind kind) {
    const size_t number = calls_[static_cast<size_t>(kind)]++;
    if (!fault_ || fault_->kind != kind) return {};
    if (number != fault_->number && !(fault_->lasting && number > fault_->number)) return {};
    struck_ = true;
    return fault_->verdict;
  }
  bool struck() const { return struck_; }
  // That were asked for, in all.
  size_t calls() const {
    size_t sum = 0;
    for (size_t count : calls_) sum += count;
    return sum;
  }

 private:
  std::optional<Fault> fault_;
  std::array<size_t, kCallKinds> calls_{};
  bool struck_ = false;
};

}  // namespace zsched::crash
