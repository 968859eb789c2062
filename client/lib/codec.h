// Bodies to plain values and back, for everything but SUBMIT. Owned by client/lib; the only place
// besides frame_builder that knows both sides. Readers expect verified tables.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "schemas/wire_generated.h"
#include "zsched/types.h"

namespace zsched {

// An outcome as a bare success, its strings emptied but kept for reuse. The id is left.
void ResetOutcome(Outcome* outcome);
// False for one that is no end of a task: to be ignored.
bool ReadOutcome(const wire::Outcome& from, Outcome* outcome);

// With its templates.
TaskSpec ReadTask(const wire::TaskSpec& from);
TaskInfo ReadTaskInfo(const wire::TaskInfo& from);
StatusInfo ReadStatus(const wire::StatusReply& from);
WorkerSummary ReadWorker(const wire::WorkerInfo& from);
DeadGroup ReadDeadGroup(const wire::DeadGroup& from);
QueueInfo ReadQueue(const wire::QueueInfo& from);
TypeInfo ReadType(const wire::TypeInfo& from);
ScheduleInfo ReadSchedule(const wire::ScheduleInfo& from);
TaskExplanation ReadExplanation(const wire::Explanation& from);
TaskHistory ReadHistory(const wire::HistoryInfo& from);
// `offset`: where the caller asked it to begin.
TaskOutput ReadLogs(const wire::LogPages& from, uint64_t offset);
EventPage ReadEvents(const wire::EventPage& from);
absl::Status ReadItemStatus(const wire::ItemResult& from);

std::string EncodeHello(Uuid id, const std::string& name, const std::string& version,
                        bool observe = false);
std::string EncodeWait(uint64_t request, std::span<const TaskId> ids);
std::string EncodeGet(uint64_t request, std::span<const TaskId> ids);
std::string EncodeExplain(uint64_t request, TaskId id);
std::string EncodeHistory(uint64_t request, TaskId id);
std::string EncodeLogs(uint64_t request, TaskId id, uint32_t attempt, uint64_t from);
// `letters`: as many as ids, or none.
std::string EncodeRetry(uint64_t request, std::span<const TaskId> ids,
                        std::span<const uint64_t> letters = {});
std::string EncodeDeadDelete(uint64_t request, std::span<const TaskId> ids,
                             std::span<const uint64_t> letters = {});
struct DeadListSpec {
  wire::DeadView view{};
  DeadFilter filter{};
  uint64_t before = 0;  // letters below it; 0: all
  size_t limit = 0;
  uint64_t cursor = 0;
  bool omit_bodies = false;
};
std::string EncodeDeadList(uint64_t request, const DeadListSpec& list);
std::string EncodeCancel(uint64_t request, std::span<const TaskId> ids);
std::string EncodeList(uint64_t request, const ListQuery& query);
std::string EncodeQueueList(uint64_t request, const std::string& only, const std::string& cursor);
std::string EncodeQueueSet(uint64_t request, const std::string& queue, const QueueChange& change);
std::string EncodeTypeList(uint64_t request, const std::string& only, const std::string& cursor);
std::string EncodeTypeSet(uint64_t request, const std::string& type, const TypeChange& change);
// Requires CheckEncodable(spec.task).ok().
std::string EncodeScheduleSet(uint64_t request, const ScheduleSpec& spec, bool replace);
std::string EncodeSchedulePause(uint64_t request, const std::string& name, bool paused);
// 0, 0: at once.
std::string EncodeScheduleRun(uint64_t request, const std::string& name, int64_t from_ms,
                              int64_t to_ms);
std::string EncodeScheduleRemove(uint64_t request, const std::string& name);
std::string EncodeScheduleList(uint64_t request, const std::string& only,
                               const std::string& cursor);
std::string EncodeStatus(uint64_t request);
std::string EncodeEvents(uint64_t request, const EventQuery& query);
std::string EncodeWorkerList(uint64_t request);
std::string EncodeClusterCommand(uint64_t request, wire::ClusterAction action, bool force,
                                 Epoch epoch);
std::string EncodeWorkerDrain(uint64_t request, const std::string& worker);

}  // namespace zsched
