// Rows of a small commit, as a start reads them. What is read must also be found again.
#include <string_view>

#include "base/check.h"
#include "broker/journal/redo.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched::broker;
  auto layer = RedoLayer::Decode({}, {reinterpret_cast<const char*>(data), size});
  if (!layer.ok()) return 0;
  RedoLayers layers{*layer};
  size_t bytes = 0;
  for (size_t number = 0; number < kTables; ++number) {
    auto table = static_cast<Table>(number);
    for (const auto& [from, change] : NewestFrom(layers, table, 0)) {
      ZS_CHECK(FindNewest(layers, table, change->key).change == change);
      if (!change->erased()) bytes += from->row(*change).size();
    }
  }
  ZS_CHECK(bytes <= size);
  return 0;
}
