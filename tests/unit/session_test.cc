// The session FSM, driven by hand: no sockets, no clocks.
#include "client/session/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>

#include "schemas/verify.h"

namespace zsched {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;

constexpr uint64_t kEpoch = 8;
constexpr uint64_t kSession = 77;
constexpr uint32_t kHeartbeat = 1000;

struct ViewEntry {
  wire::Role role;
  std::string address;
  std::string worker_address;
  bool self = false;
};

std::string Body(Builder& builder) {
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

std::string ViewBody(const std::vector<ViewEntry>& entries, uint64_t epoch = kEpoch) {
  Builder builder;
  std::vector<flatbuffers::Offset<wire::BrokerInfo>> brokers;
  for (const ViewEntry& entry : entries)
    brokers.push_back(wire::CreateBrokerInfoDirect(builder, "node", entry.role,
                                                   entry.address.c_str(),
                                                   entry.worker_address.c_str(), entry.self));
  builder.Finish(wire::CreateViewDirect(builder, nullptr, epoch, &brokers));
  return Body(builder);
}

std::string ErrorBody(ErrorCode code, uint64_t request = 0) {
  Builder builder;
  builder.Finish(
      wire::CreateErrorDirect(builder, static_cast<uint16_t>(code), "because", 0, request));
  return Body(builder);
}

// A session with a driver that records what it is told.
class Driver {
 public:
  explicit Driver(SessionKind kind = SessionKind::kClient,
                  std::vector<HostPort> brokers = {{"one", 5570}, {"two", 5570}}, uint64_t seed = 1)
      : kind_(kind),
        session_({.kind = kind, .brokers = std::move(brokers), .seed = seed},
                 {.hello =
                      [this] {
                        ++hellos;
                        return HelloBody();
                      },
                  .heartbeat = [this] { return heartbeat_body; }}) {}

  void Tick(int64_t at_ms) {
    now_.mono_ms = at_ms;
    Clear();
    session_.OnTick(now_, &actions_);
    Read();
  }
  // Ticks at the session's own deadline.
  void TickWhenDue() { Tick(std::max(session_.next_deadline_ms(), now_.mono_ms)); }

  // Frames of a session are numbered as they come.
  void Frame(MessageType type, const std::string& body, uint64_t epoch = kEpoch,
             uint64_t session = 0) {
    if (type == MessageType::kWelcome || type == MessageType::kWorkerWelcome) number = 0;
    Numbered(session == 0 ? 0 : NumberAfter(number), type, body, epoch, session);
  }
  void Numbered(uint32_t this_number, MessageType type, const std::string& body,
                uint64_t epoch = kEpoch, uint64_t session = kSession) {
    if (this_number != 0) number = this_number;
    Bytes(
        SealFrame({.type = type, .number = this_number, .epoch = epoch, .session = session}, body));
  }
  void Bytes(std::string bytes) {
    Clear();
    held_ = std::move(bytes);
    session_.OnFrame(aligned_.Align(held_), now_, &actions_);
    Read();
  }
  void Disconnected() {
    Clear();
    session_.OnDisconnected(now_, &actions_);
    Read();
  }
  void Refused() {
    Clear();
    session_.OnRefused(now_, &actions_);
    Read();
  }
  void Close() {
    Clear();
    session_.Close(now_, &actions_);
    Read();
  }

  void SendWelcome(uint64_t epoch = kEpoch, uint32_t heartbeat_ms = kHeartbeat,
                   uint64_t session = kSession) {
    Builder builder;
    if (kind_ == SessionKind::kClient)
      builder.Finish(wire::CreateWelcome(builder, session, epoch, heartbeat_ms));
    else
      builder.Finish(wire::CreateWorkerWelcome(builder, session, epoch, heartbeat_ms));
    Frame(kind_ == SessionKind::kClient ? MessageType::kWelcome : MessageType::kWorkerWelcome,
          Body(builder), epoch, session);
  }
  // From nothing to an open session with the first broker.
  void Open() {
    Tick(0);
    Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
    SendWelcome();
  }

  // What the last event made it do.
  std::vector<std::string> connects;
  std::vector<FrameHeader> sent;
  std::vector<std::string> sent_bodies;
  std::vector<MessageType> delivered;
  std::optional<absl::Status> down, retry;
  bool up = false, disconnected = false;
  int hellos = 0;
  std::string heartbeat_body;
  uint32_t number = 0;       // of the session's last frame
  bool socket_full = false;  // of the socket that takes what is sent

  Session& session() { return session_; }
  int64_t now_ms() const { return now_.mono_ms; }

 private:
  static std::string HelloBody() {
    Builder builder;
    builder.Finish(wire::CreateHelloDirect(builder, nullptr, "test", "1"));
    return Body(builder);
  }
  void Clear() {
    actions_.clear();
    connects.clear();
    sent.clear();
    sent_bodies.clear();
    delivered.clear();
    down.reset();
    retry.reset();
    up = disconnected = false;
  }
  void Read() {
    for (const SessionAction& action : actions_) {
      if (auto* connect = std::get_if<ConnectAction>(&action))
        connects.push_back(connect->endpoint);
      if (std::holds_alternative<DisconnectAction>(action)) disconnected = true;
      if (auto* send = std::get_if<SendAction>(&action)) {
        if (socket_full) continue;
        sent.push_back(session_.HeaderFor(send->type));
        sent_bodies.push_back(send->body);
        session_.OnSent();
      }
      if (std::holds_alternative<UpAction>(action)) up = true;
      if (auto* lost = std::get_if<DownAction>(&action)) down = lost->reason;
      if (auto* failed = std::get_if<RetryAction>(&action)) retry = failed->reason;
      if (auto* frame = std::get_if<DeliverAction>(&action))
        delivered.push_back(frame->frame.header.type);
    }
  }

  SessionKind kind_;
  Session session_;
  SessionActions actions_;
  Now now_{.wall_ms = 1'000'000, .mono_ms = 0};
  AlignedCopy aligned_;
  std::string held_;
};

// --- Opening ---

TEST(SessionTest, FirstTickConnectsToTheFirstBrokerAndAsksForTheView) {
  Driver d;
  EXPECT_EQ(d.session().state(), SessionState::kIdle);
  EXPECT_EQ(d.session().next_deadline_ms(), 0);
  d.Tick(0);
  EXPECT_EQ(d.session().state(), SessionState::kDiscovering);
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5570"});
  ASSERT_EQ(d.sent.size(), 1u);
  EXPECT_EQ(d.sent[0].type, MessageType::kDiscover);
  EXPECT_EQ(d.sent[0].epoch, 0u);
  EXPECT_EQ(d.sent[0].session, 0u);
  EXPECT_EQ(d.session().next_deadline_ms(), kHelloTimeoutMs);
}

TEST(SessionTest, ClientGreetsAnActiveContactOnTheSameConnection) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSync, ":5570", ":5571", true}}));
  EXPECT_EQ(d.session().state(), SessionState::kGreeting);
  EXPECT_TRUE(d.connects.empty());
  ASSERT_EQ(d.sent.size(), 1u);
  EXPECT_EQ(d.sent[0].type, MessageType::kHello);
  EXPECT_EQ(d.sent[0].epoch, kEpoch);
  EXPECT_EQ(d.hellos, 1);
}

