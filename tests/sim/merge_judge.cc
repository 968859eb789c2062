#include "tests/sim/merge_judge.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::sim {
namespace {

using broker::IsFinished;
using broker::Mutation;
using broker::RecordHead;
using broker::RecordKind;
using broker::Table;
using broker::TaskRow;
using broker::TaskState;

std::string_view MarkerOf(std::string_view payload) { return payload.substr(0, payload.find('|')); }
std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }
std::string Name(TaskState state) { return wire::EnumNameTaskState(state); }

}  // namespace

// --- On the way ---------------------------------------------------------------------------------------------------------

void MergeJudge::FrameIn(broker::Endpoint, std::string_view, std::string_view frame) {
  scheduler_.Trace("in", frame.size(), XXH3_64bits(frame.data(), frame.size()));
  const auto opened = OpenFrame(aligned_.Align(frame));
  if (!opened.ok() || opened->header.type != MessageType::kSubmit) return;
  const auto* submit = VerifyBody<wire::Submit>(opened->body);
  if (submit == nullptr) return;
  std::vector<std::string>& markers = submits_[{opened->header.session, submit->seq()}];
  markers.clear();
  for (const wire::TaskSpec* spec : *submit->tasks())
    markers.emplace_back(MarkerOf(BytesOf(spec->payload())));
}

void MergeJudge::FrameOut(broker::Endpoint, std::string_view, const FrameHeader& header,
                          std::string_view body) {
  scheduler_.Trace("out", static_cast<uint64_t>(header.type), XXH3_64bits(body.data(), body.size()),
                   header.session);
  body = aligned_.Align(body);
  if (header.type == MessageType::kSubmitAck) {
    const auto* ack = flatbuffers::GetRoot<wire::SubmitAck>(body.data());
    if (ack->rejected() != nullptr && ack->rejected()->size() > 0)
      NoteRefused(header.session, ack->seq());
  } else if (header.type == MessageType::kError) {
    NoteRefused(header.session, flatbuffers::GetRoot<wire::Error>(body.data())->request());
  }
}

void MergeJudge::NoteRefused(uint64_t session, uint64_t seq) {
  if (auto submit = submits_.find({session, seq}); submit != submits_.end())
    refused_.insert(submit->second.begin(), submit->second.end());
}

void MergeJudge::Written(const broker::Batch& batch) {
  scheduler_.Trace("durable", batch.last_lsn().value(), batch.bytes(), batch.epoch().value());
  auto on_task = [&](const Mutation& m) {
    if (m.size == Mutation::kErase) gone_alone_.insert(m.key);
  };
  batch.ForEachChange(Table::kTasks, on_task, [&](const broker::KeyRange& range) {
    for (uint64_t id = range.first; id <= range.last; ++id) gone_alone_.insert(id);
  });
}

void MergeJudge::SetAside(broker::JournalView& view) {
  broker::MetaRow meta;
  Archive archive;
  const auto bytes = view.Get(Table::kMeta, broker::kMetaState);
  absl::Status status = bytes.status();
  if (status.ok() && !*bytes) return;  // it never was anything
  if (status.ok() && !broker::RowReader(**bytes).Read(meta))
    return Fail("what a broker sets aside has no state");
  status.Update(view.Scan(Table::kTasks, 0, [&](uint64_t id, std::string_view row) {
    return broker::RowReader(row).Read(archive[id].row);
  }));
  status.Update(view.Scan(Table::kSpecs, 0, [&](uint64_t id, std::string_view row) {
    const auto spec = broker::ReadSpec(row);
    const auto extras = spec ? broker::ReadExtras(*spec) : std::nullopt;
    if (auto task = archive.find(id); task != archive.end() && extras) {
      task->second.marker = std::string(MarkerOf(spec->payload));
      task->second.keyed = !spec->key.empty();
      task->second.plain =
          !task->second.keyed && extras->parent.task == 0 && spec->head.labels == 0;
    }
    return true;
  }));
  if (!status.ok()) return Fail(MessageOf(status));
  archives_[meta.hash] = std::move(archive);
}

// --- The line -----------------------------------------------------------------------------------------------------------

void MergeJudge::ReadRecord(RecordKind kind, broker::RowReader in) {
  broker::TickedRecord ticked;
  broker::MergedRecord merged;
  extra_.clear();
  if (kind == RecordKind::kMerged && in.Read(merged)) merged_ = merged.row;
  if (kind != RecordKind::kTicked || !in.Read(ticked)) return;
  for (broker::TickedEntry entry; !in.rest().empty() && in.Read(entry);)
    if (entry.fate == broker::TickFate::kExtra) extra_.insert(entry.task);
}

