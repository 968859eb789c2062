// Running attempts say how far they are, and leave checkpoints for the next attempt.
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

}  // namespace

bool Core::MayReport(WorkerSession& session, size_t bytes, Now now) {
  if (session.reported_ms == 0) session.report_bytes = kReportBurstBytes;
  const int64_t rested_ms = std::min<int64_t>(now.mono_ms - session.reported_ms, 1 << 20);
  session.reported_ms = now.mono_ms;
  session.report_bytes =
      std::min(kReportBurstBytes, session.report_bytes + rested_ms * kReportBytesPerMs);
  const auto cost = static_cast<int64_t>(bytes + kReportCostBytes);
  if (cost > session.report_bytes) return false;
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
        !MayReport(*session, checkpoint.size() + message.size(), now)) {
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

}  // namespace zsched::broker
