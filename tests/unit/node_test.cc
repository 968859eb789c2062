// Two whole nodes, engines and journals and all, with a register, a client, and a network that loses, delays and keeps
// messages, in virtual time: what was acknowledged is there, one commits in an epoch, and the pair heals.
#include "broker/server/node.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "broker/journal/memory_journal.h"
#include "broker/replication/memory_register.h"
#include "schemas/errors.h"
#include "schemas/verify.h"
#include "tests/sim/random.h"

namespace zsched::broker {
namespace {

using sim::Random;
using wire::Role;

// Some ten tasks: a merge is many parts, and is cut off in the middle.
constexpr size_t kMergePart = 3'000;

struct Faults {
  double loss = 0;           // of messages between the brokers
  int64_t delay_max_ms = 5;  // of messages
  double linger = 0;         // of messages: come again, up to 10 s later
  double lost_answers = 0;   // of the register's
  bool crashes = false, pauses = false, partitions = false;
  bool blackouts = false;          // both crash at once
  bool clocks = false;             // run up to 10 % too fast or too slow, and the wall's jumps
  uint64_t keep_log = UINT64_MAX;  // bytes
};

class Pair {
 public:
  Pair(uint64_t seed, bool arbitrated, const Faults& faults)
      : random_(seed), seed_(seed), arbitrated_(arbitrated), faults_(faults) {
    for (uint8_t i : {kPrimary, kBackup}) {
      hosts_[i].self = i;
      hosts_[i].pair = this;
      hosts_[i].disk = MakeMemoryDisk();
      hosts_[i].disk->KeepLog(faults.keep_log);
      if (faults.clocks) hosts_[i].drift = static_cast<double>(random_.Between(-100, 100)) / 1'000;
      hosts_[i].own = std::make_shared<MemoryCell>();
      Boot(i);
    }
  }

