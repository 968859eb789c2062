// The client's background thread and what is behind the public class: it composes Dealer,
// Submitter, OutcomeTracker and RequestTable, and takes over what callers' threads hand in. Owned
// by client/lib.
//
//   callers --Submit--> Intake ----swap----> Submitter ------+
//           --Wait----> inbox_ ------------> OutcomeTracker --+--> Dealer --> broker
//           --Get…----> inbox_ ------------> RequestTable ---+
//
// Threads: public methods from any thread; the rest from the background thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/lib/intake.h"
#include "client/lib/outcome_tracker.h"
#include "client/lib/request_table.h"
#include "client/lib/submitter.h"
#include "client/session/dealer.h"
#include "zsched/client.h"

namespace zsched {

class Client::Core final : private Dealer::Handler {
 public:
  static absl::StatusOr<std::unique_ptr<Core>> Create(ClientOptions options);
  ~Core() override;

  absl::Status Put(std::span<const TaskSpec> tasks, Segment segment, bool notify, int64_t block_ms);
  void AddWait(std::shared_ptr<WaitGroup> group);
  // Sends a request and waits for its answer; `encode` writes the body for a request number, `read`
  // (on the background thread) takes the answer's verified table and may fail.
  template <class Reply, class Encode, class Read>
  absl::Status Ask(MessageType type, MessageType reply_type, Encode encode, Read read);
  absl::Status AskCluster(wire::ClusterAction action, bool force, Epoch epoch);
  absl::Status WaitForBroker(int64_t timeout_ms);
  absl::Status Flush(int64_t timeout_ms);
  absl::Status Close(int64_t timeout_ms);

  // OK, or why an observer may not send it.
  absl::Status CheckMaySend(MessageType type) const;
  // CONFLICT on the background thread, where waiting would wait for itself.
  absl::Status CheckMayWait() const;
  ClientStats stats() const;
  Uuid id() const { return id_; }
  const ClientOptions& options() const { return options_; }

 private:
  explicit Core(ClientOptions options, Uuid id);
  absl::Status Start(SessionOptions session);
  absl::Status AskRaw(MessageType type, MessageType reply_type, uint64_t number, std::string body,
                      absl::AnyInvocable<absl::Status(const FrameView&)> read);
  void Hand(absl::AnyInvocable<void()> work);
  bool on_background() const { return std::this_thread::get_id() == thread_id_; }

  // The background thread.
  void Run();
  void TakeInbox();
  void PumpAll();
  int64_t NextDeadline() const;
  void Finish();
  void PublishStats();
  std::string WhyDown() const;

  // Dealer::Handler
  void OnUp(const FrameView& welcome) override;
  void OnDown(const absl::Status& reason) override;
  void OnFrame(const FrameView& frame) override;
  void OnRetry(const absl::Status& reason) override;
  bool HandleFrame(const FrameView& frame);
  bool HandleAck(const FrameView& frame);
  bool HandleOutcomes(const FrameView& frame);
  bool HandleHeartbeatAck(const FrameView& frame);
  bool HandleError(const FrameView& frame);
  template <class Reply>
  bool HandleReply(const FrameView& frame);
  void SetConnection(bool up, const absl::Status& reason);

  const ClientOptions options_;
  const Uuid id_;
  std::unique_ptr<Dealer> dealer_;
  Intake intake_;
  Submitter submitter_;
  OutcomeTracker outcomes_;
  RequestTable requests_;
  uint64_t malformed_ = 0;
  int64_t now_ms_ = 0;  // mono, of this round

  // SUBMIT is answered under its seq and everything else under its request number, in one field of
  // ERROR: two ranges keep them apart.
  static constexpr uint64_t kFirstRequest = uint64_t{1} << 62;
  std::atomic<uint64_t> next_request_{kFirstRequest};

  std::mutex inbox_mutex_;
  std::vector<absl::AnyInvocable<void()>> inbox_;
  bool inbox_shut_ = false;

  mutable std::mutex state_mutex_;
  std::condition_variable state_changed_;
  bool connected_ = false;
  bool finished_ = false;
  absl::Status last_failure_;
  ClientStats stats_;

  std::mutex close_mutex_;
  bool closed_ = false;
  absl::Status close_status_;
  int64_t goodbye_ms_ = 0;  // written before stop_

  std::atomic<bool> stop_{false};
  std::thread thread_;
  std::thread::id thread_id_;
};

template <class Reply, class Encode, class Read>
absl::Status Client::Core::Ask(MessageType type, MessageType reply_type, Encode encode, Read read) {
  const uint64_t number = next_request_.fetch_add(1);
  return AskRaw(type, reply_type, number, encode(number),
                [read = std::move(read)](const FrameView& frame) mutable -> absl::Status {
                  // Verified by HandleReply on its way here.
                  return read(*flatbuffers::GetRoot<Reply>(frame.body.data()));
                });
}

}  // namespace zsched
