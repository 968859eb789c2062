// How many files this process may have open. Owned by base.
#pragma once

#include <cstdint>

namespace zsched {

// Every connection is a file descriptor. Raises the limit as far as the process may, and returns it. At program
// start.
uint64_t RaiseFileLimit();

}  // namespace zsched
