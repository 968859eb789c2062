// A worker's ledger: a frame of tasks is assigned, all end, their results are acknowledged.
#include <benchmark/benchmark.h>

#include <vector>

#include "worker/core/ledger.h"

namespace zsched::worker {
namespace {

constexpr uint64_t kFrameTasks = 100;

void BM_LedgerAssignEnd(benchmark::State& state) {
  Ledger ledger({.concurrency = 2});
  int64_t now = 1'000;
  ledger.OnSessionUp(kVisibilityTimeoutMs, {}, now);
  std::vector<Ended> ended(kFrameTasks);
  uint64_t last = 0;
  for (auto _ : state) {
    ++now;
    for (Ended& attempt : ended) {
      ++last;
      attempt.lease = LeaseId(last);
      attempt.run_us = 7;
      if (!ledger.OnAssigned({TaskId(last), LeaseId(last), 1, 0, 100}, now))
        return state.SkipWithError("an assignment was refused");
    }
    ledger.OnEnded(ended, now);
    Frames frames = ledger.TakeFrames(now);
    for (const ResultsFrame* frame : frames.results) ledger.OnResultAck(frame->seq, 0);
  }
  if (ledger.unacked() != 0) state.SkipWithError("results are left");
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(kFrameTasks));
}
BENCHMARK(BM_LedgerAssignEnd);

}  // namespace
}  // namespace zsched::worker
