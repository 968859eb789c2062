// Memory for tables of many megabytes that are read at random. Owned by base.
//
// With pages of 4 KiB such a table misses the CPU's address translation almost each time, and in a
// virtual machine that costs more than the miss of the cache. Asked for, Linux gives it pages of 2 MiB
// where it can (madvise; /sys/kernel/mm/transparent_hugepage/enabled says whether it may). Small
// allocations are those of the heap.
//
// Example:
//   std::vector<Row, HugePageAllocator<Row>> rows;
//
// Threads: any.
#pragma once

#include <cstddef>
#include <new>

namespace zsched {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

// At least `bytes`, of whole huge pages. Throws std::bad_alloc.
void* AllocateHugePages(size_t bytes);
void FreeHugePages(void* memory);

template <class T>
struct HugePageAllocator {
  using value_type = T;

  HugePageAllocator() = default;
  template <class Other>
  HugePageAllocator(const HugePageAllocator<Other>&) {}  // NOLINT: allocators convert

  T* allocate(size_t count) {
    const size_t bytes = count * sizeof(T);
    return static_cast<T*>(IsHuge(count) ? AllocateHugePages(bytes) : ::operator new(bytes));
  }
  void deallocate(T* memory, size_t count) {
    if (IsHuge(count))
      FreeHugePages(memory);
    else
      ::operator delete(memory);
  }

  template <class Other>
  bool operator==(const HugePageAllocator<Other>&) const {
    return true;
  }

 private:
  static bool IsHuge(size_t count) { return count * sizeof(T) >= kHugePageBytes; }
};

}  // namespace zsched
