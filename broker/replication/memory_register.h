// A register in memory, for simulations and tests. Owned by broker/replication.
//
// The value lives in a cell that outlives its stores, as a disk outlives processes.
//
// Example:
//   auto cell = std::make_shared<MemoryCell>();
//   MemoryRegister primary(cell), backup(cell);
//
// Threads: one at a time each; stores on the same cell from any.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "base/check.h"
#include "broker/replication/register.h"

namespace zsched::broker {

class MemoryCell {
 public:
  Register Read() const {
    std::lock_guard lock(mutex_);
    return value_;
  }
  Register Swap(const Register& expected, const Register& wanted) {
    std::lock_guard lock(mutex_);
    if (value_ == expected) value_ = wanted;
    return value_;
  }

 private:
  mutable std::mutex mutex_;
  Register value_;
};

class MemoryRegister final : public RegisterStore {
 public:
  explicit MemoryRegister(std::shared_ptr<MemoryCell> cell) : cell_(std::move(cell)) {}

  absl::StatusOr<Register> Read() override { return cell_->Read(); }
  absl::StatusOr<Register> Swap(const Register& expected, const Register& wanted) override {
    ZS_CHECK(!wanted.empty());
    ZS_CHECK_OK(CheckRegister(wanted));
    return cell_->Swap(expected, wanted);
  }

 private:
  const std::shared_ptr<MemoryCell> cell_;
};

}  // namespace zsched::broker
