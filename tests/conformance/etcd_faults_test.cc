// What a register makes of an etcd, or of something in its place, that loses, delays and garbles answers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/conformance/fake_etcd.h"
#include "tests/conformance/register_fixture.h"
#include "tests/harness/await.h"

namespace zsched::broker {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Mood = FakeEtcd::Mood;

const Register kFirst = Promoted(1, kPrimary);
const Register kSecond = Promoted(2, kBackup);
constexpr int64_t kPatient = harness::kPatience.count();
// For calls that must run into it. Nothing that is asserted depends on what else fits into it.
constexpr int64_t kImpatient = 150;

class EtcdFaults : public testing::Test {
 protected:
  void SetUp() override { signal(SIGPIPE, SIG_IGN); }  // as zsched-broker does

  EtcdOptions Options(int64_t timeout_ms = kPatient) const {
    return {.urls = {etcd_.url()}, .key = kTestKey, .timeout_ms = timeout_ms};
  }
  // A store that knows that kFirst stands there.
  std::unique_ptr<RegisterStore> OpenAtFirst(const EtcdOptions& options) {
    etcd_.keys().Put(kTestKey, ToText(kFirst));
    auto store = OpenOrDie(options);
    EXPECT_EQ(ReadAtLast(*store), kFirst);
    return store;
  }
  std::unique_ptr<RegisterStore> OpenAtFirst() { return OpenAtFirst(Options()); }
  // For impatient stores, on machines that are slow.
  static Register ReadAtLast(RegisterStore& store) {
    absl::StatusOr<Register> read;
    EXPECT_TRUE(harness::Await([&] { return (read = store.Read()).ok(); })) << read.status();
    return read.value_or(Register{});
  }
  Register Standing() {
    const EtcdValue value = etcd_.keys().Get(kTestKey);
    return value.revision == 0 ? Register{} : ParseRegister(value.bytes).value();
  }
  static void ExpectOneLine(const absl::Status& status) {
    EXPECT_THAT(MessageOf(status), AllOf(Not(HasSubstr("\n")), HasSubstr("etcd")));
  }

  FakeEtcd etcd_;
};

std::string MoodName(const testing::TestParamInfo<Mood>& info) {
  return FakeEtcd::NameOf(info.param);
}

// --- Answers that are lost after the swap was applied

class AppliedAndLost : public EtcdFaults, public testing::WithParamInterface<Mood> {};

TEST_P(AppliedAndLost, IsWon) {
  auto store = OpenAtFirst();
  etcd_.NextTxn(GetParam());
  auto stands = store->Swap(kFirst, kSecond);
  ASSERT_TRUE(stands.ok()) << stands.status();
  EXPECT_EQ(*stands, kSecond);
  EXPECT_EQ(Standing(), kSecond);
  // The swap, and one question about it; never the swap again.
  EXPECT_EQ(etcd_.transactions(), 2);
  EXPECT_EQ(*store->Swap(kSecond, Joined(kSecond)), Joined(kSecond));
  EXPECT_EQ(etcd_.transactions(), 3);
}

TEST_P(AppliedAndLost, IsWonOnTheEmptyRegister) {
  auto store = OpenOrDie(Options());
  ASSERT_EQ(*store->Read(), Register{});
  etcd_.NextTxn(GetParam());
  auto stands = store->Swap(Register{}, kFirst);
  ASSERT_TRUE(stands.ok()) << stands.status();
  EXPECT_EQ(*stands, kFirst);
  EXPECT_EQ(Standing(), kFirst);
}

TEST_P(AppliedAndLost, IsLostWhenSomebodyWasFaster) {
  auto store = OpenAtFirst();
  ASSERT_EQ(*OpenOrDie(Options())->Swap(kFirst, Joined(kFirst)), Joined(kFirst));
  etcd_.NextTxn(GetParam());
  auto stands = store->Swap(kFirst, kSecond);
  ASSERT_TRUE(stands.ok()) << stands.status();
  EXPECT_EQ(*stands, Joined(kFirst));
}

INSTANTIATE_TEST_SUITE_P(, AppliedAndLost,
                         testing::Values(Mood::kApplyAndDrop, Mood::kApplyAndGarbage,
                                         Mood::kApplyAndCut, Mood::kApplyAndUnsure,
                                         Mood::kApplyAndHuge),
                         MoodName);

// --- Requests that are lost, or not understood

class Lost : public EtcdFaults, public testing::WithParamInterface<Mood> {};

TEST_P(Lost, SwapIsTriedAgainWhenItIsSettledThatItNeverHappens) {
  auto store = OpenAtFirst();
  etcd_.NextTxn(GetParam());
  auto stands = store->Swap(kFirst, kSecond);
  ASSERT_TRUE(stands.ok()) << stands.status();
  EXPECT_EQ(*stands, kSecond);
  EXPECT_EQ(Standing(), kSecond);
  EXPECT_EQ(etcd_.transactions(), 3);  // the swap, the question, the swap
}

TEST_P(Lost, SwapIsUnknownWhileNothingComesBack) {
  auto store = OpenAtFirst();
  etcd_.AlwaysTxn(GetParam());
  absl::Status status = store->Swap(kFirst, kSecond).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnavailable);
  ExpectOneLine(status);
  EXPECT_EQ(etcd_.transactions(), 2);
  EXPECT_EQ(CodeOf(store->Read().status()), ErrorCode::kUnavailable);
  etcd_.Always(Mood::kAnswer);
  EXPECT_EQ(*store->Read(), kFirst);
  EXPECT_EQ(*store->Swap(kFirst, kSecond), kSecond);
}

