// A fresh directory that goes away with the object, in memory where the system has room for one there:
// crash tests write gigabytes and keep nothing. Owned by tests/crash.
//
// Threads: any, one object each.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/check.h"

namespace zsched::crash {

class Scratch {
 public:
  Scratch() {
    std::filesystem::path parent = "/dev/shm";
    std::error_code error;
    auto room = std::filesystem::space(parent, error);
    if (error || room.available < kRoomBytes || access(parent.c_str(), W_OK) != 0)
      parent = std::filesystem::temp_directory_path();
    path_ = (parent / "zsched-crash-XXXXXX").string();
    ZS_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  // A container's shared memory is often 64 MiB, and this test is not alone there.
  static constexpr uint64_t kRoomBytes = uint64_t{256} << 20;

  std::string path_;
};

}  // namespace zsched::crash
