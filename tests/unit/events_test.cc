// The log as events: what each record tells, that pages end to end are the whole, and that the events of a random life,
// replayed, are the state that the tables have.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "broker/server/query.h"
#include "broker/server/record_events.h"
#include "schemas/limits.h"
#include "schemas/verify.h"
#include "tests/support/event_replay.h"
#include "tests/unit/core/random_life.h"

namespace zsched::broker {
namespace {

using wire::EventKind;

struct TestEvent {
  uint64_t lsn = 0;
  uint32_t index = 0;
  EventKind kind{};
  uint64_t task = 0, parent = 0;
  std::string queue, type, worker, name, message, error;
  TaskState state{};
  uint16_t attempt = 0;
  ErrorCode code = ErrorCode::kOk;
  uint32_t percent = 0;
  uint64_t count = 0;

  auto Place() const { return std::tuple(lsn, index, kind, task, state, attempt, message, count); }
};

struct TestPage {
  std::vector<TestEvent> events;
  uint64_t next = 0, last = 0;
  uint32_t next_skip = 0;
  bool trimmed = false;
};

struct Ask {
  uint64_t after = 0;
  uint32_t skip = 0;
  uint32_t limit = kMaxEventLimit;
  uint32_t kinds = 0;
  std::string queue = {}, type = {};
  uint64_t task = 0;
  uint64_t until = UINT64_MAX;  // all there is
};

TestPage PageOf(Journal& journal, const Ask& ask) {
  auto view = journal.View();
  EXPECT_TRUE(view.ok());
  Query query;
  query.kind = QueryKind::kEvents;
  query.cursor = ask.after;
  query.skip = ask.skip;
  query.limit = ask.limit;
  query.kinds = ask.kinds;
  query.queue = ask.queue;
  query.type = ask.type;
  if (ask.task != 0) query.ids = {ask.task};
  query.until = std::min(Lsn(ask.until), (*view)->Bounds()->last);
  const QueryReply reply = QueryRunner().Run(**view, query);
  EXPECT_TRUE(reply.status.ok()) << reply.status;
  AlignedCopy copy;
  TestPage page;
  if (reply.frames.size() != 1) return page;
  const auto* body = VerifyBody<wire::EventPage>(copy.Align(reply.frames[0].second));
  EXPECT_NE(body, nullptr);
  page = {{}, body->next(), body->last(), body->next_skip(), body->trimmed()};
  for (const wire::Event* event : *body->events())
    page.events.push_back(
        {event->lsn(), event->index(), event->kind(), event->task(), event->parent(),
         std::string(TextOf(event->queue())), std::string(TextOf(event->type())),
         std::string(TextOf(event->worker())), std::string(TextOf(event->name())),
         std::string(TextOf(event->message())), std::string(TextOf(event->error_message())),
         event->state(), event->attempt(), ErrorFromNumber(event->error_code()), event->percent(),
         event->count()});
  return page;
}

// Page after page, to the end.
std::vector<TestEvent> AllOf(Journal& journal, Ask ask = {}) {
  std::vector<TestEvent> all;
  for (int pages = 0; pages < 100'000; ++pages) {
    TestPage page = PageOf(journal, ask);
    EXPECT_FALSE(page.trimmed);
    EXPECT_LE(page.events.size(), ask.limit);
    for (TestEvent& event : page.events) all.push_back(std::move(event));
    if (page.next >= page.last) return all;
    EXPECT_GT(std::pair(page.next, page.next_skip), std::pair(ask.after, ask.skip)) << "no way on";
    ask.after = page.next;
    ask.skip = page.next_skip;
  }
  ADD_FAILURE() << "no end";
  return all;
}

std::vector<std::string> TextsOf(const std::vector<TestEvent>& events, uint64_t first_task) {
  std::vector<std::string> texts;
  for (const TestEvent& event : events) {
    std::string text = wire::EnumNameEventKind(event.kind);
    if (event.task != 0) text += " #" + std::to_string(event.task - first_task);
    if (event.parent != 0) text += " after #" + std::to_string(event.parent - first_task);
    if (event.task != 0) text += std::string(" ") + wire::EnumNameTaskState(event.state);
    if (!event.queue.empty()) text += " " + event.queue + "/" + event.type;
    if (event.attempt != 0) text += " " + std::to_string(event.attempt);
    for (const std::string& part : {event.worker, event.name, event.message})
      if (!part.empty()) text += " " + part;
    if (event.code != ErrorCode::kOk)
      text += " " + std::string(TextOf(event.code)) + ":" + event.error;
    if (event.percent != 0) text += " " + std::to_string(event.percent) + "%";
    if (event.count != 0) text += " x" + std::to_string(event.count);
    texts.push_back(text);
  }
  return texts;
}

class EventsTest : public testing::Test {
 protected:
  // What was told since the last time.
  std::vector<std::string> News() {
    h_.Commit();
    const std::vector<TestEvent> events = AllOf(*h_.journal, {.after = told_});
    if (!events.empty()) told_ = events.back().lsn;
    return TextsOf(events, first_);
  }
  using Texts = std::vector<std::string>;

