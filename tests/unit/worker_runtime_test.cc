// zsched::Worker against a broker that the test plays on a real ROUTER socket, frame by frame.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zmq.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "schemas/frame.h"
#include "schemas/limits.h"
#include "schemas/verify.h"
#include "zsched/worker.h"

namespace zsched {
namespace {

using flatbuffers::FlatBufferBuilder;
using std::chrono::milliseconds;

// Far more than anything here needs, far less than a hang.
constexpr auto kPatience = std::chrono::seconds(20);

// A frame that outlives its message, with the body where FlatBuffers can read it.
struct Frame {
  FrameHeader header;
  std::vector<uint64_t> words;
  size_t body_bytes = 0;

  template <class T>
  const T* As() const {
    return VerifyBody<T>({reinterpret_cast<const char*>(words.data()), body_bytes});
  }
};

struct TaskSpec {
  uint64_t lease;
  std::string type;
  std::string payload = {};
  uint32_t timeout_ms = 60'000;
  uint16_t attempt = 1;
  uint64_t start_within_ms = 0;
};

std::string BodyOf(const FlatBufferBuilder& builder) {
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

// One endpoint for DISCOVER and workers. Answers DISCOVER and HEARTBEAT by itself while the test waits
// for something else; everything else is the test's.
class Broker {
 public:
  Broker() { Open("*"); }
  ~Broker() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // The next frame that is not of the session's own upkeep, which has to be of `type`.
  Frame Expect(MessageType type) {
    Frame frame = Next();
    EXPECT_EQ(static_cast<int>(frame.header.type), static_cast<int>(type));
    return frame;
  }
  // The next frame that Serve does not deal with.
  Frame Next() {
    Frame frame;
    EXPECT_TRUE(Serve(&frame, [] { return false; })) << "no frame came";
    return frame;
  }
  // Until the grant in force is `tasks`; nothing else may come.
  void AwaitGrant(uint32_t tasks) {
    Frame frame;
    ASSERT_FALSE(Serve(&frame, [&] { return grant_ == tasks; })) << "another frame came";
    ASSERT_EQ(grant_, tasks);
  }
  // Until all of `leases` were given back; nothing else may come.
  void AwaitReleased(std::set<uint64_t> leases) {
    Frame frame;
    auto have = [&] {
      return std::includes(released.begin(), released.end(), leases.begin(), leases.end());
    };
    ASSERT_FALSE(Serve(&frame, have)) << "another frame came";
    ASSERT_TRUE(have());
  }
  // `count` more heartbeats; nothing else may come.
  void AwaitHeartbeats(int count) {
    int goal = heartbeats_ + count;
    Frame frame;
    ASSERT_FALSE(Serve(&frame, [&] { return heartbeats_ >= goal; })) << "another frame came";
  }
  // Acknowledges whatever comes until the worker has left.
  void SeeOff(const std::atomic<bool>& left) {
    Frame frame;
    Acknowledge(UINT64_MAX);
    while (Serve(&frame, [&] { return left.load(); })) {
      if (frame.header.type == MessageType::kResults) Acknowledge(frame.As<wire::Results>()->seq());
      if (frame.header.type == MessageType::kGoodbye) Send(MessageType::kGoodbye, "");
    }
  }
  // Waits for a heartbeat that names `lease` among the started attempts.
  void AwaitStarted(uint64_t lease) {
    Frame frame;
    ASSERT_FALSE(Serve(&frame, [&] { return started_.contains(lease); })) << "another frame came";
    ASSERT_TRUE(started_.contains(lease));
  }

  // HELLO and WELCOME; returns the leases that HELLO named.
  std::vector<uint64_t> Greet(std::vector<uint64_t> stale = {}) {
    Frame hello = Expect(MessageType::kWorkerHello);
    const auto* body = hello.As<wire::WorkerHello>();
    std::vector<uint64_t> held;
    if (body == nullptr) {
      ADD_FAILURE() << "WORKER_HELLO cannot be read";
      return held;
    }
    for (const wire::LeaseRef* ref : *body->held()) held.push_back(ref->lease_id());
    name = body->name()->str();
    types = body->types()->size();
    ++session_;
    sent_ = received_ = 0;
    grant_ = 0;
    FlatBufferBuilder builder;
    auto stale_vector = builder.CreateVector(stale);
    builder.Finish(wire::CreateWorkerWelcome(builder, session_, epoch_, heartbeat_ms,
                                             kVisibilityTimeoutMs, stale_vector));
    Send(MessageType::kWorkerWelcome, BodyOf(builder));
    return held;
  }
  void Assign(const std::vector<TaskSpec>& specs) {
    FlatBufferBuilder builder;
    std::vector<flatbuffers::Offset<wire::Assignment>> tasks;
    for (const TaskSpec& spec : specs) {
      auto type = builder.CreateString(spec.type), queue = builder.CreateString("default");
      auto payload = builder.CreateVector(reinterpret_cast<const uint8_t*>(spec.payload.data()),
                                          spec.payload.size());
      auto labels =
          builder.CreateVector(std::vector{wire::CreateLabelDirect(builder, "team", "blue")});
      tasks.push_back(wire::CreateAssignment(builder, 1000 + spec.lease, spec.lease, spec.attempt,
                                             5, spec.timeout_ms, 5, type, queue, payload, 0, 123,
                                             labels, 0, 0, 0, 0, spec.start_within_ms));
    }
    builder.Finish(wire::CreateTasks(builder, builder.CreateVector(tasks)));
    Send(MessageType::kTasks, BodyOf(builder));
  }
  void Acknowledge(uint64_t seq, std::vector<uint64_t> stale = {}) {
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateResultAck(builder, seq, builder.CreateVector(stale)));
    Send(MessageType::kResultAck, BodyOf(builder));
  }
  void Cancel(uint64_t lease, ErrorCode code) {
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateCancel(builder, builder.CreateVector(std::vector{lease}),
                                      static_cast<uint16_t>(code)));
    Send(MessageType::kCancel, BodyOf(builder));
  }
  void SendError(ErrorCode code) {
    FlatBufferBuilder builder;
    auto message = builder.CreateString("as the test wants it");
    builder.Finish(wire::CreateError(builder, static_cast<uint16_t>(code), message));
    Send(MessageType::kError, BodyOf(builder));
  }
  void SayGoodbye() {
    Expect(MessageType::kGoodbye);
    Send(MessageType::kGoodbye, "");
  }
  void Send(MessageType type, const std::string& body) {
    SendBytes(
        SealFrame({.type = type, .number = ++sent_, .epoch = epoch_, .session = session_}, body));
  }

