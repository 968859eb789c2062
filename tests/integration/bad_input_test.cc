// What hostile and broken peers send to a live broker: each gets the answer that docs/protocol.md names or is counted as
// dropped, no state changes, and a well-behaved client is served all the while.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "tests/harness/cluster.h"
#include "tests/harness/raw_peer.h"

namespace zsched::integration {
namespace {

using harness::Await;
using harness::BodyOf;
using harness::Cluster;
using harness::CounterOf;
using harness::Failure;
using harness::Ms;
using harness::RawPeer;
using harness::RawTcp;

const wire::Uuid kWorkerId{7, 7};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kMaxGrowthBytes = size_t{1} << 30;  // sanitizers keep what was freed
#else
constexpr size_t kMaxGrowthBytes = 96 << 20;
#endif

// A client that does ordinary work from beginning to end, and says how it fared.
class GoodClient {
 public:
  explicit GoodClient(Cluster& cluster)
      : client_(cluster.NewClient()), thread_([this] { Work(); }) {}
  ~GoodClient() { Stop(); }

  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint64_t done() const { return done_; }
  // Waits until it was served `more` times from now on: the broker lives, whatever it was sent.
  [[nodiscard]] bool AwaitServed(uint64_t more = 3) {
    uint64_t goal = done_ + more;
    return Await([&] { return done_ >= goal || wrong_ > 0; }) && wrong_ == 0;
  }
  // It was never refused, and never lost its session.
  void Check() {
    EXPECT_EQ(wrong_, 0u);
    EXPECT_EQ(client_->stats().connects, 1u);
    EXPECT_EQ(client_->stats().malformed, 0u);
  }
  Client& client() { return *client_; }

 private:
  void Work() {
    while (!stop_) {
      std::string payload = std::to_string(done_);
      absl::StatusOr<Outcome> outcome = client_->Run({.type = "echo", .payload = payload}).get();
      if (outcome.ok() && outcome->result == payload)
        ++done_;
      else
        ++wrong_;
    }
  }

  std::unique_ptr<Client> client_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> done_{0}, wrong_{0};
  std::thread thread_;
};

class BadInput : public testing::Test {
 protected:
  BadInput() {
    cluster_.StartBroker();
    cluster_.StartWorker("w");
    good_ = std::make_unique<GoodClient>(cluster_);
    rss_ = harness::AnonymousRssBytes(cluster_.broker().pid());
  }

  void TearDown() override {
    EXPECT_TRUE(good_->AwaitServed()) << "the broker no longer serves others";
    good_->Check();
    good_->Stop();
    EXPECT_TRUE(cluster_.broker().running());
    EXPECT_LE(harness::AnonymousRssBytes(cluster_.broker().pid()), rss_ + kMaxGrowthBytes);
    good_.reset();
    EXPECT_EQ(cluster_.StopBroker(), 0);
  }

  uint64_t Counter(const std::string& name) { return CounterOf(good_->client(), name); }

