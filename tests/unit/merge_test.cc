// What two cores did alone, after a common beginning, becomes one log again: docs/ha.md, "The merge".
#include "broker/core/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "broker/server/merge_source.h"
#include "tests/unit/core/random_life.h"
#include "tests/unit/core/standby.h"

namespace zsched::broker {
namespace {

constexpr size_t kSmallPart = 2'000;  // several entries, several parts

// Two cores that were one until Part().
class Sides {
 public:
  explicit Sides(CoreConfig config = {})
      : other(config, [this](const CoreHarness&) { return OpenMemoryJournal(disk_); }),
        here(config, [this](const CoreHarness&) { return OpenMemoryJournal(here_disk_); }) {
    here.node = 1;
  }

  // `here` goes on in an epoch of its own from what `other` has.
  void Part() {
    other.Commit();
    here.core.reset();
    here.journal.reset();
    here_disk_ = MakeMemoryDisk();
    Standby standby(here_disk_);
    standby.CatchUp(*other.journal);
    here.core = std::move(standby.core);
    here.journal = std::move(standby.journal);
    here.now = other.now;
    ASSERT_TRUE(here.core->Start(Uuid{1, 2}, here.core->NextEpoch(1), here.now).ok());
    here.Commit();
  }

  // What `other` did alone is given to `here`. Returns what became of it.
  MergeRow Merge(size_t part_bytes = kSmallPart, uint32_t most_parts = UINT32_MAX) {
    other.Commit();
    here.Commit();
    // Who has the higher epoch goes on.
    while (here.core->state().epoch() <= other.core->state().epoch()) here.Restart();
    other.core.reset();
    other.journal.reset();
    auto own = here.journal->View();
    auto opened = MergeSource::Open(OpenMemoryJournal(disk_), **own, part_bytes);
    EXPECT_TRUE(opened.ok()) << opened.status();
    if (*opened == nullptr) return {};
    source = *std::move(opened);
    for (uint32_t number = 0;; ++number) {
      const std::optional<MergePart> part = Part(number);
      const std::string entries(part->entries);
      MergePart copy = *part;
      copy.entries = entries;
      // More often than once, and out of turn: it counts once.
      for (uint32_t again = 0; again < 2; ++again) {
        const absl::Status decided = here.core->OnMerge(copy, here.now);
        EXPECT_TRUE(decided.ok()) << decided;
        here.Commit();
      }
      if (number == 2) {
        EXPECT_EQ(std::string(Part(0)->entries), first_part_) << "always the same parts";
        EXPECT_EQ(std::string(Part(2)->entries), entries);
        EXPECT_EQ(std::string(Part(2)->entries), entries);
      }
      if (number == 0) first_part_ = entries;
      parts = number + 1;
      if (copy.last || parts == most_parts) break;
    }
    const MergeRow* row = here.core->state().FindMerge(source->log_hash());
    EXPECT_TRUE(row != nullptr && (row->done || parts == most_parts) && row->parts == parts);
    return row == nullptr ? MergeRow{} : *row;
  }
  std::optional<MergePart> Part(uint32_t number) {
    for (;;) {
      auto part = source->Read(number);
      EXPECT_TRUE(part.ok()) << part.status();
      if (!part.ok() || part->has_value()) return part.ok() ? *part : std::nullopt;
    }
  }
  // Of the log that was merged.
  template <class Visit>
  void ForEachTaskThere(Visit visit) {
    const std::unique_ptr<Journal> journal = OpenMemoryJournal(disk_again());
    auto view = journal->View();
    ASSERT_TRUE((*view)
                    ->Scan(Table::kTasks, 0,
                           [&](uint64_t id, std::string_view bytes) {
                             TaskRow row;
                             RowReader(bytes).Read(row);
                             visit(id, row, **view);
                             return true;
                           })
                    .ok());
  }
  std::shared_ptr<MemoryDisk> disk_again() {
    source.reset();
    return disk_;
  }

 private:
  std::shared_ptr<MemoryDisk> disk_ = MakeMemoryDisk(), here_disk_ = MakeMemoryDisk();
  std::string first_part_;

