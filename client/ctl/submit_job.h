// What `zsched-ctl submit` does once its flags are understood: makes tasks, submits them in
// batches, prints ids or finished tasks as they come. Owned by zsched-ctl.
//
//   producer thread        input → tasks → Client::SubmitBatch (blocks for room: the backpressure)
//   client's thread        acks and outcomes → the shared state below
//   main thread            shared state → stdout, progress on stderr
//
// Memory is bounded by the client's queue and window and by 8 bytes a task that finished and was
// not printed yet; the input may be endless.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/ctl/context.h"
#include "client/ctl/ended_tasks.h"
#include "client/ctl/output.h"
#include "client/ctl/progress.h"

namespace zsched::ctl {

struct SubmitPlan {
  TaskSpec task = {};                            // of which all are copies
  uint64_t count = 1;                            // without each_line
  std::optional<std::string> each_line;          // a file, or "-"
  std::optional<std::vector<std::string>> argv;  // with each_line: the command of each line
  bool wait = false;
};

class SubmitJob {
 public:
  SubmitJob(const Context& context, SubmitPlan plan);
  ~SubmitJob();
  // The exit code.
  int Run();

 private:
  ClientOptions MakeOptions();
  // --- producer thread
  void Produce();
  void ProduceCopies();
  void ProduceLines();
  absl::Status ReadLines(int fd);
  absl::StatusOr<TaskSpec> TaskOfLine(std::string_view line, uint64_t number) const;
  bool Send(std::vector<TaskSpec>& batch);
  // --- client's thread
  void OnAck(uint64_t batch, uint64_t first_task, BatchAck ack);
  void OnConnection(const absl::Status& status);
  // --- main thread
  int Consume();
  bool DoneLocked() const;
  bool PrintAcked();
  void PrintEnded();
  void PrintNote();
  void ShowProgress();
  int Finish();
  [[noreturn]] void LeaveInterrupted();
  std::string WaitHint(uint64_t ended) const;
  void FailLocked(absl::Status status);

  const Context& context_;
  const SubmitPlan plan_;
  ItemStream id_stream_;
  TaskWriter task_writer_;
  Progress progress_;
  TaskId first_id_, last_id_;  // printed so far
  EndedTasks ended_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // --- guarded by mutex_
  uint64_t sent_batches_ = 0, sent_tasks_ = 0, pending_batches_ = 0;
  uint64_t accepted_ = 0, rejected_ = 0;
  uint64_t repeated_ = 0;  // of the accepted ones: there already, under the same key
  bool produced_all_ = false;
  absl::Status error_;                             // the first that happened
  std::map<uint64_t, std::vector<TaskId>> acked_;  // by batch, not printed yet
  uint64_t next_batch_ = 0;                        // the next to print
  std::vector<TaskId> some_ids_;                   // for the hint after Ctrl-C
  std::string connection_note_;
  bool connected_ = false;
  // ---
  std::atomic<bool> stop_ = false;  // the producer makes no more tasks

  std::unique_ptr<Client> client_;  // after the state that its callbacks use: destroyed first
  std::thread producer_;
};

}  // namespace zsched::ctl
