// Virtual time: what happens next, in one order for each seed. Owned by tests/sim.
//
// Events run by time, those of one instant in the order in which they were made. An event belongs to a Life (a process, a
// connection) and is dropped when that has ended. Every event of note is traced: hashed always, so that two runs can be
// compared, and printed on demand.
//
// Example:
//   Life life = NewLife();
//   scheduler.After(250, life, [this] { Round(); });
//   while (scheduler.Step()) Check();
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/random.h"

namespace zsched::sim {

// Ends when the last copy outside of the scheduler is gone.
using Life = std::shared_ptr<const int>;
inline Life NewLife() { return std::make_shared<const int>(0); }

inline constexpr int64_t kMillisecond = 1000;  // times are in microseconds
inline constexpr int64_t kSecond = 1000 * kMillisecond;

class Scheduler {
 public:
  Scheduler(uint64_t seed, bool print_trace) : random_(seed), print_trace_(print_trace) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  int64_t now_us() const { return now_us_; }
  Random& random() { return random_; }

  void At(int64_t time_us, const Life& life, std::function<void()> run);
  void After(int64_t delay_us, const Life& life, std::function<void()> run) {
    At(now_us_ + delay_us, life, std::move(run));
  }
  // Runs the next event. False when there is none.
  bool Step();

  // `what` is a literal; the numbers say which and how much.
  void Trace(std::string_view what, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0);
  uint64_t trace_hash() const { return trace_hash_; }
  uint64_t steps() const { return steps_; }

 private:
  struct Event {
    int64_t time_us;
    uint64_t number;
    std::weak_ptr<const int> life;
    std::function<void()> run;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const {
      return a.time_us != b.time_us ? a.time_us > b.time_us : a.number > b.number;
    }
  };

  Random random_;
  const bool print_trace_;
  int64_t now_us_ = 0;
  uint64_t next_number_ = 0;
  uint64_t steps_ = 0;
  uint64_t trace_hash_ = 0;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
};

}  // namespace zsched::sim
