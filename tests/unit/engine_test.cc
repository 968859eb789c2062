// What an engine keeps of questions, and for whom it answers them.
#include "broker/server/engine.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/journal/memory_journal.h"
#include "broker/server/bounds.h"
#include "flatbuffers/flatbuffers.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

struct SentFrame {
  MessageType type;
  std::string body;
};

class EngineTest : public testing::Test, protected Outbox {
 protected:
  void SetUp() override { Start({}); }
  void Start(EngineConfig config) {
    Outbox& outbox = *this;
    journal_ = OpenMemoryJournal(MakeMemoryDisk());
    engine_ = std::make_unique<Engine>(std::move(config), *journal_, outbox);
    ASSERT_TRUE(engine_->Start(Uuid{1, 2}, now_).ok());
    Commit();
  }

  template <class Build>
  static std::string BodyOf(Build build) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(build(b));
    return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
  }
  void Say(const std::string& peer, MessageType type, const std::string& body,
           Endpoint endpoint = Endpoint::kClient) {
    Stream& stream = streams_[peer];
    const bool greeting = IsGreeting(type);
    std::string frame = SealFrame({.type = type,
                                   .number = greeting ? 0 : ++stream.sent,
                                   .session = greeting ? 0 : stream.session},
                                  body);
    engine_->OnFrame(endpoint, peer, aligned_.Align(frame), now_);
  }
  void Hello(const std::string& peer) {
    wire::Uuid id(7, ++clients_);
    Say(peer, MessageType::kHello, BodyOf([&](auto& b) { return wire::CreateHello(b, &id); }));
    EndRound();
  }
  void Observe(const std::string& peer) {
    wire::Uuid id(7, ++clients_);
    streams_[peer] = {};
    Say(peer, MessageType::kHello,
        BodyOf([&](auto& b) { return wire::CreateHello(b, &id, 0, 0, /*observe=*/true); }));
    EndRound();
  }
  void Submit(const std::string& peer, size_t tasks = 1) {
    std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
    Say(peer, MessageType::kSubmit, BodyOf([&](auto& b) {
          for (size_t i = 0; i < tasks; ++i) specs.push_back(wire::CreateTaskSpecDirect(b, "t"));
          return wire::CreateSubmitDirect(b, ++submits_, 0, false, &specs);
        }));
  }
  void AskFor(const std::string& peer, MessageType type, uint64_t request,
              const std::vector<uint64_t>& ids) {
    Say(peer, type, BodyOf([&](auto& b) { return wire::CreateGetDirect(b, request, &ids); }));
  }
  void EndRound() { ASSERT_TRUE(engine_->EndRound(now_).ok()); }
  void Commit() {
    EndRound();
    if (engine_->TakeBatch(batches_[next_])) {
      ASSERT_TRUE(journal_->Commit(batches_[next_]).ok());
      engine_->OnCommitted(batches_[next_], 1, now_);
      ASSERT_TRUE(engine_->ReleaseCommitted().ok());
      next_ = 1 - next_;
    }
    EndRound();
  }
  void WorkerHello(const std::string& peer) {
    wire::Uuid id(8, 1);
    Say(peer, MessageType::kWorkerHello,
        BodyOf([&](auto& b) { return wire::CreateWorkerHelloDirect(b, &id, "w", "h", "0", 1); }),
        Endpoint::kWorker);
    Commit();
    Say(peer, MessageType::kCredit,
        BodyOf([&](auto& b) { return wire::CreateCredit(b, kMaxCreditTasks, kMaxCreditBytes); }),
        Endpoint::kWorker);
    EndRound();
  }
  // Reports all that the worker was given since the last time, a frame for each of TASKS. How many.
  size_t FinishAll(const std::string& peer) {
    size_t count = 0;
    for (const SentFrame& frame : std::exchange(sent_[peer], {})) {
      if (frame.type != MessageType::kTasks) continue;
      std::vector<wire::Done> done;
      const auto* tasks = VerifyBody<wire::Tasks>(aligned_.Align(frame.body))->tasks();
      for (const wire::Assignment* task : *tasks)
        done.emplace_back(task->task_id(), task->lease_id(), 1);
      count += done.size();
      Say(peer, MessageType::kResults,
          BodyOf([&](auto& b) { return wire::CreateResultsDirect(b, ++results_, &done); }),
          Endpoint::kWorker);
    }
    EndRound();
    return count;
  }
  // Reports all of them as failed for good, of `message` and the number of the task.
  void FailAll(const std::string& peer, const std::string& message) {
    for (const SentFrame& frame : std::exchange(sent_[peer], {})) {
      if (frame.type != MessageType::kTasks) continue;
      const auto* tasks = VerifyBody<wire::Tasks>(aligned_.Align(frame.body))->tasks();
      Say(peer, MessageType::kResults, BodyOf([&](auto& b) {
            std::vector<flatbuffers::Offset<wire::Result>> list;
            for (const wire::Assignment* task : *tasks)
              list.push_back(wire::CreateResultDirect(
                  b, task->task_id(), task->lease_id(), 1, false, nullptr, nullptr,
                  static_cast<uint16_t>(ErrorCode::kHandlerFailed),
                  (message + " " + std::to_string(task->task_id())).c_str(),
                  wire::RetryAdvice::kNever));
            return wire::CreateResultsDirect(b, ++results_, nullptr, &list);
          }),
          Endpoint::kWorker);
    }
    Commit();
  }
  void DieAll(const std::string& client, size_t tasks, const std::string& message) {
    Submit(client, tasks);
    Commit();
    FailAll("w", message);
    EndRound();
  }
  struct DeadList {
    wire::DeadView view = wire::DeadView::kTasks;
    std::string queue = {}, error = {};
    uint64_t before = 0, cursor = 0;
    uint32_t limit = 0;
  };
  void AskForDead(const DeadList& list) {
    Say("c", MessageType::kDeadList, BodyOf([&](auto& b) {
          return wire::CreateDeadListDirect(b, 1, list.view, list.queue.c_str(), nullptr,
                                            list.error.c_str(), 0, 0, list.before, list.limit,
                                            list.cursor);
        }));
    EndRound();
  }
  const wire::DeadLetters& ListDead(const DeadList& list) {
    AskForDead(list);
    EXPECT_EQ(AnswerAll(), 1u);
    return *VerifyBody<wire::DeadLetters>(aligned_.Align(sent_["c"].back().body));
  }
  // The answer lives until the next one comes; answered_: how many questions the journal was asked.
  const wire::EventPage& AskForEvents(const std::string& peer, uint64_t after) {
    Say(peer, MessageType::kEvents,
        BodyOf([&](auto& b) { return wire::CreateEvents(b, 1, after); }));
    EndRound();
    answered_ = AnswerAll();
    EXPECT_EQ(sent_[peer].back().type, MessageType::kEventPage);
    return *VerifyBody<wire::EventPage>(aligned_.Align(sent_[peer].back().body));
  }
  // Everything that has a number: gauges, counters, how often each time was taken, the age of the first queue.
  std::map<std::string, uint64_t> AskForStatus(const std::string& peer) {
    Say(peer, MessageType::kStatus, BodyOf([](auto& b) { return wire::CreateStatus(b, 1); }));
    const auto* status = VerifyBody<wire::StatusReply>(aligned_.Align(sent_[peer].back().body));
    std::map<std::string, uint64_t> numbers;
    for (const auto* list : {status->gauges(), status->counters()})
      for (const wire::Counter* counter : *list) numbers[counter->name()->str()] = counter->value();
    for (const wire::Histogram* histogram : *status->histograms()) {
      EXPECT_EQ(histogram->counts()->size(), histogram->bounds_us()->size() + 1);
      for (const uint64_t count : *histogram->counts()) numbers[histogram->name()->str()] += count;
    }
    for (const wire::QueueStatus* queue : *status->queues())
      numbers["oldest_ready_ms"] = queue->oldest_ready_ms();
    return numbers;
  }
  // Runs what may run, and what follows from it; how many questions.
  size_t AnswerAll() {
    size_t count = 0;
    for (auto queries = engine_->TakeQueries(); !queries.empty() && count < kMaxQueries;
         queries = engine_->TakeQueries())
      for (Query& query : queries) {
        ++count;
        EXPECT_TRUE(engine_->OnReply(runner_.Run(**journal_->View(), query), now_).ok());
        EndRound();
      }
    return count;
  }
  size_t Count(const std::string& peer, MessageType type) {
    size_t count = 0;
    for (const SentFrame& frame : sent_[peer]) count += frame.type == type ? 1 : 0;
    return count;
  }

  Delivery Send(Endpoint, std::string_view peer, const FrameHeader& header,
                std::string_view body) override {
    const std::string name(peer);
    if (header.type == MessageType::kWelcome || header.type == MessageType::kWorkerWelcome)
      streams_[name] = {header.session, 0};
    if (!has_room_) return Delivery::kFull;
    sent_[name].push_back({header.type, std::string(body)});
    return Delivery::kSent;
  }
  bool HasRoom(Endpoint, std::string_view) override { return has_room_; }

  struct Stream {
    uint64_t session = 0;
    uint32_t sent = 0;
  };
  Now now_{1'700'000'000'000, 1'000};
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Engine> engine_;
  QueryRunner runner_;
  Batch batches_[2];
  int next_ = 0;
  std::map<std::string, Stream> streams_;
  std::map<std::string, std::vector<SentFrame>> sent_;
  uint64_t clients_ = 0, submits_ = 0, results_ = 0;
  bool has_room_ = true;
  size_t answered_ = 0;
  AlignedCopy aligned_;
};

