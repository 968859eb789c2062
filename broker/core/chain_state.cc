// What the log says of chains: which tasks have templates, and the tasks that follow when one ends.
// That a task has followers follows from the record of its end, so both are there or neither is: no
// record of its own is applied for them; that of the end only tells which ids they got.
#include "base/check.h"
#include "base/planted.h"
#include "broker/core/state.h"
#include "broker/core/validate.h"
#include "schemas/errors.h"
#include "schemas/frame.h"
#include "schemas/verify.h"

namespace zsched::broker {

void State::PutChain(Batch& batch, uint64_t task, Chain chain) {
  auto offset = static_cast<uint32_t>(batch.OpenRows().size());
  FollowRow row;
  row.body_bytes = static_cast<uint32_t>(chain.body.size());
  row.fired = chain.fired;
  AppendStruct(batch.OpenRows(), row);
  batch.OpenRows().append(chain.body);
  batch.PutTail(Table::kFollows, task, offset);
  chains_.Add(task, std::move(chain));
}

void State::DropChain(Batch& batch, uint64_t task) {
  chains_.Take(task);
  batch.Erase(Table::kFollows, task);
}

// The task is over as `end`, and out of the index. Its chain goes, or stays for what a RETRY may bring.
void State::Follow(Batch& batch, uint64_t task, TaskState end, std::string_view outcome,
                   int64_t now_ms) {
  // Taken out: a task that follows may have a chain of its own, which goes in.
  Chain chain = chains_.Take(task);
  const uint8_t due = BranchesAt(end) & ~chain.fired;
  ParentView parent{task, end, false, {}};
  chain.ForEachBranch([&](Branch branch, const char*, const Templates& templates) {
    if ((branch & due) == 0) return;
    for (const wire::TaskSpec* spec : templates) {
      parent.passed = spec->pass_result() && !ZS_PLANTED("result-not-passed");
      parent.outcome = parent.passed ? outcome : std::string_view();
      const LaneNames names = LaneOf(*spec);
      uint32_t lane = lanes_.Find(names);
      if (lane == 0) lane = CreateLane(batch, names);
      const TaskId id = MakeId<TaskId>(epoch(), meta_.next_task);
      Tell(Submitted(batch, id, lane, *spec, now_ms, {}, parent), task);
    }
  });
  if (!ZS_PLANTED("fires-after-every-retry")) chain.fired |= due;
  if (end == TaskState::kDead && chain.MayFireAfter(0))
    PutChain(batch, task, std::move(chain));
  else
    batch.Erase(Table::kFollows, task);
}

absl::Status State::RebuildChains(const ScanTable& scan) {
  auto bad = [](uint64_t key) {
    return Error(ErrorCode::kDataLoss, "row " + std::to_string(key) +
                                           " of table follows cannot be read; restore a backup");
  };
  if (ZS_PLANTED("chains-not-stored")) return absl::OkStatus();
  AlignedCopy copy;
  ZS_RETURN_IF_ERROR(
      scan(Table::kFollows, [&](uint64_t key, std::string_view bytes) -> absl::Status {
        RowReader in(bytes);
        FollowRow row;
        std::string_view body;
        if (!in.Read(row) || row.version != kRowVersion || row.fired > kAllBranches ||
            !in.Take(row.body_bytes, body) || VerifyBody<wire::Chain>(copy.Align(body)) == nullptr)
          return bad(key);
        const uint32_t slot = tasks_.Find(TaskId(key));
        if (slot != kNil && !tasks_[slot].chained) return bad(key);
        if (ZS_PLANTED("fired-not-stored")) row.fired = 0;
        chains_.Add(key, Chain{row.fired, std::string(body)});
        return absl::OkStatus();
      }));
  if (chains_.size() == chained_) return absl::OkStatus();
  return Error(ErrorCode::kDataLoss,
               std::to_string(chained_) + " tasks have followers, but table follows has " +
                   std::to_string(chains_.size()) + " rows; restore a backup");
}

}  // namespace zsched::broker
