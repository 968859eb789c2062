// What attempts leave behind: the history of a task has each of its attempts, once, for as long as the task has rows.
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "schemas/verify.h"
#include "tests/sim/oracle.h"

namespace zsched::sim {
namespace {

using broker::KeyRange;
using broker::Mutation;
using broker::NoteKind;
using broker::Table;

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }
std::string LeaseName(uint64_t id) { return "lease " + ToString(LeaseId(id)); }

std::string ShownText(uint8_t percent, std::string_view message) {
  return std::to_string(percent) + " " + std::string(message);
}

template <class Map>
void EraseRange(Map& map, const KeyRange& range) {
  map.erase(map.lower_bound(range.first), map.upper_bound(range.last));
}

}  // namespace

void Oracle::TrailsCommitted(const broker::Batch& batch) {
  batch.ForEachChange(
      Table::kTrails,
      [&](const Mutation& m) {
        if (m.size == Mutation::kErase) {
          trails_.erase(m.key);
          return;
        }
        auto row = broker::ReadTrail(batch.row(m));
        if (!row) return Fail(Name(m.key) + ": the row of its trail cannot be read");
        trails_[m.key] = *row;
        task_of_trail_[row->number] = m.key;
      },
      [&](const KeyRange& range) { EraseRange(trails_, range); });
  batch.ForEachChange(
      Table::kHistory,
      [&](const Mutation& m) {
        if (m.size == Mutation::kErase) return void(history_.erase(m.key));
        AttemptStored(m.key, batch.row(m));
      },
      [&](const KeyRange& range) { EraseRange(history_, range); });
  batch.ForEachChange(
      Table::kOutput,
      [&](const Mutation& m) {
        if (m.size == Mutation::kErase) return void(output_.erase(m.key));
        OutputStored(m.key, batch.row(m));
      },
      [&](const KeyRange& range) { EraseRange(output_, range); });
  batch.ForEachChange(
      Table::kNotes,
      [&](const Mutation& m) {
        if (m.size == Mutation::kErase) return void(notes_.erase(m.key));
        NoteStored(m.key, batch.row(m));
      },
      [&](const KeyRange& range) { EraseRange(notes_, range); });
}

// A checkpoint begins with the lease of the attempt that left it.
void Oracle::NoteStored(uint64_t key, std::string_view bytes) {
  auto row = broker::ReadNote(bytes);
  if (!row) return Fail("what an attempt said cannot be read");
  const uint64_t task = task_of_trail_[key / broker::kNoteKinds];
  Note& note = notes_[key];
  note = {row->head.attempt, std::string(row->body)};
  if (key % broker::kNoteKinds == static_cast<uint64_t>(NoteKind::kProgress)) {
    shown_.emplace(task, note.attempt, ShownText(row->head.percent, note.body));
    return;
  }
  auto lease = ParseId<LeaseId>(std::string_view(note.body).substr(0, note.body.find('#')));
  auto known = lease ? leases_.find(lease->value()) : leases_.end();
  if (known == leases_.end() || known->second.task != task || known->second.attempt != note.attempt)
    Fail(absl::StrCat("attempt ", note.attempt, " of ", Name(task),
                      " is said to have left the checkpoint of another"));
}

void Oracle::OnProgress(const WorkerSession& session, const wire::Progress& progress) {
  for (const wire::AttemptReport* report : *progress.reports()) {
    if (report->checkpoint() == nullptr || !session.outstanding.contains(report->lease_id()))
      continue;
    // The broker may have closed a session that the worker has left or in which it was silent; the worker
    // says it again in the next.
    if (session.certain)
      last_checkpoint_[report->lease_id()] = std::string(BytesOf(report->checkpoint()));
    else
      last_checkpoint_.erase(report->lease_id());
  }
}

void Oracle::CheckCheckpoint(uint64_t id, const wire::Assignment& task) {
  std::string expected;
  if (auto trail = trails_.find(id); trail != trails_.end())
    if (auto note = notes_.find(broker::NoteKey(trail->second.number, NoteKind::kCheckpoint));
        note != notes_.end())
      expected = note->second.body;
  if (BytesOf(task.checkpoint()) != expected)
    Fail(absl::StrCat("attempt ", task.attempt(), " of ", Name(id), " gets the checkpoint '",
                      std::string(BytesOf(task.checkpoint()).substr(0, 20)), "' instead of '",
                      expected.substr(0, 20), "'"));
  if (!expected.empty()) ++reached_["checkpoints_given"];
}

// The worker may forget what the attempt said once its result is acknowledged.
void Oracle::CheckLastWords(const ReportedResult& result) {
  auto said = last_checkpoint_.find(result.lease);
  if (said == last_checkpoint_.end()) return;
  auto trail = trails_.find(result.task);
  auto note = trail == trails_.end()
                  ? notes_.end()
                  : notes_.find(broker::NoteKey(trail->second.number, NoteKind::kCheckpoint));
  if (note == notes_.end() || note->second.body != said->second)
    Fail(Name(result.task) + ": its attempt is over, but its last checkpoint is not on disk");
  last_checkpoint_.erase(said);
  ++reached_["checkpoints_kept"];
}