TEST(SessionTest, ClientFollowsTheViewToTheActiveBroker) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kStandby, ":5570", ":5571", true},
                                        {wire::Role::kActiveSync, "other:6000", ":6001"}}));
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://other:6000"});
  EXPECT_EQ(d.sent.at(0).type, MessageType::kHello);
}

TEST(SessionTest, WorkerConnectsToTheWorkerAddressOnTheHostItReached) {
  Driver d(SessionKind::kWorker);
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5571"});
  EXPECT_EQ(d.sent.at(0).type, MessageType::kWorkerHello);
  d.SendWelcome();
  EXPECT_TRUE(d.up);
  EXPECT_TRUE(d.session().ready());
}

TEST(SessionTest, WorkerFollowsTheViewOfAStandby) {
  Driver d(SessionKind::kWorker);
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSync, "b:5570", "b:9000"},
                                        {wire::Role::kStandby, ":5570", ":5571", true}}));
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://b:9000"});
}

TEST(SessionTest, WorkerNeedsAWorkerAddress) {
  Driver d(SessionKind::kWorker);
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", "", true}}));
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kMalformed);
}

TEST(SessionTest, OfTwoActiveBrokersTheOneThatAnswersIsTaken) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, "other:1", ":2"},
                                        {wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  EXPECT_TRUE(d.connects.empty());
  EXPECT_EQ(d.sent.at(0).type, MessageType::kHello);
}