  Cluster cluster_;
  std::unique_ptr<GoodClient> good_;
  size_t rss_ = 0;
};

std::string Heartbeat(SessionId session = {}) {
  return SealFrame({.type = MessageType::kHeartbeat, .session = session.value()}, "");
}

std::string Patched(std::string frame, size_t offset, char byte) {
  frame[offset] = byte;
  return frame;
}

std::string SealedWithVersion(uint8_t version) {
  FrameHeader header{.version = version, .type = MessageType::kHeartbeat};
  std::string frame(kFrameHeaderBytes, '\0');
  SealHeader(header, "", frame.data());
  frame[4] = static_cast<char>(version);
  return frame;
}

// Answered by an ERROR that names the fault, on both endpoints, and counted.
TEST_F(BadInput, ABrokenFrameIsAnsweredByItsFault) {
  struct Case {
    std::string name, frame;
    ErrorCode code;
  };
  const std::string good = SealFrame({.type = MessageType::kStatus}, std::string(24, '\0'));
  const std::vector<Case> cases = {
      {"version 0", SealedWithVersion(0), ErrorCode::kUnsupportedVersion},
      {"version 2", SealedWithVersion(2), ErrorCode::kUnsupportedVersion},
      {"unknown flag", Patched(good, 7, '\x80'), ErrorCode::kMalformed},
      {"body cut", good.substr(0, good.size() - 1), ErrorCode::kTruncated},
      {"body too long", good + "x", ErrorCode::kTruncated},
      {"body_bytes huge", Patched(good, 11, '\x7F'), ErrorCode::kTruncated},
      {"checksum of header", Patched(good, 20, 1), ErrorCode::kBadChecksum},
      {"checksum of number", Patched(good, 12, 1), ErrorCode::kBadChecksum},
      {"checksum of body", Patched(good, kFrameHeaderBytes, 1), ErrorCode::kBadChecksum},
      {"checksum itself", Patched(good, 32, static_cast<char>(good[32] + 1)),
       ErrorCode::kBadChecksum},
      {"no session", good, ErrorCode::kNoSession},
      {"epoch ahead", SealFrame({.type = MessageType::kHeartbeat, .epoch = kMaxEpoch}, ""),
       ErrorCode::kNotActive},
  };
  for (const std::string& endpoint : {cluster_.client_endpoint(), cluster_.worker_endpoint()}) {
    RawPeer peer(endpoint);
    uint64_t refused = Counter("frames_refused_total");
    for (const Case& c : cases) {
      // STATUS is the client endpoint's; a worker asks something of its own.
      bool other = c.name == "no session" && endpoint == cluster_.worker_endpoint();
      peer.Send(other ? Heartbeat() : c.frame);
      EXPECT_EQ(TextOf(peer.ReceiveError().code), TextOf(c.code)) << c.name << " at " << endpoint;
    }
    EXPECT_EQ(Counter("frames_refused_total"), refused + cases.size());
  }
}

// No answer: the peer does not speak zsched. Counted all the same.
TEST_F(BadInput, WhatIsNotZschedIsDroppedAndCounted) {
  const std::string good = Heartbeat();
  const std::vector<std::string> not_ours = {
      "",
      "x",
      "GET / HTTP/1.1\r\n\r\n",
      good.substr(0, kFrameHeaderBytes - 1),
      Patched(good, 0, 'X'),
      std::string(1000, '\0'),
      std::string(kFrameHeaderBytes, '\xFF'),
      std::string(size_t{3} << 20, 'Z'),
  };
  const std::vector<std::vector<std::string>> multipart = {
      {good, good}, {"", good}, {good, ""}, {"", "", ""}, std::vector<std::string>(100, good)};
  uint64_t dropped = Counter("frames_dropped_total");
  for (const std::string& endpoint : {cluster_.client_endpoint(), cluster_.worker_endpoint()}) {
    RawPeer peer(endpoint);
    for (const std::string& frame : not_ours) peer.Send(frame);
    for (const auto& parts : multipart) peer.SendParts(parts);
    // The broker answers frames of one peer in order: the first answer is to this one.
    peer.Send(good);
    EXPECT_EQ(peer.ReceiveError().code, ErrorCode::kNoSession) << endpoint;
    dropped += not_ours.size() + multipart.size();
    EXPECT_EQ(Counter("frames_dropped_total"), dropped) << endpoint;
  }
}

// What a session may send on the client endpoint and needs a body that a verifier accepts.
const std::set<int>& ClientRequests() {
  static const std::set<int> types = {16, 18, 20, 21, 23, 25, 27, 29, 30, 31, 32, 34, 36,
                                      38, 40, 42, 43, 44, 45, 46, 48, 50, 51, 56, 57};
  return types;
}
const std::set<int>& WorkerRequests() {
  static const std::set<int> types = {66, 68, 70, 73, 74};
  return types;
}

TEST_F(BadInput, EveryMessageTypeWithAWrongBody) {
  const std::string nonsense = "this is not a FlatBuffer of any kind....";
  struct Side {
    std::string endpoint;
    const std::set<int>& requests;
    std::set<int> bodied;  // of any peer: HELLO and what may be empty but is not
  };
  RawPeer client(cluster_.client_endpoint()), worker(cluster_.worker_endpoint());
  const Side sides[] = {{"client", ClientRequests(), {1, 3, 5, 8}},
                        {"worker", WorkerRequests(), {5, 8, 64}}};
  client.HelloAsClient();
  worker.HelloAsWorker(kWorkerId, "raw");
  for (const Side& side : sides) {
    RawPeer& peer = side.endpoint == "client" ? client : worker;
    for (int type = 0; type < 256; ++type) {
      bool known = side.requests.contains(type) || side.bodied.contains(type);
      peer.Say(static_cast<MessageType>(type), nonsense);
      ErrorCode expected = known ? ErrorCode::kMalformed : ErrorCode::kUnknownMessage;
      EXPECT_EQ(TextOf(peer.ReceiveError().code), TextOf(expected))
          << side.endpoint << " type " << type;
    }
    // None of this has ended the session.
    peer.Say(MessageType::kHeartbeat, "");
    EXPECT_EQ(peer.Receive()->type(), MessageType::kHeartbeatAck) << side.endpoint;
  }
}

TEST_F(BadInput, ASessionBelongsToItsConnection) {
  RawPeer owner(cluster_.client_endpoint()), thief(cluster_.client_endpoint());
  RawPeer worker(cluster_.worker_endpoint());
  SessionId session = owner.HelloAsClient();
  for (RawPeer* peer : {&thief, &worker}) {
    for (uint64_t id : {session.value(), session.value() + 1, uint64_t{0}, ~uint64_t{0}}) {
      peer->Send(Heartbeat(SessionId(id)));
      EXPECT_EQ(peer->ReceiveError().code, ErrorCode::kNoSession);
    }
    peer->Send(SealFrame({.type = MessageType::kGoodbye, .session = session.value()}, ""));
    EXPECT_EQ(peer->ReceiveError().code, ErrorCode::kNoSession);
  }
  owner.Say(MessageType::kHeartbeat, "");
  EXPECT_EQ(owner.Receive()->type(), MessageType::kHeartbeatAck);
}

// Types of the other endpoint are unknown here; without a session nobody asks what they are.
TEST_F(BadInput, MessagesOfTheOtherEndpoint) {
  RawPeer client(cluster_.client_endpoint()), worker(cluster_.worker_endpoint());
  std::string credit = BodyOf([](auto& b) { return wire::CreateCredit(b, 1000, 1 << 20); });
  std::string status = BodyOf([](auto& b) { return wire::CreateStatus(b, 1); });
  client.Say(MessageType::kCredit, credit);
  EXPECT_EQ(TextOf(client.ReceiveError().code), "NO_SESSION");
  worker.Say(MessageType::kStatus, status);
  EXPECT_EQ(TextOf(worker.ReceiveError().code), "NO_SESSION");
  client.HelloAsClient();
  worker.HelloAsWorker(kWorkerId, "raw");
  client.Say(MessageType::kCredit, credit);
  EXPECT_EQ(TextOf(client.ReceiveError().code), "UNKNOWN_MESSAGE");
  worker.Say(MessageType::kStatus, status);
  EXPECT_EQ(TextOf(worker.ReceiveError().code), "UNKNOWN_MESSAGE");
  std::string hello =
      BodyOf([](auto& b) { return wire::CreateWorkerHelloDirect(b, &kWorkerId, "x"); });
  client.Send(SealFrame({.type = MessageType::kWorkerHello}, hello));
  EXPECT_EQ(TextOf(client.ReceiveError().code), "UNKNOWN_MESSAGE");
}

// A frame like those that peers send, with a few bytes changed and a checksum that fits all the same.
std::string Mutated(std::mt19937_64& random, RawPeer& peer) {
  constexpr uint8_t kTypes[] = {1,  3,  5,  16, 18, 20, 21, 23, 25, 27, 29, 50,
                                51, 36, 38, 40, 48, 64, 66, 68, 70, 73, 74};
  std::string body = BodyOf([&](auto& b) {
    std::vector<uint64_t> ids = {random(), random()};
    std::vector tasks = {wire::CreateTaskSpecDirect(b, "nobody-runs-this", "fuzz")};
    return random() % 2 == 0 ? wire::CreateSubmitDirect(b, random() % 8, 0, false, &tasks).Union()
                             : wire::CreateWaitDirect(b, random(), &ids).Union();
  });
  for (uint64_t i = 0, flips = random() % 6; i < flips; ++i)
    body[random() % body.size()] = static_cast<char>(random());
  if (random() % 4 == 0) body.resize(random() % body.size());
  auto type = static_cast<MessageType>(kTypes[random() % std::size(kTypes)]);
  if (random() % 4 == 0) return SealFrame({.type = type, .number = 1, .session = random()}, body);
  return peer.Seal(type, body);
}

std::string RandomFrame(std::mt19937_64& random, RawPeer& peer) {
  switch (random() % 4) {
    case 0: {  // noise
      std::string bytes(random() % 200, '\0');
      for (char& c : bytes) c = static_cast<char>(random());
      return bytes;
    }
    case 1: {  // noise that begins as a frame does
      std::string frame = SealFrame({.type = static_cast<MessageType>(random())}, "");
      for (size_t i = 5 + random() % 8; i < frame.size(); ++i)
        if (random() % 4 == 0) frame[i] = static_cast<char>(random());
      return frame;
    }
    case 2: {  // well sealed, with noise for a body
      std::string body(random() % 300, '\0');
      for (char& c : body) c = static_cast<char>(random());
      return peer.Seal(static_cast<MessageType>(random() % 80), body);
    }
    default:
      return Mutated(random, peer);
  }
}

TEST_F(BadInput, TenThousandRandomFramesOnEachEndpoint) {
  constexpr uint64_t kFrames = 10'000, kSeed = 42;
  std::mt19937_64 random(kSeed);
  uint64_t served = good_->done();
  for (bool as_worker : {false, true}) {
    RawPeer peer(as_worker ? cluster_.worker_endpoint() : cluster_.client_endpoint());
    as_worker ? peer.HelloAsWorker(kWorkerId, "fuzz") : peer.HelloAsClient();
    uint64_t before = Counter("frames_in_total");
    for (uint64_t i = 0; i < kFrames; ++i) {
      peer.Send(RandomFrame(random, peer));
      if (i % 16 == 0) peer.Drain();
    }
    EXPECT_TRUE(Await([&] { return Counter("frames_in_total") >= before + kFrames; }));
  }
  // About a quarter is noise from its first byte on, and most of the others are wrong in some way.
  EXPECT_GT(Counter("frames_dropped_total"), kFrames / 4);
  EXPECT_GT(Counter("frames_refused_total"), kFrames / 2);
  EXPECT_GT(good_->done(), served);
}

TEST_F(BadInput, AFrameOverFourMebibytesEndsOnlyItsConnection) {
  RawPeer peer(cluster_.client_endpoint());
  peer.HelloAsClient();
  for (int i = 0; i < 3; ++i) peer.Send(std::string(kMaxFrameBytes + (1 << 20), 'x'));
  // ZeroMQ connects anew by itself; whoever it is then, it is answered.
  EXPECT_TRUE(Await([&] {
    peer.Send(Heartbeat());
    auto answer = peer.Receive(Ms(200));
    return answer != nullptr && answer->type() == MessageType::kError;
  }));
}

TEST_F(BadInput, GarbageOnTheSocketItself) {
  std::mt19937_64 random(7);
  for (int port : {cluster_.client_port(), cluster_.client_port() + 1}) {
    std::string noise(64 << 10, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    RawTcp(port).Send(noise);
    RawTcp(port).Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    RawTcp(port).Send(std::string(64, '\xFF'));
    std::vector<std::unique_ptr<RawTcp>> crowd;
    for (int i = 0; i < 100; ++i) crowd.push_back(std::make_unique<RawTcp>(port));
    ASSERT_TRUE(good_->AwaitServed());
    // Says nothing, or begins ZMTP's greeting and does not go on: shown the door.
    RawTcp slow(port);
    slow.Send(std::string("\xFF\0\0\0\0\0\0\0\1\x7F\3", 11));
    EXPECT_TRUE(slow.AwaitClose());
    EXPECT_TRUE(crowd.front()->AwaitClose());
  }
}

// A well-formed SUBMIT whose tasks are wrong is judged task by task.
TEST_F(BadInput, EachTaskOfASubmitIsJudgedAlone) {
  RawPeer peer(cluster_.client_endpoint());
  peer.HelloAsClient();
  std::string body = BodyOf([&](auto& b) {
    std::vector tasks = {
        wire::CreateTaskSpecDirect(b, "nobody-runs-this", "raw"),
        wire::CreateTaskSpecDirect(b, "nobody-runs-this", "raw", nullptr, nullptr, 10),
        wire::CreateTaskSpecDirect(b, "", "raw"),
        wire::CreateTaskSpecDirect(b, "nobody-runs-this", "raw"),
    };
    return wire::CreateSubmitDirect(b, 1, 0, false, &tasks);
  });
  peer.Say(MessageType::kSubmit, body);
  auto frame = peer.Await(MessageType::kSubmitAck);
  const auto& ack = frame->As<wire::SubmitAck>();
  EXPECT_EQ(ack.accepted(), 2u);
  ASSERT_EQ(ack.rejected()->size(), 2u);
  for (uint32_t i : {0u, 1u}) {
    EXPECT_EQ(ack.rejected()->Get(i)->index(), i + 1);
    EXPECT_EQ(ErrorFromNumber(ack.rejected()->Get(i)->code()), ErrorCode::kInvalidArgument);
    EXPECT_GT(TextOf(ack.rejected()->Get(i)->message()).size(), 0u);
  }
}

// A large task comes alone: up to the payload's limit it is taken, beyond it refused like any other, and several in one
// frame are refused as a frame.
TEST_F(BadInput, LargeTasksComeOneByOne) {
  RawPeer peer(cluster_.client_endpoint());
  peer.HelloAsClient();
  auto submit_of = [](uint64_t seq, size_t tasks, size_t payload) {
    return BodyOf([&](auto& b) {
      std::vector<uint8_t> bytes(payload, 'x');
      std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
      for (size_t i = 0; i < tasks; ++i)
        specs.push_back(wire::CreateTaskSpecDirect(b, "nobody-runs-this", "raw", &bytes));
      return wire::CreateSubmitDirect(b, seq, 0, false, &specs);
    });
  };
  peer.Say(MessageType::kSubmit, submit_of(1, 1, kMaxPayloadBytes));
  EXPECT_EQ(peer.Await(MessageType::kSubmitAck)->As<wire::SubmitAck>().accepted(), 1u);

  peer.Say(MessageType::kSubmit, submit_of(2, 1, kMaxPayloadBytes + 1));
  auto frame = peer.Await(MessageType::kSubmitAck);
  const auto& ack = frame->As<wire::SubmitAck>();
  EXPECT_EQ(ack.accepted(), 0u);
  ASSERT_EQ(ack.rejected()->size(), 1u);
  EXPECT_EQ(ErrorFromNumber(ack.rejected()->Get(0)->code()), ErrorCode::kTooLarge);

  peer.Say(MessageType::kSubmit, submit_of(3, 2, kMaxSubmitBytes / 2));
  frame = peer.Await(MessageType::kError);
  const auto& error = frame->As<wire::Error>();
  EXPECT_EQ(ErrorFromNumber(error.code()), ErrorCode::kTooLarge);
  EXPECT_NE(TextOf(error.message()).find("send several frames"), std::string_view::npos);

  peer.Say(MessageType::kSubmit, submit_of(3, 2, kMaxSubmitBytes / 2 - 200));
  EXPECT_EQ(peer.Await(MessageType::kSubmitAck)->As<wire::SubmitAck>().accepted(), 2u);
}

// A client that asks and never reads: the broker neither waits for it nor keeps everything for it.
TEST_F(BadInput, APeerThatDoesNotRead) {
  RawPeer peer(cluster_.client_endpoint());
  peer.HelloAsClient();
  std::string status = BodyOf([](auto& b) { return wire::CreateStatus(b, 1); });
  for (int i = 0; i < 20'000; ++i) peer.Say(MessageType::kStatus, status);
  EXPECT_TRUE(Await([&] { return Counter("sends_blocked_total") > 0; }));
  EXPECT_TRUE(good_->AwaitServed());
}

// A session is a numbered stream (docs/protocol.md §2).
TEST_F(BadInput, ARepeatedFrameChangesNothing) {
  RawPeer peer(cluster_.client_endpoint());
  peer.HelloAsClient();
  uint64_t repeated = Counter("frames_repeated_total");
  std::string frame = peer.Seal(MessageType::kHeartbeat, "");
  for (int i = 0; i < 3; ++i) peer.Send(frame);
  peer.Say(MessageType::kHeartbeat, "");
  EXPECT_TRUE(Await([&] { return Counter("frames_repeated_total") == repeated + 2; }));
  peer.Await(MessageType::kHeartbeatAck);
  peer.Await(MessageType::kHeartbeatAck);
  EXPECT_EQ(peer.Receive(Ms(0)), nullptr) << "a repeat was answered";
}

TEST_F(BadInput, AFrameOfASessionNeedsItsNumber) {
  RawPeer peer(cluster_.client_endpoint());
  SessionId session = peer.HelloAsClient();
  peer.Send(Heartbeat(session));
  EXPECT_EQ(TextOf(peer.ReceiveError().code), "MALFORMED");
  peer.Say(MessageType::kHeartbeat, "");
  EXPECT_EQ(peer.Receive()->type(), MessageType::kHeartbeatAck);
}

// A connection has one session, however often it says hello.
TEST_F(BadInput, AThousandHellosOfOneConnectionAreOneSession) {
  constexpr uint64_t kHellos = 1000;
  RawPeer client(cluster_.client_endpoint()), worker(cluster_.worker_endpoint());
  uint64_t opened = Counter("sessions_opened_total");
  size_t clients = good_->client().Status()->clients, workers = good_->client().Workers()->size();
  for (uint64_t i = 0; i < kHellos; ++i) {
    client.HelloAsClient();
    worker.HelloAsWorker(wire::Uuid(7, i + 1), "raw");
  }
  EXPECT_EQ(Counter("sessions_opened_total"), opened + 2 * kHellos);
  EXPECT_EQ(good_->client().Status()->clients, clients + 1);
  EXPECT_EQ(good_->client().Workers()->size(), workers + 1);
  client.Say(MessageType::kHeartbeat, "");
  EXPECT_EQ(client.Receive()->type(), MessageType::kHeartbeatAck);
}

TEST(NumberedStream, ALostFrameEndsTheSessionAndNoAttempt) {
  Cluster cluster;
  cluster.StartBroker();
  auto client = cluster.NewClient();
  RawPeer worker(cluster.worker_endpoint());
  worker.HelloAsWorker(kWorkerId, "raw");
  worker.Say(MessageType::kCredit,
             BodyOf([](auto& b) { return wire::CreateCredit(b, 1, 1 << 20); }));
  ASSERT_TRUE(client->Submit({.type = "anything"}).get().ok());
  auto tasks = worker.Await(MessageType::kTasks);
  const wire::Assignment* task = tasks->As<wire::Tasks>().tasks()->Get(0);
  const wire::LeaseRef lease(task->task_id(), task->lease_id(), task->attempt());
  const std::string done = BodyOf([&](auto& b) {
    std::vector entries = {wire::Done(lease.task_id(), lease.lease_id(), 1)};
    return wire::CreateResultsDirect(b, 1, &entries);
  });
  worker.Seal(MessageType::kHeartbeat, "");  // never sent
  worker.Say(MessageType::kResults, done);
  harness::ErrorAnswer error = worker.ReceiveError();
  EXPECT_EQ(TextOf(error.code), "NO_SESSION");
  EXPECT_NE(error.message.find("number 3 came after 1"), std::string::npos) << error.message;
  EXPECT_EQ(CounterOf(*client, "sessions_broken_total"), 1u);

  // The lease is still this worker's: it says hello with it, and its result counts.
  std::vector<uint64_t> stale;
  worker.HelloAsWorker(kWorkerId, "raw", {lease}, &stale);
  EXPECT_EQ(stale, std::vector<uint64_t>());
  worker.Say(MessageType::kResults, done);
  worker.Await(MessageType::kResultAck);
  EXPECT_EQ(CounterOf(*client, "tasks_succeeded_total"), 1u);
  EXPECT_EQ(CounterOf(*client, "attempts_lost_total"), 0u);
  EXPECT_EQ(CounterOf(*client, "results_stale_total"), 0u);
}

}  // namespace
}  // namespace zsched::integration
