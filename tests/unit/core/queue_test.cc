// Rules of queues: what settings do to dispatch and to submits, and that they survive.
#include <gtest/gtest.h>

#include <random>

#include "broker/core/queue_settings.h"
#include "tests/unit/core/core_harness.h"

namespace zsched::broker {
namespace {

class QueueTest : public testing::Test {
 protected:
  std::vector<Assign> TakeAll(SessionId worker) { return h_.Take(worker); }
  QueueGate Look(const std::string& name) {
    const auto& queues = h_.core->state().lanes().queues();
    for (uint32_t i = 0; i < queues.size(); ++i)
      if (queues[i].name == name) return h_.core->gates().LookAtQueue(i);
    ADD_FAILURE() << "no queue " << name;
    return QueueGate::kOpen;
  }
  CoreHarness h_;
};

TEST_F(QueueTest, APausedQueueGivesNothingAndTakesSubmits) {
  SessionId worker = h_.Worker(1, 10), client = h_.Client(1);
  h_.SetQueue(client, "q", {.paused = true});
  h_.Submit(client, 1, {{}, {.queue = "other"}});
  auto taken = TakeAll(worker);
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(Look("q"), QueueGate::kPaused);
  h_.SetQueue(client, "q", {.paused = false});
  EXPECT_EQ(TakeAll(worker).size(), 1u);
  EXPECT_EQ(Look("q"), QueueGate::kOpen);
}

TEST_F(QueueTest, APauseEndsNoAttempt) {
  SessionId worker = h_.Worker(1, 10), client = h_.Client(1);
  TaskId id = h_.SubmitOne(client, 1, {});
  auto taken = TakeAll(worker);
  h_.SetQueue(client, "q", {.paused = true});
  h_.Done(worker, taken);
  EXPECT_EQ(h_.Find(id), nullptr);
}

TEST_F(QueueTest, NoMoreThanMaxRunningAreLeased) {
  SessionId worker = h_.Worker(1, 100), client = h_.Client(1);
  h_.SetQueue(client, "q", {.max_running = 2});
  h_.Submit(client, 1, std::vector<TestTask>(5));
  auto first = TakeAll(worker);
  ASSERT_EQ(first.size(), 2u);
  EXPECT_EQ(Look("q"), QueueGate::kFull);
  h_.Done(worker, {first[0]});
  EXPECT_EQ(TakeAll(worker).size(), 1u);
  h_.SetQueue(client, "q", {.max_running = 4});
  EXPECT_EQ(TakeAll(worker).size(), 2u);
}

TEST_F(QueueTest, LeasesThatAreLostMakeRoomToo) {
  SessionId gone = h_.Worker(1, 1), client = h_.Client(1);
  h_.SetQueue(client, "q", {.max_running = 1});
  h_.Submit(client, 1, std::vector<TestTask>(2));
  ASSERT_EQ(TakeAll(gone).size(), 1u);
  SessionId worker = h_.Worker(2, 10);
  EXPECT_EQ(TakeAll(worker).size(), 0u);
  h_.core->OnWorkerGoodbye(gone, h_.now);
  EXPECT_EQ(TakeAll(worker).size(), 1u);
}

TEST_F(QueueTest, ARateHandsOutABurstAndThenByTime) {
  SessionId worker = h_.Worker(1, 100), client = h_.Client(1);
  h_.SetQueue(client, "q", {.rate_micro = 10'000'000, .burst = 3});  // ten a second
  h_.Submit(client, 1, std::vector<TestTask>(50));
  EXPECT_EQ(TakeAll(worker).size(), 3u);
  EXPECT_EQ(Look("q"), QueueGate::kDry);
  EXPECT_EQ(h_.core->gates().next_ms(), h_.now.mono_ms + 100);
  EXPECT_LE(h_.core->next_tick_ms(h_.now), h_.now.mono_ms + 100);
  h_.Pass(99);
  EXPECT_EQ(TakeAll(worker).size(), 0u);
  h_.Pass(1);
  EXPECT_EQ(TakeAll(worker).size(), 1u);
  h_.Pass(1'000);
  EXPECT_EQ(TakeAll(worker).size(), 3u) << "rest fills no more than the burst";
}

TEST_F(QueueTest, CapsOfAQueueRefuseSubmits) {
  SessionId client = h_.Client(1);
  h_.SetQueue(client, "q", {.max_tasks = 2});
  SubmitAckEffect ack = h_.Submit(client, 1, std::vector<TestTask>(3));
  EXPECT_EQ(ack.accepted, 2u);
  ASSERT_EQ(ack.rejected.size(), 1u);
  EXPECT_EQ(ack.rejected[0].code, ErrorCode::kResourceExhausted);
  h_.SetQueue(client, "b", {.max_bytes = 10});
  ack = h_.Submit(client, 2,
                  {{.queue = "b", .payload = "12345678"}, {.queue = "b", .payload = "123"}});
  EXPECT_EQ(ack.accepted, 1u);
}

TEST_F(QueueTest, ADrainingQueueTakesNoSubmitsAndEndsWhatItHas) {
  SessionId worker = h_.Worker(1, 10), client = h_.Client(1);
  const TestTask retried{.max_attempts = 3,
                         .retry_base_ms = 1,
                         .retry_cap_ms = 1,
                         .on_success = {{.type = "follows"}}};
  const TaskId first = h_.SubmitOne(client, 1, retried);
  h_.SetQueue(client, "q", {.draining = true});
  const SubmitAckEffect refused = h_.Submit(client, 2, {{}, {.queue = "other"}});
  EXPECT_EQ(refused.accepted, 1u);
  EXPECT_EQ(refused.rejected.at(0).code, ErrorCode::kResourceExhausted);
  EXPECT_EQ(refused.rejected.at(0).message,
            "queue 'q' is draining: it takes no tasks until zsched-ctl queue resume q");
  auto taken = TakeAll(worker);
  ASSERT_EQ(taken.size(), 2u);
  if (taken[0].task != first) std::swap(taken[0], taken[1]);
  h_.Fail(worker, taken[0]);
  h_.Done(worker, {taken[1]});
  h_.Pass(2);
  h_.Done(worker, TakeAll(worker));
  EXPECT_EQ(TakeAll(worker).size(), 1u) << "what follows an accepted task comes in";
  h_.Restart();
  client = h_.Client(1);
  EXPECT_EQ(h_.Submit(client, 3, {{}}).accepted, 0u) << "it is remembered";
  h_.SetQueue(client, "q", {.draining = false});
  EXPECT_EQ(h_.Submit(client, 4, {{}}).accepted, 1u);
}

TEST_F(QueueTest, DefaultsOfAQueueAreForTasksThatDoNotSay) {
  SessionId client = h_.Client(1);
  h_.SetQueue(client, "q",
              {.max_attempts = 3, .timeout_ms = 5'000, .retry_base_ms = 70, .retry_cap_ms = 700});
  TaskId plain = h_.SubmitOne(client, 1, {});
  TaskId own = h_.SubmitOne(client, 2, {.max_attempts = 9, .timeout_ms = 44, .retry_base_ms = 900});
  EXPECT_EQ(h_.Find(plain)->max_attempts, 3);
  EXPECT_EQ(h_.Find(plain)->timeout_ms, 5'000u);
  EXPECT_EQ(h_.Find(plain)->retry_base_ms, 70u);
  EXPECT_EQ(h_.Find(plain)->retry_cap_ms, 700u);
  EXPECT_EQ(h_.Find(own)->max_attempts, 9);
  EXPECT_EQ(h_.Find(own)->timeout_ms, 44u);
  EXPECT_EQ(h_.Find(own)->retry_base_ms, 900u);
  EXPECT_EQ(h_.Find(own)->retry_cap_ms, 900u) << "a cap that nobody gave for it does not lower it";
}

TEST_F(QueueTest, SettingsSurviveARestart) {
  SessionId client = h_.Client(1);
  h_.SetQueue(client, "q", {.paused = true, .weight = 7});
  h_.SetQueue(client, "empty", {.max_running = 1});
  h_.Submit(client, 1, {{}});
  h_.Restart();
  SessionId worker = h_.Worker(1, 10);
  EXPECT_EQ(TakeAll(worker).size(), 0u);
  h_.SetQueue(h_.Client(1), "q", {.paused = false});
  EXPECT_EQ(TakeAll(worker).size(), 1u);
  EXPECT_EQ(h_.core->state().lanes().FindQueue("q")->settings.weight, 7);
  EXPECT_EQ(h_.core->state().lanes().FindQueue("empty")->settings.max_running, 1u);
  EXPECT_EQ(h_.Fingerprint(), h_.RebuiltFingerprint());
  EXPECT_EQ(h_.Fingerprint(), h_.ReplayedFingerprint());
}

TEST_F(QueueTest, WhatIsOutOfRangeIsRefusedByName) {
  SessionId client = h_.Client(1);
  const std::pair<TestQueue, std::string> bad[] = {
      {{.rate_micro = kMaxQueueRateMicro + 1}, "rate"},
      {{.burst = kMaxQueueBurst + 1}, "burst"},
      {{.weight = kMaxQueueWeight + 1}, "weight"},
      {{.max_attempts = kMaxMaxAttempts + 1}, "max_attempts"},
      {{.timeout_ms = kMaxTimeoutMs + 1}, "timeout"},
      {{.retry_base_ms = 20, .retry_cap_ms = 10}, "retry_base"},
  };
  for (const auto& [rules, field] : bad) {
    h_.errors.clear();
    h_.SetQueue(client, "q", rules);
    ASSERT_EQ(h_.errors.size(), 1u) << field;
    EXPECT_EQ(h_.errors[0].code, ErrorCode::kInvalidArgument);
    EXPECT_NE(h_.errors[0].message.find(field), std::string::npos) << h_.errors[0].message;
  }
  h_.errors.clear();
  h_.SetQueue(client, "a\nb", {.paused = true});
  EXPECT_EQ(h_.errors.size(), 1u);
  EXPECT_TRUE(h_.core->state().lanes().queues().empty()) << "a refused setting made a queue";
}

TEST_F(QueueTest, WhatChangesNothingIsNoRecord) {
  SessionId client = h_.Client(1);
  h_.SetQueue(client, "q", {.weight = 3});
  const Lsn before = h_.core->appended();
  h_.SetQueue(client, "q", {.weight = 3});
  EXPECT_EQ(h_.core->appended(), before);
  EXPECT_EQ(h_.queues_set.size(), 2u) << "it is answered all the same";
}

TEST_F(QueueTest, QueuesShareByWeight) {
  SessionId client = h_.Client(1);
  h_.SetQueue(client, "a", {.weight = 3});
  h_.Submit(client, 1, std::vector<TestTask>(400, {.queue = "a"}));
  h_.Submit(client, 2, std::vector<TestTask>(400, {.queue = "b"}));
  SessionId worker = h_.Worker(1, 0);
  h_.Credit(worker, 200);
  auto taken = TakeAll(worker);
  ASSERT_EQ(taken.size(), 200u);
  const auto& lanes = h_.core->state().lanes();
  auto of_a = std::count_if(taken.begin(), taken.end(), [&](const Assign& assign) {
    return lanes.queue_of(assign.lane).name == "a";
  });
  EXPECT_EQ(of_a, 150);
}

// Gates against a model that keeps every hand-out of the run: in any window no more than burst and rate
// allow, never more than max_running, and never closed while all of that has room.
class GateModel {
 public:
  explicit GateModel(uint64_t seed) : random_(seed) {
    lanes_.Create(1, {"q", "t", {}, {}});
    Change();
  }

  void Run(int steps) {
    for (int step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
      switch (random_() % 8) {
        case 0:
          if (random_() % 20 == 0) Change();
          break;
        case 1:
        case 2:
          Pass(random_() % 5 == 0 ? random_() % 3000 : random_() % 40);
          break;
        case 3:
        case 4:
          if (leased() > 0) --leased(), gates_.OnLeaseEnded(GatesOf(lanes_[1]));
          break;
        default:
          Give();
      }
    }
  }

 private:
  uint64_t& leased() { return lanes_.queues()[0].counts[static_cast<size_t>(TaskState::kLeased)]; }
  QueueRow& rules() { return lanes_.queues()[0].settings; }

  void Change() {
    rules() = QueueRow{};
    if (random_() % 2) rules().max_running = 1 + random_() % 5;
    if (random_() % 2) rules().rate_micro = 1 + random_() % 200'000'000;
    if (random_() % 2) rules().burst = 1 + random_() % 10;
    rules().paused = random_() % 10 == 0;
    gates_.OnQueueSettings(0);
    TakeReopened();
    changed_ms_ = now_ms_;
    given_ms_.clear();
  }
  void Pass(uint64_t ms) {
    now_ms_ += static_cast<int64_t>(ms);
    gates_.Advance(now_ms_);
    TakeReopened();
  }
  void TakeReopened() {
    if (!gates_.TakeReopened().empty()) closed_ = false;
  }
  // Tokens that a bucket which was full at the change has now, counted afresh from all hand-outs.
  int64_t Nanotokens() {
    const int64_t token = 1'000'000'000,
                  full = token * static_cast<int64_t>(BurstOf(rules().burst, rules().rate_micro));
    int64_t tokens = full;
    int64_t at_ms = changed_ms_;
    auto fill = [&](int64_t until_ms) {
      tokens =
          std::min(full, tokens + (until_ms - at_ms) * static_cast<int64_t>(rules().rate_micro));
      at_ms = until_ms;
    };
    for (int64_t given_ms : given_ms_) fill(given_ms), tokens -= token;
    fill(now_ms_);
    return tokens;
  }
  bool Allowed() {
    if (rules().paused) return false;
    if (rules().max_running != 0 && leased() >= rules().max_running) return false;
    return rules().rate_micro == 0 || Nanotokens() >= 1'000'000'000;
  }
  void Give() {
    TakeReopened();
    const bool allowed = Allowed();
    if (closed_) {
      ASSERT_FALSE(allowed) << "a gate that may open was not reported";
      return;
    }
    ASSERT_EQ(gates_.QueueMayGive(0), allowed);
    closed_ = !allowed;
    if (!allowed) {
      const bool only_dry =
          !rules().paused && (rules().max_running == 0 || leased() < rules().max_running);
      ASSERT_TRUE(!only_dry || gates_.next_ms() > now_ms_);
      return;
    }
    ++leased();
    gates_.OnGiven(1);
    given_ms_.push_back(now_ms_);
  }

  std::mt19937_64 random_;
  TaskIndex tasks_;
  Lanes lanes_{tasks_};
  Gates gates_{lanes_, tasks_};
  int64_t now_ms_ = 0, changed_ms_ = 0;
  bool closed_ = false;
  std::vector<int64_t> given_ms_;
};

TEST(Gates, AreOpenExactlyWhenTheRulesAllow) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    GateModel(seed).Run(2'000);
  }
}

}  // namespace
}  // namespace zsched::broker
