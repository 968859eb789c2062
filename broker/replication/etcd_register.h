// The register under one key of an etcd cluster. Owned by broker/replication.
//
// It speaks etcd's v3 JSON gateway, which every etcd since 3.4 has on its client port. Reads are
// linearizable: they go through etcd's own consensus.
//
// A swap compares the key's revision, not its value, and with that a lost answer can be settled for
// good. To read the key would not be enough: the request may still be on its way, and be applied after
// the read. Somebody who asked to add a node to the in-sync set, read the old set and stopped to wait
// for that node would lose tasks then. So the value that stands is written over itself, in a
// transaction that compares the same revision:
//
//   swap at revision 7: no answer ──▶ rewrite at revision 7 ──▶ written: the swap was not applied, and
//                                                               never will be, as 7 is over
//                                                          └──▶ compared unequal: what stands there now
//                                                               is the swap's outcome
//
// Example:
//   ZS_ASSIGN_OR_RETURN(auto store, OpenEtcdRegister({.urls = {"http://10.0.0.5:2379"},
//                                                     .key = EtcdRegisterKey("orders")}));
//
// Threads: one at a time each. The process must ignore SIGPIPE, as zsched-broker does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/replication/register.h"

namespace zsched::broker {

// etcd answers within a few milliseconds, and takes a second or two to elect a leader. A standby has
// to learn the outcome within that time to be active within a second.
inline constexpr int64_t kEtcdTimeoutMs = 1000;

struct EtcdOptions {
  // Of members of one cluster: "http://HOST:PORT" or "https://HOST:PORT". The one that answered last
  // is asked first.
  std::vector<std::string> urls;
  std::string key;  // EtcdRegisterKey
  // When etcd has authentication on: the role needs to read and write the key.
  std::string user{}, password{};
  // PEM; for https only. Empty: the system's authorities, no certificate of our own.
  std::string ca_file{}, cert_file{}, key_file{};
  // For a whole Read or Swap, over all URLs. While there are URLs left to try, one gets half of what
  // is left. The look-up of a host's name is not counted.
  int64_t timeout_ms = kEtcdTimeoutMs;
};

// "/zsched/CLUSTER/register"
std::string EtcdRegisterKey(const std::string& cluster_name);

// Connects to nothing yet. INVALID_ARGUMENT: an option cannot be used.
//
// Besides what RegisterStore says: no key is the empty register. PERMISSION_DENIED: user, password, or
// rights on the key. RESOURCE_EXHAUSTED: etcd has no space left. DATA_LOSS: the key holds no register.
absl::StatusOr<std::unique_ptr<RegisterStore>> OpenEtcdRegister(const EtcdOptions& options);

}  // namespace zsched::broker
