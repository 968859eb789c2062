// A core's life in random order: submits, workers that come and go, results of every kind, timers,
// retries, cancels, retention, rules of queues, time schedules, restarts. Owned by the tests.
//
// Example:
//   CoreHarness harness({.keep_finished = 20});
//   RandomLife life(harness, seed);
//   for (int i = 0; i < 300; ++i) life.Step();
//
// Threads: one. Errors: gtest's, fatal ones end a step.
#pragma once

#include <random>

#include "tests/unit/core/core_harness.h"

namespace zsched::broker {

class RandomLife {
 public:
  // What share of payloads and results is larger than the usual few bytes.
  struct Sizes {
    int medium_percent = 0;  // up to kMediumBytes: several rows a page
    int large_percent = 0;   // up to kLargeBytes: overflow pages, several segments of the log
    uint64_t frames = 1;     // that clients send at most before a commit
  };
  static constexpr uint64_t kSmallBytes = 50;
  static constexpr uint64_t kMediumBytes = 3'000;
  static constexpr uint64_t kLargeBytes = 40'000;

  RandomLife(CoreHarness& harness, uint64_t seed) : RandomLife(harness, seed, Sizes{}) {}
  RandomLife(CoreHarness& harness, uint64_t seed, Sizes sizes)
      : random_(seed), h_(harness), sizes_(sizes) {}

  void Step() {
    switch (Below(17)) {
      case 0:
      case 1:
      case 2:
        return SubmitSome();
      case 3:
        return WorkerComes();
      case 4:
      case 5:
      case 6:
        return ReportSome();
      case 7:
        return h_.Pass(static_cast<int64_t>(Below(3000)));
      case 8:
        return WorkerLeaves();
      case 9:
        return Chance(10) ? Restart() : h_.Commit();
      case 10:
        return Retry();
      case 11:
        return Prune();
      case 12:
        return Chance(50) ? SetQueue() : SetType();
      case 13:
        return Cancel();
      case 14:
        return ChangeSchedule();
      case 15:
        return Delete();
      case 16:
        return ExpireDead();
    }
  }

  // The next clients and workers are others than those of a life that goes on elsewhere.
  void RenameAll() {
    clients_ = worker_ids_ = 1'000'000;
    client_ = SessionId(0);
  }

  // Sessions and, half of the time, the open batch are lost.
  void Restart() {
    if (Chance(50)) h_.Commit();
    h_.Restart();
    workers_.clear();
    client_ = SessionId(0);
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }

  std::string Bytes() {
    uint64_t dice = Below(100), most = kSmallBytes;
    if (dice < static_cast<uint64_t>(sizes_.large_percent))
      most = kLargeBytes;
    else if (dice < static_cast<uint64_t>(sizes_.large_percent + sizes_.medium_percent))
      most = kMediumBytes;
    return std::string(Below(most), static_cast<char>('a' + Below(26)));
  }

  void SubmitSome() {
    const uint64_t frames = sizes_.frames == 1 ? 1 : 1 + Below(sizes_.frames);
    h_.hold_commits = true;
    for (uint64_t i = 1; i < frames; ++i) Submit();
    h_.hold_commits = false;
    Submit();
  }

  void Submit() {
    if (!client_) client_ = h_.Client(++clients_), seq_ = 0;
    std::vector<TestTask> tasks(1 + Below(5));
    for (TestTask& task : tasks) {
      task.type = std::string(1, static_cast<char>('a' + Below(3)));
      task.queue = "q" + std::to_string(Below(3));
      task.priority = static_cast<int>(Below(11));  // 10 is refused
      task.max_attempts = static_cast<uint16_t>(1 + Below(3));
      task.retry_base_ms = static_cast<uint32_t>(1 + Below(2000));
      if (Chance(30)) task.delay_ms = Below(4000);
      task.payload = Bytes();
      if (Chance(20)) task.key = "k" + std::to_string(Below(30));
      if (!task.key.empty() && Chance(70)) task.payload = task.key;
      if (Chance(15)) task.delivery = wire::Delivery::kAtMostOnce;
      if (Chance(30)) task.concurrency_key = "c" + std::to_string(Below(4));
      if (Chance(30)) task.fairness_key = "f" + std::to_string(Below(3));
      if (Chance(20)) task.start_within_ms = task.delay_ms + 1 + Below(5000);
      if (Chance(25)) AddChain(task, /*depth=*/1);
    }
    ++seq_;
    SubmitAckEffect ack =
        h_.Submit(client_, seq_, tasks, Chance(50) ? seq_ : std::max<uint64_t>(1, seq_ - 5));
    for (uint64_t i = 0; i < ack.accepted; ++i) ids_.push_back(ack.first_id + i);
    if (Chance(10)) client_ = SessionId(0);
  }

