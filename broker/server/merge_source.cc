#include "broker/server/merge_source.h"

#include <optional>

#include "base/planted.h"
#include "broker/core/fingerprint.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

absl::Status BadRow(const char* table, uint64_t key) {
  return Error(ErrorCode::kDataLoss, std::string("what was set aside cannot be merged: row ") +
                                         std::to_string(key) + " of table " + table +
                                         " cannot be read");
}

absl::StatusOr<std::optional<MetaRow>> MetaOf(JournalView& view) {
  ZS_ASSIGN_OR_RETURN(const auto bytes, view.Get(Table::kMeta, kMetaState));
  if (!bytes) return std::nullopt;
  MetaRow meta;
  if (!RowReader(*bytes).Read(meta) || meta.version != kRowVersion)
    return BadRow("meta", kMetaState);
  return meta;
}

// The first epoch that `one` has and `other` has not, of those that `other` has not forgotten.
absl::StatusOr<std::optional<EpochRow>> FirstOnlyOf(JournalView& one, JournalView& other) {
  uint64_t oldest = UINT64_MAX;
  ZS_RETURN_IF_ERROR(other.Scan(Table::kEpochs, 0, [&](uint64_t epoch, std::string_view) {
    oldest = epoch;
    return false;
  }));
  std::optional<EpochRow> first;
  absl::Status status;
  ZS_RETURN_IF_ERROR(one.Scan(Table::kEpochs, oldest, [&](uint64_t epoch, std::string_view bytes) {
    auto known = other.Get(Table::kEpochs, epoch);
    if (!known.ok()) status = known.status();
    if (!known.ok() || known->has_value()) return known.ok();
    EpochRow row;
    if (!RowReader(bytes).Read(row) || row.version != kRowVersion)
      status = BadRow("epochs", epoch);
    else
      first = row;
    return false;
  }));
  ZS_RETURN_IF_ERROR(status);
  // It must go on from an epoch that both have, or what they have in common is not known any more.
  if (!first || first->epoch_before == 0) return first;
  ZS_ASSIGN_OR_RETURN(const auto before, other.Get(Table::kEpochs, first->epoch_before));
  if (!before) return std::nullopt;
  return first;
}

// Where the two logs part: at the first epoch that only one of them has, whichever comes first. Up to there one node wrote both.
absl::StatusOr<std::optional<EpochRow>> BranchOf(JournalView& archive, JournalView& own) {
  ZS_ASSIGN_OR_RETURN(const std::optional<EpochRow> there, FirstOnlyOf(archive, own));
  ZS_ASSIGN_OR_RETURN(const std::optional<EpochRow> here, FirstOnlyOf(own, archive));
  if (!there || !here) return there ? there : here;
  if (ZS_PLANTED("parted-too-late")) return there->lsn < here->lsn ? here : there;
  return there->lsn < here->lsn ? there : here;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MergeSource>> MergeSource::Open(std::unique_ptr<Journal> archive,
                                                               JournalView& own,
                                                               size_t part_bytes) {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<JournalView> view, archive->View());
  ZS_ASSIGN_OR_RETURN(const std::optional<MetaRow> meta, MetaOf(*view));
  ZS_ASSIGN_OR_RETURN(const std::optional<MetaRow> own_meta, MetaOf(own));
  if (!meta || !own_meta || meta->cluster != own_meta->cluster) return nullptr;
  ZS_ASSIGN_OR_RETURN(const std::optional<EpochRow> branch, BranchOf(*view, own));
  if (!branch || meta->lsn < branch->lsn) return nullptr;
  std::unique_ptr<MergeSource> source(
      new MergeSource(std::move(archive), std::move(view), *meta, *branch, part_bytes));
  ZS_RETURN_IF_ERROR(source->Load());
  return source;
}

MergeSource::MergeSource(std::unique_ptr<Journal> archive, std::unique_ptr<JournalView> view,
                         const MetaRow& meta, const EpochRow& branch, size_t part_bytes)
    : archive_(std::move(archive)),
      view_(std::move(view)),
      meta_(meta),
      branch_(branch),
      first_unknown_(branch.epoch_before == 0
                         ? 0
                         : MakeId<TaskId>(Epoch(branch.epoch_before), branch.next_task).value()),
      part_bytes_(part_bytes),
      first_lease_(branch.epoch_before == 0
                       ? 0
                       : MakeId<LeaseId>(Epoch(branch.epoch_before), branch.next_lease).value()) {}

