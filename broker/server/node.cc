#include "broker/server/node.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted.h"
#include "schemas/errors.h"

namespace zsched::broker {
namespace {

using wire::Role;

// Appends that came while the open batch was full. What a leader sends ahead fits; more is asked for again.
constexpr size_t kHeldBytes = 2 * kAppendWindowBytes;
// The active that leaves says so again as often: a frame may be lost.
constexpr int64_t kTakeOverAgainMs = 50;
// A follower that has a copy reads it before it follows again: a few seconds for millions of tasks.
constexpr int64_t kHoldForCopyMs = 120'000;
// For so long it waits until somebody else serves.
constexpr int64_t kHandOverMs = 2'000;

EngineConfig EngineConfigOf(const NodeConfig& config) {
  EngineConfig engine = config.engine;
  engine.replicated = config.paired;
  engine.core.keep_departed = config.paired && !config.role.arbitrated;
  return engine;
}

}  // namespace

Node::Node(NodeConfig config, Journal& journal, Outbox& outbox, PeerOutbox* peer)
    : config_(std::move(config)),
      peer_(peer),
      log_(journal),
      engine_(EngineConfigOf(config_), journal, outbox),
      leader_(log_, *this),
      follower_(*this),
      sender_(*this),
      receiver_(*this),
      journal_(journal) {
  ZS_CHECK(!config_.paired || peer_ != nullptr);
}

absl::Status Node::Start(const Register& own, Now now) {
  if (!config_.paired) return engine_.Start(config_.role.cluster, now);
  ZS_RETURN_IF_ERROR(engine_.Load(now));
  ZS_RETURN_IF_ERROR(CheckCluster(own));
  durable_ = EndInMemory();
  RoleOptions options = config_.role;
  if (const Uuid cluster = engine_.core().state().meta().cluster) options.cluster = cluster;
  role_ = std::make_unique<RoleMachine>(options, own, durable_, now.mono_ms);
  TellEngine(now);
  return Advance(now);
}

LogEnd Node::EndInMemory() const {
  const Core& core = engine_.core();
  return {.lsn = core.appended(), .epoch = core.state().epoch(), .hash = core.appended_hash()};
}

PeerHeartbeat Node::Heartbeat() const {
  PeerHeartbeat beat;
  beat.state.life = config_.life;
  beat.state.role = role_->role();
  beat.state.known = role_->known();
  beat.state.end = durable_;
  beat.node = config_.role.node;
  beat.address = config_.engine.address;
  beat.worker_address = config_.engine.worker_address;
  return beat;
}

absl::Status Node::CheckCluster(const Register& value) const {
  const Uuid own = engine_.core().state().meta().cluster;
  if (value.empty() || !own || value.cluster == own) return absl::OkStatus();
  return Error(ErrorCode::kConflict,
               "this data directory belongs to cluster " + ToString(own) +
                   ", and the pair is cluster " + ToString(value.cluster) +
                   "; start with the pair's own data, or with an empty directory to get a copy");
}

void Node::TellEngine(Now now) {
  BrokerEntry entry{
      .node = std::string(NodeName(1 - config_.role.node)),
      .role = role_->HearsPeer(now.mono_ms) ? peer_said_->state.role : Role::kRecovering,
      .address = config_.peer_address,
      .worker_address = config_.peer_worker_address};
  if (peer_said_) {
    // ":5570" is where this node reaches it, which may be another host than the reader's.
    auto whole = [this](const std::string& said) {
      return said.starts_with(':') ? config_.peer_host + said : said;
    };
    entry.address = whole(peer_said_->address);
    entry.worker_address = whole(peer_said_->worker_address);
  }
  told_role_ = role_->role();
  engine_.SetCluster(told_role_, std::move(entry));
}

// --- The peer -------------------------------------------------------------------------------------

absl::Status Node::OnPeer(const PeerMessage& message, Now now) {
  if (role_ == nullptr || !over_.empty()) return absl::OkStatus();
  ZS_RETURN_IF_ERROR(std::visit([&](const auto& m) { return On(m, now); }, message));
  return Advance(now);
}

absl::Status Node::On(const PeerHeartbeat& beat, Now now) {
  // A newcomer's mistake, which it is told by this node's own heartbeats: it must not end one that is at work.
  const bool at_work = role_->role() != Role::kRecovering;
  if (beat.node == config_.role.node && at_work) return absl::OkStatus();
  if (beat.node == config_.role.node)
    return Error(ErrorCode::kConflict,
                 "the peer is the " + std::string(NodeName(beat.node)) +
                     " too; start one broker with --node primary, the other with --node backup");
  const absl::Status cluster = CheckCluster(beat.state.known);
  if (!cluster.ok()) return at_work ? absl::OkStatus() : cluster;
  peer_said_ = beat;
  HearCommitted(beat.state);
  role_->OnPeer(beat.state, now.mono_ms);
  TellEngine(now);
  return absl::OkStatus();
}

// Of the same epoch, which one node writes: what both have on their disks, or an active that waits for nobody has on its own.
void Node::HearCommitted(const PeerState& active) {
  if (engine_.serving() || !follower_.following() || active.role < Role::kActiveSync ||
      active.role > Role::kActiveSolo || active.end.epoch != EndInMemory().epoch)
    return;
  engine_.SetCommittedElsewhere(active.end.lsn);
}

// Who is behind, and where. Of one that is not heard nobody knows.
void Node::TellReplication(Now now) {
  std::optional<Engine::Replication> replication;
  if (role_->HearsPeer(now.mono_ms)) {
    if (role_->active() && leader_.has_follower())
      replication = {engine_.durable(), leader_.acked()};
    else if (follower_.following() && peer_said_)
      replication = {peer_said_->state.end.lsn, durable_.lsn};
  }
  engine_.SetReplication(replication);
}

absl::Status Node::On(const PeerFetch& fetch, Now now) {
  if (!role_->active()) return absl::OkStatus();
  ZS_RETURN_IF_ERROR(leader_.OnFetch(fetch.epoch, fetch.life, fetch.end));
  HoldLog(now);
  return absl::OkStatus();
}

absl::Status Node::On(const PeerAppended& acked, Now now) {
  if (!role_->active() || !leader_.OnAcked(acked.epoch, acked.life, acked.lsn))
    return absl::OkStatus();
  role_->OnPeerDurable(acked.epoch, leader_.acked(), now.mono_ms);
  CommitWhenReady(now);
  return leader_.Pump();
}

absl::Status Node::On(const PeerDiverged& diverged, Now now) {
  // What is said of an end that the log had before is not true any more.
  const bool of_log = follower_.IsAddressed(diverged.epoch, diverged.life) &&
                      diverged.lsn == engine_.core().appended();
  // It was addressed to a follower that has become, or is about to become, something else.
  if (role_->role() != Role::kCatchup && role_->role() != Role::kStandby) return absl::OkStatus();
  if (of_log || receiver_.IsAddressed(diverged.epoch, diverged.life)) return AskForCopy(now);
  return absl::OkStatus();
}

absl::Status Node::On(const PeerSnapshotFetch& fetch, Now now) {
  if (!role_->active() || fetch.epoch != role_->epoch()) return absl::OkStatus();
  if (!sender_.IsAddressed(fetch.epoch, fetch.life)) {
    if (fetch.part > 0) {  // it was given up
      SendDiverged(fetch.epoch, fetch.life, Lsn());
      return absl::OkStatus();
    }
    ZS_ASSIGN_OR_RETURN(std::unique_ptr<SnapshotReader> reader, JournalSnapshot::Take(journal_));
    sender_.Begin(fetch.epoch, fetch.life, std::move(reader), now.mono_ms);
    sent_copy_ = durable_.lsn;
  }
  sent_copy_ms_ = now.mono_ms;
  HoldLog(now);
  return sender_.OnFetch(fetch.part, fetch.again, now.mono_ms);
}

absl::Status Node::On(const PeerSnapshotPart& message, Now now) {
  if (!receiver_.IsAddressed(message.epoch, message.life)) return absl::OkStatus();
  ZS_ASSIGN_OR_RETURN(has_copy_, receiver_.OnPart(message.part, now.mono_ms));
  if (!has_copy_) return absl::OkStatus();
  receiver_.End();
  over_ = "a copy of the active's tables is complete";
  return absl::OkStatus();
}

absl::Status Node::AskForCopy(Now now) {
  const Epoch epoch = role_->epoch();
  // What is in sync is never replaced: it may be all that there is of something that was acknowledged. Word that it is not in
  // sync any more may be on its way; it is told again.
  if (role_->known().IsMember(config_.role.node)) return absl::OkStatus();
  ZS_CHECK(config_.open_copy != nullptr);
  StopFollowing();
  ZS_ASSIGN_OR_RETURN(std::unique_ptr<Journal> copy, config_.open_copy());
  receiver_.Begin(epoch, config_.life + ++followings_,
                  std::make_unique<JournalTarget>(std::move(copy)), now.mono_ms);
  return absl::OkStatus();
}

void Node::StopFollowing() {
  follower_.End();
  receiver_.End();
  held_.clear();
  held_bytes_ = 0;
}

// What the follower will ask for next, so that it need not begin anew; one that is in sync must not. A value that is a tick old
// holds more.
void Node::HoldLog(Now now) {
  const bool active = role_->active();
  if (!active || leader_.acked() > sent_copy_ || now.mono_ms - sent_copy_ms_ > kHoldForCopyMs)
    sent_copy_ = Lsn();
  Lsn from;
  if (active && leader_.has_follower() &&
      (role_->waits_for_peer() || role_->HearsPeer(now.mono_ms)))
    from = std::max(leader_.acked(), Lsn(1));
  if (sent_copy_.value() != 0) from = sent_copy_;
  if (ZS_PLANTED("log-not-held")) return;
  if (std::exchange(held_from_, from) != from) journal_.HoldLog(from);
}

absl::Status Node::On(const PeerHandover& handover, Now now) {
  role_->OnHandover(handover.epoch, handover.end, now.mono_ms);
  return absl::OkStatus();
}

// --- Following ------------------------------------------------------------------------------------

bool Node::MayFollow(const PeerAppend& append) const {
  return held_.empty() && engine_.CanFollow(append.part.epoch);
}

absl::Status Node::On(const PeerAppend& append, Now now) {
  if (!follower_.following()) return absl::OkStatus();
  if (MayFollow(append)) return Follow(append, now);
  if (held_bytes_ + append.part.records.size() > kHeldBytes) return absl::OkStatus();
  held_.push_back({append, std::string(append.part.records)});
  held_bytes_ += held_.back().records.size();
  return absl::OkStatus();
}

absl::Status Node::FollowHeld(Now now) {
  while (!held_.empty() && follower_.following() &&
         engine_.CanFollow(held_.front().append.part.epoch)) {
    Held held = std::move(held_.front());
    held_.pop_front();
    held_bytes_ -= held.records.size();
    held.append.part.records = held.records;
    ZS_RETURN_IF_ERROR(Follow(held.append, now));
  }
  return absl::OkStatus();
}

absl::Status Node::Follow(const PeerAppend& append, Now now) {
  switch (follower_.Judge(append.epoch, append.life, append.part, now.mono_ms)) {
    case Follower::Verdict::kIgnore:
    case Follower::Verdict::kGap:
      return absl::OkStatus();
    case Follower::Verdict::kForeign:
      return AskForCopy(now);
    case Follower::Verdict::kTake:
      break;
  }
  ZS_RETURN_IF_ERROR(engine_.Follow(append.part.epoch, append.part.records, now));
  ZS_CHECK(engine_.core().appended() == append.part.last_lsn());
  follower_.Taken(EndInMemory(), now.mono_ms);
  return absl::OkStatus();
}

// --- Roles ----------------------------------------------------------------------------------------

absl::Status Node::OnRegister(const absl::StatusOr<Register>& value, Now now) {
  if (!over_.empty()) return absl::OkStatus();
  if (value.ok()) ZS_RETURN_IF_ERROR(CheckCluster(*value));
  role_->OnRegister(value, now.mono_ms);
  return Advance(now);
}

absl::Status Node::OnTick(Now now) {
  engine_.OnTick(now);
  if (role_ == nullptr || !over_.empty()) return absl::OkStatus();
  role_tick_ms_ = now.mono_ms + kRoleTickMs;
  role_->OnTick(now.mono_ms);
  TellEngine(now);
  follower_.OnTick(now.mono_ms);
  receiver_.OnTick(now.mono_ms);
  sender_.OnTick(now.mono_ms);
  HoldLog(now);
  ZS_RETURN_IF_ERROR(MergeWhenReady(now));
  return Advance(now);
}

int64_t Node::next_tick_ms(Now now) const {
  const int64_t next = engine_.next_tick_ms(now);
  return role_ == nullptr ? next : std::min(next, role_tick_ms_);
}

absl::Status Node::Advance(Now now) {
  if (role_->active()) role_->OnFollowerAtTail(leader_.at_tail());
  for (const RoleAction& action : role_->TakeActions())
    std::visit([&](const auto& a) { Do(a, now); }, action);
  if (role_->role() != told_role_) TellEngine(now);
  if (!over_.empty()) return absl::OkStatus();
  ZS_RETURN_IF_ERROR(ServeWhenReady(now));
  CommitWhenReady(now);
  HandOverWhenReady(now);
  return absl::OkStatus();
}

void Node::Do(const ReadRegister&, Now) { question_ = RegisterQuestion{}; }

void Node::Do(const SwapRegister& swap, Now) {
  question_ = RegisterQuestion{true, swap.expected, swap.wanted};
}

// From here on nothing of an older epoch is taken (rule 2).
void Node::Do(const Promote& promote, Now) {
  StopFollowing();
  promoting_ = promote.epoch;
}

void Node::Do(const broker::Follow& follow, Now now) {
  // The active was out of hearing for a moment: what has come of its tables stays.
  if (receiver_.receiving() && receiver_.epoch() == follow.epoch) return;
  StopFollowing();
  // Another one each time, also over the lives of the process.
  follower_.Begin(follow.epoch, config_.life + ++followings_, EndInMemory(), now.mono_ms);
}

void Node::Do(const Demote& demote, Now) {
  engine_.Resign();
  over_ = demote.why;
}

// Rule 4: all that was followed is durable first, then the epoch's own record.
absl::Status Node::ServeWhenReady(Now now) {
  if (!promoting_ || durable_.lsn != engine_.core().appended()) return absl::OkStatus();
  const Epoch epoch = std::exchange(promoting_, Epoch());
  leader_.Begin(epoch);
  return engine_.Serve(role_->known().cluster, epoch, now);
}

// --- Batches --------------------------------------------------------------------------------------

absl::Status Node::EndRound(Now now) {
  if (held_merge_) DecideHeldMerge(now);
  ZS_RETURN_IF_ERROR(engine_.EndRound(now));
  for (const ClusterCommand& command : engine_.TakeClusterCommands())
    engine_.Answer(command, Obey(command, now));
  if (role_ == nullptr || !over_.empty()) return absl::OkStatus();
  TellReplication(now);
  if (engine_.TakeVote()) role_->OnVote(now.mono_ms);
  return FollowHeld(now);
}

bool Node::TakeBatch(Batch& batch) {
  if (waiting_ != nullptr || !over_.empty() || !engine_.TakeBatch(batch)) return false;
  if (role_ == nullptr) return true;
  role_->OnAppended(batch.last_lsn());
  if (engine_.serving()) {
    leader_.OnBatch(batch);
    role_->OnFollowerAtTail(leader_.at_tail());
  }
  return true;
}

absl::Status Node::OnDurable(const Batch& batch, uint64_t commit_us, Now now) {
  ZS_CHECK(waiting_ == nullptr && !committed_);  // what was committed is released before
  waiting_ = &batch;
  waiting_commit_us_ = commit_us;
  if (role_ == nullptr) {
    CommitWhenReady(now);
    return absl::OkStatus();
  }
  durable_ = {.lsn = batch.last_lsn(), .epoch = batch.epoch(), .hash = batch.hash()};
  role_->OnDurable(durable_);
  if (!engine_.serving()) {
    CommitWhenReady(now);
    follower_.OnDurable(durable_.lsn);
  } else if (role_->role() == Role::kPromoting) {
    role_->OnServing(now.mono_ms);
  } else {
    ZS_RETURN_IF_ERROR(leader_.Pump());
  }
  return Advance(now);
}

void Node::CommitWhenReady(Now now) {
  if (waiting_ == nullptr || !over_.empty()) return;
  if (role_ != nullptr && engine_.serving() && role_->waits_for_peer() &&
      !ZS_PLANTED("commits-alone") && leader_.acked() < waiting_->last_lsn())
    return;
  engine_.OnCommitted(*std::exchange(waiting_, nullptr), waiting_commit_us_, now);
  committed_ = true;
}

// --- Leaving --------------------------------------------------------------------------------------

void Node::HandOver(Now now) {
  leaving_ = true;
  leave_until_ms_ = now.mono_ms + kHandOverMs;
  if (role_ != nullptr) HandOverWhenReady(now);
}

// When all is on both disks, and as long as nobody has taken over. To go on instead does no harm, whatever becomes of a
// HANDOVER that is still on its way: what this node has not in its log then cannot be committed without the standby.
void Node::HandOverWhenReady(Now now) {
  if (!leaving_) return;
  if (role_->role() != Role::kActiveSync || now.mono_ms >= leave_until_ms_) {
    leaving_ = false;
    return;
  }
  if (waiting_ != nullptr || engine_.core().HasRecords() || engine_.durable() != durable_.lsn)
    return;
  if (now.mono_ms < take_over_again_ms_) return;
  take_over_again_ms_ = now.mono_ms + kTakeOverAgainMs;
  Send(PeerHandover{role_->epoch(), durable_.lsn});
}

// --- By hand --------------------------------------------------------------------------------------

absl::Status Node::Obey(const ClusterCommand& command, Now now) {
  auto refused = [](std::string why) { return Error(ErrorCode::kConflict, std::move(why)); };
  if (role_ == nullptr) return refused("this broker serves alone; there is no other one");
  if (!over_.empty()) return refused("this broker is stepping back; ask again in a moment");
  switch (command.action) {
    case wire::ClusterAction::kSwitchover:
      // It comes again, as its answer was lost.
      if (command.epoch != Epoch() && role_->epoch() > command.epoch) return absl::OkStatus();
      return Switchover(now);
    case wire::ClusterAction::kPromote:
      return TakeOver(command.force, now);
  }
  return Error(ErrorCode::kInvalidArgument, "there is no such command");
}

absl::Status Node::Switchover(Now now) {
  auto refused = [](std::string why) { return Error(ErrorCode::kConflict, std::move(why)); };
  if (!role_->active()) return refused("this broker is not the active one");
  if (role_->role() != Role::kActiveSync)
    return refused(
        "there is no standby that has everything; `zsched-ctl cluster status` shows what there is");
  HandOver(now);
  return absl::OkStatus();
}

absl::Status Node::TakeOver(bool force, Now now) {
  auto refused = [](std::string why) { return Error(ErrorCode::kConflict, std::move(why)); };
  if (role_->active()) return refused("this broker is active already");
  if (force) {
    role_->OnForce(now.mono_ms);
    return absl::OkStatus();
  }
  if (role_->HearsPeer(now.mono_ms))
    return refused(
        "the other broker is there; `zsched-ctl cluster switchover` changes places with it");
  if (!role_->known().IsMember(config_.role.node))
    return refused(
        "this broker may not have all that was acknowledged; start the other one, or add --force "
        "and "
        "lose what only that one has");
  role_->OnVote(now.mono_ms);
  return absl::OkStatus();
}

// --- Sinks ----------------------------------------------------------------------------------------

void Node::SendAppend(Epoch epoch, uint64_t life, const LogPart& part) {
  Send(PeerAppend{epoch, life, part});
}
void Node::SendDiverged(Epoch epoch, uint64_t life, Lsn lsn) {
  Send(PeerDiverged{epoch, life, lsn});
}
void Node::SendSnapshotPart(Epoch epoch, uint64_t life, const SnapshotPart& part) {
  Send(PeerSnapshotPart{epoch, life, part});
}
void Node::SendSnapshotFetch(Epoch epoch, uint64_t life, uint32_t part, bool again) {
  Send(PeerSnapshotFetch{epoch, life, part, again});
}
void Node::SendFetch(Epoch epoch, uint64_t life, const LogEnd& end) {
  Send(PeerFetch{epoch, life, end});
}
void Node::SendAcked(Epoch epoch, uint64_t life, Lsn lsn) { Send(PeerAppended{epoch, life, lsn}); }

}  // namespace zsched::broker
