// The broker without sockets and threads: frames in, frames out, batches for a journal. Owned by
// broker/server, which runs it on the loop thread; the simulator runs the same object on a seeded
// schedule.
//
//   OnFrame ──▶ checks, stream ──▶ Core ──▶ effects ──▶ commit gate ──(durable)──▶ Outbox
//                                    └──▶ TakeBatch ──▶ journal ──▶ OnCommitted
//
// The commit gate: an effect leaves when the LSN it names is durable. There are at most two batches
// that are not: the one at the journal and the open one, so effects wait in two lists.
//
// Example (one round): see Server::Run in server.cc.
//
// Threads: one owner, the loop. Errors that mean lost durability are returned as DATA_LOSS or
// INTERNAL; the process must end on them.
#pragma once

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "base/process_usage.h"
#include "broker/core/core.h"
#include "broker/journal/journal.h"
#include "broker/server/intake.h"
#include "broker/server/query.h"
#include "broker/transport/encoder.h"
#include "schemas/frame.h"

namespace zsched::broker {

enum class Endpoint : uint8_t { kClient, kWorker };

// Where frames go. Must not block. kFull: the peer does not read; kGone: there is no such peer any
// more.
enum class Delivery : uint8_t { kSent, kFull, kGone };
class Outbox {
 public:
  virtual ~Outbox() = default;
  virtual Delivery Send(Endpoint endpoint, std::string_view routing_id, const FrameHeader& header,
                        std::string_view body) = 0;
  // False: the peer has not read for some time, so that what would be made for it would be in vain.
  virtual bool HasRoom(Endpoint endpoint, std::string_view routing_id) = 0;
};

struct EngineConfig {
  CoreConfig core;
  std::string node = "primary";
  std::string version;
  // As VIEW and WELCOME name this broker: ":5570" when peers shall use the host they know.
  std::string address, worker_address;
  IntakeLimits intake;
  // What is in the journal may be undone as long as it is not committed: nobody is told of it before.
  bool replicated = false;
};

// What a person wants of the pair; carried out by who owns the engine.
struct ClusterCommand {
  SessionId from;
  uint64_t request = 0;
  wire::ClusterAction action{};
  bool force = false;
  Epoch epoch;  // in which it was asked for; 0: any
};

class Engine {
 public:
  // `journal` and `outbox` outlive the engine. The journal is only read here.
  Engine(EngineConfig config, Journal& journal, Outbox& outbox);

  // --- Life: Load, then Follow as long as another broker is active, then Serve, once.
  //
  // Rebuilds the state from the journal's tables. Until it serves it answers DISCOVER and observers, and refuses other
  // sessions with NOT_ACTIVE.
  absl::Status Load(Now now);
  // Whether records of this epoch may be added to the open batch: none of others is in it, and it is not full.
  bool CanFollow(Epoch epoch) const;
  // Records that the active has decided, those that follow core().appended(). Requires !serving() and CanFollow(epoch).
  // DATA_LOSS: they cannot be applied; this engine is of no use any more.
  absl::Status Follow(Epoch epoch, std::string_view records, Now now);
  // Opens the epoch, above all before: it serves. Requires that all that it followed is durable. `fresh_cluster` names
  // the cluster when the journal is new.
  absl::Status Serve(const Uuid& fresh_cluster, Epoch epoch, Now now);
  // Load, and Serve in the next epoch of this node.
  absl::Status Start(const Uuid& fresh_cluster, Now now);
  bool serving() const { return serving_; }
  // Whether a session was asked for and refused since the last call.
  bool TakeVote() { return std::exchange(voted_, false); }
  // What VIEW and WELCOME say: the own role, and the other broker when there is one.
  void SetCluster(wire::Role role, std::optional<BrokerEntry> peer) {
    role_ = role;
    peer_broker_ = std::move(peer);
  }

  // `frame` starts at a multiple of 8.
  void OnFrame(Endpoint endpoint, std::string_view routing_id, std::string_view frame, Now now);
  // Messages that the transport dropped because they were not one part.
  void OnDropped(uint64_t messages);
  void OnTick(Now now);
  // When a round is due, whatever comes in.
  int64_t next_tick_ms(Now now) const {
    if (!serving_) return INT64_MAX;  // observers are looked at with the owner's ticks
    return std::min(core_.next_tick_ms(now), intake_.due_ms(now.mono_ms));
  }
  // Dispatches, and lets go what need not wait. Ends every round.
  absl::Status EndRound(Now now);