void Oracle::CheckProgress(uint64_t id, const wire::ProgressInfo& progress) {
  if (!shown_.contains(
          {id, progress.attempt(), ShownText(progress.percent(), TextOf(progress.message()))}))
    Fail(Name(id) + " shows a progress that no attempt reported");
}

void Oracle::AttemptStored(uint64_t key, std::string_view bytes) {
  auto row = broker::ReadAttempt(bytes);
  if (!row) return Fail("a row of the history cannot be read");
  const broker::AttemptRow& head = row->head;
  history_[key] = head;
  const uint64_t task = task_of_trail_[key / kKeptAttempts];
  if (!recorded_.try_emplace(head.lease, head).second)
    return Fail(LeaseName(head.lease) + " is in the history twice");
  auto known = leases_.find(head.lease);
  if (known != leases_.end() &&
      (known->second.task != task || known->second.attempt != head.attempt))
    Fail(absl::StrCat(LeaseName(head.lease), " stands in the history of ", Name(task),
                      " as attempt ", head.attempt));
  ++reached_["attempts_recorded"];
}

// After each change of the task's row.
void Oracle::CheckTrail(uint64_t id) {
  const TaskFacts& task = tasks_[id];
  auto trail = trails_.find(id);
  if (task.pruned) {
    auto left = trail_numbers_.find(id);
    if (trail != trails_.end() || left == trail_numbers_.end()) {
      if (trail != trails_.end()) Fail(Name(id) + " is pruned, but not its trail");
      return;
    }
    auto row = history_.lower_bound(broker::FirstHistoryKey(left->second));
    if (row != history_.end() && row->first <= broker::LastHistoryKey(left->second))
      Fail(Name(id) + " is pruned, but not its history");
    auto page = output_.lower_bound(broker::FirstOutputKey(left->second));
    if (page != output_.end() && page->first <= broker::LastOutputKey(left->second))
      Fail(Name(id) + " is pruned, but not what its attempts wrote");
    for (NoteKind kind : {NoteKind::kProgress, NoteKind::kCheckpoint})
      if (notes_.contains(broker::NoteKey(left->second, kind)))
        Fail(Name(id) + " is pruned, but not what its attempts said");
    return;
  }
  const uint32_t recorded = broker::RecordedAttempts(task.row.state, task.row.attempt);
  if (trail != trails_.end()) trail_numbers_[id] = trail->second.number;
  if (recorded == 0) return;
  if (trail == trails_.end()) return Fail(Name(id) + " has had attempts, but no history");
  for (uint32_t attempt = 1; attempt <= recorded; ++attempt) {
    if (!broker::IsKept(attempt, recorded)) {
      ++reached_["attempts_not_kept"];
      continue;
    }
    auto row = history_.find(broker::HistoryKey(trail->second.number, attempt));
    if (row == history_.end() || row->second.attempt != attempt)
      return Fail(
          absl::StrCat("the history of ", Name(id), " lacks attempt ", attempt, " of ", recorded));
  }
}

void Oracle::CheckHistory(const wire::HistoryInfo& info) {
  const TaskFacts& task = tasks_[info.id()];
  if (!info.found()) {
    if (task.acked && !task.pruned) Fail(Name(info.id()) + " was acknowledged and has no history");
    return;
  }
  uint64_t last_lease = 0;
  uint32_t last_attempt = 0;
  for (const wire::AttemptInfo* attempt : *info.attempts()) {
    if (attempt->lease() <= last_lease)
      return Fail("the history of " + Name(info.id()) + " is told out of order");
    last_lease = attempt->lease();
    last_attempt = attempt->attempt();
    if (attempt->end() == wire::AttemptEnd::kRunning) continue;
    if (attempt->end() == wire::AttemptEnd::kSucceeded) {
      CheckOutcome(info.id(), broker::TaskState::kSucceeded, truths_[last_lease].result);
      continue;
    }
    auto row = recorded_.find(last_lease);
    if (row == recorded_.end() || row->second.attempt != attempt->attempt() ||
        row->second.error_code != attempt->error_code())
      return Fail(LeaseName(last_lease) + " is told otherwise than it was recorded");
  }
  ++reached_["histories_told"];
  if (last_attempt != info.attempts()->size() + info.missing())
    Fail(absl::StrCat("the history of ", Name(info.id()), " has ", info.attempts()->size(),
                      " attempts and ", info.missing(),
                      " that are missing, but the last is number ", last_attempt));
}

// --- Output ---------------------------------------------------------------------------------------------------------------

std::string OutputLine(uint64_t lease, uint64_t number) {
  std::string line(kOutputLineBytes, '\0');
  std::snprintf(line.data(), line.size(), "%016" PRIx64 " %014" PRIx64, lease, number);
  line.back() = '\n';
  return line;
}

