// The core: frames in, records and effects out, with no socket and no disk.
#include <benchmark/benchmark.h>

#include "bench/micro/core_driver.h"

namespace zsched::micro {
namespace {

constexpr uint32_t kFrameTasks = 100;

// All that the core does for a task: submit recorded and applied, leased, ended; rows written.
void BM_CoreTaskLife(benchmark::State& state) {
  CoreDriver driver(kFrameTasks);
  for (auto _ : state) {
    driver.Submit();
    driver.EndRound();
    driver.Finish();
    driver.EndRound();
  }
  state.SetItemsProcessed(state.iterations() * kFrameTasks);
  if (driver.core().state().finished() != static_cast<uint64_t>(state.iterations()) * kFrameTasks)
    state.SkipWithError("tasks did not finish");
}
BENCHMARK(BM_CoreTaskLife);

// One half of it at a time; the other is not on the clock.
void BM_CoreSubmit(benchmark::State& state) {
  CoreDriver driver(kFrameTasks);
  for (auto _ : state) {
    driver.Submit();
    state.PauseTiming();
    driver.EndRound();
    driver.Finish();
    driver.EndRound();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kFrameTasks);
}
BENCHMARK(BM_CoreSubmit);

void BM_CoreResults(benchmark::State& state) {
  CoreDriver driver(kFrameTasks);
  for (auto _ : state) {
    state.PauseTiming();
    driver.Submit();
    driver.EndRound();
    state.ResumeTiming();
    driver.Finish();
    state.PauseTiming();
    driver.EndRound();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kFrameTasks);
}
BENCHMARK(BM_CoreResults);

}  // namespace
}  // namespace zsched::micro
