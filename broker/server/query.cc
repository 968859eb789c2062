#include "broker/server/query.h"

#include "absl/functional/function_ref.h"
#include "base/check.h"
#include "base/text.h"
#include "broker/server/query_rows.h"
#include "schemas/limits.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

constexpr uint64_t kMaxFinishedTasks = 16'384;  // of one slice for the retention
// One more than a record takes, which says that there are more.
constexpr size_t kMaxOldestDead = kMaxQueryIds + 1;

Offset<flatbuffers::Vector<uint8_t>> Bytes(FlatBufferBuilder& b, std::string_view s) {
  return b.CreateVector(reinterpret_cast<const uint8_t*>(s.data()), s.size());
}

bool HasLabel(const SpecView& spec, std::string_view key, std::string_view value) {
  bool found = false;
  ReadLabels(spec, [&](LabelView label) { found |= label.key == key && label.value == value; });
  return found;
}

// When the last attempt began: by the broker's clock, from the reported run time once it is over.
int64_t StartedMs(const TaskRow& row) {
  if (row.state == TaskState::kLeased) return row.leased_ms;
  if (row.finished_ms != 0 && row.attempt > 0) return row.finished_ms - row.run_us / 1000;
  return 0;
}

// The rows behind one task, as TaskInfo.
struct TaskRows {
  uint64_t id = 0;
  TaskRow task;
  SpecView spec;
  std::optional<OutcomeView> outcome;
  std::string worker;
  uint64_t fingerprint = 0;
  int64_t start_by_ms = 0;
  std::optional<NoteView> progress;
};

absl::StatusOr<DeadRow> ReadDead(uint64_t letter, std::string_view bytes) {
  DeadRow row;
  if (RowReader in(bytes); !in.Read(row) || row.version != kRowVersion)
    return BadRow("dead", letter);
  return row;
}

Offset<wire::TaskInfo> BuildInfo(FlatBufferBuilder& b, const TaskRows& rows, std::string_view queue,
                                 std::string_view type, bool omit_bodies) {
  auto queue_name = Str(b, queue), type_name = Str(b, type), worker = Str(b, rows.worker);
  Offset<flatbuffers::Vector<uint8_t>> payload;
  if (!omit_bodies) payload = Bytes(b, rows.spec.payload);
  auto content_type = Str(b, rows.spec.content_type);
  Offset<flatbuffers::Vector<uint8_t>> result;
  Offset<flatbuffers::String> result_type, error_message;
  uint16_t error = rows.outcome ? rows.outcome->head.error_code : 0;
  bool succeeded = rows.task.state == TaskState::kSucceeded;
  if (succeeded) error = 0;  // what is left of an earlier attempt
  if (succeeded) {
    bool has_row = rows.outcome && rows.outcome->head.error_code == 0;
    if (!omit_bodies) result = Bytes(b, has_row ? rows.outcome->body : std::string_view());
    if (has_row) result_type = Str(b, rows.outcome->content_type);
  } else if (error != 0) {
    error_message = Str(b, rows.outcome->body);
  }
  std::vector<Offset<wire::Label>> pairs;
  ReadLabels(rows.spec, [&](LabelView label) {
    auto key = b.CreateString(label.key.data(), label.key.size());
    auto value = b.CreateString(label.value.data(), label.value.size());
    pairs.push_back(wire::CreateLabel(b, key, value));
  });
  auto labels = b.CreateVector(pairs);
  Offset<flatbuffers::String> key;
  if (!rows.spec.key.empty()) key = Str(b, rows.spec.key);
  const ExtrasView extras = ReadExtras(rows.spec).value_or(ExtrasView{});
  auto optional = [&](std::string_view text) {
    return text.empty() ? Offset<flatbuffers::String>() : Str(b, text);
  };
  auto concurrency_key = optional(extras.concurrency_key),
       fairness_key = optional(extras.fairness_key),
       correlation_id = optional(extras.correlation_id), traceparent = optional(extras.traceparent);
  Offset<wire::ProgressInfo> progress;
  if (rows.progress) {
    auto message = Str(b, rows.progress->body);
    const NoteRow& note = rows.progress->head;
    progress = wire::CreateProgressInfo(b, note.percent, message, note.attempt, note.time_ms);
  }
  bool waits = rows.task.state == TaskState::kScheduled || rows.task.state == TaskState::kRetryWait;
  return wire::CreateTaskInfo(
      b, rows.id, queue_name, type_name, rows.task.state, rows.task.priority, rows.task.attempt,
      rows.task.max_attempts, rows.task.timeout_ms, rows.spec.head.submitted_ms,
      waits ? rows.task.order : 0, StartedMs(rows.task), rows.task.finished_ms, worker, payload,
      content_type, result, result_type, error, error_message, labels, rows.task.durability,
      rows.task.cancelling != 0, key, concurrency_key, fairness_key, correlation_id, traceparent,
      rows.task.at_most_once ? wire::Delivery::kAtMostOnce : wire::Delivery::kAtLeastOnce,
      rows.fingerprint, progress, extras.parent.task, rows.start_by_ms);
}