  // Moves the open batch into `batch` when there is something in it. One batch may be at the
  // journal at a time.
  bool TakeBatch(Batch& batch);
  // `batch`, the one taken last, is durable. Keeps a reference to it until the next call: its rows
  // are the cache of what was just submitted. After this the next batch may be taken, so that the
  // journal works on it while ReleaseCommitted sends; nothing else may come between the two.
  void OnCommitted(const Batch& batch, uint64_t commit_us, Now now);
  // Sends what waited for the commit.
  absl::Status ReleaseCommitted();

  // Answers that wait for a commit. The owner bounds them: it leaves further ones where they are made.
  size_t held_replies() const { return held_replies_.size(); }
  // Queries that may run now, on what the journal has by then. Each must be answered by OnReply.
  std::vector<Query> TakeQueries() { return std::exchange(ready_queries_, {}); }
  absl::Status OnReply(QueryReply reply, Now now);

  // Since the last call. Each must be answered.
  std::vector<ClusterCommand> TakeClusterCommands() { return std::exchange(cluster_commands_, {}); }
  void Answer(const ClusterCommand& command, const absl::Status& status);

  // Sends NOT_ACTIVE to every session: the broker leaves.
  void Resign();
  // What the other broker of the pair did alone; as Core::OnMerge. Requires serving().
  absl::Status Merge(const MergePart& part, Now now) { return core_.OnMerge(part, now); }

  void Reconfigure(const CoreConfig& config) {
    config_.core = config;
    core_.Reconfigure(config);
  }
  // For STATUS: what was seen last.
  void SetSurroundings(const JournalUsage& journal, const ProcessUsage& process) {
    journal_usage_ = journal;
    process_usage_ = process;
  }
  // The other broker has the log up to `theirs`, of which up to `ours` is there to be had. nullopt: there is none that follows,
  // or is followed.
  struct Replication {
    Lsn ours, theirs;
  };
  void SetReplication(std::optional<Replication> replication) { replication_ = replication; }
  // While it follows: records up to here are durable at the active, too.
  void SetCommittedElsewhere(Lsn lsn) { elsewhere_ = lsn; }
  void SetDiskLow(std::string reason) { core_.SetDiskLow(std::move(reason)); }
  Core& core() { return core_; }
  const Core& core() const { return core_; }
  Lsn durable() const { return durable_; }
  // Nothing up to here is ever undone. While it follows, as far as it knows.
  Lsn committed() const {
    return serving_ || !config_.replicated ? durable_ : std::min(durable_, elsewhere_);
  }

 private:
  struct Peer {
    Endpoint endpoint{};
    std::string routing_id;
    uint16_t flags = 0;               // checksum kind of its HELLO
    uint32_t sent = 0, received = 0;  // numbers of the last frames, each way
    uint32_t queries = 0;             // asked and not answered
  };
  using Peers = absl::flat_hash_map<uint64_t, Peer>;  // by session

