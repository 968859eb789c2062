// What a benchmark found, as JSON for scripts and as tables for people; repeated runs become their
// medians. Owned by bench; pure.
//
// A run is an object: floating-point members are figures that were measured, integers what was
// asked for, objects group figures, arrays of objects are tables (one row a sample).
//
// Example:
//   std::vector<Json> runs = …;
//   Json result = Summarise(runs);        // medians; with several runs also "spread" and "runs"
//   std::fputs(TableText(result).c_str(), stdout);
//
// Threads: one.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace zsched::bench {

using Json = nlohmann::ordered_json;

// Every figure's median over `runs` (not empty, all of one shape), under the figure's own name.
// Tables are combined row by row; one whose rows differ in number from run to run is left to
// "runs". With more than one run two members are added:
//   "spread"  the figures again, each as {"min", "max", "relative"}: relative is (max - min) / median
//   "runs"    every run as it was
Json Summarise(const std::vector<Json>& runs);

// One figure a line, with its spread when there is one, then the tables.
std::string TableText(const Json& result);

}  // namespace zsched::bench
