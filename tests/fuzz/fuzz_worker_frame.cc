// Frames of a worker at the broker's worker endpoint. A client has submitted some tasks, and the worker has credit, so that
// results, releases and heartbeats can hit leases that exist.
#include "schemas/limits.h"
#include "tests/fuzz/fuzz_broker.h"

namespace {

std::string Submit() {
  flatbuffers::FlatBufferBuilder b;
  std::vector<flatbuffers::Offset<zsched::wire::TaskSpec>> tasks;
  for (int i = 0; i < 4; ++i) {
    auto type = b.CreateString("t");
    tasks.push_back(zsched::wire::CreateTaskSpec(b, type));
  }
  auto list = b.CreateVector(tasks);
  b.Finish(zsched::wire::CreateSubmit(b, 1, 1, true, list));
  return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
}

std::string Credit() {
  flatbuffers::FlatBufferBuilder b;
  b.Finish(zsched::wire::CreateCredit(b, 3, zsched::kMaxCreditBytes));
  return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace zsched;
  fuzz::Broker broker;
  broker.Hello();
  broker.Say(broker::Endpoint::kClient, {MessageType::kSubmit, Submit()});
  broker.WorkerHello();
  broker.Say(broker::Endpoint::kWorker, {MessageType::kCredit, Credit()});
  fuzz::Inputs inputs(data, size);
  for (fuzz::Input input{}; inputs.Next(input);) broker.Say(broker::Endpoint::kWorker, input);
  broker.Pass(1'000);
  broker.Pass(3'600'000);
  return 0;
}