  uint32_t heartbeat_ms = 500;
  std::string name;
  size_t types = 0;
  std::set<uint64_t> released;

 private:
  void Open(const std::string& port) {
    context_ = zmq_ctx_new();
    socket_ = zmq_socket(context_, ZMQ_ROUTER);
    int linger = 0, timeout_ms = 100;
    zmq_setsockopt(socket_, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &timeout_ms, sizeof(timeout_ms));
    ASSERT_EQ(zmq_bind(socket_, ("tcp://127.0.0.1:" + port).c_str()), 0);
    char endpoint[64];
    size_t size = sizeof(endpoint);
    ASSERT_EQ(zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    port_ = std::stoi(std::string(endpoint).substr(std::string(endpoint).rfind(':') + 1));
  }
  // Answers DISCOVER and HEARTBEAT, notes CREDIT and RELEASE, until something else comes (true, in `frame`) or
  // `enough`, or patience ends (false).
  template <class Enough>
  bool Serve(Frame* frame, Enough enough) {
    auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!enough() && std::chrono::steady_clock::now() < deadline) {
      *frame = {};
      if (!Receive(frame)) continue;
      if (frame->header.type == MessageType::kDiscover) {
        SendView();
      } else if (frame->header.type == MessageType::kHeartbeat) {
        OnHeartbeat(*frame);
      } else if (frame->header.type == MessageType::kCredit) {
        grant_ = frame->As<wire::Credit>()->tasks();
      } else if (frame->header.type == MessageType::kRelease) {
        for (const wire::LeaseRef* ref : *frame->As<wire::Release>()->leases())
          released.insert(ref->lease_id());
      } else {
        return true;
      }
    }
    return false;
  }
  bool Receive(Frame* frame) {
    char id[256];
    int id_bytes = zmq_recv(socket_, id, sizeof(id), 0);
    if (id_bytes < 0) return false;
    peer_.assign(id, static_cast<size_t>(id_bytes));
    zmq_msg_t message;
    zmq_msg_init(&message);
    zmq_msg_recv(&message, socket_, 0);
    std::string bytes(static_cast<char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    zmq_msg_close(&message);
    absl::StatusOr<FrameView> view = OpenFrame(bytes);
    EXPECT_TRUE(view.ok()) << view.status();
    if (!view.ok()) return false;
    frame->header = view->header;
    if (view->header.session == session_) {
      EXPECT_EQ(view->header.number, ++received_);
    }
    frame->words.resize(view->body.size() / 8 + 1);
    frame->body_bytes = view->body.size();
    std::memcpy(frame->words.data(), view->body.data(), view->body.size());
    return true;
  }
  void OnHeartbeat(const Frame& frame) {
    ++heartbeats_;
    const auto* heartbeat = frame.As<wire::Heartbeat>();
    ASSERT_NE(heartbeat, nullptr);
    if (heartbeat->started() != nullptr)
      for (const wire::LeaseRef* ref : *heartbeat->started()) started_.insert(ref->lease_id());
    FlatBufferBuilder builder;
    builder.Finish(wire::CreateHeartbeatAck(builder));
    Send(MessageType::kHeartbeatAck, BodyOf(builder));
  }
  void SendView() {
    FlatBufferBuilder builder;
    std::string here = ":" + std::to_string(port_);
    std::vector brokers = {wire::CreateBrokerInfoDirect(builder, "primary", wire::Role::kActiveSolo,
                                                        here.c_str(), here.c_str(), true)};
    wire::Uuid cluster(1, 2);
    builder.Finish(wire::CreateView(builder, &cluster, epoch_, builder.CreateVector(brokers)));
    SendBytes(SealFrame({.type = MessageType::kView, .epoch = epoch_}, BodyOf(builder)));
  }
  void SendBytes(const std::string& frame) {
    zmq_send(socket_, peer_.data(), peer_.size(), ZMQ_SNDMORE);
    zmq_send(socket_, frame.data(), frame.size(), 0);
  }

  void* context_ = nullptr;
  void* socket_ = nullptr;
  int port_ = 0;
  std::string peer_;  // who spoke last
  uint64_t session_ = 100;
  uint32_t sent_ = 0, received_ = 0;  // numbers of the session's last frames
  uint64_t epoch_ = 4;
  uint32_t grant_ = 0;
  int heartbeats_ = 0;
  std::set<uint64_t> started_;
};

// Opened once, by the test, for handlers that wait for it.
class Gate {
 public:
  void Open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class WorkerRuntimeTest : public ::testing::Test {
 protected:
  void Start(int concurrency = 1) {
    WorkerOptions options;
    options.brokers = broker.address();
    options.concurrency = concurrency;
    options.name = "w1";
    options.recycle_after_tasks = recycle_after_tasks;
    options.on_event = [this](const WorkerEvent& event) {
      std::lock_guard lock(mutex_);
      events_.push_back(event.kind);
      changed_.notify_all();
    };
    auto made = Worker::Create(options);
    ASSERT_TRUE(made.ok()) << made.status();
    worker = *std::move(made);
    Register("noop", [](TaskContext&) { return TaskResult::Ok(); });
    Register("wait", [this](TaskContext&) {
      gate.Pass();
      return TaskResult::Ok("waited");
    });
    Register("until-cancelled", [](TaskContext& task) -> TaskResult {
      if (task.WaitCancelled(kPatience)) return Error(ErrorCode::kCancelled, "told to");
      return TaskResult::Ok();
    });
    for (auto& [type, handler] : more_types) Register(type, handler);
    thread_ = std::thread([this] {
      ended = worker->Run();
      left_ = true;
    });
  }
  void Register(const std::string& type, TaskHandler handler) {
    ASSERT_TRUE(worker->Register(type, std::move(handler)).ok());
  }
  // Answers what a drained worker says.
  void DrainAndJoin() {
    worker->Drain();
    broker.AwaitGrant(0);
    broker.SayGoodbye();
    Join();
    EXPECT_TRUE(ended.ok()) << ended;
  }
  void SeeOffAndJoin() {
    broker.SeeOff(left_);
    Join();
  }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }
  void AwaitEvent(WorkerEvent::Kind kind) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, kPatience, [&] {
      return std::find(events_.begin(), events_.end(), kind) != events_.end();
    })) << NameOf(kind);
  }
  void TearDown() override {
    gate.Open();
    if (worker == nullptr) return;
    worker->Stop();
    SeeOffAndJoin();
  }
  // The only entry of a RESULTS frame that has one detailed result.
  const wire::Result* Only(const Frame& frame) {
    const auto* results = frame.As<wire::Results>();
    EXPECT_NE(results, nullptr);
    if (results == nullptr || results->results() == nullptr) return nullptr;
    EXPECT_EQ(results->results()->size(), 1u);
    return results->results()->Get(0);
  }
  // One task of `type`, its result.
  void RunOne(TaskSpec spec, Frame* frame) {
    Start();
    broker.Greet();
    broker.Assign({spec});
    *frame = broker.Expect(MessageType::kResults);
  }

  // A type "mark" that shows whether a task of it has run.
  void AddMark() {
    more_types.emplace_back("mark", [this](TaskContext&) {
      marked = true;
      return TaskResult::Ok();
    });
  }

  Broker broker;
  Gate gate;
  std::atomic<bool> marked{false};
  std::vector<std::pair<std::string, TaskHandler>> more_types;
  uint64_t recycle_after_tasks = 0;
  std::unique_ptr<Worker> worker;
  absl::Status ended;

 private:
  std::thread thread_;
  std::atomic<bool> left_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<WorkerEvent::Kind> events_;
};

