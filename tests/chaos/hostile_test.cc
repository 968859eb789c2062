// Peers that mean harm, by number, silence, greed or speed: others are served all the while, the broker's memory stays
// bounded by the caps of docs/configuration.md, and nothing is lost. How fast others are served is printed and decides
// nothing; scripts/hostile collects it over several runs.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <mutex>
#include <sstream>
#include <thread>

#include "broker/server/bounds.h"
#include "tests/harness/cluster.h"
#include "tests/harness/raw_zmtp.h"

namespace zsched::chaos {
namespace {

using harness::Await;
using harness::BodyOf;
using harness::Clock;
using harness::Cluster;
using harness::CounterOf;
using harness::CountOf;
using harness::Ms;
using harness::RawTcp;
using harness::RawZmtp;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kMemoryFactor = 10;  // sanitizers keep what was freed, and shadow the rest
#else
constexpr size_t kMemoryFactor = 1;
#endif
constexpr size_t kMiB = size_t{1} << 20;

// A client that submits one task after the other and measures how long each ack takes.
class Probe {
 public:
  explicit Probe(Cluster& cluster) : client_(cluster.NewClient()), thread_([this] { Submit(); }) {}
  ~Probe() { Stop(); }

  Client& client() { return *client_; }
  // Waits for `count` more acks, and gives the 99th percentile of theirs in milliseconds.
  double P99OfNext(size_t count) {
    {
      std::lock_guard lock(mutex_);
      latencies_ms_.clear();
    }
    auto enough = [&] {
      std::lock_guard lock(mutex_);
      return latencies_ms_.size() >= count;
    };
    if (!Await(enough)) throw harness::Failure("the broker no longer serves others");
    std::lock_guard lock(mutex_);
    std::sort(latencies_ms_.begin(), latencies_ms_.end());
    return latencies_ms_[latencies_ms_.size() * 99 / 100];
  }
  // All that it ever submitted. Throws Failure when one was refused or the session was lost.
  std::vector<TaskId> Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return ids_;
  }
  void Check() {
    EXPECT_EQ(refused_, 0u);
    EXPECT_EQ(client_->stats().connects, 1u) << "it lost its session";
  }

 private:
  void Submit() {
    while (!stop_) {
      const Clock::time_point began = Clock::now();
      absl::StatusOr<TaskId> id = client_->Submit({.type = "noop", .queue = "good"}).get();
      const double ms = std::chrono::duration<double, std::milli>(Clock::now() - began).count();
      std::lock_guard lock(mutex_);
      latencies_ms_.push_back(ms);
      if (id.ok())
        ids_.push_back(*id);
      else
        ++refused_;
    }
  }

  std::unique_ptr<Client> client_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<double> latencies_ms_;
  std::vector<TaskId> ids_;
  size_t refused_ = 0;
  std::thread thread_;
};

// A thread that does harm until it goes out of scope. What a broker does to it is no failure of the test. It has a machine of
// its own in life; here it leaves the cores to those that are measured when they want them.
class Attack {
 public:
  // `strike` runs again and again.
  template <class Strike>
  explicit Attack(Strike strike)
      : thread_([this, strike = std::move(strike)]() mutable {
          setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kLast);
          while (!stop_) try {
              strike();
            } catch (const harness::Failure&) {
              // thrown out
            }
        }) {}
  ~Attack() {
    stop_ = true;
    thread_.join();
  }

