// SUBMIT: each task is judged alone, the frame is recorded as it came, the client's (id, seq) is
// remembered with it.
#include <algorithm>
#include <array>

#include "base/planted.h"
#include "broker/core/core.h"
#include "broker/core/record_writer.h"
#include "broker/core/validate.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

// How long a client should keep back what was refused for lack of room: a few rounds of a busy
// broker.
constexpr uint32_t kFullRetryMs = 100;
constexpr uint32_t kDrainingRetryMs = 1'000;  // a person ends it
constexpr char kWindowUsedUp[] = "the submit window is used up; wait for acknowledgements";

// The stricter of a queue's own limit, if it has one, and the broker's.
uint64_t LimitOf(uint64_t own, uint64_t general) {
  return own == 0 ? general : std::min(own, general);
}

// Of the producer's remembered submits, those the client does not yet say it has an answer to.
size_t Outstanding(const Producer* producer, uint64_t acked_below) {
  if (producer == nullptr) return 0;
  size_t count = 0;
  for (const SubmitMemory& submit : producer->submits)
    if (submit.seq >= acked_below) ++count;
  return count;
}

}  // namespace

void Core::OnSubmit(SessionId from, const wire::Submit& submit, std::string_view body, Now now) {
  ClientSession* client = FindClient(from);
  if (client == nullptr) return;
  metrics_.Add(Metric::kSubmitFrames);
  const Producer* producer = state_.FindProducer(client->client);
  if (RefuseSubmit(*client, submit, producer, body.size())) return;
  if (const SubmitMemory* memory = FindSubmit(producer, submit.seq())) {
    AckAgain(*client, *memory, submit);
    return;
  }
  SubmittedRecord record;
  record.client = client->client;
  record.seq = submit.seq();
  record.acked_below = submit.acked_below();
  record.first_id = MakeId<TaskId>(state_.epoch(), state_.meta().next_task).value();
  record.body_bytes = body.size();
  OpenedRecord opened = OpenRecord(RecordKind::kSubmitted, record);
  batch_.OpenRecord().append(body);

  SubmitAckEffect ack{.to = from, .wait = Lsn(0), .seq = submit.seq(), .rejected = {}};
  ack.first_id = record.first_id;
  ack.tasks = submit.tasks()->size();
  ack.bytes = body.size();
  auto watcher = submit.notify() ? static_cast<uint32_t>(CounterOf(from)) : 0;
  SubmitMemory memory = AcceptTasks(submit, watcher, now, ack);
  const auto repeated = static_cast<uint64_t>(
      std::count_if(ack.rejected.begin(), ack.rejected.end(),
                    [](const Reject& reject) { return reject.code == ErrorCode::kOk; }));
  if (repeated > 0) ack.reached = Durability::kDisk;
  memory.first_id = record.first_id;
  record.accepted = memory.accepted;
  record.rejected = static_cast<uint32_t>(memory.rejected.size());
  if (record.accepted == 0) {
    // Nothing happened: a resend may be judged anew.
    DropRecord(opened);
    ack.first_id = 0;
  } else {
    for (const ProducerReject& reject : memory.rejected) AppendStruct(batch_.OpenRecord(), reject);
    state_.SubmitRemembered(record.client, std::move(memory), record.acked_below, now.wall_ms);
    Lsn lsn = CloseRecord(opened, record, now);
    if (ack.reached != Durability::kMemory) ack.wait = lsn;
    if (ZS_PLANTED("submit-ack-early")) ack.wait = Lsn(0);
  }
  // The tasks that hold the keys may not be durable yet.
  const bool names_others = std::any_of(ack.rejected.begin(), ack.rejected.end(),
                                        [](const Reject& reject) { return reject.existing != 0; });
  if (names_others && !ZS_PLANTED("holder-not-awaited")) ack.wait = appended();
  metrics_.Add(Metric::kTasksSubmitted, record.accepted);
  metrics_.Add(Metric::kTasksRejected, ack.rejected.size() - repeated);
  metrics_.Add(Metric::kTasksRepeated, repeated);
  ++client->unacked_frames;
  client->unacked_tasks += ack.tasks;
  client->unacked_bytes += ack.bytes;
  effects_.push_back(std::move(ack));
}

void Core::OnSubmitBeyondWindow(SessionId from, const wire::Submit& submit) {
  ClientSession* client = FindClient(from);
  if (client == nullptr) return;
  metrics_.Add(Metric::kSubmitFrames);
  RefuseAll(*client, submit, Metric::kRejectedWindow, kWindowUsedUp);
}

