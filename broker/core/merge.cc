#include "broker/core/merge.h"

#include <optional>

#include "base/check.h"
#include "broker/core/chains.h"
#include "broker/core/schedule_settings.h"
#include "broker/core/validate.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

absl::Status Malformed(std::string_view what) {
  return Error(ErrorCode::kMalformed, "what another broker did alone: " + std::string(what));
}

bool ReadLane(std::string_view bytes, LaneNames* names) {
  RowReader in(bytes);
  LaneRow row;
  return in.Read(row) && row.version == kRowVersion && in.Take(row.queue_bytes, names->queue) &&
         in.Take(row.type_bytes, names->type) &&
         in.Take(row.concurrency_bytes, names->concurrency_key) &&
         in.Take(row.fairness_bytes, names->fairness_key) && in.rest().empty();
}

bool ReadTask(RowReader& in, MergeView& out) {
  return in.Read(out.task) && in.Take(out.task.lane_bytes, out.lane_row) &&
         in.Take(out.task.spec_bytes, out.spec) && in.Take(out.task.outcome_bytes, out.outcome) &&
         in.Take(out.task.chain_bytes, out.chain) && ReadLane(out.lane_row, &out.lane);
}

bool ReadSubmit(RowReader& in, MergeView& out) {
  return in.Read(out.submit) &&
         in.Take(out.submit.submit.rejected * sizeof(ProducerReject), out.rejects);
}

bool ReadSchedule(RowReader& in, MergeView& out) {
  MergeSchedule head;
  if (!in.Read(head) || !in.Take(in.rest().size(), out.schedule)) return false;
  out.ticks = head.row;
  out.schedule_known = head.known != 0;
  return true;
}

// Takes one entry off the front.
std::optional<MergeView> Read(std::string_view* entries) {
  MergeEntry head;
  if (!RowReader(*entries).Read(head) || head.bytes < sizeof head || head.bytes > entries->size())
    return std::nullopt;
  RowReader in(entries->substr(sizeof head, head.bytes - sizeof head));
  entries->remove_prefix(head.bytes);
  MergeView out;
  out.kind = head.kind;
  bool read = false;
  switch (head.kind) {
    case MergeKind::kTask:
      read = ReadTask(in, out);
      break;
    case MergeKind::kEnd:
      read = in.Read(out.end) && in.Take(out.end.outcome_bytes, out.outcome);
      break;
    case MergeKind::kSubmit:
      read = ReadSubmit(in, out);
      break;
    case MergeKind::kSchedule:
      read = ReadSchedule(in, out);
      break;
    case MergeKind::kResent:
      read = in.Read(out.resent);
      break;
    case MergeKind::kTicks:
      read = in.Read(out.moved);
      break;
  }
  if (!read || !in.rest().empty()) return std::nullopt;
  return out;
}

bool IsId(uint64_t task) { return EpochOf(TaskId(task)) != Epoch() && CounterOf(TaskId(task)) > 0; }

// Of a task that is dead: of an error, which has a fingerprint.
bool IsEndSane(TaskState state, uint64_t fingerprint, std::string_view outcome) {
  const std::optional<OutcomeView> view = ReadOutcome(outcome);
  if (!outcome.empty() && !view) return false;
  return state != TaskState::kDead || (fingerprint != 0 && view && view->head.error_code != 0);
}

bool IsSpec(std::string_view row) {
  const std::optional<SpecView> spec = ReadSpec(row);
  return spec && ReadLabels(*spec, [](LabelView) {}) && ReadExtras(*spec);
}

bool IsChain(const MergeView& entry) {
  if (entry.chain.empty()) return true;
  AlignedCopy copy;
  const auto* chain = VerifyBody<wire::Chain>(copy.Align(entry.chain));
  return chain != nullptr && entry.task.fired <= kAllBranches && HasChain(*chain) &&
         ValidateChain(*chain).code == ErrorCode::kOk;
}

absl::Status CheckTask(const MergeView& entry) {
  const TaskRow& row = entry.task.row;
  if (!IsId(entry.task.task)) return Malformed("a task without an id");
  if (row.version != kRowVersion || row.state > TaskState::MAX ||
      row.state == TaskState::kBlocked || row.priority >= kPriorities || row.attempt == UINT16_MAX)
    return Malformed("a task's row cannot be read");
  if (!IsFinished(row.state) && entry.task.key.version != 0 && entry.task.key.finished_ms != 0)
    return Malformed("a task's key is free and held");
  if (entry.lane.queue.empty() || entry.lane.type.empty() ||
      entry.lane.queue.size() > kMaxNameBytes || entry.lane.type.size() > kMaxNameBytes)
    return Malformed("a task of no queue or type");
  if (!IsFinished(row.state) && (row.lost >= kCrashLimit || row.failures >= row.max_attempts))
    return Malformed("a task has spent its attempts and is not over");
  if (!IsFinished(row.state) && row.lost + row.failures > 0 && entry.task.start_by_ms != 0)
    return Malformed("a task has a start-by time after an attempt");
  if (!IsSpec(entry.spec)) return Malformed("a task's spec cannot be read");
  if (!IsChain(entry)) return Malformed("a task's templates cannot be read");
  if (!IsEndSane(row.state, entry.task.fingerprint, entry.outcome))
    return Malformed("a task's outcome cannot be read");
  return absl::OkStatus();
}

