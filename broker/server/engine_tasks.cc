// TASKS: what the rows say of tasks that are handed out.
#include <algorithm>

#include "base/check.h"
#include "broker/server/engine.h"
#include "broker/server/query_rows.h"

namespace zsched::broker {

absl::Status Engine::EnsureView() {
  if (view_ != nullptr) return absl::OkStatus();
  auto view = journal_.View();
  if (!view.ok()) return view.status();
  view_ = *std::move(view);
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> Engine::SpecOf(TaskId task) {
  // Specs of a batch have rising keys, mostly without gaps.
  if (committed_ != nullptr && !committed_->mutations(Table::kSpecs).empty()) {
    const auto& specs = committed_->mutations(Table::kSpecs);
    if (task.value() >= specs.front().key && task.value() <= specs.back().key) {
      auto it = std::lower_bound(specs.begin(), specs.end(), task.value(),
                                 [](const Mutation& m, uint64_t key) { return m.key < key; });
      if (it != specs.end() && it->key == task.value() && it->size != Mutation::kErase)
        return committed_->row(*it);
    }
  }
  ZS_RETURN_IF_ERROR(EnsureView());
  ZS_ASSIGN_OR_RETURN(auto row, view_->Get(Table::kSpecs, task.value()));
  if (!row)
    return Error(ErrorCode::kDataLoss, "the spec of task " + ToString(task) + " is missing");
  return *row;
}

absl::Status Engine::ReleaseTasks(const TasksEffect& effect) {
  // The worker does not have these leases, so its next hello does not name them and gives them back.
  if (!peers_.contains(effect.to.value())) return absl::OkStatus();
  absl::Status status;
  auto spec = [&](TaskId task) {
    auto row = SpecOf(task);
    if (row.ok()) return *row;
    status.Update(row.status());
    static constexpr SpecRow kEmpty{};
    return std::string_view(reinterpret_cast<const char*>(&kEmpty), sizeof kEmpty);
  };
  auto checkpoint = [&](uint64_t trail) {
    auto bytes = CheckpointIn(trail);
    status.Update(bytes.status());
    return bytes.ok() ? *bytes : std::string_view();
  };
  encoder_.Tasks(effect, core_.state().lanes(), now_.wall_ms, spec, checkpoint,
                 [&](std::string_view body) {
                   if (status.ok()) SendOrClose(effect.to, MessageType::kTasks, body);
                 });
  return status;
}

// What the last attempt left. It is durable: a task is handed out after the record that made it ready,
// which came behind all that an attempt said. And it is the last: the next attempt has not begun.
absl::StatusOr<std::string_view> Engine::CheckpointIn(uint64_t trail) {
  ZS_RETURN_IF_ERROR(EnsureView());
  const uint64_t key = NoteKey(trail, NoteKind::kCheckpoint);
  ZS_ASSIGN_OR_RETURN(auto bytes, view_->Get(Table::kNotes, key));
  std::optional<NoteView> note = bytes ? ReadNote(*bytes) : std::nullopt;
  if (!note) return BadRow("notes", key);
  return note->body;
}

}  // namespace zsched::broker
