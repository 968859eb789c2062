// The register: which broker may commit, and whose disks have all that was acknowledged; and the
// interface of the places where it is kept. Owned by broker/replication; pure.
//
//   Register       a value: docs/ha.md, "The register"
//   RegisterStore  where it stands, changed by compare-and-set only
//
//     file_register.h     in a file: a witness's own, and each broker's when there is no arbiter
//     witness_register.h  at a witness
//     etcd_register.h     under a key of an etcd cluster
//     memory_register.h   in memory, for simulations and tests
//
// Example:
//   ZS_ASSIGN_OR_RETURN(Register now, store.Read());
//   Register wanted = now;
//   wanted.epoch = MakeEpoch(PromotionsOf(now.epoch) + 1, kBackup);
//   wanted.active = kBackup;
//   wanted.in_sync = NodeBit(kBackup);
//   ZS_ASSIGN_OR_RETURN(Register stands, store.Swap(now, wanted));
//   if (stands == wanted) …          // this node may serve when its epoch is durable at home
//
// Threads: values, freely shared. A store is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/ids.h"

namespace zsched::broker {

// Node numbers, as epochs have them.
inline constexpr uint8_t kPrimary = 0;
inline constexpr uint8_t kBackup = 1;
inline constexpr uint8_t kNodes = 2;

constexpr uint8_t NodeBit(uint8_t node) { return static_cast<uint8_t>(1U << node); }
inline constexpr uint8_t kAllNodes = NodeBit(kPrimary) | NodeBit(kBackup);

// "primary", "backup". Requires node < kNodes.
std::string_view NodeName(uint8_t node);

struct Register {
  Epoch epoch;          // of the last promotion; 0: the register is empty
  uint8_t active = 0;   // the node that the epoch belongs to
  uint8_t in_sync = 0;  // NodeBit of each node whose disk has all that was ever acknowledged
  Uuid cluster;         // of the pair, given at its first start

  bool empty() const { return !epoch; }
  bool IsMember(uint8_t node) const { return (in_sync & NodeBit(node)) != 0; }
  bool operator==(const Register&) const = default;
};

// OK for the empty register (all of it 0), and for one that a node may have asked for: its epoch is
// the active node's, which is in sync, and it has a cluster. INVALID_ARGUMENT says what is wrong.
absl::Status CheckRegister(const Register& value);

// JSON on one line, as it stands under etcd's key and in a status:
//   {"epoch":4,"active":"primary","in_sync":["primary"],"cluster":"0011…eeff"}
// The empty register is "{}".
std::string ToText(const Register& value);

// The longest text that is looked at; what ToText writes has a quarter of it.
inline constexpr size_t kMaxRegisterTextBytes = 1024;

// Takes what ToText writes, with any white space and order, and nothing else: no other fields, none
// twice, none missing. MALFORMED says what is wrong, and repeats nothing of the text.
absl::StatusOr<Register> ParseRegister(std::string_view text);

// One compare-and-set register. Several stores may stand for the same register, in one process or in
// many; their swaps are in one order, and a read has all that were answered before it began.
//
// Errors of both methods, each in one line with what to do:
//   UNAVAILABLE, TIMED_OUT  no answer came. A swap may have happened, or may happen yet. The next call
//                           of this object that succeeds settles it: after it, the swap has happened
//                           or never will. Nothing may be concluded before.
//   DATA_LOSS               what stands there is not a register. Nothing was changed.
//   others                  it was refused: PERMISSION_DENIED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED.
//                           Nothing was changed.
//
// Threads: one at a time. Both methods may block, a network's for as long as its options say.
class RegisterStore {
 public:
  virtual ~RegisterStore() = default;

  // The value that stands now; empty() when there is none yet.
  virtual absl::StatusOr<Register> Read() = 0;

  // A register over a network is read just before, so that somebody who is heard and does not hear changes nothing: a broker
  // in a network that has failed one way must not be given what it then cannot use.
  //
  // Puts `wanted` in the place of `expected`, and returns the value that stands afterwards: `wanted`
  // when it was won, anything else when it was lost. Requires that `wanted` is not empty, and that
  // CheckRegister takes it.
  //
  // A value that stands is taken for one's own success, also when the answer to the swap that wrote
  // it was lost. That holds because no two nodes ever ask for the same value: a promotion's epoch has
  // the number of its node, and only the node that an epoch belongs to changes the in-sync set in it.
  virtual absl::StatusOr<Register> Swap(const Register& expected, const Register& wanted) = 0;
};

}  // namespace zsched::broker
