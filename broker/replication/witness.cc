#include "broker/replication/witness.h"

#include <string>

#include "schemas/errors.h"

namespace zsched::broker {

std::optional<PeerRegisterAnswer> Witness::On(const PeerMessage& message) {
  if (auto* read = std::get_if<PeerRegisterRead>(&message)) return Answer(*read);
  if (auto* swap = std::get_if<PeerRegisterSwap>(&message)) return Answer(*swap);
  return std::nullopt;
}

template <class Request>
std::optional<PeerRegisterAnswer> Witness::Answer(const Request& request) {
  if (IsLate(request.life, request.number)) return std::nullopt;
  // The life after it: a request may have begun a new one.
  absl::StatusOr<Register> value = Do(request);
  return PeerRegisterAnswer{request.life, request.number, life_, std::move(value)};
}

bool Witness::IsLate(uint64_t asker, uint64_t number) {
  const auto known = answered_.find(asker);
  if (known != answered_.end()) {
    if (number <= known->second) return true;
    known->second = number;
    return false;
  }
  if (answered_.size() == kMaxWitnessAskers) {
    // What is forgotten here must not be taken for new: its swaps name the life that ends.
    answered_.clear();
    ++life_;
  }
  answered_.emplace(asker, number);
  return false;
}

absl::StatusOr<Register> Witness::Do(const PeerRegisterSwap& swap) {
  if (swap.witness_life != life_)
    return Error(ErrorCode::kConflict, "the witness has begun a new life since it was asked last");
  return store_.Swap(swap.expected, swap.wanted);
}

}  // namespace zsched::broker
