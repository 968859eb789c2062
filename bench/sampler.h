// Samples of a long run at equal shares of its tasks: does it stay as fast, does the file stop
// growing? Owned by bench; pure.
//
// Example:
//   Sampler sampler(10'000'000, 10, [&] { return DirectoryBytes(data); });
//   while (finished < total) sampler.Note(finished, seconds);
//   sampler.samples();        // ten, each with the rate since the one before
//
// Threads: one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace zsched::bench {

struct ThroughputSample {
  uint64_t tasks = 0;           // finished since the run began
  double seconds = 0;           // since the run began
  double tasks_per_second = 0;  // since the sample before
  std::optional<double> disk_bytes = {};
};

class Sampler {
 public:
  // `disk_bytes` is called once a sample.
  Sampler(uint64_t total, int samples, std::function<std::optional<double>()> disk_bytes)
      : total_(total),
        shares_(static_cast<uint64_t>(samples)),
        disk_bytes_(std::move(disk_bytes)) {}

  // `tasks` and `seconds` never fall. Takes a sample when `tasks` has reached the next share, one
  // also when it has passed several.
  void Note(uint64_t tasks, double seconds) {
    if (reached_ >= shares_ || tasks < NextShare()) return;
    while (reached_ < shares_ && tasks >= NextShare()) ++reached_;
    const ThroughputSample before = samples_.empty() ? ThroughputSample() : samples_.back();
    samples_.push_back({tasks, seconds,
                        static_cast<double>(tasks - before.tasks) / (seconds - before.seconds),
                        disk_bytes_()});
  }

  const std::vector<ThroughputSample>& samples() const { return samples_; }

 private:
  uint64_t NextShare() const { return total_ * (reached_ + 1) / shares_; }

  const uint64_t total_, shares_;
  const std::function<std::optional<double>()> disk_bytes_;
  uint64_t reached_ = 0;
  std::vector<ThroughputSample> samples_;
};

}  // namespace zsched::bench
