// What a broker's data directory consists of, by LMDB database: entries and bytes of its pages.
// Owned by bench; opens the environment read-only beside a broker that is using it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace zsched::bench {

struct TableSize {
  std::string name;
  uint64_t entries = 0;
  uint64_t bytes = 0;  // of the pages it occupies, overflow pages included
};

// Every named database of the environment, by name. UNAVAILABLE when it cannot be read.
absl::StatusOr<std::vector<TableSize>> TableSizes(const std::string& directory);

}  // namespace zsched::bench
