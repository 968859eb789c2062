// Records of the log as a standby or a restart reads them. What is applied must also be writable again, and can be told as
// events.
// Input: (length u16 little-endian, record)*; the size in each record's head is made right.
#include <cstring>
#include <string>

#include "base/check.h"
#include "broker/core/state.h"
#include "broker/server/record_events.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched;
  using namespace zsched::broker;
  State state;
  Batch batch;
  batch.Begin(Epoch(4), Lsn(1));
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (rest.size() >= 2) {
    uint16_t length;
    std::memcpy(&length, rest.data(), sizeof length);
    rest.remove_prefix(2);
    std::string record(rest.substr(0, length));
    rest.remove_prefix(record.size());
    if (record.size() >= sizeof(uint32_t)) {
      auto bytes = static_cast<uint32_t>(record.size());
      std::memcpy(record.data(), &bytes, sizeof bytes);
    }
    const bool told = ForEachEvent(record, [](const LogEvent&) { return true; }).ok();
    if (!state.Apply(batch, record).ok()) return 0;  // the state is given up, as the broker does
    ZS_CHECK(told);
  }
  state.FlushRows(batch);
  state.Fingerprint();
  return 0;
}
