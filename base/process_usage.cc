#include "base/process_usage.h"

#include <dirent.h>
#include <sys/resource.h>

#include <fstream>
#include <string>

namespace zsched {
namespace {

// Entries of a folder, without the folder itself, its parent, and what reading it has open.
uint64_t CountOpenFds() {
  DIR* folder = opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(folder))
    if (entry->d_name[0] != '.') ++count;
  closedir(folder);
  return count > 0 ? count - 1 : 0;
}

uint64_t Micros(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
}

}  // namespace

ProcessUsage ReadProcessUsage() {
  ProcessUsage usage;
  // "VmRSS:     1234 kB", "Threads:  5"
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name; status.ignore(4096, '\n')) {
    if (name == "VmRSS:" && status >> usage.resident_bytes) usage.resident_bytes *= 1024;
    if (name == "Threads:") status >> usage.threads;
  }
  if (rusage used; getrusage(RUSAGE_SELF, &used) == 0)
    usage.cpu_us = Micros(used.ru_utime) + Micros(used.ru_stime);
  usage.open_fds = CountOpenFds();
  return usage;
}

}  // namespace zsched
