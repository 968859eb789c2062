// What follows a task when it ends (docs/scheduling.md, "Chains"): the templates of all tasks that
// have any, until their branches have fired. Owned by broker/core; pure.
//
//   TaskSpec ──BuildChain──▶ body of a wire::Chain ──Chains, table follows──▶ Take at the task's end
//
//   end of the task | branches that fire, each at most once in the life of the task
//   ----------------+--------------------------------------------------------------
//   succeeded       | success, complete
//   dead            | failure, complete; the row stays while success may still fire, after a RETRY
//   cancelled       | complete
//
// In memory because the core never reads the journal. A task without templates has nothing here.
//
// Example:
//   if (HasChain(spec)) chains.Add(id, Chain{0, BuildChain(spec)});
//   Chain chain = chains.Take(id);
//   chain.ForEachBranch([&](Branch branch, const char* name, const Templates& templates) { … });
//
// Threads: one owner.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "broker/core/rows.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

using Templates = flatbuffers::Vector<flatbuffers::Offset<wire::TaskSpec>>;

// Bits of FollowRow::fired.
enum Branch : uint8_t { kOnSuccess = 1, kOnFailure = 2, kOnComplete = 4 };
inline constexpr uint8_t kAllBranches = kOnSuccess | kOnFailure | kOnComplete;

// Those that the end of a task fires.
uint8_t BranchesAt(TaskState end);

// Calls visit(Branch, name of the field, const Templates&) for each branch that has templates, in the
// order in which they fire. `owner`: a wire::TaskSpec or a wire::Chain.
template <class Owner, class Visit>
void ForEachBranch(const Owner& owner, Visit visit) {
  auto branch = [&](Branch which, const char* name, const Templates* templates) {
    if (templates != nullptr && templates->size() > 0) visit(which, name, *templates);
  };
  branch(kOnSuccess, "on_success", owner.on_success());
  branch(kOnFailure, "on_failure", owner.on_failure());
  branch(kOnComplete, "on_complete", owner.on_complete());
}

template <class Owner>
bool HasChain(const Owner& owner) {
  bool any = false;
  ForEachBranch(owner, [&](Branch, const char*, const Templates&) { any = true; });
  return any;
}

// What a template without these has from its parent.
struct Inherited {
  std::string_view correlation_id, traceparent;
};
// All of a task, its templates too, in another buffer.
flatbuffers::Offset<wire::TaskSpec> CopySpec(flatbuffers::FlatBufferBuilder& builder,
                                             const wire::TaskSpec& spec,
                                             const Inherited& inherited = {});

// The body of the wire::Chain of a task with templates. The same spec gives the same bytes.
std::string BuildChain(const wire::TaskSpec& spec);

struct Chain {
  uint8_t fired = 0;  // Branch bits
  std::string body;   // a verified wire::Chain; long enough to lie aligned on the heap

  const wire::Chain& table() const { return *flatbuffers::GetRoot<wire::Chain>(body.data()); }
  template <class Visit>
  void ForEachBranch(Visit visit) const {
    broker::ForEachBranch(table(), visit);
  }
  // Whether templates are left once `more` have fired too.
  bool MayFireAfter(uint8_t more) const;
  // In all depths, fired or not: so many tasks the chain can bring at most.
  uint64_t templates() const;
  // Tasks that the task's end brings at once.
  uint64_t FollowersAt(TaskState end) const;
};

class Chains {
 public:
  bool Has(uint64_t task) const { return by_task_.contains(task); }
  // Requires Has(task).
  const Chain& Of(uint64_t task) const { return by_task_.at(task); }
  // Requires !Has(task).
  void Add(uint64_t task, Chain chain);
  Chain Take(uint64_t task);

  size_t size() const { return by_task_.size(); }
  uint64_t bytes() const { return bytes_; }          // of bodies
  uint64_t templates() const { return templates_; }  // of all
  template <class Visit>
  void ForEach(Visit visit) const {
    for (const auto& [task, chain] : by_task_) visit(task, chain);
  }

 private:
  absl::flat_hash_map<uint64_t, Chain> by_task_;
  uint64_t bytes_ = 0;
  uint64_t templates_ = 0;
};

}  // namespace zsched::broker
