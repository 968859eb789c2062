// What must be true, judged from outside of the broker: from the frames that pass its sockets, the rows that reach its
// disk, and what handlers really did. Owned by tests/sim. Knows the protocol, not the core.
//
//   promise                                   | seen by
//   ------------------------------------------+-----------------------------------------------------------------
//   an ack means durable                      | SUBMIT_ACK, RESULT_ACK, OUTCOMES leave only after their rows
//   no acknowledged task is lost              | rows on disk at every commit; GET of every id at the end
//   (client, seq) creates its tasks once      | the marker in each payload stands in one spec row only; answers agree
//   one terminal state                        | a terminal row changes only after a RETRY of a dead task
//   results under the live lease only         | terminal rows name a lease whose handler ended so; STALE when superseded
//   lease ids are never reused                | TASKS
//   credit is never exceeded                  | TASKS against the grants that had arrived
//   attempts are charged rightly              | attempt = failures + lost (+ 1) in every row
//   clients hear the truth                    | OUTCOMES and TASK_INFOS against terminal rows and handlers
//
// The first promise broken is kept; the simulation ends on it.
//
// Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "broker/core/batch.h"
#include "broker/core/rows.h"
#include "broker/server/engine.h"
#include "schemas/frame.h"
#include "schemas/ids.h"
#include "tests/sim/scheduler.h"

namespace zsched::sim {

// How a handler ended, whether or not anybody heard of it.
struct AttemptTruth {
  uint64_t task = 0;
  Uuid worker;
  bool succeeded = false;
  bool never = false;  // a failure that must not be tried again
  std::string result;
};

class Oracle {
 public:
  explicit Oracle(Scheduler& scheduler) : scheduler_(scheduler) {}

  // --- What happens
  void FrameIn(broker::Endpoint endpoint, std::string_view routing_id, std::string_view frame);
  // A frame leaves the broker; `body` is 8-aligned.
  void FrameOut(broker::Endpoint endpoint, std::string_view routing_id, const FrameHeader& header,
                std::string_view body);
  // The open batch was handed to the journal.
  void BatchTaken() { ++batches_taken_; }
  // The batch is on disk.
  void Committed(const broker::Batch& batch);
  void AttemptEnded(uint64_t lease, AttemptTruth truth) { truths_[lease] = std::move(truth); }
  // What a client was told about a task of its own.
  void OutcomeSeen(const std::string& marker, uint64_t id, bool not_found);

  // --- What is to be checked by others
  struct TaskFacts {
    std::string marker;
    uint32_t bytes = 0;    // of the payload
    bool durable = false;  // its spec is on disk
    bool has_row = false;
    bool pruned = false;
    bool acked = false;        // as durable
    bool retry_asked = false;  // by anybody, ever
    broker::TaskRow row;
    std::vector<std::pair<broker::TaskState, uint64_t>> ends;  // terminal states and their leases
  };
  const std::map<uint64_t, TaskFacts>& tasks() const { return tasks_; }
  // Tasks that have a row and have not ended.
  size_t unfinished() const { return unfinished_; }

  // Keeps the first.
  void Fail(std::string what);
  bool failed() const { return !failure_.empty(); }
  const std::string& failure() const { return failure_; }

 private:
  struct SubmittedTask {
    std::string marker;
    bool memory = false;
  };
  struct SubmittedFrame {
    uint64_t body_hash = 0;
    std::vector<SubmittedTask> tasks;
    uint64_t first_id = 0;  // of the first durable answer
    uint32_t accepted = 0;
  };
  struct ReportedResult {
    uint64_t task = 0, lease = 0;
    bool done = false;  // as succeeded
    bool must_be_stale = false;
  };
  struct Grant {
    uint64_t until_batch = 0;  // batches_taken_ when the next one came
    uint32_t tasks = 0;
    uint64_t bytes = 0;
  };
  struct WorkerSession {
    std::string routing_id;                    // frames of the session from elsewhere are refused
    std::deque<Grant> grants;                  // the last is in force
    std::map<uint64_t, uint32_t> outstanding;  // lease → payload bytes
    std::map<uint64_t, std::vector<ReportedResult>> results;  // by seq, without an ack
  };
  struct LeaseFacts {
    uint64_t task = 0;
    uint16_t attempt = 0;
  };
  using Held = std::vector<std::pair<uint64_t, uint64_t>>;  // (task, lease)

  void CheckRow(uint64_t id, const broker::TaskRow& row);
  void CheckCharges(uint64_t id, const TaskFacts& task, const broker::TaskRow& row);
  void CheckEnd(uint64_t id, const TaskFacts& task, const broker::TaskRow& row);
  void SpecStored(uint64_t id, std::string_view row);
  void RowErased(uint64_t id);

  void OnSubmit(const Uuid& client, const wire::Submit& submit, std::string_view body);
  void OnResults(WorkerSession& session, const wire::Results& results);
  void OnWorkerFrame(std::string_view routing_id, const FrameView& frame);
  void OnClientFrame(uint64_t session, const FrameView& frame);

  void CheckSubmitAck(uint64_t session, const wire::SubmitAck& ack);
  void CheckOutcomes(const wire::Outcomes& outcomes);
  void CheckOutcome(uint64_t id, broker::TaskState state, std::string_view result);
  void CheckInfos(const wire::TaskInfos& infos);
  void CheckTasks(uint64_t session, const wire::Tasks& tasks);
  void CheckCredit(uint64_t session, const WorkerSession& worker);
  void CheckResultAck(uint64_t session, const wire::ResultAck& ack);
  void CheckAccepted(const ReportedResult& result);
  void WorkerWelcomed(std::string_view routing_id, const wire::WorkerWelcome& welcome);

  Scheduler& scheduler_;
  std::string failure_;
  std::map<uint64_t, TaskFacts> tasks_;
  size_t unfinished_ = 0;
  uint64_t batches_taken_ = 0;

  absl::flat_hash_map<std::string, uint64_t> id_of_marker_;
  absl::flat_hash_map<uint64_t, AttemptTruth> truths_;  // by lease
  absl::flat_hash_map<uint64_t, LeaseFacts> leases_;    // every one that TASKS named
  absl::flat_hash_map<uint64_t, uint64_t> live_lease_;  // task → lease as the broker last said
  absl::flat_hash_map<uint32_t, Uuid> worker_of_number_;
  absl::flat_hash_map<std::string, Uuid> client_greeting_;  // by routing id
  absl::flat_hash_map<std::string, Held> worker_greeting_;
  absl::flat_hash_map<uint64_t, Uuid> client_of_session_;
  std::map<uint64_t, WorkerSession> worker_sessions_;
  std::map<std::pair<Uuid, uint64_t>, SubmittedFrame> submits_;  // by (client, seq)
  AlignedCopy aligned_;
};

}  // namespace zsched::sim