absl::Status CheckSchedule(const MergeView& entry) {
  AlignedCopy copy;
  const auto* set = VerifyBody<wire::ScheduleSet>(copy.Align(entry.schedule));
  return set != nullptr && AreSane(entry.ticks) ? absl::OkStatus()
                                                : Malformed("a schedule cannot be read");
}

absl::Status CheckSubmit(const MergeSubmit& frame) {
  const ProducerSubmit& submit = frame.submit;
  const bool sane = frame.client && submit.seq != 0 && submit.accepted > 0 &&
                    IsId(submit.first_id) && submit.accepted <= kMaxSubmitTasks &&
                    submit.rejected <= kMaxSubmitTasks;
  return sane ? absl::OkStatus() : Malformed("a submit that nobody sent");
}

absl::Status Check(const MergeView& entry) {
  switch (entry.kind) {
    case MergeKind::kTask:
      return CheckTask(entry);
    case MergeKind::kEnd:
      return IsId(entry.end.task) && IsFinished(entry.end.state) &&
                     entry.end.attempt != UINT16_MAX &&
                     IsEndSane(entry.end.state, entry.end.fingerprint, entry.outcome)
                 ? absl::OkStatus()
                 : Malformed("a task's end cannot be read");
    case MergeKind::kSubmit:
      return CheckSubmit(entry.submit);
    case MergeKind::kSchedule:
      return CheckSchedule(entry);
    case MergeKind::kResent:
      return IsId(entry.resent.first_id) && entry.resent.tasks <= kMaxSubmitTasks
                 ? absl::OkStatus()
                 : Malformed("a frame of no tasks was sent again");
    case MergeKind::kTicks:
      return entry.moved.schedule != 0 && entry.moved.schedule < UINT32_MAX &&
                     AreSane(entry.moved.row)
                 ? absl::OkStatus()
                 : Malformed("a schedule is out of range");
  }
  return Malformed("an unknown entry");
}

}  // namespace

absl::Status CheckMergeEntries(std::string_view entries) {
  while (!entries.empty()) {
    const std::optional<MergeView> entry = Read(&entries);
    if (!entry) return Malformed("an entry is cut off");
    ZS_RETURN_IF_ERROR(Check(*entry));
  }
  return absl::OkStatus();
}

void ForEachMergeEntry(std::string_view entries, absl::FunctionRef<void(const MergeView&)> visit) {
  while (!entries.empty()) {
    const std::optional<MergeView> entry = Read(&entries);
    ZS_CHECK(entry.has_value());
    visit(*entry);
  }
}

void AppendMergeEntry(std::string& entries, MergeView entry) {
  const size_t start = entries.size();
  AppendStruct(entries, MergeEntry{0, entry.kind, {}});
  switch (entry.kind) {
    case MergeKind::kTask:
      entry.task.lane_bytes = static_cast<uint32_t>(entry.lane_row.size());
      entry.task.spec_bytes = static_cast<uint32_t>(entry.spec.size());
      entry.task.outcome_bytes = static_cast<uint32_t>(entry.outcome.size());
      entry.task.chain_bytes = static_cast<uint32_t>(entry.chain.size());
      AppendStruct(entries, entry.task);
      entries.append(entry.lane_row).append(entry.spec).append(entry.outcome).append(entry.chain);
      break;
    case MergeKind::kEnd:
      entry.end.outcome_bytes = static_cast<uint32_t>(entry.outcome.size());
      AppendStruct(entries, entry.end);
      entries.append(entry.outcome);
      break;
    case MergeKind::kSubmit:
      AppendStruct(entries, entry.submit);
      entries.append(entry.rejects);
      break;
    case MergeKind::kSchedule:
      AppendStruct(entries, MergeSchedule{entry.ticks, entry.schedule_known});
      entries.append(entry.schedule);
      break;
    case MergeKind::kResent:
      AppendStruct(entries, entry.resent);
      break;
    case MergeKind::kTicks:
      AppendStruct(entries, entry.moved);
      break;
  }
  const auto bytes = static_cast<uint32_t>(entries.size() - start);
  std::memcpy(entries.data() + start, &bytes, sizeof bytes);
}

}  // namespace zsched::broker
