// What must be true of a pair without an arbiter, both of which may serve at once: docs/ha.md, "The merge". Owned by tests/sim.
//
//   promise                                        | seen by
//   -----------------------------------------------+--------------------------------------------------------------------
//   no acknowledged task is lost, whoever took it  | what clients were told against the line; GET of every id at the end
//   finished work stays finished, and what is not  | each archive as it is set aside, against the line where it is merged
//     over goes on, or is dead or cancelled for a  |
//     reason                                       |
//   one terminal state                             | rows of the line: an end changes only by a RETRY of a dead task
//   a result is an attempt's that ended so         | rows that succeeded against the handlers
//   a frame that both took creates its tasks once, | the marker in each payload stands in one spec row of the line
//     unless the client has changed sides since,   |
//     or one of the two refused it                 |
//   no tick is fired again that either side fired  | records of ticks against the labels of tasks that were merged
//   what is not over of a tick that both fired,    | the same, and the rows of these tasks
//     never runs                                   |
//
// The line: the log that both have in the end, from its first record, each record a batch. Merges are records of it. What it
// says is compared with what the brokers wrote on their way, be it in the line or not.
//
// Threads: one.
#pragma once

#include <set>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "broker/core/record.h"
#include "broker/core/rows.h"
#include "tests/sim/judge.h"

namespace zsched::sim {

class MergeJudge final : public Judge {
 public:
  using Judge::Judge;

  void FrameIn(broker::Endpoint, std::string_view routing_id, std::string_view frame) override;
  void FrameOut(broker::Endpoint, std::string_view routing_id, const FrameHeader& header,
                std::string_view body) override;
  void Written(const broker::Batch& batch) override;
  void SetAside(broker::JournalView& view) override;
  void AttemptEnded(uint64_t lease, AttemptTruth truth) override {
    if (truth.succeeded) succeeded_.insert(truth.task);
    truths_[lease] = std::move(truth);
  }
  void Acknowledged(uint64_t id, bool lasts) override {
    if (lasts) acknowledged_.insert(id);
  }
  // The next record of the line.
  void Committed(const broker::Batch& batch) override;
  // Fails where one is not in the line.
  std::vector<TaskId> MustBeThere() override;
  void LastSeen(const wire::TaskInfo& info) override;
  size_t tasks_seen() const override { return line_.size(); }

 private:
  using Tick = std::pair<std::string, int64_t>;  // schedule, time
  struct TaskFacts {
    broker::TaskRow row;
    bool has_row = false, gone = false, retried = false;
  };

  void NoteRefused(uint64_t session, uint64_t seq);
  void ReadRecord(broker::RecordKind kind, broker::RowReader in);
  void SpecStored(broker::RecordKind kind, uint64_t id, std::string_view bytes);
  void FollowsMarker(broker::RecordKind kind, uint64_t id, const broker::SpecView& spec);
  void TickStored(broker::RecordKind kind, uint64_t id, Tick tick);
  void RowStored(broker::RecordKind kind, uint64_t id, const broker::TaskRow& row);
  void RowErased(broker::RecordKind kind, uint64_t id);
  void CheckMerged(uint64_t id, const TaskFacts& before, const broker::TaskRow& row);
  void CheckAllMerged();

  absl::flat_hash_map<uint64_t, AttemptTruth> truths_;  // by lease
  absl::flat_hash_set<uint64_t> succeeded_;             // tasks of which an attempt has
  std::set<uint64_t> acknowledged_;
  // Of each (session, seq): the frame's markers.
  std::map<std::pair<uint64_t, uint64_t>, std::vector<std::string>> submits_;
  absl::flat_hash_set<std::string>
      refused_;  // markers of tasks that a broker has refused: they may come under another seq
  AlignedCopy aligned_;
  struct Archived {
    broker::TaskRow row;
    std::string marker;
    bool plain =
        false;  // of no key, no tick, and following nothing: nothing here may stand against it
    bool keyed = false;
  };
  using Archive = std::map<uint64_t, Archived>;      // by task
  absl::flat_hash_map<uint64_t, Archive> archives_;  // by the hash of their logs
  absl::flat_hash_set<uint64_t>
      gone_alone_;  // a broker pruned or deleted them, so that nobody could hand them over

  // --- The line
  std::map<uint64_t, TaskFacts> line_;
  absl::flat_hash_map<std::string, uint64_t> id_of_marker_;
  uint64_t epoch_ = 0;                     // of this record
  broker::MergeRow merged_;                // likewise, if it merges
  std::map<Tick, uint64_t> ticks_;         // that have a task
  absl::flat_hash_set<uint64_t> extra_;    // tasks of this record that somebody asked for by hand
  absl::flat_hash_set<uint64_t> refired_;  // of ticks that had one before
  absl::flat_hash_set<uint64_t> voided_;   // by a merge: what is to run instead is here
};

}  // namespace zsched::sim
