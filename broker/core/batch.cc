#include "broker/core/batch.h"

// Its functions are compiled here: no library to link, and short inputs are fast.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zsched::broker {

uint64_t ChainHash(uint64_t before, std::string_view record) {
  return XXH3_64bits_withSeed(record.data(), record.size(), before);
}

}  // namespace zsched::broker
