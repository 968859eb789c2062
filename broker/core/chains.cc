#include "broker/core/chains.h"

#include <vector>

#include "base/check.h"
#include "base/planted.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

Offset<flatbuffers::String> CopyText(FlatBufferBuilder& builder, std::string_view text) {
  return builder.CreateString(text.data(), text.size());
}
Offset<flatbuffers::String> CopyText(FlatBufferBuilder& builder, const flatbuffers::String* text) {
  return text == nullptr ? 0 : CopyText(builder, TextOf(text));
}

// The task's own, or the one that it inherits, or none.
Offset<flatbuffers::String> CopyOr(FlatBufferBuilder& builder, const flatbuffers::String* own,
                                   std::string_view inherited) {
  if (own != nullptr) return CopyText(builder, own);
  return inherited.empty() ? Offset<flatbuffers::String>() : CopyText(builder, inherited);
}

Offset<flatbuffers::Vector<Offset<wire::Label>>> CopyLabels(
    FlatBufferBuilder& builder, const flatbuffers::Vector<Offset<wire::Label>>* labels) {
  if (labels == nullptr) return 0;
  std::vector<Offset<wire::Label>> pairs;
  for (const wire::Label* label : *labels) {
    const auto key = CopyText(builder, label->key()), value = CopyText(builder, label->value());
    pairs.push_back(wire::CreateLabel(builder, key, value));
  }
  return builder.CreateVector(pairs);
}

Offset<Templates> CopyTemplates(FlatBufferBuilder& builder, const Templates* templates,
                                const Inherited& inherited) {
  if (templates == nullptr || templates->size() == 0) return 0;
  std::vector<Offset<wire::TaskSpec>> copies;
  for (const wire::TaskSpec* spec : *templates)
    copies.push_back(CopySpec(builder, *spec, inherited));
  return builder.CreateVector(copies);
}

uint64_t Count(const Templates* templates) {
  if (templates == nullptr) return 0;
  uint64_t count = templates->size();
  for (const wire::TaskSpec* spec : *templates)
    count += Count(spec->on_success()) + Count(spec->on_failure()) + Count(spec->on_complete());
  return count;
}

}  // namespace

uint8_t BranchesAt(TaskState end) {
  switch (end) {
    case TaskState::kSucceeded:
      return kOnSuccess | kOnComplete;
    case TaskState::kDead:
      return kOnFailure | kOnComplete;
    case TaskState::kCancelled:
      return ZS_PLANTED("cancelled-fires-nothing") ? 0 : kOnComplete;
    default:
      return 0;
  }
}

Offset<wire::TaskSpec> CopySpec(FlatBufferBuilder& builder, const wire::TaskSpec& spec,
                                const Inherited& inherited) {
  // What deeper templates inherit is filled in when the task of this one is made.
  const auto on_success = CopyTemplates(builder, spec.on_success(), {}),
             on_failure = CopyTemplates(builder, spec.on_failure(), {}),
             on_complete = CopyTemplates(builder, spec.on_complete(), {});
  const auto type = CopyText(builder, spec.type()), queue = CopyText(builder, spec.queue());
  Offset<flatbuffers::Vector<uint8_t>> payload;
  if (spec.payload() != nullptr)
    payload = builder.CreateVector(spec.payload()->data(), spec.payload()->size());
  const auto content_type = CopyText(builder, spec.content_type());
  const auto labels = CopyLabels(builder, spec.labels());
  const auto key = CopyText(builder, spec.key());
  const auto concurrency_key = CopyText(builder, spec.concurrency_key()),
             fairness_key = CopyText(builder, spec.fairness_key());
  const auto correlation_id = CopyOr(builder, spec.correlation_id(), inherited.correlation_id),
             traceparent = CopyOr(builder, spec.traceparent(), inherited.traceparent);
  return wire::CreateTaskSpec(
      builder, type, queue, payload, content_type, spec.priority(), spec.durability(),
      spec.max_attempts(), spec.timeout_ms(), spec.delay_ms(), spec.run_at_ms(),
      spec.retry_base_ms(), spec.retry_cap_ms(), labels, key, concurrency_key, fairness_key,
      correlation_id, traceparent, spec.delivery(), on_success, on_failure, on_complete,
      spec.pass_result(), spec.start_within_ms(), spec.start_by_ms());
}

std::string BuildChain(const wire::TaskSpec& spec) {
  FlatBufferBuilder builder;
  const Inherited inherited{TextOf(spec.correlation_id()), TextOf(spec.traceparent())};
  const auto on_success = CopyTemplates(builder, spec.on_success(), inherited),
             on_failure = CopyTemplates(builder, spec.on_failure(), inherited),
             on_complete = CopyTemplates(builder, spec.on_complete(), inherited);
  builder.Finish(wire::CreateChain(builder, on_success, on_failure, on_complete));
  return {reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize()};
}

bool Chain::MayFireAfter(uint8_t more) const {
  bool left = false;
  ForEachBranch([&](Branch branch, const char*, const Templates&) {
    left |= (branch & ~(fired | more)) != 0;
  });
  return left;
}

uint64_t Chain::templates() const {
  const wire::Chain& chain = table();
  return Count(chain.on_success()) + Count(chain.on_failure()) + Count(chain.on_complete());
}

uint64_t Chain::FollowersAt(TaskState end) const {
  uint64_t followers = 0;
  ForEachBranch([&](Branch branch, const char*, const Templates& templates) {
    if ((branch & BranchesAt(end) & ~fired) != 0) followers += templates.size();
  });
  return followers;
}

void Chains::Add(uint64_t task, Chain chain) {
  bytes_ += chain.body.size();
  templates_ += chain.templates();
  const bool is_new = by_task_.emplace(task, std::move(chain)).second;
  ZS_CHECK(is_new);
}

Chain Chains::Take(uint64_t task) {
  auto it = by_task_.find(task);
  ZS_CHECK(it != by_task_.end());
  Chain chain = std::move(it->second);
  by_task_.erase(it);
  bytes_ -= chain.body.size();
  templates_ -= chain.templates();
  return chain;
}

}  // namespace zsched::broker
