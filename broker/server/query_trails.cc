// Queries of what attempts left behind: their history, their output.
#include <algorithm>

#include "base/planted.h"
#include "broker/server/query.h"
#include "broker/server/query_rows.h"

namespace zsched::broker {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

// They point into rows, which live as long as the view.
using Ended = std::vector<AttemptView>;

wire::AttemptEnd EndOf(const AttemptRow& row) {
  switch (static_cast<Ending>(row.ending)) {
    case Ending::kSucceeded:
      return wire::AttemptEnd::kSucceeded;
    case Ending::kRetry:
      return wire::AttemptEnd::kRetried;
    case Ending::kDead:
      return wire::AttemptEnd::kDead;
    case Ending::kReturned:
      return wire::AttemptEnd::kReturned;
    case Ending::kCancelled:
      return wire::AttemptEnd::kCancelled;
  }
  return wire::AttemptEnd::kRetried;
}

// Those of `recorded` attempts that are kept.
absl::StatusOr<Ended> ReadEnded(JournalView& view, const TrailRow& trail, uint32_t recorded) {
  Ended ended;
  for (uint32_t attempt = trail.first; attempt <= recorded; ++attempt) {
    if (!IsKept(attempt, recorded)) continue;
    const uint64_t key = HistoryKey(trail.number, attempt);
    ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kHistory, key));
    // Of an attempt that ran at the other broker of a pair (docs/ha.md, "The merge").
    if (!bytes) continue;
    const std::optional<AttemptView> row = ReadAttempt(*bytes);
    if (!row) return BadRow("history", key);
    // Numbers of attempts have 16 bits: after very many RETRYs they begin again.
    if (row->head.attempt == attempt) ended.push_back(*row);
  }
  return ended;
}

Offset<wire::AttemptInfo> BuildEnded(FlatBufferBuilder& b, const AttemptView& attempt) {
  const AttemptRow& row = attempt.head;
  auto worker = Str(b, attempt.worker), message = Str(b, attempt.message);
  return wire::CreateAttemptInfo(b, row.attempt, row.lease, worker, row.leased_ms, row.ended_ms,
                                 row.run_us, EndOf(row), row.error_code, message);
}

// The attempt that runs, or the one that succeeded: what the task's own row tells.
Offset<wire::AttemptInfo> BuildLast(FlatBufferBuilder& b, const TaskRow& task,
                                    std::string_view worker_name) {
  auto worker = Str(b, worker_name);
  const bool runs = task.state == TaskState::kLeased;
  return wire::CreateAttemptInfo(b, task.attempt, task.lease, worker, task.leased_ms,
                                 task.finished_ms, task.run_us,
                                 runs ? wire::AttemptEnd::kRunning : wire::AttemptEnd::kSucceeded);
}

// What is kept of what an attempt wrote, from `from` on, by rising offset.
absl::StatusOr<std::vector<OutputView>> ReadPages(JournalView& view, const TrailRow& trail,
                                                  uint16_t attempt, uint64_t from) {
  std::vector<OutputView> pages;
  for (uint64_t place = 0; place < kOutputPages; ++place) {
    const uint64_t key = OutputKey(trail.number, attempt, place * kOutputPageBytes);
    ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kOutput, key));
    if (!bytes) continue;
    std::optional<OutputView> row = ReadOutput(*bytes);
    if (!row) return BadRow("output", key);
    const bool is_its = row->head.attempt == attempt || ZS_PLANTED("output-of-others-shown");
    if (is_its && row->head.offset + row->head.bytes > from) pages.push_back(*row);
  }
  std::sort(pages.begin(), pages.end(),
            [](const auto& a, const auto& b) { return a.head.offset < b.head.offset; });
  return pages;
}

Offset<wire::LogPage> BuildPage(FlatBufferBuilder& b, const OutputView& page) {
  std::vector<wire::OutputRun> runs(page.head.runs);
  std::memcpy(runs.data(), page.runs.data(), page.runs.size());
  auto run_list = b.CreateVectorOfStructs(runs);
  auto bytes =
      b.CreateVector(reinterpret_cast<const uint8_t*>(page.bytes.data()), page.bytes.size());
  return wire::CreateLogPage(b, page.head.offset, run_list, bytes);
}

}  // namespace

absl::Status QueryRunner::History(JournalView& view, const Query& query, QueryReply& reply) {
  const uint64_t id = query.ids.at(0);
  FlatBufferBuilder b;
  std::vector<Offset<wire::AttemptInfo>> attempts;
  uint32_t missing = 0;
  ZS_ASSIGN_OR_RETURN(auto task, ReadTask(view, id));
  ZS_ASSIGN_OR_RETURN(auto trail, TrailOf(view, id));
  if (task) missing = RecordedAttempts(task->state, task->attempt);
  if (task && trail) {
    ZS_ASSIGN_OR_RETURN(Ended ended, ReadEnded(view, *trail, missing));
    for (const AttemptView& attempt : ended) attempts.push_back(BuildEnded(b, attempt));
    missing -= static_cast<uint32_t>(ended.size());
    if (ZS_PLANTED("attempt-unsaid") && !attempts.empty()) attempts.pop_back();
  }
  if (task && (task->state == TaskState::kLeased || task->state == TaskState::kSucceeded)) {
    ZS_ASSIGN_OR_RETURN(std::string worker, NameOfWorker(view, task->worker));
    attempts.push_back(BuildLast(b, *task, worker));
  }
  auto list = b.CreateVector(attempts);
  b.Finish(
      wire::CreateHistoryInfo(b, query.request, id, /*found=*/task.has_value(), list, missing));
  reply.frames.emplace_back(MessageType::kHistoryInfo, Body(b));
  return absl::OkStatus();
}

absl::Status QueryRunner::Logs(JournalView& view, const Query& query, QueryReply& reply) {
  const uint64_t id = query.ids.at(0);
  FlatBufferBuilder b;
  std::vector<Offset<wire::LogPage>> pages;
  ZS_ASSIGN_OR_RETURN(auto task, ReadTask(view, id));
  ZS_ASSIGN_OR_RETURN(auto trail, TrailOf(view, id));
  const uint16_t last = task ? task->attempt : 0;
  const uint16_t attempt = query.attempt != 0 ? query.attempt : last;
  if (trail && attempt != 0) {
    ZS_ASSIGN_OR_RETURN(auto rows, ReadPages(view, *trail, attempt, query.cursor));
    for (const OutputView& row : rows) pages.push_back(BuildPage(b, row));
  }
  const bool running = task && task->state == TaskState::kLeased && attempt == last;
  const bool finished = task && IsFinished(task->state);
  auto list = b.CreateVector(pages);
  b.Finish(wire::CreateLogPages(b, query.request, id, /*found=*/task.has_value(), attempt, running,
                                last, finished, list));
  reply.frames.emplace_back(MessageType::kLogPages, Body(b));
  return absl::OkStatus();
}

}  // namespace zsched::broker
