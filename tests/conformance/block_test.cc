// Blocks of rows: the bytes of one, and tables that are made of them.
#include "broker/journal/block.h"

#include <gtest/gtest.h>

#include <random>

#include "broker/journal/codec.h"
#include "schemas/errors.h"
#include "tests/conformance/journal_fixture.h"

namespace zsched::broker {
namespace {

using RowList = std::vector<std::pair<uint64_t, std::string>>;

std::string Build(Table table, const RowList& rows) {
  BlockBuilder builder(table);
  for (const auto& [key, row] : rows) {
    ZS_CHECK(builder.Fits(key, row.size()));
    builder.Add(key, row);
  }
  std::string out(builder.bytes(), '?');
  builder.Store(out.data());
  ZS_CHECK(builder.empty());
  return out;
}

TEST(BlockTest, ComesBackFromItsBytes) {
  const RowList rows = {
      {7, "seven"}, {8, ""}, {1000, std::string(500, 'k')}, {uint64_t{7} + UINT32_MAX, "far"}};
  const std::string bytes = Build(Table::kTasks, rows);
  auto block = Block::Load(Table::kTasks, 7, bytes);
  ASSERT_TRUE(block.ok()) << block.status();
  ASSERT_EQ(block->rows(), rows.size());
  for (uint32_t i = 0; i < block->rows(); ++i) {
    EXPECT_EQ(block->key(i), rows[i].first);
    EXPECT_EQ(block->row(i), rows[i].second);
    EXPECT_EQ(block->Find(rows[i].first), rows[i].second);
    EXPECT_EQ(block->LowerBound(rows[i].first), i);
    EXPECT_EQ(block->Find(rows[i].first + 5), std::nullopt);
  }
  EXPECT_EQ(block->LowerBound(0), 0u);
  EXPECT_EQ(block->LowerBound(UINT64_MAX), block->rows());
}

TEST(BlockTest, TakesRowsUntilItIsFull) {
  BlockBuilder builder(Table::kSpecs);
  const std::string large(1 << 20, 'x');
  EXPECT_TRUE(builder.Fits(1, large.size())) << "the first row always fits";
  builder.Add(1, "");
  EXPECT_FALSE(builder.Fits(uint64_t{1} << 33, 0)) << "keys are 32 bits from the first";
  const size_t room = kMaxBlockBytes - builder.bytes() - 8;
  EXPECT_TRUE(builder.Fits(2, room));
  EXPECT_FALSE(builder.Fits(2, room + 1));
  const std::string row(room, 'r');
  builder.Add(2, row);
  EXPECT_EQ(builder.bytes(), kMaxBlockBytes);
}

TEST(BlockTest, AnyChangedByteAnotherKeyOrTableIsDataLoss) {
  const RowList rows = {{7, "seven"}, {8, "eight"}};
  const std::string good = Build(Table::kTasks, rows);
  EXPECT_EQ(CodeOf(Block::Load(Table::kTasks, 8, good).status()), ErrorCode::kDataLoss);
  EXPECT_EQ(CodeOf(Block::Load(Table::kSpecs, 7, good).status()), ErrorCode::kDataLoss);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_EQ(CodeOf(Block::Load(Table::kTasks, 7, bad).status()), ErrorCode::kDataLoss) << at;
    EXPECT_EQ(CodeOf(Block::Load(Table::kTasks, 7, good.substr(0, at)).status()),
              ErrorCode::kDataLoss)
        << at;
  }
}

// --- Tables made of blocks -----------------------------------------------------------------------

// Commits batches that are too large for the redo file, and compares all that can be read with a map.
class BlockTableTest : public testing::Test {
 protected:
  BlockTableTest() : journal_(OpenOrDie({.directory = scratch_.path(), .map_bytes = 1 << 28})) {}

  void Put(uint64_t key, std::string row) {
    changes_->Put(Table::kTasks, key, row);
    model_[key] = std::move(row);
  }
  void Erase(uint64_t key) {
    changes_->Erase(Table::kTasks, key);
    model_.erase(key);
  }
  void EraseRange(uint64_t first, uint64_t last) {
    changes_->EraseRange(Table::kTasks, first, last);
    model_.erase(model_.lower_bound(first), model_.upper_bound(last));
  }
  void CommitAndCompare() {
    changes_->Record(std::string(kMaxSegmentBytes, 'L'));
    ASSERT_TRUE(changes_->CommitTo(*journal_).ok());
    changes_.emplace(1, ++lsn_);
    auto view = ViewOf(*journal_);
    ASSERT_EQ(RowsIn(*view, Table::kTasks), model_);
    for (const auto& [key, row] : model_) {
      ASSERT_EQ(RowIn(*view, Table::kTasks, key), row) << key;
      for (uint64_t beside : {key + 1, key - 1}) {
        if (model_.contains(beside)) continue;
        ASSERT_EQ(RowIn(*view, Table::kTasks, beside), std::nullopt) << beside;
      }
    }
    for (uint64_t from : {uint64_t{0}, uint64_t{50}, uint64_t{1003}, UINT64_MAX})
      ASSERT_EQ(RowsIn(*view, Table::kTasks, from), Rows(model_.lower_bound(from), model_.end()));
  }