TEST_P(Lost, ReadIsUnavailable) {
  auto store = OpenAtFirst();
  etcd_.Next(GetParam());
  absl::Status status = store->Read().status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnavailable);
  ExpectOneLine(status);
  EXPECT_EQ(*store->Read(), kFirst);
}

INSTANTIATE_TEST_SUITE_P(, Lost,
                         testing::Values(Mood::kDrop, Mood::kGarbage, Mood::kHuge, Mood::kLongLine,
                                         Mood::kManyHeaders, Mood::kOtherServer, Mood::kNotFound),
                         MoodName);

// --- Requests that are late

TEST_F(EtcdFaults, SwapThatIsLateIsNeverAppliedAfterARead) {
  auto store = OpenAtFirst(Options(kImpatient));
  etcd_.NextTxn(Mood::kHold);
  // To add the backup: were it applied behind the primary's back, the backup could be promoted
  // without what the primary commits meanwhile.
  absl::Status status = store->Swap(kFirst, Joined(kFirst)).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kTimedOut);
  ExpectOneLine(status);
  etcd_.AwaitHeld(1);
  EXPECT_EQ(ReadAtLast(*store), kFirst);
  etcd_.Release();
  EXPECT_EQ(ReadAtLast(*store), kFirst);
  EXPECT_EQ(Standing(), kFirst);
}

TEST_F(EtcdFaults, FirstSwapThatIsLateIsNeverAppliedAfterARead) {
  auto store = OpenOrDie(Options(kImpatient));
  ASSERT_EQ(ReadAtLast(*store), Register{});
  etcd_.NextTxn(Mood::kHold);
  EXPECT_EQ(CodeOf(store->Swap(Register{}, kFirst).status()), ErrorCode::kTimedOut);
  etcd_.AwaitHeld(1);
  EXPECT_EQ(ReadAtLast(*store), Register{});
  etcd_.Release();
  EXPECT_EQ(ReadAtLast(*store), Register{});
  // What settled it stands for the empty register, also for others.
  EXPECT_EQ(*OpenOrDie(Options())->Swap(Register{}, kFirst), kFirst);
}

TEST_F(EtcdFaults, SwapThatIsLateIsWonWhenItComesFirst) {
  auto store = OpenAtFirst(Options(kImpatient));
  etcd_.NextTxn(Mood::kHold);
  EXPECT_EQ(CodeOf(store->Swap(kFirst, kSecond).status()), ErrorCode::kTimedOut);
  etcd_.AwaitHeld(1);
  etcd_.Release();
  EXPECT_EQ(ReadAtLast(*store), kSecond);
}

TEST_F(EtcdFaults, QuestionThatIsLateHarmsNobody) {
  auto store = OpenAtFirst(Options(kImpatient));
  etcd_.NextTxn(Mood::kDrop);
  etcd_.NextTxn(Mood::kHold);  // the question
  EXPECT_EQ(CodeOf(store->Swap(kFirst, Joined(kFirst)).status()), ErrorCode::kTimedOut);
  etcd_.AwaitHeld(1);
  auto other = OpenOrDie(Options());
  ASSERT_EQ(*other->Swap(kFirst, kSecond), kSecond);
  etcd_.Release();
  EXPECT_EQ(Standing(), kSecond);
  EXPECT_EQ(ReadAtLast(*store), kSecond);
}

