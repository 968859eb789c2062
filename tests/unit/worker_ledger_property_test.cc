// The ledger against a naive broker and a naive executor, through random events from a seed. What must hold after each:
// every lease that the broker gave is in exactly one place; the broker never has more out than the grant allows, whatever
// is on its way; HELLO never has to name more than it may; each accepted task ends in one result or one release.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>

#include "worker/core/ledger.h"

namespace zsched::worker {
namespace {

// A frame on its way to the broker.
struct Sent {
  std::optional<uint32_t> credit;
  std::vector<uint64_t> release;
  uint64_t seq = 0;
  std::vector<uint64_t> ended;
};

class World {
 public:
  explicit World(uint64_t seed) : random_(seed) {
    LedgerOptions options;
    concurrency_ = 1 + static_cast<int>(Pick(8));
    options.concurrency = concurrency_;
    ledger_ = std::make_unique<Ledger>(options);
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !::testing::Test::HasFatalFailure(); ++i) {
      Step();
      Pump();
      Check();
    }
    Finish();
  }

 private:
  struct Attempt {
    enum { kQueued, kRunning } state = kQueued;
    int64_t started_ms = 0;
  };

  uint64_t Pick(uint64_t below) { return random_() % below; }
  bool Chance(int percent) { return Pick(100) < static_cast<uint64_t>(percent); }

  void Step() {
    now_ += static_cast<int64_t>(Pick(20));
    if (!up_ && Chance(30)) return Connect();
    switch (Pick(12)) {
      case 0:
      case 1:
      case 2:
        return Assign();
      case 3:
      case 4:
        return StartSome();
      case 5:
      case 6:
        return EndSome();
      case 7:
      case 8:
        return Deliver();
      case 9:
        return Acknowledge();
      case 10:
        if (Chance(5)) return Disconnect();
        if (Chance(20)) return Cancel();
        if (Chance(10)) now_ += 2'000;
        return ledger_->OnHeard(now_);
      default:
        ledger_->OnTick(now_);
        ledger_->TakeHeartbeat();
        if (Chance(1)) ledger_->OnDrain(now_);
    }
  }

