// Raw bytes as a frame, at both endpoints of the broker: the checks that come before any session.
#include "tests/fuzz/fuzz_broker.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched;
  fuzz::Broker broker;
  std::string frame(reinterpret_cast<const char*>(data), size);
  broker.Frame(broker::Endpoint::kClient, frame);
  broker.Frame(broker::Endpoint::kWorker, frame);
  return 0;
}
