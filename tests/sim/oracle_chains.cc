// The chained half: which tasks follow the end of another, by the templates that clients sent.
//
// The task that follows stands in the same batch as the end of its parent, or neither is there; each branch fires at the
// first end that is to fire it, and never again. What was passed is what the handler left, or the error of that end.
#include "absl/strings/str_cat.h"
#include "schemas/verify.h"
#include "tests/sim/oracle.h"
#include "tests/sim/process.h"

namespace zsched::sim {
namespace {

using broker::Mutation;
using broker::Table;
using broker::TaskState;

constexpr uint8_t kSuccess = 1, kFailure = 2, kComplete = 4;

uint8_t BranchesOf(TaskState end) {
  if (end == TaskState::kSucceeded) return kSuccess | kComplete;
  return end == TaskState::kDead ? kFailure | kComplete : kComplete;
}

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }

}  // namespace

void Oracle::NoteChain(const wire::TaskSpec& spec, const std::string& marker) {
  std::vector<Link>& links = links_[marker];
  links.clear();
  for (const auto& [branch, templates] :
       {std::pair(kSuccess, spec.on_success()), std::pair(kFailure, spec.on_failure()),
        std::pair(kComplete, spec.on_complete())}) {
    if (templates == nullptr) continue;
    for (const wire::TaskSpec* next : *templates) {
      const std::string_view payload = BytesOf(next->payload());
      const std::string name(payload.substr(0, payload.find('|')));
      links.push_back({branch, next->pass_result(), name});
      following_.insert(name);
      NoteWish(*next, name);
    }
  }
}

void Oracle::FollowerStored(uint64_t id, const broker::SpecView& spec) {
  TaskFacts& task = tasks_[id];
  const auto extras = broker::ReadExtras(spec);
  if (!extras) return Fail(Name(id) + ": its spec cannot be read to the end");
  const broker::ParentView& parent = extras->parent;
  if ((parent.task != 0) != following_.contains(task.marker))
    return Fail(
        absl::StrCat(Name(id), ", ", task.marker,
                     parent.task != 0 ? ", follows and was submitted" : ", follows no task"));
  if (parent.task == 0) return;
  task.parent = parent.task;
  task.parent_state = parent.state;
  task.parent_passed = parent.passed;
  task.passed_bytes = static_cast<uint32_t>(parent.outcome.size());
  task.bytes += task.passed_bytes;
  task.parent_outcome = std::string(parent.outcome);
  new_followers_.push_back(id);
}

// What the end of the parent left, by its handler or by this batch.
void Oracle::CheckPassed(uint64_t id, const Link& link, const broker::Batch& batch) {
  const TaskFacts& task = tasks_[id];
  const TaskFacts& parent = tasks_[task.parent];
  if (task.parent_passed != link.passes)
    return Fail(Name(id) + " was passed what its parent left exactly when it did not ask for it");
  if (!link.passes) {
    if (!task.parent_outcome.empty()) Fail(Name(id) + " was passed what it did not ask for");
    return;
  }
  if (parent.row.state == TaskState::kSucceeded) {
    std::string result;
    if (!task.parent_outcome.empty()) result = broker::ReadOutcome(task.parent_outcome)->body;
    if (result != truths_[parent.row.lease].result)
      Fail(Name(id) + " was passed another result than its parent has");
    return;
  }
  std::string_view left;
  for (const Mutation& m : batch.mutations(Table::kOutcomes))
    if (m.key == task.parent && m.size != Mutation::kErase) left = batch.row(m);
  if (left.empty() || left != task.parent_outcome)
    Fail(Name(id) + " was passed another error than its parent has");
}

// All rows of the batch have been read.
void Oracle::ChainsStored(const broker::Batch& batch) {
  struct Expected {
    uint64_t parent;
    const Link* link;
  };
  std::map<std::string, Expected> expected;
  for (uint64_t id : std::exchange(ended_, {})) {
    TaskFacts& task = tasks_[id];
    const uint8_t due = BranchesOf(task.row.state) & ~task.fired;
    if (task.fired != 0 && due != 0) ++reached_["followed_a_retry"];
    task.fired |= due;
    for (const Link& link : links_[task.marker])
      if ((link.branch & due) != 0) expected[link.marker] = {id, &link};
  }
  for (uint64_t id : std::exchange(new_followers_, {})) {
    const TaskFacts& task = tasks_[id];
    auto it = expected.find(task.marker);
    if (it == expected.end() || it->second.parent != task.parent)
      return Fail(absl::StrCat(Name(id), ", ", task.marker, ", follows ", Name(task.parent),
                               ", which has not ended so, or not for the first time"));
    const TaskFacts& parent = tasks_[task.parent];
    if (task.parent_state != parent.row.state)
      return Fail(Name(id) + " is told another end of its parent than it had");
    CheckPassed(id, *it->second.link, batch);
    // Its delay counts from the end of its parent, by the broker's clock.
    Wish& wish = wishes_[task.marker];
    wish.not_before_us = (parent.row.finished_ms - kEpochWallMs + wish.delay_ms) * kMillisecond;
    if (parent.row.state == TaskState::kCancelled) ++reached_["followed_a_cancel"];
    expected.erase(it);
  }
  if (!expected.empty())
    Fail(absl::StrCat(expected.begin()->first, " does not follow ",
                      Name(expected.begin()->second.parent), ", which is over"));
}

void Oracle::CheckParent(const wire::Assignment& assignment, const TaskFacts& task) {
  const wire::Parent* parent = assignment.parent();
  const std::string name = Name(assignment.task_id());
  if ((parent != nullptr) != (task.parent != 0))
    return Fail(name + " is handed out with a parent exactly when it has none");
  if (parent == nullptr) return;
  std::string_view left = BytesOf(parent->result());
  if (parent->error_code() != 0) left = TextOf(parent->error_message());
  std::string_view passed;
  if (!task.parent_outcome.empty()) passed = broker::ReadOutcome(task.parent_outcome)->body;
  if (parent->id() != task.parent || parent->state() != task.parent_state ||
      parent->passed() != task.parent_passed || left != passed)
    Fail(name + " is handed out with another parent than its own");
}

}  // namespace zsched::sim