TEST(SessionTest, WelcomeOpensTheSession) {
  Driver d;
  d.Open();
  EXPECT_TRUE(d.up);
  EXPECT_TRUE(d.session().ready());
  EXPECT_EQ(d.session().id(), SessionId(kSession));
  EXPECT_EQ(d.session().epoch(), Epoch(kEpoch));
  EXPECT_EQ(d.session().next_deadline_ms(), kHeartbeat);
  const FrameHeader header = d.session().HeaderFor(MessageType::kSubmit);
  EXPECT_EQ(header.session, kSession);
  EXPECT_EQ(header.epoch, kEpoch);
}

TEST(SessionTest, WelcomeWithoutASessionIsRefused) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  d.SendWelcome(kEpoch, kHeartbeat, 0);
  EXPECT_FALSE(d.up);
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kMalformed);
}

TEST(SessionTest, AbsurdHeartbeatIntervalsAreBounded) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  d.SendWelcome(kEpoch, 0);
  EXPECT_GE(d.session().heartbeat_ms(), 10u);
}

// --- Failing to open ---

TEST(SessionTest, SilentBrokersAreLeftForTheNextOfTheListAndAround) {
  Driver d;
  d.Tick(0);
  d.Tick(kHelloTimeoutMs - 1);
  EXPECT_EQ(d.session().state(), SessionState::kDiscovering);
  d.Tick(kHelloTimeoutMs);
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
  EXPECT_TRUE(d.disconnected);
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kUnavailable);
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://two:5570"});
  d.TickWhenDue();
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5570"});
}

// A standby takes over when somebody wants to be served.
TEST(SessionTest, AViewWithoutAnActiveBrokerIsAskedAllTheSame) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kStandby, ":5570", ":5571", true}}));
  EXPECT_EQ(d.session().state(), SessionState::kGreeting);
  ASSERT_EQ(d.sent.size(), 1u);
  EXPECT_EQ(d.sent[0].type, MessageType::kHello);
  d.Frame(MessageType::kError, ErrorBody(ErrorCode::kNotActive));
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://two:5570"});
}

TEST(SessionTest, AWorkerAsksAStandbyWhereItTakesWorkers) {
  Driver d(SessionKind::kWorker);
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kStandby, ":5570", ":5571", true}}));
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5571"});
  EXPECT_EQ(d.session().state(), SessionState::kGreeting);
}

TEST(SessionTest, AViewThatDoesNotNameItsSenderMeansTheNext) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kStandby, ":5570", ":5571", false}}));
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
}

TEST(SessionTest, ALostConnectionIsALostSession) {
  Driver d;
  d.Open();
  d.Disconnected();
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
  EXPECT_EQ(CodeOf(*d.down), ErrorCode::kUnavailable);
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://two:5570"});
}

TEST(SessionTest, ARefusedConnectionMeansTheNextIfThereIsOne) {
  Driver d;
  d.Tick(0);
  d.Refused();
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://two:5570"});

  Driver alone(SessionKind::kClient, {{"one", 5570}});
  alone.Tick(0);
  alone.Refused();
  EXPECT_EQ(alone.session().state(), SessionState::kDiscovering) << "ZeroMQ tries again";
}

TEST(SessionTest, OnlyARoundOfAllBrokersLengthensTheBackOff) {
  int64_t longest_ms = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Driver d(SessionKind::kClient, {{"one", 5570}, {"two", 5570}}, seed);
    int64_t now_ms = 0;
    d.Tick(now_ms);
    for (int round = 0; round < 3; ++round)
      for (int broker = 0; broker < 2; ++broker) {
        d.Refused();
        const int64_t wait_ms = d.session().next_deadline_ms() - now_ms;
        EXPECT_LE(wait_ms, broker == 0 ? kReconnectMinMs : kReconnectMinMs << round);
        longest_ms = std::max(longest_ms, wait_ms);
        d.Tick(now_ms += wait_ms);
      }
  }
  EXPECT_GT(longest_ms, kReconnectMinMs);
}

TEST(SessionTest, AnErrorWhileGreetingIsToldAndMeansTheNext) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  d.Frame(MessageType::kError, ErrorBody(ErrorCode::kPermissionDenied));
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kPermissionDenied);
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
}

TEST(SessionTest, NoWelcomeInTimeMeansTheNext) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  d.Tick(kHelloTimeoutMs);
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
}