TEST_F(WorkerRuntimeTest, RunsATaskAndLeavesWhenDrained) {
  Start();
  EXPECT_TRUE(broker.Greet().empty());
  EXPECT_EQ(broker.name, "w1");
  EXPECT_EQ(broker.types, 3u);
  broker.Assign({{7, "noop"}});
  Frame frame = broker.Expect(MessageType::kResults);
  const auto* results = frame.As<wire::Results>();
  ASSERT_NE(results, nullptr);
  EXPECT_EQ(results->seq(), 1u);
  ASSERT_EQ(results->done()->size(), 1u);
  EXPECT_EQ(results->done()->Get(0)->task_id(), 1007u);
  EXPECT_EQ(results->done()->Get(0)->lease_id(), 7u);
  broker.Acknowledge(1);
  worker->Drain();
  broker.AwaitGrant(0);
  broker.SayGoodbye();
  Join();
  EXPECT_TRUE(ended.ok()) << ended;
}

TEST_F(WorkerRuntimeTest, TheHandlerSeesItsTask) {
  more_types.emplace_back("look", [](TaskContext& task) {
    std::string seen =
        fmt::format("{} {} {} {} {} {}/{} {} {} {}", ToString(task.task_id()),
                    ToString(task.lease_id()), task.type(), task.queue(), task.payload(),
                    task.attempt(), task.max_attempts(), task.submitted_at_ms(),
                    task.label("team").value_or("?"), task.label("other").value_or("none"));
    return TaskResult::Ok(std::move(seen), "text/plain");
  });
  Frame frame;
  RunOne({9, "look", "the payload", 60'000, 3}, &frame);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_TRUE(result->succeeded());
  EXPECT_EQ(TextOf(result->content_type()), "text/plain");
  EXPECT_EQ(BytesOf(result->result()), "0-1009 0-9 look default the payload 3/5 123 blue none");
}

TEST_F(WorkerRuntimeTest, AFailureKeepsItsCodeAndAdvice) {
  more_types.emplace_back("fail", [](TaskContext&) {
    return TaskResult(Error(ErrorCode::kUnavailable, "later")).RetryAfter(milliseconds(1500));
  });
  Frame frame;
  RunOne({1, "fail"}, &frame);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_FALSE(result->succeeded());
  EXPECT_EQ(result->error_code(), static_cast<uint16_t>(ErrorCode::kUnavailable));
  EXPECT_EQ(TextOf(result->error_message()), "later");
  EXPECT_EQ(result->advice(), wire::RetryAdvice::kAfter);
  EXPECT_EQ(result->retry_after_ms(), 1500u);
}

TEST_F(WorkerRuntimeTest, AnExceptionIsAFailedAttempt) {
  more_types.emplace_back("throw",
                          [](TaskContext&) -> TaskResult { throw std::runtime_error("boom"); });
  Frame frame;
  RunOne({1, "throw"}, &frame);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->error_code(), static_cast<uint16_t>(ErrorCode::kHandlerFailed));
  EXPECT_EQ(TextOf(result->error_message()), "boom");
}

TEST_F(WorkerRuntimeTest, AnUnknownTypeFailsAsSuch) {
  Frame frame;
  RunOne({1, "nobody-knows"}, &frame);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->error_code(), static_cast<uint16_t>(ErrorCode::kUnknownType));
}