 private:
  static constexpr int kLast = 19;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class Hostile : public testing::Test {
 protected:
  static constexpr size_t kSample = 1000;

  // Sessions outlive the pauses of a machine that has its hands full: what breaks one is not time.
  void Start(harness::Args flags = {}) {
    flags.insert(flags.end(), {"--heartbeat", "5s", "--visibility-timeout", "10s"});
    cluster_.StartBroker(flags);
    cluster_.StartWorker("w", {"--queues", "good"});
    probe_ = std::make_unique<Probe>(cluster_);
    quiet_ms_ = probe_->P99OfNext(kSample);
    rss_ = Rss();
    descriptors_ = Descriptors();
  }
  // While the attack goes on.
  void MeasureOthers() {
    const double ms = probe_->P99OfNext(kSample);
    Print("quiet_p99_ms", quiet_ms_);
    Print("p99_ms", ms);
    Print("p99_ratio", ms / quiet_ms_);
  }
  // `bytes`: what docs/configuration.md allows for these peers. The rest is for what a broker works with besides: its
  // batches, LMDB's dirty pages, and what malloc keeps of all that.
  void ExpectGrowthBelow(size_t bytes) {
    constexpr size_t kWorkingBytes = 64 * kMiB;
    const size_t cap = (bytes + kWorkingBytes) * kMemoryFactor;
    const size_t grown = Grown();
    Print("grown_mib", static_cast<double>(grown / kMiB));
    Print("cap_mib", static_cast<double>(cap / kMiB));
    EXPECT_LE(grown, cap);
  }
  // For people, and for scripts in the test's report.
  static void Print(const std::string& name, double value) {
    std::ostringstream text;
    text << std::setprecision(3) << value;
    std::cout << name << " " << text.str() << "\n";
    RecordProperty(name, text.str());
  }
  // Others lost nothing.
  void TearDown() override {
    std::vector<TaskId> ids = probe_->Stop();
    probe_->Check();
    for (const Outcome& outcome : harness::WaitAll(probe_->client(), ids))
      ASSERT_TRUE(outcome.succeeded()) << outcome.status();
    EXPECT_TRUE(cluster_.broker().running());
    probe_.reset();
    EXPECT_EQ(cluster_.StopBroker(), 0);
  }

  size_t Rss() { return harness::AnonymousRssBytes(cluster_.broker().pid()); }
  size_t Grown() {
    const size_t now = Rss();
    return now - std::min(now, rss_);
  }
  size_t Descriptors() {
    std::filesystem::directory_iterator all("/proc/" + std::to_string(cluster_.broker().pid()) +
                                            "/fd");
    return static_cast<size_t>(std::distance(begin(all), end(all)));
  }

  Cluster cluster_;
  std::unique_ptr<Probe> probe_;
  double quiet_ms_ = 0;
  size_t rss_ = 0, descriptors_ = 0;
};

// --- Number --------------------------------------------------------------------------------------

// As many as asked for, or as this process may have.
size_t RaiseDescriptors(size_t wanted) {
  constexpr size_t kOwn = 200;  // for everything else
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  return std::min<size_t>(wanted, limit.rlim_cur - kOwn);
}

TEST_F(Hostile, TenThousandSilentConnections) {
  Start();
  const size_t count = RaiseDescriptors(10'000);
  for (int wave = 0; wave < 2; ++wave) {
    std::vector<RawTcp> mute;         // say nothing at all
    std::vector<RawZmtp> handshaken;  // say what ZeroMQ wants to hear, and nothing after it
    for (size_t i = 0; i < count / 2; ++i) {
      mute.emplace_back(cluster_.client_port());
      handshaken.emplace_back(cluster_.client_port());
    }
    ASSERT_TRUE(Await([&] { return Descriptors() >= descriptors_ + count / 2; }));
    MeasureOthers();
    ExpectGrowthBelow(count * broker::kConnectionBytes);
    // Those that do not even speak ZMTP are shown the door; the others may stay.
    for (RawTcp& peer : mute) ASSERT_TRUE(peer.AwaitClose());
    EXPECT_GE(Descriptors(), descriptors_ + count / 2);
    handshaken.clear();
    EXPECT_TRUE(Await([&] { return Descriptors() <= descriptors_ + 10; })) << Descriptors();
  }
}

// A broker that has no descriptor left serves those that are there, and others when some have gone.
TEST_F(Hostile, NoDescriptorsLeft) {
  Start();
  constexpr size_t kLeft = 50;
  rlimit low{.rlim_cur = descriptors_ + kLeft, .rlim_max = descriptors_ + kLeft};
  ASSERT_EQ(prlimit(cluster_.broker().pid(), RLIMIT_NOFILE, &low, nullptr), 0);
  {
    std::vector<RawZmtp> crowd;
    for (size_t i = 0; i < kLeft; ++i) crowd.emplace_back(cluster_.client_port());
    std::vector<RawTcp> at_the_door;  // connected as far as the kernel knows
    for (size_t i = 0; i < kLeft; ++i) at_the_door.emplace_back(cluster_.client_port());
    MeasureOthers();
  }
  harness::SubmitOne(*cluster_.NewClient(), {.type = "noop", .queue = "good"});
}

TEST_F(Hostile, AThousandConnectionsASecond) {
  Start({"--max-clients", "100000"});
  constexpr uint64_t kSessions = 2000;
  auto opened = [&] { return CounterOf(probe_->client(), "sessions_opened_total"); };
  const uint64_t before = opened();
  {
    Attack churn([this] {
      const Clock::time_point next = Clock::now() + Ms(2);
      RawZmtp(cluster_.client_port()).HelloAsClient();  // and away without a goodbye
      RawZmtp(cluster_.client_port());
      std::this_thread::sleep_until(next);
    });
    MeasureOthers();
    ASSERT_TRUE(Await([&] { return opened() >= before + kSessions; }));
  }
  // Sessions whose peers went stay for their timeout.
  ExpectGrowthBelow((opened() - before) * broker::kConnectionBytes);
  EXPECT_TRUE(Await([&] { return Descriptors() <= descriptors_ + 10; })) << Descriptors();
}

// --- Silence and greed ---------------------------------------------------------------------------

// Says that all acks before it were read, which lifts the bound on frames without one.
std::string SubmitBody(uint64_t seq, size_t tasks, size_t payload_bytes, const std::string& queue,
                       bool notify) {
  return BodyOf([&](auto& b) {
    std::vector<uint8_t> payload(payload_bytes, 'p');
    std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
    for (size_t i = 0; i < tasks; ++i)
      specs.push_back(wire::CreateTaskSpecDirect(b, "echo", queue.c_str(), &payload));
    return wire::CreateSubmitDirect(b, seq, /*acked_below=*/seq, notify, &specs);
  });
}

// Clients that want all there is, again and again, and never read an answer: large results that are looked up and large
// results that are pushed.
TEST_F(Hostile, ClientsThatNeverRead) {
  constexpr size_t kPeers = 12, kResults = 64, kResultBytes = 500'000, kPushed = 4;
  Start();
  cluster_.StartWorker("echo", {"--queues", "large"});
  auto client = cluster_.NewClient();
  BatchAck ack =
      client
          ->SubmitBatch(std::vector<TaskSpec>(
              kResults,
              {.type = "echo", .queue = "large", .payload = std::string(kResultBytes, 'r')}))
          .get();
  harness::WaitAll(*client, ack.ids);
  std::vector<uint64_t> ids;
  for (TaskId id : ack.ids) ids.push_back(id.value());
  const std::string wait =
      BodyOf([&](auto& b) { return wire::CreateWaitDirect(b, /*request=*/1, &ids); });
  const std::string get =
      BodyOf([&](auto& b) { return wire::CreateGetDirect(b, /*request=*/2, &ids); });

  std::vector<RawZmtp> peers;
  for (size_t i = 0; i < kPeers; ++i) {
    peers.emplace_back(cluster_.client_port());
    peers.back().HelloAsClient();
    for (size_t seq = 1; seq <= kPushed; ++seq)
      ASSERT_TRUE(
          peers.back().Say(MessageType::kSubmit, SubmitBody(seq, 1, kResultBytes, "large", true)));
  }
  size_t queued = 0;
  {
    Attack greed([&, turn = size_t{0}]() mutable {
      RawZmtp& peer = peers[turn++ % kPeers];
      peer.TrySay(MessageType::kWait, wait);
      peer.TrySay(MessageType::kGet, get);
      peer.TrySay(MessageType::kHeartbeat, "");
      std::this_thread::sleep_for(Ms(1));
    });
    // All of them together want far more than they may.
    ASSERT_TRUE(Await([&] { return CounterOf(*client, "pushes_dropped_total") >= kPeers; }));
    MeasureOthers();
    ExpectGrowthBelow(broker::kClientSocket.send.total_bytes + broker::kQueriesBytes +
                      kPeers * (broker::kConnectionBytes + broker::kOwnSendBytes));
    queued = Grown();
    // Who reads gets large answers all the while.
    EXPECT_EQ(client->Get(ack.ids[0])->result.size(), kResultBytes);
  }
  // Their connections go, and with them what was queued; malloc keeps some of it, a sanitizer all.
  if (kMemoryFactor > 1) return;
  EXPECT_TRUE(Await([&] { return Grown() < queued / 2; })) << "what was queued is still there";
}

// Submits large frames as fast as its connection takes them, and reads no answer.
class Flooder {
 public:
  Flooder(int port, size_t tasks, size_t payload_bytes)
      : port_(port), tasks_(tasks), payload_bytes_(payload_bytes) {}

  void operator()() {
    if (peer_ == nullptr) {
      peer_ = std::make_unique<RawZmtp>(port_);
      peer_->HelloAsClient();
      seq_ = 0;
    }
    // It may be thrown out.
    if (!peer_->Say(MessageType::kSubmit,
                    SubmitBody(++seq_, tasks_, payload_bytes_, "flood", false)))
      peer_.reset();
  }

 private:
  int port_;
  size_t tasks_, payload_bytes_;
  std::unique_ptr<RawZmtp> peer_;
  size_t seq_ = 0;
};

// Frames as large as those of several tasks may be.
Flooder FullFrames(int port) { return Flooder(port, 12, 20'000); }

// More than the broker takes: what is refused costs others little.
TEST_F(Hostile, AFloodThatIsRefused) {
  Start({"--max-queue-bytes", "4MiB"});
  Attack flood{FullFrames(cluster_.client_port())};
  ASSERT_TRUE(Await([&] { return CounterOf(probe_->client(), "tasks_rejected_total") > 1000; }));
  MeasureOthers();
  ExpectGrowthBelow(broker::kClientBytes);
}

// As much as the disk takes: others wait for the same disk.
TEST_F(Hostile, AFloodThatIsTaken) {
  Start();
  Attack flood{FullFrames(cluster_.client_port())};
  ASSERT_TRUE(Await([&] { return CounterOf(probe_->client(), "tasks_submitted_total") > 2000; }));
  MeasureOthers();
  ExpectGrowthBelow(broker::kClientBytes);
}

// The largest there are: each takes the disk for longer than anything else.
TEST_F(Hostile, AFloodOfTheLargestTasks) {
  Start();
  Attack flood{Flooder(cluster_.client_port(), 1, kMaxPayloadBytes)};
  ASSERT_TRUE(Await([&] { return CounterOf(probe_->client(), "tasks_submitted_total") > 1200; }));
  MeasureOthers();
  ExpectGrowthBelow(broker::kClientBytes);
}

// Many frames that mean nothing.
TEST_F(Hostile, AFloodOfSmallFrames) {
  Start();
  RawZmtp peer(cluster_.client_port());
  peer.HelloAsClient();
  Attack flood([&] { peer.SayAgain(MessageType::kHeartbeat, "", 100); });
  ASSERT_TRUE(Await([&] { return CounterOf(probe_->client(), "sends_blocked_total") > 0; }));
  MeasureOthers();
  ExpectGrowthBelow(broker::kClientBytes);
}

// Grants all it may, takes what it gets and answers none of it; once it is silent, others get its tasks.
TEST_F(Hostile, AWorkerThatTakesAndNeverAnswers) {
  constexpr size_t kTasks = 1500,
                   kPayload = 20'000;  // some 120 frames, which its full send queue holds
  static_assert(kTasks * kPayload < kMaxCreditBytes && kTasks < kMaxCreditTasks);
  Start();
  const std::string credit =
      BodyOf([&](auto& b) { return wire::CreateCredit(b, kMaxCreditTasks, kMaxCreditBytes); });
  auto client = cluster_.NewClient();
  BatchAck ack;
  {
    RawZmtp greedy(cluster_.client_port() + 1);
    greedy.HelloAsWorker("greedy", "other");
    Attack takes([&] {
      greedy.TrySay(MessageType::kCredit, credit);
      greedy.TrySay(MessageType::kHeartbeat, "");
      std::this_thread::sleep_for(Ms(100));
    });
    // Handed out in one go: frames that leave one by one, as tasks trickle in, would be more than its queue holds.
    ASSERT_TRUE(client->SetQueue("other", {.paused = true}).ok());
    ack =
        client
            ->SubmitBatch(std::vector<TaskSpec>(
                kTasks, {.type = "noop", .queue = "other", .payload = std::string(kPayload, 'x')}))
            .get();
    ASSERT_EQ(ack.ids.size(), kTasks);
    ASSERT_TRUE(client->SetQueue("other", {.paused = false}).ok());
    ASSERT_TRUE(Await([&] { return CountOf(*client, TaskState::kLeased) >= kTasks; }))
        << "only the greedy one serves that queue";
    MeasureOthers();
    ExpectGrowthBelow(broker::kWorkerBytes);
  }
  cluster_.StartWorker("w2", {"--concurrency", "8"});
  for (const Outcome& outcome : harness::WaitAll(*client, ack.ids))
    ASSERT_TRUE(outcome.succeeded()) << outcome.status();
}

}  // namespace
}  // namespace zsched::chaos
