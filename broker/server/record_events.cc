#include "broker/server/record_events.h"

#include <string>
#include <vector>

#include "broker/core/merge.h"
#include "broker/core/state.h"
#include "broker/core/validate.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

using wire::EventKind;

absl::Status Corrupt(const char* what) {
  return Error(ErrorCode::kDataLoss, std::string("a log record cannot be read: ") + what);
}

const char* FateOf(TickFate fate) {
  static constexpr const char* kFates[] = {"fired", "skipped",  "missed",
                                           "held",  "released", "by hand"};
  return kFates[static_cast<size_t>(fate)];
}

EventKind KindOf(Ending ending) {
  static constexpr EventKind kKinds[] = {EventKind::kSucceeded, EventKind::kFailed,
                                         EventKind::kDead, EventKind::kReturned,
                                         EventKind::kCancelled};
  return kKinds[static_cast<size_t>(ending)];
}
EventKind KindOf(TaskState end) {
  return end == TaskState::kSucceeded ? EventKind::kSucceeded
         : end == TaskState::kDead    ? EventKind::kDead
                                      : EventKind::kCancelled;
}
TaskState StateOf(Ending ending) {
  if (const auto end = StateAfter(ending)) return *end;
  return ending == Ending::kRetry ? TaskState::kRetryWait : TaskState::kReady;
}

class Teller {
 public:
  using Visit = absl::FunctionRef<bool(const LogEvent&)>;
  Teller(const RecordHead& head, std::string_view body, Visit visit)
      : kind_(head.kind), at_ms_(head.time_ms), in_(body), visit_(visit) {}

  absl::Status Run() {
    switch (kind_) {
      case RecordKind::kEpochStarted:
        return EpochStarted();
      case RecordKind::kSubmitted:
        return Submitted();
      case RecordKind::kWorkerSeen:
        return WorkerSeen();
      case RecordKind::kLeased:
        return Started<LeasedEntry>();
      case RecordKind::kAdopted:
        return Started<AdoptedEntry>();
      case RecordKind::kSucceeded:
        return Succeeded();
      case RecordKind::kEnded:
        return Ended();
      case RecordKind::kFired:
        return Fired();
      case RecordKind::kRetried:
        return Retried();
      case RecordKind::kPruned:
        return Pruned();
      case RecordKind::kCancelled:
        return Cancelled();
      case RecordKind::kDeadGone:
        return DeadGone();
      case RecordKind::kQueueSet:
        return QueueSet();
      case RecordKind::kTypeSet:
        return TypeSet();
      case RecordKind::kReported:
        return Reported();
      case RecordKind::kOutput:
        return Output();
      case RecordKind::kScheduleSet:
        return ScheduleSet();
      case RecordKind::kTicked:
        return Ticked();
      case RecordKind::kSchedulesGone:
        return Gone(EventKind::kScheduleRemoved);
      case RecordKind::kWorkersGone:
        return Gone(EventKind::kWorkerGone);
      case RecordKind::kExpired:
        return Expired();
      case RecordKind::kMerged:
        return Merged();
      case RecordKind::kProducersGone:
      case RecordKind::kKeysGone:
        return absl::OkStatus();  // what the broker remembers, and nobody sees
    }
    return Corrupt("its kind is unknown; a newer version wrote it");
  }

 private:
  void Tell(LogEvent event) {
    event.at_ms = at_ms_;
    going_ = going_ && visit_(event);
  }

  // Calls `tell(entry)` for each of the entries that the record counts.
  template <class Record, class Entry, class Each>
  absl::Status ForEachEntry(Each tell) {
    Record record;
    if (!in_.Read(record)) return Corrupt("too short");
    for (uint64_t i = 0; i < record.count && going_; ++i) {
      Entry entry;
      if (!in_.Read(entry)) return Corrupt("too short");
      if (!tell(entry)) return Corrupt("an entry does not fit");
    }
    return absl::OkStatus();
  }

  // What is behind the entries.
  std::vector<ToldTask> ReadTold() {
    std::vector<ToldTask> told;
    for (ToldTask task; in_.Read(task);) told.push_back(task);
    return told;
  }
  void TellMade(const ToldTask& task) {
    Tell({.kind = EventKind::kSubmitted,
          .task = task.task,
          .parent = task.parent,
          .lane = task.lane,
          .state = task.state});
  }
  // Of chains, behind the ends of those that they follow.
  absl::Status TellMade() {
    if (going_)
      for (const ToldTask& task : ReadTold()) TellMade(task);
    return absl::OkStatus();
  }

