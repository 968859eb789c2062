// Client's calls about time schedules.
#include "base/check.h"
#include "client/lib/codec.h"
#include "client/lib/core.h"
#include "client/lib/task_buffer.h"

namespace zsched {
namespace {

absl::StatusOr<ScheduleInfo> OnlySchedule(const wire::ScheduleInfos& infos,
                                          const std::string& name) {
  if (infos.schedules() == nullptr || infos.schedules()->size() == 0)
    return Error(ErrorCode::kNotFound, "there is no schedule '" + name + "'");
  return ReadSchedule(*infos.schedules()->Get(0));
}

// Asks for something that is answered by the one schedule. (Core is private to Client.)
template <class Core, class Encode>
absl::StatusOr<ScheduleInfo> AskSchedule(Core& core, MessageType type, const std::string& name,
                                         Encode encode) {
  absl::StatusOr<ScheduleInfo> schedule;
  ZS_RETURN_IF_ERROR(core.template Ask<wire::ScheduleInfos>(
      type, MessageType::kScheduleInfos, encode, [&](const wire::ScheduleInfos& infos) {
        schedule = OnlySchedule(infos, name);
        return absl::OkStatus();
      }));
  return schedule;
}

template <class Core, class Encode>
absl::StatusOr<std::vector<ItemResult>> AskForItems(Core& core, MessageType type, Encode encode) {
  std::vector<ItemResult> results;
  ZS_RETURN_IF_ERROR(core.template Ask<wire::ItemReply>(
      type, MessageType::kItemReply, encode, [&results](const wire::ItemReply& reply) {
        if (reply.items() != nullptr)
          for (const wire::ItemResult* item : *reply.items())
            results.push_back({TaskId(item->id()), ReadItemStatus(*item)});
        return absl::OkStatus();
      }));
  return results;
}

absl::Status NoAnswer(const char* what) {
  return Error(ErrorCode::kMalformed, std::string("the broker's answer to ") + what + " is empty");
}

}  // namespace

absl::StatusOr<ScheduleInfo> Client::SetSchedule(const ScheduleSpec& spec, bool replace) {
  ZS_RETURN_IF_ERROR(CheckEncodable(spec.task));
  return AskSchedule(*core_, MessageType::kScheduleSet, spec.name,
                     [&](uint64_t number) { return EncodeScheduleSet(number, spec, replace); });
}

absl::StatusOr<std::vector<ScheduleInfo>> Client::Schedules() {
  std::vector<ScheduleInfo> schedules;
  for (bool complete = false; !complete;) {
    const std::string cursor = schedules.empty() ? "" : schedules.back().spec.name;
    const size_t before = schedules.size();
    ZS_RETURN_IF_ERROR(core_->Ask<wire::ScheduleInfos>(
        MessageType::kScheduleList, MessageType::kScheduleInfos,
        [&cursor](uint64_t number) { return EncodeScheduleList(number, "", cursor); },
        [&](const wire::ScheduleInfos& infos) {
          complete = infos.complete();
          if (infos.schedules() != nullptr)
            for (const wire::ScheduleInfo* schedule : *infos.schedules())
              schedules.push_back(ReadSchedule(*schedule));
          return absl::OkStatus();
        }));
    const bool rises = schedules.size() > before && schedules.back().spec.name > cursor;
    if (!complete && !rises)
      return Error(ErrorCode::kMalformed, "the broker's answer to SCHEDULE_LIST does not go on");
  }
  return schedules;
}

absl::StatusOr<ScheduleInfo> Client::GetSchedule(const std::string& name) {
  if (name.empty()) return Error(ErrorCode::kInvalidArgument, "a schedule's name is not empty");
  return AskSchedule(*core_, MessageType::kScheduleList, name,
                     [&](uint64_t number) { return EncodeScheduleList(number, name, ""); });
}

absl::StatusOr<ScheduleInfo> Client::PauseSchedule(const std::string& name, bool paused) {
  return AskSchedule(*core_, MessageType::kSchedulePause, name,
                     [&](uint64_t number) { return EncodeSchedulePause(number, name, paused); });
}

absl::StatusOr<TaskId> Client::TriggerSchedule(const std::string& name) {
  ZS_ASSIGN_OR_RETURN(std::vector<ItemResult> items,
                      AskForItems(*core_, MessageType::kScheduleRun, [&](uint64_t number) {
                        return EncodeScheduleRun(number, name, 0, 0);
                      }));
  if (items.size() != 1) return NoAnswer("SCHEDULE_RUN");
  ZS_RETURN_IF_ERROR(items[0].status);
  return items[0].id;
}

absl::StatusOr<std::vector<ItemResult>> Client::BackfillSchedule(const std::string& name,
                                                                 int64_t from_ms, int64_t to_ms) {
  // 0, 0 would be a task at once.
  if (from_ms <= 0 || to_ms < from_ms)
    return Error(ErrorCode::kInvalidArgument,
                 "from, to: must be a time that has passed, from its start to its end");
  return AskForItems(*core_, MessageType::kScheduleRun, [&](uint64_t number) {
    return EncodeScheduleRun(number, name, from_ms, to_ms);
  });
}

absl::Status Client::RemoveSchedule(const std::string& name) {
  ZS_ASSIGN_OR_RETURN(std::vector<ItemResult> items,
                      AskForItems(*core_, MessageType::kScheduleRemove, [&](uint64_t number) {
                        return EncodeScheduleRemove(number, name);
                      }));
  return items.size() == 1 ? items[0].status : NoAnswer("SCHEDULE_REMOVE");
}

}  // namespace zsched