SubmitMemory Core::AcceptTasks(const wire::Submit& submit, uint32_t watcher, Now now,
                               SubmitAckEffect& ack) {
  SubmitMemory memory{submit.seq(), 0, 0, {}};
  // Tasks of a frame mostly share their names, and then the same strings in the buffer.
  std::array<const flatbuffers::String*, 4> last{};
  uint32_t lane = 0;
  for (uint32_t i = 0; i < submit.tasks()->size(); ++i) {
    const wire::TaskSpec& spec = *submit.tasks()->Get(i);
    const std::array names{spec.queue(), spec.type(), spec.concurrency_key(), spec.fairness_key()};
    if (lane == 0 || names != last) lane = state_.lanes().Find(LaneOf(spec));
    last = names;
    Reject reject = Judge(spec, lane, now);
    if (!reject.created()) {
      reject.index = i;
      if (reject.code != ErrorCode::kOk) metrics_.Add(reject.reason);
      memory.rejected.push_back({i, static_cast<uint16_t>(reject.code), 0, reject.existing});
      ack.rejected.push_back(std::move(reject));
      continue;
    }
    if (lane == 0) lane = state_.CreateLane(batch_, LaneOf(spec));
    TaskId id = MakeId<TaskId>(state_.epoch(), state_.meta().next_task);
    uint32_t slot = state_.Submitted(batch_, id, lane, spec, now.wall_ms);
    state_.tasks()[slot].watcher = watcher;
    if (spec.durability() != Durability::kMemory) ack.reached = Durability::kDisk;
    ++memory.accepted;
  }
  ack.accepted = memory.accepted;
  return memory;
}

Reject Core::Judge(const wire::TaskSpec& spec, uint32_t lane, Now now) const {
  Verdict verdict = ValidateSpec(spec, config_.max_payload_bytes, now.wall_ms);
  if (verdict.code != ErrorCode::kOk) return {0, verdict.code, std::move(verdict.message), 0};
  if (spec.key() != nullptr)
    if (Reject reject = JudgeKey(spec); !reject.created()) return reject;
  return JudgeRoom(spec, lane);
}

// What is there already needs no room.
Reject Core::JudgeKey(const wire::TaskSpec& spec) const {
  const std::string_view key = TextOf(spec.key());
  const Keys& keys = state_.keys();
  const Keys::Holder held = keys.Find(HashKey(key));
  if (!held.any()) {
    if (keys.size() < config_.max_keys) return {};
    return {0,
            ErrorCode::kResourceExhausted,
            "the broker remembers as many keys as it may",
            kFullRetryMs,
            0,
            Metric::kRejectedKeysFull};
  }
  if (held.row->body_hash == HashBody(spec) || ZS_PLANTED("key-hides-body"))
    return {0, ErrorCode::kOk, {}, 0, held.task};
  return {0,
          ErrorCode::kConflict,
          "key: '" + std::string(key) + "' belongs to task " + ToString(TaskId(held.task)) +
              ", which has another type, queue or payload",
          0,
          held.task,
          Metric::kRejectedConflict};
}

Reject Core::JudgeRoom(const wire::TaskSpec& spec, uint32_t lane) const {
  auto full = [](Metric reason, std::string what) {
    return Reject{0, ErrorCode::kResourceExhausted, std::move(what), kFullRetryMs, 0, reason};
  };
  uint64_t bytes = BytesOf(spec.payload()).size();
  if (!disk_low_.empty()) return full(Metric::kRejectedDiskLow, disk_low_);
  if (state_.tasks().size() >= config_.max_tasks ||
      state_.unfinished_bytes() + bytes > config_.max_bytes)
    return full(Metric::kRejectedBrokerFull,
                "the broker is full: it holds " + std::to_string(state_.tasks().size()) +
                    " unfinished tasks; wait until workers have finished some");
  if (HasChain(spec) && state_.chains().bytes() >= config_.max_follow_bytes)
    return full(Metric::kRejectedChainsFull,
                "the templates of tasks that are not over are as large as they may be together");
  const std::string_view queue_name = LaneOf(spec).queue;
  const Queue* queue =
      lane != 0 ? &state_.lanes().queue_of(lane) : state_.lanes().FindQueue(queue_name);
  uint64_t queued = queue != nullptr ? queue->unfinished : 0;
  uint64_t queued_bytes = queue != nullptr ? queue->bytes : 0;
  static constexpr QueueRow kNoRules;
  const QueueRow& rules = queue != nullptr ? queue->settings : kNoRules;
  if (rules.draining)
    return {0,
            ErrorCode::kResourceExhausted,
            "queue '" + std::string(queue_name) +
                "' is draining: it takes no tasks until zsched-ctl queue resume " +
                std::string(queue_name),
            kDrainingRetryMs,
            0,
            Metric::kRejectedDraining};
  const bool too_many = queued >= LimitOf(rules.max_tasks, config_.max_queue_tasks);
  if (too_many || queued_bytes + bytes > LimitOf(rules.max_bytes, config_.max_queue_bytes))
    return full(too_many ? Metric::kRejectedQueueFullTasks : Metric::kRejectedQueueFullBytes,
                "queue '" + std::string(queue_name) + "' is full: it holds " +
                    std::to_string(queued) + " tasks, " + std::to_string(queued_bytes) +
                    " bytes; wait until workers have finished some");
  if (lane == 0 && (state_.lanes().size() >= config_.max_lanes ||
                    (queue == nullptr && state_.lanes().queues().size() >= config_.max_queues)))
    return full(
        Metric::kRejectedLanesFull,
        "the broker knows as many queues, types, concurrency and fairness keys as it may; use one "
        "that is there, or wait until tasks with such keys are over");
  return {};
}

