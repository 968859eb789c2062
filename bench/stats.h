// Percentiles, and how far repeated runs lie apart. Owned by bench; pure.
#pragma once

#include <algorithm>
#include <cmath>
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

// One figure of repeated runs. With an even count the median is the mean of the two in the middle.
struct Spread {
  double median = 0, min = 0, max = 0;
  // From the lowest to the highest run, as a part of the median; 0 when all are alike, infinite when
  // they are not and the median is 0.
  double relative() const { return max == min ? 0 : (max - min) / std::abs(median); }
};
// Requires: not empty.
inline Spread SpreadOf(std::vector<double> runs) {
  std::sort(runs.begin(), runs.end());
  size_t middle = runs.size() / 2;
  double median = runs.size() % 2 == 1 ? runs[middle] : (runs[middle - 1] + runs[middle]) / 2;
  return {median, runs.front(), runs.back()};
}

}  // namespace zsched::bench
