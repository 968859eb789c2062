// What retention keeps and removes, and the rows and records that it goes by.
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

constexpr uint8_t kNoOutcomes = 0, kMayHaveOutcomes = 1;

std::vector<FinishedRun> RunsOf(std::string_view bytes) {
  std::vector<FinishedRun> runs;
  RowReader in(bytes);
  for (FinishedRun run; !in.rest().empty() && in.Read(run);) runs.push_back(run);
  return runs;
}

// "FIRST+TASKS lane LANE STATE OUTCOMES", FIRST counted from `base`, one a run.
std::vector<std::string> Text(const std::vector<FinishedRun>& runs, uint64_t base = 0) {
  std::vector<std::string> texts;
  for (const FinishedRun& run : runs)
    texts.push_back(std::to_string(run.first - base) + "+" + std::to_string(run.tasks) + " lane " +
                    std::to_string(run.lane) + " " + std::to_string(static_cast<int>(run.state)) +
                    " " + std::to_string(run.outcomes));
  return texts;
}

// --- How much is kept ---

TEST(Retention, TasksThatEndedTogetherGoOnlyWhenEnoughAreLeft) {
  CoreHarness h({.keep_finished = 3, .keep_finished_ms = 1'000'000});
  SessionId client = h.Client(1), worker = h.Worker(1, 100);
  auto finish_together = [&](uint64_t seq, size_t count) {
    h.Submit(client, seq, std::vector<TestTask>(count), seq);
    h.Done(worker, h.Take(worker));
  };
  finish_together(1, 5);
  EXPECT_NE(h.core->PruneFrom(h.now), 0u);
  h.Prune();
  EXPECT_EQ(h.core->state().finished(), 5u);
  finish_together(2, 2);
  EXPECT_EQ(h.core->PruneFrom(h.now), 0u) << "asked again before the oldest five may go";
  finish_together(3, 1);
  EXPECT_NE(h.core->PruneFrom(h.now), 0u);
  h.Prune();
  EXPECT_EQ(h.core->state().finished(), 3u);
  EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
}

TEST(Retention, KeepsByCountAndAgeOldestFirst) {
  CoreHarness h({.keep_finished = 10, .keep_finished_ms = 1'000'000});
  SessionId client = h.Client(1), worker = h.Worker(1, 100);
  uint64_t first = 0;
  for (uint64_t i = 0; i < 15; ++i) {
    uint64_t id = h.Submit(client, i + 1, {{}}, i + 1).first_id;
    if (i == 0) first = id;
    h.Done(worker, h.Take(worker));
  }
  const uint64_t fifth_row = h.Finished(0).at(4).key;
  EXPECT_NE(h.core->PruneFrom(h.now), 0u);
  h.Prune();
  EXPECT_EQ(h.core->state().finished(), 10u);
  EXPECT_EQ(h.Row(TaskId(first + 5)).state, TaskState::kSucceeded);
  EXPECT_GT(h.Finished(0).at(0).key, fifth_row);
  auto view = h.journal->View();
  EXPECT_FALSE((*view)->Get(Table::kTasks, first + 4)->has_value());
  EXPECT_FALSE((*view)->Get(Table::kSpecs, first + 4)->has_value());
  view->reset();
  EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
  h.Pass(1'000'001);
  h.Prune();
  EXPECT_EQ(h.core->state().finished(), 0u) << "all are too old";
}

// --- Rows of finished tasks ---

// Tasks of one SUBMIT, all with one worker.
struct Leased {
  explicit Leased(CoreHarness& h, const std::vector<TestTask>& tasks)
      : worker(h.Worker(1, static_cast<uint32_t>(tasks.size()))) {
    first = h.Submit(h.Client(1), 1, tasks).first_id;
    Take(h);
  }
  // What was handed out since, by rising id.
  void Take(CoreHarness& h) {
    for (const Assign& a : h.Take(worker)) assigned[a.task.value() - first] = a;
  }
  // One RESULTS frame that names these tasks in this order.
  void Done(CoreHarness& h, const std::vector<uint64_t>& order) {
    std::vector<Assign> tasks;
    for (uint64_t i : order) tasks.push_back(assigned.at(i));
    h.Done(worker, tasks);
  }

  SessionId worker;
  uint64_t first = 0;
  std::map<uint64_t, Assign> assigned;  // by place in the SUBMIT
};

