// zsched-sim-planted: shows that simulations notice planted bugs. docs/testing.md has how to read what it prints.
//
// Each run is a process of its own, because a bug that breaks a ZS_CHECK ends its process.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/check.h"
#include "base/planted.h"
#include "tests/sim/planted.h"
#include "tests/sim/simulation.h"

namespace zsched::sim {
namespace {

struct Flags {
  std::string bug = "all";
  uint64_t first = 1;
  uint64_t count = 0;            // 0: until it is noticed
  std::string faults, workload;  // in place of the bug's
};

struct Verdict {
  bool noticed = false;
  bool crashed = false;  // by anything but a ZS_CHECK: the bug is planted badly
  std::string how;       // what a person reads
};

// The end of the child process: its verdict goes through the pipe, that of a ZS_CHECK is what it prints.
[[noreturn]] void RunInChild(const SimOptions& options, std::string_view bug, int out) {
  dup2(out, STDERR_FILENO);
  planted_bug = bug;
  std::string failure = RunSimulation(options).failure;
  if (!failure.empty()) std::fprintf(stderr, "%s", failure.c_str());
  std::fflush(stderr);
  _exit(failure.empty() ? 0 : 1);
}

std::string ReadAll(int from) {
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(from, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  return text;
}

Verdict Run(const SimOptions& options, std::string_view bug) {
  int ends[2];
  ZS_CHECK(pipe(ends) == 0);
  std::fflush(stdout);
  const pid_t child = fork();
  ZS_CHECK(child >= 0);
  if (child == 0) RunInChild(options, bug, ends[1]);
  close(ends[1]);
  Verdict verdict;
  verdict.how = ReadAll(ends[0]);
  close(ends[0]);
  int status = 0;
  ZS_CHECK(waitpid(child, &status, 0) == child);
  verdict.how.resize(std::min(verdict.how.find('\n'), verdict.how.size()));
  const bool aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
  verdict.crashed = WIFSIGNALED(status) && !aborted;
  verdict.noticed = aborted || (WIFEXITED(status) && WEXITSTATUS(status) == 1);
  return verdict;
}

SimOptions OptionsFor(const PlantedBug& bug, const Flags& flags) {
  const std::string_view faults = flags.faults.empty() ? bug.faults : flags.faults;
  const std::string_view workload = flags.workload.empty() ? bug.workload : flags.workload;
  SimOptions options;
  options.faults = FindFaults(faults);
  options.workload = FindWorkload(workload);
  ZS_CHECK(faults.empty() == (options.faults == nullptr));
  ZS_CHECK(workload.empty() == (options.workload == nullptr));
  return options;
}

// Runs seeds until one notices the bug, and that seed without it, or "noticed" would say nothing.
bool MustBeNoticed(const PlantedBug& bug, const Flags& flags) {
  SimOptions options = OptionsFor(bug, flags);
  Verdict with;
  for (int i = 0; i < bug.within && !with.noticed; ++i) {
    options.seed = flags.first + static_cast<uint64_t>(i);
    with = Run(options, bug.name);
    if (with.crashed) break;
  }
  const std::string name(bug.name);
  const auto seed = static_cast<unsigned long long>(options.seed);
  if (!with.noticed) {
    std::printf("FAILED %-24s %s by seed %llu\n", name.c_str(),
                with.crashed ? "crashed" : "not noticed", seed);
    return false;
  }
  Verdict without = Run(options, "");
  std::printf("%-24s seed %3llu  %s\n", name.c_str(), seed, with.how.c_str());
  if (without.noticed || without.crashed)
    std::printf("FAILED %-24s seed %llu fails without it too: %s\n", name.c_str(), seed,
                without.how.c_str());
  return !without.noticed && !without.crashed;
}

// How often a bug is noticed: what `within` is chosen by.
bool Measure(const PlantedBug& bug, const Flags& flags) {
  SimOptions options = OptionsFor(bug, flags);
  uint64_t noticed = 0, first = 0, crashed = 0;
  for (options.seed = flags.first; options.seed < flags.first + flags.count; ++options.seed) {
    Verdict verdict = Run(options, bug.name);
    noticed += verdict.noticed;
    crashed += verdict.crashed;
    if (verdict.noticed && first == 0) first = options.seed;
  }
  std::printf("%-24s noticed by %llu of %llu, first %llu, must be within %d%s\n",
              std::string(bug.name).c_str(), static_cast<unsigned long long>(noticed),
              static_cast<unsigned long long>(flags.count), static_cast<unsigned long long>(first),
              bug.within, crashed > 0 ? ", CRASHED" : "");
  return noticed > 0 && crashed == 0;
}

// Prints what tells this run from another: zsched-sim must do the same.
int RunWithoutBugs(uint64_t seed) {
  SimResult result = RunSimulation({.seed = seed});
  std::printf("seed %llu: trace %016llx\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(result.trace_hash));
  return result.failure.empty() ? 0 : 1;
}

void PrintList() {
  for (const PlantedBug& bug : AllPlantedBugs()) {
    std::string profiles(bug.faults);
    if (!bug.workload.empty()) profiles.append(profiles.empty() ? "" : ", ").append(bug.workload);
    if (profiles.empty()) profiles = "any";
    std::printf("| `%s` | %s | %s | %d |\n", std::string(bug.name).c_str(),
                std::string(bug.what).c_str(), profiles.c_str(), bug.within);
  }
}

int Main(const Flags& flags) {
  if (flags.bug == "list") {
    PrintList();
    return 0;
  }
  if (flags.bug == "none") return RunWithoutBugs(flags.first);
  const bool all = flags.bug == "all";
  if (!all && FindPlantedBug(flags.bug) == nullptr) {
    std::fprintf(stderr, "zsched-sim-planted: no such bug; --planted list shows them\n");
    return 2;
  }
  int failed = 0;
  for (const PlantedBug& bug : AllPlantedBugs()) {
    if (!all && bug.name != flags.bug) continue;
    const bool ok = flags.count == 0 ? MustBeNoticed(bug, flags) : Measure(bug, flags);
    failed += ok ? 0 : 1;
  }
  std::printf("%d failed\n", failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace zsched::sim

int main(int argc, char** argv) {
  zsched::sim::Flags flags;
  CLI::App app{"Plants bugs in simulations and sees whether they are noticed."};
  app.add_option("--planted", flags.bug,
                 "one of them, all, none, or list (as rows of docs/testing.md)");
  app.add_option("--first", flags.first, "first seed");
  app.add_option("--count", flags.count,
                 "run so many seeds of each and count; default: until it is noticed");
  app.add_option("--faults", flags.faults, "fault profile; default: the bug's");
  app.add_option("--workload", flags.workload, "workload profile; default: the bug's");
  CLI11_PARSE(app, argc, argv);
  return zsched::sim::Main(flags);
}
