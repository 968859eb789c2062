// Tasks on their way from the caller's thread to a SUBMIT frame: flat records in chunks of bytes,
// so that handing a task over needs no allocation of its own. Owned by client/lib; the format never
// leaves the process.
//
// Example:
//   std::string record;
//   AppendRecord(spec, &record);
//   TaskRecord task = ReadRecord(record);    task.size is where the next begins
//
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "zsched/types.h"

namespace zsched {

// One task's largest size in bytes of its strings. With it a frame of one task stays under
// kMaxFrameBytes; the broker's own limits (a payload, and as much in templates) are lower.
inline constexpr size_t kMaxTaskBytes = kMaxFrameBytes / 4 * 3;

enum class FollowerBranch : uint8_t { kNone = 0, kSuccess = 1, kFailure = 2, kComplete = 3 };

// The numbers of a task, and the lengths of what follows them in this order: type, queue, payload,
// content type, key, then, when it has extras, their numbers (RecordExtras) and concurrency key, fairness
// key, correlation id and traceparent; then for each label key length, value length, key, value; then the
// records of its templates.
struct [[gnu::packed]] RecordHeader {
  uint32_t size = 0;  // of the whole record
  uint32_t type_bytes = 0;
  uint32_t queue_bytes = 0;
  uint32_t payload_bytes = 0;
  uint32_t content_type_bytes = 0;
  uint32_t key_bytes = 0;
  uint32_t labels = 0;
  uint32_t timeout_ms = 0;
  uint32_t retry_base_ms = 0;
  uint32_t retry_cap_ms = 0;
  uint16_t max_attempts = 0;
  uint8_t priority = 0;
  Durability durability = Durability::kReplicated;
  Delivery delivery = Delivery::kAtLeastOnce;
  FollowerBranch branch = FollowerBranch::kNone;  // of a template
  bool pass_result = false;
  bool extras = false;
  uint64_t delay_ms = 0;
  int64_t run_at_ms = 0;
};
static_assert(sizeof(RecordHeader) == 64, "all that most tasks have fits one cache line");

// What most tasks do without.
struct RecordExtras {
  uint32_t concurrency_key_bytes = 0;
  uint32_t fairness_key_bytes = 0;
  uint32_t correlation_id_bytes = 0;
  uint32_t traceparent_bytes = 0;
  uint32_t follower_bytes = 0;   // records of templates
  uint32_t templates = 0;        // in all depths
  uint32_t template_labels = 0;  // of these
  uint32_t reserved = 0;
  uint64_t start_within_ms = 0;
  int64_t start_by_ms = 0;
};

// A task read back; the views point into the record.
struct TaskRecord {
  RecordHeader header;
  RecordExtras extras;
  std::string_view type;
  std::string_view queue;
  std::string_view payload;
  std::string_view content_type;
  std::string_view key;
  std::string_view concurrency_key;
  std::string_view fairness_key;
  std::string_view correlation_id;
  std::string_view traceparent;
  std::string_view labels;     // see ReadLabel
  std::string_view followers;  // see ReadRecord
};

// INVALID_ARGUMENT for numbers that the wire cannot carry, TOO_LARGE over kMaxTaskBytes. Everything
// else is the broker's to judge.
absl::Status CheckEncodable(const TaskSpec& task);

// Requires CheckEncodable(task).ok().
void AppendRecord(const TaskSpec& task, std::string* out);

// The record at the start of `bytes`.
TaskRecord ReadRecord(std::string_view bytes);

// Takes one label off the front of `labels`.
struct LabelView {
  std::string_view key;
  std::string_view value;
};
LabelView ReadLabel(std::string_view* labels);

}  // namespace zsched
