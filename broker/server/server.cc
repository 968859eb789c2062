#include "broker/server/server.h"

#include <zmq.h>

#include <random>

#include "base/check.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "broker/journal/data_directory.h"
#include "broker/replication/etcd_register.h"
#include "broker/replication/file_register.h"
#include "broker/replication/witness_register.h"
#include "broker/server/bounds.h"
#include "broker/server/heartbeat_thread.h"
#include "broker/server/peer_link.h"
#include "broker/server/register_thread.h"

namespace zsched::broker {
namespace {

// Read from one socket in a round, whichever is reached first: bounds a round to a millisecond or two
// of work, also when it is in vain. What arrives in a round is handed over at its end.
constexpr size_t kFramesPerRound = 512;
constexpr size_t kBytesPerRound = 1 << 20;
// Freed from the send queues since they were fullest: worth to be given back to the system.
constexpr size_t kTrimBytes = 64 << 20;
// zmq's I/O thread: one is enough for a gigabyte a second, and there are two cores.
constexpr int kIoThreads = 1;
constexpr int kMaxSockets = 16;
// What heartbeats say of the log's end may be so old: a fraction of the shortest interval between two.
constexpr int64_t kPublishMs = 5;
// Frames of the peer are taken for so long in a round: each may be a part of a copy, and cost a flush.
constexpr int64_t kPeerMs = 20;

Uuid RandomUuid() {
  std::random_device device;
  auto word = [&] { return uint64_t{device()} << 32 | device(); };
  return Uuid{word(), word()};
}

uint8_t NodeOf(const std::string& name) { return name == NodeName(kBackup) ? kBackup : kPrimary; }

// As the peers shall use it: on the host they know, unless the endpoint has one of its own.
std::string Advertised(const HostPort& bound, const HostPort& client) {
  bool same = bound.host == client.host;
  return same ? ":" + std::to_string(bound.port) : ToString(bound);
}

}  // namespace

Server::Server(const ServerConfig& config) : config_(config) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerConfig& config) {
  std::unique_ptr<Server> server(new Server(config));
  auto journal = OpenLmdbJournal(config.journal);
  if (!journal.ok()) return journal.status();
  server->journal_ = *std::move(journal);
  ZS_RETURN_IF_ERROR(server->Bind());
  server->fresh_cluster_ = RandomUuid();
  server->life_ = RandomUuid().lo | 1;
  if (config.pair) ZS_RETURN_IF_ERROR(server->StartPair());
  ZS_RETURN_IF_ERROR(server->OpenNode());
  return server;
}

absl::StatusOr<std::unique_ptr<RegisterStore>> Server::OpenRegister() const {
  const PairConfig& pair = *config_.pair;
  if (pair.witness)
    return OpenWitnessRegister(
        zmq_, {.address = {pair.witness->host, pair.witness->port + kPeerPortOffset}});
  if (pair.etcd_urls.empty()) return OpenFileRegister(config_.journal.directory);
  return OpenEtcdRegister({.urls = pair.etcd_urls,
                           .key = EtcdRegisterKey(pair.name),
                           .user = pair.etcd_user,
                           .password = pair.etcd_password,
                           .ca_file = pair.etcd_ca,
                           .cert_file = pair.etcd_cert,
                           .key_file = pair.etcd_key});
}

absl::Status Server::StartPair() {
  const PairConfig& pair = *config_.pair;
  // What a copy that was cut off has left.
  ZS_RETURN_IF_ERROR(DataDirectory::MakeCopy(config_.journal.directory).status());
  absl::StatusOr<std::unique_ptr<RegisterStore>> store = OpenRegister();
  if (!store.ok()) return store.status();
  register_ = std::make_unique<RegisterThread>(*std::move(store), wake_);
  const HostPort peer{pair.peer.host, pair.peer.port + kPeerPortOffset};
  ZS_ASSIGN_OR_RETURN(peer_, PeerLink::Open(zmq_, pair.peer_listen, peer));
  heart_ = std::make_unique<HeartbeatThread>(
      zmq_, HeartbeatOptions{.peer = peer, .interval_ms = pair.heartbeat_ms});
  return absl::OkStatus();
}