TEST(FinishedRows, TasksThatEndOutOfOrderAreOneRun) {
  CoreHarness h;
  Leased tasks(h, std::vector<TestTask>(6));
  tasks.Done(h, {3, 0, 4, 2, 5, 1});
  auto rows = h.Finished(0);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].finished_ms, h.now.wall_ms);
  EXPECT_EQ(rows[0].tasks, 6u);
  EXPECT_EQ(Text(RunsOf(rows[0].runs), tasks.first), std::vector<std::string>{"0+6 lane 1 5 0"});
}

TEST(FinishedRows, AGapOrAnotherLaneBeginsARun) {
  for (bool in_order : {true, false}) {
    CoreHarness h;
    Leased tasks(h, {{}, {}, {.type = "u"}, {.type = "u"}, {}, {}, {}});
    in_order ? tasks.Done(h, {0, 1, 2, 3, 4, 6}) : tasks.Done(h, {6, 3, 0, 4, 2, 1});
    auto rows = h.Finished(0);
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(Text(RunsOf(rows[0].runs), tasks.first),
              (std::vector<std::string>{"0+2 lane 1 5 0", "2+2 lane 2 5 0", "4+1 lane 1 5 0",
                                        "6+1 lane 1 5 0"}));
  }
}

TEST(FinishedRows, SayWhichTasksMayHaveOutcomes) {
  for (bool in_order : {true, false}) {
    CoreHarness h;
    Leased tasks(h, std::vector<TestTask>(5, {.retry_base_ms = 1}));
    h.Fail(tasks.worker, tasks.assigned.at(2));
    h.Release(tasks.worker, {tasks.assigned.at(3)});
    h.Pass(1);
    tasks.Take(h);
    EXPECT_EQ(tasks.assigned.at(2).attempt, 2u);
    in_order ? tasks.Done(h, {0, 1, 2, 3, 4}) : tasks.Done(h, {4, 2, 3, 1, 0});
    auto rows = h.Finished(0);
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(Text(RunsOf(rows[0].runs), tasks.first),
              (std::vector<std::string>{"0+2 lane 1 5 0", "2+1 lane 1 5 1", "3+2 lane 1 5 0"}));
  }
}

TEST(FinishedRows, ATaskHasOutcomesWhenAnyAttemptLeftOne) {
  struct Case {
    const char* name;
    std::function<void(CoreHarness&, Leased&)> end;
    uint8_t outcomes;
    size_t outcome_rows;
  };
  const std::vector<Case> cases = {
      {"at once, empty", [](CoreHarness& h, Leased& t) { t.Done(h, {0}); }, kNoOutcomes, 0},
      {"at once, empty, as a Result",
       [](CoreHarness& h, Leased& t) { h.Succeed(t.worker, t.assigned.at(0), ""); }, kNoOutcomes,
       0},
      {"at once, with a result",
       [](CoreHarness& h, Leased& t) { h.Succeed(t.worker, t.assigned.at(0), "r"); },
       kMayHaveOutcomes, 1},
      {"after a failure",
       [](CoreHarness& h, Leased& t) {
         h.Fail(t.worker, t.assigned.at(0));
         h.Pass(1);
         t.Take(h);
         t.Done(h, {0});
       },
       kMayHaveOutcomes, 1},
      {"after it was given back",
       [](CoreHarness& h, Leased& t) {
         h.Release(t.worker, {t.assigned.at(0)});
         t.Take(h);
         t.Done(h, {0});
       },
       kNoOutcomes, 0},
      {"after its worker was lost",
       [](CoreHarness& h, Leased& t) {
         h.Pass(CoreConfig{}.visibility_timeout_ms + 1);
         t.worker = h.Worker(2, 1);
         t.Take(h);
         t.Done(h, {0});
       },
       kMayHaveOutcomes, 1},
      {"after it was dead",
       [](CoreHarness& h, Leased& t) {
         h.Fail(t.worker, t.assigned.at(0), ErrorCode::kHandlerFailed, wire::RetryAdvice::kNever);
         h.core->OnRetry(SessionId(1), 1, {{t.first, h.Row(TaskId(t.first))}}, h.now);
         t.Take(h);
         t.Done(h, {0});
       },
       kMayHaveOutcomes, 1},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    CoreHarness h({.keep_finished = 0});
    Leased task(h, {{.retry_base_ms = 1}});
    c.end(h, task);
    auto rows = h.Finished(0);
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(RunsOf(rows[0].runs).at(0).outcomes, c.outcomes);
    EXPECT_EQ(h.RowCount(Table::kOutcomes), c.outcome_rows);
    h.Prune();
    for (Table table : {Table::kOutcomes, Table::kTasks, Table::kSpecs, Table::kFinished})
      EXPECT_EQ(h.RowCount(table), 0u) << kTableNames[static_cast<size_t>(table)];
    EXPECT_EQ(h.Fingerprint(), h.RebuiltFingerprint());
    EXPECT_EQ(h.Fingerprint(), h.ReplayedFingerprint());
  }
}

