// Builds the body of one SUBMIT frame from task records. Owned by client/lib.
//
// Strings that repeat from one task to the next (type, queue, content type) are stored once a
// frame.
//
// Example:
//   FrameBuilder builder;
//   while (...) builder.Add(ReadRecord(bytes));
//   std::string body = builder.Finish(seq, acked_below, notify);
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "client/lib/task_buffer.h"
#include "schemas/wire_generated.h"

namespace zsched {

class FrameBuilder {
 public:
  // More than FlatBuffers adds to a task's record in the body: table, vtable share, string lengths,
  // padding; a label costs its own table besides.
  static constexpr size_t kTaskOverheadBytes = 80;
  static constexpr size_t kExtraOverheadBytes = 16;  // of such a string or time, if it is there
  static constexpr size_t kFrameOverheadBytes = 128;
  static size_t BodyBytesFor(const RecordHeader& header, const RecordExtras& extras) {
    size_t bytes = header.size + (1 + header.labels) * kTaskOverheadBytes;
    if (!header.extras) return bytes;
    const size_t given = (extras.concurrency_key_bytes != 0) + (extras.fairness_key_bytes != 0) +
                         (extras.correlation_id_bytes != 0) + (extras.traceparent_bytes != 0) +
                         (extras.start_within_ms != 0) + (extras.start_by_ms != 0);
    // The header of a follower's record is more than its strings may add.
    bytes += (extras.templates + extras.template_labels) * kTaskOverheadBytes;
    return bytes - sizeof(RecordExtras) + given * kExtraOverheadBytes;
  }
  static size_t BodyBytesFor(const TaskRecord& task) {
    return BodyBytesFor(task.header, task.extras);
  }

  void Add(const TaskRecord& task);
  size_t tasks() const { return tasks_.size(); }
  // At least what the body will have.
  size_t bytes() const { return bytes_; }

  // The body; the builder is empty again.
  std::string Finish(uint64_t seq, uint64_t acked_below, bool notify);

 private:
  using Text = flatbuffers::Offset<flatbuffers::String>;
  // The last string of a field, and where this frame has it.
  struct Shared {
    std::string text;
    Text offset;
    bool valid = false;
  };
  using Templates = flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<wire::TaskSpec>>>;
  flatbuffers::Offset<wire::TaskSpec> Write(const TaskRecord& task);
  Templates WriteFollowers(const TaskRecord& task, FollowerBranch branch);
  Text Share(std::string_view text, Shared* last);

  flatbuffers::FlatBufferBuilder builder_{64 << 10};
  std::vector<flatbuffers::Offset<wire::TaskSpec>> tasks_;
  std::vector<flatbuffers::Offset<wire::Label>> labels_;
  Shared type_, queue_, content_type_, concurrency_key_, fairness_key_;
  size_t bytes_ = kFrameOverheadBytes;
};

// Writes the record of a task that stands in a SUBMIT body of ours, to submit it again.
void AppendRecord(const wire::TaskSpec& task, std::string* out);

}  // namespace zsched
