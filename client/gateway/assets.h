// Files that are part of the program: the dashboard, and schemas of the API. Owned by client/gateway; made
// at build by Embed.cmake.
//
// Threads: constants.
#pragma once

#include <span>
#include <string_view>

namespace zsched::gateway {

struct Asset {
  std::string_view name;  // "index.html", "pages/tasks.js"
  std::string_view bytes;
};

std::span<const Asset> Assets();
// nullptr: there is none of that name.
const Asset* FindAsset(std::string_view name);

}  // namespace zsched::gateway
