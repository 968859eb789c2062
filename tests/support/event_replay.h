// What a reader that knows nothing but events makes of them: which tasks there are, and how they stand. Owned by the tests.
//
// Example:
//   EventReplay replay;
//   ZS_CHECK_OK(replay.TakeLog(view));            // when the log was never trimmed
//   ZS_CHECK_OK(replay.Compare(view));            // with the tables: all that they have, and no more
//
// Threads: one. Errors: INTERNAL names the first event that cannot have happened, or the task that differs.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "base/check.h"
#include "broker/journal/journal.h"
#include "broker/server/record_events.h"
#include "schemas/errors.h"

namespace zsched::broker {

class EventReplay {
 public:
  // In their order. Of `count` only that of kPruned is looked at.
  absl::Status Take(wire::EventKind kind, uint64_t task, TaskState state, uint16_t attempt,
                    uint64_t count) {
    using wire::EventKind;
    merged_ |= kind == EventKind::kMerged;
    if (task == 0) return absl::OkStatus();
    if (kind == EventKind::kPruned) return Pruned(task, count, state);
    if (kind == EventKind::kSubmitted) {
      if (!tasks_.emplace(task, Known{state, attempt}).second)
        return Bad(kind, task, "it is there already");
      return absl::OkStatus();
    }
    auto known = tasks_.find(task);
    if (known == tasks_.end()) return Bad(kind, task, "nobody told of it");
    if (!Before(kind).contains(known->second.state))
      return Bad(kind, task, wire::EnumNameTaskState(known->second.state));
    if (kind == EventKind::kDeleted) {
      tasks_.erase(known);
      return absl::OkStatus();
    }
    const bool begins = kind == EventKind::kStarted;
    if (begins && attempt == 0) return Bad(kind, task, "as which attempt?");
    if (begins || kind == EventKind::kRetried) known->second.attempt = attempt;
    if (attempt != 0 && attempt != known->second.attempt)
      return Bad(kind, task, "of another attempt");
    known->second.state = state;
    known->second.cancelling = kind == EventKind::kCancelling;
    return absl::OkStatus();
  }

  // All of the view's log. Requires that its first record is still there.
  absl::Status TakeLog(JournalView& view) {
    absl::Status status;
    auto take = [&](const LogEvent& event) {
      status.Update(Take(event.kind, event.task, event.state, event.attempt, event.count));
      return status.ok();
    };
    ZS_RETURN_IF_ERROR(view.ScanLog(Lsn(1), [&](const LogSegment& segment) {
      status.Update(ForEachRecord(segment.records, [&](std::string_view record) {
        status.Update(ForEachEvent(record, take));
        return status.ok();
      }));
      return status.ok();
    }));
    return status;
  }

  absl::Status Compare(JournalView& view) const {
    absl::Status status;
    size_t rows = 0;
    ZS_RETURN_IF_ERROR(view.Scan(Table::kTasks, 0, [&](uint64_t id, std::string_view bytes) {
      ++rows;
      TaskRow row;
      ZS_CHECK(RowReader(bytes).Read(row));
      status = CompareRow(id, row);
      return status.ok();
    }));
    if (status.ok() && rows != tasks_.size())
      status = Wrong(std::to_string(tasks_.size()) + " tasks by the events, " +
                     std::to_string(rows) + " in the tables");
    return status;
  }

  // Something of another broker's was merged: tasks may have come that no event tells of.
  bool merged() const { return merged_; }

 private:
  struct Known {
    TaskState state{};
    uint16_t attempt = 0;
    bool cancelling = false;
  };

  static absl::Status Wrong(const std::string& what) {
    return Error(ErrorCode::kInternal, "events: " + what);
  }
  static absl::Status Bad(wire::EventKind kind, uint64_t task, const std::string& why) {
    return Wrong(std::string(wire::EnumNameEventKind(kind)) + " of task " + ToString(TaskId(task)) +
                 ": " + why);
  }

  static std::set<TaskState> Before(wire::EventKind kind) {
    using enum TaskState;
    switch (kind) {
      case wire::EventKind::kReady:
        return {kScheduled, kRetryWait};
      case wire::EventKind::kStarted:
        return {kReady};
      case wire::EventKind::kDead:
      case wire::EventKind::kCancelled:
        return {kLeased, kReady, kScheduled, kRetryWait};
      case wire::EventKind::kRetried:
      case wire::EventKind::kDeleted:
        return {kDead};
      default:
        return {kLeased};
    }
  }

  absl::Status Pruned(uint64_t first, uint64_t count, TaskState state) {
    for (uint64_t id = first; id < first + count; ++id) {
      auto known = tasks_.find(id);
      if (known == tasks_.end() || known->second.state != state || !IsFinished(state))
        return Bad(wire::EventKind::kPruned, id, "it did not end so");
      tasks_.erase(known);
    }
    return absl::OkStatus();
  }

  absl::Status CompareRow(uint64_t id, const TaskRow& row) const {
    const auto known = tasks_.find(id);
    const std::string name = "task " + ToString(TaskId(id));
    if (known == tasks_.end()) return Wrong("nobody told of " + name);
    if (known->second.state != row.state)
      return Wrong(name + " is " + wire::EnumNameTaskState(row.state) + ", not " +
                   wire::EnumNameTaskState(known->second.state));
    if (row.state == TaskState::kLeased &&
        (known->second.attempt != row.attempt || known->second.cancelling != (row.cancelling != 0)))
      return Wrong(name + " runs as another attempt, or is cancelled");
    return absl::OkStatus();
  }

  std::map<uint64_t, Known> tasks_;
  bool merged_ = false;
};

}  // namespace zsched::broker
