// Begins this program anew in its own process: the same pid, arguments, environment, directory and
// standard streams, so a shell, a container or a service manager sees one long-lived process.
// Owned by worker/server; used by zsched-worker only.
//
//   main: Save ─▶ … handlers armed, threads started … ─▶ Exec ─▶ main of the new program
//
// No signal is lost on the way: the termination signals and SIGHUP stay blocked from before Exec
// looks for them until the new program has armed its handlers and says AcceptTermination. What
// arrives in between waits, across exec too.
//
// Every descriptor of the program has to be close-on-exec; those it was started with go on.
//
// Example:
//   const SelfExec self(argv);                    // first thing in main
//   … arm handlers …; SelfExec::AcceptTermination();
//   absl::Status why = self.Exec([] { return terminated != 0; });
//
// Threads: the main thread. Others may run; they are gone with the old program.
#pragma once

#include <signal.h>

#include <array>
#include <functional>
#include <string>

#include "absl/status/status.h"

namespace zsched::worker {

class SelfExec {
 public:
  // Remembers what this process was started with. `argv` has to stay as it is.
  explicit SelfExec(char** argv);

  // Takes SIGTERM and SIGINT from now on, whatever the mask was that this process was started with.
  static void AcceptTermination();

  // Returns only when the process is not replaced. OK: `terminated` says that it was told to end.
  // Otherwise INTERNAL with the reason. SIGTERM, SIGINT and SIGHUP are blocked afterwards.
  absl::Status Exec(const std::function<bool()>& terminated) const;

 private:
  char** const argv_;
  std::string program_;
  sigset_t mask_;
  std::array<struct sigaction, NSIG> dispositions_ = {};
};

}  // namespace zsched::worker
