#include "zsched/client.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "base/check.h"
#include "client/lib/codec.h"
#include "client/lib/core.h"

namespace zsched {

absl::StatusOr<std::unique_ptr<Client>> Client::Create(ClientOptions options) {
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<Core> core, Core::Create(std::move(options)));
  return std::unique_ptr<Client>(new Client(std::move(core)));
}

Client::Client(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Client::~Client() = default;

absl::Status Client::WaitForBroker(int64_t timeout_ms) { return core_->WaitForBroker(timeout_ms); }
absl::Status Client::Flush(int64_t timeout_ms) { return core_->Flush(timeout_ms); }
absl::Status Client::Close(int64_t timeout_ms) { return core_->Close(timeout_ms); }
ClientStats Client::stats() const { return core_->stats(); }
Uuid Client::id() const { return core_->id(); }

// --- Submitting ---

std::future<absl::StatusOr<TaskId>> Client::Submit(const TaskSpec& task) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<TaskId>>>();
  std::future<absl::StatusOr<TaskId>> future = promise->get_future();
  absl::Status taken =
      Submit(task, [promise](absl::StatusOr<TaskId> id) { promise->set_value(std::move(id)); });
  if (!taken.ok()) promise->set_value(std::move(taken));
  return future;
}

absl::Status Client::Submit(const TaskSpec& task, AckCallback on_ack, OutcomeCallback on_outcome,
                            SubmitOptions options) {
  const bool notify = options.notify || on_outcome != nullptr;
  Segment segment;
  segment.on_ack = std::move(on_ack);
  segment.on_outcome = std::move(on_outcome);
  return core_->Put(std::span(&task, 1), std::move(segment), notify, options.block_ms);
}

std::future<absl::StatusOr<Outcome>> Client::Run(const TaskSpec& task) {
  // Answered by whichever of the two callbacks ends the matter; when the client is closed before
  // the outcome came, by the destruction of both.
  struct Answer {
    std::promise<absl::StatusOr<Outcome>> promise;
    bool given = false;
    void Give(absl::StatusOr<Outcome> outcome) {
      if (!given) promise.set_value(std::move(outcome));
      given = true;
    }
    ~Answer() {
      Give(Error(ErrorCode::kUnavailable, "the client was closed before the outcome came"));
    }
  };
  auto answer = std::make_shared<Answer>();
  std::future<absl::StatusOr<Outcome>> future = answer->promise.get_future();
  absl::Status taken = Submit(
      task,
      [answer](absl::StatusOr<TaskId> id) {
        if (!id.ok()) answer->Give(id.status());
      },
      [answer](Outcome& outcome) { answer->Give(std::move(outcome)); });
  if (!taken.ok()) answer->Give(std::move(taken));
  return future;
}

std::future<BatchAck> Client::SubmitBatch(std::span<const TaskSpec> tasks, SubmitOptions options) {
  auto promise = std::make_shared<std::promise<BatchAck>>();
  std::future<BatchAck> future = promise->get_future();
  absl::Status taken = SubmitBatch(
      tasks, [promise](BatchAck ack) { promise->set_value(std::move(ack)); }, options);
  if (taken.ok()) return future;
  BatchAck refused;
  refused.ids.resize(tasks.size());
  for (uint32_t i = 0; i < tasks.size(); ++i) refused.rejected.push_back({i, taken});
  promise->set_value(std::move(refused));
  return future;
}

absl::Status Client::SubmitBatch(std::span<const TaskSpec> tasks, BatchCallback on_ack,
                                 SubmitOptions options) {
  if (tasks.empty()) {
    if (on_ack) on_ack(BatchAck());
    return absl::OkStatus();
  }
  if (tasks.size() > std::numeric_limits<uint32_t>::max())
    return Error(ErrorCode::kTooLarge, "a batch of over 4294967295 tasks; split it");
  Segment segment;
  segment.batch = std::make_shared<BatchState>();
  segment.batch->on_ack = std::move(on_ack);
  segment.batch->ack.ids.resize(tasks.size());
  segment.batch->left = tasks.size();
  return core_->Put(tasks, std::move(segment), options.notify, options.block_ms);
}

// --- Waiting ---

