// A leader and a follower over a network that loses, delays and repeats: the follower's log becomes the leader's, and
// what is acknowledged is on its disk.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <set>

#include "broker/replication/follower.h"
#include "broker/replication/leader.h"
#include "tests/sim/random.h"

namespace zsched::broker {
namespace {

using sim::Random;

// A log as both have it: records with their epochs and hashes.
struct Log final : LogReader {
  struct Record {
    Epoch epoch;
    std::string bytes;
    uint64_t hash;  // of the log behind it
    bool operator==(const Record&) const = default;
  };
  std::vector<Record> records;
  size_t durable = 0;
  size_t trimmed = 0;  // so many are not kept

  uint64_t hash() const { return records.empty() ? 0 : records.back().hash; }
  LogEnd end() const {
    return {Lsn(records.size()), records.empty() ? Epoch() : records.back().epoch, hash()};
  }
  void Add(Epoch epoch, std::string_view bytes) {
    const uint64_t behind = ChainHash(hash(), bytes);
    records.push_back({epoch, std::string(bytes), behind});
  }
  // The batch of those behind the first `from`.
  void Fill(size_t from, Batch& batch) const {
    batch.Begin(records.at(from).epoch, Lsn(from + 1), from == 0 ? 0 : records[from - 1].hash);
    for (size_t i = from; i < records.size(); ++i) batch.AppendRecord(records[i].bytes);
  }

  absl::StatusOr<std::optional<uint64_t>> HashAt(Lsn lsn) override {
    const uint64_t n = lsn.value();
    if (n <= trimmed || n > durable) return std::optional<uint64_t>();
    return std::optional<uint64_t>(records[n - 1].hash);
  }
  absl::StatusOr<std::optional<LogPart>> Read(Lsn from, size_t max_bytes) override {
    const size_t first = from.value() - 1;
    if (first < trimmed || first >= durable) return std::optional<LogPart>();
    read_.clear();
    LogPart part{.epoch = records[first].epoch,
                 .first_lsn = from,
                 .hash_before = first == 0 ? 0 : records[first - 1].hash,
                 .records = {}};
    for (size_t i = first; i < durable && records[i].epoch == part.epoch; ++i) {
      if (part.count > 0 && read_.size() + records[i].bytes.size() > max_bytes) break;
      read_ += records[i].bytes;
      ++part.count;
    }
    part.records = read_;
    return std::optional<LogPart>(part);
  }

 private:
  std::string read_;
};

constexpr size_t kRecordBytes = 40;  // all records of these tests, so that parts can be taken apart

class Replication : public LeaderSink, public FollowerSink {
 public:
  Replication(uint64_t seed, double loss) : random_(seed), loss_(loss) {}

