// zsched-crash: recovers crash images by seed, replays one, soaks for hours. docs/testing.md has the
// model and how to read what it prints.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "tests/crash/run.h"

namespace zsched::crash {
namespace {

struct LieName {
  const char* name;
  Lie lie;
};
constexpr std::array<LieName, 4> kLies = {{{"data-sync-ignored", Lie::kDataSyncIgnored},
                                           {"sync-loses-one-write", Lie::kSyncLosesOneWrite},
                                           {"o-dsync-ignored", Lie::kSynchronousIsNot},
                                           {"directory-sync-ignored", Lie::kDirectorySyncIgnored}}};

struct Flags {
  uint64_t seed = 0;  // 0: a range
  uint64_t first = 1, count = 4;
  size_t images = 1000, image = 0;
  double time_limit_s = 0;  // 0: none
  std::string keep, lie;
  size_t at_least = 0;
  std::vector<std::string> reach;
};

// For the signal handler: a broken image may break LMDB, and with it the process.
volatile uint64_t current_seed;
volatile size_t current_image;

int PrintFailure(char* text, size_t size, const char* what) {
  return std::snprintf(text, size,
                       "FAILED image %zu: %s\n  replay: zsched-crash --seed %llu --image %zu "
                       "--keep DIRECTORY (with the same --images)\n",
                       static_cast<size_t>(current_image), what,
                       static_cast<unsigned long long>(current_seed),
                       static_cast<size_t>(current_image));
}

void OnSignal(int signal) {
  char text[256];
  const char* what = signal == SIGABRT ? "aborted" : "read memory that is not there";
  int size = PrintFailure(text, sizeof text, what);
  [[maybe_unused]] ssize_t written = write(STDOUT_FILENO, text, static_cast<size_t>(size));
  _exit(1);
}

struct Count {
  const char* name;
  size_t value;
};
std::array<Count, 10> CountsOf(const Tally& t) {
  return {{{"crash points", t.crash_points},
           {"lives", t.lives},
           {"commits", t.commits},
           {"calls", t.calls},
           {"reopened", t.reopened},
           {"unacknowledged", t.unacknowledged},
           {"unfinished", t.unfinished},
           {"short", t.short_files},
           {"replayed", t.replayed},
           {"went on", t.went_on}}};
}

void Print(const Tally& tally) {
  std::printf("%zu images", tally.images);
  for (const Count& count : CountsOf(tally)) std::printf(", %zu %s", count.value, count.name);
  std::printf("\n");
}

// What the images must have been to prove much.
bool CheckReached(const Flags& flags, const Tally& tally) {
  bool all = tally.images >= flags.at_least;
  if (!all) std::printf("FAILED: fewer than %zu images\n", flags.at_least);
  for (const std::string& name : flags.reach)
    for (const Count& count : CountsOf(tally))
      if (name == count.name && count.value == 0) {
        std::printf("FAILED: no image was '%s'\n", count.name);
        all = false;
      }
  return all;
}

int Run(const Flags& flags) {
  RunOptions options{.images = flags.images, .only_image = flags.image, .keep = flags.keep};
  for (const LieName& lie : kLies)
    if (flags.lie == lie.name) options.lie = lie.lie;
  if (!flags.keep.empty()) std::filesystem::create_directories(flags.keep);
  const auto began = std::chrono::steady_clock::now();
  auto elapsed_s = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  };
  const uint64_t first = flags.seed != 0 ? flags.seed : flags.first;
  const uint64_t count = flags.seed != 0 ? 1 : flags.count;
  Tally total;
  size_t failed = 0;
  uint64_t done = 0;
  for (; done < count && (flags.time_limit_s == 0 || elapsed_s() < flags.time_limit_s); ++done) {
    options.seed = first + done;
    current_seed = options.seed;
    RunResult result = RunSeed(options, &current_image);
    total.Add(result.tally);
    if (result.failure.empty()) continue;
    ++failed;
    char text[1024];
    PrintFailure(text, sizeof text, result.failure.c_str());
    std::printf("%s", text);
    std::fflush(stdout);
  }
  std::printf("%llu seeds from %llu in %.1f s: %zu failed\n", static_cast<unsigned long long>(done),
              static_cast<unsigned long long>(first), elapsed_s(), failed);
  Print(total);
  return failed == 0 && CheckReached(flags, total) ? 0 : 1;
}

}  // namespace
}  // namespace zsched::crash

int main(int argc, char** argv) {
  zsched::crash::Flags flags;
  CLI::App app{"Recovers the journal from what power cuts may leave behind, by seed."};
  app.add_option("--seed", flags.seed, "run this seed");
  app.add_option("--first", flags.first, "first seed of a range");
  app.add_option("--count", flags.count, "seeds in the range");
  app.add_option("--images", flags.images, "images to draw for each seed")
      ->check(CLI::Range(30, 100000000));
  app.add_option("--image", flags.image, "of the seed, check this image only");
  app.add_option("--time-limit", flags.time_limit_s, "begin no seed after this many seconds");
  app.add_option("--keep", flags.keep, "directory that gets each image as it was before recovery");
  app.add_option("--lie", flags.lie, "let the disk lie, to see that it is found out")
      ->check(CLI::IsMember([] {
        std::vector<std::string> names;
        for (const auto& lie : zsched::crash::kLies) names.push_back(lie.name);
        return names;
      }()));
  app.add_option("--at-least", flags.at_least, "fail unless so many images were checked");
  app.add_option("--reach", flags.reach, "fail unless images of these kinds were checked")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  for (int number : {SIGABRT, SIGBUS, SIGSEGV}) signal(number, zsched::crash::OnSignal);
  return zsched::crash::Run(flags);
}
