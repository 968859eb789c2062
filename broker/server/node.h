// One broker of a pair, without sockets, threads and clocks: its role, the engine that serves or follows, and the log between the
// two. Owned by broker/server, which runs it on the loop thread; the simulator runs the same object. docs/ha.md has the protocol.
//
//   clients, workers ──▶ Engine ──▶ batch ──┬──▶ own journal ──OnDurable──┐
//                                           └──▶ Leader ──▶ peer ──acks──┴──▶ committed ──▶ what waited for it leaves
//   peer ──OnPeer──▶ Follower ──▶ Engine::Follow ──▶ batch ──▶ own journal ──OnDurable──▶ acknowledgement
//   register, heartbeats, time ──▶ RoleMachine ──▶ which of the two it is
//
// A broker without a peer is the same object: active from the start, and a batch is committed when its own journal has it.
//
// Example (a round, as server.cc has it):
//   node.OnPeer(message, now);  node.engine().OnFrame(…);  node.OnTick(now);
//   ZS_RETURN_IF_ERROR(node.EndRound(now));
//   if (journal_idle && node.TakeBatch(batch)) journal_thread.Commit(batch);
//   … ZS_RETURN_IF_ERROR(node.OnDurable(batch, commit_us, now));
//   if (auto question = node.TakeQuestion()) …ask the register, then node.OnRegister(answer, now)…
//   if (!node.over().empty()) …drop the node, read the journal again with another one…
//
// Threads: one owner, the loop. Errors that mean lost durability are returned; the process must end on them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "broker/replication/follower.h"
#include "broker/replication/leader.h"
#include "broker/replication/peer_frames.h"
#include "broker/replication/role.h"
#include "broker/replication/snapshot.h"
#include "broker/server/engine.h"
#include "broker/server/journal_log.h"
#include "broker/server/merge_source.h"

namespace zsched::broker {

// Where frames for the peer go. Must not block; may lose them.
class PeerOutbox {
 public:
  virtual ~PeerOutbox() = default;
  virtual void SendToPeer(std::string frame) = 0;
};

struct NodeConfig {
  EngineConfig engine;
  bool paired = false;    // there is a peer; what follows is for that
  RoleOptions role;       // its cluster is that of the journal, if that has one
  uint64_t life = 1;      // random, of the process
  std::string peer_host;  // where this node reaches the peer
  // Where clients and workers reach it, until it says otherwise.
  std::string peer_address, peer_worker_address;
  // An empty journal beside the one in use, for a copy of the active's; what was in it before is gone.
  std::function<absl::StatusOr<std::unique_ptr<Journal>>()> open_copy{};
  // What was set aside and has to be merged, given the own tables: the oldest, or nullptr when there is none. Not set: nothing is.
  std::function<absl::StatusOr<std::unique_ptr<MergeSource>>(JournalView& own)> open_merge{};
  // It is merged, on both disks; or, with an error, it cannot be.
  std::function<absl::Status(const absl::Status& merged)> close_merge{};
};

// What the register is to be asked.
struct RegisterQuestion {
  bool swap = false;
  Register expected, wanted;  // of a swap
};

class Node : private LeaderSink, private FollowerSink, private SnapshotSink {
 public:
  // All outlive it. `peer` may be nullptr without a peer.
  Node(NodeConfig config, Journal& journal, Outbox& outbox, PeerOutbox* peer);

  // Reads the journal. `own`: the own register's value without an arbiter, empty otherwise. Without a peer it serves from
  // here on.
  absl::Status Start(const Register& own, Now now);

  // --- Events
  // CONFLICT: the peer or the register belongs to another cluster than this data.
  absl::Status OnPeer(const PeerMessage& message, Now now);
  absl::Status OnRegister(const absl::StatusOr<Register>& value, Now now);
  absl::Status OnTick(Now now);
  int64_t next_tick_ms(Now now) const;
  // The active is to leave: commits what is open, and hands over to the standby, if there is one. Nothing that comes in is
  // decided until `over`, or until it is clear that nobody takes over.
  void HandOver(Now now);
  // It is: what clients and workers send must not be given to the engine meanwhile.
  bool leaving() const { return leaving_; }

  // --- Rounds, as the engine's
  absl::Status EndRound(Now now);
  // As Engine::TakeBatch; sends the batch to the follower too. Not while another waits for the peer.
  bool TakeBatch(Batch& batch);
  // `batch`, the one taken last, is in the own journal. It lives until the next one is.
  absl::Status OnDurable(const Batch& batch, uint64_t commit_us, Now now);
  // Whether a batch has been committed since the last call: then the next one may be taken, and ReleaseCommitted is due.
  bool TakeCommitted() { return std::exchange(committed_, false); }
  absl::Status ReleaseCommitted() { return engine_.ReleaseCommitted(); }
  std::optional<RegisterQuestion> TakeQuestion() { return std::exchange(question_, std::nullopt); }

  // Why this object is of no more use; "" while it is. Another one begins where the journal is then.
  const std::string& over() const { return over_; }
  // The journal is to be replaced by the copy that NodeConfig::open_copy made room for, which is complete.
  bool has_copy() const { return has_copy_; }

  // Why the last part of a merge that the other broker sent was refused; "" when it was not.
  const std::string& merge_refused() const { return merge_refused_; }

  // The journal has no room to keep what a copy for the follower reads.
  void GiveUpCopy() { sender_.End(); }

