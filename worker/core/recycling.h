// When a worker's process has done its share and another should take over: after so many attempts,
// or once it holds too much memory. Owned by worker/core; pure.
//
//   serving ──Due()──▶ draining ──▶ drained ──▶ the program replaces its process
//
// Handlers and the libraries behind them leak, and memory that is in pieces is not given back; a
// process that ends before that matters is the cure that always works.
//
// Example:
//   Recycling recycling({.after_tasks = 1000}, seed);
//   if (auto why = recycling.Due(attempts_ended, resident_bytes)) drain(*why);
//
// Threads: one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace zsched::worker {

// Each worker adds up to this share to its bound on attempts, so that a fleet that was started at
// once and shares the load evenly does not leave at once.
inline constexpr uint64_t kRecycleJitterPercent = 10;

struct RecyclingOptions {
  uint64_t after_tasks = 0;         // attempts; 0: as many as come
  uint64_t after_memory_bytes = 0;  // resident; 0: as much as there is
};

class Recycling {
 public:
  // `seed` decides the jitter.
  Recycling(RecyclingOptions options, uint64_t seed);

  // Attempts that have ended in this process, and the memory it had when last looked at (0: not
  // looked at). Why it is time; nullopt: it is not. Memory counts only after some attempt: a bound
  // below what the program needs idle must not have it start over and over.
  std::optional<std::string> Due(uint64_t ended, uint64_t resident_bytes) const;

  // The bound with its jitter; 0: none.
  uint64_t after_tasks() const { return after_tasks_; }
  bool watches_memory() const { return after_memory_bytes_ != 0; }

 private:
  const uint64_t after_tasks_;
  const uint64_t after_memory_bytes_;
};

}  // namespace zsched::worker
