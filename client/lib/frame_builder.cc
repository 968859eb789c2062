#include "client/lib/frame_builder.h"

#include "client/lib/codec.h"

namespace zsched {
FrameBuilder::Text FrameBuilder::Share(std::string_view text, Shared* last) {
  if (last->valid && last->text == text) return last->offset;
  last->text.assign(text);
  last->offset = builder_.CreateString(text.data(), text.size());
  last->valid = true;
  return last->offset;
}

void FrameBuilder::Add(const TaskRecord& task) {
  tasks_.push_back(Write(task));
  bytes_ += BodyBytesFor(task);
}

FrameBuilder::Templates FrameBuilder::WriteFollowers(const TaskRecord& task,
                                                     FollowerBranch branch) {
  std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
  for (std::string_view rest = task.followers; !rest.empty();) {
    const TaskRecord next = ReadRecord(rest);
    rest.remove_prefix(next.header.size);
    if (next.header.branch == branch) specs.push_back(Write(next));
  }
  return specs.empty() ? Templates() : builder_.CreateVector(specs);
}

// Flattened: the builder calls a small function for each field, also for those that are absent.
[[gnu::flatten]] flatbuffers::Offset<wire::TaskSpec> FrameBuilder::Write(const TaskRecord& task) {
  const RecordHeader& header = task.header;
  Templates on_success, on_failure, on_complete;
  if (!task.followers.empty()) {
    on_success = WriteFollowers(task, FollowerBranch::kSuccess);
    on_failure = WriteFollowers(task, FollowerBranch::kFailure);
    on_complete = WriteFollowers(task, FollowerBranch::kComplete);
  }
  labels_.clear();
  std::string_view labels = task.labels;
  for (uint32_t i = 0; i < header.labels; ++i) {
    const LabelView label = ReadLabel(&labels);
    const Text key = builder_.CreateString(label.key.data(), label.key.size());
    const Text value = builder_.CreateString(label.value.data(), label.value.size());
    labels_.push_back(wire::CreateLabel(builder_, key, value));
  }
  const Text type = Share(task.type, &type_);
  Text queue, content_type;
  if (task.queue != kDefaultQueue) queue = Share(task.queue, &queue_);
  if (!task.content_type.empty()) content_type = Share(task.content_type, &content_type_);
  flatbuffers::Offset<flatbuffers::Vector<uint8_t>> payload;
  if (!task.payload.empty())
    payload = builder_.CreateVector(reinterpret_cast<const uint8_t*>(task.payload.data()),
                                    task.payload.size());
  flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::Label>>> label_vector;
  if (!labels_.empty()) label_vector = builder_.CreateVector(labels_);
  auto optional = [this](std::string_view text) {
    return text.empty() ? Text() : builder_.CreateString(text.data(), text.size());
  };
  const Text key = optional(task.key);
  // Neighbours often share these, and the broker then finds their lane without a look.
  Text concurrency_key, fairness_key;
  if (!task.concurrency_key.empty())
    concurrency_key = Share(task.concurrency_key, &concurrency_key_);
  if (!task.fairness_key.empty()) fairness_key = Share(task.fairness_key, &fairness_key_);
  const Text correlation_id = optional(task.correlation_id),
             traceparent = optional(task.traceparent);
  return wire::CreateTaskSpec(
      builder_, type, queue, payload, content_type, header.priority,
      static_cast<wire::Durability>(header.durability), header.max_attempts, header.timeout_ms,
      header.delay_ms, header.run_at_ms, header.retry_base_ms, header.retry_cap_ms, label_vector,
      key, concurrency_key, fairness_key, correlation_id, traceparent,
      static_cast<wire::Delivery>(header.delivery), on_success, on_failure, on_complete,
      header.pass_result, task.extras.start_within_ms, task.extras.start_by_ms);
}

std::string FrameBuilder::Finish(uint64_t seq, uint64_t acked_below, bool notify) {
  const auto tasks = builder_.CreateVector(tasks_);
  builder_.Finish(wire::CreateSubmit(builder_, seq, acked_below, notify, tasks));
  std::string body(reinterpret_cast<const char*>(builder_.GetBufferPointer()), builder_.GetSize());
  builder_.Clear();
  tasks_.clear();
  for (Shared* shared : {&type_, &queue_, &content_type_, &concurrency_key_, &fairness_key_})
    shared->valid = false;
  bytes_ = kFrameOverheadBytes;
  return body;
}

void AppendRecord(const wire::TaskSpec& task, std::string* out) {
  AppendRecord(ReadTask(task), out);
}

}  // namespace zsched
