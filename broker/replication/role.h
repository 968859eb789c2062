// Which of two brokers serves: the roles of docs/ha.md as a pure state machine. Owned by
// broker/replication. No sockets, threads, clocks or files: time and what was heard come in, what is to be done
// comes out as actions. One object lives from one reading of the log to the next (a node that is fenced drops its
// state and begins anew).
//
//   heartbeats, votes, acks, register answers ──▶ RoleMachine ──▶ RoleActions ──▶ whoever has sockets and a log
//
// Example (a driver, after any event):
//   role.OnPeer(state, now);
//   for (const RoleAction& action : role.TakeActions()) …
//   … OnTick every kRoleTickMs …
//
// Rules 1 to 6 of docs/ha.md are named where they are kept.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "broker/replication/register.h"
#include "schemas/ids.h"
#include "schemas/wire_generated.h"

namespace zsched::broker {

// Where a log ends. `hash` is the chain's (docs/ha.md): the same LSN and hash are the same log.
struct LogEnd {
  Lsn lsn;
  Epoch epoch;  // of the last record
  uint64_t hash = 0;
  bool operator==(const LogEnd&) const = default;
};

// What a broker says of itself with every heartbeat.
struct PeerState {
  uint64_t life = 0;  // random, of the process
  wire::Role role = wire::Role::kRecovering;
  Register known;
  LogEnd end;          // what is durable
  bool stuck = false;  // its loop has not ended a round for too long
};

struct RoleOptions {
  uint8_t node = kPrimary;
  Uuid cluster;             // for a register that is empty
  bool arbitrated = false;  // the register is the arbiter's; otherwise this node's own copy
  // See the table of times in docs/ha.md.
  int64_t suspect_ms = 400;
  int64_t failover_ms = 700;
  int64_t stall_ms = 2'000;
  int64_t poll_ms = 500;
};

// --- What is to be done, in this order ---

// Ask the register; answer with OnRegister. One question at a time.
struct ReadRegister {
  bool operator==(const ReadRegister&) const = default;
};
struct SwapRegister {
  Register expected, wanted;
  bool operator==(const SwapRegister&) const = default;
};
// Open this epoch: its record is the next of the log. OnServing when it is durable here.
struct Promote {
  Epoch epoch;
  bool operator==(const Promote&) const = default;
};
// Whether commits wait for the peer's disk from now on. True: for all that is appended from here, and the
// log before it is sent first.
struct WaitForPeer {
  bool wait = false;
  bool operator==(const WaitForPeer&) const = default;
};
// Take appends of this epoch, and none of others.
struct Follow {
  Epoch epoch;
  bool operator==(const Follow&) const = default;
};
// Serve nobody, drop the state, read the log again: another epoch is in force.
struct Demote {
  std::string why;
  bool operator==(const Demote&) const = default;
};
using RoleAction = std::variant<ReadRegister, SwapRegister, Promote, WaitForPeer, Follow, Demote>;

// How often OnTick is to be called: a fraction of the shortest time of all.
inline constexpr int64_t kRoleTickMs = 25;

class RoleMachine {
 public:
  // `own`: the own register's value without an arbiter, empty with one. `end`: of the own log.
  RoleMachine(const RoleOptions& options, const Register& own, const LogEnd& end, int64_t mono_ms);

  void OnTick(int64_t mono_ms);
  void OnPeer(const PeerState& peer, int64_t mono_ms);
  // The answer: the value that stands. An error: it is not known what stands.
  void OnRegister(const absl::StatusOr<Register>& value, int64_t mono_ms);
  // A client or worker asked for service.
  void OnVote(int64_t mono_ms) { voted_ms_ = mono_ms; }
  // The own log's durable end has moved.
  void OnDurable(const LogEnd& end) { end_ = end; }
  // What was appended so far, also what is not durable yet.
  void OnAppended(Lsn lsn) { appended_ = lsn; }
  // The epoch's record is durable.
  void OnServing(int64_t mono_ms);
  // The follower has acknowledged all up to `lsn` in `epoch` (rule 6).
  void OnPeerDurable(Epoch epoch, Lsn lsn, int64_t mono_ms);
  // Every record of this epoch has been or is being sent to the follower as it is made.
  void OnFollowerAtTail(bool at_tail) { follower_at_tail_ = at_tail; }
  // The active leaves: nothing follows `end`, which is durable here.
  void OnHandover(Epoch epoch, Lsn end, int64_t mono_ms);
  // By a person, who knows what it risks: as if this node were a member and had a vote.
  void OnForce(int64_t mono_ms);

