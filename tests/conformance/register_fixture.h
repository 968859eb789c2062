// What the register tests share: values that nodes may ask for, and the key they stand under.
// Owned by tests/conformance.
#pragma once

#include <cstdint>
#include <memory>

#include "base/check.h"
#include "broker/replication/etcd_register.h"
#include "broker/replication/register.h"
#include "schemas/errors.h"

namespace zsched::broker {

inline constexpr Uuid kTestCluster{0x0123456789abcdef, 0xfedcba9876543210};
inline constexpr char kTestKey[] = "/zsched/test/register";

// The register right after a promotion.
inline Register Promoted(uint64_t promotions, uint8_t node) {
  return {MakeEpoch(promotions, node), node, NodeBit(node), kTestCluster};
}
// The same with both nodes in sync.
inline Register Joined(Register value) {
  value.in_sync = kAllNodes;
  return value;
}

inline std::unique_ptr<RegisterStore> OpenOrDie(const EtcdOptions& options) {
  auto store = OpenEtcdRegister(options);
  ZS_CHECK_OK(store.status());
  return *std::move(store);
}

// As googletest prints values that do not match.
inline void PrintTo(const Register& value, std::ostream* out) { *out << ToText(value); }

}  // namespace zsched::broker
