// Reader of the configuration file: `key = value` lines, a subset of TOML. Owned by base; used by
// Flags. Our own and not CLI11's reader because that one knows no line numbers, cuts quoted values
// at '#' and splits bare ones at blanks.
//
// Example:  ParseConfigText("queue = \"a#b\"  # why\nlabel = [x, y]\n") gives two items.
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace zsched {

struct ConfigItem {
  std::string key;
  std::vector<std::string> values;  // one, or those of a [list]
  int line = 0;                     // from 1
};

// The items in the order of the text. INVALID_ARGUMENT begins with the line number ("3: …"): no
// '=', a broken key, quote or list, a [section], a key given twice.
absl::StatusOr<std::vector<ConfigItem>> ParseConfigText(std::string_view text);

}  // namespace zsched
