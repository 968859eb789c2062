// A broker process: the real engine and query runner on a simulated loop, disk and network. Owned by tests/sim.
//
//   inbox ──▶ Engine ──▶ Network          TakeBatch ──(commit time)──▶ MemoryDisk ──▶ OnCommitted
//                └──▶ QueryRunner ──(query time)──▶ OnReply
//
// A crash throws everything away but the MemoryDisk; the batch at the journal is on it or not, depending on when the crash
// comes. After every round the core's invariants are checked, at times that the state rebuilt from the tables, and the
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
#include "broker/server/engine.h"
#include "broker/server/query.h"
#include "tests/sim/process.h"

namespace zsched::sim {

class SimBroker final : public Process, private broker::Outbox {
 public:
  explicit SimBroker(World& world);
  ~SimBroker() override;

  void Boot();
  void Crash();
  bool up() const { return alive(); }
  void SetDiskLow(bool low);

  // Compares the state on disk, from its tables and from its log. The broker must be down.
  void CompareDiskWithLog();

 private:
  struct Arrival {
    broker::Endpoint endpoint;
    std::string routing_id;
    std::string frame;
  };

  void Round() override;
  void Listen(const char* endpoint, broker::Endpoint kind);
  bool TakeCommit();
  bool TakeReplies();
  void ReadInbox();
  void HandOver();
  void Commit();
  void RunQueries();
  void AnswerNext();
  void CompareWithDisk(const std::string& live);
  // The process ends on a status that is not OK. Only an injected commit error may be the cause.
  bool Died(const absl::Status& status);
  broker::Delivery Send(broker::Endpoint endpoint, std::string_view routing_id,
                        const FrameHeader& header, std::string_view body) override;
  bool HasRoom(broker::Endpoint endpoint, std::string_view routing_id) override;

  std::shared_ptr<broker::MemoryDisk> disk_;
  std::unique_ptr<broker::Journal> journal_;
  std::unique_ptr<broker::Engine> engine_;
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
