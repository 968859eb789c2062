#include "broker/transport/send_budget.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace zsched::broker {
namespace {

constexpr size_t kOwn = 20, kPeer = 1000, kTotal = 100'000;
constexpr SendLimits kLimits{.own_bytes = kOwn, .peer_bytes = kPeer, .total_bytes = kTotal};
using Charges = std::vector<SendBudget::Charge>;

// Sends frames of this size until one is refused; how many went.
size_t Fill(SendBudget& budget, const std::string& peer, size_t bytes, Charges& charges) {
  for (size_t count = 0;; ++count) {
    auto charge = budget.Take(peer, bytes);
    if (!charge) return count;
    charges.push_back(*std::move(charge));
  }
}

TEST(SendBudget, APeerGetsItsBytesAndNotOneMore) {
  SendBudget budget(kLimits);
  Charges charges;
  EXPECT_EQ(Fill(budget, "a", 100, charges), 10u);
  EXPECT_EQ(budget.total_bytes(), kPeer);
  EXPECT_FALSE(budget.Take("a", 1));
  EXPECT_TRUE(budget.Take("b", kPeer)) << "another peer has its own";
  charges.pop_back();
  EXPECT_TRUE(budget.Take("a", 100)) << "what was sent makes room";
  EXPECT_FALSE(budget.Take("a", 101));
}

TEST(SendBudget, WhatEndsIsGivenBackOnAnyThreadAndAfterTheBudget) {
  auto budget = std::make_unique<SendBudget>(kLimits);
  Charges charges;
  Fill(*budget, "a", 10, charges);
  std::thread io([charges = std::move(charges)]() mutable { charges.clear(); });
  io.join();
  EXPECT_EQ(budget->total_bytes(), 0u);
  auto last = budget->Take("a", 10);
  ASSERT_TRUE(last);
  budget.reset();
}

// A refusal counts until half is gone: small frames may pass before that, large ones need not be made.
TEST(SendBudget, ARefusedPeerHasRoomAgainWhenHalfOfItsQueueIsGone) {
  SendBudget budget(kLimits);
  Charges charges;
  EXPECT_TRUE(budget.HasRoom("a"));
  for (int i = 0; i < 9; ++i) charges.push_back(*budget.Take("a", 100));
  EXPECT_TRUE(budget.HasRoom("a")) << "it took all it was sent";
  EXPECT_FALSE(budget.Take("a", 200));
  EXPECT_FALSE(budget.HasRoom("a"));
  EXPECT_TRUE(budget.Take("a", 50));
  EXPECT_FALSE(budget.HasRoom("a"));
  while (charges.size() > 4) charges.pop_back();
  EXPECT_TRUE(budget.HasRoom("a"));
  EXPECT_TRUE(budget.HasRoom("b"));
  // Forgotten with the room that there was: what fills the queue again is no refusal.
  for (int i = 0; i < 4; ++i) charges.push_back(*budget.Take("a", 100));
  EXPECT_TRUE(budget.HasRoom("a"));
}

// However many do not read, all together stay below the total and what each has of its own.
TEST(SendBudget, ManyPeersThatDoNotReadLeaveRoomForOthers) {
  constexpr size_t kPeers = 5000;
  SendBudget budget(kLimits);
  Charges charges;
  EXPECT_EQ(Fill(budget, "first", 10, charges), kPeer / 10);
  for (size_t i = 0; i < kPeers; ++i) Fill(budget, "greedy " + std::to_string(i), 10, charges);
  EXPECT_GT(budget.total_bytes(), kTotal);
  EXPECT_LE(budget.total_bytes(), kTotal + kPeers * kOwn);
  EXPECT_FALSE(budget.Take("good", kOwn + 1));
  EXPECT_TRUE(budget.HasRoom("good")) << "there was nothing in its queue to wait for";
  EXPECT_EQ(Fill(budget, "good", 1, charges), kOwn);
}

TEST(SendBudget, PeersThatHaveGoneAreForgotten) {
  SendBudget budget(kLimits);
  auto kept = budget.Take("stays", 100);
  for (int i = 0; i < 100'000; ++i) ASSERT_TRUE(budget.Take("peer " + std::to_string(i), 10));
  EXPECT_LE(budget.peers(), 2048u);
  EXPECT_FALSE(budget.Take("stays", kPeer - 99)) << "those with something in their queues are not";
}

}  // namespace
}  // namespace zsched::broker
