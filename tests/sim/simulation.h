// One run from one seed: a broker, workers and clients under faults, then without, then a last look. Owned by tests/sim.
//
//   1. Faults: clients submit, faults of the profile strike.
//   2. Calm: no more faults; everything must be acknowledged, end, and be heard of within kCalmLimit.
//   3. Last look: the broker is started once more; GET of every acknowledged id must show how it ended; the log replayed
//      must give the state of the tables. Of a pair without an arbiter the log that both ended with is judged here.
//
// Example:
//   SimResult result = RunSimulation({.seed = 17});
//   if (!result.failure.empty()) Print(result.failure, ReplayCommand(options));
//
// Threads: one; runs do not share anything.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/process.h"
#include "tests/sim/profile.h"

namespace zsched::sim {

struct SimOptions {
  uint64_t seed = 1;
  // Of fault profiles, choose among those of pairs; `lone`: without an arbiter.
  bool pair = false, lone = false;
  // nullptr: chosen by the seed.
  const FaultProfile* faults = nullptr;
  const WorkloadProfile* workload = nullptr;
  bool trace = false;  // print every event
};

struct SimResult {
  std::string failure;  // empty: every promise was kept
  uint64_t trace_hash = 0;
  uint64_t steps = 0;
  double simulated_s = 0;
  size_t tasks = 0;
  int broker_starts = 0;
  Reached reached;
  const FaultProfile* faults = nullptr;
  const WorkloadProfile* workload = nullptr;
};

SimResult RunSimulation(const SimOptions& options);

// What a person types to see the run again.
std::string ReplayCommand(const SimOptions& options);

}  // namespace zsched::sim
