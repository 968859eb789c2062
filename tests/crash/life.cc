#include "tests/crash/life.h"

#include <utility>

#include "base/check.h"
#include "tests/sim/random.h"
#include "tests/support/recover.h"

namespace zsched::crash {
namespace {

// Far above what a life writes, and cheap: it is address space.
constexpr uint64_t kMapBytes = uint64_t{256} << 20;
// Few, so that retention frees pages soon.
constexpr uint64_t kKeepFinished = 20;

// What the life's journals share: each is one opening of the directory.
struct Notes {
  Recorder& recorder;
  Life& life;
  std::unique_ptr<Ledger> ledger;
};

// The real journal, each of whose commits is noted before and after.
class NotedJournal final : public broker::Journal {
 public:
  NotedJournal(Notes& notes, const broker::CoreHarness& harness,
               std::unique_ptr<broker::Journal> journal)
      : notes_(notes), harness_(harness), journal_(std::move(journal)) {}

  absl::Status Commit(broker::Batch& batch) override {
    const size_t number = notes_.life.states.size();
    notes_.ledger->Apply(batch);
    StateNote& note = notes_.life.states.emplace_back();
    note.fingerprint = HashFingerprint(harness_.core->state());
    notes_.recorder.Note(NoteKind::kBegun, number);
    absl::Status status = journal_->Commit(batch);
    if (!status.ok()) return status;
    notes_.recorder.Note(NoteKind::kAcknowledged, number);
    ZS_ASSIGN_OR_RETURN(auto view, journal_->View());
    ZS_ASSIGN_OR_RETURN(broker::LogBounds bounds, view->Bounds());
    note.contents = notes_.ledger->ContentsFrom(bounds.first.value());
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<broker::JournalView>> View() override { return journal_->View(); }
  void HoldLog(Lsn from) override { journal_->HoldLog(from); }
  absl::StatusOr<broker::JournalUsage> Usage() override { return journal_->Usage(); }

 private:
  Notes& notes_;
  const broker::CoreHarness& harness_;  // whose state each commit makes durable
  std::unique_ptr<broker::Journal> journal_;
};

std::unique_ptr<broker::Journal> Open(Notes& notes, const broker::CoreHarness& harness,
                                      const std::string& root) {
  auto journal = broker::OpenLmdbJournal(JournalOptions(root, notes.life.options));
  ZS_CHECK_OK(journal.status());
  auto view = *(*journal)->View();
  auto contents = ReadContents(*view);
  ZS_CHECK_OK(contents.status());
  if (notes.ledger == nullptr) {
    notes.ledger = std::make_unique<Ledger>(*view);
    broker::State state;
    ZS_CHECK_OK(Rebuild(*view, state));
    notes.life.states.push_back({.contents = *contents, .fingerprint = HashFingerprint(state)});
  }
  ZS_CHECK(*contents == notes.ledger->ContentsFrom(contents->first_lsn));
  view.reset();
  return std::make_unique<NotedJournal>(notes, harness, *std::move(journal));
}

}  // namespace

LifeOptions ChooseLife(uint64_t seed) {
  constexpr uint64_t kNothing = 0, kLittle = 64 << 10, kEverything = 1 << 30;
  struct Kind {
    uint64_t keep_log_bytes;
    broker::RandomLife::Sizes sizes;
  };
  // A log that is trimmed in the commit that wrote it leaves pages at the file's end unwritten; one
  // that is kept can be replayed.
  static constexpr Kind kKinds[] = {
      {kEverything, {}},
      {kLittle, {.medium_percent = 30}},
      {kNothing, {.medium_percent = 0, .large_percent = 20, .frames = 4}},
      {kEverything, {.medium_percent = 20, .large_percent = 5, .frames = 4}},
      {kNothing, {.medium_percent = 30, .large_percent = 0, .frames = 2}},
      {kLittle, {.medium_percent = 20, .large_percent = 5, .frames = 4}},
  };
  const Kind& kind = kKinds[seed % std::size(kKinds)];
  LifeOptions options;
  options.keep_log_bytes = kind.keep_log_bytes;
  options.sizes = kind.sizes;
  return options;
}

std::string JournalDirectory(const std::string& root) { return root + "/data"; }

broker::LmdbOptions JournalOptions(const std::string& root, const LifeOptions& options) {
  return {.directory = JournalDirectory(root),
          .map_bytes = kMapBytes,
          .keep_log_bytes = options.keep_log_bytes};
}

uint64_t HashFingerprint(const broker::State& state) { return Hash(state.Fingerprint()); }

Life RecordLife(const std::string& root, const LifeOptions& options, uint64_t seed) {
  sim::Random random(seed);
  Life life;
  life.options = options;
  Recorder recorder(root);
  Notes notes{.recorder = recorder, .life = life, .ledger = nullptr};
  {
    broker::CoreHarness harness(
        {.keep_finished = kKeepFinished},
        [&](const broker::CoreHarness& self) { return Open(notes, self, root); });
    broker::RandomLife core_life(harness, random.Next(), options.sizes);
    for (int step = 0; step < options.steps; ++step) {
      core_life.Step();
      if (!random.Chance(options.restart_percent / 100.0)) continue;
      core_life.Restart();
      ++life.reopened;
    }
    harness.Commit();
  }
  // The harness reports by gtest, whether or not a test is running.
  ZS_CHECK(!testing::Test::HasFailure());
  life.recording = recorder.Stop();
  return life;
}

}  // namespace zsched::crash
