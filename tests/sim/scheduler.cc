#include "tests/sim/scheduler.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstdio>

#include "base/check.h"

namespace zsched::sim {

void Scheduler::At(int64_t time_us, const Life& life, std::function<void()> run) {
  events_.push({std::max(time_us, now_us_), next_number_++, life, std::move(run)});
}

bool Scheduler::Step() {
  while (!events_.empty()) {
    // Moved out: the event may make others, which moves the heap.
    Event event = std::move(const_cast<Event&>(events_.top()));
    events_.pop();
    Life life = event.life.lock();
    if (life == nullptr) continue;
    life.reset();  // it may end itself
    now_us_ = event.time_us;
    ++steps_;
    event.run();
    return true;
  }
  return false;
}

void Scheduler::Trace(std::string_view what, uint64_t a, uint64_t b, uint64_t c) {
  struct {
    uint64_t before, time, a, b, c;
  } words{trace_hash_, static_cast<uint64_t>(now_us_), a, b, c};
  trace_hash_ = XXH3_64bits_withSeed(what.data(), what.size(), XXH3_64bits(&words, sizeof words));
  if (!print_trace_) return;
  std::printf("%12.6f %-22.*s %016llx %016llx %016llx\n", static_cast<double>(now_us_) / 1e6,
              static_cast<int>(what.size()), what.data(), static_cast<unsigned long long>(a),
              static_cast<unsigned long long>(b), static_cast<unsigned long long>(c));
}

}  // namespace zsched::sim
