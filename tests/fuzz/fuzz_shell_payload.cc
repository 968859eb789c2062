// The JSON payload of shell tasks: parsed and checked, nothing is run.
#include <string_view>

#include "worker/executors/shell.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  (void)zsched::worker::ParseShellCommand(
      std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
