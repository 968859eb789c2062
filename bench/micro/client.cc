// The client library between Submit and the socket: tasks handed in, frames made, acks taken.
#include <benchmark/benchmark.h>

#include <string>

#include "client/lib/frame_builder.h"
#include "client/lib/intake.h"
#include "client/lib/submitter.h"
#include "schemas/limits.h"
#include "schemas/wire_generated.h"

namespace zsched {
namespace {

constexpr size_t kRoundTasks = 1000;

// `call_tasks` in one call; kRoundTasks in all, which one frame holds.
void HandIn(Intake& intake, const TaskSpec& spec, size_t call_tasks) {
  for (size_t put = 0; put < kRoundTasks;) {
    size_t count = std::min(call_tasks, kRoundTasks - put);
    std::string records;
    for (size_t i = 0; i < count; ++i) AppendRecord(spec, &records);
    Segment segment;
    segment.tasks = static_cast<uint32_t>(count);
    if (!intake.Put(kNotifyLane, &records, std::move(segment), kForever).ok()) std::abort();
    put += count;
  }
}

// Everything that is under way was accepted.
void Acknowledge(Submitter& submitter, uint64_t seq, flatbuffers::FlatBufferBuilder& b) {
  b.Clear();
  b.Finish(wire::CreateSubmitAck(b, seq, /*first_id=*/1 + seq * kRoundTasks, kRoundTasks,
                                 wire::Durability::kDisk, false, 0, kSubmitWindowTasks,
                                 kSubmitWindowBytes));
  bool judged = submitter.OnAck(*flatbuffers::GetRoot<wire::SubmitAck>(b.GetBufferPointer()),
                                /*now_mono_ms=*/0, [](AwaitedRange) {});
  if (!judged) std::abort();
  submitter.ReportJudged();
}

void BM_ClientSubmit(benchmark::State& state) {
  Intake intake(/*max_tasks=*/65'536, /*max_bytes=*/64 << 20, [] {});
  Submitter submitter({}, &intake);
  submitter.OnUp(kSubmitWindowTasks, kSubmitWindowBytes);
  const TaskSpec spec{.type = "noop", .queue = "bench", .payload = std::string(100, 'x')};
  flatbuffers::FlatBufferBuilder b;
  size_t bytes = 0;
  for (auto _ : state) {
    HandIn(intake, spec, static_cast<size_t>(state.range(0)));
    uint64_t seq = submitter.next_seq();
    submitter.Pump(/*now_mono_ms=*/0, [&](std::string_view body) {
      bytes = body.size();
      return true;
    });
    if (submitter.next_seq() != seq + 1) return state.SkipWithError("not one frame");
    Acknowledge(submitter, seq, b);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kRoundTasks));
  state.counters["bytes/task"] = static_cast<double>(bytes) / kRoundTasks;
}
BENCHMARK(BM_ClientSubmit)->ArgName("call")->Arg(1)->Arg(100)->Arg(1'000);

}  // namespace
}  // namespace zsched
