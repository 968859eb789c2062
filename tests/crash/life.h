// A journal's life under a recorder: the real core, in random order, on the real LMDB journal, with
// closings and openings in between, and for every commit what must be found if it was the last. Owned
// by tests/crash.
//
// Example:
//   Life life = RecordLife(root, ChooseLife(seed), seed);
//   life.states[7].contents;      // what commit 7 left
//
// Threads: one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/journal/journal.h"
#include "tests/crash/contents.h"
#include "tests/crash/recorder.h"
#include "tests/unit/core/random_life.h"

namespace zsched::crash {

struct LifeOptions {
  int steps = 100;
  int restart_percent = 4;  // of steps: the journal is closed and opened
  uint64_t keep_log_bytes = 0;
  broker::RandomLife::Sizes sizes;
};

// One of several kinds of life, each in turn.
LifeOptions ChooseLife(uint64_t seed);

// One commit's outcome, or what was there before the first one.
struct StateNote {
  Contents contents;
  uint64_t fingerprint = 0;  // of the core's live state
};

struct Life {
  LifeOptions options;
  Recording recording;
  std::vector<StateNote> states;  // [0]: what was there at the beginning
  size_t reopened = 0;
};

// The journal's directory below a root.
std::string JournalDirectory(const std::string& root);
broker::LmdbOptions JournalOptions(const std::string& root, const LifeOptions& options);
uint64_t HashFingerprint(const broker::State& state);

Life RecordLife(const std::string& root, const LifeOptions& options, uint64_t seed);

}  // namespace zsched::crash