TEST_F(EngineTest, WhoAsksForEventsThatDidNotHappenYetIsAnsweredAtOnce) {
  Hello("c");
  Commit();
  const uint64_t last = engine_->core().appended().value();
  const wire::EventPage& now = AskForEvents("c", UINT64_MAX);
  EXPECT_EQ(answered_, 0u) << "without a look at the journal";
  EXPECT_EQ(now.next(), last);
  EXPECT_EQ(now.last(), last);
  EXPECT_FALSE(now.trimmed());
  EXPECT_EQ(AskForEvents("c", last).next(), last);
  EXPECT_EQ(answered_, 0u);

  // What is decided and not durable has not happened.
  Submit("c", 2);
  EXPECT_EQ(AskForEvents("c", last).last(), last);
  EXPECT_EQ(answered_, 0u);
  EXPECT_FALSE(AskForEvents("c", last + 1).trimmed()) << "another broker of the pair may know it";
  Commit();
  const wire::EventPage& page = AskForEvents("c", last);
  EXPECT_EQ(answered_, 1u);
  ASSERT_EQ(page.events()->size(), 2u);
  EXPECT_EQ(page.events()->Get(0)->kind(), wire::EventKind::kSubmitted);
  EXPECT_EQ(page.next(), last + 1);

  const wire::EventPage& beyond = AskForEvents("c", last + 2);
  EXPECT_TRUE(beyond.trimmed()) << "of another log";
  EXPECT_EQ(beyond.next(), last + 1);
  Say("c", MessageType::kEvents, BodyOf([](auto& b) {
        return wire::CreateEventsDirect(b, 5, 0, 0, 0, 0,
                                        std::string(kMaxNameBytes + 1, 'q').c_str());
      }));
  const auto* error = VerifyBody<wire::Error>(sent_["c"].back().body);
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(error->request(), 5u);
  EXPECT_EQ(ErrorFromNumber(error->code()), ErrorCode::kInvalidArgument);
}

