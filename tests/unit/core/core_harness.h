// A Core under a test's hand: frames built in a line, effects collected by kind, a clock that only
// the test moves, and a journal, in memory unless the test says otherwise, that takes each round's
// batch.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "flatbuffers/flatbuffers.h"
#include "schemas/frame.h"
#include "tests/support/recover.h"

namespace zsched::broker {

struct TestTask {
  std::string type = "t";
  std::string queue = "q";
  std::string payload = {};
  int priority = kDefaultPriority;
  uint16_t max_attempts = 0;
  uint64_t delay_ms = 0;
  uint32_t timeout_ms = 0;
  uint32_t retry_base_ms = 0;
  uint32_t retry_cap_ms = 0;
  Durability durability = Durability::kReplicated;
  std::string key = {};
  std::string concurrency_key = {};
  std::string fairness_key = {};
  wire::Delivery delivery = wire::Delivery::kAtLeastOnce;
  std::string correlation_id = {};
  std::vector<TestTask> on_success = {};
  std::vector<TestTask> on_failure = {};
  std::vector<TestTask> on_complete = {};
  bool pass_result = false;
  int64_t run_at_ms = 0;
  uint64_t start_within_ms = 0;
  int64_t start_by_ms = 0;
  std::vector<std::pair<std::string, std::string>> labels = {};
};

// Settings to change; what is not given stays.
struct TestQueue {
  std::optional<bool> paused = {};
  std::optional<uint64_t> max_tasks = {};
  std::optional<uint64_t> max_bytes = {};
  std::optional<uint32_t> max_running = {};
  std::optional<uint64_t> rate_micro = {};
  std::optional<uint32_t> burst = {};
  std::optional<uint8_t> weight = {};
  std::optional<uint16_t> max_attempts = {};
  std::optional<uint32_t> timeout_ms = {};
  std::optional<uint32_t> retry_base_ms = {};
  std::optional<uint32_t> retry_cap_ms = {};
  std::optional<uint32_t> key_max_running = {};
  std::optional<uint64_t> key_rate_micro = {};
  std::optional<uint32_t> key_burst = {};
  std::optional<uint32_t> ageing_ms = {};
  std::optional<bool> draining = {};
};

struct TestType {
  std::optional<bool> paused = {};
  std::optional<uint32_t> max_running = {};
  std::optional<uint64_t> rate_micro = {};
  std::optional<uint32_t> burst = {};
  std::optional<uint64_t> no_retry = {};
};

struct TestSchedule {
  std::string expression = "@every 10s";
  std::string zone = {};
  wire::Overlap overlap = wire::Overlap::kSkip;
  std::optional<uint64_t> catch_up_ms = {};
  uint32_t jitter_ms = 0;
  std::optional<bool> paused = {};
  bool replace = false;
  std::string type = "t";
  std::string queue = "q";
  std::string payload = {};
  uint64_t delay_ms = 0;
  std::vector<std::pair<std::string, std::string>> labels = {};
};

class CoreHarness {
 public:
  // Called at each start, with this harness; what was committed before must be in the journal again.
  using OpenJournal = std::function<std::unique_ptr<Journal>(const CoreHarness&)>;

  explicit CoreHarness(CoreConfig config = {})
      : CoreHarness(config, [disk = MakeMemoryDisk()](const CoreHarness&) {
          return OpenMemoryJournal(disk);
        }) {}
  CoreHarness(CoreConfig config, OpenJournal open_journal)
      : config_(config), open_journal_(std::move(open_journal)) {
    Open();
  }

  // --- Life
  // What is committed survives; sessions and the open batch do not.
  void Restart() {
    if (fail_over) return fail_over();
    core.reset();
    journal.reset();
    Open();
  }
  void Round() {
    core->EndRound(now);
    for (Effect& effect : core->effects()) Keep(std::move(effect));
    core->effects().clear();
    ASSERT_TRUE(core->CheckInvariants().ok()) << core->CheckInvariants();
  }
  // A round whose batch becomes durable.
  void Commit() {
    Round();
    if (hold_commits || !core->HasRecords()) return;
    core->TakeBatch(batch_);
    ASSERT_TRUE(journal->Commit(batch_).ok());
  }
  void Pass(int64_t ms) {
    now.wall_ms += ms;
    now.mono_ms += ms;
    core->OnTick(now);
    Commit();
  }

