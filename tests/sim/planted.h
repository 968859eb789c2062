// The planted bugs: mistakes that the simulation must notice, and how soon. Owned by tests/sim. base/planted.h has the
// macro that stands where each would be made.
//
// A bug that is never noticed means that a promise is not checked, or that no simulation comes to where it matters.
//
// Example:
//   for (const PlantedBug& bug : AllPlantedBugs()) …
//
// Threads: plain values.
#pragma once

#include <span>
#include <string_view>

namespace zsched::sim {

struct PlantedBug {
  std::string_view name;
  std::string_view what;  // for people
  // Seeds 1 .. within must notice it. Chosen so that a change that makes other runs of the same seeds hardly ever misses:
  // see docs/testing.md.
  int within = 0;
  // The trouble that leads to it; empty: chosen by the seed.
  std::string_view faults = {}, workload = {};
};

// In the order of the page.
std::span<const PlantedBug> AllPlantedBugs();
// nullptr: no bug of that name.
const PlantedBug* FindPlantedBug(std::string_view name);

}  // namespace zsched::sim