  void Run(int64_t ms) {
    for (const int64_t end_ms = now_ms_ + ms; now_ms_ < end_ms && failure.empty(); ++now_ms_) {
      Fault();
      Step();
    }
  }
  // Without faults from here on.
  void Heal(int64_t ms = 20'000) {
    faults_ = {.keep_log = faults_.keep_log};
    cut_ = {};
    for (uint8_t i : {kPrimary, kBackup}) {
      hosts_[i].paused_until_ms = 0;
      if (hosts_[i].node == nullptr) Boot(i);
    }
    Run(ms);
    submitting_ = false;
    Run(3'000);
    if (failure.empty()) CheckHealed();
  }

  void Crash(uint8_t i) {
    Host& host = hosts_[i];
    if (host.node == nullptr) return;
    if (host.busy && random_.Chance(0.5)) Write(host);
    host.node.reset();
    host.journal.reset();
    host.inbox.clear();
    host.busy = host.written = false;
    ++host.life;
  }
  void Boot(uint8_t i) {
    Host& host = hosts_[i];
    ++host.life;
    host.journal = OpenMemoryJournal(host.disk);
    NodeConfig config;
    config.engine.node = std::string(NodeName(i));
    config.paired = true;
    config.role = {.node = i, .cluster = Uuid{1, seed_ + i}, .arbitrated = arbitrated_};
    config.life = host.life << 20 | i;
    config.open_copy = [this, &host] { return OpenCopy(host); };
    if (!arbitrated_) {
      config.open_merge = [&host](JournalView& own) { return OpenMerge(host, own); };
      config.close_merge = [this, &host](const absl::Status& merged) {
        Must(merged);
        host.archives.pop_front();
        ++merges_;
        return absl::OkStatus();
      };
    }
    Outbox& outbox = host;
    PeerOutbox& peer = host;
    host.node = std::make_unique<Node>(config, *host.journal, outbox, &peer);
    Must(host.node->Start(arbitrated_ ? Register() : host.own->Read(), Time(host)));
    host.beat_ms = now_ms_;
  }
  void Cut(bool cut) { cut_ = {cut, cut}; }

  uint8_t Active() const {
    for (uint8_t i : {kPrimary, kBackup})
      if (hosts_[i].node != nullptr && hosts_[i].node->role()->active()) return i;
    return kNodes;
  }
  Role RoleOf(uint8_t i) const { return hosts_[i].node->role()->role(); }
  Node& NodeAt(uint8_t i) { return *hosts_[i].node; }
  size_t acknowledged() const { return acknowledged_.size(); }
  size_t epochs() const { return committers_.size(); }
  size_t copies() const { return copies_; }
  size_t merges() const { return merges_; }
  int64_t now_ms() const { return now_ms_; }

  std::string failure;

 private:
  struct Host final : Outbox, PeerOutbox {
    uint8_t self = 0;
    Pair* pair = nullptr;
    std::shared_ptr<MemoryDisk> disk, copy;
    std::deque<std::shared_ptr<MemoryDisk>> archives;  // not merged yet
    std::shared_ptr<MemoryCell> own;                   // the register without an arbiter
    std::unique_ptr<Journal> journal;
    std::unique_ptr<Node> node;
    uint64_t life = 0;
    int64_t paused_until_ms = 0, beat_ms = 0;
    double drift = 0;           // of its monotonic clock, as a share of the time that passes
    int64_t wall_ahead_ms = 0;  // of the wall clock
    Role said_role{};
    Register said_known;
    std::array<Batch, 2> batches;
    int at_journal = 0;
    bool busy = false, written = false;  // the journal has a batch, and it is on the disk
    int64_t write_ms = 0, done_ms = 0;
    std::deque<std::string> inbox;  // of the peer

    Delivery Send(Endpoint, std::string_view routing_id, const FrameHeader& header,
                  std::string_view body) override {
      pair->OnClientFrame(self, routing_id, header, body);
      return Delivery::kSent;
    }
    bool HasRoom(Endpoint, std::string_view) override { return true; }
    void SendToPeer(std::string frame) override { pair->SendToPeer(self, std::move(frame)); }
  };

  absl::StatusOr<std::unique_ptr<Journal>> OpenCopy(Host& host) {
    if (arbitrated_ && register_->Read().IsMember(host.self)) Fail("a member diverged");
    host.copy = MakeMemoryDisk();
    host.copy->KeepLog(faults_.keep_log);
    return OpenMemoryJournal(host.copy);
  }
  static absl::StatusOr<std::unique_ptr<MergeSource>> OpenMerge(Host& host, JournalView& own) {
    for (; !host.archives.empty(); host.archives.pop_front()) {
      ZS_ASSIGN_OR_RETURN(
          std::unique_ptr<MergeSource> source,
          MergeSource::Open(OpenMemoryJournal(host.archives.front()), own, kMergePart));
      if (source != nullptr) return source;
    }
    return nullptr;
  }
  // Each host has clocks of its own.
  Now Time(const Host& host) const {
    const int64_t mono_ms =
        now_ms_ + static_cast<int64_t>(static_cast<double>(now_ms_) * host.drift);
    return {.wall_ms = 1'700'000'000'000 + mono_ms + host.wall_ahead_ms, .mono_ms = mono_ms};
  }
  void Fail(const std::string& what) {
    if (!failure.empty()) return;
    failure = "seed " + std::to_string(seed_) + " at " + std::to_string(now_ms_) + ": " + what;
    for (const Host& host : hosts_) {
      failure += " [";
      if (host.node != nullptr)
        failure += std::string(wire::EnumNameRole(host.node->role()->role())) + " epoch " +
                   std::to_string(host.node->role()->epoch().value()) + " appended " +
                   std::to_string(host.node->engine().core().appended().value());
      failure += "]";
    }
  }
  void Must(const absl::Status& status) {
    if (!status.ok()) Fail(MessageOf(status));
  }
  void At(int64_t delay_ms, std::function<void()> event) {
    events_.emplace(now_ms_ + delay_ms, std::move(event));
  }
  bool Runs(const Host& host) const {
    return host.node != nullptr && now_ms_ >= host.paused_until_ms;
  }

  // --- Faults
  void Fault() {
    if (faults_.blackouts && random_.Chance(0.0003)) {
      Crash(kPrimary);
      Crash(kBackup);
    }
    for (uint8_t i : {kPrimary, kBackup}) {
      Host& host = hosts_[i];
      if (faults_.crashes && random_.Chance(0.0004)) Crash(i);
      if ((faults_.crashes || faults_.blackouts) && host.node == nullptr && random_.Chance(0.002))
        Boot(i);
      if (faults_.pauses && random_.Chance(0.0002))
        host.paused_until_ms = now_ms_ + random_.LogBetween(10, 8'000);
      if (faults_.clocks && random_.Chance(0.0002))
        host.wall_ahead_ms += random_.Between(-3'600'000, 3'600'000);
      if (faults_.partitions && random_.Chance(cut_[i] ? 0.0005 : 0.0002)) cut_[i] = !cut_[i];
    }
  }

  // --- The network between the two
  void SendToPeer(uint8_t from, std::string frame) {
    auto deliver = [this, from, frame] {
      Host& to = hosts_[1 - from];
      if (!cut_[from] && to.node != nullptr) to.inbox.push_back(frame);
    };
    if (!random_.Chance(faults_.loss)) At(random_.Between(0, faults_.delay_max_ms), deliver);
    if (random_.Chance(faults_.linger)) At(random_.Between(0, 10'000), deliver);
  }

  // --- The register
  void Ask(Host& host, const RegisterQuestion& question) {
    const uint64_t life = host.life;
    const uint8_t i = host.self;
    const bool lost = arbitrated_ && random_.Chance(faults_.lost_answers);
    const bool carried_out = !lost || random_.Chance(0.5);
    const int64_t there_ms = arbitrated_ ? random_.Between(0, 20) : 0;
    At(there_ms, [=, this] {
      const std::shared_ptr<MemoryCell>& cell = arbitrated_ ? register_ : hosts_[i].own;
      absl::StatusOr<Register> value = cell->Read();
      if (question.swap && carried_out) value = cell->Swap(question.expected, question.wanted);
      if (lost) value = Error(ErrorCode::kTimedOut, "lost");
      Answer(i, life, value, lost ? 1'000 : random_.Between(0, 20));
    });
  }
  void Answer(uint8_t i, uint64_t life, const absl::StatusOr<Register>& value, int64_t after_ms) {
    At(after_ms, [=, this] {
      Host& host = hosts_[i];
      if (host.node == nullptr || host.life != life) return;
      if (!Runs(host)) return Answer(i, life, value, host.paused_until_ms - now_ms_);
      Must(host.node->OnRegister(value, Time(host)));
    });
  }

  // --- A host's loop
  void Step() {
    while (!events_.empty() && events_.begin()->first <= now_ms_) {
      auto event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
    for (Host& host : hosts_)
      if (Runs(host) && failure.empty()) Round(host);
    for (TestClient& client : clients_) Drive(client);
  }
  void Write(Host& host) {
    if (std::exchange(host.written, true)) return;
    Must(host.journal->Commit(host.batches[static_cast<size_t>(host.at_journal)]));
  }
  void Round(Host& host) {
    if (host.busy && now_ms_ >= host.write_ms) Write(host);
    if (host.busy && now_ms_ >= host.done_ms) {
      host.busy = false;
      Must(host.node->OnDurable(host.batches[static_cast<size_t>(host.at_journal)], 1, Time(host)));
    }
    for (int64_t n = random_.Between(0, 20); n > 0 && !host.inbox.empty(); --n) {
      absl::StatusOr<PeerMessage> message = OpenPeerFrame(aligned_.Align(host.inbox.front()));
      if (!message.ok()) return Fail(MessageOf(message.status()));
      Must(host.node->OnPeer(*message, Time(host)));
      host.inbox.pop_front();
    }
    if (host.node->next_tick_ms(Time(host)) <= Time(host).mono_ms)
      Must(host.node->OnTick(Time(host)));
    Release(host);
    Must(host.node->EndRound(Time(host)));
    HandOver(host);
    if (auto question = host.node->TakeQuestion()) Ask(host, *question);
    Beat(host);
    if (!host.node->over().empty()) Reopen(host);
  }
  // As HeartbeatThread: at once when the other one acts on the change.
  void Beat(Host& host) {
    const RoleMachine& role = *host.node->role();
    const bool acts = role.role() != host.said_role || role.known() != host.said_known;
    if (!acts && now_ms_ < host.beat_ms) return;
    host.said_role = role.role();
    host.said_known = role.known();
    host.beat_ms = now_ms_ + 100;
    SendToPeer(host.self, SealPeerFrame(host.node->Heartbeat()));
  }
  void Release(Host& host) {
    if (!host.node->TakeCommitted()) return;
    const Batch& batch = host.batches[static_cast<size_t>(host.at_journal)];
    // Not what it followed, just before it began to serve.
    const Engine& engine = host.node->engine();
    if (engine.serving() && batch.epoch() == engine.core().state().epoch())
      Committed(host.self, batch);
    HandOver(host);
    Must(host.node->ReleaseCommitted());
  }
  void HandOver(Host& host) {
    const int next = 1 - host.at_journal;
    if (host.busy || !host.node->TakeBatch(host.batches[static_cast<size_t>(next)])) return;
    host.at_journal = next;
    host.busy = true;
    host.written = false;
    host.write_ms = now_ms_ + random_.Between(0, 4);
    host.done_ms = host.write_ms + random_.Between(0, 4);
  }
  void Reopen(Host& host) {
    if (host.busy) Write(host);
    host.busy = host.written = false;
    const bool has_copy = host.node->has_copy();
    host.node.reset();
    host.journal.reset();
    host.inbox.clear();
    if (has_copy) {
      if (!arbitrated_) host.archives.push_back(std::exchange(host.disk, host.copy));
      host.disk = host.copy;
      ++copies_;
    }
    Boot(host.self);
  }

  // --- What must hold
  void Committed(uint8_t i, const Batch& batch) {
    auto [committer, first] = committers_.emplace(batch.epoch(), i);
    if (committer->second != i) Fail("two nodes commit in one epoch");
    if (!arbitrated_) return;
    for (size_t n = 0; n < batch.record_ends().size(); ++n) {
      const uint64_t lsn = batch.first_lsn().value() + n, hash = batch.hash_before(n + 1);
      if (committed_.emplace(lsn, hash).first->second != hash)
        return Fail("record " + std::to_string(lsn) +
                    " is another than the one that was committed");
    }
  }
  void CheckHealed() {
    const uint8_t active = Active();
    if (active == kNodes) return Fail("nobody is active");
    if (RoleOf(active) != Role::kActiveSync || RoleOf(1 - active) != Role::kStandby)
      return Fail("the pair has not healed");
    const Core& one = hosts_[active].node->engine().core();
    const Core& other = hosts_[1 - active].node->engine().core();
    if (one.appended() != other.appended() || one.appended_hash() != other.appended_hash())
      return Fail("the logs differ");
    if (one.state().Fingerprint() != other.state().Fingerprint()) return Fail("the states differ");
    for (const Host& host : hosts_)
      if (!host.archives.empty()) return Fail("what a node did alone is not merged");
    for (const uint64_t id : acknowledged_)
      if (one.state().tasks().Find(TaskId(id)) == kNil)
        return Fail("task " + std::to_string(id) + " was acknowledged, and is lost");
  }

  // --- Clients: each submits one task after the other, to whoever takes them. Two, so that one may still speak to a node
  // that the other has left.
  struct TestClient {
    std::string name;
    uint8_t broker = kPrimary;
    uint64_t session = 0, hellos = 0, seq = 0;
    uint32_t sent = 0;
    int64_t asked_ms = 0;  // since when it waits for an answer; 0: it does not
  };
  template <class Build>
  void Say(TestClient& client, MessageType type, Build build) {
    flatbuffers::FlatBufferBuilder b;
    b.Finish(build(b));
    const bool hello = type == MessageType::kHello;
    const std::string frame = SealFrame(
        {.type = type, .number = hello ? 0 : ++client.sent, .session = hello ? 0 : client.session},
        {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()});
    Host& host = hosts_[client.broker];
    if (Runs(host) && !host.node->leaving())
      host.node->engine().OnFrame(Endpoint::kClient, client.name, aligned_.Align(frame),
                                  Time(host));
  }
  void Drive(TestClient& client) {
    if (client.asked_ms != 0 && now_ms_ - client.asked_ms > 300)
      client.session = client.asked_ms = 0;
    if (client.asked_ms != 0 || !submitting_) return;
    if (client.session == 0) {
      if (now_ms_ % 50 != 0) return;
      client.broker = static_cast<uint8_t>(random_.Between(0, 1));
      client.asked_ms = now_ms_;
      client.sent = 0;
      client.seq = 0;
      const wire::Uuid id(client.name.size(), ++client.hellos);
      return Say(client, MessageType::kHello, [&](auto& b) { return wire::CreateHello(b, &id); });
    }
    if (!random_.Chance(0.1)) return;
    client.asked_ms = now_ms_;
    Say(client, MessageType::kSubmit, [&](auto& b) {
      std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
      for (int64_t n = random_.Between(1, 3); n > 0; --n)
        specs.push_back(wire::CreateTaskSpecDirect(b, "t"));
      ++client.seq;
      return wire::CreateSubmitDirect(b, client.seq, client.seq, false, &specs);
    });
  }
  void OnClientFrame(uint8_t from, std::string_view name, const FrameHeader& header,
                     std::string_view body) {
    for (TestClient& client : clients_)
      if (client.name == name && client.broker == from) OnClientFrame(client, header, body);
  }
  void OnClientFrame(TestClient& client, const FrameHeader& header, std::string_view body) {
    if (header.type == MessageType::kWelcome) {
      client.session = header.session;
      client.asked_ms = 0;
    } else if (header.type == MessageType::kSubmitAck && header.session == client.session) {
      const auto* ack = VerifyBody<wire::SubmitAck>(client_aligned_.Align(body));
      for (uint32_t n = 0; n < ack->accepted(); ++n) acknowledged_.insert(ack->first_id() + n);
      client.asked_ms = 0;
    } else if (header.type == MessageType::kError) {
      client.session = client.asked_ms = 0;
    }
  }

  Random random_;
  const uint64_t seed_;
  const bool arbitrated_;
  Faults faults_;
  int64_t now_ms_ = 1'000;
  std::array<Host, kNodes> hosts_;
  std::array<bool, kNodes> cut_{};  // what this one sends does not arrive
  std::shared_ptr<MemoryCell> register_ = std::make_shared<MemoryCell>();
  std::multimap<int64_t, std::function<void()>> events_;
  AlignedCopy aligned_, client_aligned_;

  std::map<Epoch, uint8_t> committers_;
  std::map<uint64_t, uint64_t> committed_;  // hash by LSN
  std::set<uint64_t> acknowledged_;
  size_t copies_ = 0, merges_ = 0;

  bool submitting_ = true;
  std::array<TestClient, 2> clients_{TestClient{.name = "a"}, TestClient{.name = "bb"}};
};

TEST(Node, AFreshPairBecomesOneService) {
  for (const bool arbitrated : {true, false}) {
    Pair pair(1, arbitrated, {});
    pair.Heal();
    EXPECT_EQ(pair.failure, "");
    EXPECT_EQ(pair.Active(), kPrimary);
    EXPECT_GT(pair.acknowledged(), 1'000u);
    EXPECT_EQ(pair.epochs(), 1u);
    EXPECT_EQ(pair.copies(), 0u);
  }
}

TEST(Node, TheStandbyTakesOverWithinASecond) {
  Pair pair(2, true, {});
  pair.Run(5'000);
  ASSERT_EQ(pair.RoleOf(kBackup), Role::kStandby) << pair.failure;
  pair.Crash(kPrimary);
  const int64_t since_ms = pair.now_ms();
  while (pair.failure.empty() && pair.Active() != kBackup && pair.now_ms() < since_ms + 5'000)
    pair.Run(1);
  EXPECT_LT(pair.now_ms() - since_ms, 1'000);
  pair.Heal();
  EXPECT_EQ(pair.failure, "");
  EXPECT_EQ(pair.Active(), kBackup) << "failback is by hand";
}

TEST(Node, NothingIsAcknowledgedByTheActiveAloneUntilTheRegisterSaysSo) {
  Pair pair(3, true, {});
  pair.Run(5'000);
  ASSERT_EQ(pair.RoleOf(kPrimary), Role::kActiveSync) << pair.failure;
  const size_t before = pair.acknowledged();
  pair.Cut(true);
  pair.Run(300);  // less than `suspect`
  EXPECT_LE(pair.acknowledged(), before + 3) << "what was under way";
  pair.Run(1'500);
  EXPECT_EQ(pair.RoleOf(kPrimary), Role::kActiveSolo);
  EXPECT_GT(pair.acknowledged(), before + 100);
  pair.Heal();
  EXPECT_EQ(pair.failure, "");
}

// Whoever of the two the arbiter answers first.
TEST(Node, HandsOverWhenItLeaves) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Pair pair(seed, true, {});
    pair.Run(5'000);
    ASSERT_EQ(pair.RoleOf(kPrimary), Role::kActiveSync) << pair.failure;
    pair.NodeAt(kPrimary).HandOver({.wall_ms = 1'700'000'000'000, .mono_ms = pair.now_ms()});
    const int64_t since_ms = pair.now_ms();
    while (pair.failure.empty() && pair.Active() != kBackup && pair.now_ms() < since_ms + 5'000) {
      pair.Run(1);
      ASSERT_NE(pair.RoleOf(kPrimary), Role::kActiveSolo)
          << "seed " << seed << ": it goes on alone against the one that takes over";
    }
    ASSERT_LT(pair.now_ms() - since_ms, 200) << "seed " << seed;
    pair.Heal();
    ASSERT_EQ(pair.failure, "");
    ASSERT_EQ(pair.Active(), kBackup) << "seed " << seed;
    ASSERT_EQ(pair.epochs(), 2u) << "they change places once";
  }
}

struct Sums {
  size_t acknowledged = 0, epochs = 0, copies = 0, merges = 0;
};
void RunSeeds(uint64_t first, uint64_t seeds, bool arbitrated, const Faults& faults, Sums* sums) {
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Pair pair(seed, arbitrated, faults);
    pair.Run(30'000);
    pair.Heal();
    ASSERT_EQ(pair.failure, "");
    sums->acknowledged += pair.acknowledged();
    sums->epochs += pair.epochs();
    sums->copies += pair.copies();
    sums->merges += pair.merges();
  }
}

TEST(Node, LosesNothingWithAnArbiter) {
  Sums sums;
  RunSeeds(100, 20, true, {.crashes = true}, &sums);
  RunSeeds(200, 20, true, {.partitions = true}, &sums);
  RunSeeds(500, 20, true, {.blackouts = true}, &sums);
  RunSeeds(600, 20, true, {.pauses = true}, &sums);
  RunSeeds(1'200, 20, true, {.crashes = true, .partitions = true, .clocks = true}, &sums);
  RunSeeds(300, 20, true,
           {.loss = 0.05,
            .delay_max_ms = 40,
            .linger = 0.02,
            .lost_answers = 0.2,
            .crashes = true,
            .pauses = true,
            .partitions = true},
           &sums);
  // The log is hardly kept: who was away for long, or has something else, gets a copy of the tables.
  const size_t copies = sums.copies;
  RunSeeds(700, 20, true,
           {.loss = 0.05,
            .delay_max_ms = 40,
            .linger = 0.02,
            .crashes = true,
            .pauses = true,
            .partitions = true,
            .keep_log = 60'000},
           &sums);
  EXPECT_GT(sums.copies, copies + 20);
  EXPECT_GT(sums.acknowledged, 10'000u);
  EXPECT_GT(sums.epochs, 300u);
  EXPECT_GT(sums.copies, 5u);
}

// Both may serve; what either has acknowledged is there when they are one again.
TEST(Node, LosesNothingWithoutAnArbiter) {
  Sums sums;
  RunSeeds(400, 60, false,
           {.loss = 0.05, .linger = 0.02, .crashes = true, .pauses = true, .partitions = true},
           &sums);
  RunSeeds(800, 20, false, {.partitions = true}, &sums);
  RunSeeds(900, 20, false, {.crashes = true}, &sums);
  RunSeeds(1'000, 20, false, {.blackouts = true}, &sums);
  RunSeeds(1'300, 20, false, {.crashes = true, .partitions = true, .clocks = true}, &sums);
  RunSeeds(1'100, 20, false, {.crashes = true, .partitions = true, .keep_log = 60'000}, &sums);
  EXPECT_GT(sums.acknowledged, 10'000u);
  EXPECT_GT(sums.merges, 30u);
}

}  // namespace
}  // namespace zsched::broker
