// A node hands over what it did alone in a partition: docs/ha.md, "The merge".
#include "broker/server/node.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using wire::Role;

// A part that may have been lost is handed over again.
constexpr int64_t kMergeAgainMs = 500;

}  // namespace

absl::Status Node::MergeWhenReady(Now now) {
  if (!config_.open_merge || merges_over_ || leaving_) return absl::OkStatus();
  const bool follows = role_->role() == Role::kStandby || role_->role() == Role::kCatchup;
  // The own tables are those of whoever is active.
  if ((!follows && !engine_.serving()) || engine_.core().state().epoch() != role_->epoch())
    return absl::OkStatus();
  if (merge_ == nullptr) ZS_RETURN_IF_ERROR(OpenMerge());
  if (merge_ == nullptr) return absl::OkStatus();
  const MergeRow* row = engine_.core().state().FindMerge(merge_->log_hash());
  if (row == nullptr || !row->done) return HandOverPart(now);
  if (merge_done_ == Lsn()) merge_done_ = engine_.core().appended();
  return IsOnBothDisks(merge_done_) ? CloseMerge(absl::OkStatus()) : absl::OkStatus();
}

absl::Status Node::OpenMerge() {
  ZS_ASSIGN_OR_RETURN(const std::unique_ptr<JournalView> own, journal_.View());
  auto opened = config_.open_merge(*own);
  if (!opened.ok()) return CloseMerge(opened.status());
  merge_ = *std::move(opened);
  merges_over_ = merge_ == nullptr;
  merge_sent_.reset();
  merge_done_ = Lsn();
  return absl::OkStatus();
}

// With an error it is left as it is, until the next start.
absl::Status Node::CloseMerge(const absl::Status& merged) {
  merge_.reset();
  merges_over_ |= !merged.ok();
  return config_.close_merge(merged);
}

absl::Status Node::HandOverPart(Now now) {
  const MergeRow* row = engine_.core().state().FindMerge(merge_->log_hash());
  const uint32_t number = row == nullptr ? 0 : row->parts;
  if (merge_sent_ == number && now.mono_ms - merge_sent_ms_ < kMergeAgainMs)
    return absl::OkStatus();
  // What is open goes to the journal first.
  if (role_->active() && engine_.core().OpenBytes() >= kMergePartBytes) return absl::OkStatus();
  const auto part = merge_->Read(number);
  if (!part.ok()) return CloseMerge(part.status());
  if (!part->has_value()) return absl::OkStatus();
  merge_sent_ = number;
  merge_sent_ms_ = now.mono_ms;
  if (!role_->active()) {
    Send(PeerMerge{role_->epoch(), **part});
    return absl::OkStatus();
  }
  const absl::Status decided = engine_.Merge(**part, now);
  return decided.ok() ? absl::OkStatus() : CloseMerge(decided);
}

// Whoever is active after this, it has it.
bool Node::IsOnBothDisks(Lsn lsn) const {
  if (durable_.lsn < lsn || !peer_said_) return false;
  const LogEnd& other = peer_said_->state.end;
  return other.epoch == role_->epoch() && other.lsn >= lsn;
}

absl::Status Node::On(const PeerMerge& merge, Now) {
  // One that is not taken comes again.
  const bool room = engine_.core().OpenBytes() < kMergePartBytes;
  if (role_->active() && merge.epoch == role_->epoch() && !leaving_ && room)
    held_merge_ = HeldMerge{merge.part, std::string(merge.part.entries)};
  return absl::OkStatus();
}

// What is malformed changes nothing. It comes again, as nobody says that it has arrived.
void Node::DecideHeldMerge(Now now) {
  HeldMerge merge = *std::exchange(held_merge_, std::nullopt);
  if (!engine_.serving()) return;
  merge.part.entries = merge.entries;
  merge_refused_ = MessageOf(engine_.Merge(merge.part, now));
}

}  // namespace zsched::broker
