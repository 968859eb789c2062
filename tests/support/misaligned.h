// Bodies whose vectors stand where they must not, or anywhere else that a test wants them. Owned by
// the tests.
//
// Example:
//   std::string wait = EncodeWait(request, ids);
//   const auto* table = flatbuffers::GetRoot<flatbuffers::Table>(wait.data());
//   wait = WithVectorAt(wait, *table, wire::Wait::VT_IDS, sizeof(uint64_t), /*remainder=*/4);
//
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/check.h"
#include "flatbuffers/flatbuffers.h"

namespace zsched {

// `body`, with a copy of one vector behind its end, which takes the place of the vector: its
// elements begin at `remainder` (a multiple of 4) modulo 8. `table` is one of the body's and has the
// vector as its field at the vtable offset `field`.
inline std::string WithVectorAt(std::string_view body, const flatbuffers::Table& table,
                                flatbuffers::voffset_t field, size_t element_bytes,
                                size_t remainder) {
  using flatbuffers::uoffset_t;
  const uint8_t* from = table.GetAddressOf(field);
  ZS_CHECK(from != nullptr && remainder % sizeof(uoffset_t) == 0);
  const uint8_t* vector = from + flatbuffers::ReadScalar<uoffset_t>(from);
  const size_t bytes =
      sizeof(uoffset_t) + element_bytes * flatbuffers::ReadScalar<uoffset_t>(vector);
  std::string moved(body);
  while ((moved.size() + sizeof(uoffset_t)) % 8 != remainder % 8) moved += '\0';
  const size_t at = static_cast<size_t>(from - reinterpret_cast<const uint8_t*>(body.data()));
  flatbuffers::WriteScalar(&moved[at], static_cast<uoffset_t>(moved.size() - at));
  return moved.append(reinterpret_cast<const char*>(vector), bytes);
}

}  // namespace zsched