void MergeJudge::Committed(const broker::Batch& batch) {
  broker::RowReader in(batch.records());
  RecordHead head;
  if (!in.Read(head) || head.bytes != batch.records().size())
    return Fail("a batch of the line is not one record");
  const RecordKind kind = head.kind;
  epoch_ = batch.epoch().value();
  ReadRecord(kind, in);
  for (const Mutation& m : batch.mutations(Table::kSpecs))
    if (m.size != Mutation::kErase) SpecStored(kind, m.key, batch.row(m));
  auto on_task = [&](const Mutation& m) {
    TaskRow row;
    if (m.size == Mutation::kErase) return RowErased(kind, m.key);
    if (!broker::RowReader(batch.row(m)).Read(row)) return Fail(Name(m.key) + ": its row is short");
    RowStored(kind, m.key, row);
  };
  batch.ForEachChange(Table::kTasks, on_task, [&](const broker::KeyRange& range) {
    for (uint64_t id = range.first; id <= range.last; ++id) RowErased(kind, id);
  });
  if (kind == RecordKind::kMerged && merged_.done) CheckAllMerged();
}

void MergeJudge::SpecStored(RecordKind kind, uint64_t id, std::string_view bytes) {
  const auto spec = broker::ReadSpec(bytes);
  if (!spec) return Fail(Name(id) + ": its spec cannot be read");
  if (!line_.try_emplace(id).second) return Fail(Name(id) + ": its id was given twice");
  Tick tick;
  broker::ReadLabels(*spec, [&tick](broker::LabelView label) {
    if (label.key == kScheduleLabel) tick.first = std::string(label.value);
    if (label.key == kTickLabel) tick.second = ParseTimeMs(std::string(label.value)).value_or(0);
  });
  if (tick.first.empty())
    FollowsMarker(kind, id, *spec);
  else if (!extra_.contains(id))
    TickStored(kind, id, std::move(tick));
}

// A key decides by itself what is there once, and what follows a task that ended on both sides may be there twice.
void MergeJudge::FollowsMarker(RecordKind kind, uint64_t id, const broker::SpecView& spec) {
  const auto extras = broker::ReadExtras(spec);
  if (!extras) return Fail(Name(id) + ": its spec cannot be read");
  const std::string marker(MarkerOf(spec.payload));
  if (!spec.key.empty() || extras->parent.task != 0 || refused_.contains(marker)) return;
  const auto [known, is_new] = id_of_marker_.try_emplace(marker, id);
  if (is_new) return;
  const uint64_t here = EpochOf(TaskId(known->second)).value();
  // That side was active again after the frame had come here: nobody knows whom its client was told by.
  if (kind == RecordKind::kMerged && here < merged_.epoch)
    ++reached_["frames_of_two_sides"];
  else
    Fail(
        absl::StrCat(marker, " was created twice: as ", Name(known->second), " and as ", Name(id)));
}

// What somebody asked for by hand at the other side is not told from a tick.
void MergeJudge::TickStored(RecordKind kind, uint64_t id, Tick tick) {
  const auto [known, is_new] = ticks_.try_emplace(tick, id);
  if (kind == RecordKind::kMerged) {
    ++reached_["ticks_merged"];
    // Two of one side were asked for in the same moment.
    if (!is_new && EpochOf(TaskId(known->second)) != EpochOf(TaskId(id))) refired_.insert(id);
  } else if (!is_new && !voided_.contains(known->second)) {
    Fail(absl::StrCat("the tick of ", tick.first, " at ", FormatTimeMs(tick.second),
                      " is fired again as ", Name(id), ", after ", Name(known->second)));
  }
}

void MergeJudge::RowStored(RecordKind kind, uint64_t id, const TaskRow& row) {
  auto it = line_.find(id);
  if (it == line_.end()) return Fail(Name(id) + ": a row without a spec");
  TaskFacts& task = it->second;
  const bool was_over = task.has_row && IsFinished(task.row.state);
  const bool retried = task.row.state == TaskState::kDead && kind == RecordKind::kRetried;
  if (task.gone) return Fail(Name(id) + ": a row after it was pruned");
  if (was_over && row.state != task.row.state && !retried)
    return Fail(absl::StrCat(Name(id), ": ended as ", Name(task.row.state), " and then became ",
                             Name(row.state)));
  if (row.state == TaskState::kSucceeded && (!was_over || retried)) {
    const auto truth = truths_.find(row.lease);
    const bool by_lease =
        truth != truths_.end() && truth->second.succeeded && truth->second.task == id;
    // The lease under which a task has ended at the other side is not merged.
    if (!by_lease && !(kind == RecordKind::kMerged && succeeded_.contains(id)))
      return Fail(Name(id) + " succeeded under " + ToString(LeaseId(row.lease)) +
                  ", whose handler did not");
  }
  if (kind == RecordKind::kMerged) CheckMerged(id, task, row);
  task.row = row;
  task.has_row = true;
  task.retried |= was_over && retried;
}

