// STATUS: how the broker is now.
#include <algorithm>

#include "broker/server/engine.h"
#include "schemas/verify.h"

namespace zsched::broker {

bool Engine::OnStatus(SessionId from, const FrameView& frame, Now now) {
  const auto* status = VerifyBody<wire::Status>(frame.body);
  if (status == nullptr) return false;
  const std::vector<Gauge> gauges = Gauges(now);
  const Encoder::StatusInput input{.request = status->request(),
                                   .node = config_.node,
                                   .version = config_.version,
                                   .durable_lsn = durable_.value(),
                                   .uptime_ms = static_cast<uint64_t>(now.mono_ms - started_ms_),
                                   .gauges = gauges,
                                   .queue_ages = core_.QueueAges(now)};
  Send(from, MessageType::kStatusReply, encoder_.Status(input, core_, View()));
  return true;
}

// Names as docs/protocol.md has them.
std::vector<Gauge> Engine::Gauges(Now now) const {
  uint64_t credit = 0;
  for (const WorkerSession& worker : core_.workers())
    if (worker.id) credit += worker.grant_tasks;
  uint64_t leased = 0, queued_bytes = 0;
  for (const Queue& queue : core_.state().lanes().queues()) {
    leased += queue.counts[static_cast<size_t>(TaskState::kLeased)];
    queued_bytes += queue.bytes;
  }
  std::vector<Gauge> gauges{{"tasks_unfinished", core_.state().tasks().size()},
                            {"tasks_unfinished_bytes", queued_bytes},
                            {"tasks_leased", leased},
                            {"credit_tasks", credit},
                            {"workers", core_.worker_count()},
                            {"clients", core_.client_count()},
                            {"observers", observers_.size()}};
  if (journal_usage_) {
    const JournalUsage& journal = *journal_usage_;
    const uint64_t in_use = journal.used_bytes - std::min(journal.used_bytes, journal.free_bytes);
    gauges.push_back({"journal_map_bytes", journal.map_bytes});
    gauges.push_back(
        {"journal_map_free_bytes", journal.map_bytes - std::min(journal.map_bytes, in_use)});
    gauges.push_back({"journal_file_bytes", journal.used_bytes});
    gauges.push_back({"journal_log_bytes", journal.log_bytes});
    gauges.push_back({"disk_free_bytes", journal.disk_free_bytes});
  }
  if (replication_) {
    const uint64_t ours = replication_->ours.value(), theirs = replication_->theirs.value();
    gauges.push_back({"replication_lag_records", ours - std::min(ours, theirs)});
    if (serving_)
      gauges.push_back({"replication_lag_ms",
                        theirs >= ours ? 0 : core_.MsSince(Next(replication_->theirs), now)});
  }
  if (process_usage_) {
    gauges.push_back({"process_resident_memory_bytes", process_usage_->resident_bytes});
    gauges.push_back({"process_cpu_microseconds", process_usage_->cpu_us});
    gauges.push_back({"process_open_fds", process_usage_->open_fds});
    gauges.push_back({"process_threads", process_usage_->threads});
  }
  return gauges;
}

}  // namespace zsched::broker
