// Time schedules in the broker: each tick once, whatever the clock, the restarts and the tasks of
// earlier ticks do.
#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "base/text.h"
#include "broker/core/schedule_settings.h"
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

constexpr int64_t kSecondMs = 1000, kMinuteMs = 60 * kSecondMs, kHourMs = 60 * kMinuteMs;
using wire::Overlap;

class ScheduleTest : public testing::Test {
 protected:
  void Add(const std::string& name, TestSchedule schedule) {
    h_.SetSchedule(client_, name, schedule);
    ASSERT_TRUE(h_.errors.empty()) << h_.errors.back().message;
  }
  const TicksRow& Row(const std::string& name = "s") {
    const Schedule* schedule = h_.core->state().FindSchedule(name);
    EXPECT_NE(schedule, nullptr);
    return schedule->row;
  }
  // Labels of every task there ever was, by its id.
  std::map<uint64_t, std::map<std::string, std::string>> Labels() {
    std::map<uint64_t, std::map<std::string, std::string>> all;
    auto view = h_.journal->View();
    EXPECT_TRUE((*view)
                    ->Scan(Table::kSpecs, 0,
                           [&](uint64_t id, std::string_view bytes) {
                             auto spec = ReadSpec(bytes);
                             EXPECT_TRUE(spec.has_value());
                             EXPECT_TRUE(ReadLabels(*spec, [&](LabelView label) {
                               all[id][std::string(label.key)] = std::string(label.value);
                             }));
                             return true;
                           })
                    .ok());
    return all;
  }
  // The ticks that have a task, in the order of tasks.
  std::vector<std::string> Ticks(const std::string& name = "s") {
    std::vector<std::string> ticks;
    for (auto& [id, labels] : Labels())
      if (labels["schedule"] == name) ticks.push_back(labels["tick"]);
    return ticks;
  }
  std::vector<std::string> Times(const std::vector<int64_t>& offsets_ms) const {
    std::vector<std::string> times;
    for (int64_t offset_ms : offsets_ms) times.push_back(FormatTimeMs(start_ms_ + offset_ms));
    return times;
  }
  void FinishAll(SessionId worker) {
    for (auto held = h_.Take(worker); !held.empty(); held = h_.Take(worker)) h_.Done(worker, held);
  }
  void Restart() {
    h_.Restart();
    client_ = h_.Client(1);
  }
  // As when the machine's clock is set: real time stands still.
  void SetClock(int64_t by_ms) {
    h_.now.wall_ms += by_ms;
    h_.Pass(0);
  }
  uint64_t Metric(broker::Metric metric) const { return h_.core->metrics()[metric]; }
  void ExpectSameEverywhere() {
    h_.Commit();
    EXPECT_EQ(h_.Fingerprint(), h_.RebuiltFingerprint());
    EXPECT_EQ(h_.Fingerprint(), h_.ReplayedFingerprint());
  }

  CoreHarness h_;
  SessionId client_ = h_.Client(1);
  const int64_t start_ms_ = h_.now.wall_ms;
};

