// EVENTS: a page of what the log tells, read on the query thread.
#include <algorithm>
#include <utility>

#include "base/text.h"
#include "broker/server/query.h"
#include "broker/server/query_rows.h"
#include "broker/server/record_events.h"
#include "broker/transport/encoder.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using wire::EventKind;

// Of the schedule that had the number then. Empty: it is gone.
absl::StatusOr<std::string> NameOfSchedule(JournalView& view, uint32_t number, int64_t at_ms) {
  ZS_ASSIGN_OR_RETURN(auto ticks_row, view.Get(Table::kTicks, number));
  ZS_ASSIGN_OR_RETURN(auto row, view.Get(Table::kSchedules, number));
  if (!ticks_row || !row) return std::string();
  TicksRow ticks;
  ScheduleRow head;
  std::string_view body;
  RowReader in(*row);
  if (!RowReader(*ticks_row).Read(ticks) || !in.Read(head) || !in.Take(head.body_bytes, body))
    return BadRow("schedules", number);
  if (ticks.created_ms > at_ms) return std::string();
  AlignedCopy copy;
  const auto* set = VerifyBody<wire::ScheduleSet>(copy.Align(body));
  if (set == nullptr) return BadRow("schedules", number);
  return std::string(TextOf(set->name()));
}

}  // namespace

// Fills one page, event by event.
class EventPageBuilder {
 public:
  EventPageBuilder(QueryRunner& runner, JournalView& view, const Query& query)
      : runner_(runner),
        view_(view),
        query_(query),
        limit_(std::clamp<size_t>(query.limit, 1, kMaxEventLimit)),
        place_{.next = query.cursor, .next_skip = query.skip, .last = query.until.value()} {}

  absl::Status Fill() {
    ZS_ASSIGN_OR_RETURN(const LogBounds bounds, view_.Bounds());
    if (bounds.first.value() > query_.cursor + 1) {
      place_.next = bounds.first.value() - 1;
      place_.next_skip = 0;
      place_.trimmed = true;
      return absl::OkStatus();
    }
    absl::Status status;
    ZS_RETURN_IF_ERROR(view_.ScanLog(Lsn(query_.cursor + 1), [&](const LogSegment& segment) {
      auto more = AddSegment(segment);
      status = more.status();
      return more.ok() && *more;
    }));
    return status;
  }

  std::string Finish() {
    auto events = builder_.CreateVector(events_);
    builder_.Finish(wire::CreateEventPage(builder_, query_.request, events, place_.next,
                                          place_.next_skip, place_.last, place_.trimmed));
    return Body(builder_);
  }

 private:
  // False, here and below: the page is full, or the end is reached.
  absl::StatusOr<bool> AddSegment(const LogSegment& segment) {
    uint64_t lsn = segment.first_lsn.value();
    bool more = true;
    absl::Status status;
    ZS_RETURN_IF_ERROR(ForEachRecord(segment.records, [&](std::string_view record) {
      if (lsn > query_.cursor) {
        auto added = AddRecord(lsn, record);
        status = added.status();
        more = added.ok() && *added;
      }
      ++lsn;
      return more;
    }));
    ZS_RETURN_IF_ERROR(status);
    return more;
  }

  absl::StatusOr<bool> AddRecord(uint64_t lsn, std::string_view record) {
    if (lsn > query_.until.value() || bytes_ >= kMaxEventScanBytes) return false;
    bytes_ += record.size();
    const uint32_t skip = lsn == query_.cursor + 1 ? query_.skip : 0;
    uint32_t index = 0;
    bool full = false;
    absl::Status status;
    ZS_RETURN_IF_ERROR(ForEachEvent(record, [&](const LogEvent& event) {
      if (index >= skip && IsWanted(event)) {
        full = events_.size() >= limit_ || looked_ >= kMaxEventScan ||
               builder_.GetSize() >= kBatchTargetBytes;
        if (full) return false;
        ++looked_;
        status = Add(lsn, index, event);
      }
      ++index;
      return status.ok();
    }));
    ZS_RETURN_IF_ERROR(status);
    place_.next = full ? lsn - 1 : lsn;
    place_.next_skip = full ? index : 0;
    return !full;
  }

  // As far as the record says.
  bool IsWanted(const LogEvent& event) const {
    if (query_.kinds != 0 && !(query_.kinds >> static_cast<int>(event.kind) & 1)) return false;
    if (event.task == 0) return query_.ids.empty() && query_.queue.empty() && query_.type.empty();
    if (query_.ids.empty()) return true;
    const uint64_t first = event.task, tasks = event.kind == EventKind::kPruned ? event.count : 1;
    return query_.ids[0] >= first && query_.ids[0] - first < tasks;
  }

  // Puts it on the page, if it is of the queue and the type that are asked for.
  absl::Status Add(uint64_t lsn, uint32_t index, const LogEvent& event) {
    Names names;
    ZS_RETURN_IF_ERROR(FindNames(event, names));
    if ((!query_.queue.empty() && names.queue != query_.queue) ||
        (!query_.type.empty() && names.type != query_.type))
      return absl::OkStatus();
    auto queue = Str(builder_, names.queue), type = Str(builder_, names.type),
         worker = Str(builder_, names.worker), name = Str(builder_, names.name);
    auto error = Str(builder_, CutUtf8(event.error_message, kMaxEventMessageBytes));
    auto message = Str(builder_, event.message);
    events_.push_back(wire::CreateEvent(builder_, lsn, index, event.at_ms, event.kind, event.task,
                                        queue, type, event.state, event.attempt, worker, name,
                                        event.error_code, error, event.percent, message,
                                        event.count, event.parent));
    return absl::OkStatus();
  }

  struct Names {
    std::string queue, type, worker, name;
  };
  absl::Status FindNames(const LogEvent& event, Names& names) {
    names.queue = event.queue;
    names.type = event.type;
    names.name = event.name;
    uint32_t lane = event.lane, worker = event.worker;
    if (event.task != 0 && lane == 0 && event.type.empty()) {
      ZS_ASSIGN_OR_RETURN(auto row, ReadTask(view_, event.task));
      if (row) lane = row->lane;
      // A success does not say at which worker; the task's last attempt is that one.
      if (row && event.kind == EventKind::kSucceeded && row->attempt == event.attempt)
        worker = row->worker;
    }
    if (lane != 0) {
      ZS_ASSIGN_OR_RETURN(const auto* lane_name, runner_.NameOfLane(view_, lane));
      names.queue = lane_name->queue;
      names.type = lane_name->type;
    }
    ZS_ASSIGN_OR_RETURN(names.worker, NameOfWorker(view_, worker));
    if (event.schedule != 0) {
      ZS_ASSIGN_OR_RETURN(names.name, NameOfSchedule(view_, event.schedule, event.at_ms));
    }
    return absl::OkStatus();
  }

  QueryRunner& runner_;
  JournalView& view_;
  const Query& query_;
  const size_t limit_;
  EventsPlace place_;
  size_t bytes_ = 0, looked_ = 0;
  FlatBufferBuilder builder_;
  std::vector<Offset<wire::Event>> events_;
};

absl::Status QueryRunner::Events(JournalView& view, const Query& query, QueryReply& reply) {
  EventPageBuilder page(*this, view, query);
  ZS_RETURN_IF_ERROR(page.Fill());
  reply.frames.emplace_back(MessageType::kEventPage, page.Finish());
  return absl::OkStatus();
}

}  // namespace zsched::broker