void Client::WaitEach(std::span<const TaskId> ids, int64_t timeout_ms, OutcomeCallback on_outcome,
                      absl::AnyInvocable<void(absl::Status)> on_done) {
  auto group = std::make_shared<WaitGroup>();
  absl::flat_hash_set<TaskId> seen;
  for (TaskId id : ids)
    if (seen.insert(id).second) group->ids.push_back(id);
  group->on_outcome = std::move(on_outcome);
  group->on_done = std::move(on_done);
  const int64_t now_ms = SystemNow().mono_ms;
  group->deadline_ms = timeout_ms == kForever || timeout_ms > Session::kNever - now_ms
                           ? Session::kNever
                           : now_ms + timeout_ms;
  core_->AddWait(std::move(group));
}

absl::StatusOr<std::vector<Outcome>> Client::WaitAll(std::span<const TaskId> ids,
                                                     int64_t timeout_ms) {
  ZS_RETURN_IF_ERROR(core_->CheckMayWait());
  // Written by the background thread until `done`, read here after it.
  absl::flat_hash_map<TaskId, Outcome> outcomes;
  std::promise<absl::Status> done;
  WaitEach(
      ids, timeout_ms,
      [&outcomes](Outcome& outcome) { outcomes.emplace(outcome.id, std::move(outcome)); },
      [&done](absl::Status status) { done.set_value(std::move(status)); });
  ZS_RETURN_IF_ERROR(done.get_future().get());
  std::vector<Outcome> in_order;
  in_order.reserve(ids.size());
  for (TaskId id : ids) in_order.push_back(outcomes[id]);
  return in_order;
}

absl::StatusOr<Outcome> Client::Wait(TaskId id, int64_t timeout_ms) {
  ZS_ASSIGN_OR_RETURN(std::vector<Outcome> outcomes, WaitAll(std::span(&id, 1), timeout_ms));
  return std::move(outcomes.front());
}

// --- Queries ---

absl::StatusOr<GetResult> Client::Get(std::span<const TaskId> ids) {
  GetResult result;
  while (!ids.empty()) {
    const auto part = ids.first(std::min(ids.size(), kMaxQueryIds));
    size_t answered = 0;
    ZS_RETURN_IF_ERROR(core_->Ask<wire::TaskInfos>(
        MessageType::kGet, MessageType::kTaskInfos,
        [part](uint64_t number) { return EncodeGet(number, part); },
        [&result, &answered](const wire::TaskInfos& infos) {
          answered = infos.answered();
          if (infos.tasks() != nullptr)
            for (const wire::TaskInfo* info : *infos.tasks())
              result.tasks.push_back(ReadTaskInfo(*info));
          if (infos.missing() != nullptr)
            for (uint64_t id : *infos.missing()) result.missing.emplace_back(id);
          return absl::OkStatus();
        }));
    if (answered == 0 || answered > part.size())
      return Error(ErrorCode::kMalformed, "the broker's answer to GET covers no id that was asked");
    ids = ids.subspan(answered);
  }
  return result;
}

absl::StatusOr<TaskInfo> Client::Get(TaskId id) {
  ZS_ASSIGN_OR_RETURN(GetResult result, Get(std::span(&id, 1)));
  if (result.tasks.empty())
    return Error(ErrorCode::kNotFound, "task " + ToString(id) + " does not exist");
  return std::move(result.tasks.front());
}

absl::StatusOr<TaskExplanation> Client::Explain(TaskId id) {
  std::optional<TaskExplanation> explanation;
  ZS_RETURN_IF_ERROR(core_->Ask<wire::Explanation>(
      MessageType::kExplain, MessageType::kExplanation,
      [id](uint64_t number) { return EncodeExplain(number, id); },
      [&](const wire::Explanation& from) {
        if (from.found()) explanation = ReadExplanation(from);
        return absl::OkStatus();
      }));
  if (explanation) return *std::move(explanation);
  // The broker explains what is not over; of the rest there is a row.
  ZS_ASSIGN_OR_RETURN(const TaskInfo task, Get(id));
  return TaskExplanation{.state = task.state};
}