TEST_F(WorkerRuntimeTest, ATimeoutCancelsTheHandlerAndIsReported) {
  Frame frame;
  RunOne({1, "until-cancelled", "", 30}, &frame);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->error_code(), static_cast<uint16_t>(ErrorCode::kAttemptTimedOut));
}

TEST_F(WorkerRuntimeTest, HeartbeatsNameWhatRuns) {
  Start();
  broker.Greet();
  broker.Assign({{5, "wait"}});
  broker.AwaitStarted(5);
}

TEST_F(WorkerRuntimeTest, CancelThatTakesTheLeaseEndsTheAttemptAndItsResultIsNobodys) {
  Start();
  broker.Greet();
  broker.Assign({{5, "until-cancelled"}});
  broker.AwaitStarted(5);
  broker.Cancel(5, ErrorCode::kAttemptTimedOut);
  broker.AwaitGrant(0);
  // The slot is taken until the handler has returned, then the grant is back.
  broker.AwaitGrant(1);
  broker.Assign({{6, "noop"}});
  Frame frame = broker.Expect(MessageType::kResults);
  EXPECT_EQ(frame.As<wire::Results>()->done()->Get(0)->lease_id(), 6u);
}

TEST_F(WorkerRuntimeTest, CancelThatTakesWhatHasNotBegunNeverRunsIt) {
  AddMark();
  Start();
  broker.Greet();
  broker.Assign({{1, "wait"}, {2, "mark"}});
  broker.AwaitStarted(1);
  broker.Cancel(2, ErrorCode::kAttemptTimedOut);
  // A heartbeat that came behind the answer to an earlier one shows that CANCEL was read.
  broker.AwaitHeartbeats(2);
  gate.Open();
  Frame frame = broker.Expect(MessageType::kResults);
  EXPECT_EQ(Only(frame)->lease_id(), 1u);
  EXPECT_FALSE(marked);
}

