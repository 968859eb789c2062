// Blocks of rows, as a disk might return them with a checksum that fits: the input is what the
// checksum covers. What is read must also be found, and make the same block again.
#include <cstring>
#include <string>

#include "base/check.h"
#include "broker/journal/block.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched::broker;
  constexpr uint64_t kFirstKey = 0xFFFF'FFFF'8000'0000;  // some keys from it would be over the top
  constexpr uint64_t kSeed =
      kFirstKey ^ (static_cast<uint64_t>(Table::kTasks) + 1) * 0x9E3779B97F4A7C15;
  std::string stored(8 + size, '\0');
  uint64_t checksum = XXH3_64bits_withSeed(data, size, kSeed);
  std::memcpy(stored.data(), &checksum, sizeof checksum);
  if (size > 0) std::memcpy(stored.data() + 8, data, size);
  auto block = Block::Load(Table::kTasks, kFirstKey, stored);
  if (!block.ok()) return 0;
  BlockBuilder builder(Table::kTasks);
  for (uint32_t i = 0; i < block->rows(); ++i) {
    ZS_CHECK(block->Find(block->key(i)) == block->row(i));
    ZS_CHECK(block->LowerBound(block->key(i)) == i);
    if (!builder.Fits(block->key(i), block->row(i).size()))
      return 0;  // larger than we would make it
    builder.Add(block->key(i), block->row(i));
  }
  std::string again(builder.bytes(), '\0');
  builder.Store(again.data());
  std::memset(stored.data() + 12, 0, 4);  // reserved: not looked at
  ZS_CHECK(again.substr(8) == stored.substr(8));
  return 0;
}