TEST(SessionTest, UnreadableViewMeansTheNext) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, std::string(64, '\xff'));
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kMalformed);
}

TEST(SessionTest, BackoffDoublesToItsCapWithFullJitter) {
  int64_t longest = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Driver d(SessionKind::kClient, {{"one", 1}}, seed);
    d.Tick(0);
    int64_t cap = kReconnectMinMs;
    for (int failure = 0; failure < 12; ++failure) {
      d.TickWhenDue();  // the attempt times out
      ASSERT_EQ(d.session().state(), SessionState::kBackoff);
      const int64_t pause = d.session().next_deadline_ms() - d.now_ms();
      EXPECT_GE(pause, 0);
      EXPECT_LE(pause, cap);
      longest = std::max(longest, pause);
      cap = std::min<int64_t>(cap * 2, kReconnectMaxMs);
      d.TickWhenDue();
    }
  }
  EXPECT_GT(longest, kReconnectMaxMs / 2);  // it does use its room
}

TEST(SessionTest, TheSameSeedGivesTheSamePauses) {
  auto pause = [](uint64_t seed) {
    Driver d(SessionKind::kClient, {{"one", 1}}, seed);
    d.Tick(0);
    for (int i = 0; i < 20; ++i) d.TickWhenDue();
    return d.now_ms();
  };
  EXPECT_EQ(pause(7), pause(7));
  EXPECT_NE(pause(7), pause(8));
}

// Sessions that all lose the same broker of a pair in the same moment; the other one takes over 0.9 s later.
TEST(SessionTest, AThousandThatLoseTheirBrokerComeSpreadOut) {
  constexpr size_t kSessions = 1'000;
  constexpr int64_t kLostMs = 10'000, kTakesOverMs = kLostMs + 900, kWindowMs = 10;
  std::vector<std::unique_ptr<Driver>> drivers;
  for (uint64_t seed = 0; seed < kSessions; ++seed)
    drivers.push_back(std::make_unique<Driver>(
        SessionKind::kClient, std::vector<HostPort>{{"one", 5570}, {"two", 5570}}, seed));
  std::vector<int> asked(20'000);  // of each millisecond: how many turn to the other one
  size_t ready = 0, asks = 0, most = 0;
  // What its event made the session do, until it waits for time.
  auto answer = [&](Driver& d, int64_t now_ms) {
    while (!d.connects.empty()) {
      if (d.connects.back().find("one") != std::string::npos) {
        d.Refused();
        continue;
      }
      ++asked[static_cast<size_t>(now_ms)];
      ++asks;
      const bool serves = now_ms >= kTakesOverMs;
      const wire::Role role = serves ? wire::Role::kActiveSolo : wire::Role::kStandby;
      d.Frame(MessageType::kView, ViewBody({{role, ":5570", ":5571", true}}, kEpoch + 1),
              kEpoch + 1);
      if (serves)
        d.SendWelcome(kEpoch + 1);
      else
        d.Frame(MessageType::kError, ErrorBody(ErrorCode::kUnavailable), kEpoch + 1);
      ready += d.session().ready();
    }
  };
  for (auto& d : drivers) {
    d->Open();
    d->Tick(kLostMs);
    d->Disconnected();
    answer(*d, kLostMs);
  }
  int64_t now_ms = kLostMs;
  for (; ready < kSessions && now_ms < static_cast<int64_t>(asked.size()) - 1; ++now_ms)
    for (auto& d : drivers)
      if (!d->session().ready() && d->session().next_deadline_ms() <= now_ms) {
        d->Tick(now_ms);
        answer(*d, now_ms);
      }
  EXPECT_EQ(ready, kSessions);
  for (size_t ms = kLostMs + kWindowMs; ms < asked.size(); ++ms)
    most =
        std::max(most, static_cast<size_t>(std::accumulate(&asked[ms - kWindowMs], &asked[ms], 0)));
  RecordProperty("most_in_10_ms", static_cast<int>(most));
  RecordProperty("asks", static_cast<int>(asks));
  RecordProperty("all_ready_after_ms", static_cast<int>(now_ms - kTakesOverMs));
  EXPECT_LT(most, kSessions / 3) << "in any 10 ms";
  EXPECT_LT(asks, 12 * kSessions);
  EXPECT_LT(now_ms, kTakesOverMs + 2 * kReconnectMaxMs);
}

// --- The open session ---

TEST(SessionTest, HeartbeatsCarryTheOwnersBody) {
  Driver d;
  d.Open();
  Builder builder;
  builder.Finish(wire::CreateHeartbeat(builder, 0, 3, 4));
  d.heartbeat_body = Body(builder);
  d.Tick(kHeartbeat - 1);
  EXPECT_TRUE(d.sent.empty());
  d.Tick(kHeartbeat);
  ASSERT_EQ(d.sent.size(), 1u);
  EXPECT_EQ(d.sent[0].type, MessageType::kHeartbeat);
  EXPECT_EQ(d.sent[0].session, kSession);
  EXPECT_EQ(d.sent_bodies[0], d.heartbeat_body);
}

TEST(SessionTest, ThreeSilentIntervalsEndTheSession) {
  Driver d;
  d.Open();
  for (int64_t ms = 500; ms < 3 * kHeartbeat; ms += 500) {
    d.Tick(ms);
    ASSERT_FALSE(d.down) << ms;
  }
  d.Tick(3 * kHeartbeat);
  ASSERT_TRUE(d.down);
  EXPECT_EQ(CodeOf(*d.down), ErrorCode::kUnavailable);
  EXPECT_TRUE(d.disconnected);
  EXPECT_FALSE(d.session().id());
  // The contact was the lost broker itself, so the other one is asked.
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://two:5570"});
  EXPECT_EQ(d.sent.at(0).epoch, kEpoch);
  EXPECT_EQ(d.sent.at(0).session, 0u);
}

TEST(SessionTest, AnyFrameBreaksTheSilence) {
  Driver d;
  d.Open();
  for (int i = 1; i < 20; ++i) {
    d.Tick(i * kHeartbeat);
    d.Frame(MessageType::kHeartbeatAck, "", kEpoch, kSession);
    EXPECT_EQ(d.delivered, std::vector{MessageType::kHeartbeatAck});
  }
  EXPECT_TRUE(d.session().ready());
}

TEST(SessionTest, APauseOfThisProcessIsNotTheBrokersSilence) {
  Driver d;
  d.Open();
  d.Tick(kHeartbeat);
  d.Tick(60 * kHeartbeat);
  EXPECT_FALSE(d.down);
  EXPECT_EQ(d.sent.at(0).type, MessageType::kHeartbeat);
}

TEST(SessionTest, ALostBrokerThatWasNotTheContactLeavesTheContactInUse) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kStandby, ":5570", ":5571", true},
                                        {wire::Role::kActiveSync, "two:5570", ":5571"}}));
  d.SendWelcome();
  for (int i = 1; i <= 3; ++i) d.Tick(i * kHeartbeat);
  ASSERT_TRUE(d.down);
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5570"});
}

