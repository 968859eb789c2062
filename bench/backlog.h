// zsched-bench backlog: many waiting tasks: what they cost in memory and on disk, how fast a
// restart is, and how fast they are worked off. Owned by bench.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/tables.h"

namespace zsched::bench {

struct BacklogOptions {
  uint64_t tasks = 2'000'000;
  uint32_t payload_bytes = 100;
  int workers = 2;
  std::string data_root = "/var/tmp";
};
struct BacklogResult {
  double submits_per_second = 0;
  // Anonymous memory of the broker (RssAnon), what it had when empty taken off.
  double rss_bytes_per_task = 0;
  double disk_bytes_per_task = 0;      // of the data directory
  double restart_seconds = 0;          // kill -9, start, until a client is served
  double drain_per_second = 0;         // tasks worked off after the restart
  std::vector<TableSize> tables = {};  // the journal while all tasks wait
};
absl::StatusOr<BacklogResult> RunBacklog(const BacklogOptions& options);

}  // namespace zsched::bench