TEST_F(EtcdFaults, RewritingOfOthersDoesNotLoseASwap) {
  auto store = OpenAtFirst();
  etcd_.keys().Put(kTestKey, ToText(kFirst));  // the same value, at another revision
  EXPECT_EQ(*store->Swap(kFirst, kSecond), kSecond);
}

TEST_F(EtcdFaults, NobodyHoldsACallForLongerThanItsTimeout) {
  auto store = OpenAtFirst(Options(kImpatient));
  etcd_.Always(Mood::kDrip);
  // That they return is what is asserted: the server never ends.
  EXPECT_EQ(CodeOf(store->Read().status()), ErrorCode::kTimedOut);
  EXPECT_EQ(CodeOf(store->Swap(kFirst, kSecond).status()), ErrorCode::kTimedOut);
  etcd_.Always(Mood::kHold);
  EXPECT_EQ(CodeOf(store->Read().status()), ErrorCode::kTimedOut);
}

// --- Several servers

TEST_F(EtcdFaults, NextServerIsAskedWhenOneIsNotThere) {
  std::string nobody;
  {
    FakeEtcd gone;
    nobody = gone.url();
  }
  EtcdOptions options = Options();
  options.urls = {nobody, etcd_.url()};
  auto store = OpenOrDie(options);
  EXPECT_EQ(*store->Swap(Register{}, kFirst), kFirst);
  options.urls = {nobody};
  absl::Status status = OpenOrDie(options)->Swap(Register{}, kFirst).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnavailable);
  ExpectOneLine(status);
  EXPECT_THAT(MessageOf(status), AllOf(HasSubstr(nobody), HasSubstr("cannot connect")));
}

class SeveralServers : public EtcdFaults, public testing::WithParamInterface<Mood> {};

TEST_P(SeveralServers, NextOneAnswersReads) {
  FakeEtcd broken;
  broken.Always(GetParam());
  EtcdOptions options = Options(kImpatient);
  options.urls = {broken.url(), etcd_.url()};
  auto store = OpenOrDie(options);
  etcd_.keys().Put(kTestKey, ToText(kFirst));
  EXPECT_EQ(ReadAtLast(*store), kFirst);
}

TEST_P(SeveralServers, NextOneIsAskedAboutASwapBeforeAnythingElse) {
  const bool ends_by_itself = GetParam() != Mood::kHold && GetParam() != Mood::kDrip;
  auto keys = std::make_shared<FakeKeys>();
  FakeEtcd broken(keys), good(keys);
  keys->Put(kTestKey, ToText(kFirst));
  EtcdOptions options = Options(ends_by_itself ? kPatient : kImpatient);
  options.urls = {broken.url(), good.url()};
  auto store = OpenOrDie(options);
  ASSERT_EQ(ReadAtLast(*store), kFirst);
  broken.NextTxn(GetParam());
  auto stands = store->Swap(kFirst, kSecond);
  if (!stands.ok()) stands = ReadAtLast(*store);
  EXPECT_EQ(keys->Get(kTestKey).bytes, ToText(*stands));
  // An impatient store on a slow machine may have begun with the other one, or come back.
  const std::vector<std::string> first = broken.puts(), second = good.puts();
  if (!ends_by_itself && (first.size() != 1 || second.empty())) return;
  EXPECT_THAT(first, ElementsAre(ToText(kSecond)));
  ASSERT_FALSE(second.empty());
  EXPECT_EQ(second[0], ToText(kFirst));
}

INSTANTIATE_TEST_SUITE_P(, SeveralServers,
                         testing::Values(Mood::kDrop, Mood::kApplyAndDrop, Mood::kGarbage,
                                         Mood::kApplyAndGarbage, Mood::kApplyAndUnsure, Mood::kHold,
                                         Mood::kDrip, Mood::kOtherServer, Mood::kNotFound,
                                         Mood::kLongLine),
                         MoodName);

// --- Refusals

