// Client's calls about queues and types of tasks.
#include "base/check.h"
#include "client/lib/codec.h"
#include "client/lib/core.h"

namespace zsched {
namespace {

// What the two have in common: how they are listed, and how one is read from an answer.
struct OfQueues {
  using Info = QueueInfo;
  using Infos = wire::QueueInfos;
  static constexpr MessageType kList = MessageType::kQueueList, kInfos = MessageType::kQueueInfos;
  static constexpr const char* kWhat = "queue";
  static constexpr auto Encode = EncodeQueueList;
  static const auto* List(const Infos& infos) { return infos.queues(); }
  static Info Read(const wire::QueueInfo& from) { return ReadQueue(from); }
};
struct OfTypes {
  using Info = TypeInfo;
  using Infos = wire::TypeInfos;
  static constexpr MessageType kList = MessageType::kTypeList, kInfos = MessageType::kTypeInfos;
  static constexpr const char* kWhat = "type";
  static constexpr auto Encode = EncodeTypeList;
  static const auto* List(const Infos& infos) { return infos.types(); }
  static Info Read(const wire::TypeInfo& from) { return ReadType(from); }
};

// (Core is private to Client.)
template <class Of, class Core>
absl::StatusOr<std::vector<typename Of::Info>> AskAll(Core& core) {
  std::vector<typename Of::Info> all;
  for (bool complete = false; !complete;) {
    const std::string cursor = all.empty() ? "" : all.back().name;
    const size_t before = all.size();
    ZS_RETURN_IF_ERROR(core.template Ask<typename Of::Infos>(
        Of::kList, Of::kInfos, [&](uint64_t number) { return Of::Encode(number, "", cursor); },
        [&](const typename Of::Infos& infos) {
          complete = infos.complete();
          if (Of::List(infos) != nullptr)
            for (const auto* info : *Of::List(infos)) all.push_back(Of::Read(*info));
          return absl::OkStatus();
        }));
    const bool rises = all.size() > before && all.back().name > cursor;
    if (!complete && !rises)
      return Error(ErrorCode::kMalformed,
                   std::string("the broker's list of ") + Of::kWhat + "s does not go on");
  }
  return all;
}

template <class Of, class Core, class Encode>
absl::StatusOr<typename Of::Info> AskOne(Core& core, MessageType type, const std::string& name,
                                         Encode encode) {
  if (name.empty())
    return Error(ErrorCode::kInvalidArgument,
                 std::string("a ") + Of::kWhat + "'s name is not empty");
  absl::StatusOr<typename Of::Info> answer;
  ZS_RETURN_IF_ERROR(core.template Ask<typename Of::Infos>(
      type, Of::kInfos, encode, [&](const typename Of::Infos& infos) {
        const auto* list = Of::List(infos);
        if (list != nullptr && list->size() > 0)
          answer = Of::Read(*list->Get(0));
        else
          answer = Error(ErrorCode::kNotFound,
                         std::string(Of::kWhat) + " '" + name + "' does not exist");
        return absl::OkStatus();
      }));
  return answer;
}

}  // namespace

absl::StatusOr<std::vector<QueueInfo>> Client::Queues() { return AskAll<OfQueues>(*core_); }

absl::StatusOr<QueueInfo> Client::GetQueue(const std::string& name) {
  return AskOne<OfQueues>(*core_, MessageType::kQueueList, name,
                          [&](uint64_t number) { return EncodeQueueList(number, name, ""); });
}

absl::StatusOr<QueueInfo> Client::SetQueue(const std::string& name, const QueueChange& change) {
  return AskOne<OfQueues>(*core_, MessageType::kQueueSet, name,
                          [&](uint64_t number) { return EncodeQueueSet(number, name, change); });
}

absl::StatusOr<uint64_t> Client::PurgeQueue(const std::string& name,
                                            const std::function<void(uint64_t)>& progress) {
  constexpr TaskState kWaiting[] = {TaskState::kScheduled, TaskState::kReady,
                                    TaskState::kRetryWait};
  ZS_ASSIGN_OR_RETURN(const QueueInfo queue, GetQueue(name));
  uint64_t most = 0;  // or a producer that is faster would keep it going for ever
  for (TaskState state : kWaiting) most += queue.counts[static_cast<size_t>(state)];
  ListQuery query{.queue = name, .states = {std::begin(kWaiting), std::end(kWaiting)}};
  query.brief = true;
  uint64_t cancelled = 0;
  for (bool complete = false; !complete && cancelled < most;) {
    query.limit = std::min<uint64_t>(kMaxListLimit, most - cancelled);
    ZS_ASSIGN_OR_RETURN(const ListPageResult page, ListPage(query));
    complete = !page.next_cursor;
    query.cursor = page.next_cursor;
    if (page.tasks.empty()) continue;
    std::vector<TaskId> ids;
    for (const TaskInfo& task : page.tasks) ids.push_back(task.id);
    ZS_ASSIGN_OR_RETURN(const std::vector<ItemResult> results, Cancel(ids));
    for (const ItemResult& result : results) cancelled += result.status.ok() ? 1 : 0;
    if (progress) progress(cancelled);
  }
  return cancelled;
}

absl::StatusOr<std::vector<TypeInfo>> Client::Types() { return AskAll<OfTypes>(*core_); }

absl::StatusOr<TypeInfo> Client::GetType(const std::string& name) {
  return AskOne<OfTypes>(*core_, MessageType::kTypeList, name,
                         [&](uint64_t number) { return EncodeTypeList(number, name, ""); });
}

absl::StatusOr<TypeInfo> Client::SetType(const std::string& name, const TypeChange& change) {
  return AskOne<OfTypes>(*core_, MessageType::kTypeSet, name,
                         [&](uint64_t number) { return EncodeTypeSet(number, name, change); });
}

}  // namespace zsched