TEST_F(ScheduleTest, ATickMakesATaskThatSaysWhichTickItIs) {
  Add("s", {.type = "report", .queue = "night", .labels = {{"team", "sales"}}});
  h_.Pass(10 * kSecondMs - 1);
  EXPECT_TRUE(Labels().empty());
  EXPECT_EQ(h_.core->next_tick_ms(h_.now), h_.now.mono_ms + 1);
  h_.Pass(1);
  auto labels = Labels();
  ASSERT_EQ(labels.size(), 1u);
  EXPECT_EQ(labels.begin()->second,
            (std::map<std::string, std::string>{
                {"schedule", "s"}, {"team", "sales"}, {"tick", FormatTimeMs(start_ms_ + 10'000)}}));
  SessionId worker = h_.Worker(1, 10, {"night"}, {"report"});
  ASSERT_EQ(h_.Take(worker).size(), 1u);
  EXPECT_EQ(Row().fired, 1u);
  EXPECT_EQ(Row().task, labels.begin()->first);
  EXPECT_EQ(Metric(Metric::kTicksFired), 1u);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, AScheduleFiresByTheClockOfItsZoneAlsoOnTheDayThatClocksChange) {
  // 2026-03-29, Berlin: 02:00 is followed by 03:00.
  h_.now.wall_ms = *ParseTimeMs("2026-03-28T12:00:00Z");
  Add("gap", {.expression = "30 2 * * *", .zone = "Europe/Berlin", .overlap = Overlap::kAllow});
  Add("each", {.expression = "0,30 * * * *", .zone = "Europe/Berlin", .overlap = Overlap::kAllow});
  for (int i = 0; i < 48; ++i) h_.Pass(30 * kMinuteMs);
  EXPECT_EQ(Ticks("gap"), std::vector<std::string>{"2026-03-29T01:00:00.000Z"});
  EXPECT_EQ(Ticks("each").size(), 48u);
}

TEST_F(ScheduleTest, SkipLeavesOutTicksWhileTheTaskRuns) {
  Add("s", {});
  for (int i = 0; i < 4; ++i) h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000}));
  EXPECT_EQ(Row().skipped, 3u);
  FinishAll(h_.Worker(1, 10));
  h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000, 50'000}));
  EXPECT_EQ(Metric(Metric::kTicksSkipped), 3u);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, AllowFiresEachTick) {
  Add("s", {.overlap = Overlap::kAllow});
  for (int i = 0; i < 3; ++i) h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000, 30'000}));
}

TEST_F(ScheduleTest, QueueOneHoldsTheFirstTickThatCameMeanwhile) {
  Add("s", {.overlap = Overlap::kQueueOne});
  for (int i = 0; i < 4; ++i) h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Row().held, 1u);
  EXPECT_EQ(Row().skipped, 2u);
  Restart();
  SessionId worker = h_.Worker(1, 10);
  auto held = h_.Take(worker);
  ASSERT_EQ(held.size(), 1u);
  h_.Done(worker, held);
  EXPECT_LE(h_.core->next_tick_ms(h_.now), h_.now.mono_ms) << "fires at once, not at the next tick";
  h_.Pass(0);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000}));
  EXPECT_EQ(Row().held, 0u);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, QueueAllHoldsThemAllInOrder) {
  Add("s", {.overlap = Overlap::kQueueAll});
  for (int i = 0; i < 4; ++i) h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Row().held, 3u);
  SessionId worker = h_.Worker(1, 10);
  for (size_t done = 1; done <= 4; ++done) {
    FinishAll(worker);
    h_.Pass(0);
    EXPECT_EQ(Ticks().size(), std::min<size_t>(4, done + 1));
    if (done == 2) Restart(), worker = h_.Worker(1, 10);
  }
  EXPECT_EQ(Ticks(), Times({10'000, 20'000, 30'000, 40'000}));
  EXPECT_EQ(Row().fired, 4u);
  EXPECT_EQ(Row().held, 0u);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, QueueAllHoldsABoundedNumber) {
  Add("s", {.expression = "@every 1s", .overlap = Overlap::kQueueAll});
  for (int i = 0; i < 30; ++i) h_.Pass(50 * kSecondMs);
  EXPECT_EQ(Row().held, kMaxHeldTicks);
  EXPECT_EQ(Row().skipped, 1500u - 1 - kMaxHeldTicks);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, TicksThatWaitFollowOneAnother) {
  Add("s", {.overlap = Overlap::kQueueAll, .catch_up_ms = 30 * kSecondMs});
  for (int i = 0; i < 3; ++i) h_.Pass(10 * kSecondMs);
  h_.Pass(100 * kSecondMs);  // those up to 90 s are missed
  EXPECT_EQ(Row().held, 2u);
  EXPECT_EQ(Row().missed, 6u);
  EXPECT_EQ(Row().skipped, 4u) << "they would be taken for those that were missed";
  Restart();
  SessionId worker = h_.Worker(1, 10);
  for (int i = 0; i < 3; ++i) FinishAll(worker), h_.Pass(0);
  h_.Pass(10 * kSecondMs);
  h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Row().held, 1u) << "once they have fired, ticks wait again";
  EXPECT_EQ(Ticks(), Times({10'000, 20'000, 30'000, 140'000}));
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, ATickThatWaitsDoesNotFireBesideATaskThatIsTriedAgain) {
  Add("s", {.overlap = Overlap::kQueueOne});
  h_.Pass(20 * kSecondMs);
  ASSERT_EQ(Row().held, 1u);
  SessionId worker = h_.Worker(1, 10);
  auto held = h_.Take(worker);
  ASSERT_EQ(held.size(), 1u);
  h_.Fail(worker, held[0], ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever);
  EXPECT_LE(h_.core->next_tick_ms(h_.now), h_.now.mono_ms) << "the task is dead";
  h_.core->OnRetry(client_, 1, h_.Rows({held[0].task.value()}), h_.now);
  h_.Pass(0);
  EXPECT_TRUE(h_.core->CheckInvariants().ok()) << h_.core->CheckInvariants();
  EXPECT_EQ(Ticks(), Times({10'000}));
  FinishAll(worker);
  h_.Pass(0);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000}));
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, CancelOldEndsATaskThatWaitsAndFires) {
  Add("s", {.overlap = Overlap::kCancelOld});
  h_.Pass(10 * kSecondMs);
  const TaskId old(Row().task);
  h_.Pass(10 * kSecondMs);
  h_.Pass(0);
  EXPECT_EQ(h_.Row(old).state, TaskState::kCancelled);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000}));
  EXPECT_EQ(h_.core->state().tasks().size(), 1u);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, CancelOldFiresWhenTheAttemptThatRunsHasEnded) {
  Add("s", {.overlap = Overlap::kCancelOld});
  h_.Pass(10 * kSecondMs);
  h_.now.wall_ms += 10 * kSecondMs;
  SessionId worker = h_.Worker(1, 10);
  auto held = h_.Take(worker);
  ASSERT_EQ(held.size(), 1u);
  h_.Pass(0);
  h_.now.wall_ms += 10 * kSecondMs;
  h_.Pass(0);
  ASSERT_EQ(h_.cancels.size(), 1u);
  EXPECT_EQ(h_.cancels[0].leases, std::vector<uint64_t>{held[0].lease.value()});
  EXPECT_EQ(Ticks(), Times({10'000})) << "never two at once";
  EXPECT_EQ(Row().skipped, 1u);
  h_.Done(worker, held);
  h_.Pass(0);
  EXPECT_EQ(h_.Row(held[0].task).state, TaskState::kCancelled);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000}));
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, ATaskThatIsCancelledMakesRoomForTheTickThatWaits) {
  Add("s", {.overlap = Overlap::kQueueOne});
  h_.Pass(20 * kSecondMs);
  ASSERT_EQ(Row().held, 1u);
  ASSERT_TRUE(h_.core->OnCancel(client_, 1, {Row().task}, h_.now));
  h_.Pass(0);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000}));
}