 public:
  CoreHarness other, here;
  std::unique_ptr<MergeSource> source;
  uint32_t parts = 0;
};

std::string BytesAt(JournalView& view, Table table, uint64_t id) {
  auto bytes = view.Get(table, id);
  return bytes.ok() && *bytes ? std::string(**bytes) : "";
}

class MergeProperty : public testing::TestWithParam<uint64_t> {};

TEST_P(MergeProperty, KeepsEveryTaskAndEveryEndOfBothSides) {
  // Nothing is pruned while they are apart: what retention has dropped nobody can hand over.
  Sides sides({.keep_keys_ms = 50'000});
  RandomLife there(sides.other, GetParam());
  for (int step = 0; step < 120 && !HasFatalFailure(); ++step) there.Step();
  sides.Part();
  RandomLife here(sides.here, GetParam() + 1'000);
  here.RenameAll();
  for (int step = 0; step < 150 && !HasFatalFailure(); ++step) {
    there.Step();
    here.Step();
  }
  sides.here.Commit();
  std::map<uint64_t, TaskRow> before;
  {
    auto view = sides.here.journal->View();
    ASSERT_TRUE((*view)
                    ->Scan(Table::kTasks, 0,
                           [&](uint64_t id, std::string_view bytes) {
                             RowReader(bytes).Read(before[id]);
                             return true;
                           })
                    .ok());
  }
  const MergeRow row = sides.Merge();
  if (HasFatalFailure()) return;
  const uint64_t first_unknown = sides.source->first_unknown();
  EXPECT_GE(sides.parts, 2u);
  const std::string live = sides.here.Fingerprint();
  ASSERT_EQ(live, sides.here.RebuiltFingerprint());
  ASSERT_EQ(live, sides.here.ReplayedFingerprint());

  auto now = *sides.here.journal->View();
  uint64_t taken = 0, finished = 0, voided = 0, ended = 0;
  sides.ForEachTaskThere([&](uint64_t id, const TaskRow& task, JournalView& view) {
    const std::string bytes = BytesAt(*now, Table::kTasks, id);
    if (id < first_unknown && !before.contains(id)) return;  // deleted here
    ASSERT_NE(bytes, "") << "task " << id << " is lost";
    TaskRow merged;
    RowReader(bytes).Read(merged);
    if (id < first_unknown) {
      // A dead one may have been tried again here.
      EXPECT_TRUE(IsFinished(merged.state) || !IsFinished(task.state) ||
                  task.state == TaskState::kDead);
      if (IsFinished(before.at(id).state) || !IsFinished(merged.state)) return;
      ++ended;
      if (IsFinished(task.state)) {
        EXPECT_EQ(merged.state, task.state);
      } else {
        EXPECT_TRUE(task.state == TaskState::kLeased && (task.at_most_once || task.cancelling));
      }
    } else if (IsFinished(task.state)) {
      ++finished;
      EXPECT_EQ(merged.state, task.state);
      EXPECT_EQ(merged.finished_ms, task.finished_ms);
    } else if (merged.state == TaskState::kCancelled) {
      ++voided;
    } else if (!IsFinished(merged.state)) {
      ++taken;
    } else {
      EXPECT_EQ(task.state, TaskState::kLeased) << "its attempt was lost";
      ++voided;
    }
    if (id < first_unknown) return;
    EXPECT_EQ(BytesAt(*now, Table::kSpecs, id), BytesAt(view, Table::kSpecs, id));
    if (IsFinished(task.state)) {
      EXPECT_EQ(BytesAt(*now, Table::kOutcomes, id), BytesAt(view, Table::kOutcomes, id));
    }
  });
  EXPECT_EQ(row.taken, taken);
  EXPECT_EQ(row.finished, finished);
  EXPECT_EQ(row.ended, ended);
  EXPECT_EQ(row.voided, voided);
  EXPECT_EQ(row.resent, 0u);
  for (const auto& [id, task] : before) {
    const std::string bytes = BytesAt(*now, Table::kTasks, id);
    ASSERT_NE(bytes, "") << "task " << id << " was here";
    TaskRow merged;
    RowReader(bytes).Read(merged);
    if (IsFinished(task.state)) {
      EXPECT_EQ(merged.state, task.state) << "what is finished stays finished";
    }
  }
  // Life goes on, with all of them.
  now.reset();
  for (int step = 0; step < 60 && !HasFatalFailure(); ++step) here.Step();
  sides.here.Commit();
  EXPECT_EQ(sides.here.Fingerprint(), sides.here.RebuiltFingerprint());
}

INSTANTIATE_TEST_SUITE_P(Seeds, MergeProperty, testing::Range<uint64_t>(1, 31));

TEST(Merge, WhatIsRunningThereIsReadyAgainOrDead) {
  Sides sides;
  sides.Part();
  const SessionId client = sides.other.Client(1), worker = sides.other.Worker(1, 10);
  const TaskId often = sides.other.SubmitOne(client, 1, {});
  const TaskId once = sides.other.SubmitOne(client, 2, {.delivery = wire::Delivery::kAtMostOnce});
  ASSERT_EQ(sides.other.Take(worker).size(), 2u);
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.taken, 1u);
  EXPECT_EQ(row.voided, 1u);
  EXPECT_EQ(sides.here.Row(often).state, TaskState::kReady);
  EXPECT_EQ(sides.here.Row(often).lost, 1);
  EXPECT_EQ(sides.here.Row(once).state, TaskState::kDead);
  const SessionId other_worker = sides.here.Worker(2, 10);
  ASSERT_EQ(sides.here.Take(other_worker).size(), 1u);
}

TEST(Merge, WhatEndedThereEndsHereAndIsTakenAwayFromItsWorker) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  const TaskId runs = sides.other.SubmitOne(client, 1, {}),
               waits = sides.other.SubmitOne(client, 2, {.delay_ms = 500});
  sides.Part();
  const SessionId there = sides.other.Worker(1, 10), here = sides.here.Worker(2, 10);
  sides.other.Succeed(there, sides.other.Take(there).at(0), "from there");
  EXPECT_EQ(sides.other.CancelOne(client, waits).code, ErrorCode::kOk);
  const std::vector<Assign> running = sides.here.Take(here);
  ASSERT_EQ(running.size(), 1u);
  const SessionId waiter = sides.here.Client(7);
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateWait(b, 1, b.CreateVector(std::vector<uint64_t>{runs.value()})));
  EXPECT_TRUE(
      sides.here.core->OnWait(waiter, *flatbuffers::GetRoot<wire::Wait>(b.GetBufferPointer()))
          .empty());
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.ended, 2u);
  EXPECT_EQ(sides.here.Row(runs).state, TaskState::kSucceeded);
  EXPECT_EQ(sides.here.Row(waits).state, TaskState::kCancelled);
  ASSERT_EQ(sides.here.cancels.size(), 1u);
  EXPECT_EQ(sides.here.cancels[0].leases, std::vector<uint64_t>{running[0].lease.value()});
  ASSERT_EQ(sides.here.outcomes.size(), 1u) << "who waits for it is told";
  // Its late result is a stale one.
  sides.here.Done(here, running);
  EXPECT_EQ(sides.here.result_acks.back().stale.size(), 1u);
}

TEST(Merge, TasksThatFollowAreMadeOnce) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  const TaskId parent = sides.other.SubmitOne(client, 1, {.on_success = {{.type = "next"}}});
  sides.Part();
  const SessionId there = sides.other.Worker(1, 1, {}, {"t"});
  sides.other.Done(there, sides.other.Take(there));
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.ended, 1u);
  EXPECT_EQ(row.taken, 1u) << "the one that follows";
  EXPECT_EQ(sides.here.Row(parent).state, TaskState::kSucceeded);
  EXPECT_EQ(sides.here.core->state().tasks().size(), 1u);
}

