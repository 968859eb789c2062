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
  // What a record says of strings, templates and times that most tasks do without, and a body does not.
  static constexpr size_t kUnsentBytes = 8 * sizeof(uint32_t) + 2 * sizeof(uint64_t);
  static constexpr size_t kStringOverheadBytes = 16;  // of such a string or time, if it is there
  static constexpr size_t kFrameOverheadBytes = 128;
  static size_t BodyBytesFor(const RecordHeader& header) {
    size_t strings = (header.start_within_ms != 0) + (header.start_by_ms != 0);
    for (uint32_t bytes : {header.concurrency_key_bytes, header.fairness_key_bytes,
                           header.correlation_id_bytes, header.traceparent_bytes})
      strings += bytes > 0;
    // The header of a follower's record is more than its strings may add.
    const size_t tables = 1 + header.labels + header.templates + header.template_labels;
    return header.size - kUnsentBytes + tables * kTaskOverheadBytes +
           strings * kStringOverheadBytes;
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
