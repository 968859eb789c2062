// The register's file under power cuts and failing calls: what was told stays, and what is read then
// is what a power cut leaves.
#include "broker/replication/register.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <optional>
#include <set>

#include "broker/replication/file_register.h"
#include "schemas/errors.h"
#include "tests/crash/disk.h"
#include "tests/crash/recorder.h"
#include "tests/crash/scratch.h"

namespace zsched::crash {
namespace {

using broker::OpenFileRegister;
using broker::Register;
using broker::RegisterStore;

constexpr int kValues = 6;
constexpr int kDraws = 40;  // images of each moment; there are a handful of different ones

// The value number `i`; 0 is the empty register.
Register Value(int i) {
  if (i == 0) return {};
  return {MakeEpoch(i, i % 2), static_cast<uint8_t>(i % 2), broker::kAllNodes, Uuid{1, 2}};
}

std::unique_ptr<RegisterStore> Open(const std::string& directory) {
  auto store = OpenFileRegister(directory);
  ZS_CHECK_OK(store.status());
  return *std::move(store);
}

// The number of a value; nullopt: it is none of them.
std::optional<int> NumberOf(const absl::StatusOr<Register>& value) {
  if (!value.ok()) return std::nullopt;
  for (int i = 0; i <= kValues; ++i)
    if (*value == Value(i)) return i;
  return std::nullopt;
}

class RegisterCrash : public testing::Test {
 protected:
  // Cuts power at every moment of a recording. Its notes say which values may be found.
  void CheckImages(const Recording& recording) {
    Disk disk(recording.base);
    sim::Random random(1);
    size_t begun = 0, told = 0;
    for (const Event& event : recording.events) {
      if (event.note == NoteKind::kBegun) begun = event.state;
      if (event.note == NoteKind::kAcknowledged) told = event.state;
      if (event.note != NoteKind::kNone) continue;
      disk.Issue(event);
      for (int i = 0; i < kDraws; ++i) CheckImage(disk.Draw(random), told, begun);
      disk.Settle(event);
      for (int i = 0; i < kDraws; ++i) CheckImage(disk.Draw(random), told, begun);
    }
    for (int i = 0; i < kDraws; ++i) CheckImage(disk.Draw(random), told, begun);
  }

  void CheckImage(const Tree& image, size_t told, size_t begun) {
    if (!seen_.insert({image, told}).second) return;
    Scratch scratch;
    WriteTree(image, scratch.path());
    auto read = Open(scratch.path())->Read();
    std::optional<int> number = NumberOf(read);
    ASSERT_TRUE(number.has_value()) << read.status();
    EXPECT_GE(*number, static_cast<int>(told));
    EXPECT_LE(*number, static_cast<int>(begun));
    unacknowledged_ += *number > static_cast<int>(told);
  }

  std::set<std::pair<Tree, size_t>> seen_;
  int unacknowledged_ = 0;
};

TEST_F(RegisterCrash, KeepsWhatItWasToldAtEveryMoment) {
  Scratch scratch;
  Recorder recorder(scratch.path());
  auto store = Open(scratch.path());
  for (int i = 1; i <= kValues; ++i) {
    recorder.Note(NoteKind::kBegun, i);
    ASSERT_EQ(NumberOf(store->Swap(Value(i - 1), Value(i))), i);
    recorder.Note(NoteKind::kAcknowledged, i);
    if (i % 2 == 0) store = Open(scratch.path());
  }
  CheckImages(recorder.Stop());
  EXPECT_GT(unacknowledged_, 0);
  EXPECT_GT(seen_.size(), static_cast<size_t>(2 * kValues));
}

// A lie of the disk must be found out, or the test above proves nothing.
TEST_F(RegisterCrash, LosesValuesOnADiskThatLies) {
  Scratch scratch;
  Recorder recorder(scratch.path());
  auto store = Open(scratch.path());
  for (int i = 1; i <= kValues; ++i) ASSERT_EQ(NumberOf(store->Swap(Value(i - 1), Value(i))), i);
  const Recording recording = recorder.Stop();
  for (Lie lie : {Lie::kDataSyncIgnored, Lie::kDirectorySyncIgnored}) {
    Disk disk(recording.base);
    disk.BeginLying(lie);
    for (const Event& event : recording.events) {
      disk.Issue(event);
      disk.Settle(event);
    }
    sim::Random random(1);
    bool lost = false;
    for (int i = 0; i < kDraws && !lost; ++i) {
      Scratch image;
      WriteTree(disk.Draw(random), image.path());
      lost = NumberOf(Open(image.path())->Read()) != kValues;
    }
    EXPECT_TRUE(lost);
  }
}

struct Way {
  const char* name;
  CallKind kind;
  Verdict verdict;
};

void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

class RegisterErrors : public RegisterCrash, public testing::WithParamInterface<Way> {};

// Each call fails once. Whatever is read afterwards is on the disk.
TEST_P(RegisterErrors, WhatIsReadAfterAnErrorStays) {
  bool strikes = true;
  for (size_t number = 0; strikes; ++number) {
    Scratch scratch;
    Recorder recorder(
        scratch.path(),
        Fault{.kind = GetParam().kind, .number = number, .verdict = GetParam().verdict});
    auto store = Open(scratch.path());
    int stands = 0, errors = 0;
    for (int i = 1; i <= kValues; ++i) {
      recorder.Note(NoteKind::kBegun, i);
      auto swapped = store->Swap(Value(stands), Value(i));
      if (!swapped.ok()) {
        ++errors;
        EXPECT_EQ(CodeOf(swapped.status()), ErrorCode::kUnavailable);
        swapped = store->Read();
      }
      std::optional<int> now = NumberOf(swapped);
      ASSERT_TRUE(now.has_value()) << swapped.status();
      EXPECT_TRUE(*now == i || *now == stands);
      stands = *now;
      recorder.Note(NoteKind::kAcknowledged, stands);
    }
    strikes = recorder.faults().struck();
    EXPECT_EQ(errors, strikes ? 1 : 0);
    CheckImages(recorder.Stop());
  }
}

INSTANTIATE_TEST_SUITE_P(
    , RegisterErrors,
    testing::Values(Way{"Create", CallKind::kCreate, {.error = EMFILE}},
                    Way{"Write", CallKind::kWrite, {.error = EIO}},
                    Way{"WriteFull", CallKind::kWrite, {.error = ENOSPC}},
                    Way{"WriteShort", CallKind::kWrite, {.is_short = true}},
                    Way{"Sync", CallKind::kSync, {.error = EIO}},
                    Way{"Rename", CallKind::kRename, {.error = EIO}},
                    Way{"SyncDirectory", CallKind::kSyncDirectory, {.error = EIO}}),
    [](const testing::TestParamInfo<Way>& way) { return way.param.name; });

}  // namespace
}  // namespace zsched::crash