// More than a frame of this protocol can name (kMaxResultTasks), so by State itself.
TEST(FinishedRows, ARunHasAtMostAsManyTasksAsItsCountCanHold) {
  constexpr uint64_t kTasks = UINT16_MAX + 3;
  flatbuffers::FlatBufferBuilder b;
  b.Finish(wire::CreateTaskSpecDirect(b, "t"));
  const auto& spec = *flatbuffers::GetRoot<wire::TaskSpec>(b.GetBufferPointer());
  for (bool in_order : {true, false}) {
    State state;
    Batch batch;
    batch.Begin(Epoch(1), Lsn(1));
    state.EpochStarted(batch, Epoch(1), Uuid{1, 2}, 1);
    Worker worker;
    worker.number = 1;
    state.WorkerSeen(batch, worker);
    const uint32_t lane = state.CreateLane(batch, {"q", "t", {}, {}});
    const uint64_t first = MakeId<TaskId>(Epoch(1), 1).value();
    std::vector<uint32_t> slots;
    for (uint64_t i = 0; i < kTasks; ++i) {
      slots.push_back(state.Submitted(batch, TaskId(first + i), lane, spec, 1));
      state.Leased(slots.back(), LeaseId(first + i), worker.number, /*attempt=*/1, 1);
    }
    if (!in_order) std::reverse(slots.begin(), slots.end());
    for (uint32_t slot : slots) state.Ended(batch, slot, EndedEntry{}, {}, 1);
    state.FlushFinished(batch, 1);
    auto row = ReadFinished(batch.row(batch.mutations(Table::kFinished).at(0)));
    ASSERT_TRUE(row);
    EXPECT_EQ(row->tasks, kTasks);
    EXPECT_EQ(Text(RunsOf(row->runs), first),
              (std::vector<std::string>{"0+65535 lane 1 5 0", "65535+3 lane 1 5 0"}));
  }
}

// --- What is refused ---

// A run that is right in all but one thing, by that thing.
std::vector<std::pair<std::string, FinishedRun>> InsaneRuns(const FinishedRun& good) {
  std::vector<std::pair<std::string, FinishedRun>> runs;
  auto add = [&](const char* name) -> FinishedRun& { return runs.emplace_back(name, good).second; };
  add("no tasks").tasks = 0;
  add("beyond the last id").first = UINT64_MAX - good.tasks + 1;
  add("lane 0").lane = 0;
  add("dead").state = TaskState::kDead;
  add("unfinished").state = TaskState::kLeased;
  add("no state").state = TaskState{kTaskStates};
  add("reserved bits").reserved = 1;
  return runs;
}