  CoreHarness h_{{.keep_finished = 0}};
  uint64_t told_ = 0, first_ = 0;
};

TEST_F(EventsTest, ATaskFromItsSubmitToItsEnd) {
  SessionId client = h_.Client(1);
  SessionId worker = h_.Worker(1, 4);
  EXPECT_EQ(News(), (Texts{"kEpoch x" + std::to_string(h_.core->state().epoch().value()),
                           "kWorkerSeen worker-1"}));
  first_ =
      h_.Submit(client, 1,
                {{.type = "mail", .queue = "out", .retry_base_ms = 1000, .retry_cap_ms = 1000}})
          .first_id;
  EXPECT_EQ(News(),
            (Texts{"kSubmitted #0 kReady out/mail", "kStarted #0 kLeased out/mail 1 worker-1"}));
  auto held = h_.Take(worker);
  h_.Report(worker, held[0], {.percent = 40, .message = "half"});
  h_.Report(worker, held[0], {.checkpoint = "only that"});
  h_.Output(worker, held[0], 0, "hello");
  EXPECT_EQ(News(),
            (Texts{"kProgress #0 kLeased out/mail half 40%", "kOutput #0 kLeased out/mail x5"}));
  h_.Fail(worker, held[0]);
  EXPECT_EQ(News(), Texts{"kFailed #0 kRetryWait out/mail 1 worker-1 HANDLER_FAILED:no"});
  h_.Pass(2000);
  EXPECT_EQ(News(),
            (Texts{"kReady #0 kReady out/mail", "kStarted #0 kLeased out/mail 2 worker-1"}));
  h_.Release(worker, h_.Take(worker));
  EXPECT_EQ(News(), (Texts{"kReturned #0 kReady out/mail 2 worker-1",
                           "kStarted #0 kLeased out/mail 2 worker-1"}));
  h_.Done(worker, h_.Take(worker));
  EXPECT_EQ(News(), Texts{"kSucceeded #0 kSucceeded out/mail 2 worker-1"});
  h_.core->OnPrune(h_.Finished(h_.core->PruneFrom(h_.now), 8), h_.now);
  EXPECT_EQ(News(), Texts{"kPruned #0 kSucceeded out/mail x1"});
}

TEST_F(EventsTest, DeadCancelledAndWhatBecomesOfThem) {
  SessionId client = h_.Client(1);
  SessionId worker = h_.Worker(1, 1);
  first_ = h_.Submit(client, 1, {{.max_attempts = 1}, {.delay_ms = 5000}}).first_id;
  h_.Fail(worker, h_.Take(worker)[0], ErrorCode::kHandlerFailed, wire::RetryAdvice::kDefault, 0,
          std::string(3 * kMaxEventMessageBytes, 'x'));
  Texts news = News();
  ASSERT_EQ(news.size(), 6u);
  EXPECT_EQ(news[4], "kStarted #0 kLeased q/t 1 worker-1");
  EXPECT_EQ(news[5], "kDead #0 kDead q/t 1 worker-1 HANDLER_FAILED:" +
                         std::string(kMaxEventMessageBytes, 'x'))
      << "cut";
  EXPECT_EQ(news[3], "kSubmitted #1 kScheduled q/t");
  h_.core->OnRetry(client, 1, h_.Rows({first_}), h_.now);
  EXPECT_EQ(News(), (Texts{"kRetried #0 kReady q/t 1", "kStarted #0 kLeased q/t 2 worker-1"}));
  auto held = h_.Take(worker);
  EXPECT_EQ(h_.Cancel(client, {first_, first_ + 1}).items.size(), 2u);
  EXPECT_EQ(News(), (Texts{"kCancelling #0 kLeased q/t", "kCancelled #1 kCancelled q/t"}));
  h_.Done(worker, held);
  Texts ended = News();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].starts_with("kCancelled #0 kCancelled q/t 2 worker-1 CANCELLED:"))
      << ended[0];

