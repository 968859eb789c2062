// Strong ids: how they are composed, printed and read.
#include "schemas/ids.h"

#include <gtest/gtest.h>

#include <type_traits>

namespace zsched {
namespace {

static_assert(!std::is_convertible_v<uint64_t, TaskId> && !std::is_convertible_v<TaskId, uint64_t>);
static_assert(!std::is_same_v<TaskId, LeaseId>);

TEST(Ids, EpochAndCounterComeBackFromAnId) {
  for (uint64_t epoch : {uint64_t{0}, uint64_t{1}, uint64_t{4}, kMaxEpoch})
    for (uint64_t counter : {uint64_t{0}, uint64_t{1}, uint64_t{17}, kMaxIdCounter}) {
      auto id = MakeId<TaskId>(Epoch(epoch), counter);
      EXPECT_EQ(EpochOf(id), Epoch(epoch));
      EXPECT_EQ(CounterOf(id), counter);
    }
}

TEST(Ids, RiseWithTheEpochFirst) {
  EXPECT_LT(MakeId<TaskId>(Epoch(1), kMaxIdCounter), MakeId<TaskId>(Epoch(2), 0));
  EXPECT_LT(MakeId<TaskId>(Epoch(1), 1), MakeId<TaskId>(Epoch(1), 2));
}

TEST(Ids, TwoNodesNeverShareAnEpoch) {
  EXPECT_NE(MakeEpoch(5, 0), MakeEpoch(5, 1));
  EXPECT_LT(MakeEpoch(5, 3), MakeEpoch(6, 0));
  EXPECT_EQ(PromotionsOf(MakeEpoch(5, 2)), 5u);
  EXPECT_EQ(NodeOf(MakeEpoch(5, 2)), 2u);
}

TEST(Ids, TextIsReadBackAsItself) {
  EXPECT_EQ(ToString(MakeId<TaskId>(Epoch(4), 17)), "4-17");
  for (uint64_t value : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 40}) {
    TaskId id(value);
    EXPECT_EQ(ParseId<TaskId>(ToString(id)), id) << ToString(id);
  }
}

TEST(Ids, OnlyWhatIsPrintedIsRead) {
  for (const char* text :
       {"", "4", "-", "4-", "-17", "4-17x", "4 -17", " 4-17", "4-17 ", "+4-17", "4-+17", "4--17",
        "a-b", "16777216-1", "4-1099511627776", "99999999999999999999-1", "0x4-1", "4-17-1"})
    EXPECT_EQ(ParseId<TaskId>(text), std::nullopt) << text;
}

TEST(Ids, LeadingZerosAreNotAnotherSpelling) {
  EXPECT_EQ(ParseId<TaskId>("04-17"), std::nullopt);
  EXPECT_EQ(ParseId<TaskId>("4-017"), std::nullopt);
}

TEST(Ids, ZeroMeansNone) {
  EXPECT_FALSE(static_cast<bool>(TaskId()));
  EXPECT_TRUE(static_cast<bool>(TaskId(1)));
  EXPECT_FALSE(static_cast<bool>(Uuid()));
  EXPECT_TRUE(static_cast<bool>(Uuid{0, 1}));
}

TEST(Uuid, TextIsReadBackAsItself) {
  Uuid id{0x0123456789abcdef, 0xfedcba9876543210};
  EXPECT_EQ(ToString(id), "0123456789abcdeffedcba9876543210");
  EXPECT_EQ(ParseUuid(ToString(id)), id);
  EXPECT_EQ(ToString(Uuid{}), std::string(32, '0'));
}

TEST(Uuid, RefusesWhatIsNotThirtyTwoHexDigits) {
  for (const char* text : {"", "0123", "0123456789abcdeffedcba987654321",
                           "0123456789abcdeffedcba98765432100", "0123456789abcdefgedcba9876543210",
                           "01234567-89ab-cdef-fedc-ba9876543", "-123456789abcdeffedcba9876543210"})
    EXPECT_EQ(ParseUuid(text), std::nullopt) << text;
}

}  // namespace
}  // namespace zsched
