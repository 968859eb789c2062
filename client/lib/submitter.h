// Turns waiting tasks into SUBMIT frames, keeps the frames until they are acknowledged, and answers
// the callers. Owned by client/lib. No sockets and no clocks: the owner gives it the time and a way
// to send, so tests drive it frame by frame.
//
// When a frame is made: at once while fewer than kEagerFrames are under way (an idle line adds no
// latency), otherwise when it is full; what comes meanwhile fills it. Never beyond the broker's
// window, nor beyond kMaxOutstandingSubmits.
//
// A frame's life:  made --sent--> under way --SUBMIT_ACK--> judged (tasks refused for lack of room
// go back to wait)
//                    ^                |
//                    +--- connection lost, no ack for resend_ms: the same bytes go again under the same seq
//
// Threads: the background thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "client/lib/frame_builder.h"
#include "client/lib/intake.h"
#include "schemas/frame.h"

namespace zsched {

// Accepted tasks of a frame whose outcomes are awaited, for OutcomeTracker.
struct AwaitedRange {
  TaskId first;
  uint32_t tasks = 0;
  std::vector<OutcomeCallback> callbacks;  // empty, or one per task (null: to on_outcomes)
  // The broker answered from memory: it may have pushed outcomes to a session that is gone. Ask.
  bool ask = false;
  // Tasks that were there already, under the same key: asked for one by one. Null: to on_outcomes.
  std::vector<std::pair<TaskId, OutcomeCallback>> repeated;
};

class Submitter {
 public:
  // Frames under way below which a frame that is not full is sent at once. One would leave the
  // broker idle from its ack to the next frame's arrival.
  static constexpr size_t kEagerFrames = 2;
  // ERROR answers to one frame that may be tried again, until its tasks fail.
  static constexpr int kMaxFrameErrors = 5;
  // The least wait before tasks or a frame go again, whatever the broker says.
  static constexpr uint32_t kMinRetryMs = 20;

  struct Options {
    bool retry_exhausted = true;
    int64_t resend_ms = 10'000;
  };
  using SendSubmit = absl::FunctionRef<bool(std::string_view body)>;
  using OnRange = absl::FunctionRef<void(AwaitedRange)>;

  Submitter(Options options, Intake* intake) : options_(options), intake_(intake) {}

  // A session is open, with this window: frames under way before are to be sent again.
  void OnUp(uint32_t window_tasks, uint64_t window_bytes);
  void OnDown();

  // Sends what may be sent, in seq order. `send` returns false when the socket is full. Leaves
  // waiting tasks where they are when the session is down.
  void Pump(int64_t now_mono_ms, SendSubmit send);

  // SUBMIT_ACK. Calls the callbacks of its tasks, then `on_range` if outcomes are to come. False:
  // the ack contradicts its frame, and changed nothing. An ack for a frame already judged is
  // ignored.
  bool OnAck(const wire::SubmitAck& ack, int64_t now_mono_ms, OnRange on_range);
  // ERROR whose request is `seq`. False when no frame under way has that seq.
  bool OnError(uint64_t seq, ErrorCode code, const std::string& message, uint32_t retry_after_ms,
               int64_t now_mono_ms);

  // When Pump has to be called next without any event.
  int64_t next_deadline_ms() const;
  // How much has to wait in Intake before it is worth calling Pump again.
  std::pair<size_t, size_t> WakeThreshold() const;

  // Tells Intake what was judged since the last call, so that Flush returns: after the callbacks
  // have run.
  void ReportJudged();

  // Everything not acknowledged fails with `status`; nothing is left.
  void FailAll(const absl::Status& status);
  bool idle() const;  // nothing waits and nothing is under way

  uint64_t next_seq() const { return first_seq_ + frames_.size(); }
  const ClientStats& stats() const { return stats_; }

 private:
  struct Frame {
    std::string body;
    std::vector<Segment> segments;
    uint32_t tasks = 0;
    bool notify = false;
    bool sent = false;    // on this session
    bool judged = false;  // acknowledged, waiting for older ones to leave the window of seqs
    int transmissions = 0;
    int errors = 0;
    int64_t due_ms = 0;  // unsent: not before; sent: when to send again
  };
  // Where encoding stands within a lot.
  struct Source {
    Lot lot;
    size_t chunk = 0, offset = 0;  // next record
    size_t segment = 0;            // next segment, and
    uint32_t taken = 0;            // how many of its tasks are in frames
    bool done() const { return lot.tasks == 0; }
  };
  struct LaneState {
    std::deque<Source> sources;
    size_t tasks = 0, bytes = 0;
  };
  struct Refusal {
    uint32_t index;
    ErrorCode code;
    std::string message;
    uint32_t retry_after_ms;
    TaskId existing;  // holds its key
    bool repeats() const { return code == ErrorCode::kOk && existing; }
  };

  void TakeIntake();
  void AddSource(int lane, Lot lot, bool front);
  void ReturnRetries(int64_t now_ms);
  bool SendFrames(int64_t now_ms, SendSubmit send);
  bool SendFrame(Frame* frame, int64_t now_ms, SendSubmit send);
  bool FitsWindow(size_t tasks, size_t bytes) const;
  int DueLane() const;
  bool IsFull(size_t tasks, size_t bytes) const;
  void MakeFrame(int lane_index);
  void MoveTask(Source* source, uint32_t record_bytes, Frame* frame);
  Frame* FindUnderWay(uint64_t seq);
  void LeaveWay(Frame* frame);
  void CloseFrame(Frame* frame);

  bool ReadRefusals(const wire::SubmitAck& ack, uint32_t tasks);
  void Judge(Frame* frame, const wire::SubmitAck& ack, int64_t now_ms, AwaitedRange* range);
  void Accept(Segment* segment, uint32_t index, TaskId id, uint32_t position, AwaitedRange* range);
  void Repeat(Segment* segment, uint32_t index, TaskId id, bool notify, AwaitedRange* range);
  void Refuse(Segment* segment, uint32_t index, absl::Status status);
  void Requeue(const wire::TaskSpec& task, Segment* segment, uint32_t index, Lot* lot);
  void FailSegment(Segment* segment, uint32_t skip, const absl::Status& status);
  void FailLot(Lot* lot, size_t segment, uint32_t taken, const absl::Status& status);
  void CountJudged(const Segment& segment, size_t tasks);

  const Options options_;
  Intake* const intake_;
  FrameBuilder builder_;
  ClientStats stats_;

  bool up_ = false;
  uint32_t window_tasks_ = 0;
  uint64_t window_bytes_ = 0;

  LaneState lanes_[kLanes];
  int next_lane_ = 0;
  Lot intake_lots_[kLanes];
  std::multimap<int64_t, std::pair<int, Lot>> retries_;  // by due time

  std::deque<Frame> frames_;  // seq first_seq_ and on
  uint64_t first_seq_ = 1;    // also acked_below
  size_t under_way_frames_ = 0;
  size_t under_way_tasks_ = 0;
  size_t under_way_bytes_ = 0;
  size_t unsent_frames_ = 0;

  int64_t send_again_ms_ = 0;                       // the socket was full; 0: it was not
  size_t released_tasks_ = 0, released_bytes_ = 0;  // of Intake, in this Pump
  std::vector<Refusal> refusals_;                   // of the ack at hand
  std::string record_;
  std::vector<std::pair<uint32_t, size_t>> judged_;  // by generation, not yet reported
};

}  // namespace zsched
