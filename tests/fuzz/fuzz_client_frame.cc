// Frames of a client at the broker's client endpoint, with a worker there so that tasks run.
#include "tests/fuzz/fuzz_broker.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched;
  fuzz::Broker broker;
  broker.Hello();
  fuzz::Inputs inputs(data, size);
  for (fuzz::Input input{}; inputs.Next(input);) broker.Say(broker::Endpoint::kClient, input);
  broker.Pass(1'000);
  broker.Pass(3'600'000);
  return 0;
}
