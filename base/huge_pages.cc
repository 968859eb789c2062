#include "base/huge_pages.h"

#include <sys/mman.h>

#include <cstdlib>

namespace zsched {

void* AllocateHugePages(size_t bytes) {
  bytes = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  void* memory = std::aligned_alloc(kHugePageBytes, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  madvise(memory, bytes, MADV_HUGEPAGE);  // refused: then the pages are small
  return memory;
}

void FreeHugePages(void* memory) { std::free(memory); }

}  // namespace zsched