  void Connect() {
    // HELLO is made, then answered; the broker has taken some leases away meanwhile.
    std::vector<LeaseId> stale;
    std::set<uint64_t> held, kept;
    for (const wire::LeaseRef& ref : ledger_->Held()) held.insert(ref.lease_id());
    ASSERT_LE(held.size(), kMaxCreditTasks);
    for (uint64_t lease : held) {
      if (owned_.contains(lease) && !Chance(10)) {
        kept.insert(lease);
      } else {
        stale.emplace_back(lease);
        void_.insert(lease);
      }
    }
    owned_ = kept;  // what HELLO does not name goes back to its queue
    outstanding_ = kept;
    grant_ = 0;
    up_ = true;
    ledger_->OnSessionUp(6'000, stale, now_);
  }

  void Disconnect() {
    up_ = false;
    wire_.clear();
    unacked_.clear();
    ledger_->OnSessionDown(now_);
  }

  void Assign() {
    if (!up_) return;
    for (uint64_t n = Pick(8); n-- > 0 && outstanding_.size() < grant_;) {
      uint64_t lease = ++last_lease_;
      owned_.insert(lease);
      outstanding_.insert(lease);
      Assigned task{TaskId(lease * 10), LeaseId(lease), 1, 50 + static_cast<uint32_t>(Pick(500)), 0,
                    Pick(2) * Pick(300)};
      bool taken = ledger_->OnAssigned(task, now_);
      if (taken) executor_[lease] = {};
      ASSERT_EQ(taken, !ledger_->draining());
      ASSERT_FALSE(ledger_->OnAssigned(task, now_)) << "a duplicate";
    }
  }

  void StartSome() {
    int running = 0;
    for (auto& [lease, attempt] : executor_) running += attempt.state == Attempt::kRunning;
    for (auto& [lease, attempt] : executor_) {
      if (running >= concurrency_) return;
      if (attempt.state == Attempt::kRunning) continue;
      attempt = {Attempt::kRunning, now_};
      ++running;
      if (Chance(60)) ledger_->OnStarted(LeaseId(lease), now_);  // others are never seen running
    }
  }

  void EndSome() {
    std::vector<Ended> ended;
    for (auto it = executor_.begin(); it != executor_.end();) {
      if (it->second.state != Attempt::kRunning || !Chance(50)) {
        ++it;
        continue;
      }
      Ended end;
      end.lease = LeaseId(it->first);
      end.run_us = static_cast<uint32_t>((now_ - it->second.started_ms) * 1000);
      if (Chance(30)) {
        end.outcome = std::make_unique<Outcome>();
        end.outcome->succeeded = Chance(50);
        end.outcome->result = std::string(Pick(2000), 'r');
      }
      ended.push_back(std::move(end));
      it = executor_.erase(it);
    }
    ledger_->OnEnded(ended, now_);
  }

  void Cancel() {
    if (!up_ || outstanding_.empty()) return;
    uint64_t lease =
        *std::next(outstanding_.begin(), static_cast<ptrdiff_t>(Pick(outstanding_.size())));
    if (Chance(50)) {  // of its task: the lease stays the worker's, and is told of more than once
      for (uint64_t times = 1 + Pick(2); times > 0; --times)
        ledger_->OnCancel(std::vector{LeaseId(lease)}, ErrorCode::kCancelled, now_);
      if (executor_.contains(lease)) cancelled_.insert(lease);  // or it has ended before
      return;
    }
    owned_.erase(lease);
    outstanding_.erase(lease);
    void_.insert(lease);
    ledger_->OnCancel(std::vector{LeaseId(lease)}, ErrorCode::kAttemptTimedOut, now_);
  }

  // One frame arrives at the broker.
  void Deliver() {
    if (wire_.empty()) return;
    Sent sent = std::move(wire_.front());
    wire_.pop_front();
    if (sent.credit) grant_ = *sent.credit;
    for (uint64_t lease : sent.release) {
      ASSERT_TRUE(owned_.erase(lease) == 1 || void_.contains(lease)) << "released twice: " << lease;
      outstanding_.erase(lease);
    }
    for (uint64_t lease : sent.ended) outstanding_.erase(lease);
    if (sent.seq != 0) {
      ASSERT_EQ(sent.seq, unacked_.empty() ? last_seq_ + 1 : unacked_.back().seq + 1);
      unacked_.push_back(std::move(sent));
    }
  }

  // Results become durable.
  void Acknowledge() {
    if (!up_ || unacked_.empty()) return;
    size_t frames = 1 + Pick(unacked_.size());
    size_t stale = 0;
    for (size_t i = 0; i < frames; ++i) {
      for (uint64_t lease : unacked_.front().ended) {
        if (owned_.erase(lease) == 1) {
          ASSERT_TRUE(finished_.insert(lease).second) << "two results of " << lease;
        } else {
          ASSERT_TRUE(void_.contains(lease) || finished_.contains(lease)) << lease;
          ++stale;
        }
      }
      last_seq_ = unacked_.front().seq;
      unacked_.pop_front();
    }
    ledger_->OnResultAck(last_seq_, stale);
  }

  // What the worker's runtime does after every event.
  void Pump() {
    Orders orders = ledger_->TakeOrders(now_);
    std::vector<LeaseId> withdrawn;
    for (const auto& [lease, why] : orders.cancel) {
      auto it = executor_.find(lease.value());
      if (it == executor_.end() || it->second.state != Attempt::kQueued) continue;
      withdrawn.push_back(lease);
      executor_.erase(it);
    }
    for (LeaseId lease : orders.recall) {
      auto it = executor_.find(lease.value());
      if (it == executor_.end() || it->second.state != Attempt::kQueued) continue;
      withdrawn.push_back(lease);
      executor_.erase(it);
    }
    for (auto it = executor_.end(); it != executor_.begin() && orders.withdraw > 0;) {
      --it;
      if (it->second.state != Attempt::kQueued) continue;
      withdrawn.emplace_back(it->first);
      it = executor_.erase(it);
      --orders.withdraw;
    }
    ledger_->OnWithdrawn(withdrawn);
    if (!up_) last_seq_ = 0;
    Frames frames = ledger_->TakeFrames(now_);
    if (!up_) {
      ASSERT_TRUE(!frames.credit && frames.release.empty() && frames.results.empty());
      return;
    }
    if (frames.credit) {
      ASSERT_LE(frames.credit->tasks, kMaxCreditTasks);
      Sent sent;
      sent.credit = frames.credit->tasks;
      wire_.push_back(sent);
    }
    if (!frames.release.empty()) {
      Sent sent;
      for (const wire::LeaseRef& ref : frames.release) sent.release.push_back(ref.lease_id());
      wire_.push_back(sent);
    }
    for (const ResultsFrame* frame : frames.results) {
      Sent sent;
      sent.seq = frame->seq;
      for (const wire::Done& done : frame->done) {
        sent.ended.push_back(done.lease_id());
        ASSERT_FALSE(cancelled_.contains(done.lease_id())) << "succeeded: " << done.lease_id();
      }
      for (const auto& entry : frame->results) {
        sent.ended.push_back(entry.lease.value());
        if (cancelled_.contains(entry.lease.value())) {
          // It may have timed out before it was cancelled.
          ASSERT_TRUE(entry.outcome.code == ErrorCode::kCancelled ||
                      entry.outcome.code == ErrorCode::kAttemptTimedOut)
              << entry.lease.value();
        }
      }
      ASSERT_LE(frame->size(), kMaxResultTasks);
      wire_.push_back(sent);
    }
  }

  void Check() {
    std::vector<wire::LeaseRef> held = ledger_->Held();
    ASSERT_LE(held.size(), kMaxCreditTasks);
    ASSERT_EQ(held.size(), ledger_->outstanding() + ledger_->unacked());
    // Nothing the broker counts on has been forgotten: it is held, or its release is on the way.
    std::set<uint64_t> known;
    for (const wire::LeaseRef& ref : held) known.insert(ref.lease_id());
    for (const Sent& sent : wire_) known.insert(sent.release.begin(), sent.release.end());
    if (up_) {
      for (uint64_t lease : owned_) ASSERT_TRUE(known.contains(lease)) << "lost: " << lease;
    }
    // What the executor has is held, or stuck; and nothing is stuck that it does not have.
    size_t unheld = 0;
    for (const auto& [lease, attempt] : executor_) unheld += !Holds(held, lease);
    ASSERT_LE(unheld, ledger_->stuck());
    ASSERT_LE(ledger_->stuck(), executor_.size());
    ASSERT_GE(ledger_->NextDeadlineMs(), 0);
  }

  static bool Holds(const std::vector<wire::LeaseRef>& held, uint64_t lease) {
    return std::any_of(held.begin(), held.end(),
                       [lease](const auto& ref) { return ref.lease_id() == lease; });
  }

  // From any state, a drain comes to its end and leaves nothing behind.
  void Finish() {
    ledger_->OnDrain(now_);
    for (int i = 0; i < 2'000 && !(up_ && ledger_->drained(now_) && wire_.empty()); ++i) {
      now_ += 10;
      if (!up_) Connect();
      ledger_->OnHeard(now_);
      ledger_->OnTick(now_);
      StartSome();
      EndSome();
      Pump();
      while (!wire_.empty()) Deliver();
      Acknowledge();
      Check();
      if (::testing::Test::HasFatalFailure()) return;
    }
    ASSERT_TRUE(ledger_->drained(now_));
    ASSERT_TRUE(owned_.empty());
    ASSERT_EQ(ledger_->Held().size(), 0u);
    ASSERT_EQ(ledger_->unacked_bytes(), 0u);
    ASSERT_EQ(ledger_->stuck(), executor_.size());
  }

  std::mt19937_64 random_;
  int concurrency_;
  std::unique_ptr<Ledger> ledger_;
  int64_t now_ = 1'000;

  // The executor: what was handed to it and has not come back.
  std::map<uint64_t, Attempt> executor_;

  // The broker.
  bool up_ = false;
  uint64_t last_lease_ = 0;
  uint32_t grant_ = 0;
  std::set<uint64_t> owned_;        // leases that are this worker's
  std::set<uint64_t> outstanding_;  // of these, sent and neither ended nor given back
  std::set<uint64_t> void_;         // taken away
  std::set<uint64_t> finished_;
  std::set<uint64_t> cancelled_;  // their tasks, before they ended
  std::deque<Sent> wire_;
  std::deque<Sent> unacked_;
  uint64_t last_seq_ = 0;
};

TEST(LedgerPropertyTest, HoldsThroughRandomEvents) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    world.Run(2'000);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

// A broker that fills every grant at once and is slow to make results durable: what HELLO would have
// to name stays within its bound, without one task refused.
TEST(LedgerPropertyTest, SlowAcknowledgementsNeverOverfillTheLedger) {
  LedgerOptions options;
  options.concurrency = 4;
  Ledger ledger(options);
  ledger.OnSessionUp(6'000, {}, 0);
  uint32_t grant = 0, most = 0;
  uint64_t last_lease = 0, acked = 0, sent_seq = 0;
  size_t out = 0;
  std::vector<uint64_t> queued;
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    while (out < grant) {
      ++out;
      ASSERT_TRUE(ledger.OnAssigned({TaskId(++last_lease), LeaseId(last_lease), 1, 1'000}, 0));
      queued.push_back(last_lease);
    }
    std::vector<Ended> ended;
    for (uint64_t n = 1 + random() % 500; n > 0 && !queued.empty(); --n) {
      ended.emplace_back();
      ended.back().lease = LeaseId(queued.back());
      ended.back().run_us = 1;
      queued.pop_back();
    }
    ledger.OnEnded(ended, 0);
    Frames frames = ledger.TakeFrames(0);
    if (frames.credit) grant = frames.credit->tasks;
    for (const ResultsFrame* frame : frames.results) {
      out -= frame->size();
      sent_seq = frame->seq;
    }
    ASSERT_LE(ledger.outstanding() + ledger.unacked(), kMaxCreditTasks);
    most = std::max(most, static_cast<uint32_t>(ledger.outstanding() + ledger.unacked()));
    if (random() % 200 == 0) ledger.OnResultAck(acked = acked + (sent_seq - acked) / 2, 0);
  }
  EXPECT_EQ(ledger.counters().over_credit, 0u);
  EXPECT_GT(most, kMaxCreditTasks * 3 / 4) << "the bound was never near: the test shows nothing";
}

}  // namespace
}  // namespace zsched::worker
