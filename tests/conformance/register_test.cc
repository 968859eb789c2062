// The one suite that every RegisterStore passes.
#include "broker/replication/register.h"

#include <gtest/gtest.h>
#include <zmq.h>

#include <barrier>
#include <csignal>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "broker/replication/file_register.h"
#include "broker/replication/memory_register.h"
#include "broker/replication/witness_register.h"
#include "broker/server/witness_server.h"
#include "tests/conformance/etcd_process.h"
#include "tests/conformance/fake_etcd.h"
#include "tests/conformance/register_fixture.h"

namespace zsched::broker {
namespace {

// Where a register is kept; outlives the stores opened on it.
class Place {
 public:
  virtual ~Place() = default;
  virtual std::unique_ptr<RegisterStore> Open() = 0;
  // Swaps that a test may ask for: many where they cost nothing.
  virtual int rounds() const = 0;
};

class InMemory final : public Place {
 public:
  static std::string Missing() { return ""; }
  std::unique_ptr<RegisterStore> Open() override { return std::make_unique<MemoryRegister>(cell_); }
  int rounds() const override { return 1000; }

 private:
  std::shared_ptr<MemoryCell> cell_ = std::make_shared<MemoryCell>();
};

class InFile final : public Place {
 public:
  static std::string Missing() { return ""; }
  std::unique_ptr<RegisterStore> Open() override {
    auto store = OpenFileRegister(directory_.path());
    ZS_CHECK_OK(store.status());
    return *std::move(store);
  }
  int rounds() const override { return 50; }

 private:
  ScratchDirectory directory_;
};

class InFakeEtcd final : public Place {
 public:
  static std::string Missing() { return ""; }
  std::unique_ptr<RegisterStore> Open() override {
    return OpenOrDie(
        {.urls = {etcd_.url()}, .key = kTestKey, .timeout_ms = harness::kPatience.count()});
  }
  int rounds() const override { return 50; }

 private:
  FakeEtcd etcd_;
};

class AtWitness final : public Place {
 public:
  AtWitness() : server_(Start(directory_.path())), thread_([this] { server_->Run(); }) {}
  ~AtWitness() override {
    stores_ = nullptr;
    server_->Stop();
    thread_.join();
  }
  static std::string Missing() { return ""; }
  std::unique_ptr<RegisterStore> Open() override {
    return OpenWitnessRegister(
        stores_.get(), {.address = server_->address(), .timeout_ms = harness::kPatience.count()});
  }
  int rounds() const override { return 50; }

 private:
  static std::unique_ptr<WitnessServer> Start(const std::string& directory) {
    auto server = WitnessServer::Start({.directory = directory, .listen = {"127.0.0.1", 0}});
    ZS_CHECK_OK(server.status());
    return *std::move(server);
  }
  struct Terminate {
    void operator()(void* context) const { zmq_ctx_term(context); }
  };

  ScratchDirectory directory_;
  std::unique_ptr<WitnessServer> server_;
  std::thread thread_;
  std::unique_ptr<void, Terminate> stores_{zmq_ctx_new()};
};

template <bool kAuth, bool kTls, bool kClientCerts>
class InEtcd final : public Place {
 public:
  static std::string Missing() {
    return EtcdProcess::IsInstalled() ? "" : EtcdProcess::kNotInstalled;
  }
  std::unique_ptr<RegisterStore> Open() override { return OpenOrDie(etcd_.Options(kTestKey)); }
  int rounds() const override { return 20; }

 private:
  EtcdProcess etcd_{{.auth = kAuth, .tls = kTls, .client_certs = kClientCerts}};
};
using InPlainEtcd = InEtcd<false, false, false>;
using InEtcdWithUser = InEtcd<true, false, false>;
using InEtcdOverTls = InEtcd<false, true, false>;
using InEtcdWithCertificates = InEtcd<false, true, true>;

template <class P>
class RegisterTest : public testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);  // as zsched-broker does
    if (const std::string missing = P::Missing(); !missing.empty()) GTEST_SKIP() << missing;
    place_.emplace();
    store_ = place_->Open();
  }

  std::optional<P> place_;
  std::unique_ptr<RegisterStore> store_;
};

struct PlaceNames {
  template <class P>
  static std::string GetName(int) {
    if (std::is_same_v<P, InMemory>) return "Memory";
    if (std::is_same_v<P, InFile>) return "File";
    if (std::is_same_v<P, AtWitness>) return "Witness";
    if (std::is_same_v<P, InFakeEtcd>) return "FakeEtcd";
    if (std::is_same_v<P, InPlainEtcd>) return "Etcd";
    if (std::is_same_v<P, InEtcdWithUser>) return "EtcdWithUser";
    if (std::is_same_v<P, InEtcdOverTls>) return "EtcdOverTls";
    return "EtcdWithCertificates";
  }
};
using Places = testing::Types<InMemory, InFile, AtWitness, InFakeEtcd, InPlainEtcd, InEtcdWithUser,
                              InEtcdOverTls, InEtcdWithCertificates>;
TYPED_TEST_SUITE(RegisterTest, Places, PlaceNames);

constexpr int kThreads = 8;

TYPED_TEST(RegisterTest, BeginsEmpty) {
  auto read = this->store_->Read();
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, Register{});
}

TYPED_TEST(RegisterTest, IsMadeByTheFirstSwap) {
  const Register first = Promoted(1, kPrimary);
  auto stands = this->store_->Swap(Register{}, first);
  ASSERT_TRUE(stands.ok()) << stands.status();
  EXPECT_EQ(*stands, first);
  EXPECT_EQ(*this->store_->Read(), first);
  EXPECT_EQ(*this->place_->Open()->Read(), first);
}

