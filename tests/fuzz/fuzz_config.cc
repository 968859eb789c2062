// Configuration files, and the texts of durations, times, sizes, addresses and ids.
#include <string_view>

#include "base/config_file.h"
#include "base/text.h"
#include "schemas/ids.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)ParseConfigText(text);
  (void)ParseDurationMs(text);
  (void)ParseTimeMs(text);
  (void)ParseSizeBytes(text);
  (void)ParseHostPort(text, true);
  (void)ParseBrokerList(text);
  (void)ParseId<TaskId>(text);
  (void)ParseUuid(text);
  (void)IsValidName(text);
  return 0;
}
