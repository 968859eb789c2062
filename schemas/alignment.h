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
//
// `Within`: the tables that the field lies in. One that comes again within itself (a template of a
// TaskSpec) is not gone into: kRecurs. That is sound while nothing in it matters.
template <class Field, class... Within>
struct AlignmentOf {
  static constexpr bool kMatters = false, kRecurs = false;
};

// Scalars and structs. Accessors name structs by pointers, but they stand in the vector itself.
// Builders, that of C++ too, align a vector that has elements and let an empty one stand anywhere.
template <class Element, class... Within>
struct AlignmentOf<const flatbuffers::Vector<Element>*, Within...> {
  static constexpr size_t kAlignment = alignof(std::remove_pointer_t<Element>);
  static constexpr bool kMatters = kAlignment > alignof(flatbuffers::uoffset_t), kRecurs = false;
  static bool Holds(const flatbuffers::Vector<Element>* vector) {
    return vector == nullptr || vector->size() == 0 ||
           reinterpret_cast<uintptr_t>(vector->Data()) % kAlignment == 0;
  }
};

// Tables and strings.
template <class T, class... Within>
struct AlignmentOf<const flatbuffers::Vector<flatbuffers::Offset<T>>*, Within...> {
  using Inner = AlignmentOf<const T*, Within...>;
  static constexpr bool kMatters = Inner::kMatters, kRecurs = Inner::kRecurs;
  static bool Holds(const flatbuffers::Vector<flatbuffers::Offset<T>>* vector) {
    if (vector == nullptr) return true;
    for (const T* table : *vector)
      if (!Inner::Holds(table)) return false;
    return true;
  }
};

// The fields of a table.
template <class T, size_t kField, class... Within>
using AlignmentOfField =
    AlignmentOf<decltype(std::declval<const T&>().template get_field<kField>()), T, Within...>;

template <class Fields, class T, class... Within>
struct AlignmentOfFields;
template <size_t... kFields, class T, class... Within>
struct AlignmentOfFields<std::index_sequence<kFields...>, T, Within...> {
  static constexpr bool kMatters = (AlignmentOfField<T, kFields, Within...>::kMatters || ...);
  static constexpr bool kRecurs = (AlignmentOfField<T, kFields, Within...>::kRecurs || ...);
  static_assert(!kMatters || !kRecurs, "what lies deeper in a recursive table is not looked at");
  static bool Holds(const T* table) {
    return table == nullptr || (FieldHolds<kFields>(*table) && ...);
  }

 private:
  template <size_t kField>
  static bool FieldHolds(const T& table) {
    using Field = AlignmentOfField<T, kField, Within...>;
    if constexpr (Field::kMatters)
      return Field::Holds(table.template get_field<kField>());
    else
      return true;
  }
};

template <class T, class... Within>
concept TableWithinItself = std::is_base_of_v<flatbuffers::Table, T> &&
    (std::is_same_v<T, Within> || ...);
template <class T, class... Within>
concept TableOfItsOwn =
    std::is_base_of_v<flatbuffers::Table, T> && !(std::is_same_v<T, Within> || ...);

template <class T, class... Within>
requires TableWithinItself<T, Within...>
struct AlignmentOf<const T*, Within...> {
  static constexpr bool kMatters = false, kRecurs = true;
};

template <class T, class... Within>
requires TableOfItsOwn<T, Within...>
struct AlignmentOf<const T*, Within...>
    : AlignmentOfFields<std::make_index_sequence<T::Traits::fields_number>, T, Within...> {
};

}  // namespace zsched
