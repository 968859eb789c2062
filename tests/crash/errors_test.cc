// Each call that the journal makes to a file fails once, in every way: what was acknowledged stays,
// nothing is acknowledged afterwards, and the next start goes on from there.
#include "schemas/errors.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/crash/disk.h"
#include "tests/crash/life.h"
#include "tests/crash/scratch.h"

namespace zsched::crash {
namespace {

using broker::Batch;
using broker::Journal;

// What a broker committed, and what its journal must hold after each commit.
struct Script {
  std::vector<Batch> batches;
  std::vector<Ledger> ledgers;  // [i]: after i commits
};

// Keeps a copy of each batch.
class CopyingJournal final : public Journal {
 public:
  CopyingJournal(std::unique_ptr<Journal> journal, Script& script)
      : journal_(std::move(journal)), script_(script) {}
  absl::Status Commit(Batch& batch) override {
    script_.batches.push_back(batch);
    script_.ledgers.push_back(script_.ledgers.back());
    script_.ledgers.back().Apply(batch);
    return journal_->Commit(batch);
  }
  absl::StatusOr<std::unique_ptr<broker::JournalView>> View() override { return journal_->View(); }
  void HoldLog(Lsn from) override { journal_->HoldLog(from); }
  absl::StatusOr<broker::JournalUsage> Usage() override { return journal_->Usage(); }

 private:
  std::unique_ptr<Journal> journal_;
  Script& script_;
};

constexpr int kSteps = 30;
// Redo layers, large rows, retention and trimming in a short script.
const LifeOptions kLife{.steps = kSteps,
                        .restart_percent = 0,
                        .keep_log_bytes = 64 << 10,
                        .sizes = {.medium_percent = 30, .large_percent = 10, .frames = 1}};

Script MakeScript(uint64_t seed) {
  Script script;
  auto disk = broker::MakeMemoryDisk();
  script.ledgers.emplace_back(**broker::OpenMemoryJournal(disk)->View());
  broker::CoreHarness harness({.keep_finished = 5}, [&](const broker::CoreHarness&) {
    return std::make_unique<CopyingJournal>(broker::OpenMemoryJournal(disk), script);
  });
  broker::RandomLife life(harness, seed, kLife.sizes);
  for (int i = 0; i < kSteps; ++i) life.Step();
  harness.Commit();
  return script;
}

struct Way {
  const char* name;
  Verdict verdict;
  bool lasting;
};
std::ostream& operator<<(std::ostream& out, const Way& way) { return out << way.name; }

struct Ended {
  size_t acknowledged = 0;  // commits
  bool failed = false;
  bool struck = false;
  Recording recording;
};

class Errors : public testing::TestWithParam<std::tuple<CallKind, Way>> {
 protected:
  // Goes through the script, the journal closed and opened in the middle, to its end or the first
  // error. Sets `ended`.
  void Play(const std::string& root, std::optional<Fault> fault, Ended& ended) {
    Recorder recorder(root, fault);
    PlayUnder(recorder, root, ended);
    ended.struck = recorder.faults().struck();
    ended.recording = recorder.Stop();
  }

  void PlayUnder(Recorder& recorder, const std::string& root, Ended& ended) {
    std::unique_ptr<Journal> journal;
    for (size_t i = 0; i < script_.batches.size(); ++i) {
      if (i == 0 || i == script_.batches.size() / 2) {
        journal.reset();
        auto opened = broker::OpenLmdbJournal(JournalOptions(root, kLife));
        ended.failed = !opened.ok();
        if (ended.failed) return ExpectClear(opened.status());
        journal = *std::move(opened);
      }
      Batch batch = script_.batches[i];
      absl::Status status = journal->Commit(batch);
      ended.failed = !status.ok();
      if (ended.failed) {
        ExpectClear(status);
        return ExpectPoisoned(recorder, *journal, i);
      }
      ++ended.acknowledged;
    }
  }

  // One line that says where.
  static void ExpectClear(const absl::Status& status) {
    EXPECT_NE(MessageOf(status).find("data directory "), std::string::npos) << status;
    EXPECT_EQ(MessageOf(status).find('\n'), std::string::npos) << status;
    EXPECT_NE(CodeOf(status), ErrorCode::kDataLoss) << "nothing is lost yet: " << status;
  }

