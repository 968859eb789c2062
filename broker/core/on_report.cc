// Running attempts say how far they are, leave checkpoints for the next attempt, and write output.
#include <algorithm>

#include "base/planted.h"
#include "base/text.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// What one worker may report, each report counted as its bytes and a row's: several times what the
// worker library ever sends (worker/core/reports.h), and a fraction of what a disk takes, so that a worker
// that floods holds up nobody.
constexpr int64_t kReportBytesPerMs = 16 << 10;
constexpr int64_t kReportBurstBytes = 64 << 20;
constexpr size_t kReportCostBytes = 512;
// Left for reports by output: one that writes much loses output first, and no checkpoint.
constexpr int64_t kReserveBytes = kReportBurstBytes / 2;

}  // namespace

bool Core::MayReport(WorkerSession& session, size_t bytes, int64_t reserve_bytes, Now now) {
  if (session.reported_ms == 0) session.report_bytes = kReportBurstBytes;
  const int64_t rested_ms = std::min<int64_t>(now.mono_ms - session.reported_ms, 1 << 20);
  session.reported_ms = now.mono_ms;
  session.report_bytes =
      std::min(kReportBurstBytes, session.report_bytes + rested_ms * kReportBytesPerMs);
  const auto cost = static_cast<int64_t>(bytes + kReportCostBytes);
  if (cost + reserve_bytes > session.report_bytes) return false;
  session.report_bytes -= cost;
  return true;
}

void Core::OnProgress(SessionId from, const wire::Progress& progress, Now now) {
  WorkerSession* session = FindWorkerSession(from);
  if (session == nullptr) return;
  IdsRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kReported, record);
  const auto& reports = *progress.reports();
  const uint32_t count = std::min<uint32_t>(reports.size(), kMaxProgressReports);
  metrics_.Add(Metric::kReportsDropped, reports.size() - count);
  for (uint32_t i = 0; i < count; ++i) {
    const wire::AttemptReport& report = *reports.Get(i);
    uint32_t slot = FindLeased(report.task_id(), report.lease_id(), session->worker);
    if (ZS_PLANTED("any-report-taken")) {
      slot = state_.tasks().Find(TaskId(report.task_id()));
      if (slot != kNil && state_.tasks()[slot].state != TaskState::kLeased) slot = kNil;
    }
    const std::string_view checkpoint = BytesOf(report.checkpoint());
    const std::string_view message = CutUtf8(TextOf(report.message()), kMaxProgressMessageBytes);
    if (slot == kNil) {
      metrics_.Add(Metric::kReportsStale);
      continue;
    }
    if (checkpoint.size() > kMaxCheckpointBytes ||
        !MayReport(*session, checkpoint.size() + message.size(), 0, now)) {
      metrics_.Add(Metric::kReportsDropped);
      continue;
    }
    ReportedEntry entry;
    entry.task = report.task_id();
    entry.checkpoint_bytes = static_cast<uint32_t>(checkpoint.size());
    entry.message_bytes = static_cast<uint16_t>(message.size());
    entry.percent = std::min<uint8_t>(report.percent().value_or(0), 100);
    if (report.percent() || report.message() != nullptr)
      entry.kinds |= NoteBit(NoteKind::kProgress);
    if (report.checkpoint() != nullptr && !ZS_PLANTED("checkpoint-ignored"))
      entry.kinds |= NoteBit(NoteKind::kCheckpoint);
    AppendStruct(batch_.OpenRecord(), entry);
    batch_.OpenRecord().append(message).append(checkpoint);
    state_.Reported(batch_, slot, entry, message, checkpoint, now.wall_ms);
    ++record.count;
  }
  if (record.count == 0) return DropRecord(opened);
  CloseRecord(opened, record, now);
  metrics_.Add(Metric::kReportsTaken, record.count);
}

void Core::OnOutput(SessionId from, const wire::Output& output, Now now) {
  WorkerSession* session = FindWorkerSession(from);
  if (session == nullptr) return;
  IdsRecord record;
  OpenedRecord opened = OpenRecord(RecordKind::kOutput, record);
  const auto& pages = *output.pages();
  const uint32_t count = std::min<uint32_t>(pages.size(), kMaxOutputFramePages);
  metrics_.Add(Metric::kOutputDropped, pages.size() - count);
  for (uint32_t i = 0; i < count; ++i)
    if (TakePage(*session, *pages.Get(i), now)) ++record.count;
  if (record.count == 0) return DropRecord(opened);
  CloseRecord(opened, record, now);
  metrics_.Add(Metric::kOutputTaken, record.count);
}

// Into the open record; false: not taken.
bool Core::TakePage(WorkerSession& session, const wire::OutputPage& page, Now now) {
  uint32_t slot = FindLeased(page.task_id(), page.lease_id(), session.worker);
  if (ZS_PLANTED("any-output-taken")) {
    slot = state_.tasks().Find(TaskId(page.task_id()));
    if (slot != kNil && state_.tasks()[slot].state != TaskState::kLeased) slot = kNil;
  }
  if (slot == kNil) {
    metrics_.Add(Metric::kOutputStale);
    return false;
  }
  const std::string_view bytes = BytesOf(page.bytes());
  std::string_view runs;
  if (page.runs() != nullptr)
    runs = {reinterpret_cast<const char*>(page.runs()->Data()),
            page.runs()->size() * sizeof(wire::OutputRun)};
  // A full disk is for tasks that were accepted, not for what they say.
  if (!IsOutputPage(page.offset(), runs, bytes) || !disk_low_.empty() ||
      !MayReport(session, runs.size() + bytes.size(), kReserveBytes, now)) {
    metrics_.Add(Metric::kOutputDropped);
    return false;
  }
  OutputEntry entry;
  entry.task = page.task_id();
  entry.offset = page.offset();
  entry.bytes = static_cast<uint16_t>(bytes.size());
  entry.runs = static_cast<uint16_t>(runs.size() / sizeof(wire::OutputRun));
  AppendStruct(batch_.OpenRecord(), entry);
  batch_.OpenRecord().append(runs).append(bytes);
  state_.Wrote(batch_, slot, entry.offset, runs, bytes);
  return true;
}

}  // namespace zsched::broker
