// Frames from a broker, good or not, at the session of a client and of a worker.
#include "client/session/session.h"
#include "tests/fuzz/frames.h"

namespace {

void Play(zsched::SessionKind kind, const uint8_t* data, size_t size) {
  using namespace zsched;
  SessionOptions options;
  options.kind = kind;
  options.brokers = {{"127.0.0.1", 5570}, {"127.0.0.1", 5580}};
  options.seed = 1;
  Session session(options, {.hello = [] { return std::string("hello"); }});
  SessionActions actions;
  AlignedCopy aligned;
  Now now{1'700'000'000'000, 1'000};
  session.OnTick(now, &actions);
  fuzz::Inputs inputs(data, size);
  uint32_t sent = 0;
  for (fuzz::Input input{}; inputs.Next(input);) {
    // WELCOME is the first of a session; the next session begins again.
    if (!session.ready()) sent = 0;
    FrameHeader header;
    header.number = ++sent;
    header.type = input.type;
    header.epoch = 4;
    header.session = session.id().value();
    std::string frame = SealFrame(header, input.body);
    session.OnFrame(aligned.Align(frame), now, &actions);
    actions.clear();
    now.mono_ms += 100;
    session.OnTick(now, &actions);
    actions.clear();
  }
  session.Close(now, &actions);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Play(zsched::SessionKind::kClient, data, size);
  Play(zsched::SessionKind::kWorker, data, size);
  return 0;
}