TEST(Merge, WhatAClientHasSentAgainIsNotThereTwice) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  sides.other.SubmitOne(client, 1, {.type = "common"});
  sides.Part();
  // It has no answer from there, and asks here.
  const TaskId unheard = sides.other.SubmitOne(client, 2, {.type = "sent"});
  const TaskId again = sides.here.SubmitOne(sides.here.Client(1), 2, {.type = "sent"});
  // It has no answer, and does not ask until they are one again.
  const TaskId later = sides.other.SubmitOne(client, 3, {.type = "late"});
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.resent, 1u);
  EXPECT_EQ(row.taken, 1u);
  EXPECT_EQ(sides.here.Find(unheard), nullptr);
  EXPECT_NE(sides.here.Find(again), nullptr);
  const SubmitAckEffect ack = sides.here.Submit(sides.here.Client(1), 3, {{.type = "late"}});
  EXPECT_TRUE(ack.duplicate);
  EXPECT_EQ(TaskId(ack.first_id), later);
}

// What the client was told there it does not send again; the frames around it it does.
TEST(Merge, OnlyWhatWasSentAgainIsLeftOut) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  sides.other.SubmitOne(client, 1, {.type = "common"});
  sides.Part();
  std::vector<TaskId> there;
  for (uint64_t seq = 2; seq <= 5; ++seq)
    there.push_back(sides.other.SubmitOne(client, seq, {.type = "there"}));
  // The answers for 3 and 5 got lost. It goes on for long, so that this side forgets what it has answered.
  const SessionId again = sides.here.Client(1);
  for (uint64_t seq : {3, 5, 6, 7})
    sides.here.Submit(again, seq, {{.type = "here"}}, /*acked_below=*/seq);
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.resent, 2u);
  EXPECT_EQ(row.taken, 2u);
  EXPECT_NE(sides.here.Find(there[0]), nullptr);
  EXPECT_EQ(sides.here.Find(there[1]), nullptr);
  EXPECT_NE(sides.here.Find(there[2]), nullptr);
  EXPECT_EQ(sides.here.Find(there[3]), nullptr);
  EXPECT_EQ(sides.here.Fingerprint(), sides.here.RebuiltFingerprint());
}