TEST_F(EngineTest, StatusHasGaugesHistogramsAndTheAgesOfQueues) {
  EngineConfig config;
  config.core.max_queue_tasks = 3;
  Start(config);
  Hello("c");
  Submit("c", 2);
  Commit();
  now_.wall_ms += 5000, now_.mono_ms += 5000;
  std::map<std::string, uint64_t> gauges = AskForStatus("c");
  EXPECT_EQ(gauges["tasks_unfinished"], 2u);
  EXPECT_EQ(gauges["clients"], 1u);
  EXPECT_FALSE(gauges.contains("journal_log_bytes")) << "nobody has looked yet";
  EXPECT_FALSE(gauges.contains("replication_lag_records")) << "there is no other broker";
  EXPECT_GE(gauges["oldest_ready_ms"], 5000u);
  EXPECT_LT(gauges["oldest_ready_ms"], 6000u);
  engine_->SetSurroundings(
      {.map_bytes = 1000, .used_bytes = 600, .free_bytes = 100, .log_bytes = 7},
      {.resident_bytes = 123, .threads = 4});
  engine_->SetReplication(Engine::Replication{engine_->durable(), Lsn(1)});
  Submit("c", 2);  // one of them is too many
  Commit();
  WorkerHello("w");
  Commit();
  FinishAll("w");
  Commit();
  gauges = AskForStatus("c");
  EXPECT_EQ(gauges["journal_map_free_bytes"], 500u);
  EXPECT_EQ(gauges["journal_log_bytes"], 7u);
  EXPECT_EQ(gauges["process_resident_memory_bytes"], 123u);
  EXPECT_EQ(gauges["credit_tasks"], kMaxCreditTasks);
  EXPECT_EQ(gauges["tasks_unfinished"], 0u);
  EXPECT_EQ(gauges["oldest_ready_ms"], 0u) << "none is ready";
  EXPECT_GT(gauges["replication_lag_records"], 0u);
  EXPECT_TRUE(gauges.contains("replication_lag_ms"));
  EXPECT_EQ(gauges["tasks_rejected_total"], 1u);
  EXPECT_EQ(gauges["rejected_queue_full_tasks_total"], 1u);
  EXPECT_EQ(gauges["task_wait"], 3u);
  EXPECT_EQ(gauges["task_run"], 3u);
  EXPECT_EQ(gauges["commit"], gauges["commits_total"]);
}