  // --- Clients
  SessionId Client(uint64_t uuid) {
    flatbuffers::FlatBufferBuilder b;
    wire::Uuid id(uuid, uuid);
    auto name = b.CreateString("client");
    b.Finish(wire::CreateHello(b, &id, name));
    return core->OnHello(*flatbuffers::GetRoot<wire::Hello>(b.GetBufferPointer()), now);
  }
  // The ack that the core gives; empty seq when it answered by an error instead.
  SubmitAckEffect Submit(SessionId from, uint64_t seq, const std::vector<TestTask>& tasks,
                         uint64_t acked_below = 1, bool notify = false) {
    flatbuffers::FlatBufferBuilder b;
    auto list = BuildSpecs(b, tasks);
    b.Finish(wire::CreateSubmit(b, seq, acked_below, notify, list));
    std::string_view body(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
    core->OnSubmit(from, *flatbuffers::GetRoot<wire::Submit>(body.data()), body, now);
    size_t before = acks.size();
    Commit();
    if (acks.size() == before) return {};
    core->OnSubmitAckSent(acks.back());
    return acks.back();
  }
  static flatbuffers::Offset<Templates> BuildSpecs(flatbuffers::FlatBufferBuilder& b,
                                                   const std::vector<TestTask>& tasks) {
    std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
    for (const TestTask& task : tasks) specs.push_back(BuildSpec(b, task));
    return b.CreateVector(specs);
  }
  static flatbuffers::Offset<wire::TaskSpec> BuildSpec(flatbuffers::FlatBufferBuilder& b,
                                                       const TestTask& task) {
    auto templates = [&](const std::vector<TestTask>& list) {
      return list.empty() ? flatbuffers::Offset<Templates>() : BuildSpecs(b, list);
    };
    auto on_success = templates(task.on_success), on_failure = templates(task.on_failure),
         on_complete = templates(task.on_complete);
    auto type = b.CreateString(task.type), queue = b.CreateString(task.queue);
    auto optional = [&](const std::string& text) {
      return text.empty() ? flatbuffers::Offset<flatbuffers::String>() : b.CreateSharedString(text);
    };
    auto key = optional(task.key), concurrency_key = optional(task.concurrency_key),
         fairness_key = optional(task.fairness_key), correlation_id = optional(task.correlation_id);
    auto payload =
        b.CreateVector(reinterpret_cast<const uint8_t*>(task.payload.data()), task.payload.size());
    std::vector<flatbuffers::Offset<wire::Label>> pairs;
    for (const auto& [name, value] : task.labels)
      pairs.push_back(wire::CreateLabelDirect(b, name.c_str(), value.c_str()));
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Label>>> labels;
    if (!pairs.empty()) labels = b.CreateVector(pairs);
    return wire::CreateTaskSpec(b, type, queue, payload, 0, static_cast<uint8_t>(task.priority),
                                task.durability, task.max_attempts, task.timeout_ms, task.delay_ms,
                                task.run_at_ms, task.retry_base_ms, task.retry_cap_ms, labels, key,
                                concurrency_key, fairness_key, correlation_id, 0, task.delivery,
                                on_success, on_failure, on_complete, task.pass_result,
                                task.start_within_ms, task.start_by_ms);
  }
  TaskId SubmitOne(SessionId from, uint64_t seq, const TestTask& task) {
    return TaskId(Submit(from, seq, {task}).first_id);
  }

  // CANCEL_TASKS as the server carries it out; the reply.
  ItemReplyEffect Cancel(SessionId from, const std::vector<uint64_t>& ids) {
    bool answered = core->OnCancel(from, 9, ids, now);
    while (!answered) {
      Commit();
      answered = core->OnCancelRows(from, 9, Rows(ids), now);
    }
    Commit();
    return replies.back();
  }
  ItemCode CancelOne(SessionId from, TaskId id) { return Cancel(from, {id.value()}).items.at(0); }
  std::vector<Core::RowItem> Rows(const std::vector<uint64_t>& ids) const {
    std::vector<Core::RowItem> items;
    auto view = journal->View();
    for (uint64_t id : ids) {
      auto bytes = (*view)->Get(Table::kTasks, id);
      EXPECT_TRUE(bytes.ok());
      std::optional<TaskRow> row;
      if (bytes->has_value()) RowReader(**bytes).Read(row.emplace());
      items.push_back({id, row});
    }
    return items;
  }

  // What the request says where there is a value.
  template <class Value>
  static flatbuffers::Optional<Value> Opt(const std::optional<Value>& value) {
    return value ? flatbuffers::Optional<Value>(*value) : flatbuffers::nullopt;
  }
  void SetType(SessionId from, const std::string& name, const TestType& rules) {
    flatbuffers::FlatBufferBuilder b;
    auto type = b.CreateString(name);
    b.Finish(wire::CreateTypeSet(b, 1, type, Opt(rules.paused), Opt(rules.max_running),
                                 Opt(rules.rate_micro), Opt(rules.burst), Opt(rules.no_retry)));
    core->OnTypeSet(from, *flatbuffers::GetRoot<wire::TypeSet>(b.GetBufferPointer()), now);
    Commit();
  }
  void SetQueue(SessionId from, const std::string& name, const TestQueue& rules) {
    flatbuffers::FlatBufferBuilder b;
    auto queue = b.CreateString(name);
    b.Finish(wire::CreateQueueSet(
        b, 1, queue, Opt(rules.paused), Opt(rules.max_tasks), Opt(rules.max_bytes),
        Opt(rules.max_running), Opt(rules.rate_micro), Opt(rules.burst), Opt(rules.weight),
        Opt(rules.max_attempts), Opt(rules.timeout_ms), Opt(rules.retry_base_ms),
        Opt(rules.retry_cap_ms), Opt(rules.key_max_running), Opt(rules.key_rate_micro),
        Opt(rules.key_burst), Opt(rules.ageing_ms), Opt(rules.draining)));
    core->OnQueueSet(from, *flatbuffers::GetRoot<wire::QueueSet>(b.GetBufferPointer()), now);
    Commit();
  }

  // --- Schedules. What the core answers is in `schedules_set`, `replies` or `errors`.
  void SetSchedule(SessionId from, const std::string& schedule_name, const TestSchedule& schedule) {
    flatbuffers::FlatBufferBuilder b;
    auto type = b.CreateString(schedule.type), queue = b.CreateString(schedule.queue);
    auto payload = b.CreateVector(reinterpret_cast<const uint8_t*>(schedule.payload.data()),
                                  schedule.payload.size());
    std::vector<flatbuffers::Offset<wire::Label>> pairs;
    for (const auto& [key, value] : schedule.labels) {
      auto k = b.CreateString(key), v = b.CreateString(value);
      pairs.push_back(wire::CreateLabel(b, k, v));
    }
    auto labels = b.CreateVector(pairs);
    auto task =
        wire::CreateTaskSpec(b, type, queue, payload, 0, kDefaultPriority, Durability::kReplicated,
                             0, 0, schedule.delay_ms, 0, 0, 0, labels);
    auto name = b.CreateString(schedule_name), expression = b.CreateString(schedule.expression);
    flatbuffers::Offset<flatbuffers::String> zone;
    if (!schedule.zone.empty()) zone = b.CreateString(schedule.zone);
    wire::ScheduleSetBuilder set(b);
    set.add_request(1);
    set.add_name(name);
    set.add_expression(expression);
    set.add_zone(zone);
    set.add_task(task);
    set.add_overlap(schedule.overlap);
    if (schedule.catch_up_ms) set.add_catch_up_ms(*schedule.catch_up_ms);
    set.add_jitter_ms(schedule.jitter_ms);
    if (schedule.paused) set.add_paused(*schedule.paused);
    set.add_replace(schedule.replace);
    b.Finish(set.Finish());
    std::string_view body(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
    core->OnScheduleSet(from, *flatbuffers::GetRoot<wire::ScheduleSet>(body.data()), body, now);
    Commit();
  }
  void PauseSchedule(SessionId from, const std::string& schedule, bool paused) {
    flatbuffers::FlatBufferBuilder b;
    auto name = b.CreateString(schedule);
    b.Finish(wire::CreateSchedulePause(b, 1, name, paused));
    core->OnSchedulePause(from, *flatbuffers::GetRoot<wire::SchedulePause>(b.GetBufferPointer()),
                          now);
    Commit();
  }
  void RunSchedule(SessionId from, const std::string& schedule, int64_t from_ms = 0,
                   int64_t to_ms = 0) {
    flatbuffers::FlatBufferBuilder b;
    auto name = b.CreateString(schedule);
    b.Finish(wire::CreateScheduleRun(b, 1, name, from_ms, to_ms));
    core->OnScheduleRun(from, *flatbuffers::GetRoot<wire::ScheduleRun>(b.GetBufferPointer()), now);
    Commit();
  }
  void RemoveSchedule(SessionId from, const std::string& schedule) {
    flatbuffers::FlatBufferBuilder b;
    auto name = b.CreateString(schedule);
    b.Finish(wire::CreateScheduleRemove(b, 1, name));
    core->OnScheduleRemove(from, *flatbuffers::GetRoot<wire::ScheduleRemove>(b.GetBufferPointer()),
                           now);
    Commit();
  }

  // --- Workers
  struct Held {
    uint64_t task, lease;
    uint32_t attempt;
  };
  SessionId Worker(uint64_t uuid, uint32_t credit, std::vector<std::string> queues = {},
                   std::vector<std::string> types = {}, const std::vector<Held>& held = {},
                   uint64_t credit_bytes = kMaxCreditBytes) {
    flatbuffers::FlatBufferBuilder b;
    wire::Uuid id(uuid, uuid);
    auto name = b.CreateString("worker-" + std::to_string(uuid));
    auto queue_names = b.CreateVectorOfStrings(queues), type_names = b.CreateVectorOfStrings(types);
    std::vector<wire::LeaseRef> refs;
    for (const Held& h : held) refs.emplace_back(h.task, h.lease, h.attempt);
    auto leases = b.CreateVectorOfStructs(refs);
    wire::WorkerHelloBuilder hello(b);
    hello.add_id(&id);
    hello.add_name(name);
    hello.add_queues(queue_names);
    hello.add_types(type_names);
    hello.add_held(leases);
    hello.add_concurrency(concurrency);
    b.Finish(hello.Finish());
    auto session =
        core->OnWorkerHello(*flatbuffers::GetRoot<wire::WorkerHello>(b.GetBufferPointer()), now);
    EXPECT_TRUE(session.ok()) << session.status();
    Credit(*session, credit, credit_bytes);
    return *session;
  }
  void Credit(SessionId worker, uint32_t tasks, uint64_t bytes = kMaxCreditBytes) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(wire::CreateCredit(b, tasks, bytes));
    core->OnCredit(worker, *flatbuffers::GetRoot<wire::Credit>(b.GetBufferPointer()));
  }
  void Done(SessionId worker, const std::vector<Assign>& tasks) {
    flatbuffers::FlatBufferBuilder b;
    std::vector<wire::Done> done;
    for (const Assign& a : tasks) done.emplace_back(a.task.value(), a.lease.value(), 7);
    auto list = b.CreateVectorOfStructs(done);
    b.Finish(wire::CreateResults(b, ++result_seq_, list));
    core->OnResults(worker, *flatbuffers::GetRoot<wire::Results>(b.GetBufferPointer()), now);
    Commit();
  }
  void Fail(SessionId worker, const Assign& task, ErrorCode code = ErrorCode::kHandlerFailed,
            wire::RetryAdvice advice = wire::RetryAdvice::kDefault, uint64_t after_ms = 0,
            const std::string& message = "no") {
    ReportEnd(worker, task, false, "", code, message, advice, after_ms);
  }
  void Succeed(SessionId worker, const Assign& task, const std::string& result) {
    ReportEnd(worker, task, true, result, ErrorCode::kOk, "", wire::RetryAdvice::kDefault, 0);
  }
  void Release(SessionId worker, const std::vector<Assign>& tasks) {
    flatbuffers::FlatBufferBuilder b;
    std::vector<wire::LeaseRef> refs;
    for (const Assign& a : tasks) refs.emplace_back(a.task.value(), a.lease.value(), a.attempt);
    auto list = b.CreateVectorOfStructs(refs);
    b.Finish(wire::CreateRelease(b, list));
    core->OnRelease(worker, *flatbuffers::GetRoot<wire::Release>(b.GetBufferPointer()), now);
    Commit();
  }
  void Started(SessionId worker, const Assign& task) {
    flatbuffers::FlatBufferBuilder b;
    std::vector<wire::LeaseRef> refs{{task.task.value(), task.lease.value(), task.attempt}};
    auto list = b.CreateVectorOfStructs(refs);
    b.Finish(wire::CreateHeartbeat(b, list, 1, 0));
    core->OnHeartbeat(worker, flatbuffers::GetRoot<wire::Heartbeat>(b.GetBufferPointer()), now);
  }
  struct TestReport {
    std::optional<uint8_t> percent = {};
    std::optional<std::string> message = {}, checkpoint = {};
  };
  void Report(SessionId worker, const Assign& task, const TestReport& report) {
    flatbuffers::FlatBufferBuilder b;
    flatbuffers::Offset<flatbuffers::String> message;
    flatbuffers::Offset<flatbuffers::Vector<uint8_t>> checkpoint;
    if (report.message) message = b.CreateString(*report.message);
    if (report.checkpoint)
      checkpoint = b.CreateVector(reinterpret_cast<const uint8_t*>(report.checkpoint->data()),
                                  report.checkpoint->size());
    std::vector<flatbuffers::Offset<wire::AttemptReport>> list{wire::CreateAttemptReport(
        b, task.task.value(), task.lease.value(),
        report.percent ? flatbuffers::Optional<uint8_t>(*report.percent) : flatbuffers::nullopt,
        message, checkpoint)};
    b.Finish(wire::CreateProgress(b, b.CreateVector(list)));
    core->OnProgress(worker, *flatbuffers::GetRoot<wire::Progress>(b.GetBufferPointer()), now);
    Commit();
  }
  // A page that one stream fills; `run_bytes`: what is said of its size, if not the truth.
  void Output(SessionId worker, const Assign& task, uint64_t offset, const std::string& bytes,
              wire::OutputStream stream = wire::OutputStream::kStdout,
              std::optional<size_t> run_bytes = {}) {
    flatbuffers::FlatBufferBuilder b;
    const std::vector<wire::OutputRun> runs{
        {static_cast<uint16_t>(run_bytes.value_or(bytes.size())), stream, uint8_t{0}}};
    auto run_list = b.CreateVectorOfStructs(runs);
    auto text = b.CreateVector(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    std::vector list{
        wire::CreateOutputPage(b, task.task.value(), task.lease.value(), offset, run_list, text)};
    b.Finish(wire::CreateOutput(b, b.CreateVector(list)));
    core->OnOutput(worker, *flatbuffers::GetRoot<wire::Output>(b.GetBufferPointer()), now);
    Commit();
  }
  // What was assigned to a session since the last call.
  std::vector<Assign> Take(SessionId worker) {
    Commit();
    return std::exchange(assigned[worker.value()], {});
  }

  // --- Looking
  const Task* Find(TaskId id) const {
    uint32_t slot = core->state().tasks().Find(id);
    return slot == kNil ? nullptr : &core->state().tasks()[slot];
  }
  TaskRow Row(TaskId id) const {
    auto view = journal->View();
    auto bytes = (*view)->Get(Table::kTasks, id.value());
    TaskRow row;
    EXPECT_TRUE(bytes.ok() && bytes->has_value());
    RowReader(**bytes).Read(row);
    return row;
  }
  // What the server gives to Core::OnPrune: at most `limit` rows of kFinished, from that key on.
  std::vector<FinishedEntry> Finished(uint64_t from, size_t limit = SIZE_MAX) const {
    std::vector<FinishedEntry> entries;
    auto view = journal->View();
    absl::Status status =
        (*view)->Scan(Table::kFinished, from, [&](uint64_t key, std::string_view bytes) {
          auto row = ReadFinished(bytes);
          EXPECT_TRUE(row) << "row " << key;
          if (row)
            entries.push_back({key, row->head.finished_ms, row->tasks, std::string(row->runs)});
          return row && entries.size() < limit;
        });
    EXPECT_TRUE(status.ok()) << status;
    return entries;
  }
  std::vector<DeadEntry> DeadLetters() const {
    std::vector<DeadEntry> entries;
    auto view = journal->View();
    absl::Status status = (*view)->Scan(Table::kDead, 0, [&](uint64_t key, std::string_view bytes) {
      RowReader(bytes).Read(entries.emplace_back(DeadEntry{key, {}}).row);
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return entries;
  }
  // All that is over the limits goes, if it is durable.
  void Prune() {
    core->OnPrune(Finished(core->PruneFrom(now)), now);
    Commit();
  }
  size_t RowCount(Table table) const {
    size_t rows = 0;
    auto view = journal->View();
    EXPECT_TRUE(
        (*view)->Scan(table, 0, [&](uint64_t, std::string_view) { return ++rows > 0; }).ok());
    return rows;
  }
  std::string Fingerprint() const { return core->state().Fingerprint(); }
  std::string RebuiltFingerprint() const {
    State state;
    auto view = journal->View();
    EXPECT_TRUE(Rebuild(**view, state).ok());
    return state.Fingerprint();
  }
  std::string ReplayedFingerprint() const {
    State state;
    auto view = journal->View();
    absl::Status status = Replay(**view, state);
    EXPECT_TRUE(status.ok()) << status;
    return state.Fingerprint();
  }

  // The batch stays open, as while the journal is busy with the one before.
  bool hold_commits = false;
  uint32_t concurrency = 0;  // of workers that come
  uint64_t node = 0;         // of epochs that it opens
  Now now{1'700'000'000'000, 5'000};
  std::unique_ptr<Journal> journal;
  std::unique_ptr<Core> core;
  std::function<void()> fail_over{};  // instead of a restart: puts others in their places
  std::vector<SubmitAckEffect> acks;
  std::vector<ResultAckEffect> result_acks;
  std::vector<OutcomesEffect> outcomes;
  std::vector<ErrorEffect> errors;
  std::vector<CancelEffect> cancels;
  std::vector<RecallEffect> recalls;
  std::vector<ItemReplyEffect> replies;
  std::vector<QueueSetEffect> queues_set;
  std::vector<ScheduleEffect> schedules_set;
  std::vector<WorkerWelcomeEffect> welcomes;
  std::map<uint64_t, std::vector<Assign>> assigned;  // by session

 private:
  void Open() {
    journal = open_journal_(*this);
    core = std::make_unique<Core>(config_);
    auto view = journal->View();
    ASSERT_TRUE(Rebuild(**view, core->state()).ok());
    ASSERT_TRUE(core->Start(Uuid{1, 2}, core->NextEpoch(node), now).ok());
    view->reset();
    Commit();
  }
  void ReportEnd(SessionId worker, const Assign& task, bool succeeded, const std::string& result,
                 ErrorCode code, const std::string& message, wire::RetryAdvice advice,
                 uint64_t after_ms) {
    flatbuffers::FlatBufferBuilder b;
    auto bytes = b.CreateVector(reinterpret_cast<const uint8_t*>(result.data()), result.size());
    auto text = b.CreateString(message);
    std::vector<flatbuffers::Offset<wire::Result>> list{
        wire::CreateResult(b, task.task.value(), task.lease.value(), 7, succeeded, bytes, 0,
                           static_cast<uint16_t>(code), text, advice, after_ms)};
    auto results = b.CreateVector(list);
    b.Finish(wire::CreateResults(b, ++result_seq_, 0, results));
    core->OnResults(worker, *flatbuffers::GetRoot<wire::Results>(b.GetBufferPointer()), now);
    Commit();
  }
  void Keep(Effect effect) {
    if (auto* e = std::get_if<SubmitAckEffect>(&effect)) acks.push_back(*e);
    if (auto* e = std::get_if<ResultAckEffect>(&effect)) result_acks.push_back(*e);
    if (auto* e = std::get_if<OutcomesEffect>(&effect)) outcomes.push_back(*e);
    if (auto* e = std::get_if<ErrorEffect>(&effect)) errors.push_back(*e);
    if (auto* e = std::get_if<CancelEffect>(&effect)) cancels.push_back(*e);
    if (auto* e = std::get_if<RecallEffect>(&effect)) recalls.push_back(*e);
    if (auto* e = std::get_if<ItemReplyEffect>(&effect)) replies.push_back(*e);
    if (auto* e = std::get_if<QueueSetEffect>(&effect)) queues_set.push_back(*e);
    if (auto* e = std::get_if<ScheduleEffect>(&effect)) schedules_set.push_back(*e);
    if (auto* e = std::get_if<WorkerWelcomeEffect>(&effect)) welcomes.push_back(*e);
    if (auto* e = std::get_if<TasksEffect>(&effect)) {
      auto& list = assigned[e->to.value()];
      list.insert(list.end(), e->tasks.begin(), e->tasks.end());
    }
  }

  CoreConfig config_;
  OpenJournal open_journal_;
  Batch batch_;
  uint64_t result_seq_ = 0;
};

}  // namespace zsched::broker