absl::StatusOr<TaskHistory> Client::History(TaskId id) {
  absl::StatusOr<TaskHistory> history;
  ZS_RETURN_IF_ERROR(core_->Ask<wire::HistoryInfo>(
      MessageType::kHistory, MessageType::kHistoryInfo,
      [id](uint64_t number) { return EncodeHistory(number, id); },
      [&](const wire::HistoryInfo& info) {
        if (info.found())
          history = ReadHistory(info);
        else
          history = Error(ErrorCode::kNotFound, "task " + ToString(id) + " does not exist");
        return absl::OkStatus();
      }));
  return history;
}

absl::StatusOr<TaskOutput> Client::Logs(TaskId id, uint32_t attempt, uint64_t from) {
  if (attempt > UINT16_MAX)
    return Error(ErrorCode::kInvalidArgument, "attempts are numbered up to 65535");
  absl::StatusOr<TaskOutput> output;
  ZS_RETURN_IF_ERROR(core_->Ask<wire::LogPages>(
      MessageType::kLogs, MessageType::kLogPages,
      [=](uint64_t number) { return EncodeLogs(number, id, attempt, from); },
      [&](const wire::LogPages& pages) {
        if (pages.found())
          output = ReadLogs(pages, from);
        else
          output = Error(ErrorCode::kNotFound, "task " + ToString(id) + " does not exist");
        return absl::OkStatus();
      }));
  return output;
}

absl::StatusOr<ListPageResult> Client::ListPage(const ListQuery& query) {
  if (query.label.size() > 1)
    return Error(ErrorCode::kInvalidArgument, "a list filters by one label at most");
  ListQuery page = query;
  if (page.limit == 0) page.limit = kDefaultListLimit;
  page.limit = std::min(page.limit, kMaxListLimit);
  ListPageResult result;
  ZS_RETURN_IF_ERROR(core_->Ask<wire::TaskInfos>(
      MessageType::kList, MessageType::kTaskInfos,
      [&page](uint64_t number) { return EncodeList(number, page); },
      [&result](const wire::TaskInfos& infos) {
        result.next_cursor = TaskId(infos.next_cursor());
        if (infos.tasks() != nullptr)
          for (const wire::TaskInfo* info : *infos.tasks())
            result.tasks.push_back(ReadTaskInfo(*info));
        return absl::OkStatus();
      }));
  const bool stands = query.descending ? query.cursor && result.next_cursor >= query.cursor
                                       : result.next_cursor <= query.cursor;
  if (result.next_cursor && stands)
    return Error(ErrorCode::kMalformed, "the broker's answer to LIST does not get on");
  return result;
}

namespace {

// Asks for something to be done to each of the ids, in as many requests as it takes. `encode` makes the
// body of one. (Core is private to Client.)
template <class Core, class Encode>
absl::StatusOr<std::vector<ItemResult>> AskItems(Core& core, MessageType type, Encode encode,
                                                 std::span<const TaskId> ids) {
  std::vector<ItemResult> results;
  while (!ids.empty()) {
    const auto part = ids.first(std::min(ids.size(), kMaxQueryIds));
    ZS_RETURN_IF_ERROR(core.template Ask<wire::ItemReply>(
        type, MessageType::kItemReply,
        [part, encode](uint64_t number) { return encode(number, part); },
        [&results](const wire::ItemReply& reply) {
          if (reply.items() != nullptr)
            for (const wire::ItemResult* item : *reply.items())
              results.push_back({TaskId(item->id()), ReadItemStatus(*item)});
          return absl::OkStatus();
        }));
    ids = ids.subspan(part.size());
  }
  return results;
}

}  // namespace

absl::StatusOr<std::vector<ItemResult>> Client::Retry(std::span<const TaskId> ids) {
  return AskItems(
      *core_, MessageType::kRetry,
      [](uint64_t number, std::span<const TaskId> part) { return EncodeRetry(number, part); }, ids);
}

absl::StatusOr<std::vector<ItemResult>> Client::DeleteDead(std::span<const TaskId> ids) {
  return AskItems(
      *core_, MessageType::kDeadDelete,
      [](uint64_t number, std::span<const TaskId> part) { return EncodeDeadDelete(number, part); },
      ids);
}

absl::StatusOr<std::vector<ItemResult>> Client::Cancel(std::span<const TaskId> ids) {
  return AskItems(*core_, MessageType::kCancelTasks, EncodeCancel, ids);
}

