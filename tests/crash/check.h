// Recovery of one image, and whether it found a state that it may find. Owned by tests/crash.
//
// Example:
//   ImageCheck check{.life = &life, .acknowledged = 41, .begun = 42, .go_on = true};
//   absl::StatusOr<Found> found = CheckImage(root, check);
//
// Threads: one. Errors: INTERNAL says what is wrong with the image. A broken image may also end the
// process: LMDB does not defend itself against its own pages.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "tests/crash/life.h"

namespace zsched::crash {

struct ImageCheck {
  const Life* life = nullptr;
  size_t acknowledged = 0;  // the oldest state that may be found
  size_t begun = 0;         // the newest one
  bool go_on = false;       // afterwards commit, and look again
};

struct Found {
  size_t state = 0;
  bool short_file = false;  // data.mdb ended before the highest page ever used
  bool replayed = false;    // the log was whole, and replayed
  bool had_format = false;  // the directory was finished before power failed
};

// `root` holds the image, and is changed by recovery.
absl::StatusOr<Found> CheckImage(const std::string& root, const ImageCheck& check);

}  // namespace zsched::crash