TEST_F(EngineTest, RetentionGoesOnUntilAllIsPrunedThatIsDurable) {
  CoreConfig core;
  core.keep_finished = 0;
  engine_->Reconfigure(core);
  Hello("c");
  WorkerHello("w");
  constexpr size_t kFrames = 20, kTasksPerFrame = 1000;  // more than one slice
  size_t finished = 0;
  for (size_t i = 0; i < kFrames; ++i) {
    Submit("c", kTasksPerFrame);
    Commit();
    finished += FinishAll("w");
    Commit();
  }
  ASSERT_EQ(finished, kFrames * kTasksPerFrame);
  engine_->OnTick(now_);
  EndRound();
  EXPECT_EQ(AnswerAll(), 2u) << "one tick is enough for all slices";
  EXPECT_EQ(engine_->core().state().finished(), 0u);

  // What is not durable cannot be read yet: one look, not one after the other until it is.
  Submit("c");
  Commit();
  ASSERT_EQ(FinishAll("w"), 1u);
  engine_->OnTick(now_);
  EndRound();
  EXPECT_EQ(AnswerAll(), 1u);
  EXPECT_EQ(engine_->core().state().finished(), 1u);
  Commit();
  engine_->OnTick(now_);
  EndRound();
  EXPECT_EQ(AnswerAll(), 1u);
  EXPECT_EQ(engine_->core().state().finished(), 0u);
}

TEST_F(EngineTest, OneClientMayHaveSoManyQuestionsAndOthersTheirs) {
  Hello("greedy");
  Hello("good");
  Submit("good");  // not durable, so questions wait
  for (uint64_t request = 1; request <= kMaxPeerQueries + 3; ++request)
    AskFor("greedy", MessageType::kGet, request, {1});
  EXPECT_EQ(Count("greedy", MessageType::kError), 3u);
  const auto* error = VerifyBody<wire::Error>(sent_["greedy"].back().body);
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(ErrorFromNumber(error->code()), ErrorCode::kResourceExhausted);
  EXPECT_GT(error->retry_after_ms(), 0u);
  EXPECT_EQ(error->request(), kMaxPeerQueries + 3);
  AskFor("good", MessageType::kGet, 1, {1});
  Commit();
  EXPECT_EQ(AnswerAll(), kMaxPeerQueries + 1);
  EXPECT_EQ(Count("good", MessageType::kTaskInfos), 1u);

  // An answer makes room for the next question.
  AskFor("greedy", MessageType::kGet, 1000, {1});
  EndRound();
  EXPECT_EQ(AnswerAll(), 1u);
  EXPECT_EQ(Count("greedy", MessageType::kTaskInfos), kMaxPeerQueries + 1);
}

TEST_F(EngineTest, CancelOfWhatIsNotOverAsksTheDiskNothing) {
  Hello("c");
  Submit("c", 2);
  Commit();
  const uint64_t first = VerifyBody<wire::SubmitAck>(sent_["c"].back().body)->first_id();
  AskFor("c", MessageType::kCancelTasks, 7, {first + 1, first});
  EndRound();
  EXPECT_EQ(AnswerAll(), 0u);
  EXPECT_EQ(Count("c", MessageType::kItemReply), 0u) << "not durable yet";
  Commit();
  ASSERT_EQ(Count("c", MessageType::kItemReply), 1u);
  const auto* reply = VerifyBody<wire::ItemReply>(sent_["c"].back().body);
  EXPECT_EQ(reply->request(), 7u);
  ASSERT_EQ(reply->items()->size(), 2u);
  EXPECT_EQ(reply->items()->Get(0)->id(), first + 1) << "in the order of the request";
  EXPECT_EQ(engine_->core().state().tasks().size(), 0u);
}