TEST_F(WorkerRuntimeTest, CancelledTaskSeesItsFlagAndIsReportedAndItsSlotIsFree) {
  std::atomic<ErrorCode> before{ErrorCode::kInternal}, reason{ErrorCode::kOk};
  more_types.emplace_back("reason", [&](TaskContext& task) {
    before = task.cancel_reason();
    while (!task.WaitCancelled(std::chrono::seconds(1))) continue;
    reason = task.cancel_reason();
    return TaskResult::Ok("too late");
  });
  Start();
  broker.Greet();
  broker.Assign({{5, "reason"}});
  broker.AwaitStarted(5);
  broker.Cancel(5, ErrorCode::kCancelled);
  Frame frame = broker.Expect(MessageType::kResults);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->lease_id(), 5u);
  EXPECT_FALSE(result->succeeded());
  EXPECT_EQ(result->error_code(), static_cast<uint16_t>(ErrorCode::kCancelled));
  EXPECT_EQ(before, ErrorCode::kOk);
  EXPECT_EQ(reason, ErrorCode::kCancelled);
  broker.Assign({{6, "noop"}});
  Frame next = broker.Expect(MessageType::kResults);
  EXPECT_EQ(next.As<wire::Results>()->done()->Get(0)->lease_id(), 6u);
}

