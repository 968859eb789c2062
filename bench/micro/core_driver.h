// A Core with one client and one worker, as a broker's loop drives it, with every batch durable at
// once. Owned by bench/micro.
//
// Example:
//   CoreDriver driver(100);
//   driver.Submit();                  // a frame of 100 tasks is taken, recorded, applied
//   driver.EndRound();                // its tasks are leased to the worker
//   driver.Finish();                  // its results are taken
//
// Threads: one.
#pragma once

#include <vector>

#include "bench/micro/frames.h"
#include "broker/core/core.h"

namespace zsched::micro {

class CoreDriver {
 public:
  // `frame_tasks` in each SUBMIT and RESULTS.
  explicit CoreDriver(uint32_t frame_tasks);

  void Submit();
  // Dispatches, and takes the batch that a journal would get.
  void EndRound();
  // RESULTS for the tasks of the last round. Requires: it leased frame_tasks.
  void Finish();

  // What the last EndRound made.
  const broker::TasksEffect& tasks() const { return tasks_; }
  const broker::Batch& batch() const { return batch_; }
  const broker::Core& core() const { return core_; }
  const SubmitBody& submit() const { return submit_; }

 private:
  void Greet();

  const Now now_{1'700'000'000'000, 5'000};
  broker::Core core_{broker::CoreConfig()};
  broker::Batch batch_;
  SubmitBody submit_;
  ResultsBody results_;
  SessionId client_, worker_;
  broker::TasksEffect tasks_;
  std::vector<wire::Done> done_;
};

}  // namespace zsched::micro