  absl::Status EpochStarted() {
    EpochStartedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    Tell({.kind = EventKind::kEpoch, .count = record.epoch});
    return absl::OkStatus();
  }

  absl::Status Submitted() {
    SubmittedRecord record;
    std::string_view body;
    if (!in_.Read(record) || !in_.Take(record.body_bytes, body)) return Corrupt("too short");
    AlignedCopy copy;
    const auto* submit = VerifyBody<wire::Submit>(copy.Align(body));
    if (submit == nullptr) return Corrupt("its SUBMIT is malformed");
    uint32_t left = record.rejected;
    ProducerReject reject;
    auto next_reject = [&] { return left > 0 && in_.Read(reject) && left-- > 0; };
    bool rejects = next_reject();
    uint64_t id = record.first_id;
    for (uint32_t i = 0; i < submit->tasks()->size() && going_; ++i) {
      if (rejects && reject.index == i) {
        rejects = next_reject();
        continue;
      }
      const wire::TaskSpec& spec = *submit->tasks()->Get(i);
      const LaneNames names = LaneOf(spec);
      const bool waits = spec.delay_ms() > 0 || spec.run_at_ms() > at_ms_;
      Tell({.kind = EventKind::kSubmitted,
            .task = id++,
            .queue = names.queue,
            .type = names.type,
            .state = waits ? TaskState::kScheduled : TaskState::kReady});
    }
    return absl::OkStatus();
  }

  absl::Status WorkerSeen() {
    WorkerSeenRecord record;
    std::string_view name;
    if (!in_.Read(record) || !in_.Take(record.name_bytes, name)) return Corrupt("too short");
    Tell({.kind = EventKind::kWorkerSeen, .name = name});
    return absl::OkStatus();
  }

  // Given anew or taken over: to those who watch, an attempt is at a worker.
  template <class Entry>
  absl::Status Started() {
    return ForEachEntry<LeasedRecord, Entry>([&](const Entry& entry) {
      Tell({.kind = EventKind::kStarted,
            .task = entry.task,
            .state = TaskState::kLeased,
            .attempt = static_cast<uint16_t>(entry.attempt),
            .worker = entry.worker});
      return true;
    });
  }

  absl::Status Succeeded() {
    ZS_RETURN_IF_ERROR((ForEachEntry<EndedRecord, SucceededEntry>([&](const SucceededEntry& entry) {
      Tell({.kind = EventKind::kSucceeded,
            .task = entry.task,
            .state = TaskState::kSucceeded,
            .attempt = static_cast<uint16_t>(entry.attempt)});
      return true;
    })));
    return TellMade();
  }

  absl::Status Ended() {
    ZS_RETURN_IF_ERROR((ForEachEntry<EndedRecord, EndedEntry>([&](const EndedEntry& entry) {
      std::string_view row;
      if (!in_.Take(entry.outcome_bytes, row) || entry.ending > Ending::kCancelled) return false;
      LogEvent event{.kind = KindOf(entry.ending),
                     .task = entry.task,
                     .state = StateOf(entry.ending),
                     .attempt = entry.attempt,
                     .worker = entry.worker};
      const auto outcome = ReadOutcome(row);
      if (outcome && outcome->head.error_code != 0) {
        event.error_code = outcome->head.error_code;
        event.error_message = outcome->body;
      }
      Tell(event);
      return true;
    })));
    return TellMade();
  }

  absl::Status Fired() {
    return ForEachEntry<IdsRecord, uint64_t>([&](uint64_t id) {
      Tell({.kind = EventKind::kReady, .task = id, .state = TaskState::kReady});
      return true;
    });
  }

  absl::Status Expired() {
    const OutcomeView error = *ReadOutcome(State::ExpiredOutcome());
    ZS_RETURN_IF_ERROR((ForEachEntry<IdsRecord, ExpiredEntry>([&](const ExpiredEntry& entry) {
      Tell({.kind = EventKind::kDead,
            .task = entry.task,
            .state = TaskState::kDead,
            .error_code = error.head.error_code,
            .error_message = error.body});
      return true;
    })));
    return TellMade();
  }