// What every part needs: the names of lanes.
absl::Status MergeSource::Load() {
  return view_->Scan(Table::kLanes, 0, [&](uint64_t key, std::string_view bytes) {
    lanes_[static_cast<uint32_t>(key)] = std::string(bytes);
    return true;
  });
}

absl::StatusOr<std::optional<MergePart>> MergeSource::Read(uint32_t number) {
  if (number + 1 == next_number_) {  // the same again
    next_number_ = number;
    next_ = last_;
  } else if (number < next_number_) {
    next_number_ = 0;
    next_ = {};
  }
  for (int skipped = 0; next_number_ <= number; ++skipped, ++next_number_) {
    if (skipped > kMostSkipped) return std::nullopt;
    last_ = next_;
    entries_.clear();
    looked_at_ = 0;
    ZS_RETURN_IF_ERROR(Fill(&next_));
  }
  return MergePart{.log_hash = meta_.hash,
                   .epoch = meta_.epoch,
                   .first_unknown = first_unknown_,
                   .number = number,
                   .last = next_.phase == Phase::kOver,
                   .entries = entries_};
}

absl::Status MergeSource::Fill(Place* place) {
  while (!full() && place->phase != Phase::kOver) {
    switch (place->phase) {
      case Phase::kSubmits:
        ZS_RETURN_IF_ERROR(FillSubmits(place));
        break;
      case Phase::kTasks:
        ZS_RETURN_IF_ERROR(FillTasks(place));
        break;
      case Phase::kFinished:
        ZS_RETURN_IF_ERROR(FillFinished(place));
        break;
      case Phase::kDead:
        ZS_RETURN_IF_ERROR(FillDead(place));
        break;
      case Phase::kLeased:
        ZS_RETURN_IF_ERROR(FillLeased(place));
        break;
      case Phase::kSchedules:
        ZS_RETURN_IF_ERROR(FillSchedules(place));
        break;
      case Phase::kOver:
        break;
    }
    if (full()) break;
    place->phase = static_cast<Phase>(static_cast<uint8_t>(place->phase) + 1);
    place->key = place->skip = 0;
    // In parts behind the tasks': whether a tick was decided here too is looked up before the cursors move.
    if (place->phase == Phase::kSchedules && !entries_.empty()) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> MergeSource::Get(Table table, uint64_t key, bool required) {
  ZS_ASSIGN_OR_RETURN(const auto bytes, view_->Get(table, key));
  if (!bytes && required) return BadRow(kTableNames[static_cast<size_t>(table)], key);
  return bytes ? std::string(*bytes) : std::string();
}

absl::Status MergeSource::FillTasks(Place* place) {
  absl::Status status;
  const uint64_t from = std::max(place->key, first_unknown_);
  ZS_RETURN_IF_ERROR(view_->Scan(Table::kTasks, from, [&](uint64_t id, std::string_view bytes) {
    place->key = id;
    if (full()) return false;
    TaskRow row;
    status = RowReader(bytes).Read(row) && row.version == kRowVersion ? PutTask(id, row)
                                                                      : BadRow("tasks", id);
    place->key = id + 1;
    return status.ok();
  }));
  return status;
}

absl::Status MergeSource::PutTask(uint64_t id, const TaskRow& row) {
  MergeView entry;
  entry.kind = MergeKind::kTask;
  entry.task.task = id;
  entry.task.row = row;
  entry.task.row.attempt = std::min<uint16_t>(row.attempt, UINT16_MAX - 1);
  ZS_ASSIGN_OR_RETURN(const std::string spec, Get(Table::kSpecs, id, true));
  ZS_ASSIGN_OR_RETURN(const std::string outcome, Get(Table::kOutcomes, id, false));
  ZS_ASSIGN_OR_RETURN(const std::string key, Get(Table::kKeys, id, false));
  if (!key.empty() && !RowReader(key).Read(entry.task.key)) return BadRow("keys", id);
  const auto lane = lanes_.find(row.lane);
  if (lane == lanes_.end()) return BadRow("tasks", id);
  entry.lane_row = lane->second;
  entry.spec = spec;
  entry.outcome = outcome;
  std::string chain, expiry, dead;
  if (row.chained) {
    ZS_ASSIGN_OR_RETURN(chain, Get(Table::kFollows, id, true));
    FollowRow follow;
    RowReader in(chain);
    if (!in.Read(follow) || !in.Take(follow.body_bytes, entry.chain)) return BadRow("follows", id);
    entry.task.fired = follow.fired;
  }
  if (row.expires) {
    ZS_ASSIGN_OR_RETURN(expiry, Get(Table::kExpiries, id, true));
    ExpiryRow start_by;
    if (!RowReader(expiry).Read(start_by)) return BadRow("expiries", id);
    entry.task.start_by_ms = start_by.start_by_ms;
  }
  if (row.state == TaskState::kDead) {
    const auto letter = static_cast<uint64_t>(row.order);
    ZS_ASSIGN_OR_RETURN(dead, Get(Table::kDead, letter, true));
    DeadRow died;
    if (!RowReader(dead).Read(died)) return BadRow("dead", letter);
    entry.task.fingerprint = died.fingerprint;
  }
  AppendMergeEntry(entries_, entry);
  return absl::OkStatus();
}

absl::Status MergeSource::PutEnd(uint64_t id) {
  ZS_ASSIGN_OR_RETURN(const std::string bytes, Get(Table::kTasks, id, false));
  if (bytes.empty()) return absl::OkStatus();  // pruned since
  TaskRow row;
  if (!RowReader(bytes).Read(row) || row.version != kRowVersion) return BadRow("tasks", id);
  if (!IsFinished(row.state)) return absl::OkStatus();  // tried again since
  ZS_ASSIGN_OR_RETURN(std::string outcome, Get(Table::kOutcomes, id, false));
  MergeView entry;
  entry.kind = MergeKind::kEnd;
  // A success without a result may still have the error of an attempt before it.
  const auto view = ReadOutcome(outcome);
  if (row.state == TaskState::kSucceeded && view && view->head.error_code != 0) outcome.clear();
  if (row.state == TaskState::kDead) {
    const auto letter = static_cast<uint64_t>(row.order);
    ZS_ASSIGN_OR_RETURN(const std::string dead, Get(Table::kDead, letter, true));
    DeadRow died;
    if (!RowReader(dead).Read(died)) return BadRow("dead", letter);
    entry.end.fingerprint = died.fingerprint;
  }
  entry.end.task = id;
  entry.end.finished_ms = row.finished_ms;
  entry.end.run_us = row.run_us;
  entry.end.attempt = std::min<uint16_t>(row.attempt, UINT16_MAX - 1);
  entry.end.state = row.state;
  entry.outcome = outcome;
  AppendMergeEntry(entries_, entry);
  return absl::OkStatus();
}

// Keys are LSNs.
absl::Status MergeSource::FillFinished(Place* place) {
  absl::Status status;
  const uint64_t from = std::max(place->key, branch_.lsn);
  auto take = [&](uint64_t lsn, std::string_view bytes) {
    if (place->key != lsn) place->skip = 0;
    place->key = lsn;
    if (full()) return false;
    const auto finished = ReadFinished(bytes);
    if (!finished) status = BadRow("finished", lsn);
    RowReader runs(finished ? finished->runs : std::string_view());
    uint64_t at = 0;
    for (FinishedRun run; status.ok() && !runs.rest().empty() && runs.Read(run);)
      for (uint64_t id = run.first; status.ok() && id < run.first + run.tasks; ++id) {
        if (at++ < place->skip) continue;
        if (full()) return false;
        ++looked_at_;
        if (id < first_unknown_) status = PutEnd(id);
        place->skip = at;
      }
    place->key = lsn + 1;
    place->skip = 0;
    return status.ok();
  };
  ZS_RETURN_IF_ERROR(view_->Scan(Table::kFinished, from, take));
  return status;
}

absl::Status MergeSource::FillDead(Place* place) {
  absl::Status status;
  const uint64_t from = std::max(place->key, branch_.next_letter);
  auto take = [&](uint64_t letter, std::string_view bytes) {
    place->key = letter;
    if (full()) return false;
    ++looked_at_;
    DeadRow row;
    if (!RowReader(bytes).Read(row)) status = BadRow("dead", letter);
    if (status.ok() && row.task < first_unknown_) status = PutEnd(row.task);
    place->key = letter + 1;
    return status.ok();
  };
  ZS_RETURN_IF_ERROR(view_->Scan(Table::kDead, from, take));
  return status;
}

// Known to both, begun there alone and not over: it goes on here, unless it may run once only, or was to be cancelled.
absl::Status MergeSource::FillLeased(Place* place) {
  absl::Status status;
  auto take = [&](uint64_t id, std::string_view bytes) {
    place->key = id;
    if (full() || id >= first_unknown_) return false;
    ++looked_at_;
    TaskRow row;
    if (!RowReader(bytes).Read(row)) status = BadRow("tasks", id);
    const bool ends = row.cancelling || (row.at_most_once && row.lease >= first_lease_);
    if (status.ok() && row.state == TaskState::kLeased && ends) PutLeased(id, row);
    place->key = id + 1;
    return status.ok();
  };
  ZS_RETURN_IF_ERROR(view_->Scan(Table::kTasks, place->key, take));
  return status;
}

void MergeSource::PutLeased(uint64_t id, const TaskRow& row) {
  const ErrorCode code = row.cancelling ? ErrorCode::kCancelled : ErrorCode::kWorkerLost;
  const std::string_view why =
      row.cancelling ? "the task was cancelled while it ran at the other broker of the pair"
                     : kMayHaveRunThere;
  const std::string outcome = ErrorOutcome(code, why);
  MergeView entry;
  entry.kind = MergeKind::kEnd;
  entry.end.task = id;
  entry.end.finished_ms = row.leased_ms;
  entry.end.attempt = std::min<uint16_t>(row.attempt, UINT16_MAX - 1);
  entry.end.fires = 1;
  entry.end.state = row.cancelling ? TaskState::kCancelled : TaskState::kDead;
  LaneRow lane;
  std::string_view queue, type;
  if (auto known = lanes_.find(row.lane); known != lanes_.end()) {
    RowReader in(known->second);
    if (in.Read(lane) && in.Take(lane.queue_bytes, queue)) in.Take(lane.type_bytes, type);
  }
  if (!row.cancelling) entry.end.fingerprint = FingerprintOf(type, code, why);
  entry.outcome = outcome;
  AppendMergeEntry(entries_, entry);
}

absl::Status MergeSource::FillSubmits(Place* place) {
  absl::Status status;
  auto take = [&](uint64_t key, std::string_view bytes) {
    place->key = key;
    if (full()) return false;
    ++looked_at_;
    RowReader in(bytes);
    ProducerRow row;
    if (!in.Read(row)) status = BadRow("producers", key);
    for (uint32_t i = 0; status.ok() && i < row.submits; ++i) {
      MergeView entry;
      entry.kind = MergeKind::kSubmit;
      if (!in.Read(entry.submit.submit) ||
          !in.Take(entry.submit.submit.rejected * sizeof(ProducerReject), entry.rejects)) {
        status = BadRow("producers", key);
        break;
      }
      entry.submit.client = row.client;
      entry.submit.acked_below = row.acked_below;
      if (entry.submit.submit.accepted > 0 && entry.submit.submit.first_id >= first_unknown_)
        AppendMergeEntry(entries_, entry);
    }
    place->key = key + 1;
    return status.ok();
  };
  ZS_RETURN_IF_ERROR(view_->Scan(Table::kProducers, place->key, take));
  return status;
}

absl::Status MergeSource::FillSchedules(Place* place) {
  absl::Status status;
  auto take = [&](uint64_t key, std::string_view bytes) {
    place->key = key;
    if (full()) return false;
    RowReader in(bytes);
    ScheduleRow row;
    MergeView entry;
    entry.kind = MergeKind::kSchedule;
    const auto ticks = view_->Get(Table::kTicks, key);
    if (!ticks.ok() || !*ticks || !RowReader(**ticks).Read(entry.ticks) || !in.Read(row) ||
        !in.Take(row.body_bytes, entry.schedule))
      status = BadRow("schedules", key);
    // Numbers are given again, when the last schedule is removed; clocks of two hosts differ.
    entry.schedule_known =
        key < branch_.next_schedule && entry.ticks.created_ms <= branch_.started_ms;
    if (status.ok()) AppendMergeEntry(entries_, entry);
    place->key = key + 1;
    return status.ok();
  };
  ZS_RETURN_IF_ERROR(view_->Scan(Table::kSchedules, place->key, take));
  return status;
}

}  // namespace zsched::broker