  const uint64_t late =
      h_.Submit(client, 2, {{.max_attempts = 1, .concurrency_key = "k"}}).first_id;
  h_.Fail(worker, h_.Take(worker)[0]);
  News();
  h_.core->OnDeadDelete(client, 1, h_.Rows({late}), h_.now);
  EXPECT_EQ(News(), Texts{"kDeleted #" + std::to_string(late - first_) + " kDead q/t"});
}

TEST_F(EventsTest, ChainsTellWhomTheyFollowAndExpiriesWhy) {
  SessionId client = h_.Client(1);
  SessionId worker = h_.Worker(1, 1);
  News();
  first_ =
      h_.Submit(client, 1,
                {{.on_success = {{.type = "next", .delay_ms = 100}},
                  .on_complete = {{.type = "last", .queue = "other", .concurrency_key = "k"}}}})
          .first_id;
  h_.Done(worker, h_.Take(worker));
  EXPECT_EQ(News(), (Texts{"kSubmitted #0 kReady q/t", "kStarted #0 kLeased q/t 1 worker-1",
                           "kSucceeded #0 kSucceeded q/t 1 worker-1",
                           "kSubmitted #1 after #0 kScheduled q/next",
                           "kSubmitted #2 after #0 kReady other/last",
                           "kStarted #2 kLeased other/last 1 worker-1"}));
  const auto late =
      h_.Submit(client, 2, {{.on_failure = {{.type = "sorry"}}, .start_within_ms = 50}});
  News();
  h_.Pass(60);
  Texts news = News();
  const std::string dead = "#" + std::to_string(late.first_id - first_);
  ASSERT_EQ(news.size(), 2u);
  EXPECT_TRUE(news[0].starts_with("kDead " + dead + " kDead q/t EXPIRED:")) << news[0];
  EXPECT_EQ(news[1], "kSubmitted #4 after " + dead + " kReady q/sorry");
}