  std::vector<RoleAction> TakeActions() { return std::exchange(actions_, {}); }

  wire::Role role() const { return role_; }
  bool active() const {
    return role_ == wire::Role::kActiveSolo || role_ == wire::Role::kActiveSync;
  }
  const Register& known() const { return known_; }
  // The epoch that this node serves or follows in.
  Epoch epoch() const { return epoch_; }
  bool waits_for_peer() const { return waits_; }
  // The peer was heard, and not too long ago to be there.
  bool HearsPeer(int64_t mono_ms) const {
    return heard_peer_ && !PeerSilentFor(options_.suspect_ms, mono_ms);
  }
  // What keeps it from going on, for people; "" when nothing does.
  std::string_view trouble() const { return trouble_; }

 private:
  enum class Asked : uint8_t { kNothing, kRead, kSwap };

  uint8_t peer() const { return options_.node == kPrimary ? kBackup : kPrimary; }
  bool IsMember() const { return known_.IsMember(options_.node); }
  bool PeerIsActive() const;
  bool PeerSilentFor(int64_t ms, int64_t mono_ms) const { return mono_ms - heard_ms_ >= ms; }
  // No word from an active.
  bool ActiveSilentFor(int64_t ms, int64_t mono_ms) const {
    return mono_ms - heard_active_ms_ >= ms;
  }
  // Makes the register certain. True: it is.
  bool Settle(int64_t mono_ms);
  Register Mine(Epoch epoch, bool with_peer) const;
  Epoch NextEpoch() const;
  void Act(RoleAction action) { actions_.push_back(std::move(action)); }
  void Read(int64_t mono_ms);
  void Swap(const Register& wanted, int64_t mono_ms);
  void Become(wire::Role role) { role_ = role; }
  void BeginPromotion(int64_t mono_ms, bool may = false);
  void Promoted();
  void Fence(std::string why);
  void Learn(const Register& value);
  void TryFollow();
  void TickRecovering(int64_t mono_ms);
  void TickRecoveringAlone(int64_t mono_ms);
  void TickFollower(int64_t mono_ms);
  void TickActive(int64_t mono_ms);
  bool HasLongerLog() const;
  void SetWait(bool wait);

  const RoleOptions options_;
  wire::Role role_ = wire::Role::kRecovering;
  Register known_;
  Epoch epoch_;  // served or followed; 0: none yet
  LogEnd end_;   // durable
  Lsn appended_;
  PeerState peer_;
  bool heard_peer_ = false;
  int64_t heard_ms_;         // of the peer; at first, when this life began
  int64_t heard_active_ms_;  // likewise, of the peer as an active that is to be followed
  int64_t voted_ms_ = INT64_MIN;
  bool waits_ = false;  // the wait set has the peer
  Lsn join_lsn_;        // what the follower has to acknowledge before the register may name it
  Lsn acked_;           // by the follower, in this epoch
  int64_t ack_due_since_ms_ = INT64_MAX;  // since when it owes an acknowledgement
  bool follower_at_tail_ = false;
  bool handed_over_ = false;
  int64_t poll_again_ms_ = INT64_MIN;    // the register
  int64_t forced_until_ms_ = INT64_MIN;  // a person wants this node to be promoted

  Asked asked_ = Asked::kNothing;
  int64_t ask_again_ms_ = INT64_MIN;
  // The register stands as known_, or somebody else has changed it. False: it was not read since this life began, or an
  // answer was lost.
  bool certain_ = false;
  std::string_view trouble_;
  std::vector<RoleAction> actions_;
};

}  // namespace zsched::broker
