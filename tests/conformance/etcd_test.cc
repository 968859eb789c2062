// A register in a real etcd, which dies, ends tokens, and has certificates that are wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include "tests/conformance/etcd_process.h"
#include "tests/conformance/register_fixture.h"
#include "tests/harness/await.h"

namespace zsched::broker {
namespace {

using testing::HasSubstr;

const Register kFirst = Promoted(1, kPrimary);
const Register kSecond = Promoted(2, kBackup);

class RealEtcd : public testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);  // as zsched-broker does
    if (!EtcdProcess::IsInstalled()) GTEST_SKIP() << EtcdProcess::kNotInstalled;
  }
};

TEST_F(RealEtcd, KeepsTheValueOverItsDeath) {
  EtcdProcess etcd;
  auto store = OpenOrDie(etcd.Options(kTestKey));
  ASSERT_EQ(*store->Swap(Register{}, kFirst), kFirst);
  etcd.Kill();
  EXPECT_EQ(CodeOf(store->Read().status()), ErrorCode::kUnavailable);
  EXPECT_EQ(CodeOf(store->Swap(kFirst, kSecond).status()), ErrorCode::kUnavailable);
  etcd.Start();
  EXPECT_EQ(*store->Read(), kFirst);
  EXPECT_EQ(*store->Swap(kFirst, kSecond), kSecond);
}

TEST_F(RealEtcd, EndsTokensWithItsDeathAndTheyAreRenewed) {
  EtcdProcess etcd({.auth = true});
  auto store = OpenOrDie(etcd.Options(kTestKey));
  ASSERT_EQ(*store->Swap(Register{}, kFirst), kFirst);
  etcd.Kill();
  etcd.Start();
  EXPECT_EQ(*store->Swap(kFirst, kSecond), kSecond);
}

TEST_F(RealEtcd, LetsNobodyInWithoutTheRightUser) {
  EtcdProcess etcd({.auth = true});
  EtcdOptions wrong = etcd.Options(kTestKey);
  wrong.password += "x";
  absl::Status status = OpenOrDie(wrong)->Read().status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(status), HasSubstr("check user and password"));

  EtcdOptions nobody = etcd.Options(kTestKey);
  nobody.user = nobody.password = "";
  status = OpenOrDie(nobody)->Swap(Register{}, kFirst).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kPermissionDenied);

  status = OpenOrDie(etcd.Options("/other/key"))->Swap(Register{}, kFirst).status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kPermissionDenied);
  EXPECT_THAT(MessageOf(status), HasSubstr("/other/key"));
}

TEST_F(RealEtcd, NeedsNoUserWhenItHasNone) {
  EtcdProcess etcd;
  EtcdOptions options = etcd.Options(kTestKey);
  options.user = "zsched";
  options.password = "x";
  EXPECT_EQ(*OpenOrDie(options)->Swap(Register{}, kFirst), kFirst);
}

TEST_F(RealEtcd, IsNotTrustedWithoutItsAuthority) {
  EtcdProcess etcd({.tls = true});
  for (const char* authority : {"other-ca.pem", ""}) {
    EtcdOptions options = etcd.Options(kTestKey);
    options.ca_file = *authority == '\0' ? "" : etcd.File(authority);
    absl::Status status = OpenOrDie(options)->Read().status();
    EXPECT_EQ(CodeOf(status), ErrorCode::kUnavailable) << authority;
    EXPECT_THAT(MessageOf(status), HasSubstr("not signed by the CA"));
  }
}

TEST_F(RealEtcd, IsNotTrustedUnderAnotherName) {
  EtcdProcess etcd({.tls = true});
  EtcdOptions options = etcd.Options(kTestKey);
  const std::string host = "127.0.0.1";
  options.urls[0].replace(options.urls[0].find(host), host.size(), "localhost");
  absl::Status status = OpenOrDie(options)->Read().status();
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("for another host"));
}

TEST_F(RealEtcd, IsNotAskedInTheClearWhereItWantsTls) {
  EtcdProcess tls({.tls = true}), plain;
  const auto read = [](EtcdOptions options, const std::string& from, const std::string& to) {
    options.urls[0].replace(0, from.size(), to);
    return OpenOrDie(options)->Read().status();
  };
  EXPECT_FALSE(read(tls.Options(kTestKey), "https:", "http:").ok());
  absl::Status status = read(plain.Options(kTestKey), "http:", "https:");
  EXPECT_EQ(CodeOf(status), ErrorCode::kUnavailable);
  EXPECT_THAT(MessageOf(status), HasSubstr("is it https there?"));
}

TEST_F(RealEtcd, LetsNobodyInWithoutACertificateWhereItWantsOne) {
  EtcdProcess etcd({.tls = true, .client_certs = true});
  EtcdOptions options = etcd.Options(kTestKey);
  EXPECT_EQ(*OpenOrDie(options)->Swap(Register{}, kFirst), kFirst);
  options.cert_file = options.key_file = "";
  EXPECT_EQ(CodeOf(OpenOrDie(options)->Read().status()), ErrorCode::kUnavailable);
}

// Swaps by several, all the time, while etcd dies: no value is replaced twice.
TEST_F(RealEtcd, MayDieAtAnyMoment) {
  constexpr int kThreads = 4, kDeaths = 3, kWinsBetween = 20;
  EtcdProcess etcd;
  std::mutex mutex;
  std::set<uint64_t> replaced;  // epochs, by wins that are known
  std::atomic<int> wins{0}, unknown{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      auto store = OpenOrDie(etcd.Options(kTestKey));
      Register known;
      for (uint64_t attempt = 0; !over; ++attempt) {
        const Register wanted = Promoted(attempt * kThreads + t + 1, t % kNodes);
        auto stands = store->Swap(known, wanted);
        if (!stands.ok()) {
          ++unknown;
          while (!over && !(stands = store->Read()).ok())
            std::this_thread::sleep_for(harness::kLook);
          if (over) return;
        }
        if (*stands == wanted) {
          ++wins;
          std::lock_guard lock(mutex);
          EXPECT_TRUE(replaced.insert(known.epoch.value()).second) << ToText(known);
        }
        known = *stands;
      }
    });
  }
  for (int death = 0; death < kDeaths; ++death) {
    const int before = wins;
    EXPECT_TRUE(harness::Await([&] { return wins >= before + kWinsBetween; }));
    etcd.Kill();
    EXPECT_TRUE(harness::Await([&] { return unknown >= 1; }));
    etcd.Start();
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  auto stands = OpenOrDie(etcd.Options(kTestKey))->Read();
  ASSERT_TRUE(stands.ok()) << stands.status();
  EXPECT_FALSE(replaced.contains(stands->epoch.value()));
}

}  // namespace
}  // namespace zsched::broker