TEST_F(EventsTest, SchedulesRulesAndWorkersThatGo) {
  SessionId client = h_.Client(1);
  News();
  h_.SetSchedule(client, "nightly", {.expression = "@every 10s", .type = "job"});
  h_.SetQueue(client, "q", {.paused = true});
  h_.SetType(client, "job", {.max_running = 2});
  EXPECT_EQ(News(), (Texts{"kScheduleSet nightly", "kQueueSet q paused", "kTypeSet job"}));
  h_.Pass(10'000);
  Texts news = News();
  ASSERT_EQ(news.size(), 2u);
  EXPECT_EQ(news[0], "kTicked nightly fired x1");
  EXPECT_TRUE(news[1].ends_with(" kReady q/job nightly")) << news[1];
  h_.Pass(10'000);
  EXPECT_EQ(News(), Texts{"kTicked nightly skipped x1"}) << "the earlier one is not over";
  h_.PauseSchedule(client, "nightly", true);
  EXPECT_EQ(News(), Texts{"kScheduleSet nightly paused"});
  h_.RemoveSchedule(client, "nightly");
  EXPECT_EQ(News(), Texts{"kScheduleRemoved nightly"});

  SessionId worker = h_.Worker(3, 1);
  h_.Commit();
  h_.core->OnWorkerGoodbye(worker, h_.now);
  EXPECT_EQ(News(), Texts{"kWorkerSeen worker-3"});
  h_.Pass(h_.core->config().keep_worker_ms + 1);
  for (int i = 0; i < 100 && told_ < h_.core->appended().value(); ++i) news = News();
  EXPECT_EQ(news, Texts{"kWorkerGone worker-3"});
}

TEST_F(EventsTest, FiltersLeaveOutOthersAndKeepPlaces) {
  SessionId client = h_.Client(1);
  SessionId worker = h_.Worker(1, 8);
  first_ =
      h_.Submit(
            client, 1,
            {{.type = "a", .queue = "x"}, {.type = "b", .queue = "x"}, {.type = "a", .queue = "y"}})
          .first_id;
  h_.Done(worker, h_.Take(worker));
  const std::vector<TestEvent> all = AllOf(*h_.journal);
  auto check = [&](const Ask& ask, auto wanted, size_t least) {
    std::vector<std::tuple<uint64_t, uint32_t>> expected, got;
    for (const TestEvent& event : all)
      if (wanted(event)) expected.emplace_back(event.lsn, event.index);
    for (const TestEvent& event : AllOf(*h_.journal, ask)) got.emplace_back(event.lsn, event.index);
    EXPECT_EQ(got, expected);
    EXPECT_GE(got.size(), least);
  };
  const uint32_t succeeded = 1U << static_cast<int>(EventKind::kSucceeded);
  check(
      {.kinds = succeeded}, [](const auto& e) { return e.kind == EventKind::kSucceeded; }, 3);
  check(
      {.limit = 1, .queue = "x"}, [](const auto& e) { return e.queue == "x"; }, 6);
  check(
      {.type = "a"}, [](const auto& e) { return e.type == "a"; }, 6);
  check(
      {.task = first_ + 1}, [&](const auto& e) { return e.task == first_ + 1; }, 3);
  check(
      {.limit = 1, .kinds = succeeded, .queue = "y", .type = "a"},
      [](const auto& e) { return e.kind == EventKind::kSucceeded && e.queue == "y"; }, 1);
  check(
      {.queue = "none"}, [](const auto&) { return false; }, 0);
  // Tasks that were pruned together are one event, for each of them.
  h_.core->OnPrune(h_.Finished(h_.core->PruneFrom(h_.now), 8), h_.now);
  h_.Commit();
  const auto pruned = AllOf(*h_.journal, {.after = all.back().lsn, .task = first_ + 2});
  ASSERT_EQ(pruned.size(), 1u);
  EXPECT_EQ(pruned[0].kind, EventKind::kPruned);
}

TEST_F(EventsTest, NothingBehindWhatIsCommittedIsTold) {
  SessionId client = h_.Client(1);
  first_ = h_.Submit(client, 1, {{}, {}}).first_id;
  const uint64_t committed = h_.core->appended().value();
  h_.Submit(client, 2, {{}});
  const TestPage page = PageOf(*h_.journal, {.until = committed});
  EXPECT_EQ(page.events.back().lsn, committed);
  EXPECT_EQ(page.next, committed);
  EXPECT_EQ(page.last, committed);
  EXPECT_EQ(PageOf(*h_.journal, {.after = committed, .until = committed}).events.size(), 0u);
}

TEST_F(EventsTest, OnePageLooksAtABoundedNumber) {
  SessionId client = h_.Client(1);
  for (uint64_t seq = 1; seq * 4000 <= 2 * kMaxEventScan + 4000; ++seq)
    ASSERT_EQ(h_.Submit(client, seq, std::vector<TestTask>(4000), seq).accepted, 4000u);
  TestPage page = PageOf(*h_.journal, {.queue = "none"});
  EXPECT_TRUE(page.events.empty());
  EXPECT_LT(page.next, page.last) << "it is not looked at all of it";
  EXPECT_EQ(AllOf(*h_.journal, {.queue = "none"}).size(), 0u) << "but the end is reached";
  EXPECT_EQ(PageOf(*h_.journal, {.limit = UINT32_MAX}).events.size(), kMaxEventLimit);
}

TEST(EventsOfATrimmedLog, AreSaidToBeMissing) {
  std::shared_ptr<MemoryDisk> disk = MakeMemoryDisk();
  std::unique_ptr<Journal> journal = OpenMemoryJournal(disk);
  Batch batch;
  batch.Begin(Epoch(1), Lsn(100));
  std::string record;
  AppendStruct(
      record,
      RecordHead{
          sizeof(RecordHead) + sizeof(EpochStartedRecord), RecordKind::kEpochStarted, {}, 5});
  AppendStruct(record, EpochStartedRecord{7, Uuid{1, 2}});
  batch.AppendRecord(record);
  batch.AppendRecord(record);
  ASSERT_TRUE(journal->Commit(batch).ok());
  for (const uint64_t after : {0, 1, 98}) {
    const TestPage page = PageOf(*journal, {.after = after, .skip = 3});
    EXPECT_TRUE(page.trimmed) << after;
    EXPECT_TRUE(page.events.empty());
    EXPECT_EQ(page.next, 99u);
    EXPECT_EQ(page.next_skip, 0u);
  }
  EXPECT_EQ(AllOf(*journal, {.after = 99}).size(), 2u);
}

class EventsProperty : public testing::TestWithParam<uint64_t> {};

TEST_P(EventsProperty, ReplayedAreTheStateAndFromEveryPlaceTheSame) {
  CoreHarness harness(
      {.keep_finished = 20, .max_dead = 10, .keep_dead_ms = 20'000, .keep_keys_ms = 5'000});
  RandomLife life(harness, GetParam());
  for (int step = 1; step <= 400 && !testing::Test::HasFatalFailure(); ++step) life.Step();
  harness.Commit();
  EventReplay replay;
  size_t followed = 0;
  std::map<uint64_t, std::pair<std::string, std::string>> names;
  const std::vector<TestEvent> all = AllOf(*harness.journal);
  for (const TestEvent& event : all) {
    const absl::Status taken =
        replay.Take(event.kind, event.task, event.state, event.attempt, event.count);
    ASSERT_TRUE(taken.ok()) << taken << " at " << event.lsn << "." << event.index;
    followed += event.parent != 0 ? 1 : 0;
    // Whatever tells them tells the same ones; of what has been pruned nothing does any more.
    if (event.task == 0 || event.type.empty()) continue;
    const auto [known, is_new] = names.emplace(event.task, std::pair(event.queue, event.type));
    EXPECT_EQ(known->second, std::pair(event.queue, event.type)) << event.task;
  }
  const absl::Status same = replay.Compare(**harness.journal->View());
  ASSERT_TRUE(same.ok()) << same;
  EXPECT_GT(followed, 0u);

  std::mt19937_64 random(GetParam());
  auto places = [](const std::vector<TestEvent>& events, size_t from) {
    std::vector<decltype(TestEvent().Place())> list;
    for (size_t i = from; i < events.size(); ++i) list.push_back(events[i].Place());
    return list;
  };
  for (int round = 0; round < 20; ++round) {
    const size_t from = random() % all.size();
    const Ask ask{.after = all[from].lsn - 1,
                  .skip = all[from].index,
                  .limit = static_cast<uint32_t>(1 + random() % 50)};
    ASSERT_EQ(places(AllOf(*harness.journal, ask), 0), places(all, from)) << "from event " << from;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EventsProperty, testing::Range<uint64_t>(1, 31));

TEST(RecordEvents, RefuseRecordsThatAreCutAndSurviveChangedOnes) {
  CoreHarness harness;
  RandomLife life(harness, 11);
  for (int step = 0; step < 300; ++step) life.Step();
  harness.Commit();
  std::vector<std::string> records;
  auto view = harness.journal->View();
  auto collect = [&](const LogSegment& segment) {
    return ForEachRecord(segment.records,
                         [&](std::string_view record) {
                           records.emplace_back(record);
                           return true;
                         })
        .ok();
  };
  ASSERT_TRUE((*view)->ScanLog(Lsn(1), collect).ok());
  auto visit = [](const LogEvent&) { return true; };
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string record = records[random() % records.size()];
    if (round % 2 == 0) {
      record.resize(random() % record.size());
      EXPECT_FALSE(ForEachEvent(record, visit).ok());
    } else {
      record[sizeof(RecordHead) + random() % (record.size() - sizeof(RecordHead))] ^=
          static_cast<char>(1 << random() % 8);
      ForEachEvent(record, visit).IgnoreError();  // it may be another good one
    }
  }
}

}  // namespace
}  // namespace zsched::broker