// A client takes no answer from an older epoch than the latest that it has heard of: it was told of the later ones.
TEST(Merge, WhatAClientSentHereFirstAndThereLaterStaysOnBothSides) {
  Sides sides;
  sides.other.SubmitOne(sides.other.Client(1), 1, {.type = "common"});
  sides.Part();
  const TaskId unheard = sides.here.SubmitOne(sides.here.Client(1), 2, {.type = "sent"});
  while (sides.other.core->state().epoch() <= sides.here.core->state().epoch())
    sides.other.Restart();
  const TaskId told = sides.other.SubmitOne(sides.other.Client(1), 2, {.type = "sent"});
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.resent, 0u);
  EXPECT_EQ(row.taken, 1u);
  EXPECT_NE(sides.here.Find(unheard), nullptr);
  EXPECT_NE(sides.here.Find(told), nullptr);
}

// Both restarted: it may have been answered by either.
TEST(Merge, WhatAClientMayHaveBeenToldOfAfterwardsStays) {
  Sides sides;
  sides.other.SubmitOne(sides.other.Client(1), 1, {.type = "common"});
  sides.Part();
  const TaskId there = sides.other.SubmitOne(sides.other.Client(1), 2, {.type = "sent"});
  const TaskId here = sides.here.SubmitOne(sides.here.Client(1), 2, {.type = "sent"});
  while (sides.other.core->state().epoch() <= sides.here.core->state().epoch())
    sides.other.Restart();
  EXPECT_TRUE(sides.other.Submit(sides.other.Client(1), 2, {{.type = "sent"}}).duplicate);
  EXPECT_EQ(sides.Merge().resent, 0u);
  EXPECT_NE(sides.here.Find(there), nullptr);
  EXPECT_NE(sides.here.Find(here), nullptr);
}