  // Those that run are told behind the ids, in the same order.
  absl::Status Cancelled() {
    IdsRecord record;
    std::string_view bytes;
    if (!in_.Read(record) || record.count > in_.rest().size() / sizeof(uint64_t) ||
        !in_.Take(record.count * sizeof(uint64_t), bytes))
      return Corrupt("too short");
    const std::vector<ToldTask> told = ReadTold();
    auto next = told.begin();
    auto skip_made = [&] {
      while (next != told.end() && next->state != TaskState::kLeased) ++next;
    };
    RowReader ids(bytes);
    for (uint64_t id; going_ && ids.Read(id);) {
      skip_made();
      const bool runs = next != told.end() && next->task == id;
      if (runs) ++next;
      Tell({.kind = runs ? EventKind::kCancelling : EventKind::kCancelled,
            .task = id,
            .state = runs ? TaskState::kLeased : TaskState::kCancelled});
    }
    for (const ToldTask& task : told)
      if (task.state != TaskState::kLeased) TellMade(task);
    return absl::OkStatus();
  }

  absl::Status Retried() {
    return ForEachEntry<IdsRecord, RetriedEntry>([&](const RetriedEntry& entry) {
      Tell({.kind = EventKind::kRetried,
            .task = entry.task,
            .state = TaskState::kReady,
            .attempt = entry.row.attempt});
      return true;
    });
  }

  absl::Status DeadGone() {
    return ForEachEntry<IdsRecord, DeadGoneEntry>([&](const DeadGoneEntry& entry) {
      Tell({.kind = EventKind::kDeleted,
            .task = entry.task,
            .lane = entry.base,
            .state = TaskState::kDead});
      return true;
    });
  }

  absl::Status Pruned() {
    PrunedRecord record;
    if (!in_.Read(record) || record.keys > in_.rest().size() / sizeof(uint64_t))
      return Corrupt("too short");
    std::string_view keys;
    in_.Take(record.keys * sizeof(uint64_t), keys);
    for (uint64_t i = 0; i < record.runs && going_; ++i) {
      FinishedRun run;
      if (!in_.Read(run)) return Corrupt("too short");
      Tell({.kind = EventKind::kPruned,
            .task = run.first,
            .lane = run.lane,
            .state = run.state,
            .count = run.tasks});
    }
    return absl::OkStatus();
  }

  absl::Status QueueSet() {
    QueueRow row;
    std::string_view name;
    if (!in_.Read(row) || !in_.Take(row.name_bytes, name)) return Corrupt("too short");
    Tell({.kind = EventKind::kQueueSet,
          .name = name,
          .message = row.paused     ? "paused"
                     : row.draining ? "draining"
                                    : ""});
    return absl::OkStatus();
  }

  absl::Status TypeSet() {
    TypeRow row;
    std::string_view name;
    if (!in_.Read(row) || !in_.Take(row.name_bytes, name)) return Corrupt("too short");
    Tell({.kind = EventKind::kTypeSet, .name = name, .message = row.paused ? "paused" : ""});
    return absl::OkStatus();
  }

  absl::Status Reported() {
    return ForEachEntry<IdsRecord, ReportedEntry>([&](const ReportedEntry& entry) {
      std::string_view message, checkpoint;
      if (!in_.Take(entry.message_bytes, message) || !in_.Take(entry.checkpoint_bytes, checkpoint))
        return false;
      if (entry.kinds & NoteBit(NoteKind::kProgress))
        Tell({.kind = EventKind::kProgress,
              .task = entry.task,
              .state = TaskState::kLeased,
              .percent = entry.percent,
              .message = message});
      return true;
    });
  }

  absl::Status Output() {
    return ForEachEntry<IdsRecord, OutputEntry>([&](const OutputEntry& entry) {
      std::string_view runs, bytes;
      if (!in_.Take(entry.runs * sizeof(wire::OutputRun), runs) || !in_.Take(entry.bytes, bytes))
        return false;
      Tell({.kind = EventKind::kOutput,
            .task = entry.task,
            .state = TaskState::kLeased,
            .count = entry.offset + entry.bytes});
      return true;
    });
  }

