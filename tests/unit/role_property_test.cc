// Two role machines, a register and a network that loses, delays and keeps messages, in virtual time: who commits, and
// what is lost. The logs are plain lists here; the real ones are in the simulation of whole brokers (tests/sim).
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "broker/replication/role.h"
#include "schemas/errors.h"
#include "tests/sim/random.h"

namespace zsched::broker {
namespace {

using sim::Random;
using wire::Role;

struct Entry {
  Epoch epoch;
  uint64_t id = 0;  // 0: the epoch's start
  auto operator<=>(const Entry&) const = default;
};
using Log = std::vector<Entry>;

struct Faults {
  double loss = 0;            // of messages between the brokers
  int64_t delay_max_ms = 20;  // of messages
  double linger = 0;          // of messages: come again, up to 10 s later
  double lost_answers = 0;    // of the register's
  bool crashes = false, pauses = false, partitions = false;
};

class Pair {
 public:
  // The first broken promise; "" when all were kept.
  std::string Run(uint64_t seed, bool arbitrated, const Faults& faults, int64_t ms) {
    random_ = std::make_unique<Random>(seed);
    arbitrated_ = arbitrated;
    faults_ = faults;
    for (uint8_t i : {kPrimary, kBackup}) Boot(i);
    for (; now_ms_ < ms && failure_.empty(); ++now_ms_) Step();
    Heal();
    const int64_t end_ms = now_ms_ + kQuietMs;
    for (; now_ms_ < end_ms && failure_.empty(); ++now_ms_) Step();
    if (failure_.empty()) CheckHealed();
    return failure_.empty() ? "" : "seed " + std::to_string(seed) + ": " + failure_;
  }
  size_t acknowledged() const { return acknowledged_.size(); }
  size_t epochs() const { return committers_.size(); }

 private:
  static constexpr int64_t kQuietMs = 20'000;

  struct Node {
    std::unique_ptr<RoleMachine> role;
    bool up = false;
    int64_t paused_until_ms = 0;
    uint64_t life = 0;
    uint64_t disk = 0;   // another one after a snapshot
    Log log;             // as in memory
    size_t durable = 0;  // so much of it is on disk
    Epoch following;
    Epoch promised;  // the newest that it serves or follows
    bool waits = false;
    std::map<Epoch, size_t> acked;  // by the peer, as this node knows
    size_t committed = 0;
    Register own;  // without an arbiter
  };

  void Fail(const std::string& what) {
    if (failure_.empty()) failure_ = what + View();
  }
  void CheckHealed() {
    int actives = 0;
    for (const Node& node : nodes_) {
      actives += node.role->active();
      if (node.role->role() != Role::kActiveSync && node.role->role() != Role::kStandby)
        Fail("the pair has not healed");
    }
    if (actives != 1) Fail("there is not one active");
    if (nodes_[0].log.size() + 20 < nodes_[1].log.size() ||
        nodes_[1].log.size() + 20 < nodes_[0].log.size())
      Fail("the logs differ");
  }

  std::string View() const {
    std::string view = " at " + std::to_string(now_ms_);
    for (const Node& node : nodes_)
      view += std::string(" [") + wire::EnumNameRole(node.role->role()) + " epoch " +
              std::to_string(node.role->epoch().value()) + " log " +
              std::to_string(node.log.size()) + " durable " + std::to_string(node.durable) +
              " known " + std::to_string(node.role->known().epoch.value()) + "/" +
              std::to_string(node.role->known().in_sync) + "]";
    return view + " register " + std::to_string(register_.epoch.value()) + "/" +
           std::to_string(register_.in_sync);
  }

  // --- The world ---

