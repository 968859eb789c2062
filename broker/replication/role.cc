#include "broker/replication/role.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "base/planted.h"

namespace zsched::broker {
namespace {

using wire::Role;

// Between two questions to a register whose last answer was lost.
constexpr int64_t kAskAgainMs = 50;
// For so long a promotion by force is tried.
constexpr int64_t kForceMs = 10'000;

bool IsActive(Role role) { return role == Role::kActiveSolo || role == Role::kActiveSync; }
bool IsFollower(Role role) { return role == Role::kCatchup || role == Role::kStandby; }

}  // namespace

RoleMachine::RoleMachine(const RoleOptions& options, const Register& own, const LogEnd& end,
                         int64_t mono_ms)
    : options_(options),
      known_(own),
      end_(end),
      appended_(end.lsn),
      heard_ms_(mono_ms),
      heard_active_ms_(mono_ms) {
  ZS_CHECK(options.suspect_ms < options.failover_ms);
  certain_ = !options.arbitrated;
}

// --- What is heard --------------------------------------------------------------------------------

void RoleMachine::OnPeer(const PeerState& peer, int64_t mono_ms) {
  if (!peer.known.empty() && !known_.empty() && peer.known.cluster != known_.cluster) {
    trouble_ =
        "the peer belongs to another cluster: this data directory, or the peer's, is a wrong one";
    return;
  }
  if (!peer.stuck) heard_ms_ = mono_ms;
  const bool other_life = heard_peer_ && peer.life != peer_.life;
  peer_ = peer;
  heard_peer_ = true;
  if (other_life && active()) {
    follower_at_tail_ = false;
    acked_ = Lsn();
  }
  if (active() && peer.known.epoch > epoch_) {
    // With an arbiter the register decides; a heartbeat only says that it is worth a look. Without one this
    // node steps back also for a peer that has a higher epoch and does not serve: of two that recover the longer log
    // goes on, in an epoch above both.
    if (options_.arbitrated)
      Read(mono_ms);
    else
      Fence("the peer has a higher epoch");
    return;
  }
  if (PeerIsActive() && !peer.stuck) heard_active_ms_ = mono_ms;
  if (PeerIsActive() && !active() && role_ != Role::kPromoting) Learn(peer.known);
  OnTick(mono_ms);
}

bool RoleMachine::PeerIsActive() const {
  return heard_peer_ && IsActive(peer_.role) && peer_.known.active == peer() &&
         peer_.known.epoch >= known_.epoch && peer_.known.epoch >= end_.epoch;
}

// The active says how the register stands. Within an epoch an older word may come late; a
// compare-and-set on it is lost then, so it does no harm.
void RoleMachine::Learn(const Register& value) {
  if (value == known_) return;
  if (options_.arbitrated) {
    known_ = value;
  } else if (asked_ == Asked::kNothing) {
    // The own copy follows: a node that dies knows what it was when it comes back.
    asked_ = Asked::kSwap;
    Act(SwapRegister{known_, value});
  }
}

void RoleMachine::OnPeerDurable(Epoch epoch, Lsn lsn, int64_t mono_ms) {
  if (!active()) return;
  if (epoch != epoch_) return;  // rule 6
  if (lsn <= acked_) return;
  acked_ = lsn;
  ack_due_since_ms_ = acked_ < appended_ ? mono_ms : INT64_MAX;
}

void RoleMachine::OnHandover(Epoch epoch, Lsn end, int64_t mono_ms) {
  if (role_ != Role::kStandby || epoch != epoch_ || end_.lsn < end) return;
  handed_over_ = true;
  OnTick(mono_ms);
}

void RoleMachine::OnForce(int64_t mono_ms) {
  if (active() || role_ == Role::kPromoting || role_ == Role::kFenced) return;
  // The register may have to be asked first.
  forced_until_ms_ = mono_ms + kForceMs;
  OnTick(mono_ms);
}

void RoleMachine::OnServing(int64_t mono_ms) {
  ZS_CHECK(role_ == Role::kPromoting);
  Become(Role::kActiveSolo);
  ack_due_since_ms_ = INT64_MAX;
  OnTick(mono_ms);
}

// --- The register ---------------------------------------------------------------------------------

Register RoleMachine::Mine(Epoch epoch, bool with_peer) const {
  Register mine = known_;
  if (mine.empty()) mine.cluster = options_.cluster;
  mine.epoch = epoch;
  mine.active = options_.node;
  mine.in_sync = static_cast<uint8_t>(NodeBit(options_.node) | (with_peer ? NodeBit(peer()) : 0));
  return mine;
}

Epoch RoleMachine::NextEpoch() const {
  uint64_t promotions = std::max(PromotionsOf(known_.epoch), PromotionsOf(end_.epoch));
  if (heard_peer_) promotions = std::max(promotions, PromotionsOf(peer_.known.epoch));
  return MakeEpoch(promotions + 1, options_.node);
}

void RoleMachine::Read(int64_t mono_ms) {
  if (asked_ != Asked::kNothing || mono_ms < ask_again_ms_) return;
  asked_ = Asked::kRead;
  Act(ReadRegister{});
}

void RoleMachine::Swap(const Register& wanted, int64_t mono_ms) {
  if (asked_ != Asked::kNothing || mono_ms < ask_again_ms_) return;
  asked_ = Asked::kSwap;
  certain_ = ZS_PLANTED("register-not-settled");
  Act(SwapRegister{known_, wanted});
}

// A lost answer: the store's next answer settles it, also for a request that is still on its way
// (register.h).
bool RoleMachine::Settle(int64_t mono_ms) {
  if (certain_) return asked_ == Asked::kNothing;
  Read(mono_ms);
  return false;
}

void RoleMachine::OnRegister(const absl::StatusOr<Register>& value, int64_t mono_ms) {
  const Asked asked = std::exchange(asked_, Asked::kNothing);
  if (!value.ok()) {
    // Nothing is assumed until it is settled (rule 6).
    trouble_ = "the arbiter does not answer";
    if (ZS_PLANTED("lost-answer-assumed") && active() && asked == Asked::kSwap) SetWait(!waits_);
    ask_again_ms_ = mono_ms + kAskAgainMs;
    return;
  }
  trouble_ = {};
  certain_ = true;
  ask_again_ms_ = asked == Asked::kRead ? mono_ms + kAskAgainMs : INT64_MIN;
  known_ = *value;
  if (active()) {
    if (known_.epoch != epoch_ && !ZS_PLANTED("never-steps-back"))
      return Fence("another broker was promoted");
    // The wait set contains the in-sync set, whatever it was (rule 1).
    SetWait(known_.IsMember(peer()));
    Become(known_.IsMember(peer()) ? Role::kActiveSync : Role::kActiveSolo);
  } else if (known_.active == options_.node && known_.epoch > end_.epoch && known_.epoch > epoch_) {
    Promoted();  // also when the answer that said so was lost
  } else if (role_ == Role::kPromoting) {
    Become(Role::kRecovering);
    epoch_ = Epoch();
  }
  OnTick(mono_ms);
}

void RoleMachine::Promoted() {
  Become(Role::kPromoting);
  epoch_ = known_.epoch;
  acked_ = join_lsn_ = Lsn();
  follower_at_tail_ = handed_over_ = false;
  SetWait(known_.IsMember(peer()));
  Act(Promote{epoch_});
}

void RoleMachine::SetWait(bool wait) {
  if (waits_ == wait) return;
  waits_ = wait;
  if (wait) join_lsn_ = appended_;
  Act(WaitForPeer{wait});
}

void RoleMachine::Fence(std::string why) {
  Become(Role::kFenced);
  Act(Demote{std::move(why)});
}

// --- Time -----------------------------------------------------------------------------------------

void RoleMachine::OnTick(int64_t mono_ms) {
  const bool follows = !active() && role_ != Role::kPromoting && role_ != Role::kFenced;
  if (follows && mono_ms < forced_until_ms_) BeginPromotion(mono_ms, /*may=*/true);
  switch (role_) {
    case Role::kRecovering:
      return TickRecovering(mono_ms);
    case Role::kCatchup:
    case Role::kStandby:
      return TickFollower(mono_ms);
    case Role::kPromoting:
      // An answer that was lost: the register says who won.
      if (epoch_ == Epoch()) Settle(mono_ms);
      return;
    case Role::kActiveSync:
    case Role::kActiveSolo:
      return TickActive(mono_ms);
    case Role::kFenced:
      return;
  }
}

void RoleMachine::TickRecovering(int64_t mono_ms) {
  if (!Settle(mono_ms)) return;
  if (PeerIsActive() && !ActiveSilentFor(options_.failover_ms, mono_ms)) return TryFollow();
  if (!known_.empty() && known_.active == options_.node && options_.arbitrated)
    return BeginPromotion(mono_ms);  // it was this node, and nobody took over since
  const bool silent = PeerSilentFor(options_.failover_ms, mono_ms);
  if (known_.empty()) {
    // The first start of a pair: the primary makes the register, when it has seen that the backup has none either or, alone,
    // when it was silent for long enough; without an arbiter only when somebody asks for service. Never beside one that
    // knows of a register: the arbiter has lost it.
    const bool fresh_peer = heard_peer_ && !silent && peer_.role == Role::kRecovering &&
                            peer_.known.empty() && peer_.end.lsn.value() == 0;
    if (options_.arbitrated && heard_peer_ && !silent && !peer_.known.empty())
      trouble_ = "the arbiter has lost the register: docs/operations.md says how to begin again";
    const bool alone = silent && (options_.arbitrated || voted_ms_ >= heard_ms_);
    if (options_.node == kPrimary && (fresh_peer || alone)) BeginPromotion(mono_ms);
  } else if (options_.arbitrated) {
    if (!ActiveSilentFor(options_.failover_ms, mono_ms)) return;
    const bool unentitled = ZS_PLANTED("promoted-not-in-sync");
    if (IsMember() || unentitled) BeginPromotion(mono_ms, unentitled);
    // Somebody else may have been promoted where this node does not hear it.
    else
      Read(mono_ms);
  } else {
    TickRecoveringAlone(mono_ms);
  }
}

// Without an arbiter: whoever has the longer log of two that start, or a member whose peer is away and
// for whom somebody votes.
void RoleMachine::TickRecoveringAlone(int64_t mono_ms) {
  if (PeerSilentFor(options_.failover_ms, mono_ms)) {
    if (IsMember() && voted_ms_ >= heard_ms_) BeginPromotion(mono_ms);
  } else if (heard_peer_ && peer_.role == Role::kRecovering && HasLongerLog()) {
    BeginPromotion(mono_ms, /*may=*/true);
  }
}

bool RoleMachine::HasLongerLog() const {
  const auto own = std::tuple(end_.epoch, end_.lsn, IsMember());
  const auto other = std::tuple(peer_.end.epoch, peer_.end.lsn, peer_.known.IsMember(peer()));
  return own > other || (own == other && options_.node == kPrimary);
}

void RoleMachine::TryFollow() {
  // Without an arbiter the own copy has to say so first.
  if (known_.active != peer() || known_.epoch != peer_.known.epoch) return Learn(peer_.known);
  epoch_ = known_.epoch;
  Become(Role::kCatchup);
  Act(Follow{epoch_});
}

void RoleMachine::TickFollower(int64_t mono_ms) {
  if (PeerIsActive() && peer_.known.epoch != epoch_) {
    // It was promoted anew, or restarted.
    Become(Role::kRecovering);
    return TryFollow();
  }
  const bool member = IsMember() && known_.epoch == epoch_;
  Become(member && (role_ == Role::kStandby || end_.epoch == epoch_) ? Role::kStandby
                                                                     : Role::kCatchup);
  const bool silent = ActiveSilentFor(options_.failover_ms, mono_ms);
  if (role_ == Role::kStandby && (handed_over_ || (silent && options_.arbitrated)))
    return BeginPromotion(mono_ms);
  if (silent) Become(Role::kRecovering);
  if (role_ == Role::kRecovering) epoch_ = Epoch();
}

// `may`: whether or not it is a member.
void RoleMachine::BeginPromotion(int64_t mono_ms, bool may) {
  may |= IsMember() || known_.empty();
  if (!may || mono_ms < ask_again_ms_ || !Settle(mono_ms)) return;  // rule 4
  Become(Role::kPromoting);
  epoch_ = Epoch();
  // Once for each word of the active, or of a person.
  handed_over_ = false;
  forced_until_ms_ = INT64_MIN;
  Swap(Mine(NextEpoch(), /*with_peer=*/false), mono_ms);
}

void RoleMachine::TickActive(int64_t mono_ms) {
  if (acked_ < appended_ && waits_ && ack_due_since_ms_ == INT64_MAX) ack_due_since_ms_ = mono_ms;
  const bool stalled =
      waits_ && ack_due_since_ms_ != INT64_MAX && mono_ms - ack_due_since_ms_ >= options_.stall_ms;
  const bool lost =
      PeerSilentFor(options_.suspect_ms, mono_ms) || stalled ||
      (heard_peer_ && !IsFollower(peer_.role) && peer_.role != Role::kPromoting && waits_);
  if (!Settle(mono_ms)) return;  // rule 1 needs it, for all below
  if (role_ == Role::kActiveSync) {
    if (!lost) return;
    if (ZS_PLANTED("solo-on-a-timer")) SetWait(false);
    return Swap(Mine(epoch_, /*with_peer=*/false),
                mono_ms);  // rule 1: the wait set shrinks after it
  }
  if (waits_ && lost) return SetWait(false);
  // Where it cannot hear it, another one may have been promoted by a person.
  if (lost && options_.arbitrated && mono_ms >= poll_again_ms_) {
    poll_again_ms_ = mono_ms + options_.poll_ms;
    return Read(mono_ms);
  }
  if (lost || !follower_at_tail_ || peer_.known.epoch != epoch_) return;
  if (!waits_ && !ZS_PLANTED("joins-unawaited"))
    return SetWait(true);  // rule 1: grows before it is asked for
  if ((acked_ >= join_lsn_ || ZS_PLANTED("joins-behind")) && acked_.value() != 0)
    Swap(Mine(epoch_, /*with_peer=*/true), mono_ms);
}

}  // namespace zsched::broker
