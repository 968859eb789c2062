// A snapshot over a network that loses parts and questions: what is written is what was there when it began.
#include "broker/replication/snapshot.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>

#include "broker/core/record.h"
#include "schemas/errors.h"
#include "tests/sim/random.h"

namespace zsched::broker {
namespace {

using sim::Random;
using Rows = std::map<std::pair<Table, uint64_t>, std::string>;

std::string Record(size_t bytes) {
  std::string record(sizeof(RecordHead) + bytes, 'x');
  RecordHead head{};
  head.bytes = static_cast<uint32_t>(record.size());
  std::memcpy(record.data(), &head, sizeof head);
  return record;
}

class Reader final : public SnapshotReader {
 public:
  Reader(Rows rows, std::string tail) : rows_(std::move(rows)), tail_(std::move(tail)) {}
  absl::Status Scan(Table table, uint64_t from,
                    absl::FunctionRef<bool(uint64_t, std::string_view)> visit) override {
    for (auto row = rows_.lower_bound({table, from}); row != rows_.end(); ++row)
      if (row->first.first != table || !visit(row->first.second, row->second)) break;
    return absl::OkStatus();
  }
  absl::StatusOr<LogPart> Tail() override {
    return LogPart{
        .epoch = Epoch(4), .first_lsn = Lsn(900), .count = 2, .hash_before = 55, .records = tail_};
  }

 private:
  const Rows rows_;
  const std::string tail_;
};

struct Written {
  Rows rows;
  Lsn first_lsn;
  std::string records;
  uint64_t hash_before = 0;
  size_t writes = 0;
};

class Target final : public SnapshotTarget {
 public:
  explicit Target(Written& written) : written_(written) {}
  absl::Status Write(Batch& batch) override {
    ++written_.writes;
    for (size_t table = 0; table < kTables; ++table)
      for (const Mutation& m : batch.mutations(static_cast<Table>(table)))
        written_.rows[{static_cast<Table>(table), m.key}] = batch.row(m);
    if (batch.record_ends().empty()) return absl::OkStatus();
    written_.first_lsn = batch.first_lsn();
    written_.records = batch.records();
    written_.hash_before = batch.hash_before();
    return absl::OkStatus();
  }