// What the last attempt that said something said. One that has not begun has said nothing.
absl::Status ReadProgress(JournalView& view, TaskRows& rows) {
  if (rows.task.attempt == 0) return absl::OkStatus();
  ZS_ASSIGN_OR_RETURN(auto trail, TrailOf(view, rows.id));
  if (!trail || !(trail->notes & NoteBit(NoteKind::kProgress))) return absl::OkStatus();
  const uint64_t key = NoteKey(trail->number, NoteKind::kProgress);
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kNotes, key));
  rows.progress = bytes ? ReadNote(*bytes) : std::nullopt;
  return rows.progress ? absl::OkStatus() : BadRow("notes", key);
}

absl::Status ReadRows(JournalView& view, uint64_t id, TaskRows& rows) {
  rows.id = id;
  ZS_ASSIGN_OR_RETURN(auto spec, view.Get(Table::kSpecs, id));
  std::optional<SpecView> parsed = spec ? ReadSpec(*spec) : std::nullopt;
  if (!parsed) return BadRow("specs", id);
  rows.spec = *parsed;
  ZS_ASSIGN_OR_RETURN(auto outcome, view.Get(Table::kOutcomes, id));
  if (outcome && !(rows.outcome = ReadOutcome(*outcome))) return BadRow("outcomes", id);
  if (rows.task.state == TaskState::kDead) {
    const auto letter = static_cast<uint64_t>(rows.task.order);
    ZS_ASSIGN_OR_RETURN(auto dead, view.Get(Table::kDead, letter));
    if (!dead) return BadRow("dead", letter);
    ZS_ASSIGN_OR_RETURN(const DeadRow row, ReadDead(letter, *dead));
    rows.fingerprint = row.fingerprint;
  }
  if (rows.task.expires) {
    ZS_ASSIGN_OR_RETURN(auto expiry, view.Get(Table::kExpiries, id));
    ExpiryRow row;
    if (!expiry || !RowReader(*expiry).Read(row)) return BadRow("expiries", id);
    rows.start_by_ms = row.start_by_ms;
  }
  ZS_ASSIGN_OR_RETURN(rows.worker, NameOfWorker(view, rows.task.worker));
  return ReadProgress(view, rows);
}

}  // namespace

absl::StatusOr<const QueryRunner::LaneName*> QueryRunner::NameOfLane(JournalView& view,
                                                                     uint32_t lane) {
  auto it = lanes_.find(lane);
  if (it != lanes_.end()) return &it->second;
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kLanes, lane));
  LaneRow row;
  std::string_view queue, type;
  if (!bytes) return BadRow("lanes", lane);
  RowReader in(*bytes);
  if (!in.Read(row) || !in.Take(row.queue_bytes, queue) || !in.Take(row.type_bytes, type))
    return BadRow("lanes", lane);
  // The number of a lane with keys may be another's in the next view.
  const bool stays = row.concurrency_bytes == 0 && row.fairness_bytes == 0;
  LaneName& name = stays ? lanes_[lane] : keyed_lane_;
  name = {std::string(queue), std::string(type)};
  return &name;
}