std::string FinishedBytes(const std::vector<FinishedRun>& runs, uint32_t version = kRowVersion) {
  std::string row;
  AppendStruct(row, FinishedRow{1'000, static_cast<uint32_t>(runs.size()), version});
  for (const FinishedRun& run : runs) AppendStruct(row, run);
  return row;
}

TEST(FinishedRows, ShortRowsAndInsaneRunsAreNotRead) {
  const FinishedRun good{7, 1, 3, TaskState::kSucceeded, 1},
      last{UINT64_MAX - 2, 1, 2, TaskState::kCancelled, 0};
  const std::string row = FinishedBytes({good, last});
  auto read = ReadFinished(row);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->head.finished_ms, 1'000);
  EXPECT_EQ(read->tasks, 5u);
  EXPECT_EQ(Text(RunsOf(read->runs)), Text({good, last}));
  for (size_t bytes = 0; bytes < row.size(); ++bytes)
    EXPECT_FALSE(ReadFinished(row.substr(0, bytes))) << bytes;
  EXPECT_FALSE(ReadFinished(FinishedBytes({good}, kRowVersion + 1)));
  for (const auto& [name, run] : InsaneRuns(good)) {
    EXPECT_FALSE(ReadFinished(FinishedBytes({run, good}))) << name;
    EXPECT_FALSE(ReadFinished(FinishedBytes({good, run}))) << name;
  }
}

// A state in which tasks of queue "q" and of queue "r" have ended, and records that prune them.
class PrunedRecords : public testing::Test {
 protected:
  PrunedRecords() {
    Leased tasks(h_, {{}, {}, {}, {.queue = "r"}, {.queue = "r"}});
    tasks.Done(h_, {0, 1, 2, 3, 4});
    row_ = h_.Finished(0).at(0);
    q_ = RunsOf(row_.runs).at(0);
    r_ = RunsOf(row_.runs).at(1);
  }

  absl::Status Apply(const std::vector<FinishedRun>& runs, PrunedRecord record) {
    State state;
    auto view = h_.journal->View();
    EXPECT_TRUE(Replay(**view, state).ok());
    EXPECT_EQ(state.finished(), 5u);
    std::string bytes;
    AppendStruct(bytes, RecordHead{});
    AppendStruct(bytes, record);
    AppendStruct(bytes, row_.key);
    for (const FinishedRun& run : runs) AppendStruct(bytes, run);
    RecordHead head;
    head.bytes = static_cast<uint32_t>(bytes.size());
    head.kind = RecordKind::kPruned;
    head.time_ms = h_.now.wall_ms;
    std::memcpy(bytes.data(), &head, sizeof head);
    Batch batch;
    batch.Begin(state.epoch(), Next(state.lsn()));
    absl::Status status = state.Apply(batch, bytes);
    left_ = state.finished();
    return status;
  }
  absl::Status Apply(const std::vector<FinishedRun>& runs) {
    return Apply(runs, {.keys = 1, .runs = runs.size()});
  }

  CoreHarness h_;
  FinishedEntry row_;
  FinishedRun q_, r_;
  uint64_t left_ = 0;
};

TEST_F(PrunedRecords, OfWhatHasEndedAreApplied) {
  EXPECT_TRUE(Apply({q_, r_}).ok());
  EXPECT_EQ(left_, 0u);
  EXPECT_TRUE(Apply({r_}).ok());
  EXPECT_EQ(left_, 3u);
}

TEST_F(PrunedRecords, WithInsaneRunsAreCorrupt) {
  for (const auto& [name, run] : InsaneRuns(q_)) {
    EXPECT_EQ(CodeOf(Apply({run})), ErrorCode::kDataLoss) << name;
    EXPECT_EQ(CodeOf(Apply({r_, run})), ErrorCode::kDataLoss) << name;
  }
  FinishedRun unknown_lane = q_;
  unknown_lane.lane = 3;
  EXPECT_EQ(CodeOf(Apply({unknown_lane})), ErrorCode::kDataLoss);
}

TEST_F(PrunedRecords, OfMoreThanHasEndedAreCorrupt) {
  FinishedRun more = q_;
  more.tasks = 6;
  EXPECT_EQ(CodeOf(Apply({more})), ErrorCode::kDataLoss) << "than there are";
  more.tasks = 4;
  EXPECT_EQ(CodeOf(Apply({more})), ErrorCode::kDataLoss) << "than there are in the queue";
  EXPECT_EQ(CodeOf(Apply({q_, r_, r_})), ErrorCode::kDataLoss) << "twice";
  FinishedRun cancelled = q_;
  cancelled.state = TaskState::kCancelled;
  EXPECT_EQ(CodeOf(Apply({cancelled})), ErrorCode::kDataLoss) << "none was cancelled";
}

TEST_F(PrunedRecords, OfAnotherLengthThanTheySayAreCorrupt) {
  EXPECT_EQ(CodeOf(Apply({q_, r_}, {.keys = 1, .runs = 1})), ErrorCode::kDataLoss);
  EXPECT_EQ(CodeOf(Apply({q_}, {.keys = 1, .runs = 2})), ErrorCode::kDataLoss);
  EXPECT_EQ(CodeOf(Apply({q_}, {.keys = 2, .runs = 1})), ErrorCode::kDataLoss);
  EXPECT_EQ(CodeOf(Apply({q_}, {.keys = 5, .runs = 0})), ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace zsched::broker