  absl::Status ScheduleSet() {
    ScheduleSetRecord record;
    std::string_view body;
    if (!in_.Read(record) || !in_.Take(record.body_bytes, body)) return Corrupt("too short");
    LogEvent event{.kind = EventKind::kScheduleSet,
                   .schedule = record.schedule,
                   .message = record.row.paused ? "paused" : ""};
    AlignedCopy copy;
    if (!body.empty()) {
      const auto* set = VerifyBody<wire::ScheduleSet>(copy.Align(body));
      if (set == nullptr) return Corrupt("its SCHEDULE_SET is malformed");
      event.schedule = 0;
      event.name = TextOf(set->name());
    }
    Tell(event);
    return absl::OkStatus();
  }

  absl::Status Ticked() {
    TickedRecord record;
    std::string_view bytes;
    if (!in_.Read(record) || record.count > in_.rest().size() / sizeof(TickedEntry) ||
        !in_.Take(record.count * sizeof(TickedEntry), bytes))
      return Corrupt("too short");
    const std::vector<ToldTask> told = ReadTold();
    auto made = told.begin();
    RowReader entries(bytes);
    for (TickedEntry entry; going_ && entries.Read(entry);) {
      if (entry.fate > TickFate::kExtra) return Corrupt("a tick is unknown");
      Tell({.kind = EventKind::kTicked,
            .schedule = entry.schedule,
            .message = FateOf(entry.fate),
            .count = entry.ticks});
      if (!entry.MakesTask()) continue;
      LogEvent event{.kind = EventKind::kSubmitted,
                     .task = entry.task,
                     .state = TaskState::kReady,
                     .schedule = entry.schedule};
      if (made != told.end() && made->task == entry.task) {
        event.lane = made->lane;
        event.state = made->state;
        ++made;
      }
      Tell(event);
    }
    return absl::OkStatus();
  }

  // Names behind the numbers, one each, if the record tells them.
  absl::Status Gone(EventKind kind) {
    IdsRecord record;
    std::string_view numbers;
    if (!in_.Read(record) || record.count > in_.rest().size() / sizeof(uint64_t) ||
        !in_.Take(record.count * sizeof(uint64_t), numbers))
      return Corrupt("too short");
    for (uint64_t i = 0; i < record.count && going_; ++i) {
      ToldName told;
      std::string_view name;
      if (in_.Read(told)) in_.Take(told.bytes, name);
      Tell({.kind = kind, .name = name});
    }
    return absl::OkStatus();
  }

  absl::Status Merged() {
    MergedRecord record;
    if (!in_.Read(record)) return Corrupt("too short");
    ZS_RETURN_IF_ERROR(CheckMergeEntries(in_.rest()));
    uint64_t tasks = 0;
    ForEachMergeEntry(in_.rest(), [&](const MergeView& entry) {
      tasks += entry.kind == MergeKind::kTask || entry.kind == MergeKind::kEnd;
    });
    Tell({.kind = EventKind::kMerged, .count = tasks});
    ForEachMergeEntry(in_.rest(), [&](const MergeView& entry) {
      if (entry.kind == MergeKind::kTask)
        Tell({.kind = EventKind::kSubmitted,
              .task = entry.task.task,
              .queue = entry.lane.queue,
              .type = entry.lane.type,
              .state = entry.task.row.state,
              .attempt = entry.task.row.attempt});
      if (entry.kind == MergeKind::kEnd)
        Tell({.kind = KindOf(entry.end.state),
              .task = entry.end.task,
              .state = entry.end.state,
              .attempt = entry.end.attempt});
    });
    return absl::OkStatus();
  }

  const RecordKind kind_;
  const int64_t at_ms_;
  RowReader in_;
  Visit visit_;
  bool going_ = true;
};

}  // namespace

absl::Status ForEachEvent(std::string_view record, absl::FunctionRef<bool(const LogEvent&)> visit) {
  RowReader in(record);
  RecordHead head;
  if (!in.Read(head) || head.bytes != record.size()) return Corrupt("its size is wrong");
  return Teller(head, in.rest(), visit).Run();
}

absl::Status ForEachRecord(std::string_view records,
                           absl::FunctionRef<bool(std::string_view record)> visit) {
  while (!records.empty()) {
    RecordHead head;
    if (RowReader in(records);
        !in.Read(head) || head.bytes < sizeof head || head.bytes > records.size())
      return Corrupt("its size is wrong");
    if (!visit(records.substr(0, head.bytes))) break;
    records.remove_prefix(head.bytes);
  }
  return absl::OkStatus();
}

}  // namespace zsched::broker