TEST_F(WorkerRuntimeTest, CancelledTaskThatHasNotBegunIsReportedAndNeverRuns) {
  AddMark();
  Start();
  broker.Greet();
  broker.Assign({{1, "wait"}, {2, "mark"}});
  broker.AwaitStarted(1);
  broker.Cancel(2, ErrorCode::kCancelled);
  Frame frame = broker.Expect(MessageType::kResults);
  const wire::Result* result = Only(frame);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->lease_id(), 2u);
  EXPECT_EQ(result->error_code(), static_cast<uint16_t>(ErrorCode::kCancelled));
  gate.Open();
  broker.Expect(MessageType::kResults);
  EXPECT_FALSE(marked);
}

TEST_F(WorkerRuntimeTest, AfterALostSessionHelloNamesWhatIsHeldAndResultsComeAgain) {
  Start();
  broker.Greet();
  broker.Assign({{1, "noop"}});
  EXPECT_EQ(broker.Expect(MessageType::kResults).As<wire::Results>()->seq(), 1u);
  broker.Assign({{2, "wait"}});
  broker.AwaitStarted(2);
  broker.SendError(ErrorCode::kNoSession);
  EXPECT_EQ(broker.Greet(), (std::vector<uint64_t>{1, 2}));
  // What is owed comes again, from seq 1.
  Frame frame = broker.Expect(MessageType::kResults);
  EXPECT_EQ(frame.As<wire::Results>()->seq(), 1u);
  EXPECT_EQ(frame.As<wire::Results>()->done()->Get(0)->lease_id(), 1u);
  broker.Acknowledge(1);
  gate.Open();
  Frame second = broker.Expect(MessageType::kResults);
  EXPECT_EQ(second.As<wire::Results>()->seq(), 2u);
  const wire::Result* result = Only(second);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(result->lease_id(), 2u);
  EXPECT_EQ(BytesOf(result->result()), "waited");
  broker.Acknowledge(2);
  DrainAndJoin();
}