// Anybody may write them.
TEST(Merge, LabelsOfAnUnfiredTickMoveNoSchedule) {
  Sides sides;
  sides.other.SetSchedule(sides.other.Client(1), "s", {.expression = "@every 1s"});
  sides.Part();
  const TaskId task = sides.other.SubmitOne(
      sides.other.Client(1), 1,
      {.labels = {{"schedule", "s"},
                  {"tick", FormatTimeMs(sides.other.now.wall_ms + 86'400'000)}}});
  sides.Merge(kMergePartBytes, /*most_parts=*/1);
  EXPECT_NE(sides.here.Find(task), nullptr);
  EXPECT_LE(sides.here.core->state().FindSchedule("s")->row.cursor_ms, sides.here.now.wall_ms);
}

TEST(Merge, AClientThatHasLeftIsStillKnown) {
  Sides sides({.keep_departed = true});
  const SessionId client = sides.other.Client(1);
  sides.other.SubmitOne(client, 1, {.type = "common"});
  sides.Part();
  const TaskId unheard = sides.other.SubmitOne(client, 2, {.type = "sent"});
  sides.here.Restart();  // with that setting
  const SessionId again = sides.here.Client(1);
  sides.here.SubmitOne(again, 2, {.type = "sent"});
  sides.here.core->OnClientGoodbye(again, sides.here.now);
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.resent, 1u);
  EXPECT_EQ(sides.here.Find(unheard), nullptr);
}

