// This machine's clocks. Owned by base; only programs and I/O read them, pure code is given a Now.
#pragma once

#include "schemas/ids.h"

namespace zsched {

// Wall clock and monotonic clock, read now. Any thread.
Now SystemNow();

}  // namespace zsched
