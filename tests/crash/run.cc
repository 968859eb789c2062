#include "tests/crash/run.h"

#include <algorithm>
#include <filesystem>
#include <unordered_set>

#include "absl/status/status.h"
#include "schemas/errors.h"
#include "tests/crash/check.h"
#include "tests/crash/life.h"
#include "tests/crash/scratch.h"

namespace zsched::crash {
namespace {

namespace fs = std::filesystem;

// A life begins where the one before it was cut off; the first one begins with nothing.
constexpr size_t kLives = 3;
// Of recoveries, one in so many goes on with commits.
constexpr size_t kGoOnEvery = 4;

// What tells images apart: not the two locks, which hold a process id and rubbish.
uint64_t HashTree(const Tree& tree) {
  uint64_t hash = 0;  // each part seeds the next
  for (const auto& [path, bytes] : tree) {
    hash = Hash(path, hash);
    if (!bytes || path.ends_with("lock") || path.ends_with("lock.mdb")) continue;
    hash = Hash(*bytes, hash);
  }
  return hash;
}

// Moments at which power fails, by the number of the event that is under way; each as often as images
// are drawn there.
std::vector<size_t> ChooseMoments(size_t events, size_t count, sim::Random& random) {
  std::vector<size_t> moments(count);
  for (size_t& moment : moments) moment = random.Below(events);
  std::sort(moments.begin(), moments.end());
  return moments;
}

// The state from which on the disk lies. The making of a directory would tell each of the lies; what
// the later commits tell is worth more. Only then are directories synced, though.
size_t LieFrom(Lie lie) { return lie == Lie::kDirectorySyncIgnored ? 0 : 5; }

class Run {
 public:
  Run(const RunOptions& options, volatile size_t* current_image)
      : options_(options), current_image_(current_image), random_(options.seed) {}

  RunResult All() {
    const LifeOptions life_options = ChooseLife(options_.seed);
    Tree base;
    for (size_t i = 0; i < kLives && result_.failure.empty(); ++i) {
      WriteTree(base, live_.path());
      Life life = RecordLife(live_.path(), life_options, random_.Next());
      ++result_.tally.lives;
      result_.tally.commits += life.states.size() - 1;
      result_.tally.calls += life.recording.events.size();
      result_.tally.reopened += life.reopened;
      base = CutOff(life);
    }
    return result_;
  }

 private:
  // Goes through the recording once and lets power fail along the way. Returns an image in which the
  // next life begins.
  Tree CutOff(const Life& life) {
    const std::vector<Event>& events = life.recording.events;
    std::vector<size_t> moments = ChooseMoments(events.size(), options_.images / kLives, random_);
    const size_t next_life = moments[random_.Below(moments.size())];
    Tree base;
    Disk disk(life.recording.base);
    ImageCheck check{.life = &life};
    auto moment = moments.begin();
    for (size_t i = 0; i < events.size() && result_.failure.empty(); ++i) {
      if (events[i].note == NoteKind::kBegun) check.begun = events[i].state;
      if (events[i].note == NoteKind::kAcknowledged) check.acknowledged = events[i].state;
      if (check.acknowledged >= LieFrom(options_.lie)) disk.BeginLying(options_.lie);
      disk.Issue(events[i]);
      bool first_here = true;
      for (; moment != moments.end() && *moment == i && result_.failure.empty(); ++moment) {
        sim::Random draw = random_.Fork();
        Tree image = disk.Draw(draw);
        const uint64_t hash = HashTree(image);
        result_.tally.digest ^= hash;
        if (seen_.insert(hash).second) Recover(image, check, std::exchange(first_here, false));
        if (i == next_life && base.empty()) base = std::move(image);
      }
      disk.Settle(events[i]);
    }
    return base;
  }

  void Recover(const Tree& image, ImageCheck check, bool new_moment) {
    Tally& tally = result_.tally;
    const size_t number = seen_.size();
    if (current_image_ != nullptr) *current_image_ = number;
    if (options_.only_image != 0 && options_.only_image != number) return;
    check.go_on = number % kGoOnEvery == 0;
    if (!options_.keep.empty()) WriteTree(image, options_.keep);
    WriteTree(image, image_.path());
    absl::StatusOr<Found> found = CheckImage(image_.path(), check);
    ++tally.images;
    tally.crash_points += new_moment;
    if (!found.ok()) {
      result_.failure = MessageOf(found.status());
      result_.failed_image = number;
      return;
    }
    tally.unacknowledged += found->state > check.acknowledged;
    tally.unfinished += !found->had_format;
    tally.short_files += found->short_file;
    tally.replayed += found->replayed;
    tally.went_on += check.go_on;
  }

  const RunOptions options_;
  volatile size_t* const current_image_;
  sim::Random random_;
  RunResult result_;
  Scratch live_, image_;
  std::unordered_set<uint64_t> seen_;  // hashes of images
};

}  // namespace

void Tally::Add(const Tally& other) {
  images += other.images;
  crash_points += other.crash_points;
  lives += other.lives;
  commits += other.commits;
  calls += other.calls;
  reopened += other.reopened;
  unacknowledged += other.unacknowledged;
  unfinished += other.unfinished;
  short_files += other.short_files;
  replayed += other.replayed;
  went_on += other.went_on;
  digest ^= other.digest;
}

RunResult RunSeed(const RunOptions& options, volatile size_t* current_image) {
  return Run(options, current_image).All();
}

}  // namespace zsched::crash