absl::Status QueryRunner::Get(JournalView& view, const Query& query, QueryReply& reply) {
  FlatBufferBuilder b;
  std::vector<Offset<wire::TaskInfo>> infos;
  std::vector<uint64_t> missing;
  uint32_t answered = 0;
  for (uint64_t id : query.ids) {
    if (answered > 0 && b.GetSize() >= kBatchTargetBytes) break;
    ++answered;
    ZS_ASSIGN_OR_RETURN(auto task, ReadTask(view, id));
    if (!task) {
      missing.push_back(id);
      continue;
    }
    TaskRows rows;
    rows.task = *task;
    ZS_RETURN_IF_ERROR(ReadRows(view, id, rows));
    ZS_ASSIGN_OR_RETURN(const LaneName* name, NameOfLane(view, task->lane));
    infos.push_back(BuildInfo(b, rows, name->queue, name->type, /*omit_bodies=*/false));
  }
  auto tasks = b.CreateVector(infos);
  auto missing_ids = b.CreateVector(missing);
  b.Finish(wire::CreateTaskInfos(b, query.request, tasks, missing_ids, answered, 0));
  reply.frames.emplace_back(MessageType::kTaskInfos, Body(b));
  return absl::OkStatus();
}

absl::Status QueryRunner::List(JournalView& view, const Query& query, QueryReply& reply) {
  FlatBufferBuilder b;
  std::vector<Offset<wire::TaskInfo>> infos;
  size_t scanned = 0, limit = std::clamp<size_t>(query.limit, 1, kMaxListLimit);
  uint64_t last = query.cursor;
  bool complete = true;
  absl::Status inner;
  auto visit = [&](uint64_t id, std::string_view bytes) {
    if (infos.size() >= limit || scanned >= kMaxListScan || b.GetSize() >= kBatchTargetBytes) {
      complete = false;
      return false;
    }
    ++scanned;
    last = id;
    TaskRows rows;
    if (RowReader in(bytes); !in.Read(rows.task)) inner = BadRow("tasks", id);
    if (!inner.ok()) return false;
    if (query.states != 0 && !(query.states >> static_cast<int>(rows.task.state) & 1)) return true;
    auto name = NameOfLane(view, rows.task.lane);
    if (!name.ok()) {
      inner = name.status();
      return false;
    }
    if ((!query.queue.empty() && (*name)->queue != query.queue) ||
        (!query.type.empty() && (*name)->type != query.type))
      return true;
    if (query.brief && query.label_key.empty()) {
      auto queue_name = Str(b, (*name)->queue), type_name = Str(b, (*name)->type);
      infos.push_back(
          wire::CreateTaskInfo(b, id, queue_name, type_name, rows.task.state, rows.task.priority));
      return true;
    }
    inner = ReadRows(view, id, rows);
    if (!inner.ok()) return false;
    if (!query.label_key.empty() && !HasLabel(rows.spec, query.label_key, query.label_value))
      return true;
    infos.push_back(BuildInfo(b, rows, (*name)->queue, (*name)->type, query.omit_bodies));
    return true;
  };
  if (query.descending) {
    const uint64_t to = query.cursor == 0 ? UINT64_MAX : query.cursor - 1;
    ZS_RETURN_IF_ERROR(view.ScanBack(Table::kTasks, to, visit));
  } else {
    ZS_RETURN_IF_ERROR(view.Scan(Table::kTasks, query.cursor == 0 ? 0 : query.cursor + 1, visit));
  }
  ZS_RETURN_IF_ERROR(inner);
  auto tasks = b.CreateVector(infos);
  b.Finish(wire::CreateTaskInfos(b, query.request, tasks, 0, 0, complete ? 0 : last));
  reply.frames.emplace_back(MessageType::kTaskInfos, Body(b));
  return absl::OkStatus();
}