  void SendAppend(Epoch in, uint64_t life, const LogPart& part) override {
    appended_bytes += part.records.size();
    Over([this, in, life, part, bytes = std::string(part.records)] {
      LogPart arrived = part;
      arrived.records = bytes;
      Arrive(in, life, arrived);
    });
  }
  void SendDiverged(Epoch, uint64_t, Lsn) override { ++diverged; }
  void SendFetch(Epoch in, uint64_t life, const LogEnd& end) override {
    Over([=, this] { ASSERT_TRUE(leader.OnFetch(in, life, end).ok()); });
  }
  void SendAcked(Epoch in, uint64_t life, Lsn lsn) override {
    Over([=, this] {
      if (leader.OnAcked(in, life, lsn)) {
        ASSERT_TRUE(leader.Pump().ok());
      }
    });
  }
  void Arrive(Epoch in, uint64_t life, const LogPart& part) {
    const Follower::Verdict verdict = follower.Judge(in, life, part, now_ms);
    ASSERT_NE(verdict, Follower::Verdict::kForeign);
    if (verdict != Follower::Verdict::kTake) return;
    ASSERT_EQ(part.records.size(), part.count * kRecordBytes);
    for (size_t i = 0; i < part.count; ++i)
      theirs.Add(part.epoch, part.records.substr(i * kRecordBytes, kRecordBytes));
    follower.Taken(theirs.end(), now_ms);
  }
  // A record of the leader's; those that are not at its journal go there together.
  void Decide() {
    mine.Add(epoch, std::string(kRecordBytes, static_cast<char>('a' + mine.records.size() % 26)));
  }
  void Step() {
    ++now_ms;
    while (!events_.empty() && events_.begin()->first <= now_ms) {
      auto event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
    if (now_ms % 3 == 0) Commit();
    if (now_ms % 4 == 0 && theirs.durable < theirs.records.size()) {
      theirs.durable = theirs.records.size();
      follower.OnDurable(Lsn(theirs.durable));
    }
    if (now_ms % 25 == 0) follower.OnTick(now_ms);
    ASSERT_LE(leader.acked().value(), theirs.durable) << "acknowledged, and not on its disk";
  }
  void Commit() {
    if (at_journal_ > mine.durable) {
      mine.durable = at_journal_;
      ASSERT_TRUE(leader.Pump().ok());
    }
    if (mine.records.size() == mine.durable) return;
    Batch batch;
    mine.Fill(mine.durable, batch);
    at_journal_ = mine.records.size();
    leader.OnBatch(batch);
  }
  bool Equal() const { return mine.records == theirs.records && mine.durable == theirs.durable; }

  Log mine, theirs;
  Leader leader{mine, *this};
  Follower follower{*this};
  Epoch epoch{4};
  int64_t now_ms = 0;
  int diverged = 0;
  uint64_t appended_bytes = 0;

 private:
  void Over(std::function<void()> event) {
    // Without losses in order, as by one connection.
    const int64_t delay_ms = loss_ == 0 ? 4 : random_.Between(1, 8);
    if (!random_.Chance(loss_)) events_.emplace(now_ms + delay_ms, event);
    if (random_.Chance(loss_ / 4)) events_.emplace(now_ms + random_.Between(1, 900), event);
  }

  Random random_;
  double loss_;
  std::multimap<int64_t, std::function<void()>> events_;
  size_t at_journal_ = 0;
};

TEST(Replication, AFollowerCatchesUpAndStaysThere) {
  for (uint64_t seed = 1; seed <= 200 && !testing::Test::HasFailure(); ++seed) {
    const double loss = seed % 4 == 0 ? 0 : 0.2;
    Replication pair(seed, loss);
    Random random(seed);
    for (int i = 0; i < 500; ++i) pair.Decide();
    pair.mine.durable = pair.mine.records.size();
    pair.leader.Begin(pair.epoch);
    pair.follower.Begin(pair.epoch, /*life=*/seed, {}, 0);
    for (int i = 0; i < 3'000 && !testing::Test::HasFailure(); ++i) {
      if (random.Chance(0.3)) pair.Decide();
      pair.Step();
    }
    for (int i = 0; i < 5'000 && !pair.Equal() && !testing::Test::HasFailure(); ++i) pair.Step();
    EXPECT_TRUE(pair.Equal()) << "seed " << seed << ": " << pair.mine.records.size() << " and "
                              << pair.theirs.records.size();
    if (loss == 0) {
      EXPECT_EQ(pair.appended_bytes, pair.mine.records.size() * kRecordBytes) << "each sent once";
    }
    if (loss == 0) {
      EXPECT_TRUE(pair.leader.at_tail());
    }
  }
}

TEST(Replication, ALogThatPartsIsSaidToDiverge) {
  Replication pair(1, 0);
  for (int i = 0; i < 10; ++i) pair.Decide();
  pair.mine.durable = 10;
  for (int i = 0; i < 9; ++i) pair.theirs.Add(pair.epoch, pair.mine.records[i].bytes);
  pair.theirs.Add(Epoch(1), std::string(kRecordBytes, '?'));
  pair.theirs.durable = 10;
  pair.leader.Begin(pair.epoch);
  pair.follower.Begin(pair.epoch, 1, pair.theirs.end(), 0);
  for (int i = 0; i < 100; ++i) pair.Step();
  EXPECT_EQ(pair.diverged, 1);
  EXPECT_FALSE(pair.leader.has_follower());
  EXPECT_EQ(pair.leader.acked(), Lsn());
}

TEST(Replication, ALogThatIsNotKeptThatFarIsSaidToDiverge) {
  Replication pair(1, 0);
  for (int i = 0; i < 10; ++i) pair.Decide();
  pair.mine.durable = 10;
  pair.mine.trimmed = 5;
  for (int i = 0; i < 4; ++i) pair.theirs.Add(pair.epoch, pair.mine.records[i].bytes);
  pair.theirs.durable = 4;
  pair.leader.Begin(pair.epoch);
  pair.follower.Begin(pair.epoch, 1, pair.theirs.end(), 0);
  for (int i = 0; i < 100; ++i) pair.Step();
  EXPECT_EQ(pair.diverged, 1);
}

TEST(Replication, AnEmptyFollowerOfALogWithoutItsBeginningIsTold) {
  Replication pair(1, 0);
  for (int i = 0; i < 10; ++i) pair.Decide();
  pair.mine.durable = 10;
  pair.mine.trimmed = 5;
  pair.leader.Begin(pair.epoch);
  pair.Decide();
  pair.Step();
  for (int i = 0; i < 10; ++i) pair.Step();
  pair.follower.Begin(pair.epoch, 1, {}, pair.now_ms);
  for (int i = 0; i < 100; ++i) pair.Step();
  EXPECT_EQ(pair.diverged, 1);
  EXPECT_FALSE(pair.leader.has_follower());
  EXPECT_TRUE(pair.theirs.records.empty());
}

TEST(Replication, OnlyTheEpochAndLifeInForceCount) {
  Replication pair(1, 0);
  pair.Decide();
  pair.mine.durable = 1;
  pair.leader.Begin(pair.epoch);
  ASSERT_TRUE(pair.leader.OnFetch(Epoch(8), 1, {}).ok());
  EXPECT_FALSE(pair.leader.has_follower());
  ASSERT_TRUE(pair.leader.OnFetch(pair.epoch, 1, {}).ok());
  EXPECT_FALSE(pair.leader.OnAcked(Epoch(8), 1, Lsn(1)));
  EXPECT_FALSE(pair.leader.OnAcked(pair.epoch, 2, Lsn(1)));
  EXPECT_FALSE(pair.leader.OnAcked(pair.epoch, 1, Lsn(2))) << "never sent";
  EXPECT_TRUE(pair.leader.OnAcked(pair.epoch, 1, Lsn(1)));

  LogPart part{pair.epoch, Lsn(1), 1, 7, "x"};
  pair.follower.Begin(pair.epoch, 1, {}, 0);
  using Verdict = Follower::Verdict;
  EXPECT_EQ(pair.follower.Judge(Epoch(8), 1, part, 0), Verdict::kIgnore);
  EXPECT_EQ(pair.follower.Judge(pair.epoch, 2, part, 0), Verdict::kIgnore);
  EXPECT_EQ(pair.follower.Judge(pair.epoch, 1, part, 0), Verdict::kForeign) << "another hash";
  part.hash_before = 0;
  EXPECT_EQ(pair.follower.Judge(pair.epoch, 1, part, 0), Verdict::kTake);
  part.epoch = Epoch(5);
  EXPECT_EQ(pair.follower.Judge(pair.epoch, 1, part, 0), Verdict::kForeign) << "of a later epoch";
}

// The leader compares logs before it sends; this is the follower's own look.
// Seed 104561 of the pairs: it came between a batch and its acknowledgement, and the log before was not kept.
TEST(Replication, ALateFetchDoesNotSetTheLeaderBack) {
  Replication pair(1, 0);
  pair.Decide();
  pair.mine.durable = 1;
  pair.leader.Begin(pair.epoch);
  ASSERT_TRUE(pair.leader.OnFetch(pair.epoch, 1, {}).ok());
  ASSERT_TRUE(pair.leader.OnAcked(pair.epoch, 1, Lsn(1)));
  const LogEnd early = pair.mine.end();
  Batch batch;
  pair.Decide();
  pair.mine.Fill(1, batch);
  pair.leader.OnBatch(batch);
  ASSERT_TRUE(pair.leader.OnFetch(pair.epoch, 1, early).ok());
  ASSERT_TRUE(pair.leader.OnAcked(pair.epoch, 1, Lsn(2)));
  pair.mine.durable = pair.mine.trimmed = 2;
  pair.Decide();
  pair.mine.Fill(2, batch);
  pair.leader.OnBatch(batch);
  ASSERT_TRUE(pair.leader.Pump().ok());
  EXPECT_EQ(pair.diverged, 0);
  EXPECT_TRUE(pair.leader.has_follower());
  EXPECT_TRUE(pair.leader.at_tail());
}

TEST(Follower, APartOfAnotherLogIsForeign) {
  struct Nowhere final : FollowerSink {
    void SendFetch(Epoch, uint64_t, const LogEnd&) override { ++fetches; }
    void SendAcked(Epoch, uint64_t, Lsn) override {}
    int fetches = 0;
  } sink;
  Follower follower(sink);
  follower.Begin(Epoch(8), 5, {.lsn = Lsn(10), .epoch = Epoch(4), .hash = 77}, 0);
  EXPECT_EQ(sink.fetches, 1);
  const LogPart next{
      .epoch = Epoch(8), .first_lsn = Lsn(11), .count = 1, .hash_before = 77, .records = "r"};
  EXPECT_EQ(follower.Judge(Epoch(8), 5, next, 1), Follower::Verdict::kTake);
  LogPart other = next;
  other.hash_before = 78;
  EXPECT_EQ(follower.Judge(Epoch(8), 5, other, 1), Follower::Verdict::kForeign);
  LogPart older = next;
  older.epoch = Epoch(3);
  EXPECT_EQ(follower.Judge(Epoch(8), 5, older, 1), Follower::Verdict::kForeign)
      << "epochs do not fall";
  EXPECT_EQ(follower.Judge(Epoch(8), 6, next, 1), Follower::Verdict::kIgnore) << "another life";
  EXPECT_EQ(follower.Judge(Epoch(4), 5, next, 1), Follower::Verdict::kIgnore) << "another epoch";
  LogPart far = next;
  far.first_lsn = Lsn(12);
  EXPECT_EQ(follower.Judge(Epoch(8), 5, far, 1), Follower::Verdict::kGap);
  EXPECT_TRUE(follower.IsAddressed(Epoch(8), 5));
  follower.End();
  EXPECT_FALSE(follower.IsAddressed(Epoch(8), 5));
}

}  // namespace
}  // namespace zsched::broker