 private:
  Written& written_;
};

class SnapshotTest : public testing::Test, protected SnapshotSink {
 protected:
  void Begin(const Rows& rows) {
    sender_.Begin(Epoch(8), 5, std::make_unique<Reader>(rows, Record(10) + Record(20)), now_ms_);
    receiver_.Begin(Epoch(8), 5, std::make_unique<Target>(written_), now_ms_);
  }
  void SendSnapshotPart(Epoch, uint64_t, const SnapshotPart& part) override {
    ++sent_;
    most_bytes_ = std::max(most_bytes_, part.rows.size());
    if (random_.Chance(loss_)) return;
    std::string rows(part.rows), records(part.tail.records);
    queue_.push_back([=, this] {
      SnapshotPart arrived = part;
      arrived.rows = rows;
      arrived.tail.records = records;
      if (!receiver_.receiving()) return;
      auto done = receiver_.OnPart(arrived, now_ms_);
      status_.Update(done.status());
      if (done.ok() && *done) receiver_.End();
    });
  }
  void SendSnapshotFetch(Epoch, uint64_t, uint32_t part, bool again) override {
    if (random_.Chance(loss_)) return;
    queue_.push_back([=, this] {
      if (sender_.sending()) status_.Update(sender_.OnFetch(part, again, now_ms_));
    });
  }
  void Run(int64_t ms = 600'000) {
    for (const int64_t end = now_ms_ + ms; now_ms_ < end && receiver_.receiving(); now_ms_ += 10) {
      for (auto queue = std::exchange(queue_, {}); !queue.empty(); queue.pop_front())
        queue.front()();
      receiver_.OnTick(now_ms_);
      sender_.OnTick(now_ms_);
    }
  }
  Rows SomeRows(size_t count, int64_t most_bytes) {
    Rows rows;
    for (size_t i = 0; i < count; ++i) {
      const auto table = static_cast<Table>(random_.Between(0, kTables - 1));
      rows[{table, static_cast<uint64_t>(random_.LogBetween(1, 1'000'000'000))}] = std::string(
          static_cast<size_t>(random_.LogBetween(1, most_bytes)), static_cast<char>('a' + i % 26));
    }
    return rows;
  }

  Random random_{1};
  double loss_ = 0;
  int64_t now_ms_ = 1'000;
  Written written_;
  SnapshotSender sender_{*this};
  SnapshotReceiver receiver_{*this};
  std::deque<std::function<void()>> queue_;
  size_t sent_ = 0, most_bytes_ = 0;
  absl::Status status_;
};

TEST_F(SnapshotTest, BringsAllRowsAndTheEndOfTheLog) {
  const Rows rows = SomeRows(5'000, 50'000);
  Begin(rows);
  Run();
  EXPECT_TRUE(status_.ok()) << status_;
  EXPECT_FALSE(receiver_.receiving());
  EXPECT_EQ(written_.rows, rows);
  EXPECT_EQ(written_.first_lsn, Lsn(900));
  EXPECT_EQ(written_.records, Record(10) + Record(20));
  EXPECT_EQ(written_.hash_before, 55u);
  EXPECT_GT(sent_, 5u);
  EXPECT_EQ(written_.writes, sent_) << "nothing was lost, so nothing was sent twice";
  EXPECT_LE(most_bytes_, kSnapshotPartBytes);
}

TEST_F(SnapshotTest, AnEmptyOneIsOnePart) {
  Begin({});
  Run();
  EXPECT_FALSE(receiver_.receiving());
  EXPECT_EQ(sent_, 1u);
  EXPECT_EQ(written_.first_lsn, Lsn(900));
}

TEST_F(SnapshotTest, ARowLargerThanAPartIsAPartByItself) {
  Rows rows = SomeRows(50, 1'000);
  rows[{Table::kOutcomes, 7}] = std::string(3 * kSnapshotPartBytes, 'L');
  rows[{Table::kOutcomes, 8}] = std::string(3 * kSnapshotPartBytes, 'M');
  Begin(rows);
  Run();
  EXPECT_EQ(written_.rows, rows);
  EXPECT_LT(most_bytes_, 3 * kSnapshotPartBytes + 100);
}

TEST_F(SnapshotTest, WhatIsLostIsSentAgain) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    random_ = Random(seed);
    loss_ = 0;
    written_ = {};
    const Rows rows = SomeRows(1'000, 50'000);
    loss_ = 0.2;
    Begin(rows);
    Run();
    ASSERT_TRUE(status_.ok()) << status_;
    ASSERT_FALSE(receiver_.receiving()) << "seed " << seed;
    ASSERT_EQ(written_.rows, rows) << "seed " << seed;
    ASSERT_EQ(written_.first_lsn, Lsn(900));
    queue_.clear();
  }
}

TEST_F(SnapshotTest, NoMoreIsSentAheadThanTheWindow) {
  Begin(SomeRows(2'000, 100'000));
  queue_.front()();  // the first fetch
  EXPECT_EQ(sent_, kSnapshotWindowParts);
}

TEST_F(SnapshotTest, ASenderThatHearsNothingGivesUp) {
  Begin(SomeRows(2'000, 100'000));
  queue_.clear();
  sender_.OnTick(now_ms_ + SnapshotSender::kIdleMs);
  EXPECT_TRUE(sender_.sending());
  sender_.OnTick(now_ms_ + SnapshotSender::kIdleMs + 1);
  EXPECT_FALSE(sender_.sending());
}

TEST_F(SnapshotTest, PartsOfAnotherSnapshotAreRefused) {
  Begin({});
  const std::string row("no row at all");
  auto refused = [&](const SnapshotPart& part) {
    return CodeOf(receiver_.OnPart(part, now_ms_).status());
  };
  EXPECT_EQ(refused({.number = 0, .hash = 1, .rows = row}), ErrorCode::kDataLoss);
  EXPECT_EQ(written_.writes, 0u);
  EXPECT_FALSE(*receiver_.OnPart({.number = 4, .hash = 1, .rows = row}, now_ms_))
      << "one that is not awaited is not looked at";
}

}  // namespace
}  // namespace zsched::broker