TEST(SessionTest, NoSessionAndNotActiveEndTheSessionAtOnce) {
  for (ErrorCode code : {ErrorCode::kNoSession, ErrorCode::kNotActive}) {
    Driver d;
    d.Open();
    d.Frame(MessageType::kError, ErrorBody(code), kEpoch, 0);
    ASSERT_TRUE(d.down);
    EXPECT_EQ(CodeOf(*d.down), code);
    EXPECT_LE(d.session().next_deadline_ms() - d.now_ms(), kReconnectMinMs);
    // That broker answers: it can say who is active.
    d.TickWhenDue();
    EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5570"});
  }
}

TEST(SessionTest, OtherErrorsAreTheOwners) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kError, ErrorBody(ErrorCode::kInvalidArgument, 9), kEpoch, kSession);
  EXPECT_EQ(d.delivered, std::vector{MessageType::kError});
  EXPECT_TRUE(d.session().ready());
}

TEST(SessionTest, ALowerEpochIsRefusedForLife) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kHeartbeatAck, "", kEpoch - 4, kSession);
  ASSERT_TRUE(d.down);
  EXPECT_EQ(CodeOf(*d.down), ErrorCode::kStale);
  EXPECT_TRUE(d.delivered.empty());
  d.TickWhenDue();
  d.Frame(MessageType::kView,
          ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}, kEpoch - 4), kEpoch - 4);
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kStale);
  EXPECT_EQ(d.session().epoch(), Epoch(kEpoch));
}

