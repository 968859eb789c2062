// Crash images of one seed: lives, power cuts, recoveries. Owned by tests/crash.
//
//   nothing ──▶ life 1 ──power cut──▶ image ──▶ life 2 ──power cut──▶ …
//                 └── many other images, each of which must recover
//
// A seed gives the same images in the same order on every machine, so a number names an image.
//
// Example:
//   RunResult result = RunSeed({.seed = 7, .images = 1000});
//   if (!result.failure.empty()) …
//
// Threads: one a process.
#pragma once

#include <cstdint>
#include <string>

#include "tests/crash/disk.h"

namespace zsched::crash {

struct RunOptions {
  uint64_t seed = 1;
  size_t images = 500;    // to try for; equal ones count once
  size_t only_image = 0;  // not 0: check this one alone
  Lie lie = Lie::kNone;
  std::string keep;  // not empty: the directory that gets the image that fails
};

struct Tally {
  size_t images = 0;        // different from each other, recovered and compared
  size_t crash_points = 0;  // moments at which power failed
  size_t lives = 0, commits = 0, calls = 0, reopened = 0;
  size_t unacknowledged = 0;  // found a commit that was still under way
  size_t unfinished = 0;      // the directory was not finished
  size_t short_files = 0;     // data.mdb ended before the highest page ever used
  size_t replayed = 0;        // the log was replayed too
  size_t went_on = 0;         // commits followed
  uint64_t digest = 0;        // of all images, in any order

  void Add(const Tally& other);
};

struct RunResult {
  Tally tally;
  std::string failure;  // what is wrong with image number `failed_image`
  size_t failed_image = 0;
};

// `current_image`, when given, always holds the number of the image in hand: for those who must say so
// when the process breaks.
RunResult RunSeed(const RunOptions& options, volatile size_t* current_image = nullptr);

}  // namespace zsched::crash