TEST_F(EngineTest, CommandsThatNeedRowsAreCarriedOutOneByOneInTheirOrder) {
  Hello("c");
  Commit();
  for (uint64_t request = 1; request <= 4; ++request)
    AskFor("c", request % 2 == 0 ? MessageType::kRetry : MessageType::kCancelTasks, request,
           {4711});
  EndRound();
  std::vector<uint64_t> answered;
  for (int i = 0; i < 4; ++i) {
    std::vector<Query> queries = engine_->TakeQueries();
    ASSERT_EQ(queries.size(), 1u);
    answered.push_back(queries[0].request);
    ASSERT_TRUE(engine_->OnReply(runner_.Run(**journal_->View(), queries[0]), now_).ok());
    EndRound();
  }
  EXPECT_EQ(answered, (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(Count("c", MessageType::kItemReply), 4u);
}

TEST_F(EngineTest, CancelIsBoundedAsQuestionsAre) {
  Hello("c");
  Submit("c");
  Commit();
  const uint64_t id = VerifyBody<wire::SubmitAck>(sent_["c"].back().body)->first_id();
  auto refused = [&](uint64_t request) {
    const auto* error = VerifyBody<wire::Error>(sent_["c"].back().body);
    EXPECT_EQ(error->request(), request);
    return ErrorFromNumber(error->code());
  };
  AskFor("c", MessageType::kCancelTasks, 1, std::vector<uint64_t>(kMaxQueryIds + 1, id));
  EXPECT_EQ(refused(1), ErrorCode::kTooLarge);
  Submit("c");  // not durable, so questions wait
  for (uint64_t i = 0; i < kMaxPeerQueries; ++i) AskFor("c", MessageType::kCancelTasks, 2, {4711});
  AskFor("c", MessageType::kCancelTasks, 3, {id});
  EXPECT_EQ(refused(3), ErrorCode::kResourceExhausted);
  EXPECT_NE(engine_->core().state().tasks().Find(TaskId(id)), kNil) << "nothing was done";
  Commit();
  EXPECT_EQ(AnswerAll(), kMaxPeerQueries);
  EXPECT_EQ(Count("c", MessageType::kItemReply), kMaxPeerQueries);
}

TEST_F(EngineTest, DeadLettersComeByPagesAsLettersTasksOrGroups) {
  Hello("c");
  WorkerHello("w");
  DieAll("c", 3, "user is gone:");
  DieAll("c", 2, "bad gateway");
  DeadList list;
  list.view = wire::DeadView::kLetters;
  list.limit = 2;
  std::vector<uint64_t> letters;
  do {
    const wire::DeadLetters& page = ListDead(list);
    EXPECT_EQ(page.next_letter(), 6u);
    EXPECT_LE(page.letters()->size(), 2u);
    for (const wire::DeadLetter* letter : *page.letters()) letters.push_back(letter->letter());
    list.cursor = page.next_cursor();
  } while (list.cursor != 0);
  EXPECT_EQ(letters, (std::vector<uint64_t>{1, 2, 3, 4, 5}));

  list = {};
  list.before = 5;
  list.error = "HANDLER_FAILED: bad";
  EXPECT_EQ(ListDead(list).tasks()->size(), 1u);
  list.view = wire::DeadView::kGroups;
  list.before = 0;
  list.error = "";
  const wire::DeadLetters& all = ListDead(list);
  ASSERT_EQ(all.groups()->size(), 2u) << "the tasks' numbers are details";
  EXPECT_EQ(all.groups()->Get(0)->letters(), 3u);
  EXPECT_EQ(all.groups()->Get(1)->letters(), 2u);
  EXPECT_EQ(all.next_cursor(), 0u);
}

TEST_F(EngineTest, QuestionsAboutTheDeadThatCannotBeAreRefused) {
  Hello("c");
  Commit();
  auto refused = [&] {
    return ErrorFromNumber(VerifyBody<wire::Error>(sent_["c"].back().body)->code());
  };
  for (const DeadList& list : {DeadList{.view = static_cast<wire::DeadView>(9)},
                               DeadList{.queue = std::string(kMaxNameBytes + 1, 'q')},
                               DeadList{.error = std::string(kMaxErrorMessageBytes + 1, 'e')}}) {
    AskForDead(list);
    EXPECT_EQ(refused(), ErrorCode::kInvalidArgument);
  }
  const std::vector<uint64_t> ids = {1, 2}, letters = {1};
  for (MessageType type : {MessageType::kRetry, MessageType::kDeadDelete}) {
    Say("c", type, BodyOf([&](auto& b) { return wire::CreateRetryDirect(b, 1, &ids, &letters); }));
    EXPECT_EQ(refused(), ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(AnswerAll(), 0u);
}

// A RETRY that is under way has read rows that must not go meanwhile.
TEST_F(EngineTest, OldDeadTasksGoAsACommandAndInSlices) {
  Hello("c");
  WorkerHello("w");
  DieAll("c", 2 * kMaxQueryIds + 5, "no");
  const uint64_t first = engine_->core().state().meta().next_task - 1;
  CoreConfig core;
  core.max_dead = 3;
  engine_->Reconfigure(core);
  AskFor("c", MessageType::kRetry, 1, {first});
  EndRound();
  std::vector<Query> queries = engine_->TakeQueries();
  ASSERT_EQ(queries.size(), 1u);
  engine_->OnTick(now_);
  EndRound();
  EXPECT_EQ(engine_->TakeQueries().size(), 0u) << "beside a RETRY that reads its rows";
  ASSERT_TRUE(engine_->OnReply(runner_.Run(**journal_->View(), queries[0]), now_).ok());
  for (int slice = 0; slice < 3; ++slice) {
    Commit();
    AnswerAll();
  }
  Commit();
  EXPECT_EQ(engine_->core().state().dead(), 3u) << "one tick is enough for all slices";
  EXPECT_EQ(Count("c", MessageType::kItemReply), 1u);
}

TEST_F(EngineTest, AllClientsTogetherMayHaveSoManyQuestions) {
  constexpr uint32_t kClients = kMaxQueries / kMaxPeerQueries;
  Hello("late");
  for (uint32_t i = 0; i < kClients; ++i) Hello(std::to_string(i));
  Submit("late");
  for (uint32_t i = 0; i < kClients; ++i)
    for (uint64_t request = 1; request <= kMaxPeerQueries; ++request)
      AskFor(std::to_string(i), MessageType::kWait, request, {1});
  AskFor("late", MessageType::kWait, 1, {1});
  EXPECT_EQ(Count("late", MessageType::kError), 1u);
  // Half of them leave before their answers are made: nobody makes them, and their room is free.
  for (uint32_t i = 0; i < kClients / 2; ++i) Say(std::to_string(i), MessageType::kGoodbye, "");
  Commit();
  EXPECT_EQ(AnswerAll(), kMaxQueries / 2);
  for (uint32_t i = 0; i < kClients; ++i) Hello("new " + std::to_string(i));
  Submit("late");
  for (uint32_t i = 0; i < kClients; ++i)
    for (uint64_t request = 1; request <= kMaxPeerQueries; ++request)
      AskFor("new " + std::to_string(i), MessageType::kWait, request, {1});
  EXPECT_EQ(Count("new 0", MessageType::kError), 0u);
  EXPECT_EQ(Count("new " + std::to_string(kClients - 1), MessageType::kError), 0u);
}

TEST_F(EngineTest, AClientThatDoesNotReadGetsNoAnswersMadeAndHearsOfItLater) {
  Hello("c");
  has_room_ = false;
  AskFor("c", MessageType::kWait, 1, {1, 2, 3});
  AskFor("c", MessageType::kGet, 2, {1, 2, 3});
  EndRound();
  EXPECT_EQ(AnswerAll(), 0u);
  has_room_ = true;
  Say("c", MessageType::kHeartbeat, "");
  EndRound();
  ASSERT_EQ(Count("c", MessageType::kHeartbeatAck), 1u);
  EXPECT_TRUE(VerifyBody<wire::HeartbeatAck>(sent_["c"].back().body)->resync());
  AskFor("c", MessageType::kWait, 3, {1, 2, 3});
  EndRound();
  EXPECT_EQ(AnswerAll(), 1u);
  EXPECT_EQ(Count("c", MessageType::kOutcomes), 1u);
}

TEST_F(EngineTest, WhatAListLooksForIsBoundedWhileItWaits) {
  Hello("c");
  auto list = [&](size_t queue, size_t type, size_t key, size_t value) {
    Say("c", MessageType::kList, BodyOf([&](auto& b) {
          auto text = [&b](size_t bytes) { return b.CreateString(std::string(bytes, 'x')); };
          auto label = wire::CreateLabel(b, text(key), text(value));
          auto queue_name = text(queue), type_name = text(type);
          return wire::CreateList(b, 1, queue_name, type_name, 0, label);
        }));
    EndRound();
    return AnswerAll() == 1;
  };
  EXPECT_TRUE(list(kMaxNameBytes, kMaxNameBytes, kMaxLabelKeyBytes, kMaxLabelValueBytes));
  EXPECT_FALSE(list(kMaxNameBytes + 1, 0, 0, 0));
  EXPECT_FALSE(list(0, kMaxNameBytes + 1, 0, 0));
  EXPECT_FALSE(list(0, 0, kMaxLabelKeyBytes + 1, 0));
  EXPECT_FALSE(list(0, 0, 0, kMaxLabelValueBytes + 1));
  EXPECT_EQ(Count("c", MessageType::kError), 4u);
}

// A client that submits more than `light_bytes` in a moment, beside one that does not.
class PacedTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineConfig config;
    config.intake.light_bytes = 150;  // one small frame
    config.intake.parked_frames = 2;
    Start(config);
    Hello("light");
    Hello("heavy");
    Submit("light");
    Submit("heavy", 10);
  }
  uint64_t Tasks() const { return engine_->core().state().tasks().size(); }
};

TEST_F(PacedTest, AHeavyFrameEntersABatchOfItsOwn) {
  EXPECT_EQ(Tasks(), 1u);
  EndRound();
  EXPECT_EQ(Tasks(), 1u) << "the open batch has the light one's";
  Commit();
  EXPECT_EQ(Tasks(), 11u) << "nothing else is there";
  EXPECT_EQ(Count("heavy", MessageType::kSubmitAck), 0u);
  Commit();
  EXPECT_EQ(Count("light", MessageType::kSubmitAck), 1u);
  EXPECT_EQ(Count("heavy", MessageType::kSubmitAck), 1u);
}

TEST_F(PacedTest, WhatIsBeyondTheWindowIsRefused) {
  Submit("heavy", 10);
  Submit("heavy", 10);
  Commit();
  EXPECT_EQ(Count("heavy", MessageType::kSubmitAck), 1u) << "the third, of which nothing was taken";
  for (int i = 0; i < 3; ++i) Commit();
  EXPECT_EQ(Count("heavy", MessageType::kSubmitAck), 3u);
  EXPECT_EQ(Tasks(), 21u);
}

TEST_F(PacedTest, AGoodbyeDoesNotLoseWhatWasSentBeforeIt) {
  Say("heavy", MessageType::kGoodbye, "");
  EXPECT_EQ(Tasks(), 11u);
}

TEST_F(PacedTest, ASessionThatIsReplacedSendsItsFramesAgain) {
  Hello("heavy");
  for (int i = 0; i < 3; ++i) Commit();
  EXPECT_EQ(Tasks(), 1u);
}

// One that follows another, and then takes its place.
class StandbyEngine : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    standby_journal_ = OpenMemoryJournal(MakeMemoryDisk());
    EngineConfig config;
    config.node = "backup";
    config.replicated = true;
    Outbox& outbox = *this;
    standby_ = std::make_unique<Engine>(config, *standby_journal_, outbox);
    ASSERT_TRUE(standby_->Load(now_).ok());
  }
  // Of the active's log what it has not got.
  void CatchUp() {
    auto view = journal_->View();
    ASSERT_TRUE((*view)
                    ->ScanLog(Next(standby_->core().appended()),
                              [&](const LogSegment& segment) {
                                if (segment.first_lsn <= standby_->core().appended()) return true;
                                if (!standby_->CanFollow(segment.epoch)) CommitStandby();
                                EXPECT_TRUE(
                                    standby_->Follow(segment.epoch, segment.records, now_).ok());
                                return true;
                              })
                    .ok());
    CommitStandby();
  }
  void CommitStandby() {
    if (!standby_->TakeBatch(standby_batch_)) return;
    ASSERT_TRUE(standby_journal_->Commit(standby_batch_).ok());
    standby_->OnCommitted(standby_batch_, 1, now_);
    ASSERT_TRUE(standby_->ReleaseCommitted().ok());
  }
  // From here on the standby is the one that is spoken to.
  void TakeOver() {
    engine_ = std::move(standby_);
    journal_ = std::move(standby_journal_);
    streams_.clear();
  }

  std::unique_ptr<Journal> standby_journal_;
  std::unique_ptr<Engine> standby_;
  Batch standby_batch_;
};

