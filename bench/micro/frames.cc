#include "bench/micro/frames.h"

#include <cstring>

#include "base/check.h"

namespace zsched::micro {
namespace {

std::string_view Finished(const flatbuffers::FlatBufferBuilder& builder) {
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

void SetNumber(flatbuffers::FlatBufferBuilder& builder, flatbuffers::voffset_t field,
               uint64_t value) {
  auto* table = flatbuffers::GetMutableRoot<flatbuffers::Table>(builder.GetBufferPointer());
  // Absent fields have no room to be written to; 0 is what an absent one reads as.
  ZS_CHECK(table->SetField<uint64_t>(field, value, 0));
}

}  // namespace

SubmitBody::SubmitBody(uint32_t tasks) {
  const std::string payload(kPayloadBytes, 'x');
  auto type = builder_.CreateString("noop"), queue = builder_.CreateString("bench");
  std::vector<flatbuffers::Offset<wire::TaskSpec>> specs;
  for (uint32_t i = 0; i < tasks; ++i) {
    auto bytes =
        builder_.CreateVector(reinterpret_cast<const uint8_t*>(payload.data()), payload.size());
    specs.push_back(wire::CreateTaskSpec(builder_, type, queue, bytes));
  }
  auto list = builder_.CreateVector(specs);
  builder_.Finish(wire::CreateSubmit(builder_, seq_, /*acked_below=*/seq_, /*notify=*/true, list));
}

void SubmitBody::Next() {
  ++seq_;
  SetNumber(builder_, wire::Submit::VT_SEQ, seq_);
  SetNumber(builder_, wire::Submit::VT_ACKED_BELOW, seq_);
}

const wire::Submit& SubmitBody::submit() const {
  return *flatbuffers::GetRoot<wire::Submit>(builder_.GetBufferPointer());
}

std::string_view SubmitBody::bytes() const { return Finished(builder_); }

ResultsBody::ResultsBody(uint32_t tasks) {
  auto list = builder_.CreateVectorOfStructs(std::vector<wire::Done>(tasks));
  builder_.Finish(wire::CreateResults(builder_, /*seq=*/1, list));
}

void ResultsBody::Next(const std::vector<wire::Done>& done) {
  const auto* list = results().done();
  ZS_CHECK(list->size() == done.size());
  std::memcpy(const_cast<uint8_t*>(list->Data()), done.data(), done.size() * sizeof(wire::Done));
  SetNumber(builder_, wire::Results::VT_SEQ, ++seq_);
}

const wire::Results& ResultsBody::results() const {
  return *flatbuffers::GetRoot<wire::Results>(builder_.GetBufferPointer());
}

std::string_view ResultsBody::bytes() const { return Finished(builder_); }

}  // namespace zsched::micro
