#include "client/lib/submitter.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/planted.h"
#include "client/session/session.h"

namespace zsched {

// --- Sending ---

void Submitter::OnUp(uint32_t window_tasks, uint64_t window_bytes) {
  up_ = true;
  window_tasks_ = window_tasks;
  window_bytes_ = window_bytes;
  ++stats_.connects;
}

void Submitter::OnDown() {
  up_ = false;
  send_again_ms_ = 0;
  under_way_frames_ = under_way_tasks_ = under_way_bytes_ = unsent_frames_ = 0;
  for (Frame& frame : frames_) {
    if (frame.judged) continue;
    frame.sent = false;
    frame.due_ms = 0;
    if (ZS_PLANTED("submits-not-resent")) frame.due_ms = INT64_MAX;
    ++unsent_frames_;
  }
}

void Submitter::Pump(int64_t now_mono_ms, SendSubmit send) {
  send_again_ms_ = 0;
  TakeIntake();
  ReturnRetries(now_mono_ms);
  if (!up_ || !SendFrames(now_mono_ms, send)) return;
  while (unsent_frames_ == 0 && frames_.size() < kMaxOutstandingSubmits) {
    const int lane = DueLane();
    if (lane < 0) break;
    next_lane_ = (lane + 1) % kLanes;
    MakeFrame(lane);
    if (!SendFrame(&frames_.back(), now_mono_ms, send)) break;
  }
  if (released_tasks_ > 0) intake_->Release(released_tasks_, released_bytes_);
  released_tasks_ = released_bytes_ = 0;
}

void Submitter::TakeIntake() {
  intake_->Take(intake_lots_);
  for (int lane = 0; lane < kLanes; ++lane) {
    if (intake_lots_[lane].empty()) continue;
    AddSource(lane, std::move(intake_lots_[lane]), /*front=*/false);
    intake_lots_[lane] = Lot();
  }
}

void Submitter::AddSource(int lane, Lot lot, bool front) {
  lanes_[lane].tasks += lot.tasks;
  lanes_[lane].bytes += lot.bytes;
  auto& sources = lanes_[lane].sources;
  if (front)
    sources.push_front({.lot = std::move(lot)});
  else
    sources.push_back({.lot = std::move(lot)});
}

void Submitter::ReturnRetries(int64_t now_ms) {
  while (!retries_.empty() && retries_.begin()->first <= now_ms) {
    auto& [lane, lot] = retries_.begin()->second;
    AddSource(lane, std::move(lot), /*front=*/true);
    retries_.erase(retries_.begin());
  }
}

// Frames that exist and have to go (again). False: the socket is full.
bool Submitter::SendFrames(int64_t now_ms, SendSubmit send) {
  for (Frame& frame : frames_) {
    if (frame.judged || frame.due_ms > now_ms) continue;
    // In seq order, and so the window's room goes to the oldest.
    if (!frame.sent && under_way_frames_ > 0 && !FitsWindow(frame.tasks, frame.body.size()))
      return true;
    if (!SendFrame(&frame, now_ms, send)) return false;
  }
  return true;
}

bool Submitter::SendFrame(Frame* frame, int64_t now_ms, SendSubmit send) {
  if (!send(frame->body)) {
    send_again_ms_ = now_ms + kMinRetryMs;
    return false;
  }
  if (frame->transmissions++ > 0) ++stats_.resent_frames;
  frame->due_ms = now_ms + options_.resend_ms;
  if (frame->sent) return true;
  frame->sent = true;
  --unsent_frames_;
  ++under_way_frames_;
  under_way_tasks_ += frame->tasks;
  under_way_bytes_ += frame->body.size();
  return true;
}

bool Submitter::FitsWindow(size_t tasks, size_t bytes) const {
  return under_way_tasks_ + tasks <= window_tasks_ && under_way_bytes_ + bytes <= window_bytes_;
}

bool Submitter::IsFull(size_t tasks, size_t bytes) const {
  return tasks >= kMaxSubmitTasks || bytes >= kMaxSubmitBytes;
}

// The lane that a frame may be made of now, taking turns; -1: none.
int Submitter::DueLane() const {
  const bool eager = under_way_frames_ < kEagerFrames;
  for (int turn = 0; turn < kLanes; ++turn) {
    const int index = (next_lane_ + turn) % kLanes;
    const LaneState& lane = lanes_[index];
    if (lane.tasks == 0) continue;
    // With nothing under way no ack would ever open the window: then one task goes whatever it
    // says.
    if (under_way_frames_ == 0) return index;
    const Source& source = lane.sources.front();
    const TaskRecord next =
        ReadRecord(std::string_view(source.lot.chunks[source.chunk]).substr(source.offset));
    if (!FitsWindow(1, FrameBuilder::kFrameOverheadBytes + FrameBuilder::BodyBytesFor(next)))
      continue;
    const size_t tasks = std::min<size_t>(lane.tasks, window_tasks_ - under_way_tasks_);
    const size_t bytes = std::min<size_t>(lane.bytes, window_bytes_ - under_way_bytes_);
    if (eager || IsFull(tasks, bytes)) return index;
  }
  return -1;
}

void Submitter::MakeFrame(int lane_index) {
  LaneState& lane = lanes_[lane_index];
  Frame& frame = frames_.emplace_back();
  while (lane.tasks > 0 && !IsFull(builder_.tasks(), builder_.bytes())) {
    Source& source = lane.sources.front();
    const std::string& chunk = source.lot.chunks[source.chunk];
    const TaskRecord task = ReadRecord(std::string_view(chunk).substr(source.offset));
    const size_t bytes_with_it = builder_.bytes() + FrameBuilder::BodyBytesFor(task);
    if (builder_.tasks() > 0 && bytes_with_it > kMaxSubmitBytes) break;
    const bool first_of_all = builder_.tasks() == 0 && under_way_frames_ == 0;
    if (!first_of_all && !FitsWindow(builder_.tasks() + 1, bytes_with_it)) break;
    builder_.Add(task);
    const uint32_t bytes = task.header.size;
    --lane.tasks;
    lane.bytes -= bytes;
    MoveTask(&source, bytes, &frame);
    if (source.done()) lane.sources.pop_front();
  }
  frame.tasks = static_cast<uint32_t>(builder_.tasks());
  frame.notify = lane_index == kNotifyLane;
  uint64_t acked_below = first_seq_;
  if (ZS_PLANTED("acks-claimed")) acked_below = next_seq() - 1;
  frame.body = builder_.Finish(next_seq() - 1, acked_below, frame.notify);
  ++unsent_frames_;
  ++stats_.frames;
}

// One task's record leaves the source; its place in the frame goes to its call.
void Submitter::MoveTask(Source* source, uint32_t record_bytes, Frame* frame) {
  Segment& from = source->lot.segments[source->segment];
  if (source->taken == 0 || frame->segments.empty()) {
    Segment& part = frame->segments.emplace_back();
    part.generation = from.generation;
    part.first = from.first + source->taken;
    part.batch = from.batch;
    if (from.batch == nullptr) {
      part.on_ack = std::move(from.on_ack);
      part.on_outcome = std::move(from.on_outcome);
    }
  }
  ++frame->segments.back().tasks;
  if (++source->taken == from.tasks) {
    ++source->segment;
    source->taken = 0;
  }
  --source->lot.tasks;
  source->lot.bytes -= record_bytes;
  ++released_tasks_;
  released_bytes_ += record_bytes;
  source->offset += record_bytes;
  if (source->offset == source->lot.chunks[source->chunk].size()) {
    std::string().swap(source->lot.chunks[source->chunk]);
    ++source->chunk;
    source->offset = 0;
  }
}

// --- Answers ---

Submitter::Frame* Submitter::FindUnderWay(uint64_t seq) {
  if (seq < first_seq_ || seq >= next_seq()) return nullptr;
  Frame* frame = &frames_[seq - first_seq_];
  return frame->judged ? nullptr : frame;
}

bool Submitter::OnAck(const wire::SubmitAck& ack, int64_t now_mono_ms, OnRange on_range) {
  Frame* frame = FindUnderWay(ack.seq());
  if (frame == nullptr) {
    // A second answer to a frame that was sent twice.
    return ack.seq() != 0 && ack.seq() < next_seq();
  }
  if (!ReadRefusals(ack, frame->tasks)) return false;
  window_tasks_ = ack.window_tasks();
  window_bytes_ = ack.window_bytes();
  AwaitedRange range;
  range.first = TaskId(ack.first_id());
  range.tasks = ack.accepted();
  range.ask = ack.duplicate() || frame->transmissions > 1;
  const bool notify = frame->notify;
  Judge(frame, ack, now_mono_ms, &range);
  CloseFrame(frame);
  if (notify && (range.tasks > 0 || !range.repeated.empty())) on_range(std::move(range));
  return true;
}

// Into refusals_; false when they contradict the frame.
bool Submitter::ReadRefusals(const wire::SubmitAck& ack, uint32_t tasks) {
  refusals_.clear();
  if (ack.rejected() != nullptr) {
    int64_t last = -1;
    for (const wire::Rejected* refusal : *ack.rejected()) {
      if (refusal->index() >= tasks || refusal->index() <= last) return false;
      last = refusal->index();
      refusals_.push_back({refusal->index(), ErrorFromNumber(refusal->code()),
                           refusal->message() != nullptr ? refusal->message()->str() : "",
                           refusal->retry_after_ms(), TaskId(refusal->existing())});
    }
  }
  return uint64_t{ack.accepted()} + refusals_.size() == tasks &&
         (ack.accepted() == 0 || ack.first_id() != 0);
}

void Submitter::Judge(Frame* frame, const wire::SubmitAck& ack, int64_t now_ms,
                      AwaitedRange* range) {
  const auto* tasks = flatbuffers::GetRoot<wire::Submit>(frame->body.data())->tasks();
  Lot again;
  uint32_t wait_ms = kMinRetryMs;
  uint32_t index = 0, accepted = 0;
  auto refusal = refusals_.begin();
  for (Segment& segment : frame->segments) {
    if (segment.batch != nullptr)
      segment.batch->ack.durability =
          std::min(segment.batch->ack.durability, static_cast<Durability>(ack.durability()));
    const size_t requeued_before = again.tasks;
    for (uint32_t i = 0; i < segment.tasks; ++i, ++index) {
      if (refusal == refusals_.end() || refusal->index != index) {
        Accept(&segment, segment.first + i, TaskId(ack.first_id() + accepted), accepted, range);
        ++accepted;
        continue;
      }
      if (refusal->repeats()) {
        Repeat(&segment, segment.first + i, refusal->existing, frame->notify, range);
      } else if (refusal->code == ErrorCode::kResourceExhausted && options_.retry_exhausted) {
        wait_ms = std::max(wait_ms, refusal->retry_after_ms);
        Requeue(*tasks->Get(index), &segment, segment.first + i, &again);
      } else {
        Refuse(&segment, segment.first + i, Error(refusal->code, std::move(refusal->message)));
      }
      ++refusal;
    }
    CountJudged(segment, segment.tasks - (again.tasks - requeued_before));
  }
  if (!range->callbacks.empty()) range->callbacks.resize(ack.accepted());
  if (again.empty()) return;
  if (ZS_PLANTED("refused-not-resent")) return;
  stats_.retried += again.tasks;
  intake_->Charge(again.tasks, again.bytes);
  retries_.emplace(now_ms + wait_ms,
                   std::pair(frame->notify ? kNotifyLane : kPlainLane, std::move(again)));
}

void Submitter::Accept(Segment* segment, uint32_t index, TaskId id, uint32_t position,
                       AwaitedRange* range) {
  if (segment->batch != nullptr) {
    segment->batch->ack.ids[index] = id;
    return;
  }
  if (segment->on_outcome) {
    range->callbacks.resize(position);
    range->callbacks.push_back(std::move(segment->on_outcome));
  }
  if (segment->on_ack) segment->on_ack(id);
}

void Submitter::Repeat(Segment* segment, uint32_t index, TaskId id, bool notify,
                       AwaitedRange* range) {
  if (segment->batch != nullptr) {
    segment->batch->ack.ids[index] = id;
    segment->batch->ack.repeated.push_back(index);
    if (notify) range->repeated.emplace_back(id, nullptr);
    return;
  }
  if (segment->on_outcome) range->repeated.emplace_back(id, std::move(segment->on_outcome));
  if (segment->on_ack) segment->on_ack(id);
}

void Submitter::Refuse(Segment* segment, uint32_t index, absl::Status status) {
  ++stats_.rejected;
  if (segment->batch != nullptr)
    segment->batch->ack.rejected.push_back({.index = index, .status = std::move(status)});
  else if (segment->on_ack)
    segment->on_ack(std::move(status));
}

// The task goes back to wait, with its call.
void Submitter::Requeue(const wire::TaskSpec& task, Segment* segment, uint32_t index, Lot* lot) {
  record_.clear();
  AppendRecord(task, &record_);
  Segment again;
  again.batch = segment->batch;
  again.first = index;
  again.tasks = 1;
  again.generation = segment->generation;
  if (segment->batch == nullptr) {
    again.on_ack = std::move(segment->on_ack);
    again.on_outcome = std::move(segment->on_outcome);
  }
  lot->Append(&record_, std::move(again));
}

bool Submitter::OnError(uint64_t seq, ErrorCode code, const std::string& message,
                        uint32_t retry_after_ms, int64_t now_mono_ms) {
  Frame* frame = FindUnderWay(seq);
  if (frame == nullptr) return false;
  const bool full = code == ErrorCode::kResourceExhausted && options_.retry_exhausted;
  if (full || (IsRetryable(code) && ++frame->errors < kMaxFrameErrors)) {
    LeaveWay(frame);
    frame->due_ms = now_mono_ms + std::max(retry_after_ms, kMinRetryMs);
    return true;
  }
  const absl::Status status = Error(code, message);
  for (Segment& segment : frame->segments) FailSegment(&segment, 0, status);
  CloseFrame(frame);
  return true;
}

// A frame that was sent does not count as under way any more.
void Submitter::LeaveWay(Frame* frame) {
  if (!frame->sent) return;
  frame->sent = false;
  ++unsent_frames_;
  --under_way_frames_;
  under_way_tasks_ -= frame->tasks;
  under_way_bytes_ -= frame->body.size();
}

void Submitter::CloseFrame(Frame* frame) {
  LeaveWay(frame);
  --unsent_frames_;
  frame->judged = true;
  std::string().swap(frame->body);
  frame->segments.clear();
  while (!frames_.empty() && frames_.front().judged) {
    frames_.pop_front();
    ++first_seq_;
  }
}

// The tasks of a segment from `skip` on.
void Submitter::FailSegment(Segment* segment, uint32_t skip, const absl::Status& status) {
  for (uint32_t i = skip; i < segment->tasks; ++i) Refuse(segment, segment->first + i, status);
  CountJudged(*segment, segment->tasks - skip);
}

void Submitter::CountJudged(const Segment& segment, size_t tasks) {
  if (tasks == 0) return;
  stats_.acknowledged += tasks;
  if (judged_.empty() || judged_.back().first != segment.generation)
    judged_.emplace_back(segment.generation, 0);
  judged_.back().second += tasks;
  if (segment.batch == nullptr || (segment.batch->left -= tasks) > 0) return;
  BatchState& batch = *segment.batch;
  std::sort(batch.ack.rejected.begin(), batch.ack.rejected.end(),
            [](const Rejection& a, const Rejection& b) { return a.index < b.index; });
  std::sort(batch.ack.repeated.begin(), batch.ack.repeated.end());
  if (batch.on_ack) batch.on_ack(std::move(batch.ack));
}

void Submitter::ReportJudged() {
  if (!judged_.empty()) intake_->Acknowledge(judged_);
  judged_.clear();
}

// --- Waiting and ending ---

int64_t Submitter::next_deadline_ms() const {
  int64_t deadline = retries_.empty() ? Session::kNever : retries_.begin()->first;
  if (!up_) return deadline;
  if (send_again_ms_ != 0) return std::min(deadline, send_again_ms_);
  for (const Frame& frame : frames_)
    if (!frame.judged && frame.due_ms != 0) deadline = std::min(deadline, frame.due_ms);
  return deadline;
}

std::pair<size_t, size_t> Submitter::WakeThreshold() const {
  constexpr size_t kNothing = std::numeric_limits<size_t>::max();
  const std::pair<size_t, size_t> asleep{kNothing, kNothing};
  if (!up_ || unsent_frames_ > 0 || frames_.size() >= kMaxOutstandingSubmits) return asleep;
  const size_t tasks = std::max(lanes_[kPlainLane].tasks, lanes_[kNotifyLane].tasks);
  const size_t bytes = std::max(lanes_[kPlainLane].bytes, lanes_[kNotifyLane].bytes);
  if (under_way_frames_ < kEagerFrames && tasks == 0) return {1, 1};
  // What waits already could not go: only an ack changes that, unless a frame becomes full.
  if (IsFull(tasks, bytes) || under_way_tasks_ >= window_tasks_ ||
      under_way_bytes_ >= window_bytes_)
    return asleep;
  return {kMaxSubmitTasks - tasks, kMaxSubmitBytes - bytes};
}

bool Submitter::idle() const {
  return frames_.empty() && retries_.empty() && lanes_[kPlainLane].tasks == 0 &&
         lanes_[kNotifyLane].tasks == 0;
}

void Submitter::FailAll(const absl::Status& status) {
  TakeIntake();
  up_ = false;
  for (Frame& frame : frames_)
    for (Segment& segment : frame.segments) FailSegment(&segment, 0, status);
  for (LaneState& lane : lanes_) {
    for (Source& source : lane.sources) FailLot(&source.lot, source.segment, source.taken, status);
    lane = LaneState();
  }
  for (auto& [due, retry] : retries_) FailLot(&retry.second, 0, 0, status);
  retries_.clear();
  first_seq_ = next_seq();
  frames_.clear();
  under_way_frames_ = under_way_tasks_ = under_way_bytes_ = unsent_frames_ = 0;
  ReportJudged();
}

// The tasks of a lot that are in no frame yet.
void Submitter::FailLot(Lot* lot, size_t segment, uint32_t taken, const absl::Status& status) {
  for (size_t i = segment; i < lot->segments.size(); ++i, taken = 0)
    FailSegment(&lot->segments[i], taken, status);
  intake_->Release(lot->tasks, lot->bytes);
}

}  // namespace zsched
