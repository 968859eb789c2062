#include "absl/strings/str_cat.h"
#include "schemas/errors.h"
#include "schemas/verify.h"
#include "tests/golden/dialogue.h"

namespace zsched::golden {
namespace {

template <class T>
const T& Read(std::string_view body) {
  return *flatbuffers::GetRoot<T>(body.data());
}
std::string Task(uint64_t id) { return ToString(TaskId(id)); }

std::string Leases(const flatbuffers::Vector<uint64_t>* leases) {
  std::string text;
  if (leases != nullptr)
    for (uint64_t lease : *leases) absl::StrAppend(&text, " ", ToString(LeaseId(lease)));
  return text;
}

std::string DescribeSubmitAck(const wire::SubmitAck& ack) {
  std::string text = absl::StrCat("SUBMIT_ACK seq ", ack.seq(), ": ");
  if (ack.accepted() > 0)
    absl::StrAppend(&text, Task(ack.first_id()), "..", Task(ack.first_id() + ack.accepted() - 1),
                    ack.durability() == wire::Durability::kMemory ? " in memory" : " on disk");
  if (ack.duplicate()) absl::StrAppend(&text, ", as answered before");
  if (ack.rejected() != nullptr)
    for (const wire::Rejected* reject : *ack.rejected())
      absl::StrAppend(&text, " [", reject->index(), " ",
                      std::string(TextOf(ErrorFromNumber(reject->code()))), "]");
  return text;
}

std::string DescribeOutcomes(const wire::Outcomes& outcomes) {
  std::string text =
      outcomes.request() == 0 ? "OUTCOMES" : absl::StrCat("OUTCOMES to ", outcomes.request());
  if (outcomes.succeeded() != nullptr)
    for (uint64_t id : *outcomes.succeeded()) absl::StrAppend(&text, " ", Task(id), " succeeded");
  if (outcomes.outcomes() != nullptr)
    for (const wire::Outcome* outcome : *outcomes.outcomes())
      absl::StrAppend(
          &text, " ", Task(outcome->id()), " ",
          std::string(outcome->error_code() == 0 ? "succeeded"
                                                 : TextOf(ErrorFromNumber(outcome->error_code()))));
  return text;
}

std::string DescribeTasks(const wire::Tasks& tasks) {
  std::string text = "TASKS";
  for (const wire::Assignment* task : *tasks.tasks())
    absl::StrAppend(&text, " ", Task(task->task_id()), "/", ToString(LeaseId(task->lease_id())),
                    "/", task->attempt());
  return text;
}

}  // namespace

std::string Describe(const FrameHeader& header, std::string_view body) {
  switch (header.type) {
    case MessageType::kWelcome:
      return absl::StrCat("WELCOME session ", ToString(SessionId(header.session)));
    case MessageType::kWorkerWelcome: {
      std::string stale = Leases(Read<wire::WorkerWelcome>(body).stale());
      return absl::StrCat("WORKER_WELCOME session ", ToString(SessionId(header.session)),
                          stale.empty() ? "" : ", stale:", stale);
    }
    case MessageType::kSubmitAck:
      return DescribeSubmitAck(Read<wire::SubmitAck>(body));
    case MessageType::kOutcomes:
      return DescribeOutcomes(Read<wire::Outcomes>(body));
    case MessageType::kTasks:
      return DescribeTasks(Read<wire::Tasks>(body));
    case MessageType::kResultAck: {
      const auto& ack = Read<wire::ResultAck>(body);
      std::string stale = Leases(ack.stale());
      return absl::StrCat("RESULT_ACK seq ", ack.seq(), stale.empty() ? "" : ", stale:", stale);
    }
    case MessageType::kCancel: {
      const auto& cancel = Read<wire::Cancel>(body);
      return absl::StrCat("CANCEL ", std::string(TextOf(ErrorFromNumber(cancel.code()))), ":",
                          Leases(cancel.leases()));
    }
    case MessageType::kRecall:
      return "RECALL:" + Leases(Read<wire::Recall>(body).leases());
    case MessageType::kHeartbeatAck: {
      const wire::HeartbeatAck* ack = nullptr;
      bool resync = VerifyOptionalBody(body, &ack) && ack != nullptr && ack->resync();
      return resync ? "HEARTBEAT_ACK, ask again" : "HEARTBEAT_ACK";
    }
    case MessageType::kError: {
      const auto& error = Read<wire::Error>(body);
      return "ERROR " + std::string(TextOf(ErrorFromNumber(error.code())));
    }
    case MessageType::kItemReply: {
      std::string text = "ITEM_REPLY";
      for (const wire::ItemResult* item : *Read<wire::ItemReply>(body).items())
        absl::StrAppend(&text, " ", Task(item->id()), " ",
                        std::string(TextOf(ErrorFromNumber(item->code()))));
      return text;
    }
    case MessageType::kGoodbye:
      return "GOODBYE";
    default:
      return absl::StrCat("frame of type ", static_cast<int>(header.type));
  }
}

}  // namespace zsched::golden