  Engine& engine() { return engine_; }
  const Engine& engine() const { return engine_; }
  const RoleMachine* role() const { return role_.get(); }
  // What the heartbeats say.
  PeerHeartbeat Heartbeat() const;
  // The active's batch waits for the peer alone.
  bool waits_for_peer() const { return waiting_ != nullptr; }

 private:
  // Copied, because it came while the open batch was full.
  struct Held {
    PeerAppend append;
    std::string records;
  };

  void SendAppend(Epoch epoch, uint64_t life, const LogPart& part) override;
  void SendDiverged(Epoch epoch, uint64_t life, Lsn lsn) override;
  void SendFetch(Epoch epoch, uint64_t life, const LogEnd& end) override;
  void SendAcked(Epoch epoch, uint64_t life, Lsn lsn) override;
  void SendSnapshotPart(Epoch epoch, uint64_t life, const SnapshotPart& part) override;
  void SendSnapshotFetch(Epoch epoch, uint64_t life, uint32_t part, bool again) override;
  void Send(const PeerMessage& message) { peer_->SendToPeer(SealPeerFrame(message)); }

  absl::Status On(const PeerHeartbeat& beat, Now now);
  absl::Status On(const PeerAppend& append, Now now);
  absl::Status On(const PeerAppended& acked, Now now);
  absl::Status On(const PeerFetch& fetch, Now now);
  absl::Status On(const PeerDiverged& diverged, Now now);
  absl::Status On(const PeerHandover& handover, Now now);
  absl::Status On(const PeerSnapshotFetch& fetch, Now now);
  absl::Status On(const PeerSnapshotPart& part, Now now);
  absl::Status On(const PeerMerge& merge, Now now);
  template <class Other>
  absl::Status On(const Other&, Now) {
    return absl::OkStatus();  // of the register: not for a broker's loop
  }

  void HearCommitted(const PeerState& active);
  void TellReplication(Now now);
  LogEnd EndInMemory() const;
  bool MayFollow(const PeerAppend& append) const;
  absl::Status Follow(const PeerAppend& append, Now now);
  absl::Status FollowHeld(Now now);
  // The log cannot be continued: a copy of the active's tables takes its place.
  absl::Status AskForCopy(Now now);
  void StopFollowing();
  void HoldLog(Now now);
  // node_merge.cc: what this node did alone, before it took a copy of another one's tables.
  absl::Status MergeWhenReady(Now now);
  absl::Status OpenMerge();
  absl::Status CloseMerge(const absl::Status& merged);
  absl::Status HandOverPart(Now now);
  bool IsOnBothDisks(Lsn lsn) const;
  void DecideHeldMerge(Now now);
  // Carries out what the role machine wants, and what follows from it.
  absl::Status Advance(Now now);
  void Do(const ReadRegister&, Now now);
  void Do(const SwapRegister& swap, Now now);
  void Do(const Promote& promote, Now now);
  void Do(const WaitForPeer&, Now) {}  // looked at when a batch is to be committed
  void Do(const broker::Follow& follow, Now now);
  void Do(const Demote& demote, Now now);
  absl::Status ServeWhenReady(Now now);
  void CommitWhenReady(Now now);
  void HandOverWhenReady(Now now);
  // By a person: docs/ha.md, "By hand".
  absl::Status Obey(const ClusterCommand& command, Now now);
  absl::Status Switchover(Now now);
  absl::Status TakeOver(bool force, Now now);
  absl::Status CheckCluster(const Register& value) const;
  void TellEngine(Now now);

  const NodeConfig config_;
  PeerOutbox* const peer_;
  JournalLog log_;
  Engine engine_;
  Leader leader_;
  Follower follower_;
  std::unique_ptr<RoleMachine> role_;  // nullptr without a peer
  int64_t role_tick_ms_ = 0;           // when its next tick is due
  LogEnd durable_;                     // at home
  Epoch promoting_;                    // to be opened when all before it is durable
  std::deque<Held> held_;
  size_t held_bytes_ = 0;
  SnapshotSender sender_;
  SnapshotReceiver receiver_;
  Journal& journal_;
  Lsn sent_copy_;  // where the copy ends that was sent last, until its follower is here
  int64_t sent_copy_ms_ = 0;
  Lsn held_from_;            // what the journal keeps
  uint64_t followings_ = 0;  // begun in this life
  std::optional<RegisterQuestion> question_;

  bool merges_over_ = false;  // there is nothing to merge
  std::unique_ptr<MergeSource> merge_;
  std::optional<uint32_t> merge_sent_;  // the part that was handed over last
  int64_t merge_sent_ms_ = 0;
  Lsn merge_done_;  // the last part is decided, at this LSN or before
  // Of the other broker's, to be decided with the round.
  struct HeldMerge {
    MergePart part;
    std::string entries;
  };
  std::optional<HeldMerge> held_merge_;
  std::string merge_refused_;

  // Of the batch that was taken last, while it is durable at home and not committed.
  const Batch* waiting_ = nullptr;
  uint64_t waiting_commit_us_ = 0;
  bool committed_ = false;

  bool leaving_ = false;
  int64_t leave_until_ms_ = 0;
  int64_t take_over_again_ms_ = INT64_MIN;  // when HANDOVER is due again
  std::string over_;
  bool has_copy_ = false;
  std::optional<PeerHeartbeat> peer_said_;
  wire::Role told_role_ = wire::Role::kFenced;  // to the engine
};

}  // namespace zsched::broker
