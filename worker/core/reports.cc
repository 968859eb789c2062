#include "worker/core/reports.h"

#include <utility>

#include "base/planted.h"

namespace zsched::worker {

void Report::Take(Report&& later) {
  if (later.percent) percent = later.percent;
  if (later.message) message = std::move(later.message);
  if (later.checkpoint) checkpoint = std::move(later.checkpoint);
}

size_t ReportsOfOneFrame(std::span<const Report* const> reports) {
  size_t count = 0, bytes = 0;
  for (; count < reports.size() && count < kMaxProgressReports; ++count)
    if ((bytes += reports[count]->bytes()) > kBatchTargetBytes && count > 0) break;
  return count;
}

void Reports::OnNote(Report note) {
  Entry& entry = reports_[note.lease];
  entry.report.task = note.task;
  entry.report.lease = note.lease;
  entry.report.Take(std::move(note));
  entry.due = true;
}

void Reports::OnEnded(LeaseId lease) {
  auto it = reports_.find(lease);
  if (it != reports_.end()) it->second.ended = true;
}

void Reports::OnSessionUp() {
  if (ZS_PLANTED("reports-not-resent")) return;
  for (auto& [lease, entry] : reports_) entry.due = true;
  next_ms_ = 0;
}

std::vector<const Report*> Reports::Take(int64_t now_ms) {
  std::vector<const Report*> taken;
  auto take = [&](Entry& entry) {
    entry.due = false;
    taken.push_back(&entry.report);
    return entry.report.bytes();
  };
  for (auto& [lease, entry] : reports_)
    if (entry.due && entry.ended) take(entry);
  if (now_ms < next_ms_) return taken;
  // From the one after the last, so that each has its turn.
  size_t bytes = 0, looked_at = 0;
  auto it = reports_.upper_bound(last_);
  for (; looked_at < reports_.size() && bytes < kMaxReportBytes; ++looked_at, ++it) {
    if (it == reports_.end()) it = reports_.begin();
    if (!it->second.due) continue;
    last_ = it->first;
    bytes += take(it->second);
    next_ms_ = now_ms + kReportEveryMs;
  }
  return taken;
}

int64_t Reports::NextDeadlineMs() const {
  int64_t next = kNever;
  for (const auto& [lease, entry] : reports_) {
    if (!entry.due) continue;
    if (entry.ended) return 0;
    next = next_ms_;
  }
  return next;
}

}  // namespace zsched::worker