// A record that merges: the task is new here, or was known and not over.
void MergeJudge::CheckMerged(uint64_t id, const TaskFacts& before, const TaskRow& row) {
  const bool is_new = !before.has_row;
  if (!is_new && row.state == before.row.state) return;         // written anew beside another
  if (is_new && EpochOf(TaskId(id)).value() == epoch_) return;  // it follows one that ends here
  ++reached_[is_new ? "tasks_merged" : "ends_merged"];
  const Archive& archive = archives_[merged_.log_hash];
  const auto there = archive.find(id);
  if (there == archive.end()) return Fail(Name(id) + " is merged, and nobody has set it aside");
  const TaskState state = there->second.row.state;
  const bool ran = state == TaskState::kLeased;
  auto fail = [&] {
    Fail(absl::StrCat(Name(id), " was ", Name(state), " at the other side, and is merged as ",
                      Name(row.state)));
  };
  if (IsFinished(state)) return row.state == state ? void() : fail();
  if (!IsFinished(row.state)) {
    if (refired_.contains(id)) Fail(Name(id) + ", of a tick that has one already, is to run");
    if (ran && (there->second.row.at_most_once || there->second.row.cancelling)) fail();
    return;
  }
  // It ran there, and was to run at most once, was cancelled, or was lost too often.
  if (ran && (row.state == TaskState::kDead || there->second.row.cancelling)) return;
  // Voided, for which there must be something here that stands against it.
  if (row.state != TaskState::kCancelled || there->second.plain) return fail();
  ++reached_["voided"];
  voided_.insert(id);
}

// What had succeeded there is over here too, unless it was dead here and is tried again. What is not here at all is of a frame that
// this side has taken too.
void MergeJudge::CheckAllMerged() {
  for (const auto& [id, there] : archives_[merged_.log_hash]) {
    const TaskRow& row = there.row;
    auto task = line_.find(id);
    const bool sent_again = there.keyed || refused_.contains(there.marker) ||
                            (there.plain && id_of_marker_.contains(there.marker));
    if (task == line_.end() && !sent_again)
      return Fail(Name(id) + " (" + there.marker + ", " + Name(row.state) +
                  (there.plain ? ", plain" : "") +
                  ") of the other side, which was merged, is not here");
    if (row.state == TaskState::kSucceeded && task != line_.end() && !task->second.retried &&
        !IsFinished(task->second.row.state))
      return Fail(Name(id) + " had succeeded at the other side, which was merged, and is " +
                  Name(task->second.row.state));
  }
}

void MergeJudge::RowErased(RecordKind kind, uint64_t id) {
  auto it = line_.find(id);
  if (it == line_.end() || !it->second.has_row) return Fail(Name(id) + ": pruned, never stored");
  if (!IsFinished(it->second.row.state))
    return Fail(Name(id) + ": pruned while " + Name(it->second.row.state));
  if (kind != RecordKind::kPruned && kind != RecordKind::kDeadGone)
    return Fail(Name(id) + ": erased by nobody who may");
  it->second.gone = true;
}

// --- The last look ------------------------------------------------------------------------------------------------------

std::vector<TaskId> MergeJudge::MustBeThere() {
  std::vector<TaskId> ids;
  for (const uint64_t id : acknowledged_) {
    auto task = line_.find(id);
    if (task != line_.end() && !task->second.gone) ids.emplace_back(id);
    if (task == line_.end() && !gone_alone_.contains(id))
      Fail(Name(id) + " was acknowledged, and is lost");
  }
  return ids;
}

void MergeJudge::LastSeen(const wire::TaskInfo& info) {
  if (info.state() != line_.at(info.id()).row.state || !IsFinished(info.state()))
    Fail(Name(info.id()) + " is at last shown as " + Name(info.state()) + ", and is " +
         Name(line_.at(info.id()).row.state));
}

}  // namespace zsched::sim
