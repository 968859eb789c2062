// Small commits that LMDB does not have: how they are found, and that no bytes can do harm.
#include "broker/journal/redo.h"

#include <gtest/gtest.h>

#include <random>

#include "broker/journal/codec.h"
#include "tests/conformance/journal_fixture.h"

namespace zsched::broker {
namespace {

std::string Describe(const std::vector<NewestChange>& changes) {
  std::string text;
  for (const auto& [layer, change] : changes)
    text += std::to_string(change->key) + (change->erased() ? "-" : "=") +
            (change->erased() ? "" : std::string(layer->row(*change))) + " ";
  return text;
}

TEST(RedoTest, TheNewestLayerCounts) {
  Filler first(1, 1), second(1, 2);
  first.Put(Table::kTasks, 5, "five").Put(Table::kTasks, 7, "seven").Put(Table::kSpecs, 7, "spec");
  second.Put(Table::kTasks, 6, "six").Erase(Table::kTasks, 7).Put(Table::kTasks, 5, "FIVE");
  RedoLayers layers{RedoLayer::Of(first.batch), RedoLayer::Of(second.batch)};
  EXPECT_EQ(Describe(NewestFrom(layers, Table::kTasks, 0)), "5=FIVE 6=six 7- ");
  EXPECT_EQ(Describe(NewestFrom(layers, Table::kTasks, 6)), "6=six 7- ");
  EXPECT_EQ(Describe(NewestFrom(layers, Table::kSpecs, 0)), "7=spec ");
  EXPECT_EQ(Describe(NewestFrom(layers, Table::kLanes, 0)), "");
  EXPECT_EQ(FindNewest(layers, Table::kTasks, 4).change, nullptr);
  EXPECT_TRUE(FindNewest(layers, Table::kTasks, 7).change->erased());
  EXPECT_EQ(FindNewest(layers, Table::kSpecs, 6).change, nullptr);
}

TEST(RedoTest, ARangeIsItsKeysUnlessItIsHuge) {
  Filler filler(1, 1);
  filler.Put(Table::kTasks, 4, "gone").EraseRange(Table::kTasks, 3, 6).Put(Table::kTasks, 5, "new");
  const size_t most = RedoLayer::BytesFor(filler.batch);
  auto layer = RedoLayer::Of(filler.batch);
  EXPECT_LE(layer->bytes().size(), most);
  EXPECT_EQ(Describe(NewestFrom({layer}, Table::kTasks, 0)), "3- 4- 5=new 6- ");
  Filler huge(1, 1);
  huge.EraseRange(Table::kTasks, 0, UINT64_MAX);
  EXPECT_GT(RedoLayer::BytesFor(huge.batch), kMaxSegmentBytes);
}

TEST(RedoTest, ComesBackFromItsBytes) {
  Filler filler(1, 1);
  filler.Put(Table::kProducers, UINT64_MAX, "last")
      .Put(Table::kMeta, 0, "")
      .Erase(Table::kTasks, 3);
  auto layer = RedoLayer::Of(filler.batch);
  EXPECT_LE(layer->bytes().size(), RedoLayer::BytesFor(filler.batch));
  auto again = RedoLayer::Decode(layer->segment(), layer->bytes());
  ASSERT_TRUE(again.ok());
  for (size_t table = 0; table < kTables; ++table)
    EXPECT_EQ(Describe(NewestFrom({*again}, static_cast<Table>(table), 0)),
              Describe(NewestFrom({layer}, static_cast<Table>(table), 0)));
}

TEST(RedoTest, OtherBytesAreDataLossAndDoNoHarm) {
  Filler filler(1, 1);
  for (uint64_t key = 1; key < 20; ++key)
    filler.Put(Table::kTasks, key, std::string(key, 'r')).Erase(Table::kSpecs, key);
  const std::string good = RedoLayer::Of(filler.batch)->bytes();
  for (size_t size = 0; size < good.size(); ++size)
    EXPECT_EQ(CodeOf(RedoLayer::Decode({}, good.substr(0, size)).status()), ErrorCode::kDataLoss);
  EXPECT_EQ(CodeOf(RedoLayer::Decode({}, good + "x").status()), ErrorCode::kDataLoss);
  std::mt19937_64 random(20261121);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (uint64_t flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    auto layer = RedoLayer::Decode({}, bytes);
    if (!layer.ok()) continue;
    for (size_t table = 0; table < kTables; ++table)
      Describe(NewestFrom({*layer}, static_cast<Table>(table), 0));
  }
}

}  // namespace
}  // namespace zsched::broker
