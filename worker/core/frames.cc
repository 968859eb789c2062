#include "worker/core/frames.h"

namespace zsched::worker {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;
using flatbuffers::String;

template <class T>
std::string_view Finished(FlatBufferBuilder* builder, Offset<T> root) {
  builder->Finish(root);
  return {reinterpret_cast<const char*>(builder->GetBufferPointer()), builder->GetSize()};
}

// An absent string costs nothing and reads as empty.
Offset<String> OptionalString(const std::string& text, FlatBufferBuilder* builder) {
  return text.empty() ? Offset<String>() : builder->CreateString(text);
}

Offset<wire::Result> EncodeEntry(const ResultsFrame::Entry& entry, FlatBufferBuilder* builder) {
  const Outcome& outcome = entry.outcome;
  Offset<flatbuffers::Vector<uint8_t>> result;
  if (!outcome.result.empty())
    result = builder->CreateVector(reinterpret_cast<const uint8_t*>(outcome.result.data()),
                                   outcome.result.size());
  auto content_type = OptionalString(outcome.content_type, builder);
  auto message = OptionalString(outcome.message, builder);
  uint16_t code = outcome.succeeded ? 0 : static_cast<uint16_t>(outcome.code);
  return wire::CreateResult(*builder, entry.task.value(), entry.lease.value(), entry.run_us,
                            outcome.succeeded, result, content_type, code, message, outcome.advice,
                            outcome.retry_after_ms);
}

}  // namespace

std::string_view EncodeHello(const Identity& identity, bool draining,
                             const std::vector<wire::LeaseRef>& held, uint32_t number,
                             FlatBufferBuilder* builder) {
  builder->Clear();
  std::vector<Offset<wire::Label>> labels;
  for (const auto& [key, value] : identity.labels)
    labels.push_back(
        wire::CreateLabel(*builder, builder->CreateString(key), builder->CreateString(value)));
  auto label_vector = builder->CreateVector(labels);
  auto queues = builder->CreateVectorOfStrings(identity.queues);
  auto types = builder->CreateVectorOfStrings(identity.types);
  auto held_vector = builder->CreateVectorOfStructs(held);
  auto name = OptionalString(identity.name, builder);
  auto host = OptionalString(identity.host, builder);
  auto version = OptionalString(identity.version, builder);
  wire::Uuid id(identity.id.hi, identity.id.lo);
  return Finished(builder, wire::CreateWorkerHello(
                               *builder, &id, name, host, version, identity.pid, queues, types,
                               label_vector, identity.concurrency, draining, held_vector, number));
}

std::string_view EncodeHeartbeat(const HeartbeatInfo& info, FlatBufferBuilder* builder) {
  builder->Clear();
  Offset<flatbuffers::Vector<const wire::LeaseRef*>> started;
  if (!info.started.empty()) started = builder->CreateVectorOfStructs(info.started);
  return Finished(builder, wire::CreateHeartbeat(*builder, started, info.running, info.queued));
}

std::string_view EncodeCredit(const Grant& grant, FlatBufferBuilder* builder) {
  builder->Clear();
  return Finished(builder, wire::CreateCredit(*builder, grant.tasks, grant.bytes));
}

std::string_view EncodeRelease(const std::vector<wire::LeaseRef>& leases,
                               FlatBufferBuilder* builder) {
  builder->Clear();
  return Finished(builder, wire::CreateRelease(*builder, builder->CreateVectorOfStructs(leases)));
}

std::string_view EncodeProgress(std::span<const Report* const> reports,
                                FlatBufferBuilder* builder) {
  builder->Clear();
  std::vector<Offset<wire::AttemptReport>> list;
  for (const Report* report : reports) {
    Offset<String> message;
    Offset<flatbuffers::Vector<uint8_t>> checkpoint;
    if (report->message) message = builder->CreateString(*report->message);
    if (report->checkpoint)
      checkpoint = builder->CreateVector(
          reinterpret_cast<const uint8_t*>(report->checkpoint->data()), report->checkpoint->size());
    const auto percent =
        report->percent ? flatbuffers::Optional<uint8_t>(*report->percent) : flatbuffers::nullopt;
    list.push_back(wire::CreateAttemptReport(*builder, report->task.value(), report->lease.value(),
                                             percent, message, checkpoint));
  }
  return Finished(builder, wire::CreateProgress(*builder, builder->CreateVector(list)));
}

std::string_view EncodeOutput(std::span<const OutputPageRef> pages, FlatBufferBuilder* builder) {
  builder->Clear();
  std::vector<Offset<wire::OutputPage>> list;
  list.reserve(pages.size());
  for (const OutputPageRef& ref : pages) {
    auto runs = builder->CreateVectorOfStructs(ref.page->runs);
    auto bytes = builder->CreateVector(reinterpret_cast<const uint8_t*>(ref.page->bytes.data()),
                                       ref.page->bytes.size());
    list.push_back(wire::CreateOutputPage(*builder, ref.task.value(), ref.lease.value(),
                                          ref.page->offset, runs, bytes));
  }
  return Finished(builder, wire::CreateOutput(*builder, builder->CreateVector(list)));
}

std::string_view EncodeResults(const ResultsFrame& frame, FlatBufferBuilder* builder) {
  builder->Clear();
  std::vector<Offset<wire::Result>> results;
  results.reserve(frame.results.size());
  for (const ResultsFrame::Entry& entry : frame.results)
    results.push_back(EncodeEntry(entry, builder));
  Offset<flatbuffers::Vector<Offset<wire::Result>>> result_vector;
  if (!results.empty()) result_vector = builder->CreateVector(results);
  Offset<flatbuffers::Vector<const wire::Done*>> done;
  if (!frame.done.empty()) done = builder->CreateVectorOfStructs(frame.done);
  return Finished(builder, wire::CreateResults(*builder, frame.seq, done, result_vector));
}

}  // namespace zsched::worker
