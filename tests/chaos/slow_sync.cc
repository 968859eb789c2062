// Preloaded into a broker, it makes its disk slow: fdatasync takes so many milliseconds longer as the file says that SLOW_SYNC_FILE
// names. The file may change at any time; without it nothing is slower.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace {

void Delay() {
  const char* path = std::getenv("SLOW_SYNC_FILE");
  std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "re");
  if (file == nullptr) return;
  unsigned milliseconds = 0;
  if (std::fscanf(file, "%u", &milliseconds) != 1) milliseconds = 0;
  std::fclose(file);
  usleep(milliseconds * 1000);
}

}  // namespace

extern "C" int fdatasync(int fd) {
  using Sync = int (*)(int);
  static const Sync real = reinterpret_cast<Sync>(dlsym(RTLD_NEXT, "fdatasync"));
  Delay();
  return real(fd);
}
