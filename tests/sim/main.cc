// zsched-sim: runs simulations by seed, replays one, soaks for hours. docs/testing.md has how to read what it prints.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/sim/simulation.h"

namespace zsched::sim {
namespace {

// What a run that dies says last, of a broken ZS_CHECK most likely: how to see it again. Written before each run, read in the signal handler.
char replay_hint[256];

void OnDeath(int signal_number) {
  signal(signal_number, SIG_DFL);  // dies of it when this returns
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, replay_hint, strlen(replay_hint));
}

struct Flags {
  uint64_t seed = 0;  // 0: a range
  uint64_t first = 1;
  uint64_t count = 100;
  double time_limit_s = 0;  // 0: none
  std::string faults, workload;
  bool pair = false, lone = false, trace = false, verbose = false, list = false;
  std::vector<std::string>
      reach;  // counters that the seeds together must have moved, or they prove little
};

double Elapsed(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

void PrintRun(const SimOptions& options, const SimResult& result) {
  std::printf(
      "seed %llu: %s x %s, %zu tasks, %d broker starts, %.1f s simulated, %llu steps, trace "
      "%016llx\n",
      static_cast<unsigned long long>(options.seed), std::string(result.workload->name).c_str(),
      std::string(result.faults->name).c_str(), result.tasks, result.broker_starts,
      result.simulated_s, static_cast<unsigned long long>(result.steps),
      static_cast<unsigned long long>(result.trace_hash));
}

bool RunOne(const SimOptions& options, bool verbose, Reached& total) {
  std::snprintf(replay_hint, sizeof replay_hint, "zsched-sim: aborted; replay: %s\n",
                ReplayCommand(options).c_str());
  SimResult result = RunSimulation(options);
  if (verbose || !result.failure.empty()) PrintRun(options, result);
  if (!result.failure.empty())
    std::printf("FAILED %s\n  replay: %s\n", result.failure.c_str(),
                ReplayCommand(options).c_str());
  std::fflush(stdout);
  for (const auto& [name, count] : result.reached) total[name] += count;
  return result.failure.empty();
}

bool CheckReached(const std::vector<std::string>& names, const Reached& total) {
  bool all = true;
  for (const std::string& name : names) {
    auto found = total.find(name);
    const uint64_t value = found == total.end() ? 0 : found->second;
    std::printf("%s %-24s %llu\n", value != 0 ? "reached" : "FAILED: not reached", name.c_str(),
                static_cast<unsigned long long>(value));
    all &= value != 0;
  }
  return all;
}

int Run(const Flags& flags) {
  if (flags.list) {
    for (const auto profiles : {AllFaults(), AllPairFaults(), AllLonePairFaults()})
      for (const FaultProfile& profile : profiles)
        std::printf("faults    %s\n", std::string(profile.name).c_str());
    for (const WorkloadProfile& profile : AllWorkloads())
      std::printf("workload  %s\n", std::string(profile.name).c_str());
    return 0;
  }
  SimOptions options;
  options.trace = flags.trace;
  options.pair = flags.pair;
  options.lone = flags.lone;
  options.faults = FindFaults(flags.faults);
  options.workload = FindWorkload(flags.workload);
  if ((!flags.faults.empty() && options.faults == nullptr) ||
      (!flags.workload.empty() && options.workload == nullptr)) {
    std::fprintf(stderr, "zsched-sim: no such profile; --list shows them\n");
    return 2;
  }
  const auto began = std::chrono::steady_clock::now();
  uint64_t first = flags.seed != 0 ? flags.seed : flags.first, done = 0, failed = 0;
  uint64_t count = flags.seed != 0 ? 1 : flags.count;
  Reached total;
  for (; done < count; ++done) {
    if (flags.time_limit_s > 0 && Elapsed(began) >= flags.time_limit_s) break;
    options.seed = first + done;
    if (!RunOne(options, flags.verbose || flags.seed != 0, total)) ++failed;
  }
  std::printf("%llu seeds from %llu in %.1f s: %llu failed\n",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(first),
              Elapsed(began), static_cast<unsigned long long>(failed));
  if (!CheckReached(flags.reach, total)) ++failed;
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace zsched::sim

int main(int argc, char** argv) {
  zsched::sim::Flags flags;
  CLI::App app{"Runs the broker, workers and clients in a simulation, by seed."};
  app.add_option("--seed", flags.seed, "run this seed");
  app.add_option("--first", flags.first, "first seed of a range");
  app.add_option("--count", flags.count, "seeds in the range");
  app.add_option("--time-limit", flags.time_limit_s, "stop after this many seconds");
  app.add_option("--faults", flags.faults, "fault profile; default: chosen by the seed");
  app.add_option("--workload", flags.workload, "workload profile; default: chosen by the seed");
  auto* pair =
      app.add_flag("--pair", flags.pair, "two brokers and an arbiter, with the faults of pairs");
  app.add_flag("--lone-pair", flags.lone,
               "two brokers without an arbiter, which merge what both do")
      ->excludes(pair);
  app.add_flag("--trace", flags.trace, "print every event");
  app.add_flag("--verbose", flags.verbose, "print a line for each seed");
  app.add_option("--reach", flags.reach,
                 "fail unless these were reached: counters of the brokers and the simulation")
      ->delimiter(',');
  app.add_flag("--list", flags.list, "print the profiles");
  CLI11_PARSE(app, argc, argv);
  for (int death : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) signal(death, zsched::sim::OnDeath);
  return zsched::sim::Run(flags);
}
