// Bodies of frames as the benchmarks need them: no-op tasks with payloads of 100 bytes. Owned by
// bench/micro.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "schemas/ids.h"
#include "schemas/wire_generated.h"

namespace zsched::micro {

inline constexpr size_t kPayloadBytes = 100;

// A SUBMIT of `tasks` tasks, 8-aligned, that can be sent again as the next one of its client.
class SubmitBody {
 public:
  explicit SubmitBody(uint32_t tasks);
  // As the client's next frame; everything before it is acknowledged.
  void Next();
  const wire::Submit& submit() const;
  std::string_view bytes() const;

 private:
  flatbuffers::FlatBufferBuilder builder_;
  uint64_t seq_ = 1;
};

// A RESULTS of successes without a result, filled in again and again.
class ResultsBody {
 public:
  explicit ResultsBody(uint32_t tasks);
  // Requires: as many as the constructor was told.
  void Next(const std::vector<wire::Done>& done);
  const wire::Results& results() const;
  std::string_view bytes() const;

 private:
  flatbuffers::FlatBufferBuilder builder_;
  uint64_t seq_ = 0;
};

}  // namespace zsched::micro
