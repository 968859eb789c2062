#include "broker/core/batch.h"

#include <xxhash.h>

namespace zsched::broker {

uint64_t ChainHash(uint64_t before, std::string_view record) {
  return XXH3_64bits_withSeed(record.data(), record.size(), before);
}

}  // namespace zsched::broker
