#include "broker/replication/witness.h"

#include <gtest/gtest.h>

#include "broker/replication/memory_register.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

constexpr Uuid kCluster{1, 2};
constexpr uint64_t kLife = 100, kAsker = 7;

Register Promoted(uint64_t promotions, uint8_t node) {
  return {MakeEpoch(promotions, node), node, NodeBit(node), kCluster};
}

class WitnessTest : public testing::Test {
 protected:
  std::optional<PeerRegisterAnswer> Read(uint64_t asker, uint64_t number) {
    return witness_.On(PeerRegisterRead{asker, number});
  }
  std::optional<PeerRegisterAnswer> Swap(uint64_t asker, uint64_t number, const Register& from,
                                         const Register& to, uint64_t life = kLife) {
    return witness_.On(PeerRegisterSwap{asker, number, life, from, to});
  }

  std::shared_ptr<MemoryCell> cell_ = std::make_shared<MemoryCell>();
  MemoryRegister store_{cell_};
  Witness witness_{store_, kLife};
  const Register first_ = Promoted(1, kPrimary), second_ = Promoted(2, kBackup);
};

TEST_F(WitnessTest, AnswersWhoAsked) {
  const auto answer = Read(kAsker, 3);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->life, kAsker);
  EXPECT_EQ(answer->number, 3u);
  EXPECT_EQ(answer->witness_life, kLife);
  EXPECT_EQ(*answer->value, Register{});
}

TEST_F(WitnessTest, SwapsAndSaysWhatStands) {
  EXPECT_EQ(*Swap(kAsker, 1, {}, first_)->value, first_);
  EXPECT_EQ(*Swap(kAsker, 2, {}, second_)->value, first_);
  EXPECT_EQ(*Swap(8, 1, first_, second_)->value, second_);
  EXPECT_EQ(cell_->Read(), second_);
}

// Its answer was lost, or it is still on its way: the asker has been told since what stands.
TEST_F(WitnessTest, ASwapThatComesAfterALaterAnswerIsNotCarriedOut) {
  EXPECT_EQ(*Read(kAsker, 2)->value, Register{});
  EXPECT_FALSE(Swap(kAsker, 1, {}, first_).has_value());
  EXPECT_FALSE(Swap(kAsker, 2, {}, first_).has_value());
  EXPECT_EQ(cell_->Read(), Register{});
  // Another asker's numbers are its own.
  EXPECT_EQ(*Swap(8, 1, {}, second_)->value, second_);
}

// It was sent to a life that knew what it had answered.
TEST_F(WitnessTest, ASwapForAnotherLifeIsRefused) {
  const auto answer = Swap(kAsker, 1, {}, first_, kLife - 1);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(CodeOf(answer->value.status()), ErrorCode::kConflict);
  EXPECT_EQ(answer->witness_life, kLife);
  EXPECT_EQ(cell_->Read(), Register{});
}

TEST_F(WitnessTest, WhatItHasForgottenIsOfAnotherLife) {
  ASSERT_TRUE(Read(kAsker, 2).has_value());
  for (uint64_t other = 0; other < kMaxWitnessAskers; ++other)
    ASSERT_TRUE(Read(1000 + other, 1).has_value());
  EXPECT_NE(witness_.life(), kLife);
  EXPECT_EQ(CodeOf(Swap(kAsker, 1, {}, first_)->value.status()), ErrorCode::kConflict);
  EXPECT_EQ(*Swap(kAsker, 3, {}, first_, witness_.life())->value, first_);
}

TEST_F(WitnessTest, OnlyRequestsAreAnswered) {
  EXPECT_FALSE(witness_.On(PeerHeartbeat{}).has_value());
  EXPECT_FALSE(witness_.On(PeerHandover{}).has_value());
  EXPECT_FALSE(witness_.On(PeerRegisterAnswer{1, 2, 3, Register{}}).has_value());
}

}  // namespace
}  // namespace zsched::broker