absl::Status QueryRunner::Outcomes(JournalView& view, const Query& query, QueryReply& reply) {
  FlatBufferBuilder b;
  std::vector<uint64_t> succeeded;
  std::vector<Offset<wire::Outcome>> list;
  for (size_t i = 0; i < query.ids.size(); ++i) {
    // A frame's worth: the results of all ids may be a thousand times as much.
    if (b.GetSize() >= kBatchTargetBytes) {
      reply.rest.assign(query.ids.begin() + static_cast<int64_t>(i), query.ids.end());
      break;
    }
    uint64_t id = query.ids[i];
    ZS_ASSIGN_OR_RETURN(auto task, ReadTask(view, id));
    if (!task) {
      auto message = b.CreateString("task " + ToString(TaskId(id)) +
                                    " does not exist; finished tasks are kept for a limited time");
      list.push_back(wire::CreateOutcome(b, id, TaskState::kCancelled, 0, 0, 0,
                                         static_cast<uint16_t>(ErrorCode::kNotFound), message));
      continue;
    }
    if (!IsFinished(task->state)) {
      reply.unfinished.push_back(id);
      continue;
    }
    ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kOutcomes, id));
    std::optional<OutcomeView> row = bytes ? ReadOutcome(*bytes) : std::nullopt;
    if (bytes && !row) return BadRow("outcomes", id);
    bool ok = task->state == TaskState::kSucceeded;
    if (ok && (!row || row->head.error_code != 0 ||
               row->head.body_bytes + row->content_type.size() == 0)) {
      succeeded.push_back(id);
      continue;
    }
    auto result = ok ? Bytes(b, row->body) : Offset<flatbuffers::Vector<uint8_t>>();
    auto type = ok ? Str(b, row->content_type) : Offset<flatbuffers::String>();
    uint16_t code = ok || !row ? 0 : row->head.error_code;
    auto message = ok || !row ? Offset<flatbuffers::String>() : Str(b, row->body);
    list.push_back(
        wire::CreateOutcome(b, id, task->state, task->attempt, result, type, code, message));
  }
  auto done = b.CreateVector(succeeded);
  auto outcomes = b.CreateVector(list);
  b.Finish(wire::CreateOutcomes(b, query.request, done, outcomes));
  reply.frames.emplace_back(MessageType::kOutcomes, Body(b));
  return absl::OkStatus();
}

absl::Status QueryRunner::Rows(JournalView& view, const Query& query, QueryReply& reply) {
  for (size_t i = 0; i < query.ids.size(); ++i) {
    ZS_ASSIGN_OR_RETURN(auto task, ReadTask(view, query.ids[i]));
    reply.rows.push_back({query.ids[i], task, query.letters.empty() ? 0 : query.letters[i]});
  }
  return absl::OkStatus();
}

// --- Dead letters

namespace {

// What the answer to a DEAD_LIST has; one of the three lists is filled.
class DeadAnswer {
 public:
  DeadAnswer(const Query& query) : query_(query) {}

  bool full() const {
    const size_t limit = std::clamp<size_t>(query_.limit, 1, Limit());
    return std::max(infos_.size(), letters_.size()) >= limit || groups_.size() >= kMaxDeadGroups ||
           builder_.GetSize() >= kBatchTargetBytes;
  }
  void AddTask(const TaskRows& rows, std::string_view queue, std::string_view type) {
    infos_.push_back(BuildInfo(builder_, rows, queue, type, query_.omit_bodies));
  }
  void AddLetter(uint64_t letter, uint64_t task) { letters_.emplace_back(letter, task); }
  void AddToGroup(const DeadRow& row) {
    auto [at, is_new] = group_of_.try_emplace(row.fingerprint, groups_.size());
    if (is_new) groups_.push_back({row, row, 0});
    Group& group = groups_[at->second];
    group.last = row;
    ++group.letters;
  }