TEST(Merge, ATickThatWaitsHereAndRanThereDoesNotRunAgain) {
  Sides sides;
  sides.other.SetSchedule(sides.other.Client(1), "s",
                          {.expression = "@every 1s", .overlap = wire::Overlap::kQueueAll});
  const SessionId worker = sides.other.Worker(1, 1);
  sides.other.Pass(1'000);
  const std::vector<Assign> first = sides.other.Take(worker);
  ASSERT_EQ(first.size(), 1u);
  sides.Part();
  sides.here.Pass(1'000);
  sides.here.Pass(1'000);
  ASSERT_EQ(sides.here.core->state().FindSchedule("s")->row.held, 2u);
  sides.other.Pass(1'000);
  sides.other.Done(worker, first);
  sides.other.Pass(1);
  const std::vector<Assign> second = sides.other.Take(worker);
  ASSERT_EQ(second.size(), 1u);
  sides.other.Done(worker, second);
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.finished, 1u);
  EXPECT_EQ(row.ended, 1u);
  sides.here.Pass(1);
  EXPECT_EQ(sides.here.core->state().FindSchedule("s")->row.held, 0u);
  EXPECT_EQ(sides.here.core->state().tasks().size(), 1u)
      << "the third tick, which only waited here";
  EXPECT_EQ(sides.here.Fingerprint(), sides.here.RebuiltFingerprint());
}

// They are counted from the first on, so none may join them that is not the next.
TEST(Merge, TicksThatWaitAreNotJoinedBehindAGap) {
  Sides sides;
  sides.other.SetSchedule(sides.other.Client(1), "s",
                          {.expression = "@every 1s", .overlap = wire::Overlap::kQueueAll});
  const SessionId worker = sides.other.Worker(1, 1);
  sides.other.Pass(1'000);
  ASSERT_EQ(sides.other.Take(worker).size(), 1u);
  sides.Part();
  sides.here.Pass(1'000);
  for (int i = 0; i < 3; ++i) sides.other.Pass(1'000);
  sides.Merge();
  const TicksRow merged = sides.here.core->state().FindSchedule("s")->row;
  EXPECT_EQ(merged.held, 1u);
  EXPECT_EQ(merged.gap, 1u);
  for (int i = 0; i < 4; ++i) sides.here.Pass(1'000);
  const TicksRow later = sides.here.core->state().FindSchedule("s")->row;
  EXPECT_EQ(later.held, 1u) << "the next is skipped";
  EXPECT_GT(later.skipped, merged.skipped);
}

// The part with the schedules comes last, and may be late.
TEST(Merge, ATickThatWasFiredThereIsNotFiredHereBeforeTheMergeIsOver) {
  Sides sides;
  sides.other.SetSchedule(sides.other.Client(1), "s",
                          {.expression = "@every 1s", .overlap = wire::Overlap::kSkip});
  sides.Part();
  sides.other.Pass(1'000);
  ASSERT_EQ(sides.other.core->state().tasks().size(), 1u);
  const MergeRow row = sides.Merge(kMergePartBytes, /*most_parts=*/1);
  EXPECT_FALSE(row.done);
  EXPECT_EQ(row.taken, 1u);
  sides.here.Pass(1'000);
  EXPECT_EQ(sides.here.core->state().tasks().size(), 1u);
  sides.here.Pass(1'000);
  EXPECT_EQ(sides.here.core->state().tasks().size(), 1u) << "it waits, so the next is skipped";
  EXPECT_EQ(sides.here.core->state().FindSchedule("s")->row.skipped, 1u);
  EXPECT_EQ(sides.here.Fingerprint(), sides.here.RebuiltFingerprint());
}

// What only one may run, and what was to be cancelled, does not begin again here.
TEST(Merge, WhatRanThereOnceDoesNotRunHere) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  const TaskId once = sides.other.SubmitOne(
                   client, 1,
                   {.delivery = wire::Delivery::kAtMostOnce, .on_failure = {{.type = "sorry"}}}),
               often = sides.other.SubmitOne(client, 2, {}),
               cancelled = sides.other.SubmitOne(client, 3, {});
  sides.Part();
  const SessionId worker = sides.other.Worker(1, 3);
  ASSERT_EQ(sides.other.Take(worker).size(), 3u);
  EXPECT_EQ(sides.other.CancelOne(client, cancelled).code, ErrorCode::kOk);
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.ended, 2u);
  EXPECT_EQ(sides.here.Row(once).state, TaskState::kDead);
  EXPECT_EQ(sides.here.Row(cancelled).state, TaskState::kCancelled);
  EXPECT_EQ(sides.here.Row(often).state, TaskState::kReady);
  EXPECT_EQ(sides.here.core->state().tasks().size(), 2u) << "and the one that follows a failure";
}

// Nobody reported that end: whoever runs it here may well be alive.
TEST(Merge, AnEndThatWasOnlyPresumedTakesNothingAway) {
  Sides sides;
  const SessionId client = sides.other.Client(1), worker = sides.other.Worker(1, 1);
  const TaskId task = sides.other.SubmitOne(client, 1, {.delivery = wire::Delivery::kAtMostOnce});
  const std::vector<Assign> runs = sides.other.Take(worker);
  sides.Part();
  sides.other.core->OnSessionBroken(worker);
  sides.other.Pass(10 * kVisibilityTimeoutMs);
  sides.other.Pass(1);
  EXPECT_EQ(sides.other.Row(task).state, TaskState::kDead);
  const SessionId back =
      sides.here.Worker(1, 1, {}, {}, {{task.value(), runs.at(0).lease.value(), 1}});
  EXPECT_EQ(sides.Merge().ended, 0u);
  sides.here.Done(back, runs);
  EXPECT_EQ(sides.here.Row(task).state, TaskState::kSucceeded);
}

// The task that has the key here has long ended there.
TEST(Merge, AKeyThatWasFreeThereVoidsNothing) {
  Sides sides({.keep_keys_ms = 1'000});
  const SessionId client = sides.other.Client(1);
  sides.other.SubmitOne(client, 1, {.key = "k"});
  sides.Part();
  const SessionId worker = sides.other.Worker(1, 1);
  sides.other.Done(worker, sides.other.Take(worker));
  sides.other.Credit(worker, 0);
  for (int i = 0; i < 5; ++i) sides.other.Pass(1'000);
  const TaskId second = sides.other.SubmitOne(client, 2, {.key = "k"});
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.voided, 0u);
  EXPECT_EQ(row.ended, 1u);
  EXPECT_NE(sides.here.Find(second), nullptr);
}

// Both ended the parent, so both have made the task that follows it.
TEST(Merge, AChainThatFiredOnBothSidesGoesOnOnce) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  sides.other.SubmitOne(client, 1, {.on_success = {{.type = "next"}}});
  sides.Part();
  const SessionId there = sides.other.Worker(1, 1, {}, {"t"}),
                  here = sides.here.Worker(2, 1, {}, {"t"});
  sides.other.Done(there, sides.other.Take(there));
  sides.here.Done(here, sides.here.Take(here));
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.voided, 1u);
  EXPECT_EQ(row.taken, 0u);
  EXPECT_EQ(sides.here.core->state().tasks().size(), 1u);
}

// A person asked for it: no tick of the schedule, or one of before.
TEST(Merge, WhatWasTriggeredByHandStays) {
  Sides sides;
  const SessionId client = sides.other.Client(1);
  sides.other.SetSchedule(client, "s",
                          {.expression = "@every 10s", .overlap = wire::Overlap::kAllow});
  const int64_t made_ms = sides.other.now.wall_ms;
  sides.other.Pass(200'000);
  sides.Part();
  sides.other.Pass(3'000);
  sides.other.RunSchedule(sides.other.Client(1), "s");
  sides.other.RunSchedule(sides.other.Client(1), "s", made_ms + 5'000, made_ms + 25'000);
  sides.here.Pass(60'000);
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.taken, 3u) << "one by hand, two of the past";
  EXPECT_EQ(row.voided, 0u);
}

TEST(Merge, ARemovedScheduleStaysAway) {
  Sides sides;
  sides.other.SetSchedule(sides.other.Client(1), "s", {});
  sides.Part();
  sides.here.RemoveSchedule(sides.here.Client(1), "s");
  sides.other.Pass(5'000);
  sides.other.SetSchedule(sides.other.Client(1), "new", {});
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.schedules, 1u);
  EXPECT_EQ(sides.here.core->state().FindSchedule("s"), nullptr);
  EXPECT_NE(sides.here.core->state().FindSchedule("new"), nullptr);
}

TEST(SeqRanges, IsTheMapOfWhatWasAdded) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    SeqRanges ranges;
    std::map<uint64_t, uint64_t> all;
    for (int i = 0; i < 60; ++i) {
      const uint64_t seq = 1 + random() % 80, epoch = 1 + static_cast<uint64_t>(i) / 20;
      ranges.Add(seq, epoch);
      all.try_emplace(seq, epoch);
      for (uint64_t n = 1; n <= 80; ++n) {
        ASSERT_EQ(ranges.EpochOf(n).has_value(), all.contains(n)) << n;
        if (all.contains(n)) {
          ASSERT_EQ(*ranges.EpochOf(n), all[n]) << n;
        }
      }
    }
    SeqRanges copy;
    ASSERT_TRUE(copy.Set(ranges.ranges())) << "no two of them overlap, or could be one";
    ASSERT_EQ(copy.ranges(), ranges.ranges());
  }
  SeqRanges many;
  for (uint64_t seq = 2; seq <= 400; seq += 2) many.Add(seq, 1);
  EXPECT_EQ(many.ranges().size(), SeqRanges::kMost);
  EXPECT_TRUE(many.EpochOf(400));
  EXPECT_FALSE(many.EpochOf(2)) << "the oldest are forgotten";
  SeqRanges last;
  for (uint64_t seq : {UINT64_MAX, UINT64_MAX - 2, UINT64_MAX - 1, uint64_t{1}}) last.Add(seq, 1);
  EXPECT_TRUE(last.EpochOf(UINT64_MAX) && SeqRanges().Set(last.ranges()));
  EXPECT_FALSE(SeqRanges().Set({{5, 4, 1}}));
  EXPECT_FALSE(SeqRanges().Set({{1, 4, 1}, {5, 6, 1}}));
  EXPECT_TRUE(SeqRanges().Set({{1, 4, 1}, {5, 6, 2}}));
}

TEST(Merge, AKeyStaysWhereItIs) {
  Sides sides;
  sides.Part();
  const TaskId there = sides.other.SubmitOne(sides.other.Client(1), 1, {.key = "order-17"}),
               alone = sides.other.SubmitOne(sides.other.Client(1), 2, {.key = "order-18"}),
               here = sides.here.SubmitOne(sides.here.Client(2), 1, {.key = "order-17"});
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.voided, 1u);
  EXPECT_EQ(row.taken, 1u);
  EXPECT_EQ(sides.here.Row(there).state, TaskState::kCancelled);
  EXPECT_EQ(sides.here.core->state().keys().Find(HashKey("order-17")).task, here.value());
  EXPECT_EQ(sides.here.core->state().keys().Find(HashKey("order-18")).task, alone.value());
}

TEST(Merge, ATickFiresOnce) {
  Sides sides;
  sides.other.SetSchedule(sides.other.Client(1), "both",
                          {.expression = "@every 10s", .overlap = wire::Overlap::kAllow});
  sides.Part();
  sides.other.SetSchedule(sides.other.Client(1), "there", {.expression = "@every 60s"});
  sides.other.Pass(25'000);
  sides.here.Pass(15'000);
  // Two ticks there, one of them here too.
  const MergeRow row = sides.Merge();
  EXPECT_EQ(row.voided, 1u);
  EXPECT_EQ(row.taken, 1u);
  EXPECT_EQ(row.schedules, 1u);
  ASSERT_NE(sides.here.core->state().FindSchedule("there"), nullptr);
  const uint64_t fired = sides.here.core->state().FindSchedule("both")->row.fired;
  sides.here.Pass(10'000);
  EXPECT_EQ(sides.here.core->state().FindSchedule("both")->row.fired, fired)
      << "it was fired there";
  sides.here.Pass(10'000);
  EXPECT_EQ(sides.here.core->state().FindSchedule("both")->row.fired, fired + 1);
}

TEST(Merge, WhoHasNothingOfItsOwnHasNothingToMerge) {
  Sides sides;
  sides.other.SubmitOne(sides.other.Client(1), 1, {});
  sides.Part();
  sides.here.SubmitOne(sides.here.Client(1), 2, {});
  sides.Merge();
  EXPECT_EQ(sides.source, nullptr);
}

TEST(Merge, DamagedPartsAreRefusedAndChangeNothing) {
  Sides sides;
  sides.Part();
  const SessionId client = sides.other.Client(1), worker = sides.other.Worker(1, 1);
  sides.other.Submit(client, 1,
                     {{.key = "k", .on_failure = {{}}}, {.delay_ms = 100}, {.max_attempts = 1}});
  sides.other.SetSchedule(client, "s", {});
  for (int i = 0; i < 3; ++i)
    for (const Assign& task : sides.other.Take(worker)) sides.other.Fail(worker, task);
  sides.other.core.reset();
  sides.other.journal.reset();
  auto own = sides.here.journal->View();
  auto source = MergeSource::Open(OpenMemoryJournal(sides.disk_again()), **own);
  ASSERT_TRUE(source.ok() && *source != nullptr);
  const auto whole = (*source)->Read(0);
  ASSERT_TRUE(whole.ok() && whole->has_value());
  const std::string entries((*whole)->entries);
  std::mt19937_64 random(3);
  int refused = 0;
  for (int round = 0; round < 3'000; ++round) {
    std::string damaged = entries;
    for (uint64_t n = 1 + random() % 3; n > 0; --n)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    if (round % 4 == 0) damaged.resize(random() % damaged.size());
    refused += !CheckMergeEntries(damaged).ok();
  }
  EXPECT_GT(refused, 1'000);
  MergePart part = **whole;
  part.entries = std::string_view(entries).substr(0, entries.size() - 1);
  const std::string before = sides.here.Fingerprint();
  EXPECT_EQ(CodeOf(sides.here.core->OnMerge(part, sides.here.now)), ErrorCode::kMalformed);
  EXPECT_EQ(sides.here.Fingerprint(), before);
  EXPECT_FALSE(sides.here.core->HasRecords());
}

}  // namespace
}  // namespace zsched::broker