TEST_F(StandbyEngine, RefusesSessionsAndCountsThemAsVotes) {
  CatchUp();
  const Lsn followed = standby_->core().appended();
  TakeOver();
  Say("c", MessageType::kDiscover, "");
  ASSERT_EQ(sent_["c"].size(), 1u);
  EXPECT_EQ(sent_["c"][0].type, MessageType::kView);
  EXPECT_FALSE(engine_->TakeVote()) << "to look around is no vote";
  Hello("c");
  ASSERT_EQ(sent_["c"].size(), 2u);
  EXPECT_EQ(sent_["c"][1].type, MessageType::kError);
  EXPECT_EQ(flatbuffers::GetRoot<wire::Error>(sent_["c"][1].body.data())->code(),
            static_cast<uint16_t>(ErrorCode::kNotActive));
  EXPECT_TRUE(engine_->TakeVote());
  EXPECT_FALSE(engine_->TakeVote());
  EXPECT_EQ(engine_->core().appended(), followed) << "it decides nothing";
}

TEST_F(StandbyEngine, AnObserverIsToldWhatItHas) {
  Hello("c");
  Commit();
  Submit("c", 3);
  Commit();
  CatchUp();
  const Lsn followed = standby_->core().appended();
  TakeOver();
  engine_->SetCluster(wire::Role::kStandby, std::nullopt);
  Observe("o");
  ASSERT_EQ(sent_["o"].size(), 1u);
  ASSERT_EQ(sent_["o"][0].type, MessageType::kWelcome);
  EXPECT_FALSE(engine_->TakeVote()) << "it does not want to be served";

  Say("o", MessageType::kStatus,
      BodyOf([&](auto& b) { return wire::CreateStatus(b, /*request=*/7); }));
  ASSERT_EQ(sent_["o"].size(), 2u);
  const std::string status_body = sent_["o"][1].body;
  const auto* status = flatbuffers::GetRoot<wire::StatusReply>(status_body.data());
  EXPECT_EQ(status->request(), 7u);
  EXPECT_EQ(status->role(), wire::Role::kStandby);
  EXPECT_EQ(status->lsn(), followed.value());

  AskFor("o", MessageType::kGet, 8, {1});
  EndRound();
  EXPECT_EQ(engine_->TakeQueries().size(), 1u);

  Submit("o");
  EXPECT_EQ(sent_["o"].back().type, MessageType::kError);
  EXPECT_EQ(engine_->core().appended(), followed) << "it decides nothing";

  Say("o", MessageType::kHeartbeat, "");
  EXPECT_EQ(sent_["o"].back().type, MessageType::kHeartbeatAck);
  Say("o", MessageType::kGoodbye, "");
  EXPECT_EQ(sent_["o"].back().type, MessageType::kGoodbye);
}

