// Where an attempt writes: handlers to its log, programs to their standard streams. Part of the SDK and of the client
// library. Numbers as on the wire.
#pragma once

#include <cstdint>

namespace zsched {

enum class OutputStream : uint8_t { kLog = 0, kStdout = 1, kStderr = 2 };

}  // namespace zsched
