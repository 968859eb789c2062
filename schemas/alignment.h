// Whether the elements of a table's vectors stand where they may be read. Owned by schemas; part of
// VerifyBody in verify.h.
//
// The Verifier of FlatBuffers 2.0 checks where scalars, structs and the sizes of vectors stand, but
// not where the elements of vectors do. They follow a size of 4 bytes at a multiple of 4, so only
// those that must stand at a multiple of 8 can be wrong, and a hostile peer can make them so:
//
//   offset mod 8    4        0            4        0        4
//                   | size   | element 0  | …      right    |
//                            | size       | element 0 …     wrong: each load is undefined behaviour
//
// What to look at is read off the types that flatc generates (--cpp-static-reflection), so a new
// field of wire.fbs is covered by being there. Of a table without such vectors nothing is looked
// at: that is known when the code is compiled.
//
// Example:
//   if (!AlignmentOf<const wire::Wait*>::Holds(wait)) return nullptr;
//
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "schemas/wire_generated.h"

namespace zsched {

// By the type of a field or root as its accessor returns it. kMatters: it is, or has at any depth,
// a vector whose elements may be misaligned. Holds (only then there): none of them is; the table is
// verified in all else, and `nullptr` is an absent field. Here for scalars, structs and strings.
template <class Field>
struct AlignmentOf {
  static constexpr bool kMatters = false;
};

// Scalars and structs. Accessors name structs by pointers, but they stand in the vector itself.
// Builders, that of C++ too, align a vector that has elements and let an empty one stand anywhere.
template <class Element>
struct AlignmentOf<const flatbuffers::Vector<Element>*> {
  static constexpr size_t kAlignment = alignof(std::remove_pointer_t<Element>);
  static constexpr bool kMatters = kAlignment > alignof(flatbuffers::uoffset_t);
  static bool Holds(const flatbuffers::Vector<Element>* vector) {
    return vector == nullptr || vector->size() == 0 ||
           reinterpret_cast<uintptr_t>(vector->Data()) % kAlignment == 0;
  }
};

// Tables and strings.
template <class T>
struct AlignmentOf<const flatbuffers::Vector<flatbuffers::Offset<T>>*> {
  static constexpr bool kMatters = AlignmentOf<const T*>::kMatters;
  static bool Holds(const flatbuffers::Vector<flatbuffers::Offset<T>>* vector) {
    if (vector == nullptr) return true;
    for (const T* table : *vector)
      if (!AlignmentOf<const T*>::Holds(table)) return false;
    return true;
  }
};

// The fields of a table.
template <class T, size_t kField>
using AlignmentOfField =
    AlignmentOf<decltype(std::declval<const T&>().template get_field<kField>())>;

template <class T, class Fields = std::make_index_sequence<T::Traits::fields_number>>
struct AlignmentOfFields;
template <class T, size_t... kFields>
struct AlignmentOfFields<T, std::index_sequence<kFields...>> {
  static constexpr bool kMatters = (AlignmentOfField<T, kFields>::kMatters || ...);
  static bool Holds(const T* table) {
    return table == nullptr || (FieldHolds<kFields>(*table) && ...);
  }

 private:
  template <size_t kField>
  static bool FieldHolds(const T& table) {
    using Field = AlignmentOfField<T, kField>;
    if constexpr (Field::kMatters)
      return Field::Holds(table.template get_field<kField>());
    else
      return true;
  }
};

template <class T>
requires std::is_base_of_v<flatbuffers::Table, T>
struct AlignmentOf<const T*> : AlignmentOfFields<T> {
};

}  // namespace zsched