  void AddChain(TestTask& task, int depth) {
    for (std::vector<TestTask>* branch : {&task.on_success, &task.on_failure, &task.on_complete})
      if (Chance(40)) {
        TestTask& next = branch->emplace_back();
        next.type = std::string(1, static_cast<char>('a' + Below(3)));
        next.queue = "q" + std::to_string(Below(4));
        next.max_attempts = static_cast<uint16_t>(1 + Below(2));
        next.payload = Bytes();
        next.pass_result = Chance(50);
        if (Chance(30)) next.delay_ms = Below(2000);
        if (Chance(20)) next.concurrency_key = "c" + std::to_string(Below(4));
        if (depth < 2 && Chance(30)) AddChain(next, depth + 1);
      }
  }

  // Rules that let some tasks through.
  void SetQueue() {
    if (!client_) return;
    TestQueue rules;
    if (Chance(50)) rules.paused = Chance(20);
    if (Chance(30)) rules.max_running = static_cast<uint32_t>(Below(4));
    if (Chance(30)) rules.rate_micro = Below(5) * 1'000'000;
    if (Chance(20)) rules.max_tasks = Below(2) * 30;
    if (Chance(20)) rules.weight = static_cast<uint8_t>(Below(5));
    if (Chance(20)) rules.max_attempts = static_cast<uint16_t>(Below(4));
    if (Chance(30)) rules.key_max_running = static_cast<uint32_t>(Below(3));
    if (Chance(20)) rules.key_rate_micro = Below(4) * 1'000'000;
    if (Chance(20)) rules.draining = Chance(20);
    if (Chance(20)) rules.ageing_ms = static_cast<uint32_t>(Below(3) * 500);
    h_.SetQueue(client_, "q" + std::to_string(Below(5)), rules);
  }

