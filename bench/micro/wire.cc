// What travels: sealing, opening, verifying and encoding of frames. "bytes/task" is what a task
// takes in that frame.
#include <benchmark/benchmark.h>

#include "bench/micro/core_driver.h"
#include "bench/micro/frames.h"
#include "broker/transport/encoder.h"
#include "schemas/frame.h"
#include "schemas/verify.h"
#include "worker/core/frames.h"

namespace zsched::micro {
namespace {

constexpr uint32_t kFrameTasks = 100;

void ShowTasks(benchmark::State& state, size_t bytes) {
  state.SetItemsProcessed(state.iterations() * kFrameTasks);
  state.counters["bytes/task"] = static_cast<double>(bytes) / kFrameTasks;
}

// Seal and open, with XXH3 (flags 0) or CRC-32.
void BM_Frame(benchmark::State& state, uint16_t flags) {
  const std::string body(static_cast<size_t>(state.range(0)), 'x');
  const FrameHeader header{.type = MessageType::kSubmit, .flags = flags};
  std::string frame(kFrameHeaderBytes + body.size(), '\0');
  frame.replace(kFrameHeaderBytes, body.size(), body);
  for (auto _ : state) {
    SealHeader(header, body, frame.data());
    auto opened = OpenFrame(frame);
    if (!opened.ok()) return state.SkipWithError("the frame does not open");
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(frame.size()));
}
BENCHMARK_CAPTURE(BM_Frame, xxh3, 0)->Arg(150)->Arg(15'000)->Arg(1 << 20);
BENCHMARK_CAPTURE(BM_Frame, crc32, kFlagCrc32)->Arg(150)->Arg(15'000)->Arg(1 << 20);

void BM_VerifySubmit(benchmark::State& state) {
  SubmitBody submit(kFrameTasks);
  for (auto _ : state) {
    const auto* verified = VerifyBody<wire::Submit>(submit.bytes());
    if (verified == nullptr) return state.SkipWithError("the body is not a Submit");
  }
  ShowTasks(state, submit.bytes().size());
}
BENCHMARK(BM_VerifySubmit);

void BM_EncodeTasks(benchmark::State& state) {
  CoreDriver driver(kFrameTasks);
  driver.Submit();
  driver.EndRound();
  const broker::Batch& batch = driver.batch();
  const auto& specs = batch.mutations(broker::Table::kSpecs);
  if (specs.size() != kFrameTasks) return state.SkipWithError("no spec row a task");
  broker::Encoder encoder;
  size_t bytes = 0;
  for (auto _ : state)
    encoder.Tasks(
        driver.tasks(), driver.core().state().lanes(), 0,
        [&](TaskId id) { return batch.row(specs[id.value() - specs[0].key]); },
        [](uint64_t) { return std::string_view(); },
        [&](std::string_view body) { bytes = body.size(); });
  ShowTasks(state, bytes);
}
BENCHMARK(BM_EncodeTasks);

void BM_EncodeResults(benchmark::State& state) {
  worker::ResultsFrame frame;
  frame.seq = 1;
  for (uint64_t id = 1; id <= kFrameTasks; ++id) frame.done.emplace_back(id, id, 7);
  flatbuffers::FlatBufferBuilder builder;
  size_t bytes = 0;
  for (auto _ : state) bytes = worker::EncodeResults(frame, &builder).size();
  ShowTasks(state, bytes);
}
BENCHMARK(BM_EncodeResults);

void BM_EncodeOutcomes(benchmark::State& state) {
  broker::OutcomesEffect effect;
  for (uint64_t id = 1; id <= kFrameTasks; ++id) effect.succeeded.push_back(id);
  broker::Encoder encoder;
  size_t bytes = 0;
  for (auto _ : state)
    encoder.Outcomes(effect, "", [&](std::string_view body) { bytes = body.size(); });
  ShowTasks(state, bytes);
}
BENCHMARK(BM_EncodeOutcomes);

}  // namespace
}  // namespace zsched::micro
