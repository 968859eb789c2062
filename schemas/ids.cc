#include "schemas/ids.h"

#include <cstdio>

namespace zsched {

std::string ToString(const Uuid& id) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(id.hi),
                static_cast<unsigned long long>(id.lo));
  return text;
}

std::optional<Uuid> ParseUuid(std::string_view text) {
  if (text.size() != 32) return std::nullopt;
  Uuid id;
  for (auto [half, word] :
       {std::pair{text.substr(0, 16), &id.hi}, std::pair{text.substr(16), &id.lo}}) {
    auto [end, error] = std::from_chars(half.data(), half.data() + half.size(), *word, 16);
    if (error != std::errc() || end != half.data() + half.size()) return std::nullopt;
  }
  return id;
}

}  // namespace zsched