OutputStream StreamOfLine(uint64_t lease, uint64_t number) {
  constexpr uint64_t kLinesInARow = 5;
  return static_cast<OutputStream>((lease + number / kLinesInARow) % 3);
}

// Whose lines these are, all of them; they must be of that attempt.
std::optional<Oracle::OutputFacts> Oracle::ReadLines(uint64_t task, uint16_t attempt,
                                                     uint64_t offset, std::string_view bytes) {
  auto fail = [&](const char* what) {
    Fail(absl::StrCat("output of attempt ", attempt, " of ", Name(task), " at ", offset, ": ",
                      what));
    return std::nullopt;
  };
  if (bytes.empty() || bytes.size() % kOutputLineBytes != 0) return fail("broken lines");
  uint64_t lease = 0;
  std::from_chars(bytes.data(), bytes.data() + 16, lease, 16);
  for (size_t at = 0; at < bytes.size(); at += kOutputLineBytes)
    if (bytes.substr(at, kOutputLineBytes) != OutputLine(lease, (offset + at) / kOutputLineBytes))
      return fail("a line is not the one that was written there");
  auto known = leases_.find(lease);
  if (known == leases_.end() || known->second.task != task || known->second.attempt != attempt)
    return fail("another attempt wrote that");
  return OutputFacts{lease, offset, offset + bytes.size()};
}

void Oracle::OutputStored(uint64_t key, std::string_view bytes) {
  auto row = broker::ReadOutput(bytes);
  if (!row || !broker::IsOutputPage(row->head.offset, row->runs, row->bytes))
    return Fail("a page of output cannot be read");
  const uint64_t trail = key / (kKeptAttempts * kOutputPages), task = task_of_trail_[trail];
  if (key != broker::OutputKey(trail, row->head.attempt, row->head.offset))
    return Fail(Name(task) + ": a page of output stands in the wrong place");
  auto facts = ReadLines(task, row->head.attempt, row->head.offset, row->bytes);
  if (!facts) return;
  std::string_view rest = row->runs;
  uint64_t at = row->head.offset;
  for (wire::OutputRun run; !rest.empty(); rest.remove_prefix(sizeof run), at += run.bytes()) {
    std::memcpy(&run, rest.data(), sizeof run);
    if (static_cast<OutputStream>(run.stream()) !=
        StreamOfLine(facts->lease, at / kOutputLineBytes))
      return Fail(Name(task) + ": output stands under the wrong stream");
  }
  output_[key] = *facts;
  const uint64_t place = key / kOutputPages * kOutputPages;
  for (auto page = output_.lower_bound(place);
       page != output_.end() && page->first < place + kOutputPages; ++page)
    if (page->second.lease != facts->lease)
      return Fail(Name(task) + ": output of two attempts stands in one place");
  ++reached_["output_stored"];
}

void Oracle::OnOutput(const WorkerSession& session, const wire::Output& output) {
  for (const wire::OutputPage* page : *output.pages()) {
    if (!session.outstanding.contains(page->lease_id())) continue;
    // As with checkpoints; and a full disk takes none.
    if (session.certain && !disk_low_)
      last_output_[page->lease_id()][page->offset() / kOutputPageBytes] =
          page->offset() + page->bytes()->size();
    else
      last_output_.erase(page->lease_id());
  }
}

// Of the last pages all that were sent.
void Oracle::CheckLastOutput(const ReportedResult& result) {
  auto sent = last_output_.find(result.lease);
  if (sent == last_output_.end()) return;
  const auto pages = std::exchange(sent->second, {});
  last_output_.erase(sent);
  auto trail = trails_.find(result.task);
  for (const auto& [number, end] : pages) {
    if (number + kOutputPages <= pages.rbegin()->first) {
      ++reached_["output_overwritten"];
      continue;
    }
    auto row =
        trail == trails_.end()
            ? output_.end()
            : output_.find(broker::OutputKey(trail->second.number, leases_[result.lease].attempt,
                                             number * kOutputPageBytes));
    if (row == output_.end() || row->second.lease != result.lease || row->second.end < end ||
        row->second.offset != number * kOutputPageBytes)
      return Fail(absl::StrCat(Name(result.task), ": its attempt is over, but page ", number,
                               " of what it wrote is not on disk"));
  }
  ++reached_["output_kept"];
}

void Oracle::CheckLogs(const wire::LogPages& pages) {
  uint64_t last_end = 0;
  for (const wire::LogPage* page : *pages.pages()) {
    auto facts = ReadLines(pages.id(), pages.attempt(), page->offset(), BytesOf(page->bytes()));
    if (!facts) return;
    if (facts->offset < last_end) return Fail(Name(pages.id()) + ": output is told out of order");
    last_end = facts->end;
    ++reached_["output_told"];
  }
}

}  // namespace zsched::sim