TYPED_TEST(RegisterTest, GoesFromValueToValue) {
  Register stands;
  for (uint64_t promotion = 1; promotion <= 5; ++promotion) {
    const uint8_t node = promotion % kNodes;
    for (const Register& wanted : {Promoted(promotion, node), Joined(Promoted(promotion, node)),
                                   Promoted(promotion, node)}) {
      auto swapped = this->store_->Swap(stands, wanted);
      ASSERT_TRUE(swapped.ok()) << swapped.status();
      stands = *swapped;
      EXPECT_EQ(stands, wanted);
    }
    if (promotion % 2 == 0) this->store_ = this->place_->Open();
  }
}

TYPED_TEST(RegisterTest, LostSwapSaysWhatStandsAndChangesNothing) {
  const Register first = Promoted(1, kPrimary), second = Promoted(2, kBackup);
  // Nothing stands there, and something is expected.
  EXPECT_EQ(*this->store_->Swap(first, second), Register{});
  EXPECT_EQ(*this->store_->Read(), Register{});
  ASSERT_EQ(*this->store_->Swap(Register{}, first), first);
  // Something stands there, and nothing is expected; or something else.
  EXPECT_EQ(*this->store_->Swap(Register{}, second), first);
  EXPECT_EQ(*this->store_->Swap(Joined(first), second), first);
  EXPECT_EQ(*this->place_->Open()->Swap(Joined(first), second), first);
  EXPECT_EQ(*this->store_->Read(), first);
}

TYPED_TEST(RegisterTest, SwapForWhatStandsIsWon) {
  const Register first = Promoted(1, kPrimary);
  ASSERT_EQ(*this->store_->Swap(Register{}, first), first);
  EXPECT_EQ(*this->store_->Swap(first, first), first);
  EXPECT_EQ(*this->store_->Swap(Register{}, first), first);
}

TYPED_TEST(RegisterTest, StoreThatHasReadBeforeIsNotDeceived) {
  auto other = this->place_->Open();
  const Register first = Promoted(1, kPrimary), second = Promoted(2, kBackup);
  ASSERT_EQ(*this->store_->Swap(Register{}, first), first);
  ASSERT_EQ(*other->Read(), first);
  ASSERT_EQ(*this->store_->Swap(first, Joined(first)), Joined(first));
  EXPECT_EQ(*other->Swap(first, second), Joined(first));
  // And back to a value that it knows, at another time.
  ASSERT_EQ(*this->store_->Swap(Joined(first), first), first);
  EXPECT_EQ(*other->Swap(Joined(first), second), first);
  EXPECT_EQ(*other->Swap(first, second), second);
  EXPECT_EQ(*this->store_->Swap(first, Joined(first)), second);
}

TYPED_TEST(RegisterTest, OneOfManySwapsIsWon) {
  Register stands;
  std::barrier together(kThreads);
  const int rounds = this->place_->rounds();
  std::vector<std::vector<Register>> outcomes(kThreads);  // [thread][round]
  std::vector<std::thread> threads;
  const auto wanted = [](int round, int thread) {
    return Promoted(static_cast<uint64_t>(round * kThreads + thread + 1), thread % kNodes);
  };
  std::vector<std::unique_ptr<RegisterStore>> stores;
  for (int t = 0; t < kThreads; ++t) stores.push_back(this->place_->Open());
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Register expected;
      for (int round = 0; round < rounds; ++round) {
        together.arrive_and_wait();
        auto swapped = stores[t]->Swap(expected, wanted(round, t));
        ZS_CHECK_OK(swapped.status());
        expected = *swapped;
        outcomes[t].push_back(expected);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int round = 0; round < rounds; ++round) {
    int winners = 0;
    for (int t = 0; t < kThreads; ++t) {
      winners += outcomes[t][round] == wanted(round, t);
      EXPECT_EQ(outcomes[t][round], outcomes[0][round]) << "round " << round;
    }
    EXPECT_EQ(winners, 1) << "round " << round;
  }
}

// Each thread as fast as it can: every value that stood is replaced once, by the one that won.
TYPED_TEST(RegisterTest, WinsAreAChain) {
  struct Win {
    Register from, to;
  };
  const int wins_each = this->place_->rounds() / 4;
  std::vector<std::vector<Win>> wins(kThreads);
  std::vector<std::unique_ptr<RegisterStore>> stores;
  for (int t = 0; t < kThreads; ++t) stores.push_back(this->place_->Open());
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      uint64_t attempt = 0;
      Register known;
      while (std::ssize(wins[t]) < wins_each) {
        const Register wanted = Promoted(attempt++ * kThreads + t + 1, t % kNodes);
        auto swapped = stores[t]->Swap(known, wanted);
        ZS_CHECK_OK(swapped.status());
        if (*swapped == wanted) wins[t].push_back({known, wanted});
        known = *swapped;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::map<uint64_t, Win> by_start;  // by the epoch that was replaced
  for (const auto& of_thread : wins)
    for (const Win& win : of_thread)
      EXPECT_TRUE(by_start.emplace(win.from.epoch.value(), win).second)
          << ToText(win.from) << " was replaced twice";
  Register at;
  size_t length = 0;
  for (auto next = by_start.find(0); next != by_start.end();
       next = by_start.find(at.epoch.value())) {
    at = next->second.to;
    ++length;
  }
  EXPECT_EQ(length, static_cast<size_t>(kThreads * wins_each));
  EXPECT_EQ(*this->store_->Read(), at);
}

}  // namespace
}  // namespace zsched::broker
