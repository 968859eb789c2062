// Percentiles and repeated runs. Owned by bench; pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace zsched::bench {

struct Percentiles {
  double p50 = 0, p99 = 0;
};

// The nearest-rank percentile of a sample that is not empty; q in 0..1.
inline double Quantile(std::vector<double> sample, double q) {
  size_t rank =
      std::min(sample.size() - 1, static_cast<size_t>(q * static_cast<double>(sample.size())));
  std::nth_element(sample.begin(), sample.begin() + static_cast<std::ptrdiff_t>(rank),
                   sample.end());
  return sample[rank];
}

inline Percentiles PercentilesOf(const std::vector<double>& sample) {
  return {Quantile(sample, 0.5), Quantile(sample, 0.99)};
}

// Median of repeated runs and how far they lie apart.
struct Spread {
  double median = 0, min = 0, max = 0;
};
inline Spread SpreadOf(const std::vector<double>& runs) {
  return {Quantile(runs, 0.5), *std::min_element(runs.begin(), runs.end()),
          *std::max_element(runs.begin(), runs.end())};
}

}  // namespace zsched::bench
