// Asks the register, which may take as long as a network does, beside the loop. Owned by broker/server.
//
// Example:
//   RegisterThread thread(std::move(store), wake);
//   if (auto question = node.TakeQuestion()) thread.Ask(*question);
//   if (auto answer = thread.TakeAnswer()) ZS_RETURN_IF_ERROR(node.OnRegister(*answer, now));
//
// Threads: all from the loop. One question at a time.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "broker/replication/register.h"
#include "broker/server/node.h"
#include "broker/server/threads.h"

namespace zsched::broker {

class RegisterThread {
 public:
  RegisterThread(std::unique_ptr<RegisterStore> store, WakeFd& loop);
  // Waits for the answer that is due, as long as the store does.
  ~RegisterThread();

  // While nothing is asked: waits for the answer here.
  absl::StatusOr<Register> Read();
  void Ask(const RegisterQuestion& question);
  std::optional<absl::StatusOr<Register>> TakeAnswer();
  // A question is asked and its answer was not taken.
  bool busy() const { return busy_; }
  // The answer that is due is nobody's any more: waits for it, as long as the store does.
  void Discard();

 private:
  void Run();

  const std::unique_ptr<RegisterStore> store_;
  WakeFd& loop_;
  bool busy_ = false;  // the loop's
  std::mutex mutex_;
  std::condition_variable asked_, answered_;
  std::optional<RegisterQuestion> question_;        // under mutex_
  std::optional<absl::StatusOr<Register>> answer_;  // under mutex_
  bool stop_ = false;                               // under mutex_
  std::thread thread_;
};

}  // namespace zsched::broker
