#include "broker/server/server.h"

#include <zmq.h>

#include <random>

#include "base/check.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/log.h"
#include "broker/server/bounds.h"

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

Uuid RandomUuid() {
  std::random_device device;
  auto word = [&] { return uint64_t{device()} << 32 | device(); };
  return Uuid{word(), word()};
}

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
  EngineConfig engine;
  engine.core = config.core;
  engine.node = config.node;
  engine.version = std::string(Version());
  engine.address = ":" + std::to_string(server->client_address().port);
  engine.worker_address = Advertised(server->worker_address(), server->client_address());
  Outbox& outbox = *server;
  server->engine_ = std::make_unique<Engine>(engine, *server->journal_, outbox);
  ZS_RETURN_IF_ERROR(server->engine_->Start(RandomUuid(), SystemNow()));
  server->journal_thread_ = std::make_unique<JournalThread>(*server->journal_, server->wake_);
  server->query_thread_ = std::make_unique<QueryThread>(*server->journal_, server->wake_);
  return server;
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
  engine_.reset();  // before the journal it reads
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
  engine_->Reconfigure(new_config_);
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
  bool full = engine_->core().OpenBytes() > kMaxOpenBytes;
  int64_t timeout = std::clamp<int64_t>(engine_->next_tick_ms(now) - now.mono_ms, 0, 1000);
  if (more_input_ && !full) timeout = 0;
  zmq_pollitem_t items[] = {{nullptr, wake_.fd(), ZMQ_POLLIN, 0},
                            {workers_->handle(), 0, ZMQ_POLLIN, 0},
                            {clients_->handle(), 0, ZMQ_POLLIN, 0}};
  zmq_poll(items, full ? 1 : 3, timeout);
  if (items[0].revents & ZMQ_POLLIN) wake_.Clear();
}

absl::Status Server::Round() {
  ZS_RETURN_IF_ERROR(TakeCommit());
  ZS_RETURN_IF_ERROR(TakeReplies());
  WatchRoom();
  if (reconfigured_.load(std::memory_order_relaxed)) TakeNewConfig();
  Now now = SystemNow();
  if (engine_->core().OpenBytes() <= kMaxOpenBytes) ReadSockets(now);
  if (now.mono_ms >= engine_->next_tick_ms(now)) engine_->OnTick(now);
  ZS_RETURN_IF_ERROR(engine_->EndRound(now));
  query_thread_->Add(engine_->TakeQueries());
  HandOver();
  return absl::OkStatus();
}

absl::Status Server::TakeCommit() {
  std::optional<JournalThread::Done> done = journal_thread_->Poll();
  if (!done) return absl::OkStatus();
  ZS_RETURN_IF_ERROR(done->status);
  engine_->OnCommitted(batches_[at_journal_], done->commit_us, SystemNow());
  HandOver();
  return engine_->ReleaseCommitted();
}

absl::Status Server::TakeReplies() {
  for (QueryReply& reply : query_thread_->TakeReplies())
    ZS_RETURN_IF_ERROR(engine_->OnReply(std::move(reply), SystemNow()));
  return absl::OkStatus();
}

void Server::WatchRoom() {
  std::optional<JournalUsage> usage = query_thread_->TakeUsage();
  if (!usage) return;
  ReturnMemory();
  std::string reason;
  uint64_t in_use = usage->used_bytes - std::min(usage->used_bytes, usage->free_bytes);
  if (static_cast<double>(in_use) > config_.map_watermark * static_cast<double>(usage->map_bytes))
    reason =
        "the journal's map is nearly full; wait until finished tasks are pruned, or restart the "
        "broker with a larger --map-size";
  else if (usage->disk_free_bytes < config_.disk_reserve_bytes)
    reason = "the broker's disk is nearly full; free some space";
  engine_->SetDiskLow(std::move(reason));
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
      return engine_->core().OpenBytes() <= kMaxOpenBytes && bytes < kBytesPerRound &&
             !journal_thread_->done();
    };
    auto visit = [&](std::string_view routing_id, std::string_view frame) {
      engine_->OnFrame(endpoint, routing_id, frame, now);
      bytes += frame.size();
      return go_on();
    };
    bool more = !go_on() || socket.Receive(kFramesPerRound, visit);
    engine_->OnDropped(socket.malformed() - malformed);
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
  if (!engine_->TakeBatch(batches_[next])) return;
  at_journal_ = next;
  journal_thread_->Commit(batches_[next]);
}

absl::Status Server::Finish() {
  Log(Level::kInfo, "stopping", {{"lsn", engine_->core().appended().value()}});
  // Two rounds at most: what is at the journal, then what was open meanwhile.
  while (!journal_thread_->idle() || engine_->core().HasRecords()) {
    HandOver();
    JournalThread::Done done = journal_thread_->Wait();
    ZS_RETURN_IF_ERROR(done.status);
    engine_->OnCommitted(batches_[at_journal_], done.commit_us, SystemNow());
    ZS_RETURN_IF_ERROR(engine_->ReleaseCommitted());
  }
  engine_->Resign();
  return absl::OkStatus();
}

}  // namespace zsched::broker