  absl::Status Finish(JournalView& view, uint64_t next_cursor, uint64_t next_letter,
                      absl::FunctionRef<absl::StatusOr<std::string>(uint32_t lane)> type_of,
                      QueryReply& reply) {
    std::vector<Offset<wire::DeadGroup>> groups;
    for (const Group& group : groups_) {
      ZS_ASSIGN_OR_RETURN(const std::string type, type_of(group.last.lane));
      ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kOutcomes, group.last.task));
      std::optional<OutcomeView> error = bytes ? ReadOutcome(*bytes) : std::nullopt;
      if (!error) return BadRow("outcomes", group.last.task);
      auto type_text = Str(builder_, type),
           message = Str(builder_, CutUtf8(error->body, kMaxDeadSampleBytes));
      groups.push_back(wire::CreateDeadGroup(
          builder_, group.last.fingerprint, type_text, group.last.error_code, message,
          group.letters, group.first.died_ms, group.last.died_ms, group.last.task));
    }
    auto infos = builder_.CreateVector(infos_);
    auto letters = builder_.CreateVectorOfStructs(letters_);
    auto group_list = builder_.CreateVector(groups);
    builder_.Finish(wire::CreateDeadLetters(builder_, query_.request, infos, letters, group_list,
                                            next_cursor, next_letter));
    reply.frames.emplace_back(MessageType::kDeadLetters, Body(builder_));
    return absl::OkStatus();
  }

 private:
  struct Group {
    DeadRow first, last;
    uint64_t letters = 0;
  };
  size_t Limit() const {
    if (query_.view == wire::DeadView::kTasks) return kMaxListLimit;
    // One RETRY or DEAD_DELETE takes so many; groups have a limit of their own.
    return kMaxQueryIds;
  }

  const Query& query_;
  FlatBufferBuilder builder_;
  std::vector<Offset<wire::TaskInfo>> infos_;
  std::vector<wire::DeadLetter> letters_;
  std::vector<Group> groups_;  // by their first letter
  absl::flat_hash_map<uint64_t, size_t> group_of_;
};

}  // namespace

absl::StatusOr<bool> QueryRunner::Matches(JournalView& view, const Query& query,
                                          const DeadRow& row) {
  if (query.fingerprint != 0 && query.fingerprint != row.fingerprint) return false;
  if (row.died_ms >= query.died_before_ms) return false;
  if (!query.queue.empty() || !query.type.empty()) {
    ZS_ASSIGN_OR_RETURN(const LaneName* name, NameOfLane(view, row.lane));
    if (!query.queue.empty() && name->queue != query.queue) return false;
    if (!query.type.empty() && name->type != query.type) return false;
  }
  if (query.error.empty()) return true;
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kOutcomes, row.task));
  std::optional<OutcomeView> error = bytes ? ReadOutcome(*bytes) : std::nullopt;
  if (!error) return BadRow("outcomes", row.task);
  std::string text(TextOf(ErrorFromNumber(row.error_code)));
  text.append(": ").append(error->body);
  return text.find(query.error) != std::string::npos;
}

