// A register in a file of its own. Owned by broker/replication.
//
//   register        the value
//   register.new    one on its way: whole and durable before it is renamed to `register`
//
// A rename is there or not, and the directory is synced behind it, so power cut off at any moment
// leaves the old value or the new one.
//
// The bytes of the file, little-endian:
//   0  | 8 | "zs-regst"
//   8  | 4 | version, 1
//   12 | 4 | epoch
//   16 | 1 | active node
//   17 | 1 | in-sync set
//   18 | 6 | reserved, 0
//   24 | 8 | cluster id, upper half
//   32 | 8 | cluster id, lower half
//   40 | 8 | XXH3_64 of all before; in every version the last 8 bytes
//
// Example:
//   ZS_ASSIGN_OR_RETURN(std::unique_ptr<RegisterStore> store, OpenFileRegister("/var/lib/zsched"));
//
// Threads: one at a time. Objects and processes that use the same directory wait for each other,
// by a lock (flock) on the directory.
#pragma once

#include <memory>
#include <string>

#include "broker/replication/register.h"

namespace zsched::broker {

inline constexpr char kRegisterFileName[] = "register";

// Uses a directory that exists. INVALID_ARGUMENT: it does not, or is none. UNAVAILABLE: the system
// refused.
//
// Besides what RegisterStore says: a missing file is the empty register. DATA_LOSS: the file is
// damaged. INVALID_ARGUMENT: a newer zsched wrote it. UNAVAILABLE: the system refused, and says why;
// the next call begins by making durable what it finds.
absl::StatusOr<std::unique_ptr<RegisterStore>> OpenFileRegister(const std::string& directory);

}  // namespace zsched::broker
