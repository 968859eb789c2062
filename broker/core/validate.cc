#include "broker/core/validate.h"

#include <string_view>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "broker/core/chains.h"
#include "schemas/limits.h"
#include "schemas/verify.h"

namespace zsched::broker {
namespace {

Verdict Invalid(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

std::string Num(uint64_t value) { return std::to_string(value); }

Verdict CheckLabels(const flatbuffers::Vector<flatbuffers::Offset<wire::Label>>& labels) {
  if (labels.size() > kMaxLabels)
    return Invalid("labels: " + Num(labels.size()) + " given, at most " + Num(kMaxLabels) +
                   " are allowed");
  for (size_t i = 0; i < labels.size(); ++i) {
    std::string_view key = TextOf(labels.Get(i)->key()), value = TextOf(labels.Get(i)->value());
    if (key.size() > kMaxLabelKeyBytes || !IsValidName(key))
      return Invalid("labels: a key must be 1.." + Num(kMaxLabelKeyBytes) +
                     " bytes of UTF-8 without control characters");
    if (value.size() > kMaxLabelValueBytes || !IsUtf8(value))
      return Invalid("labels: the value of '" + std::string(key) + "' must be at most " +
                     Num(kMaxLabelValueBytes) + " bytes of UTF-8");
    for (size_t k = 0; k < i; ++k)
      if (TextOf(labels.Get(k)->key()) == key)
        return Invalid("labels: key '" + std::string(key) + "' is given twice");
  }
  return {};
}

// "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" (W3C Trace Context §3.2, version 00).
bool IsTraceparent(std::string_view text) {
  constexpr std::string_view kShape = "00-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
  static_assert(kShape.size() == kTraceparentBytes);
  if (text.size() != kShape.size()) return false;
  auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  for (size_t i = 0; i < text.size(); ++i)
    if (kShape[i] == 'x' ? !is_hex(text[i]) : text[i] != kShape[i]) return false;
  const std::string_view trace = text.substr(3, 32), span = text.substr(36, 16);
  return trace.find_first_not_of('0') != trace.npos && span.find_first_not_of('0') != span.npos;
}

Verdict CheckExtras(const wire::TaskSpec& spec) {
  if (spec.concurrency_key() == nullptr && spec.fairness_key() == nullptr &&
      spec.correlation_id() == nullptr && spec.traceparent() == nullptr)
    return {};
  auto bad_name = [](const char* field, const flatbuffers::String* text, size_t limit) {
    if (text == nullptr || (IsValidName(TextOf(text)) && text->size() <= limit)) return Verdict{};
    return Invalid(std::string(field) + ": must be 1.." + Num(limit) +
                   " bytes of UTF-8 without control characters");
  };
  for (const Verdict& verdict :
       {bad_name("concurrency_key", spec.concurrency_key(), kMaxKeyBytes),
        bad_name("fairness_key", spec.fairness_key(), kMaxKeyBytes),
        bad_name("correlation_id", spec.correlation_id(), kMaxCorrelationIdBytes)})
    if (verdict.code != ErrorCode::kOk) return verdict;
  if (spec.traceparent() != nullptr && !IsTraceparent(TextOf(spec.traceparent())))
    return Invalid(
        "traceparent: must be a W3C trace context of version 00, such as "
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  return {};
}

Verdict CheckRetry(const wire::TaskSpec& spec) {
  if (spec.max_attempts() > kMaxMaxAttempts)
    return Invalid("max_attempts: " + Num(spec.max_attempts()) + " is over the limit of " +
                   Num(kMaxMaxAttempts));
  if (spec.timeout_ms() > kMaxTimeoutMs)
    return Invalid("timeout_ms: " + Num(spec.timeout_ms()) + " is over the limit of 7 days");
  if (spec.retry_base_ms() > kMaxRetryCapMs || spec.retry_cap_ms() > kMaxRetryCapMs)
    return Invalid("retry_base_ms, retry_cap_ms: at most 24 hours");
  if (spec.retry_cap_ms() != 0 && spec.retry_base_ms() > spec.retry_cap_ms())
    return Invalid("retry_base_ms: must not be over retry_cap_ms");
  return {};
}

// A task must be able to begin in time.
Verdict CheckStart(const wire::TaskSpec& spec, int64_t now_ms) {
  if (spec.start_within_ms() == 0 && spec.start_by_ms() == 0) return {};
  if (spec.start_within_ms() != 0 && spec.start_by_ms() != 0)
    return Invalid("start_within_ms, start_by_ms: give one of the two");
  if (spec.start_within_ms() > kMaxDelayMs || spec.start_by_ms() < 0 ||
      spec.start_by_ms() > now_ms + static_cast<int64_t>(kMaxDelayMs))
    return Invalid("start_within_ms, start_by_ms: must be within 10 years from now");
  const int64_t ready_ms =
      spec.run_at_ms() != 0 ? spec.run_at_ms() : now_ms + static_cast<int64_t>(spec.delay_ms());
  const int64_t start_by_ms = spec.start_by_ms() != 0
                                  ? spec.start_by_ms()
                                  : now_ms + static_cast<int64_t>(spec.start_within_ms());
  const bool waits = spec.run_at_ms() != 0 || spec.delay_ms() != 0;
  if (waits && start_by_ms <= ready_ms)
    return Invalid("start_within_ms, start_by_ms: must be after delay_ms, run_at_ms");
  return {};
}

Verdict CheckTime(const wire::TaskSpec& spec, int64_t now_ms) {
  if (spec.delay_ms() != 0 && spec.run_at_ms() != 0)
    return Invalid("delay_ms, run_at_ms: give one of the two");
  if (spec.delay_ms() > kMaxDelayMs ||
      spec.run_at_ms() > now_ms + static_cast<int64_t>(kMaxDelayMs) || spec.run_at_ms() < 0)
    return Invalid("delay_ms, run_at_ms: must be within 10 years from now");
  return CheckStart(spec, now_ms);
}

// Of all templates of a task, in all depths.
struct ChainSums {
  size_t templates = 0, payload_bytes = 0;
};

Verdict CheckTask(const wire::TaskSpec& spec, size_t max_payload_bytes, int64_t now_ms);
template <class Owner>
Verdict CheckChain(const Owner& owner, int depth, size_t max_payload_bytes, int64_t now_ms,
                   ChainSums& sums);

// Sums first: a small hostile buffer may name one large template many times.
Verdict CheckTemplate(const wire::TaskSpec& spec, int depth, size_t max_payload_bytes,
                      int64_t now_ms, ChainSums& sums) {
  if (depth > kMaxChainDepth)
    return Invalid(absl::StrCat(": a chain is at most ", kMaxChainDepth, " deep"));
  if (++sums.templates > kMaxTemplates)
    return Invalid(absl::StrCat(": a task has at most ", kMaxTemplates,
                                " templates, in all branches and depths together"));
  sums.payload_bytes += BytesOf(spec.payload()).size();
  if (sums.payload_bytes > kMaxTemplateBytes)
    return {ErrorCode::kTooLarge,
            absl::StrCat("payload: those of a task's templates are over the limit of ",
                         kMaxTemplateBytes, " bytes together")};
  if (spec.run_at_ms() != 0)
    return Invalid("run_at_ms: a template has delay_ms, from the end of the task that it follows");
  if (spec.start_by_ms() != 0)
    return Invalid("start_by_ms: a template has start_within_ms, from the end of its parent");
  if (spec.key() != nullptr) return Invalid("key: a task that follows is there once without one");
  if (Verdict v = CheckTask(spec, max_payload_bytes, now_ms); v.code != ErrorCode::kOk) return v;
  return CheckChain(spec, depth, max_payload_bytes, now_ms, sums);
}

template <class Owner>
Verdict CheckChain(const Owner& owner, int depth, size_t max_payload_bytes, int64_t now_ms,
                   ChainSums& sums) {
  Verdict verdict;
  ForEachBranch(owner, [&](Branch, const char* name, const Templates& templates) {
    for (uint32_t i = 0; i < templates.size() && verdict.code == ErrorCode::kOk; ++i) {
      verdict = CheckTemplate(*templates.Get(i), depth + 1, max_payload_bytes, now_ms, sums);
      if (verdict.code == ErrorCode::kOk) continue;
      verdict.message = absl::StrCat(name, "[", i, verdict.message.starts_with(":") ? "]" : "].",
                                     verdict.message);
    }
  });
  return verdict;
}

Verdict CheckTask(const wire::TaskSpec& spec, size_t max_payload_bytes, int64_t now_ms) {
  if (!IsValidName(TextOf(spec.type())))
    return Invalid("type: must be 1.." + Num(kMaxNameBytes) +
                   " bytes of UTF-8 without control characters");
  if (spec.queue() != nullptr && !IsValidName(TextOf(spec.queue())))
    return Invalid("queue: must be 1.." + Num(kMaxNameBytes) +
                   " bytes of UTF-8 without control characters");
  if (spec.payload() != nullptr && spec.payload()->size() > max_payload_bytes)
    return {ErrorCode::kTooLarge, "payload: " + Num(spec.payload()->size()) +
                                      " bytes is over the limit of " + Num(max_payload_bytes) +
                                      "; store it elsewhere and submit a reference"};
  if (std::string_view type = TextOf(spec.content_type());
      type.size() > kMaxContentTypeBytes || !IsUtf8(type))
    return Invalid("content_type: must be at most " + Num(kMaxContentTypeBytes) +
                   " bytes of UTF-8");
  if (spec.key() != nullptr && !IsValidName(TextOf(spec.key())))
    return Invalid("key: must be 1.." + Num(kMaxKeyBytes) +
                   " bytes of UTF-8 without control characters");
  if (Verdict v = CheckExtras(spec); v.code != ErrorCode::kOk) return v;
  if (spec.priority() >= kPriorities)
    return Invalid("priority: " + Num(spec.priority()) + " is not in 0..9");
  if (spec.durability() > wire::Durability::MAX)
    return Invalid("durability: unknown value " + Num(static_cast<uint64_t>(spec.durability())));
  if (spec.delivery() > wire::Delivery::MAX)
    return Invalid("delivery: unknown value " + Num(static_cast<uint64_t>(spec.delivery())));
  if (Verdict v = CheckRetry(spec); v.code != ErrorCode::kOk) return v;
  if (Verdict v = CheckTime(spec, now_ms); v.code != ErrorCode::kOk) return v;
  if (spec.labels() != nullptr) return CheckLabels(*spec.labels());
  return {};
}

}  // namespace

Verdict ValidateSpec(const wire::TaskSpec& spec, size_t max_payload_bytes, int64_t now_ms) {
  Verdict verdict = CheckTask(spec, max_payload_bytes, now_ms);
  if (verdict.code != ErrorCode::kOk) return verdict;
  if (spec.pass_result())
    return Invalid("pass_result: only of a template, whose task has one that it follows");
  if (!HasChain(spec)) return {};
  ChainSums sums;
  return CheckChain(spec, 0, max_payload_bytes, now_ms, sums);
}

Verdict ValidateChain(const wire::Chain& chain) {
  ChainSums sums;
  return CheckChain(chain, 0, kMaxPayloadBytes, /*now_ms=*/0, sums);
}

LaneNames LaneOf(const wire::TaskSpec& spec) {
  return {spec.queue() != nullptr ? TextOf(spec.queue()) : std::string_view(kDefaultQueue),
          TextOf(spec.type()), TextOf(spec.concurrency_key()), TextOf(spec.fairness_key())};
}

}  // namespace zsched::broker