// The journal is open, and nobody else uses it.
absl::Status Server::OpenNode() {
  NodeConfig config;
  config.engine.core = config_.core;
  config.engine.node = config_.node;
  config.engine.version = std::string(Version());
  config.engine.address = ":" + std::to_string(client_address().port);
  config.engine.worker_address = Advertised(worker_address(), client_address());
  config.role.node = NodeOf(config_.node);
  config.role.cluster = fresh_cluster_;
  config.life = life_ += uint64_t{1} << 20;  // of its own, with room for its followings
  config.open_copy = [this] { return OpenCopy(); };
  Register own;
  if (config_.pair) {
    const PairConfig& pair = *config_.pair;
    config.paired = true;
    config.role.arbitrated = pair.arbitrated();
    config.role.suspect_ms = pair.suspect_ms;
    config.role.failover_ms = pair.failover_ms;
    config.peer_host = pair.peer.host;
    config.peer_address = ToString(pair.peer);
    config.peer_worker_address =
        ToString(HostPort{pair.peer.host, pair.peer.port + kWorkerPortOffset});
    if (!config.role.arbitrated) {
      config.open_merge = [this](JournalView& own_tables) { return OpenMerge(own_tables); };
      config.close_merge = [this](const absl::Status& merged) { return CloseMerge(merged); };
      ZS_ASSIGN_OR_RETURN(own, register_->Read());
    }
  }
  Outbox& outbox = *this;
  node_ = std::make_unique<Node>(std::move(config), *journal_, outbox, peer_.get());
  ZS_RETURN_IF_ERROR(node_->Start(own, SystemNow()));
  journal_thread_ = std::make_unique<JournalThread>(*journal_, wake_);
  query_thread_ = std::make_unique<QueryThread>(*journal_, wake_);
  Publish();
  return absl::OkStatus();
}

// What is at the journal is written, and nothing that waits for it leaves.
absl::Status Server::CloseNode() {
  if (!journal_thread_->idle()) ZS_RETURN_IF_ERROR(journal_thread_->Wait().status);
  if (register_ != nullptr) register_->Discard();
  query_thread_.reset();
  journal_thread_.reset();
  node_.reset();
  journal_.reset();
  return absl::OkStatus();
}

// Another epoch is in force: the state is read again from what is durable here.
absl::Status Server::Reopen() {
  const bool has_copy = node_->has_copy();
  const Lsn lsn = node_->engine().core().state().lsn();
  const Epoch epoch = node_->engine().core().state().epoch();
  Log(Level::kWarn, "begins anew as a follower",
      {{"why", node_->over()}, {"epoch", epoch.value()}, {"lsn", lsn.value()}});
  ZS_RETURN_IF_ERROR(CloseNode());
  if (has_copy) ZS_RETURN_IF_ERROR(TakeCopy(epoch, lsn));
  ZS_ASSIGN_OR_RETURN(journal_, OpenLmdbJournal(config_.journal));
  return OpenNode();
}

absl::StatusOr<std::unique_ptr<Journal>> Server::OpenCopy() const {
  LmdbOptions options = config_.journal;
  ZS_ASSIGN_OR_RETURN(options.directory, DataDirectory::MakeCopy(config_.journal.directory));
  Log(Level::kWarn, "its log is not continued by the active's; takes a copy of the active's state",
      {{"directory", options.directory}});
  return OpenLmdbJournal(options);
}

