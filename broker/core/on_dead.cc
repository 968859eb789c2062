// Dead tasks are tried again, deleted, or get too old. What a dead task is stands in its rows, which the
// server has read for these events; nothing else changes them in between (engine.h, commands).
#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"

namespace zsched::broker {
namespace {

constexpr int64_t kDeadCheckIntervalMs = 5'000;
// A task's rows lie in blocks of three tables: some thousand of them are a commit's worth.
constexpr size_t kMaxDeadPerRecord = kMaxQueryIds;

}  // namespace

ItemCode Core::JudgeDead(const RowItem& item) const {
  ItemCode code{item.id, ErrorCode::kConflict, {}};
  const std::string name = "task " + ToString(TaskId(item.id));
  if (state_.tasks().Find(TaskId(item.id)) != kNil) {
    code.message = name + " is not dead: it is waiting or running";
  } else if (!item.row.has_value()) {
    code = {item.id, ErrorCode::kNotFound, name + " does not exist"};
  } else if (item.row->state != TaskState::kDead && !ZS_PLANTED("succeeded-retried")) {
    code.message = name + " is not dead: it has finished";
  } else if (item.letter != 0 && item.letter != static_cast<uint64_t>(item.row->order) &&
             !ZS_PLANTED("any-letter-retried")) {
    code.message = name + " was retried and is dead again since it was listed; list it again";
  } else {
    code.code = ErrorCode::kOk;
  }
  return code;
}

void Core::OnRetry(SessionId from, uint64_t request, const std::vector<RowItem>& items, Now now) {
  ItemReplyEffect reply{from, Lsn(0), request, {}};
  std::vector<RetriedEntry> entries;
  absl::flat_hash_set<uint64_t> named;
  for (const RowItem& item : items) {
    ItemCode code = JudgeDead(item);
    if (code.code == ErrorCode::kOk && !named.insert(item.id).second)
      code = {item.id, ErrorCode::kConflict,
              "task " + ToString(TaskId(item.id)) + " is not dead: it is waiting or running"};
    if (code.code == ErrorCode::kOk) entries.push_back({item.id, *item.row});
    reply.items.push_back(std::move(code));
  }
  if (!entries.empty()) {
    // Rising ids: the order in which a rebuild would find tasks that became ready with one record.
    std::sort(entries.begin(), entries.end(),
              [](const RetriedEntry& a, const RetriedEntry& b) { return a.task < b.task; });
    IdsRecord record{entries.size()};
    OpenedRecord opened = OpenRecord(RecordKind::kRetried, record);
    for (const RetriedEntry& entry : entries) {
      AppendStruct(batch_.OpenRecord(), entry);
      state_.Retried(batch_, entry, now.wall_ms);
      schedules_.OnTaskTurned(entry.task);
    }
    reply.wait = CloseRecord(opened, record, now);
    metrics_.Add(Metric::kTasksRetried, entries.size());
  }
  effects_.push_back(std::move(reply));
}

void Core::OnDeadDelete(SessionId from, uint64_t request, const std::vector<RowItem>& items,
                        Now now) {
  // Also one that was deleted before: that may not be durable yet.
  ItemReplyEffect reply{from, appended(), request, {}};
  std::vector<DeadGoneEntry> entries;
  absl::flat_hash_set<uint64_t> named;
  for (const RowItem& item : items) {
    ItemCode code = JudgeDead(item);
    // Named twice in the request: it is deleted once, and that is what was asked for.
    if (code.code == ErrorCode::kOk && named.insert(item.id).second)
      entries.push_back({static_cast<uint64_t>(item.row->order), item.id, item.row->lane, 0});
    reply.items.push_back(std::move(code));
  }
  if (!entries.empty()) {
    reply.wait = EndDead(entries, now);
    metrics_.Add(Metric::kDeadDeleted, entries.size());
  }
  if (ZS_PLANTED("delete-ack-early")) reply.wait = Lsn(0);
  effects_.push_back(std::move(reply));
}

Lsn Core::EndDead(const std::vector<DeadGoneEntry>& entries, Now now) {
  IdsRecord record{entries.size()};
  OpenedRecord opened = OpenRecord(RecordKind::kDeadGone, record);
  for (DeadGoneEntry entry : entries) {
    entry.base = state_.lanes()[entry.lane].base;
    AppendStruct(batch_.OpenRecord(), entry);
    state_.DeadGone(batch_, entry);
  }
  return CloseRecord(opened, record, now);
}

bool Core::HasOldDead(Now now) const {
  if (config_.max_dead != 0 && state_.dead() > config_.max_dead) return true;
  return config_.keep_dead_ms != 0 && state_.dead() > 0 && now.mono_ms >= next_dead_check_ms_;
}

void Core::OnDeadRead(const std::vector<DeadEntry>& oldest, Now now) {
  next_dead_check_ms_ = now.mono_ms + kDeadCheckIntervalMs;
  std::vector<DeadGoneEntry> entries;
  uint64_t left = state_.dead();
  for (const DeadEntry& entry : oldest) {
    const bool too_many = config_.max_dead != 0 && left > config_.max_dead;
    const bool too_old =
        config_.keep_dead_ms != 0 && now.wall_ms - entry.row.died_ms > config_.keep_dead_ms;
    if (!too_many && !too_old && !ZS_PLANTED("dead-expire-young")) break;
    if (entries.size() == kMaxDeadPerRecord) {
      next_dead_check_ms_ = now.mono_ms;  // there are more
      break;
    }
    entries.push_back({entry.letter, entry.row.task, entry.row.lane, 0});
    --left;
  }
  if (entries.empty()) return;
  EndDead(entries, now);
  metrics_.Add(Metric::kDeadExpired, entries.size());
}

}  // namespace zsched::broker
