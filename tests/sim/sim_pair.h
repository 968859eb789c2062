// What two brokers of a pair have between them: the link, the register at an arbiter, and the truth. Owned by tests/sim.
//
//   SimBroker ──frames──▶ lossy link, cut one way or both ──▶ SimBroker
//        │ questions                                              │
//        ▼                                                        ▼
//   register: late, lost and lost-but-carried-out answers, away for a while
//
// The truth is what was committed: what the pair told its clients it has. A standby of its own applies it, record by record, so
// that the oracle gets the batches of one broker that never fails. Of each batch that a broker commits, and of each log that one
// begins to serve with, it is checked that
//   - one broker commits in an epoch;
//   - no record is another than the one that was committed there;
//   - a broker that begins to serve has all that was committed.
//
// Without an arbiter each broker has a register of its own, and only the first of these holds. The truth is then the log that
// both have in the end, from its first record: TakeLine.
//
// Threads: one.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>

#include "broker/journal/journal.h"
#include "broker/replication/memory_register.h"
#include "broker/server/engine.h"
#include "broker/server/node.h"
#include "tests/sim/process.h"

namespace zsched::sim {

class SimBroker;

class SimPair {
 public:
  explicit SimPair(World& world);
  ~SimPair();

  // The brokers, once they are there.
  void SetBrokers(std::array<SimBroker*, 2> brokers) { brokers_ = brokers; }

  // --- Of a broker
  void SendToPeer(uint8_t from, std::string frame);
  // The answer comes to SimBroker::OnRegister, or never, with the life it was asked in.
  void Ask(uint8_t from, const Life& life, const broker::RegisterQuestion& question);
  // It has decided these records; whether they are ever committed is open.
  void Made(const broker::Batch& batch);
  // It has begun to serve with what its journal has.
  void Serves(uint8_t node, Epoch epoch, broker::JournalView& view);
  void Committed(uint8_t node, const broker::Batch& batch);
  // Another one was promoted since: what it says and hears is of no consequence.
  bool IsStale(const broker::Node& node) const;
  bool IsMember(uint8_t node) const { return arbitrated_ && register_.Read().IsMember(node); }
  bool arbitrated() const { return arbitrated_; }
  // Without an arbiter: what its own register has.
  broker::Register OwnRegister(uint8_t node) const {
    return arbitrated_ ? broker::Register() : own_[node].Read();
  }
  // The whole log of `view` becomes the truth, record by record.
  void TakeLine(broker::JournalView& view);

  // --- Faults
  void CutOneWay(int64_t for_us);
  void CutBoth(int64_t for_us);
  void ArbiterAway(int64_t for_us);
  void Heal();

  // The state that all that was committed makes.
  std::string Fingerprint() const { return truth_->core().state().Fingerprint(); }
  Lsn lsn() const { return truth_->core().appended(); }

 private:
  struct NoPeers final : broker::Outbox {
    broker::Delivery Send(broker::Endpoint, std::string_view, const FrameHeader&,
                          std::string_view) override {
      return broker::Delivery::kGone;
    }
    bool HasRoom(broker::Endpoint, std::string_view) override { return false; }
  };

  void AskOwn(uint8_t from, const Life& life, const broker::RegisterQuestion& question);
  void Answer(uint8_t to, const std::weak_ptr<const int>& life, int64_t after_us,
              absl::StatusOr<broker::Register> value);
  bool NoteCommitter(uint8_t node, Epoch epoch);
  void CheckToPeer(uint8_t from, const std::string& frame);
  int64_t DelayUs();
  void Apply(Epoch epoch, Lsn first_lsn, uint64_t hash_before, std::string_view records);
  bool FillGap(Lsn before, uint64_t hash);
  void CheckHash(Lsn lsn, uint64_t hash, const char* where);
  bool Failed(const absl::Status& status);

  World& world_;
  Random random_;
  const bool arbitrated_;
  const bool late_;  // some frames come when everything is different, also after the faults
  Life life_ = NewLife();
  std::array<SimBroker*, 2> brokers_{};
  std::array<int64_t, 2> cut_until_us_{};  // what this one sends does not arrive
  std::array<uint64_t, 2> following_{};    // of each broker, the life of the latest
  int64_t away_until_us_ = 0;
  broker::MemoryCell register_;
  std::array<broker::MemoryCell, 2> own_;  // of each broker, without an arbiter

  NoPeers no_peers_;
  std::unique_ptr<broker::Journal> truth_journal_;
  std::unique_ptr<broker::Engine> truth_;
  broker::Batch truth_batch_;
  std::map<uint64_t, uint64_t> hashes_;  // of the log that was committed, by LSN
  std::map<Epoch, uint8_t> committers_;
  AlignedCopy aligned_;
  // All that was ever decided, by LSN and the log's hash behind it: a broker that serves with a copy of another's tables may
  // not have the records themselves.
  struct Record {
    Epoch epoch;
    uint64_t hash_before;
    std::string bytes;
  };
  std::map<std::pair<uint64_t, uint64_t>, Record> made_;
};

}  // namespace zsched::sim
