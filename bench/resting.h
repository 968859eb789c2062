// What a broker holds besides the work that is measured: tasks that wait for tomorrow, and schedules. Owned by
// bench.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "zsched/client.h"

namespace zsched::bench {

struct RestingLoad {
  uint64_t delayed = 0;    // tasks, in a queue of their own
  uint64_t schedules = 0;  // that fire once a day
};

// `count` schedules of no-op tasks in `queue`, named schedule-0 and so on, evenly over `spread_ms`; 0: as fast as they are
// taken. Shows its progress.
absl::Status SetSchedules(Client& client, uint64_t count, const std::string& expression,
                          const std::string& queue, int64_t spread_ms = 0);

// Returns when all of it is durable.
absl::Status AddRestingLoad(const RestingLoad& load, const std::string& brokers);
// DATA_LOSS: not all of it is there.
absl::Status CheckRestingLoad(const RestingLoad& load, Client& client);

}  // namespace zsched::bench