TEST_F(StandbyEngine, ObserversAreBoundedAndEndWhenTheyAreSilent) {
  TakeOver();
  for (size_t i = 0; i < kMaxObservers; ++i) Observe("o" + std::to_string(i));
  Observe("one too many");
  EXPECT_EQ(sent_["one too many"].back().type, MessageType::kError);
  // The place of a connection that says hello again is its own.
  Observe("o3");
  EXPECT_EQ(sent_["o3"].back().type, MessageType::kWelcome);
  now_.mono_ms += kClientTimeoutMs - 1;
  Say("o3", MessageType::kHeartbeat, "");
  now_.mono_ms += 2;
  engine_->OnTick(now_);
  Observe("one too many");
  EXPECT_EQ(sent_["one too many"].back().type, MessageType::kWelcome);
  Say("o3", MessageType::kHeartbeat, "");
  EXPECT_EQ(sent_["o3"].back().type, MessageType::kHeartbeatAck);
  Say("o4", MessageType::kHeartbeat, "");
  EXPECT_EQ(sent_["o4"].back().type, MessageType::kError);
}

TEST_F(StandbyEngine, ACommandToTheClusterIsForItsOwner) {
  TakeOver();
  Observe("o");
  Say("o", MessageType::kClusterCommand, BodyOf([&](auto& b) {
        return wire::CreateClusterCommand(b, 9, wire::ClusterAction::kPromote, true);
      }));
  const std::vector<ClusterCommand> commands = engine_->TakeClusterCommands();
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(commands[0].action, wire::ClusterAction::kPromote);
  EXPECT_TRUE(commands[0].force);
  engine_->Answer(commands[0], Error(ErrorCode::kConflict, "no"));
  const std::string body = sent_["o"].back().body;
  const auto* reply = flatbuffers::GetRoot<wire::ItemReply>(body.data());
  EXPECT_EQ(reply->request(), 9u);
  EXPECT_EQ(reply->items()->Get(0)->code(), static_cast<uint16_t>(ErrorCode::kConflict));
}

