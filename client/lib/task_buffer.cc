#include "client/lib/task_buffer.h"

#include <cstring>
#include <limits>
#include <new>

#include "fmt/format.h"

namespace zsched {
namespace {

struct LabelLengths {
  uint32_t key_bytes;
  uint32_t value_bytes;
};

// Most tasks have none, and are not to pay for it.
bool HasTemplates(const TaskSpec& task) {
  return !task.on_success.empty() || !task.on_failure.empty() || !task.on_complete.empty();
}

template <class Visit>
void ForEachTemplate(const TaskSpec& task, Visit visit) {
  for (const TaskSpec& next : task.on_success) visit(next, FollowerBranch::kSuccess);
  for (const TaskSpec& next : task.on_failure) visit(next, FollowerBranch::kFailure);
  for (const TaskSpec& next : task.on_complete) visit(next, FollowerBranch::kComplete);
}

bool HasExtras(const TaskSpec& task) {
  return !task.concurrency_key.empty() || !task.fairness_key.empty() ||
         !task.correlation_id.empty() || !task.traceparent.empty() || task.start_within_ms != 0 ||
         task.start_by_ms != 0 || HasTemplates(task);
}

// Behind its header.
size_t BodyBytes(const TaskSpec& task);
size_t FollowerBytes(const TaskSpec& task) {
  if (!HasTemplates(task)) return 0;
  size_t bytes = 0;
  ForEachTemplate(task, [&](const TaskSpec& next, FollowerBranch) {
    bytes += sizeof(RecordHeader) + BodyBytes(next);
  });
  return bytes;
}

size_t BodyBytes(const TaskSpec& task) {
  size_t bytes = task.type.size() + task.queue.size() + task.payload.size() +
                 task.content_type.size() + task.key.size();
  for (const Label& label : task.labels)
    bytes += sizeof(LabelLengths) + label.key.size() + label.value.size();
  if (!HasExtras(task)) return bytes;
  return bytes + sizeof(RecordExtras) + task.concurrency_key.size() + task.fairness_key.size() +
         task.correlation_id.size() + task.traceparent.size() + FollowerBytes(task);
}

void CountTemplates(const TaskSpec& task, RecordExtras* extras) {
  ForEachTemplate(task, [&](const TaskSpec& next, FollowerBranch) {
    ++extras->templates;
    extras->template_labels += static_cast<uint32_t>(next.labels.size());
    CountTemplates(next, extras);
  });
}

// All but the size, which is that of the whole.
absl::Status CheckNumbers(const TaskSpec& task, int depth) {
  if (task.priority < 0 || task.priority >= kPriorities)
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("priority {} is not in 0..{}", task.priority, kPriorities - 1));
  if (task.max_attempts > kMaxMaxAttempts)
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("max_attempts {} is over {}", task.max_attempts, kMaxMaxAttempts));
  if (task.labels.size() > kMaxLabels)
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{} labels are over {}", task.labels.size(), kMaxLabels));
  // The verifier of the broker would refuse the frame, and all others in it.
  if (depth > kMaxChainDepth)
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("a chain is at most {} deep", kMaxChainDepth));
  absl::Status status;
  if (!HasTemplates(task)) return status;
  ForEachTemplate(task, [&](const TaskSpec& next, FollowerBranch) {
    if (status.ok()) status = CheckNumbers(next, depth + 1);
  });
  return status;
}

void Append(const TaskSpec& task, FollowerBranch branch, std::string* out);

}  // namespace

absl::Status CheckEncodable(const TaskSpec& task) {
  if (absl::Status numbers = CheckNumbers(task, 0); !numbers.ok()) return numbers;
  if (HasTemplates(task)) {
    RecordExtras sums;
    CountTemplates(task, &sums);
    if (sums.templates > kMaxTemplates)
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("{} templates are over {}", sums.templates, kMaxTemplates));
  }
  if (const size_t bytes = BodyBytes(task); bytes > kMaxTaskBytes)
    return Error(ErrorCode::kTooLarge, fmt::format("a task of {} bytes is over the {} that a frame "
                                                   "can carry; pass a reference to the data",
                                                   bytes, kMaxTaskBytes));
  return absl::OkStatus();
}

void AppendRecord(const TaskSpec& task, std::string* out) {
  Append(task, FollowerBranch::kNone, out);
}