// In the place of what there is, which is kept if it has anything.
absl::Status Server::TakeCopy(Epoch epoch, Lsn lsn) {
  std::string archive;
  if (lsn.value() != 0)
    archive = "epoch-" + std::to_string(epoch.value()) + "-lsn-" + std::to_string(lsn.value()) +
              "-" + std::to_string(SystemNow().wall_ms);
  ZS_RETURN_IF_ERROR(DataDirectory::TakeCopy(config_.journal.directory, archive));
  if (!archive.empty())
    Log(Level::kWarn, "its own log was set aside",
        {{"archive", config_.journal.directory + "/archive/" + archive}});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<MergeSource>> Server::OpenMerge(JournalView& own) {
  ZS_ASSIGN_OR_RETURN(const std::vector<std::string> archives,
                      DataDirectory::UnmergedArchives(config_.journal.directory));
  for (const std::string& archive : archives) {
    merging_ = archive;
    LmdbOptions options = config_.journal;
    options.directory = archive;
    ZS_ASSIGN_OR_RETURN(std::unique_ptr<Journal> journal, OpenLmdbJournal(options));
    ZS_ASSIGN_OR_RETURN(std::unique_ptr<MergeSource> source,
                        MergeSource::Open(std::move(journal), own));
    if (source != nullptr) {
      Log(Level::kWarn, "hands over what it did alone", {{"archive", archive}});
      return source;
    }
    ZS_RETURN_IF_ERROR(DataDirectory::MarkMerged(archive));
  }
  return nullptr;
}

absl::Status Server::CloseMerge(const absl::Status& merged) {
  if (!merged.ok()) {
    Log(Level::kError, "what it did alone was not handed over; it is tried again at the next start",
        {{"archive", merging_}, {"error", MessageOf(merged)}});
    return absl::OkStatus();
  }
  Log(Level::kInfo, "what it did alone was handed over; see `zsched-ctl cluster status`",
      {{"archive", merging_}});
  return DataDirectory::MarkMerged(merging_);
}

wire::Role Server::role() const {
  if (node_->role() != nullptr) return node_->role()->role();
  return wire::Role::kActiveSolo;
}

absl::Status Server::Bind() {
  zmq_ = zmq_ctx_new();
  zmq_ctx_set(zmq_, ZMQ_IO_THREADS, kIoThreads);
  zmq_ctx_set(zmq_, ZMQ_MAX_SOCKETS, kMaxSockets);
  auto clients = RouterSocket::Bind(zmq_, config_.listen, kClientSocket);
  if (!clients.ok()) return clients.status();
  clients_ = *std::move(clients);
  auto workers = RouterSocket::Bind(zmq_, config_.worker_listen, kWorkerSocket);
  if (!workers.ok()) return workers.status();
  workers_ = *std::move(workers);
  return absl::OkStatus();
}

Server::~Server() {
  query_thread_.reset();
  journal_thread_.reset();
  heart_.reset();
  register_.reset();
  node_.reset();  // before the journal it reads
  peer_.reset();
  clients_.reset();
  workers_.reset();
  if (zmq_ != nullptr) zmq_ctx_term(zmq_);  // waits for the sockets' linger
}

Delivery Server::Send(Endpoint endpoint, std::string_view routing_id, const FrameHeader& header,
                      std::string_view body) {
  switch (SocketOf(endpoint).Send(routing_id, header, body)) {
    case SendResult::kSent:
      return Delivery::kSent;
    case SendResult::kFull:
      return Delivery::kFull;
    case SendResult::kGone:
      break;
  }
  return Delivery::kGone;
}

bool Server::HasRoom(Endpoint endpoint, std::string_view routing_id) {
  return SocketOf(endpoint).HasRoom(routing_id);
}

void Server::Stop() {
  stop_.store(true);
  wake_.Wake();
}

void Server::Reconfigure(const CoreConfig& config) {
  {
    std::lock_guard lock(reconfigure_mutex_);
    new_config_ = config;
  }
  reconfigured_.store(true);
  wake_.Wake();
}

void Server::TakeNewConfig() {
  if (!reconfigured_.exchange(false)) return;
  std::lock_guard lock(reconfigure_mutex_);
  config_.core = new_config_;
  Serving().Reconfigure(new_config_);
}

absl::Status Server::Run() {
  HandOver();  // the epoch's first record
  while (!stop_.load(std::memory_order_relaxed)) {
    WaitForWork();
    ZS_RETURN_IF_ERROR(Round());
  }
  return Finish();
}

void Server::WaitForWork() {
  Now now = SystemNow();
  bool full = Serving().core().OpenBytes() > kMaxOpenBytes || node_->leaving();
  int64_t timeout = std::clamp<int64_t>(node_->next_tick_ms(now) - now.mono_ms, 0, 1000);
  if (more_from_peer_ || (more_input_ && !full)) timeout = 0;
  zmq_pollitem_t items[4] = {{nullptr, wake_.fd(), ZMQ_POLLIN, 0}};
  int count = 1;
  if (peer_ != nullptr) items[count++] = {peer_->handle(), 0, ZMQ_POLLIN, 0};
  if (!full) items[count++] = {workers_->handle(), 0, ZMQ_POLLIN, 0};
  if (!full) items[count++] = {clients_->handle(), 0, ZMQ_POLLIN, 0};
  zmq_poll(items, count, timeout);
  if (items[0].revents & ZMQ_POLLIN) wake_.Clear();
}

absl::Status Server::Round() {
  ZS_RETURN_IF_ERROR(TakeDurable());
  if (peer_ != nullptr) ZS_RETURN_IF_ERROR(TakeFromPeer());
  ZS_RETURN_IF_ERROR(Release());
  ZS_RETURN_IF_ERROR(TakeReplies());
  WatchRoom();
  if (reconfigured_.load(std::memory_order_relaxed)) TakeNewConfig();
  Now now = SystemNow();
  if (Serving().core().OpenBytes() <= kMaxOpenBytes && !node_->leaving()) ReadSockets(now);
  if (now.mono_ms >= node_->next_tick_ms(now)) {
    ZS_RETURN_IF_ERROR(node_->OnTick(now));
    // An active that stops waiting for its peer commits what waited. The next batch goes to the journal with the round's end.
    if (node_->TakeCommitted()) ZS_RETURN_IF_ERROR(node_->ReleaseCommitted());
  }
  ZS_RETURN_IF_ERROR(node_->EndRound(now));
  query_thread_->Add(Serving().TakeQueries());
  HandOver();
  if (peer_ == nullptr) return absl::OkStatus();
  AskRegister();
  Publish();
  return node_->over().empty() ? absl::OkStatus() : Reopen();
}

absl::Status Server::TakeDurable() {
  std::optional<JournalThread::Done> done = journal_thread_->Poll();
  if (!done) return absl::OkStatus();
  ZS_RETURN_IF_ERROR(done->status);
  Serving().core().metrics().Observe(Timing::kFlush, done->flush_us);
  return node_->OnDurable(batches_[at_journal_], done->commit_us, SystemNow());
}

absl::Status Server::TakeFromPeer() {
  const int64_t began_ms = SystemNow().mono_ms;
  heart_->OnRound(began_ms);
  absl::Status status;
  more_from_peer_ = peer_->Receive([&](std::string_view frame) {
    const absl::StatusOr<PeerMessage> message = OpenPeerFrame(frame);
    // A part of a copy is written here: time goes on.
    const Now now = SystemNow();
    if (!message.ok())
      Log(Level::kWarn, "a frame on the peer endpoint was dropped",
          {{"error", MessageOf(message.status())}});
    else
      status = node_->OnPeer(*message, now);
    return status.ok() && now.mono_ms - began_ms < kPeerMs;
  });
  ZS_RETURN_IF_ERROR(status);
  if (auto answer = register_->TakeAnswer())
    ZS_RETURN_IF_ERROR(node_->OnRegister(*answer, SystemNow()));
  return absl::OkStatus();
}

absl::Status Server::Release() {
  if (!node_->TakeCommitted()) return absl::OkStatus();
  HandOver();
  return node_->ReleaseCommitted();
}

void Server::AskRegister() {
  if (register_->busy()) return;
  if (std::optional<RegisterQuestion> question = node_->TakeQuestion()) register_->Ask(*question);
}

void Server::Publish() {
  if (peer_ == nullptr) return;
  const int64_t now_ms = SystemNow().mono_ms;
  const RoleMachine& machine = *node_->role();
  if (machine.trouble() != logged_trouble_) {
    logged_trouble_ = machine.trouble();
    if (!logged_trouble_.empty()) Log(Level::kWarn, std::string(logged_trouble_));
  }
  if (node_->merge_refused() != logged_refusal_) {
    logged_refusal_ = node_->merge_refused();
    if (!logged_refusal_.empty())
      Log(Level::kError, "what the other broker did alone is not taken",
          {{"error", logged_refusal_}});
  }
  if (machine.role() == logged_role_ && machine.known() == published_ &&
      now_ms - published_ms_ < kPublishMs)
    return;
  published_ = machine.known();
  published_ms_ = now_ms;
  heart_->Publish(node_->Heartbeat());
  if (role() == logged_role_) return;
  logged_role_ = role();
  Log(Level::kInfo, "role",
      {{"role", wire::EnumNameRole(role())},
       {"epoch", node_->role()->known().epoch.value()},
       {"lsn", Serving().core().appended().value()}});
}

absl::Status Server::TakeReplies() {
  if (Serving().held_replies() >= kMaxReplies) return absl::OkStatus();
  for (QueryReply& reply : query_thread_->TakeReplies())
    ZS_RETURN_IF_ERROR(Serving().OnReply(std::move(reply), SystemNow()));
  return absl::OkStatus();
}

void Server::WatchRoom() {
  const std::optional<Surroundings> seen = query_thread_->TakeUsage();
  if (!seen) return;
  ReturnMemory();
  Serving().SetSurroundings(seen->journal, seen->process);
  const JournalUsage* usage = &seen->journal;
  // What a copy reads is kept in the file, whatever becomes of it.
  if (static_cast<double>(usage->used_bytes) >
      config_.map_watermark * static_cast<double>(usage->map_bytes))
    node_->GiveUpCopy();
  std::string reason;
  uint64_t in_use = usage->used_bytes - std::min(usage->used_bytes, usage->free_bytes);
  if (static_cast<double>(in_use) > config_.map_watermark * static_cast<double>(usage->map_bytes))
    reason =
        "the journal's map is nearly full; wait until finished tasks are pruned, or restart the "
        "broker with a larger --map-size";
  else if (usage->disk_free_bytes < config_.disk_reserve_bytes)
    reason = "the broker's disk is nearly full; free some space";
  Serving().SetDiskLow(std::move(reason));
}

// Peers that did not read have read, or are gone.
void Server::ReturnMemory() {
  const size_t queued = clients_->queued_bytes() + workers_->queued_bytes();
  most_queued_ = std::max(most_queued_, queued);
  if (most_queued_ - queued < kTrimBytes) return;
  most_queued_ = queued;
  query_thread_->TrimMemory();
}

void Server::ReadSockets(Now now) {
  auto read = [&](RouterSocket& socket, Endpoint endpoint) {
    const uint64_t malformed = socket.malformed();
    size_t bytes = 0;
    // A journal that waits for its next batch is served before another frame is read.
    auto go_on = [&] {
      return Serving().core().OpenBytes() <= kMaxOpenBytes && bytes < kBytesPerRound &&
             !journal_thread_->done();
    };
    auto visit = [&](std::string_view routing_id, std::string_view frame) {
      Serving().OnFrame(endpoint, routing_id, frame, now);
      bytes += frame.size();
      return go_on();
    };
    bool more = !go_on() || socket.Receive(kFramesPerRound, visit);
    Serving().OnDropped(socket.malformed() - malformed);
    return more;
  };
  // Workers first: what they finish makes room.
  bool more = read(*workers_, Endpoint::kWorker);
  more |= read(*clients_, Endpoint::kClient);
  more_input_ = more;
}

void Server::HandOver() {
  if (!journal_thread_->idle()) return;
  int next = 1 - at_journal_;
  if (!node_->TakeBatch(batches_[next])) return;
  at_journal_ = next;
  journal_thread_->Commit(batches_[next]);
}

// The standby takes over without a gap that anybody notices: it has all, and is told.
absl::Status Server::LeaveToStandby() {
  node_->HandOver(SystemNow());
  while (role() == wire::Role::kActiveSync && node_->leaving()) {
    WaitForWork();
    ZS_RETURN_IF_ERROR(Round());
  }
  return absl::OkStatus();
}

absl::Status Server::Finish() {
  Log(Level::kInfo, "stopping", {{"lsn", Serving().core().appended().value()}});
  if (peer_ != nullptr && role() == wire::Role::kActiveSync) ZS_RETURN_IF_ERROR(LeaveToStandby());
  // What is at the journal, then what was open meanwhile. What waits for the peer by then was not acknowledged.
  while (!node_->waits_for_peer() && (!journal_thread_->idle() || Serving().core().HasRecords())) {
    HandOver();
    JournalThread::Done done = journal_thread_->Wait();
    ZS_RETURN_IF_ERROR(done.status);
    ZS_RETURN_IF_ERROR(node_->OnDurable(batches_[at_journal_], done.commit_us, SystemNow()));
    if (node_->TakeCommitted()) ZS_RETURN_IF_ERROR(node_->ReleaseCommitted());
  }
  Serving().Resign();
  return absl::OkStatus();
}

}  // namespace zsched::broker
