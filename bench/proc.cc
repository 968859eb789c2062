#include "bench/proc.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

#include "schemas/errors.h"

namespace zsched::bench {
namespace {

constexpr std::string_view kOwnPrefix = "zsched-", kZmqPrefix = "ZMQbg";

std::string ThreadName(std::string name, bool main, const std::string& main_thread) {
  if (main) return main_thread;
  if (name.starts_with(kZmqPrefix)) return "zmq";
  return name.starts_with(kOwnPrefix) ? name.substr(kOwnPrefix.size()) : name;
}

// proc(5): "tid (name) state …"; utime and stime are the 14th and 15th field. A name may contain
// spaces and parentheses, so the fields are counted from the last ')'.
bool ReadStat(const std::string& path, std::string* name, double* seconds) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return false;
  size_t open = line.find('('), close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return false;
  *name = line.substr(open + 1, close - open - 1);
  std::istringstream fields(line.substr(close + 1));
  constexpr int kFieldsBeforeUtime = 11;
  std::string skipped;
  for (int i = 0; i < kFieldsBeforeUtime; ++i) fields >> skipped;
  uint64_t user = 0, system = 0;
  fields >> user >> system;
  *seconds = static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return true;
}

}  // namespace

CpuByThread CpuOf(pid_t pid, const std::string& main_thread) {
  CpuByThread cpu;
  std::error_code error;
  std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, error)) {
    std::string name;
    double seconds = 0;
    if (!ReadStat(task.path().string() + "/stat", &name, &seconds)) continue;
    bool main = task.path().filename() == std::to_string(pid);
    cpu[ThreadName(std::move(name), main, main_thread)] += seconds;
  }
  return cpu;
}

CpuByThread CpuBetween(const CpuByThread& before, const CpuByThread& after) {
  CpuByThread used = after;
  for (auto& [name, seconds] : used)
    if (auto it = before.find(name); it != before.end()) seconds -= it->second;
  return used;
}

double OwnCpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

absl::StatusOr<double> AnonymousBytes(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("RssAnon:", 0) == 0) return std::stod(line.substr(8)) * 1024;
  return Error(ErrorCode::kUnavailable, "no RssAnon in /proc for the broker");
}

double DirectoryBytes(const std::string& directory) {
  uintmax_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, error))
    if (entry.is_regular_file(error)) bytes += entry.file_size(error);
  return static_cast<double>(bytes);
}

}  // namespace zsched::bench
