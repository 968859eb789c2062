// A whole broker (engine, core, journal in memory) behind the broker's frame fuzzers. Invariants are checked after every
// round, so a frame that is accepted and breaks a promise is found as well as one that breaks the process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "broker/server/engine.h"
#include "flatbuffers/flatbuffers.h"
#include "schemas/verify.h"
#include "tests/fuzz/frames.h"

namespace zsched::fuzz {

class Broker : private broker::Outbox {
 public:
  Broker() : journal_(broker::OpenMemoryJournal(broker::MakeMemoryDisk())) {
    broker::Outbox& outbox = *this;
    engine_ = std::make_unique<broker::Engine>(broker::EngineConfig{}, *journal_, outbox);
    ZS_CHECK_OK(engine_->Start(Uuid{1, 2}, now_));
    Round();
  }

  void Hello() {
    flatbuffers::FlatBufferBuilder b;
    wire::Uuid id(3, 4);
    b.Finish(wire::CreateHello(b, &id));
    Say(broker::Endpoint::kClient, {MessageType::kHello, BodyOf(b)});
  }
  void WorkerHello() {
    flatbuffers::FlatBufferBuilder b;
    wire::Uuid id(5, 6);
    auto name = b.CreateString("worker");
    wire::WorkerHelloBuilder hello(b);
    hello.add_id(&id);
    hello.add_name(name);
    b.Finish(hello.Finish());
    Say(broker::Endpoint::kWorker, {MessageType::kWorkerHello, BodyOf(b)});
  }
  // As the next frame of the session that this endpoint's peer has.
  void Say(broker::Endpoint endpoint, const Input& input) {
    Stream& stream = StreamOf(endpoint);
    Frame(endpoint, Seal(input, stream.session, IsGreeting(input.type) ? 0 : ++stream.sent));
  }
  void Frame(broker::Endpoint endpoint, const std::string& frame) {
    engine_->OnFrame(endpoint, Peer(endpoint), aligned_.Align(frame), now_);
    Round();
  }
  void Pass(int64_t ms) {
    now_.wall_ms += ms;
    now_.mono_ms += ms;
    engine_->OnTick(now_);
    Round();
  }

 private:
  struct Stream {
    uint64_t session = 0;
    uint32_t sent = 0;
  };
  Stream& StreamOf(broker::Endpoint endpoint) { return streams_[static_cast<size_t>(endpoint)]; }
  static std::string_view BodyOf(const flatbuffers::FlatBufferBuilder& b) {
    return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
  }
  static std::string_view Peer(broker::Endpoint endpoint) {
    return endpoint == broker::Endpoint::kClient ? "client" : "worker";
  }
  // Everything that is open becomes durable, and every query is answered.
  void Round() {
    ZS_CHECK_OK(engine_->EndRound(now_));
    for (int i = 0; i < 4; ++i) {
      for (broker::Query& query : engine_->TakeQueries()) {
        auto view = journal_->View();
        ZS_CHECK_OK(view.status());
        broker::QueryReply reply = runner_.Run(**view, query);
        ZS_CHECK_OK(reply.status);
        ZS_CHECK_OK(engine_->OnReply(std::move(reply), now_));
      }
      if (engine_->TakeBatch(batches_[next_])) {
        ZS_CHECK_OK(journal_->Commit(batches_[next_]));
        engine_->OnCommitted(batches_[next_], 1, now_);
        ZS_CHECK_OK(engine_->ReleaseCommitted());
        next_ = 1 - next_;
      }
      ZS_CHECK_OK(engine_->EndRound(now_));
    }
    ZS_CHECK_OK(engine_->core().CheckInvariants());
  }
  broker::Delivery Send(broker::Endpoint endpoint, std::string_view, const FrameHeader& header,
                        std::string_view body) override {
    std::string frame = SealFrame(header, body);
    ZS_CHECK(OpenFrame(frame).ok() && frame.size() <= kMaxFrameBytes);
    if (header.type == MessageType::kWelcome || header.type == MessageType::kWorkerWelcome)
      StreamOf(endpoint) = {header.session, 0};
    return broker::Delivery::kSent;
  }
  bool HasRoom(broker::Endpoint, std::string_view) override { return true; }

  Now now_{1'700'000'000'000, 1'000};
  std::unique_ptr<broker::Journal> journal_;
  std::unique_ptr<broker::Engine> engine_;
  broker::QueryRunner runner_;
  broker::Batch batches_[2];
  int next_ = 0;
  Stream streams_[2];
  AlignedCopy aligned_;
};

}  // namespace zsched::fuzz
