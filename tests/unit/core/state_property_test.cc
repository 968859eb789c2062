// State rebuilt from the tables equals state from the log equals the live state, after every kind
// of event in random order.
#include <random>

#include "tests/unit/core/random_life.h"

namespace zsched::broker {
namespace {

class StateProperty : public testing::TestWithParam<uint64_t> {};

TEST_P(StateProperty, LiveRebuiltAndReplayedAreEqual) {
  CoreHarness harness(
      {.keep_finished = 20, .max_dead = 10, .keep_dead_ms = 20'000, .keep_keys_ms = 5'000});
  RandomLife life(harness, GetParam());
  for (int step = 1; step <= 300 && !HasFatalFailure(); ++step) {
    life.Step();
    if (step % 10 != 0) continue;
    harness.Commit();
    std::string live = harness.Fingerprint();
    ASSERT_EQ(live, harness.RebuiltFingerprint());
    ASSERT_EQ(live, harness.ReplayedFingerprint());
    for (const DeadEntry& entry : harness.DeadLetters()) {
      const TaskRow task = harness.Row(TaskId(entry.row.task));
      ASSERT_EQ(task.state, TaskState::kDead);
      ASSERT_EQ(static_cast<uint64_t>(task.order), entry.letter);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, StateProperty, testing::Range<uint64_t>(1, 41));

TEST(Apply, RefusesRecordsThatAreCutOrChanged) {
  CoreHarness h;
  SessionId worker = h.Worker(1, 2);
  h.Submit(h.Client(1), 1,
           {{}, {.on_success = {{.pass_result = true}}, .on_failure = {{}}}, {.delay_ms = 5}});
  h.Done(worker, h.Take(worker));
  std::vector<std::string> records;
  auto view = h.journal->View();
  ASSERT_TRUE((*view)
                  ->ScanLog(Lsn(1),
                            [&](const LogSegment& segment) {
                              for (std::string_view rest = segment.records; !rest.empty();) {
                                RecordHead head;
                                std::memcpy(&head, rest.data(), sizeof head);
                                records.emplace_back(rest.substr(0, head.bytes));
                                rest.remove_prefix(head.bytes);
                              }
                              return true;
                            })
                  .ok());
  std::mt19937_64 random(7);
  for (int round = 0; round < 3000; ++round) {
    State state;
    Batch batch;
    batch.Begin(Epoch(0), Lsn(1));
    size_t bad = random() % records.size();
    for (size_t i = 0; i < bad; ++i) ASSERT_TRUE(state.Apply(batch, records[i]).ok());
    std::string record = records[bad];
    if (round % 2 == 0)
      record.resize(random() % record.size());
    else
      record[sizeof(RecordHead) + random() % (record.size() - sizeof(RecordHead))] ^=
          static_cast<char>(1 << random() % 8);
    // Cut records are refused; flipped bits may make another valid record. Neither may break the
    // process.
    absl::Status status = state.Apply(batch, record);
    if (round % 2 == 0) {
      EXPECT_FALSE(status.ok());
    }
  }
}

}  // namespace
}  // namespace zsched::broker