// True when the frame as a whole is refused, and answered.
bool Core::RefuseSubmit(ClientSession& client, const wire::Submit& submit, const Producer* producer,
                        size_t bytes) {
  auto invalid = [&](ErrorCode code, std::string message) {
    effects_.push_back(ErrorEffect{client.id, Lsn(0), code, std::move(message), submit.seq()});
    return true;
  };
  size_t count = submit.tasks()->size();
  if (!client.client)
    return invalid(ErrorCode::kInvalidArgument, "HELLO gave no client id; SUBMIT needs one");
  if (submit.seq() == 0 || submit.acked_below() > submit.seq() || count == 0 ||
      count > kMaxSubmitTasks)
    return invalid(ErrorCode::kInvalidArgument,
                   "SUBMIT: seq must be from 1, acked_below at most seq, and tasks 1.." +
                       std::to_string(kMaxSubmitTasks));
  if (count > 1 && bytes > kMaxSubmitBytes)
    return invalid(ErrorCode::kTooLarge, "SUBMIT: a frame over " + std::to_string(kMaxSubmitBytes) +
                                             " bytes must have a single task; send several frames");
  if (producer != nullptr && submit.seq() < producer->acked_below)
    return invalid(ErrorCode::kStale, "SUBMIT: seq " + std::to_string(submit.seq()) +
                                          " was acknowledged and forgotten");
  if (FindSubmit(producer, submit.seq()) != nullptr) return false;
  if (Outstanding(producer, submit.acked_below()) >= kMaxOutstandingSubmits ||
      client.unacked_frames >= kMaxOutstandingSubmits) {
    RefuseAll(client, submit, Metric::kRejectedWindow,
              "more than " + std::to_string(kMaxOutstandingSubmits) +
                  " SUBMIT frames are not acknowledged");
    return true;
  }
  // A single frame is always let through, or a large one could never be.
  if (client.unacked_frames > 0 && (client.unacked_tasks + count > kSubmitWindowTasks ||
                                    client.unacked_bytes + bytes > kSubmitWindowBytes)) {
    RefuseAll(client, submit, Metric::kRejectedWindow, kWindowUsedUp);
    return true;
  }
  if (producer == nullptr && state_.producers().size() >= config_.max_producers) {
    RefuseAll(client, submit, Metric::kRejectedClientsFull,
              "the broker remembers as many clients as it may");
    return true;
  }
  if (!HasTaskIds(count)) {
    RefuseAll(client, submit, Metric::kRejectedIdsSpent, kNoTaskIds);
    return true;
  }
  return false;
}

void Core::RefuseAll(ClientSession& client, const wire::Submit& submit, Metric reason,
                     const std::string& why) {
  SubmitAckEffect ack{.to = client.id, .wait = Lsn(0), .seq = submit.seq(), .rejected = {}};
  for (uint32_t i = 0; i < submit.tasks()->size(); ++i)
    ack.rejected.push_back({i, ErrorCode::kResourceExhausted, i == 0 ? why : "", kFullRetryMs});
  metrics_.Add(Metric::kTasksRejected, ack.rejected.size());
  metrics_.Add(reason, ack.rejected.size());
  ++client.unacked_frames;
  effects_.push_back(std::move(ack));
}

// The answer of the first time. It waits for everything appended so far, which includes the first
// submit's record.
void Core::AckAgain(const ClientSession& client, const SubmitMemory& memory,
                    const wire::Submit& submit) {
  metrics_.Add(Metric::kSubmitDuplicates);
  SubmitAckEffect ack{.to = client.id, .wait = appended(), .seq = memory.seq, .rejected = {}};
  ack.first_id = memory.first_id;
  ack.accepted = memory.accepted;
  ack.duplicate = true;
  ack.reached = Durability::kDisk;
  for (const ProducerReject& reject : memory.rejected) {
    if (ZS_PLANTED("refusals-forgotten")) break;
    ErrorCode code = ErrorFromNumber(reject.code);
    ack.rejected.push_back({reject.index, code,
                            code == ErrorCode::kOk ? "" : "refused when it was first submitted",
                            IsRetryable(code) ? kFullRetryMs : 0, reject.existing});
  }
  if (submit.notify()) {
    auto watcher = static_cast<uint32_t>(CounterOf(client.id));
    for (uint64_t id = memory.first_id; id < memory.first_id + memory.accepted; ++id)
      if (uint32_t slot = state_.tasks().Find(TaskId(id)); slot != kNil)
        Watch(state_.tasks()[slot], watcher);
  }
  ClientSession& session = *FindClient(client.id);
  ++session.unacked_frames;
  effects_.push_back(std::move(ack));
}

void Core::OnSubmitAckSent(const SubmitAckEffect& ack) {
  ClientSession* client = FindClient(ack.to);
  if (client == nullptr) return;
  --client->unacked_frames;
  client->unacked_tasks -= ack.tasks;
  client->unacked_bytes -= ack.bytes;
}

}  // namespace zsched::broker