TEST_F(EtcdFaults, TokenIsRenewedWhenItIsRefused) {
  EtcdOptions options = Options();
  options.user = "zsched";
  options.password = "secret";
  auto store = OpenAtFirst(options);
  EXPECT_EQ(etcd_.last_token(), "token.1");
  etcd_.NextTxn(Mood::kRefuseToken);
  EXPECT_EQ(*store->Swap(kFirst, kSecond), kSecond);
  EXPECT_EQ(etcd_.last_token(), "token.2");
  // It was refused, so it is known that it was not done: nothing to settle.
  EXPECT_EQ(etcd_.transactions(), 2);
  etcd_.Next(Mood::kRefuseToken);
  EXPECT_EQ(*store->Read(), kSecond);
  EXPECT_EQ(etcd_.authentications(), 3);
}

TEST_F(EtcdFaults, TokenThatIsAlwaysRefusedIsAnError) {
  EtcdOptions options = Options();
  options.user = "zsched";
  options.password = "secret";
  auto store = OpenAtFirst(options);
  etcd_.Always(Mood::kRefuseToken);
  absl::Status status = store->Swap(kFirst, kSecond).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(status), Not(HasSubstr("secret")));
  ExpectOneLine(status);
}

TEST_F(EtcdFaults, UserIsAskedForWhenEtcdWantsOne) {
  auto store = OpenAtFirst();
  etcd_.Always(Mood::kRefuseToken);
  absl::Status status = store->Read().status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(status), HasSubstr("user and password"));
}

TEST_F(EtcdFaults, WhatIsRefusedIsNotDoneAndNeedsNoSettling) {
  auto store = OpenAtFirst();
  for (auto [mood, code] : {std::pair{Mood::kDeny, ErrorCode::kPermissionDenied},
                            std::pair{Mood::kNoSpace, ErrorCode::kResourceExhausted}}) {
    const int before = etcd_.transactions();
    etcd_.NextTxn(mood);
    absl::Status status = store->Swap(kFirst, kSecond).status();
    EXPECT_EQ(CodeOf(status), code);
    ExpectOneLine(status);
    EXPECT_EQ(*store->Read(), kFirst);
    EXPECT_EQ(etcd_.transactions(), before + 1);
  }
}

TEST_F(EtcdFaults, KeyWithSomethingElseIsNeverTakenForEmpty) {
  for (const std::string& bytes : {std::string(), std::string("hello"), std::string(5000, 'x')}) {
    etcd_.keys().Put(kTestKey, bytes);
    auto store = OpenOrDie(Options());
    for (const absl::Status& status :
         {store->Read().status(), store->Swap(Register{}, kFirst).status()}) {
      EXPECT_EQ(CodeOf(status), ErrorCode::kDataLoss);
      ExpectOneLine(status);
      EXPECT_THAT(MessageOf(status), HasSubstr(kTestKey));
    }
    EXPECT_EQ(etcd_.keys().Get(kTestKey).bytes, bytes);
  }
}

TEST(EtcdOptions, AreCheckedBeforeAnythingIsAsked) {
  const EtcdOptions good{.urls = {"http://127.0.0.1:2379"}, .key = "/k"};
  EXPECT_TRUE(OpenEtcdRegister(good).ok());
  for (const char* url : {"http://[::1]:2379", "https://etcd.example:2379/", "http://h:1"}) {
    EtcdOptions options = good;
    options.urls = {url};
    EXPECT_TRUE(OpenEtcdRegister(options).ok()) << url;
  }
  std::vector<EtcdOptions> bad(8, good);
  bad[0].urls = {};
  bad[1].key = "";
  bad[2].timeout_ms = 0;
  bad[3].password = "without a user";
  bad[4].urls = {"https://h:1"};
  bad[4].ca_file = "/nowhere/ca.pem";
  bad[5].urls = {"https://h:1"};
  bad[5].cert_file = "/nowhere/cert.pem";
  bad[6].urls = {"https://h:1"};
  bad[6].cert_file = bad[6].key_file = "/nowhere/cert.pem";
  bad[7].urls = {good.urls[0], "127.0.0.1:2379"};
  for (const char* url : {"", "http://", "http://h", "http://h:0", "http://h:x", "ftp://h:1",
                          "http://h:1/v3", "http://u:p@h:1", "HTTP//h:1", "http://h:65536"}) {
    bad.push_back(good);
    bad.back().urls = {url};
  }
  for (const EtcdOptions& options : bad) {
    auto store = OpenEtcdRegister(options);
    EXPECT_EQ(CodeOf(store.status()), ErrorCode::kInvalidArgument)
        << (options.urls.empty() ? "" : options.urls.back());
  }
}

}  // namespace
}  // namespace zsched::broker