  void ExpectPoisoned(Recorder& recorder, Journal& journal, size_t from) {
    const size_t calls = recorder.faults().calls();
    for (size_t i = from; i < std::min(from + 2, script_.batches.size()); ++i) {
      Batch batch = script_.batches[i];
      EXPECT_FALSE(journal.Commit(batch).ok());
    }
    EXPECT_EQ(recorder.faults().calls(), calls) << "a refused commit touches no file";
  }

  // The journal in `root` holds what was acknowledged or one commit more, and takes the rest.
  void ExpectRecovers(const std::string& root, const Ended& ended) {
    auto journal = broker::OpenLmdbJournal(JournalOptions(root, kLife));
    ASSERT_TRUE(journal.ok()) << journal.status();
    auto view = *(*journal)->View();
    auto contents = ReadContents(*view);
    ASSERT_TRUE(contents.ok()) << contents.status();
    view.reset();
    size_t state = ended.acknowledged;
    const bool may_have_more = ended.failed && state < script_.batches.size();
    if (may_have_more && *contents == script_.ledgers[state + 1].ContentsFrom(contents->first_lsn))
      ++state;
    ASSERT_EQ(*contents, script_.ledgers[state].ContentsFrom(contents->first_lsn))
        << ended.acknowledged << " commits were acknowledged";
    for (; state < script_.batches.size(); ++state) {
      Batch batch = script_.batches[state];
      ASSERT_TRUE((*journal)->Commit(batch).ok());
    }
    contents = ReadContents(**(*journal)->View());
    EXPECT_EQ(*contents, script_.ledgers.back().ContentsFrom(contents->first_lsn));
  }

  const Script script_ = MakeScript(1);
};

// After the error power fails too.
constexpr int kImages = 5;

TEST_P(Errors, OfEveryCallLoseNothingAcknowledgedAndAcknowledgeNothingMore) {
  const auto& [kind, way] = GetParam();
  size_t struck = 0, failed = 0;
  for (size_t number = 0; !HasFailure(); ++number) {
    SCOPED_TRACE("call number " + std::to_string(number));
    Scratch scratch;
    Ended ended;
    Play(scratch.path(),
         Fault{.kind = kind, .number = number, .verdict = way.verdict, .lasting = way.lasting},
         ended);
    if (!ended.struck) {
      EXPECT_EQ(ended.acknowledged, script_.batches.size());
      break;
    }
    ++struck;
    failed += ended.failed;
    EXPECT_TRUE(ended.failed) << "an error was passed over";
    ExpectRecovers(scratch.path(), ended);
    Disk disk(ended.recording.base);
    for (const Event& event : ended.recording.events) {
      disk.Issue(event);
      disk.Settle(event);
    }
    sim::Random random(number + 1);
    for (int i = 0; i < kImages; ++i) {
      SCOPED_TRACE("image " + std::to_string(i));
      WriteTree(disk.Draw(random), scratch.path());
      ExpectRecovers(scratch.path(), ended);
    }
  }
  EXPECT_GT(struck, 0u);
  RecordProperty("struck", static_cast<int>(struck));
}

const Way kEio{"Eio", {.error = EIO}, false}, kEioAlways{"EioAlways", {.error = EIO}, true},
    kEnospc{"Enospc", {.error = ENOSPC}, false},
    kEnospcAlways{"EnospcAlways", {.error = ENOSPC}, true},
    kShort{"Short", {.is_short = true}, false},
    kShortAlways{"ShortAlways", {.is_short = true}, true};

std::string NameOf(const testing::TestParamInfo<std::tuple<CallKind, Way>>& info) {
  constexpr const char* kNames[kCallKinds] = {"Create", "MakeDirectory", "Rename",       "Write",
                                              "Resize", "Sync",          "SyncDirectory"};
  return std::string(kNames[static_cast<size_t>(std::get<CallKind>(info.param))]) +
         std::get<Way>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Writes, Errors,
                         testing::Combine(testing::Values(CallKind::kWrite),
                                          testing::Values(kEio, kEioAlways, kEnospc, kEnospcAlways,
                                                          kShort, kShortAlways)),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(
    Others, Errors,
    testing::Combine(testing::Values(CallKind::kCreate, CallKind::kMakeDirectory, CallKind::kRename,
                                     CallKind::kResize, CallKind::kSync, CallKind::kSyncDirectory),
                     testing::Values(kEio, kEioAlways, kEnospc)),
    NameOf);

}  // namespace
}  // namespace zsched::crash
