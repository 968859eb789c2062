// A worker process: the real session, ledger and credit on a simulated pool of handlers. Owned by tests/sim. Does what
// worker/server/runtime.cc does with a Dealer and threads.
//
// Threads: one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/session/session.h"
#include "tests/sim/oracle.h"
#include "tests/sim/process.h"
#include "worker/core/frames.h"
#include "worker/core/ledger.h"

namespace zsched::sim {

class SimWorker final : public Process {
 public:
  SimWorker(World& world, int number);
  ~SimWorker() override;

  // A new process under a new id.
  void Boot();
  void Crash();
  void Drain() { drain_asked_ = true; }
  bool up() const { return alive(); }

 private:
  struct Work {
    LeaseId lease;
    TaskId task;
    uint32_t attempt = 0;
    uint32_t timeout_ms = 0;
    std::string marker;
    std::string checkpoint;
    int64_t start_by_ms = 0;  // mono; 0: at any time
  };
  struct Handler {
    Work work;
    int64_t started_ms = 0;
    int64_t started_us = 0;
    bool observed = false;  // told to the ledger
    bool heeds_cancel = true;
    bool cancelled = false;
    int said = 0;  // checkpoints
    uint64_t lines = 0;
    worker::OutputPages written;
    AttemptTruth truth;
    wire::RetryAdvice advice = wire::RetryAdvice::kDefault;
  };

  void Round() override;
  void Execute(SessionActions& actions);
  void OnUp(const FrameView& welcome);
  void OnFrame(const FrameView& frame);
  void OnTasks(const FrameView& frame);
  void ForgetSession();
  void Observe();
  void CarryOut(const worker::Orders& orders);
  bool TakeBack(LeaseId lease, std::vector<LeaseId>& withdrawn);
  void CancelAttempt(LeaseId lease, std::vector<LeaseId>& withdrawn);
  void SendDue(int64_t now_ms);
  void Send(MessageType type, std::string_view body);
  bool TrySend(MessageType type, std::string_view body);
  bool Put(MessageType type, std::string_view body);
  void RestartWhenUnanswered(int64_t now_ms);
  bool Done(int64_t now_ms) const;
  int64_t NextDeadlineMs(int64_t now_ms);
  void StartHandlers(int64_t now_ms);
  void StartHandler(Work work, int64_t now_ms);
  void EndHandler(LeaseId lease);
  void SaySome(LeaseId lease);
  void WriteSome(LeaseId lease, Handler& handler);
  void TakeWritten(LeaseId lease, Handler& handler);
  void SendReports(int64_t now_ms);

  const int number_;
  worker::Identity identity_;
  std::unique_ptr<worker::Ledger> ledger_;
  worker::Reports reports_;
  worker::Outputs outputs_;
  std::unique_ptr<Session> session_;
  SocketId socket_ = 0;
  std::deque<std::string> inbox_;
  AlignedCopy aligned_;
  uint32_t hellos_ = 0;
  flatbuffers::FlatBufferBuilder builder_;

  int slots_ = 1;
  std::deque<Work> queue_;
  std::map<LeaseId, Handler> handlers_;
  std::vector<worker::Ended> ended_;

  std::deque<std::pair<MessageType, std::string>> unsent_;
  absl::Status broken_;
  int64_t oldest_unacked_ms_ = 0;
  uint64_t beats_sent_ = 0, beats_answered_ = 0, last_call_ = 0;
  int64_t last_call_by_ms_ = 0;
  bool drain_asked_ = false;
};

}  // namespace zsched::sim
