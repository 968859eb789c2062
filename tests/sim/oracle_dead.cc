// The dead: which letters there are, who may take one away, and what is told of them.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/oracle.h"

namespace zsched::sim {
namespace {

using broker::DeadRow;
using broker::Mutation;
using broker::Table;
using broker::TaskState;

std::string Name(uint64_t id) { return "task " + ToString(TaskId(id)); }

template <class Request>
std::vector<std::pair<uint64_t, uint64_t>> Named(const Request& request) {
  std::vector<std::pair<uint64_t, uint64_t>> named;
  for (uint32_t i = 0; i < request.ids()->size(); ++i)
    named.emplace_back(request.ids()->Get(i),
                       request.letters() == nullptr ? 0 : request.letters()->Get(i));
  return named;
}

bool Has(const std::set<uint64_t>& letters, const broker::TaskRow& row) {
  return letters.contains(0) || letters.contains(static_cast<uint64_t>(row.order));
}

}  // namespace

// --- On disk

void Oracle::DeadStored(const broker::Batch& batch) {
  auto on_row = [&](const Mutation& m) {
    if (m.size == Mutation::kErase) {
      if (letters_.erase(m.key) == 0) Fail(absl::StrCat("letter ", m.key, " goes twice"));
      return;
    }
    DeadRow row;
    if (!broker::RowReader(batch.row(m)).Read(row)) return Fail("the row of a letter is short");
    if (m.key <= last_letter_) return Fail(absl::StrCat("letter ", m.key, " was given twice"));
    last_letter_ = m.key;
    TaskFacts& task = tasks_[row.task];
    const bool fits = task.has_row && task.row.state == TaskState::kDead &&
                      static_cast<uint64_t>(task.row.order) == m.key &&
                      task.row.finished_ms == row.died_ms && task.row.lane == row.lane;
    if (!fits || row.fingerprint == 0)
      return Fail(absl::StrCat("letter ", m.key, " is not that of ", Name(row.task)));
    letters_[m.key] = row.task;
    died_[m.key] = row.task;
    task.fingerprints.insert(row.fingerprint);
    ++deaths_of_[row.fingerprint];
  };
  batch.ForEachChange(Table::kDead, on_row,
                      [&](const broker::KeyRange&) { Fail("a range of letters is erased"); });
  // Each death has put its row, so equal numbers mean equal sets.
  if (letters_.size() != dead_)
    Fail(absl::StrCat(dead_, " tasks are dead, and there are ", letters_.size(), " letters"));
  const uint64_t taken = std::exchange(taken_, 0);
  if (const uint64_t last = std::exchange(last_expired_, 0); last != 0) {
    if (dead_ + taken < max_dead_)
      Fail(absl::StrCat("retention keeps ", dead_, " dead tasks, but was told ", max_dead_));
    if (!letters_.empty() && letters_.begin()->first < last)
      Fail(absl::StrCat("letter ", last, " expired before an older one"));
  }
}

void Oracle::DeadRevived(uint64_t id, const TaskFacts& task) {
  --dead_;
  ++taken_;
  if (!Has(task.retry_letters, task.row))
    Fail(absl::StrCat(Name(id), " is retried as letter ", task.row.order,
                      ", but RETRY named another death of it"));
}

void Oracle::DeadErased(uint64_t id, TaskFacts& task) {
  --dead_;
  task.pruned = true;
  if (Has(task.delete_letters, task.row)) {
    ++taken_;
    return;
  }
  if (max_dead_ == 0)
    return Fail(absl::StrCat(Name(id), " was dead as letter ", task.row.order,
                             " and is gone, but nobody asked for that"));
  last_expired_ = std::max(last_expired_, static_cast<uint64_t>(task.row.order));
}

// --- Frames

void Oracle::OnDeadFrame(uint64_t session, const FrameView& frame) {
  if (frame.header.type == MessageType::kRetry) {
    const auto& retry = *flatbuffers::GetRoot<wire::Retry>(frame.body.data());
    auto& asked = dead_asked_[{session, retry.request()}];
    asked = {false, Named(retry)};
    for (const auto& [id, letter] : asked.named) {
      tasks_[id].retry_asked = true;
      tasks_[id].retry_letters.insert(letter);
    }
  } else if (frame.header.type == MessageType::kDeadDelete) {
    const auto& remove = *flatbuffers::GetRoot<wire::DeadDelete>(frame.body.data());
    auto& asked = dead_asked_[{session, remove.request()}];
    asked = {true, Named(remove)};
    for (const auto& [id, letter] : asked.named) tasks_[id].delete_letters.insert(letter);
  } else if (frame.header.type == MessageType::kDeadList) {
    const auto& list = *flatbuffers::GetRoot<wire::DeadList>(frame.body.data());
    const bool all = list.queue() == nullptr && list.type() == nullptr && list.error() == nullptr &&
                     list.fingerprint() == 0 && list.older_than_ms() == 0 && list.before() == 0 &&
                     list.cursor() == 0;
    if (all) must_list_[{session, list.request()}] = letters_;
  }
}

void Oracle::CheckDeadReply(uint64_t session, const wire::ItemReply& reply) {
  auto it = dead_asked_.find({session, reply.request()});
  if (it == dead_asked_.end()) return;
  const auto& [deleted, named] = it->second;
  for (uint32_t i = 0; i < reply.items()->size() && i < named.size(); ++i) {
    const auto& [id, letter] = named[i];
    const TaskFacts& task = tasks_[id];
    const ErrorCode code = ErrorFromNumber(reply.items()->Get(i)->code());
    if (code == ErrorCode::kNotFound && task.acked && !task.pruned)
      Fail(Name(id) + " was acknowledged and is not found among the dead");
    if (code != ErrorCode::kOk) continue;
    if (deleted && !task.pruned)
      Fail(Name(id) + ": its deletion was acknowledged before it was durable");
    if (letter != 0 && letters_.contains(letter))
      Fail(absl::StrCat("letter ", letter, " is answered as taken away, and is on disk"));
  }
}

void Oracle::CheckDeadLetters(uint64_t session, const wire::DeadLetters& answer) {
  uint64_t told = 0, last = 0;
  std::set<uint64_t> letters;
  for (const wire::DeadLetter* letter : *answer.letters()) {
    auto died = died_.find(letter->letter());
    if (died == died_.end() || died->second != letter->task() || letter->letter() <= last)
      return Fail(absl::StrCat("letter ", letter->letter(), " is told, and is none"));
    last = letter->letter();
    letters.insert(last);
    ++told;
  }
  for (const wire::TaskInfo* info : *answer.tasks()) {
    if (info->state() != TaskState::kDead || !CheckInfo(*info))
      return Fail(Name(info->id()) + " is listed among the dead");
    ++told;
  }
  for (const wire::DeadGroup* group : *answer.groups()) {
    told += group->letters();
    if (group->letters() > deaths_of_[group->fingerprint()])
      Fail(absl::StrCat("a group of ", group->letters(), " dead tasks is of ",
                        deaths_of_[group->fingerprint()], " deaths"));
  }
  auto must = must_list_.find({session, answer.request()});
  if (must == must_list_.end() || answer.next_cursor() != 0) return;
  uint64_t still = 0;
  for (const auto& [letter, task] : must->second) {
    if (!letters_.contains(letter)) continue;
    ++still;
    if (!letters.empty() && !letters.contains(letter))
      Fail(absl::StrCat("letter ", letter, " is left out of a list of all"));
  }
  if (told < still) Fail(absl::StrCat("a list has ", told, " of ", still, " dead tasks"));
  ++reached_["dead_listed"];
}

}  // namespace zsched::sim