TEST(SessionTest, AHigherEpochIsTakenOverIntoEveryHeader) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kHeartbeatAck, "", kEpoch + 4, kSession);
  EXPECT_EQ(d.session().epoch(), Epoch(kEpoch + 4));
  d.Tick(kHeartbeat);
  EXPECT_EQ(d.sent.at(0).epoch, kEpoch + 4);
}

TEST(SessionTest, FramesOfAnotherSessionAreDropped) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kSubmitAck, "", kEpoch, kSession + 1);
  EXPECT_TRUE(d.delivered.empty());
  EXPECT_EQ(d.session().dropped_frames(), 1u);
}

TEST(SessionTest, UnreadableFramesAreDroppedAndEndNothing) {
  Driver d;
  d.Open();
  d.Bytes("");
  d.Bytes("ZSCH");
  d.Bytes(std::string(400, 'x'));
  std::string damaged = SealFrame(
      {.type = MessageType::kHeartbeatAck, .epoch = kEpoch, .session = kSession}, "12345678");
  damaged.back() ^= 1;
  d.Bytes(damaged);
  d.Frame(MessageType::kError, "12345678", kEpoch, kSession);
  d.Frame(MessageType::kView, "", kEpoch, kSession);
  EXPECT_EQ(d.session().dropped_frames(), 6u);
  EXPECT_TRUE(d.session().ready());
}

// --- The numbered stream ---

TEST(SessionTest, FramesOfASessionAreNumberedFromOneInEachSession) {
  Driver d;
  d.Tick(0);
  EXPECT_EQ(d.sent.at(0).number, 0u);  // DISCOVER
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  EXPECT_EQ(d.sent.at(0).number, 0u);  // HELLO
  d.SendWelcome();
  EXPECT_EQ(d.session().HeaderFor(MessageType::kSubmit).number, 1u);
  d.session().OnSent();
  d.Tick(kHeartbeat);
  EXPECT_EQ(d.sent.at(0).number, 2u);
  d.Close();
  EXPECT_EQ(d.sent.at(0).number, 3u);

  Driver again;
  again.Open();
  again.session().OnSent();
  again.Frame(MessageType::kError, ErrorBody(ErrorCode::kNoSession), kEpoch, 0);
  again.TickWhenDue();
  EXPECT_EQ(again.sent.at(0).number, 0u);
  again.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  again.SendWelcome(kEpoch, kHeartbeat, kSession + 1);
  EXPECT_EQ(again.session().HeaderFor(MessageType::kSubmit).number, 1u);
}

TEST(SessionTest, AFrameThatTheSocketDidNotTakeUsesNoNumber) {
  Driver d;
  d.Open();
  d.socket_full = true;
  d.Tick(kHeartbeat);
  d.socket_full = false;
  d.Tick(2 * kHeartbeat);
  EXPECT_EQ(d.sent.at(0).number, 1u);
}

TEST(SessionTest, ARepeatIsDroppedAndIsNoSignOfLife) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kHeartbeatAck, "", kEpoch, kSession);
  for (uint32_t repeat : {2u, 1u}) {
    d.Tick(d.now_ms() + kHeartbeat);
    d.Numbered(repeat, MessageType::kHeartbeatAck, "");
    EXPECT_TRUE(d.delivered.empty());
    EXPECT_TRUE(d.session().ready());
  }
  EXPECT_EQ(d.session().repeated_frames(), 2u);
  d.Tick(d.now_ms() + kHeartbeat);
  EXPECT_TRUE(d.down);
}

TEST(SessionTest, ARepeatedWelcomeOpensNothingTwice) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kHeartbeatAck, "", kEpoch, kSession);
  d.SendWelcome();
  EXPECT_FALSE(d.up);
  EXPECT_EQ(d.session().repeated_frames(), 1u);
  d.SendWelcome(kEpoch, kHeartbeat, kSession + 1);  // to a HELLO that arrived twice
  EXPECT_FALSE(d.up);
  EXPECT_EQ(d.session().id(), SessionId(kSession));
}

TEST(SessionTest, AGapEndsTheSessionAndTheSameBrokerIsAskedAgain) {
  Driver d;
  d.Open();
  d.Numbered(3, MessageType::kSubmitAck, "");
  EXPECT_TRUE(d.delivered.empty());
  ASSERT_TRUE(d.down);
  EXPECT_EQ(CodeOf(*d.down), ErrorCode::kUnavailable);
  EXPECT_TRUE(d.disconnected);
  d.TickWhenDue();
  EXPECT_EQ(d.connects, std::vector<std::string>{"tcp://one:5570"});
}