  void Refuse(Endpoint endpoint, std::string_view routing_id, uint16_t flags, ErrorCode code,
              std::string_view message, uint64_t request = 0);
  void Greet(Endpoint endpoint, std::string_view routing_id, const FrameView& frame, Now now);
  // engine_observers.cc
  static bool IsObserver(SessionId session) { return (session.value() & kObserverBit) != 0; }
  void OpenObserver(std::string_view routing_id, uint16_t flags, Now now);
  bool OnObserverFrame(SessionId from, const FrameView& frame, Now now);
  void OnClusterCommand(SessionId from, const wire::ClusterCommand& command);
  void EndSilentObservers(Now now);
  // Ends the session that the connection had, so that one connection cannot take all there are.
  void EndSessionOf(Endpoint endpoint, const std::string& connection);
  void OpenSession(Endpoint endpoint, std::string_view routing_id, const FrameView& frame, Now now);
  // Whether the frame is the next one of its session's stream. A repeat is dropped; a gap ends the
  // session.
  bool IsNext(Peer& peer, const FrameHeader& header, Now now);
  // The session is over for the core at once; effects that it still had are dropped.
  void Break(SessionId session);
  void Forget(SessionId session);
  void Dispatch(Endpoint endpoint, std::string_view routing_id, const FrameView& frame, Now now);
  void OnSubmit(SessionId from, std::string_view body, const wire::Submit& submit, Now now);
  void SubmitParked(const Intake::Parked& parked, Now now);
  void TakeParked(Now now);
  bool OnClientFrame(SessionId from, const FrameView& frame, Now now);
  bool OnWorkerFrame(SessionId from, const FrameView& frame, Now now);
  // engine_queries.cc
  bool OnList(SessionId from, const FrameView& frame);
  bool OnDeadList(SessionId from, const FrameView& frame, Now now);
  bool OnQuery(SessionId from, const FrameView& frame);
  bool OnCancel(SessionId from, const FrameView& frame, Now now);
  // engine_rules.cc
  bool OnQueueFrame(SessionId from, const FrameView& frame, Now now);
  bool OnTypeFrame(SessionId from, const FrameView& frame, Now now);
  bool OnScheduleFrame(SessionId from, const FrameView& frame, Now now);
  bool OnExplain(SessionId from, const FrameView& frame, Now now);
  bool OnHistory(SessionId from, const FrameView& frame);  // engine_trails.cc
  bool OnLogs(SessionId from, const FrameView& frame);
  bool OnEvents(SessionId from, const FrameView& frame);  // engine_events.cc
  bool OnStatus(SessionId from, const FrameView& frame, Now now);
  std::vector<Gauge> Gauges(Now now) const;
  void RefuseQuery(const Query& query, ErrorCode code, std::string_view message,
                   uint32_t retry_after_ms = 0);
  // For clients: whether there is room for one more; it is refused otherwise.
  bool MayAsk(const Query& query);
  // Counted against the bounds until Answered.
  void Ask(Query query);
  void Enqueue(Query query);
  // Held until all that was decided so far is durable.
  void LookUp(Query query);
  absl::Status Reply(QueryReply reply, Now now);
  absl::Status ReleaseReplies();
  void OnCommandRows(const QueryReply& reply, Now now);
  void CancelAgain(const QueryReply& reply);
  void Answered(SessionId client);
  // Whether anybody would take the answer. Drops the query otherwise.
  bool IsAwaited(const Query& query);
  // Looks up what a reply left over of its WAIT. False: nothing.
  bool GoOnWith(const QueryReply& reply, bool taken);
  Delivery Send(SessionId to, MessageType type, std::string_view body);
  // For frames that the peer must get: a peer that takes no more, or is gone, loses its session.
  void SendOrClose(SessionId to, MessageType type, std::string_view body);
  void Hold(Effect effect);
  absl::Status Release(Effect& effect);
  absl::Status ReleaseTasks(const TasksEffect& effect);
  void ReleaseOutcomes(const OutcomesEffect& effect);
  absl::Status EnsureView();
  // Both live as long as the view, or the batch that was committed.
  absl::StatusOr<std::string_view> SpecOf(TaskId task);
  absl::StatusOr<std::string_view> CheckpointIn(uint64_t trail);
  void AskForFinished(Now now);
  void AskForOldDead(Now now);
  ClusterView View() const;

  EngineConfig config_;
  Journal& journal_;
  Outbox& outbox_;
  Core core_;
  Encoder encoder_;
  Peers peers_;
  // The session of each connection, by routing id: a connection has one at most. By endpoint, because
  // each socket makes its own routing ids. As many entries as sessions.
  std::array<absl::flat_hash_map<std::string, SessionId>, 2> connections_;
  // The highest bit of an id's counter: those of the core's sessions end before 2^32.
  static constexpr uint64_t kObserverBit = uint64_t{1} << 39;
  absl::flat_hash_map<uint64_t, int64_t> observers_;  // when each was heard last (monotonic)
  uint64_t last_observer_ = 0;
  std::vector<ClusterCommand> cluster_commands_;
  Intake intake_;
  std::optional<JournalUsage> journal_usage_;
  std::optional<ProcessUsage> process_usage_;
  std::optional<Replication> replication_;
  Lsn elsewhere_;
  int64_t started_ms_ = 0;
  Now now_;

  bool serving_ = false;
  bool voted_ = false;
  wire::Role role_ = wire::Role::kRecovering;
  std::optional<BrokerEntry> peer_broker_;
  Lsn epoch_lsn_;  // of the record that opened this epoch
  Lsn durable_;
  Lsn in_flight_;  // last LSN at the journal; durable_ when none is
  std::vector<Effect> held_open_, held_in_flight_, released_;  // an effect's way, in this order
  uint32_t open_queries_ = 0;                                  // asked by clients, not answered
  std::deque<Query> held_queries_;
  std::vector<Query> ready_queries_;
  // That may have seen a batch which is not committed: with the last LSN of it.
  std::deque<std::pair<Lsn, QueryReply>> held_replies_;
  std::deque<Query> commands_;  // that wait for the one before them
  bool command_running_ = false;
  bool finished_running_ = false;
  bool dead_running_ = false;
  std::vector<SessionId> unreachable_;

  const Batch* committed_ = nullptr;
  std::unique_ptr<JournalView>
      view_;  // for specs that are not in committed_; dropped at the end of a release
  absl::Status failure_;
};

}  // namespace zsched::broker