TEST_F(ScheduleTest, TicksOfADowntimeWithinTheWindowFireAndOlderOnesAreMissed) {
  Add("s", {.overlap = Overlap::kAllow, .catch_up_ms = 30 * kSecondMs});
  h_.Pass(10 * kSecondMs);
  h_.now.wall_ms += 100 * kSecondMs;  // while the broker is down
  Restart();
  h_.Pass(0);
  // 110 s after the start: 80 s and later are within the window.
  EXPECT_EQ(Ticks(), Times({10'000, 80'000, 90'000, 100'000, 110'000}));
  EXPECT_EQ(Row().missed, 6u);
  EXPECT_EQ(Metric(Metric::kTicksMissed), 6u);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, YearsOfMissedTicksAreWorkedOffInBoundedSteps) {
  Add("s", {.expression = "@every 1s"});
  h_.now.wall_ms += 40 * 24 * kHourMs;
  Restart();
  for (int i = 0; i < 2000 && Row().cursor_ms < h_.now.wall_ms; ++i) h_.Pass(0);
  EXPECT_EQ(Row().cursor_ms, h_.now.wall_ms);
  EXPECT_EQ(Row().missed, 40u * 24 * 3600 - 3601);  // those of the last hour are late, not missed
  EXPECT_EQ(Row().fired, 1u);
  EXPECT_EQ(Row().skipped, 3600u);
}

TEST_F(ScheduleTest, ATickIsThereOnceWhateverIsLostInACrash) {
  Add("s", {.overlap = Overlap::kAllow});
  h_.hold_commits = true;
  h_.Pass(10 * kSecondMs);  // fired, but not durable
  h_.hold_commits = false;
  Restart();
  h_.Pass(0);
  EXPECT_EQ(Ticks(), Times({10'000}));
  Restart();
  h_.Pass(0);
  EXPECT_EQ(Ticks(), Times({10'000}));
}

TEST_F(ScheduleTest, AClockThatJumpsForwardMakesTicksLateAndNoneIsLost) {
  Add("s", {.overlap = Overlap::kAllow});
  SetClock(35 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000, 30'000}));
}

TEST_F(ScheduleTest, AClockThatJumpsBackRepeatsNoTick) {
  Add("s", {.overlap = Overlap::kAllow});
  h_.Pass(25 * kSecondMs);
  SetClock(-20 * kSecondMs);
  for (int i = 0; i < 25; ++i) h_.Pass(kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000, 20'000, 30'000}));
}

TEST_F(ScheduleTest, AClockThatJumpsForwardAndBackAgainLeavesLaterSchedulesInTime) {
  SetClock(kHourMs);
  SetClock(-kHourMs);
  Add("s", {.overlap = Overlap::kAllow});
  h_.Pass(9 * kSecondMs);
  EXPECT_TRUE(Ticks().empty());
  h_.Pass(kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000}));
}

TEST_F(ScheduleTest, JitterDelaysATickByWhatItsNameSaysAndKeepsItsTime) {
  Add("s", {.expression = "@every 1m", .overlap = Overlap::kAllow, .jitter_ms = 20'000});
  const int64_t jitter_ms =
      JitterOf(h_.core->state().FindSchedule("s")->set(), start_ms_ + kMinuteMs);
  ASSERT_GT(jitter_ms, 0);
  ASSERT_LE(jitter_ms, 20'000);
  h_.Pass(kMinuteMs + jitter_ms - 1);
  EXPECT_TRUE(Ticks().empty());
  Restart();
  h_.Pass(1);
  EXPECT_EQ(Ticks(), Times({kMinuteMs}));
}

TEST_F(ScheduleTest, ATickThatWaitsForAnEarlierOnesJitterIsNotMissed) {
  Add("s", {.expression = "@every 1s",
            .overlap = Overlap::kAllow,
            .catch_up_ms = 10 * kSecondMs,
            .jitter_ms = 600'000});
  for (int i = 0; i < 1200; ++i) h_.Pass(kSecondMs);
  EXPECT_GE(Row().fired, 600u);
  EXPECT_EQ(Row().missed, 0u);
}

TEST_F(ScheduleTest, JitterSpreadsSchedulesOfOneTime) {
  std::set<int64_t> seconds;
  for (int i = 0; i < 100; ++i) {
    const std::string name = "s" + std::to_string(i);
    Add(name, {.jitter_ms = 59'999});
    seconds.insert(JitterOf(h_.core->state().FindSchedule(name)->set(), start_ms_) / 1000);
  }
  EXPECT_GT(seconds.size(), 30u);  // of 60, evenly: 49 on average
}

TEST_F(ScheduleTest, APausedScheduleFiresNothingAndDoesNotCatchUp) {
  Add("s", {.overlap = Overlap::kAllow, .paused = true});
  h_.Pass(25 * kSecondMs);
  h_.PauseSchedule(client_, "s", true);
  Restart();
  h_.Pass(0);
  EXPECT_TRUE(Ticks().empty());
  h_.PauseSchedule(client_, "s", false);
  h_.Pass(5 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({30'000}));
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, ATaskAtOnceLeavesTheTicksAsTheyAre) {
  Add("s", {});
  h_.Pass(4 * kSecondMs);
  h_.RunSchedule(client_, "s");
  ASSERT_EQ(h_.replies.size(), 1u);
  EXPECT_EQ(h_.replies[0].items[0].id, Labels().begin()->first);
  h_.Pass(6 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({4'000, 10'000}))
      << "the task asked for does not count as the earlier one";
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, TicksOfThePastAreMadeUpFor) {
  Add("s", {.expression = "*/10 * * * * *"});
  h_.RunSchedule(client_, "s", start_ms_ - 30 * kSecondMs, start_ms_);
  EXPECT_EQ(Ticks(), Times({-30'000, -20'000, -10'000, 0}));
  ASSERT_EQ(h_.replies.size(), 1u);
  EXPECT_EQ(h_.replies[0].items.size(), 4u);
  EXPECT_EQ(Row().cursor_ms, start_ms_);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, AMakeUpIsBoundedAndAboutThePast) {
  Add("s", {.expression = "* * * * * *"});
  h_.RunSchedule(client_, "s", start_ms_ - 1000 * kSecondMs, start_ms_);
  h_.RunSchedule(client_, "s", start_ms_, start_ms_ + 1);
  h_.RunSchedule(client_, "s", start_ms_, start_ms_ - 1);
  h_.RunSchedule(client_, "none");
  ASSERT_EQ(h_.errors.size(), 4u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(h_.errors[i].code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(h_.errors[3].code, ErrorCode::kNotFound);
  EXPECT_TRUE(Labels().empty());
  h_.RunSchedule(client_, "s", start_ms_ - 999 * kSecondMs, start_ms_);
  EXPECT_EQ(Labels().size(), kMaxBackfillTicks);
}

TEST_F(ScheduleTest, ARemovedScheduleFiresNoMoreAndItsNameIsFree) {
  Add("s", {});
  h_.Pass(10 * kSecondMs);
  h_.RemoveSchedule(client_, "s");
  h_.Pass(kMinuteMs);
  EXPECT_EQ(h_.core->state().FindSchedule("s"), nullptr);
  EXPECT_EQ(Ticks().size(), 1u);
  EXPECT_EQ(h_.RowCount(Table::kSchedules) + h_.RowCount(Table::kTicks), 0u);
  Add("s", {});
  EXPECT_EQ(Row().fired, 0u);
  h_.RemoveSchedule(client_, "gone");
  EXPECT_EQ(h_.errors.back().code, ErrorCode::kNotFound);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, ANameIsTakenUnlessToBeReplaced) {
  Add("s", {});
  h_.SetSchedule(client_, "s", {});
  ASSERT_EQ(h_.errors.size(), 1u);
  EXPECT_EQ(h_.errors[0].code, ErrorCode::kConflict);
  h_.SetSchedule(client_, "s", {.expression = "@every 20s", .replace = true});
  EXPECT_EQ(h_.schedules_set.size(), 2u);
  h_.Pass(10 * kSecondMs);
  EXPECT_TRUE(Ticks().empty());
  h_.Pass(10 * kSecondMs);
  EXPECT_EQ(Ticks(), Times({20'000}));
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, SettingTheSameAgainLosesAndRepeatsNoTick) {
  Add("s", {.overlap = Overlap::kQueueAll});
  h_.Pass(25 * kSecondMs);
  h_.now.wall_ms += 10 * kSecondMs;
  Add("s", {.overlap = Overlap::kQueueAll, .replace = true, .payload = "new"});
  h_.Pass(0);
  EXPECT_EQ(Row().held, 2u);
  Add("s", {.expression = "@every 7s", .overlap = Overlap::kQueueAll, .replace = true});
  EXPECT_EQ(Row().held, 0u);
  EXPECT_EQ(Row().skipped, 2u);
  EXPECT_EQ(Row().cursor_ms, h_.now.wall_ms);
  ExpectSameEverywhere();
}

TEST_F(ScheduleTest, WhatIsWrongIsNamed) {
  struct Case {
    TestSchedule schedule;
    std::string says;
  };
  const Case cases[] = {
      {{.expression = "61 * * * *"}, "expression: "},
      {{.expression = "0 0 30 2 *"}, "expression: "},
      {{.expression = std::string(2000, '*')}, "expression: at most 1024 bytes"},
      {{.zone = "Europe/Atlantis"}, "zone: "},
      {{.overlap = static_cast<Overlap>(5)}, "overlap: unknown value 5"},
      {{.catch_up_ms = 9'999}, "catch_up: must be 10 seconds to 366 days"},
      {{.catch_up_ms = kMaxCatchUpMs + 1}, "catch_up: must be 10 seconds to 366 days"},
      {{.jitter_ms = kMaxJitterMs + 1}, "jitter: at most 1 hour"},
      {{.type = ""}, "task: type: "},
      {{.delay_ms = 5}, "task: delay_ms, run_at_ms: the schedule says when it runs"},
      {{.labels = {{"tick", "x"}}}, "task: labels: 'tick' is set by each tick"},
      {{.labels = std::vector<std::pair<std::string, std::string>>(15)},
       "task: labels: at most 14"},
  };
  for (const Case& c : cases) {
    h_.errors.clear();
    h_.SetSchedule(client_, "s", c.schedule);
    ASSERT_EQ(h_.errors.size(), 1u) << c.says;
    EXPECT_EQ(h_.errors[0].code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(h_.errors[0].message.rfind(c.says, 0), 0u) << h_.errors[0].message;
  }
  h_.errors.clear();
  h_.SetSchedule(client_, "", {});
  ASSERT_EQ(h_.errors.size(), 1u);
  EXPECT_EQ(h_.errors[0].message.rfind("name: ", 0), 0u);
  EXPECT_TRUE(h_.core->state().schedules().empty());
}

TEST(Schedules, TheirNumberIsBounded) {
  CoreHarness h({.max_schedules = 2});
  SessionId client = h.Client(1);
  for (const char* name : {"a", "b", "c"}) h.SetSchedule(client, name, {});
  ASSERT_EQ(h.errors.size(), 1u);
  EXPECT_EQ(h.errors[0].code, ErrorCode::kResourceExhausted);
  h.SetSchedule(client, "a", {.replace = true});
  EXPECT_EQ(h.errors.size(), 1u);
}

TEST(Schedules, TheirDefinitionsAreBoundedTogether) {
  CoreHarness h({.max_schedule_bytes = 10'000});
  SessionId client = h.Client(1);
  const std::string payload(4'500, 'x');
  for (const char* name : {"a", "b", "c"}) h.SetSchedule(client, name, {.payload = payload});
  ASSERT_EQ(h.errors.size(), 1u);
  EXPECT_EQ(h.errors[0].code, ErrorCode::kResourceExhausted);
  h.SetSchedule(client, "a", {.replace = true, .payload = payload});
  EXPECT_EQ(h.errors.size(), 1u) << "it takes its own place";
  h.RemoveSchedule(client, "b");
  h.Restart();
  client = h.Client(1);
  h.SetSchedule(client, "c", {.payload = payload});
  EXPECT_EQ(h.errors.size(), 1u);
  h.SetSchedule(client, "d", {.payload = payload});
  EXPECT_EQ(h.errors.size(), 2u);
}

TEST_F(ScheduleTest, ATickThatFindsItsQueueFullFiresOnceThereIsRoom) {
  h_.SetQueue(client_, "q", {.max_tasks = 1});
  h_.SubmitOne(client_, 1, {});
  Add("s", {});
  h_.Pass(10 * kSecondMs);
  h_.Pass(3 * kSecondMs);
  EXPECT_TRUE(Ticks().empty());
  EXPECT_LE(h_.core->next_tick_ms(h_.now), h_.now.mono_ms + kSecondMs);
  FinishAll(h_.Worker(1, 10));
  h_.Pass(kSecondMs);
  EXPECT_EQ(Ticks(), Times({10'000}));
  EXPECT_EQ(Row().fired, 1u);
}

// No limit: what a tick costs is printed, and ends in the log of the run.
TEST(Schedules, AHundredThousandFireEachOnce) {
  constexpr uint64_t kSchedules = 100'000;
  constexpr int64_t kPeriodMs = 60'000;
  Core core({});
  ASSERT_TRUE(core.Start(Uuid{1, 2}, core.NextEpoch(0), {1'700'000'000'000, 5'000}).ok());
  Batch batch;
  Now now{1'700'000'000'000, 5'000};
  for (uint64_t i = 0; i < kSchedules; ++i) {
    now.wall_ms = 1'700'000'000'000 + static_cast<int64_t>(i) % kPeriodMs;
    flatbuffers::FlatBufferBuilder b;
    auto type = b.CreateString("t"), expression = b.CreateString("@every 1m");
    auto task = wire::CreateTaskSpec(b, type);
    auto name = b.CreateString("schedule-" + std::to_string(i));
    b.Finish(wire::CreateScheduleSet(b, 1, name, expression, 0, task, Overlap::kAllow));
    std::string_view body(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
    core.OnScheduleSet(SessionId(1), *flatbuffers::GetRoot<wire::ScheduleSet>(body.data()), body,
                       now);
  }
  core.EndRound(now);
  core.effects().clear();
  core.TakeBatch(batch);
  ASSERT_EQ(core.state().schedules().size(), kSchedules);

  int64_t spent_us = 0, rounds = 0;
  const int64_t end_ms = 1'700'000'000'000 + 2 * kPeriodMs;
  for (now.wall_ms = 1'700'000'000'000 + kPeriodMs; now.wall_ms < end_ms;
       ++now.wall_ms, ++now.mono_ms) {
    const auto begin = std::chrono::steady_clock::now();
    core.OnTick(now);
    core.EndRound(now);
    spent_us += std::chrono::duration_cast<std::chrono::microseconds>(
                    std::chrono::steady_clock::now() - begin)
                    .count();
    ++rounds;
    if (core.HasRecords()) core.TakeBatch(batch);
  }
  EXPECT_EQ(core.metrics()[Metric::kTicksFired], kSchedules);
  for (const auto& [number, schedule] : core.state().schedules())
    ASSERT_EQ(schedule.row.fired, 1u) << schedule.name();
  const std::string per_tick = std::to_string(static_cast<double>(spent_us) / kSchedules);
  RecordProperty("microseconds_per_tick", per_tick);
  std::printf("%s us per tick of 100,000 schedules, %lld rounds\n", per_tick.c_str(),
              static_cast<long long>(rounds));
}

}  // namespace
}  // namespace zsched::broker