TEST_F(StandbyEngine, TellsEventsAsFarAsItKnowsThemToBeCommitted) {
  Hello("c");
  Submit("c", 3);
  Commit();
  CatchUp();
  const uint64_t followed = standby_->core().appended().value();
  TakeOver();
  Observe("o");
  EXPECT_EQ(AskForEvents("o", 0).last(), 0u) << "the active has said nothing yet";
  engine_->SetCommittedElsewhere(Lsn(followed - 1));
  EXPECT_EQ(AskForEvents("o", 0).last(), followed - 1);
  EXPECT_FALSE(AskForEvents("o", followed).trimmed()) << "it is behind, that is all";
  EXPECT_EQ(AskForEvents("o", followed).next(), followed);
  engine_->SetCommittedElsewhere(Lsn(followed + 100));
  EXPECT_EQ(AskForEvents("o", 0).last(), followed) << "what it has itself";
}

TEST_F(StandbyEngine, ServesWhatItHasFollowed) {
  Hello("c");
  Commit();
  Submit("c", 3);
  Commit();
  CatchUp();
  EXPECT_EQ(standby_->core().state().Fingerprint(), engine_->core().state().Fingerprint());
  const Epoch before = engine_->core().state().epoch();
  TakeOver();
  ASSERT_TRUE(engine_->Serve(Uuid{1, 2}, engine_->core().NextEpoch(1), now_).ok());
  EXPECT_TRUE(engine_->serving());
  EXPECT_GT(engine_->core().state().epoch(), before);
  sent_.clear();
  Hello("c");
  EXPECT_TRUE(sent_["c"].empty()) << "nothing leaves before the epoch is durable";
  Commit();
  ASSERT_EQ(sent_["c"].size(), 1u);
  EXPECT_EQ(sent_["c"][0].type, MessageType::kWelcome);
  EXPECT_EQ(engine_->core().state().tasks().size(), 3u);
}

}  // namespace
}  // namespace zsched::broker
