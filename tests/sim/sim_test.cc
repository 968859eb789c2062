// The simulation itself: a seed is a run, and a broken promise is noticed.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/sim/simulation.h"

namespace zsched::sim {
namespace {

// One seed for each fault profile, with whatever workload it draws.
TEST(Simulation, EveryFaultProfileKeepsEveryPromise) {
  for (const FaultProfile& faults : AllFaults()) {
    SimOptions options{.seed = 7, .faults = &faults};
    SimResult result = RunSimulation(options);
    EXPECT_EQ(result.failure, "") << ReplayCommand(options);
    EXPECT_GT(result.tasks, 0u) << faults.name;
  }
}

TEST(Simulation, EveryWorkloadKeepsEveryPromise) {
  for (const WorkloadProfile& workload : AllWorkloads()) {
    SimOptions options{.seed = 11, .workload = &workload};
    SimResult result = RunSimulation(options);
    EXPECT_EQ(result.failure, "") << ReplayCommand(options);
    EXPECT_GT(result.tasks, 0u) << workload.name;
  }
}

TEST(Simulation, TheSameSeedIsTheSameRun) {
  SimOptions options{.seed = 4, .faults = FindFaults("chaos")};
  SimResult first = RunSimulation(options), second = RunSimulation(options);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.steps, second.steps);
  options.seed = 5;
  EXPECT_NE(first.trace_hash, RunSimulation(options).trace_hash);
}

// Output of a run of the program in a process of its own: other addresses, other hash seeds.
std::string Output(const std::string& arguments) {
  FILE* pipe = popen((ZSCHED_SIM_PROGRAM " " + arguments).c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer;
  while (size_t read = fread(buffer.data(), 1, buffer.size(), pipe))
    text.append(buffer.data(), read);
  EXPECT_EQ(pclose(pipe), 0);
  return text;
}

// Trace hashes of all seeds, one a line.
std::vector<std::string> TracesOf(const std::string& output) {
  constexpr size_t kTraceChars = 22;  // "trace " and 16 digits
  std::vector<std::string> traces;
  for (size_t at = output.find("trace "); at != std::string::npos;
       at = output.find("trace ", at + 1))
    traces.push_back(output.substr(at, kTraceChars));
  return traces;
}

TEST(Simulation, TheSameSeedIsTheSameRunInAnotherProcess) {
  constexpr size_t kSeeds = 30;
  for (const char* arguments : {"--count 30 --verbose", "--pair --count 30 --verbose",
                                "--lone-pair --count 30 --verbose"}) {
    const std::vector<std::string> first = TracesOf(Output(arguments));
    EXPECT_EQ(first.size(), kSeeds);
    EXPECT_EQ(first, TracesOf(Output(arguments)));
  }
}

TEST(Simulation, AReplayCommandNamesWhatWasForced) {
  EXPECT_EQ(ReplayCommand({.seed = 9}), "zsched-sim --seed 9 --trace");
  EXPECT_EQ(
      ReplayCommand({.seed = 9, .faults = FindFaults("clocks"), .workload = FindWorkload("large")}),
      "zsched-sim --seed 9 --faults clocks --workload large --trace");
}

}  // namespace
}  // namespace zsched::sim
