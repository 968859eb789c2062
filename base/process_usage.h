// What this process uses of the machine, as the kernel counts it. Owned by base.
//
// Example:
//   ProcessUsage usage = ReadProcessUsage();    // some 100 µs: reads /proc/self
//
// Threads: any.
#pragma once

#include <cstdint>

namespace zsched {

// 0: it cannot be read.
struct ProcessUsage {
  uint64_t resident_bytes = 0;
  uint64_t cpu_us = 0;  // user and system, since the process began
  uint64_t open_fds = 0;
  uint64_t threads = 0;
};

ProcessUsage ReadProcessUsage();

}  // namespace zsched