absl::StatusOr<StatusInfo> Client::Status() {
  StatusInfo status;
  ZS_RETURN_IF_ERROR(core_->Ask<wire::StatusReply>(MessageType::kStatus, MessageType::kStatusReply,
                                                   EncodeStatus,
                                                   [&status](const wire::StatusReply& reply) {
                                                     status = ReadStatus(reply);
                                                     return absl::OkStatus();
                                                   }));
  return status;
}

absl::StatusOr<EventPage> Client::Events(const EventQuery& query) {
  EventQuery ask = query;
  if (ask.limit == 0) ask.limit = kDefaultEventLimit;
  ask.limit = std::min(ask.limit, kMaxEventLimit);
  EventPage page;
  ZS_RETURN_IF_ERROR(core_->Ask<wire::EventPage>(
      MessageType::kEvents, MessageType::kEventPage,
      [&ask](uint64_t number) { return EncodeEvents(number, ask); },
      [&page](const wire::EventPage& from) {
        page = ReadEvents(from);
        return absl::OkStatus();
      }));
  const auto place = [](const EventPosition& at) { return std::pair(at.after, at.skip); };
  if (!page.trimmed && query.from != kEventsFromNow && place(page.next) < place(query.from))
    return Error(ErrorCode::kMalformed, "the broker's answer to EVENTS goes backwards");
  return page;
}

absl::StatusOr<std::vector<WorkerSummary>> Client::Workers() {
  std::vector<WorkerSummary> workers;
  ZS_RETURN_IF_ERROR(
      core_->Ask<wire::WorkerInfos>(MessageType::kWorkerList, MessageType::kWorkerInfos,
                                    EncodeWorkerList, [&workers](const wire::WorkerInfos& infos) {
                                      if (infos.workers() != nullptr)
                                        for (const wire::WorkerInfo* info : *infos.workers())
                                          workers.push_back(ReadWorker(*info));
                                      return absl::OkStatus();
                                    }));
  return workers;
}

absl::Status Client::DrainWorker(const std::string& worker) {
  return core_->Ask<wire::ItemReply>(
      MessageType::kWorkerDrain, MessageType::kItemReply,
      [&worker](uint64_t number) { return EncodeWorkerDrain(number, worker); },
      [](const wire::ItemReply& reply) {
        if (reply.items() == nullptr || reply.items()->size() != 1)
          return Error(ErrorCode::kMalformed, "the broker's answer names no worker");
        return ReadItemStatus(*reply.items()->Get(0));
      });
}

absl::Status Client::Switchover() {
  // With the epoch: sent again after a lost answer, it does not change them back.
  absl::StatusOr<StatusInfo> now = Status();
  if (!now.ok()) return now.status();
  return core_->AskCluster(wire::ClusterAction::kSwitchover, /*force=*/false, now->epoch);
}

absl::Status Client::Promote(bool force) {
  return core_->AskCluster(wire::ClusterAction::kPromote, force, Epoch());
}

// --- TaskLister ---

TaskLister Client::ListTasks(ListQuery query) { return TaskLister(this, std::move(query)); }

TaskLister::TaskLister(Client* client, ListQuery query)
    : client_(client),
      query_(std::move(query)),
      remaining_(query_.limit == 0 ? std::numeric_limits<size_t>::max() : query_.limit),
      cursor_(query_.cursor) {}

bool TaskLister::Next(TaskInfo* task) {
  while (next_ == page_.size()) {
    if (complete_ || remaining_ == 0 || !status_.ok()) return false;
    query_.limit = std::min(remaining_, kMaxListLimit);
    absl::StatusOr<ListPageResult> page = client_->ListPage(query_);
    if (!page.ok()) {
      status_ = page.status();
      return false;
    }
    page_ = std::move(page->tasks);
    next_ = 0;
    query_.cursor = page->next_cursor;
    complete_ = !page->next_cursor;
    if (page_.size() > remaining_) page_.resize(remaining_);
    remaining_ -= page_.size();
  }
  *task = std::move(page_[next_++]);
  cursor_ = task->id;
  if (next_ == page_.size()) cursor_ = query_.cursor;
  return true;
}

}  // namespace zsched