TEST(SessionTest, AGapWhileLeavingIsTheEnd) {
  Driver d;
  d.Open();
  d.Close();
  d.Numbered(3, MessageType::kGoodbye, "");
  EXPECT_EQ(d.session().state(), SessionState::kClosed);
  EXPECT_FALSE(d.session().goodbye_echoed());
}

TEST(SessionTest, AWelcomeThatIsNotTheFirstFrameIsRefused) {
  Driver d;
  d.Tick(0);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  Builder builder;
  builder.Finish(wire::CreateWelcome(builder, kSession, kEpoch, kHeartbeat));
  d.Numbered(2, MessageType::kWelcome, Body(builder));
  EXPECT_FALSE(d.up);
  EXPECT_EQ(CodeOf(*d.retry), ErrorCode::kMalformed);
}

TEST(SessionTest, AFrameOfTheSessionWithoutANumberIsDropped) {
  Driver d;
  d.Open();
  d.Numbered(0, MessageType::kSubmitAck, "");
  EXPECT_TRUE(d.delivered.empty());
  EXPECT_TRUE(d.session().ready());
  EXPECT_EQ(d.session().dropped_frames(), 1u);
}

TEST(SessionTest, ErrorsOutsideOfTheSessionTakeNoNumberOfIt) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kError, ErrorBody(ErrorCode::kMalformed), kEpoch, 0);
  EXPECT_EQ(d.delivered, std::vector{MessageType::kError});
  d.Numbered(2, MessageType::kHeartbeatAck, "");
  EXPECT_EQ(d.delivered, std::vector{MessageType::kHeartbeatAck});
}

TEST(SessionTest, AfterALossEverythingBeginsAgainOnANewSocket) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kError, ErrorBody(ErrorCode::kNoSession), kEpoch, 0);
  d.TickWhenDue();
  EXPECT_EQ(d.session().state(), SessionState::kDiscovering);
  d.Frame(MessageType::kView, ViewBody({{wire::Role::kActiveSolo, ":5570", ":5571", true}}));
  d.SendWelcome(kEpoch + 4, kHeartbeat, kSession + 1);
  EXPECT_TRUE(d.up);
  EXPECT_EQ(d.session().id(), SessionId(kSession + 1));
  EXPECT_EQ(d.hellos, 2);
}

// --- Leaving ---

TEST(SessionTest, CloseSaysGoodbyeAndWaitsForItsEcho) {
  Driver d;
  d.Open();
  d.Close();
  EXPECT_EQ(d.sent.at(0).type, MessageType::kGoodbye);
  EXPECT_EQ(d.session().state(), SessionState::kClosing);
  d.Frame(MessageType::kSubmitAck, "", kEpoch, kSession);
  EXPECT_EQ(d.delivered, std::vector{MessageType::kSubmitAck});
  d.Frame(MessageType::kGoodbye, "", kEpoch, kSession);
  EXPECT_EQ(d.session().state(), SessionState::kClosed);
  EXPECT_TRUE(d.session().goodbye_echoed());
  EXPECT_TRUE(d.disconnected);
  EXPECT_EQ(d.session().next_deadline_ms(), Session::kNever);
}

TEST(SessionTest, CloseDoesNotWaitForEver) {
  Driver d;
  d.Open();
  d.Close();
  d.TickWhenDue();
  EXPECT_EQ(d.session().state(), SessionState::kClosed);
  EXPECT_FALSE(d.session().goodbye_echoed());
}

TEST(SessionTest, CloseWithoutASessionIsImmediate) {
  Driver idle;
  idle.Close();
  EXPECT_EQ(idle.session().state(), SessionState::kClosed);
  Driver discovering;
  discovering.Tick(0);
  discovering.Close();
  EXPECT_EQ(discovering.session().state(), SessionState::kClosed);
  EXPECT_TRUE(discovering.disconnected);
  discovering.Tick(100'000);
  EXPECT_TRUE(discovering.connects.empty());
}

TEST(SessionTest, AGoodbyeThatWasNotAskedForEndsTheSession) {
  Driver d;
  d.Open();
  d.Frame(MessageType::kGoodbye, "", kEpoch, kSession);
  EXPECT_TRUE(d.down);
  EXPECT_EQ(d.session().state(), SessionState::kBackoff);
}

}  // namespace
}  // namespace zsched
