// Waiting for something that will happen, with a deadline instead of a guess. Owned by tests.
//
// Example:
//   ASSERT_TRUE(Await([&] { return FileExists(path); })) << "the task never began";
//
// A deadline only bounds how long a broken program can hold up the tests: it is far beyond what a loaded machine needs, and
// no test passes because of it.
//
// Threads: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

namespace zsched::harness {

using Clock = std::chrono::steady_clock;
using Ms = std::chrono::milliseconds;

inline constexpr Ms kPatience{90'000};
// Between two looks: short against a test, long against what a look costs.
inline constexpr Ms kLook{10};

// True as soon as `happened()` is; false when it was not by the deadline.
template <class Predicate>
[[nodiscard]] bool Await(Predicate happened, Ms patience = kPatience) {
  const Clock::time_point deadline = Clock::now() + patience;
  while (!happened()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

// Unix milliseconds, as task times are.
inline int64_t WallMs() {
  return std::chrono::duration_cast<Ms>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace zsched::harness
