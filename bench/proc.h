// What the kernel says about processes and files: CPU time by thread, memory, bytes on disk. Owned
// by bench; Linux only.
//
// Threads: any.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "absl/status/statusor.h"

namespace zsched::bench {

// CPU seconds, user and system, by thread name; threads of one name are added up. The kernel counts
// in hundredths of a second.
using CpuByThread = std::map<std::string, double>;

// Threads of the process that live now; empty when there is no such process. zsched's own prefix is
// taken off the names, the first thread is called `main_thread`, and ZeroMQ's threads "zmq".
CpuByThread CpuOf(pid_t pid, const std::string& main_thread);
// What was used from `before` to `after`, in seconds.
CpuByThread CpuBetween(const CpuByThread& before, const CpuByThread& after);

// CPU seconds of this process since it began, ended threads included.
double OwnCpuSeconds();

// Anonymous memory (RssAnon): what the process allocated, without the pages of mapped files.
absl::StatusOr<double> AnonymousBytes(pid_t pid);

// Sizes of all files below `directory`; 0 when it is gone.
double DirectoryBytes(const std::string& directory);

}  // namespace zsched::bench