// What was said goes before the result; of many only what came last, and not for each a frame.
TEST_F(WorkerRuntimeTest, WhatAnAttemptSaysIsToldBeforeItsResult) {
  more_types.emplace_back("talk", [](TaskContext& task) {
    EXPECT_EQ(task.checkpoint(), "");
    for (int i = 0; i <= 10'000; ++i) {
      task.Progress(i / 50, "step " + std::to_string(i));
      EXPECT_TRUE(task.Checkpoint("at " + std::to_string(i)).ok());
    }
    EXPECT_EQ(CodeOf(task.Checkpoint(std::string(kMaxCheckpointBytes + 1, 'x'))),
              ErrorCode::kTooLarge);
    return TaskResult(Error(ErrorCode::kUnavailable, "later"));
  });
  Start();
  broker.Greet();
  broker.Assign({{1, "talk"}});
  int frames = 0;
  std::string percent, message, checkpoint;
  Frame frame = broker.Next();
  for (; frame.header.type == MessageType::kProgress; frame = broker.Next(), ++frames) {
    const auto* progress = frame.As<wire::Progress>();
    ASSERT_NE(progress, nullptr);
    ASSERT_EQ(progress->reports()->size(), 1u);
    const wire::AttemptReport* report = progress->reports()->Get(0);
    EXPECT_EQ(report->lease_id(), 1u);
    percent = std::to_string(report->percent().value_or(255));
    message = TextOf(report->message());
    checkpoint = BytesOf(report->checkpoint());
  }
  EXPECT_EQ(frame.header.type, MessageType::kResults);
  EXPECT_EQ(percent, "100");
  EXPECT_EQ(message, "step 10000");
  EXPECT_EQ(checkpoint, "at 10000");
  EXPECT_GE(frames, 1);
  // The result is not acknowledged, so all of it comes again.
  broker.SendError(ErrorCode::kNoSession);
  EXPECT_EQ(broker.Greet(), std::vector<uint64_t>{1});
  frame = broker.Expect(MessageType::kProgress);
  EXPECT_EQ(BytesOf(frame.As<wire::Progress>()->reports()->Get(0)->checkpoint()), "at 10000");
  EXPECT_EQ(broker.Expect(MessageType::kResults).As<wire::Results>()->seq(), 1u);
  broker.Acknowledge(1);
  DrainAndJoin();
}

// All that was written is told before the result, and again in a new session.
TEST_F(WorkerRuntimeTest, WhatAnAttemptWritesIsToldBeforeItsResult) {
  more_types.emplace_back("write", [](TaskContext& task) {
    for (int i = 0; i < 300; ++i) task.Log("line " + std::to_string(i));
    return TaskResult::Ok();
  });
  std::string expected;
  for (int i = 0; i < 300; ++i) expected += "line " + std::to_string(i) + "\n";
  Start();
  for (int session = 0; session < 2; ++session) {
    EXPECT_EQ(broker.Greet().size(), session == 0 ? 0u : 1u);
    if (session == 0) broker.Assign({{1, "write"}});
    std::string written;
    Frame frame = broker.Next();
    for (; frame.header.type == MessageType::kOutput; frame = broker.Next())
      for (const wire::OutputPage* page : *frame.As<wire::Output>()->pages())
        written.replace(page->offset(), std::string::npos, BytesOf(page->bytes()));
    EXPECT_EQ(written, expected);
    EXPECT_EQ(frame.header.type, MessageType::kResults);
    if (session == 0) broker.SendError(ErrorCode::kNoSession);
  }
  broker.Acknowledge(1);
  DrainAndJoin();
}

TEST_F(WorkerRuntimeTest, WhatWelcomeCallsStaleIsNotReported) {
  Start(2);
  broker.Greet();
  broker.Assign({{1, "noop"}, {2, "until-cancelled"}});
  Frame frame = broker.Expect(MessageType::kResults);
  broker.AwaitStarted(2);
  broker.SendError(ErrorCode::kNoSession);
  EXPECT_EQ(broker.Greet({1, 2}).size(), 2u);
  // The slot of 2 is given back when its handler has returned; its result is not sent.
  broker.AwaitGrant(2);
  EXPECT_EQ(worker->stats().refused, 1u);
}

TEST_F(WorkerRuntimeTest, DrainFinishesWhatRunsAndGivesBackTheRest) {
  Start();
  broker.Greet();
  broker.Assign({{1, "wait"}, {2, "noop"}, {3, "noop"}});
  broker.AwaitStarted(1);
  broker.Send(MessageType::kDrain, "");
  broker.AwaitReleased({2, 3});
  broker.AwaitGrant(0);
  broker.Assign({{4, "noop"}});  // crossed with the grant of 0
  broker.AwaitReleased({4});
  gate.Open();
  Frame results = broker.Expect(MessageType::kResults);
  EXPECT_EQ(Only(results)->lease_id(), 1u);
  broker.Acknowledge(1);
  broker.SayGoodbye();
  Join();
  EXPECT_TRUE(ended.ok()) << ended;
}

