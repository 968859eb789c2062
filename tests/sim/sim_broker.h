// A broker process: the real engine and query runner on a simulated loop, disk and network. Owned by tests/sim.
//
//   inbox ──▶ Node, Engine ──▶ Network      TakeBatch ──(commit time)──▶ MemoryDisk ──▶ OnDurable
//    peer ──▶    │    └──▶ QueryRunner ──(query time)──▶ OnReply
//                └──▶ SimPair: frames for the peer, questions to the register
//
// A crash throws everything away but the MemoryDisk; the batch at the journal is on it or not, depending on when the crash
// comes. Of a pair the oracle is told by SimPair what was committed, and by the broker that serves what it hears and says. After every round the core's invariants are checked, at times that the state rebuilt from the tables, and the
// state replayed from the log, equal the live one.
//
// Threads: one.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <string>

#include "broker/journal/journal.h"
#include "broker/journal/memory_journal.h"
#include "broker/server/node.h"
#include "broker/server/query.h"
#include "tests/sim/process.h"

namespace zsched::sim {

class SimPair;

class SimBroker final : public Process, private broker::Outbox, private broker::PeerOutbox {
 public:
  explicit SimBroker(World& world) : SimBroker(world, 0, nullptr) {}
  // One of a pair: 0 is the primary.
  SimBroker(World& world, uint8_t number, SimPair* pair);
  ~SimBroker() override;

  void Boot();
  void Crash();
  bool up() const { return alive(); }
  void SetDiskLow(bool low);

  // Compares the state on disk, from its tables and from its log, and with the truth of the pair if that goes as far. The broker
  // must be down, as for what comes next.
  void CompareDiskWithLog();
  std::unique_ptr<broker::Journal> OpenDisk() const { return broker::OpenMemoryJournal(disk_); }

  // --- Of a pair
  void FromPeer(std::string frame);
  void OnRegister(absl::StatusOr<broker::Register> value);
  // If it is active: the other one is to take its place.
  void HandOverToPeer();
  wire::Role role() const;
  // It serves, and everything it knows of is over.
  bool AtRest() const;
  // It has done nothing alone that is not merged, and nothing that is not on its disk.
  bool IsQuiet() const {
    return up() && archives_.empty() && !journal_busy_ && !node_->engine().core().HasRecords();
  }
  Lsn appended() const { return node_->engine().core().appended(); }

 private:
  struct Arrival {
    broker::Endpoint endpoint;
    std::string routing_id;
    std::string frame;
  };

  void Round() override;
  void Listen(broker::Endpoint kind);
  std::string EndpointOf(broker::Endpoint kind) const;
  void OpenNode();
  void CloseNode();
  void Reopen();
  absl::StatusOr<std::unique_ptr<broker::Journal>> OpenCopy();
  absl::StatusOr<std::unique_ptr<broker::MergeSource>> OpenMerge(broker::JournalView& own);
  absl::Status CloseMerge(const absl::Status& merged);
  void SendToPeer(std::string frame) override;
  // Whether what it hears and says is the one active broker's.
  bool IsTheActive() const;
  broker::Engine& engine() { return node_->engine(); }
  bool TakeFromPeer();
  bool NoteServing();
  void Beat();
  void ReportCommitted();
  bool TakeCommit();
  bool TakeReplies();
  void ReadInbox();
  void HandOver();
  void Commit();
  void RunQueries();
  void AnswerNext();
  void CompareWithDisk(const std::string& live);
  void CompareWithEvents(broker::JournalView& view);
  // The process ends on a status that is not OK. Only an injected commit error may be the cause.
  bool Died(const absl::Status& status);
  broker::Delivery Send(broker::Endpoint endpoint, std::string_view routing_id,
                        const FrameHeader& header, std::string_view body) override;
  bool HasRoom(broker::Endpoint endpoint, std::string_view routing_id) override;

  const uint8_t number_;
  SimPair* const pair_;  // nullptr: it serves alone
  std::shared_ptr<broker::MemoryDisk> disk_, copy_;
  std::deque<std::shared_ptr<broker::MemoryDisk>>
      archives_;  // that are not merged, the oldest first
  std::unique_ptr<broker::Journal> journal_;
  std::unique_ptr<broker::Node> node_;
  Life node_life_;  // of node_: a broker of a pair may have several in one process
  uint64_t lives_ = 0;
  bool known_to_serve_ = false;  // by the oracle
  int64_t beat_ms_ = 0;
  wire::Role said_role_{};
  broker::Register said_known_;
  std::deque<std::string> from_peer_;
  std::deque<absl::StatusOr<broker::Register>> answers_;
  std::unique_ptr<broker::QueryRunner> runner_;
  std::deque<Arrival> inbox_;

  std::array<broker::Batch, 2> batches_;
  int at_journal_ = 0;
  int64_t commit_us_ = 0;
  bool journal_busy_ = false;
  bool on_disk_ = false;  // what the journal is busy with
  bool commit_done_ = false;
  absl::Status commit_status_;
  std::string
      expected_;  // fingerprint that the disk must give after this commit; empty: not checked
  std::deque<broker::Query> queries_;
  bool query_running_ = false;
  std::deque<broker::QueryReply> replies_;
  AlignedCopy aligned_;
};

}  // namespace zsched::sim