  ScratchDirectory scratch_;
  std::unique_ptr<Journal> journal_;
  uint64_t lsn_ = 1;
  std::optional<Filler> changes_{std::in_place, 1, 1};
  Rows model_;
};

TEST_F(BlockTableTest, RowsGrowShrinkComeBetweenAndGo) {
  for (uint64_t key = 1000; key < 1100; ++key) Put(key, std::string(70, 'a'));
  CommitAndCompare();
  for (uint64_t key = 1000; key < 1100; key += 3) Put(key, std::string(90, 'b'));  // splits
  CommitAndCompare();
  for (uint64_t key = 1001; key < 1100; key += 3) Put(key, "");
  CommitAndCompare();
  for (uint64_t key = 900; key < 1000; key += 7) Put(key, "before the first");
  Put(1200, "behind the last");
  CommitAndCompare();
  for (uint64_t key = 1000; key < 1050; ++key)
    Erase(key);                        // whole blocks, and first rows of others
  Erase(5), Erase(1150), Erase(5000);  // rows that are not there
  CommitAndCompare();
  for (uint64_t key = 0; key < 2000; ++key)
    if (model_.contains(key)) Erase(key);
  CommitAndCompare();
  Put(3, "again");
  CommitAndCompare();
}

TEST_F(BlockTableTest, ARangeTakesWholeBlocksAndPartsOfThoseAtItsEnds) {
  auto refill = [&] {
    for (uint64_t key = 1000; key < 1400; ++key) Put(key, std::string(70, 'a'));
    CommitAndCompare();
  };
  refill();
  EraseRange(1005, 1005), EraseRange(1013, 1333);
  CommitAndCompare();
  EraseRange(0, 1010);  // from before the first
  CommitAndCompare();
  EraseRange(1390, UINT64_MAX);  // to the end
  CommitAndCompare();
  EraseRange(1391, 1395), EraseRange(20, 30);  // nothing there
  CommitAndCompare();
  refill();
  EraseRange(1100, 1399), Put(1400, "behind what is gone");
  CommitAndCompare();
  Put(1200, std::string(9000, 'L')), Put(1300, std::string(9000, 'L'));
  CommitAndCompare();
  EraseRange(1200, 1299);  // begins with a large row
  CommitAndCompare();
  EraseRange(1250, 1300);  // ends with one
  CommitAndCompare();
  EraseRange(0, UINT64_MAX);
  CommitAndCompare();
  EXPECT_TRUE(model_.empty());
}

TEST_F(BlockTableTest, LargeRowsLieByThemselves) {
  const std::string large(50'000, 'L'), edge(kMaxBlockBytes - 24, 'e');
  Put(10, "small"), Put(11, large), Put(12, "small"), Put(13, edge), Put(14, edge + "e");
  CommitAndCompare();
  Put(11, "became small"), Put(12, large);
  CommitAndCompare();
  Put(15, "behind a large one"), Erase(14);
  CommitAndCompare();
  Erase(12), Put(13, large);
  CommitAndCompare();
  Put(12, "before a large one");
  CommitAndCompare();
  Erase(13), Erase(10);
  CommitAndCompare();
}

TEST_F(BlockTableTest, KeysOfOtherEpochsAreFarApart) {
  for (uint64_t epoch = 1; epoch < 5; ++epoch)
    for (uint64_t i = 1; i < 4; ++i) Put((epoch << 42) + i, "task");
  Put(UINT64_MAX, "last"), Put(UINT64_MAX - 1, "last but one");
  CommitAndCompare();
  for (uint64_t epoch = 1; epoch < 5; ++epoch) Erase((epoch << 42) + 1);
  CommitAndCompare();
}

TEST_F(BlockTableTest, BehavesAsAMapUnderRandomChanges) {
  std::mt19937_64 random(20261121);
  auto below = [&](uint64_t bound) { return random() % bound; };
  const size_t sizes[] = {0, 8, 72, 72, 72, 130, 600, 1990, 1998, 1999, 3000, 9000};
  uint64_t next = 1;
  for (int round = 0; round < 300; ++round) {
    for (uint64_t i = below(60); i > 0; --i)
      Put(next += 1 + below(2), std::string(sizes[below(6)], 'n'));
    for (uint64_t i = below(60); i > 0; --i) {
      uint64_t key = 1 + below(next);
      if (below(3) == 0)
        Erase(key);
      else
        Put(key, std::string(sizes[below(std::size(sizes))], static_cast<char>('a' + below(26))));
    }
    if (below(4) == 0)  // as retention: from the front
      EraseRange(0, model_.empty() ? 0 : model_.begin()->first + below(200));
    else if (below(4) == 0)
      for (uint64_t i = below(200); i > 0 && !model_.empty(); --i) Erase(model_.begin()->first);
    else if (uint64_t first = below(next + 10); below(2) == 0)
      EraseRange(first, first + below(100));
    ASSERT_NO_FATAL_FAILURE(CommitAndCompare()) << "round " << round;
  }
}

}  // namespace
}  // namespace zsched::broker
