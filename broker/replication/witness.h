// What a witness answers: the third vote of a pair. It has the register and no tasks. Owned by broker/replication. Pure, but for
// the store it is given.
//
//   PeerRegisterRead, PeerRegisterSwap ──▶ Witness ──▶ store ──▶ PeerRegisterAnswer
//
// A broker whose answer was lost must be able to find out what became of its swap. So that its next answer says so for good,
// nothing that was sent before is carried out after it: docs/ha.md, "The register at a witness".
//
// Example:
//   Witness witness(*file_register, random_life);
//   if (auto answer = witness.On(message)) …send it back…
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "broker/replication/peer_frames.h"
#include "broker/replication/register.h"

namespace zsched::broker {

// Askers that a witness tells apart. Each start of a broker is one; with more of them the witness begins a new life.
inline constexpr size_t kMaxWitnessAskers = 64;

class Witness {
 public:
  // `life`: random, not 0, another one each time the process starts. `store` outlives it.
  Witness(RegisterStore& store, uint64_t life) : store_(store), life_(life) {}

  // nullopt: no answer is due, as it is no request, or one that came after a later one of its asker.
  std::optional<PeerRegisterAnswer> On(const PeerMessage& message);

  uint64_t life() const { return life_; }

 private:
  template <class Request>
  std::optional<PeerRegisterAnswer> Answer(const Request& request);
  bool IsLate(uint64_t asker, uint64_t number);
  absl::StatusOr<Register> Do(const PeerRegisterRead&) { return store_.Read(); }
  absl::StatusOr<Register> Do(const PeerRegisterSwap& swap);

  RegisterStore& store_;
  uint64_t life_;
  std::map<uint64_t, uint64_t> answered_;  // by asker: its highest number
};

}  // namespace zsched::broker