  void ChangeSchedule() {
    if (!client_) return;
    const std::string name = "s" + std::to_string(Below(5));
    switch (Below(6)) {
      case 0:
        return h_.PauseSchedule(client_, name, Chance(50));
      case 1:
        return h_.RunSchedule(client_, name);
      case 2:
        return h_.RunSchedule(client_, name, h_.now.wall_ms - static_cast<int64_t>(Below(20'000)),
                              h_.now.wall_ms);
      case 3:
        return Chance(30) ? h_.RemoveSchedule(client_, name) : void();
      default:
        break;
    }
    TestSchedule schedule;
    schedule.expression = Chance(50) ? "@every 1s" : "*/2 * * * * *";
    constexpr wire::Overlap kOverlaps[] = {wire::Overlap::kSkip, wire::Overlap::kQueueOne,
                                           wire::Overlap::kQueueAll, wire::Overlap::kCancelOld,
                                           wire::Overlap::kAllow};
    schedule.overlap = kOverlaps[Below(5)];
    schedule.jitter_ms = static_cast<uint32_t>(Below(2) * 700);
    schedule.replace = Chance(70);
    schedule.queue = "q" + std::to_string(Below(3));
    schedule.payload = Bytes();
    if (Chance(20)) schedule.labels = {{"team", "night"}};
    h_.SetSchedule(client_, name, schedule);
  }

  void SetType() {
    if (!client_) return;
    TestType rules;
    if (Chance(30)) rules.paused = Chance(20);
    if (Chance(50)) rules.max_running = static_cast<uint32_t>(Below(4));
    if (Chance(30)) rules.rate_micro = Below(5) * 1'000'000;
    h_.SetType(client_, std::string(1, static_cast<char>('a' + Below(4))), rules);
  }

  void WorkerComes() {
    if (workers_.size() > 4) return;
    std::vector<std::string> types;
    if (Chance(50)) types = {std::string(1, static_cast<char>('a' + Below(3)))};
    SessionId session = h_.Worker(++worker_ids_, static_cast<uint32_t>(Below(5)), {}, types);
    workers_.push_back({session, {}});
    h_.Commit();
  }

  void TakeAll() {
    for (auto& [session, held] : workers_)
      for (const Assign& a : h_.Take(session)) {
        held.push_back(a);
        ids_.push_back(a.task.value());  // also of those that follow others
      }
  }

  void ReportSome() {
    TakeAll();
    for (auto& [session, held] : workers_) {
      if (held.empty() || h_.core->FindWorkerSession(session) == nullptr) continue;
      Assign a = held.back();
      held.pop_back();
      if (Chance(30)) SaySome(session, a);
      switch (Below(5)) {
        case 0:
          h_.Fail(session, a);
          break;
        case 1:
          h_.Fail(session, a, ErrorCode::kAttemptTimedOut);
          break;
        case 2:
          h_.Succeed(session, a, "result" + Bytes());
          break;
        case 3:
          h_.Release(session, {a});
          break;
        default:
          h_.Done(session, {a});
          break;
      }
    }
  }

  void SaySome(SessionId session, const Assign& attempt) {
    CoreHarness::TestReport report;
    if (Chance(50)) report.percent = static_cast<uint8_t>(Below(101));
    if (Chance(50)) report.message = Bytes();
    if (Chance(50)) report.checkpoint = Bytes();
    h_.Report(session, attempt, report);
    if (Chance(50))
      h_.Output(session, attempt, Below(100) * kOutputPageBytes,
                std::string(1 + Below(kOutputPageBytes), 'w'));
  }

  void WorkerLeaves() {
    if (workers_.empty()) return;
    size_t i = Below(workers_.size());
    if (Chance(50)) h_.core->OnWorkerGoodbye(workers_[i].first, h_.now);
    workers_.erase(workers_.begin() + static_cast<int64_t>(i));
    h_.Commit();
  }

  void Retry() {
    if (ids_.empty()) return;
    h_.Commit();
    uint64_t id = ids_[Below(ids_.size())];
    h_.core->OnRetry(SessionId(1), 1, h_.Rows({id}), h_.now);
    h_.Commit();
  }

  // One that is dead, if there is one, and any other.
  void Delete() {
    if (ids_.empty()) return;
    h_.Commit();
    std::vector<uint64_t> ids = {ids_[Below(ids_.size())]};
    const std::vector<DeadEntry> dead = h_.DeadLetters();
    if (!dead.empty()) ids.push_back(dead[Below(dead.size())].row.task);
    h_.core->OnDeadDelete(SessionId(1), 1, h_.Rows(ids), h_.now);
    h_.Commit();
  }

  void ExpireDead() {
    h_.Commit();
    if (h_.core->HasOldDead(h_.now)) h_.core->OnDeadRead(h_.DeadLetters(), h_.now);
    h_.Commit();
  }

  // Often more than once, and of whatever state.
  void Cancel() {
    if (ids_.empty()) return;
    std::vector<uint64_t> ids(1 + Below(3));
    for (uint64_t& id : ids) id = ids_[ids_.size() - 1 - Below(std::min<size_t>(ids_.size(), 20))];
    h_.Cancel(SessionId(1), ids);
  }

  void Prune() {
    h_.Commit();
    uint64_t from = h_.core->PruneFrom(h_.now);
    if (from == 0) return;
    h_.core->OnPrune(h_.Finished(from, /*limit=*/8), h_.now);
    h_.Commit();
  }

  std::mt19937_64 random_;
  CoreHarness& h_;
  const Sizes sizes_;
  SessionId client_;
  uint64_t clients_ = 0, seq_ = 0, worker_ids_ = 0;
  std::vector<uint64_t> ids_;
  std::vector<std::pair<SessionId, std::vector<Assign>>> workers_;
};

}  // namespace zsched::broker