TEST_F(WorkerRuntimeTest, ToBeRecycledItDrainsAndSaysSo) {
  recycle_after_tasks = 2;
  Start();
  broker.Greet();
  broker.Assign({{1, "noop"}});
  broker.Expect(MessageType::kResults);
  broker.Acknowledge(1);
  broker.AwaitHeartbeats(2);
  broker.Assign({{2, "noop"}});
  SeeOffAndJoin();
  EXPECT_TRUE(ended.ok()) << ended;
  EXPECT_TRUE(worker->due_for_recycling());
}

TEST_F(WorkerRuntimeTest, AskedToEndItIsNotRecycled) {
  recycle_after_tasks = 1;
  Start();
  broker.Greet();
  broker.Assign({{1, "noop"}, {2, "wait"}});
  AwaitEvent(WorkerEvent::Kind::kDraining);
  worker->Drain();
  gate.Open();
  SeeOffAndJoin();
  EXPECT_TRUE(ended.ok()) << ended;
  EXPECT_FALSE(worker->due_for_recycling());
}

TEST_F(WorkerRuntimeTest, AStallGivesBackWhatOtherWorkersCouldDo) {
  Start();
  broker.Greet();
  broker.Assign({{1, "wait"}, {2, "noop"}, {3, "noop"}, {4, "noop"}});
  broker.AwaitReleased({4});
  EXPECT_FALSE(broker.released.contains(1));
}

TEST_F(WorkerRuntimeTest, WhatCannotBeginInTimeIsGivenBackAndNeverRuns) {
  AddMark();
  Start();
  broker.Greet();
  broker.Assign({{.lease = 1, .type = "wait", .start_within_ms = 60'000}});
  broker.AwaitStarted(1);
  broker.Assign({{.lease = 2, .type = "mark", .start_within_ms = 30}});
  broker.AwaitReleased({2});
  gate.Open();
  Frame frame = broker.Expect(MessageType::kResults);
  EXPECT_EQ(Only(frame)->lease_id(), 1u);
  EXPECT_FALSE(marked);
}

TEST_F(WorkerRuntimeTest, StopCancelsWhatRuns) {
  Start();
  broker.Greet();
  broker.Assign({{1, "until-cancelled"}});
  broker.AwaitStarted(1);
  worker->Stop();
  Frame results = broker.Expect(MessageType::kResults);
  EXPECT_EQ(Only(results)->error_code(), static_cast<uint16_t>(ErrorCode::kCancelled));
  broker.Acknowledge(1);
  broker.SayGoodbye();
  Join();
  EXPECT_TRUE(ended.ok()) << ended;
}

TEST_F(WorkerRuntimeTest, AFrameOfTasksThatCannotBeReadBeginsANewSession) {
  Start();
  broker.Greet();
  broker.Send(MessageType::kTasks, std::string(64, '\x7F'));
  EXPECT_TRUE(broker.Greet().empty());
}

TEST_F(WorkerRuntimeTest, WithoutABrokerItSaysSoOnceAndKeepsTrying) {
  WorkerOptions options;
  options.brokers = broker.address();  // which does not answer: the test does not poll it
  std::atomic<int> said{0};
  options.on_event = [&](const WorkerEvent& event) {
    said += event.kind == WorkerEvent::Kind::kNoBroker;
    if (event.kind == WorkerEvent::Kind::kNoBroker) gate.Open();
  };
  auto made = Worker::Create(options);
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE((*made)->Register("noop", [](TaskContext&) { return TaskResult::Ok(); }).ok());
  std::thread thread([&] { EXPECT_TRUE((*made)->Run().ok()); });
  gate.Pass();
  (*made)->Drain();
  thread.join();
  EXPECT_EQ(said, 1);
}

}  // namespace
}  // namespace zsched