  void At(int64_t delay_ms, std::function<void()> event) {
    events_.emplace(now_ms_ + delay_ms, std::move(event));
  }
  bool Reaches(uint8_t from) const { return !cut_[from]; }
  // Over the network to the other node.
  void Send(uint8_t from, std::function<void(Node&)> receive) {
    const uint8_t to = 1 - from;
    auto deliver = [this, from, to, receive] {
      if (!Reaches(from) || !nodes_[to].up) return;
      const int64_t wait_ms = std::max<int64_t>(0, nodes_[to].paused_until_ms - now_ms_);
      const uint64_t life = nodes_[to].life;
      At(wait_ms, [this, to, life, receive] {
        if (nodes_[to].up && nodes_[to].life == life) receive(nodes_[to]), Act(to);
      });
    };
    if (!random_->Chance(faults_.loss)) At(random_->Between(0, faults_.delay_max_ms), deliver);
    if (random_->Chance(faults_.linger)) At(random_->Between(0, 10'000), deliver);
  }
  bool Runs(uint8_t i) const { return nodes_[i].up && now_ms_ >= nodes_[i].paused_until_ms; }

  void Boot(uint8_t i) {
    Node& node = nodes_[i];
    node.log.resize(node.durable);
    node.up = true;
    Reread(i);
  }
  // As a node that starts, or that drops its state.
  void Reread(uint8_t i) {
    Node& node = nodes_[i];
    node.log.resize(node.durable);
    node.following = Epoch();
    node.promised = node.log.empty() ? Epoch() : node.log.back().epoch;
    node.waits = false;
    node.acked.clear();
    node.committed = 0;
    node.life = ++lives_;
    RoleOptions options{.node = i, .cluster = Uuid{1, node.life}, .arbitrated = arbitrated_};
    node.role = std::make_unique<RoleMachine>(options, arbitrated_ ? Register{} : node.own,
                                              EndOf(node), now_ms_);
  }
  LogEnd EndOf(const Node& node) const {
    return {Lsn(node.durable), node.durable == 0 ? Epoch() : node.log[node.durable - 1].epoch, 0};
  }

  void Step() {
    while (!events_.empty() && events_.begin()->first <= now_ms_) {
      auto event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
    if (faults_.crashes || faults_.pauses || faults_.partitions) Break();
    for (uint8_t i : {kPrimary, kBackup}) {
      if (!Runs(i)) continue;
      if (now_ms_ % 25 == 0) nodes_[i].role->OnTick(now_ms_);
      if (now_ms_ % 100 == i * 50) Heartbeat(i);
      if (now_ms_ % 300 == 0) nodes_[i].role->OnVote(now_ms_);
      Act(i);
      Work(i);
    }
    CheckInvariants();
  }

  void Break() {
    for (uint8_t i : {kPrimary, kBackup}) {
      Node& node = nodes_[i];
      if (faults_.crashes && node.up && random_->Chance(0.0003)) {
        node.up = false;
        At(random_->LogBetween(1, 5'000), [this, i] {
          if (!nodes_[i].up) Boot(i);
        });
      }
      if (faults_.pauses && random_->Chance(0.0002))
        node.paused_until_ms = now_ms_ + random_->LogBetween(10, 5'000);
      if (faults_.partitions && random_->Chance(cut_[i] ? 0.001 : 0.0003)) cut_[i] = !cut_[i];
      if (faults_.partitions && random_->Chance(cut_off_[i] ? 0.001 : 0.0003))
        cut_off_[i] = !cut_off_[i];
    }
  }
  void Heal() {
    faults_ = {};
    for (uint8_t i : {kPrimary, kBackup}) {
      cut_[i] = cut_off_[i] = false;
      nodes_[i].paused_until_ms = 0;
      if (!nodes_[i].up) Boot(i);
    }
  }

  void Heartbeat(uint8_t i) {
    const Node& node = nodes_[i];
    PeerState state{.life = node.life,
                    .role = node.role->role(),
                    .known = node.role->known(),
                    .end = EndOf(node)};
    Send(i, [this, state](Node& to) { to.role->OnPeer(state, now_ms_); });
  }

  // --- What the machines ask for ---

  void Act(uint8_t i) {
    for (bool more = true; more && nodes_[i].up;) {
      std::vector<RoleAction> actions = nodes_[i].role->TakeActions();
      more = !actions.empty();
      for (const RoleAction& action : actions) std::visit([&](const auto& a) { Do(i, a); }, action);
    }
  }
  // The question and the answer take their time, and either may be lost.
  void AskRegister(uint8_t i, std::function<Register()> question) {
    const uint64_t life = nodes_[i].life;
    auto answer = [this, i, life](absl::StatusOr<Register> value) {
      if (!nodes_[i].up || nodes_[i].life != life) return;
      nodes_[i].role->OnRegister(value, now_ms_);
      Act(i);
    };
    const int64_t there_ms = random_->Between(0, faults_.delay_max_ms),
                  back_ms = random_->Between(0, faults_.delay_max_ms);
    const absl::Status lost = Error(ErrorCode::kUnavailable, "lost");
    if (arbitrated_ && (cut_off_[i] || random_->Chance(faults_.lost_answers))) {
      // Never asked, or asked when nobody waits for the answer any more, unless another question of this
      // life was answered by then: that settles it (register.h).
      const uint64_t settled = settled_[life];
      if (random_->Chance(0.5))
        At(random_->LogBetween(1, 3'000), [this, life, settled, question] {
          if (settled_[life] == settled) question();
        });
      return At(100, [answer, lost] { answer(lost); });
    }
    const bool lost_back = arbitrated_ && random_->Chance(faults_.lost_answers);
    At(there_ms, [=, this] {
      const Register value = question();
      ++settled_[life];
      if (lost_back)
        At(100, [answer, lost] { answer(lost); });
      else
        At(back_ms, [answer, value] { answer(value); });
    });
  }
  Register& RegisterOf(uint8_t i) { return arbitrated_ ? register_ : nodes_[i].own; }
  void Do(uint8_t i, const ReadRegister&) {
    AskRegister(i, [this, i] { return RegisterOf(i); });
  }
  void Do(uint8_t i, const SwapRegister& swap) {
    AskRegister(i, [this, i, swap] {
      if (RegisterOf(i) == swap.expected) RegisterOf(i) = swap.wanted;
      return RegisterOf(i);
    });
  }
  void Do(uint8_t i, const Promote& promote) {
    Node& node = nodes_[i];
    node.following = Epoch();
    node.promised = promote.epoch;
    node.acked.clear();
    Append(i, {promote.epoch, 0});
    const uint64_t life = node.life;
    const size_t needed = node.log.size();
    serving_[i] = [this, i, life, needed] {
      Node& n = nodes_[i];
      if (n.life != life || n.durable < needed) return false;
      n.role->OnServing(now_ms_);
      return true;
    };
  }
  void Do(uint8_t i, const WaitForPeer& wait) { nodes_[i].waits = wait.wait; }
  void Do(uint8_t i, const Follow& follow) {
    nodes_[i].following = follow.epoch;
    nodes_[i].promised = std::max(nodes_[i].promised, follow.epoch);
    Ack(i);
  }
  void Do(uint8_t i, const Demote&) { Reread(i); }

  // --- Logs ---

  void Append(uint8_t i, const Entry& entry) {
    Node& node = nodes_[i];
    node.log.push_back(entry);
    node.role->OnAppended(Lsn(node.log.size()));
    Flush(i);
    SendLog(i, entry.epoch);
  }
  void Flush(uint8_t i) {
    const uint64_t life = nodes_[i].life, disk = nodes_[i].disk;
    const Log upto = nodes_[i].log;
    At(random_->Between(1, 10), [this, i, life, disk, upto] {
      Node& node = nodes_[i];
      if (!node.up || node.life != life || node.disk != disk || node.durable >= upto.size()) return;
      if (!std::equal(upto.begin(), upto.end(), node.log.begin())) return;
      node.durable = upto.size();
      node.role->OnDurable(EndOf(node));
      if (serving_[i] && serving_[i]()) serving_[i] = nullptr;
      Ack(i);
      Act(i);
    });
  }
  void SendLog(uint8_t i, Epoch epoch) {
    const Log log = nodes_[i].log;
    Send(i, [this, i, epoch, log](Node& to) { Accept(1 - i, to, epoch, log); });
  }
  void Accept(uint8_t i, Node& node, Epoch epoch, const Log& log) {
    if (node.following != epoch || epoch < node.promised) return;  // rule 2
    const bool same = std::equal(
        node.log.begin(), node.log.begin() + std::min(node.log.size(), log.size()), log.begin());
    if (same && log.size() <= node.log.size()) return;  // rule 3
    if (!same) {
      // As by a snapshot: nothing of the old log stays.
      if (node.log.back().epoch >= epoch) return Fail("one epoch, two logs");
      node.durable = 0;
      ++node.disk;
    }
    node.log = log;
    Flush(i);
  }
  void Ack(uint8_t i) {
    const Node& node = nodes_[i];
    if (node.following == Epoch()) return;
    const Epoch epoch = node.following;
    // What is durable counts as this epoch's once it is the active's own log.
    const size_t end = node.durable;
    const Log log(node.log.begin(), node.log.begin() + static_cast<int64_t>(end));
    Send(i, [this, i, epoch, end, log](Node& to) {
      if (to.role->epoch() != epoch || to.log.size() < end ||
          !std::equal(log.begin(), log.end(), to.log.begin()))
        return SendLogIfActive(1 - i);
      to.acked[epoch] = std::max(to.acked[epoch], end);
      to.role->OnFollowerAtTail(true);
      to.role->OnPeerDurable(epoch, Lsn(end), now_ms_);
      if (end < to.log.size()) SendLogIfActive(1 - i);
    });
  }
  void SendLogIfActive(uint8_t i) {
    if (nodes_[i].role->active()) SendLog(i, nodes_[i].role->epoch());
  }

  void Work(uint8_t i) {
    Node& node = nodes_[i];
    if (!node.role->active()) return;
    if (random_->Chance(0.01)) Append(i, {node.role->epoch(), ++last_id_});
    if (now_ms_ % 200 == 0) SendLog(i, node.role->epoch());
    const size_t acked = node.acked[node.role->epoch()];
    const size_t end = node.waits ? std::min(node.durable, acked) : node.durable;
    for (; node.committed < end; ++node.committed) {
      acknowledged_.insert(node.log[node.committed]);
      auto [it, first] = committers_.emplace(node.role->epoch(), i);
      if (it->second != i) return Fail("two committers of one epoch");
    }
  }

  void CheckInvariants() {
    if (!arbitrated_ || acknowledged_.size() == checked_) return;
    checked_ = acknowledged_.size();
    for (uint8_t i : {kPrimary, kBackup}) {
      if (!register_.IsMember(i)) continue;
      const std::set<Entry> have(nodes_[i].log.begin(),
                                 nodes_[i].log.begin() + static_cast<int64_t>(nodes_[i].durable));
      for (const Entry& entry : acknowledged_)
        if (!have.contains(entry))
          return Fail("node " + std::to_string(i) + " is in sync and lacks an acknowledged record");
    }
  }

  bool arbitrated_ = true;
  Faults faults_;
  std::unique_ptr<Random> random_;
  int64_t now_ms_ = 0;
  std::multimap<int64_t, std::function<void()>> events_;
  std::array<Node, 2> nodes_;
  std::array<bool, 2> cut_{}, cut_off_{};  // what it sends to the peer; the arbiter, for it
  std::array<std::function<bool()>, 2> serving_;
  Register register_;
  std::map<uint64_t, uint64_t> settled_;  // by life: questions that were carried out
  uint64_t lives_ = 0, last_id_ = 0;
  std::set<Entry> acknowledged_;
  size_t checked_ = 0;
  std::map<Epoch, uint8_t> committers_;
  std::string failure_;
};

// What goes on in all of `seeds` runs; the number of epochs says that there was something to see.
void RunSeeds(int seeds, bool arbitrated, const Faults& faults, size_t epochs_at_least) {
  size_t epochs = 0, acknowledged = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    Pair pair;
    ASSERT_EQ(pair.Run(static_cast<uint64_t>(seed), arbitrated, faults, 60'000), "");
    epochs += pair.epochs();
    acknowledged += pair.acknowledged();
  }
  EXPECT_GE(epochs, epochs_at_least * static_cast<size_t>(seeds));
  EXPECT_GE(acknowledged, 50 * static_cast<size_t>(seeds));
}

TEST(PairProperty, AQuietPairHasOneEpoch) {
  for (bool arbitrated : {true, false}) {
    Pair pair;
    ASSERT_EQ(pair.Run(1, arbitrated, {}, 10'000), "");
    EXPECT_EQ(pair.epochs(), 1u);
    EXPECT_GT(pair.acknowledged(), 50u);
  }
}

TEST(PairProperty, ALossyNetworkWithAnArbiter) {
  RunSeeds(100, true, {.loss = 0.3, .delay_max_ms = 100, .linger = 0.05, .lost_answers = 0.2}, 1);
}

TEST(PairProperty, CrashesWithAnArbiter) {
  RunSeeds(200, true, {.loss = 0.05, .linger = 0.02, .lost_answers = 0.1, .crashes = true}, 3);
}

TEST(PairProperty, EverythingWithAnArbiter) {
  RunSeeds(400, true,
           {.loss = 0.05,
            .delay_max_ms = 60,
            .linger = 0.05,
            .lost_answers = 0.1,
            .crashes = true,
            .pauses = true,
            .partitions = true},
           3);
}

TEST(PairProperty, CrashesWithoutAnArbiter) { RunSeeds(200, false, {.crashes = true}, 3); }

TEST(PairProperty, EverythingWithoutAnArbiterHeals) {
  RunSeeds(200, false,
           {.loss = 0.05,
            .delay_max_ms = 60,
            .linger = 0.05,
            .crashes = true,
            .pauses = true,
            .partitions = true},
           3);
}

}  // namespace
}  // namespace zsched::broker