absl::Status QueryRunner::Dead(JournalView& view, const Query& query, QueryReply& reply) {
  DeadAnswer answer(query);
  size_t scanned = 0;
  uint64_t last = query.cursor;
  bool complete = true;
  absl::Status inner;
  auto add = [&](uint64_t letter, std::string_view bytes) -> absl::Status {
    ZS_ASSIGN_OR_RETURN(const DeadRow row, ReadDead(letter, bytes));
    ZS_ASSIGN_OR_RETURN(const bool matches, Matches(view, query, row));
    if (!matches) return absl::OkStatus();
    if (query.view == wire::DeadView::kLetters) answer.AddLetter(letter, row.task);
    if (query.view == wire::DeadView::kGroups) answer.AddToGroup(row);
    if (query.view != wire::DeadView::kTasks) return absl::OkStatus();
    TaskRows rows;
    ZS_ASSIGN_OR_RETURN(auto task, ReadTask(view, row.task));
    if (!task) return BadRow("dead", letter);
    rows.task = *task;
    ZS_RETURN_IF_ERROR(ReadRows(view, row.task, rows));
    ZS_ASSIGN_OR_RETURN(const LaneName* name, NameOfLane(view, row.lane));
    answer.AddTask(rows, name->queue, name->type);
    return absl::OkStatus();
  };
  auto visit = [&](uint64_t letter, std::string_view bytes) {
    if (letter >= query.before_letter) return false;
    if (answer.full() || scanned >= kMaxListScan) {
      complete = false;
      return false;
    }
    ++scanned;
    last = letter;
    inner = add(letter, bytes);
    return inner.ok();
  };
  ZS_RETURN_IF_ERROR(view.Scan(Table::kDead, query.cursor + 1, visit));
  ZS_RETURN_IF_ERROR(inner);
  ZS_ASSIGN_OR_RETURN(auto bytes, view.Get(Table::kMeta, kMetaState));
  MetaRow meta;
  if (!bytes || !RowReader(*bytes).Read(meta)) return BadRow("meta", kMetaState);
  auto type_of = [&](uint32_t lane) -> absl::StatusOr<std::string> {
    ZS_ASSIGN_OR_RETURN(const LaneName* name, NameOfLane(view, lane));
    return name->type;
  };
  return answer.Finish(view, complete ? 0 : last, meta.next_letter, type_of, reply);
}

absl::Status QueryRunner::DeadOldest(JournalView& view, QueryReply& reply) {
  absl::Status inner;
  auto visit = [&](uint64_t letter, std::string_view bytes) {
    if (reply.dead.size() == kMaxOldestDead) return false;
    auto row = ReadDead(letter, bytes);
    if (row.ok()) reply.dead.push_back({letter, *row});
    inner = row.status();
    return inner.ok();
  };
  ZS_RETURN_IF_ERROR(view.Scan(Table::kDead, 0, visit));
  return inner;
}

absl::Status QueryRunner::Finished(JournalView& view, const Query& query, QueryReply& reply) {
  uint64_t tasks = 0;
  absl::Status inner;
  auto visit = [&](uint64_t key, std::string_view bytes) {
    auto row = ReadFinished(bytes);
    if (!row) inner = BadRow("finished", key);
    if (!row || (tasks > 0 && tasks + row->tasks > kMaxFinishedTasks)) return false;
    tasks += row->tasks;
    reply.finished.push_back({key, row->head.finished_ms, row->tasks, std::string(row->runs)});
    return true;
  };
  ZS_RETURN_IF_ERROR(view.Scan(Table::kFinished, query.cursor, visit));
  return inner;
}

QueryReply QueryRunner::Run(JournalView& view, const Query& query) {
  QueryReply reply;
  reply.kind = query.kind;
  reply.to = query.to;
  reply.request = query.request;
  switch (query.kind) {
    case QueryKind::kGet:
      reply.status = Get(view, query, reply);
      break;
    case QueryKind::kList:
      reply.status = List(view, query, reply);
      break;
    case QueryKind::kOutcomes:
      reply.status = Outcomes(view, query, reply);
      break;
    case QueryKind::kDead:
      reply.status = Dead(view, query, reply);
      break;
    case QueryKind::kDeadOldest:
      reply.status = DeadOldest(view, reply);
      break;
    case QueryKind::kRetryRows:
    case QueryKind::kCancelRows:
    case QueryKind::kDeleteRows:
      reply.status = Rows(view, query, reply);
      break;
    case QueryKind::kFinished:
      reply.status = Finished(view, query, reply);
      break;
    case QueryKind::kHistory:
      reply.status = History(view, query, reply);
      break;
    case QueryKind::kEvents:
      reply.status = Events(view, query, reply);
      break;
    case QueryKind::kLogs:
      reply.status = Logs(view, query, reply);
      break;
  }
  return reply;
}

}  // namespace zsched::broker
