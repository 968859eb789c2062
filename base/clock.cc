#include "base/clock.h"

#include <ctime>

namespace zsched {
namespace {

int64_t ClockMs(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace

Now SystemNow() {
  return {.wall_ms = ClockMs(CLOCK_REALTIME), .mono_ms = ClockMs(CLOCK_MONOTONIC)};
}

}  // namespace zsched