namespace {

void AppendExtras(const TaskSpec& task, std::string* out) {
  RecordExtras extras{.concurrency_key_bytes = static_cast<uint32_t>(task.concurrency_key.size()),
                      .fairness_key_bytes = static_cast<uint32_t>(task.fairness_key.size()),
                      .correlation_id_bytes = static_cast<uint32_t>(task.correlation_id.size()),
                      .traceparent_bytes = static_cast<uint32_t>(task.traceparent.size()),
                      .follower_bytes = static_cast<uint32_t>(FollowerBytes(task)),
                      .start_within_ms = task.start_within_ms,
                      .start_by_ms = task.start_by_ms};
  CountTemplates(task, &extras);
  out->append(reinterpret_cast<const char*>(&extras), sizeof(extras));
  out->append(task.concurrency_key)
      .append(task.fairness_key)
      .append(task.correlation_id)
      .append(task.traceparent);
}

void Append(const TaskSpec& task, FollowerBranch branch, std::string* out) {
  // In its place: a header that is built elsewhere and copied would be read before its fields have left the processor.
  const size_t at = out->size();
  const bool extras = HasExtras(task);
  out->append(sizeof(RecordHeader), '\0');
  new (out->data() + at)
      RecordHeader{.size = static_cast<uint32_t>(sizeof(RecordHeader) + BodyBytes(task)),
                   .type_bytes = static_cast<uint32_t>(task.type.size()),
                   .queue_bytes = static_cast<uint32_t>(task.queue.size()),
                   .payload_bytes = static_cast<uint32_t>(task.payload.size()),
                   .content_type_bytes = static_cast<uint32_t>(task.content_type.size()),
                   .key_bytes = static_cast<uint32_t>(task.key.size()),
                   .labels = static_cast<uint32_t>(task.labels.size()),
                   .timeout_ms = task.timeout_ms,
                   .retry_base_ms = task.retry_base_ms,
                   .retry_cap_ms = task.retry_cap_ms,
                   .max_attempts = static_cast<uint16_t>(task.max_attempts),
                   .priority = static_cast<uint8_t>(task.priority),
                   .durability = task.durability,
                   .delivery = task.delivery,
                   .branch = branch,
                   .pass_result = task.pass_result,
                   .extras = extras,
                   .delay_ms = task.delay_ms,
                   .run_at_ms = task.run_at_ms};
  out->append(task.type)
      .append(task.queue)
      .append(task.payload)
      .append(task.content_type)
      .append(task.key);
  if (extras) AppendExtras(task, out);
  for (const Label& label : task.labels) {
    LabelLengths lengths{static_cast<uint32_t>(label.key.size()),
                         static_cast<uint32_t>(label.value.size())};
    out->append(reinterpret_cast<const char*>(&lengths), sizeof(lengths));
    out->append(label.key).append(label.value);
  }
  if (HasTemplates(task))
    ForEachTemplate(
        task, [&](const TaskSpec& next, FollowerBranch follows) { Append(next, follows, out); });
}

}  // namespace

TaskRecord ReadRecord(std::string_view bytes) {
  TaskRecord task;
  std::memcpy(&task.header, bytes.data(), sizeof(RecordHeader));
  bytes = bytes.substr(sizeof(RecordHeader), task.header.size - sizeof(RecordHeader));
  auto take = [&bytes](size_t size) {
    std::string_view part = bytes.substr(0, size);
    bytes.remove_prefix(size);
    return part;
  };
  task.type = take(task.header.type_bytes);
  task.queue = take(task.header.queue_bytes);
  task.payload = take(task.header.payload_bytes);
  task.content_type = take(task.header.content_type_bytes);
  task.key = take(task.header.key_bytes);
  if (task.header.extras) {
    std::memcpy(&task.extras, bytes.data(), sizeof(RecordExtras));
    bytes.remove_prefix(sizeof(RecordExtras));
    task.concurrency_key = take(task.extras.concurrency_key_bytes);
    task.fairness_key = take(task.extras.fairness_key_bytes);
    task.correlation_id = take(task.extras.correlation_id_bytes);
    task.traceparent = take(task.extras.traceparent_bytes);
  }
  task.labels = take(bytes.size() - task.extras.follower_bytes);
  task.followers = bytes;
  return task;
}

LabelView ReadLabel(std::string_view* labels) {
  LabelLengths lengths;
  std::memcpy(&lengths, labels->data(), sizeof(lengths));
  LabelView label{labels->substr(sizeof(lengths), lengths.key_bytes),
                  labels->substr(sizeof(lengths) + lengths.key_bytes, lengths.value_bytes)};
  labels->remove_prefix(sizeof(lengths) + lengths.key_bytes + lengths.value_bytes);
  return label;
}

}  // namespace zsched
