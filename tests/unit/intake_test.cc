// Who enters the open batch and who waits: broker/server/intake.h.
#include "broker/server/intake.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace zsched::broker {
namespace {

constexpr IntakeLimits kLimits{
    .light_bytes = 100, .batch_bytes = 500, .parked_bytes = 2000, .parked_frames = 4};
constexpr SessionId kLight{1}, kHeavy{2}, kOther{3};

class IntakeTest : public testing::Test {
 protected:
  // A heavy client's frame; its name tells it from others.
  void Park(SessionId from, char name, size_t bytes = 400) {
    ASSERT_FALSE(intake_.Enters(from, bytes, now_ms_));
    ASSERT_TRUE(intake_.Park(from, std::string(bytes, name), now_ms_));
  }
  // Names of the frames that enter in one round.
  std::string Round(bool idle = true, bool room = true) {
    std::string names;
    while (auto parked = intake_.Next({now_ms_, idle && names.empty(), room}))
      names += parked->body.front();
    return names;
  }
  void Light() { ASSERT_TRUE(intake_.Enters(kLight, 0, now_ms_)); }
  void Commit(uint64_t commit_us) {
    intake_.OnBatchTaken();
    intake_.OnCommitted(commit_us, now_ms_);
  }

  Intake intake_{kLimits};
  int64_t now_ms_ = 1'000'000;
};

TEST_F(IntakeTest, AloneNobodyWaits) {
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(intake_.Enters(kHeavy, 1000, now_ms_));
  EXPECT_EQ(intake_.due_ms(now_ms_), INT64_MAX);
}

TEST_F(IntakeTest, HeavyOnesDoNotWaitForEachOther) {
  for (int i = 0; i < 100; ++i)
    for (SessionId client : {kHeavy, kOther}) EXPECT_TRUE(intake_.Enters(client, 101, now_ms_));
}

TEST_F(IntakeTest, AHeavyClientWaitsWhileALightOneIsThere) {
  Light();
  Park(kHeavy, 'a');
  Light();
  EXPECT_EQ(Round(/*idle=*/false), "") << "patience";
  EXPECT_EQ(Round(/*idle=*/true, /*room=*/false), "");
  EXPECT_EQ(Round(), "a");
}

TEST_F(IntakeTest, AfterItsPatienceItEntersWithOthers) {
  Light();
  Park(kHeavy, 'a');
  Commit(1000);  // of light ones: no pause
  EXPECT_EQ(Round(false), "") << "not yet";
  EXPECT_EQ(Round(), "a") << "no heavy commit was before it";
  Park(kHeavy, 'b');
  Commit(3000);
  now_ms_ = intake_.due_ms(now_ms_);
  EXPECT_EQ(now_ms_, 1'000'027) << "nine times the commit";
  Light();
  EXPECT_EQ(Round(false), "");
  EXPECT_EQ(intake_.due_ms(now_ms_), now_ms_ + Intake::kPatienceMs);
  now_ms_ += Intake::kPatienceMs;
  EXPECT_EQ(Round(false), "b");
}

TEST_F(IntakeTest, SoManyBytesABatchAndOneFrameOfAnySize) {
  Light();
  for (char name : {'a', 'b', 'c'}) Park(kHeavy, name, 200);
  Park(kOther, 'X', 900);
  EXPECT_EQ(Round(), "a") << "the next in turn is too large";
  intake_.OnBatchTaken();
  EXPECT_EQ(Round(), "") << "one is at the journal";
  intake_.OnCommitted(100, now_ms_);
  EXPECT_EQ(Round(), "X");
  Commit(100);
  EXPECT_EQ(Round(), "bc") << "a short commit asks for no pause";
}

TEST_F(IntakeTest, LongCommitsPauseLonger) {
  for (auto [commit_us, pause_ms] : std::vector<std::pair<uint64_t, int64_t>>{
           {300, 0}, {600, 1}, {1000, 3}, {2000, 12}, {3000, 27}, {10'000, 90}}) {
    Light();
    Park(kHeavy, 'a');
    while (Round().empty()) now_ms_ = intake_.due_ms(now_ms_), Light();
    Park(kHeavy, 'b');
    Commit(commit_us);
    const int64_t begin = now_ms_;
    while (Round().empty()) ++now_ms_, Light();
    EXPECT_EQ(now_ms_ - begin, pause_ms) << commit_us;
    Commit(0);
  }
}

TEST_F(IntakeTest, WhenTheLightOneIsGoneAllEnter) {
  Light();
  for (char name : {'a', 'b', 'c'}) Park(kHeavy, name);
  const int64_t begin = now_ms_;
  now_ms_ = intake_.due_ms(now_ms_);
  EXPECT_EQ(now_ms_, begin + Intake::kPatienceMs);
  now_ms_ = intake_.due_ms(now_ms_);
  EXPECT_EQ(now_ms_, begin + Intake::kRateMs);
  EXPECT_EQ(Round(/*idle=*/false), "abc");
  EXPECT_EQ(intake_.parked(), 0u);
  EXPECT_TRUE(intake_.Enters(kHeavy, 400, now_ms_));
}

TEST_F(IntakeTest, ItsOwnLightTimeHoldsNobodyBack) {
  EXPECT_TRUE(intake_.Enters(kHeavy, 10, now_ms_));
  EXPECT_TRUE(intake_.Enters(kHeavy, 400, now_ms_)) << "the light one was itself";
  EXPECT_FALSE(intake_.Enters(kOther, 400, now_ms_)) << "for others it was another";
  Light();
  EXPECT_FALSE(intake_.Enters(kHeavy, 400, now_ms_));
}

TEST_F(IntakeTest, ARateIsForgottenAfterTwoSpans) {
  EXPECT_TRUE(intake_.Enters(kHeavy, 400, now_ms_));
  now_ms_ += Intake::kRateMs;
  Light();
  EXPECT_FALSE(intake_.Enters(kHeavy, 10, now_ms_)) << "heavy a moment ago";
  now_ms_ += 2 * Intake::kRateMs;
  Light();
  EXPECT_TRUE(intake_.Enters(kHeavy, 10, now_ms_));
}

TEST_F(IntakeTest, FramesOfAClientKeepTheirOrder) {
  Light();
  Park(kHeavy, 'a');
  now_ms_ += 3 * Intake::kRateMs;  // light again, and nobody else is
  ASSERT_FALSE(intake_.Enters(kHeavy, 10, now_ms_)) << "it would overtake";
  ASSERT_TRUE(intake_.Park(kHeavy, "b", now_ms_));
  EXPECT_EQ(Round(), "ab");
}

TEST_F(IntakeTest, ClientsTakeTurns) {
  Light();
  for (char name : {'a', 'b'}) Park(kHeavy, name);
  for (char name : {'A', 'B'}) Park(kOther, name);
  now_ms_ += Intake::kRateMs;
  EXPECT_EQ(Round(), "aAbB");
}

TEST_F(IntakeTest, AWindowIsParkedAndNoMore) {
  Light();
  for (char name : {'a', 'b', 'c', 'd'}) Park(kHeavy, name);
  EXPECT_FALSE(intake_.Park(kHeavy, "e", now_ms_)) << "frames";
  Park(kOther, 'A', 1500);
  EXPECT_FALSE(intake_.Park(kOther, std::string(501, 'B'), now_ms_)) << "bytes";
  EXPECT_TRUE(intake_.Park(kOther, std::string(500, 'C'), now_ms_));
}

TEST_F(IntakeTest, ASessionThatEndsTakesItsFramesAlong) {
  Light();
  Park(kHeavy, 'a'), Park(kOther, 'A'), Park(kHeavy, 'b');
  intake_.Forget(kHeavy);
  intake_.Forget(kHeavy);
  EXPECT_EQ(intake_.parked(), 1u);
  now_ms_ += Intake::kRateMs;
  EXPECT_EQ(Round(), "A");
}

TEST_F(IntakeTest, AGoodbyeLetsAllOfItsFramesIn) {
  Light();
  Park(kHeavy, 'a'), Park(kOther, 'A'), Park(kHeavy, 'b');
  EXPECT_EQ(intake_.NextOf(kHeavy)->body.front(), 'a');
  EXPECT_EQ(intake_.NextOf(kHeavy)->body.front(), 'b');
  EXPECT_EQ(intake_.NextOf(kHeavy), std::nullopt);
  EXPECT_EQ(intake_.NextOf(kLight), std::nullopt);
  EXPECT_EQ(intake_.parked(), 1u);
}

}  // namespace
}  // namespace zsched::broker
