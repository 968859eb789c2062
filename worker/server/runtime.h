// The session thread of a worker: a Dealer, the ledger and the pool, composed. Owned by
// worker/server; zsched::Worker is its public face.
//
//   Dealer ──TASKS, CANCEL, DRAIN, RESULT_ACK──▶ Ledger ──orders──▶ Pool
//      ▲                                          │   ▲              │
//      └───────CREDIT, RELEASE, RESULTS───────────┘   └──ended───────┘
//
// Threads: Run on one thread; Drain and Stop from any, signal handlers included; stats from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/session/dealer.h"
#include "worker/core/frames.h"
#include "worker/core/ledger.h"
#include "worker/core/recycling.h"
#include "worker/server/pool.h"
#include "zsched/worker.h"

namespace zsched::worker {

struct RuntimeOptions {
  Identity identity;  // types are taken from the handlers
  SessionOptions session;
  LedgerOptions ledger;
  RecyclingOptions recycling;
  std::function<void(const WorkerEvent&)> on_event;
};

class Runtime final : private Dealer::Handler {
 public:
  explicit Runtime(RuntimeOptions options);
  // Opens what has to exist before Drain and Stop may be called.
  absl::Status Open();
  // See zsched::Worker::Run.
  absl::Status Run(HandlerMap handlers);

  void Drain() noexcept { Ask(Asked::kDrain); }
  void Stop() noexcept { Ask(Asked::kStop); }
  // See zsched::Worker.
  bool due_for_recycling() const { return recycles_ && asked_.load() == 0; }

  WorkerStats stats() const;
  const Identity& identity() const { return options_.identity; }

 private:
  enum class Asked : int { kNothing = 0, kDrain, kStop };

  // Dealer::Handler
  void OnUp(const FrameView& welcome) override;
  void OnDown(const absl::Status& reason) override;
  void OnFrame(const FrameView& frame) override;
  void OnRetry(const absl::Status& reason) override;

  void Ask(Asked what) noexcept;
  void HandleAsked(int64_t now_ms);
  void OnTasks(const FrameView& frame);
  void OnResultAck(const FrameView& frame);
  void OnCancel(const FrameView& frame);
  void OnRecall(const FrameView& frame);
  void OnError(const FrameView& frame);
  // What goes on between two looks at the socket; returns when the next has to end.
  int64_t Round();
  void CollectEnded(int64_t now_ms);
  void CollectNotes(int64_t now_ms);
  void SendReports(int64_t now_ms);
  void SendOutput(int64_t now_ms);
  void CarryOut(const Orders& orders);
  void SendDue(int64_t now_ms);
  void Send(MessageType type, std::string_view body);
  void SendLastCall(int64_t now_ms);
  void ForgetSession();
  void ForgetWhatIsNotHeld();
  void ResetWhenUnanswered(int64_t now_ms);
  bool Done(int64_t now_ms) const;
  absl::Status Finish();
  void StartDrain(std::string why, int64_t now_ms);
  void RecycleWhenDue(int64_t now_ms);
  void Report(WorkerEvent::Kind kind, std::string message = {}, uint64_t count = 0);
  void ReportChanges();
  void PublishStats();

  RuntimeOptions options_;
  Ledger ledger_;
  const Recycling recycling_;
  Reports reports_;
  Outputs outputs_;
  std::unique_ptr<Dealer> dealer_;
  std::unique_ptr<Pool> pool_;
  uint32_t hellos_ = 0;
  flatbuffers::FlatBufferBuilder builder_;
  // Frames that the socket did not take; sent before anything newer. Of the current session only.
  std::deque<std::pair<MessageType, std::string>> unsent_;
  absl::Status broken_;            // why the session has to begin again; OK: it has not
  int64_t oldest_unacked_ms_ = 0;  // since when some result waits for its RESULT_ACK
  // Heartbeats and answers of the current session; they answer each other in order.
  uint64_t beats_sent_ = 0;
  uint64_t beats_answered_ = 0;
  uint64_t last_call_ = 0;  // which heartbeat of this session followed the grant of 0; 0: none
  int64_t last_call_by_ms_ = 0;
  int64_t starts_until_ms_ = 0;  // as the pool knows it
  int64_t notes_due_ms_ = 0;     // when what attempts say is looked at again
  int64_t stop_by_ms_ = Ledger::kNever;
  int asked_done_ = 0;           // how much of asked_ was carried out
  uint64_t resident_bytes_ = 0;  // at the last heartbeat, when there is a bound for it
  bool recycles_ = false;        // what drains it is its own age; nobody has asked for the end
  bool no_broker_reported_ = false;
  uint64_t stuck_reported_ = 0;
  uint64_t refused_reported_ = 0;
  std::vector<Ended> ended_;                    // reused between rounds
  std::vector<Pool::RunningAttempt> observed_;  // the same

  std::atomic<int> asked_{static_cast<int>(Asked::kNothing)};
  struct {
    std::atomic<uint64_t> ended{0}, timed_out{0}, abandoned{0}, refused{0}, released{0}, unacked{0};
    std::atomic<uint32_t> granted{0};
  } stats_;
};

}  // namespace zsched::worker
