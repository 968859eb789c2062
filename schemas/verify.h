// Reading a frame's FlatBuffer safely: verified first, with bounds that a hostile peer cannot
// stretch. Owned by schemas.
//
// Example:
//   const wire::Submit* submit = VerifyBody<wire::Submit>(frame.body);
//   if (submit == nullptr) return Error(ErrorCode::kMalformed, "SUBMIT: not a Submit table");
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string_view>

#include "schemas/alignment.h"
#include "schemas/limits.h"
#include "schemas/wire_generated.h"

namespace zsched {

// The root table of `body`, which it points into, or nullptr when the body is not a well-formed T:
// bad offsets, a missing required field, nesting over kMaxTableDepth, more tables than that many
// bytes can hold (a small body that names one table many times would otherwise cost long to walk),
// or anything that stands where it must not be read (alignment.h).
// `body` must start at a multiple of 8 (AlignedCopy in frame.h).
//
// Flattened: flatc calls a small function for each field of a table, which the compiler leaves out of line;
// that is a tenth of what a broker does for a task.
template <class T>
[[gnu::flatten]] const T* VerifyBody(std::string_view body) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(body.data());
  // A table takes at least the 4 bytes of its vtable offset, and the root needs 4 + 4.
  if (body.size() < 8 || reinterpret_cast<uintptr_t>(bytes) % 8 != 0) return nullptr;
  flatbuffers::Verifier verifier(bytes, body.size(), kMaxTableDepth,
                                 static_cast<flatbuffers::uoffset_t>(body.size() / 4 + 1));
  if (!verifier.VerifyBuffer<T>(nullptr)) return nullptr;
  const T* table = flatbuffers::GetRoot<T>(bytes);
  if constexpr (AlignmentOf<const T*>::kMatters)
    if (!AlignmentOf<const T*>::Holds(table)) return nullptr;
  return table;
}

// As VerifyBody, but an empty body reads as an empty table (DISCOVER, DRAIN, a client's HEARTBEAT):
// sets `*table` to nullptr and returns true.
template <class T>
bool VerifyOptionalBody(std::string_view body, const T** table) {
  *table = nullptr;
  if (body.empty()) return true;
  *table = VerifyBody<T>(body);
  return *table != nullptr;
}

// A string or byte vector of a verified table; empty when the field is absent. Lives as long as the
// body.
inline std::string_view TextOf(const flatbuffers::String* text) {
  return text == nullptr ? std::string_view() : std::string_view(text->c_str(), text->size());
}
inline std::string_view BytesOf(const flatbuffers::Vector<uint8_t>* bytes) {
  return bytes == nullptr
             ? std::string_view()
             : std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

}  // namespace zsched
